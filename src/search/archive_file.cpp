#include "archive_file.hpp"

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t most_values = 1ull << 30;

/// All islands' measurements as flat arrays.
struct Flat {
  std::vector<std::int64_t> stages;   // [stages, 4]: island, stage, tokens, candidates
  std::vector<double> losses;         // [candidates, 2]: fitness, expected
  std::vector<std::uint8_t> origins;  // [candidates]
  std::vector<std::int32_t> levels;   // [candidates, modules]
};

/// Every array with its name and type, for one function that writes and one that reads.
template <typename Archive, typename Of>
void each_array(Archive& flat, Of&& of) {
  of("/measured_stages", Hdf5Type::i64, flat.stages);
  of("/measured_losses", Hdf5Type::f64, flat.losses);
  of("/measured_origins", Hdf5Type::u8, flat.origins);
  of("/measured_levels", Hdf5Type::i32, flat.levels);
}

template <typename Moments, typename Of>
void each_moment(Moments& moments, Of&& of) {
  of("/moments_products", Hdf5Type::f64, moments.products);
  of("/moments_right", Hdf5Type::f64, moments.right);
  of("/moments_features", Hdf5Type::f64, moments.features);
  of("/moments_errors", Hdf5Type::f64, moments.errors);
  of("/moments_assignments", Hdf5Type::u64, moments.assignments);
}

Flat flatten(const std::vector<IslandState>& islands) {
  Flat flat;
  for (std::size_t i = 0; i < islands.size(); ++i) {
    for (const MeasuredStage& stage : islands[i].measured) {
      flat.stages.insert(flat.stages.end(), {static_cast<std::int64_t>(i), stage.stage, stage.tokens,
                                             static_cast<std::int64_t>(stage.candidates.size())});
      for (const Measurement& one : stage.candidates) {
        flat.losses.insert(flat.losses.end(), {one.fitness, one.expected});
        flat.origins.push_back(static_cast<std::uint8_t>(one.origin));
        flat.levels.insert(flat.levels.end(), one.assignment.begin(), one.assignment.end());
      }
    }
  }
  return flat;
}

class Damage {
 public:
  explicit Damage(std::string path) : path_(std::move(path)) {}
  void unless(bool sound) const {
    if (!sound) throw InputError("the checkpoint is damaged", path_, "begin the search anew");
  }

 private:
  std::string path_;
};

void unflatten(const Flat& flat, const SearchSpace& space, std::vector<IslandState>& islands,
               const Damage& damage) {
  const std::size_t modules = space.modules.size(), count = flat.origins.size();
  damage.unless(flat.stages.size() % 4 == 0 && flat.losses.size() == 2 * count &&
                flat.levels.size() == modules * count);
  std::size_t next = 0;
  for (std::size_t s = 0; s < flat.stages.size(); s += 4) {
    const auto island = static_cast<std::size_t>(flat.stages[s]),
               candidates = static_cast<std::size_t>(flat.stages[s + 3]);
    damage.unless(island < islands.size() && candidates <= count - next);
    MeasuredStage stage{flat.stages[s + 1], flat.stages[s + 2], std::vector<Measurement>(candidates)};
    for (Measurement& one : stage.candidates) {
      one.fitness = flat.losses[2 * next];
      one.expected = flat.losses[2 * next + 1];
      one.origin = static_cast<Origin>(flat.origins[next]);
      damage.unless(one.origin <= last_origin);
      for (std::size_t m = 0; m < modules; ++m) {
        const std::int32_t level = flat.levels[next * modules + m];
        damage.unless(level >= 0 && level <= space.modules[m].last());
        one.assignment.push_back(static_cast<std::int16_t>(level));
      }
      ++next;
    }
    islands[island].measured.push_back(std::move(stage));
  }
  damage.unless(next == count);
}

}  // namespace

void write_archive(Hdf5File& file, const Population& population) {
  const auto write = [&](const char* name, Hdf5Type type, const auto& values) {
    file.create_dataset(name, type, {values.size()});
    file.write_values(name, type, values);
  };
  const Flat flat = flatten(population.islands);
  each_array(flat, write);
  each_moment(population.moments, write);
  file.write_attribute("/", "moments_losses", population.moments.losses);
  file.write_attribute("/", "moments_weight", population.moments.weight);
}

void read_archive(const Hdf5File& file, const std::string& path, const SearchSpace& space,
                  Population& population) {
  const auto read = [&]<typename T>(const char* name, Hdf5Type type, std::vector<T>& values) {
    values = file.read_values<T>(name, type, most_values);
  };
  const Damage damage(path);
  Flat flat;
  each_array(flat, read);
  unflatten(flat, space, population.islands, damage);
  SurrogateMoments& moments = population.moments;
  each_moment(moments, read);
  moments.losses = file.read_double("/", "moments_losses");
  moments.weight = file.read_double("/", "moments_weight");
  const std::size_t size = moments.products.empty() ? 0 : surrogate_features(space);
  damage.unless(moments.products.size() == size * (size + 1) / 2 && moments.right.size() == size &&
                moments.features.size() == size &&
                moments.errors.size() == (size == 0 ? 0 : surrogate_ridges()));
}

}  // namespace galapagos
