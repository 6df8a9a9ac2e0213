#include "distil_setup.hpp"
#include "output_fit.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/stop_rule.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/model/source.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>
#include <galapagos/training/distil.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr const char* layer_file = "model.safetensors";
constexpr const char* identity_key = "galapagos_distil";  // in its metadata

fs::path layer_folder(const DistilOptions& options, std::int64_t layer) {
  return options.output / "layers" / fmt::format("{:04}", layer);
}

/// Whether anything is left of a layer: then it has a file when it is done.
bool has_parameters(const HfConfig& config, std::int64_t layer) {
  return layer_parameters(config, config.layer_shapes[static_cast<std::size_t>(layer)]) > 0;
}

std::int64_t largest_layer(const HfConfig& config) {
  std::int64_t most = 0;
  for (const LayerShape& shape : config.layer_shapes) most = std::max(most, layer_parameters(config, shape));
  return most;
}

/// Collective. Says what a rank needs, and refuses what it has not with a ResourceError.
void check_memory(const Communicator& comm, const ops::Context& context, const DistilOptions& options,
                  const DistilSetup& setup) {
  const DistilFootprint footprint =
      distil_footprint(setup.model.config, setup.reference.config,
                       std::max(size_of(setup.model.precision), size_of(setup.reference.precision)),
                       context.activations(), setup.longest, std::ssize(setup.mine.tokens), comm.size());
  log_info("memory of a rank: {} = layers {}, training one {}, hidden states{} {}",
           human_bytes(footprint.weights + footprint.training + footprint.states),
           human_bytes(footprint.weights), human_bytes(footprint.training),
           context.device() == Device::cpu ? "" : " on the host", human_bytes(footprint.states));
  const std::uint64_t need = footprint.on(context.device());
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  agree(comm, [&] {
    if (need <= limit) return;
    throw ResourceError(fmt::format("distillation needs {} on a rank, which may use {}", human_bytes(need),
                                    human_bytes(limit)),
                        "memory", "use more ranks on more nodes, fewer --tokens or a smaller --batch-tokens");
  });
}

/// A layer's parameters as they are in a file.
struct StoredLayer {
  std::vector<std::string> names;
  std::vector<std::vector<std::byte>> bytes;
};

class Distillation {
 public:
  Distillation(const Communicator& comm, const ops::Context& context, const DistilOptions& options,
               const DistilSetup& setup, Collectives& replicas, const StopRule& stop, PhaseTimes& times)
      : comm_(comm),
        context_(context),
        options_(options),
        setup_(setup),
        times_(times),
        stop_(stop),
        distiller_(context, setup.model.config, setup.text, setup.longest, replicas, setup.model.precision,
                   setup.schedule, options.adamw, options.seed),
        model_forward_(context, setup.model.config, setup.longest),
        reference_forward_(context, setup.reference.config, setup.longest),
        inputs_(setup.text.batches, setup.model.config.hidden_size, "hidden states of the pruned model"),
        targets_(setup.text.batches, setup.model.config.hidden_size, "hidden states of the unpruned model"),
        replicas_(replicas),
        states_({setup.longest, setup.model.config.hidden_size}, DType::f32, context.device(),
                "hidden states"),
        left_(states_->shape, DType::f32, context.device(), "hidden states") {
    embed(setup.model, inputs_);
    embed(setup.reference, targets_);
  }

  /// Collective. `done`: layers whose files are there.
  void run(std::int64_t done);

 private:
  void embed(const DistilSource& source, ResidualStream& stream);
  void advance(LayerForward& forward, const LayerWeights& weights, std::int64_t layer,
               ResidualStream& stream);
  LayerWeights layer_of(const DistilSource& source, std::int64_t layer) const;
  Tensor rows_of(const OwnedTensor& buffer, std::size_t batch) const {
    return buffer->slice(0, std::ssize(setup_.text.batches[batch].tokens));
  }
  ErrorMetric metric_of(std::int64_t layer) const;
  OutputFit attention_sums(std::int64_t layer, const LayerWeights& weights, const LayerWeights& reference);
  OutputFit ffn_sums(std::int64_t layer, const LayerWeights& weights);
  void refit(std::int64_t layer, const LayerWeights& weights, std::optional<OutputFit> attention,
             const ErrorMetric& metric);
  void distil(std::int64_t layer, ModelWeights& weights, const LayerWeights& reference);
  void take(std::int64_t layer, const Tensor& values, const ModelWeights& weights, StoredLayer& stored) const;
  void write_layer(std::int64_t layer, const StoredLayer& stored) const;
  void record(std::int64_t layer, const LayerErrors& before, const LayerErrors& after_fit,
              const LayerErrors& after) const;
  OwnedTensor values_of(const ModelWeights& weights) const;
  [[noreturn]] void leave_off(std::int64_t done);

