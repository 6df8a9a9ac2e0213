#include "exporter.hpp"

#include "architecture.hpp"
#include "elements.hpp"
#include "mixture.hpp"
#include "tensors.hpp"
#include "vocabulary.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/version.hpp>
#include <galapagos/io/checkpoint.hpp>
#include <galapagos/model/weights.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using gguf::Architecture, gguf::FileTensor, gguf::Metadata;

GgufType as_stored(DType type) {
  return type == DType::f32 ? GgufType::f32 : type == DType::f16 ? GgufType::f16 : GgufType::bf16;
}

/// What most bytes of a model's matrices are stored as.
DType stored_type(const ExportedModel& model) {
  std::map<DType, std::uint64_t> bytes;
  for (const ExportedTensor& tensor : model.tensors) {
    const auto type = type_named(tensor.dtype);
    if (type && tensor.shape.size() == 2) bytes[*type] += tensor.bytes;
  }
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
  return most == bytes.end() ? DType::f32 : most->first;
}

/// The folder's name. llama.cpp takes spaces beside tokens with them for names with "phi-3" or "phi3" in
/// them, and wants their tokens then.
std::string model_name(const ExportedModel& model) {
  const fs::path& folder = model.parent;
  std::string name = (folder.has_filename() ? folder : folder.parent_path()).filename().string();
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool says_phi3 = lower.find("phi-3") != lower.npos || lower.find("phi3") != lower.npos;
  return says_phi3 && model.config.model_type != "phi3" ? "model" : name;
}

std::int64_t column_step(GgufType type) {
  return type == GgufType::q8_0 ? gguf::block : 1;
}

/// What zeros and copies cost.
void log_cost(const Architecture& architecture, const HfConfig& config, std::span<const LayerFit> fits) {
  HfConfig stored = config;
  stored.layer_shapes = shapes_of(fits);
  stored.tie_word_embeddings = config.tie_word_embeddings && !architecture.untied;
  const std::int64_t own = parameters_in_model(config), all = parameters_in_model(stored);
  const auto kv_heads = [](const HfConfig& model) {
    std::int64_t heads = 0;
    for (const LayerShape& layer : model.layer_shapes) heads += layer.kv_heads;
    return heads;
  };
  if (all == own) return;
  log_info(
      "gguf: as llama.cpp's architecture {} the model has {} parameters, {} of them zeros and copies ({:.1f} "
      "%), and "
      "a cache of {} KV heads, of which it needs {}",
      architecture.name, human_count(static_cast<std::uint64_t>(all)),
      human_count(static_cast<std::uint64_t>(all - own)),
      100.0 * static_cast<double>(all - own) / static_cast<double>(all), kv_heads(stored), kv_heads(config));
}

class GgufExporter : public Exporter {
 public:
  explicit GgufExporter(const ExportOptions& options) : options_(options) {}

  std::vector<ExportFile> begin(const ExportedModel& model, std::uint64_t file_bytes) override {
    model_ = &model;
    const GgufType type = options_.gguf_type.value_or(as_stored(stored_type(model)));
    const Architecture& architecture = gguf::architecture_of(model.config);
    const std::vector<LayerFit> fits = gguf::fits_of(architecture, model.config, column_step(type));
    fitted_ = fitted(model, fits);
    tensors_ = gguf::file_tensors(architecture, model.config, fitted_, type);
    std::ranges::move(gguf::mixture_tensors(architecture, model.config, fits), std::back_inserter(tensors_));
    log_cost(architecture, model.config, fits);
    if (const std::int64_t tokens = gguf::context_of(model.config); tokens < model.config.longest_sequence())
      log_warning(
          "gguf: texts of up to {} tokens, the model's window: llama.cpp computes pruned models without",
          tokens);
    Metadata metadata;
    metadata.set("general.architecture", architecture.name);
    metadata.set("general.type", "model");
    metadata.set("general.name", model_name(model));
    metadata.set("general.description", "made by galapagos " + version_with_revision());
    metadata.set("general.file_type", file_number_of(type));
    metadata.set("general.quantization_version", std::uint32_t{2});
    gguf::describe_architecture(metadata, architecture, model.config, fits);
    gguf::describe_tokenizer(metadata, model.parent, model.config, options_.gguf_pre);
    return lay_out(metadata, file_bytes);
  }

