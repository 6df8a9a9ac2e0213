#pragma once

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::ops {

/// A matrix that products read. A backend that multiplies in another type converts it once and keeps that for
/// all products that are given the same factor, whose values therefore must stay as they are while it lives.
class Factor {
 public:
  Factor(const Tensor& values) : values_(values) {}              // NOLINT: any matrix is a factor
  Factor(const OwnedTensor& values) : values_(values.view()) {}  // NOLINT
  Factor(const Factor&) = delete;
  Factor& operator=(const Factor&) = delete;

  const Tensor& values() const { return values_; }
  const Tensor* operator->() const { return &values_; }
  /// The backend's.
  OwnedTensor& converted() const { return converted_; }

 private:
  Tensor values_;
  mutable OwnedTensor converted_;
};

}  // namespace galapagos::ops
