#include "module_weights.hpp"

#include <galapagos/core/logging.hpp>
#include <galapagos/core/quiet_thread.hpp>
#include <galapagos/ops/rows.hpp>

namespace galapagos {
namespace {

constexpr const char* purpose = "the weight of a module";

}  // namespace

ModuleWeights::~ModuleWeights() {
  stop();
}

void ModuleWeights::stop() {
  if (thread_.joinable()) thread_.join();
}

ModuleWeights::Stored ModuleWeights::find(const ModuleId& module) const {
  const std::string name = name_of(module) + ".weight";
  return {name, {config_.hidden_size, module_columns(config_, module)}, checkpoint_.dtype_of(name)};
}

void ModuleWeights::read(const Stored& stored, std::span<std::byte> bytes) const {
  checkpoint_.read_rows(stored.name, stored.shape, 0, stored.shape[0], stored.type, bytes);
}

OwnedTensor ModuleWeights::transposed(const ModuleId& module) {
  const Stored stored = find(module);
  const Shape rows{stored.shape[0], stored.shape[1]}, columns{stored.shape[1], stored.shape[0]};
  OwnedTensor weight(rows, stored.type, context_.device(), purpose);
  if (context_.device() == Device::cpu) {
    read(stored, {weight->data, weight->bytes()});
  } else {
    stop();
    const bool there = ahead_ == module;
    ahead_.reset();
    if (there && failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    const auto staged = staging_.reserve(stored.bytes(), context_.device(), purpose);
    if (!there) read(stored, staged);
    copy_bytes(weight->data, context_.device(), staged.data(), Device::cpu, staged.size());
  }
  OwnedTensor turned(columns, stored.type, context_.device(), purpose);
  ops::transpose(context_, weight, turned);
  if (stored.type == DType::f32) return turned;
  OwnedTensor wide(columns, DType::f32, context_.device(), purpose);
  ops::convert(context_, turned, wide);
  return wide;
}

void ModuleWeights::read_ahead(const ModuleId& module) {
  if (context_.device() == Device::cpu) return;
  stop();
  failure_ = nullptr;
  ahead_.reset();
  try {
    const Stored stored = find(module);
    const auto staged = staging_.reserve(stored.bytes(), context_.device(), purpose);
    thread_ = quiet_thread([this, stored, staged] {
      try {
        read(stored, staged);
      } catch (...) {
        failure_ = std::current_exception();
      }
    });
    ahead_ = module;
  } catch (const std::exception& error) {  // transposed() will meet it again
    log_debug("{} is not read ahead: {}", name_of(module), error.what());
  }
}

}  // namespace galapagos
