// The public operations: each runs on the context's device.
#include "backends.hpp"
#include "cpu/tuning.hpp"
#include "cuda/tuning.hpp"

#ifdef GALAPAGOS_CUDA
#include <nvtx3/nvtx3.hpp>

#define GALAPAGOS_DISPATCH(operation, ...)        \
  if (context.device() == Device::cuda) {         \
    const nvtx3::scoped_range range{#operation};  \
    return cuda::operation(context, __VA_ARGS__); \
  }                                               \
  return cpu::operation(context, __VA_ARGS__)
#else
#define GALAPAGOS_DISPATCH(operation, ...) return cpu::operation(context, __VA_ARGS__)
#endif

namespace galapagos::ops {

void linear(const Context& context, const Factor& x, const Tensor& weight, const Tensor* bias,
            const Tensor& y, bool accumulate) {
  GALAPAGOS_DISPATCH(linear, x, weight, bias, y, accumulate);
}

void accumulate_gram(const Context& context, const Tensor& x, float scale, const Tensor& h) {
  GALAPAGOS_DISPATCH(accumulate_gram, x, scale, h);
}

void embed(const Context& context, std::span<const std::int32_t> tokens, const Tensor& table,
           const Tensor& out, std::int64_t first_id) {
  GALAPAGOS_DISPATCH(embed, tokens, table, out, first_id);
}

void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
              const Tensor& out) {
  GALAPAGOS_DISPATCH(rms_norm, x, weight, rule, out);
}

void head_norm(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
               const Tensor& out) {
  GALAPAGOS_DISPATCH(head_norm, x, weight, rule, out);
}

void head_norm_backward(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
                        const Tensor& d, const Tensor& d_weight) {
  GALAPAGOS_DISPATCH(head_norm_backward, x, weight, rule, d, d_weight);
}

void rope(const Context& context, const Tensor& q, const Tensor& k, std::int64_t head_dim,
          const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale,
          std::span<const std::int64_t> starts) {
  GALAPAGOS_DISPATCH(rope, q, k, head_dim, frequencies, offsets, scale, starts);
}

void swiglu(const Context& context, const Tensor& gate, const Tensor& up, const Tensor& out, GateKind kind) {
  GALAPAGOS_DISPATCH(swiglu, gate, up, out, kind);
}

void grouped_linear(const Context& context, const Factor& x, std::span<const std::int64_t> rows,
                    std::span<const GroupedProduct> products, bool accumulate) {
  GALAPAGOS_DISPATCH(grouped_linear, x, rows, products, accumulate);
}

void grouped_input_gradient(const Context& context, const Factor& d_y, std::span<const std::int64_t> rows,
                            std::span<const Tensor> weights, const Tensor& d_x, bool accumulate) {
  GALAPAGOS_DISPATCH(grouped_input_gradient, d_y, rows, weights, d_x, accumulate);
}

void grouped_weight_gradient(const Context& context, const Factor& d_y, const Factor& x,
                             std::span<const std::int64_t> rows, std::span<const Tensor> d_weights) {
  GALAPAGOS_DISPATCH(grouped_weight_gradient, d_y, x, rows, d_weights);
}

void route(const Context& context, const Tensor& logits, const RoutingRule& rule,
           std::span<const std::int64_t> columns, Routing& routing) {
  GALAPAGOS_DISPATCH(route, logits, rule, columns, routing);
}

void route_backward(const Context& context, const Routing& routing, const RoutingRule& rule,
                    const Tensor& d_weights, const Tensor& d_logits) {
  GALAPAGOS_DISPATCH(route_backward, routing, rule, d_weights, d_logits);
}

void gather_routed(const Context& context, const Tensor& table, const Routing& routing, const Tensor& out) {
  GALAPAGOS_DISPATCH(gather_routed, table, routing, out);
}

void routed_swiglu(const Context& context, const Tensor& gate, const Tensor& up, const Routing& routing,
                   const Tensor& out, GateKind kind) {
  GALAPAGOS_DISPATCH(routed_swiglu, gate, up, routing, out, kind);
}

void routed_swiglu_backward(const Context& context, const Tensor& d, const Tensor& gate, const Tensor& up,
                            const Routing& routing, const Tensor& d_weights, GateKind kind) {
  GALAPAGOS_DISPATCH(routed_swiglu_backward, d, gate, up, routing, d_weights, kind);
}

void sum_rows(const Context& context, const Tensor& rows, const Routing& routing, const Tensor& out,
              bool accumulate) {
  GALAPAGOS_DISPATCH(sum_rows, rows, routing, out, accumulate);
}

void soft_cap(const Context& context, const Tensor& x, float cap) {
  GALAPAGOS_DISPATCH(soft_cap, x, cap);
}

void soft_cap_backward(const Context& context, const Tensor& capped, float cap, const Tensor& d) {
  GALAPAGOS_DISPATCH(soft_cap_backward, capped, cap, d);
}

void attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
               std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
               std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
               const AttentionRule& rule) {
  GALAPAGOS_DISPATCH(attention, q, k, v, head_dim, kv_of_head, offsets, out, log_sums, rule);
}

