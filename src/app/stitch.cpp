#include "command.hpp"

#include <galapagos/comm/agreement.hpp>
#include <galapagos/export/stitch.hpp>

namespace galapagos::app {

void bind(Options& list, StitchRequest& request) {
  list.describe("stitch", "writes the model of an assignment as a checkpoint");
  list.add("model", request.model, "folder of the unpruned model", {.required = true});
  list.add("database", request.database, "its pruning database", {.required = true});
  list.add("assignment", request.assignment, "a level for every module, as best.txt", {.required = true});
  list.add("output", request.stitch.output, "the new folder", {.required = true});
  Choices<const ExportFormat*> formats;
  for (const ExportFormat& format : export_formats()) formats.emplace_back(format.name, &format);
  list.add_choice("format", request.stitch.format, "format", formats, list_export_formats(true));
  list.add_bytes("shard-size", request.stitch.shard_bytes, "most bytes of one file");
  bind_compensation(
      list, "refit", request.refit,
      "fit what is kept of o_proj and down_proj to the unpruned model's hidden states, on this assignment's "
      "own path; a ridge, or auto to choose it on held-out sequences");
  bind(list, static_cast<RefitOptions&>(request));
}

StitchOptions stitch_options(const Asked<StitchRequest>& asked) {
  StitchOptions options = asked.request.stitch;
  if (!options.output.has_filename()) options.output = options.output.parent_path();  // "X/" is X
  if (asked.request.refit) {
    options.refit = asked.request;
    options.refit->ridge = *asked.request.refit;
    return options;
  }
  std::vector<std::string> names = {"calibration", "calibration-tokens", "sequence-length", "add-bos"};
  names.insert(names.end(), text_option_names.begin(), text_option_names.end());
  for (const std::string& name : names) {
    if (asked.options.given(name))
      throw UsageError("text, and nothing to do with it", "--" + name,
                       "give --refit auto besides, or leave it out");
  }
  return options;
}

void stitch(const Communicator& world, const std::vector<std::string>& words) {
  Asked<StitchRequest> asked;
  if (!begin(world, asked, words)) return;
  const StitchRequest& request = asked.request;
  StitchOptions options = agree_on(world, [&] {
    StitchOptions read = stitch_options(asked);
    if (read.refit) check_options(*read.refit);
    return read;
  });
  const ops::Context context = options.refit ? make_context(world, request) : ops::Context();
  if (options.refit) options.refit->make_collectives = hessian_collectives_for(context, request);
  const auto model = open_model(world, request.model, request.database, request.assignment, std::nullopt);
  galapagos::stitch(world, *model->checkpoint, model->config, *model->database, model->space,
                    model->assignment, options, context);
}

}  // namespace galapagos::app
