#include "fuse.hpp"
#include "safetensors_exporter.hpp"
#include "write_export.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/save.hpp>
#include <galapagos/model/parameter_slices.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/tensor/staging_buffer.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

const char* torch_name(DType type) {
  return type == DType::f32 ? "float32" : type == DType::bf16 ? "bfloat16" : "float16";
}

/// A parameter's values as they are stored, in memory of the host.
void store(const ops::Context& context, const Tensor& tensor, DType type, std::span<std::byte> out) {
  if (tensor.empty()) return;
  const std::int64_t elements = tensor.elements();
  const Tensor values = tensor.view({elements});
  if (tensor.device == Device::cpu)
    return ops::convert(context, values, {out.data(), values.shape, type, Device::cpu});
  constexpr std::int64_t piece = std::int64_t{1} << 24;
  const OwnedTensor stored({std::min(piece, elements)}, type, tensor.device, "a parameter as it is stored");
  for (std::int64_t first = 0; first < elements; first += piece) {
    const std::int64_t count = std::min(piece, elements - first);
    const Tensor part = stored->slice(0, count);
    ops::convert(context, values.slice(first, count), part);
    copy_bytes(out.data() + static_cast<std::size_t>(first) * size_of(type), Device::cpu, part.data,
               part.device, part.bytes());
  }
}

ExportedTensor planned(const std::string& name, const Shape& shape, DType type) {
  ExportedTensor tensor{name, checkpoint_name(type), {}, 0, {}};
  for (int i = 0; i < shape.rank(); ++i) tensor.shape.push_back(shape[i]);
  tensor.bytes = static_cast<std::uint64_t>(shape.elements()) * size_of(type);
  return tensor;
}

ExportedTensor planned_whole(const ops::Context& context, const NamedTensor& parameter, DType type) {
  ExportedTensor tensor = planned(parameter.name, parameter.tensor.shape, type);
  tensor.fill = [&context, values = parameter.tensor, type](std::span<std::byte> out) {
    store(context, values, type, out);
  };
  return tensor;
}

/// A parameter of which each shard has a slice: `slices` of all shards, `own` this one's values. `staging` is
/// for slices that have no place of their own in the whole.
ExportedTensor planned_slices(const ops::Context& context, const Communicator& shards,
                              const std::vector<ParameterSlice>& slices, const Tensor& own, DType type,
                              const std::shared_ptr<StagingBuffer>& staging) {
  constexpr int slice_tag = 71;
  const ParameterSlice& mine = slices[static_cast<std::size_t>(shards.rank())];
  ExportedTensor tensor = planned(mine.name, mine.whole, type);
  const bool held_by_all = mine.slicing == Slicing::none;
  const auto memory = [&context, staging, type](std::int64_t elements) {
    return staging->reserve(static_cast<std::size_t>(elements) * size_of(type), context.device(),
                            "a slice of a parameter");
  };
  tensor.fill = [&context, &shards, slices, own, type, held_by_all, memory](std::span<std::byte> out) {
    for (int shard = 0; shard < shards.size(); ++shard) {
      const ParameterSlice& slice = slices[static_cast<std::size_t>(shard)];
      const std::int64_t elements = slice.shape().elements();
      if (elements == 0 || (held_by_all && shard > 0)) continue;
      const std::int64_t row = slice.whole.rank() == 2 ? slice.whole[1] : 1;
      const auto bytes = [type](std::int64_t count) {
        return static_cast<std::size_t>(count) * size_of(type);
      };
      const bool columns = slice.slicing == Slicing::columns;
      const std::span<std::byte> values =
          columns ? memory(elements) : out.subspan(bytes(slice.range.first * row), bytes(elements));
      if (shard == shards.rank()) {
        store(context, own, type, values);
      } else {
        shards.receive(values, shard, slice_tag);
      }
      if (!columns) continue;
      const std::size_t width = bytes(slice.range.count());
      for (std::int64_t r = 0; r < slice.whole[0]; ++r) {
        std::memcpy(out.data() + bytes(r * row + slice.range.first),
                    values.data() + static_cast<std::size_t>(r) * width, width);
      }
    }
  };
  tensor.contribute = [&context, &shards, own, type, held_by_all, memory](int writer) {
    if (own.empty() || (held_by_all && shards.rank() > 0)) return;
    const std::span<std::byte> values = memory(own.elements());
    store(context, own, type, values);
    shards.send(std::span<const std::byte>(values), writer, slice_tag);
  };
  return tensor;
}

