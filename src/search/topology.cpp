#include "streams.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/search/topology.hpp>

namespace galapagos {
namespace {

// In the order of the enum.
constexpr std::array topology_names = {"ring", "complete", "star", "random", "none", "matrix"};
constexpr std::int64_t most_migrants_at_all = 1000;

std::vector<std::vector<std::int64_t>> parse_matrix(const std::string& text, std::int64_t islands) {
  std::vector<std::vector<std::int64_t>> matrix;
  std::istringstream rows(text);
  for (std::string row; std::getline(rows, row, ';');) matrix.push_back(parse_integers(row, "--migrants"));
  bool sound = static_cast<std::int64_t>(matrix.size()) == islands;
  for (const auto& row : matrix) {
    sound = sound && static_cast<std::int64_t>(row.size()) == islands &&
            std::all_of(row.begin(), row.end(), [](auto n) { return n >= 0 && n <= most_migrants_at_all; });
  }
  if (!sound) {
    throw UsageError(
        fmt::format("the matrix of migrants is not {} rows of {} numbers from 0", islands, islands),
        "--migrants", "write rows separated by ';', as \"0 1; 1 0\" for two islands");
  }
  return matrix;
}

}  // namespace

std::string name_of(TopologyKind kind) {
  return topology_names[static_cast<std::size_t>(kind)];
}

std::vector<Migration> Topology::after(std::int64_t generation) const {
  std::vector<Migration> all;
  if (kind == TopologyKind::none || interval == 0 || generation < 1 || generation % interval != 0) return all;
  std::vector<std::int64_t> chosen(static_cast<std::size_t>(islands), -1);
  if (kind == TopologyKind::random && islands > 1) {
    for (std::int64_t from = 0; from < islands; ++from) {
      RandomStream random = stream(seed, from, generation, 0, Draw::migration);
      const std::int64_t other = random.below(static_cast<std::uint32_t>(islands - 1));
      chosen[static_cast<std::size_t>(from)] = other < from ? other : other + 1;
    }
  }
  const auto count = [&](std::int64_t from, std::int64_t to) -> std::int64_t {
    switch (kind) {
      case TopologyKind::ring:
        return to == (from + 1) % islands ? migrants : 0;
      case TopologyKind::complete:
        return migrants;
      case TopologyKind::star:
        return from == 0 || to == 0 ? migrants : 0;
      case TopologyKind::random:
        return chosen[static_cast<std::size_t>(from)] == to ? migrants : 0;
      case TopologyKind::matrix:
        return matrix[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
      case TopologyKind::none:
        break;
    }
    return 0;
  };
  for (std::int64_t to = 0; to < islands; ++to) {
    for (std::int64_t from = 0; from < islands; ++from) {
      if (from != to && count(from, to) > 0) all.push_back({from, to, count(from, to)});
    }
  }
  return all;
}

std::int64_t Topology::most_migrants() const {
  std::int64_t most = kind == TopologyKind::matrix || kind == TopologyKind::none ? 0 : migrants;
  for (const auto& row : matrix) most = std::max(most, *std::max_element(row.begin(), row.end()));
  return most;
}

std::int64_t Topology::most_arrivals() const {
  if (kind == TopologyKind::none) return 0;
  if (kind == TopologyKind::ring) return migrants;
  if (kind != TopologyKind::matrix) return (islands - 1) * migrants;
  std::vector<std::int64_t> arrivals(matrix.size(), 0);
  for (const auto& row : matrix) {
    for (std::size_t to = 0; to < row.size(); ++to) arrivals[to] += row[to];
  }
  return *std::max_element(arrivals.begin(), arrivals.end());
}

Topology make_topology(const std::string& name, const std::string& migrants, std::int64_t interval,
                       std::int64_t islands, std::uint64_t seed) {
  const auto found = std::find(topology_names.begin(), topology_names.end(), name);
  if (found == topology_names.end()) {
    throw UsageError("unknown topology '" + printable(name) + "'", "--topology",
                     "choose ring, complete, star, random, none or matrix");
  }
  Topology topology;
  topology.kind = static_cast<TopologyKind>(found - topology_names.begin());
  topology.islands = islands;
  topology.interval = interval;
  topology.seed = seed;
  if (topology.kind == TopologyKind::matrix) {
    topology.matrix = parse_matrix(migrants, islands);
  } else {
    const std::vector<std::int64_t> numbers = parse_integers(migrants, "--migrants");
    if (numbers.size() != 1 || migrants.find(';') != std::string::npos || numbers[0] < 0 ||
        numbers[0] > most_migrants_at_all) {
      throw UsageError(
          fmt::format("'{}' is not one number from 0 to {}", printable(migrants), most_migrants_at_all),
          "--migrants", "give one number, or --topology matrix");
    }
    topology.migrants = numbers[0];
  }
  if (interval < 0) throw UsageError("a negative interval", "--migration-interval", "give 0 (never) or more");
  return topology;
}

}  // namespace galapagos
