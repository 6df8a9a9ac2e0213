#include "weight_copies.hpp"

#include <memory>
#include <vector>

#include <galapagos/ops/rows.hpp>

namespace galapagos {
namespace {

void copy_tensors(const auto& from, auto& to) {
  for (const auto& [spec, weight, gradient] : tensors_of(from)) to.*weight = copy(from.*weight);
}

}  // namespace

OwnedTensor copy(const Tensor& tensor) {
  return copy_of(tensor, tensor.device, "a candidate's weights");
}

AttentionWeights copy(const AttentionWeights& attention) {
  AttentionWeights own;
  own.kind = attention.kind;
  own.kv_heads = attention.kv_heads;
  own.kv_of_head = attention.kv_of_head;
  copy_tensors(attention, own);
  return own;
}

FfnWeights copy(const FfnWeights& ffn) {
  FfnWeights own;
  own.columns = ffn.columns;
  copy_tensors(ffn, own);
  for (const auto& expert : ffn.experts) {
    const auto copied = std::make_shared<ExpertWeights>();
    copied->columns = expert->columns;
    copy_tensors(*expert, *copied);
    own.experts.push_back(copied);
  }
  return own;
}

OwnedTensor with_zeros(const ops::Context& context, const OwnedTensor& compact, std::int64_t hidden,
                       std::int64_t columns, DType type, std::span<const std::int64_t> places) {
  const std::int64_t count = compact->empty() ? 0 : compact->columns();
  const auto matrix = [&](std::int64_t rows, std::int64_t width) {
    return OwnedTensor({rows, width}, type, context.device(), "a candidate's weights");
  };
  const OwnedTensor table = matrix(count + 1, hidden);  // the last row is zero
  fill_zero(table);
  if (count > 0) ops::transpose(context, compact, table->slice(0, count));
  std::vector<std::int64_t> rows(static_cast<std::size_t>(columns), count);
  for (std::size_t i = 0; i < places.size(); ++i)
    rows[static_cast<std::size_t>(places[i])] = static_cast<std::int64_t>(i);
  const OwnedTensor spread = matrix(columns, hidden);
  ops::gather_rows(context, table, rows, spread);
  OwnedTensor weight = matrix(hidden, columns);
  ops::transpose(context, spread, weight);
  return weight;
}

}  // namespace galapagos
