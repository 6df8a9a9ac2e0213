#include "parent.hpp"
#include "support/catch.hpp"

#include <fmt/format.h>

#include <galapagos/export/save.hpp>
#include <galapagos/export/stitch.hpp>
#include <galapagos/search/replica.hpp>

using namespace galapagos;

TEST_CASE("a candidate after its fine-tuning, exported, has the loss that the selection saw", "[tuned]") {
  const Communicator world = Communicator::world();
  for (const char* name : {"llama3_tiny", "qwen2_tiny", "qwen3_tiny", "llama2_tiny", "biased_tiny",
                           "phi3_tiny", "gemma3_tiny"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const test::Parent parent = test::small_parent(world, name, folder);
    const Assignment assignment = test::with_holes(parent.space);
    const DType precision = parent.checkpoint.dtype();
    const ops::Context context;
    const LevelStore store(world, parent.database, parent.space, LevelHome::file);
    Replica replica(context, parent.checkpoint, parent.config, parent.space, store, precision, 256, 256,
                    UINT64_MAX);
    const TokenSet data = test::random_tokens(parent.config.vocab_size);
    const TokenDraw all =
        draw_tokens(data, static_cast<std::int64_t>(data.tokens.size()), RandomStream(1, {}));
    FineTuning tuning;
    tuning.options.learning_rate = 1e-3;
    const double seen =
        replica.tuned_fitness({FitnessKind::nll, 0}, tuning, {&assignment, 1}, all, data, all, {}, {})
            ->front();

    // The same training again, this time kept and written.
    StitchOptions stitched;
    stitched.output = folder / "stitched";
    stitch(world, parent.checkpoint, parent.config, parent.database, parent.space, assignment, stitched);
    const ModelWeights weights = replica.weights_of(assignment, false);
    const HfConfig config = read_hf_config(stitched.output);
    CHECK(config.layer_shapes == replica.config_of(assignment, false).layer_shapes);
    CHECK(fine_tune(context, config, weights, precision, data, tuning.options, {}) == FineTuneEnd::done);
    const std::vector<NamedTensor> parameters = parameters_of(weights);
    save_model(world, context, stitched.output, config, parameters, precision, folder / "tuned");

    const Checkpoint written(folder / "tuned");
    const ModelSource source =
        checkpoint_source(written, read_hf_config(folder / "tuned"), precision, Device::cpu);
    const std::vector<SequenceScore> scores =
        score_sequences(world, context, source, nullptr, data, {256, std::uint64_t{1} << 34, {}});
    const double found = summarise(scores).nll;
    CHECK(std::abs(found - seen) <= 1e-7 * seen);  // sums of other pieces
    // Bit for bit the weights that were compared.
    const ModelWeights read = load_model_weights(source);
    const std::vector<NamedTensor> again = parameters_of(read);
    CHECK(again.size() == parameters.size());
    for (std::size_t i = 0; i < std::min(again.size(), parameters.size()); ++i) {
      CAPTURE(parameters[i].name);
      CHECK(again[i].name == parameters[i].name);
      const Tensor &a = again[i].tensor, &b = parameters[i].tensor;
      CHECK(a.bytes() == b.bytes());
      if (a.bytes() == b.bytes()) CHECK(std::equal(a.data, a.data + a.bytes(), b.data));
    }
  }
}

TEST_CASE("a model written by shards, each with its slices, is the one written as a whole", "[tuned]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  for (const char* name : {"llama3_pruned", "qwen2_pruned", "qwen3_pruned", "llama2_tiny", "gemma3_pruned"}) {
    CAPTURE(name);
    const test::SharedFolder folder(world);
    const std::filesystem::path parent = test::data_file(std::string("models/") + name);
    const HfConfig config = read_hf_config(parent);
    const Checkpoint checkpoint(parent);
    const ModelWeights whole =
        load_model_weights(checkpoint_source(checkpoint, config, DType::f32, Device::cpu));
    save_model(world, context, parent, config, parameters_of(whole), DType::f32, folder / "whole");
    for (int shards = 2; shards <= world.size(); ++shards) {
      if (world.size() % shards != 0) continue;
      const ReplicaGrid grid(world, shards);
      const ModelPart part = part_of_model(config, grid.shard(), shards);
      const ModelWeights own =
          load_model_weights(checkpoint_source(checkpoint, config, part, DType::f32, Device::cpu));
      for (const std::uint64_t bytes : {std::uint64_t{5} << 30, std::uint64_t{60000}}) {  // one file, or many
        const std::filesystem::path output = folder / fmt::format("{}-{}", shards, bytes);
        save_model(world, context, parent, config, parameters_of(own), DType::f32, output, bytes, &grid);
        const Checkpoint expected(folder / "whole"), found(output);
        CHECK(found.names() == expected.names());
        bool same = true;
        for (const std::string& tensor : expected.names()) {
          const TensorEntry &a = expected.entry(tensor), &b = found.entry(tensor);
          same = same && a.shape == b.shape && a.dtype == b.dtype &&
                 std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end());
        }
        CHECK(same);
        world.barrier();
      }
    }
  }
}
