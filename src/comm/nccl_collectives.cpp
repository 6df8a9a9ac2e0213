#include "nccl_communicator.hpp"
#include "side_stream.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <unistd.h>
#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/failure_board.hpp>
#include <galapagos/comm/gpu_identity.hpp>
#include <galapagos/comm/nccl_collectives.hpp>
#include <galapagos/core/logging.hpp>

// Builds with NCCL; without it, nccl_collectives_none.cpp.
namespace galapagos {
namespace {

std::string version_text(int code) {
  return fmt::format("{}.{}.{}", code / 10000, code / 100 % 100, code % 100);
}

/// What this rank knows of its GPU.
void describe(GpuOfRank& gpu) {
  gethostname(gpu.host.data(), gpu.host.size() - 1);
  int device = 0;
  cudaDeviceProp properties{};
  GALAPAGOS_CUDA_CALL(cudaGetDevice(&device));
  GALAPAGOS_CUDA_CALL(cudaGetDeviceProperties(&properties, device));
  GALAPAGOS_CUDA_CALL(cudaDeviceGetPCIBusId(gpu.bus_id.data(), static_cast<int>(gpu.bus_id.size()), device));
  std::copy_n(properties.uuid.bytes, gpu.uuid.size(), reinterpret_cast<char*>(gpu.uuid.data()));
}

class NcclCollectives : public Collectives {
 public:
  NcclCollectives(const Communicator& ranks, std::unique_ptr<SideStream> stream,
                  std::unique_ptr<NcclCommunicator> nccl, std::chrono::seconds deadline)
      : Collectives(ranks), stream_(std::move(stream)), nccl_(std::move(nccl)), deadline_(deadline) {
    alive().push_back(this);
  }
  ~NcclCollectives() override { std::erase(alive(), this); }

  void start_sum(float* values, std::size_t count) override { start(values, count, ncclFloat32); }
  void start_sum_bf16(std::uint16_t* values, std::size_t count) override {
    start(values, count, ncclBfloat16);
  }

  void finish_sum() override {
    guarded([&] {
      nccl_->check("a sum over ranks");
      stream_->lead_main();
    });
  }

  void abandon_sum() noexcept override {
    nccl_->abort();  // the other ranks may never come to it
    cudaStreamSynchronize(stream_->get());
  }

  void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) override {
    const std::size_t count = bounds[1] - bounds[0], me = index();
    const auto length = [&](std::size_t r) { return static_cast<std::size_t>(bounds[r + 1] - bounds[r]); };
    bool even = true;
    for (std::size_t r = 1; r + 1 < bounds.size(); ++r) even = even && length(r) == count;
    exchange("a sum to its owners", [&](const auto& queue) {
      if (even) {
        return queue(ncclReduceScatter(values, values + bounds[me], count, ncclFloat32, ncclSum, nccl_->get(),
                                       stream_->get()));
      }
      for (std::size_t r = 0; r + 1 < bounds.size(); ++r) {
        float* const part = values + bounds[r];
        if (length(r) == 0) continue;
        queue(ncclReduce(part, part, length(r), ncclFloat32, ncclSum, static_cast<int>(r), nccl_->get(),
                         stream_->get()));
      }
    });
  }

  void all_gather_parts(std::span<const GatheredPart> parts) override {
    exchange("a gathering of parts", [&](const auto& queue) {
      for (const GatheredPart& part : parts) {
        if (part.bytes == 0) continue;
        queue(ncclBroadcast(part.data, part.data, part.bytes, ncclUint8, part.owner, nccl_->get(),
                            stream_->get()));
      }
    });
  }

  void send(const std::byte* data, std::size_t bytes, int to) override {
    if (bytes == 0) return;
    exchange("a message to another rank", [&](const auto& queue) {
      queue(ncclSend(data, bytes, ncclUint8, to, nccl_->get(), stream_->get()));
    });
  }

  void receive(std::byte* data, std::size_t bytes, int from) override {
    if (bytes == 0) return;
    exchange("a message from another rank", [&](const auto& queue) {
      queue(ncclRecv(data, bytes, ncclUint8, from, nccl_->get(), stream_->get()));
    });
  }

