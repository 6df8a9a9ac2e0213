#include "model_folder.hpp"

#include "python_files.hpp"

#include <array>
#include <fmt/format.h>

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

struct Shard {
  std::string file;
  std::size_t first = 0, last = 0;  // of the tensors
};

std::vector<Shard> cut_shards(std::span<const PlannedTensor> tensors, std::uint64_t most_bytes) {
  std::vector<Shard> shards;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (shards.empty() || bytes + tensors[i].bytes > most_bytes) {
      shards.push_back({"", i, i});
      bytes = 0;
    }
    bytes += tensors[i].bytes;
    shards.back().last = i + 1;
  }
  for (std::size_t s = 0; s < shards.size(); ++s) {
    shards[s].file = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
  }
  return shards;
}

void write_shard(const fs::path& path, std::span<const PlannedTensor> tensors) {
  std::vector<std::vector<std::byte>> storage;
  std::vector<TensorEntry> entries;
  for (const PlannedTensor& tensor : tensors) {
    storage.emplace_back(tensor.bytes);
    tensor.fill(storage.back());
    entries.push_back({tensor.name, tensor.dtype, tensor.shape, storage.back()});
  }
  write_safetensors(path, entries);
}

Json shard_index(const std::vector<Shard>& shards, std::span<const PlannedTensor> tensors) {
  std::uint64_t total = 0;
  Json map = Json::object();
  for (const Shard& shard : shards) {
    for (std::size_t i = shard.first; i < shard.last; ++i) {
      total += tensors[i].bytes;
      map[tensors[i].name] = shard.file;
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
                        const std::function<void(const fs::path& part)>& accompany) {
  const fs::path part = part_path(output);
  const std::vector<Shard> shards = cut_shards(tensors, shard_bytes);
  std::uint64_t total = 0;
  for (const PlannedTensor& tensor : tensors) total += tensor.bytes;
  agree_at_root(comm, [&] { begin_folder(output, part, total); });
  log_info("{} tensors, {}, files: {}", tensors.size(), human_bytes(total), shards.size());
  agree(comm, [&] {
    Progress progress("files of this rank", static_cast<std::int64_t>(shards.size()) / comm.size());
    for (std::size_t s = static_cast<std::size_t>(comm.rank()); s < shards.size();
         s += static_cast<std::size_t>(comm.size())) {
      write_shard(part / shards[s].file, tensors.subspan(shards[s].first, shards[s].last - shards[s].first));
      progress.advance();
    }
  });
  agree_at_root(comm, [&] {
    if (shards.size() > 1) {
      write_file_atomically(part / "model.safetensors.index.json",
                            shard_index(shards, tensors).dump(2) + "\n");
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
