#include "text_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>
#include <optional>
#include <set>

#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/fused_tensors.hpp>
#include <galapagos/io/hub_names.hpp>
#include <galapagos/io/mixture_names.hpp>

namespace galapagos {

const char* checkpoint_name(DType type) {
  return type == DType::f32 ? "F32" : type == DType::bf16 ? "BF16" : "F16";
}

std::optional<DType> type_named(std::string_view dtype) {
  for (const DType type : {DType::f32, DType::bf16, DType::f16})
    if (dtype == checkpoint_name(type)) return type;
  return std::nullopt;
}

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t max_index_bytes = 4 << 20;
constexpr float f16_overflow = 65520.0f;  // the smallest magnitude that rounds to infinity

DType float_type_of(const TensorEntry& entry, const fs::path& folder) {
  const auto type = type_named(entry.dtype);
  if (!type) {
    throw InputError(fmt::format("tensor '{}' is stored as {}", printable(entry.name), entry.dtype),
                     folder.string(), "give a checkpoint in F32, F16 or BF16 (not a quantized one)");
  }
  return *type;
}

/// Converts `count` values from one storage type to another.
void convert(const TensorEntry& entry, DType from, const std::byte* source, DType to, std::byte* target,
             std::size_t count, const fs::path& folder) {
  std::array<float, 4096> chunk;
  for (std::size_t done = 0; done < count; done += chunk.size()) {
    const std::span<float> values(chunk.data(), std::min(chunk.size(), count - done));
    convert_to_float(from, source + done * size_of(from), values);
    const auto too_large = [&](float value) {
      return std::abs(value) >= f16_overflow && std::isfinite(value);
    };
    if (to == DType::f16 && std::ranges::any_of(values, too_large)) {
      throw InputError(fmt::format("tensor '{}' holds values too large for fp16", printable(entry.name)),
                       folder.string(), "choose --precision bf16 or fp32");
    }
    convert_from_float(values, to, target + done * size_of(to));
  }
}

}  // namespace

Checkpoint::Checkpoint(const fs::path& folder) : folder_(folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    throw InputError("no such folder", folder.string(), remedy_for_missing_model(folder.string()));
  }
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(single, ignored)) {
    add_file(single);
  } else if (fs::exists(index, ignored)) {
    add_indexed_files(index);
  } else {
    std::error_code error;
    std::set<fs::path> paths;  // sorted, so that messages do not depend on the file system
    for (fs::directory_iterator file(folder, error), end; !error && file != end; file.increment(error)) {
      if (file->path().extension() == ".safetensors") paths.insert(file->path());
    }
    for (const fs::path& path : paths) add_file(path);
  }
  if (files_.empty()) {
    throw InputError("no *.safetensors files", folder.string(), remedy_for_missing_weights(folder));
  }
  take_text();
  split_fused();
  split_experts();
  check_experts();
}

/// Of a model of text and images the text model alone, under its own names; of one that was saved without its
/// head, as embedding models are, with the names that it has beside one. What belongs to experts has its
/// usual name.
void Checkpoint::take_text() {
  const bool bare = has("embed_tokens.weight") && !has("model.embed_tokens.weight");
  const auto name_of = [&](std::string_view name) {
    const std::string text_name = usual_expert_name(text_name_of(name));
    return bare && !text_name.empty() && !text_name.starts_with("lm_head.") ? "model." + text_name
                                                                            : text_name;
  };
  const auto other = [&](const auto& item) { return name_of(item.first) != item.first; };
  mixtral_names_ = std::ranges::any_of(
      tensors_, [](const auto& item) { return usual_expert_name(item.first) != item.first; });
  if (std::ranges::none_of(tensors_, other)) return;
  std::map<std::string_view, const TensorEntry*> taken;
  for (const auto& [name, entry] : tensors_) {
    const std::string text_name = name_of(name);
    if (text_name.empty()) continue;
    const TensorEntry& own =
        parts_.emplace_back(TensorEntry{text_name, entry->dtype, entry->shape, entry->data});
    if (!taken.emplace(own.name, &own).second) {
      throw InputError(fmt::format("tensor '{}' is there under two names", printable(text_name)),
                       folder_.string(), "remove the files that do not belong to the model");
    }
  }
  tensors_ = std::move(taken);
}

void Checkpoint::add_file(const fs::path& path) {
  files_.emplace_back(path);
  for (const TensorEntry& entry : files_.back().entries()) {
    if (!tensors_.emplace(entry.name, &entry).second) {
      throw InputError(fmt::format("tensor '{}' is in two files of the checkpoint", printable(entry.name)),
                       path.string(), "remove the files that do not belong to the model");
    }
  }
}

