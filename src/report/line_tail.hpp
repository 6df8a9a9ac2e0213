#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace galapagos::report {

/// A file that grows line by line, read from where the last reading ended. A last line without its end waits
/// for it.
class LineTail {
 public:
  explicit LineTail(std::filesystem::path path) : path_(std::move(path)) {}

  /// Calls `line` with each new line. Before that `anew` where the file was cut or replaced, so that all that
  /// it said before is void.
  void read(const std::function<void()>& anew, const std::function<void(const std::string&)>& line);

 private:
  std::filesystem::path path_;
  std::uint64_t offset_ = 0, node_ = 0;
};

/// Each whole line of a file; none where there is no such file.
void each_line(const std::filesystem::path& path, const std::function<void(const std::string&)>& line);

/// A small file as text; empty where it cannot be read or has more than 64 MiB.
std::string text_in(const std::filesystem::path& path);

/// When a file was written, seconds since 1970; NaN where there is none.
double written_at(const std::filesystem::path& path);

}  // namespace galapagos::report
