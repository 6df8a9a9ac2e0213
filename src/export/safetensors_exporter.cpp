#include "safetensors_exporter.hpp"

#include "python_files.hpp"

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
  std::vector<ExportFile> begin(const ExportedModel& model, std::uint64_t file_bytes) override {
    model_ = &model;
    std::vector<ExportFile> files;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < model.tensors.size(); ++i) {
      const ExportedTensor& tensor = model.tensors[i];
      if (files.empty() || bytes + tensor.bytes > file_bytes) {
        files.emplace_back();
        bytes = 0;
      }
      bytes += tensor.bytes;
      files.back().tensors.push_back({tensor.name, i, 0, tensor.bytes});
    }
    for (std::size_t f = 0; f < files.size(); ++f) {
      files[f].name = files.size() == 1
                          ? "model.safetensors"
                          : fmt::format("model-{:05}-of-{:05}.safetensors", f + 1, files.size());
      lay_out(files[f]);
    }
    return files;
  }

  void tensor(const StoredTensor& stored, std::span<std::byte> out) override { source_of(stored).fill(out); }

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
    if (model_->config.pruned()) {
      write_file_atomically(folder / "configuration_galapagos.py", python::configuration);
      write_file_atomically(folder / "modeling_galapagos.py", python::modeling);
    }
    // What was written has to be readable before it gets its name.
    read_hf_config(folder);
    if (Checkpoint(folder).stored() != model_->tensors.size())
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

  const ExportedTensor& source_of(const StoredTensor& stored) const {
    return model_->tensors[stored.source.value()];
  }

  void lay_out(ExportFile& file) const {
    std::vector<TensorRecord> records;
    for (const StoredTensor& stored : file.tensors)
      records.push_back({stored.name, source_of(stored).dtype, source_of(stored).shape, stored.bytes});
    SafetensorsLayout layout = lay_out_safetensors(file.name, records);
    file.head = std::move(layout.head);
    for (std::size_t i = 0; i < records.size(); ++i) file.tensors[i].place = layout.places[i];
  }

  const ExportedModel* model_ = nullptr;
};

}  // namespace

std::unique_ptr<Exporter> make_safetensors_exporter() {
  return std::make_unique<SafetensorsExporter>();
}

}  // namespace galapagos
