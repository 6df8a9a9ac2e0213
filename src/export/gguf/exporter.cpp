#include "exporter.hpp"

#include "architecture.hpp"
#include "elements.hpp"
#include "tensors.hpp"
#include "vocabulary.hpp"

#include <algorithm>
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

/// What most of a model is stored as: its first matrix.
DType stored_type(const ExportedModel& model) {
  const auto matrix = std::ranges::find_if(
      model.tensors, [](const ExportedTensor& tensor) { return tensor.shape.size() == 2; });
  return type_named(matrix->dtype).value();
}

std::int64_t column_step(GgufType type) {
  return type == GgufType::q8_0 ? gguf::block : 1;
}

/// What zeros and copies cost, in parameters.
void log_cost(const Architecture& architecture, const HfConfig& config,
              std::span<const gguf::FileTensor> tensors) {
  std::int64_t stored = 0;
  for (const FileTensor& tensor : tensors) {
    if (tensor.source.empty()) continue;
    std::int64_t elements = 1;
    for (const std::int64_t extent : tensor.info.shape) elements *= extent;
    stored += elements;
  }
  const std::int64_t own = parameters_in_model(config);
  if (stored > own) {
    log_info(
        "gguf: as llama.cpp's architecture {} the model has {} parameters, {} of them zeros and copies "
        "({:.1f} %)",
        architecture.name, human_count(static_cast<std::uint64_t>(stored)),
        human_count(static_cast<std::uint64_t>(stored - own)),
        100.0 * static_cast<double>(stored - own) / static_cast<double>(stored));
  }
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
    log_cost(architecture, model.config, tensors_);
    if (const std::int64_t tokens = gguf::context_of(model.config); tokens < model.config.longest_sequence())
      log_warning(
          "gguf: texts of up to {} tokens, the model's window: llama.cpp computes pruned models without",
          tokens);
    Metadata metadata;
    metadata.set("general.architecture", architecture.name);
    metadata.set("general.type", "model");
    metadata.set("general.name", model.parent.filename().string());
    metadata.set("general.description", "made by galapagos " + version_with_revision());
    metadata.set("general.file_type", file_number_of(type));
    metadata.set("general.quantization_version", std::uint32_t{2});
    gguf::describe_architecture(metadata, architecture, model.config, fits);
    gguf::describe_tokenizer(metadata, model.parent, model.config.vocab_size, options_.gguf_pre);
    return lay_out(metadata, file_bytes);
  }

  void tensor(const StoredTensor& stored, std::span<std::byte> out) override {
    tensors_[places_.at(stored.name)].fill(out);
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
    std::vector<std::vector<gguf::TensorInfo>> of_files(1);
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const gguf::TensorInfo& info = tensors_[i].info;
      places_[info.name] = i;
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
        const gguf::TensorInfo& info = of_files[f][i];
        const auto source = sources.find(tensors_[places_.at(info.name)].source);
        file.tensors.push_back({info.name,
                                source == sources.end() ? std::nullopt : std::optional(source->second),
                                layout.places[i], info.bytes});
      }
      files.push_back(std::move(file));
    }
    return files;
  }

  ExportOptions options_;
  const ExportedModel* model_ = nullptr;
  std::vector<ExportedTensor> fitted_;
  std::vector<FileTensor> tensors_;
  std::map<std::string, std::size_t> places_;
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