/// The parameters of a model of which each shard has its slices.
std::vector<ExportedTensor> planned_slices(const ops::Context& context, const HfConfig& config,
                                           std::span<const NamedTensor> parameters, const ReplicaGrid& grid,
                                           DType type) {
  std::map<std::string, Tensor> own;
  for (const NamedTensor& parameter : parameters) own[parameter.name] = parameter.tensor;
  std::vector<std::vector<ParameterSlice>> of_shards;
  for (int shard = 0; shard < grid.shards(); ++shard)
    of_shards.push_back(parameter_slices(config, part_of_model(config, shard, grid.shards())));
  const auto staging = std::make_shared<StagingBuffer>();
  std::vector<ExportedTensor> tensors;
  for (std::size_t i = 0; i < of_shards[0].size(); ++i) {
    std::vector<ParameterSlice> slices;
    for (const std::vector<ParameterSlice>& of_shard : of_shards) slices.push_back(of_shard[i]);
    tensors.push_back(planned_slices(context, grid.of_replica(), slices, own[slices[0].name], type, staging));
  }
  return tensors;
}

}  // namespace

void save_model(const Communicator& comm, const ops::Context& context, const fs::path& parent,
                const HfConfig& config, std::span<const NamedTensor> parameters, DType dtype,
                const fs::path& output, std::uint64_t shard_bytes, const ReplicaGrid* grid) {
  const std::unique_ptr<Exporter> exporter = make_safetensors_exporter();
  ExportedModel model{config, parent, {}, {}};
  std::vector<ExportFile> files;
  agree(comm, [&] {
    model.config.torch_dtype = torch_name(dtype);
    model.config.source["torch_dtype"] = model.config.torch_dtype;
    model.config.source.erase("dtype");  // its name in newer releases of transformers
    if (grid != nullptr && grid->shards() > 1) {
      model.tensors = planned_slices(context, config, parameters, *grid, dtype);
    } else {
      for (const NamedTensor& parameter : parameters)
        model.tensors.push_back(planned_whole(context, parameter, dtype));
    }
    model.tensors = as_stored(std::move(model.tensors), config);
    files = exporter->begin(model, shard_bytes);
    if (!comm.is_root()) return;
    model.texts = texts_of(parent, {"pruning.json", "assignment.txt"});
    model.texts["config.json"] = model.config.source.dump(2) + "\n";
  });
  write_export(comm, *exporter, model, files, output, grid, context.device());
}

void save_changed(const Communicator& comm, const Checkpoint& parent, const HfConfig& config,
                  std::span<const Checkpoint> changed, const fs::path& output, std::uint64_t shard_bytes) {
  const std::unique_ptr<Exporter> exporter = make_safetensors_exporter();
  ExportedModel model{config, parent.folder(), {}, {}};
  std::vector<ExportFile> files;
  agree(comm, [&] {
    for (const std::string& name : parent.names()) {
      const TensorEntry *old = &parent.entry(name), *entry = old;
      for (const Checkpoint& other : changed)
        if (other.has(name)) entry = &other.entry(name);
      if (entry->dtype != old->dtype || entry->shape != old->shape)
        throw InputError("a tensor of another type or shape than the model's", name, "begin the run anew");
      model.tensors.push_back(
          {name, entry->dtype, entry->shape, entry->data.size(), [entry](std::span<std::byte> out) {
             std::copy(entry->data.begin(), entry->data.end(), out.begin());
           }});
    }
    model.tensors = as_stored(std::move(model.tensors), config);
    files = exporter->begin(model, shard_bytes);
    if (comm.is_root())
      model.texts = texts_of(parent.folder(), {"config.json", "pruning.json", "assignment.txt"});
  });
  write_export(comm, *exporter, model, files, output);
}

}  // namespace galapagos
