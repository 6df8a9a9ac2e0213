#include "module_weights.hpp"
#include "path_memory.hpp"
#include "path_streams.hpp"
#include "prune_module.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/io/model_sequences.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/pruning/calibration_batches.hpp>
#include <galapagos/pruning/refit.hpp>

namespace galapagos {
namespace {

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes());
  copy_bytes(bytes.data(), Device::cpu, tensor.data, tensor.device, bytes.size());
  return bytes;
}

/// Goes along the path of an assignment.
class PathRefit {
 public:
  PathRefit(const Communicator& comm, const ops::Context& context, const PathInput& input,
            const DatabaseReader& database, PhaseTimes& times)
      : comm_(comm),
        context_(context),
        input_(input),
        database_(database),
        times_(times),
        weights_(context, input.checkpoint, input.config),
        streams_(comm, context, input, times) {}

  /// Collective. The words of a level refitted, on the owner, and the ridge.
  std::pair<std::vector<std::byte>, double> refit(const ModuleId& module, std::int64_t number, int owner) {
    StoredLevel level = stored_level(module, number, owner);
    std::vector<FitSums> sums = agree_on(comm_, [&] {
      streams_.enter(module);
      return level.kept.empty() ? std::vector<FitSums>() : streams_.collect(module, &level);
    });
    if (level.kept.empty()) return {};
    sums = streams_.reduce(module, std::move(sums), owner);
    double ridge = 0;
    {
      const PhaseScope waiting(&times_, "waiting");
      agree(comm_, [&] {
        if (comm_.rank() == owner) ridge = fit_level(module, level, std::move(sums));
      });
    }
    streams_.share(level, owner);
    agree(comm_, [&] { streams_.leave(module, &level); });
    return {std::move(level.words), comm_.broadcast_value(ridge, owner)};
  }

 private:
  /// Collective. A level as the database or, where it has none, the checkpoint has it.
  StoredLevel stored_level(const ModuleId& module, std::int64_t number, int owner) {
    StoredLevel level;
    agree(comm_, [&] {
      if (comm_.rank() != owner) return;
      const PhaseScope reading(&times_, "reading");
      level.kept = database_.kept(module, number);
      level.words = number >= database_.header().first_stored()
                        ? database_.level_bytes(module, number, true)
                        : bytes_of(converted(context_, weights_.transposed(module), input_.stored));
    });
    streams_.share(level, owner);
    return level;
  }

  /// Puts the fit of all tokens into the level; the ridge that it took.
  double fit_level(const ModuleId& module, StoredLevel& level, std::vector<FitSums> sums) {
    const PhaseScope fitting(&times_, "fitting");
    const std::string name = name_of(module);
    const Correction found = fit_parts(context_, sums, *input_.compensation, name).correction;
    log_debug("{}: {} columns refitted with a ridge of {:g}", name, level.kept.size(), found.ridge);
    if (std::isinf(found.ridge)) return found.ridge;  // not even the rounding changes
    const OwnedTensor words(found.change->shape, input_.stored, context_.device(), "a level's weight");
    ops::upload(context_, level.words, words);
    ops::combine(context_, 1, converted(context_, words, DType::f32), 1, found.change);
    level.words = bytes_of(converted(context_, found.change, input_.stored));
    return found.ridge;
  }

  const Communicator& comm_;
  const ops::Context& context_;
  PathInput input_;
  const DatabaseReader& database_;
  PhaseTimes& times_;
  ModuleWeights weights_;
  PathStreams streams_;
};

/// Collective. ResourceError where a rank has no room for its part.
void check_memory(const Communicator& comm, const RefitOptions& options, const DatabaseHeader& header,
                  std::span<const std::int16_t> levels, std::span<const int> owners,
                  std::span<const Batch> batches, const PassExtent& extent) {
  const PathMemory memory = refit_memory(header, levels, owners, options.ridge, comm.size(),
                                         most_tokens_of_rank(batches, comm.size()), extent);
  check_path_memory(comm, memory, options.memory_limit, extent.device);
  log_info("{} ranks share the text of the refit; memory per rank up to {}", comm.size(),
           human_bytes(memory.working() + memory.states));
}

