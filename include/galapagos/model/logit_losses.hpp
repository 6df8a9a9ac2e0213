#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <galapagos/model/shards.hpp>
#include <galapagos/ops/row_values.hpp>

namespace galapagos {

/// Losses of logits [t, vocabulary] fp32, t up to `most_rows`, and their gradients; where there are shards,
/// each has the logits of its slice of the vocabulary, and all get the losses. Every call is collective over
/// the shards.
class LogitLosses {
 public:
  /// `with_reference`: with room for a reference's logits. The references must outlive this.
  LogitLosses(const ops::Context& context, const Shards& shards, std::int64_t most_rows,
              std::int64_t vocabulary, bool with_reference);

  /// Where the reference's logits of the next `rows` rows go; take_reference() once they are there.
  Tensor reference(std::int64_t rows) const { return room_->slice(0, rows); }
  void take_reference(std::int64_t rows) { take_reference(reference(rows)); }
  /// The same of logits that lie elsewhere and stay there.
  void take_reference(const Tensor& logits);

  // What is found goes to the host where there are several shards.

  /// -log softmax(logits[i])[targets[i]].
  void nll(const Tensor& logits, std::span<const std::int32_t> targets, const ops::RowValues& found);
  /// KL(softmax(reference[i]) || softmax(logits[i])).
  void divergence(const Tensor& logits, const ops::RowValues& found);
  /// The same over the reference's k most probable ids; shards gather the logits for it.
  void sparse_divergence(const Tensor& logits, std::int64_t k, const ops::RowValues& found);
  /// The total variation distance of the two distributions, see ops::total_variation.
  void total_variation(const Tensor& logits, const ops::RowValues& found);
  /// Ids drawn from softmax(logits[i]), the first whose cumulative probability exceeds uniforms[i], of [0,
  /// 1).
  void draw(const Tensor& logits, std::span<const double> uniforms, std::span<std::int32_t> ids);
  /// The id of each row's greatest logit, the first where there are several.
  void arg_max(const Tensor& logits, std::span<std::int32_t> ids);
  /// The logits of the whole vocabulary, from every shard's slice, of which there are several.
  OwnedTensor whole(const Tensor& slice) const;

  /// Replaces the logits last given to nll(), draw(), divergence() or total_variation() by the gradient of
  /// sum(weights[i] * loss i).
  void nll_backward(std::span<const std::int32_t> targets, std::span<const float> weights,
                    const Tensor& logits);
  void divergence_backward(std::span<const float> weights, const Tensor& logits);
  void total_variation_backward(std::span<const float> weights, const Tensor& logits);

 private:
  struct Scales {
    std::vector<double> log_sums;  // log(sum(exp(logits))) of each row, over the whole vocabulary
    std::vector<float> shifts;     // the same, in fp32
  };

  /// Of all shards' slices, one after the other: greatest logit and log(sum(exp(logit - greatest))) of each
  /// row.
  std::vector<double> slice_scales_of_all(const Tensor& logits) const;
  static Scales scales_from(std::span<const double> of_slices, std::size_t rows);
  Scales scales_of(const Tensor& logits) const;

  const ops::Context& context_;
  const Shards& shards_;
  OwnedTensor room_, reference_scale_;
  Tensor reference_;                            // what was taken last
  std::optional<OwnedTensor> whole_reference_;  // once it was asked for
  Scales reference_scales_, scales_;
  std::vector<double> leanings_;  // of the rows last given to total_variation()
};

/// Where shards gather the logits of t tokens, [t, vocabulary of all] fp32, for sparse_divergence(): once the
/// reference's and once those that are compared.
OwnedTensor gathered_logits(Device device, std::int64_t tokens, std::int64_t vocabulary);

/// The logits of a tile of tokens, and what their losses take.
struct LogitBuffers {
  OwnedTensor logits;  ///< [most_rows, vocabulary] fp32
  LogitLosses losses;

  /// As of LogitLosses.
  LogitBuffers(const ops::Context& context, const Shards& shards, std::int64_t most_rows,
               std::int64_t vocabulary, bool with_reference)
      : logits({most_rows, vocabulary}, DType::f32, context.device(), "logits"),
        losses(context, shards, most_rows, vocabulary, with_reference) {}
};

}  // namespace galapagos
