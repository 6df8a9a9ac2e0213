#include "command.hpp"

#include <galapagos/assignment/weight_in_place.hpp>
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
      "samples", po::value<std::int64_t>()->default_value(usual.samples),
      "ids drawn for each token, each with a backward pass of its own")(
      "form", po::value<std::string>()->default_value("full"),
      "what is kept of a module: full (a matrix of the hidden size), lowrank (--rank vectors of it and a "
      "diagonal), diagonal or scalar")("rank", po::value<std::int64_t>(),
                                       "with --form lowrank: vectors kept")(
      "from", po::value<std::string>()->default_value("drawn"),
      "drawn: ids drawn from the model; kl: besides, at an assignment, the first order of the divergence "
      "from "
      "--reference")("reference", po::value<std::string>(),
                     "with --from kl: the unpruned model, from which the database was made")(
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

bool from_divergence(const Options& options) {
  const auto& from = options.get<std::string>("from");
  if (from == "drawn" || from == "kl") return from == "kl";
  throw UsageError("unknown word '" + printable(from) + "'", "--from", "choose drawn or kl");
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
  request.samples = options.get<std::int64_t>("samples");
  request.form = sensitivity_form_of(options.get<std::string>("form"));
  request.rank = options.find<std::int64_t>("rank").value_or(0);
  request.divergence = from_divergence(options);
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
    SensitivityOptions read = read_sensitivity(options, world.size());
    if (read.divergence) {
      options.require("reference");
      if (!options.has("assignment")) {
        throw UsageError("a model diverges only once it is pruned", "--from kl",
                         "give --database and --assignment");
      }
    } else if (options.has("reference")) {
      throw UsageError("nothing is compared with it", "--reference", "use it together with --from kl");
    }
    return read;
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
  if (request.divergence) {
    for (std::size_t i = 0; i < model->assignment.size(); ++i) {
      const auto level = static_cast<std::size_t>(model->assignment[i]);
      measured.kept.push_back(std::ssize(model->space.modules[i].kept[level]));
    }
    agree_at_root(world, [&] {
      const std::string reference = options.get<std::string>("reference");
      if (hex64(Checkpoint(reference).fingerprint()) == measured.fingerprint) return;
      throw InputError("the database's levels are of another model than the reference", reference,
                       "give the model that the database was made from, as --model");
    });
    measured.dense = [&](int shard, int shards) {
      return checkpoint_source(*model->checkpoint, model->config, part_of_model(model->config, shard, shards),
                               ops::working_type(context.device(), model->precision), context.device());
    };
    measured.in_place = [&](const ModuleId& module) {
      return weight_in_place(*model->checkpoint, model->config, *model->database, model->space,
                             model->assignment, module);
    };
  }
  measure_sensitivities(world, context, request, measured);
}

}  // namespace galapagos::app
