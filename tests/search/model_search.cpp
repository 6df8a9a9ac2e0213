#include "model_search.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include <galapagos/core/hash.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/forward.hpp>

namespace galapagos::test {
namespace {

TokenSet random_pool(std::int64_t vocabulary) {
  std::mt19937 random(5);
  TokenSet pool;
  for (int sequence = 0; sequence < 14; ++sequence) {
    const std::size_t length = 2 + random() % 50;
    for (std::size_t i = 0; i < length; ++i)
      pool.tokens.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(vocabulary)));
    pool.offsets.push_back(pool.tokens.size());
  }
  return pool;
}

// The weight [hidden, columns] of a module at a level, with zeros where columns are gone.
OwnedTensor spread(const ModelSearch& model, std::size_t module, std::int64_t level, std::int64_t columns,
                   DType precision) {
  const ModuleId& id = model.space.modules[module].id;
  const std::vector<std::int64_t> kept = model.database.kept(id, level);
  const std::vector<std::byte> bytes = model.database.level_bytes(id, level);
  std::vector<float> compact(bytes.size() / size_of(model.database.header().dtype));
  convert_to_float(model.database.header().dtype, bytes.data(), compact);
  const std::int64_t hidden = model.config.hidden_size;
  std::vector<float> wide(static_cast<std::size_t>(hidden * columns), 0.0F);
  for (std::size_t j = 0; j < kept.size(); ++j) {
    for (std::int64_t row = 0; row < hidden; ++row) {
      wide[static_cast<std::size_t>(row * columns + kept[j])] =
          compact[j * static_cast<std::size_t>(hidden) + static_cast<std::size_t>(row)];
    }
  }
  OwnedTensor tensor({hidden, columns}, precision, Device::cpu, "test");
  convert_from_float(wide, precision, tensor->data);
  return tensor;
}

std::vector<LayerWeights> layers_of(const ModelSearch& model, DType precision, const Assignment& assignment) {
  std::vector<LayerWeights> layers;
  for (std::int64_t layer = 0; layer < model.config.layers; ++layer)
    layers.push_back(load_layer(model.checkpoint, model.config, layer, precision, Device::cpu));
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (assignment[i] < model.space.first_stored) continue;
    const ModuleId& id = model.space.modules[i].id;
    LayerWeights& layer = layers[static_cast<std::size_t>(id.layer)];
    OwnedTensor& weight = id.kind == ModuleKind::attention ? layer.attention.o : layer.ffn.down;
    weight = spread(model, i, assignment[i], weight->columns(), precision);
    // A part that is gone adds nothing, nor its bias.
    const OwnedTensor& bias = id.kind == ModuleKind::attention ? layer.attention.o_bias : layer.ffn.down_bias;
    if (model.database.kept(id, assignment[i]).empty() && !bias->empty()) fill_zero(bias);
  }
  return layers;
}

std::vector<std::vector<double>> logits_of(const ModelSearch& model, DType precision,
                                           const Assignment& assignment,
                                           std::span<const std::int32_t> tokens) {
  const ops::Context context;
  const auto count = static_cast<std::int64_t>(tokens.size());
  const std::vector<std::int64_t> offsets = {0, count};
  const OwnedTensor hidden({count, model.config.hidden_size}, DType::f32, Device::cpu, "test");
  const OwnedTensor embedding = load_embedding(model.checkpoint, model.config, precision, Device::cpu);
  embed_tokens(context, model.config, alone(), tokens, embedding, hidden);
  LayerForward forward(context, model.config, count);
  for (const LayerWeights& layer : layers_of(model, precision, assignment))
    forward.run(layer, offsets, hidden);
  const OwnedTensor logits({count, model.config.vocab_size}, DType::f32, Device::cpu, "test");
  compute_logits(context, model.config, load_head(model.checkpoint, model.config, precision, Device::cpu),
                 hidden, logits);
  std::vector<std::vector<double>> found;
  const float* next = logits->floats();
  for (std::int64_t i = 0; i < count; ++i, next += model.config.vocab_size)
    found.emplace_back(next, next + model.config.vocab_size);
  return found;
}

std::vector<double> log_softmax(const std::vector<double>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const double value : logits) sum += std::exp(value - largest);
  std::vector<double> found;
  for (const double value : logits) found.push_back(value - largest - std::log(sum));
  return found;
}

