#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/pruning/levels.hpp>

namespace galapagos {

std::string name_of(AttentionUnit unit) {
  constexpr std::array names = {"head", "group", "per-group"};
  return names.at(static_cast<std::size_t>(unit));
}

StructureLayout attention_layout(const LayerShape& shape, std::int64_t head_dim, AttentionUnit unit) {
  StructureLayout layout;
  layout.columns = shape.heads() * head_dim;
  layout.unit = head_dim;
  if (unit == AttentionUnit::head || shape.heads() == 0) return layout;
  if (shape.heads() % shape.kv_heads != 0 ||
      shape.kv_of_head != even_layer_shape(shape.heads(), shape.kv_heads, 0).kv_of_head) {
    throw InputError("a layer's KV heads have different numbers of query heads",
                     "--attention-unit " + name_of(unit), "use --attention-unit head");
  }
  const std::int64_t heads_per_group = shape.heads() / shape.kv_heads;
  if (unit == AttentionUnit::group) {
    layout.unit = heads_per_group * head_dim;
  } else {
    layout.round = heads_per_group;
    layout.step = shape.kv_heads;
  }
  return layout;
}

StructureLayout ffn_layout(std::int64_t columns) {
  StructureLayout layout;
  layout.columns = columns;
  return layout;
}

std::vector<std::int64_t> kept_columns(const StructureLayout& layout, std::span<const std::int32_t> order,
                                       std::int64_t removed) {
  std::vector<bool> keep(static_cast<std::size_t>(layout.structures()), true);
  for (std::int64_t i = 0; i < removed; ++i) {
    keep[static_cast<std::size_t>(order[static_cast<std::size_t>(i)])] = false;
  }
  std::vector<std::int64_t> columns;
  for (std::int64_t column = 0; column < layout.columns; ++column) {
    if (keep[static_cast<std::size_t>(column / layout.unit)]) columns.push_back(column);
  }
  return columns;
}

std::vector<std::int64_t> equal_levels(const StructureLayout& layout, std::int64_t count) {
  if (count < 1) throw UsageError(fmt::format("{} levels", count), "--levels", "ask for at least one");
  const std::int64_t steps = layout.structures() / layout.step;
  const std::int64_t levels = std::min(count, steps);
  const bool rounded = layout.unit == 1 && steps / levels >= column_granule;
  std::vector<std::int64_t> removed;
  for (std::int64_t level = 0; level <= levels; ++level) {
    const double kept =
        static_cast<double>(steps) * static_cast<double>(levels - level) / static_cast<double>(levels);
    std::int64_t whole = static_cast<std::int64_t>(std::llround(kept));
    if (rounded && level > 0)
      whole = static_cast<std::int64_t>(std::llround(kept / column_granule)) * column_granule;
    removed.push_back((steps - whole) * layout.step);
  }
  return removed;
}

std::vector<std::int64_t> explicit_levels(const StructureLayout& layout, const std::string& list,
                                          const std::string& option) {
  std::vector<std::int64_t> columns = parse_integers(list, option);
  if (columns.empty())
    throw UsageError("an empty list of levels", option, "write the removed columns, as in \"0 256 512\"");
  if (columns.front() != 0) {
    log_warning_once(fmt::format(
        "{}: the list has no 0; level 0 is the dense one all the same, so that the first of the list, {}, "
        "is level 1",
        option, columns.front()));
    columns.insert(columns.begin(), 0);
  }
  if (columns.size() < 2)
    throw UsageError("no level but the dense one", option, "write the removed columns, as in \"0 256 512\"");
  std::vector<std::int64_t> removed;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const std::int64_t count = columns[i], granule = layout.unit * layout.step;
    if (count < 0)
      throw UsageError(fmt::format("level {} removes {} columns", i, count), option,
                       "write no negative numbers");
    if (i > 0 && count <= columns[i - 1]) {
      throw UsageError(fmt::format("{} after {}: levels must ascend", count, columns[i - 1]), option,
                       "sort the list and remove what stands there twice");
    }
    if (count > layout.columns) {
      throw UsageError(fmt::format("level {} removes {} columns of {}", i, count, layout.columns), option,
                       "remove no more columns than the model has");
    }
    if (count % granule != 0) {
      throw UsageError(fmt::format("level {} removes {} columns, not a multiple of {}", i, count, granule),
                       option, "remove whole structures (see --attention-unit)");
    }
    removed.push_back(count / layout.unit);
  }
  return removed;
}

}  // namespace galapagos
