#pragma once

#include <memory>
#include <string>

#include <galapagos/tensor/tensor.hpp>

namespace galapagos::ops {

namespace cuda {
class Resources;
}

/// The type of what lies between the operations of a layer, where operands of products may be of type
/// `products`; the residual stream is fp32 everywhere.
constexpr DType activation_type(Device device, DType products) {
  return device == Device::cpu || products == DType::f32 ? DType::f32 : DType::bf16;
}

/// The type in which weights of `type` are held: a GPU, which multiplies by them as bf16, holds fp16 as that.
constexpr DType working_type(Device device, DType type) {
  return device == Device::cuda && type == DType::f16 ? DType::bf16 : type;
}

/// Where operations run. Every operation takes one, and tensors on its device. Results never depend on the
/// number of threads: work is cut into pieces by the extents of the operands alone. Contexts on a GPU
/// share its handles and workspace; one host thread uses them.
class Context {
 public:
  /// `threads` host threads; 0 = what OpenMP would take. `products`: the type that fp32 operands of matrix
  /// products and of attention may be rounded to on a GPU, sums staying in fp32; f32 keeps them but beside a
  /// 16-bit weight, and without TF32. A GPU multiplies by fp16 weights as bf16, whose range activations and
  /// gradients do not leave. ResourceError where the device cannot be had.
  explicit Context(Device device = Device::cpu, int threads = 0, DType products = DType::f32);

  /// What is good for a MemoryCount alone: on that device, which need not be there, with activations of that
  /// type. No operation takes it.
  static Context planned(Device device, DType activations);

  /// This one, but products of fp32 operands keep them.
  Context exact() const;

  Device device() const { return device_; }
  DType products() const { return products_; }
  DType activations() const { return activation_type(device_, products_); }

  /// The stream (a cudaStream_t) that operations run on; nullptr on the CPU.
  void* stream() const;

  /// What the operations of a GPU share; only of a context on one.
  cuda::Resources& cuda() const { return *resources_; }

 private:
  Device device_;
  DType products_;
  std::shared_ptr<cuda::Resources> resources_;
};

/// The device meant by --backend auto|cpu|cuda where a GPU is `visible` to all ranks. UsageError for another
/// word, ResourceError where the build or the machine lacks it.
Device device_of_backend(const std::string& backend, bool visible);

/// The BLAS in use, for --version.
std::string blas_version();

}  // namespace galapagos::ops
