#include "model_folder.hpp"

#include <vector>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/export/save.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

const char* checkpoint_name(DType type) {
  return type == DType::f32 ? "F32" : type == DType::bf16 ? "BF16" : "F16";
}

const char* torch_name(DType type) {
  return type == DType::f32 ? "float32" : type == DType::bf16 ? "bfloat16" : "float16";
}

PlannedTensor planned(const NamedTensor& parameter, DType type) {
  PlannedTensor tensor{parameter.name, checkpoint_name(type), {}, 0, {}};
  for (int i = 0; i < parameter.tensor.shape.rank(); ++i) tensor.shape.push_back(parameter.tensor.shape[i]);
  tensor.bytes = static_cast<std::uint64_t>(parameter.tensor.elements()) * size_of(type);
  tensor.fill = [values = parameter.tensor, type](std::span<std::byte> out) {
    std::vector<float> wide(static_cast<std::size_t>(values.elements()));
    const OwnedTensor host =
        values.device == Device::cpu ? OwnedTensor() : copy_of(values, Device::cpu, "a parameter");
    convert_to_float(values.dtype, host->empty() ? values.data : host->data, wide);
    convert_from_float(wide, type, out.data());
  };
  return tensor;
}

}  // namespace

void save_model(const Communicator& comm, const fs::path& parent, const HfConfig& config,
                std::span<const NamedTensor> parameters, DType dtype, const fs::path& output,
                std::uint64_t shard_bytes) {
  std::vector<PlannedTensor> tensors;
  for (const NamedTensor& parameter : parameters) tensors.push_back(planned(parameter, dtype));
  write_model_folder(comm, output, tensors, shard_bytes, [&](const fs::path& part) {
    copy_companions(parent, part);
    Json json = config.source;
    json["torch_dtype"] = torch_name(dtype);
    json.erase("dtype");  // its name in newer releases of transformers
    write_file_atomically(part / "config.json", json.dump(2) + "\n");
    for (const char* name : {"pruning.json", "assignment.txt"}) {
      copy_if_there(parent / name, part / name);
    }
    if (config.pruned()) write_python_files(part);
  });
}

}  // namespace galapagos
