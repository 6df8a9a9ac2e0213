#include "command.hpp"
#include "terminal.hpp"

#include <map>

#include <galapagos/report/run_reader.hpp>
#include <galapagos/report/screen.hpp>

namespace galapagos::app {
namespace {

namespace fs = std::filesystem;

/// What the runs' files say now; new runs in the `places` join.
class Watch {
 public:
  explicit Watch(std::vector<fs::path> places) : places_(std::move(places)) {}

  /// InputError where there is no run in one of the places.
  std::vector<report::RunData> look() {
    const double now = report::clock_now();
    std::vector<report::RunData> runs;
    for (const fs::path& place : places_) {
      const std::vector<report::FoundRun> found = report::runs_below(place);
      if (found.empty())
        throw InputError(
            fs::exists(place) ? "there is no run in it" : "there is no such folder", place.string(),
            "give the --output of search, train, distil, prune or rounds, or a folder of such runs");
      for (const report::FoundRun& run : found) runs.push_back(reader_of(run).refresh(now));
    }
    return runs;
  }

 private:
  report::RunReader& reader_of(const report::FoundRun& run) {
    return readers_.try_emplace(run.folder, run).first->second;
  }

  std::vector<fs::path> places_;
  std::map<fs::path, report::RunReader> readers_;
};

void print_once(const Communicator& world, Watch& watch) {
  report::ScreenStyle style;
  style.width = draws_on_terminal() ? terminal_size().width : 120;
  style.colour = wants_colours();
  style.utf8 = writes_utf8();
  std::string text;
  for (const std::string& line : report::screen(watch.look(), style)) text += line + "\n";
  print(world, text);
}

void draw_until_asked(Watch& watch, double seconds) {
  std::vector<report::RunData> runs = watch.look();  // what is wrong is told before anything is drawn
  const TerminalPage page;
  do {
    report::ScreenStyle style;
    const TerminalSize size = terminal_size();
    style.width = size.width;
    style.height = size.height;
    style.colour = wants_colours();
    style.utf8 = writes_utf8();
    page.draw(report::screen(runs, style));
    if (!page.pause(seconds)) return;
    runs = watch.look();
  } while (true);
}

}  // namespace

void top(const Communicator& world, const std::vector<std::string>& words) {
  std::vector<fs::path> runs;
  bool once = false;
  double seconds = 2;
  std::string log_level = "info";
  Options options;
  options.describe("top", "how far runs have come, again and again", "runs");
  options.add("runs", runs, "folders of runs, or of several runs (the words after 'top')");
  options.add("once", once, "print it once, as where the output is no terminal");
  options.add("seconds", seconds, "between two looks", {.least = 0.1, .most = 3600});
  bind_log_level(options, log_level);
  if (!begin(world, options, words)) return;
  agree_at_root(world, [&] {
    options.take();
    options.check();
    if (runs.empty())
      throw UsageError("nothing to watch", "galapagos top", "give a run's folder, or several");
    Watch watch(runs);
    if (once || !draws_on_terminal()) return print_once(world, watch);
    draw_until_asked(watch, seconds);
  });
}

}  // namespace galapagos::app
