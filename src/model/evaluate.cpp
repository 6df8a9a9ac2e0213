#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t logit_rows = 128;  // logits are made for this many tokens at a time

/// The model and, where there is one, the reference that it is compared with.
using Models = std::vector<const ModelSource*>;

/// The last stage's work: logits for some tokens at a time, and what they say of the tokens that come next.
class Scorer {
 public:
  Scorer(const ops::Context& context, const Models& models) : context_(context), models_(models) {
    for (const ModelSource* model : models) {
      heads_.push_back(model->head());
      logits_.emplace_back(Shape{logit_rows, model->config.vocab_size}, DType::f32, context.device(),
                           "logits");
    }
    scale_ = OwnedTensor({logit_rows, 2}, DType::f32, context.device(), "logits");
  }

  /// The scores of a batch's sequences from the models' hidden states; `unscored` holds the tokens of each
  /// that are only context.
  std::vector<SequenceScore> score(const Batch& batch, std::span<const Tensor> hidden,
                                   std::span<const std::int64_t> unscored);

 private:
  const ops::Context& context_;
  const Models& models_;
  std::vector<HeadWeights> heads_;
  std::vector<OwnedTensor> logits_;
  OwnedTensor scale_;
};

std::vector<SequenceScore> Scorer::score(const Batch& batch, std::span<const Tensor> hidden,
                                         std::span<const std::int64_t> unscored) {
  const auto tokens = static_cast<std::int64_t>(batch.tokens.size());
  const auto size = batch.tokens.size();
  const bool compare = models_.size() > 1;
  std::vector<double> nll(size), kl(size, 0.0);
  std::vector<std::int32_t> targets(batch.tokens.begin() + 1, batch.tokens.end()), likely(size), wanted(size);
  targets.push_back(0);  // the last token predicts nothing; nor does the last of any sequence, left out below
  for (std::int64_t first = 0; first < tokens; first += logit_rows) {
    const std::int64_t rows = std::min(logit_rows, tokens - first);
    const auto at = static_cast<std::size_t>(first), count = static_cast<std::size_t>(rows);
    for (std::size_t m = 0; m < models_.size(); ++m) {
      compute_logits(context_, models_[m]->config, heads_[m], hidden[m].slice(first, rows),
                     logits_[m]->slice(0, rows));
    }
    const Tensor logits = logits_[0]->slice(0, rows);
    ops::token_nll(context_, logits, std::span(targets).subspan(at, count),
                   std::span(nll).subspan(at, count));
    ops::arg_max(context_, logits, std::span(likely).subspan(at, count));
    if (!compare) continue;
    const Tensor reference = logits_[1]->slice(0, rows);
    ops::softmax_scale(context_, reference, scale_->slice(0, rows));
    ops::kl_divergence(context_, reference, scale_->slice(0, rows), logits, std::span(kl).subspan(at, count));
    ops::arg_max(context_, reference, std::span(wanted).subspan(at, count));
  }
  std::vector<SequenceScore> scores;
  for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
    SequenceScore score;
    for (std::int64_t i = batch.offsets[s] + unscored[s] - 1; i + 1 < batch.offsets[s + 1]; ++i) {
      const auto at = static_cast<std::size_t>(i);
      ++score.predicted;
      score.nll += nll[at];
      score.greedy += likely[at] == targets[at] ? 1 : 0;
      score.kl += kl[at];
      score.agreed += compare && likely[at] == wanted[at] ? 1 : 0;
    }
    scores.push_back(score);
  }
  return scores;
}

void check_comparable(const HfConfig& model, const HfConfig& reference) {
  const auto compare = [](std::int64_t a, std::int64_t b, const char* what) {
    if (a == b) return;
    throw InputError(fmt::format("the reference has {} {}, the model {}", b, what, a), "--reference",
                     "compare a pruned model with the one it was made from");
  };
  compare(model.layers, reference.layers, "layers");
  compare(model.hidden_size, reference.hidden_size, "hidden columns");
  compare(model.vocab_size, reference.vocab_size, "ids");
}

}  // namespace

std::uint64_t evaluation_bytes(std::span<const ModelSource* const> models, const LayerSpan& span,
                               std::int64_t most_tokens) {
  std::uint64_t bytes = 0;
  for (const ModelSource* model : models) {
    bytes += activation_bytes(model->config, most_tokens) +
             stage_weight_bytes(model->config, span, model->precision);
    if (span.last != model->config.layers) continue;
    bytes += static_cast<std::uint64_t>(embedding_parameters(model->config)) * size_of(model->precision) +
             static_cast<std::uint64_t>(logit_rows * model->config.vocab_size) * sizeof(float);
  }
  return bytes;
}