  void check_while_waiting(std::chrono::duration<double> waited) {
    guarded([&] {
      nccl_->check("a sum over ranks");
      if (waited <= deadline_) return;
      throw FailureError(
          fmt::format("the GPU has not finished within {} s: a rank does not answer", deadline_.count()),
          "NCCL", nccl_remedy);
    });
  }

  static std::vector<NcclCollectives*>& alive() {
    static std::vector<NcclCollectives*> all;
    return all;
  }

 private:
  void start(void* values, std::size_t count, ncclDataType_t type) {
    guarded([&] {
      stream_->follow_main();
      const ncclResult_t begun =
          ncclAllReduce(values, values, count, type, ncclSum, nccl_->get(), stream_->get());
      // The stream has the sum only when this is known to have gone well.
      nccl_->request(begun, "ncclAllReduce", deadline_, [] { return false; });
    });
  }

  std::size_t index() const { return static_cast<std::size_t>(ranks().rank()); }

  /// One exchange, made of what `work` hands to the function that it is given: what comes before it is
  /// waited for, and what comes after it waits.
  template <typename Work>
  void exchange(const char* name, const Work& work) {
    guarded([&] {
      stream_->follow_main();
      ncclResult_t worst = ncclGroupStart();
      if (worst == ncclSuccess) {
        work([&](ncclResult_t queued) {
          if (worst == ncclSuccess && queued != ncclInProgress) worst = queued;
        });
        const ncclResult_t ended = ncclGroupEnd();
        if (worst == ncclSuccess) worst = ended;
      }
      nccl_->request(worst, name, deadline_, [] { return false; });
      stream_->lead_main();
    });
  }

  /// After a failure nothing on this GPU may go on waiting for other ranks.
  template <typename Work>
  void guarded(Work&& work) {
    try {
      work();
    } catch (const Error&) {
      nccl_->abort();
      throw;
    }
  }

  std::unique_ptr<SideStream> stream_;  // outlives what NCCL has given it
  std::unique_ptr<NcclCommunicator> nccl_;
  std::chrono::seconds deadline_;
};

/// Collective.
std::vector<GpuOfRank> gpus_of(const Communicator& ranks) {
  GpuOfRank mine;
  mine.rank = Communicator::world().rank();
  mine.node = ranks.split_node().broadcast_value(mine.rank);
  agree(ranks, [&] { describe(mine); });
  return ranks.all_gather(mine);
}

}  // namespace

bool nccl_can_connect(const Communicator& ranks) {
  return one_rank_per_gpu(gpus_of(ranks));
}

std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& ranks, void* stream,
                                                   const NcclDeadlines& deadlines) {
  const std::vector<GpuOfRank> gpus = gpus_of(ranks);
  agree(ranks, [&] { check_one_rank_per_gpu(gpus); });
  ncclUniqueId id{};
  agree_at_root(ranks, [&] {
    const ncclResult_t status = ncclGetUniqueId(&id);
    if (status != ncclSuccess)
      throw FailureError("ncclGetUniqueId failed: " + nccl_reason(status), "NCCL", nccl_remedy);
  });
  id = ranks.broadcast_value(id);
  ranks.barrier();  // the broadcast is over everywhere before NCCL makes connections of its own
  auto nccl = std::make_unique<NcclCommunicator>();
  std::unique_ptr<SideStream> side;
  FailureBoard board(ranks);
  board.attempt([&] {
    side = std::make_unique<SideStream>(stream);
    nccl->connect(ranks, id, deadlines.start, [&] { return board.failed(); });
  });
  // A rank that connected just before it heard of another's failure learns of it in settle().
  if (board.failed()) nccl->abort();
  board.settle();
  int loaded = 0;
  ncclGetVersion(&loaded);
  log_info("sums over {} ranks by NCCL {}", ranks.size(), version_text(loaded));
  return std::make_unique<NcclCollectives>(ranks, std::move(side), std::move(nccl), deadlines.sum);
}

void check_nccl_while_waiting(std::chrono::duration<double> waited) {
  for (NcclCollectives* collectives : NcclCollectives::alive()) collectives->check_while_waiting(waited);
}

bool nccl_in_use() {
  return !NcclCollectives::alive().empty();
}

bool built_with_nccl() {
  return true;
}

std::string nccl_version() {
  return version_text(NCCL_VERSION_CODE);
}

}  // namespace galapagos
