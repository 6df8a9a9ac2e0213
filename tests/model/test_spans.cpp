#include "support/catch.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include <galapagos/core/error.hpp>
#include <galapagos/model/pipeline.hpp>

using namespace galapagos;

namespace {

double costliest(const std::vector<double>& costs, const std::vector<LayerSpan>& spans) {
  double most = 0;
  for (const LayerSpan& span : spans) {
    most = std::max(most, std::accumulate(costs.begin() + span.first, costs.begin() + span.last, 0.0));
  }
  return most;
}

// The least cost of the costliest span over all ways to cut, by trying them all.
double best_by_trial(const std::vector<double>& costs, std::size_t first, int stages) {
  if (stages == 1)
    return std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(first), costs.end(), 0.0);
  double best = 1e300, sum = 0;
  for (std::size_t end = first + 1; end + static_cast<std::size_t>(stages) - 1 <= costs.size(); ++end) {
    sum += costs[end - 1];
    best = std::min(best, std::max(sum, best_by_trial(costs, end, stages - 1)));
  }
  return best;
}

}  // namespace

TEST_CASE("layers are cut into the best spans", "[pipeline]") {
  std::mt19937 random(2);
  for (const int layers : {1, 5, 9}) {
    for (int stages = 1; stages <= layers; ++stages) {
      std::vector<double> costs(static_cast<std::size_t>(layers));
      for (double& cost : costs) cost = static_cast<double>(1 + random() % 10);
      const std::vector<LayerSpan> spans = balanced_spans(costs, stages);
      REQUIRE(spans.size() == static_cast<std::size_t>(stages));
      CHECK(spans.front().first == 0);
      CHECK(spans.back().last == layers);
      for (std::size_t s = 0; s < spans.size(); ++s) {
        CHECK(spans[s].count() > 0);
        if (s > 0) CHECK(spans[s].first == spans[s - 1].last);
      }
      CHECK(costliest(costs, spans) == Approx(best_by_trial(costs, 0, stages)));
    }
  }
}

TEST_CASE("every rank gets a place where there is one", "[pipeline]") {
  const std::vector<double> costs(5, 1.0);
  for (int ranks = 1; ranks <= 40; ++ranks) {
    const PipelineGrid grid = make_pipeline_grid(costs, ranks, 0);
    CHECK(grid.stages() * grid.lanes <= ranks);
    CHECK(grid.stages() * grid.lanes > ranks / 2);
    CHECK((ranks > 5 || grid.lanes == 1));
    std::vector<int> seen(static_cast<std::size_t>(ranks), 0);
    for (int lane = 0; lane < grid.lanes; ++lane) {
      for (int stage = 0; stage < grid.stages(); ++stage) {
        const int rank = grid.rank_of(lane, stage);
        CHECK(grid.lane_of(rank) == lane);
        CHECK(grid.stage_of(rank) == stage);
        ++seen[static_cast<std::size_t>(rank)];
      }
    }
    CHECK(*std::max_element(seen.begin(), seen.end()) == 1);
  }
  CHECK(make_pipeline_grid(costs, 6, 3).stages() == 2);
  CHECK_THROWS_AS(make_pipeline_grid(costs, 2, 3), UsageError);
}

TEST_CASE("batches hold whole sequences in order", "[pipeline]") {
  const std::vector<std::uint64_t> offsets = {0, 3, 5, 12, 13, 14, 30};
  std::vector<std::int32_t> tokens(30);
  std::iota(tokens.begin(), tokens.end(), 0);
  for (const std::int64_t most : {1, 5, 8, 100}) {
    std::int32_t next = 0;
    std::size_t sequences = 0;
    for (const Batch& batch : make_batches(tokens, offsets, most)) {
      CHECK(batch.offsets.front() == 0);
      CHECK(batch.offsets.back() == static_cast<std::int64_t>(batch.tokens.size()));
      CHECK((static_cast<std::int64_t>(batch.tokens.size()) <= most || batch.offsets.size() == 2));
      sequences += batch.offsets.size() - 1;
      for (const std::int32_t token : batch.tokens) CHECK(token == next++);
    }
    CHECK(next == 30);
    CHECK(sequences == 6);
  }
}
