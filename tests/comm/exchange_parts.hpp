#pragma once

#include "support/catch.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <vector>

#include <galapagos/comm/collectives.hpp>

namespace galapagos::test {

/// Where rank r's part of so many values ends, for every rank: uneven, the first one empty, or all alike.
inline std::vector<std::uint64_t> bounds_of(int ranks, std::uint64_t unit, bool even) {
  std::vector<std::uint64_t> bounds = {0};
  for (int r = 0; r < ranks; ++r) {
    const auto times = static_cast<std::uint64_t>(ranks == 1 ? 5 : even ? 2 : r * r);
    bounds.push_back(bounds.back() + unit * times);
  }
  return bounds;
}

/// Sums to owners and gathers, all in host memory, against what is known of them.
inline void check_parts(Collectives& collectives, std::uint64_t unit, bool even) {
  const int ranks = collectives.ranks().size();
  const auto me = static_cast<std::size_t>(collectives.ranks().rank());
  const std::vector<std::uint64_t> bounds = bounds_of(ranks, unit, even);
  const auto value = [](std::uint64_t i) { return static_cast<float>(i % 4093); };
  const auto factor = static_cast<float>(ranks * (ranks + 1) / 2);
  std::vector<float> values(bounds.back());
  for (std::uint64_t i = 0; i < values.size(); ++i) values[i] = value(i) * static_cast<float>(me + 1);
  collectives.sum_to_owners(values.data(), bounds);
  std::size_t wrong = 0;
  for (std::uint64_t i = bounds[me]; i < bounds[me + 1]; ++i) wrong += values[i] != factor * value(i) ? 1 : 0;
  CHECK(wrong == 0);

  std::vector<GatheredPart> parts;
  for (std::size_t r = 0; r + 1 < bounds.size(); ++r) {
    parts.push_back({reinterpret_cast<std::byte*>(values.data() + bounds[r]),
                     (bounds[r + 1] - bounds[r]) * sizeof(float), static_cast<int>(r)});
  }
  for (std::uint64_t i = 0; i < values.size(); ++i) {
    if (i < bounds[me] || i >= bounds[me + 1]) values[i] = -1;
  }
  collectives.all_gather_parts(parts);
  for (std::uint64_t i = 0; i < values.size(); ++i) wrong += values[i] != factor * value(i) ? 1 : 0;
  CHECK(wrong == 0);

  // Pieces of odd lengths here and there, each rank with several; and all of them the last rank's.
  for (const bool of_one : {false, true}) {
    std::vector<std::vector<std::byte>> pieces;
    for (std::size_t p = 0; p < 7; ++p) pieces.emplace_back(p == 3 ? 0 : unit * p + 3);
    parts.clear();
    for (std::size_t p = 0; p < pieces.size(); ++p) {
      const int owner = of_one ? ranks - 1 : static_cast<int>(p * p) % ranks;
      parts.push_back({pieces[p].data(), pieces[p].size(), owner});
      for (std::size_t i = 0; i < pieces[p].size() && owner == static_cast<int>(me); ++i)
        pieces[p][i] = static_cast<std::byte>(p * 41 + i % 251);
    }
    collectives.all_gather_parts(parts);
    for (std::size_t p = 0; p < pieces.size(); ++p) {
      for (std::size_t i = 0; i < pieces[p].size(); ++i)
        wrong += pieces[p][i] != static_cast<std::byte>(p * 41 + i % 251) ? 1 : 0;
    }
    CHECK(wrong == 0);
  }
  collectives.all_gather_parts({});
}

/// Sums of bf16 in host memory, against what is known of them: whole numbers up to 256, and of two values at
/// the ends of the communicator one sum that is rounded, to nearest and ties to even.
inline void check_bf16_sum(Collectives& collectives, std::size_t count) {
  struct Rounded {
    float first, last, sum;
  };
  // 8 bits: 1 + 1/256 is a tie that goes down, 1 1/128 + 1/256 one that goes up.
  static constexpr Rounded rounded[] = {{1, 0.00390625F, 1},
                                        {1.0078125F, 0.00390625F, 1.015625F},
                                        {1, 0.005F, 1.0078125F},
                                        {-1, -0.00390625F, -1},
                                        {256, 1, 256},
                                        {3e38F, 3e38F, INFINITY},
                                        {1, -0.99609375F, 0.00390625F},
                                        {-INFINITY, 1, -INFINITY}};
  const int ranks = collectives.ranks().size(), me = collectives.ranks().rank();
  const auto word = [](float value) {
    return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
  };
  const auto nearest = [&](float value) {  // of one that has no more bits than bf16, or 0.005
    return static_cast<std::uint16_t>((std::bit_cast<std::uint32_t>(value) + 0x8000u) >> 16);
  };
  std::vector<std::uint16_t> values(count);
  const auto whole = [](std::size_t i) { return i % 26; };
  for (std::size_t i = 0; i < count; ++i) {
    const Rounded& one = rounded[i % std::size(rounded)];
    if (i % 3 == 0) {
      values[i] = word(static_cast<float>(whole(i) * static_cast<std::size_t>(me + 1)));
    } else {
      values[i] = nearest(me == 0 ? one.first : me + 1 == ranks ? one.last : 0);
    }
  }
  collectives.start_sum_bf16(values.data(), count);
  collectives.finish_sum();
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const Rounded& one = rounded[i % std::size(rounded)];
    const std::size_t factor = static_cast<std::size_t>(ranks * (ranks + 1) / 2);
    const std::uint16_t expected = i % 3 == 0   ? word(static_cast<float>(whole(i) * factor))
                                   : ranks == 1 ? nearest(one.first)
                                                : nearest(one.sum);
    wrong += values[i] != expected ? 1 : 0;
  }
  CHECK(wrong == 0);
}

/// A message of so many bytes from every rank to every other, in one order, all in host memory.
inline void check_messages(Collectives& collectives, std::size_t bytes) {
  const int ranks = collectives.ranks().size(), me = collectives.ranks().rank();
  const auto value = [](int from, int to, std::size_t i) {
    return static_cast<std::byte>((i * 7 + static_cast<std::size_t>(from * 41 + to * 13)) % 251);
  };
  std::vector<std::byte> data(bytes + 1);
  std::size_t wrong = 0;
  for (int from = 0; from < ranks; ++from) {
    for (int to = 0; to < ranks; ++to) {
      if (from == to || (me != from && me != to)) continue;
      data.assign(bytes + 1, std::byte{255});
      if (me == from) {
        for (std::size_t i = 0; i < bytes; ++i) data[i] = value(from, to, i);
        collectives.send(data.data(), bytes, to);
        continue;
      }
      collectives.receive(data.data(), bytes, from);
      for (std::size_t i = 0; i < bytes; ++i) wrong += data[i] != value(from, to, i) ? 1 : 0;
      wrong += data[bytes] != std::byte{255} ? 1 : 0;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace galapagos::test
