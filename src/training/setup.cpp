#include "setup.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/io/token_file.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/training/footprint.hpp>
#include <galapagos/training/random_weights.hpp>

namespace galapagos {
namespace {

DType stored_type(const OpenModel& model) {
  if (model.checkpoint) return model.checkpoint->dtype();
  if (model.config.torch_dtype == "float32") return DType::f32;
  if (model.config.torch_dtype == "float16") return DType::f16;
  return DType::bf16;
}

std::string identity_of(const TrainSetup& setup, const std::string& model, const std::string& reference) {
  Json json;  // files first: where they differ, a refusal names them
  json["model"] = model;
  json["reference"] = reference;
  json["data"] = hex64(setup.data.fingerprint());
  json.update(deciding(setup.options));
  json["precision"] = name_of(setup.precision);
  return json.dump();
}

/// Collective. A hash of a model's weights and config, or of the seed that makes the weights.
std::string fingerprint_of(const Communicator& comm, const OpenModel& model, const TrainOptions& options) {
  std::string fingerprint;
  agree_at_root(comm, [&] {
    const std::string config = model.config.source.dump();
    fingerprint = model.checkpoint ? hex64(Hash64().add(model.checkpoint->fingerprint()).add(config).value())
                                   : fmt::format("seed {} {}", options.seed, config);
  });
  return comm.broadcast_string(fingerprint);
}

void open_models(TrainSetup& setup, const ReplicaGrid& grid, const ops::Context& context) {
  const TrainOptions& options = setup.options;
  const auto part_of = [&](const HfConfig& config) {
    return part_of_model(config, grid.shard(), grid.shards());
  };
  OpenModel& model = setup.model;
  model.config = read_hf_config(options.model);
  if (!options.random_weights) model.checkpoint.emplace(options.model);
  setup.stored = stored_type(model);
  setup.precision = ops::working_type(context.device(), options.precision.value_or(setup.stored));
  model.source = model.checkpoint ? checkpoint_source(*model.checkpoint, model.config, part_of(model.config),
                                                      setup.precision, context.device())
                                  : random_source(model.config, part_of(model.config), setup.precision,
                                                  context.device(), options.seed);
  setup.parameters = parameters_in_model(model.config);
  setup.loss = training_loss(options.loss, options.reference.has_value(), model.config);
  if (!options.reference) return;
  OpenModel& reference = setup.reference.emplace();
  reference.config = read_hf_config(*options.reference);
  reference.checkpoint.emplace(*options.reference);
  reference.source = checkpoint_source(
      *reference.checkpoint, reference.config, part_of(reference.config),
      ops::working_type(context.device(), options.precision.value_or(reference.checkpoint->dtype())),
      context.device());
  if (reference.config.vocab_size != model.config.vocab_size) {
    throw InputError(fmt::format("a vocabulary of {} ids, but the model has {}", reference.config.vocab_size,
                                 model.config.vocab_size),
                     options.reference->string(), "give the model that this one was made from");
  }
  if (setup.loss.hidden != 0 && (reference.config.layers != model.config.layers ||
                                 reference.config.hidden_size != model.config.hidden_size)) {
    throw InputError(
        fmt::format("{} layers of {}, but the model has {} of {}: their hidden states cannot be compared",
                    reference.config.layers, reference.config.hidden_size, model.config.layers,
                    model.config.hidden_size),
        options.reference->string(), "give the model that this one was made from, or --hidden-loss none");
  }
}

}  // namespace

void prepare(const Communicator& comm, const ReplicaGrid& grid, const ops::Context& context,
             const TrainOptions& asked, TrainSetup& setup) {
  setup.options = asked;
  const TrainOptions& options = setup.options;
  SequenceRequest request;
  agree(comm, [&] {
    check_options(options);
    open_models(setup, grid, context);
    request.sequence_length = checked_sequence_length(options.sequence_length, setup.model.config);
    request.add_bos = options.add_bos;
    request.text = options.text;
    request.responses_only = options.responses_only;
  });
  setup.data = load_model_sequences(comm, options.data, options.model, setup.model.config, request);
  for (const std::filesystem::path& file : options.eval_data) {
    // One rank's view of the file system decides. A token file marks no responses: all of it is measured.
    char marked = 0;
    agree_at_root(comm, [&] { marked = options.responses_only && !is_token_file(file) ? 1 : 0; });
    request.responses_only = comm.broadcast_value(marked) != 0;
    if (options.responses_only && !request.responses_only)
      log_warning("{} does not say what is a response: all of it is measured", file.string());
    setup.eval_sets.push_back(load_model_sequences(comm, {file}, options.model, setup.model.config, request));
  }
  agree(comm, [&] {
    setup.sampler.emplace(setup.data, options.seed);
    for (const TokenSet& set : setup.eval_sets) {
      if (predicted_tokens(set) == 0) {
        throw InputError("nothing is predicted that counts", "--eval-data",
                         "give longer texts or a greater --sequence-length");
      }
      for (std::size_t s = 0; s < set.sequences(); ++s)
        setup.longest = std::max(setup.longest, static_cast<std::int64_t>(set.sequence(s).size()));
    }
    for (std::size_t s = 0; s < setup.data.sequences(); ++s)
      setup.longest = std::max(setup.longest, static_cast<std::int64_t>(setup.data.sequence(s).size()));
    // An update may exceed its tokens by a sequence.
    setup.longest =
        std::max(setup.longest, std::min(options.batch_tokens, options.step_tokens + setup.longest));
    Schedule& schedule = setup.schedule;
    schedule.decay = options.decay;
    schedule.peak = options.learning_rate;
    schedule.least = options.learning_rate * options.least_rate_share;
    schedule.steps = setup.sampler->count_updates(options.step_tokens, options.tokens);
    schedule.warmup = std::llround(options.warmup_share * static_cast<double>(schedule.steps));
  });
  const std::string model = fingerprint_of(comm, setup.model, options);
  const std::string reference = setup.reference ? fingerprint_of(comm, *setup.reference, options) : "";
  setup.identity = identity_of(setup, model, reference);
}

void check_memory(const Communicator& comm, const ReplicaGrid& grid, const TrainSetup& setup,
                  const ops::Context& context) {
  const TrainOptions& options = setup.options;
  TrainExtent extent;
  extent.precision = setup.precision;
  extent.stored = setup.stored;
  extent.activations = context.activations();
  extent.longest_batch = setup.longest;
  extent.data_tokens = static_cast<std::int64_t>(setup.data.tokens.size());
  extent.marked = options.responses_only;
  extent.loss = setup.loss;
  for (const TokenSet& set : setup.eval_sets) {
    const auto tokens = static_cast<std::int64_t>(set.tokens.size());
    extent.data_tokens += tokens;
    extent.evaluation_batch =
        std::max({extent.evaluation_batch, setup.longest, std::min(options.batch_tokens, tokens)});
  }
  extent.shard_bytes = options.shard_bytes;
  extent.replicas = grid.replicas();
  extent.shards = grid.shards();
  extent.recompute = options.recompute;
  extent.device = context.device();
  const TrainFootprint footprint = train_footprint(
      setup.model.source.config, setup.reference ? &setup.reference->source : nullptr, extent);
  log_info(
      "memory of a rank: {} = weights {}, gradients {}, optimiser {}, activations {}{}, data {}, "
      "evaluating or writing {}",
      human_bytes(footprint.total()), human_bytes(footprint.weights), human_bytes(footprint.gradients),
      human_bytes(footprint.optimiser), human_bytes(footprint.activations), reference_text(footprint, ", "),
      human_bytes(footprint.data), human_bytes(std::max(footprint.evaluation, footprint.writing)));
  // The data are there already, so that they are not in what is free, and never on a GPU.
  const bool beside = options.memory_limit > 0 && context.device() == Device::cpu;
  const std::uint64_t need = footprint.total() - (beside ? 0 : footprint.data);
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  agree(comm, [&] {
    if (need > limit) {
      throw ResourceError(
          fmt::format("training needs {} on a rank, which may use {}", human_bytes(need), human_bytes(limit)),
          "memory",
          options.recompute
              ? "use more --shards, fewer ranks per node or a smaller --sequence-length, --batch-tokens"
              : "use more --shards, --recompute, fewer ranks per node, or a smaller --sequence-length, "
                "--batch-tokens");
    }
  });
}

}  // namespace galapagos
