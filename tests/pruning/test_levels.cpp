#include "support/catch.hpp"

#include <algorithm>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/levels.hpp>

using namespace galapagos;

namespace {

using Levels = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("equal levels are distinct, whole and end with everything", "[levels]") {
  for (const std::int64_t columns : {1, 5, 31, 172, 176, 11008, 13824, 14336}) {
    for (const std::int64_t count : {1, 2, 3, 7, 8, 10, 64, 500}) {
      const StructureLayout layout = ffn_layout(columns);
      const Levels removed = equal_levels(layout, count);
      CHECK(removed.front() == 0);
      CHECK(removed.back() == columns);
      CHECK(removed.size() == static_cast<std::size_t>(std::min(count, columns) + 1));
      CHECK(std::is_sorted(removed.begin(), removed.end(), std::less_equal<>()));
      for (std::size_t k = 1; k + 1 < removed.size(); ++k) {
        const double exact =
            static_cast<double>(columns) * static_cast<double>(k) / static_cast<double>(removed.size() - 1);
        const bool wide = columns / static_cast<std::int64_t>(removed.size() - 1) >= 32;
        CHECK(std::abs(static_cast<double>(removed[k]) - exact) <= (wide ? 16.0 : 0.5));
        if (wide) CHECK((columns - removed[k]) % 32 == 0);
      }
    }
  }
  CHECK(equal_levels(attention_layout(even_layer_shape(32, 8, 1), 128, AttentionUnit::head), 8) ==
        Levels{0, 4, 8, 12, 16, 20, 24, 28, 32});
  CHECK(equal_levels(attention_layout(even_layer_shape(40, 8, 1), 128, AttentionUnit::head), 3) ==
        Levels{0, 13, 27, 40});
  CHECK(equal_levels(attention_layout(even_layer_shape(32, 8, 1), 128, AttentionUnit::group), 10) ==
        Levels{0, 1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(equal_levels(attention_layout(even_layer_shape(32, 8, 1), 128, AttentionUnit::per_group), 10) ==
        Levels{0, 8, 16, 24, 32});
  CHECK_THROWS_AS(equal_levels(ffn_layout(100), 0), UsageError);
}

TEST_CASE("explicit levels are given in columns", "[levels]") {
  const StructureLayout heads = attention_layout(even_layer_shape(8, 4, 100), 16, AttentionUnit::head);
  CHECK(explicit_levels(heads, "0 32 64 128", "--attn-removed") == Levels{0, 2, 4, 8});
  CHECK(explicit_levels(heads, "16,48", "--attn-removed") == Levels{0, 1, 3});
  const StructureLayout rounds = attention_layout(even_layer_shape(8, 4, 100), 16, AttentionUnit::per_group);
  CHECK(explicit_levels(rounds, "64 128", "--attn-removed") == Levels{0, 4, 8});
  CHECK_THROWS_AS(explicit_levels(rounds, "32", "--attn-removed"), UsageError);
  for (const char* bad : {"", "0", "32 16", "16 16", "8", "144", "-16", "0 0 16", "16 x", "1e3"}) {
    try {
      explicit_levels(heads, bad, "--attn-removed");
      FAIL_CHECK("accepted: " << bad);
    } catch (const UsageError& error) {
      CHECK(std::string(error.what()).find("--attn-removed") != std::string::npos);
    }
  }
}
