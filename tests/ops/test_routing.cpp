// Which experts tokens go to, against a naive choice, and the way back against central differences of its
// formula in fp64.
#include "ops/devices.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include <galapagos/ops/routing.hpp>

using namespace galapagos;
using ops::RoutingRule;
using test::on;
using test::read;

namespace {

using Columns = std::vector<std::int64_t>;

OwnedTensor logits_of(const std::vector<std::vector<float>>& rows) {
  OwnedTensor logits({std::ssize(rows), std::ssize(rows[0])}, DType::f32, Device::cpu, "test");
  std::size_t at = 0;
  for (const auto& row : rows)
    for (const float value : row) logits->float_span()[at++] = value;
  return logits;
}

template <typename T>
std::vector<T> read_array(const DeviceArray<T>& array, std::int64_t count) {
  const OnHost<T> values(array, count);
  return {values.values().begin(), values.values().end()};
}

/// A routing, and what is in it.
struct Routed {
  ops::Routing routing;
  ops::ExpertRows layout;
  std::int64_t experts_per_token;
  std::vector<std::int64_t> tokens, places;
  std::vector<std::int32_t> chosen;
  std::vector<float> weights, probabilities;
};

Routed route(Device device, const Tensor& logits, const RoutingRule& rule, const Columns& columns) {
  const ops::Context context(device);
  ops::Routing routing(context, logits.rows(), std::ssize(columns), rule.experts_per_token);
  routing.d_probabilities = {1};  // of another batch
  ops::route(context, on(device, logits), rule, columns, routing);
  CHECK(routing.token_count == logits.rows());
  CHECK(routing.d_probabilities.empty());
  Routed routed;
  routed.layout = routing.layout;
  routed.experts_per_token = routing.experts_per_token;
  routed.tokens = read_array(routing.tokens, routing.layout.count());
  routed.weights = read_array(routing.weights, routing.layout.count());
  routed.chosen = read_array(routing.chosen, routing.choices());
  routed.places = read_array(routing.places, routing.choices());
  routed.probabilities = read_array(routing.probabilities, routing.probability_count());
  routed.routing = std::move(routing);
  return routed;
}

std::vector<float> route_backward(Device device, const Routed& routed, const RoutingRule& rule,
                                  const std::vector<float>& d_weights) {
  OwnedTensor by_row({std::ssize(d_weights)}, DType::f32, Device::cpu, "test");
  std::ranges::copy(d_weights, by_row->floats());
  const OwnedTensor d_logits =
      test::poisoned_on(device, {routed.routing.token_count, routed.layout.experts()});
  ops::route_backward(ops::Context(device), routed.routing, rule, on(device, by_row), d_logits);
  return read(d_logits);
}

/// The experts of a token, the most probable first.
std::vector<std::int32_t> chosen_of(const Routed& routing, std::int64_t token) {
  const auto first = routing.chosen.begin() + token * routing.experts_per_token;
  return {first, first + routing.experts_per_token};
}

/// The weights of a token's experts, in the order of chosen_of; NAN for those elsewhere.
std::vector<double> weights_of(const Routed& routing, std::int64_t token) {
  std::vector<double> weights;
  for (std::int64_t i = token * routing.experts_per_token; i < (token + 1) * routing.experts_per_token; ++i) {
    const std::int64_t row = routing.places[static_cast<std::size_t>(i)];
    weights.push_back(row == ops::Routing::elsewhere
                          ? NAN
                          : static_cast<double>(routing.weights[static_cast<std::size_t>(row)]));
  }
  return weights;
}

std::vector<double> softmax(const std::vector<double>& logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> values;
  for (const double logit : logits) values.push_back(std::exp(logit - largest));
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  for (double& value : values) value /= sum;
  return values;
}

/// What the experts that are chosen weigh, as the formula says it.
std::vector<double> formula(const std::vector<double>& logits, const std::vector<std::int32_t>& chosen,
                            bool renormalised) {
  const std::vector<double> p = softmax(logits);
  std::vector<double> weights;
  for (const std::int32_t expert : chosen) weights.push_back(p[static_cast<std::size_t>(expert)]);
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (renormalised)
    for (double& weight : weights) weight /= sum;
  return weights;
}

std::vector<double> row_of(const Tensor& logits, std::int64_t token) {
  const std::vector<float> values = test::values_of(logits);
  const auto first = values.begin() + token * logits.shape[1];
  return {first, first + logits.shape[1]};
}

}  // namespace

