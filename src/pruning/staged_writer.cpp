#include <galapagos/pruning/staged_writer.hpp>

namespace galapagos {

void StagedWriter::write(const Tensor& tensor, std::uint64_t offset, std::uint64_t hash_offset) {
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % slots_.size();
  thread_->wait_for(slot.loan);
  const auto bytes =
      slot.buffer.reserve(most_, tensor.device, "levels that wait to be written").first(tensor.bytes());
  copy_bytes(bytes.data(), Device::cpu, tensor.data, tensor.device, bytes.size());
  slot.loan = thread_->lend(bytes, offset, hash_offset);
}

}  // namespace galapagos
