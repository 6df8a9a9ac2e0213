#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/export/save.hpp>
#include <galapagos/training/train.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_train() {
  const TrainOptions usual;
  Options options("train", "continued training or distillation of a model, pruned or not");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "random-weights", po::bool_switch(), "use only its config.json and tokenizer, begin at random weights")(
      "data", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text or token files to train on")("output", po::value<std::string>(), "folder of the run")(
      "tokens", po::value<std::int64_t>(), "to train on; a shorter text is read again")(
      "reference", po::value<std::string>(), "learn from this model (distillation), not from the text")(
      "logit-weight", po::value<double>()->default_value(usual.loss.logit_weight),
      "of the divergence from the reference's probabilities")(
      "temperature", po::value<double>()->default_value(usual.loss.temperature), "of that divergence")(
      "text-weight", po::value<double>()->default_value(usual.loss.text_weight),
      "of the text's own loss beside a reference")(
      "hidden-loss", po::value<std::string>()->default_value("none"),
      "of hidden states against the reference's: none, cosine or normalised")(
      "hidden-weight", po::value<double>()->default_value(usual.loss.hidden_weight),
      "of that loss, a mean over layers")("hidden-layers",
                                          po::value<std::string>()->default_value(usual.loss.hidden_layers),
                                          "after which they are compared: last, all, every:K or numbers")(
      "loss-on", po::value<std::string>()->default_value("all"), "tokens that count: all or response")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "shards", po::value<std::int64_t>()->default_value(1), "ranks that hold one replica of the model")(
      "step-tokens", po::value<std::int64_t>()->default_value(usual.step_tokens),
      "tokens of one update, over all ranks")(
      "learning-rate", po::value<double>()->default_value(usual.learning_rate), "at its greatest")(
      "min-learning-rate", po::value<double>()->default_value(usual.least_rate_share),
      "at the end, as a share of the greatest")("schedule", po::value<std::string>()->default_value("cosine"),
                                                "of the learning rate: constant, linear or cosine")(
      "warmup", po::value<double>()->default_value(usual.warmup_share),
      "share of the updates in which the learning rate grows")(
      "clip", po::value<double>()->default_value(usual.clip), "greatest norm of the gradient; 0: any")(
      "weight-decay", po::value<double>()->default_value(usual.adamw.weight_decay), "of AdamW")(
      "beta1", po::value<double>()->default_value(usual.adamw.beta1), "of AdamW")(
      "beta2", po::value<double>()->default_value(usual.adamw.beta2), "of AdamW")(
      "epsilon", po::value<double>()->default_value(usual.adamw.epsilon), "of AdamW")(
      "recompute", po::bool_switch(), "keep only what goes into each layer (activation checkpointing)")(
      "eval-data", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "files whose perplexity is measured")("eval-every", po::value<std::int64_t>()->default_value(0),
                                            "updates between evaluations; 0: before and after")(
      "checkpoint-every", po::value<std::int64_t>()->default_value(usual.checkpoint_every),
      "updates between checkpoints; 0: only when stopped or where the model cannot be written")(
      "seed", po::value<std::int64_t>()->default_value(0), "of the order of the data and of random weights")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")(
      "resume", po::bool_switch(), "go on from the run's checkpoint")("dry-run", po::bool_switch(),
                                                                      "print the plan and leave");
  declare_common(options, true);
  return options;
}

namespace {

bool responses_only(const std::string& loss_on) {
  if (loss_on == "all" || loss_on == "response") return loss_on == "response";
  throw UsageError("'" + loss_on + "'", "--loss-on", "give all or response");
}

}  // namespace

TrainOptions read_train(const Options& options, int ranks) {
  TrainOptions request;
  request.model = options.find<std::string>("model").value_or("");
  request.random_weights = options.flag("random-weights");
  if (const auto files = options.find<std::vector<std::string>>("data")) request.data = paths_of(*files);
  request.output = options.find<std::string>("output").value_or("");
  request.tokens = options.find<std::int64_t>("tokens").value_or(0);
  if (const auto reference = options.find<std::string>("reference")) request.reference = *reference;
  request.loss.logit_weight = options.get<double>("logit-weight");
  request.loss.temperature = options.get<double>("temperature");
  request.loss.text_weight = options.get<double>("text-weight");
  request.loss.hidden_loss = hidden_loss_of(options.get<std::string>("hidden-loss"));
  request.loss.hidden_weight = options.get<double>("hidden-weight");
  request.loss.hidden_layers = options.get<std::string>("hidden-layers");
  request.responses_only = responses_only(options.get<std::string>("loss-on"));
  if (const auto files = options.find<std::vector<std::string>>("eval-data"))
    request.eval_data = paths_of(*files);
  request.sequence_length = options.get<std::int64_t>("sequence-length");
  request.add_bos = options.flag("add-bos");
  request.step_tokens = options.get<std::int64_t>("step-tokens");
  request.batch_tokens = options.get<std::int64_t>("batch-tokens");
  request.learning_rate = options.get<double>("learning-rate");
  request.least_rate_share = options.get<double>("min-learning-rate");
  request.decay = decay_of(options.get<std::string>("schedule"));
  request.warmup_share = options.get<double>("warmup");
  request.clip = options.get<double>("clip");
  request.adamw = {options.get<double>("beta1"), options.get<double>("beta2"), options.get<double>("epsilon"),
                   options.get<double>("weight-decay")};
  request.recompute = options.flag("recompute");
  request.eval_every = options.get<std::int64_t>("eval-every");
  request.checkpoint_every = options.get<std::int64_t>("checkpoint-every");
  request.seed = static_cast<std::uint64_t>(options.get<std::int64_t>("seed"));
  request.precision = precision_of(options);
  request.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  request.max_seconds = parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  request.shards = shards_of(options, ranks);
  request.resume = options.flag("resume");
  request.dry_run = options.flag("dry-run");
  request.config_ini = options.resolved();
  return request;
}

void train(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_train();
  if (!begin(world, options, words)) return;
  TrainOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "data", "output", "tokens"}) options.require(name);
    return read_train(options, world.size());
  });
  const ops::Context context = make_context(world, options);
  request.make_collectives = collectives_for(context, options);
  run_training(world, context, request,
               [&](const HfConfig& config, std::span<const NamedTensor> values, const ReplicaGrid& grid,
                   DType dtype, const std::filesystem::path& folder) {
                 save_model(world, context, request.model, config, values, dtype, folder, request.shard_bytes,
                            &grid);
               });
}

}  // namespace galapagos::app
