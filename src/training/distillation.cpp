#include "distillation.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/embedding.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>

namespace galapagos {

void Distillation::embed(const DistilSource& source, ResidualStream& stream) {
  const OwnedTensor embedding =
      load_embedding(*source.checkpoint, source.config, source.precision, context_.device());
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const Tensor states = rows_of(of_model_, b);
    embed_tokens(context_, source.config, alone(), setup_.text.batches[b].tokens, embedding, states);
    stream.store(b, states);
  }
}

/// Moves a stream through a layer.
void Distillation::advance(ForwardBuffers& forward, const LayerWeights& weights, std::int64_t layer,
                           ResidualStream& stream) {
  const PhaseScope moving(&times_, "moving along the path");
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const Tensor states = rows_of(forward, b);
    stream.load(b, states);
    forward.layers.run(weights, setup_.text.batches[b].offsets, states);
    if (!ops::all_finite(context_, states)) {
      throw NumericalError("activations became NaN or infinite", fmt::format("layer {}", layer),
                           "check the checkpoint, or use --precision fp32");
    }
    stream.store(b, states);
  }
}

LayerWeights Distillation::layer_of(const DistilSource& source, std::int64_t layer) const {
  const PhaseScope reading(&times_, "reading");
  return load_layer(*source.checkpoint, source.config, layer, source.precision, context_.device());
}

ErrorMetric Distillation::metric_of(std::int64_t layer) const {
  ErrorMetric metric;
  if (!setup_.sensitivities) return metric;
  metric.sensitivity = read_sensitivity(context_, *setup_.sensitivities, {layer, ModuleKind::ffn});
  const OwnedTensor& root = metric.sensitivity.root;
  if (root->empty()) return metric;
  metric.transposed = OwnedTensor(root->shape, DType::f32, context_.device(), "the root of a sensitivity");
  ops::transpose(context_, root, metric.transposed);
  return metric;
}

/// In fp32, in the order of its parameters.
OwnedTensor Distillation::values_of(const ModelWeights& weights) const {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : parameters_of(weights)) count += parameter.tensor.elements();
  OwnedTensor values({count}, DType::f32, context_.device(), "a fitted layer");
  std::int64_t at = 0;
  for (const auto& [name, tensor, slicing] : parameters_of(weights)) {
    ops::convert(context_, tensor, values->slice(at, tensor.elements()).view(tensor.shape));
    at += tensor.elements();
  }
  return values;
}

/// Puts a layer's fp32 values, in the order of its parameters, into `weights` as the parent's types round
/// them, and its words into `stored`.
void Distillation::take(std::int64_t layer, const Tensor& values, const ModelWeights& weights,
                        StoredLayer& stored) const {
  stored = {};
  std::int64_t at = 0;
  for (const auto& [name, tensor, slicing] : parameters_of(weights)) {
    // The only layer of `weights` is layer 0 there.
    stored.names.push_back(fmt::format("model.layers.{}{}", layer, name.substr(name.find('.', 13))));
    const OwnedTensor rounded(tensor.shape, setup_.model.checkpoint->dtype_of(stored.names.back()),
                              context_.device(), "a parameter as it is stored");
    ops::convert(context_, values.slice(at, tensor.elements()).view(tensor.shape), rounded);
    ops::convert(context_, rounded, tensor);
    at += tensor.elements();
    std::vector<std::byte>& bytes = stored.bytes.emplace_back(rounded->bytes());
    copy_bytes(bytes.data(), Device::cpu, rounded->data, rounded->device, bytes.size());
  }
}

/// On the root.
void Distillation::record(std::int64_t layer, const std::vector<LayerState>& states,
                          const LayerState& kept) const {
  Json line;
  line["layer"] = layer;
  for (const LayerState& state : states) {
    line[fmt::format("error_{}", state.name)] = state.errors.fitted;
    line[fmt::format("held_out_{}", state.name)] = state.errors.held_out;
  }
  line["kept"] = kept.name;
  line["error"] = kept.errors.fitted;
  line["held_out"] = kept.errors.held_out;
  append_text(options_.output / "metrics.jsonl", line.dump() + "\n");
}

void Distillation::leave_off(std::int64_t done) {
  report_run(comm_, times_);
  agree(comm_, [&] {
    throw StoppedEarly(fmt::format("stopped after {} of {} layers", done, setup_.model.config.layers),
                       options_.output.string(), go_on);
  });
  std::abort();  // agree() throws on every rank
}

/// Of o_proj, while the unpruned stream is at the layer's beginning.
OutputFit Distillation::attention_sums(std::int64_t layer, const LayerWeights& weights,
                                       const LayerWeights& reference) {
  OutputFit fit(context_, weights.attention.o->columns(), setup_.model.config.hidden_size,
                name_of(ModuleId{layer, ModuleKind::attention}));
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const std::vector<std::int64_t>& offsets = setup_.text.batches[b].offsets;
    const Tensor states = rows_of(of_model_, b), left = rows_of(of_reference_, b);
    targets_.load(b, left);
    of_reference_.layers.attention(reference.attention, offsets, left);
    inputs_.load(b, states);
    Tensor input;
    of_model_.layers.attention(weights.attention, offsets, states, [&](const Tensor& seen) { input = seen; });
    ops::combine(context_, -1, states, 1, left);
    fit.add(input, left, b >= setup_.text.updates.back());
  }
  return fit;
}

