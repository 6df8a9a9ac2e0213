#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/pruning/build.hpp>
#include <galapagos/pruning/database.hpp>

namespace galapagos::test {

/// A folder that all ranks share, removed by the root at the end of the scope. Collective.
class SharedFolder {
 public:
  explicit SharedFolder(const Communicator& comm);
  ~SharedFolder();
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  const Communicator& comm_;
  std::filesystem::path path_;
};

/// The options of a database of a small model on the sample text.
DatabaseOptions small_database(const std::string& model, const std::filesystem::path& output);

/// The same along a path whose levels are `first`, `first` + `step`, ... in turn, of as many as each module
/// has; its text lies beside the output. Collective.
DatabaseOptions on_path(const Communicator& comm, DatabaseOptions options, std::int64_t first,
                        std::int64_t step, const std::optional<Compensation>& compensation = std::nullopt);

/// On every rank: the exit code of a collective build, 0 where it went well; its error has been agreed on.
int code_of_build(const Communicator& world, const DatabaseOptions& options);

/// How two databases differ.
struct Difference {
  bool same_bits = true;
  bool same_order = true;
  double largest_loss = 0;    ///< relative
  double largest_weight = 0;  ///< relative to the largest weight of the level
};
/// Everything differs where a file cannot be read: never throws, since other ranks may be waiting.
Difference compare(const std::filesystem::path& first, const std::filesystem::path& second);

}  // namespace galapagos::test
