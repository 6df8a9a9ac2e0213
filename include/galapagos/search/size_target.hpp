#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include <galapagos/assignment/tied_space.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/search/budget.hpp>
#include <galapagos/search/latency_goal.hpp>

namespace galapagos {

/// The size that is asked for: a level, or limits, of which several may be given.
struct SizeTarget {
  std::optional<std::int64_t> level, parameters;
  std::optional<ModuleKind> only;         ///< what is pruned; all else stays whole
  ExpertTie experts = ExpertTie::free;    ///< which of them have one level together
  std::optional<double> sparsity;         ///< share of the prunable parameters that goes
  std::optional<std::uint64_t> memory;    ///< bytes of the weights, stored as the checkpoint's
  std::optional<std::uint64_t> kv_cache;  ///< bytes of K and V of `kv_tokens`, of the same type
  std::int64_t kv_tokens = 0;
  std::optional<std::int64_t> latency;  ///< nanoseconds of the whole model, as far as the table tells
  std::optional<double> speedup;        ///< of that over the unpruned model's
  std::filesystem::path latency_table;
  std::optional<LatencyPhase> latency_phase;  ///< that of prompts where it is not given
  std::string table_fingerprint = {};         ///< of the times that the table has; resolved() fills it in

  /// How many are given.
  int count() const;
  bool by_latency() const { return latency || speedup; }
  LatencyTarget of_latency() const { return {latency, speedup, phase(), latency_table}; }
  LatencyPhase phase() const { return latency_phase.value_or(LatencyPhase::prefill); }
  bool operator==(const SizeTarget&) const = default;
};

void bind(Options& list, SizeTarget& target);
/// Leaves a space the choices that a target has; UsageError as tied_space().
void restrict_to(const SizeTarget& target, SearchSpace& space);
/// Of a target its sparsity alone.
void bind_sparsity(Options& list, SizeTarget& target);

/// UsageError where there is no target, a level beside others, or what belongs together is not.
void check_target(const SizeTarget& target);

/// The same target as a level or as one limit of each kind: parameters, bytes of KV cache, nanoseconds.
/// UsageError as check_target(), and where a sparsity, a speedup or a number of bytes cannot be met;
/// InputError as latency_costs().
SizeTarget resolved(const SearchSpace& space, const SizeTarget& target);

/// The budget that a target asks for; UsageError as resolved(), Budget::of_level(), Budget::of_parameters()
/// and Budget::within().
Budget make_budget(const SearchSpace& space, const SizeTarget& target);
/// The same where `goal` says what a target of latency comes to.
Budget make_budget(const SearchSpace& space, const SizeTarget& target, const LatencyGoal& goal);

/// "20ms" and the like (ns, us, ms, s) as nanoseconds. UsageError naming `option`.
std::int64_t parse_latency(const std::string& text, const std::string& option);

}  // namespace galapagos