void store_heads(const Context& context, const Tensor& k, const Tensor& v, const CachedRows& rows,
                 const HeadCache& cache) {
  GALAPAGOS_DISPATCH(store_heads, k, v, rows, cache);
}

void cached_attention(const Context& context, const Tensor& q, const HeadCache& cache,
                      std::span<const std::int32_t> kv_of_head, const CachedRows& rows, const Tensor& out,
                      const AttentionRule& rule) {
  GALAPAGOS_DISPATCH(cached_attention, q, cache, kv_of_head, rows, out, rule);
}

void token_nll(const Context& context, const Tensor& logits, std::span<const std::int32_t> targets,
               const RowValues& nll) {
  GALAPAGOS_DISPATCH(token_nll, logits, targets, nll);
}

bool all_finite(const Context& context, const Tensor& x) {
  GALAPAGOS_DISPATCH(all_finite, x);
}

void upload(const Context& context, std::span<const std::byte> from, const Tensor& to) {
  GALAPAGOS_DISPATCH(upload, from, to);
}

void download(const Context& context, const RowValues& from, std::span<double> to) {
  GALAPAGOS_DISPATCH(download, from, to);
}

void gather_rows(const Context& context, const Tensor& table, std::span<const std::int64_t> rows,
                 const Tensor& out) {
  GALAPAGOS_DISPATCH(gather_rows, table, rows, out);
}

void row_norms(const Context& context, const Tensor& x, std::span<float> norms) {
  GALAPAGOS_DISPATCH(row_norms, x, norms);
}

void transpose(const Context& context, const Tensor& in, const Tensor& out) {
  GALAPAGOS_DISPATCH(transpose, in, out);
}

void convert(const Context& context, const Tensor& in, const Tensor& out) {
  GALAPAGOS_DISPATCH(convert, in, out);
}

void add(const Context& context, const Tensor& x, const Tensor& y) {
  GALAPAGOS_DISPATCH(add, x, y);
}

void softmax_scale(const Context& context, const Tensor& logits, const Tensor& scale) {
  GALAPAGOS_DISPATCH(softmax_scale, logits, scale);
}

void kl_divergence(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                   const Tensor& other, const RowValues& divergence) {
  GALAPAGOS_DISPATCH(kl_divergence, dense, dense_scale, other, divergence);
}

void sparse_kl_divergence(const Context& context, const Tensor& dense, const Tensor& other, std::int64_t k,
                          const RowValues& divergence) {
  GALAPAGOS_DISPATCH(sparse_kl_divergence, dense, other, k, divergence);
}

void arg_max(const Context& context, const Tensor& logits, std::span<std::int32_t> indices) {
  GALAPAGOS_DISPATCH(arg_max, logits, indices);
}

void linear_input_gradient(const Context& context, const Factor& d_y, const Tensor& weight, const Tensor& d_x,
                           bool accumulate) {
  GALAPAGOS_DISPATCH(linear_input_gradient, d_y, weight, d_x, accumulate);
}

void linear_weight_gradient(const Context& context, const Factor& d_y, const Factor& x,
                            const Tensor& d_weight) {
  GALAPAGOS_DISPATCH(linear_weight_gradient, d_y, x, d_weight);
}

