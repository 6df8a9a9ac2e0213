#include "info.hpp"
#include "info_experts.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <map>

#include <galapagos/core/text.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos::app {
namespace {

/// Loss after each level of a module that is done, 0 for the dense level.
std::vector<double> level_losses(const DatabaseReader& database, const ModuleId& module) {
  const std::vector<double> loss = database.loss(module);
  std::vector<double> at_levels;
  for (const std::int64_t removed : database.header().removed(module)) {
    at_levels.push_back(removed == 0 ? 0.0 : loss.at(static_cast<std::size_t>(removed - 1)));
  }
  return at_levels;
}

/// The values of a part's levels, those of a mixture's experts added up; nothing where they are not done.
template <typename Values>
std::vector<double> sum_over_part(const DatabaseReader& database, const ModuleId& part,
                                  const Values& values) {
  std::vector<double> sums;
  for (const ModuleId& module : database.header().modules()) {
    if (part_with(module) != part) continue;
    if (!database.done(module)) return {};
    const std::vector<double> of_module = values(database, module);
    sums.resize(std::max(sums.size(), of_module.size()), 0);
    for (std::size_t level = 0; level < of_module.size(); ++level) sums[level] += of_module[level];
  }
  return sums;
}

/// Layers down, levels across: `values` of the parts of a kind to so many significant digits.
template <typename Values>
std::string table(const DatabaseReader& database, ModuleKind kind, const std::string& title, int digits,
                  const Values& values) {
  const DatabaseHeader& header = database.header();
  const auto common = header.common_levels(kind);
  std::string text =
      fmt::format("\n{} of {} by level\n{:>7}", title, name_of(kind), common ? "removed" : "layer");
  if (common) {
    for (const std::int64_t removed : *common) text += fmt::format(" {:>10}", removed);
  }
  text += "\n";
  for (const ModuleId& part : parts_of(header.config)) {
    if (part.kind != kind) continue;
    text += fmt::format("{:>7}", part.layer);
    const std::vector<double> sums = sum_over_part(database, part, values);
    if (sums.empty()) text += "   not done";
    for (const double value : sums) text += fmt::format(" {:>10.{}g}", value, digits);
    text += "\n";
  }
  return text;
}

/// Which layers are dear: bars of the end losses at the middle level, all of one scale.
std::string bars(const DatabaseReader& database) {
  constexpr double width = 24;
  const DatabaseHeader& header = database.header();
  std::map<ModuleId, double> middle;  // of parts of layers
  double most = 0;
  for (const ModuleId& module : header.modules()) {
    if (!database.done(module)) continue;
    double& sum = middle[part_with(module)];
    sum += database.end_loss(module).at(header.removed(module).size() / 2);
    most = std::max(most, sum);
  }
  std::string text = fmt::format("\nend loss at the middle level\n{:>7} {:<36}{}\n", "layer",
                                 name_of(ModuleKind::attention), name_of(ModuleKind::ffn));
  for (std::int64_t layer = 0; layer < header.config.layers; ++layer) {
    text += fmt::format("{:>7}", layer);
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
      const auto found = middle.find({layer, kind});
      const double value = found == middle.end() ? 0 : found->second;
      const auto length =
          static_cast<std::size_t>(most > 0 ? std::ceil(width * std::max(value, 0.0) / most) : 0);
      const std::string bar =
          std::string(length, '#') + (found == middle.end() ? " -" : fmt::format(" {:.3g}", value));
      text += kind == ModuleKind::attention ? fmt::format(" {:<36}", bar) : bar;
    }
    text += "\n";
  }
  return text;
}

/// What Hessians were collected on, where that is not the unpruned model.
std::string path_line(const DatabaseHeader& header) {
  const std::string compensation =
      header.compensation.empty() ? "weights as they are" : "compensated with ridge " + header.compensation;
  return fmt::format("path           levels {}; {}\n", fmt::join(header.path, " "), compensation);
}

}  // namespace

