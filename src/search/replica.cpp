#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos {
namespace {

std::vector<LayerWeights> load_layers(const Checkpoint& checkpoint, const HfConfig& config,
                                      const ModelPart& part, DType precision, Device device) {
  std::vector<LayerWeights> layers;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    layers.push_back(load_layer(checkpoint, config, layer, part.layers[static_cast<std::size_t>(layer)],
                                precision, device));
  }
  return layers;
}

Tensor rows_of(const Tensor& all, const Batch& batch, const std::int32_t* first_token) {
  return all.slice(batch.tokens.data() - first_token, static_cast<std::int64_t>(batch.tokens.size()));
}

}  // namespace

Replica::Replica(const ops::Context& context, const Checkpoint& checkpoint, const HfConfig& config,
                 const SearchSpace& space, const LevelStore& store, DType precision,
                 std::int64_t batch_tokens, std::int64_t longest, std::uint64_t cache_limit,
                 const Shards& shards, std::uint64_t kept_logits)
    : context_(context),
      shards_(shards),
      part_(part_of_space(space, config, shards.index(), shards.count())),
      config_(part_.model.config),
      space_(part_.space),
      precision_(precision),
      batch_tokens_(batch_tokens),
      dense_(load_layers(checkpoint, config, part_.model, precision, context.device())),
      embedding_(load_embedding(checkpoint, config, part_.model.vocabulary, precision, context.device())),
      head_(load_head(checkpoint, config, part_.model.vocabulary, precision, context.device())),
      cache_(context, part_, dense_, store, precision, cache_limit),
      forward_(context, config_, std::max(batch_tokens, longest), shards),
      meter_(context, config_, head_, shards, kept_logits) {}

void Replica::dense_answers(const Batch& batch, std::span<float> answers) {
  OwnedTensor hidden;
  bool finite = true;
  shards_.run([&] {
    hidden = hidden_states(context_, config_, std::ssize(batch.tokens));
    embed_tokens(context_, config_, shards_, batch.tokens, embedding_, hidden);
    for (const LayerWeights& layer : dense_) forward_.run(layer, batch.offsets, hidden);
    finite = ops::all_finite(context_, hidden);
  });
  if (!shards_.root_says(finite)) {
    throw NumericalError("activations of the unpruned model became NaN or infinite", "calibration data",
                         "check the checkpoint, or use --precision fp32");
  }
  shards_.run([&] {
    copy_bytes(reinterpret_cast<std::byte*>(answers.data()), Device::cpu, hidden->data, context_.device(),
               hidden->bytes());
  });
}

Replica::Modules Replica::switch_to(const Assignment& assignment, std::size_t from, std::size_t to) {
  const Stopwatch watch;
  Modules modules;
  const auto build = [&] {
    for (std::size_t i = from; i < to; ++i) {
      modules.push_back(assignment[i] < space_.first_stored ? nullptr : cache_.get(i, assignment[i]));
    }
  };
  if (shards_.alone()) {
    build();
  } else {
    agree(shards_.ranks(), build);  // a level may be damaged, or too large
  }
  seconds_.switching += watch.seconds();
  return modules;
}

bool Replica::run_modules(const Assignment& assignment, std::size_t from, std::size_t to,
                          std::span<const Batch> batches, const Tensor& hidden,
                          const std::function<bool()>& stop) {
  const Modules modules = switch_to(assignment, from, to);
  const Stopwatch watch;
  std::map<std::size_t, FfnWeights> mixtures;  // by their first modules
  for (std::size_t i = from; i < to; ++i) {
    const ModuleId& id = space_.modules[i].id;
    if (id.expert != 0) continue;
    const std::size_t experts = dense_[static_cast<std::size_t>(id.layer)].ffn.experts.size();
    mixtures[i] = mixture_of(id.layer, std::span(modules).subspan(i - from, experts));
  }
  for (const Batch& batch : batches) {
    if (stop_asked(stop)) return false;
    const Tensor rows = rows_of(hidden, batch, batches[0].tokens.data());
    shards_.run([&] {
      for (std::size_t i = from; i < to; ++i) {
        const ModuleId& id = space_.modules[i].id;
        const LayerWeights& dense = dense_[static_cast<std::size_t>(id.layer)];
        const BuiltModule* built = modules[i - from].get();
        if (id.expert != no_expert) {
          if (id.expert == 0) forward_.feed_forward(mixtures.at(i), rows);
        } else if (id.kind == ModuleKind::attention) {
          forward_.attention(built != nullptr ? built->attention : dense.attention, batch.offsets, rows);
        } else {
          forward_.feed_forward(built != nullptr ? built->ffn : dense.ffn, rows);
        }
      }
    });
  }
  seconds_.layers += watch.seconds();
  return true;
}

std::optional<std::vector<double>> Replica::fitness(const Fitness& fitness, const Assignment& base,
                                                    std::span<const Assignment> candidates,
                                                    const TokenSet& pool, const TokenDraw& draw,
                                                    DenseAnswers answers, const std::function<bool()>& stop) {
  const auto found = losses(fitness, base, candidates, pool, draw, answers, stop);
  if (!found) return std::nullopt;
  std::vector<double> values;
  for (const std::vector<double>& of_tokens : *found) values.push_back(fitness_of(fitness, of_tokens, draw));
  return values;
}

