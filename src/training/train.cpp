#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/model/stage.hpp>
#include <galapagos/ops/adamw.hpp>
#include <galapagos/training/batch_gradient.hpp>
#include <galapagos/training/footprint.hpp>
#include <galapagos/training/random_weights.hpp>
#include <galapagos/training/state.hpp>
#include <galapagos/training/train.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

std::string count(std::int64_t number) {
  return human_count(static_cast<std::uint64_t>(number));
}

/// A model's folder that only has to give weights.
struct OpenModel {
  HfConfig config;
  std::optional<Checkpoint> checkpoint;
  ModelSource source;
};

/// What all ranks agree on before the work begins.
struct Setup {
  OpenModel model;
  std::optional<OpenModel> reference;
  DType precision = DType::f32;  ///< of the working weights
  DType stored = DType::f32;     ///< of the model that comes out
  TokenSet data;
  std::vector<TokenSet> eval_sets;
  std::optional<Sampler> sampler;
  Schedule schedule;
  std::int64_t longest = 1;  ///< tokens of the largest batch
  std::int64_t parameters = 0;
  std::string identity;
};

DType stored_type(const OpenModel& model) {
  if (model.checkpoint) return model.checkpoint->dtype();
  if (model.config.torch_dtype == "float32") return DType::f32;
  if (model.config.torch_dtype == "float16") return DType::f16;
  return DType::bf16;
}

std::string identity_of(const Setup& setup, const TrainOptions& options, const std::string& model,
                        const std::string& reference) {
  Json json;
  json["model"] = model;
  json["reference"] = reference;
  json["data"] = hex64(setup.data.fingerprint());
  json["tokens"] = options.tokens;
  json["step-tokens"] = options.step_tokens;
  json["batch-tokens"] = options.batch_tokens;
  json["schedule"] = static_cast<int>(options.decay);
  json["learning-rate"] = options.learning_rate;
  json["min-learning-rate"] = options.least_rate_share;
  json["warmup"] = options.warmup_share;
  json["clip"] = options.clip;
  json["beta1"] = options.adamw.beta1;
  json["beta2"] = options.adamw.beta2;
  json["epsilon"] = options.adamw.epsilon;
  json["weight-decay"] = options.adamw.weight_decay;
  json["precision"] = name_of(setup.precision);
  json["seed"] = options.seed;
  return json.dump();
}

/// Collective. A hash of a model's weights, or of the seed that makes them.
std::string fingerprint_of(const Communicator& comm, const OpenModel& model, const TrainOptions& options) {
  std::string fingerprint;
  agree_at_root(comm, [&] {
    fingerprint = model.checkpoint ? hex64(model.checkpoint->fingerprint())
                                   : fmt::format("seed {} {}", options.seed, model.config.source.dump());
  });
  return comm.broadcast_string(fingerprint);
}

void open_models(Setup& setup, const ops::Context& context, const TrainOptions& options) {
  OpenModel& model = setup.model;
  model.config = read_hf_config(options.model);
  if (!options.random_weights) model.checkpoint.emplace(options.model);
  setup.stored = stored_type(model);
  setup.precision = options.precision.value_or(setup.stored);
  model.source = model.checkpoint
                     ? checkpoint_source(*model.checkpoint, model.config, setup.precision, context.device())
                     : random_source(model.config, setup.precision, context.device(), options.seed);
  setup.parameters =
      parameters_in_layers(model.config) + embedding_parameters(model.config) + head_parameters(model.config);
  if (!options.reference) return;
  OpenModel& reference = setup.reference.emplace();
  reference.config = read_hf_config(*options.reference);
  reference.checkpoint.emplace(*options.reference);
  reference.source =
      checkpoint_source(*reference.checkpoint, reference.config,
                        options.precision.value_or(reference.checkpoint->dtype()), context.device());
  if (reference.config.vocab_size != model.config.vocab_size) {
    throw InputError(fmt::format("a vocabulary of {} ids, but the model has {}", reference.config.vocab_size,
                                 model.config.vocab_size),
                     options.reference->string(), "give the model that this one was made from");
  }
}

