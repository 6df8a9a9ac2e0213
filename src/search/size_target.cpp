#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <numeric>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/search/size_target.hpp>

namespace galapagos {
namespace {

constexpr const char* kv_options = "--target-kv-cache, --kv-tokens";
constexpr const char* latency_options = "--target-latency, --target-speedup, --latency-table";

void bind_bytes(Options& list, const char* name, std::optional<std::uint64_t>& member, const char* help) {
  list.add_text(
      name, [&member] { return member ? std::to_string(*member) : ""; },
      [&member, name](const std::string& text) { member = parse_bytes(text, fmt::format("--{}", name)); },
      help, {.decides = true});
}

void bind_latency(Options& list, SizeTarget& target) {
  list.add_text(
      "target-latency", [&target] { return target.latency ? fmt::format("{}ns", *target.latency) : ""; },
      [&target](const std::string& text) { target.latency = parse_latency(text, "--target-latency"); },
      "or: at most this time by --latency-table, as 20ms (ns, us, ms, s)", {.decides = true});
  list.add("target-speedup", target.speedup,
           "or: this many times as fast as the unpruned model by it, as 1.5",
           {.least = 1,
            .most = 1e6,
            .above = true,
            .refusal = "a speedup of {}",
            .remedy = "give a number above 1, as 1.5",
            .decides = true});
  list.add("latency-table", target.latency_table,
           "how long parts of the model take, from 'galapagos profile' or written by hand (.csv)",
           {.indirectly = true});
  list.add_text(
      "latency-phase",
      [&target] { return target.latency_phase ? name_of(*target.latency_phase) : std::string(); },
      [&target](const std::string& text) {
        for (const LatencyPhase phase : {LatencyPhase::prefill, LatencyPhase::decode})
          if (text == name_of(phase)) target.latency_phase = phase;
        if (!target.latency_phase || name_of(*target.latency_phase) != text)
          throw UsageError("unknown phase '" + printable(text) + "'", "--latency-phase",
                           "choose prefill or decode");
      },
      "of the table: prefill (where not given), a prompt at once, or decode, a token after a context",
      {.decides = true});
}

/// No text stands for free, so that a run that was begun before there was a choice is gone on with.
void bind_experts(Options& list, SizeTarget& target) {
  constexpr std::array<std::pair<const char*, ExpertTie>, 3> ties = {
      {{"free", ExpertTie::free}, {"equal", ExpertTie::equal}, {"uniform", ExpertTie::uniform}}};
  const auto name = [ties, &target]() -> std::string {
    if (target.experts == ExpertTie::free) return "";
    return std::ranges::find(ties, target.experts, &std::pair<const char*, ExpertTie>::second)->first;
  };
  const auto take = [ties, &target](const std::string& text) {
    const auto found = std::ranges::find(ties, text, [](const auto& tie) { return std::string(tie.first); });
    if (found == ties.end())
      throw UsageError("unknown way '" + printable(text) + "' of experts", "--experts",
                       "give free, equal or uniform");
    target.experts = found->second;
  };
  list.add_text(
      "experts", name, take,
      "of mixtures: free (where not given), each expert at a level of its own; equal, a layer's all at "
      "one; uniform, the model's",
      {.decides = true});
}

std::string bytes_text(std::int64_t bytes) {
  return human_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(bytes, 0)));
}

BudgetRule rule_over_all(const SearchSpace& space, std::string option, std::string (*shown)(std::int64_t)) {
  BudgetRule rule;
  rule.option = std::move(option);
  rule.shown = shown;
  rule.parts = space.part_begins();
  rule.pairs = space.parts_in_pairs();
  rule.modules.resize(space.modules.size());
  std::iota(rule.modules.begin(), rule.modules.end(), std::size_t{0});
  return rule;
}

BudgetRule kv_rule(const SearchSpace& space, std::uint64_t bytes, std::int64_t tokens) {
  BudgetRule rule = rule_over_all(space, "--target-kv-cache", [](std::int64_t cost) {
    return fmt::format("{} of K and V", bytes_text(cost));
  });
  const std::int64_t head = 2 * space.head_dim * static_cast<std::int64_t>(size_of(space.stored)) * tokens;
  for (const ModuleChoices& module : space.modules) {
    std::vector<std::int64_t>& costs = rule.costs.emplace_back();
    for (const std::int64_t heads : module.kv_heads) costs.push_back(heads * head);
  }
  rule.limit = static_cast<std::int64_t>(bytes);
  return rule;
}

