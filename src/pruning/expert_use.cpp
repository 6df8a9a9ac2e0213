#include <fmt/format.h>

#include <galapagos/core/logging.hpp>
#include <galapagos/pruning/expert_use.hpp>

namespace galapagos {

ExpertUse& ExpertUse::operator+=(const ExpertUse& other) {
  tokens += other.tokens;
  weights += other.weights;
  outputs += other.outputs;
  squares += other.squares;
  return *this;
}

ExpertUses sum_uses(const Communicator& comm, std::span<const ModuleId> modules, const ExpertUses& mine) {
  std::vector<ModuleId> experts;
  std::vector<ExpertUse> own;
  for (const ModuleId& module : modules) {
    if (module.expert == no_expert) continue;
    const auto found = mine.find(module);
    experts.push_back(module);
    own.push_back(found == mine.end() ? ExpertUse() : found->second);
  }
  ExpertUses sums;
  if (experts.empty()) return sums;
  const std::vector<ExpertUse> all = comm.all_gather(std::span<const ExpertUse>(own));
  for (std::size_t i = 0; i < all.size(); ++i) sums[experts[i % experts.size()]] += all[i];
  return sums;
}

double least_mean_diagonal(const HfConfig& config, const ExpertUses& uses, const ModuleId& module,
                           std::int64_t sequences) {
  if (module.expert == no_expert) return 0;
  double sum = 0;
  const auto experts = std::ssize(config.shape(module.layer).experts);
  for (std::int64_t expert = 0; expert < experts; ++expert) {
    const ModuleId other{module.layer, module.kind, expert};
    const auto found = uses.find(other);
    if (found != uses.end())
      sum += found->second.squares / static_cast<double>(module_columns(config, other));
  }
  return 2 * sum / static_cast<double>(sequences) / static_cast<double>(experts);
}

void warn_of_rare_experts(const HfConfig& config, const ExpertUses& uses) {
  std::size_t rare = 0;
  const ExpertUses::value_type* least = nullptr;
  for (const auto& use : uses) {
    if (use.second.tokens < static_cast<double>(module_columns(config, use.first))) ++rare;
    if (least == nullptr || use.second.tokens < least->second.tokens) least = &use;
  }
  if (rare == 0) return;
  log_warning(
      "{} of {} experts got fewer calibration tokens than they have columns, {} the fewest, {:.0f}: their "
      "Hessians are damped by the mean of their layer's; more --calibration-tokens would tell more of them",
      rare, uses.size(), name_of(least->first), least->second.tokens);
}

}  // namespace galapagos
