#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>
#include <galapagos/comm/communicator.hpp>
#include <galapagos/comm/node_buffer.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/tensor/page_lock.hpp>

namespace galapagos {

/// Where the weights of levels are while a search runs: every module that was used stays on the device; one
/// copy per node in the memory of the host; or in the database file alone.
enum class LevelHome : std::uint8_t { device, host, file };

std::string name_of(LevelHome home);

/// Gives the stored weights of levels to the ranks of a node.
class LevelStore {
 public:
  /// Collective over `world`. With `host` the ranks of each node read all levels into their shared memory, a
  /// part each, and compare the checksums; page-locked where `device`, which they go to, is a GPU. `database`
  /// and `space` must outlive this.
  LevelStore(const Communicator& world, const DatabaseReader& database, const SearchSpace& space,
             LevelHome home, Device device = Device::cpu);

  /// `count` rows from `first` on of the words of a level that is stored, [kept, hidden] of header().dtype;
  /// in `storage` where they have to be read. With `verified` all of the level is, and ChecksumError thrown
  /// where it is damaged.
  std::span<const std::byte> read(std::size_t module, std::int64_t level, std::int64_t first,
                                  std::int64_t count, bool verified, std::vector<std::byte>& storage) const;

  DType dtype() const { return database_.header().dtype; }

 private:
  std::size_t bytes_of(std::size_t module, std::int64_t level) const;

  const DatabaseReader& database_;
  const SearchSpace& space_;
  std::vector<std::vector<std::size_t>> offsets_;  // of each level in window_; empty without one
  Communicator node_;
  NodeBuffer window_;
  PageLock lock_;  // on window_
};

}  // namespace galapagos