  const Communicator& comm_;
  const ops::Context& context_;
  const DistilOptions& options_;
  const DistilSetup& setup_;
  PhaseTimes& times_;
  const StopRule& stop_;
  LayerDistiller distiller_;
  LayerForward model_forward_, reference_forward_;
  ResidualStream inputs_, targets_;
  Collectives& replicas_;
  OwnedTensor states_, left_;  // of a batch
};

void Distillation::embed(const DistilSource& source, ResidualStream& stream) {
  const OwnedTensor embedding =
      load_embedding(*source.checkpoint, source.config, source.precision, context_.device());
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const Tensor states = rows_of(states_, b);
    ops::embed(context_, setup_.text.batches[b].tokens, embedding, states);
    stream.store(b, states);
  }
}

/// Moves a stream through a layer.
void Distillation::advance(LayerForward& forward, const LayerWeights& weights, std::int64_t layer,
                           ResidualStream& stream) {
  const PhaseScope moving(&times_, "moving along the path");
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const Tensor states = rows_of(states_, b);
    stream.load(b, states);
    forward.run(weights, setup_.text.batches[b].offsets, states);
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
  for (const auto& [name, tensor] : parameters_of(weights)) {
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
  for (const auto& [name, tensor] : parameters_of(weights)) {
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
void Distillation::write_layer(std::int64_t layer, const StoredLayer& stored) const {
  std::vector<TensorEntry> entries;
  for (std::size_t i = 0; i < stored.names.size(); ++i) {
    entries.push_back(setup_.model.checkpoint->entry(stored.names[i]));
    if (!stored.bytes.empty()) entries.back().data = stored.bytes[i];
  }
  const fs::path folder = layer_folder(options_, layer);
  fs::create_directories(folder);
  write_safetensors(folder / layer_file, entries, {{"format", "pt"}, {identity_key, setup_.identity}});
}

/// On the root.
void Distillation::record(std::int64_t layer, const LayerErrors& before, const LayerErrors& after_fit,
                          const LayerErrors& after) const {
  Json line;
  line["layer"] = layer;
  line["error_before"] = before.fitted;
  line["error"] = after.fitted;
  line["held_out_before"] = before.held_out;
  if (options_.refit) line["held_out_fitted"] = after_fit.held_out;
  line["held_out"] = after.held_out;
  append_text(options_.output / "metrics.jsonl", line.dump() + "\n");
}

void Distillation::leave_off(std::int64_t done) {
  report_phases(comm_, times_);
  agree(comm_, [&] {
    throw StoppedEarly(fmt::format("stopped after {} of {} layers", done, setup_.model.config.layers),
                       options_.output.string(), "go on with --resume");
  });
  std::abort();  // agree() throws on every rank
}

/// Of o_proj, while the unpruned stream is at the layer's beginning.
OutputFit Distillation::attention_sums(std::int64_t layer, const LayerWeights& weights,
                                       const LayerWeights& reference) {
  OutputFit fit(context_, weights.attention.o->columns(), setup_.model.config.hidden_size,
                attention_output_name(layer));
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const std::vector<std::int64_t>& offsets = setup_.text.batches[b].offsets;
    const Tensor states = rows_of(states_, b), left = rows_of(left_, b);
    targets_.load(b, left);
    reference_forward_.attention(reference.attention, offsets, left);
    inputs_.load(b, states);
    Tensor input;
    model_forward_.attention(weights.attention, offsets, states, [&](const Tensor& seen) { input = seen; });
    ops::combine(context_, -1, states, 1, left);
    fit.add(input, left, b >= setup_.text.updates.back());
  }
  return fit;
}

/// Of down_proj, while the unpruned stream is at the layer's end.
OutputFit Distillation::ffn_sums(std::int64_t layer, const LayerWeights& weights) {
  OutputFit fit(context_, weights.ffn.down->columns(), setup_.model.config.hidden_size,
                ffn_output_name(layer));
  for (std::size_t b = 0; b < setup_.text.batches.size(); ++b) {
    const Tensor states = rows_of(states_, b), left = rows_of(left_, b);
    inputs_.load(b, states);
    model_forward_.attention(weights.attention, setup_.text.batches[b].offsets, states);
    Tensor input;
    model_forward_.feed_forward(weights.ffn, states, [&](const Tensor& seen) { input = seen; });
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
    log_debug("{}: refitted with a ridge of {:g}", attention_output_name(layer), ridge);
    attention.reset();
  }
  if (weights.ffn.columns == 0) return;
  OutputFit ffn = agree_on(comm_, [&] { return ffn_sums(layer, weights); });
  const double ridge =
      ffn.solve(replicas_, setup_.sensitivities ? &metric.sensitivity : nullptr, weights.ffn.down);
  log_debug("{}: refitted with a ridge of {:g}", ffn_output_name(layer), ridge);
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
    advance(reference_forward_, reference, layer, targets_);
  });
  phase.emplace(&times_, "measuring");
  const LayerErrors before = distiller_.errors(weights.layers[0], inputs_, targets_, metric);
  phase.reset();
  LayerErrors after_fit = before;
  OwnedTensor fitted;
  StoredLayer stored;
  if (options_.refit) {
    refit(layer, weights.layers[0], std::move(attention), metric);
    agree(comm_, [&] {
      fitted = values_of(weights);
      take(layer, fitted, weights, stored);
    });
    phase.emplace(&times_, "measuring");
    after_fit = distiller_.errors(weights.layers[0], inputs_, targets_, metric);
  }
  phase.emplace(&times_, "training");
  const std::optional<OwnedTensor> values =
      distiller_.train(weights, layer, inputs_, targets_, metric, [&] { return stop_.holds(); });
  if (!values) leave_off(layer);
  agree(comm_, [&] { take(layer, *values, weights, stored); });
  phase.emplace(&times_, "measuring");
  LayerErrors after = distiller_.errors(weights.layers[0], inputs_, targets_, metric);
  phase.reset();
  if (options_.refit && !(after.held_out <= after_fit.held_out)) {  // also where it is NaN
    agree(comm_, [&] { take(layer, fitted, weights, stored); });
    after = after_fit;
  }
  const bool better = after.held_out < before.held_out;
  log_info("layer {}: error on held-out text {:.4g} -> {:.4g}{}", layer, before.held_out, after.held_out,
           better ? "" : "; it stays as it was");
  if (!better) {
    stored.bytes.clear();
    agree(comm_, [&] { weights.layers[0] = layer_of(setup_.model, layer); });
  }
  const PhaseScope writing(&times_, "writing");
  agree_at_root(comm_, [&] {
    record(layer, before, after_fit, after);
    write_layer(layer, stored);
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
      if (there) file.emplace(layer_folder(options_, layer));
      const PhaseScope reading(&times_, "reading");
      weights.layers.push_back(load_layer(there ? *file : *setup_.model.checkpoint, setup_.model.config,
                                          layer, setup_.model.precision, context_.device()));
    });
    const bool trains = layer >= done && has_parameters(setup_.model.config, layer);
    if (trains) distil(layer, weights, reference);
    agree(comm_, [&] {
      if (!trains) advance(reference_forward_, reference, layer, targets_);
      advance(model_forward_, weights.layers[0], layer, inputs_);
    });
    if (layer < done) continue;
    progress.advance();
    if (layer + 1 < layers && comm_.any(stop_.holds())) leave_off(layer + 1);
  }
}