TEST_CASE("tokens go to the experts of largest probability", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const bool renormalised = GENERATE(false, true);
  const std::int64_t each = GENERATE(1, 2, 5, 7);
  const std::int64_t experts = 7, tokens = 40;
  std::mt19937 random(3);
  const OwnedTensor logits = test::random_tensor({tokens, experts}, random, DType::f32, 3);
  const Routed routing = route(device, logits, RoutingRule{each, renormalised}, Columns(7, 4));
  REQUIRE(routing.experts_per_token == each);
  REQUIRE(std::ssize(routing.chosen) == tokens * each);
  REQUIRE(routing.layout.count() == tokens * each);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::vector<double> row = row_of(logits, token), p = softmax(row);
    std::vector<std::int32_t> wanted(static_cast<std::size_t>(experts));
    std::iota(wanted.begin(), wanted.end(), 0);
    std::ranges::stable_sort(wanted, std::greater(),
                             [&](std::int32_t e) { return row[static_cast<std::size_t>(e)]; });
    wanted.resize(static_cast<std::size_t>(each));
    CHECK(chosen_of(routing, token) == wanted);
    const std::vector<double> found = weights_of(routing, token),
                              weights = formula(row, wanted, renormalised);
    for (std::size_t i = 0; i < weights.size(); ++i) CHECK(found[i] == Approx(weights[i]).epsilon(1e-5));
    for (std::int64_t e = 0; e < experts; ++e) {
      CHECK(static_cast<double>(routing.probabilities[static_cast<std::size_t>(token * experts + e)]) ==
            Approx(p[static_cast<std::size_t>(e)]).epsilon(1e-5));
    }
  }
}

TEST_CASE("rows are sorted by expert and token, and every token's places are its own", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  // Experts that are elsewhere, and one to which no token goes.
  const Columns columns = {4, 0, 1, 9, 0, 4};
  std::mt19937 random(5);
  const OwnedTensor logits = test::random_tensor({33, 6}, random);
  for (std::int64_t token = 0; token < 33; ++token)
    logits->float_span()[static_cast<std::size_t>(token * 6 + 2)] = -50;
  const Routed routing = route(device, logits, RoutingRule{3}, columns);
  CHECK(routing.layout.columns == columns);
  REQUIRE(routing.layout.rows.size() == columns.size() + 1);
  CHECK(routing.layout.rows.front() == 0);
  CHECK(std::ranges::is_sorted(routing.layout.rows));
  CHECK(routing.layout.rows_of(1) == 0);
  CHECK(routing.layout.rows_of(2) == 0);
  CHECK(routing.layout.rows_of(4) == 0);
  CHECK(routing.layout.rows_of(3) > 5);
  REQUIRE(std::ssize(routing.tokens) == routing.layout.count());
  REQUIRE(routing.weights.size() == routing.tokens.size());
  std::set<std::int64_t> places;
  for (std::int64_t expert = 0; expert < 6; ++expert) {
    const auto first = routing.tokens.begin() + routing.layout.rows[static_cast<std::size_t>(expert)];
    const auto last = first + routing.layout.rows_of(expert);
    CHECK(std::adjacent_find(first, last, std::greater_equal<>()) == last);
    std::vector<std::int64_t> wanted;
    for (std::int64_t token = 0; token < 33; ++token) {
      const std::vector<std::int32_t> chosen = chosen_of(routing, token);
      const auto at = std::ranges::find(chosen, static_cast<std::int32_t>(expert)) - chosen.begin();
      if (at == std::ssize(chosen)) continue;
      const std::int64_t place = routing.places[static_cast<std::size_t>(3 * token + at)];
      if (columns[static_cast<std::size_t>(expert)] == 0) {
        CHECK(place == ops::Routing::elsewhere);
        continue;
      }
      wanted.push_back(token);
      CHECK(places.insert(place).second);
      CHECK(place == routing.layout.rows[static_cast<std::size_t>(expert)] + std::ssize(wanted) - 1);
    }
    CHECK(std::vector<std::int64_t>(first, last) == wanted);
  }
  CHECK(std::ssize(places) == routing.layout.count());
}

TEST_CASE("of equal experts a token goes to those that come first", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const bool renormalised = GENERATE(false, true);
  const Routed routing = route(
      device,
      logits_of({{0, 2, 1, 1, 1, -1}, {1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 1}, {-1, -1, -2, -1, -1, -2}}),
      RoutingRule{3, renormalised}, Columns(6, 2));
  using Chosen = std::vector<std::int32_t>;
  CHECK(chosen_of(routing, 0) == Chosen{1, 2, 3});
  CHECK(chosen_of(routing, 1) == Chosen{0, 1, 2});
  CHECK(chosen_of(routing, 2) == Chosen{5, 0, 1});
  CHECK(chosen_of(routing, 3) == Chosen{0, 1, 3});
  for (const double weight : weights_of(routing, 1))
    CHECK(weight == Approx(renormalised ? 1.0 / 3 : 1.0 / 6));
  // Logits that differ by less than their exponentials can tell are equal ones.
  const Routed close = route(device, logits_of({{20, -200, -190, -200}}), RoutingRule{2}, Columns(4, 2));
  CHECK(chosen_of(close, 0) == Chosen{0, 1});
}

