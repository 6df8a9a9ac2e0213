#include "support/catch.hpp"

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include <galapagos/tensor/dtype.hpp>

using namespace galapagos;

TEST_CASE("every 16-bit pattern survives the way to fp32 and back", "[dtype]") {
  std::size_t wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 brain{static_cast<std::uint16_t>(bits)};
    const Float16 half{static_cast<std::uint16_t>(bits)};
    if (std::isnan(to_float(brain))) {
      wrong += std::isnan(to_float(to_bfloat16(to_float(brain)))) ? 0u : 1u;
    } else {
      wrong += to_bfloat16(to_float(brain)).bits == bits ? 0u : 1u;
    }
    if (std::isnan(to_float(half))) {
      wrong += std::isnan(to_float(to_float16(to_float(half)))) ? 0u : 1u;
    } else {
      wrong += to_float16(to_float(half)).bits == bits ? 0u : 1u;
    }
  }
  CHECK(wrong == 0);
  CHECK(to_float(Float16{0x3c00}) == 1.0f);
  CHECK(to_float(Float16{0x0001}) == std::ldexp(1.0f, -24));
  CHECK(to_float(Float16{0x7bff}) == 65504.0f);
  CHECK(to_float(BFloat16{0x3f80}) == 1.0f);
}

TEST_CASE("rounding is to nearest, ties to even", "[dtype]") {
  std::mt19937 random(3);
  const auto nearest = [](auto convert, auto pattern_type, float value) {
    using Stored = decltype(pattern_type);
    const Stored found = convert(value);
    const double error = std::abs(static_cast<double>(to_float(found)) - value);
    for (const int step : {-1, 1}) {
      const Stored other{static_cast<std::uint16_t>(found.bits + step)};
      const float neighbour = to_float(other);
      if (!std::isfinite(neighbour)) continue;
      const double distance = std::abs(static_cast<double>(neighbour) - value);
      if (distance < error || (distance == error && found.bits % 2 != 0)) return false;
    }
    return true;
  };
  for (int i = 0; i < 20000; ++i) {
    const float value = std::ldexp(std::uniform_real_distribution<float>(-1, 1)(random),
                                   static_cast<int>(random() % 30) - 20);
    if (value == 0) continue;
    REQUIRE(nearest(to_float16, Float16{}, value));
    REQUIRE(nearest(to_bfloat16, BFloat16{}, value));
  }
  CHECK(to_float16(65519.0f).bits == 0x7bff);
  CHECK(to_float16(65520.0f).bits == 0x7c00);
  CHECK(to_float16(-1e10f).bits == 0xfc00);
  CHECK(to_bfloat16(3.4e38f).bits == 0x7f80);
  CHECK(to_float16(std::ldexp(1.0f, -25)).bits == 0);  // a tie, to even
  CHECK(to_float16(std::ldexp(1.5f, -25)).bits == 1);
}

TEST_CASE("bulk conversion at any alignment", "[dtype]") {
  std::vector<std::byte> bytes(1 + 4 * 10);
  std::vector<float> values(10), back(10);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 4.5f;
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    convert_from_float(values, type, bytes.data() + 1);
    convert_to_float(type, bytes.data() + 1, back);
    CHECK(back == values);  // these have few digits
  }
}
