#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/export/save.hpp>
#include <galapagos/training/distil.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_distil() {
  const DistilOptions usual;
  Options options("distil", "trains a pruned model's layers one by one toward the unpruned model's");
  options.declared().add_options()("model", po::value<std::string>(), "folder of the pruned model")(
      "reference", po::value<std::string>(), "folder of the unpruned model")(
      "data", po::value<std::vector<std::string>>()->multitoken()->composing(), "text or token files")(
      "output", po::value<std::string>(), "folder of the run")(
      "sensitivity", po::value<std::string>(),
      "of the unpruned model: weighs the error by what it costs in the end")(
      "tokens", po::value<std::int64_t>()->default_value(0), "of the text; 0: all")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "refit", po::value<std::string>()->default_value("auto"),
      "auto: fit what a layer's parts put out by least squares before it is trained; or none")(
      "epochs", po::value<std::int64_t>()->default_value(usual.epochs),
      "times that a layer sees the text; 0: only fit")(
      "step-tokens", po::value<std::int64_t>()->default_value(usual.step_tokens),
      "tokens of one update, over all ranks")(
      "learning-rate", po::value<double>()->default_value(usual.learning_rate), "at its greatest")(
      "min-learning-rate", po::value<double>()->default_value(usual.least_rate_share),
      "at the end, as a share of the greatest")("warmup",
                                                po::value<double>()->default_value(usual.warmup_share),
                                                "share of the updates in which the learning rate grows")(
      "weight-decay", po::value<double>()->default_value(usual.adamw.weight_decay), "of AdamW")(
      "seed", po::value<std::int64_t>()->default_value(0), "of the order of the data")(
      "shard-size", po::value<std::string>()->default_value("5G"), "most bytes of one file of the model")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")("resume", po::bool_switch(),
                                                          "go on after the last layer that is done")(
      "dry-run", po::bool_switch(), "print what it takes and leave");
  declare_common(options, true);
  return options;
}

namespace {

bool refits(const std::string& text) {
  if (text == "auto" || text == "none") return text == "auto";
  throw UsageError("'" + printable(text) + "'", "--refit", "give auto or none");
}

}  // namespace

DistilOptions read_distil(const Options& options) {
  DistilOptions request;
  request.model = options.find<std::string>("model").value_or("");
  request.reference = options.find<std::string>("reference").value_or("");
  if (const auto files = options.find<std::vector<std::string>>("data")) request.data = paths_of(*files);
  request.output = options.find<std::string>("output").value_or("");
  if (const auto file = options.find<std::string>("sensitivity")) request.sensitivity = *file;
  request.tokens = options.get<std::int64_t>("tokens");
  request.sequence_length = options.get<std::int64_t>("sequence-length");
  request.add_bos = options.flag("add-bos");
  request.refit = refits(options.get<std::string>("refit"));
  request.epochs = options.get<std::int64_t>("epochs");
  request.step_tokens = options.get<std::int64_t>("step-tokens");
  request.batch_tokens = options.get<std::int64_t>("batch-tokens");
  request.learning_rate = options.get<double>("learning-rate");
  request.least_rate_share = options.get<double>("min-learning-rate");
  request.warmup_share = options.get<double>("warmup");
  request.adamw.weight_decay = options.get<double>("weight-decay");
  request.seed = static_cast<std::uint64_t>(options.get<std::int64_t>("seed"));
  request.shard_bytes = parse_bytes(options.get<std::string>("shard-size"), "--shard-size");
  request.max_seconds = parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  request.precision = precision_of(options);
  request.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  request.resume = options.flag("resume");
  request.dry_run = options.flag("dry-run");
  request.config_ini = options.resolved();
  return request;
}

void distil(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_distil();
  if (!begin(world, options, words)) return;
  DistilOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "reference", "data", "output"}) options.require(name);
    return read_distil(options);
  });
  const ops::Context context = make_context(world, options);
  request.make_collectives = collectives_for(context, options);
  run_distillation(world, context, request,
                   [&](const Checkpoint& parent, const HfConfig& config, std::span<const Checkpoint> changed,
                       const std::filesystem::path& folder) {
                     save_changed(world, parent, config, changed, folder, request.shard_bytes);
                   });
}

}  // namespace galapagos::app
