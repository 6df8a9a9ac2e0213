#include "support/catch.hpp"

#include <fstream>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/context.hpp>

using namespace galapagos;

namespace {

/// Address space of this process in bytes.
std::uint64_t address_space() {
  std::ifstream file("/proc/self/statm");
  std::uint64_t pages = 0;
  file >> pages;
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

/// Lets this process have only so much more address space, until its end.
class LimitedSpace {
 public:
  explicit LimitedSpace(std::uint64_t more) {
    getrlimit(RLIMIT_AS, &before_);
    const rlimit less{address_space() + more, before_.rlim_max};
    limited_ = setrlimit(RLIMIT_AS, &less) == 0;
  }
  ~LimitedSpace() { setrlimit(RLIMIT_AS, &before_); }
  LimitedSpace(const LimitedSpace&) = delete;
  LimitedSpace& operator=(const LimitedSpace&) = delete;

  bool limited() const { return limited_; }

 private:
  rlimit before_{};
  bool limited_ = false;
};

}  // namespace

TEST_CASE("threads that cannot be started are an error, not an end from within", "[ops]") {
#ifdef __SANITIZE_ADDRESS__
  SKIP("the sanitizer needs address space itself");
#endif
  const int before = omp_get_max_threads();
  {
    const LimitedSpace space(std::uint64_t{64} << 20);
    REQUIRE(space.limited());
    CHECK_THROWS_AS(ops::Context(Device::cpu, 512), ResourceError);
  }
  CHECK_NOTHROW(ops::Context(Device::cpu, 4));
  int threads = 0;
#pragma omp parallel reduction(+ : threads)
  threads += 1;
  CHECK(threads == 4);
  omp_set_num_threads(before);
}
