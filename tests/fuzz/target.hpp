#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace galapagos::fuzz {

/// What a fuzzer does with an input: it reads it by a reader of ours, and what was read. Registers itself.
struct Target {
  using Body = void (*)(std::string_view input);

  Target(const char* its_name, Body its_body);

  const char* name;
  Body body;

  /// All that this program is linked with.
  static std::vector<const Target*>& all();
};

/// Feeds an input to a target. That takes it or refuses it by an Error in one line; all else is thrown.
void feed(const Target& target, std::string_view input);

/// A folder in memory, where there is one, that is removed at the end of the program.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  /// Writes a file anew; its path. An empty one, where `or_none`, is removed instead.
  std::filesystem::path write(const std::string& name, std::string_view content, bool or_none = false) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Cuts an input at the lines "%%%%"; parts that it lacks are empty, the last one is all that is left.
std::vector<std::string_view> cut(std::string_view input, std::size_t parts);

/// The first byte of an input, 0 where there is none, by which it chooses how the rest is taken.
unsigned take_byte(std::string_view& input);

/// Reads every byte.
void touch(std::span<const std::byte> bytes);

}  // namespace galapagos::fuzz
