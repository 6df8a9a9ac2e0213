#pragma once

#include <memory>
#include <vector>

#include <galapagos/export/export_options.hpp>
#include <galapagos/export/exporter.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos {

/// One GGUF file, or several that llama.cpp loads by the first one's name, of the model as one of llama.cpp's
/// architectures can hold it, its tokenizer within; pruning.json and assignment.txt lie beside. InputError
/// where llama.cpp has no architecture for the model or no such tokenizer.
std::unique_ptr<Exporter> make_gguf_exporter(const ExportOptions& options);

/// The layers as its files hold them, and the bytes of a matrix's element.
std::vector<LayerShape> gguf_shapes(const HfConfig& pruned, const ExportOptions& options);
double gguf_element_bytes(DType stored, const ExportOptions& options);

}  // namespace galapagos
