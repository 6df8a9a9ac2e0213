#include "fuse.hpp"

#include <map>
#include <memory>
#include <utility>

#include <galapagos/core/error.hpp>
#include <galapagos/io/fused_tensors.hpp>
#include <galapagos/io/mixture_names.hpp>
#include <galapagos/model/layer_tensors.hpp>

namespace galapagos {
namespace {

/// Parts of the same width, one below the other.
ExportedTensor one_of(const std::string& name, std::vector<ExportedTensor> parts) {
  ExportedTensor whole{name, parts[0].dtype, parts[0].shape, 0, {}};
  whole.shape[0] = 0;
  bool contributed = false;
  for (const ExportedTensor& part : parts) {
    if (part.dtype != whole.dtype || part.shape.size() != 2 || part.shape[1] != whole.shape[1]) {
      throw InputError("parts of '" + name + "' differ in type or width", part.name,
                       "give a checkpoint whose weights all have the same type");
    }
    whole.shape[0] += part.shape[0];
    whole.bytes += part.bytes;
    contributed = contributed || part.contribute;
  }
  const auto shared = std::make_shared<const std::vector<ExportedTensor>>(std::move(parts));
  whole.fill = [shared](std::span<std::byte> out) {
    for (const ExportedTensor& part : *shared) {
      part.fill(out.first(part.bytes));
      out = out.subspan(part.bytes);
    }
  };
  if (contributed) {
    whole.contribute = [shared](int writer) {
      for (const ExportedTensor& part : *shared)
        if (part.contribute) part.contribute(writer);
    };
  }
  return whole;
}

}  // namespace

std::vector<ExportedTensor> as_stored(std::vector<ExportedTensor> tensors, const HfConfig& config) {
  for (ExportedTensor& tensor : tensors) tensor.name = stored_expert_name(config, tensor.name);
  if (!config.fused) return tensors;
  std::map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < tensors.size(); ++i) places[tensors[i].name] = i;
  std::vector<bool> gone(tensors.size());
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    for (const FusedTensor& whole : fused_tensors) {
      const std::string name = layer_tensor_name(layer, whole.name);
      std::vector<ExportedTensor> parts;
      for (const char* part : whole.parts()) {
        const auto place = places.find(layer_tensor_name(layer, part));
        if (place == places.end()) throw FailureError("a part is missing", name, "report this as a defect");
        parts.push_back(std::move(tensors[place->second]));
        gone[place->second] = true;
      }
      const std::size_t first = places[parts[0].name];
      tensors[first] = one_of(name, std::move(parts));
      gone[first] = false;
    }
  }
  std::vector<ExportedTensor> left;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (!gone[i]) left.push_back(std::move(tensors[i]));
  return left;
}

}  // namespace galapagos
