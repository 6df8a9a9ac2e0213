#include <galapagos/ops/routing.hpp>

namespace galapagos::ops {

std::vector<std::int64_t> ExpertRows::first_elements() const {
  std::vector<std::int64_t> first = {0};
  for (std::int64_t expert = 0; expert < experts(); ++expert)
    first.push_back(first.back() + rows_of(expert) * columns[static_cast<std::size_t>(expert)]);
  return first;
}

Routing::Routing(const Context& context, std::int64_t most_tokens, std::int64_t most_experts,
                 std::int64_t most_per_token)
    : tokens(most_tokens * most_per_token, context.device(), "routing of tokens to experts"),
      weights(most_tokens * most_per_token, context.device(), "routing of tokens to experts"),
      chosen(most_tokens * most_per_token, context.device(), "routing of tokens to experts"),
      places(most_tokens * most_per_token, context.device(), "routing of tokens to experts"),
      probabilities(most_tokens * most_experts, context.device(), "probabilities of experts") {}

}  // namespace galapagos::ops
