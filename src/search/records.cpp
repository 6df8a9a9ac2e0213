#include "records.hpp"

#include <algorithm>
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
  std::int64_t stages;
  std::int64_t memory;
  RankSums ranks;
  RankSums surrogate_ranks;
  GenerationReport report;
};

struct StageHead {
  std::int64_t stage;
  std::int64_t tokens;
  std::int64_t candidates;
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

template <typename T>
T take_one(std::span<const std::byte>& bytes) {
  T value;
  take(bytes, std::span(&value, 1));
  return value;
}

template <typename T>
void put_sized(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  const auto count = static_cast<std::uint64_t>(values.size());
  put(bytes, std::span(&count, 1));
  put(bytes, std::span<const T>(values));
}

template <typename T>
void take_sized(std::span<const std::byte>& bytes, std::vector<T>& values) {
  values.resize(take_one<std::uint64_t>(bytes));
  take(bytes, std::span(values));
}

void put_stage(std::vector<std::byte>& bytes, const MeasuredStage& stage) {
  const StageHead head{stage.stage, stage.tokens, static_cast<std::int64_t>(stage.candidates.size())};
  put(bytes, std::span(&head, 1));
  for (const Measurement& one : stage.candidates) {
    put(bytes, std::span(&one.fitness, 1));
    put(bytes, std::span(&one.expected, 1));
    put(bytes, std::span(&one.origin, 1));
    put(bytes, std::span<const std::int16_t>(one.assignment));
  }
}

MeasuredStage take_stage(std::span<const std::byte>& bytes, std::size_t modules) {
  const auto head = take_one<StageHead>(bytes);
  MeasuredStage stage{head.stage, head.tokens,
                      std::vector<Measurement>(static_cast<std::size_t>(head.candidates))};
  for (Measurement& one : stage.candidates) {
    one.fitness = take_one<double>(bytes);
    one.expected = take_one<double>(bytes);
    one.origin = take_one<Origin>(bytes);
    one.assignment.resize(modules);
    take(bytes, std::span(one.assignment));
  }
  return stage;
}

/// Everything of the moments, for one function that puts and one that takes.
template <typename Moments, typename Of>
void each_part(Moments& moments, Of&& of) {
  of(moments.products);
  of(moments.right);
  of(moments.features);
  of(moments.errors);
  of(moments.assignments);
}

}  // namespace

std::size_t record_bytes(std::size_t modules, const EvolutionOptions& options, std::size_t memory) {
  const std::size_t levels = modules * sizeof(std::int16_t);
  std::int64_t measured = options.offspring;
  for (const SelectionStage& stage : options.stages) measured += stage.survivors;
  // The parent joins the last stage, whose own survivor is counted in its place.
  measured += options.topology.most_arrivals();
  const std::int64_t elites = std::max<std::int64_t>(1, options.topology.most_migrants());
  return sizeof(Head) + static_cast<std::size_t>(elites) * (sizeof(double) + levels) +
         memory * sizeof(double) + options.stages.size() * sizeof(StageHead) +
         static_cast<std::size_t>(measured) * (2 * sizeof(double) + sizeof(Origin) + levels);
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
                    static_cast<std::int64_t>(state.measured.size()),
                    static_cast<std::int64_t>(state.memory.size()),
                    state.ranks,
                    state.surrogate_ranks,
                    reports[static_cast<std::size_t>(island)]};
    put(bytes, std::span(&head, 1));
    for (const Candidate& elite : state.elites) {
      put(bytes, std::span(&elite.fitness, 1));
      put(bytes, std::span<const std::int16_t>(elite.assignment));
    }
    put(bytes, std::span<const double>(state.memory));
    for (const MeasuredStage& stage : state.measured) put_stage(bytes, stage);
  }
  return bytes;
}

namespace {

/// Passes over what it takes.
void take_records(std::span<const std::byte>& bytes, std::size_t modules, std::span<IslandState> states,
                  std::span<GenerationReport> reports) {
  if (bytes.empty()) return;
  const auto count = take_one<std::int64_t>(bytes);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto head = take_one<Head>(bytes);
    IslandState& state = states[static_cast<std::size_t>(head.island)];
    reports[static_cast<std::size_t>(head.island)] = head.report;
    state.evaluations = head.evaluations;
    state.tokens = head.tokens;
    state.training_tokens = head.training_tokens;
    state.ranks = head.ranks;
    state.surrogate_ranks = head.surrogate_ranks;
    state.elites.assign(static_cast<std::size_t>(head.elites), {});
    for (Candidate& elite : state.elites) {
      elite.assignment.resize(modules);
      take(bytes, std::span(&elite.fitness, 1));
      take(bytes, std::span(elite.assignment));
    }
    state.memory.resize(static_cast<std::size_t>(head.memory));
    take(bytes, std::span(state.memory));
    state.measured.clear();
    for (std::int64_t s = 0; s < head.stages; ++s) state.measured.push_back(take_stage(bytes, modules));
  }
}

}  // namespace

void read_records(std::span<const std::byte> bytes, std::size_t modules, std::span<IslandState> states,
                  std::span<GenerationReport> reports) {
  take_records(bytes, modules, states, reports);
}

std::vector<std::byte> pack(const Population& population) {
  std::vector<std::int64_t> all(population.islands.size());
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::byte> bytes =
      write_records(all, population.islands, std::vector<GenerationReport>(all.size()));
  const SurrogateMoments& moments = population.moments;
  each_part(moments, [&](const auto& values) { put_sized(bytes, values); });
  put(bytes, std::span(&moments.losses, 1));
  put(bytes, std::span(&moments.weight, 1));
  return bytes;
}

Population unpack(std::span<const std::byte> bytes, std::size_t modules, std::size_t islands) {
  Population population;
  population.islands.resize(islands);
  std::vector<GenerationReport> reports(islands);
  take_records(bytes, modules, population.islands, reports);
  SurrogateMoments& moments = population.moments;
  each_part(moments, [&](auto& values) { take_sized(bytes, values); });
  moments.losses = take_one<double>(bytes);
  moments.weight = take_one<double>(bytes);
  return population;
}

}  // namespace galapagos
