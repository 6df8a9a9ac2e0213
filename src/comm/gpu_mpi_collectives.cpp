#include "mpi_check.hpp"
#include "side_stream.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/environment.hpp>
#include <galapagos/comm/staged_collectives.hpp>
#include <galapagos/core/text.hpp>

// Builds with CUDA; without it, gpu_mpi_collectives_none.cpp.
namespace galapagos {
namespace {

/// Through page-locked memory, by a stream of its own.
class PinnedStaging : public Staging {
 public:
  explicit PinnedStaging(void* stream) : stream_(stream) {
    for (Place& place : places_) {
      void* made = nullptr;
      const cudaError_t status = cudaMallocHost(&made, piece() * sizeof(float));
      if (status == cudaErrorMemoryAllocation) {
        throw ResourceError("no page-locked memory for " + human_bytes(piece() * sizeof(float)),
                            "host memory",
                            "raise the limit of locked memory (ulimit -l), or start fewer ranks per node");
      }
      cuda_check(status, "cudaMallocHost");
      place.values.reset(static_cast<float*>(made));
    }
  }
  ~PinnedStaging() override { cudaStreamSynchronize(stream_.get()); }  // copies may still be on their way

  std::size_t piece() const override { return std::size_t{1} << 22; }
  float* host(int place) override { return at(place).values.get(); }

  void begin() override { stream_.follow_main(); }
  void copy_down(const float* from, int place, std::size_t count) override {
    copy(host(place), from, count, cudaMemcpyDeviceToHost);
    GALAPAGOS_CUDA_CALL(cudaEventRecord(at(place).down.get(), stream_.get()));
  }
  void wait_down(int place) override { GALAPAGOS_CUDA_CALL(cudaEventSynchronize(at(place).down.get())); }
  void copy_up(int place, float* to, std::size_t count) override {
    copy(to, host(place), count, cudaMemcpyHostToDevice);
  }
  void end() override { stream_.lead_main(); }

 private:
  struct FreeHost {
    void operator()(float* values) const { cudaFreeHost(values); }
  };
  struct Place {
    std::unique_ptr<float, FreeHost> values;
    CudaEvent down;
  };

  Place& at(int place) { return places_[static_cast<std::size_t>(place)]; }
  void copy(float* to, const float* from, std::size_t count, cudaMemcpyKind kind) {
    GALAPAGOS_CUDA_CALL(cudaMemcpyAsync(to, from, count * sizeof(float), kind, stream_.get()));
  }

  SideStream stream_;
  Place places_[Staging::places];
};

/// GPU memory that MPI is handed, by a stream of its own. It is none of the pool's, which an MPI library
/// cannot map into other processes.
class MessageOnGpu {
 public:
  static constexpr std::size_t piece = std::size_t{1} << 24;  // values

  explicit MessageOnGpu(void* stream) : stream_(stream) {
    void* made = nullptr;
    const cudaError_t status = cudaMalloc(&made, piece * sizeof(float));
    if (status == cudaErrorMemoryAllocation) {
      throw ResourceError("no GPU memory for " + human_bytes(piece * sizeof(float)) + " of sums",
                          "GPU memory", "lower --batch-tokens or --memory-limit");
    }
    cuda_check(status, "cudaMalloc");
    values_.reset(static_cast<float*>(made));
  }
  ~MessageOnGpu() { cudaStreamSynchronize(stream_.get()); }
  MessageOnGpu(const MessageOnGpu&) = delete;
  MessageOnGpu& operator=(const MessageOnGpu&) = delete;

  float* values() const { return values_.get(); }
  SideStream& stream() { return stream_; }
  /// From the values or to them. The host waits for it, as MPI knows nothing of streams.
  void copy(float* to, const float* from, std::size_t count) {
    GALAPAGOS_CUDA_CALL(
        cudaMemcpyAsync(to, from, count * sizeof(float), cudaMemcpyDeviceToDevice, stream_.get()));
    GALAPAGOS_CUDA_CALL(cudaStreamSynchronize(stream_.get()));
  }

 private:
  struct Free {
    void operator()(float* values) const { cudaFree(values); }
  };

  SideStream stream_;
  std::unique_ptr<float, Free> values_;
};

/// MPI is handed GPU memory. The sums block: few MPI libraries take GPU memory in non-blocking reductions.
class DirectCollectives : public Collectives {
 public:
  DirectCollectives(const Communicator& ranks, std::unique_ptr<MessageOnGpu> message)
      : Collectives(ranks), message_(std::move(message)) {}

  void start_sum(float* values, std::size_t count) override {
    values_ = values;
    count_ = count;
    message_->stream().follow_main();
  }

  void finish_sum() override {
    for (std::size_t at = 0; at < count_; at += MessageOnGpu::piece) {
      const std::size_t length = std::min(MessageOnGpu::piece, count_ - at);
      message_->copy(message_->values(), values_ + at, length);
      GALAPAGOS_MPI(MPI_Allreduce(MPI_IN_PLACE, message_->values(), static_cast<int>(length), MPI_FLOAT,
                                  MPI_SUM, ranks().handle()));
      message_->copy(values_ + at, message_->values(), length);
    }
    message_->stream().lead_main();
    count_ = 0;
  }

 private:
  std::unique_ptr<MessageOnGpu> message_;
  float* values_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace

std::unique_ptr<Collectives> make_gpu_mpi_collectives(const Communicator& ranks, void* stream) {
  // All ranks of a program have one MPI library, but its answer may depend on the node.
  if (ranks.all(mpi_reads_gpu_memory())) {
    return std::make_unique<DirectCollectives>(
        ranks, agree_on(ranks, [&] { return std::make_unique<MessageOnGpu>(stream); }));
  }
  return make_staged_collectives(ranks, agree_on(ranks, [&]() -> std::unique_ptr<Staging> {
                                   return std::make_unique<PinnedStaging>(stream);
                                 }));
}

}  // namespace galapagos
