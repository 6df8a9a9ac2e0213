#include "path.hpp"

#include "module_weights.hpp"
#include "prune_module.hpp"
#include "reduction.hpp"
#include "residual_stream.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/pruning/weight_fit.hpp>

namespace galapagos {
namespace {

/// A level as it is stored.
struct StoredLevel {
  std::vector<std::int64_t> kept;
  std::vector<std::byte> words;  ///< [kept, hidden]
};

/// The batches of a rank, and whether each is held out to choose ridges on.
struct OwnBatches {
  std::vector<Batch> batches;
  std::vector<bool> held_out;

  OwnBatches(const Plan& plan, int rank, int ranks) {
    for (auto b = static_cast<std::size_t>(rank); b < plan.batches.size();
         b += static_cast<std::size_t>(ranks)) {
      batches.push_back(plan.batches[b]);
      held_out.push_back(b % held_out_every == held_out_every - 1);
    }
  }
};

class PathBuilder {
 public:
  PathBuilder(const Communicator& comm, const ops::Context& context, const DatabaseOptions& options,
              const Plan& plan, const SensitivityReader* sensitivities, PhaseTimes& times)
      : comm_(comm),
        context_(context),
        exact_(context.device()),
        compensation_(options.compensation),
        plan_(plan),
        sensitivities_(sensitivities),
        header_(plan.header),
        modules_(plan.header.modules()),
        times_(times),
        weights_(context, *plan.checkpoint, plan.config),
        source_(checkpoint_source(*plan.checkpoint, plan.config, plan.precision, context.device())),
        own_(plan, comm.rank(), comm.size()),
        holders_(static_cast<std::size_t>(comm.size())) {
    std::iota(holders_.begin(), holders_.end(), 0);
    agree(comm, [&] { begin(); });
  }

