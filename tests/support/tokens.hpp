#pragma once

#include "support/files.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace galapagos::test {

/// Sequences as a Megatron pair, `path`.bin and `path`.idx, each a document of its own; `offsets` as in
/// TokenSet.
inline void write_token_pair(const std::filesystem::path& path, std::span<const std::int32_t> tokens,
                             std::span<const std::uint64_t> offsets) {
  std::string index("MMIDIDX\0\0", 9);
  const auto put = [&](auto value) { index.append(reinterpret_cast<const char*>(&value), sizeof value); };
  const std::uint64_t sequences = offsets.size() - 1;
  put(std::uint64_t{1});  // version
  put(std::uint8_t{4});   // of int32
  put(sequences);
  put(sequences + 1);
  for (std::size_t s = 0; s < sequences; ++s) put(static_cast<std::int32_t>(offsets[s + 1] - offsets[s]));
  for (std::size_t s = 0; s < sequences; ++s) put(static_cast<std::int64_t>(4 * offsets[s]));
  for (std::size_t s = 0; s <= sequences; ++s) put(static_cast<std::int64_t>(s));
  write_text(path.string() + ".idx", index);
  write_text(path.string() + ".bin",
             std::string(reinterpret_cast<const char*>(tokens.data()), tokens.size_bytes()));
}

}  // namespace galapagos::test
