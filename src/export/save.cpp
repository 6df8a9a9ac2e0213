#include "model_folder.hpp"

#include <algorithm>
#include <map>
#include <vector>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/save.hpp>
#include <galapagos/model/parameter_slices.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

const char* checkpoint_name(DType type) {
  return type == DType::f32 ? "F32" : type == DType::bf16 ? "BF16" : "F16";
}

const char* torch_name(DType type) {
  return type == DType::f32 ? "float32" : type == DType::bf16 ? "bfloat16" : "float16";
}

std::vector<float> values_on_host(const Tensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  const OwnedTensor host =
      tensor.device == Device::cpu ? OwnedTensor() : copy_of(tensor, Device::cpu, "a parameter");
  convert_to_float(tensor.dtype, host->empty() ? tensor.data : host->data, values);
  return values;
}

PlannedTensor planned(const std::string& name, const Shape& shape, DType type) {
  PlannedTensor tensor{name, checkpoint_name(type), {}, 0, {}};
  for (int i = 0; i < shape.rank(); ++i) tensor.shape.push_back(shape[i]);
  tensor.bytes = static_cast<std::uint64_t>(shape.elements()) * size_of(type);
  return tensor;
}

PlannedTensor planned_whole(const NamedTensor& parameter, DType type) {
  PlannedTensor tensor = planned(parameter.name, parameter.tensor.shape, type);
  tensor.fill = [values = parameter.tensor, type](std::span<std::byte> out) {
    convert_from_float(values_on_host(values), type, out.data());
  };
  return tensor;
}

/// Puts a slice's values in their place in the whole parameter.
void place(const ParameterSlice& slice, std::span<const float> values, std::span<float> whole) {
  const std::int64_t columns = slice.whole.rank() == 2 ? slice.whole[1] : 1;
  if (slice.slicing != Slicing::columns) {
    std::copy(values.begin(), values.end(), whole.begin() + slice.range.first * columns);
    return;
  }
  const std::int64_t width = slice.range.count();
  for (std::int64_t row = 0; row < slice.whole[0]; ++row) {
    std::copy_n(values.begin() + row * width, width, whole.begin() + row * columns + slice.range.first);
  }
}

/// A parameter of which each shard has a slice: `slices` of all shards, `own` this one's values.
PlannedTensor planned_slices(const Communicator& shards, const std::vector<ParameterSlice>& slices,
                             const Tensor& own, DType type) {
  constexpr int slice_tag = 71;
  const ParameterSlice& mine = slices[static_cast<std::size_t>(shards.rank())];
  PlannedTensor tensor = planned(mine.name, mine.whole, type);
  const bool held_by_all = mine.slicing == Slicing::none;
  tensor.fill = [&shards, slices, own, type, held_by_all](std::span<std::byte> out) {
    std::vector<float> whole(static_cast<std::size_t>(slices[0].whole.elements()));
    for (int shard = 0; shard < shards.size(); ++shard) {
      const ParameterSlice& slice = slices[static_cast<std::size_t>(shard)];
      const bool here = shard == shards.rank();
      if (slice.shape().elements() == 0 || (held_by_all && shard > 0)) continue;
      std::vector<float> values(static_cast<std::size_t>(slice.shape().elements()));
      if (here) {
        values = values_on_host(own);
      } else {
        shards.receive(std::span(values), shard, slice_tag);
      }
      place(slice, values, whole);
    }
    convert_from_float(whole, type, out.data());
  };
  tensor.contribute = [&shards, own, held_by_all](int writer) {
    if (own.empty() || (held_by_all && shards.rank() > 0)) return;
    const std::vector<float> values = values_on_host(own);
    shards.send(std::span<const float>(values), writer, slice_tag);
  };
  return tensor;
}

/// The parameters of a model of which each shard has its slices.
std::vector<PlannedTensor> planned_slices(const HfConfig& config, std::span<const NamedTensor> parameters,
                                          const ReplicaGrid& grid, DType type) {
  std::map<std::string, Tensor> own;
  for (const NamedTensor& parameter : parameters) own[parameter.name] = parameter.tensor;
  std::vector<std::vector<ParameterSlice>> of_shards;
  for (int shard = 0; shard < grid.shards(); ++shard)
    of_shards.push_back(parameter_slices(config, part_of_model(config, shard, grid.shards())));
  std::vector<PlannedTensor> tensors;
  for (std::size_t i = 0; i < of_shards[0].size(); ++i) {
    std::vector<ParameterSlice> slices;
    for (const std::vector<ParameterSlice>& of_shard : of_shards) slices.push_back(of_shard[i]);
    tensors.push_back(planned_slices(grid.of_replica(), slices, own[slices[0].name], type));
  }
  return tensors;
}

}  // namespace

void save_model(const Communicator& comm, const fs::path& parent, const HfConfig& config,
                std::span<const NamedTensor> parameters, DType dtype, const fs::path& output,
                std::uint64_t shard_bytes, const ReplicaGrid* grid) {
  std::vector<PlannedTensor> tensors;
  if (grid != nullptr && grid->shards() > 1) {
    tensors = planned_slices(config, parameters, *grid, dtype);
  } else {
    for (const NamedTensor& parameter : parameters) tensors.push_back(planned_whole(parameter, dtype));
  }
  const auto accompany = [&](const fs::path& part) {
    copy_companions(parent, part);
    Json json = config.source;
    json["torch_dtype"] = torch_name(dtype);
    json.erase("dtype");  // its name in newer releases of transformers
    write_file_atomically(part / "config.json", json.dump(2) + "\n");
    for (const char* name : {"pruning.json", "assignment.txt"}) {
      copy_if_there(parent / name, part / name);
    }
    if (config.pruned()) write_python_files(part);
  };
  write_model_folder(comm, output, tensors, shard_bytes, accompany, grid);
}

}  // namespace galapagos
