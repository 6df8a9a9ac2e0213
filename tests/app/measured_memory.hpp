#pragma once

#include "support/files.hpp"

#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

// The memory of the program itself, to be held against what `plan` foretells.
namespace galapagos::test {

/// A model of about 75 MB in bf16 with random weights, large enough that the program's own memory is little
/// beside it, and 8192 tokens in tokens.bin.
class LargeModel {
 public:
  /// As a mixture with 8 experts a layer, 2 for each token, it is as large.
  explicit LargeModel(bool mixture = false);

  std::string path() const { return folder_.path().string(); }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }

 private:
  TemporaryFolder folder_;
};

/// Bytes that ranks have held at most: of their own, and shared; without pages of files.
struct Held {
  double own = 0;      ///< of the rank with the most
  double sum = 0;      ///< of all ranks
  double shared = 0;   ///< by the ranks
  double tensors = 0;  ///< of a rank, as the program says itself at its end; 0 where it does not
};

using Words = std::vector<std::string>;

/// Words one after the other.
Words joined(const std::vector<Words>& parts);

/// What the program holds on so many ranks. What glibc keeps of freed memory counts too: some tens of MiB
/// where tensors are smaller than 32 MiB and of many sizes.
Held measure(int ranks, const Words& words);

/// The program on so many ranks, without what it is asked to do.
Held measure_idle(int ranks, const LargeModel& model);

/// What `plan` says of a command on so many ranks.
Json plan(const LargeModel& model, const Words& words, int ranks);
double bytes(const Json& plan, const char* pointer);

/// Says both and checks that they agree within a factor.
void compare(const std::string& what, double planned, double measured, double low, double high);
/// The same of tensors alone, which `planned` of a rank's memory are for. They are no more than that.
void compare_tensors(const std::string& what, double planned, const Held& held, double low);

}  // namespace galapagos::test
