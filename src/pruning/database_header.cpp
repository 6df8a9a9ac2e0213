#include <fmt/format.h>
#include <iterator>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos {

StructureLayout DatabaseHeader::layout(const ModuleId& module) const {
  const LayerShape& shape = config.shape(module.layer);
  return module.kind == ModuleKind::attention ? attention_layout(shape, config.head_dim, attention_unit)
                                              : ffn_layout(module_columns(config, module));
}

std::optional<std::vector<std::int64_t>> DatabaseHeader::common_levels(ModuleKind kind) const {
  const std::vector<std::int64_t>* common = nullptr;
  for (const auto& [module, removed] : levels) {
    if (module.kind != kind) continue;
    if (common != nullptr && *common != removed) return std::nullopt;
    common = &removed;
  }
  return common == nullptr ? std::nullopt : std::optional(*common);
}

std::int64_t DatabaseHeader::kept_columns(const ModuleId& module, std::int64_t level) const {
  const StructureLayout cut = layout(module);
  return cut.columns - removed(module)[static_cast<std::size_t>(level)] * cut.unit;
}

std::uint64_t DatabaseHeader::file_bytes() const {
  std::uint64_t bytes = 1 << 20;
  for (const ModuleId& module : modules()) {
    bytes += static_cast<std::uint64_t>(removed(module).back()) * 12;
    if (!sensitivity_fingerprint.empty()) bytes += removed(module).size() * sizeof(double);
    for (std::int64_t level = first_stored(); level < std::ssize(removed(module)); ++level) {
      bytes += static_cast<std::uint64_t>(kept_columns(module, level) * config.hidden_size) * size_of(dtype);
    }
  }
  return bytes;
}

void check_same_database(const DatabaseHeader& found, const DatabaseHeader& wanted, const std::string& path) {
  const auto compare = [&](bool same, const std::string& what, const std::string& remedy) {
    if (!same) throw InputError("this database was made with " + what, path, remedy);
  };
  const std::string options =
      "give the options it was begun with, another --output, or --fresh to begin anew";
  compare(found.config.source == wanted.config.source && found.model_fingerprint == wanted.model_fingerprint,
          "another model", "give the model it was begun with, another --output, or --fresh to begin anew");
  compare(found.calibration_fingerprint == wanted.calibration_fingerprint, "other calibration data",
          "give the data, --calibration-tokens, --sequence-length and --add-bos it was begun with, or "
          "another --output, or --fresh to begin anew");
  compare(found.sensitivity_fingerprint == wanted.sensitivity_fingerprint,
          found.sensitivity_fingerprint.empty()    ? "no sensitivities"
          : wanted.sensitivity_fingerprint.empty() ? "sensitivities"
                                                   : "other sensitivities",
          found.sensitivity_fingerprint.empty()
              ? "leave --sensitivity out, give another --output, or --fresh to begin anew"
              : "give the --sensitivity it was begun with, another --output, or --fresh to begin anew");
  compare(found.attention_unit == wanted.attention_unit, "--attention-unit " + name_of(found.attention_unit),
          options);
  compare(found.levels == wanted.levels, "other levels", options);
  compare(found.relative_damping == wanted.relative_damping,
          fmt::format("--rel-damp {:g}", found.relative_damping), options);
  compare(found.precision == wanted.precision, "--precision " + name_of(found.precision), options);
  compare(found.path == wanted.path, found.path.empty() ? "no --path" : "another --path", options);
  compare(found.compensation == wanted.compensation,
          found.compensation.empty() ? "no --compensate" : "--compensate " + found.compensation, options);
  compare(found.batch_tokens == wanted.batch_tokens, fmt::format("--batch-tokens {}", found.batch_tokens),
          options);
  compare(found.dtype == wanted.dtype, "weights of another type", options);
}

}  // namespace galapagos
