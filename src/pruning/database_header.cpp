#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/model/weights.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {

std::string name_of(const ModuleId& module) {
  return module.kind == ModuleKind::attention ? attention_output_name(module.layer)
                                              : ffn_output_name(module.layer);
}

std::vector<ModuleId> DatabaseHeader::modules() const {
  std::vector<ModuleId> all;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    all.push_back({layer, ModuleKind::attention});
    all.push_back({layer, ModuleKind::ffn});
  }
  return all;
}

std::int64_t DatabaseHeader::kept_columns(ModuleKind kind, std::int64_t level) const {
  const StructureLayout cut = layout(kind);
  return cut.columns - removed(kind)[static_cast<std::size_t>(level)] * cut.unit;
}

std::uint64_t DatabaseHeader::file_bytes() const {
  std::uint64_t bytes = 1 << 20;
  for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn}) {
    std::uint64_t module = static_cast<std::uint64_t>(removed(kind).back()) * 12;
    for (std::size_t level = 1; level < removed(kind).size(); ++level) {
      module += static_cast<std::uint64_t>(kept_columns(kind, static_cast<std::int64_t>(level)) *
                                           config.hidden_size) *
                size_of(dtype);
    }
    bytes += module * static_cast<std::uint64_t>(config.layers);
  }
  return bytes;
}

void check_same_database(const DatabaseHeader& found, const DatabaseHeader& wanted, const std::string& path) {
  const auto compare = [&](bool same, const std::string& what, const std::string& remedy) {
    if (!same) throw InputError("this database was made with " + what, path, remedy);
  };
  const std::string options = "give the options it was begun with, or another --output";
  compare(found.config.source == wanted.config.source && found.model_fingerprint == wanted.model_fingerprint,
          "another model", "give the model it was begun with, or another --output");
  compare(found.calibration_fingerprint == wanted.calibration_fingerprint, "other calibration data",
          "give the data, --calibration-tokens, --sequence-length and --add-bos it was begun with, or "
          "another --output");
  compare(found.attention_unit == wanted.attention_unit, "--attention-unit " + name_of(found.attention_unit),
          options);
  compare(found.attention_removed == wanted.attention_removed, "other levels of attention", options);
  compare(found.ffn_removed == wanted.ffn_removed, "other levels of the feed-forward part", options);
  compare(found.relative_damping == wanted.relative_damping,
          fmt::format("--rel-damp {:g}", found.relative_damping), options);
  compare(found.precision == wanted.precision, "--precision " + name_of(found.precision), options);
  compare(found.dtype == wanted.dtype, "weights of another type", options);
}

}  // namespace galapagos
