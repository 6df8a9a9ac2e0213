#include "scorer.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

/// Ids of the whole vocabulary, of which a shard's model has a slice. Collective over the shards.
std::int64_t ids_of(const ModelSource& model, const EvaluationOptions& options) {
  return options.grid == nullptr ? model.config.vocab_size
                                 : options.grid->of_replica().sum(model.config.vocab_size);
}

void check_comparable(const HfConfig& model, std::int64_t ids, const HfConfig& reference,
                      std::int64_t reference_ids) {
  const auto compare = [](std::int64_t a, std::int64_t b, const char* what) {
    if (a == b) return;
    throw InputError(fmt::format("the reference has {} {}, the model {}", b, what, a), "--reference",
                     "compare a pruned model with the one it was made from");
  };
  compare(model.layers, reference.layers, "layers");
  compare(model.hidden_size, reference.hidden_size, "hidden columns");
  compare(ids, reference_ids, "ids");
}

}  // namespace

std::uint64_t evaluation_bytes(std::span<const ModelSource* const> models, const LayerSpan& span,
                               std::int64_t most_tokens, Device device, DType activations,
                               std::size_t batches) {
  std::uint64_t bytes = 0;
  for (const ModelSource* model : models) {
    bytes += activation_bytes(model->config, most_tokens, activations, batches) +
             stage_weight_bytes(model->config, span, model->precision);
  }
  if (span.last == models[0]->config.layers)
    bytes += Scorer::bytes({models.begin(), models.end()}, device, activations);
  return bytes;
}

PipelineGrid evaluation_grid(std::span<const ModelSource* const> models, int ranks, std::int64_t most_tokens,
                             std::uint64_t limit, Device device, DType activations) {
  std::vector<double> costs(static_cast<std::size_t>(models[0]->config.layers), 0.0);
  for (const ModelSource* model : models) {
    const std::vector<double> own = layer_costs(model->config);
    for (std::size_t i = 0; i < costs.size(); ++i) costs[i] += own[i];
  }
  std::uint64_t most = 0;
  for (int stages = 1; stages <= std::min<std::int64_t>(ranks, models[0]->config.layers); ++stages) {
    PipelineGrid grid;
    grid.lanes = ranks / stages;
    grid.spans = balanced_spans(costs, stages);
    most = 0;
    for (const LayerSpan& span : grid.spans)
      most = std::max(most, evaluation_bytes(models, span, most_tokens, device, activations));
    if (stages > 1) {
      check_message(most_tokens, static_cast<std::int64_t>(models.size()) * models[0]->config.hidden_size);
    }
    if (most <= limit) return grid;
  }
  throw ResourceError(
      fmt::format("the model needs {} on a rank, which may use {}", human_bytes(most), human_bytes(limit)),
      "memory", "use more ranks or nodes, a smaller --batch-tokens, or raise --memory-limit");
}

double Evaluation::perplexity() const {
  return std::exp(nll);
}

Evaluation summarise(std::span<const SequenceScore> scores) {
  Evaluation sum;
  std::int64_t agreed = 0;
  for (const SequenceScore& score : scores) {
    ++sum.sequences;
    sum.tokens += score.predicted;
    sum.nll += score.nll;
    sum.kl += score.kl;
    agreed += score.agreed;
  }
  const auto tokens = static_cast<double>(std::max<std::int64_t>(sum.tokens, 1));
  sum.nll /= tokens;
  sum.kl /= tokens;
  sum.top1_agreement = static_cast<double>(agreed) / tokens;
  return sum;
}

namespace {

/// The data cut into batches, which are dealt to lanes in turn.
struct Batches {
  std::vector<Batch> all;
  std::vector<std::size_t> first_sequence;  // of each
  std::vector<std::int64_t> unscored;       // of each sequence, tokens that are only context
  std::int64_t most_tokens = 1;

  Batches(const TokenSet& data, const EvaluationOptions& options)
      : all(make_batches(data.tokens, data.offsets, options.batch_tokens)), unscored(options.context) {
    std::size_t sequences = 0;
    for (const Batch& batch : all) {
      most_tokens = std::max(most_tokens, static_cast<std::int64_t>(batch.tokens.size()));
      first_sequence.push_back(sequences);
      sequences += batch.offsets.size() - 1;
    }
    if (unscored.empty()) unscored.assign(sequences, 1);
  }

