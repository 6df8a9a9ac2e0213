#include "tensors.hpp"

#include "elements.hpp"
#include "rope.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/model/layer_tensors.hpp>

namespace galapagos::gguf {
namespace {

struct Name {
  std::string_view checkpoint, file;
};

constexpr std::array outside = {Name{"model.embed_tokens", "token_embd"}, Name{"model.norm", "output_norm"},
                                Name{"lm_head", "output"}};
constexpr std::array in_layers = {
    Name{"input_layernorm", "attn_norm"},    Name{"self_attn.q_proj", "attn_q"},
    Name{"self_attn.k_proj", "attn_k"},      Name{"self_attn.v_proj", "attn_v"},
    Name{"self_attn.o_proj", "attn_output"}, Name{"self_attn.q_norm", "attn_q_norm"},
    Name{"self_attn.k_norm", "attn_k_norm"}, Name{"post_attention_layernorm", "ffn_norm"},
    Name{"mlp.gate_proj", "ffn_gate"},       Name{"mlp.up_proj", "ffn_up"},
    Name{"mlp.down_proj", "ffn_down"},       Name{"mlp.gate", "ffn_gate_inp"}};
constexpr std::array in_experts = {Name{"gate_proj", "ffn_gate_exps"}, Name{"up_proj", "ffn_up_exps"},
                                   Name{"down_proj", "ffn_down_exps"}};

DType type_of(const ExportedTensor& tensor) {
  if (const auto type = type_named(tensor.dtype)) return *type;
  throw InputError("a tensor is stored as " + printable(tensor.dtype, 20), tensor.name,
                   "give a checkpoint in F32, F16 or BF16 (not a quantized one)");
}

std::int64_t elements_of(const std::vector<std::int64_t>& shape) {
  std::int64_t elements = 1;
  for (const std::int64_t extent : shape) elements *= extent;
  return elements;
}

/// Rows of q and k change their places within heads.
bool turns(std::string_view name) {
  return name.find(".attn_q.") != name.npos || name.find(".attn_k.") != name.npos;
}

/// The rows of the sources, one source below the other, in the order given, or as they come.
FilePart part_of(std::vector<const ExportedTensor*> sources, std::vector<std::int64_t> rows,
                 const TensorInfo& info) {
  FilePart part{sources.front()->name, 0, {}};
  for (const ExportedTensor* source : sources) part.bytes += bytes_of(info.type, elements_of(source->shape));
  part.fill = [sources = std::move(sources), rows = std::move(rows), info](std::span<std::byte> out) {
    std::vector<std::byte> whole;
    std::int64_t elements = 0;
    for (const ExportedTensor* source : sources) {
      whole.resize(whole.size() + source->bytes);
      source->fill(std::span(whole).last(source->bytes));
      elements += elements_of(source->shape);
    }
    const DType stored = type_of(*sources.front());
    Converted converted;
    if (rows.empty()) convert(stored, whole.data(), elements, info.type, out.data(), converted);
    const std::int64_t row = rows.empty() ? 0 : elements / std::ssize(rows);
    for (std::size_t r = 0; r < rows.size(); ++r) {
      convert(stored, whole.data() + static_cast<std::size_t>(rows[r] * row) * size_of(stored), row,
              info.type, out.data() + r * bytes_of(info.type, row), converted);
    }
    if (converted.not_finite > 0)
      throw InputError("a tensor holds NaN or infinity", info.name, "check the checkpoint");
    if (converted.cut > 0)
      log_warning(
          "{}: {} elements are larger than fp16 can hold and were cut; --gguf-type f32 or bf16 keeps them",
          info.name, converted.cut);
  };
  return part;
}

TensorInfo info_of(std::string name, std::vector<std::int64_t> shape, GgufType type) {
  TensorInfo info{std::move(name), std::move(shape), type, 0};
  const bool router = info.name.ends_with(".ffn_gate_inp.weight");
  if (info.shape.size() == 1 || router) info.type = GgufType::f32;  // as llama.cpp adds and multiplies
  if (info.type == GgufType::q8_0 && info.shape.back() % block != 0) info.type = GgufType::f16;
  info.bytes = bytes_of(info.type, elements_of(info.shape));
  return info;
}

FileTensor make(std::string name, std::vector<const ExportedTensor*> sources, GgufType type,
                std::vector<std::int64_t> rows = {}) {
  std::vector<std::int64_t> shape = sources.front()->shape;
  shape.front() = 0;
  for (const ExportedTensor* source : sources) {
    shape.front() += source->shape.front();
    if (type_of(*source) != type_of(*sources.front()))
      throw InputError("q, k and v are of different types", source->name,
                       "give a checkpoint whose weights all have the same type");
  }
  FileTensor tensor{info_of(std::move(name), std::move(shape), type), {}};
  tensor.parts.push_back(part_of(std::move(sources), std::move(rows), tensor.info));
  return tensor;
}

/// The experts' matrices, one behind the other.
FileTensor stacked(std::string name, const std::vector<const ExportedTensor*>& experts, GgufType type) {
  std::vector<std::int64_t> shape = experts.front()->shape;
  shape.insert(shape.begin(), std::ssize(experts));
  FileTensor tensor{info_of(std::move(name), std::move(shape), type), {}};
  for (const ExportedTensor* expert : experts) tensor.parts.push_back(part_of({expert}, {}, tensor.info));
  return tensor;
}

/// "up_proj" of "mlp.experts.7.up_proj"; nothing of what is no expert's.
std::string_view module_of_expert(std::string_view in_layer) {
  return in_layer.starts_with("mlp.experts.") ? in_layer.substr(in_layer.rfind('.') + 1) : std::string_view();
}

}  // namespace

std::optional<std::string> name_of_tensor(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  if (dot == name.npos) return std::nullopt;
  const std::string_view module = std::string_view(name).substr(0, dot),
                         kind = std::string_view(name).substr(dot);
  for (const Name& known : outside)
    if (module == known.checkpoint) return std::string(known.file) + std::string(kind);
  constexpr std::string_view prefix = "model.layers.";
  if (!module.starts_with(prefix)) return std::nullopt;
  const std::string_view behind = module.substr(prefix.size());
  const std::size_t end = behind.find('.');
  if (end == behind.npos) return std::nullopt;
  const auto named = [&](std::string_view file) {
    return fmt::format("blk.{}.{}{}", behind.substr(0, end), file, kind);
  };
  const std::string_view in_layer = behind.substr(end + 1);
  for (const Name& known : in_layers)
    if (in_layer == known.checkpoint) return named(known.file);
  const std::string_view in_expert = module_of_expert(in_layer);
  for (const Name& known : in_experts)
    if (in_expert == known.checkpoint) return named(known.file);
  return std::nullopt;
}

FileTensor float_vector(std::string name, std::vector<float> values) {
  FileTensor tensor{info_of(std::move(name), {std::ssize(values)}, GgufType::f32), {}};
  tensor.parts.push_back({"", tensor.info.bytes, [values = std::move(values)](std::span<std::byte> out) {
                            std::memcpy(out.data(), values.data(), out.size());
                          }});
  return tensor;
}

FileTensor zero_matrix(std::string name, std::int64_t rows, std::int64_t columns) {
  FileTensor tensor{info_of(std::move(name), {rows, columns}, GgufType::f16), {}};
  tensor.parts.push_back(
      {"", tensor.info.bytes, [](std::span<std::byte> out) { std::ranges::fill(out, std::byte{0}); }});
  return tensor;
}

std::vector<std::int64_t> interleaved_rows(std::int64_t rows, std::int64_t head_dim, std::int64_t pairs) {
  std::vector<std::int64_t> sources;
  for (std::int64_t head = 0; head < rows; head += head_dim) {
    for (std::int64_t i = 0; i < pairs; ++i) {
      sources.push_back(head + i);
      sources.push_back(head + pairs + i);
    }
    for (std::int64_t i = 2 * pairs; i < head_dim; ++i) sources.push_back(head + i);
  }
  return sources;
}

std::vector<FileTensor> file_tensors(const Architecture& architecture, const HfConfig& config,
                                     std::span<const ExportedTensor> tensors, GgufType type) {
  std::map<std::string, const ExportedTensor*> by_name;
  std::map<std::string, std::vector<const ExportedTensor*>> experts;  // which come by their numbers
  for (const ExportedTensor& tensor : tensors) {
    by_name[tensor.name] = &tensor;
    if (const auto name = name_of_tensor(tensor.name); name && name->ends_with("_exps.weight"))
      experts[*name].push_back(&tensor);
  }
  std::vector<FileTensor> made;
  for (auto& [name, divisors] : rope_factors(architecture, config)) {
    made.push_back(float_vector(name, std::move(divisors)));
  }
  for (const ExportedTensor& tensor : tensors) {
    // Some checkpoints hold it although it is the embedding; llama.cpp does not count it then.
    if (config.tie_word_embeddings && tensor.name == layer_tensors::head.name) continue;
    const std::optional<std::string> name = name_of_tensor(tensor.name);
    if (!name) {
      log_info("gguf: {} is left out, llama.cpp has no such tensor", tensor.name);
      continue;
    }
    const bool embedding = tensor.name == layer_tensors::embedding.name;
    if (embedding && config.tie_word_embeddings && architecture.untied)
      made.push_back(make("output.weight", {&tensor}, type));
    if (name->ends_with("_exps.weight")) {  // all of the layer at the first one's place
      if (const auto found = experts.extract(*name)) made.push_back(stacked(*name, found.mapped(), type));
      continue;
    }
    if (architecture.fused && (name->ends_with(".attn_k.weight") || name->ends_with(".attn_v.weight")))
      continue;
    if (architecture.fused && name->ends_with(".attn_q.weight")) {
      std::vector<const ExportedTensor*> parts;
      for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
        std::string other = tensor.name;
        parts.push_back(by_name.at(other.replace(other.find("q_proj"), 6, part)));
      }
      std::string fused = *name;
      made.push_back(make(fused.replace(fused.find("attn_q."), 7, "attn_qkv."), parts, type));
      continue;
    }
    std::vector<std::int64_t> rows;
    if (architecture.interleaved && turns(*name))
      rows = interleaved_rows(tensor.shape.front(), config.head_dim, config.rope.pairs(config.head_dim));
    made.push_back(make(*name, {&tensor}, type, std::move(rows)));
  }
  return made;
}

}  // namespace galapagos::gguf