void bias_gradient(const Context& context, const Tensor& d_y, const Tensor& d_bias) {
  GALAPAGOS_DISPATCH(bias_gradient, d_y, d_bias);
}

void add_column_squares(const Context& context, const Tensor& x, const Tensor& sums) {
  GALAPAGOS_DISPATCH(add_column_squares, x, sums);
}

void rms_norm_backward(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
                       const Tensor& d_y, const Tensor& d_x, const Tensor& d_weight) {
  GALAPAGOS_DISPATCH(rms_norm_backward, x, weight, rule, d_y, d_x, d_weight);
}

void rope_backward(const Context& context, const Tensor& d_q, const Tensor& d_k, std::int64_t head_dim,
                   const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale) {
  GALAPAGOS_DISPATCH(rope_backward, d_q, d_k, head_dim, frequencies, offsets, scale);
}

void swiglu_backward(const Context& context, const Tensor& d_y, const Tensor& gate, const Tensor& up,
                     GateKind kind) {
  GALAPAGOS_DISPATCH(swiglu_backward, d_y, gate, up, kind);
}

void attention_backward(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                        std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
                        std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums,
                        const Tensor& d_out, const Tensor& d_q, const Tensor& d_k, const Tensor& d_v,
                        const AttentionRule& rule) {
  GALAPAGOS_DISPATCH(attention_backward, q, k, v, head_dim, kv_of_head, offsets, out, log_sums, d_out, d_q,
                     d_k, d_v, rule);
}

void embed_backward(const Context& context, std::span<const std::int32_t> tokens, const Tensor& d_out,
                    const Tensor& d_table, std::int64_t first_id) {
  GALAPAGOS_DISPATCH(embed_backward, tokens, d_out, d_table, first_id);
}

void cross_entropy_backward(const Context& context, std::span<const std::int32_t> targets,
                            std::span<const float> weights, const Tensor& logits) {
  GALAPAGOS_DISPATCH(cross_entropy_backward, targets, weights, logits);
}

void kl_backward(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                 std::span<const float> weights, const Tensor& logits) {
  GALAPAGOS_DISPATCH(kl_backward, dense, dense_scale, weights, logits);
}

void hidden_loss(const Context& context, HiddenLoss kind, const Tensor& x, const Tensor& reference,
                 std::span<const float> weights, const Tensor& d_x, const RowValues& loss) {
  GALAPAGOS_DISPATCH(hidden_loss, kind, x, reference, weights, d_x, loss);
}

void slice_scales(const Context& context, const Tensor& logits, std::span<double> scales) {
  GALAPAGOS_DISPATCH(slice_scales, logits, scales);
}

void slice_logits_of(const Context& context, const Tensor& logits, std::span<const std::int32_t> ids,
                     std::int64_t first, std::span<double> found) {
  GALAPAGOS_DISPATCH(slice_logits_of, logits, ids, first, found);
}

void draw_ids(const Context& context, const Tensor& logits, std::span<const double> shifts,
              std::span<const double> shares, std::span<std::int32_t> ids) {
  GALAPAGOS_DISPATCH(draw_ids, logits, shifts, shares, ids);
}

void slice_divergence(const Context& context, const Tensor& dense, std::span<const float> dense_shifts,
                      const Tensor& other, std::span<const float> other_shifts, std::span<double> sums) {
  GALAPAGOS_DISPATCH(slice_divergence, dense, dense_shifts, other, other_shifts, sums);
}

void slice_cross_entropy_backward(const Context& context, std::span<const std::int32_t> targets,
                                  std::int64_t first, std::span<const float> weights,
                                  std::span<const float> shifts, const Tensor& logits) {
  GALAPAGOS_DISPATCH(slice_cross_entropy_backward, targets, first, weights, shifts, logits);
}

void slice_kl_backward(const Context& context, const Tensor& dense, std::span<const float> dense_shifts,
                       std::span<const float> weights, std::span<const float> shifts, const Tensor& logits) {
  GALAPAGOS_DISPATCH(slice_kl_backward, dense, dense_shifts, weights, shifts, logits);
}

void total_variation(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                     const Tensor& other, const RowValues& distance) {
  GALAPAGOS_DISPATCH(total_variation, dense, dense_scale, other, distance);
}

