#include <galapagos/model/residual_stream.hpp>

namespace galapagos {

ResidualStream::ResidualStream(std::span<const Batch> batches, std::int64_t hidden,
                               const std::string& purpose)
    : first_{0} {
  for (const Batch& batch : batches)
    first_.push_back(first_.back() + static_cast<std::int64_t>(batch.tokens.size()));
  states_ = OwnedTensor({first_.back(), hidden}, DType::f32, Device::cpu, purpose);
}

Tensor ResidualStream::rows(std::size_t batch) const {
  return states_->slice(first_[batch], first_[batch + 1] - first_[batch]);
}

void ResidualStream::load(std::size_t batch, const Tensor& out) const {
  copy_bytes(out.data, out.device, rows(batch).data, Device::cpu, out.bytes());
}

void ResidualStream::store(std::size_t batch, const Tensor& states) {
  copy_bytes(rows(batch).data, Device::cpu, states.data, states.device, states.bytes());
}

}  // namespace galapagos