/// On the root: whether there is what --resume goes on from, or else nothing that a new run would spoil.
void check_folder(const DistilOptions& options) {
  const fs::path& folder = options.output;
  if (fs::exists(folder / "manifest.json")) {
    throw InputError("this distillation is complete", folder.string(),
                     "its model is in the folder model; choose another --output for another one");
  }
  const bool begun = fs::exists(folder / "layers");
  if (options.resume && !begun)
    throw InputError("nothing to go on from", folder.string(), "leave --resume out");
  if (options.resume) return;
  if (begun) {
    throw InputError("a distillation is there already", folder.string(),
                     "go on with --resume, or choose another --output");
  }
  // Of a search, a training or the like.
  for (const char* name : {"model", "checkpoint.h5", "metrics.jsonl"}) {
    if (fs::exists(folder / name))
      throw InputError("there is something of another run already", (folder / name).string(),
                       "choose another --output");
  }
}

/// On the root: the folder of a new run.
void make_folder(const DistilOptions& options) {
  std::error_code error;
  fs::create_directories(options.output / "layers", error);
  if (error) {
    throw InputError("cannot make the folder of the run", options.output.string(),
                     "check the path given to --output");
  }
  write_file_atomically(options.output / "config.ini", options.config_ini);
}

/// On the root: the layers that an earlier run has done, one after the other.
std::int64_t layers_done(const DistilOptions& options, const DistilSetup& setup) {
  std::int64_t layer = 0;
  for (; layer < setup.model.config.layers; ++layer) {
    if (!has_parameters(setup.model.config, layer)) continue;
    const fs::path path = layer_folder(options, layer) / layer_file;
    if (!fs::exists(path)) break;
    const SafetensorsFile file(path);
    const auto found = file.metadata().find(identity_key);
    if (found == file.metadata().end() || found->second != setup.identity) {
      throw InputError("this layer was trained with other models, text or options", path.string(),
                       "give those of the run that is to go on, or choose another --output");
    }
  }
  filter_lines(options.output / "metrics.jsonl", [&](const std::string& line) {
    const Json json = Json::parse(line, nullptr, false);  // a half-written last line is dropped
    return json.is_object() && json.contains("layer") && json["layer"].is_number_integer() &&
           json["layer"] < layer;
  });
  return layer;
}

