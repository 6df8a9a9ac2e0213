#include "target.hpp"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdexcept>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos::fuzz {

Target::Target(const char* its_name, Body its_body) : name(its_name), body(its_body) {
  all().push_back(this);
}

std::vector<const Target*>& Target::all() {
  static std::vector<const Target*> targets;
  return targets;
}

void feed(const Target& target, std::string_view input) {
  static const bool quiet = (start_logging("off", 0), true),
                    tells = ::getenv("GALAPAGOS_FUZZ_TELLS") != nullptr;
  (void)quiet;
  try {
    target.body(input);
  } catch (const Error& error) {
    const std::string said = error.what();
    if (tells) fmt::print(stderr, "{}: {}\n", target.name, said);
    for (const char c : said)
      if (static_cast<unsigned char>(c) < ' ' || c == '\x7f')
        throw std::logic_error("a message that is no line: " + printable(said, 1000));
  }
}

Folder::Folder() {
  const std::filesystem::path memory = "/dev/shm";
  std::string name =
      ((::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path()) /
       "galapagos-fuzz-XXXXXX")
          .string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make a folder " + name);
  path_ = name;
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path Folder::write(const std::string& name, std::string_view content, bool or_none) const {
  const std::filesystem::path path = path_ / name;
  if (or_none && content.empty()) {
    ::unlink(path.c_str());
    return path;
  }
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const bool written =
      file >= 0 && ::write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  if (file >= 0) ::close(file);
  if (!written) throw std::runtime_error("cannot write " + path.string());
  return path;
}

std::vector<std::string_view> cut(std::string_view input, std::size_t parts) {
  constexpr std::string_view line = "\n%%%%\n";
  std::vector<std::string_view> cut(parts);
  for (std::size_t i = 0; i < parts; ++i) {
    const std::size_t at = i + 1 < parts ? input.find(line) : input.npos;
    cut[i] = input.substr(0, at);
    input = at == input.npos ? std::string_view() : input.substr(at + line.size());
  }
  return cut;
}

unsigned take_byte(std::string_view& input) {
  if (input.empty()) return 0;
  const auto byte = static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  return byte;
}

void touch(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (const std::byte byte : bytes) sum += static_cast<unsigned>(byte);
  [[maybe_unused]] volatile unsigned kept = sum;
}

}  // namespace galapagos::fuzz