/// What parts add to the time of a whole model.
BudgetRule latency_rule(const SearchSpace& space, const SizeTarget& target, const LatencyGoal& goal) {
  BudgetRule rule =
      rule_over_all(space, target.latency ? "--target-latency" : "--target-speedup", latency_text);
  rule.costs = goal.costs.modules;
  for (std::vector<std::int64_t>& costs : rule.costs)
    for (std::int64_t& cost : costs) cost = std::llround(goal.line.slope * static_cast<double>(cost));
  rule.fixed = goal.line.at(goal.costs.fixed);
  rule.limit = goal.most - rule.fixed;
  return rule;
}

/// The number of parameters that a sparsity leaves.
std::int64_t parameters_at(const SearchSpace& space, double sparsity) {
  const auto dense = static_cast<double>(space.dense_parameters());
  const std::int64_t kept = std::llround(std::min((1 - sparsity) * dense, dense - 1));
  if (kept < space.smallest_parameters()) {
    throw UsageError(fmt::format("a sparsity of {:g}, but this database goes to {:.4f}", sparsity,
                                 1 - static_cast<double>(space.smallest_parameters()) / dense),
                     "--target-sparsity", "choose a smaller one");
  }
  return space.fixed_parameters + kept;
}

/// The number of parameters that some bytes have room for; `alone`: where no other target asks for less.
std::int64_t parameters_in(const SearchSpace& space, std::uint64_t bytes, bool alone) {
  const auto word = static_cast<std::int64_t>(size_of(space.stored));
  const std::int64_t least = space.fixed_parameters + space.smallest_parameters();
  const std::int64_t parameters = static_cast<std::int64_t>(bytes) / word;
  const std::int64_t most = space.fixed_parameters + space.dense_parameters();
  if (parameters < least || (alone && parameters >= most)) {
    throw UsageError(fmt::format("a target of {} of weights, but assignments of this database have {} to {}",
                                 human_bytes(bytes), bytes_text(least * word), bytes_text(most * word)),
                     "--target-memory", "choose a size in between");
  }
  return parameters;
}

}  // namespace

int SizeTarget::count() const {
  int given = 0;
  for (const bool one : {level.has_value(), parameters.has_value(), sparsity.has_value(), memory.has_value(),
                         kv_cache.has_value(), latency.has_value(), speedup.has_value()})
    given += one ? 1 : 0;
  return given;
}

void bind_sparsity(Options& list, SizeTarget& target) {
  list.add("target-sparsity", target.sparsity, "or: this share of the prunable parameters goes, as 0.5",
           {.least = 0,
            .most = 1,
            .above = true,
            .refusal = "a sparsity of {}",
            .remedy = "give a share above 0 and up to 1, as 0.5",
            .decides = true});
}

void restrict_to(const SizeTarget& target, SearchSpace& space) {
  if (target.only) choose_only(space, *target.only);
  space = tied_space(std::move(space), target.experts);
}

void bind(Options& list, SizeTarget& target) {
  list.add("target-level", target.level, "the size: this level on average, for each kind of module",
           {.remedy = "give a whole number; for a size between two levels --target-sparsity 0.45, or "
                      "--target-params",
            .decides = true});
  list.add("target-params", target.parameters, "or: at most so many parameters in all", {.decides = true});
  list.add_text(
      "only", [&target] { return target.only ? name_of(*target.only) : ""; },
      [&target](const std::string& text) {
        target.only.reset();
        for (const ModuleKind kind : {ModuleKind::attention, ModuleKind::ffn})
          if (text == name_of(kind)) target.only = kind;
        if (!target.only)
          throw UsageError("unknown kind '" + printable(text) + "'", "--only", "give attn or ffn");
      },
      "prune attn or ffn alone: a sparsity is a share of that, all else stays whole", {.decides = true});
  bind_experts(list, target);
  bind_sparsity(list, target);
  bind_bytes(list, "target-memory", target.memory,
             "or: at most so many bytes of weights, stored as in the checkpoint, as 6G");
  bind_bytes(list, "target-kv-cache", target.kv_cache,
             "or: at most so many bytes of K and V, in the checkpoint's type, of --kv-tokens, as 512M");
  list.add("kv-tokens", target.kv_tokens, "tokens that --target-kv-cache holds, of all sequences together",
           {.least = 0, .most = 1e12, .none_at_0 = true, .decides = true});
  bind_latency(list, target);
}