void Checkpoint::add_indexed_files(const fs::path& index) {
  const Json parsed = parse_json_leniently(read_file(index, max_index_bytes), index.string());
  if (!parsed.is_object() || !parsed.contains("weight_map") || !parsed["weight_map"].is_object()) {
    throw InputError("no 'weight_map' object", index.string(), "copy or download the file again");
  }
  std::map<std::string, std::vector<std::string>> tensors_of_file;
  for (const auto& [tensor, target] : parsed["weight_map"].items()) {
    const std::string file = target.is_string() ? target.get<std::string>() : "";
    if (file.empty() || file == "." || file == ".." || file.find('/') != std::string::npos ||
        file.find('\0') != std::string::npos) {
      throw InputError(fmt::format("weight_map places tensor '{}' outside the folder or nowhere: {}",
                                   printable(tensor), printable(target.dump(-1, ' ', true))),
                       index.string(), "shards must be plain file names in the model's folder");
    }
    tensors_of_file[file].push_back(tensor);
  }
  for (const auto& [file, tensors] : tensors_of_file) {
    const fs::path path = folder_ / file;
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      throw InputError("a shard that the index names is missing", path.string(),
                       "complete the download of the model");
    }
    add_file(path);
  }
  // Indexes in circulation list tensors that are nowhere (buffers that older releases stored, a head that is
  // tied) or in another of the files.
  for (const auto& [file, tensors] : tensors_of_file) {
    for (const std::string& tensor : tensors)
      if (!has(tensor)) promised_.emplace(usual_expert_name(tensor), file);
  }
}

void Checkpoint::split_fused() {
  const auto any = [&](const FusedTensor& fused) {
    return std::ranges::any_of(tensors_, [&](const auto& item) { return item.first.ends_with(fused.name); });
  };
  if (std::ranges::none_of(fused_tensors, any)) return;
  const HfConfig config = read_config_alone(folder_);
  if (!config.fused) return;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    for (const FusedTensor& fused : fused_tensors) {
      const auto found = tensors_.find(prefix + fused.name);
      if (found == tensors_.end()) continue;
      const std::vector<std::int64_t> rows = rows_of_parts(fused, config);
      const TensorEntry& whole = entry_of_shape(
          found->first, {std::accumulate(rows.begin(), rows.end(), std::int64_t{0}), config.hidden_size});
      tensors_.erase(found);
      const std::size_t row_bytes = whole.data.size() / static_cast<std::size_t>(whole.shape[0]);
      std::size_t first = 0;
      for (std::size_t i = 0; i < fused.count; ++i) {
        const auto bytes = static_cast<std::size_t>(rows[i]) * row_bytes;
        const TensorEntry& part = parts_.emplace_back(TensorEntry{prefix + fused.names[i],
                                                                  whole.dtype,
                                                                  {rows[i], config.hidden_size},
                                                                  whole.data.subspan(first, bytes)});
        first += bytes;
        if (!tensors_.emplace(part.name, &part).second) {
          throw InputError(
              fmt::format("tensor '{}' is there both by itself and in '{}'", part.name, whole.name),
              folder_.string(), "remove the files that do not belong to the model");
        }
      }
    }
  }
}

/// As the files have it, for messages.
std::string Checkpoint::stored_name(std::string_view name) const {
  return mixtral_names_ ? mixtral_name(name) : std::string(name);
}

std::size_t Checkpoint::stored() const {
  std::size_t count = 0;
  for (const SafetensorsFile& file : files_) count += file.entries().size();
  return count;
}

const TensorEntry& Checkpoint::entry(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (const auto promised = promised_.find(std::string(name)); promised != promised_.end()) {
    throw InputError(
        fmt::format("holds no tensor '{}', which the index places there", printable(promised->first)),
        (folder_ / promised->second).string(), "complete the download of the model");
  }
  if (found == tensors_.end()) {
    throw InputError(fmt::format("no tensor '{}' in the checkpoint", printable(stored_name(name))),
                     folder_.string(), "check that config.json and the weights belong to the same model");
  }
  return *found->second;
}

const TensorEntry& Checkpoint::entry_of_shape(std::string_view name, const Shape& expected) const {
  const TensorEntry& found = entry(name);
  if (found.shape != expected) {
    throw InputError(
        fmt::format("tensor '{}' has another shape: expected [{}], found [{}]", printable(stored_name(name)),
                    fmt::join(expected, ", "), fmt::join(found.shape, ", ")),
        folder_.string(), "check that config.json and the weights belong to the same model");
  }
  return found;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : tensors_) names.emplace_back(name);
  return names;
}

std::uint64_t Checkpoint::total_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : tensors_) bytes += entry->data.size();
  return bytes;
}

DType Checkpoint::dtype() const {
  std::map<DType, std::size_t> bytes;
  for (const auto& [name, entry] : tensors_) {
    const auto type = type_named(entry->dtype);
    if (type && entry->shape.size() == 2) bytes[*type] += entry->data.size();
  }
  if (bytes.empty()) {
    throw InputError("no weights in F32, F16 or BF16", folder_.string(),
                     "give a checkpoint in one of these types (not a quantized one)");
  }
  return std::ranges::max_element(bytes, {}, [](const auto& item) { return item.second; })->first;
}

