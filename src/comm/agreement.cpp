#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <new>
#include <string>
#include <system_error>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/environment.hpp>
#include <galapagos/core/file_remedy.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t nobody = std::numeric_limits<std::int64_t>::max();

// Every failure leaves agree() as an Error, so that main knows what to print and how to end.
std::exception_ptr as_error(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error&) {
    return failure;
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(
        ResourceError("out of memory", "", "use more ranks or nodes, or lower --memory-limit"));
  } catch (const std::filesystem::filesystem_error& error) {
    const int number = error.code().value();
    const std::string where = (error.path2().empty() ? error.path1() : error.path2()).string();
    if (is_shortage(number))
      return std::make_exception_ptr(ResourceError(error.code().message(), where, remedy_for(number)));
    return std::make_exception_ptr(InputError(error.code().message(), where, remedy_for(number)));
  } catch (const std::exception& error) {
    return std::make_exception_ptr(FailureError(error.what(), "", "report this as a defect"));
  }
}

/// Whether it tells only that another rank has failed.
bool is_elsewhere(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const FailedElsewhere&) {
    return true;
  } catch (...) {
    return false;
  }
}

ExitCode code_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error.code();
  }
}

}  // namespace

FailedElsewhere::FailedElsewhere(ExitCode code, int rank)
    : Error(code, "rank " + std::to_string(rank) + " failed", "", "") {
  mark_agreed();
}

void agree(const Communicator& comm, const std::function<void()>& work) {
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = as_error(std::current_exception());
  }
  // Ranks that only know of another's failure come last, so that its error is not lost.
  const std::int64_t mine =
      !failure ? nobody : comm.rank() + (is_elsewhere(failure) ? std::int64_t{comm.size()} : 0);
  std::int64_t loser = comm.min(mine);
  if (loser == nobody) return;
  loser %= comm.size();
  const int code =
      comm.broadcast_value(failure ? static_cast<int>(code_of(failure)) : 0, static_cast<int>(loser));
  if (loser == comm.rank()) {
    try {
      std::rethrow_exception(failure);
    } catch (Error& error) {
      error.mark_agreed();
      throw;
    }
  }
  throw FailedElsewhere(static_cast<ExitCode>(code), static_cast<int>(loser));
}

void run_or_abort(const std::function<void()>& work) {
  try {
    work();
  } catch (...) {
    try {
      std::rethrow_exception(as_error(std::current_exception()));
    } catch (const Error& error) {
      if (error.agreed()) throw;
      std::fprintf(stderr, "galapagos: error: %s\n", error.what());
      std::fflush(stderr);
      abort_all_ranks(static_cast<int>(error.code()));
    }
  }
}

void agree_at_root(const Communicator& comm, const std::function<void()>& work) {
  agree(comm, [&] {
    if (comm.is_root()) work();
  });
}

}  // namespace galapagos
