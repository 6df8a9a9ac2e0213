#include "mpi_check.hpp"
#include "side_stream.hpp"
#include "staged_parts.hpp"

#include <algorithm>
#include <utility>

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
  PinnedStaging(const PinnedStaging&) = delete;
  PinnedStaging& operator=(const PinnedStaging&) = delete;

  std::size_t piece() const override { return std::size_t{1} << 22; }
  float* host(int place) override { return place_at(place).values.get(); }

  void begin() override { stream_.follow_main(); }
  void copy_down(const std::byte* from, int place, std::size_t at, std::size_t bytes) override {
    copy(bytes_of(place) + at, from, bytes, cudaMemcpyDeviceToHost);
    GALAPAGOS_CUDA_CALL(cudaEventRecord(place_at(place).down.get(), stream_.get()));
  }
  void copy_up(int place, std::size_t at, std::byte* to, std::size_t bytes) override {
    copy(to, bytes_of(place) + at, bytes, cudaMemcpyHostToDevice);
  }
  void wait_down(int place) override {
    GALAPAGOS_CUDA_CALL(cudaEventSynchronize(place_at(place).down.get()));
  }
  void end() override { stream_.lead_main(); }
  void wait() noexcept override { cudaStreamSynchronize(stream_.get()); }

 private:
  struct FreeHost {
    void operator()(float* values) const { cudaFreeHost(values); }
  };
  struct Place {
    std::unique_ptr<float, FreeHost> values;
    CudaEvent down;
  };

  Place& place_at(int place) { return places_[static_cast<std::size_t>(place)]; }
  std::byte* bytes_of(int place) { return reinterpret_cast<std::byte*>(host(place)); }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    GALAPAGOS_CUDA_CALL(cudaMemcpyAsync(to, from, bytes, kind, stream_.get()));
  }

  SideStream stream_;
  Place places_[Staging::places];
};

/// GPU memory that MPI is handed, by a stream of its own: places that are none of the pool's, which an MPI
/// library cannot map into other processes.
class GpuStaging : public Staging {
 public:
  explicit GpuStaging(void* stream) : stream_(stream) {
    void* made = nullptr;
    const std::size_t bytes = places * piece() * sizeof(float);
    const cudaError_t status = cudaMalloc(&made, bytes);
    if (status == cudaErrorMemoryAllocation) {
      throw ResourceError("no GPU memory for " + human_bytes(bytes) + " of sums", "GPU memory",
                          "lower --batch-tokens or --memory-limit");
    }
    cuda_check(status, "cudaMalloc");
    values_.reset(static_cast<float*>(made));
  }
  ~GpuStaging() override { cudaStreamSynchronize(stream_.get()); }
  GpuStaging(const GpuStaging&) = delete;
  GpuStaging& operator=(const GpuStaging&) = delete;

  std::size_t piece() const override { return std::size_t{1} << 23; }
  float* host(int place) override { return values_.get() + static_cast<std::size_t>(place) * piece(); }

  void begin() override { stream_.follow_main(); }
  void copy_down(const std::byte* from, int place, std::size_t at, std::size_t bytes) override {
    copy(bytes_of(place) + at, from, bytes);
  }
  void copy_up(int place, std::size_t at, std::byte* to, std::size_t bytes) override {
    copy(to, bytes_of(place) + at, bytes);
  }
  // MPI knows nothing of streams.
  void wait_down(int) override { GALAPAGOS_CUDA_CALL(cudaStreamSynchronize(stream_.get())); }
  void end() override { stream_.lead_main(); }
  void wait() noexcept override { cudaStreamSynchronize(stream_.get()); }

 private:
  struct Free {
    void operator()(float* values) const { cudaFree(values); }
  };

  std::byte* bytes_of(int place) { return reinterpret_cast<std::byte*>(host(place)); }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) {
    if (bytes == 0) return;
    GALAPAGOS_CUDA_CALL(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_.get()));
  }

  SideStream stream_;
  std::unique_ptr<float, Free> values_;
};

/// MPI is handed GPU memory. The sums block: few MPI libraries take GPU memory in non-blocking reductions.
class DirectCollectives : public Collectives {
 public:
  /// `staged` sums bf16, which is no type of MPI's: it would add what lies on a GPU on the CPU, if at all.
  DirectCollectives(const Communicator& ranks, std::unique_ptr<GpuStaging> staging,
                    std::unique_ptr<Collectives> staged)
      : Collectives(ranks), staging_(std::move(staging)), staged_(std::move(staged)) {}

  void start_sum(float* values, std::size_t count) override {
    values_ = values;
    count_ = count;
    staging_->begin();
  }
  void start_sum_bf16(std::uint16_t* values, std::size_t count) override {
    staged_->start_sum_bf16(values, count);
    in_bf16_ = true;
  }

  void finish_sum() override {
    if (std::exchange(in_bf16_, false)) return staged_->finish_sum();
    const std::size_t piece = staging_->piece();
    int place = 0;
    for (std::size_t at = 0; at < count_; at += piece, place = (place + 1) % Staging::places) {
      const std::size_t length = std::min(piece, count_ - at), bytes = length * sizeof(float);
      auto* const part = reinterpret_cast<std::byte*>(values_ + at);
      staging_->copy_down(part, place, 0, bytes);
      staging_->wait_down(place);
      GALAPAGOS_MPI(MPI_Allreduce(MPI_IN_PLACE, staging_->host(place), static_cast<int>(length), MPI_FLOAT,
                                  MPI_SUM, ranks().handle()));
      staging_->copy_up(place, 0, part, bytes);
    }
    staging_->end();
    count_ = 0;
  }

  void abandon_sum() noexcept override {
    staged_->abandon_sum();
    staging_->wait();
  }

  void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) override {
    galapagos::sum_to_owners(ranks(), *staging_, values, bounds);
  }
  void all_gather_parts(std::span<const GatheredPart> parts) override {
    galapagos::all_gather_parts(ranks(), *staging_, parts);
  }
  void send(const std::byte* data, std::size_t bytes, int to) override {
    galapagos::send(ranks(), *staging_, data, bytes, to);
  }
  void receive(std::byte* data, std::size_t bytes, int from) override {
    galapagos::receive(ranks(), *staging_, data, bytes, from);
  }

 private:
  std::unique_ptr<GpuStaging> staging_;
  std::unique_ptr<Collectives> staged_;
  bool in_bf16_ = false;
  float* values_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace

std::unique_ptr<Collectives> make_gpu_mpi_collectives(const Communicator& ranks, void* stream) {
  // All ranks of a program have one MPI library, but its answer may depend on the node.
  const bool direct = ranks.all(mpi_reads_gpu_memory());
  auto staged = make_staged_collectives(ranks, agree_on(ranks, [&]() -> std::unique_ptr<Staging> {
                                          return std::make_unique<PinnedStaging>(stream);
                                        }));
  if (!direct) return staged;
  auto staging = agree_on(ranks, [&] { return std::make_unique<GpuStaging>(stream); });
  return std::make_unique<DirectCollectives>(ranks, std::move(staging), std::move(staged));
}

}  // namespace galapagos