DType Checkpoint::dtype_of(std::string_view name) const {
  return float_type_of(entry(name), folder_);
}

std::vector<float> Checkpoint::read_float(std::string_view name, const Shape& expected) const {
  const TensorEntry& found = entry_of_shape(name, expected);
  const DType type = float_type_of(found, folder_);
  std::vector<float> values(found.data.size() / size_of(type));
  convert_to_float(type, found.data.data(), values);
  return values;
}

/// Rows [first, last) of a 2-D tensor of values of `size` bytes.
std::span<const std::byte> Checkpoint::rows_of(const TensorEntry& found, std::size_t size, std::int64_t first,
                                               std::int64_t last) const {
  if (found.shape.size() != 2 || first < 0 || first > last || last > found.shape[0]) {
    throw FailureError(fmt::format("rows {} to {} of tensor '{}' [{}]", first, last, printable(found.name),
                                   fmt::join(found.shape, ", ")),
                       folder_.string(), "report this");
  }
  const std::size_t row = static_cast<std::size_t>(found.shape[1]) * size;
  return found.data.subspan(static_cast<std::size_t>(first) * row,
                            static_cast<std::size_t>(last - first) * row);
}

void Checkpoint::read_rows(std::string_view name, const Shape& expected, std::int64_t first,
                           std::int64_t last, DType type, std::span<std::byte> out) const {
  const TensorEntry& found = entry_of_shape(name, expected);
  const DType stored = float_type_of(found, folder_);
  const std::span<const std::byte> source = rows_of(found, size_of(stored), first, last);
  if (out.size() != source.size() / size_of(stored) * size_of(type)) {
    throw FailureError(fmt::format("rows {} to {} of tensor '{}' [{}] asked into {} bytes", first, last,
                                   printable(found.name), fmt::join(expected, ", "), out.size()),
                       folder_.string(), "report this");
  }
  if (out.empty()) return;
  if (stored == type) {
    std::memcpy(out.data(), source.data(), out.size());
  } else {
    convert(found, stored, source.data(), type, out.data(), out.size() / size_of(type), folder_);
  }
}

std::optional<std::span<const std::byte>> Checkpoint::rows_in_file(std::string_view name,
                                                                   const Shape& expected, std::int64_t first,
                                                                   std::int64_t last, DType type) const {
  const TensorEntry& found = entry_of_shape(name, expected);
  if (float_type_of(found, folder_) != type) return std::nullopt;
  return rows_of(found, size_of(type), first, last);
}

void Checkpoint::read_columns(std::string_view name, const Shape& expected, std::int64_t first,
                              std::int64_t last, DType type, std::span<std::byte> out) const {
  const TensorEntry& found = entry_of_shape(name, expected);
  const DType stored = float_type_of(found, folder_);
  if (expected.size() != 2 || first < 0 || first > last || last > expected[1] ||
      out.size() != static_cast<std::size_t>((last - first) * expected[0]) * size_of(type)) {
    throw FailureError(fmt::format("columns {} to {} of tensor '{}' [{}] asked into {} bytes", first, last,
                                   printable(found.name), fmt::join(expected, ", "), out.size()),
                       folder_.string(), "report this");
  }
  const auto width = static_cast<std::size_t>(last - first);
  if (width == 0) return;
  for (std::int64_t row = 0; row < expected[0]; ++row) {
    const std::byte* source =
        found.data.data() + static_cast<std::size_t>(row * expected[1] + first) * size_of(stored);
    std::byte* to = out.data() + static_cast<std::size_t>(row) * width * size_of(type);
    if (stored == type) {
      std::memcpy(to, source, width * size_of(type));
    } else {
      convert(found, stored, source, type, to, width, folder_);
    }
  }
}

std::uint64_t Checkpoint::fingerprint() const {
  constexpr std::size_t page = 4096;
  constexpr std::size_t samples = 16;
  Hash64 hash;
  const auto add_text = [&](const std::string& text) { hash.add(std::uint64_t{text.size()}).add(text); };
  for (const auto& [name, entry] : tensors_) {
    add_text(entry->name);
    add_text(entry->dtype);
    hash.add(std::uint64_t{entry->shape.size()});
    for (const std::int64_t extent : entry->shape) hash.add(static_cast<std::uint64_t>(extent));
    const std::size_t pages = (entry->data.size() + page - 1) / page;
    const std::size_t taken = std::min(pages, samples);
    for (std::size_t i = 0; i < taken; ++i) {
      const std::size_t which = taken < samples ? i : i * (pages - 1) / (samples - 1);
      const std::size_t begin = which * page;
      hash.add(entry->data.subspan(begin, std::min(page, entry->data.size() - begin)));
    }
  }
  return hash.value();
}

}  // namespace galapagos
