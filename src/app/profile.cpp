#include "command.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/output_lock.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/family_rules.hpp>
#include <galapagos/pruning/database_options.hpp>
#include <galapagos/search/module_times.hpp>
#include <galapagos/search/size_target.hpp>
#include <galapagos/search/whole_time.hpp>

namespace galapagos::app {
namespace {

constexpr std::int64_t usual_length = 1024;

struct ProfileRequest : ComputingOptions {
  std::filesystem::path output;
  std::optional<std::filesystem::path> database, assignment;
  std::int64_t levels = DatabaseOptions().levels, batch = 1, length = 0, repeats = 5;
  AttentionUnit unit = AttentionUnit::head;
  bool fresh = false;
};

void bind(Options& list, ProfileRequest& request) {
  list.describe(
      "profile",
      "times attention and feed-forward parts at every shape that levels leave, and whole models, for "
      "the targets --target-latency and --target-speedup");
  list.add("model", request.model, "folder of a Hugging Face model, of which only config.json is needed",
           {.required = true});
  list.add("output", request.output, "the new table (.csv)", {.required = true});
  list.add("database", request.database, "time the shapes of this database's levels");
  list.add("assignment", request.assignment,
           "with it: an assignment to be timed whole besides, and the unpruned model");
  list.add("levels", request.levels, "without it: those of one of so many equal levels",
           {.least = 1, .most = 10000, .refusal = "{} levels", .remedy = "give 1 or more"});
  list.add_choice("attention-unit", request.unit, "attention unit",
                  named({AttentionUnit::head, AttentionUnit::group, AttentionUnit::per_group}),
                  "and of this unit: head, group or per-group");
  list.add("batch", request.batch, "sequences", {.least = 1, .most = 1e6});
  list.add("context-length", request.length,
           "tokens of each prompt, and of the context that a token is decoded after; 0: what the model "
           "takes, at most 1024",
           {.least = 0, .most = 1e8});
  list.add("repeats", request.repeats, "of each measurement, of which the least counts",
           {.least = 1, .most = 10000});
  list.add("fresh", request.fresh, "replace another table that is there");
  bind_log_level(list, request.log_level);
  list.add("backend", request.backend, "auto, cpu or cuda");
  list.add_choice("precision", request.precision, "precision",
                  {{"auto", std::nullopt}, {"fp32", DType::f32}, {"bf16", DType::bf16}, {"fp16", DType::f16}},
                  "of the weights: auto (as the checkpoint), fp32, bf16, or fp16 (on a GPU bf16)");
  list.add("threads", request.threads, "threads; 0: OMP_NUM_THREADS, or the node's",
           {.least = 0, .most = 4096, .refusal = "{} threads", .remedy = "give 1 or more"});
}

/// Everything that is wrong before a file is opened.
void check_profile(const Asked<ProfileRequest>& asked, int ranks) {
  if (ranks > 1)
    throw UsageError(fmt::format("{} ranks, which would be in each other's way", ranks), "galapagos profile",
                     "start it on one rank");
  if (asked.request.assignment && !asked.request.database)
    throw UsageError("an assignment without its database", "--assignment", "give --database, too");
  for (const char* name : {"levels", "attention-unit"}) {
    if (asked.request.database && asked.options.given_here(name))
      throw UsageError("the shapes are the database's", fmt::format("--{}", name), "leave it out");
  }
}

/// What the model's weights are stored as; what config.json says where there are none.
DType stored_type(const std::filesystem::path& folder, const HfConfig& config) {
  const std::filesystem::directory_iterator files(folder);
  const bool weights = std::any_of(
      begin(files), end(files), [](const auto& entry) { return entry.path().extension() == ".safetensors"; });
  if (weights) return Checkpoint(folder).dtype();
  return config.torch_dtype == "float32"   ? DType::f32
         : config.torch_dtype == "float16" ? DType::f16
                                           : DType::bf16;
}

/// The rows of the table, their times yet to be measured.
LatencyTable planned(const std::vector<PartShape>& shapes, const LatencyConditions& conditions) {
  LatencyTable table;
  for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode})
    for (const PartShape& shape : shapes) table.rows.push_back({shape, phase, 0, conditions});
  return table;
}

