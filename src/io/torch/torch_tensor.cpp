#include "storage_types.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/io/torch_file.hpp>

namespace galapagos {
namespace {

std::size_t element_bytes(const std::string& dtype) {
  const auto found = std::ranges::find(torch_format::storage_types, dtype, &torch_format::StorageType::dtype);
  if (found == torch_format::storage_types.end())
    throw FailureError("a tensor of type " + printable(dtype), "torch.save", "report this as a defect");
  return static_cast<std::size_t>(found->size);
}

/// Whether elements lie row by row, whatever the strides of extents of 1 say.
bool is_row_major(const TorchTensor& tensor) {
  const std::vector<std::int64_t> strides = row_major_strides(tensor.shape);
  for (std::size_t d = 0; d < strides.size(); ++d)
    if (tensor.shape[d] > 1 && tensor.strides[d] != strides[d]) return false;
  return true;
}

}  // namespace

std::vector<std::int64_t> row_major_strides(std::span<const std::int64_t> shape) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  for (std::size_t d = shape.size(); d-- > 1;)
    strides[d - 1] = strides[d] * std::max<std::int64_t>(shape[d], 1);
  return strides;
}

std::int64_t TorchTensor::elements() const {
  if (std::ranges::find(shape, 0) != shape.end()) return 0;  // whatever the others make
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

std::size_t TorchTensor::bytes() const {
  return static_cast<std::size_t>(elements()) * element_bytes(dtype);
}

std::span<const std::byte> TorchTensor::contiguous(std::vector<std::byte>& storage) const {
  if (elements() == 0) return {};
  if (is_row_major(*this)) return data.first(bytes());
  storage.resize(bytes());
  const std::size_t size = element_bytes(dtype);
  std::vector<std::int64_t> at(shape.size(), 0);
  std::int64_t from = 0;
  for (std::size_t to = 0; to < storage.size(); to += size) {
    std::memcpy(storage.data() + to, data.data() + static_cast<std::size_t>(from) * size, size);
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (shape[d] == 1) continue;  // whatever its stride is
      from += strides[d];
      if (++at[d] < shape[d]) break;
      from -= strides[d] * shape[d];
      at[d] = 0;
    }
  }
  return storage;
}

}  // namespace galapagos
