#pragma once

#include <cstdint>
#include <span>

#include <galapagos/ops/attention_rule.hpp>
#include <galapagos/ops/context.hpp>
#include <galapagos/ops/gate_kind.hpp>
#include <galapagos/ops/norm_rule.hpp>
#include <galapagos/ops/row_values.hpp>

// "An activation" is a tensor that lies between the operations of a layer: of the type context.activations()
// in a model, of that or fp32 here.
namespace galapagos::ops {

/// out [t, hidden] fp32 = rows `tokens` of table [vocabulary, hidden], or of a slice of it that begins with
/// id `first_id`: zeros where a token is in another slice.
void embed(const Context& context, std::span<const std::int32_t> tokens, const Tensor& table,
           const Tensor& out, std::int64_t first_id = 0);

/// out = the norm of x, row by row; x [t, hidden] fp32, weight [hidden] of any dtype, out [t, hidden] an
/// activation, which may be x.
void rms_norm(const Context& context, const Tensor& x, const Tensor& weight, const NormRule& rule,
              const Tensor& out);

/// Rotates each head of q and k [t, heads * head_dim], activations of one type, in place, and multiplies by
/// `scale`: the pair (i, i + n) by the angle position * frequencies[i] (the half-split layout of Hugging
/// Face). frequencies [n] fp32; what a head has behind its first 2n elements stays as it is. Positions start
/// at 0 in every sequence, or sequence s at starts[s]. k may be empty.
void rope(const Context& context, const Tensor& q, const Tensor& k, std::int64_t head_dim,
          const Tensor& frequencies, std::span<const std::int64_t> offsets, float scale = 1,
          std::span<const std::int64_t> starts = {});

/// out = f(gate) * up, element by element, f by `kind`; all activations of one type [t, columns]; out may be
/// gate.
void swiglu(const Context& context, const Tensor& gate, const Tensor& up, const Tensor& out,
            GateKind kind = GateKind::silu);

/// Causal attention of independent sequences laid end to end: sequence s is rows [offsets[s], offsets[s +
/// 1]). q, out [t, query heads * head_dim]; k, v [t, kv heads * head_dim]; activations. Query head h attends
/// with KV head kv_of_head[h]; there may be no heads at all. Scores are q.k / sqrt(head_dim) but for what
/// `rule` says; only blocks of them are ever formed. With `log_sums` [t, query heads] fp32 it also keeps
/// log(sum(exp(scores))), for attention_backward.
void attention(const Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
               std::int64_t head_dim, std::span<const std::int32_t> kv_of_head,
               std::span<const std::int64_t> offsets, const Tensor& out, const Tensor& log_sums = {},
               const AttentionRule& rule = {});

/// nll[i] = log(sum(exp(logits[i, :]))) - logits[i, targets[i]], in fp64; logits [t, vocabulary] fp32.
void token_nll(const Context& context, const Tensor& logits, std::span<const std::int32_t> targets,
               const RowValues& nll);

/// Whether every element is finite.
bool all_finite(const Context& context, const Tensor& x);

}  // namespace galapagos::ops
