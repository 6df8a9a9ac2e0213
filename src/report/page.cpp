#include "line_tail.hpp"
#include "sections.hpp"
#include "style.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/report/page.hpp>
#include <galapagos/report/run_reader.hpp>
#include <galapagos/report/svg.hpp>

namespace galapagos::report {
namespace {

namespace fs = std::filesystem;

/// "2026-11-29 20:40 UTC"
std::string named_time(double now) {
  const auto seconds = static_cast<std::time_t>(now);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02} UTC", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min);
}

/// `alone`: the page's heading names it.
std::string section_of(const RunData& run, const std::string& id, bool alone) {
  std::string text =
      alone ? "" : element("h2", {}, escaped(run.name) + element("small", {}, escaped(run.command)));
  text += summary_section(run) + fitness_section(run) + levels_section(run) + ancestry_section(run) +
          prediction_section(run) + front_section(run) + training_section(run) + distillation_section(run) +
          steps_section(run) + cost_section(run);
  return element("section", {{"id", id}}, text) + "\n";
}

std::string subtitle(const ReportData& data, double now) {
  const std::string command = data.runs.size() == 1 ? data.runs.front().command : "";
  return fmt::format("{}{}as of {}", command, command.empty() ? "" : ", ", named_time(now));
}

/// Runs that get a section of their own; more would make a page that no browser likes.
std::size_t with_sections(const ReportData& data) {
  constexpr std::size_t most = 12;
  return data.runs.size() > most ? 0 : data.runs.size();
}

std::string contents(const ReportData& data, bool beside) {
  std::string links;
  if (beside) links += element("a", {{"href", "#all"}}, "together");
  for (std::size_t i = 0; i < with_sections(data); ++i)
    links += element("a", {{"href", fmt::format("#run-{}", i)}}, escaped(data.runs[i].name));
  return with_sections(data) + (beside ? 1 : 0) < 2 ? ""
                                                    : element("nav", {{"aria-label", "runs"}}, links) + "\n";
}

std::string head(const std::string& title) {
  // Nothing is loaded from anywhere, whatever a run's files say.
  const std::string policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
  return "<head><meta charset=\"utf-8\"/>" +
         element("meta", {{"http-equiv", "Content-Security-Policy"}, {"content", policy}}) +
         element("meta", {{"name", "viewport"}, {"content", "width=device-width, initial-scale=1"}}) +
         element("title", {}, escaped(title)) + "<style>" + style_sheet + "</style></head>\n";
}

}  // namespace

std::string html_report(const ReportData& data, double now) {
  const std::string beside =
      models_section(data.models) + comparison_section(data.runs) + study_section(data.study, data.runs);
  std::string body = element(
      "header", {}, element("h1", {}, escaped(data.title)) + element("p", {}, escaped(subtitle(data, now))));
  body += contents(data, !beside.empty());
  if (with_sections(data) < data.runs.size())
    body += element(
        "p", {{"class", "lead"}},
        fmt::format("{} runs are too many for a section each: give some of them alone.", data.runs.size()));
  if (!beside.empty()) body += element("section", {{"id", "all"}}, beside) + "\n";
  for (std::size_t i = 0; i < with_sections(data); ++i)
    body += section_of(data.runs[i], fmt::format("run-{}", i), data.runs.size() == 1 && beside.empty());
  body += element("footer", {}, escaped("galapagos " + version_with_revision()));
  return "<!DOCTYPE html>\n<html lang=\"en\">\n" + head(data.title) + "<body><div class=\"page\">" + body +
         "</div><div id=\"tip\" hidden=\"hidden\"> </div><script>" + script + "</script></body>\n</html>\n";
}

ReportData read_report(const std::vector<fs::path>& places, double now) {
  ReportData data;
  std::set<std::string> seen;
  for (const fs::path& place : places) {
    const std::string name = place.string();
    const std::size_t before = data.runs.size() + data.models.size() + data.study.size();
    bool known = false;
    std::error_code none;
    if (fs::is_regular_file(place, none)) {
      const auto add = [](auto& to, auto more) { to.insert(to.end(), more.begin(), more.end()); };
      add(data.study, read_study(place));
      if (data.study.empty()) add(data.models, read_models(place));
    } else {
      for (const FoundRun& run : runs_below(place)) {
        if (seen.insert(fs::weakly_canonical(run.folder, none).string()).second) {
          data.runs.push_back(read_run(run, now));
        } else {
          known = true;
        }
      }
      for (const StudyRow& row : read_study(place / "results.csv")) data.study.push_back(row);
      for (const ModelLine& one : read_models(place / "comparison.json")) data.models.push_back(one);
    }
    if (known || data.runs.size() + data.models.size() + data.study.size() > before) continue;
    throw InputError(fs::exists(place, none) ? "there is no run in it" : "there is no such file or folder",
                     name,
                     "give the --output of search, train, distil, prune or rounds, a folder of such runs, or "
                     "results.csv of a study");
  }
  if (data.study.empty()) data.study = study_of(data.runs);
  data.title = data.runs.size() == 1 ? data.runs.front().name
               : places.size() == 1  ? fs::path(fs::weakly_canonical(places.front())).filename().string()
                                     : fmt::format("{} runs", data.runs.size());
  return data;
}

}  // namespace galapagos::report
