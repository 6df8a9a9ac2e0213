#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace galapagos::storm {

/// What runs have left in a folder, file by file, without what may differ from run to run: times, folders,
/// records of how it went. What they should have removed is there, too.
using Findings = std::map<std::string, std::string>;

Findings findings_of(const std::filesystem::path& folder);

/// The first file that is not there, or is another, in words; empty where there is none.
std::string missing(const Findings& expected, const Findings& found);
/// The same, or the first file that is there besides.
std::string difference(const Findings& expected, const Findings& found);

}  // namespace galapagos::storm
