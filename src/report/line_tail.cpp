#include "line_tail.hpp"

#include <fstream>
#include <limits>
#include <sys/stat.h>
#include <vector>

namespace galapagos::report {

void LineTail::read(const std::function<void()>& anew, const std::function<void(const std::string&)>& line) {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    if (offset_ != 0) anew();
    offset_ = node_ = 0;
    return;
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (offset_ != 0 && (status.st_ino != node_ || size < offset_)) {
    anew();
    offset_ = 0;
  }
  node_ = status.st_ino;
  if (size <= offset_) return;
  std::ifstream file(path_, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset_));
  for (std::string text; std::getline(file, text) && !file.eof();) {
    offset_ += text.size() + 1;
    if (!text.empty() && text.back() == '\r') text.pop_back();
    if (!text.empty()) line(text);
  }
}

void each_line(const std::filesystem::path& path, const std::function<void(const std::string&)>& line) {
  LineTail(path).read([] {}, line);
}

std::string text_in(const std::filesystem::path& path) {
  constexpr std::streamoff most = std::streamoff{1} << 26;
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > most) return {};
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

double written_at(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(status.st_mtim.tv_sec) + 1e-9 * static_cast<double>(status.st_mtim.tv_nsec);
}

}  // namespace galapagos::report
