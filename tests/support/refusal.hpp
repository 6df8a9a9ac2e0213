#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace galapagos::test {

/// A command that has to be refused.
struct Refusal {
  std::function<std::vector<std::string>(int ranks)> words;
  int code = 0;
  std::string reason;            ///< what the error says
  std::filesystem::path output;  ///< is not there afterwards, where given
};

/// The program ends with these codes on one and on three ranks, and says why in one line each. Many run at a
/// time: most of it is waiting for MPI to start and to end.
void check_refused(const std::vector<Refusal>& refusals);

}  // namespace galapagos::test
