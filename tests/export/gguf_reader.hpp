#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace galapagos::test {

/// A GGUF file taken apart by the format's description, knowing nothing of what wrote it.
struct GgufFile {
  using Value = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>,
                             std::vector<double>, std::vector<std::string>>;
  struct Stored {
    std::vector<std::int64_t> shape;  ///< the fastest extent last
    std::uint32_t type = 0;
    std::vector<float> values;
  };

  std::map<std::string, Value> metadata;
  std::map<std::string, Stored> tensors;

  /// Throws std::runtime_error where the file is no such.
  explicit GgufFile(const std::filesystem::path& path);

  template <typename T>
  const T& get(const std::string& key) const {
    return std::get<T>(metadata.at(key));
  }
  std::int64_t number(const std::string& key) const { return get<std::int64_t>(key); }
};

}  // namespace galapagos::test