void total_variation_backward(const Context& context, const Tensor& dense, const Tensor& dense_scale,
                              std::span<const float> weights, const Tensor& logits) {
  GALAPAGOS_DISPATCH(total_variation_backward, dense, dense_scale, weights, logits);
}

void slice_variation(const Context& context, const Tensor& dense, std::span<const double> dense_log_sums,
                     const Tensor& other, std::span<const double> other_log_sums, std::span<double> sums) {
  GALAPAGOS_DISPATCH(slice_variation, dense, dense_log_sums, other, other_log_sums, sums);
}

void slice_variation_backward(const Context& context, const Tensor& dense,
                              std::span<const double> dense_log_sums, std::span<const double> leanings,
                              std::span<const float> weights, std::span<const double> log_sums,
                              const Tensor& logits) {
  GALAPAGOS_DISPATCH(slice_variation_backward, dense, dense_log_sums, leanings, weights, log_sums, logits);
}

void adamw(const Context& context, const AdamWStep& step, const AdamWState& state, DType precision,
           const Tensor& bad) {
  GALAPAGOS_DISPATCH(adamw, step, state, precision, bad);
}

void sums_of_squares(const Context& context, std::span<const Tensor> tensors, std::span<double> sums) {
  GALAPAGOS_DISPATCH(sums_of_squares, tensors, sums);
}

double sum_of_squares(const Context& context, const Tensor& x) {
  double sum = 0;
  sums_of_squares(context, {&x, 1}, {&sum, 1});
  return sum;
}

bool solve_spd(const Context& context, const Tensor& h, double ridge, const Tensor& rhs) {
  GALAPAGOS_DISPATCH(solve_spd, h, ridge, rhs);
}

void symmetric_product(const Context& context, const Tensor& h, const Tensor& x, const Tensor& y) {
  GALAPAGOS_DISPATCH(symmetric_product, h, x, y);
}

void principal_submatrix(const Context& context, const Tensor& h, std::span<const std::int64_t> indices,
                         const Tensor& out) {
  GALAPAGOS_DISPATCH(principal_submatrix, h, indices, out);
}

void combine(const Context& context, float alpha, const Tensor& x, float beta, const Tensor& y) {
  GALAPAGOS_DISPATCH(combine, alpha, x, beta, y);
}

double inner_product(const Context& context, const Tensor& x, const Tensor& y) {
  GALAPAGOS_DISPATCH(inner_product, x, y);
}

ObsDamping obs_damp(const Context& context, ObsState& state, double relative_damping, double least_mean) {
  GALAPAGOS_DISPATCH(obs_damp, state, relative_damping, least_mean);
}

bool invert_spd(const Context& context, const Tensor& h, bool wide) {
  GALAPAGOS_DISPATCH(invert_spd, h, wide);
}

bool factor_spd(const Context& context, const Tensor& a) {
  GALAPAGOS_DISPATCH(factor_spd, a);
}

bool obs_remove_columns(const Context& context, ObsState& state, std::int64_t count,
                        std::vector<std::int64_t>& removed, std::vector<double>& scores,
                        std::vector<double>& follower_scores) {
  GALAPAGOS_DISPATCH(obs_remove_columns, state, count, removed, scores, follower_scores);
}

bool obs_structure_scores(const Context& context, const ObsState& state, std::int64_t size,
                          std::vector<double>& scores) {
  GALAPAGOS_DISPATCH(obs_structure_scores, state, size, scores);
}

bool obs_remove_structure(const Context& context, ObsState& state, std::int64_t size, std::int64_t structure,
                          std::vector<double>& follower_scores) {
  GALAPAGOS_DISPATCH(obs_remove_structure, state, size, structure, follower_scores);
}

double obs_change(const Context& context, const Tensor& start, std::span<const std::int64_t> kept,
                  const Tensor& weight) {
  GALAPAGOS_DISPATCH(obs_change, start, kept, weight);
}

std::span<const Tuning> tuning_of(Device device) {
  if (device == Device::cpu) return cpu::tuning;
#ifdef GALAPAGOS_CUDA
  return cuda::tuning;
#else
  return {};
#endif
}

}  // namespace galapagos::ops