  void run(const std::filesystem::path& part) {
    const auto first_missing = static_cast<std::size_t>(
        std::find(modules_.begin(), modules_.end(), plan_.missing.front()) - modules_.begin());
    if (first_missing > 0) repeat(part, first_missing);
    auto thread = agree_on(comm_, [&] { return DatabaseWriter::begin_thread(part); });
    auto writer = agree_on(comm_, [&] { return DatabaseWriter(part, comm_, std::move(thread), header_); });
    Progress progress("modules of the path", static_cast<std::int64_t>(modules_.size() - first_missing));
    for (std::size_t i = first_missing; i < modules_.size(); ++i) {
      prune(i, writer);
      progress.advance();
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

  void begin() {
    const PhaseScope reading(&times_, "reading");
    const std::int64_t hidden = plan_.config.hidden_size;
    pruned_.emplace(own_.batches, hidden, "hidden states of the pruned path");
    if (compensation_) dense_.emplace(own_.batches, hidden, "hidden states of the unpruned model");
    for (OwnedTensor* states : {&states_, &target_})
      *states = OwnedTensor({plan_.most_tokens, hidden}, DType::f32, context_.device(), "hidden states");
    forward_.emplace(context_, plan_.config, plan_.most_tokens);
    const OwnedTensor embedding = source_.embedding();
    for (std::size_t b = 0; b < own_.batches.size(); ++b) {
      const Tensor states = states_of(states_, b);
      ops::embed(context_, own_.batches[b].tokens, embedding, states);
      pruned_->store(b, states);
      if (dense_) dense_->store(b, states);
    }
  }

  Tensor states_of(const OwnedTensor& buffer, std::size_t batch) const {
    return buffer->slice(0, static_cast<std::int64_t>(own_.batches[batch].tokens.size()));
  }

  /// Adds a module's output to states; its input, where wanted, until the next call.
  Tensor run_module(const ModuleId& module, const LayerWeights& weights, std::size_t batch,
                    const Tensor& states) {
    Tensor input;
    const auto tap = [&](const Tensor& seen) { input = seen; };
    if (module.kind == ModuleKind::attention) {
      forward_->attention(weights.attention, own_.batches[batch].offsets, states, tap);
    } else {
      forward_->feed_forward(weights.ffn, states, tap);
    }
    return input;
  }

  /// Moves a stream on through a module.
  void advance(const ModuleId& module, const LayerWeights& weights, ResidualStream& stream) {
    for (std::size_t b = 0; b < own_.batches.size(); ++b) {
      const Tensor states = states_of(states_, b);
      stream.load(b, states);
      run_module(module, weights, b, states);
      if (!ops::all_finite(context_, states)) {
        throw NumericalError("activations became NaN or infinite", name_of(module),
                             "check the checkpoint, or use --precision fp32");
      }
      stream.store(b, states);
    }
  }

  /// To be called in agreed work before anything else is done with a module.
  void enter(const ModuleId& module) {
    if (module.layer != layer_number_) {
      const PhaseScope reading(&times_, "reading");
      layer_ = {};  // one at a time
      layer_ = source_.layer(module.layer);
      layer_number_ = module.layer;
    }
    const PhaseScope moving(&times_, "moving along the path");
    if (dense_) advance(module, layer_, *dense_);
  }

  /// Moves the pruned stream through a module at the path's level.
  void leave(std::size_t index, const StoredLevel& level) {
    const PhaseScope moving(&times_, "moving along the path");
    const ModuleId& module = modules_[index];
    if (header_.path[index] < header_.first_stored()) return advance(module, layer_, *pruned_);
    if (level.kept.empty()) return;
    const auto count = static_cast<std::int64_t>(level.kept.size());
    OwnedTensor weight = level_weight(context_, level.words, header_.dtype, plan_.precision, count, count,
                                      plan_.config.hidden_size);
    LayerWeights pruned;
    if (module.kind == ModuleKind::attention) {
      pruned.attention =
          prune_attention(context_, layer_.attention, plan_.config.head_dim, level.kept, std::move(weight));
    } else {
      pruned.ffn = prune_ffn(context_, layer_.ffn, level.kept, std::move(weight));
    }
    advance(module, pruned, *pruned_);
  }

  /// Goes again through modules that are done.
  void repeat(const std::filesystem::path& part, std::size_t count) {
    const PhaseScope reading(&times_, "reading");
    std::optional<DatabaseReader> reader;
    agree_at_root(comm_, [&] { reader.emplace(part); });
    for (std::size_t i = 0; i < count; ++i) {
      StoredLevel level;
      const std::int64_t number = header_.path[i];
      agree_at_root(comm_, [&] {
        if (number < header_.first_stored()) return;
        level.kept = reader->kept(modules_[i], number);
        level.words = reader->level_bytes(modules_[i], number, true);
      });
      share(level, 0);
      agree(comm_, [&] {
        enter(modules_[i]);
        leave(i, level);
      });
    }
  }

  void share(StoredLevel& level, int root) {
    const PhaseScope communicating(&times_, "communicating");
    run_or_abort([&] {
      comm_.broadcast(level.kept, root);
      comm_.broadcast(level.words, root);
    });
  }

  FitSums zero_sums(const ModuleId& module) const {
    const std::int64_t n = module_columns(plan_.config, module);
    FitSums sums;
    sums.gram = OwnedTensor({n, n}, DType::f32, context_.device(), "the Hessian of " + name_of(module));
    fill_zero(sums.gram);
    if (compensation_) {
      sums.residual = OwnedTensor({n, plan_.config.hidden_size}, DType::f32, context_.device(),
                                  "the targets of " + name_of(module));
      fill_zero(sums.residual);
    }
    return sums;
  }

  /// Over this rank's tokens, (2/N) of what FitSums says: all, or those to fit on and those held out.
  std::vector<FitSums> collect(const ModuleId& module) {
    const PhaseScope collecting(&times_, "collecting Hessians");
    std::vector<FitSums> sums;
    for (int part = 0; part < (chooses() ? 2 : 1); ++part) sums.push_back(zero_sums(module));
    const float scale = 2.0f / static_cast<float>(header_.calibration_sequences);
    for (std::size_t b = 0; b < own_.batches.size(); ++b) {
      const FitSums& part = sums[chooses() && own_.held_out[b] ? 1 : 0];
      const Tensor states = states_of(states_, b);
      pruned_->load(b, states);
      const Tensor input = run_module(module, layer_, b, states);
      ops::accumulate_gram(context_, input, scale, part.gram);
      if (!dense_) continue;
      // What the module as it is leaves to the unpruned stream behind it.
      const Tensor left = states_of(target_, b);
      dense_->load(b, left);
      ops::combine(context_, -scale, states, scale, left);
      ops::linear_weight_gradient(exact_, input, left, part.residual);
    }
    return sums;
  }

  OwnedTensor at_owner(OwnedTensor partial, int owner, Triangle triangle, const std::string& purpose) {
    const Shape shape = partial->shape;
    OwnedTensor sum = sum_at_owner(comm_, {holders_, owner, shape, triangle}, std::move(partial), purpose);
    if (comm_.rank() != owner || sum->device == context_.device()) return sum;
    return copy_of(sum, context_.device(), purpose);
  }

  std::vector<FitSums> reduce(const ModuleId& module, std::vector<FitSums> partial, int owner) {
    const PhaseScope communicating(&times_, "communicating");
    std::vector<FitSums> sums;
    run_or_abort([&] {
      for (FitSums& part : partial) {
        FitSums sum;
        sum.gram =
            at_owner(std::move(part.gram), owner, Triangle::lower, "the Hessian of " + name_of(module));
        if (compensation_)
          sum.residual =
              at_owner(std::move(part.residual), owner, Triangle::both, "the targets of " + name_of(module));
        sums.push_back(std::move(sum));
      }
    });
    return sums;
  }

  void prune(std::size_t index, DatabaseWriter& writer) {
    const ModuleId& module = modules_[index];
    const int owner = owner_of(index);
    if (comm_.rank() == owner) weights_.read_ahead(module);
    std::vector<FitSums> sums = agree_on(comm_, [&] {
      enter(module);
      return collect(module);
    });
    sums = reduce(module, std::move(sums), owner);
    StoredLevel level;
    {
      const PhaseScope waiting(&times_, "waiting");
      agree(comm_, [&] {
        if (comm_.rank() == owner) level = prune_as_owner(index, std::move(sums), writer);
      });
    }
    if (header_.path[index] >= header_.first_stored()) share(level, owner);
    agree(comm_, [&] { leave(index, level); });
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
    FitSums all = chooses() ? zero_sums(task.module) : std::move(parts[0]);
    if (chooses()) {
      for (const FitSums& part : parts) {
        ops::combine(context_, 1, part.gram, 1, all.gram);
        ops::combine(context_, 1, part.residual, 1, all.residual);
      }
    }
    const double ridge =
        chooses() ? choose_ridge(context_, parts[0], parts[1], name, weighing(task)) : *compensation_->ridge;
    Correction correction = fit(context_, all, ridge, name);
    warn_where_raised(name, ridge, correction.ridge);
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

  static void warn_where_raised(const std::string& name, double wanted, double taken) {
    if (taken > wanted) log_warning("{}: the inputs' second moments needed a ridge of {:g}", name, taken);
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
  ops::Context exact_;  // whose products keep fp32
  std::optional<Compensation> compensation_;
  const Plan& plan_;
  const SensitivityReader* sensitivities_;
  const DatabaseHeader& header_;
  std::vector<ModuleId> modules_;
  PhaseTimes& times_;
  ModuleWeights weights_;
  ModelSource source_;
  OwnBatches own_;
  std::vector<int> holders_;  // all ranks
  std::optional<ResidualStream> pruned_, dense_;
  std::optional<LayerForward> forward_;
  OwnedTensor states_, target_;  // of a batch
  LayerWeights layer_;
  std::int64_t layer_number_ = -1;
  std::vector<double> ridges_, refit_ridges_;
};

}  // namespace

void build_on_path(const Communicator& comm, const ops::Context& context, const DatabaseOptions& options,
                   const Plan& plan, const SensitivityReader* sensitivities,
                   const std::filesystem::path& part, PhaseTimes& times) {
  PathBuilder(comm, context, options, plan, sensitivities, times).run(part);
}

}  // namespace galapagos
