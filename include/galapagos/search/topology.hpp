#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace galapagos {

/// Copies of an island's best candidates on their way to another island.
struct Migration {
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t count = 0;  ///< the best so many of `from`

  bool operator==(const Migration&) const = default;
};

enum class TopologyKind : std::uint8_t { ring, complete, star, random, none, matrix };

/// "ring" and so on.
std::string name_of(TopologyKind kind);

/// Who sends how many migrants to whom.
struct Topology {
  TopologyKind kind = TopologyKind::ring;
  std::int64_t islands = 1;
  std::int64_t interval = 10;                     ///< generations from one migration to the next
  std::int64_t migrants = 1;                      ///< along every edge
  std::vector<std::vector<std::int64_t>> matrix;  ///< [from][to], in place of `migrants`
  std::uint64_t seed = 0;

  /// The migrations that start when `generation` (1, 2, ...) ends, ordered by destination, then origin.
  /// ring: i to i + 1; complete: everybody to everybody; star: island 0 to and from all others; random: each
  /// to one other, drawn anew each time.
  std::vector<Migration> after(std::int64_t generation) const;
  /// The most candidates that any edge carries.
  std::int64_t most_migrants() const;
  /// No more than so many candidates arrive at an island at once.
  std::int64_t most_arrivals() const;
};

/// From --topology, --migrants ("2", or a matrix "0 1; 1 0" with the topology "matrix") and
/// --migration-interval. UsageError for another word, a matrix of another size than islands x islands, or
/// negative numbers.
Topology make_topology(const std::string& name, const std::string& migrants, std::int64_t interval,
                       std::int64_t islands, std::uint64_t seed);

}  // namespace galapagos
