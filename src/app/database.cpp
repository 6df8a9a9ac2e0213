#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/pruning/build.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_database() {
  Options options(
      "database",
      "collects Hessians on calibration data, prunes every module of a model at several levels and "
      "writes them into one HDF5 file");
  options.declared().add_options()("model", po::value<std::string>(), "folder of a Hugging Face model")(
      "calibration", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")("output", po::value<std::string>(),
                                                                      "the database, X.h5")(
      "calibration-tokens", po::value<std::int64_t>()->default_value(0), "tokens to use; 0: all")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document")(
      "levels", po::value<std::int64_t>()->default_value(10), "equal levels; the last removes everything")(
      "attn-removed", po::value<std::string>(),
      "instead: columns of o_proj removed per level, as \"0 512 1024\"")(
      "ffn-removed", po::value<std::string>(), "instead: columns of down_proj removed per level")(
      "attention-unit", po::value<std::string>()->default_value("head"), "head, group or per-group")(
      "rel-damp", po::value<double>()->default_value(1e-2),
      "damping as a share of the Hessian's mean diagonal")(
      "path", po::value<std::string>(),
      "an assignment of its levels: prune each module by what reaches it through those before it, pruned so")(
      "compensate", po::value<std::string>(),
      "with --path: fit weights to the unpruned model's hidden states; a ridge, or auto to choose "
      "it on held-out sequences")(
      "sensitivity", po::value<std::string>(),
      "sensitivities of the model, S.h5: weigh the order by the end loss and write what levels cost in it")(
      "lanes", po::value<std::int64_t>()->default_value(0),
      "data-parallel copies of the pipeline; 0: as few as keep all busy")(
      "max-walltime", po::value<std::string>()->default_value("0"),
      "stop in time to resume, as 11:45:00; 0: no limit")("resume", po::bool_switch(),
                                                          "go on with an unfinished database")(
      "repair", po::bool_switch(), "with --resume: do modules again whose checksums do not fit")(
      "dry-run", po::bool_switch(), "print the plan and leave");
  declare_common(options, true);
  return options;
}

DatabaseOptions read_database(const Options& options) {
  DatabaseOptions request;
  request.model = options.find<std::string>("model").value_or("");
  request.calibration =
      paths_of(options.find<std::vector<std::string>>("calibration").value_or(std::vector<std::string>()));
  request.output = options.find<std::string>("output").value_or("");
  request.calibration_tokens = options.get<std::int64_t>("calibration-tokens");
  request.sequence_length = options.get<std::int64_t>("sequence-length");
  request.add_bos = options.flag("add-bos");
  request.levels = options.get<std::int64_t>("levels");
  request.attention_removed = options.find<std::string>("attn-removed");
  request.ffn_removed = options.find<std::string>("ffn-removed");
  request.attention_unit = attention_unit_of(options.get<std::string>("attention-unit"));
  request.relative_damping = options.get<double>("rel-damp");
  if (const auto path = options.find<std::string>("path")) request.path = *path;
  if (const auto ridge = options.find<std::string>("compensate"))
    request.compensation = compensation_of(*ridge, "--compensate");
  if (const auto path = options.find<std::string>("sensitivity")) request.sensitivity = *path;
  request.lanes = lanes_of(options);
  request.batch_tokens = options.get<std::int64_t>("batch-tokens");
  request.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  request.precision = precision_of(options);
  request.max_seconds = parse_duration(options.get<std::string>("max-walltime"), "--max-walltime");
  request.resume = options.flag("resume");
  request.repair = options.flag("repair");
  request.dry_run = options.flag("dry-run");
  return request;
}

void database(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_database();
  if (!begin(world, options, words)) return;
  const DatabaseOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "calibration", "output"}) options.require(name);
    return read_database(options);
  });
  const ops::Context context = make_context(world, options);
  build_database(world, context, request);
}

}  // namespace galapagos::app
