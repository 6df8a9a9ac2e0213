#include <algorithm>
#include <cmath>

#include <galapagos/ops/adamw.hpp>
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

/// Values as they are once stored as `precision`.
void round_to(DType precision, std::span<float> values) {
  if (precision == DType::f32) return;
  std::vector<std::byte> stored(values.size() * size_of(precision));
  convert_from_float(values, precision, stored.data());
  convert_to_float(precision, stored.data(), values);
}

}  // namespace

std::uint64_t ShardedAdamW::bytes(std::int64_t parameters, int ranks) {
  const auto part = (static_cast<std::uint64_t>(parameters) + static_cast<std::uint64_t>(ranks) - 1) /
                    static_cast<std::uint64_t>(ranks);
  return (ranks > 1 ? 4 : 3) * part * sizeof(float);
}

double ShardedAdamW::streamed(std::int64_t parameters, int ranks, DType precision) {
  const auto all = static_cast<double>(parameters), part = all / ranks;
  // Of its part: the norm reads it once, the update reads four numbers and writes three, then the master
  // weights are copied. Of all parameters: read, written as working weights, set to zero.
  return (1 + 4 + 3 + 2) * sizeof(float) * part +
         static_cast<double>(2 * sizeof(float) + size_of(precision)) * all;
}

ShardedAdamW::ShardedAdamW(const Communicator& comm, const ops::Context& context, const ModelWeights& weights,
                           DType precision, const AdamWOptions& options)
    : comm_(comm),
      context_(context),
      weights_(parameters_of(weights)),
      precision_(precision),
      options_(options) {
  std::uint64_t count = 0;
  for (const NamedTensor& weight : weights_) count += static_cast<std::uint64_t>(weight.tensor.elements());
  bounds_ = even_bounds(count, comm.size());
  const std::uint64_t begin = first(), end = bounds_[static_cast<std::size_t>(comm.rank()) + 1];
  const auto part = [&](const char* purpose) {
    return OwnedTensor({static_cast<std::int64_t>(end - begin)}, DType::f32, context.device(), purpose);
  };
  master_ = part("master weights");
  first_moment_ = part("first moments");
  second_moment_ = part("second moments");
  if (comm.size() > 1) gradient_ = part("summed gradients");
  fill_zero(first_moment_);
  fill_zero(second_moment_);
  std::uint64_t at = 0;
  for (const NamedTensor& weight : weights_) {
    const auto elements = static_cast<std::uint64_t>(weight.tensor.elements());
    const std::uint64_t from = std::clamp(begin, at, at + elements), to = std::clamp(end, at, at + elements);
    if (to > from) {
      convert_to_float(weight.tensor.dtype, weight.tensor.data + (from - at) * size_of(weight.tensor.dtype),
                       master_->float_span().subspan(from - begin, to - from));
    }
    at += elements;
  }
}

void ShardedAdamW::gather_master(const Gradients& gradients) const {
  const std::span<float> all = gradients.all().float_span();
  std::copy(master_->float_span().begin(), master_->float_span().end(),
            all.begin() + static_cast<std::ptrdiff_t>(first()));
  if (comm_.size() > 1) comm_.all_gather_parts(all, bounds_);
}

void ShardedAdamW::spread(const Gradients& scratch) {
  gather_master(scratch);
  const std::span<float> all = scratch.all().float_span();
  std::size_t at = 0;
  for (const NamedTensor& weight : weights_) {
    const auto elements = static_cast<std::size_t>(weight.tensor.elements());
    const std::span<float> values = all.subspan(at, elements);
    if (weight.tensor.dtype == DType::f32) round_to(precision_, values);
    convert_from_float(values, weight.tensor.dtype, weight.tensor.data);
    at += elements;
  }
  fill_zero(scratch.all());
}

double ShardedAdamW::step(const Gradients& gradients, double learning_rate, double clip) {
  const bool alone = comm_.size() == 1;
  const Tensor& mine = alone ? gradients.all() : gradient_.view();
  if (!alone) comm_.sum_to_owners(gradients.all().float_span(), bounds_, mine.float_span());
  const double norm = std::sqrt(comm_.sum(ops::sum_of_squares(context_, mine)));
  if (!std::isfinite(norm)) return norm;
  ops::AdamWStep step;
  step.learning_rate = learning_rate;
  step.beta1 = options_.beta1;
  step.beta2 = options_.beta2;
  step.epsilon = options_.epsilon;
  step.weight_decay = options_.weight_decay;
  // The small number is torch.nn.utils.clip_grad_norm_'s.
  step.gradient_factor = clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1;
  step.step = ++steps_;
  ops::adamw(context_, step, mine, master_, first_moment_, second_moment_);
  spread(gradients);
  return norm;
}

void ShardedAdamW::restore(std::int64_t steps, const Gradients& scratch) {
  steps_ = steps;
  spread(scratch);
}

}  // namespace galapagos
