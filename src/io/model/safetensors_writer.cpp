#include "safetensors_format.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/safetensors.hpp>

namespace galapagos {
namespace {

std::string quoted(const std::string& text, const std::filesystem::path& path) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    throw FailureError("a name that is not UTF-8: " + printable(text), path.string(), "report this");
  }
}

void check(const TensorRecord& tensor, const std::filesystem::path& path) {
  const auto bytes = safetensors::tensor_bytes(tensor.dtype, tensor.shape);
  if (!bytes || *bytes != tensor.bytes || tensor.name == safetensors::metadata_key) {
    throw FailureError(fmt::format("cannot store tensor '{}' of {} bytes as {} [{}]", printable(tensor.name),
                                   tensor.bytes, printable(tensor.dtype), fmt::join(tensor.shape, ", ")),
                       path.string(), "report this");
  }
}

/// The reference writer's order: wide types first, so that all data are aligned to their type, then by name.
std::vector<const TensorRecord*> in_file_order(std::span<const TensorRecord> tensors) {
  std::vector<const TensorRecord*> order;
  for (const TensorRecord& tensor : tensors) order.push_back(&tensor);
  std::ranges::sort(order, {}, [](const TensorRecord* tensor) {
    return std::pair<int, std::string_view>(-safetensors::type_rank(tensor->dtype).value(), tensor->name);
  });
  return order;
}

void check_unique(std::span<const TensorRecord> tensors, const std::filesystem::path& path) {
  std::vector<std::string_view> names;
  for (const TensorRecord& tensor : tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice == names.end()) return;
  throw FailureError("two tensors named '" + printable(std::string(*twice)) + "'", path.string(),
                     "report this");
}

std::string make_header(const std::vector<const TensorRecord*>& order, const SafetensorsMetadata& metadata,
                        const std::filesystem::path& path) {
  std::vector<std::string> members;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) pairs.push_back(quoted(key, path) + ":" + quoted(value, path));
    members.push_back(fmt::format(R"("{}":{{{}}})", safetensors::metadata_key, fmt::join(pairs, ",")));
  }
  std::uint64_t offset = 0;
  for (const TensorRecord* tensor : order) {
    const std::uint64_t end = offset + tensor->bytes;
    members.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  quoted(tensor->name, path), tensor->dtype, fmt::join(tensor->shape, ","),
                                  offset, end));
    offset = end;
  }
  std::string header = fmt::format("{{{}}}", fmt::join(members, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > safetensors::max_header_bytes) {
    throw FailureError("too many tensors for one safetensors file", path.string(), "report this");
  }
  return header;
}

}  // namespace

SafetensorsLayout lay_out_safetensors(const std::filesystem::path& path,
                                      std::span<const TensorRecord> tensors,
                                      const SafetensorsMetadata& metadata) {
  for (const TensorRecord& tensor : tensors) check(tensor, path);
  check_unique(tensors, path);
  const std::vector<const TensorRecord*> order = in_file_order(tensors);
  const std::string header = make_header(order, metadata, path);
  const std::uint64_t length = header.size();
  SafetensorsLayout layout;
  layout.head.resize(sizeof length);
  std::memcpy(layout.head.data(), &length, sizeof length);
  layout.head += header;
  layout.places.resize(tensors.size());
  std::uint64_t at = layout.head.size();
  for (const TensorRecord* tensor : order) {
    layout.places[static_cast<std::size_t>(tensor - tensors.data())] = at;
    at += tensor->bytes;
  }
  return layout;
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                       const SafetensorsMetadata& metadata) {
  std::vector<TensorRecord> records;
  for (const TensorEntry& tensor : tensors)
    records.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.data.size()});
  const SafetensorsLayout layout = lay_out_safetensors(path, records, metadata);
  const auto part = part_path(path);
  {
    FileDescriptor file(part, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(std::as_bytes(std::span(layout.head)), 0);
    for (std::size_t i = 0; i < tensors.size(); ++i) file.write_at(tensors[i].data, layout.places[i]);
  }
  publish_file(part, path);
}

}  // namespace galapagos
