#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// What is removed from attention at a time: one query head, a KV head with all its query heads, or one query
/// head out of every KV group.
enum class AttentionUnit : std::uint8_t { head, group, per_group };

std::string name_of(AttentionUnit unit);

/// How the modules of one kind are cut into structures.
struct StructureLayout {
  std::int64_t columns = 0;  ///< input columns of the dense module
  std::int64_t unit = 1;     ///< columns of a structure
  std::int64_t round = 0;    ///< as in ObsProblem
  std::int64_t step = 1;     ///< a level removes a multiple of this many structures

  std::int64_t structures() const { return columns / unit; }
};

/// Of a layer's attention; InputError where its KV heads have different numbers of query heads and the unit
/// needs them equal.
StructureLayout attention_layout(const LayerShape& shape, std::int64_t head_dim, AttentionUnit unit);
StructureLayout ffn_layout(std::int64_t columns);

/// The columns left, ascending, once the first `removed` structures of an order of removal are gone.
std::vector<std::int64_t> kept_columns(const StructureLayout& layout, std::span<const std::int32_t> order,
                                       std::int64_t removed);

/// Tensor cores and block-quantised formats want multiples of so many columns.
constexpr std::int64_t column_granule = 32;

/// Structures removed at levels 0, 1, ...: 0 first, ascending. `count` equal steps, the last removes all;
/// kept columns of an ffn are rounded to multiples of 32 where the steps are at least that wide. Fewer levels
/// where there are not that many structures to tell them apart. UsageError where count < 1.
std::vector<std::int64_t> equal_levels(const StructureLayout& layout, std::int64_t count);

/// The same from an explicit list of removed columns ("0 256 512", the 0 may be left out). UsageError, naming
/// the option, where it is empty, unsorted, holds a number twice, goes beyond the width or cuts a structure.
std::vector<std::int64_t> explicit_levels(const StructureLayout& layout, const std::string& list,
                                          const std::string& option);

}  // namespace galapagos
