#include "checkpoint_file.hpp"

#include "archive_file.hpp"

#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/io/hdf5.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t format_version = 4;
constexpr std::uint64_t most_values = 1ull << 28;
constexpr std::uint64_t most_identity_bytes = 64 << 20;

/// All islands' states as flat arrays.
struct Flat {
  std::vector<std::int32_t> levels;                                        // [all elites, modules]
  std::vector<double> fitness;                                             // [all elites]
  std::vector<std::int64_t> elites, evaluations, tokens, training_tokens;  // [islands]
  std::vector<double> ranks;  // [islands, both, first and second of RankSums, again of the surrogate's]
  std::vector<std::int64_t> ranked;    // [islands]
  std::vector<double> memory;          // of all islands, one after the other
  std::vector<std::int64_t> memories;  // [islands], how many of them
};

Flat flatten(const Population& population) {
  Flat flat;
  for (const IslandState& island : population.islands) {
    flat.elites.push_back(static_cast<std::int64_t>(island.elites.size()));
    flat.evaluations.push_back(island.evaluations);
    flat.tokens.push_back(island.tokens);
    flat.training_tokens.push_back(island.training_tokens);
    for (const RankSums& ranks : {island.ranks, island.surrogate_ranks})
      flat.ranks.insert(flat.ranks.end(), {ranks.both, ranks.first, ranks.second});
    flat.ranked.push_back(island.ranks.count);
    flat.memory.insert(flat.memory.end(), island.memory.begin(), island.memory.end());
    flat.memories.push_back(std::ssize(island.memory));
    for (const Candidate& elite : island.elites) {
      flat.levels.insert(flat.levels.end(), elite.assignment.begin(), elite.assignment.end());
      flat.fitness.push_back(elite.fitness);
    }
  }
  return flat;
}

Population unflatten(const Flat& flat, const SearchSpace& space, std::int64_t generation,
                     const std::string& path) {
  const auto fail = [&] { throw InputError("the checkpoint is damaged", path, "begin the search anew"); };
  const std::size_t modules = space.modules.size();
  Population population;
  population.generation = generation;
  std::size_t next = 0, remembered = 0;
  for (const auto* counts :
       {&flat.evaluations, &flat.tokens, &flat.training_tokens, &flat.ranked, &flat.memories}) {
    if (counts->size() != flat.elites.size()) fail();
  }
  if (flat.ranks.size() != 6 * flat.elites.size()) fail();
  for (std::size_t i = 0; i < flat.elites.size(); ++i) {
    IslandState island;
    island.evaluations = flat.evaluations[i];
    island.tokens = flat.tokens[i];
    island.training_tokens = flat.training_tokens[i];
    const double* ranks = flat.ranks.data() + 6 * i;
    island.ranks = {ranks[0], ranks[1], ranks[2], flat.ranked[i]};
    island.surrogate_ranks = {ranks[3], ranks[4], ranks[5], flat.ranked[i]};
    if (flat.elites[i] < 1 || static_cast<std::size_t>(flat.elites[i]) > flat.fitness.size() - next) fail();
    for (std::int64_t e = 0; e < flat.elites[i]; ++e, ++next) {
      Candidate elite;
      elite.fitness = flat.fitness[next];
      if ((next + 1) * modules > flat.levels.size()) fail();
      for (std::size_t m = 0; m < modules; ++m) {
        const std::int32_t level = flat.levels[next * modules + m];
        if (level < 0 || level > space.modules[m].last()) fail();
        elite.assignment.push_back(static_cast<std::int16_t>(level));
      }
      island.elites.push_back(std::move(elite));
    }
    const auto memory = static_cast<std::size_t>(flat.memories[i]);
    if (flat.memories[i] < 0 || memory > flat.memory.size() - remembered) fail();
    const double* from = flat.memory.data() + std::exchange(remembered, remembered + memory);
    island.memory.assign(from, from + memory);
    population.islands.push_back(std::move(island));
  }
  if (next != flat.fitness.size() || flat.levels.size() != next * modules) fail();
  return population;
}

}  // namespace

SearchCheckpoint read_checkpoint(const fs::path& path, const SearchSpace& space) {
  const Hdf5File file = Hdf5File::open(path);
  if (file.read_integer("/", "format_version") != format_version) {
    throw InputError("a checkpoint of another version", path.string(),
                     "use the version of Galapagos that made it");
  }
  Flat flat;
  flat.levels = file.read_values<std::int32_t>("/levels", Hdf5Type::i32, most_values);
  flat.fitness = file.read_values<double>("/fitness", Hdf5Type::f64, most_values);
  flat.elites = file.read_values<std::int64_t>("/elites", Hdf5Type::i64, most_values);
  flat.evaluations = file.read_values<std::int64_t>("/evaluations", Hdf5Type::i64, most_values);
  flat.tokens = file.read_values<std::int64_t>("/tokens", Hdf5Type::i64, most_values);
  flat.training_tokens = file.read_values<std::int64_t>("/training_tokens", Hdf5Type::i64, most_values);
  flat.ranks = file.read_values<double>("/ranks", Hdf5Type::f64, most_values);
  flat.ranked = file.read_values<std::int64_t>("/ranked", Hdf5Type::i64, most_values);
  flat.memories.resize(flat.elites.size());
  if (file.has("/memories")) {
    flat.memory = file.read_values<double>("/memory", Hdf5Type::f64, most_values);
    flat.memories = file.read_values<std::int64_t>("/memories", Hdf5Type::i64, most_values);
  }
  SearchCheckpoint checkpoint;
  const auto identity = file.read_values<std::uint8_t>("/identity", Hdf5Type::u8, most_identity_bytes);
  checkpoint.identity.assign(identity.begin(), identity.end());
  checkpoint.seconds = file.read_double("/", "seconds");
  checkpoint.population = unflatten(flat, space, file.read_integer("/", "generation"), path.string());
  read_archive(file, path.string(), space, checkpoint.population);
  return checkpoint;
}

void write_checkpoint(const fs::path& path, const SearchCheckpoint& checkpoint) {
  const Flat flat = flatten(checkpoint.population);
  Hdf5File file = Hdf5File::create(path);
  const auto write = [&](const char* name, Hdf5Type type, const auto& values) {
    file.create_dataset(name, type, {values.size()});
    file.write_values(name, type, values);
  };
  write("/levels", Hdf5Type::i32, flat.levels);
  write("/fitness", Hdf5Type::f64, flat.fitness);
  write("/elites", Hdf5Type::i64, flat.elites);
  write("/evaluations", Hdf5Type::i64, flat.evaluations);
  write("/tokens", Hdf5Type::i64, flat.tokens);
  write("/training_tokens", Hdf5Type::i64, flat.training_tokens);
  write("/ranks", Hdf5Type::f64, flat.ranks);
  write("/ranked", Hdf5Type::i64, flat.ranked);
  if (!flat.memory.empty()) {
    write("/memory", Hdf5Type::f64, flat.memory);
    write("/memories", Hdf5Type::i64, flat.memories);
  }
  write("/identity", Hdf5Type::u8,
        std::vector<std::uint8_t>(checkpoint.identity.begin(), checkpoint.identity.end()));
  write_archive(file, checkpoint.population);
  file.write_attribute("/", "format_version", format_version);
  file.write_attribute("/", "generation", checkpoint.population.generation);
  file.write_attribute("/", "seconds", checkpoint.seconds);
  file.close();
}

}  // namespace galapagos
