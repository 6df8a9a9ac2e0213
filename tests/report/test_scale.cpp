#include "support/catch.hpp"

#include <cmath>

#include <galapagos/report/scale.hpp>

using namespace galapagos::report;

namespace {

std::vector<std::string> names(const Scale& scale) {
  std::vector<std::string> found;
  for (const double tick : scale.ticks()) found.push_back(scale.name_of(tick));
  return found;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("ticks are 1, 2 or 5 times a power of ten, and what an axis ends with", "[report]") {
  const Scale plain = Scale::linear(0.13, 0.88, 100, 200, 5);
  CHECK(names(plain) == Names{"0", "0.2", "0.4", "0.6", "0.8", "1"});
  CHECK(plain(0) == Approx(100));
  CHECK(plain(1) == Approx(200));
  CHECK(plain(0.25) == Approx(125));
  // Not widened: the ends are the numbers' own.
  const Scale own = Scale::linear(3, 47, 0, 44, 5, false);
  CHECK(names(own) == Names{"10", "20", "30", "40"});
  CHECK(own(10) == Approx(7));
  // Upwards on a picture is downwards in pixels.
  CHECK(Scale::linear(0, 10, 300, 0, 5)(2) == Approx(240));
  CHECK(names(Scale::linear(-3, 3, 0, 1, 3)) == Names{"-4", "-2", "0", "2", "4"});
  CHECK(names(Scale::linear(0, 60000, 0, 1, 3)) == Names{"0", "20k", "40k", "60k"});
  CHECK(names(Scale::linear(0, 1.5e6, 0, 1, 3)) == Names{"0", "0.5M", "1M", "1.5M"});
  CHECK(names(Scale::linear(0, 4e-7, 0, 1, 4)) == Names{"0", "1e-7", "2e-7", "3e-7", "4e-7"});
}

TEST_CASE("of every range there are a few ticks, ordered and told apart", "[report]") {
  for (const double size : {1e-9, 3e-5, 0.7, 1.0, 12.0, 999.0, 4.4e7, 1e15}) {
    for (const double from : {-1.0, 0.0, 0.3, 1.0}) {
      const double low = from * size, high = low + size;
      for (const Scale& scale :
           {Scale::linear(low, high, 0, 1, 5), Scale::logarithmic(size, size * 40, 0, 1),
            Scale::logarithmic(size, size * 1.3, 0, 1), Scale::logarithmic(size, size * 1e12, 0, 1)}) {
        const auto& ticks = scale.ticks();
        CHECK(ticks.size() >= 2);
        CHECK(ticks.size() <= 12);
        for (std::size_t i = 1; i < ticks.size(); ++i) {
          CHECK(ticks[i] > ticks[i - 1]);
          CHECK(scale.name_of(ticks[i]) != scale.name_of(ticks[i - 1]));
        }
      }
    }
  }
  // All alike.
  CHECK(Scale::linear(5, 5, 0, 1, 5)(5) == Approx(0.5));
  CHECK(Scale::linear(0, 0, 0, 1, 5)(0) == Approx(0.5));
  CHECK(Scale::logarithmic(3, 3, 0, 1)(3) == Approx(0.5));
}

TEST_CASE("a logarithmic axis has powers of ten, and numbers of ranks are its only ticks", "[report]") {
  const Scale wide = Scale::logarithmic(1, 1e5, 0, 100);
  CHECK(names(wide) == Names{"1", "10", "100", "1000", "10k", "100k"});
  CHECK(wide(10) == Approx(20));
  CHECK(names(Scale::logarithmic(0.4, 6, 0, 1)) == Names{"0.5", "1", "2", "5"});
  const Scale ranks = Scale::at({4, 1, 16}, 0, 100);
  CHECK(names(ranks) == Names{"1", "4", "16"});
  CHECK(ranks(4) - ranks(1) == Approx(ranks(16) - ranks(4)));
}

TEST_CASE("numbers are short", "[report]") {
  CHECK(short_number(1234567) == "1.23M");
  CHECK(short_number(999999) == "1M");
  CHECK(short_number(0.00001234) == "1.23e-5");
  CHECK(short_number(1234) == "1234");
  CHECK(short_number(0.5) == "0.5");
  CHECK(short_number(-2.5e9) == "-2.5B");
  CHECK(short_number(0) == "0");
  CHECK(short_number(std::nan("")).empty());
  CHECK(short_number(866432, 5) == "866.43k");
  CHECK(time_unit(100).seconds == 1);
  CHECK(time_unit(3601).seconds == 60);
  CHECK(std::string(time_unit(1e6).name) == "days");
}
