#pragma once

#include "support/catch.hpp"

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
