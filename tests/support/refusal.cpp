#include "support/refusal.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <array>
#include <thread>

namespace galapagos::test {

void check_refused(const std::vector<Refusal>& refusals) {
  std::vector<std::array<Ended, 2>> ended(refusals.size());
  constexpr std::size_t at_a_time = 16;
  std::vector<std::thread> threads;
  for (std::size_t first = 0; first < at_a_time; ++first) {
    threads.emplace_back([&, first] {
      for (std::size_t i = first; i < refusals.size(); i += at_a_time) {
        ended[i] = {run_galapagos(1, refusals[i].words(1), 100), run_galapagos(3, refusals[i].words(3), 100)};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < refusals.size(); ++i) {
    for (const Ended& one : ended[i]) {
      INFO("'" << refusals[i].reason << "' expected: " << one.code << ' ' << one.errors);
      CHECK(one.code == refusals[i].code);
      CHECK(count_lines(one.errors, "galapagos: error: ") == 1);
      CHECK(one.errors.find(refusals[i].reason) != std::string::npos);
    }
    if (!refusals[i].output.empty()) CHECK(!std::filesystem::exists(refusals[i].output));
  }
}

}  // namespace galapagos::test
