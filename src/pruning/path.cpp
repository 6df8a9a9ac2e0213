#include "path.hpp"

#include "module_weights.hpp"
#include "path_streams.hpp"
#include "prune_module.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {
namespace {

class PathBuilder {
 public:
  PathBuilder(const Communicator& comm, const ops::Context& context, const DatabaseOptions& options,
              const Plan& plan, const SensitivityReader* sensitivities, Collectives* collectives,
              PhaseTimes& times)
      : comm_(comm),
        context_(context),
        compensation_(options.compensation),
        plan_(plan),
        sensitivities_(sensitivities),
        header_(plan.header),
        modules_(plan.header.modules()),
        times_(times),
        weights_(context, *plan.checkpoint, plan.config),
        streams_(comm, context,
                 {*plan.checkpoint, plan.config, plan.precision, plan.header.dtype, plan.batches,
                  plan.fitted_batches, plan.most_tokens, plan.header.calibration_sequences,
                  options.compensation, collectives},
                 times) {}

  void run(const std::filesystem::path& part, const StopRule& stop) {
    const auto first_missing = static_cast<std::size_t>(
        std::find(modules_.begin(), modules_.end(), plan_.missing.front()) - modules_.begin());
    if (first_missing > 0) repeat(part, first_missing);
    auto thread = agree_on(comm_, [&] { return DatabaseWriter::begin_thread(part); });
    auto writer = agree_on(comm_, [&] { return DatabaseWriter(part, comm_, std::move(thread), header_); });
    Progress progress("modules of the path", static_cast<std::int64_t>(modules_.size() - first_missing));
    for (std::size_t i = first_missing; i < modules_.size(); ++i) {
      prune(i, writer);
      progress.advance();
      if (i + 1 < modules_.size()) leave_off_where_asked(i + 1, stop, writer, part);
    }
    agree(comm_, [&] { writer.drain(); });
    report_ridges();
    agree(comm_, [&] { writer.close(); });
  }

 private:
  bool chooses() const { return compensation_ && !compensation_->ridge; }
  int owner_of(std::size_t module) const {
    return static_cast<int>(module % static_cast<std::size_t>(comm_.size()));
  }
  /// Whether the path's level of a module is in the file.
  bool stored(std::size_t index) const { return header_.path[index] >= header_.first_stored(); }

  void leave_off_where_asked(std::size_t done, const StopRule& stop, DatabaseWriter& writer,
                             const std::filesystem::path& part) {
    if (!comm_.any(stop.holds())) return;
    agree(comm_, [&] { writer.drain(); });
    agree(comm_, [&] {
      throw StoppedEarly(fmt::format("stopped after {} of {} modules of the path", done, modules_.size()),
                         part.string(), go_on);
    });
  }

  /// Goes again through modules that are done, without looking whether to stop: every run does a module more.
  void repeat(const std::filesystem::path& part, std::size_t count) {
    const PhaseScope reading(&times_, "reading");
    std::optional<DatabaseReader> reader;
    agree_at_root(comm_, [&] { reader.emplace(part); });
    for (std::size_t i = 0; i < count; ++i) {
      StoredLevel level;
      const std::int64_t number = header_.path[i];
      agree_at_root(comm_, [&] {
        if (!stored(i)) return;
        level.kept = reader->kept(modules_[i], number);
        level.words = reader->level_bytes(modules_[i], number, true);
      });
      streams_.share(level, 0);
      agree(comm_, [&] {
        streams_.enter(modules_[i]);
        streams_.leave(modules_[i], stored(i) ? &level : nullptr);
      });
    }
  }

  void prune(std::size_t index, DatabaseWriter& writer) {
    const ModuleId& module = modules_[index];
    const int owner = owner_of(index);
    if (comm_.rank() == owner) weights_.read_ahead(module);
    std::vector<FitSums> sums = agree_on(comm_, [&] {
      streams_.enter(module);
      return streams_.collect(module, nullptr);
    });
    sums = streams_.reduce(module, std::move(sums), owner);
    StoredLevel level;
    {
      const PhaseScope waiting(&times_, "waiting");
      agree(comm_, [&] {
        if (comm_.rank() == owner) level = prune_as_owner(index, std::move(sums), writer);
      });
    }
    if (stored(index)) streams_.share(level, owner);
    agree(comm_, [&] { streams_.leave(module, stored(index) ? &level : nullptr); });
  }

  /// Writes all levels of a module; the path's.
  StoredLevel prune_as_owner(std::size_t index, std::vector<FitSums> sums, DatabaseWriter& writer) {
    const ModuleId& module = modules_[index];
    StoredLevel path_level;
    PruningTask task{module, weights_.transposed(module), {}};
    if (sensitivities_ != nullptr) task.sensitivity = read_sensitivity(context_, *sensitivities_, module);
    if (!header_.end_loss_from.empty())
      task.first_order = read_first_order(context_, *sensitivities_, module);
    task.stored = [&](std::int64_t level, std::span<const std::int64_t> kept, const Tensor& stored) {
      if (level != header_.path[index]) return;
      path_level.kept.assign(kept.begin(), kept.end());
      path_level.words.resize(stored.bytes());
      copy_bytes(path_level.words.data(), Device::cpu, stored.data, stored.device, stored.bytes());
    };
    if (compensation_) {
      compensate(index, task, std::move(sums), writer);
    } else {
      task.hessian = std::move(sums[0].gram);
    }
    prune_module(context_, header_, std::move(task), writer, times_);
    return path_level;
  }

