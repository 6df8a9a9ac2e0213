#include "write_export.hpp"

#include <array>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/write_behind.hpp>
#include <galapagos/tensor/staging_buffer.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

/// Memory of the host in which tensors are filled and from which they are written, one after the other.
struct Staging {
  Device device;  ///< that they come from
  std::array<StagingBuffer, 2> buffers = {};
};

/// A file on its way to the disk: a tensor is filled while the one before is being written. A failure is kept
/// for finish(), so that what several ranks fill together does not end on one of them.
class FileWriter {
 public:
  FileWriter(const fs::path& folder, const ExportFile& file, Exporter& exporter, Staging& staging)
      : path_(folder / file.name), file_(file), exporter_(exporter), staging_(staging) {
    attempt([&] {
      thread_.emplace(FileDescriptor(part_path(path_), O_WRONLY | O_CREAT | O_TRUNC), 0);
      thread_->lend(std::as_bytes(std::span(file_.head)), 0);
    });
  }

  void add(std::size_t index) {
    const StoredTensor& tensor = file_.tensors[index];
    const std::size_t slot = index % staging_.buffers.size();
    attempt([&] { thread_->wait_for(loans_[slot]); });
    const std::span<std::byte> bytes =
        staging_.buffers[slot].reserve(tensor.bytes, staging_.device, "tensors that wait to be written");
    exporter_.tensor(tensor, bytes);
    attempt([&] { loans_[slot] = thread_->lend(bytes, tensor.place); });
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
  const ExportFile& file_;
  Exporter& exporter_;
  Staging& staging_;
  std::array<WriteBehind::Loan, 2> loans_{};
  std::exception_ptr failure_;
  std::optional<WriteBehind> thread_;  // ends first: it may still be writing
};

/// Every rank writes files of its own.
void write_files(const Communicator& comm, Exporter& exporter, std::span<const ExportFile> files,
                 const fs::path& folder, Staging& staging) {
  std::int64_t mine = 0;
  for (std::size_t f = 0; f < files.size(); ++f) mine += writer_of(f, comm.size()) == comm.rank() ? 1 : 0;
  Progress progress("files of this rank", mine);
  for (std::size_t f = 0; f < files.size(); ++f) {
    if (writer_of(f, comm.size()) != comm.rank()) continue;
    FileWriter writer(folder, files[f], exporter, staging);
    for (std::size_t i = 0; i < files[f].tensors.size(); ++i) {
      writer.add(i);
      writer.check();
    }
    writer.finish();
    progress.advance();
  }
}

/// Replicas have files of their own, which their shards write in turns. A shard that cannot write still takes
/// part, so that no other is left waiting.
void write_files_of_shards(const ReplicaGrid& grid, Exporter& exporter, const ExportedModel& model,
                           std::span<const ExportFile> files, const fs::path& folder, Staging& staging) {
  std::exception_ptr failure;
  const auto replicas = static_cast<std::size_t>(grid.replicas()),
             shards = static_cast<std::size_t>(grid.shards());
  for (auto f = static_cast<std::size_t>(grid.replica()); f < files.size(); f += replicas) {
    const auto writer = static_cast<int>(f / replicas % shards);
    std::optional<FileWriter> file;
    run_or_abort([&] {
      if (writer == grid.shard()) file.emplace(folder, files[f], exporter, staging);
      for (std::size_t i = 0; i < files[f].tensors.size(); ++i) {
        if (file) {
          file->add(i);
        } else if (const auto source = files[f].tensors[i].source) {
          model.tensors[*source].contribute(writer);
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

std::uint64_t bytes_of(std::span<const ExportFile> files) {
  std::uint64_t total = 0;
  for (const ExportFile& file : files)
    for (const StoredTensor& tensor : file.tensors) total += tensor.bytes;
  return total;
}

}  // namespace

void check_export(const fs::path& output, std::span<const ExportFile> files) {
  if (fs::exists(output)) {
    throw InputError("there is something already", output.string(), "remove it or choose another --output");
  }
  const std::uint64_t bytes = bytes_of(files);
  if (const std::uint64_t free = free_disk_bytes(part_path(output)); bytes > free) {
    throw ResourceError(
        fmt::format("the model needs {} and {} are free", human_bytes(bytes), human_bytes(free)),
        output.string(), "free space there or choose another file system");
  }
}

void write_export(const Communicator& comm, Exporter& exporter, const ExportedModel& model,
                  std::span<const ExportFile> files, const fs::path& output, const ReplicaGrid* grid,
                  Device device) {
  const fs::path part = part_path(output);
  agree_at_root(comm, [&] {
    if (!fs::exists(output)) fs::remove_all(part);  // of a run that was stopped
    check_export(output, files);
    make_folders(part);
  });
  std::size_t tensors = 0;
  for (const ExportFile& file : files) tensors += file.tensors.size();
  log_info("{} tensors, {}, files: {}", tensors, human_bytes(bytes_of(files)), files.size());
  agree(comm, [&] {
    Staging staging{device};
    if (grid != nullptr && grid->shards() > 1) {
      write_files_of_shards(*grid, exporter, model, files, part, staging);
    } else {
      write_files(comm, exporter, files, part, staging);
    }
  });
  agree_at_root(comm, [&] {
    exporter.finish(files, part);
    publish_file(part, output);
  });
}

std::map<std::string, std::string> texts_of(const fs::path& folder,
                                            std::initializer_list<const char*> names) {
  std::map<std::string, std::string> texts;
  for (const char* name : names)
    if (fs::exists(folder / name)) texts[name] = read_file(folder / name);
  return texts;
}

}  // namespace galapagos
