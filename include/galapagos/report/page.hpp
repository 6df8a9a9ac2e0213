#pragma once

#include <string>
#include <vector>

#include <galapagos/report/run_data.hpp>
#include <galapagos/report/study.hpp>

namespace galapagos::report {

/// What a report is of.
struct ReportData {
  std::string title;
  std::vector<RunData> runs;
  std::vector<ModelLine> models;  ///< of comparison.json
  std::vector<StudyRow> study;
};

/// One HTML file that stands alone, well-formed as XML is; the same bytes for the same data. `now`: seconds
/// since 1970, which it names as the time that it was made.
std::string html_report(const ReportData& data, double now);

/// Reads `places`: runs, folders of runs, results.csv of a study, comparison.json. InputError where one
/// holds nothing of that.
ReportData read_report(const std::vector<std::filesystem::path>& places, double now);

}  // namespace galapagos::report
