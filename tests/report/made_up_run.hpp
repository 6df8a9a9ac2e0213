#pragma once

#include <filesystem>
#include <string>

namespace galapagos::test {

/// A search of two islands, two layers and three generations: island 1's mutation of generation 2 goes to
/// island 0, where a mutation of it in generation 3 is the best.
void write_search(const std::filesystem::path& folder);

/// The same without its end: half of the last line is written, nothing says where the time went.
void write_half_search(const std::filesystem::path& folder);

/// Adds `text` to a file.
void add_text(const std::filesystem::path& path, const std::string& text);

}  // namespace galapagos::test