  std::span<const std::int64_t> unscored_of(std::size_t batch) const {
    return std::span(unscored).subspan(first_sequence[batch], all[batch].offsets.size() - 1);
  }
  /// The batches of a lane.
  std::vector<std::size_t> of_lane(int lane, int lanes) const {
    std::vector<std::size_t> mine;
    for (auto b = static_cast<std::size_t>(lane); b < all.size(); b += static_cast<std::size_t>(lanes))
      mine.push_back(b);
    return mine;
  }
};

void check_finite(const ops::Context& context, const Tensor& hidden, const LayerSpan& span) {
  if (ops::all_finite(context, hidden)) return;
  throw NumericalError("activations became NaN or infinite",
                       fmt::format("layers {} to {}", span.first, span.last - 1),
                       "check the checkpoint, or use --precision fp32");
}

/// Collective. The scores of all sequences in order, from those of each lane's batches, which `rank_of(lane)`
/// gives.
std::vector<SequenceScore> bring_together(const Communicator& comm, const Batches& batches, int lanes,
                                          const std::vector<SequenceScore>& mine,
                                          const std::function<int(int lane)>& rank_of) {
  std::vector<std::uint64_t> counts;
  const std::vector<SequenceScore> all = comm.gather(std::span<const SequenceScore>(mine), &counts);
  std::vector<SequenceScore> result;
  if (comm.is_root()) {
    std::vector<std::size_t> at(counts.size(), 0);
    for (std::size_t rank = 1; rank < counts.size(); ++rank) at[rank] = at[rank - 1] + counts[rank - 1];
    for (std::size_t b = 0; b < batches.all.size(); ++b) {
      const auto rank =
          static_cast<std::size_t>(rank_of(static_cast<int>(b % static_cast<std::size_t>(lanes))));
      for (std::size_t s = 0; s + 1 < batches.all[b].offsets.size(); ++s) result.push_back(all[at[rank]++]);
    }
  }
  comm.broadcast(result);
  return result;
}

/// Each replica's shards compute its batches together.
std::vector<SequenceScore> score_on_shards(const Communicator& comm, const ops::Context& context,
                                           const Models& models, const Batches& batches,
                                           const EvaluationOptions& options, std::uint64_t limit,
                                           PhaseTimes* times) {
  const ReplicaGrid& grid = *options.grid;
  const LayerSpan span = {0, models[0]->config.layers};
  agree(comm, [&] {
    const std::uint64_t need =
        evaluation_bytes(models, span, batches.most_tokens, context.device(), context.activations(), 1);
    if (need <= limit) return;
    throw ResourceError(fmt::format("a shard of the model needs {} on a rank, which may use {}",
                                    human_bytes(need), human_bytes(limit)),
                        "memory", "use more --shards, a smaller --batch-tokens, or raise --memory-limit");
  });
  const Shards shards =
      make_shards(grid, options.make_collectives, grid.of_replica().sum(models[0]->config.vocab_size));
  std::vector<StageWeights> weights;
  std::vector<ForwardBuffers> buffers;
  std::optional<Scorer> scorer;
  agree(comm, [&] {
    const PhaseScope reading(times, "reading");
    for (const ModelSource* source : models) {
      weights.push_back(load_stage(*source, span));
      buffers.emplace_back(context, source->config, batches.most_tokens, 1, shards);
    }
    scorer.emplace(context, models, shards);
  });
  FailureBoard board(comm);
  std::vector<SequenceScore> scores;
  const std::vector<std::size_t> mine = batches.of_lane(grid.replica(), grid.replicas());
  Progress progress("evaluated batches", static_cast<std::int64_t>(mine.size()));
  const PhaseScope waiting(times, "waiting");
  for (const std::size_t b : mine) {
    if (shards.root_says(board.failed())) break;
    const PhaseScope evaluating(times, "evaluating");
    const Batch& batch = batches.all[b];
    std::vector<Tensor> states;
    shards.run([&] {
      for (std::size_t m = 0; m < models.size(); ++m) {
        states.push_back(buffers[m].hidden[0]->slice(0, static_cast<std::int64_t>(batch.tokens.size())));
        embed_tokens(context, shards, batch.tokens, weights[m].embedding, states[m]);
        for (const LayerWeights& layer : weights[m].layers)
          buffers[m].layers.run(layer, batch.offsets, states[m]);
      }
    });
    if (shards.is_root()) {  // all shards have the same states
      board.attempt([&] {
        for (const Tensor& state : states) check_finite(context, state, span);
      });
    }
    if (shards.root_says(board.failed())) break;
    shards.run([&] {
      const std::vector<SequenceScore> some = scorer->score(batch, states, batches.unscored_of(b));
      if (shards.is_root()) scores.insert(scores.end(), some.begin(), some.end());
    });
    progress.advance();
  }
  if (times != nullptr) times->move("evaluating", "communicating", shards.seconds());
  board.settle();
  return bring_together(comm, batches, grid.replicas(), scores,
                        [&](int lane) { return lane * grid.shards(); });
}

/// Each lane's stages compute its batches one after the other.
std::vector<SequenceScore> score_on_stages(const Communicator& comm, const ops::Context& context,
                                           const Models& models, const Batches& batches, std::uint64_t limit,
                                           PhaseTimes* times) {
  const PipelineGrid grid = agree_on(comm, [&] {
    return evaluation_grid(models, comm.size(), batches.most_tokens, limit, context.device(),
                           context.activations());
  });
  const bool member = grid.member(comm.rank());
  const int lane = member ? grid.lane_of(comm.rank()) : 0,
            stage_index = member ? grid.stage_of(comm.rank()) : 0;
  const bool last = member && stage_index + 1 == grid.stages();
  const std::vector<std::size_t> numbers =
      member ? batches.of_lane(lane, grid.lanes) : std::vector<std::size_t>();
  std::vector<Batch> mine;
  for (const std::size_t b : numbers) mine.push_back(batches.all[b]);
  const auto copies = static_cast<std::int64_t>(models.size());
  const std::int64_t width = models[0]->config.hidden_size;
  std::vector<StageWeights> stages;
  OwnedTensor hidden[streamed_batches];
  std::vector<LayerForward> forward;
  std::optional<Scorer> scorer;
  agree(comm, [&] {
    if (!member) return;
    const PhaseScope reading(times, "reading");
    for (const ModelSource* source : models) {
      stages.push_back(load_stage(*source, grid.spans[static_cast<std::size_t>(stage_index)]));
      forward.emplace_back(context, source->config, batches.most_tokens);
    }
    // The states of the model and of its reference travel together, one after the other.
    for (OwnedTensor& buffer : hidden) {
      buffer =
          OwnedTensor({batches.most_tokens, copies * width}, DType::f32, context.device(), "hidden states");
    }
    if (last) scorer.emplace(context, models, alone());
  });
  const auto states_of = [&](const Batch& batch, const Tensor& all) {
    const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
    const Tensor rows = all.view({copies * tokens, width});
    std::vector<Tensor> states;
    for (std::int64_t m = 0; m < copies; ++m) states.push_back(rows.slice(m * tokens, tokens));
    return states;
  };

  std::vector<SequenceScore> scores;  // of this lane's sequences, in order
  std::size_t next = 0;
  FailureBoard board(comm);
  const PhaseScope waiting(times, "waiting");
  if (member) {
    Progress progress("evaluated batches", static_cast<std::int64_t>(mine.size()));
    stream_batches(
        comm, grid, mine, {hidden[0], hidden[1], hidden[2]}, board,
        [&](const Batch& batch, const Tensor& out) {
          const PhaseScope evaluating(times, "evaluating");
          const std::vector<Tensor> states = states_of(batch, out);
          for (std::size_t m = 0; m < states.size(); ++m) {
            ops::embed(context, batch.tokens, stages[m].embedding, states[m]);
          }
        },
        [&](const Batch& batch, const Tensor& all) {
          const PhaseScope evaluating(times, "evaluating");
          const std::vector<Tensor> states = states_of(batch, all);
          for (std::size_t m = 0; m < states.size(); ++m) {
            for (const LayerWeights& layer : stages[m].layers)
              forward[m].run(layer, batch.offsets, states[m]);
          }
          check_finite(context, all, stages[0].span);
          if (last) {
            const std::vector<SequenceScore> some =
                scorer->score(batch, states, batches.unscored_of(numbers[next]));
            scores.insert(scores.end(), some.begin(), some.end());
          }
          ++next;
          progress.advance();
        });
  }
  board.settle();
  return bring_together(comm, batches, grid.lanes, scores,
                        [&](int of_lane) { return grid.rank_of(of_lane, grid.stages() - 1); });
}

}  // namespace

std::vector<SequenceScore> score_sequences(const Communicator& world, const ops::Context& context,
                                           const ModelSource& model, const ModelSource* reference,
                                           const TokenSet& data, const EvaluationOptions& options,
                                           PhaseTimes* times) {
  const Communicator comm = world.duplicate();
  Models models = {&model};
  if (reference != nullptr) models.push_back(reference);
  const Batches batches(data, options);
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  if (reference != nullptr) {
    const std::int64_t ids = ids_of(model, options), reference_ids = ids_of(*reference, options);
    agree(comm, [&] { check_comparable(model.config, ids, reference->config, reference_ids); });
  }
  return options.grid == nullptr ? score_on_stages(comm, context, models, batches, limit, times)
                                 : score_on_shards(comm, context, models, batches, options, limit, times);
}

}  // namespace galapagos
