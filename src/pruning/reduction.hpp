#pragma once

#include <span>
#include <string>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/tensor/tensor.hpp>

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

}  // namespace galapagos