PipelineGrid evaluation_grid(std::span<const ModelSource* const> models, int ranks, std::int64_t most_tokens,
                             std::uint64_t limit) {
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
      most = std::max(most, evaluation_bytes(models, span, most_tokens));
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

std::vector<SequenceScore> score_sequences(const Communicator& world, const ops::Context& context,
                                           const ModelSource& model, const ModelSource* reference,
                                           const TokenSet& data, const EvaluationOptions& options,
                                           PhaseTimes* times) {
  const Communicator comm = world.duplicate();
  Models models = {&model};
  if (reference != nullptr) models.push_back(reference);
  const std::vector<Batch> batches = make_batches(data.tokens, data.offsets, options.batch_tokens);
  std::int64_t most_tokens = 1;
  std::vector<std::size_t> first_sequence;  // of each batch
  std::size_t sequences = 0;
  for (const Batch& batch : batches) {
    most_tokens = std::max(most_tokens, static_cast<std::int64_t>(batch.tokens.size()));
    first_sequence.push_back(sequences);
    sequences += batch.offsets.size() - 1;
  }
  std::vector<std::int64_t> unscored = options.context;
  if (unscored.empty()) unscored.assign(sequences, 1);
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit);
  const PipelineGrid grid = agree_on(comm, [&] {
    if (reference != nullptr) check_comparable(model.config, reference->config);
    return evaluation_grid(models, comm.size(), most_tokens, limit);
  });

  const bool member = grid.member(comm.rank());
  const int lane = member ? grid.lane_of(comm.rank()) : 0,
            stage_index = member ? grid.stage_of(comm.rank()) : 0;
  const bool last = member && stage_index + 1 == grid.stages();
  std::vector<Batch> mine;
  std::vector<std::size_t> mine_first;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    if (!member || b % static_cast<std::size_t>(grid.lanes) != static_cast<std::size_t>(lane)) continue;
    mine.push_back(batches[b]);
    mine_first.push_back(first_sequence[b]);
  }
  const auto copies = static_cast<std::int64_t>(models.size());
  const std::int64_t width = model.config.hidden_size;
  std::vector<StageWeights> stages;
  OwnedTensor hidden[3];
  std::vector<LayerForward> forward;
  std::optional<Scorer> scorer;
  agree(comm, [&] {
    if (!member) return;
    const PhaseScope reading(times, "reading");
    for (const ModelSource* source : models) {
      stages.push_back(load_stage(*source, grid.spans[static_cast<std::size_t>(stage_index)]));
      forward.emplace_back(context, source->config, most_tokens);
    }
    // The states of the model and of its reference travel together, one after the other.
    for (OwnedTensor& buffer : hidden) {
      buffer = OwnedTensor({most_tokens, copies * width}, DType::f32, context.device(), "hidden states");
    }
    if (last) scorer.emplace(context, models);
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
          if (!ops::all_finite(context, all)) {
            throw NumericalError(
                "activations became NaN or infinite",
                fmt::format("layers {} to {}", stages[0].span.first, stages[0].span.last - 1),
                "check the checkpoint, or use --precision fp32");
          }
          if (last) {
            const std::vector<SequenceScore> some = scorer->score(
                batch, states, std::span(unscored).subspan(mine_first[next], batch.offsets.size() - 1));
            scores.insert(scores.end(), some.begin(), some.end());
          }
          ++next;
          progress.advance();
        });
  }
  board.settle();

  std::vector<std::uint64_t> counts;
  const std::vector<SequenceScore> all = comm.gather(std::span<const SequenceScore>(scores), &counts);
  std::vector<SequenceScore> result;
  if (comm.is_root()) {
    // Each lane's last stage holds the scores of its own batches; take them in the order of the batches.
    std::vector<std::size_t> at(counts.size(), 0);
    for (std::size_t rank = 1; rank < counts.size(); ++rank) at[rank] = at[rank - 1] + counts[rank - 1];
    for (std::size_t b = 0; b < batches.size(); ++b) {
      const int of_lane = static_cast<int>(b % static_cast<std::size_t>(grid.lanes));
      const auto rank = static_cast<std::size_t>(grid.rank_of(of_lane, grid.stages() - 1));
      for (std::size_t s = 0; s + 1 < batches[b].offsets.size(); ++s) result.push_back(all[at[rank]++]);
    }
  }
  comm.broadcast(result);
  return result;
}

}  // namespace galapagos
