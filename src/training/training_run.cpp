#include "training_run.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/phase_report.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/line_file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/signals.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/ops/adamw.hpp>
#include <galapagos/training/state.hpp>

namespace galapagos {

namespace fs = std::filesystem;

void Training::begin(bool goes_on) {
  optimiser_.emplace(replicas_, context_, weights_, setup_.precision, options_.adamw, shards_);
  if (!goes_on) return;
  const TrainingState state =
      load_state(comm_, shards_, options_.output, setup_.identity, *optimiser_, gradients_);
  position_ = state.data;
  saved_ = state.steps;
  state_before_ = state.seconds;
  // At the beginning and at the end the perplexity is going to be measured again.
  const bool again = state.steps == 0 || state.data.tokens >= options_.tokens;
  agree_at_root(comm_, [&] {
    filter_lines(options_.output / "metrics.jsonl", [&](const std::string& line) {
      const Json json = Json::parse(line, nullptr, false);  // a half-written last line is dropped
      if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return false;
      const bool last = json["step"] == state.steps;
      return json["step"] <= state.steps && !(last && again && json.contains("perplexity"));
    });
  });
  log_info("goes on from {}, update {}; --fresh begins anew", options_.output.string(), state.steps);
}

/// Whether this rank has been told to stop; the others may not know yet.
bool Training::stop_due() const {
  return stop_requested() || (options_.max_seconds > 0 && watch_.seconds() > options_.max_seconds);
}

void Training::record(const Json& line) {
  constexpr double seconds_between = 2;  // a line's way to the disk may take longer than a small update
  if (comm_.is_root()) records_ += line.dump() + "\n";
  if (comm_.any(comm_.is_root() && since_records_.seconds() > seconds_between)) write_records();
}

void Training::write_records() {
  const PhaseScope writing(&times_, "writing");
  agree_at_root(comm_, [&] {
    if (!records_.empty()) append_text(options_.output / "metrics.jsonl", records_);
    records_.clear();
    since_records_ = Stopwatch();
  });
}

void Training::fail(const std::string& what) {
  write_records();
  const bool saved = fs::exists(options_.output / "checkpoint.h5");
  agree(comm_, [&] {
    throw NumericalError(
        what, options_.output.string(),
        std::string("begin anew with a smaller --learning-rate, more --warmup or --precision "
                    "fp32") +
            (saved ? "; the last checkpoint is kept" : ""));
  });
  std::abort();  // agree() throws on every rank
}

/// Collective. Weights that nothing has been computed from yet must not replace those of the last checkpoint.
void Training::check_weights() {
  if (!std::isfinite(comm_.sum(ops::sum_of_squares(context_, optimiser_->master()))))
    fail(fmt::format("the weights are not finite after update {}", optimiser_->steps()));
}

void Training::save() {
  if (saved_ == optimiser_->steps()) return;
  const PhaseScope writing(&times_, "writing");
  check_weights();
  write_records();  // the checkpoint must not be ahead of them
  TrainingState state;
  state.identity = setup_.identity;
  state.data = position_;
  state.steps = optimiser_->steps();
  state.seconds = elapsed();
  save_state(comm_, shards_, options_.output, state, *optimiser_);
  saved_ = state.steps;
  log_debug("update {} is saved", state.steps);
}

/// Collective. Work of a replica, in which its shards wait for each other and no other rank is waited for.
void Training::compute(const char* phase, const std::function<void()>& work) {
  const double sums_before = shards_.seconds();
  const auto timed = [&] {
    const PhaseScope computing(&times_, phase);
    if (shards_.alone()) return work();
    run_or_abort(work);
  };
  agree(comm_, timed);
  times_.move(phase, "summing over shards", shards_.seconds() - sums_before);
}

/// One update; false where the run is to stop, as if the update had not been begun.
bool Training::step() {
  const Stopwatch watch;
  const DataPosition before = position_;
  const std::vector<std::uint32_t> taken =
      setup_.sampler->take(position_, std::min(options_.step_tokens, options_.tokens - position_.tokens));
  std::int64_t predicted = 0;
  std::vector<std::uint32_t> mine;
  for (std::size_t i = 0; i < taken.size(); ++i) {
    predicted += setup_.data.predicted(taken[i]);
    if (i % static_cast<std::size_t>(grid_.replicas()) == static_cast<std::size_t>(grid_.replica()))
      mine.push_back(taken[i]);
  }
  const std::int64_t number = optimiser_->steps();
  const double rate = setup_.schedule.at(number);
  const auto fail_here = [&](const std::string& what) {
    fail(fmt::format("{} at update {} (learning rate {:.3g}, after {} tokens)", what, number + 1, rate,
                     human_count(static_cast<std::uint64_t>(before.tokens))));
  };
  std::optional<LossSums> sums;
  std::optional<PhaseScope> phase(std::in_place, &times_, "waiting");
  compute("computing gradients", [&] {
    sums = add_gradients(pass_, weights_, select_sequences(setup_.data, mine), options_.batch_tokens,
                         1.0f / static_cast<float>(predicted), teacher_ ? &*teacher_ : nullptr, gradients_,
                         [&] { return shards_.root_says(stop_due()); });
  });
  if (comm_.any(!sums)) {
    position_ = before;
    fill_zero(gradients_.all());
    return false;
  }
  const auto mean = [&](double sum) { return grid_.same_shard().sum(sum) / static_cast<double>(predicted); };
  const double loss = mean(sums->all);
  if (!std::isfinite(loss)) fail_here(std::isnan(loss) ? "the loss is NaN" : "the loss is infinite");
  const double text = mean(sums->text), logits = mean(sums->logits), hidden = mean(sums->hidden),
               router = mean(sums->router);
  phase.emplace(&times_, "communicating and updating");
  const double norm = optimiser_->step(gradients_, rate, options_.clip);
  if (!std::isfinite(norm)) fail_here("the gradient is not finite");
  phase.reset();
  const double seconds = watch.seconds();
  Json line;
  line["step"] = optimiser_->steps();
  line["tokens"] = position_.tokens;
  line["loss"] = loss;
  if (setup_.reference) {
    if (setup_.loss.text != 0) line["text_loss"] = text;
    if (setup_.loss.logits != 0) line["logit_loss"] = logits;
    if (setup_.loss.hidden != 0) line["hidden_loss"] = hidden;
  }
  if (setup_.loss.router != 0) line["router_loss"] = router;
  line["gradient_norm"] = norm;
  line["learning_rate"] = rate;
  line["tokens_per_second"] = static_cast<double>(position_.tokens - before.tokens) / seconds;
  line["elapsed"] = elapsed();
  record(line);
  return true;
}

void Training::evaluate() {
  if (setup_.eval_sets.empty() || evaluated_ == optimiser_->steps()) return;
  evaluated_ = optimiser_->steps();
  const PhaseScope waiting(&times_, "waiting");
  Json line;
  line["step"] = optimiser_->steps();
  perplexities_.clear();
  for (std::size_t set = 0; set < setup_.eval_sets.size(); ++set) {
    const TokenSet& data = setup_.eval_sets[set];
    std::vector<std::uint32_t> mine;
    for (std::size_t s = static_cast<std::size_t>(grid_.replica()); s < data.sequences();
         s += static_cast<std::size_t>(grid_.replicas()))
      mine.push_back(static_cast<std::uint32_t>(s));
    double sum = 0;
    compute("evaluating", [&] {
      sum = sum_nll(context_, setup_.model.source.config, weights_, select_sequences(data, mine),
                    options_.batch_tokens, shards_);
    });
    const double mean = grid_.same_shard().sum(sum) / static_cast<double>(predicted_tokens(data));
    if (!std::isfinite(mean))
      fail(fmt::format("the loss on {} is not finite after update {}", options_.eval_data[set].string(),
                       evaluated_));
    perplexities_.push_back(std::exp(mean));
    line["perplexity"][options_.eval_data[set].string()] = perplexities_.back();
    log_info("update {}: perplexity {:.4f} on {}", evaluated_, perplexities_.back(),
             options_.eval_data[set].string());
  }
  record(line);
  write_records();
}

void Training::run() {
  Progress progress("updates", setup_.schedule.steps, optimiser_->steps());
  if (optimiser_->steps() == 0) evaluate();
  while (position_.tokens < options_.tokens) {
    if (interrupted()) {
      save();
      report_run(comm_, times_);
      agree(comm_, [&] {
        throw StoppedEarly(
            fmt::format("stopped after update {} of {}", optimiser_->steps(), setup_.schedule.steps),
            options_.output.string(), go_on);
      });
    }
    if (!step()) continue;
    const std::int64_t done = optimiser_->steps();
    progress.advance();
    if (options_.eval_every > 0 && done % options_.eval_every == 0) evaluate();
    const bool due = options_.checkpoint_every > 0 && done % options_.checkpoint_every == 0;
    const bool asked = comm_.any(take_checkpoint_request());
    if (asked || due) save();
    if (asked) log_info("update {} is saved, as asked for by SIGUSR1", done);
  }
}

/// Collective. Writes the folder of the trained model.
void Training::write_result(const ModelWriter& write_model) {
  const fs::path model = options_.output / "model";
  const PhaseScope writing(&times_, "writing");
  agree_at_root(comm_, [&] { fs::remove_all(model); });  // of a run that was stopped before its manifest
  optimiser_->gather_master(gradients_);
  std::vector<NamedTensor> values = parameters_of(weights_);
  std::int64_t at = 0;
  for (NamedTensor& value : values) {
    const Shape shape = value.tensor.shape;
    const std::int64_t elements = value.tensor.elements();
    value.tensor = gradients_.all().slice(at, elements).view(shape);
    at += elements;
  }
  // A checkpoint is several times as long as the model, so that it is worth its time only where it was asked
  // for, or where the model has to be written again.
  if (options_.checkpoint_every > 0)
    return write_model(setup_.model.config, values, grid_, setup_.stored, model);
  try {
    write_model(setup_.model.config, values, grid_, setup_.stored, model);
  } catch (...) {  // something on every rank
    try {
      save();
    } catch (...) {
      log_warning("the state of the training cannot be saved either");
    }
    throw;
  }
}

void Training::finish(const ModelWriter& write_model) {
  evaluate();
  if (options_.checkpoint_every > 0) {
    save();
  } else {
    write_records();
    check_weights();
  }
  write_result(write_model);
  const RunReport report = report_run(comm_, times_);
  agree_at_root(comm_, [&] {
    Json manifest;
    manifest["tool_version"] = version_with_revision();
    manifest["finished"] = utc_now();
    manifest["ranks"] = comm_.size();
    manifest["shards"] = grid_.shards();
    manifest["options"] = Json::parse(setup_.identity);
    manifest["model"] = options_.model.string();
    manifest["updates"] = optimiser_->steps();
    manifest["tokens"] = position_.tokens;
    manifest["parameters"] = setup_.parameters;
    manifest["seconds"] = elapsed();
    report.add_to(manifest);
    for (std::size_t set = 0; set < perplexities_.size(); ++set)
      manifest["perplexity"][options_.eval_data[set].string()] = perplexities_[set];
    write_file_atomically(options_.output / "manifest.json", manifest.dump(2) + "\n");
  });
}

}  // namespace galapagos
