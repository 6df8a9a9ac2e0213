#pragma once

#include "reshape.hpp"

#include <memory>
#include <optional>

#include <galapagos/export/exporter.hpp>

namespace galapagos {

/// A Hugging Face folder: safetensors files, with an index where they are several, the model's texts, the
/// parent's tokenizer and generation settings, and for a pruned model the code by which transformers loads
/// it; or one that another code loads, in the shapes that it takes.
std::unique_ptr<Exporter> make_safetensors_exporter(std::optional<Reshape> reshape = {});

}  // namespace galapagos
