#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace galapagos::app {

/// Whether there is a terminal to draw on and to be asked at: launchers give a rank one to write to, but none
/// to read from, and their output may go to a file.
bool draws_on_terminal();
/// Whether colours are wanted there (NO_COLOR, TERM=dumb), and characters beyond ASCII.
bool wants_colours();
bool writes_utf8();

struct TerminalSize {
  std::size_t width = 80, height = 24;
};
TerminalSize terminal_size();

/// The terminal as a page that is drawn anew again and again; it is as it was before at the end of the scope.
/// SIGINT and SIGTERM only end the next pause() from then on.
class TerminalPage {
 public:
  TerminalPage();
  ~TerminalPage();
  TerminalPage(const TerminalPage&) = delete;
  TerminalPage& operator=(const TerminalPage&) = delete;

  void draw(const std::vector<std::string>& lines) const;
  /// Waits; false where a signal or the key q asks for the end. A new size of the terminal ends it, too.
  bool pause(double seconds) const;

 private:
  struct Before;
  Before* before_;
};

}  // namespace galapagos::app