std::optional<TokenLosses> Replica::losses(const Fitness& fitness, const Assignment& base,
                                           std::span<const Assignment> candidates, const TokenSet& pool,
                                           const TokenDraw& draw, DenseAnswers answers,
                                           const std::function<bool()>& stop) {
  const auto tokens = static_cast<std::int64_t>(draw.tokens.size());
  const std::vector<Batch> batches = make_batches(draw.tokens, draw.offsets, batch_tokens_);
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return first_difference(base, candidates[a]) < first_difference(base, candidates[b]);
  });
  const auto states = [&] { return hidden_states(context_, config_, tokens); };
  const std::size_t at_once = FitnessMeter::candidates_at_once(config_, tokens, context_.device());
  TokenLosses found(candidates.size());
  for (std::size_t done = 0; done < order.size(); done += at_once) {
    const OwnedTensor walked = states();
    shards_.run([&] {
      for (const Batch& batch : batches) {
        embed_tokens(context_, config_, shards_, batch.tokens, embedding_,
                     rows_of(walked, batch, draw.tokens.data()));
      }
    });
    std::size_t at = 0;  // `walked` is what goes into this module on the way of `base`
    std::vector<OwnedTensor> finals;
    const std::span<const std::size_t> some =
        std::span(order).subspan(done, std::min(at_once, order.size() - done));
    for (const std::size_t which : some) {
      const std::size_t from = space_.part_begin(first_difference(base, candidates[which]));
      if (!run_modules(base, at, from, batches, walked, stop)) return std::nullopt;
      at = from;
      finals.push_back(states());
      copy_bytes(finals.back()->data, context_.device(), walked->data, context_.device(), walked->bytes());
      if (!run_modules(candidates[which], from, base.size(), batches, finals.back(), stop))
        return std::nullopt;
    }
    const std::vector<double> values =
        compare(fitness, finals, head_.norm, head_.head, pool, draw, answers, stop);
    if (values.empty()) return std::nullopt;
    for (std::size_t i = 0; i < some.size(); ++i) {
      const double* from = values.data() + i * draw.tokens.size();
      found[some[i]].assign(from, from + draw.tokens.size());
    }
  }
  return found;
}

std::optional<std::vector<double>> Replica::tuned_fitness(const Fitness& fitness, const FineTuning& tuning,
                                                          std::span<const Assignment> candidates,
                                                          const TokenDraw& training, const TokenSet& pool,
                                                          const TokenDraw& draw, DenseAnswers answers,
                                                          const std::function<bool()>& stop) {
  const TokenSet lessons{training.tokens, training.offsets};
  const std::vector<Batch> batches = make_batches(draw.tokens, draw.offsets, batch_tokens_);
  std::vector<double> found;
  for (const Assignment& candidate : candidates) {
    const ModelWeights weights = weights_of(candidate, tuning.unmasked);
    Stopwatch watch;
    const double sums_before = shards_.seconds();
    FineTuneEnd end = FineTuneEnd::done;
    shards_.run([&] {
      end = fine_tune(context_, config_of(candidate, tuning.unmasked), weights, precision_, lessons,
                      tuning.options, stop, shards_);
    });
    seconds_.training += watch.seconds() - (shards_.seconds() - sums_before);
    if (end == FineTuneEnd::stopped) return std::nullopt;
    if (end == FineTuneEnd::diverged) {
      found.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    watch = Stopwatch();
    std::vector<OwnedTensor> final;
    final.push_back(hidden_states(context_, config_, std::ssize(draw.tokens)));
    for (const Batch& batch : batches) {
      if (stop_asked(stop)) return std::nullopt;
      const Tensor rows = rows_of(final.front(), batch, draw.tokens.data());
      shards_.run([&] {
        embed_tokens(context_, config_, shards_, batch.tokens, weights.embedding, rows);
        for (const LayerWeights& layer : weights.layers) forward_.run(layer, batch.offsets, rows);
      });
    }
    seconds_.layers += watch.seconds();
    const std::vector<double> of_tokens =
        compare(fitness, final, weights.norm, weights.output(), pool, draw, answers, stop);
    if (of_tokens.empty()) return std::nullopt;
    found.push_back(fitness_of(fitness, of_tokens, draw));
  }
  return found;
}

std::vector<double> Replica::compare(const Fitness& fitness, std::span<const OwnedTensor> finals,
                                     const Tensor& norm, const Tensor& head, const TokenSet& pool,
                                     const TokenDraw& draw, DenseAnswers answers,
                                     const std::function<bool()>& stop) {
  const Stopwatch watch;
  std::vector<double> found =
      meter_.losses(fitness, finals, norm, head, pool, draw, answers, [&] { return stop_asked(stop); });
  if (!found.empty()) seconds_.head += watch.seconds();
  return found;
}

}  // namespace galapagos
