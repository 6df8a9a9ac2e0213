#include "terminal.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <string_view>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace galapagos::app {
namespace {

volatile std::sig_atomic_t ended = 0;

void end(int) {
  ended = 1;
}

void wake(int) {}

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

void write_out(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

bool draws_on_terminal() {
  // Open MPI's mpirun gives its ranks a terminal to write to, whatever its own output is, but none to read
  // from.
  return ::isatty(STDOUT_FILENO) != 0 && ::isatty(STDIN_FILENO) != 0 && variable("TERM") != "dumb";
}

bool wants_colours() {
  return draws_on_terminal() && variable("NO_COLOR").empty();
}

bool writes_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string_view value = variable(name);
    if (value.empty()) continue;
    return value.find("UTF-8") != std::string_view::npos || value.find("utf8") != std::string_view::npos;
  }
  return false;
}

TerminalSize terminal_size() {
  TerminalSize size;
  winsize window{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 && window.ws_row > 0)
    return {window.ws_col, window.ws_row};
  if (const long columns = std::strtol(std::string(variable("COLUMNS")).c_str(), nullptr, 10); columns > 0)
    size.width = static_cast<std::size_t>(columns);
  return size;
}

struct TerminalPage::Before {
  bool keys = false;
  termios settings{};
  struct sigaction interrupt {
  }, terminate{}, resize{};
};

TerminalPage::TerminalPage() : before_(new Before) {
  ended = 0;
  struct sigaction action {};
  action.sa_handler = end;
  ::sigaction(SIGINT, &action, &before_->interrupt);
  ::sigaction(SIGTERM, &action, &before_->terminate);
  action.sa_handler = wake;
  ::sigaction(SIGWINCH, &action, &before_->resize);
  if (::isatty(STDIN_FILENO) != 0 && ::tcgetattr(STDIN_FILENO, &before_->settings) == 0) {
    termios settings = before_->settings;
    settings.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    before_->keys = ::tcsetattr(STDIN_FILENO, TCSANOW, &settings) == 0;
  }
  write_out("\x1b[?1049h\x1b[?25l");
}

TerminalPage::~TerminalPage() {
  write_out("\x1b[?25h\x1b[?1049l");
  if (before_->keys) ::tcsetattr(STDIN_FILENO, TCSANOW, &before_->settings);
  ::sigaction(SIGINT, &before_->interrupt, nullptr);
  ::sigaction(SIGTERM, &before_->terminate, nullptr);
  ::sigaction(SIGWINCH, &before_->resize, nullptr);
  delete before_;
}

void TerminalPage::draw(const std::vector<std::string>& lines) const {
  std::string text = "\x1b[H";
  for (std::size_t i = 0; i < lines.size(); ++i) text += (i == 0 ? "" : "\r\n") + lines[i] + "\x1b[K";
  write_out(text + "\x1b[J");
}

bool TerminalPage::pause(double seconds) const {
  if (ended != 0) return false;
  pollfd keys{STDIN_FILENO, POLLIN, 0};
  const int found = ::poll(&keys, before_->keys ? 1 : 0, static_cast<int>(1000 * seconds));
  if (found > 0 && (keys.revents & POLLIN) != 0) {
    char key = 0;
    if (::read(STDIN_FILENO, &key, 1) == 1 && (key == 'q' || key == 'Q')) return false;
  }
  return ended == 0;
}

}  // namespace galapagos::app
