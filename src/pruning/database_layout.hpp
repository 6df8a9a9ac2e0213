#pragma once

#include <string>

#include <galapagos/core/hash.hpp>
#include <galapagos/pruning/database.hpp>

// Names of the file's objects and what the writer and the reader must agree on.
namespace galapagos::layout {

/// 2 where level 0 is stored, 3 where end losses may be negative, which programs that know only 1 would not
/// take.
constexpr std::int64_t format_version = 1, stored_zero_version = 2, newest_version = 3;

/// Levels of all modules of a kind; where they differ, each module has its own under "removed".
inline std::string levels_path(ModuleKind kind) {
  return "/levels/" + name_of(kind);
}
inline std::string level_name(std::int64_t level) {
  return "level_" + std::to_string(level);
}
inline std::string level_path(const ModuleId& module, std::int64_t level) {
  return group_of(module) + "/" + level_name(level);
}

inline Hdf5Type weight_type(DType dtype) {
  return dtype == DType::f32 ? Hdf5Type::f32 : dtype == DType::f16 ? Hdf5Type::f16 : Hdf5Type::bf16;
}
inline std::string weight_type_name(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::f16 ? "float16" : "bfloat16";
}

/// Checksum of what a module holds beside its levels; end losses are there only with a sensitivity, use only
/// of experts.
inline std::uint64_t summary_checksum(const std::vector<std::int32_t>& order, const std::vector<double>& loss,
                                      const std::vector<double>& damping, const std::vector<double>& end_loss,
                                      const std::vector<double>& use) {
  Hash64 hash;
  hash.add(std::as_bytes(std::span(order)))
      .add(std::as_bytes(std::span(loss)))
      .add(std::as_bytes(std::span(damping)))
      .add(std::as_bytes(std::span(end_loss)))
      .add(std::as_bytes(std::span(use)));
  return hash.value();
}

constexpr std::uint64_t damping_values = 3, use_values = 4;

/// As it is stored; nothing where there is none.
inline std::vector<double> values_of(const std::optional<ExpertUse>& use) {
  if (!use) return {};
  return {use->tokens, use->weights, use->outputs, use->squares};
}

}  // namespace galapagos::layout
