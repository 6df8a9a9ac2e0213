#include <galapagos/core/error.hpp>
#include <galapagos/tensor/tensor.hpp>

namespace galapagos {

std::string name_of(Device device) {
  return device == Device::cpu ? "cpu" : "cuda";
}

Shape::Shape(std::initializer_list<std::int64_t> extents) {
  if (extents.size() == 0 || extents.size() > extents_.size()) {
    throw FailureError("a tensor has one to three dimensions", "Shape", "report this as a defect");
  }
  for (const std::int64_t extent : extents) extents_[static_cast<std::size_t>(rank_++)] = extent;
}

std::int64_t Shape::elements() const {
  if (rank_ == 0) return 0;
  std::int64_t product = 1;
  for (int dimension = 0; dimension < rank_; ++dimension) product *= (*this)[dimension];
  return product;
}

Tensor Tensor::slice(std::int64_t first, std::int64_t count) const {
  if (first < 0 || count < 0 || first + count > shape[0]) {
    throw FailureError("rows out of range", "Tensor::slice", "report this as a defect");
  }
  Tensor part = *this;
  part.shape[0] = count;
  const std::int64_t row = shape[0] == 0 ? 0 : elements() / shape[0];
  part.data = data + static_cast<std::size_t>(first * row) * size_of(dtype);
  return part;
}

Tensor Tensor::view(Shape other) const {
  if (other.elements() > elements()) {
    throw FailureError("a view larger than its tensor", "Tensor::view", "report this as a defect");
  }
  Tensor same = *this;
  same.shape = other;
  return same;
}

OwnedTensor::OwnedTensor(Shape shape, DType dtype, Device device, const std::string& purpose)
    : buffer_(static_cast<std::size_t>(shape.elements()) * size_of(dtype), device, purpose),
      view_{buffer_.data(), shape, dtype, device} {}

OwnedTensor copy_of(const Tensor& tensor, Device device, const std::string& purpose) {
  if (tensor.empty()) return {};
  OwnedTensor copy(tensor.shape, tensor.dtype, device, purpose);
  copy_bytes(copy->data, device, tensor.data, tensor.device, tensor.bytes());
  return copy;
}

}  // namespace galapagos
