#include "model_folder.hpp"

#include "python_files.hpp"

#include <array>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/write_behind.hpp>
#include <galapagos/tensor/staging_buffer.hpp>

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

/// Memory of the host in which tensors are filled and from which they are written, one after the other.
struct Staging {
  Device device;  ///< that they come from
  std::array<StagingBuffer, 2> buffers = {};
};

/// A file on its way to the disk: a tensor is filled while the one before is being written. A failure is kept
/// for finish(), so that what several ranks fill together does not end on one of them.
class FileWriter {
 public:
  FileWriter(fs::path path, std::span<const PlannedTensor> tensors, Staging& staging)
      : path_(std::move(path)), tensors_(tensors), staging_(staging) {
    attempt([&] {
      std::vector<TensorRecord> records;
      for (const PlannedTensor& tensor : tensors)
        records.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.bytes});
      layout_ = lay_out_safetensors(path_, records);
      thread_.emplace(FileDescriptor(part_path(path_), O_WRONLY | O_CREAT | O_TRUNC), 0);
      thread_->lend(std::as_bytes(std::span(layout_.head)), 0);
    });
  }

  void add(std::size_t index) {
    const PlannedTensor& tensor = tensors_[index];
    const std::size_t slot = index % staging_.buffers.size();
    attempt([&] { thread_->wait_for(loans_[slot]); });
    const std::span<std::byte> bytes =
        staging_.buffers[slot].reserve(tensor.bytes, staging_.device, "tensors that wait to be written");
    tensor.fill(bytes);
    attempt([&] { loans_[slot] = thread_->lend(bytes, layout_.places[index]); });
  }

  void check() const {
    if (failure_) std::rethrow_exception(failure_);
  }

  void finish() {
    attempt([&] {
      thread_->drain();
      thread_.reset();
      publish_file(part_path(path_), path_);
    });
    check();
  }

 private:
  template <typename Work>
  void attempt(const Work& work) {
    if (failure_) return;
    try {
      work();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  fs::path path_;
  std::span<const PlannedTensor> tensors_;
  Staging& staging_;
  SafetensorsLayout layout_;
  std::array<WriteBehind::Loan, 2> loans_{};
  std::exception_ptr failure_;
  std::optional<WriteBehind> thread_;  // ends first: it may still be writing
};

/// Every rank writes files of its own.
void write_files(const Communicator& comm, const fs::path& folder, std::span<const File> files,
                 std::span<const PlannedTensor> tensors, Staging& staging) {
  Progress progress("files of this rank", static_cast<std::int64_t>(files.size()) / comm.size());
  for (auto f = static_cast<std::size_t>(comm.rank()); f < files.size();
       f += static_cast<std::size_t>(comm.size())) {
    const File& file = files[f];
    FileWriter writer(folder / file.name, tensors.subspan(file.first, file.last - file.first), staging);
    for (std::size_t i = 0; i < file.last - file.first; ++i) {
      writer.add(i);
      writer.check();
    }
    writer.finish();
    progress.advance();
  }
}

/// Replicas have files of their own, which their shards write in turns. A shard that cannot write still takes
/// part, so that no other is left waiting.
void write_files_of_shards(const ReplicaGrid& grid, const fs::path& folder, std::span<const File> files,
                           std::span<const PlannedTensor> tensors, Staging& staging) {
  std::exception_ptr failure;
  const auto replicas = static_cast<std::size_t>(grid.replicas()),
             shards = static_cast<std::size_t>(grid.shards());
  for (auto f = static_cast<std::size_t>(grid.replica()); f < files.size(); f += replicas) {
    const auto writer = static_cast<int>(f / replicas % shards);
    const std::span<const PlannedTensor> some =
        tensors.subspan(files[f].first, files[f].last - files[f].first);
    std::optional<FileWriter> file;
    run_or_abort([&] {
      if (writer == grid.shard()) file.emplace(folder / files[f].name, some, staging);
      for (std::size_t i = 0; i < some.size(); ++i) {
        if (file) {
          file->add(i);
        } else {
          some[i].contribute(writer);
        }
      }
    });
    if (!file) continue;
    try {
      file->finish();
    } catch (...) {
      if (!failure) failure = std::current_exception();
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

std::uint64_t bytes_of(std::span<const PlannedTensor> tensors) {
  std::uint64_t total = 0;
  for (const PlannedTensor& tensor : tensors) total += tensor.bytes;
  return total;
}

void begin_folder(const fs::path& output, const fs::path& part, std::span<const PlannedTensor> tensors) {
  check_model_folder(output, tensors);
  fs::remove_all(part);  // of a run that was stopped
  fs::create_directories(part);
}

}  // namespace

std::vector<int> writers_of(std::span<const PlannedTensor> tensors, std::uint64_t shard_bytes, int ranks) {
  std::vector<int> writers;
  int file = 0;
  for (const File& cut : cut_files(tensors, shard_bytes)) {
    writers.resize(cut.last, file % ranks);
    ++file;
  }
  return writers;
}

void check_model_folder(const fs::path& output, std::span<const PlannedTensor> tensors) {
  if (fs::exists(output)) {
    throw InputError("there is something already", output.string(), "remove it or choose another --output");
  }
  const std::uint64_t bytes = bytes_of(tensors);
  if (const std::uint64_t free = free_disk_bytes(part_path(output)); bytes > free) {
    throw ResourceError(
        fmt::format("the model needs {} and {} are free", human_bytes(bytes), human_bytes(free)),
        output.string(), "free space there or choose another file system");
  }
}

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
                        const std::function<void(const fs::path& part)>& accompany, const ReplicaGrid* grid,
                        Device device) {
  const fs::path part = part_path(output);
  const std::vector<File> files = cut_files(tensors, shard_bytes);
  agree_at_root(comm, [&] { begin_folder(output, part, tensors); });
  log_info("{} tensors, {}, files: {}", tensors.size(), human_bytes(bytes_of(tensors)), files.size());
  agree(comm, [&] {
    Staging staging{device};
    if (grid != nullptr && grid->shards() > 1) {
      write_files_of_shards(*grid, part, files, tensors, staging);
    } else {
      write_files(comm, part, files, tensors, staging);
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