void write_manifest(const DistilOptions& options, const DistilSetup& setup, int ranks, double seconds,
                    const Json& phases) {
  Json manifest;
  manifest["tool_version"] = version_with_revision();
  manifest["finished"] = utc_now();
  manifest["ranks"] = ranks;
  manifest["options"] = Json::parse(setup.identity);
  manifest["model"] = options.model.string();
  manifest["reference"] = options.reference.string();
  manifest["tokens"] = setup.text.fitted_tokens;
  manifest["held_out_tokens"] = setup.text.held_tokens;
  manifest["updates"] = setup.schedule.steps;
  manifest["seconds"] = seconds;
  manifest["phases"] = phases;
  write_file_atomically(options.output / "manifest.json", manifest.dump(2) + "\n");
}

}  // namespace

DistilFootprint distil_footprint(const HfConfig& model, const HfConfig& reference, std::size_t value_bytes,
                                 DType activations, std::int64_t most_tokens, std::int64_t tokens,
                                 int ranks) {
  const auto bytes = [](std::int64_t count, std::size_t of_each) {
    return static_cast<std::uint64_t>(count) * of_each;
  };
  DistilFootprint footprint;
  footprint.states = 2 * bytes(tokens * model.hidden_size, sizeof(float));
  // Of the pruned model's layer there is a second one where it stays as it was.
  footprint.weights = std::max(bytes(2 * largest_layer(model) + largest_layer(reference), value_bytes),
                               bytes(embedding_parameters(model), value_bytes));
  std::int64_t columns = 0;
  for (const LayerShape& shape : model.layer_shapes)
    columns = std::max({columns, shape.columns, shape.heads() * model.head_dim});
  // A layer is fitted before it is trained; LayerDistiller's buffers are there all the time.
  footprint.training = LayerDistiller::bytes(model, most_tokens, ranks, activations) +
                       OutputFit::bytes(columns, model.hidden_size) +
                       bytes(largest_layer(model), sizeof(float)) +
                       2 * activation_bytes(reference, most_tokens, activations);
  return footprint;
}

void run_distillation(const Communicator& world, const ops::Context& context, const DistilOptions& options,
                      const ChangedModelWriter& write_model) {
  const Communicator comm = world.duplicate();
  watch_signals();
  const Stopwatch begun;
  const StopRule stop(options.max_seconds);
  PhaseTimes times;
  std::optional<PhaseScope> reading(std::in_place, &times, "reading");
  agree_at_root(comm, [&] { check_folder(options); });  // before the work that comes first
  DistilSetup setup;
  prepare_distillation(comm, context, options, setup);
  const HfConfig& config = setup.model.config;
  log_info("{} layers, each {} updates of about {} tokens; {} tokens of text, {} of them held out",
           config.layers, setup.schedule.steps, options.step_tokens,
           human_count(static_cast<std::uint64_t>(setup.tokens)),
           human_count(static_cast<std::uint64_t>(setup.text.held_tokens)));
  check_memory(comm, context, options, setup);
  if (options.dry_run) return;
  std::int64_t done = 0;
  agree_at_root(comm, [&] {
    if (!options.resume) return make_folder(options);
    done = layers_done(options, setup);
  });
  done = comm.broadcast_value(done);
  if (done > 0) log_info("going on after layer {}", done - 1);
  const std::unique_ptr<Collectives> replicas = options.make_collectives(comm);
  std::optional<Distillation> distillation;
  agree(comm, [&] { distillation.emplace(comm, context, options, setup, *replicas, stop, times); });
  reading.reset();
  distillation->run(done);
  distillation.reset();
  const PhaseScope writing(&times, "writing");
  std::vector<Checkpoint> changed;
  agree_at_root(comm,
                [&] { fs::remove_all(options.output / "model"); });  // of a run stopped before its manifest
  agree(comm, [&] {
    for (std::int64_t layer = 0; layer < config.layers; ++layer)
      if (has_parameters(config, layer)) changed.emplace_back(layer_folder(options, layer));
  });
  write_model(*setup.model.checkpoint, config, changed, options.output / "model");
  changed.clear();
  const Json phases = report_phases(comm, times);
  agree_at_root(comm, [&] {
    write_manifest(options, setup, comm.size(), begun.seconds(), phases);
    fs::remove_all(options.output / "layers");
  });
}

}  // namespace galapagos
