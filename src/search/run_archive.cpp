#include "run_archive.hpp"

#include <bit>
#include <cmath>
#include <fmt/format.h>
#include <span>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>

namespace galapagos {
namespace {

constexpr std::int64_t format = 1;

/// Which option says so.
std::string option_of(const std::string& name) {
  if (name.starts_with("database")) return "--database";
  if (name == "calibration") return "--calibration, --calibration-tokens or --sequence-length";
  return "--" + name;
}

}  // namespace

std::string RunArchive::text() const {
  std::string lines = header.dump() + "\n";
  MeasuredTrial told;
  for (std::size_t i = 0; i < known.size(); ++i) {
    told = known[i];
    told.island = told.generation = 0;
    told.index = static_cast<std::int64_t>(i);
    lines += to_line(told) + "\n";
  }
  return lines;
}

std::string read_known_archive(const std::filesystem::path& archive, const std::filesystem::path& output) {
  std::error_code none;
  if (std::filesystem::equivalent(archive, output / "archive.jsonl", none)) {
    throw UsageError("the archive of this very run, which goes on from it anyway", "--archive",
                     "leave it out, or give another --output");
  }
  return read_file(archive);
}

Json archive_header(const Json& measured, std::uint64_t blocks_seed) {
  Json header;
  header["archive"] = format;
  header.update(measured);
  header["blocks-seed"] = blocks_seed;
  return header;
}

std::uint64_t blocks_seed_of(const std::string& text, const Json& measured, const std::string& where) {
  const std::size_t end = text.find('\n');
  const Json header = Json::parse(text.substr(0, end), nullptr, false);
  if (end == std::string::npos || !header.is_object() || !header.contains("archive")) {
    throw InputError("no archive of a race: it does not begin with a line that says what it holds for", where,
                     "give the archive.jsonl of a race by this version or a later one");
  }
  if (header["archive"] != format) {
    throw InputError(
        fmt::format("an archive of format {}, known is {}", printable(header["archive"].dump(), 40), format),
        where, "use the version that has written it, or leave --archive out");
  }
  if (!header.contains("blocks-seed") || !header["blocks-seed"].is_number_unsigned())
    throw InputError("the archive's first line is damaged", where, "leave --archive out");
  const auto value_in = [](const Json& json, const std::string& name) {
    return json.contains(name) ? printable(json[name].dump(), 60) : std::string("nothing");
  };
  Json all = measured;
  all.update(header);  // also what only one of the two has
  for (const auto& [name, unused] : all.items()) {
    if (name == "archive" || name == "blocks-seed") continue;
    if (header.contains(name) && measured.contains(name) && header[name] == measured[name]) continue;
    throw InputError(fmt::format("the archive was measured with another {}: '{}' was {} and is {} now",
                                 option_of(name), name, value_in(header, name), value_in(measured, name)),
                     where, "give what it was measured with, or leave --archive out");
  }
  return header["blocks-seed"].get<std::uint64_t>();
}

std::string fingerprint_of(const std::vector<MeasuredTrial>& trials, std::uint64_t blocks_seed) {
  Hash64 hash;
  hash.add(blocks_seed);
  for (const MeasuredTrial& one : trials) {
    hash.add(static_cast<std::uint64_t>(one.block));
    hash.add(std::as_bytes(std::span(one.trial.assignment)));
    for (const double sum : one.sums)  // one bit pattern for all that is no number
      hash.add(std::isnan(sum) ? UINT64_MAX : std::bit_cast<std::uint64_t>(sum));
  }
  return hex64(hash.value());
}

}  // namespace galapagos
