#include "tensors.hpp"

#include "elements.hpp"

#include <array>
#include <charconv>
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
    Name{"mlp.down_proj", "ffn_down"}};

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

/// The rows of the parts, one part below the other, in the order given, or as they come.
std::function<void(std::span<std::byte>)> filler(std::vector<const ExportedTensor*> parts,
                                                 std::vector<std::int64_t> rows, const TensorInfo& info) {
  return [parts = std::move(parts), rows = std::move(rows), info](std::span<std::byte> out) {
    std::vector<std::byte> whole;
    for (const ExportedTensor* part : parts) {
      whole.resize(whole.size() + part->bytes);
      part->fill(std::span(whole).last(part->bytes));
    }
    const DType stored = type_of(*parts.front());
    const std::int64_t elements = elements_of(info.shape);
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
}

FileTensor make(std::string name, std::vector<const ExportedTensor*> parts, GgufType type,
                std::vector<std::int64_t> rows = {}) {
  for (const ExportedTensor* part : parts) {
    if (type_of(*part) != type_of(*parts.front()))
      throw InputError("q, k and v are of different types", part->name,
                       "give a checkpoint whose weights all have the same type");
  }
  FileTensor tensor;
  tensor.info = {std::move(name), parts.front()->shape, type, 0};
  std::int64_t& first = tensor.info.shape.front();
  first = 0;
  for (const ExportedTensor* part : parts) first += part->shape.front();
  if (tensor.info.shape.size() == 1) tensor.info.type = GgufType::f32;  // as llama.cpp adds and multiplies
  const std::int64_t row = tensor.info.shape.back();
  if (tensor.info.type == GgufType::q8_0 && row % block != 0) tensor.info.type = GgufType::f16;
  tensor.info.bytes = bytes_of(tensor.info.type, elements_of(tensor.info.shape));
  tensor.source = parts.front()->name;
  tensor.fill = filler(std::move(parts), std::move(rows), tensor.info);
  return tensor;
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
  for (const Name& known : in_layers) {
    if (behind.substr(end + 1) == known.checkpoint)
      return fmt::format("blk.{}.{}{}", behind.substr(0, end), known.file, kind);
  }
  return std::nullopt;
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
  for (const ExportedTensor& tensor : tensors) by_name[tensor.name] = &tensor;
  std::vector<FileTensor> made;
  for (auto& [name, divisors] : rope_factors(architecture, config)) {
    FileTensor factors;
    factors.info = {name, {std::ssize(divisors)}, GgufType::f32, divisors.size() * sizeof(float)};
    factors.fill = [divisors](std::span<std::byte> out) {
      std::memcpy(out.data(), divisors.data(), out.size());
    };
    made.push_back(std::move(factors));
  }
  for (const ExportedTensor& tensor : tensors) {
    // Some checkpoints hold it although it is the embedding; llama.cpp does not count it then.
    if (config.tie_word_embeddings && tensor.name == layer_tensors::head.name) continue;
    const std::optional<std::string> name = name_of_tensor(tensor.name);
    if (!name) {
      log_info("gguf: {} is left out, llama.cpp has no such tensor", tensor.name);
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
