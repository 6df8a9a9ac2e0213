#include "output_fit.hpp"

#include <cmath>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/tensor/memory_count.hpp>

namespace galapagos {

OutputFit::OutputFit(const ops::Context& context, std::int64_t columns, std::int64_t hidden,
                     const std::string& purpose)
    : context_(context), exact_(context.exact()), name_(purpose) {
  for (int part = 0; part < 2; ++part) {
    FitSums& sums = parts_.emplace_back();
    sums.gram = OwnedTensor({columns, columns}, DType::f32, context.device(), "second moments of " + purpose);
    sums.residual = OwnedTensor({columns, hidden}, DType::f32, context.device(), "the targets of " + purpose);
    fill_zero(sums.gram);
    fill_zero(sums.residual);
  }
}

std::uint64_t OutputFit::bytes(std::int64_t columns, std::int64_t hidden, Device device) {
  const ops::Context context = ops::Context::planned(device, DType::f32);
  // And the change of the weight, as all ranks get it.
  return bytes_held([&] { return OutputFit(context, columns, hidden, "a module"); }) +
         fit_parts_bytes(columns, hidden, true, device) +
         static_cast<std::uint64_t>(columns * hidden) * sizeof(float);
}

void OutputFit::add(const Tensor& input, const Tensor& left, bool held_out) {
  const FitSums& part = parts_[held_out ? 1 : 0];
  ops::accumulate_gram(context_, input, 1, part.gram);
  ops::linear_weight_gradient(exact_, input, left, part.residual);
}

double OutputFit::solve(Collectives& replicas, const Sensitivity* sensitivity, const Tensor& weight) {
  const Communicator& comm = replicas.ranks();
  if (comm.size() > 1) {
    for (const FitSums& part : parts_) {
      for (const OwnedTensor* sum : {&part.gram, &part.residual}) {
        replicas.start_sum((*sum)->floats(), static_cast<std::size_t>((*sum)->elements()));
        replicas.finish_sum();
      }
    }
  }
  // Once, so that the weight is the same on all ranks to the bit.
  const OwnedTensor change = agree_on(comm, [&] {
    OwnedTensor zeros(weight.shape, DType::f32, context_.device(), "the change of a weight");
    fill_zero(zeros);
    return zeros;
  });
  double ridge = 0;
  agree_at_root(comm, [&] {
    const Correction found = fit_parts(context_, parts_, {}, name_, sensitivity).correction;
    ridge = found.ridge;
    if (!std::isinf(ridge)) ops::transpose(context_, found.change, change);
  });
  ridge = comm.broadcast_value(ridge);
  if (std::isinf(ridge)) return ridge;
  if (comm.size() > 1) {
    replicas.start_sum(change->floats(), static_cast<std::size_t>(change->elements()));
    replicas.finish_sum();
  }
  agree(comm, [&] {
    const OwnedTensor changed(weight.shape, DType::f32, context_.device(), "a weight");
    ops::convert(context_, weight, changed);
    ops::combine(context_, 1, change, 1, changed);
    ops::convert(context_, changed, weight);
  });
  return ridge;
}

}  // namespace galapagos
