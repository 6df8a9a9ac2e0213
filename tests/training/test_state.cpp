#include "golden_training.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/random.hpp"
#include "support/small_run.hpp"

#include <cmath>
#include <optional>

#include <galapagos/core/error.hpp>
#include <galapagos/training/state.hpp>

using namespace galapagos;

namespace {

namespace fs = std::filesystem;

/// A model with an optimiser that has done some steps.
struct Trained {
  ops::Context context;
  test::SmallModel model;
  Gradients gradients;
  std::unique_ptr<Collectives> replicas;
  ShardedAdamW optimiser;

  Trained(const Communicator& comm, const std::string& name, int steps)
      : model(name, DType::bf16),
        gradients(model.weights, Device::cpu),
        replicas(make_mpi_collectives(comm)),
        optimiser(*replicas, context, model.weights, DType::bf16, {}) {
    for (int i = 0; i < steps; ++i) step(i);
  }

  void step(int number) {
    std::mt19937 random(static_cast<unsigned>(number));
    std::normal_distribution<float> normal;
    for (float& value : gradients.all().float_span()) value = normal(random);
    optimiser.step(gradients, 1e-2, 1);
  }

  std::vector<float> master() {
    optimiser.gather_master(gradients);
    std::vector<float> all = test::values_of(gradients.all());
    fill_zero(gradients.all());
    return all;
  }
  std::vector<float> working() const {
    std::vector<float> all;
    for (const NamedTensor& parameter : parameters_of(model.weights)) {
      const std::vector<float> values = test::values_of(parameter.tensor);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }
};

TrainingState state_after(std::int64_t steps) {
  TrainingState state;
  state.identity = R"({"model":"a","learning-rate":0.1})";
  state.data = {static_cast<std::uint64_t>(3 * steps), 50 * steps};
  state.steps = steps;
  state.seconds = 1.5;
  return state;
}

/// Collective. What load_state says where it refuses; "" where it does not on every rank.
std::string refusal(const Communicator& comm, const fs::path& folder, const std::string& identity,
                    Trained& into) {
  std::string reason;
  try {
    load_state(comm, alone(), folder, identity, into.optimiser, into.gradients);
  } catch (const std::exception& error) {
    reason = error.what();
  }
  if (!comm.all(!reason.empty())) return "";
  return comm.broadcast_string(reason);
}

bool says(const std::string& text, const std::string& word) {
  return text.find(word) != std::string::npos;
}

}  // namespace

TEST_CASE("a state is read back by any number of ranks, to the bit", "[state]") {
  const Communicator world = Communicator::world();
  // Written by the first `writers` ranks, read by the first `readers`.
  for (int writers = 1; writers <= world.size(); ++writers) {
    for (const int readers : {1, world.size()}) {
      const test::SharedFolder folder(world);
      const Communicator writing = world.split(world.rank() < writers ? 0 : 1, world.rank());
      const Communicator reading = world.split(world.rank() < readers ? 0 : 1, world.rank());
      if (world.is_root()) fs::create_directory(folder / "run");
      world.barrier();
      if (world.rank() < writers) {
        Trained written(writing, "llama3_pruned", 3);
        save_state(writing, alone(), folder / "run", state_after(3), written.optimiser);
      }
      world.barrier();
      if (world.rank() < readers) {
        Trained expected(reading, "llama3_pruned", 0), read(reading, "llama3_pruned", 1);
        const TrainingState state = load_state(reading, alone(), folder / "run", state_after(3).identity,
                                               read.optimiser, read.gradients);
        CHECK(state.steps == 3);
        CHECK(read.optimiser.steps() == 3);
        CHECK(state.data.sequences == 9);
        CHECK(state.data.tokens == 150);
        CHECK(state.seconds == 1.5);
        if (readers == writers) {
          for (int i = 0; i < 3; ++i) expected.step(i);
          CHECK(read.master() == expected.master());
          CHECK(read.working() == expected.working());
          CHECK(test::values_of(read.optimiser.first_moment()) ==
                test::values_of(expected.optimiser.first_moment()));
          CHECK(test::values_of(read.optimiser.second_moment()) ==
                test::values_of(expected.optimiser.second_moment()));
          // And it goes on alike.
          read.step(3);
          expected.step(3);
          CHECK(read.master() == expected.master());
        }
        // Whoever writes again writes the same file's contents.
        std::vector<float> before = read.master();
        save_state(reading, alone(), folder / "run", state_after(4), read.optimiser);
        Trained again(reading, "llama3_pruned", 0);
        CHECK(load_state(reading, alone(), folder / "run", state_after(4).identity, again.optimiser,
                         again.gradients)
                  .steps == 4);
        CHECK(again.master() == before);
      }
      world.barrier();
    }
  }
}

TEST_CASE("where the last state is damaged the one before is used", "[state]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  if (world.is_root()) fs::create_directory(folder / "run");
  world.barrier();
  const fs::path run = folder / "run", last = run / "checkpoint.h5";
  Trained trained(world, "qwen2_pruned", 2);
  const std::vector<float> second = trained.master();
  save_state(world, alone(), run, state_after(2), trained.optimiser);
  trained.step(2);
  save_state(world, alone(), run, state_after(3), trained.optimiser);
  CHECK(!fs::exists(run / "checkpoint.h5.part"));
  const auto loaded_steps = [&] {
    Trained read(world, "qwen2_pruned", 0);
    const TrainingState state =
        load_state(world, alone(), run, state_after(0).identity, read.optimiser, read.gradients);
    if (state.steps == 2) CHECK(read.master() == second);
    return state.steps;
  };
  const auto change = [&](const auto& act) {
    world.barrier();
    if (world.is_root()) act();
    world.barrier();
  };
  CHECK(loaded_steps() == 3);
  change([&] { fs::copy_file(last, folder / "sound.h5"); });
  const auto size = fs::file_size(folder / "sound.h5");
  for (const std::uintmax_t left : {size - 1, size / 2, std::uintmax_t{100}, std::uintmax_t{0}}) {
    change([&] { fs::resize_file(last, left); });
    CHECK(loaded_steps() == 2);
    change([&] { fs::copy_file(folder / "sound.h5", last, fs::copy_options::overwrite_existing); });
  }
  change([&] { fs::remove(last); });
  CHECK(loaded_steps() == 2);
  change([&] { fs::remove(run / "checkpoint.previous.h5"); });
  Trained read(world, "qwen2_pruned", 0);
  CHECK(says(refusal(world, run, state_after(0).identity, read), "no checkpoint"));
}

TEST_CASE("a state of another run or model is refused", "[state]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  if (world.is_root()) fs::create_directory(folder / "run");
  world.barrier();
  Trained trained(world, "qwen2_pruned", 1), other(world, "llama3_pruned", 0);
  save_state(world, alone(), folder / "run", state_after(1), trained.optimiser);
  const std::vector<float> before = other.master();
  CHECK(
      says(refusal(world, folder / "run", R"({"model":"a","learning-rate":0.2})", trained), "learning-rate"));
  CHECK(says(refusal(world, folder / "run", R"({"model":"b","learning-rate":0.1})", trained), "model"));
  // Even where somebody has made the names agree.
  CHECK(says(refusal(world, folder / "run", state_after(1).identity, other), "another model"));
  CHECK(other.master() == before);
}
