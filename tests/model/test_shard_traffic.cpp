#include "support/catch.hpp"
#include "support/files.hpp"

#include <cstdint>
#include <memory>
#include <mpi.h>
#include <string>
#include <tuple>
#include <vector>

#include <galapagos/comm/collectives.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/model_weights.hpp>
#include <galapagos/model/shard_traffic.hpp>
#include <galapagos/model/training_pass.hpp>

using namespace galapagos;

namespace {

double gathered = 0;  // bytes that this rank has put into all-gathers

}  // namespace

// MPI's profiling interface: in place of the library's function, which it calls.
extern "C" int MPI_Allgather(const void* mine, int count, MPI_Datatype type, void* all, int count_of_each,
                             MPI_Datatype type_of_all, MPI_Comm comm) {
  int size = 0;
  MPI_Type_size(type, &size);
  gathered += static_cast<double>(count) * size;
  return PMPI_Allgather(mine, count, type, all, count_of_each, type_of_all, comm);
}

namespace {

/// Counts the bytes that are summed.
class Counting : public Collectives {
 public:
  Counting(const Communicator& ranks, double& bytes)
      : Collectives(ranks), bytes_(bytes), mpi_(make_mpi_collectives(ranks)) {}
  void start_sum(float* values, std::size_t count) override {
    bytes_ += static_cast<double>(count * sizeof(float));
    mpi_->start_sum(values, count);
  }
  void start_sum_bf16(std::uint16_t* values, std::size_t count) override {
    bytes_ += static_cast<double>(count * sizeof(std::uint16_t));
    mpi_->start_sum_bf16(values, count);
  }
  void finish_sum() override { mpi_->finish_sum(); }
  void sum_to_owners(float* values, std::span<const std::uint64_t> bounds) override {
    mpi_->sum_to_owners(values, bounds);
  }
  void all_gather_parts(std::span<const GatheredPart> parts) override { mpi_->all_gather_parts(parts); }
  void send(const std::byte* data, std::size_t bytes, int to) override { mpi_->send(data, bytes, to); }
  void receive(std::byte* data, std::size_t bytes, int from) override { mpi_->receive(data, bytes, from); }

 private:
  double& bytes_;
  std::unique_ptr<Collectives> mpi_;
};

/// A model's shard with 300 tokens, which are more than logits are made of at a time.
struct Bench {
  explicit Bench(const std::string& name)
      : world(Communicator::world()),
        folder(test::data_file("models/" + name)),
        config(read_hf_config(folder)),
        part(part_of_model(config, world.rank(), world.size())),
        checkpoint(folder),
        weights(load_model_weights(checkpoint_source(checkpoint, config, part, DType::f32, Device::cpu))),
        shards(std::make_unique<Counting>(world, summed), part.vocabulary.first) {
    for (int i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(i * 7 % config.vocab_size));
    batch = {tokens, {0, 100, 101, count}};
    hidden = OwnedTensor({count, config.hidden_size}, DType::f32, Device::cpu, "hidden states");
  }

  /// What the work puts into collectives for a token: what is summed, and what is gathered.
  template <typename Work>
  std::pair<double, double> counted(Work&& work) {
    summed = gathered = 0;
    work();
    return {summed / count, gathered / count};
  }
  void check(const std::pair<double, double>& counted, const ShardTraffic& planned) const {
    const double others = world.size() > 1 ? 1 : 0;
    CHECK(counted.first == Approx(others * (planned.layers + planned.embedding + planned.head)));
    CHECK(counted.second == Approx(others * planned.losses));
  }

  static constexpr int count = 300;
  Communicator world;
  std::filesystem::path folder;
  HfConfig config;
  ModelPart part;
  Checkpoint checkpoint;
  ModelWeights weights;
  double summed = 0;
  Shards shards;
  std::vector<std::int32_t> tokens;
  Batch batch;
  OwnedTensor hidden;
  ops::Context context;
};

const std::vector<std::string> models = {"llama2_tiny",  "llama3_pruned", "qwen2_tiny",   "qwen2_pruned",
                                         "qwen3_pruned", "gemma2_tiny",   "gemma3_pruned"};

}  // namespace