TEST_CASE("a router's NaN goes on into the weights, and other tokens are as they were", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const bool renormalised = GENERATE(false, true);
  const std::size_t at = GENERATE(0UL, 2UL, 3UL);
  std::vector<std::vector<float>> rows = {{0, 3, 2, 1}, {1, 2, 3, 4}};
  rows[0][at] = NAN;
  const Routed routing = route(device, logits_of(rows), RoutingRule{2, renormalised}, Columns(4, 2));
  CHECK(chosen_of(routing, 0) == std::vector<std::int32_t>{0, 1});
  for (const double weight : weights_of(routing, 0)) CHECK(std::isnan(weight));
  CHECK(chosen_of(routing, 1) == std::vector<std::int32_t>{3, 2});
  const std::vector<double> wanted = formula({1, 2, 3, 4}, {3, 2}, renormalised);
  CHECK(weights_of(routing, 1)[0] == Approx(wanted[0]));
  const Routed many =
      route(device, logits_of({std::vector<float>(100, NAN)}), RoutingRule{7, renormalised}, Columns(100, 2));
  CHECK(chosen_of(many, 0) == std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6});
}

TEST_CASE("a token goes to all experts where fewer are left than it would go to", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const Routed two = route(device, logits_of({{1, 2}, {5, 3}, {0, 0}}), RoutingRule{4, true}, Columns{3, 4});
  CHECK(two.experts_per_token == 2);
  CHECK(chosen_of(two, 0) == std::vector<std::int32_t>{1, 0});
  CHECK(chosen_of(two, 1) == std::vector<std::int32_t>{0, 1});
  CHECK(two.tokens == std::vector<std::int64_t>{0, 1, 2, 0, 1, 2});
  CHECK(weights_of(two, 2)[0] == Approx(0.5));
  for (const bool renormalised : {false, true}) {
    const Routed one = route(device, logits_of({{-3}, {700}}), RoutingRule{2, renormalised}, Columns{5});
    CHECK(one.experts_per_token == 1);
    CHECK(one.weights == std::vector<float>{1, 1});
  }
  const Routed none =
      route(device, OwnedTensor({0, 3}, DType::f32, Device::cpu, "test"), RoutingRule{2}, Columns(3, 2));
  CHECK(none.layout.count() == 0);
}

TEST_CASE("the way back through the router equals central differences", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const bool renormalised = GENERATE(false, true);
  // All experts here, some elsewhere, and as many as a token goes to.
  const Columns columns =
      GENERATE(Columns{2, 2, 2, 2, 2}, Columns{2, 0, 2, 0, 2}, Columns{2, 2, 2}, Columns{2, 2});
  const std::int64_t experts = std::ssize(columns), tokens = 6;
  std::mt19937 random(9);
  const OwnedTensor logits = test::random_tensor({tokens, experts}, random, DType::f32, 2);
  const RoutingRule rule{3, renormalised};
  const Routed routing = route(device, logits, rule, columns);
  std::normal_distribution<float> normal;
  std::vector<float> d_weights(routing.weights.size());
  for (float& d : d_weights) d = normal(random);
  const std::vector<float> found = route_backward(device, routing, rule, d_weights);
  REQUIRE(std::ssize(found) == tokens * experts);

  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::vector<std::int32_t> chosen = chosen_of(routing, token);
    // The sum of the gradients times the weights, whose choice stays.
    const auto loss = [&](const std::vector<double>& row) {
      const std::vector<double> weights = formula(row, chosen, renormalised);
      double sum = 0;
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        const std::int64_t place =
            routing.places[static_cast<std::size_t>(token * routing.experts_per_token) + i];
        if (place != ops::Routing::elsewhere)
          sum += weights[i] * static_cast<double>(d_weights[static_cast<std::size_t>(place)]);
      }
      return sum;
    };
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      constexpr double step = 1e-5;
      std::vector<double> above = row_of(logits, token), below = above;
      above[static_cast<std::size_t>(expert)] += step;
      below[static_cast<std::size_t>(expert)] -= step;
      CHECK(static_cast<double>(found[static_cast<std::size_t>(token * experts + expert)]) ==
            Approx((loss(above) - loss(below)) / (2 * step)).epsilon(1e-4).margin(1e-6));
    }
  }
}

