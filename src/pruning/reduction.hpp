#pragma once

#include <span>
#include <string>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/model/make_collectives.hpp>

namespace galapagos {

/// What of a matrix is summed.
enum class Triangle : std::uint8_t { lower, both };

/// A matrix of which some ranks hold a summand each and one rank is to have the sum.
struct Reduction {
  std::span<const int> holders;  ///< in the order of the summation
  int owner = 0;
  Shape shape;
  Triangle triangle = Triangle::both;
};

/// To be called on the holders, with their summand, and on the owner. The sum on the owner: its own summand
/// where there is no other, else in host memory; nothing elsewhere.
OwnedTensor sum_at_owner(const Communicator& comm, const Reduction& reduction, OwnedTensor summand,
                         const std::string& purpose);

/// The same through `collectives`, moved and added in the memory of the context's device, where all summands
/// lie, every element in the order of the holders. The owner's summand becomes the sum; where it has none,
/// that comes to `place`. Above a lower triangle the sum is undefined.
OwnedTensor sum_at_owner(const ops::Context& context, Collectives& collectives, const Reduction& reduction,
                         OwnedTensor summand, Device place, const std::string& purpose);

/// What share of a lower triangle's square goes to its owner from tensors on `device`; `automatic` counts as
/// NCCL, as where each rank has a GPU.
constexpr double share_sent(Device device, CollectivesKind kind) {
  return device == Device::cuda && kind != CollectivesKind::mpi ? 1 : 0.5;
}

}  // namespace galapagos
