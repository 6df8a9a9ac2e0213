#include <algorithm>
#include <cmath>

#include <galapagos/model/parameter_slices.hpp>
#include <galapagos/ops/adamw.hpp>
#include <galapagos/ops/rows.hpp>
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
                           DType precision, const AdamWOptions& options, const Shards& shards)
    : comm_(comm),
      context_(context),
      shards_(shards),
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
      const Tensor flat = weight.tensor.view({weight.tensor.elements()});
      const auto some = static_cast<std::int64_t>(to - from);
      ops::convert(context, flat.slice(static_cast<std::int64_t>(from - at), some),
                   master_->slice(static_cast<std::int64_t>(from - begin), some));
    }
    at += elements;
    if (weight.tensor.dtype == DType::f32)
      store(weight.tensor, weight.tensor);  // norms are rounded from the start
  }
}

void ShardedAdamW::gather_master(const Gradients& gradients) const {
  const Tensor all = gradients.all().view({static_cast<std::int64_t>(parameters())});
  const Tensor mine = all.slice(static_cast<std::int64_t>(first()), master_->elements());
  copy_bytes(mine.data, mine.device, master_->data, master_->device, mine.bytes());
  if (comm_.size() == 1) return;
  if (all.device == Device::cpu) return comm_.all_gather_parts(all.float_span(), bounds_);
  std::vector<float> host(parameters());  // MPI is given host memory
  const auto place = std::span(host).subspan(first(), static_cast<std::size_t>(mine.elements()));
  copy_bytes(std::as_writable_bytes(place).data(), Device::cpu, mine.data, mine.device, mine.bytes());
  comm_.all_gather_parts(host, bounds_);
  copy_bytes(all.data, all.device, std::as_bytes(std::span(host)).data(), Device::cpu, all.bytes());
}

/// The gradients summed over the ranks, on this rank's part.
Tensor ShardedAdamW::sum_gradients(const Gradients& gradients) const {
  const Tensor& all = gradients.all();
  if (comm_.size() == 1) return all;
  if (all.device == Device::cpu) {
    comm_.sum_to_owners(all.float_span(), bounds_, gradient_->float_span());
    return gradient_;
  }
  std::vector<float> host(parameters()), mine(static_cast<std::size_t>(gradient_->elements()));
  copy_bytes(std::as_writable_bytes(std::span(host)).data(), Device::cpu, all.data, all.device, all.bytes());
  comm_.sum_to_owners(host, bounds_, mine);
  copy_bytes(gradient_->data, gradient_->device, std::as_bytes(std::span(mine)).data(), Device::cpu,
             gradient_->bytes());
  return gradient_;
}

/// A working weight from values of it, as a checkpoint of the working precision would hold it.
void ShardedAdamW::store(const Tensor& values, const Tensor& weight) const {
  const Tensor from = values.view({weight.elements()}), to = weight.view({weight.elements()});
  if (weight.dtype != DType::f32 || precision_ == DType::f32) {
    if (from.data != to.data) ops::convert(context_, from, to);
    return;
  }
  const OwnedTensor rounded(to.shape, precision_, context_.device(), "a rounded norm");
  ops::convert(context_, from, rounded);
  ops::convert(context_, rounded, to);
}

/// Working weights from the master weights.
void ShardedAdamW::spread(const Gradients& scratch) {
  if (comm_.size() > 1) gather_master(scratch);
  const Tensor& all = comm_.size() > 1 ? scratch.all() : master_.view();
  std::int64_t at = 0;
  for (const NamedTensor& weight : weights_) {
    const std::int64_t elements = weight.tensor.elements();
    store(all.view({all.elements()}).slice(at, elements), weight.tensor);
    // Sums over other ranks in another order may have rounded them apart.
    if (held_by_all(weight.name)) shards_.take_from_root(weight.tensor);
    at += elements;
  }
  fill_zero(scratch.all());
}

/// The norm of the whole gradient, of which this rank has a part; what all shards have alike counts once.
double ShardedAdamW::norm_of(const Tensor& mine) const {
  if (shards_.alone()) return std::sqrt(comm_.sum(ops::sum_of_squares(context_, mine)));
  double squares = 0;
  const std::uint64_t begin = first(), end = begin + static_cast<std::uint64_t>(mine.elements());
  std::uint64_t at = 0;
  for (const NamedTensor& weight : weights_) {
    const auto elements = static_cast<std::uint64_t>(weight.tensor.elements());
    const std::uint64_t from = std::clamp(begin, at, at + elements), to = std::clamp(end, at, at + elements);
    if (to > from && (shards_.is_root() || !held_by_all(weight.name))) {
      squares += ops::sum_of_squares(context_, mine.view({mine.elements()})
                                                   .slice(static_cast<std::int64_t>(from - begin),
                                                          static_cast<std::int64_t>(to - from)));
    }
    at += elements;
  }
  return std::sqrt(shards_.ranks().sum(comm_.sum(squares)));
}

double ShardedAdamW::step(const Gradients& gradients, double learning_rate, double clip) {
  const Tensor mine = sum_gradients(gradients);
  const double norm = norm_of(mine);
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