/// Collective. Setup holds pointers into itself and must not move.
void prepare(const Communicator& comm, const ops::Context& context, const TrainOptions& options,
             Setup& setup) {
  SequenceRequest request;
  agree(comm, [&] {
    check_options(options);
    open_models(setup, context, options);
    request.sequence_length = checked_sequence_length(options.sequence_length, setup.model.config);
    request.add_bos = options.add_bos;
  });
  setup.data = load_model_sequences(comm, options.data, options.model, setup.model.config, request);
  for (const fs::path& file : options.eval_data) {
    setup.eval_sets.push_back(load_model_sequences(comm, {file}, options.model, setup.model.config, request));
  }
  agree(comm, [&] {
    setup.sampler.emplace(setup.data, options.seed);
    for (const TokenSet& set : setup.eval_sets) {
      if (set.tokens.size() <= set.sequences()) {
        throw InputError("only sequences of one token, which predict nothing", "--eval-data",
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
  setup.identity = identity_of(setup, options, model, reference);
}

/// Collective. Says what a rank needs, and refuses what it has not.
void check_memory(const Communicator& comm, const Setup& setup, const TrainOptions& options) {
  TrainExtent extent;
  extent.precision = setup.precision;
  extent.stored = setup.stored;
  extent.longest_batch = setup.longest;
  extent.data_tokens = static_cast<std::int64_t>(setup.data.tokens.size());
  for (const TokenSet& set : setup.eval_sets) {
    const auto tokens = static_cast<std::int64_t>(set.tokens.size());
    extent.data_tokens += tokens;
    extent.evaluation_batch =
        std::max({extent.evaluation_batch, setup.longest, std::min(options.batch_tokens, tokens)});
  }
  extent.shard_bytes = options.shard_bytes;
  extent.ranks = comm.size();
  extent.recompute = options.recompute;
  const TrainFootprint footprint =
      train_footprint(setup.model.config, setup.reference ? &setup.reference->source : nullptr, extent);
  log_info(
      "memory of a rank: {} = weights {}, gradients {}, optimiser {}, activations {}{}, data {}, "
      "evaluating or writing {}",
      human_bytes(footprint.total()), human_bytes(footprint.weights), human_bytes(footprint.gradients),
      human_bytes(footprint.optimiser), human_bytes(footprint.activations),
      footprint.reference > 0 ? ", reference " + human_bytes(footprint.reference) : "",
      human_bytes(footprint.data), human_bytes(std::max(footprint.evaluation, footprint.writing)));
  // The data are there already, so that they are not in what is free.
  const std::uint64_t need = footprint.total() - (options.memory_limit == 0 ? footprint.data : 0);
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit);
  agree(comm, [&] {
    if (need > limit) {
      throw ResourceError(
          fmt::format("training needs {} on a rank, which may use {}", human_bytes(need), human_bytes(limit)),
          "memory",
          options.recompute ? "use fewer ranks per node or a smaller --sequence-length, --batch-tokens"
                            : "use --recompute, fewer ranks per node, or a smaller --sequence-length, "
                              "--batch-tokens");
    }
  });
}

class Training {
 public:
  /// `begun`: since the command was started.
  Training(const Communicator& comm, const ops::Context& context, const TrainOptions& options, Setup& setup,
           const Stopwatch& begun)
      : comm_(comm),
        context_(context),
        options_(options),
        setup_(setup),
        watch_(begun),
        weights_(load_model_weights(setup.model.source)),
        gradients_(weights_, context.device()),
        pass_(context, setup.model.config, setup.longest, options.recompute) {
    if (setup.reference) teacher_.emplace(context, setup.reference->source, setup.longest);
  }

  void begin();
  void run();
  void finish(const ModelWriter& write_model);

 private:
  bool stop_due() const;
  bool interrupted() const { return comm_.any(stop_due()); }
  bool step();
  void evaluate();
  void save();
  [[noreturn]] void fail(const std::string& what);
  void record(const Json& line);
  void write_records();
  double elapsed() const { return state_before_ + watch_.seconds(); }

  const Communicator& comm_;
  const ops::Context& context_;
  const TrainOptions& options_;
  Setup& setup_;
  Stopwatch watch_;
  ModelWeights weights_;
  Gradients gradients_;
  TrainingPass pass_;
  std::optional<Teacher> teacher_;
  std::optional<ShardedAdamW> optimiser_;
  DataPosition position_;
  std::int64_t evaluated_ = -1;  // after this many updates
  std::int64_t saved_ = -1;
  double state_before_ = 0;  // seconds of earlier runs
  std::vector<double> perplexities_;
  std::string records_;  // lines for metrics.jsonl, on the root
  Stopwatch since_records_;
};

void Training::begin() {
  optimiser_.emplace(comm_, context_, weights_, setup_.precision, options_.adamw);
  if (!options_.resume) return;
  const TrainingState state = load_state(comm_, options_.output, setup_.identity, *optimiser_, gradients_);
  position_ = state.data;
  saved_ = state.steps;
  state_before_ = state.seconds;
  // At the beginning and at the end the perplexity is going to be measured again.
  const bool again = state.steps == 0 || state.data.tokens >= options_.tokens;
  agree_at_root(comm_, [&] {
    filter_lines(options_.output / "metrics.jsonl", [&](const std::string& line) {
      const Json json = Json::parse(line, nullptr, false);  // a half-written last line is dropped
      if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return false;
      const bool last = json["step"] == state.steps;
      return json["step"] <= state.steps && !(last && again && json.contains("perplexity"));
    });
  });
  log_info("going on after update {}", state.steps);
}

/// Whether this rank has been told to stop; the others may not know yet.
bool Training::stop_due() const {
  return stop_requested() || (options_.max_seconds > 0 && watch_.seconds() > options_.max_seconds);
}

void Training::record(const Json& line) {
  constexpr double seconds_between = 2;  // a line's way to the disk may take longer than a small update
  if (comm_.is_root()) records_ += line.dump() + "\n";
  if (comm_.any(comm_.is_root() && since_records_.seconds() > seconds_between)) write_records();
}

void Training::write_records() {
  agree_at_root(comm_, [&] {
    if (!records_.empty()) append_text(options_.output / "metrics.jsonl", records_);
    records_.clear();
    since_records_ = Stopwatch();
  });
}

void Training::fail(const std::string& what) {
  write_records();
  const bool saved = fs::exists(options_.output / "checkpoint.h5");
  agree(comm_, [&] {
    throw NumericalError(
        what, options_.output.string(),
        std::string("begin anew with a smaller --learning-rate, more --warmup or --precision "
                    "fp32") +
            (saved ? "; the last checkpoint is kept" : ""));
  });
  std::abort();  // agree() throws on every rank
}

void Training::save() {
  if (saved_ == optimiser_->steps()) return;
  // Weights that nothing has been computed from yet must not replace those of the last checkpoint.
  if (!std::isfinite(comm_.sum(ops::sum_of_squares(context_, optimiser_->master()))))
    fail(fmt::format("the weights are not finite after update {}", optimiser_->steps()));
  write_records();  // the checkpoint must not be ahead of them
  TrainingState state;
  state.identity = setup_.identity;
  state.data = position_;
  state.steps = optimiser_->steps();
  state.seconds = elapsed();
  save_state(comm_, options_.output, state, *optimiser_);
  saved_ = state.steps;
  log_debug("update {} is saved", state.steps);
}

/// One update; false where the run is to stop, as if the update had not been begun.
bool Training::step() {
  const Stopwatch watch;
  const DataPosition before = position_;
  const std::int64_t tokens_before = position_.tokens;
  const std::vector<std::uint32_t> taken =
      setup_.sampler->take(position_, std::min(options_.step_tokens, options_.tokens - position_.tokens));
  std::int64_t predicted = 0;
  std::vector<std::uint32_t> mine;
  for (std::size_t i = 0; i < taken.size(); ++i) {
    predicted += static_cast<std::int64_t>(setup_.data.sequence(taken[i]).size()) - 1;
    if (i % static_cast<std::size_t>(comm_.size()) == static_cast<std::size_t>(comm_.rank()))
      mine.push_back(taken[i]);
  }
  const std::int64_t number = optimiser_->steps();
  const double rate = setup_.schedule.at(number);
  const auto fail_here = [&](const std::string& what) {
    fail(fmt::format("{} at update {} (learning rate {:.3g}, after {} tokens)", what, number + 1, rate,
                     count(tokens_before)));
  };
  std::optional<double> sum;
  agree(comm_, [&] {
    sum = add_gradients(pass_, weights_, select_sequences(setup_.data, mine), options_.batch_tokens,
                        1.0f / static_cast<float>(predicted), teacher_ ? &*teacher_ : nullptr, gradients_,
                        [&] { return stop_due(); });
  });
  if (comm_.any(!sum)) {
    position_ = before;
    fill_zero(gradients_.all());
    return false;
  }
  const double loss = comm_.sum(*sum) / static_cast<double>(predicted);
  if (!std::isfinite(loss)) fail_here(std::isnan(loss) ? "the loss is NaN" : "the loss is infinite");
  const double norm = optimiser_->step(gradients_, rate, options_.clip);
  if (!std::isfinite(norm)) fail_here("the gradient is not finite");
  const double seconds = watch.seconds();
  Json line;
  line["step"] = optimiser_->steps();
  line["tokens"] = position_.tokens;
  line["loss"] = loss;
  line["gradient_norm"] = norm;
  line["learning_rate"] = rate;
  line["tokens_per_second"] = static_cast<double>(position_.tokens - tokens_before) / seconds;
  line["elapsed"] = elapsed();
  record(line);
  return true;
}

void Training::evaluate() {
  if (setup_.eval_sets.empty() || evaluated_ == optimiser_->steps()) return;
  evaluated_ = optimiser_->steps();
  Json line;
  line["step"] = optimiser_->steps();
  perplexities_.clear();
  for (std::size_t set = 0; set < setup_.eval_sets.size(); ++set) {
    const TokenSet& data = setup_.eval_sets[set];
    std::vector<std::uint32_t> mine;
    for (std::size_t s = static_cast<std::size_t>(comm_.rank()); s < data.sequences();
         s += static_cast<std::size_t>(comm_.size()))
      mine.push_back(static_cast<std::uint32_t>(s));
    double sum = 0;
    agree(comm_, [&] {
      sum = sum_nll(context_, setup_.model.config, weights_, select_sequences(data, mine),
                    options_.batch_tokens);
    });
    const double mean = comm_.sum(sum) / static_cast<double>(data.tokens.size() - data.sequences());
    if (!std::isfinite(mean))
      fail(fmt::format("the loss on {} is not finite after update {}", options_.eval_data[set].string(),
                       evaluated_));
    perplexities_.push_back(std::exp(mean));
    line["perplexity"][options_.eval_data[set].string()] = perplexities_.back();
    log_info("update {}: perplexity {:.4f} on {}", evaluated_, perplexities_.back(),
             options_.eval_data[set].string());
  }
  record(line);
  write_records();
}

void Training::run() {
  Progress progress("updates", setup_.schedule.steps, optimiser_->steps());
  if (optimiser_->steps() == 0) evaluate();
  while (position_.tokens < options_.tokens) {
    if (interrupted()) {
      save();
      agree(comm_, [&] {
        throw StoppedEarly(
            fmt::format("stopped after update {} of {}", optimiser_->steps(), setup_.schedule.steps),
            options_.output.string(), "go on with --resume");
      });
    }
    if (!step()) continue;
    const std::int64_t done = optimiser_->steps();
    progress.advance();
    if (options_.eval_every > 0 && done % options_.eval_every == 0) evaluate();
    const bool due = options_.checkpoint_every > 0 && done % options_.checkpoint_every == 0;
    const bool asked = comm_.any(take_checkpoint_request());
    if (asked || due) save();
    if (asked) log_info("update {} is saved, as asked for by SIGUSR1", done);
  }
}

void Training::finish(const ModelWriter& write_model) {
  evaluate();
  save();
  const fs::path model = options_.output / "model";
  agree_at_root(comm_, [&] { fs::remove_all(model); });  // of a run that was stopped before its manifest
  optimiser_->gather_master(gradients_);
  std::vector<NamedTensor> values = parameters_of(weights_);
  std::int64_t at = 0;
  for (NamedTensor& value : values) {
    const Shape shape = value.tensor.shape;
    const std::int64_t elements = value.tensor.elements();
    value.tensor = gradients_.all().slice(at, elements).view(shape);
    at += elements;
  }
  write_model(setup_.model.config, values, setup_.stored, model);
  agree_at_root(comm_, [&] {
    Json manifest;
    manifest["tool_version"] = version_with_revision();
    manifest["finished"] = utc_now();
    manifest["ranks"] = comm_.size();
    manifest["options"] = Json::parse(setup_.identity);
    manifest["model"] = options_.model.string();
    manifest["updates"] = optimiser_->steps();
    manifest["tokens"] = position_.tokens;
    manifest["parameters"] = setup_.parameters;
    manifest["seconds"] = elapsed();
    for (std::size_t set = 0; set < perplexities_.size(); ++set)
      manifest["perplexity"][options_.eval_data[set].string()] = perplexities_[set];
    write_file_atomically(options_.output / "manifest.json", manifest.dump(2) + "\n");
  });
}

/// Whether there is what --resume goes on from, or else nothing that a new run would spoil.
void check_folder(const TrainOptions& options) {
  const fs::path& folder = options.output;
  const bool saved = fs::exists(folder / "checkpoint.h5") || fs::exists(folder / "checkpoint.previous.h5");
  const bool complete = fs::exists(folder / "manifest.json");
  if (options.resume && complete) {
    throw InputError("this training is complete", folder.string(),
                     "its model is in the folder model; choose another --output for another training");
  }
  if (options.resume && !saved)
    throw InputError("no checkpoint to go on from", folder.string(), "leave --resume out");
  if (!options.resume && (saved || complete)) {
    throw InputError(
        "a training is there already", folder.string(),
        complete ? "choose another --output" : "go on with --resume, or choose another --output");
  }
  // The folder that the result is going to replace.
  std::error_code error;
  const bool itself = fs::equivalent(folder / "model", options.model, error) ||
                      (options.reference && fs::equivalent(folder / "model", *options.reference, error));
  if (itself || (!options.resume && fs::exists(folder / "model"))) {
    throw InputError("there is a model already where the trained one goes", (folder / "model").string(),
                     "choose another --output");
  }
}

/// A new run's folder; what a run left there that ended before its first checkpoint goes.
void make_folder(const TrainOptions& options) {
  std::error_code error;
  fs::create_directories(options.output, error);
  if (error || !fs::is_directory(options.output)) {
    throw InputError("cannot make the folder of the run", options.output.string(),
                     "check the path given to --output");
  }
  fs::remove(options.output / "metrics.jsonl");
  write_file_atomically(options.output / "config.ini", options.config_ini);
}

}  // namespace

void check_options(const TrainOptions& options) {
  const auto at_least = [](std::int64_t value, std::int64_t least, const char* option) {
    if (value < least)
      throw UsageError(fmt::format("{}", value), option, fmt::format("give {} or more", least));
  };
  const auto between = [](double value, double least, double most, const char* option) {
    if (!(value >= least && value <= most)) {
      throw UsageError(fmt::format("{:g}", value), option,
                       fmt::format("give a number from {:g} to {:g}", least, most));
    }
  };
  at_least(options.tokens, 1, "--tokens");
  at_least(options.step_tokens, 1, "--step-tokens");
  at_least(options.batch_tokens, 1, "--batch-tokens");
  at_least(options.eval_every, 0, "--eval-every");
  at_least(options.checkpoint_every, 0, "--checkpoint-every");
  between(options.learning_rate, 0, 1e3, "--learning-rate");
  between(options.least_rate_share, 0, 1, "--min-learning-rate");
  between(options.warmup_share, 0, 1, "--warmup");
  between(options.clip, 0, 1e9, "--clip");
  between(options.adamw.beta1, 0, 1 - 1e-9, "--beta1");
  between(options.adamw.beta2, 0, 1 - 1e-9, "--beta2");
  between(options.adamw.epsilon, 1e-30, 1, "--epsilon");
  between(options.adamw.weight_decay, 0, 1e3, "--weight-decay");
  between(options.max_seconds, 0, 1e12, "--max-walltime");
}

void run_training(const Communicator& world, const ops::Context& context, const TrainOptions& options,
                  const ModelWriter& write_model) {
  const Communicator comm = world.duplicate();
  watch_signals();
  const Stopwatch begun;
  agree_at_root(comm, [&] { check_folder(options); });  // before the work that comes first
  Setup setup;
  prepare(comm, context, options, setup);
  log_info("{} parameters, {} in memory; {} updates of about {} tokens; {} tokens of text",
           count(setup.parameters), name_of(setup.precision), count(setup.schedule.steps),
           count(options.step_tokens), count(setup.sampler->tokens()));
  if (comm.is_root() && options.tokens > setup.sampler->tokens()) {
    log_warning("the text is shorter than the budget of {} tokens: it is read {:.2f} times",
                count(options.tokens),
                static_cast<double>(options.tokens) / static_cast<double>(setup.sampler->tokens()));
  }
  check_memory(comm, setup, options);
  if (options.dry_run) return;
  agree_at_root(comm, [&] {
    if (!options.resume) make_folder(options);
  });
  std::optional<Training> training;
  agree(comm, [&] { training.emplace(comm, context, options, setup, begun); });
  training->begin();
  training->run();
  training->finish(write_model);
}

}  // namespace galapagos
