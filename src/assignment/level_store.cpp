#include <fmt/format.h>

#include <galapagos/assignment/level_store.hpp>
#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {

std::string name_of(LevelHome home) {
  return home == LevelHome::device ? "device" : home == LevelHome::host ? "host" : "file";
}

LevelStore::LevelStore(const Communicator& world, const DatabaseReader& database, const SearchSpace& space,
                       LevelHome home, Device device)
    : database_(database), space_(space), node_(world.split_node()) {
  if (home != LevelHome::host) return;
  std::size_t total = 0;
  for (std::size_t i = 0; i < space.modules.size(); ++i) {
    offsets_.emplace_back(static_cast<std::size_t>(space.first_stored), 0);
    for (std::int64_t level = space.first_stored; level <= space.modules[i].last(); ++level) {
      offsets_.back().push_back(total);
      total += (bytes_of(i, level) + 63) / 64 * 64;
    }
  }
  agree(world, [&] {
    if (const std::uint64_t free = available_memory(); node_.is_root() && total > free) {
      throw ResourceError(fmt::format("all levels need {} of a node's memory, of which {} are free",
                                      human_bytes(total), human_bytes(free)),
                          "--level-cache host", "use --level-cache file");
    }
  });
  window_ = NodeBuffer(node_, total);
  agree(world, [&] {
    std::size_t item = 0;
    for (std::size_t i = 0; i < space.modules.size(); ++i) {
      for (std::int64_t level = space.first_stored; level <= space.modules[i].last(); ++level, ++item) {
        if (item % static_cast<std::size_t>(node_.size()) != static_cast<std::size_t>(node_.rank())) continue;
        database.read_level(
            space.modules[i].id, level,
            window_.bytes().subspan(offsets_[i][static_cast<std::size_t>(level)], bytes_of(i, level)));
      }
    }
  });
  window_.synchronise(node_);
  lock_ = PageLock(window_.bytes(), device, "levels");
}

std::size_t LevelStore::bytes_of(std::size_t module, std::int64_t level) const {
  return static_cast<std::size_t>(space_.modules[module].kept.count(static_cast<std::size_t>(level)) *
                                  database_.header().config.hidden_size) *
         size_of(dtype());
}

std::span<const std::byte> LevelStore::read(std::size_t module, std::int64_t level, std::int64_t first,
                                            std::int64_t count, bool verified,
                                            std::vector<std::byte>& storage) const {
  const std::size_t row = static_cast<std::size_t>(database_.header().config.hidden_size) * size_of(dtype());
  const std::size_t begin = static_cast<std::size_t>(first) * row,
                    bytes = static_cast<std::size_t>(count) * row;
  if (!offsets_.empty())
    return window_.bytes().subspan(offsets_[module][static_cast<std::size_t>(level)] + begin, bytes);
  return database_.read_level_rows(space_.modules[module].id, level, first, count, verified, storage);
}

}  // namespace galapagos
