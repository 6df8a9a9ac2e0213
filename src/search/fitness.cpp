#include <array>
#include <cmath>

#include <galapagos/search/fitness.hpp>

namespace galapagos {
namespace {

void divergence(LogitLosses& losses, const Fitness&, const Tensor& logits, std::span<const std::int32_t>,
                const ops::RowValues& found) {
  losses.divergence(logits, found);
}

void sparse_divergence(LogitLosses& losses, const Fitness& fitness, const Tensor& logits,
                       std::span<const std::int32_t>, const ops::RowValues& found) {
  losses.sparse_divergence(logits, fitness.top_k, found);
}

void total_variation(LogitLosses& losses, const Fitness&, const Tensor& logits, std::span<const std::int32_t>,
                     const ops::RowValues& found) {
  losses.total_variation(logits, found);
}

void nll(LogitLosses& losses, const Fitness&, const Tensor& logits, std::span<const std::int32_t> targets,
         const ops::RowValues& found) {
  losses.nll(logits, targets, found);
}

double as_it_is(double mean) {
  return mean;
}

double perplexity(double mean) {
  return std::exp(mean);
}

ShardTraffic traffic_of_divergence(std::int64_t) {
  return divergence_traffic;
}

ShardTraffic traffic_of_nll(std::int64_t) {
  return nll_traffic;
}

TrainingLoss by_kl() {
  return TrainingLoss::of_reference();
}

TrainingLoss by_total_variation() {
  return TrainingLoss::of_reference(ReferenceLoss::total_variation);
}

TrainingLoss by_nll() {
  return {};
}

constexpr std::array rows = {
    // name, chosen, with_dense, gathers_rows, loss, finish, traffic, by_gradient; in the order of FitnessKind
    FitnessRow{"kl", true, true, false, divergence, as_it_is, traffic_of_divergence, by_kl},
    FitnessRow{"sparse_kl", true, true, true, sparse_divergence, as_it_is, sparse_divergence_traffic, by_kl},
    FitnessRow{"tv", true, true, false, total_variation, as_it_is, traffic_of_divergence, by_total_variation},
    FitnessRow{"ppl", true, false, false, nll, perplexity, traffic_of_nll, by_nll},
    FitnessRow{"nll", false, false, false, nll, as_it_is, traffic_of_nll, by_nll},
};

}  // namespace

const FitnessRow& row_of(FitnessKind kind) {
  return rows[static_cast<std::size_t>(kind)];
}

std::string name_of(FitnessKind kind) {
  return row_of(kind).name;
}

std::vector<std::pair<std::string, FitnessKind>> fitness_choices() {
  std::vector<std::pair<std::string, FitnessKind>> choices;
  for (std::size_t kind = 0; kind < rows.size(); ++kind) {
    if (rows[kind].chosen) choices.emplace_back(rows[kind].name, static_cast<FitnessKind>(kind));
  }
  return choices;
}

}  // namespace galapagos
