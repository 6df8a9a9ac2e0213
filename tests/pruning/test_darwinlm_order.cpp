#include "pruning/darwinlm/order.hpp"
#include "support/catch.hpp"

#include <galapagos/core/error.hpp>

using namespace galapagos;
using darwinlm::lasting_zeros;
using darwinlm::removal_order;
using darwinlm::ZeroStructures;

namespace {

using Order = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("an order of removal by what is zero", "[darwinlm]") {
  const ZeroStructures zero = {
      {false, false, true, false}, {true, false, true, false}, {true, true, true, true}};
  const auto found = removal_order(zero, std::vector<std::int64_t>{0, 1, 2, 4}, "here");
  CHECK(found.structures == Order{2, 0, 1, 3});
  CHECK(found.kept_zeros == 0);
  CHECK(lasting_zeros(zero) == std::vector<std::int64_t>{0, 1, 2, 4});
}

TEST_CASE("a structure that is kept and zero", "[darwinlm]") {
  // 1 is zero everywhere, though the first level removes one alone, which must stay removed: 2, that is not
  // zero later, cannot be it.
  const ZeroStructures zero = {{false, true, true, false, false}, {false, true, false, true, false}};
  const auto found = removal_order(zero, std::vector<std::int64_t>{0, 1, 2}, "here");
  CHECK(found.structures == Order{1, 3});
  CHECK(found.kept_zeros == 0);
  const ZeroStructures dead = {
      {true, true, true, false}, {true, true, true, false}, {true, true, true, true}};
  const auto ascending = removal_order(dead, std::vector<std::int64_t>{0, 1, 3, 4}, "here");
  CHECK(ascending.structures == Order{0, 1, 2, 3});
  CHECK(ascending.kept_zeros == 2);
  // Counts alone would let level 2 remove 0 and 1, of which 1 comes back.
  const ZeroStructures back = {{true, true, false}, {true, false, true}};
  CHECK(lasting_zeros(back) == std::vector<std::int64_t>{0, 1, 2});
  CHECK_THROWS_AS(removal_order(back, std::vector<std::int64_t>{0, 2, 2}, "here"), InputError);
  // Levels of another run than the counts: more and more is zero that they do not remove.
  const ZeroStructures more = {
      {true, false, false, false}, {true, true, true, false}, {true, true, true, true}};
  CHECK_THROWS_AS(removal_order(more, std::vector<std::int64_t>{0, 1, 2, 4}, "here"), InputError);
}
