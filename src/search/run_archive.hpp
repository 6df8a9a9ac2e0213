#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/search/race_lines.hpp>

namespace galapagos {

/// What a race's archive.jsonl begins with: its header, and what another race has measured, which it is told
/// as generation 0.
struct RunArchive {
  Json header;                       ///< what its measurements hold for
  std::vector<MeasuredTrial> known;  ///< see known_trials()
  std::string fingerprint;           ///< see fingerprint_of(); empty where no archive was given

  /// The lines. What is known stands among them, so that a further race may be given this archive alone.
  std::string text() const;
};

/// The text of an archive. UsageError where it is that of the run in the folder `output`.
std::string read_known_archive(const std::filesystem::path& archive, const std::filesystem::path& output);

/// The header of an archive: of a race that measures as `measured` says (names and values of what decides the
/// result of a measurement) on blocks that were cut with that seed.
Json archive_header(const Json& measured, std::uint64_t blocks_seed);

/// The seed with which the blocks of an archive were cut, from its text. InputError, naming `where`, where it
/// has no header, or one of measurements by other means than `measured`, naming the first difference.
std::uint64_t blocks_seed_of(const std::string& text, const Json& measured, const std::string& where);

/// A checksum of measurements, whatever islands made them, on blocks cut with that seed.
std::string fingerprint_of(const std::vector<MeasuredTrial>& trials, std::uint64_t blocks_seed);

}  // namespace galapagos
