#include "model_folder.hpp"

#include "python_files.hpp"

#include <array>
#include <exception>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>

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

struct File {
  std::string name;
  std::size_t first = 0, last = 0;  // of the tensors
};

std::vector<File> cut_files(std::span<const PlannedTensor> tensors, std::uint64_t most_bytes) {
  std::vector<File> files;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (files.empty() || bytes + tensors[i].bytes > most_bytes) {
      files.push_back({"", i, i});
      bytes = 0;
    }
    bytes += tensors[i].bytes;
    files.back().last = i + 1;
  }
  for (std::size_t s = 0; s < files.size(); ++s) {
    files[s].name = files.size() == 1 ? "model.safetensors"
                                      : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, files.size());
  }
  return files;
}

/// The bytes of a file's tensors.
class Content {
 public:
  explicit Content(std::span<const PlannedTensor> tensors) {
    for (const PlannedTensor& tensor : tensors) {
      storage_.emplace_back(tensor.bytes);
      tensor.fill(storage_.back());
      entries_.push_back({tensor.name, tensor.dtype, tensor.shape, storage_.back()});
    }
  }

  void write(const fs::path& path) const { write_safetensors(path, entries_); }

 private:
  std::vector<std::vector<std::byte>> storage_;
  std::vector<TensorEntry> entries_;
};

/// Every rank writes files of its own.
void write_files(const Communicator& comm, const fs::path& folder, std::span<const File> files,
                 std::span<const PlannedTensor> tensors) {
  Progress progress("files of this rank", static_cast<std::int64_t>(files.size()) / comm.size());
  for (auto f = static_cast<std::size_t>(comm.rank()); f < files.size();
       f += static_cast<std::size_t>(comm.size())) {
    Content(tensors.subspan(files[f].first, files[f].last - files[f].first)).write(folder / files[f].name);
    progress.advance();
  }
}

/// Replicas have files of their own, which their shards write in turns. A shard that cannot write still takes
/// part, so that no other is left waiting.
void write_files_of_shards(const ReplicaGrid& grid, const fs::path& folder, std::span<const File> files,
                           std::span<const PlannedTensor> tensors) {
  std::exception_ptr failure;
  const auto replicas = static_cast<std::size_t>(grid.replicas()),
             shards = static_cast<std::size_t>(grid.shards());
  for (auto f = static_cast<std::size_t>(grid.replica()); f < files.size(); f += replicas) {
    const auto writer = static_cast<int>(f / replicas % shards);
    const std::span<const PlannedTensor> some =
        tensors.subspan(files[f].first, files[f].last - files[f].first);
    std::optional<Content> content;
    run_or_abort([&] {
      if (writer == grid.shard()) {
        content.emplace(some);
      } else {
        for (const PlannedTensor& tensor : some) tensor.contribute(writer);
      }
    });
    if (!content || failure) continue;
    try {
      content->write(folder / files[f].name);
    } catch (...) {
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

Json shard_index(const std::vector<File>& files, std::span<const PlannedTensor> tensors) {
  std::uint64_t total = 0;
  Json map = Json::object();
  for (const File& file : files) {
    for (std::size_t i = file.first; i < file.last; ++i) {
      total += tensors[i].bytes;
      map[tensors[i].name] = file.name;
    }
  }
  Json index;
  index["metadata"]["total_size"] = total;
  index["weight_map"] = std::move(map);
  return index;
}

void begin_folder(const fs::path& output, const fs::path& part, std::uint64_t bytes) {
  if (fs::exists(output)) {
    throw InputError("there is something already", output.string(), "remove it or choose another --output");
  }
  if (const std::uint64_t free = free_disk_bytes(part); bytes > free) {
    throw ResourceError(
        fmt::format("the model needs {} and {} are free", human_bytes(bytes), human_bytes(free)),
        output.string(), "free space there or choose another file system");
  }
  fs::remove_all(part);  // of a run that was stopped
  fs::create_directories(part);
}

}  // namespace

void copy_if_there(const fs::path& from, const fs::path& to) {
  if (fs::exists(from)) write_file_atomically(to, read_file(from));  // std::filesystem's hides a full disk
}

void copy_companions(const fs::path& from, const fs::path& to) {
  for (const char* name : companions) {
    copy_if_there(from / name, to / name);
  }
}

void write_python_files(const fs::path& folder) {
  write_file_atomically(folder / "configuration_galapagos.py", python::configuration);
  write_file_atomically(folder / "modeling_galapagos.py", python::modeling);
}

void write_model_folder(const Communicator& comm, const fs::path& output,
                        std::span<const PlannedTensor> tensors, std::uint64_t shard_bytes,
                        const std::function<void(const fs::path& part)>& accompany, const ReplicaGrid* grid) {
  const fs::path part = part_path(output);
  const std::vector<File> files = cut_files(tensors, shard_bytes);
  std::uint64_t total = 0;
  for (const PlannedTensor& tensor : tensors) total += tensor.bytes;
  agree_at_root(comm, [&] { begin_folder(output, part, total); });
  log_info("{} tensors, {}, files: {}", tensors.size(), human_bytes(total), files.size());
  agree(comm, [&] {
    if (grid != nullptr && grid->shards() > 1) {
      write_files_of_shards(*grid, part, files, tensors);
    } else {
      write_files(comm, part, files, tensors);
    }
  });
  agree_at_root(comm, [&] {
    if (files.size() > 1) {
      write_file_atomically(part / "model.safetensors.index.json",
                            shard_index(files, tensors).dump(2) + "\n");
    }
    accompany(part);
    // What was written has to be readable before it gets its name.
    read_hf_config(part);
    if (Checkpoint(part).names().size() != tensors.size()) {
      throw FailureError("not all tensors were written", part.string(), "report this as a defect");
    }
    publish_file(part, output);
  });
}

}  // namespace galapagos
