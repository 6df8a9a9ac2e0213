#pragma once

#include <algorithm>
#include <chrono>
#include <cuda_bf16.h>
#include <exception>
#include <fmt/format.h>
#include <nccl.h>
#include <string>
#include <thread>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/error.hpp>

static_assert(NCCL_VERSION_CODE >= NCCL_VERSION(2, 14, 0),
              "NCCL 2.14 or later is needed: NCCL_ROOT says where it is");

namespace galapagos {

inline constexpr const char* nccl_remedy = "set NCCL_DEBUG=WARN for more, or use --collectives mpi";

inline std::string nccl_reason(ncclResult_t status) {
  const std::string last = ncclGetLastError(nullptr);
  return last.empty() ? ncclGetErrorString(status) : fmt::format("{} ({})", ncclGetErrorString(status), last);
}

/// A communicator of NCCL that never blocks the host: what is asked of it is polled for.
class NcclCommunicator {
 public:
  ~NcclCommunicator() {
    if (comm_ == nullptr) return;
    // An orderly end needs all ranks; on the way of an exception they may be elsewhere.
    if (std::uncaught_exceptions() > exceptions_) {
      abort();
      return;
    }
    try {
      request(ncclCommFinalize(comm_), "ncclCommFinalize", std::chrono::seconds(60), [] { return false; });
      ncclCommDestroy(comm_);
    } catch (const Error&) {
      abort();
    }
  }
  NcclCommunicator() = default;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  ncclComm_t get() const { return comm_; }

  /// Returns when connected, or early where `given_up` says so.
  template <typename GivenUp>
  void connect(const Communicator& ranks, const ncclUniqueId& id, std::chrono::seconds deadline,
               GivenUp&& given_up) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t begun = ncclCommInitRankConfig(&comm_, ranks.size(), id, ranks.rank(), &config);
    request(begun, "ncclCommInitRankConfig", deadline, given_up);
  }

  /// Waits until the outcome of a call that returned `status` is known; throws where it is a failure. It is
  /// most often known within microseconds, for which it is asked without sleeping.
  template <typename GivenUp>
  void request(ncclResult_t status, const char* call, std::chrono::seconds deadline, GivenUp&& given_up) {
    constexpr std::chrono::microseconds spinning(50);
    const auto begin = std::chrono::steady_clock::now();
    std::chrono::microseconds pause(20);
    while (status == ncclInProgress) {
      if (given_up()) return;
      const auto waited = std::chrono::steady_clock::now() - begin;
      if (waited > deadline) {
        throw FailureError(
            fmt::format("{} did not end within {} s: a rank does not answer", call, deadline.count()), "NCCL",
            nccl_remedy);
      }
      if (waited > spinning) {
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::microseconds(1000));
      }
      status = state(call);
    }
    if (status != ncclSuccess) fail(status, call);
  }

  /// Throws where a failure has come to light since.
  void check(const char* when) {
    const ncclResult_t status = state(when);
    if (status != ncclSuccess && status != ncclInProgress) fail(status, when);
  }

  /// Ends at once what this rank's GPU waits for.
  void abort() noexcept {
    if (comm_ != nullptr) ncclCommAbort(comm_);
    comm_ = nullptr;
  }

 private:
  ncclResult_t state(const char* call) {
    if (comm_ == nullptr) throw FailureError(std::string(call) + " after a failure", "NCCL", nccl_remedy);
    ncclResult_t status = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm_, &status);
    return asked == ncclSuccess ? status : asked;
  }

  [[noreturn]] void fail(ncclResult_t status, const char* call) {
    throw FailureError(fmt::format("{} failed: {}", call, nccl_reason(status)), "NCCL", nccl_remedy);
  }

  ncclComm_t comm_ = nullptr;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace galapagos