void report_ridges(std::vector<double> ridges) {
  std::erase(ridges, 0.0);
  if (ridges.empty()) return;
  const auto kept = std::count_if(ridges.begin(), ridges.end(), [](double r) { return std::isinf(r); });
  std::nth_element(ridges.begin(), ridges.begin() + std::ssize(ridges) / 2, ridges.end());
  log_info("{} modules refitted, ridge {:g} in the median; {} stay as they are", std::ssize(ridges) - kept,
           ridges[ridges.size() / 2], kept);
}

}  // namespace

void bind(Options& list, RefitOptions& options) {
  list.add("calibration", options.calibration,
           "with --refit: text (.txt, .jsonl, .json, also .gz and .zst) or token files (.bin)");
  list.add("calibration-tokens", options.calibration_tokens, "tokens to use; 0: all",
           {.least = 0, .refusal = "a negative number", .remedy = "give 1 or more"});
  bind_sequences(list, options);
  bind_computing(list, options);
}

void check_options(const RefitOptions& options) {
  check_ranges(options);
  if (options.calibration.empty())
    throw UsageError("a refit needs text", "--calibration", "give files as to 'galapagos database'");
}

RefittedLevels refit_levels(const Communicator& world, const ops::Context& context,
                            const RefitOptions& options, const Checkpoint& checkpoint, const HfConfig& config,
                            const DatabaseReader& database, std::span<const std::int16_t> levels,
                            std::span<const int> owners) {
  const Communicator comm = world.duplicate();
  watch_signals();
  const Stopwatch watch;
  PhaseTimes times;
  std::optional<PhaseScope> phase(std::in_place, &times, "reading");
  const DatabaseHeader& header = database.header();
  const std::vector<ModuleId> modules = header.modules();
  RefittedLevels found;
  agree(comm, [&] {
    check_options(options);
    found.sequence_length = checked_sequence_length(options.sequence_length, config);
    found.precision = ops::working_type(context.device(), options.precision.value_or(checkpoint.dtype()));
  });
  TokenSet calibration = load_model_sequences(
      comm, options.calibration, checkpoint.folder(), config,
      {found.sequence_length, options.calibration_tokens, options.add_bos, false, false, options.text});
  found.calibration_tokens = static_cast<std::int64_t>(calibration.tokens.size());
  found.calibration_sequences = static_cast<std::int64_t>(calibration.sequences());
  const std::optional<Compensation> ridge = options.ridge;
  const CalibrationBatches batches = agree_on(comm, [&] {
    return calibration_batches(calibration, options.batch_tokens,
                               ridge->ridge ? std::nullopt : std::optional<std::string>("--refit auto"));
  });
  found.calibration_fingerprint = hex64(calibration.fingerprint());
  const std::unique_ptr<Collectives> collectives =
      options.make_collectives ? options.make_collectives(comm) : nullptr;
  const PathInput input = {checkpoint,
                           config,
                           found.precision,
                           header.dtype,
                           batches.all,
                           batches.fitted,
                           most_tokens_of(batches.all),
                           found.calibration_sequences,
                           ridge,
                           collectives.get()};
  check_memory(comm, options, header, levels, owners, batches.all,
               {found.precision, input.most_tokens, context.device()});
  phase.reset();
  {
    PathRefit path(comm, context, input, database, times);
    Progress progress("modules refitted", std::ssize(modules));
    for (std::size_t i = 0; i < modules.size(); ++i) {
      auto [words, taken] = path.refit(modules[i], levels[i], owners[i]);
      if (comm.rank() == owners[i] && !words.empty()) found.words.emplace(modules[i], std::move(words));
      found.ridges.push_back(taken);
      progress.advance();
      if (!comm.any(stop_requested())) continue;
      agree(comm, [&] {
        throw StoppedEarly(fmt::format("stopped after the refit of {} of {} modules", i + 1, modules.size()),
                           "--refit", "nothing is written; the same command begins anew");
      });
    }
  }
  report_ridges(found.ridges);
  log_info("refitted in {}", human_duration(watch.seconds()));
  report_run(comm, times);
  return found;
}

}  // namespace galapagos
