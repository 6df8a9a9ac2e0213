#include "safetensors_exporter.hpp"

#include "fuse.hpp"
#include "python_files.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/checkpoint.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

/// What goes along with the weights as it is.
constexpr std::array companions = {"tokenizer.json",
                                   "tokenizer.model",
                                   "tokenizer_config.json",
                                   "vocab.json",
                                   "merges.txt",
                                   "added_tokens.json",
                                   "chat_template.json",
                                   "special_tokens_map.json",
                                   "generation_config.json",
                                   "chat_template.jinja"};

Json index_of(std::span<const ExportFile> files) {
  std::uint64_t total = 0;
  Json map = Json::object();
  for (const ExportFile& file : files) {
    for (const StoredTensor& tensor : file.tensors) {
      total += tensor.bytes;
      map[tensor.name] = file.name;
    }
  }
  Json index;
  index["metadata"]["total_size"] = total;
  index["weight_map"] = std::move(map);
  return index;
}

class SafetensorsExporter : public Exporter {
 public:
  explicit SafetensorsExporter(std::optional<Reshape> reshape) : reshape_(std::move(reshape)) {}

  std::vector<ExportFile> begin(const ExportedModel& model, std::uint64_t file_bytes) override {
    model_ = &model;
    if (reshape_) reshape();
    std::vector<ExportFile> files;
    std::uint64_t bytes = 0;
    for (const ExportedTensor& tensor : tensors()) {
      if (files.empty() || bytes + tensor.bytes > file_bytes) {
        files.emplace_back();
        bytes = 0;
      }
      bytes += tensor.bytes;
      files.back().tensors.push_back({tensor.name, source_of(tensor.name), 0, tensor.bytes});
    }
    for (std::size_t f = 0; f < files.size(); ++f) {
      files[f].name = files.size() == 1
                          ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", f + 1, files.size());
      lay_out(files[f]);
    }
    return files;
  }

  void tensor(const StoredTensor& stored, std::span<std::byte> out) override { named(stored.name).fill(out); }

  void finish(std::span<const ExportFile> files, const fs::path& folder) override {
    if (files.size() > 1)
      write_file_atomically(folder / "model.safetensors.index.json", index_of(files).dump(2) + "\n");
    for (const char* name : companions) {
      const fs::path from = model_->parent / name;
      // std::filesystem's copying hides a full disk.
      if (fs::exists(from)) write_file_atomically(folder / name, read_file(from));
    }
    copy_templates(folder);
    for (const auto& [name, text] : model_->texts) write_file_atomically(folder / name, text);
    if (reshape_) {
      write_file_atomically(folder / "config.json", reshape_->config(model_->config, fits_).dump(2) + "\n");
      for (const auto& [name, text] : reshape_->code) write_file_atomically(folder / name, text);
    } else if (model_->config.pruned()) {
      write_file_atomically(folder / "configuration_galapagos.py", python::configuration);
      write_file_atomically(folder / "modeling_galapagos.py", python::modeling);
    }
    // What was written has to be readable before it gets its name.
    if (!reshape_ || reshape_->family) read_hf_config(folder);
    if (Checkpoint(folder).stored() != tensors().size())
      throw FailureError("not all tensors were written", folder.string(), "report this as a defect");
  }

 private:
  /// Those that are chosen by name.
  void copy_templates(const fs::path& folder) const {
    const fs::path name = "additional_chat_templates", from = model_->parent / name;
    if (!fs::is_directory(from)) return;
    make_folders(folder / name);
    for (const auto& entry : fs::directory_iterator(from)) {
      if (entry.path().extension() == ".jinja")
        write_file_atomically(folder / name / entry.path().filename(), read_file(entry.path()));
    }
  }

  void reshape() {
    fits_ = reshape_->fits(model_->config);
    reshaped_ = fitted(*model_, fits_);
    if (!reshape_->family) return;
    const Json config = reshape_->config(model_->config, fits_);
    reshaped_ = as_stored(std::move(reshaped_), parse_hf_config(config, model_->parent.string()));
  }

  const std::vector<ExportedTensor>& tensors() const { return reshape_ ? reshaped_ : model_->tensors; }

  const ExportedTensor& named(const std::string& name) const {
    return *std::ranges::find(tensors(), name, &ExportedTensor::name);
  }

  /// Which of the model's tensors it is made of, if of any.
  std::optional<std::size_t> source_of(const std::string& name) const {
    const auto found = std::ranges::find(model_->tensors, name, &ExportedTensor::name);
    if (found == model_->tensors.end()) return std::nullopt;
    return static_cast<std::size_t>(found - model_->tensors.begin());
  }

  void lay_out(ExportFile& file) const {
    std::vector<TensorRecord> records;
    for (const StoredTensor& stored : file.tensors)
      records.push_back({stored.name, named(stored.name).dtype, named(stored.name).shape, stored.bytes});
    SafetensorsLayout layout = lay_out_safetensors(file.name, records);
    file.head = std::move(layout.head);
    for (std::size_t i = 0; i < records.size(); ++i) file.tensors[i].place = layout.places[i];
  }

  std::optional<Reshape> reshape_;
  const ExportedModel* model_ = nullptr;
  std::vector<LayerFit> fits_;
  std::vector<ExportedTensor> reshaped_;
};

}  // namespace

std::unique_ptr<Exporter> make_safetensors_exporter(std::optional<Reshape> reshape) {
  return std::make_unique<SafetensorsExporter>(std::move(reshape));
}

}  // namespace galapagos