/// Of down_proj, while the unpruned stream is at the layer's end.
OutputFit Distillation::ffn_sums(std::int64_t layer, const LayerWeights& weights) {
  OutputFit fit(context_, weights.ffn.down->columns(), setup_.model.config.hidden_size,
                name_of(ModuleId{layer, ModuleKind::ffn}));
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const Tensor states = rows_of(of_model_, b), left = rows_of(of_reference_, b);
    inputs_.load(b, states);
    of_model_.layers.attention(weights.attention, setup_.text.batches[b].offsets, states);
    Tensor input;
    of_model_.layers.feed_forward(weights.ffn, states, [&](const Tensor& seen) { input = seen; });
    targets_.load(b, left);
    ops::combine(context_, -1, states, 1, left);
    fit.add(input, left, b >= setup_.text.updates.back());
  }
  return fit;
}

/// Fits what the layer's two parts put out to the unpruned stream behind each.
void Distillation::refit(std::int64_t layer, const LayerWeights& weights, std::optional<OutputFit> attention,
                         const ErrorMetric& metric) {
  const PhaseScope fitting(&times_, "fitting");
  std::optional<Sensitivity> sensitivity;
  if (setup_.sensitivities && attention) {
    sensitivity = agree_on(comm_, [&] {
      return read_sensitivity(context_, *setup_.sensitivities, {layer, ModuleKind::attention});
    });
  }
  if (attention) {
    const double ridge =
        attention->solve(replicas_, sensitivity ? &*sensitivity : nullptr, weights.attention.o);
    log_debug("{}: refitted with a ridge of {:g}", name_of(ModuleId{layer, ModuleKind::attention}), ridge);
    attention.reset();
  }
  if (weights.ffn.columns == 0) return;
  OutputFit ffn = agree_on(comm_, [&] { return ffn_sums(layer, weights); });
  const double ridge =
      ffn.solve(replicas_, setup_.sensitivities ? &metric.sensitivity : nullptr, weights.ffn.down);
  log_debug("{}: refitted with a ridge of {:g}", name_of(ModuleId{layer, ModuleKind::ffn}), ridge);
}

/// Trains the only layer of `weights`, layer `layer` of the model, and writes it. Leaves the unpruned stream
/// at the layer's end.
void Distillation::distil(std::int64_t layer, ModelWeights& weights, const LayerWeights& reference) {
  const ErrorMetric metric = agree_on(comm_, [&] { return metric_of(layer); });
  std::optional<PhaseScope> phase(std::in_place, &times_, "fitting");
  std::optional<OutputFit> attention;
  agree(comm_, [&] {
    if (options_.refit && weights.layers[0].attention.heads() > 0)
      attention.emplace(attention_sums(layer, weights.layers[0], reference));
    advance(of_reference_, reference, layer, targets_);
  });
  std::vector<LayerState> states;
  const auto measure = [&](const char* name) {
    phase.emplace(&times_, "measuring");
    states.push_back({name, distiller_.errors(weights.layers[0], inputs_, targets_, metric)});
    phase.reset();
  };
  measure("before");
  OwnedTensor fitted;
  StoredLayer stored;
  if (options_.refit) {
    refit(layer, weights.layers[0], std::move(attention), metric);
    agree(comm_, [&] {
      fitted = values_of(weights);
      take(layer, fitted, weights, stored);
    });
    measure("fitted");
  }
  phase.emplace(&times_, "training");
  const std::optional<OwnedTensor> trained =
      distiller_.train(weights, layer, inputs_, targets_, metric, [&] { return stop_.holds(); });
  if (!trained) leave_off(layer);
  agree(comm_, [&] { take(layer, *trained, weights, stored); });
  measure("trained");
  // Of equal ones the later; one that is not a number is never better.
  std::size_t kept = 0;
  for (std::size_t i = 1; i < states.size(); ++i) {
    if (states[i].errors.held_out < states[0].errors.held_out &&
        !(states[kept].errors.held_out < states[i].errors.held_out))
      kept = i;
  }
  if (kept == 0) {
    stored.bytes.clear();
    agree(comm_, [&] { weights.layers[0] = layer_of(setup_.model, layer); });
  } else if (kept + 1 < states.size()) {
    agree(comm_, [&] { take(layer, fitted, weights, stored); });
  }
  log_info("layer {}: error on held-out text {:.4g} -> {:.4g}, {}", layer, states[0].errors.held_out,
           states[kept].errors.held_out, kept == 0 ? "as it was" : states[kept].name);
  const PhaseScope writing(&times_, "writing");
  agree_at_root(comm_, [&] {
    record(layer, states, states[kept]);
    files_.write(layer, stored);
  });
}

void Distillation::run(std::int64_t done) {
  const std::int64_t layers = setup_.model.config.layers;
  Progress progress("layers", layers, done);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    ModelWeights weights;
    LayerWeights reference;
    agree(comm_, [&] {
      reference = layer_of(setup_.reference, layer);
      const bool there = layer < done && has_parameters(setup_.model.config, layer);
      std::optional<Checkpoint> file;
      if (there) file.emplace(files_.folder(layer));
      const PhaseScope reading(&times_, "reading");
      weights.layers.push_back(load_layer(there ? *file : *setup_.model.checkpoint, setup_.model.config,
                                          layer, setup_.model.precision, context_.device()));
    });
    const bool trains = layer >= done && has_parameters(setup_.model.config, layer);
    if (trains) distil(layer, weights, reference);
    agree(comm_, [&] {
      if (!trains) advance(of_reference_, reference, layer, targets_);
      advance(of_model_, weights.layers[0], layer, inputs_);
    });
    if (layer < done) continue;
    progress.advance();
    if (layer + 1 < layers && comm_.any(stop_.holds())) leave_off(layer + 1);
  }
}

}  // namespace galapagos
