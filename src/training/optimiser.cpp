#include <algorithm>
#include <cmath>
#include <numeric>

#include <galapagos/ops/adamw.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/tensor/memory_count.hpp>
#include <galapagos/training/optimiser.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t granule = 16;  // parts begin at whole vectors

std::vector<std::uint64_t> even_bounds(std::uint64_t parameters, int ranks) {
  std::vector<std::uint64_t> bounds;
  const auto parts = static_cast<std::uint64_t>(ranks);
  const std::uint64_t granules = (parameters + granule - 1) / granule;
  for (std::uint64_t r = 0; r <= parts; ++r) {
    const std::uint64_t whole = granules / parts * r + std::min(r, granules % parts);
    bounds.push_back(std::min(parameters, whole * granule));
  }
  return bounds;
}

/// A working weight as a checkpoint of the working precision would hold it, where it is kept in fp32.
void round_to(DType precision, const ops::Context& context, const Tensor& weight) {
  if (weight.dtype != DType::f32 || precision == DType::f32) return;
  const OwnedTensor rounded(weight.shape, precision, context.device(), "a rounded norm");
  ops::convert(context, weight, rounded);
  ops::convert(context, rounded, weight);
}

}  // namespace

AdamWTensors::AdamWTensors(Device device, std::uint64_t parameters)
    : master({static_cast<std::int64_t>(parameters)}, DType::f32, device, "master weights"),
      first_moment(master->shape, DType::f32, device, "first moments"),
      second_moment(master->shape, DType::f32, device, "second moments") {
  fill_zero(first_moment);
  fill_zero(second_moment);
}

std::uint64_t ShardedAdamW::bytes(std::int64_t parameters, int ranks) {
  const std::uint64_t largest = even_bounds(static_cast<std::uint64_t>(parameters), ranks)[1];
  return bytes_held([&] { return AdamWTensors(Device::cpu, largest); });
}

double ShardedAdamW::streamed(std::int64_t parameters, int ranks, DType precision) {
  const auto all = static_cast<double>(parameters), part = all / ranks;
  // Of its part: the norm reads it once, the update reads four numbers and writes them. Of the others: set to
  // zero. Of all parameters: written as working weights.
  return (1 + 4 + 4) * sizeof(float) * part + sizeof(float) * (all - part) +
         static_cast<double>(size_of(precision)) * all;
}

ShardedAdamW::ShardedAdamW(Collectives& replicas, const ops::Context& context, const ModelWeights& weights,
                           DType precision, const AdamWOptions& options, const Shards& shards)
    : replicas_(replicas), context_(context), shards_(shards), precision_(precision), options_(options) {
  const std::vector<NamedTensor> parameters = parameters_of(weights);
  std::uint64_t count = 0;
  for (const NamedTensor& weight : parameters) count += static_cast<std::uint64_t>(weight.tensor.elements());
  bounds_ = even_bounds(count, replicas.ranks().size());
  const auto me = static_cast<std::size_t>(replicas.ranks().rank());
  own_ = AdamWTensors(context.device(), bounds_[me + 1] - bounds_[me]);
  bad_ = OwnedTensor({1}, DType::f32, context.device(), "a flag");
  std::uint64_t at = 0;
  for (const NamedTensor& weight : parameters) {
    const auto elements = static_cast<std::uint64_t>(weight.tensor.elements());
    const Tensor flat = weight.tensor.view({weight.tensor.elements()});
    const bool everywhere = weight.slicing == Slicing::none;
    if (everywhere) of_shards_.push_back(flat);
    for (std::size_t r = 0; r + 1 < bounds_.size(); ++r) {
      const std::uint64_t from = std::clamp(bounds_[r], at, at + elements),
                          to = std::clamp(bounds_[r + 1], at, at + elements);
      if (to == from) continue;
      const Tensor piece =
          flat.slice(static_cast<std::int64_t>(from - at), static_cast<std::int64_t>(to - from));
      of_replicas_.push_back({piece.data, piece.bytes(), static_cast<int>(r)});
      if (r != me) continue;
      pieces_.push_back({piece, static_cast<std::int64_t>(from - bounds_[r]), everywhere});
      ops::convert(context, piece, own_.master->slice(pieces_.back().at, piece.elements()));
    }
    at += elements;
    round_to(precision, context, flat);  // norms are rounded from the start, and the master weights are not
  }
}

/// This rank's part of what lies where the gradients do.
Tensor ShardedAdamW::own_part(const Gradients& gradients) const {
  return gradients.all()
      .view({static_cast<std::int64_t>(parameters())})
      .slice(static_cast<std::int64_t>(first()), own_.master->elements());
}

