#include <algorithm>
#include <utility>

#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/pruning/levels.hpp>
#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t few = 4 * column_granule;

/// Rows of a matrix, or elements of a bias, and zeros behind them up to `length`; nothing where there is
/// nothing.
OwnedTensor gathered(const ops::Context& context, const OwnedTensor& from, std::span<const std::int64_t> rows,
                     std::int64_t length) {
  if (from->empty()) return {};
  const auto count = static_cast<std::int64_t>(rows.size());
  const bool matrix = from->shape.rank() == 2;
  const std::int64_t width = matrix ? from->columns() : 1;
  OwnedTensor out(matrix ? Shape{length, width} : Shape{length}, from->dtype, from->device,
                  "a pruned weight");
  const Tensor all = out->view({length, width});
  ops::gather_rows(context, from->view({from->rows(), width}), rows, all.slice(0, count));
  if (length > count) fill_zero(all.slice(count, length - count));
  return out;
}

/// The tensors of a module of which only some is left: of those with rows along `axis` only `rows`, and zeros
/// up to `length`.
struct Kept {
  Axis axis;
  std::span<const std::int64_t> rows;
  std::int64_t length;
};

/// `output` is the new weight of the one whose columns are pruned.
void prune(const ops::Context& context, const auto& dense, std::initializer_list<Kept> kept,
           OwnedTensor output, auto& pruned) {
  for (const auto& [spec, weight, gradient] : tensors_of(dense)) {
    OwnedTensor& to = pruned.*weight;
    const OwnedTensor& from = dense.*weight;
    const auto of = std::ranges::find(kept, spec.rows, &Kept::axis);
    if (spec.slicing() == Slicing::columns) {
      to = std::move(output);
    } else if (of != kept.end()) {
      to = gathered(context, from, of->rows, of->length);
    } else {
      to = copy_of(from, from->device, spec.name);
    }
  }
}

}  // namespace

std::vector<std::int64_t> rows_of_blocks(std::span<const std::int64_t> blocks, std::int64_t size) {
  std::vector<std::int64_t> rows;
  rows.reserve(blocks.size() * static_cast<std::size_t>(size));
  for (const std::int64_t block : blocks) {
    for (std::int64_t i = 0; i < size; ++i) rows.push_back(block * size + i);
  }
  return rows;
}

KeptHeads kept_heads(std::span<const std::int32_t> kv_of_head, std::int64_t head_dim,
                     std::span<const std::int64_t> kept_columns) {
  KeptHeads kept;
  for (std::size_t i = 0; i < kept_columns.size(); i += static_cast<std::size_t>(head_dim)) {
    const std::int64_t head = kept_columns[i] / head_dim;
    const std::int64_t kv = kv_of_head[static_cast<std::size_t>(head)];
    kept.heads.push_back(head);
    if (kept.kv_heads.empty() || kept.kv_heads.back() != kv) kept.kv_heads.push_back(kv);
    kept.kv_of_head.push_back(static_cast<std::int32_t>(kept.kv_heads.size()) - 1);
  }
  return kept;
}

AttentionWeights prune_attention(const ops::Context& context, const AttentionWeights& dense,
                                 std::int64_t head_dim, std::span<const std::int64_t> kept, OwnedTensor o) {
  AttentionWeights pruned;
  pruned.kind = dense.kind;
  KeptHeads heads = kept_heads(dense.kv_of_head, head_dim, kept);
  const std::vector<std::int64_t> kv_rows = rows_of_blocks(heads.kv_heads, head_dim);
  pruned.kv_heads = static_cast<std::int64_t>(heads.kv_heads.size());
  pruned.kv_of_head = std::move(heads.kv_of_head);
  prune(context, dense, {{Axis::q, kept, std::ssize(kept)}, {Axis::kv, kv_rows, std::ssize(kv_rows)}},
        std::move(o), pruned);
  return pruned;
}

std::int64_t padded_columns(std::int64_t kept, std::int64_t dense) {
  if (kept < few) return kept;
  return std::max(kept, std::min((kept + column_granule - 1) / column_granule * column_granule, dense));
}

FfnWeights prune_ffn(const ops::Context& context, const FfnWeights& dense, std::span<const std::int64_t> kept,
                     OwnedTensor down) {
  FfnWeights pruned;
  pruned.columns = down->empty() ? 0 : down->columns();
  prune(context, dense, {{Axis::ffn, kept, pruned.columns}}, std::move(down), pruned);
  return pruned;
}

ExpertWeights prune_expert(const ops::Context& context, const ExpertWeights& dense,
                           std::span<const std::int64_t> kept, OwnedTensor down) {
  ExpertWeights pruned;
  pruned.columns = down->empty() ? 0 : down->columns();
  prune(context, dense, {{Axis::ffn, kept, pruned.columns}}, std::move(down), pruned);
  return pruned;
}

FfnWeights with_experts(const ops::Context& context, const FfnWeights& dense,
                        std::vector<std::shared_ptr<const ExpertWeights>> experts) {
  FfnWeights mixture;
  std::vector<std::int64_t> left;
  for (std::size_t expert = 0; expert < experts.size(); ++expert) {
    if (!experts[expert]) continue;
    left.push_back(static_cast<std::int64_t>(expert));
    mixture.columns += experts[expert]->columns;
    mixture.experts.push_back(std::move(experts[expert]));
  }
  if (!mixture.mixture()) return mixture;
  prune(context, dense, {{Axis::experts, left, std::ssize(left)}}, {}, mixture);
  return mixture;
}

OwnedTensor level_weight(const ops::Context& context, std::span<const std::byte> bytes, DType stored,
                         DType precision, std::int64_t kept, std::int64_t width, std::int64_t hidden) {
  const auto matrix = [&](Shape shape, DType type) {
    return OwnedTensor(shape, type, context.device(), "a level's weight");
  };
  OwnedTensor rows = matrix({width, hidden}, stored);
  ops::upload(context, bytes, rows->slice(0, kept));
  if (width > kept) fill_zero(rows->slice(kept, width - kept));
  if (stored != precision) {
    OwnedTensor converted = matrix({width, hidden}, precision);
    ops::convert(context, rows, converted);
    rows = std::move(converted);
  }
  OwnedTensor weight = matrix({hidden, width}, precision);
  ops::transpose(context, rows, weight);
  return weight;
}

}  // namespace galapagos