  void tensor(const StoredTensor& stored, std::span<std::byte> out) override {
    parts_.at(stored.name)->fill(out);
  }

  void finish(std::span<const ExportFile> files, const fs::path& folder) override {
    for (const auto& [name, text] : model_->texts)
      if (name != "config.json") write_file_atomically(folder / name, text);
    for (const ExportFile& file : files) {
      const StoredTensor& last = file.tensors.back();
      if (fs::file_size(folder / file.name) != last.place + last.bytes)
        throw FailureError("not all tensors were written", (folder / file.name).string(),
                           "report this as a defect");
    }
  }

 private:
  std::vector<ExportFile> lay_out(const Metadata& metadata, std::uint64_t file_bytes) {
    std::map<std::string, std::size_t> sources;
    for (std::size_t i = 0; i < model_->tensors.size(); ++i) sources[model_->tensors[i].name] = i;
    std::map<std::string, const FileTensor*> tensors;
    std::vector<std::vector<gguf::TensorInfo>> of_files(1);
    std::uint64_t bytes = 0;
    for (const FileTensor& tensor : tensors_) {
      const gguf::TensorInfo& info = tensor.info;
      tensors[info.name] = &tensor;
      if (!of_files.back().empty() && bytes + info.bytes > file_bytes) {
        of_files.emplace_back();
        bytes = 0;
      }
      bytes += info.bytes;
      of_files.back().push_back(info);
    }
    std::vector<ExportFile> files;
    for (std::size_t f = 0; f < of_files.size(); ++f) {
      ExportFile file;
      file.name = of_files.size() == 1 ? "model.gguf"
                                       : fmt::format("model-{:05}-of-{:05}.gguf", f + 1, of_files.size());
      Metadata own = f == 0 ? metadata : Metadata();
      if (of_files.size() > 1) {
        own.set("split.no", static_cast<std::uint16_t>(f));
        own.set("split.count", static_cast<std::uint16_t>(of_files.size()));
        own.set("split.tensors.count", static_cast<std::int32_t>(tensors_.size()));
      }
      gguf::Layout layout = gguf::lay_out(own, of_files[f]);
      file.head = std::move(layout.head);
      for (std::size_t i = 0; i < of_files[f].size(); ++i) {
        add_parts(*tensors.at(of_files[f][i].name), layout.places[i], sources, file);
      }
      files.push_back(std::move(file));
    }
    return files;
  }

  /// What is written at a time.
  void add_parts(const FileTensor& tensor, std::uint64_t place,
                 const std::map<std::string, std::size_t>& sources, ExportFile& file) {
    for (const gguf::FilePart& part : tensor.parts) {
      const std::string name = tensor.parts.size() == 1
                                   ? tensor.info.name
                                   : fmt::format("{}, {}", tensor.info.name, &part - tensor.parts.data());
      const auto source = sources.find(part.source);
      file.tensors.push_back(
          {name, source == sources.end() ? std::nullopt : std::optional(source->second), place, part.bytes});
      parts_[name] = &part;
      place += part.bytes;
    }
  }

  ExportOptions options_;
  const ExportedModel* model_ = nullptr;
  std::vector<ExportedTensor> fitted_;
  std::vector<FileTensor> tensors_;
  std::map<std::string, const gguf::FilePart*> parts_;  // by the names of what is written
};

}  // namespace

std::vector<LayerShape> gguf_shapes(const HfConfig& pruned, const ExportOptions& options) {
  const std::int64_t step = column_step(options.gguf_type.value_or(GgufType::f32));
  return shapes_of(gguf::fits_of(gguf::architecture_of(pruned), pruned, step));
}

double gguf_element_bytes(DType stored, const ExportOptions& options) {
  constexpr std::int64_t elements = 1024;
  return static_cast<double>(gguf::bytes_of(options.gguf_type.value_or(as_stored(stored)), elements)) /
         elements;
}

std::unique_ptr<Exporter> make_gguf_exporter(const ExportOptions& options) {
  return std::make_unique<GgufExporter>(options);
}

}  // namespace galapagos
