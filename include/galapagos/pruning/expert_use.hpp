#pragma once

#include <map>
#include <span>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/pruning/module_id.hpp>

namespace galapagos {

/// What the calibration tokens made of an expert of a mixture: sums over those that went to it.
struct ExpertUse {
  double tokens = 0;   ///< how many
  double weights = 0;  ///< of the router's weights w
  double outputs = 0;  ///< of |w f(x)|, f(x) what the expert puts out (REAP, Lasby et al. 2025, eq. 9)
  double squares = 0;  ///< of |w a|^2, a the input of its down_proj

  ExpertUse& operator+=(const ExpertUse& other);
  /// Router-weighted expert activation pruning's score: the mean of |w f(x)|; 0 where no token went there.
  double reap() const { return tokens > 0 ? outputs / tokens : 0; }
};
using ExpertUses = std::map<ModuleId, ExpertUse>;

/// Collective. Of all `modules` that are experts the sums over ranks, each of which has those of some modules
/// over some tokens; in the order of ranks, the same on each.
ExpertUses sum_uses(const Communicator& comm, std::span<const ModuleId> modules, const ExpertUses& mine);

/// What the damping of an expert's Hessian is at least a share of: the mean diagonal of its layer's experts',
/// (2 / sequences) sum |w a|^2 / columns. Experts that few tokens go to are so damped like others.
double least_mean_diagonal(const HfConfig& config, const ExpertUses& uses, const ModuleId& module,
                           std::int64_t sequences);

/// Says how many experts got fewer tokens than they have columns.
void warn_of_rare_experts(const HfConfig& config, const ExpertUses& uses);

}  // namespace galapagos
