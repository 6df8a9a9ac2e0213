#include "scoring.hpp"

#include <fmt/format.h>
#include <functional>
#include <optional>
#include <span>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

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

}  // namespace

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
        embed_tokens(context, models[m]->config, shards, batch.tokens, weights[m].embedding, states[m]);
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
            embed_tokens(context, models[m]->config, alone(), batch.tokens, stages[m].embedding, states[m]);
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

}  // namespace galapagos
