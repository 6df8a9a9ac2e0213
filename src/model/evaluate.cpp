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

constexpr std::int64_t logit_rows = 128;  // logits are made for this many tokens at a time

/// The fewest stages whose ranks can each hold their part.
PipelineGrid grid_that_fits(const HfConfig& config, int ranks, DType precision, std::int64_t most_tokens,
                            std::uint64_t limit) {
  const std::vector<double> costs = layer_costs(config);
  const std::uint64_t head = static_cast<std::uint64_t>(embedding_parameters(config)) * size_of(precision) +
                             static_cast<std::uint64_t>(logit_rows * config.vocab_size) * sizeof(float);
  std::uint64_t most = 0;
  for (int stages = 1; stages <= std::min<std::int64_t>(ranks, config.layers); ++stages) {
    PipelineGrid grid;
    grid.lanes = ranks / stages;
    grid.spans = balanced_spans(costs, stages);
    most = 0;
    for (const LayerSpan& span : grid.spans) {
      most =
          std::max(most, stage_weight_bytes(config, span, precision) + activation_bytes(config, most_tokens) +
                             (span.last == config.layers ? head : 0));
    }
    if (most <= limit) return grid;
  }
  throw ResourceError(
      fmt::format("the model needs {} on a rank, which may use {}", human_bytes(most), human_bytes(limit)),
      "memory", "use more ranks or nodes, a smaller --batch-tokens, or raise --memory-limit");
}

/// Negative log-likelihoods of a batch's sequences, each summed over its predicted tokens in order.
std::vector<double> sequence_nll(const ops::Context& context, const HfConfig& config, const HeadWeights& head,
                                 const Batch& batch, const Tensor& hidden, const OwnedTensor& logits) {
  const std::int64_t tokens = hidden.rows();
  std::vector<double> nll(static_cast<std::size_t>(tokens));
  std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end());
  targets.push_back(0);  // the last token predicts nothing; nor does the last of any sequence, left out below
  for (std::int64_t first = 0; first < tokens; first += logit_rows) {
    const std::int64_t rows = std::min(logit_rows, tokens - first);
    const auto at = static_cast<std::size_t>(first), count = static_cast<std::size_t>(rows);
    const Tensor chunk = logits->slice(0, rows);
    compute_logits(context, config, head, hidden.slice(first, rows), chunk);
    ops::token_nll(context, chunk, std::span(targets).subspan(at, count), std::span(nll).subspan(at, count));
  }
  std::vector<double> sums;
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    double sum = 0;
    for (std::int64_t i = batch.offsets[s]; i + 1 < batch.offsets[s + 1]; ++i)
      sum += nll[static_cast<std::size_t>(i)];
    sums.push_back(sum);
  }
  return sums;
}

}  // namespace

double Evaluation::perplexity() const {
  return std::exp(nll);
}

Evaluation evaluate(const Communicator& world, const ops::Context& context, const Checkpoint& checkpoint,
                    const HfConfig& config, const TokenSet& data, const EvaluationOptions& options) {
  const Communicator comm = world.duplicate();
  const std::vector<Batch> batches = make_batches(data.tokens, data.offsets, options.batch_tokens);
  std::int64_t most_tokens = 1;
  for (const Batch& batch : batches)
    most_tokens = std::max(most_tokens, static_cast<std::int64_t>(batch.tokens.size()));
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit);
  const PipelineGrid grid = agree_on(
      comm, [&] { return grid_that_fits(config, comm.size(), options.precision, most_tokens, limit); });

  const bool member = grid.member(comm.rank());
  const int lane = member ? grid.lane_of(comm.rank()) : 0,
            stage_index = member ? grid.stage_of(comm.rank()) : 0;
  const bool last = member && stage_index + 1 == grid.stages();
  std::vector<Batch> mine;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    if (member && b % static_cast<std::size_t>(grid.lanes) == static_cast<std::size_t>(lane))
      mine.push_back(batches[b]);
  }
  StageWeights stage;
  HeadWeights head;
  OwnedTensor hidden[3], logits;
  std::optional<LayerForward> forward;
  agree(comm, [&] {
    if (!member) return;
    stage = load_stage(checkpoint, config, grid.spans[static_cast<std::size_t>(stage_index)],
                       options.precision, context.device());
    for (OwnedTensor& buffer : hidden) {
      buffer = OwnedTensor({most_tokens, config.hidden_size}, DType::f32, context.device(), "hidden states");
    }
    forward.emplace(context, config, most_tokens);
    if (!last) return;
    head = load_head(checkpoint, config, options.precision, context.device());
    logits = OwnedTensor({logit_rows, config.vocab_size}, DType::f32, context.device(), "logits");
  });

  std::vector<double> sums;  // of this lane's sequences, in order
  FailureBoard board(comm);
  if (member) {
    Progress progress("evaluated batches", static_cast<std::int64_t>(mine.size()));
    stream_batches(
        comm, grid, mine, {hidden[0], hidden[1], hidden[2]}, board,
        [&](const Batch& batch, const Tensor& out) {
          ops::embed(context, batch.tokens, stage.embedding, out);
        },
        [&](const Batch& batch, const Tensor& states) {
          for (const LayerWeights& layer : stage.layers) forward->run(layer, batch.offsets, states);
          if (!ops::all_finite(context, states)) {
            throw NumericalError("activations became NaN or infinite",
                                 fmt::format("layers {} to {}", stage.span.first, stage.span.last - 1),
                                 "check the checkpoint, or use --precision fp32");
          }
          if (last) {
            const std::vector<double> some = sequence_nll(context, config, head, batch, states, logits);
            sums.insert(sums.end(), some.begin(), some.end());
          }
          progress.advance();
        });
  }
  board.settle();

  std::vector<std::uint64_t> counts;
  std::vector<double> all = comm.gather(std::span<const double>(sums), &counts);
  Evaluation result;
  if (comm.is_root()) {
    // Each lane's last stage holds the sums of its own batches; take them in the order of the batches.
    std::vector<std::size_t> next(counts.size(), 0);
    for (std::size_t rank = 1; rank < counts.size(); ++rank) next[rank] = next[rank - 1] + counts[rank - 1];
    for (std::size_t b = 0; b < batches.size(); ++b) {
      const int of_lane = static_cast<int>(b % static_cast<std::size_t>(grid.lanes));
      const auto rank = static_cast<std::size_t>(grid.rank_of(of_lane, grid.stages() - 1));
      for (std::size_t s = 0; s + 1 < batches[b].offsets.size(); ++s) {
        result.nll += all[next[rank]++];
        ++result.sequences;
        result.tokens += batches[b].offsets[s + 1] - batches[b].offsets[s] - 1;
      }
    }
    if (result.tokens > 0) result.nll /= static_cast<double>(result.tokens);
  }
  agree_at_root(comm, [&] {
    if (result.tokens == 0) {
      throw InputError("no sequence of two tokens or more", "--data",
                       "give a longer text or a greater --sequence-length");
    }
  });
  return comm.broadcast_value(result);
}

}  // namespace galapagos
