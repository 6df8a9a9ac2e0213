#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/sensitivity.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_sensitivity() {
  const SensitivityOptions usual;
  Options options(
      "sensitivity",
      "measures how the end loss depends on what each module puts out, by gradients of the negative "
      "log-likelihood of ids drawn from the model itself");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "database", po::value<std::string>(), "with --assignment: put levels of this database in")(
      "assignment", po::value<std::string>(), "a level for every module, as best.txt")(
      "calibration", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")("output", po::value<std::string>(),
                                                                      "the sensitivities, S.h5")(
      "calibration-tokens", po::value<std::int64_t>()->default_value(usual.calibration_tokens),
      "tokens to use, without this option fewer where the text is shorter; 0: all")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "shuffle-calibration", po::bool_switch(),
      "take pieces of all the calibration text in a random order, not its first tokens")(
      "samples", po::value<std::int64_t>()->default_value(usual.samples),
      "ids drawn for each token, each with a backward pass of its own")(
      "form", po::value<std::string>()->default_value("full"),
      "what is kept of a module: full (a matrix of the hidden size), diagonal or scalar")(
      "lanes", po::value<std::int64_t>()->default_value(0),
      "copies of the model that share the tokens, each over as many ranks; 0: as many as can hold it")(
      "shards", po::value<std::int64_t>()->default_value(1),
      "ranks that hold one copy of the model, each a part of every layer")(
      "checkpoint-tokens", po::value<std::int64_t>()->default_value(usual.checkpoint_tokens),
      "tokens from one saving to the next")("seed", po::value<std::int64_t>()->default_value(0),
                                            "of the ids that are drawn")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")(
      "resume", po::bool_switch(), "go on with an unfinished run")("dry-run", po::bool_switch(),
                                                                   "print the plan and leave");
  declare_common(options, true);
  return options;
}

SensitivityOptions read_sensitivity(const Options& options, int ranks) {
  SensitivityOptions request;
  request.model = options.find<std::string>("model").value_or("");
  request.calibration =
      paths_of(options.find<std::vector<std::string>>("calibration").value_or(std::vector<std::string>()));
  request.output = options.find<std::string>("output").value_or("");
  request.calibration_tokens = options.get<std::int64_t>("calibration-tokens");
  request.fewer_tokens = !options.given("calibration-tokens");
  request.sequence_length = options.get<std::int64_t>("sequence-length");
  request.add_bos = options.flag("add-bos");
  request.shuffled = options.flag("shuffle-calibration");
  request.samples = options.get<std::int64_t>("samples");
  request.form = sensitivity_form_of(options.get<std::string>("form"));
  request.lanes = lanes_of(options);
  request.shards = shards_of(options, ranks);
  request.batch_tokens = options.get<std::int64_t>("batch-tokens");
  request.checkpoint_tokens = options.get<std::int64_t>("checkpoint-tokens");
  request.seed = static_cast<std::uint64_t>(options.get<std::int64_t>("seed"));
  request.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  request.max_seconds = parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  request.resume = options.flag("resume");
  request.dry_run = options.flag("dry-run");
  return request;
}

void sensitivity(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_sensitivity();
  if (!begin(world, options, words)) return;
  SensitivityOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "calibration", "output"}) options.require(name);
    return read_sensitivity(options, world.size());
  });
  const ops::Context context = make_context(world, options);
  request.make_collectives = collectives_for(context, options);
  const auto model = open_model(world, request.model, options.find<std::string>("database"),
                                options.find<std::string>("assignment"), precision_of(options));
  SensitivityModel measured;
  measured.config = model->config;
  measured.precision = model->precision;
  agree_at_root(world, [&] { measured.fingerprint = hex64(model->checkpoint->fingerprint()); });
  measured.fingerprint = world.broadcast_string(measured.fingerprint);
  if (model->database) {
    const DatabaseHeader& header = model->database->header();
    measured.assignment_fingerprint = hex64(Hash64()
                                                .add(to_text(model->space, model->assignment))
                                                .add(header.created)
                                                .add(header.calibration_fingerprint)
                                                .value());
  }
  measured.source = [&](int shard, int shards) { return model->source(context, shard, shards); };
  measure_sensitivities(world, context, request, measured);
}

}  // namespace galapagos::app