TEST_CASE("shards' terms of the router's gradient add up to the whole", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const bool renormalised = GENERATE(false, true);
  std::mt19937 random(11);
  const OwnedTensor logits = test::random_tensor({8, 5}, random, DType::f32, 2);
  const RoutingRule rule{2, renormalised};
  // What each token's choice gets, and the term of it that either shard has: of the third expert both have
  // some.
  const Routed whole = route(device, logits, rule, Columns{4, 4, 4, 4, 4});
  const auto terms = [&](const Columns& columns, const std::vector<double>& shares) {
    const Routed routing = route(device, logits, rule, columns);
    CHECK(routing.chosen == whole.chosen);
    std::vector<float> d(routing.weights.size());
    for (std::size_t i = 0; i < routing.chosen.size(); ++i) {
      if (routing.places[i] != ops::Routing::elsewhere)
        d[static_cast<std::size_t>(routing.places[i])] = static_cast<float>(
            std::sin(static_cast<double>(i)) * shares[static_cast<std::size_t>(routing.chosen[i])]);
    }
    return route_backward(device, routing, rule, d);
  };
  const std::vector<float> all = terms({4, 4, 4, 4, 4}, {1, 1, 1, 1, 1}),
                           one = terms({4, 4, 1, 0, 0}, {1, 1, 0.25, 0, 0}),
                           other = terms({0, 0, 3, 4, 4}, {0, 0, 0.75, 1, 1});
  for (std::size_t i = 0; i < all.size(); ++i)
    CHECK(static_cast<double>(one[i]) + static_cast<double>(other[i]) ==
          Approx(static_cast<double>(all[i])).epsilon(1e-5).margin(1e-6));
}

TEST_CASE("a loss of the probabilities adds its gradient to that of the choice", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const RoutingRule rule{2, GENERATE(false, true)};
  std::mt19937 random(13);
  const std::int64_t tokens = 5, experts = 37;
  const OwnedTensor logits = test::random_tensor({tokens, experts}, random, DType::f32, 2);
  Routed routed = route(device, logits, rule, Columns(37, 1));
  const std::vector<float> d_weights(routed.weights.size(), 0.0f);
  std::normal_distribution<float> normal;
  for (std::int64_t expert = 0; expert < experts; ++expert)
    routed.routing.d_probabilities.push_back(normal(random));
  const std::vector<float> found = route_backward(device, routed, rule, d_weights);
  for (std::int64_t token = 0; token < tokens; ++token) {
    const std::vector<double> p = softmax(row_of(logits, token));
    double mean = 0;
    for (std::size_t e = 0; e < p.size(); ++e)
      mean += p[e] * static_cast<double>(routed.routing.d_probabilities[e]);
    for (std::size_t e = 0; e < p.size(); ++e) {
      CHECK(static_cast<double>(found[static_cast<std::size_t>(token * experts) + e]) ==
            Approx(p[e] * (static_cast<double>(routed.routing.d_probabilities[e]) - mean))
                .epsilon(1e-4)
                .margin(1e-7));
    }
  }
}

TEST_CASE("tokens go to the same experts and rows on every device", "[ops][mixture]") {
  // More tokens and experts than a block of any backend takes at once, and equal logits.
  const std::int64_t tokens = 301, experts = GENERATE(1, 64, 300), each = GENERATE(1, 8);
  const RoutingRule rule{each, true};
  std::mt19937 random(17);
  const OwnedTensor logits = test::random_tensor({tokens, experts}, random);
  for (float& logit : logits->float_span()) logit = std::round(4 * logit);
  Columns columns(static_cast<std::size_t>(experts), 3);
  for (std::size_t expert = 1; expert < columns.size(); expert += 5) columns[expert] = 0;
  const Routed wanted = route(Device::cpu, logits, rule, columns);
  const Device device = GENERATE_DEVICE();
  const Routed found = route(device, logits, rule, columns);
  CHECK(found.chosen == wanted.chosen);
  CHECK(found.places == wanted.places);
  CHECK(found.tokens == wanted.tokens);
  CHECK(found.layout.rows == wanted.layout.rows);
  REQUIRE(found.weights.size() == wanted.weights.size());
  for (std::size_t row = 0; row < wanted.weights.size(); ++row)
    CHECK(found.weights[row] == Approx(wanted.weights[row]).epsilon(1e-5));
}

TEST_CASE("rooms of a routing serve smaller batches and fewer experts", "[ops][mixture]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(19);
  ops::Routing routing(context, 50, 20, 4);
  for (const std::int64_t tokens : {50, 3, 1}) {
    const std::int64_t experts = tokens == 3 ? 2 : 20;
    const OwnedTensor logits = test::random_tensor({tokens, experts}, random);
    const Columns columns(static_cast<std::size_t>(experts), 1);
    ops::route(context, on(device, logits), {4, false}, columns, routing);
    const Routed wanted = route(device, logits, {4, false}, columns);
    CHECK(read_array(routing.places, routing.choices()) == wanted.places);
    CHECK(read_array(routing.weights, routing.layout.count()) == wanted.weights);
    CHECK(read_array(routing.probabilities, routing.probability_count()) == wanted.probabilities);
  }
}
