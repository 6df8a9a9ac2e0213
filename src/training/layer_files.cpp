#include "layer_files.hpp"

#include <fmt/format.h>
#include <optional>
#include <span>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/io/safetensors.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos {
namespace {

constexpr const char* file_name = "model.safetensors";
constexpr const char* identity_key = "galapagos_distil";  // in a file's metadata, as the next one
constexpr const char* checksum_key = "xxh64";

/// Of the tensors' bytes, in an order that does not depend on how they lie in the file.
std::string checksum_of(std::span<const TensorEntry> entries) {
  std::uint64_t sum = 0;
  for (const TensorEntry& entry : entries) sum += Hash64().add(entry.name).add(entry.data).value();
  return hex64(sum);
}

}  // namespace

bool has_parameters(const HfConfig& config, std::int64_t layer) {
  return layer_parameters(config, config.layer_shapes[static_cast<std::size_t>(layer)]) > 0;
}

std::filesystem::path LayerFiles::folder(std::int64_t layer) const {
  return layers_ / fmt::format("{:04}", layer);
}

void LayerFiles::write(std::int64_t layer, const StoredLayer& stored) const {
  std::vector<TensorEntry> entries;
  for (std::size_t i = 0; i < stored.names.size(); ++i) {
    entries.push_back(parent_.entry(stored.names[i]));
    if (!stored.bytes.empty()) entries.back().data = stored.bytes[i];
  }
  make_folders(folder(layer));
  write_safetensors(folder(layer) / file_name, entries,
                    {{"format", "pt"}, {identity_key, identity_}, {checksum_key, checksum_of(entries)}});
}

void LayerFiles::check(std::int64_t layer) const {
  const std::filesystem::path path = folder(layer) / file_name;
  const auto damaged = [&] {
    return InputError("this layer's file is damaged", path.string(),
                      "remove the layer's folder and those of later layers, and use --resume again");
  };
  std::optional<SafetensorsFile> file;
  try {
    file.emplace(path);
  } catch (const InputError&) {
    throw damaged();
  }
  const auto said = [&](const char* key) {
    const auto found = file->metadata().find(key);
    return found == file->metadata().end() ? std::string() : found->second;
  };
  if (said(identity_key).empty()) throw damaged();
  check_identity(said(identity_key), identity_, "distillation", path.string());
  if (said(checksum_key) != checksum_of(file->entries())) throw damaged();
}

std::int64_t LayerFiles::done() const {
  std::int64_t layer = 0;
  for (; layer < config_.layers; ++layer) {
    if (!has_parameters(config_, layer)) continue;
    if (!std::filesystem::exists(folder(layer) / file_name)) break;
    check(layer);
  }
  return layer;
}

}  // namespace galapagos
