#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/pruning/assignment_text.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t most_assignment_bytes = 16 << 20;

}  // namespace

std::vector<std::int16_t> read_assignment_text(std::span<const ModuleId> modules,
                                               std::span<const std::int16_t> last,
                                               const std::filesystem::path& path) {
  std::map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < modules.size(); ++i) places[name_of(modules[i])] = i;
  std::vector<std::int16_t> assignment(modules.size(), -1);
  std::istringstream lines(read_file(path, most_assignment_bytes));
  std::int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto fail = [&](const std::string& what) {
      throw InputError(fmt::format("line {}: {}", number, what), path.string(),
                       "write a line 'model.layers.0.mlp.down_proj: 5' for every module of the database");
    };
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) fail("no colon in '" + printable(line, 60) + "'");
    const auto place = places.find(line.substr(0, colon));
    if (place == places.end()) fail("unknown module '" + printable(line.substr(0, colon), 60) + "'");
    const std::size_t digit = line.find_first_not_of(' ', colon + 1);
    std::int16_t level = 0;
    const char *begin = line.data() + std::min(digit, line.size()), *end = line.data() + line.size();
    const auto [stopped, error] = std::from_chars(begin, end, level);
    if (error != std::errc() || stopped != end) fail("no level in '" + printable(line, 60) + "'");
    const std::int16_t most = last[place->second];
    if (level < 0 || level > most) {
      fail(fmt::format("level {} of {}, which has levels 0 to {}", level, place->first, most));
    }
    if (assignment[place->second] >= 0) fail(place->first + " stands there twice");
    assignment[place->second] = level;
  }
  for (std::size_t i = 0; i < assignment.size(); ++i) {
    if (assignment[i] >= 0) continue;
    throw InputError("no line for " + name_of(modules[i]), path.string(),
                     "write a line for every module of the database");
  }
  return assignment;
}

}  // namespace galapagos
