#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace galapagos {

/// Adds text to the end of a file, made where it is missing, and waits until it is on the disk.
/// ResourceError where it cannot be written.
void append_text(const std::filesystem::path& path, const std::string& text);

/// Keeps the lines of a file for which `keep` says so; nothing where there is no such file.
void filter_lines(const std::filesystem::path& path, const std::function<bool(const std::string&)>& keep);

}  // namespace galapagos
