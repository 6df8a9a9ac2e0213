#include "records.hpp"

#include <cstring>
#include <numeric>

namespace galapagos {
namespace {

struct Head {
  std::int64_t island;
  std::int64_t evaluations;
  std::int64_t tokens;
  std::int64_t training_tokens;
  std::int64_t elites;
  RankSums ranks;
  GenerationReport report;
};

template <typename T>
void put(std::vector<std::byte>& bytes, std::span<const T> values) {
  const std::size_t at = bytes.size();
  bytes.resize(at + values.size_bytes());
  if (!values.empty()) std::memcpy(bytes.data() + at, values.data(), values.size_bytes());
}

template <typename T>
void take(std::span<const std::byte>& bytes, std::span<T> values) {
  if (values.empty()) return;
  std::memcpy(values.data(), bytes.data(), values.size_bytes());
  bytes = bytes.subspan(values.size_bytes());
}

}  // namespace

std::size_t record_bytes(std::size_t modules, std::size_t elites) {
  return sizeof(Head) + elites * (sizeof(double) + modules * sizeof(std::int16_t));
}

std::vector<std::byte> write_records(std::span<const std::int64_t> islands,
                                     std::span<const IslandState> states,
                                     std::span<const GenerationReport> reports) {
  std::vector<std::byte> bytes;
  const auto count = static_cast<std::int64_t>(islands.size());
  put(bytes, std::span(&count, 1));
  for (const std::int64_t island : islands) {
    const IslandState& state = states[static_cast<std::size_t>(island)];
    const Head head{island,
                    state.evaluations,
                    state.tokens,
                    state.training_tokens,
                    static_cast<std::int64_t>(state.elites.size()),
                    state.ranks,
                    reports[static_cast<std::size_t>(island)]};
    put(bytes, std::span(&head, 1));
    for (const Candidate& elite : state.elites) {
      put(bytes, std::span(&elite.fitness, 1));
      put(bytes, std::span<const std::int16_t>(elite.assignment));
    }
  }
  return bytes;
}

void read_records(std::span<const std::byte> bytes, std::size_t modules, std::span<IslandState> states,
                  std::span<GenerationReport> reports) {
  if (bytes.empty()) return;
  std::int64_t count = 0;
  take(bytes, std::span(&count, 1));
  for (std::int64_t i = 0; i < count; ++i) {
    Head head;
    take(bytes, std::span(&head, 1));
    IslandState& state = states[static_cast<std::size_t>(head.island)];
    reports[static_cast<std::size_t>(head.island)] = head.report;
    state.evaluations = head.evaluations;
    state.tokens = head.tokens;
    state.training_tokens = head.training_tokens;
    state.ranks = head.ranks;
    state.elites.assign(static_cast<std::size_t>(head.elites), {});
    for (Candidate& elite : state.elites) {
      elite.assignment.resize(modules);
      take(bytes, std::span(&elite.fitness, 1));
      take(bytes, std::span(elite.assignment));
    }
  }
}

std::vector<std::byte> pack(const Population& population) {
  std::vector<std::int64_t> all(population.islands.size());
  std::iota(all.begin(), all.end(), 0);
  return write_records(all, population.islands, std::vector<GenerationReport>(all.size()));
}

Population unpack(std::span<const std::byte> bytes, std::size_t modules, std::size_t islands) {
  Population population;
  population.islands.resize(islands);
  std::vector<GenerationReport> reports(islands);
  read_records(bytes, modules, population.islands, reports);
  return population;
}

}  // namespace galapagos
