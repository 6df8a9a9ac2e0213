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
      "format", po::value<std::string>()->default_value("hf"),
      "hf (really smaller, with its own code for transformers) or dense (zeros, loads anywhere)")(
      "shard-size", po::value<std::string>()->default_value("5G"), "most bytes of one file");
  declare_common(options, false);
  return options;
}

StitchOptions read_stitch(const Options& options) {
  StitchOptions request;
  request.output = options.find<std::string>("output").value_or("");
  if (!request.output.has_filename()) request.output = request.output.parent_path();  // "X/" is X
  request.format = export_format_of(options.get<std::string>("format"));
  request.shard_bytes = parse_bytes(options.get<std::string>("shard-size"), "--shard-size");
  return request;
}

void stitch(const Communicator& world, const std::vector<std::string>& words) {
  Options options = declare_stitch();
  if (!begin(world, options, words)) return;
  const StitchOptions request = agree_on(world, [&] {
    for (const char* name : {"model", "database", "assignment", "output"}) options.require(name);
    return read_stitch(options);
  });
  const auto model =
      open_model(world, options.get<std::string>("model"), options.find<std::string>("database"),
                 options.find<std::string>("assignment"), std::nullopt);
  galapagos::stitch(world, *model->checkpoint, model->config, *model->database, model->space,
                    model->assignment, request);
}

}  // namespace galapagos::app
