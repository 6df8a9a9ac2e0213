#include "support/catch.hpp"

#include <galapagos/assignment/kept_columns.hpp>
#include <galapagos/core/error.hpp>

using namespace galapagos;

TEST_CASE("the columns of levels come out as they were put in", "[space]") {
  using Levels = std::vector<std::vector<std::int64_t>>;
  for (const Levels& levels : {Levels{{0, 1, 2, 3, 4, 5}, {1, 2, 4, 5}, {1, 2, 4, 5}, {4}, {}, {}},
                               Levels{{2, 3, 7}, {3}}, Levels{{}}, Levels{{}, {}}, Levels{}}) {
    KeptColumns kept;
    for (const auto& columns : levels) kept.push_back(columns);
    REQUIRE(kept.size() == levels.size());
    for (std::size_t level = 0; level < levels.size(); ++level) {
      CHECK(kept[level] == levels[level]);
      CHECK(kept.count(level) == std::ssize(levels[level]));
    }
  }
}

TEST_CASE("levels of an order of removal keep what is not gone", "[space]") {
  StructureLayout layout;
  layout.columns = 12;
  for (const std::int64_t unit : {1, 2, 3}) {
    layout.unit = unit;
    std::vector<std::int32_t> order;
    for (std::int64_t i = 0; i < layout.structures(); ++i)
      order.push_back(static_cast<std::int32_t>((5 * i + 2) % layout.structures()));
    if (unit == 3) order = {2, 0, 3, 1};
    if (unit == 2) order = {1, 5, 0, 4, 2, 3};
    for (const std::vector<std::int64_t>& removed :
         {std::vector<std::int64_t>{0, 1, 3}, std::vector<std::int64_t>{0, layout.structures()}}) {
      const KeptColumns kept(layout, order, removed);
      REQUIRE(kept.size() == removed.size());
      for (std::size_t level = 0; level < removed.size(); ++level) {
        CHECK(kept[level] == kept_columns(layout, order, removed[level]));
        CHECK(kept.count(level) == std::ssize(kept[level]));
      }
    }
  }
}

TEST_CASE("a level keeps nothing that the one before does not", "[space]") {
  KeptColumns kept;
  kept.push_back({0, 2, 3});
  kept.push_back({0, 2});
  for (const std::int64_t column : {1, 3, 4}) {
    KeptColumns wrong = kept;
    CHECK_THROWS_AS(wrong.push_back({0, column}), FailureError);
  }
}
