#pragma once

#include "architecture_kind.hpp"
#include "file.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/export/exporter.hpp>

namespace galapagos::gguf {

/// Bytes of a tensor of the file: the checkpoint's tensor that they are made of (the first of several) where
/// they are of any, and how.
struct FilePart {
  std::string source;
  std::uint64_t bytes = 0;
  std::function<void(std::span<std::byte> out)> fill;
};

/// A tensor of the file: how it is listed, and what lies in it one behind the other: of mixtures an expert
/// each, so that no more of them is held at once.
struct FileTensor {
  TensorInfo info;
  std::vector<FilePart> parts;
};

/// The file's name for a tensor of a checkpoint; none where llama.cpp knows no such. An expert's is that of
/// all experts of the layer.
std::optional<std::string> name_of_tensor(const std::string& name);

/// Tensors of the file alone.
FileTensor float_vector(std::string name, std::vector<float> values);
FileTensor zero_matrix(std::string name, std::int64_t rows, std::int64_t columns);

/// Of each row of a tensor to come the old one, where pairs (i, i + pairs) of each head's rows become (2 i, 2
/// i + 1).
std::vector<std::int64_t> interleaved_rows(std::int64_t rows, std::int64_t head_dim, std::int64_t pairs);

/// What a file of the architecture holds of tensors that fit it already; matrices are stored as `type` where
/// their rows consist of whole blocks, and else as fp16. The tensors must outlive the result.
std::vector<FileTensor> file_tensors(const Architecture& architecture, const HfConfig& config,
                                     std::span<const ExportedTensor> tensors, GgufType type);

}  // namespace galapagos::gguf
