#include "support/catch.hpp"

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>

namespace {

namespace fs = std::filesystem;

const fs::path root = GALAPAGOS_SOURCE_DIR;

/// "room/name" of a header and of the sources that go with it; what lies deeper in a room keeps its folder.
std::string unit_of(const fs::path& file) {
  const fs::path inside = file.lexically_relative(root);
  auto part = inside.begin();
  if (*part++ == "include") ++part;  // include/galapagos
  fs::path unit;
  while (part != inside.end()) unit /= *part++;
  return unit.replace_extension().generic_string();
}

using Units = std::map<std::string, std::set<std::string>>;

/// Which units of its own room each unit includes.
Units read_units() {
  static const std::regex include(R"re(^#include (?:<(galapagos/[^>]+)>|"([^"]+)"))re");
  Units units;
  for (const fs::path& folder : {root / "src", root / "include/galapagos"}) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
      static const std::set<std::string> kinds = {".cpp", ".hpp", ".cu", ".cuh"};
      if (!kinds.contains(entry.path().extension())) continue;
      const std::string own = unit_of(entry.path());
      std::set<std::string>& others = units[own];
      std::ifstream lines(entry.path());
      std::smatch match;
      for (std::string line; std::getline(lines, line);) {
        if (!std::regex_search(line, match, include)) continue;
        const std::string other =
            match[1].matched ? unit_of(root / "include" / match[1].str())
                             : unit_of((entry.path().parent_path() / match[2].str()).lexically_normal());
        const bool same_room = other.substr(0, other.find('/')) == own.substr(0, own.find('/'));
        if (other != own && same_room) others.insert(other);
      }
    }
  }
  return units;
}

/// What is left once units that include none of the others are taken away, again and again.
Units in_circles(Units units) {
  for (bool some = true; some;) {
    some = std::erase_if(units, [&](const auto& unit) {
             return std::none_of(unit.second.begin(), unit.second.end(),
                                 [&](const std::string& other) { return units.contains(other); });
           }) > 0;
  }
  return units;
}

}  // namespace

TEST_CASE("no files of a room include one another in a circle", "[circles]") {
  const Units units = read_units();
  CHECK(units.size() > 200);
  CHECK(units.at("model/evaluate").contains("model/sequence_score"));
  std::string circle;
  for (const auto& [unit, others] : in_circles(units)) circle += unit + " ";
  INFO(circle);
  CHECK(circle.empty());

  CHECK(in_circles({{"a", {"b"}}, {"b", {"c"}}, {"c", {"b"}}, {"d", {}}}).size() == 3);
}