TEST_CASE("what shards exchange on the way forward is as planned", "[shards]") {
  for (const std::string& name : models) {
    Bench bench(name);
    INFO(name);
    ShardTraffic planned = forward_traffic(bench.config.hidden_size, bench.config.layer_shapes);
    LayerForward forward(bench.context, bench.part.config, Bench::count, bench.shards);
    const auto embedding = bench.counted([&] {
      embed_tokens(bench.context, bench.config, bench.shards, bench.tokens, bench.weights.embedding,
                   bench.hidden);
    });
    const auto layers = bench.counted([&] {
      for (const LayerWeights& layer : bench.weights.layers)
        forward.run(layer, bench.batch.offsets, bench.hidden);
    });
    bench.check(embedding, {0, planned.embedding, 0, 0});
    bench.check(layers, {planned.layers, 0, 0, 0});
  }
}

TEST_CASE("what shards exchange for losses is as planned", "[shards]") {
  Bench bench("llama3_pruned");
  const std::int64_t width = bench.part.config.vocab_size;
  const OwnedTensor logits({Bench::count, width}, DType::f32, Device::cpu, "logits");
  fill_zero(logits);
  LogitLosses losses(bench.context, bench.shards, Bench::count, width, true);
  fill_zero(losses.reference(Bench::count));
  std::vector<double> found(Bench::count);
  std::vector<std::int32_t> ids(Bench::count);
  const auto nll = bench.counted([&] { losses.nll(logits, bench.tokens, found); });
  const auto likeliest = bench.counted([&] { losses.arg_max(logits, ids); });
  const auto reference = bench.counted([&] { losses.take_reference(Bench::count); });
  const auto divergence = bench.counted([&] { losses.divergence(logits, found); });
  const auto distance = bench.counted([&] { losses.total_variation(logits, found); });
  const auto sparse = bench.counted([&] { losses.sparse_divergence(logits, 4, found); });
  bench.check(nll, nll_traffic);
  bench.check(likeliest, likeliest_traffic);
  bench.check(reference, reference_traffic);
  bench.check(divergence, divergence_traffic);
  bench.check(distance, divergence_traffic);
  bench.check(sparse, sparse_divergence_traffic(bench.config.vocab_size));
}

TEST_CASE("what shards exchange in training is as planned", "[shards]") {
  for (const std::string& name : models) {
    Bench bench(name);
    const Gradients gradients(bench.weights, Device::cpu);
    for (const bool recompute : {false, true}) {
      for (const auto& [text, distilled, compared] :
           {std::tuple(true, false, false), {false, true, false}, {true, true, true}, {false, false, true}}) {
        INFO(name << (recompute ? ", recomputing" : "") << (text ? ", text" : "")
                  << (distilled ? ", distilled" : "") << (compared ? ", compared" : ""));
        TrainingLoss loss;
        loss.text = text ? 1 : 0, loss.logits = distilled ? 1 : 0, loss.hidden = compared ? 1 : 0;
        if (compared) loss.layers = {0, bench.config.layers - 1};
        TrainingPass pass(bench.context, bench.part.config, Bench::count, recompute, bench.shards, loss);
        ReferenceAnswer reference;
        reference.logits = [](std::int64_t, const Tensor& logits) { fill_zero(logits); };
        const OwnedTensor states({Bench::count, bench.config.hidden_size}, DType::f32, Device::cpu, "test");
        fill_zero(states);
        reference.hidden = {states, states};
        const auto counted = bench.counted(
            [&] { pass.run(bench.weights, bench.batch, 1.0f / Bench::count, reference, gradients); });
        ShardTraffic planned = forward_traffic(bench.config.hidden_size, bench.config.layer_shapes);
        planned += backward_traffic(bench.config.hidden_size, bench.config.layer_shapes, recompute,
                                    DType::f32, bench.config.features.post_norms);
        if (text) planned += nll_traffic;
        if (distilled) {
          planned += reference_traffic;
          planned += divergence_traffic;
        }
        if (!text && !distilled) planned.head = 0;
        bench.check(counted, planned);
      }
    }
  }
}

TEST_CASE("a ring moves what is not the rank's own, twice", "[shards]") {
  CHECK(moved_by_sum(800, 1) == 0);
  CHECK(moved_by_sum(800, 2) == 800);
  CHECK(moved_by_sum(800, 4) == 1200);
  CHECK(moved_by_gather(10, 1) == 0);
  CHECK(moved_by_gather(10, 4) == 30);
  const ShardTraffic moved = ShardTraffic{400, 200, 200, 10}.moved(4);
  CHECK(moved.total() == 600 + 300 + 300 + 30);
}
