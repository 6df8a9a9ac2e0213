#include "command.hpp"

#include <galapagos/core/file.hpp>
#include <galapagos/report/page.hpp>
#include <galapagos/report/run_reader.hpp>

namespace galapagos::app {

void report(const Communicator& world, const std::vector<std::string>& words) {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path output = "report.html";
  std::string log_level = "info";
  Options options;
  options.describe("report", "what runs did, as one HTML page that stands alone", "runs");
  options.add("runs", runs,
              "folders of runs, or of several runs, results.csv of a study, comparison.json (the words after "
              "'report')");
  options.add("output", output, "the page, which is replaced where it is there");
  bind_log_level(options, log_level);
  if (!begin(world, options, words)) return;
  agree_at_root(world, [&] {
    options.take();
    if (runs.empty())
      throw UsageError("nothing to report", "galapagos report", "give a run's folder, or several");
    check_folder(output);
    if (std::filesystem::is_directory(output))
      throw InputError("is a folder", output.string(), "give --output a file's name");
    const double now = report::clock_now();
    const report::ReportData data = report::read_report(runs, now);
    write_file_atomically(output, report::html_report(data, now));
    print(world, output.string() + "\n");
  });
}

}  // namespace galapagos::app
