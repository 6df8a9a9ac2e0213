#include "command.hpp"

#include <algorithm>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/export/stitch.hpp>

namespace galapagos::app {

void bind(Options& list, StitchRequest& request) {
  list.describe("stitch", "writes the model of an assignment, or a model as it is, as a checkpoint");
  list.add("model", request.model, "folder of the unpruned model, or of any to be written in another format",
           {.required = true});
  list.add("database", request.database, "its pruning database");
  list.add("assignment", request.assignment, "with --database: a level for every module, as best.txt");
  list.add("output", request.stitch.output,
           "the new folder; of several formats each has one of its name in there", {.required = true});
  list.add("format", request.formats, "one or several: " + list_export_formats(true));
  bind(list, static_cast<ExportOptions&>(request.stitch));
  bind_compensation(
      list, "refit", request.refit,
      "fit what is kept of o_proj and down_proj to the unpruned model's hidden states, on this assignment's "
      "own path; a ridge, or auto to choose it on held-out sequences");
  bind(list, static_cast<RefitOptions&>(request));
}

StitchOptions stitch_options(const Asked<StitchRequest>& asked) {
  StitchOptions options = asked.request.stitch;
  if (!options.output.has_filename()) options.output = options.output.parent_path();  // "X/" is X
  options.formats = export_formats_of(asked.request.formats);
  if (options.shard_bytes == 0) throw UsageError("files of no bytes", "--shard-size", "give 1M or more");
  for (const char* name : {"gguf-type", "gguf-pre"}) {
    if (asked.options.given(name) &&
        std::ranges::find(options.formats, &export_format_of("gguf")) == options.formats.end())
      throw UsageError("no gguf file is written", std::string("--") + name,
                       "give --format gguf besides, or leave it out");
  }
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
    if (read.refit) {
      asked.options.require("database");
      check_options(*read.refit);
    }
    return read;
  });
  std::optional<OutputLock> lock;
  agree_at_root(world, [&] { lock.emplace(options.output, true); });
  const ops::Context context = options.refit ? make_context(world, request) : ops::Context();
  if (options.refit) options.refit->make_collectives = hessian_collectives_for(context, request);
  const auto model = open_model(world, request.model, request.database, request.assignment, std::nullopt);
  if (!model->database) return convert_model(world, *model->checkpoint, model->config, options);
  galapagos::stitch(world, *model->checkpoint, model->config, *model->database, model->space,
                    model->assignment, options, context);
}

}  // namespace galapagos::app