void ShardedAdamW::gather_master(const Gradients& gradients) const {
  const Tensor mine = own_part(gradients);
  copy_bytes(mine.data, mine.device, own_.master->data, own_.master->device, mine.bytes());
  if (single()) return;
  std::vector<GatheredPart> parts;
  for (std::size_t r = 0; r + 1 < bounds_.size(); ++r) {
    parts.push_back({gradients.all().data + bounds_[r] * sizeof(float),
                     static_cast<std::size_t>(bounds_[r + 1] - bounds_[r]) * sizeof(float),
                     static_cast<int>(r)});
  }
  replicas_.all_gather_parts(parts);
}

/// The gradients summed over the ranks, on this rank's part.
Tensor ShardedAdamW::sum_gradients(const Gradients& gradients) const {
  shards_.sum(gradients.partial(), gradients.packed_partial());
  if (!single()) replicas_.sum_to_owners(gradients.all().floats(), bounds_);
  return own_part(gradients);
}

/// All ranks get the new working weights.
void ShardedAdamW::share_weights() const {
  if (!single()) replicas_.all_gather_parts(of_replicas_);
  // Sums over other ranks in another order may have rounded them apart.
  shards_.take_from_root(of_shards_);
}

/// The norm of the whole gradient, of which this rank has a part; what all shards have alike counts once.
double ShardedAdamW::norm_of(const Tensor& mine) const {
  const Communicator& ranks = replicas_.ranks();
  if (shards_.alone()) return std::sqrt(ranks.sum(ops::sum_of_squares(context_, mine)));
  std::vector<Tensor> counted;
  for (const Piece& piece : pieces_) {
    if (shards_.is_root() || !piece.held_by_all)
      counted.push_back(mine.slice(piece.at, piece.weight.elements()));
  }
  std::vector<double> squares(counted.size());
  ops::sums_of_squares(context_, counted, squares);
  return std::sqrt(shards_.ranks().sum(ranks.sum(std::accumulate(squares.begin(), squares.end(), 0.0))));
}

void ShardedAdamW::update(const Gradients& gradients, double learning_rate, double factor,
                          const Tensor& bad) {
  ops::AdamWStep step;
  step.learning_rate = learning_rate;
  step.beta1 = options_.beta1;
  step.beta2 = options_.beta2;
  step.epsilon = options_.epsilon;
  step.weight_decay = options_.weight_decay;
  step.gradient_factor = factor;
  step.step = ++steps_;
  const Tensor mine = own_part(gradients);
  for (const Piece& piece : pieces_) {
    const auto slice = [&](const Tensor& of) { return of.slice(piece.at, piece.weight.elements()); };
    const ops::AdamWState state{slice(mine), slice(own_.master), slice(own_.first_moment),
                                slice(own_.second_moment), piece.weight};
    ops::adamw(context_, step, state, precision_, bad);
  }
  // The update has set its own gradients to zero.
  const Tensor all = gradients.all().view({static_cast<std::int64_t>(parameters())});
  const auto begin = static_cast<std::int64_t>(first()), end = begin + mine.elements();
  fill_zero(all.slice(0, begin));
  fill_zero(all.slice(end, all.elements() - end));
  share_weights();
}

double ShardedAdamW::step(const Gradients& gradients, double learning_rate, double clip) {
  const double norm = norm_of(sum_gradients(gradients));
  if (!std::isfinite(norm)) return norm;
  // The small number is torch.nn.utils.clip_grad_norm_'s.
  update(gradients, learning_rate, clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1, {});
  return norm;
}

bool ShardedAdamW::step_unclipped(const Gradients& gradients, double learning_rate) {
  sum_gradients(gradients);
  fill_zero(bad_);
  update(gradients, learning_rate, 1, bad_);
  float bad = 0;
  copy_bytes(reinterpret_cast<std::byte*>(&bad), Device::cpu, bad_->data, bad_->device, sizeof bad);
  const bool finite = replicas_.ranks().all(std::isfinite(bad));
  return shards_.alone() ? finite : shards_.ranks().all(finite);
}

void ShardedAdamW::restore(std::int64_t steps, const Gradients& scratch) {
  steps_ = steps;
  for (const Piece& piece : pieces_) {
    ops::convert(context_, own_.master->slice(piece.at, piece.weight.elements()), piece.weight);
    round_to(precision_, context_, piece.weight);
  }
  fill_zero(scratch.all());
  share_weights();
}

}  // namespace galapagos
