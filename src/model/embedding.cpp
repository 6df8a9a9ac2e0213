#include <galapagos/model/embedding.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

void multiply(const ops::Context& context, float scale, const Tensor& x) {
  if (scale != 1) ops::combine(context, scale, x, 0, x);
}

}  // namespace

void embed_tokens(const ops::Context& context, const HfConfig& config, const Shards& shards,
                  std::span<const std::int32_t> tokens, const Tensor& table, const Tensor& out) {
  ops::embed(context, tokens, table, out, shards.first_id());
  multiply(context, embedding_scale(config, table.dtype), out);
  shards.sum(out);
}

void embed_tokens_backward(const ops::Context& context, const HfConfig& config, const Shards& shards,
                           std::span<const std::int32_t> tokens, DType stored, const Tensor& d_out,
                           const Tensor& d_table) {
  multiply(context, embedding_scale(config, stored), d_out);
  ops::embed_backward(context, tokens, d_out, d_table, shards.first_id());
}

}  // namespace galapagos