/// A table that has all of the parts that are wanted; nothing where it is to be measured, InputError where it
/// is another, and --fresh was not given.
std::optional<LatencyTable> find_complete(const ProfileRequest& request, const LatencyTable& wanted) {
  if (!std::filesystem::exists(request.output)) return std::nullopt;
  LatencyTable there = read_latency_table(request.output);  // nothing but a table is ever replaced
  if (request.fresh) return std::nullopt;
  const bool same = std::all_of(wanted.rows.begin(), wanted.rows.end(), [&](const LatencyRow& row) {
    const LatencyRow* found = there.find(row.shape, row.phase);
    return found != nullptr && found->conditions == row.conditions;
  });
  if (same) return there;
  throw InputError("another table is there", request.output.string(),
                   "give --fresh to replace it, or another --output");
}

/// The repeats in two rounds over all shapes, so that what disturbs for a while is not all that one has seen.
void measure(const ops::Context& context, const HfConfig& config, const Timing& timing, LatencyTable& table) {
  const std::int64_t rounds = std::min<std::int64_t>(timing.repeats, 2);
  Progress progress("timing", rounds * static_cast<std::int64_t>(table.rows.size()));
  for (std::int64_t round = 0; round < rounds; ++round) {
    Timing some = timing;
    some.repeats = (timing.repeats + round) / rounds;
    ModuleTimer timer(context, config, some);
    for (LatencyRow& row : table.rows) {
      const double seconds = timer.seconds(row.shape, row.phase);
      row.seconds = round == 0 ? seconds : std::min(row.seconds, seconds);
      progress.advance();
    }
  }
}

/// Says where times are hardly those of the shapes alone.
void warn_of_noise(const LatencyTable& table) {
  constexpr double tolerance = 1.1;
  const auto odd = [&](const LatencyRow& row) {
    return std::any_of(table.rows.begin(), table.rows.end(), [&](const LatencyRow& more) {
      const PartShape &small = row.shape, &large = more.shape;
      return row.phase == more.phase && small.kind == large.kind && small.heads <= large.heads &&
             small.kv_heads <= large.kv_heads && small.columns <= large.columns &&
             row.seconds > tolerance * more.seconds;
    });
  };
  const auto count = std::count_if(table.rows.begin(), table.rows.end(), odd);
  if (count == 0) return;
  log_warning(
      "{} of {} times are over 10 % longer than those of larger shapes: unless that is how it is, "
      "measure again where nothing else runs, with fewer --threads or more --repeats",
      count, table.rows.size());
}

/// Times whole models that the table does not have yet; whether there were any. What they took is added to
/// `said`.
bool measure_whole(const ops::Context& context, const NamedModel& model, const Timing& timing,
                   const std::filesystem::path& path, LatencyTable& table, std::string& said) {
  const SearchSpace& space = model.space;
  bool measured = false;
  said +=
      fmt::format("{:<8} {:>14} {:>14} {:>14} {:>14}\n", "whole", "", "sum of parts", "timed", "difference");
  for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode}) {
    const LatencyCosts costs = latency_costs(space, table, phase, path);
    for (const bool pruned : {false, true}) {
      const Assignment assignment = pruned ? model.assignment : Assignment(space.modules.size(), 0);
      const std::int64_t parts = costs.sum(assignment);
      WholeRow row{whole_shape(space, assignment), phase, 0, static_cast<double>(parts) * 1e-9,
                   *table.conditions(phase)};
      const auto there = std::find_if(table.wholes.begin(), table.wholes.end(), [&](const WholeRow& other) {
        return other.phase == phase && other.shape == row.shape && std::abs(other.parts - row.parts) < 0.5e-9;
      });
      if (there != table.wholes.end()) {
        row = *there;
      } else {
        HfConfig shapes = model.config;
        shapes.layer_shapes = space.shapes(model.config, assignment);
        row.seconds = whole_seconds(context, shapes, timing, phase);
        table.wholes.push_back(row);
        measured = true;
      }
      said += fmt::format("{:<8} {:>14} {:>14} {:>14} {:>+13.1f}%\n", name_of(phase),
                          pruned ? "assigned" : "unpruned", latency_text(parts),
                          latency_text(std::llround(row.seconds * 1e9)), 100 * (row.seconds / row.parts - 1));
    }
  }
  return measured;
}

