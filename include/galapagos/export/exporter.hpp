#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <galapagos/io/hf_config.hpp>

namespace galapagos {

/// A tensor of the exported model: what it will be, and how its bytes are made when its turn comes.
struct ExportedTensor {
  std::string name;   ///< as in Hugging Face's checkpoints
  std::string dtype;  ///< as in the parent
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = 0;
  std::function<void(std::span<std::byte> out)> fill;
  /// Of a tensor whose parts several ranks have, what the others do while the `writer` fills.
  std::function<void(int writer)> contribute = {};
};

/// A model as it is exported, the same on every rank.
struct ExportedModel {
  HfConfig config;                           ///< of what is exported, not of its parent
  std::filesystem::path parent;              ///< the folder whose tokenizer goes along
  std::vector<ExportedTensor> tensors;       ///< layer by layer
  std::map<std::string, std::string> texts;  ///< config.json, pruning.json, assignment.txt; only on the root
};

/// A tensor in a file to come.
struct StoredTensor {
  std::string name;                   ///< as the format has it
  std::optional<std::size_t> source;  ///< which of the model's tensors it is made of, where it is of any
  std::uint64_t place = 0;            ///< of its first byte in the file
  std::uint64_t bytes = 0;
};

/// A file to come. One rank writes it.
struct ExportFile {
  std::string name;
  std::string head;                   ///< what it begins with
  std::vector<StoredTensor> tensors;  ///< in the order in which they are filled
};

/// What a format makes of a model: an export is a folder of files. Which rank writes which of them, and how,
/// is no matter of the format.
class Exporter {
 public:
  virtual ~Exporter() = default;

  /// The files, of at most `file_bytes` (or one tensor) each, the same on every rank; nothing is written yet.
  /// The model must outlive the exporter.
  virtual std::vector<ExportFile> begin(const ExportedModel& model, std::uint64_t file_bytes) = 0;

  /// The bytes of a tensor, on the rank that writes its file. Has its source filled once, as other ranks may
  /// contribute to that.
  virtual void tensor(const StoredTensor& stored, std::span<std::byte> out) = 0;

  /// On the root, once all files are in `folder`, which then gets its final name: adds what else goes along
  /// and sees that the whole can be read.
  virtual void finish(std::span<const ExportFile> files, const std::filesystem::path& folder) = 0;
};

}  // namespace galapagos