Description describe_database(const std::filesystem::path& path, bool verify) {
  const DatabaseReader database(path);
  const DatabaseHeader& header = database.header();
  std::size_t done = 0;
  Json modules = Json::array();
  for (const ModuleId& module : header.modules()) {
    Json entry;
    if (!header.path.empty()) entry["path_level"] = header.path[modules.size()];
    entry["module"] = name_of(module);
    entry["done"] = database.done(module);
    entry["removed"] = header.removed(module);
    if (database.done(module)) {
      ++done;
      if (verify) database.verify(module);
      const std::vector<double> damping = database.damping(module);
      entry["loss"] = level_losses(database, module);
      if (!header.sensitivity_fingerprint.empty()) entry["end_loss"] = database.end_loss(module);
      entry["rel_damp"] = damping.at(0);
      entry["attempts"] = damping.at(1);
      entry["dead_columns"] = damping.at(2);
      if (module.expert != no_expert) entry["use"] = use_of_expert(database, module);
    }
    modules.push_back(std::move(entry));
  }
  const std::size_t all = header.modules().size();

  Description description;
  description.text = fmt::format(
      "database       {}, {} of {} modules done{}\nmade           {} by galapagos {}\nmodel          {}, {} "
      "layers, hidden size {}, "
      "fingerprint {}\ncalibration    {} tokens in {} sequences of at most {}, fingerprint {}\n"
      "weights        {}, {} in all levels; collected in {}\nattention      by {}, damping {:g}\n",
      database.complete() ? "complete" : "unfinished", done, all, verify ? ", all checksums fit" : "",
      header.created, header.tool_version, header.config.model_type, header.config.layers,
      header.config.hidden_size, header.model_fingerprint,
      human_count(static_cast<std::uint64_t>(header.calibration_tokens)),
      human_count(static_cast<std::uint64_t>(header.calibration_sequences)), header.sequence_length,
      header.calibration_fingerprint, name_of(header.dtype), human_bytes(header.file_bytes()),
      name_of(header.precision), name_of(header.attention_unit), header.relative_damping);
  if (!header.path.empty()) description.text += path_line(header);
  if (!header.imported_from.empty()) {
    description.text +=
        fmt::format("imported       from {}'s files: calibration, damping and losses are unknown\n",
                    header.imported_from);
  }
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    if (header.imported_from.empty()) description.text += table(database, kind, "loss", 4, level_losses);
  }
  if (!header.sensitivity_fingerprint.empty()) {
    description.text += fmt::format(
        "\nsensitivity    fingerprint {}; end losses in nats per token{}\n", header.sensitivity_fingerprint,
        header.end_loss_from.empty() ? "" : ", changes of the divergence from the model on the path");
    const auto end_loss = std::mem_fn(&DatabaseReader::end_loss);
    for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn})
      description.text += table(database, kind, "end loss", 3, end_loss);
    description.text += bars(database);
  }

  description.text += picture_of_experts(database);

  Json& json = description.json;
  json["kind"] = "database";
  json["complete"] = database.complete();
  json["modules_done"] = done;
  json["created"] = header.created;
  json["tool_version"] = header.tool_version;
  json["model_fingerprint"] = header.model_fingerprint;
  json["calibration_fingerprint"] = header.calibration_fingerprint;
  if (!header.sensitivity_fingerprint.empty())
    json["sensitivity_fingerprint"] = header.sensitivity_fingerprint;
  if (!header.end_loss_from.empty()) json["end_loss_from"] = header.end_loss_from;
  if (!header.imported_from.empty()) json["imported_from"] = header.imported_from;
  json["calibration_tokens"] = header.calibration_tokens;
  json["calibration_sequences"] = header.calibration_sequences;
  json["sequence_length"] = header.sequence_length;
  json["rel_damp"] = header.relative_damping;
  json["precision"] = name_of(header.precision);
  json["dtype"] = name_of(header.dtype);
  json["attention_unit"] = name_of(header.attention_unit);
  if (!header.path.empty())
    json["compensate"] = header.compensation.empty() ? Json() : Json(header.compensation);
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    if (const auto common = header.common_levels(kind)) json["levels"][name_of(kind)] = *common;
  }
  json["modules"] = std::move(modules);
  return description;
}

}  // namespace galapagos::app
