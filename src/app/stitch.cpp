#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/export/stitch.hpp>

namespace galapagos::app {
namespace po = boost::program_options;

Options declare_stitch() {
  Options options("stitch", "writes the model of an assignment as a checkpoint");
  options.declared().add_options()("model", po::value<std::string>(), "folder of the unpruned model")(
      "database", po::value<std::string>(), "its pruning database")("assignment", po::value<std::string>(),
                                                                    "a level for every module, as best.txt")(
      "output", po::value<std::string>(), "the new folder")(
      "format", po::value<std::string>()->default_value("hf"), list_export_formats(true).c_str())(
      "shard-size", po::value<std::string>()->default_value("5G"), "most bytes of one file")(
      "refit", po::value<std::string>(),
      "fit what is kept of o_proj and down_proj to the unpruned model's hidden states, on this assignment's "
      "own path; a ridge, or auto to choose it on held-out sequences")(
      "calibration", po::value<std::vector<std::string>>()->multitoken()->composing(),
      "with --refit: text (.txt, .jsonl, also .gz and .zst) or token files (.bin)")(
      "calibration-tokens", po::value<std::int64_t>()->default_value(0), "tokens to use; 0: all")(
      "sequence-length", po::value<std::int64_t>()->default_value(0),
      "longest sequence in tokens; 0: what the model takes, at most 8192")(
      "add-bos", po::bool_switch(), "put a BOS token in front of every document");
  declare_common(options, true);
  return options;
}

namespace {

std::optional<RefitOptions> read_refit(const Options& options) {
  const auto ridge = options.find<std::string>("refit");
  if (!ridge) {
    for (const char* name : {"calibration", "calibration-tokens", "sequence-length", "add-bos"}) {
      if (options.given(name))
        throw UsageError("text, and nothing to do with it", std::string("--") + name,
                         "give --refit auto besides, or leave it out");
    }
    return std::nullopt;
  }
  RefitOptions request;
  request.ridge = compensation_of(*ridge, "--refit");
  request.calibration =
      paths_of(options.find<std::vector<std::string>>("calibration").value_or(std::vector<std::string>()));
  request.calibration_tokens = options.get<std::int64_t>("calibration-tokens");
  request.sequence_length = options.get<std::int64_t>("sequence-length");
  request.add_bos = options.flag("add-bos");
  request.batch_tokens = options.get<std::int64_t>("batch-tokens");
  request.memory_limit = parse_bytes(options.get<std::string>("memory-limit"), "--memory-limit");
  request.precision = precision_of(options);
  return request;
}

}  // namespace

StitchOptions read_stitch(const Options& options) {
  StitchOptions request;
  request.output = options.find<std::string>("output").value_or("");
  if (!request.output.has_filename()) request.output = request.output.parent_path();  // "X/" is X
  request.format = &export_format_of(options.get<std::string>("format"));
  request.shard_bytes = parse_bytes(options.get<std::string>("shard-size"), "--shard-size");
  request.refit = read_refit(options);
  return request;
}

void stitch(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_stitch();
  if (!begin(world, options, words)) return;
  const StitchOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "database", "assignment", "output"}) options.require(name);
    StitchOptions read = read_stitch(options);
    if (read.refit) check_options(*read.refit);
    return read;
  });
  const ops::Context context = request.refit ? make_context(world, options) : ops::Context();
  const auto model =
      open_model(world, options.get<std::string>("model"), options.find<std::string>("database"),
                 options.find<std::string>("assignment"), std::nullopt);
  galapagos::stitch(world, *model->checkpoint, model->config, *model->database, model->space,
                    model->assignment, request, context);
}

}  // namespace galapagos::app