double divergence(std::vector<double> dense, std::vector<double> other) {
  dense = log_softmax(dense);
  other = log_softmax(other);
  double sum = 0;
  for (std::size_t i = 0; i < dense.size(); ++i) sum += std::exp(dense[i]) * (dense[i] - other[i]);
  return sum;
}

double total_variation(std::vector<double> dense, std::vector<double> other) {
  dense = log_softmax(dense);
  other = log_softmax(other);
  double common = 0;
  for (std::size_t i = 0; i < dense.size(); ++i) common += std::exp(std::min(dense[i], other[i]));
  return 1 - common;
}

double divergence_of_top(const std::vector<double>& dense, const std::vector<double>& other, std::size_t k) {
  std::vector<std::size_t> ids(dense.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::size_t a, std::size_t b) { return dense[a] > dense[b]; });
  std::vector<double> p, q;
  for (std::size_t i = 0; i < std::min(k, ids.size()); ++i) {
    p.push_back(dense[ids[i]]);
    q.push_back(other[ids[i]]);
  }
  return divergence(p, q);
}

}  // namespace

std::string fingerprint_of(const Checkpoint& checkpoint) {
  return hex64(checkpoint.fingerprint());
}

ModelSearch::ModelSearch(const Communicator& comm, const DatabaseOptions& built)
    : folder(built.model),
      config(read_hf_config(folder)),
      checkpoint(folder),
      database(built.output),
      space(load_space(comm, database, config, fingerprint_of(checkpoint))),
      pool(random_pool(config.vocab_size)) {}

Assignment ModelSearch::random_assignment(std::mt19937& random) const {
  Assignment assignment;
  for (const ModuleChoices& module : space.modules) {
    const auto levels = static_cast<unsigned>(module.last()) + 1;
    assignment.push_back(static_cast<std::int16_t>(random() % levels));
  }
  return assignment;
}

ModelSearch make_model_search(const Communicator& comm, const DatabaseOptions& options) {
  build_database(comm, ops::Context(), options);
  return {comm, options};
}

std::vector<float> dense_answers(Replica& replica, const ModelSearch& model) {
  const auto hidden = static_cast<std::size_t>(model.config.hidden_size);
  std::vector<float> answers(model.pool.tokens.size() * hidden);
  for (const Batch& batch : make_batches(model.pool.tokens, model.pool.offsets, 64)) {
    const auto at = static_cast<std::size_t>(batch.tokens.data() - model.pool.tokens.data());
    replica.dense_answers(batch, std::span(answers).subspan(at * hidden, batch.tokens.size() * hidden));
  }
  return answers;
}

const FitnessByHand::Logits& FitnessByHand::logits(const Assignment& assignment,
                                                   std::span<const std::int32_t> tokens) {
  const auto [place, fresh] = known_.try_emplace({assignment, {tokens.begin(), tokens.end()}});
  if (fresh) place->second = logits_of(model_, precision_, assignment, tokens);
  return place->second;
}

double FitnessByHand::operator()(const Fitness& fitness, const Assignment& assignment,
                                 const TokenDraw& draw) {
  const Assignment no_assignment;  // the model as it is
  double sum = 0, count = 0;
  for (std::size_t s = 0; s < draw.sequences.size(); ++s) {
    const auto tokens =
        std::span(draw.tokens).subspan(draw.offsets[s], draw.offsets[s + 1] - draw.offsets[s]);
    const Logits& other = logits(assignment, tokens);
    const Logits& dense = logits(no_assignment, tokens);
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      switch (fitness.kind) {
        case FitnessKind::kl:
          sum += divergence(dense[i], other[i]);
          break;
        case FitnessKind::sparse_kl:
          sum += divergence_of_top(dense[i], other[i], static_cast<std::size_t>(fitness.top_k));
          break;
        case FitnessKind::tv:
          sum += total_variation(dense[i], other[i]);
          break;
        case FitnessKind::ppl:
        case FitnessKind::nll:
          sum -= log_softmax(other[i])[static_cast<std::size_t>(tokens[i + 1])];
          break;
      }
      ++count;
    }
  }
  return fitness.kind == FitnessKind::ppl ? std::exp(sum / count) : sum / count;
}

}  // namespace galapagos::test
