#include <galapagos/model/router_balance.hpp>

namespace galapagos {

void RouterBalance::add(const Routing& routing) {
  const auto experts = static_cast<std::size_t>(routing.layout.experts());
  Group& group = groups_[routing.layout.experts()];
  group.chosen.resize(experts, 0);
  group.probabilities.resize(experts, 0);
  group.rows += static_cast<double>(routing.token_count);
  rows_ += static_cast<double>(routing.token_count);
  const OnHost<std::int32_t> chosen(routing.chosen, routing.choices());
  for (const std::int32_t expert : chosen.values()) group.chosen[static_cast<std::size_t>(expert)] += 1;
  const OnHost<float> probabilities(routing.probabilities, routing.probability_count());
  for (std::size_t i = 0; i < probabilities.values().size(); ++i)
    group.probabilities[i % experts] += static_cast<double>(probabilities[i]);
}

double RouterBalance::loss() const {
  double sum = 0;
  for (const auto& [experts, group] : groups_) {
    double inner = 0;
    for (std::size_t e = 0; e < group.chosen.size(); ++e) inner += group.chosen[e] * group.probabilities[e];
    sum += group.rows / rows_ * static_cast<double>(experts) * inner / (group.rows * group.rows);
  }
  return sum;
}

std::vector<float> RouterBalance::gradient(const Routing& routing, double weight) const {
  const Group& group = groups_.at(routing.layout.experts());
  std::vector<float> gradient;
  for (const double chosen : group.chosen)
    gradient.push_back(static_cast<float>(weight * static_cast<double>(group.chosen.size()) * chosen /
                                          (group.rows * rows_)));
  return gradient;
}

}  // namespace galapagos
