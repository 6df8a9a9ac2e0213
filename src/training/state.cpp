#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <vector>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/io/hdf5.hpp>
#include <galapagos/tensor/staging_buffer.hpp>
#include <galapagos/training/state.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t format_version = 1;
constexpr std::uint64_t most_identity_bytes = 64 << 20;
constexpr const char* last_name = "checkpoint.h5";
constexpr const char* previous_name = "checkpoint.previous.h5";

struct Part {
  const char* name;
  Tensor tensor;
};

std::vector<Part> parts_of(const ShardedAdamW& optimiser) {
  return {{"/master", optimiser.master()},
          {"/first_moment", optimiser.first_moment()},
          {"/second_moment", optimiser.second_moment()}};
}

/// Where in the file's arrays this rank's part begins, and how long they are. Collective over the shards.
struct Place {
  std::uint64_t first = 0, total = 0;

  Place(const Shards& shards, const ShardedAdamW& optimiser) : first(optimiser.first()) {
    if (shards.alone()) {
      total = optimiser.parameters();
      return;
    }
    const std::vector<std::uint64_t> counts = shards.ranks().all_gather(optimiser.parameters());
    for (std::size_t shard = 0; shard < counts.size(); ++shard) {
      if (static_cast<int>(shard) < shards.index()) first += counts[shard];
      total += counts[shard];
    }
  }
};

/// Pieces in which a tensor of another device goes through the host's memory.
constexpr std::int64_t staged_elements = std::int64_t{1} << 24;

/// Calls work(piece of the tensor, its first element, memory of the host for it) for one piece after another;
/// on the CPU for all of it at once, with its own memory.
template <typename Work>
void for_staged_pieces(const Tensor& tensor, const Work& work) {
  const std::int64_t elements = tensor.elements();
  if (tensor.device == Device::cpu) return work(tensor, std::uint64_t{0}, tensor.float_span());
  StagingBuffer buffer;
  for (std::int64_t first = 0; first < elements; first += staged_elements) {
    const Tensor piece = tensor.slice(first, std::min(staged_elements, elements - first));
    const std::span<std::byte> memory = buffer.reserve(piece.bytes(), piece.device, "a training's state");
    work(piece, static_cast<std::uint64_t>(first),
         std::span(reinterpret_cast<float*>(memory.data()), static_cast<std::size_t>(piece.elements())));
  }
}

void make_file(const fs::path& path, const TrainingState& state, std::uint64_t parameters) {
  Hdf5File file = Hdf5File::create(path);
  for (const char* name : {"/master", "/first_moment", "/second_moment"})
    file.create_dataset(name, Hdf5Type::f32, {parameters});
  file.create_dataset("/identity", Hdf5Type::u8, {state.identity.size()});
  file.write("/identity", Hdf5Type::u8, std::as_bytes(std::span(state.identity)));
  file.write_attribute("/", "format_version", format_version);
  file.write_attribute("/", "steps", state.steps);
  file.write_attribute("/", "sequences", static_cast<std::int64_t>(state.data.sequences));
  file.write_attribute("/", "tokens", state.data.tokens);
  file.write_attribute("/", "seconds", state.seconds);
  file.close();
}

TrainingState read_header(const Hdf5File& file, const fs::path& path) {
  if (file.read_integer("/", "format_version") != format_version) {
    throw InputError("a checkpoint of another version", path.string(),
                     "use the version of Galapagos that made it");
  }
  TrainingState state;
  const auto identity = file.read_values<std::uint8_t>("/identity", Hdf5Type::u8, most_identity_bytes);
  state.identity.assign(identity.begin(), identity.end());
  state.steps = file.read_integer("/", "steps");
  state.data.sequences = static_cast<std::uint64_t>(file.read_integer("/", "sequences"));
  state.data.tokens = file.read_integer("/", "tokens");
  state.seconds = file.read_double("/", "seconds");
  if (state.steps < 0 || state.data.tokens < 0)
    throw InputError("the checkpoint is damaged", path.string(), "begin the training anew");
  return state;
}

/// The newest file that can be read.
fs::path choose_file(const fs::path& folder) {
  const fs::path last = folder / last_name, previous = folder / previous_name;
  if (!fs::exists(last) && !fs::exists(previous)) {
    throw InputError("no checkpoint to go on from", folder.string(), "leave --resume out");
  }
  if (!fs::exists(last)) return previous;
  if (!fs::exists(previous)) return last;
  try {
    read_header(Hdf5File::open(last), last);
    return last;
  } catch (const InputError&) {
    log_warning("{} cannot be read: going on from the checkpoint before", last.string());
    return previous;
  }
}

}  // namespace

void save_state(const Communicator& comm, const Shards& shards, const fs::path& folder,
                const TrainingState& state, const ShardedAdamW& optimiser) {
  const Place place(shards, optimiser);
  const fs::path last = folder / last_name, part = part_path(last);
  agree_at_root(comm, [&] { make_file(part, state, place.total); });
  std::optional<Hdf5File> file;
  file.emplace(Hdf5File::open_parallel(part, comm));
  agree(comm, [&] {
    for (const Part& piece : parts_of(optimiser)) {
      for_staged_pieces(piece.tensor, [&](const Tensor& some, std::uint64_t at, std::span<float> host) {
        const auto bytes = std::as_writable_bytes(host);
        if (bytes.data() != some.data)
          copy_bytes(bytes.data(), Device::cpu, some.data, some.device, bytes.size());
        file->write_part(piece.name, Hdf5Type::f32, place.first + at, bytes);
      });
    }
  });
  file->close();
  file.reset();
  agree_at_root(comm, [&] {
    if (fs::exists(last)) fs::rename(last, folder / previous_name);
    publish_file(part, last);
  });
}

TrainingState load_state(const Communicator& comm, const Shards& shards, const fs::path& folder,
                         const std::string& identity, ShardedAdamW& optimiser, const Gradients& scratch) {
  const Place place(shards, optimiser);
  std::string name;
  agree_at_root(comm, [&] {
    const fs::path path = choose_file(folder);
    // Version 0.1.0 had a number for it.
    const FormerNumber former[] = {{"schedule", {"constant", "linear", "cosine"}}};
    check_identity(read_header(Hdf5File::open(path), path).identity, identity, "training", path.string(),
                   former);
    if (path.filename() == previous_name && fs::exists(folder / last_name)) {
      fs::rename(folder / last_name, folder / "checkpoint.damaged.h5");  // must not take its place
    }
    name = path.string();
  });
  const fs::path path = comm.broadcast_string(name);
  TrainingState state;
  agree(comm, [&] {
    const Hdf5File file = Hdf5File::open(path);
    state = read_header(file, path);
    for (const Part& piece : parts_of(optimiser)) {
      if (file.describe(piece.name).elements != place.total) {
        throw InputError("an optimiser state of another model", path.string(), "choose another --output");
      }
      for_staged_pieces(piece.tensor, [&](const Tensor& some, std::uint64_t at, std::span<float> host) {
        const auto bytes = std::as_writable_bytes(host);
        file.read_part(piece.name, Hdf5Type::f32, place.first + at, bytes);
        if (bytes.data() != some.data)
          copy_bytes(some.data, some.device, bytes.data(), Device::cpu, bytes.size());
      });
    }
  });
  optimiser.restore(state.steps, scratch);
  return state;
}

}  // namespace galapagos
