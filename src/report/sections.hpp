#pragma once

#include <string>
#include <utility>
#include <vector>

#include <galapagos/report/run_data.hpp>
#include <galapagos/report/study.hpp>

// The report's parts, each as markup; empty where there is nothing to show.
namespace galapagos::report {

/// A row of a table of two columns.
using Row = std::vector<std::string>;

/// The first row is the heading, or empty; from the second column on numbers, to the right, where `numbers`.
std::string table(const std::vector<Row>& rows, bool numbers = true);
/// What stands out of a run: a large number with its name below, and a note.
struct Tile {
  std::string name, value, note;
};
std::string tiles(const std::vector<Tile>& all);
std::string heading(const std::string& text, const std::string& explanation = {});
/// Pictures side by side where there is room.
std::string side_by_side(const std::string& pictures);
/// "1.2 kWh"; empty where the energy is not known.
std::string energy(double joules);
std::string whole(std::int64_t number);
std::string decimal(double number, int digits = 5);

std::string summary_section(const RunData& run);
std::string fitness_section(const RunData& run);
std::string levels_section(const RunData& run);
std::string ancestry_section(const RunData& run);
std::string prediction_section(const RunData& run);
std::string front_section(const RunData& run);
std::string training_section(const RunData& run);
std::string distillation_section(const RunData& run);
std::string steps_section(const RunData& run);
std::string cost_section(const RunData& run);
std::string comparison_section(const std::vector<RunData>& runs);
std::string models_section(const std::vector<ModelLine>& models);
std::string study_section(const std::vector<StudyRow>& rows, const std::vector<RunData>& runs);

}  // namespace galapagos::report