  /// Fits the task's weight to the dense stream, writes it as level 0, and prepares the refit of the others.
  void compensate(std::size_t index, PruningTask& task, std::vector<FitSums> parts, DatabaseWriter& writer) {
    const PhaseScope compensating(&times_, "compensating");
    const std::string name = name_of(task.module);
    const OwnedTensor weight = copy_of(task.weight, context_.device(), "the weight of " + name);
    auto [all, ridge, correction] = fit_parts(context_, parts, *compensation_, name, weighing(task));
    ops::combine(context_, 1, weight, 1, correction.change);
    task.weight = std::move(correction.change);
    std::vector<std::int64_t> columns(static_cast<std::size_t>(weight->rows()));
    std::iota(columns.begin(), columns.end(), 0);
    write_level(context_, header_, task, 0, columns, task.weight, writer);

    OwnedTensor cross = cross_of(context_, all, weight);
    task.hessian = std::move(all.gram);
    double refit_ridge = refit_share * ridge;
    if (chooses()) {
      const std::vector<std::int64_t> kept = kept_to_try(index, task);
      refit_ridge = choose_refit_ridge(context_, parts[0], parts[1], weight, ridge, kept,
                                       header_.relative_damping, name, weighing(task));
      ridges_.push_back(ridge);
      refit_ridges_.push_back(refit_ridge);
    }
    log_debug("{}: compensated with a ridge of {:g}, kept columns refitted with {:g}", name, correction.ridge,
              refit_ridge);
    task.refit = [this, name, refit_ridge, cross = std::make_shared<OwnedTensor>(std::move(cross))](
                     const Tensor& gram, std::span<const std::int64_t> kept, const Tensor& pruned) {
      const PhaseScope refitting(&times_, "compensating");
      if (kept.empty()) return copy_of(pruned, context_.device(), "a level's weight");
      Correction found = fit(context_, kept_sums(context_, gram, *cross, kept, pruned), refit_ridge, name);
      warn_where_raised(name, refit_ridge, found.ridge);
      ops::combine(context_, 1, pruned, 1, found.change);
      return std::move(found.change);
    };
  }

  /// The columns that OBS keeps at the path's level, or at one in the middle where the path keeps all or
  /// none.
  std::vector<std::int64_t> kept_to_try(std::size_t index, PruningTask& task) const {
    const ModuleId& module = modules_[index];
    const std::vector<std::int64_t>& removed = header_.removed(module);
    std::int64_t level = header_.path[index];
    const std::int64_t kept_there = header_.kept_columns(module, level);
    if (level == 0 || kept_there == 0) level = std::ssize(removed) / 2;
    ObsProblem problem = obs_problem(header_, task);
    problem.removed = {removed[static_cast<std::size_t>(level)]};
    std::vector<std::int64_t> columns;
    structured_obs(context_, problem, [&](std::int64_t, std::span<const std::int64_t> kept, const Tensor&) {
      columns.assign(kept.begin(), kept.end());
    });
    task.weight = std::move(problem.weight);
    task.hessian = std::move(problem.hessian);
    task.sensitivity = std::move(problem.sensitivity);
    return columns;
  }

  static const Sensitivity* weighing(const PruningTask& task) {
    return task.sensitivity ? &*task.sensitivity : nullptr;
  }

  /// Collective. The medians of all ridges that were chosen.
  void report_ridges() {
    if (!chooses()) return;
    std::array<double, 2> medians{};
    const std::array chosen = {&ridges_, &refit_ridges_};
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      std::vector<double> all = comm_.gather(std::span<const double>(*chosen[i]));
      if (!comm_.is_root() || all.empty()) continue;
      std::nth_element(all.begin(), all.begin() + std::ssize(all) / 2, all.end());
      medians[i] = all[all.size() / 2];
    }
    log_info("ridges chosen on held-out sequences: median {:g} for the compensation, {:g} for the refit",
             medians[0], medians[1]);
  }

  const Communicator& comm_;
  const ops::Context& context_;
  std::optional<Compensation> compensation_;
  const Plan& plan_;
  const SensitivityReader* sensitivities_;
  const DatabaseHeader& header_;
  std::vector<ModuleId> modules_;
  PhaseTimes& times_;
  ModuleWeights weights_;
  PathStreams streams_;
  std::vector<double> ridges_, refit_ridges_;
};

}  // namespace

void build_on_path(const Communicator& comm, const ops::Context& context, const DatabaseOptions& options,
                   const Plan& plan, const SensitivityReader* sensitivities, Collectives* collectives,
                   const std::filesystem::path& part, const StopRule& stop, PhaseTimes& times) {
  PathBuilder(comm, context, options, plan, sensitivities, collectives, times).run(part, stop);
}

}  // namespace galapagos