/// What a layer and the model take, unpruned.
std::string summary(const HfConfig& config, const LatencyTable& table) {
  std::string text = fmt::format("{:<8} {:>14} {:>14} {:>14} {:>14}   unpruned\n", "", "attention",
                                 "feed-forward", "fixed", "model");
  for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode}) {
    double attention = 0, ffn = 0;
    const auto seconds = [&](const PartShape& shape) {
      const LatencyRow* row = table.find(shape, phase);
      return row == nullptr ? 0.0 : row->seconds;
    };
    for (const LayerShape& shape : config.layer_shapes) {
      attention += seconds({PartKind::attention, shape.heads(), shape.kv_heads, 0});
      ffn += seconds({PartKind::ffn, 0, 0, shape.columns});
    }
    const double fixed = seconds({PartKind::fixed, 0, 0, config.vocab_size});
    const auto shown = [](double time) { return latency_text(std::llround(time * 1e9)); };
    text += fmt::format("{:<8} {:>14} {:>14} {:>14} {:>14}\n", name_of(phase), shown(attention), shown(ffn),
                        shown(fixed), shown(attention + ffn + fixed));
  }
  return text;
}

}  // namespace

void profile(const Communicator& world, const std::vector<std::string>& words) {
  Asked<ProfileRequest> asked;
  if (!begin(world, asked, words)) return;
  ProfileRequest& request = asked.request;
  agree(world, [&] { check_profile(asked, world.size()); });
  HfConfig config;
  std::vector<PartShape> shapes;
  DType stored = DType::f32;
  std::unique_ptr<NamedModel> model;
  if (request.database) {
    model = open_modules(world, request.model, request.database);
    if (request.assignment)
      agree(world, [&] { model->assignment = read_assignment(model->space, *request.assignment); });
    config = model->config;
    agree(world, [&] {
      refuse_mixture(config, "a profile", request.model.string(), "give a model without experts");
    });
    stored = model->precision;
    shapes = shapes_of(model->space);
  } else {
    agree(world, [&] {
      config = read_hf_config(request.model);
      refuse_mixture(config, "a profile", request.model.string(), "give a model without experts");
      stored = stored_type(request.model, config);
      DatabaseOptions levels;
      levels.levels = request.levels;
      levels.attention_unit = request.unit;
      shapes = possible_shapes(make_header(levels, config, stored));
    });
  }
  const ops::Context context = make_context(world, request);
  agree_at_root(world, [&] {
    const std::int64_t longest = config.longest_sequence();
    if (request.length > longest)
      throw UsageError(fmt::format("a context of {} tokens, but the model takes {}", request.length, longest),
                       "--context-length", "give at most so many");
    Timing timing;
    timing.batch = request.batch;
    timing.length = request.length > 0 ? request.length : std::min(usual_length, longest);
    timing.repeats = request.repeats;
    timing.precision = ops::working_type(context.device(), request.precision.value_or(stored));
    LatencyTable table = planned(shapes, {config.hidden_size, config.head_dim, name_of(timing.precision),
                                          device_text(context), timing.batch, timing.length});
    check_folder(request.output);
    const OutputLock lock(request.output);
    const auto complete = find_complete(request, table);
    if (complete) {
      table = *complete;
    } else {
      measure(context, config, timing, table);
      write_file_atomically(request.output, table.text());
      warn_of_noise(table);
      print(world, summary(config, table));
    }
    std::string said;
    const bool more =
        request.assignment && measure_whole(context, *model, timing, request.output, table, said);
    if (more) write_file_atomically(request.output, table.text());
    if (complete && !more) log_info("{} is complete already", request.output.string());
    print(world, said);
  });
}

}  // namespace galapagos::app