void check_target(const SizeTarget& target) {
  check_ranges(target);
  const int given = target.count();
  if (given == 0 || (target.level && given > 1)) {
    throw UsageError(fmt::format("{} targets", given),
                     "--target-level, --target-params, --target-sparsity, --target-memory, "
                     "--target-kv-cache, --target-latency, --target-speedup",
                     "give a level alone, or one or several of the others");
  }
  if (target.level && target.only)
    throw UsageError("a level of one kind of module alone", "--target-level, --only",
                     "give --target-sparsity with --only, or leave that out");
  if (target.kv_cache.has_value() != (target.kv_tokens > 0))
    throw UsageError("one without the other", kv_options,
                     "give both, as --target-kv-cache 1G --kv-tokens 32768");
  if (target.by_latency() != !target.latency_table.empty())
    throw UsageError("a latency without its table, or a table without a target", latency_options,
                     "give both, as --target-latency 20ms --latency-table T.csv");
  if (target.latency_phase && !target.by_latency())
    throw UsageError("a phase without a latency", "--latency-phase",
                     "leave it out, or give --target-latency");
}

SizeTarget resolved(const SearchSpace& space, const SizeTarget& target) {
  check_target(target);
  SizeTarget one = target;
  const auto limit_parameters = [&](std::int64_t parameters) {
    one.parameters = std::min(one.parameters.value_or(parameters), parameters);
  };
  if (target.sparsity) limit_parameters(parameters_at(space, *target.sparsity));
  if (target.memory) limit_parameters(parameters_in(space, *target.memory, target.count() == 1));
  one.sparsity = std::nullopt;
  one.memory = std::nullopt;
  if (target.by_latency()) {
    const LatencyTable table = read_latency_table(target.latency_table);
    one.latency = latency_goal(space, target.of_latency(), table).most;
    one.speedup = std::nullopt;
    one.latency_phase = target.phase();
    one.table_fingerprint = table.fingerprint(target.phase());
  }
  return one;
}

Budget make_budget(const SearchSpace& space, const SizeTarget& target) {
  if (!target.by_latency()) return make_budget(space, target, LatencyGoal());
  check_target(target);
  return make_budget(space, target,
                     latency_goal(space, target.of_latency(), read_latency_table(target.latency_table)));
}

Budget make_budget(const SearchSpace& space, const SizeTarget& target, const LatencyGoal& goal) {
  const SizeTarget one = resolved(space, target);
  if (one.level) return Budget::of_level(space, *one.level);
  if (one.count() == 1 && one.parameters) return Budget::of_parameters(space, *one.parameters);
  std::vector<BudgetRule> limits;
  if (one.parameters) limits.push_back(parameter_rule(space, *one.parameters));
  if (one.kv_cache) limits.push_back(kv_rule(space, *one.kv_cache, one.kv_tokens));
  if (one.latency) limits.push_back(latency_rule(space, target, goal));
  return Budget::within(std::move(limits));
}

std::int64_t parse_latency(const std::string& text, const std::string& option) {
  constexpr std::array<std::pair<const char*, double>, 4> units = {
      {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}}};
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  std::string unit(end);
  unit.erase(0, unit.find_first_not_of(' '));
  for (const auto& [name, scale] : units) {
    if (end == text.c_str() || unit != name || !std::isfinite(value) || value <= 0) continue;
    if (const double found = std::round(value * scale); found >= 1 && found <= 1e18)
      return static_cast<std::int64_t>(found);
  }
  throw UsageError("'" + printable(text) + "' is no time", option, "write it like 500us, 20ms or 1.5s");
}

}  // namespace galapagos
