#include <fcntl.h>
#include <span>
#include <sstream>

#include <galapagos/core/file.hpp>
#include <galapagos/core/line_file.hpp>

namespace galapagos {

void append_text(const std::filesystem::path& path, const std::string& text) {
  FileDescriptor file(path, O_WRONLY | O_CREAT);
  file.write_at(std::as_bytes(std::span(text)), std::filesystem::file_size(path));
  file.sync();
}

void filter_lines(const std::filesystem::path& path, const std::function<bool(const std::string&)>& keep) {
  if (!std::filesystem::exists(path)) return;
  std::istringstream lines(read_file(path));
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    if (keep(line)) kept += line + "\n";
  }
  write_file_atomically(path, kept);
}

}  // namespace galapagos
