#include "path_streams.hpp"

#include <numeric>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/pruned_module.hpp>

namespace galapagos {

PathStreams::PathStreams(const Communicator& comm, const ops::Context& context, const PathInput& input,
                         PhaseTimes& times)
    : comm_(comm),
      context_(context),
      exact_(context.exact()),
      input_(input),
      times_(times),
      source_(checkpoint_source(input.checkpoint, input.config, input.precision, context.device())),
      holders_(static_cast<std::size_t>(comm.size())) {
  std::iota(holders_.begin(), holders_.end(), 0);
  for (std::size_t b = static_cast<std::size_t>(comm.rank()); b < input.batches.size();
       b += static_cast<std::size_t>(comm.size())) {
    batches_.push_back(input.batches[b]);
    held_out_.push_back(b >= input.fitted);
  }
  agree(comm, [&] { begin(); });
}

void PathStreams::begin() {
  const PhaseScope reading(&times_, "reading");
  const std::int64_t hidden = input_.config.hidden_size;
  pruned_.emplace(batches_, hidden, "hidden states of the pruned path");
  if (input_.compensation) dense_.emplace(batches_, hidden, "hidden states of the unpruned model");
  buffers_.emplace(context_, input_.config, input_.most_tokens, batches_at_once);
  const OwnedTensor embedding = source_.embedding();
  for (std::size_t b = 0; b < batches_.size(); ++b) {
    const Tensor states = states_of(b);
    embed_tokens(context_, input_.config, alone(), batches_[b].tokens, embedding, states);
    pruned_->store(b, states);
    if (dense_) dense_->store(b, states);
  }
}

Tensor PathStreams::rows_of(std::size_t buffer, std::size_t batch) const {
  return buffers_->hidden[buffer]->slice(0, static_cast<std::int64_t>(batches_[batch].tokens.size()));
}

/// The module entered last with what a level keeps of it, alone in its layer.
LayerWeights PathStreams::at_level(const ModuleId& module, const StoredLevel& level) const {
  const auto count = static_cast<std::int64_t>(level.kept.size());
  OwnedTensor weight = level_weight(context_, level.words, input_.stored, input_.precision, count, count,
                                    input_.config.hidden_size);
  LayerWeights pruned;
  if (module.kind == ModuleKind::attention) {
    pruned.attention =
        prune_attention(context_, layer_.attention, input_.config.head_dim, level.kept, std::move(weight));
  } else {
    pruned.ffn = prune_ffn(context_, layer_.ffn, level.kept, std::move(weight));
  }
  return pruned;
}

/// Adds a module's output to states; its input, where wanted, until the next call.
Tensor PathStreams::run_module(const ModuleId& module, const LayerWeights& weights, std::size_t batch,
                               const Tensor& states) {
  Tensor input;
  const auto tap = [&](const Tensor& seen) { input = seen; };
  if (module.kind == ModuleKind::attention) {
    buffers_->layers.attention(weights.attention, batches_[batch].offsets, states, tap);
  } else {
    buffers_->layers.feed_forward(weights.ffn, states, tap);
  }
  return input;
}

/// Moves a stream on through a module.
void PathStreams::advance(const ModuleId& module, const LayerWeights& weights, ResidualStream& stream) {
  for (std::size_t b = 0; b < batches_.size(); ++b) {
    const Tensor states = states_of(b);
    stream.load(b, states);
    run_module(module, weights, b, states);
    if (!ops::all_finite(context_, states)) {
      throw NumericalError("activations became NaN or infinite", name_of(module),
                           "check the checkpoint, or use --precision fp32");
    }
    stream.store(b, states);
  }
}

void PathStreams::enter(const ModuleId& module) {
  if (module.layer != layer_number_) {
    const PhaseScope reading(&times_, "reading");
    layer_ = {};  // one at a time
    layer_ = source_.layer(module.layer);
    layer_number_ = module.layer;
  }
  const PhaseScope moving(&times_, "moving along the path");
  if (dense_) advance(module, layer_, *dense_);
}

void PathStreams::leave(const ModuleId& module, const StoredLevel* level) {
  const PhaseScope moving(&times_, "moving along the path");
  if (level == nullptr) return advance(module, layer_, *pruned_);
  if (!level->kept.empty()) advance(module, at_level(module, *level), *pruned_);
}

void PathStreams::share(StoredLevel& level, int root) {
  const PhaseScope communicating(&times_, "communicating");
  run_or_abort([&] {
    comm_.broadcast(level.kept, root);
    comm_.broadcast(level.words, root);
  });
}

FitSums PathStreams::zero_sums(const ModuleId& module, std::int64_t columns) const {
  FitSums sums;
  sums.gram =
      OwnedTensor({columns, columns}, DType::f32, context_.device(), "the Hessian of " + name_of(module));
  fill_zero(sums.gram);
  if (dense_) {
    sums.residual = OwnedTensor({columns, input_.config.hidden_size}, DType::f32, context_.device(),
                                "the targets of " + name_of(module));
    fill_zero(sums.residual);
  }
  return sums;
}

std::vector<FitSums> PathStreams::collect(const ModuleId& module, const StoredLevel* level) {
  const PhaseScope collecting(&times_, "collecting Hessians");
  const LayerWeights pruned = level == nullptr ? LayerWeights() : at_level(module, *level);
  const LayerWeights& weights = level == nullptr ? layer_ : pruned;
  const std::int64_t columns =
      level == nullptr ? module_columns(input_.config, module) : std::ssize(level->kept);
  std::vector<FitSums> sums;
  for (int part = 0; part < (input_.chooses() ? 2 : 1); ++part) sums.push_back(zero_sums(module, columns));
  const float scale = 2.0f / static_cast<float>(input_.sequences);
  for (std::size_t b = 0; b < batches_.size(); ++b) {
    const FitSums& part = sums[input_.chooses() && held_out_[b] ? 1 : 0];
    const Tensor states = states_of(b);
    pruned_->load(b, states);
    const Tensor input = run_module(module, weights, b, states);
    ops::accumulate_gram(context_, input, scale, part.gram);
    if (!dense_) continue;
    // What the module with this weight leaves to the unpruned stream behind it.
    const Tensor left = target_of(b);
    dense_->load(b, left);
    ops::combine(context_, -scale, states, scale, left);
    ops::linear_weight_gradient(exact_, input, left, part.residual);
  }
  return sums;
}

OwnedTensor PathStreams::at_owner(OwnedTensor partial, int owner, Triangle triangle,
                                  const std::string& purpose) {
  const Reduction reduction = {holders_, owner, partial->shape, triangle};
  if (input_.collectives != nullptr) {
    return sum_at_owner(context_, *input_.collectives, reduction, std::move(partial), context_.device(),
                        purpose);
  }
  OwnedTensor sum = sum_at_owner(comm_, reduction, std::move(partial), purpose);
  if (comm_.rank() != owner || sum->device == context_.device()) return sum;
  return copy_of(sum, context_.device(), purpose);
}

std::vector<FitSums> PathStreams::reduce(const ModuleId& module, std::vector<FitSums> partial, int owner) {
  const PhaseScope communicating(&times_, "communicating");
  std::vector<FitSums> sums;
  run_or_abort([&] {
    for (FitSums& part : partial) {
      FitSums sum;
      sum.gram = at_owner(std::move(part.gram), owner, Triangle::lower, "the Hessian of " + name_of(module));
      if (dense_)
        sum.residual =
            at_owner(std::move(part.residual), owner, Triangle::both, "the targets of " + name_of(module));
      sums.push_back(std::move(sum));
    }
  });
  return sums;
}

}  // namespace galapagos
