#include "sensitivity_setup.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/pruning/compensation.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

Found look_for_output(const SensitivityOptions& options) {
  const fs::path part = part_path(options.output);
  const bool complete = fs::exists(options.output);
  if (options.fresh) {
    if (complete) SensitivityReader reader(options.output);  // nothing but sensitivities are ever removed
    return Found::nothing;
  }
  const Found found = complete ? Found::complete : fs::exists(part) ? Found::unfinished : Found::nothing;
  check_found(options.resume, found, complete ? "file" : "unfinished run",
              (complete ? options.output : part).string());
  return found;
}

}  // namespace

SensitivitySetup make_sensitivity_setup(const Communicator& comm, const ops::Context& context,
                                        const SensitivityOptions& options, const SensitivityModel& model) {
  SensitivitySetup setup;
  setup.options = options;
  SensitivityHeader& header = setup.header;
  agree(comm, [&] {
    check_options(options);
    if (options.divergence) check_reaches_stream(model.config, "--from kl", "leave it out");
    header.tool_version = version_with_revision();
    header.config = model.config;
    header.model_fingerprint = model.fingerprint;
    header.assignment_fingerprint = model.assignment_fingerprint;
    header.sequence_length = checked_sequence_length(options.sequence_length, model.config);
    header.precision = model.precision;
    header.samples = options.samples;
    header.seed = static_cast<std::int64_t>(options.seed);
    header.form = options.form;
    header.rank = options.rank;
    if (options.divergence) header.kept = model.kept;
    header.batch_tokens = options.batch_tokens;
    check_lanes(options.lanes, comm.size());
    setup.modules = header.modules();
    if (options.rank > header.config.hidden_size) {
      throw UsageError(
          fmt::format("a rank of {} with a hidden size of {}", options.rank, header.config.hidden_size),
          "--rank", "give at most that");
    }
  });
  agree_at_root(comm, [&] {
    check_resume(options);
    setup.found = look_for_output(options);
    header.created = utc_now();
  });
  setup.found = comm.broadcast_value(setup.found);
  header.created = comm.broadcast_string(header.created);
  setup.how.form = options.form;
  setup.how.rank = options.rank;
  setup.how.samples = options.samples;
  setup.how.seed = options.seed;
  if (options.dry_run) {
    header.calibration_tokens = options.calibration_tokens;
    setup.how.most_tokens = std::max(options.batch_tokens, header.sequence_length);
  } else {
    setup.calibration = load_model_sequences(comm, options.calibration, options.model, model.config,
                                             {header.sequence_length, options.calibration_tokens,
                                              options.add_bos, options.fewer_tokens, false, options.text});
    header.calibration_tokens = static_cast<std::int64_t>(setup.calibration.tokens.size());
    header.calibration_fingerprint = hex64(setup.calibration.fingerprint());
    std::uint64_t first = 0;
    for (Batch& batch :
         make_batches(setup.calibration.tokens, setup.calibration.offsets, options.batch_tokens)) {
      const std::uint64_t tokens = batch.tokens.size();
      setup.how.most_tokens = std::max(setup.how.most_tokens, static_cast<std::int64_t>(tokens));
      setup.batches.push_back({std::move(batch), first});
      first += tokens;
    }
  }
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  agree(comm, [&] {
    check_shards(comm.size(), options.shards);
    SensitivityExtent extent = {header.calibration_tokens, setup.how.most_tokens, header.sequence_length,
                                context.device(), context.activations()};
    if (options.divergence) extent.dense = model.config;
    setup.forecast =
        forecast_sensitivity(options, model.source(0, 1).config, model.precision, extent, comm.size(), limit);
    if (setup.forecast.grid.stages() > 1) check_message(setup.how.most_tokens, model.config.hidden_size);
    if (!setup.forecast.too_small.empty()) {
      throw ResourceError(setup.forecast.too_small, "memory",
                          "use more ranks, --shards, a smaller --batch-tokens, or raise --memory-limit");
    }
    setup.how.recompute = setup.forecast.recompute;
    setup.dealing = {setup.forecast.grid, options.shards};
    for (int shard = 0; options.divergence && shard < options.shards; ++shard)
      setup.dealing.dense.push_back(part_of_model(model.config, shard, options.shards));
  });
  return setup;
}

}  // namespace galapagos
