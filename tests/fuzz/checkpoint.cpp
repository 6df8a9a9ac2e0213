#include "target.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/hf_config.hpp>

// A model's folder: config.json, model.safetensors.index.json, and the headers of two safetensors files with
// as many zero bytes behind them as they ask for.
namespace galapagos::fuzz {
namespace {

constexpr std::uint64_t most_data = 1 << 16;
constexpr std::int64_t most_read = 1 << 16;

std::string file_of(std::string_view header) {
  std::uint64_t data = 0;
  const auto parsed = nlohmann::json::parse(header, nullptr, false);
  if (parsed.is_object()) {
    for (const auto& entry : parsed) {
      if (!entry.is_object() || !entry.contains("data_offsets")) continue;
      for (const auto& offset : entry["data_offsets"])
        if (offset.is_number_unsigned()) data = std::max(data, offset.get<std::uint64_t>());
    }
  }
  const std::uint64_t size = header.size();
  std::string file(sizeof size, '\0');
  std::memcpy(file.data(), &size, sizeof size);
  return file.append(header).append(std::min(data, most_data), '\0');
}

void read(std::string_view input) {
  static const Folder folder;
  const auto parts = cut(input, 4);
  folder.write("config.json", parts[0], true);
  folder.write("model.safetensors.index.json", parts[1], true);
  folder.write("a.safetensors", file_of(parts[2]));
  folder.write("b.safetensors", parts[3].empty() ? "" : file_of(parts[3]), true);
  const Checkpoint checkpoint(folder.path());
  for (const std::string& name : checkpoint.names()) {
    const TensorEntry& entry = checkpoint.entry(name);
    touch(entry.data);
    if (std::ssize(entry.data) <= most_read && type_named(entry.dtype))
      checkpoint.read_float(name, entry.shape);
  }
  checkpoint.fingerprint();
  checkpoint.dtype();
  read_hf_config(folder.path());
}

const Target target("checkpoint", read);

}  // namespace
}  // namespace galapagos::fuzz
