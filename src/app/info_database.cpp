#include "info.hpp"

#include <fmt/format.h>

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

std::string table(const DatabaseReader& database, ModuleKind kind) {
  const DatabaseHeader& header = database.header();
  const auto common = header.common_levels(kind);
  std::string text = fmt::format("\nloss of {} by level\n{:>7}", name_of(kind), common ? "removed" : "layer");
  if (common) {
    for (const std::int64_t removed : *common) text += fmt::format(" {:>10}", removed);
  }
  text += "\n";
  for (const ModuleId& module : header.modules()) {
    if (module.kind != kind) continue;
    text += fmt::format("{:>7}", module.layer);
    if (!database.done(module)) {
      text += "   not done\n";
      continue;
    }
    for (const double loss : level_losses(database, module)) text += fmt::format(" {:>10.4g}", loss);
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
      entry["rel_damp"] = damping.at(0);
      entry["attempts"] = damping.at(1);
      entry["dead_columns"] = damping.at(2);
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
  description.text += table(database, ModuleKind::attention) + table(database, ModuleKind::ffn);

  Json& json = description.json;
  json["kind"] = "database";
  json["complete"] = database.complete();
  json["modules_done"] = done;
  json["created"] = header.created;
  json["tool_version"] = header.tool_version;
  json["model_fingerprint"] = header.model_fingerprint;
  json["calibration_fingerprint"] = header.calibration_fingerprint;
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
