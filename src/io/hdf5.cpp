#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file_remedy.hpp>
#include <galapagos/io/hdf5.hpp>

namespace galapagos {
namespace {

// The library prints its error stack to stderr unless told not to; its innermost message goes into our own
// instead.
void be_quiet() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

/// Why a call failed: the library's innermost message, and the errno of the system that any of them names.
struct Reason {
  std::string text;
  int error = 0;  ///< 0: none is named
};

Reason innermost_reason() {
  Reason reason;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned position, const H5E_error2_t* error, void* found) -> herr_t {
        if (error->desc == nullptr) return 0;
        Reason& into = *static_cast<Reason*>(found);
        if (position == 0) into.text = error->desc;
        const char* number = std::strstr(error->desc, "errno = ");
        if (number != nullptr && into.error == 0) into.error = std::atoi(number + std::strlen("errno = "));
        return 0;
      },
      &reason);
  H5Eclear2(H5E_DEFAULT);
  if (reason.text.empty()) reason.text = "it is not as expected";
  return reason;
}

std::string write_remedy(const Reason& reason) {
  if (reason.error != 0) return remedy_for(reason.error);
  return "free space there, or check the quota and the permissions, then run the same command again";
}

hid_t half_type() {
  static const hid_t type = [] {
    const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(half, 15, 10, 5, 0, 10);
    H5Tset_ebias(half, 15);
    H5Tset_size(half, 2);
    return half;
  }();
  return type;
}

hid_t hdf5_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::u8:
      return H5T_STD_U8LE;
    case Hdf5Type::u64:
      return H5T_STD_U64LE;
    case Hdf5Type::i32:
      return H5T_STD_I32LE;
    case Hdf5Type::i64:
      return H5T_STD_I64LE;
    case Hdf5Type::f32:
      return H5T_IEEE_F32LE;
    case Hdf5Type::f64:
      return H5T_IEEE_F64LE;
    case Hdf5Type::f16:
      return half_type();
    case Hdf5Type::bf16:
      return H5T_STD_U16LE;  // numpy has no bfloat16; the attribute dtype says what the words are
  }
  return H5I_INVALID_HID;
}

constexpr std::array all_types = {Hdf5Type::u8,  Hdf5Type::u64, Hdf5Type::i32, Hdf5Type::i64,
                                  Hdf5Type::f32, Hdf5Type::f64, Hdf5Type::f16, Hdf5Type::bf16};

/// The library locks files unless told otherwise, which not all file systems can. What is written is guarded
/// by a lock of ours (core/run_lock.hpp). HDF5_USE_FILE_LOCKING goes before this.
Hdf5Handle access_without_locks() {
  Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
#if H5_VERSION_GE(1, 14, 0) || (H5_VERS_MINOR == 12 && H5_VERS_RELEASE >= 1) || \
    (H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7)
  H5Pset_file_locking(access.get(), false, true);
#else
  ::setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);  // all that older versions listen to
#endif
  return access;
}

Hdf5Handle file_access() {
  Hdf5Handle access = access_without_locks();
  H5Pset_alignment(access.get(), 64 << 10, 1 << 20);  // large datasets begin at stripes
  H5Pset_meta_block_size(access.get(), 1 << 20);
  return access;
}

/// Contiguous, its space allocated at once, not filled. Kept, as a list of properties takes longer to make
/// than a dataset.
hid_t dataset_creation() {
  static const hid_t list = [] {
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(creation, H5D_CONTIGUOUS);
    H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(creation, false);
    return creation;
  }();
  return list;
}

hid_t with_groups_above() {
  static const hid_t list = [] {
    const hid_t creation = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(creation, 1);
    return creation;
  }();
  return list;
}

/// Closes a file of this rank alone. One that cannot be written to the end is written into nothing: the
/// library would else keep it half closed, and crash over it as MPI ends. It tries anew what has failed, once
/// only.
herr_t close_file(hid_t file) {
  if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) {
    int* descriptor = nullptr;
    const int nowhere = ::memfd_create("unwritten", MFD_CLOEXEC);
    if (nowhere >= 0 && H5Fget_vfd_handle(file, H5P_DEFAULT, reinterpret_cast<void**>(&descriptor)) >= 0)
      ::dup2(nowhere, *descriptor);
    if (nowhere >= 0) ::close(nowhere);
    for (int tries = 0; tries < 4 && H5Fflush(file, H5F_SCOPE_GLOBAL) < 0; ++tries) continue;
  }
  return H5Fclose(file);
}

std::filesystem::path folder_or_here(const std::filesystem::path& path) {
  const auto folder = path.parent_path();
  return folder.empty() ? "." : folder;
}

// Calls transfer(memory space, file space, offset in bytes) for pieces of at most 1 GiB of a part of a
// one-dimensional dataset that begins at element `first`.
template <typename Transfer>
void for_pieces(const Hdf5Handle& dataset, std::uint64_t element, std::uint64_t first, std::uint64_t bytes,
                const Transfer& transfer) {
  constexpr std::uint64_t piece = std::uint64_t{1} << 30;
  const Hdf5Handle space(H5Dget_space(dataset.get()), H5Sclose);
  for (std::uint64_t at = 0; at < bytes; at += piece) {
    const hsize_t start = first + at / element, count = std::min(piece, bytes - at) / element;
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &count, nullptr);
    const Hdf5Handle memory(H5Screate_simple(1, &count, nullptr), H5Sclose);
    transfer(memory.get(), space.get(), at);
  }
}

}  // namespace

std::size_t size_of(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::u8:
      return 1;
    case Hdf5Type::f16:
    case Hdf5Type::bf16:
      return 2;
    case Hdf5Type::i32:
    case Hdf5Type::f32:
      return 4;
    default:
      return 8;
  }
}

Hdf5File Hdf5File::create(const std::filesystem::path& path) {
  be_quiet();
  const Hdf5Handle access = file_access();
  Hdf5File file({H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), close_file}, path);
  if (file.file_.get() < 0) {
    const Reason reason = innermost_reason();
    throw ResourceError(
        "cannot create the file: " + reason.text, path.string(),
        reason.error != 0 && reason.error != ENOENT
            ? remedy_for(reason.error)
            : "check that the folder " + folder_or_here(path).string() + " exists and can be written");
  }
  return file;
}

Hdf5File Hdf5File::open(const std::filesystem::path& path) {
  be_quiet();
  if (!std::filesystem::exists(path))
    throw InputError("there is no such file", path.string(), "check the path");
  Hdf5File file({H5Fopen(path.c_str(), H5F_ACC_RDONLY, access_without_locks().get()), H5Fclose}, path);
  if (file.file_.get() < 0) file.read_failed("cannot open the file", "/");
  return file;
}

Hdf5File Hdf5File::open_to_change(const std::filesystem::path& path) {
  be_quiet();
  Hdf5File file({H5Fopen(path.c_str(), H5F_ACC_RDWR, access_without_locks().get()), close_file}, path);
  if (file.file_.get() < 0) file.read_failed("cannot open the file for writing", "/");
  return file;
}

Hdf5File Hdf5File::open_parallel(const std::filesystem::path& path, const Communicator& comm) {
  be_quiet();
  const Hdf5Handle access = file_access();
  H5Pset_fapl_mpio(access.get(), comm.handle(), MPI_INFO_NULL);
  Hdf5File file({H5Fopen(path.c_str(), H5F_ACC_RDWR, access.get()), H5Fclose}, path);
  if (file.file_.get() < 0) file.read_failed("cannot open the file on all ranks", "/");
  return file;
}

void Hdf5File::create_group(const std::string& name) {
  const Hdf5Handle group(H5Gcreate2(file_.get(), name.c_str(), with_groups_above(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Gclose);
  if (group.get() < 0) write_failed("cannot create a group", name);
}

void Hdf5File::create_dataset(const std::string& name, Hdf5Type type,
                              const std::vector<std::uint64_t>& shape) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                         H5Sclose);
  const Hdf5Handle dataset(H5Dcreate2(file_.get(), name.c_str(), hdf5_type(type), space.get(), H5P_DEFAULT,
                                      dataset_creation(), H5P_DEFAULT),
                           H5Dclose);
  if (dataset.get() < 0) write_failed("cannot create a dataset", name);
}

void Hdf5File::write(const std::string& name, Hdf5Type type, std::span<const std::byte> bytes) {
  const auto [dataset, info] = open_dataset(name);
  if (info.type != type || info.elements * size_of(type) != bytes.size()) {
    throw InputError("dataset " + name + " has another type or size than what is to be written",
                     path_.string(), "the file is damaged: make it anew");
  }
  if (bytes.empty()) return;
  const Hdf5Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const std::vector<hsize_t> extents(info.shape.begin(), info.shape.end());
  std::uint64_t row = size_of(type);
  for (std::size_t i = 1; i < extents.size(); ++i) row *= extents[i];
  constexpr std::uint64_t piece = std::uint64_t{1} << 30;
  const std::uint64_t rows_at_once = std::max<std::uint64_t>(piece / row, 1);
  for (std::uint64_t first = 0; first < extents[0]; first += rows_at_once) {
    std::vector<hsize_t> start(extents.size(), 0), count(extents);
    start[0] = first;
    count[0] = std::min<std::uint64_t>(rows_at_once, extents[0] - first);
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr);
    const Hdf5Handle memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                            H5Sclose);
    if (H5Dwrite(dataset.get(), hdf5_type(type), memory.get(), space.get(), H5P_DEFAULT,
                 bytes.data() + first * row) < 0) {
      write_failed("cannot write", name);
    }
  }
}

std::uint64_t Hdf5File::place_of(const std::string& name, Hdf5Type type, std::uint64_t bytes) const {
  const auto [dataset, info] = open_dataset(name);
  const haddr_t place = H5Dget_offset(dataset.get());
  if (info.type != type || info.elements * size_of(type) != bytes || place == HADDR_UNDEF) {
    throw InputError("dataset " + name + " has another type or size than what is to be written, or no place",
                     path_.string(), "the file is damaged: make it anew");
  }
  return place;
}

void Hdf5File::read(const std::string& name, Hdf5Type type, std::span<std::byte> bytes) const {
  const Opened opened = open_dataset(name);
  if (opened.info.type != type || opened.info.elements * size_of(type) != bytes.size()) {
    throw InputError("dataset " + name + " has another type or size than expected", path_.string(),
                     "make the database anew");
  }
  read_whole(opened, bytes, name);
}

void Hdf5File::read_whole(const Opened& opened, std::span<std::byte> bytes, const std::string& name) const {
  if (bytes.empty()) return;
  if (H5Dread(opened.dataset.get(), hdf5_type(opened.info.type), H5S_ALL, H5S_ALL, H5P_DEFAULT,
              bytes.data()) < 0)
    read_failed("cannot read", name);
}

Hdf5File::Opened Hdf5File::open_part(const std::string& name, Hdf5Type type, std::uint64_t first,
                                     std::uint64_t bytes) const {
  Opened opened = open_dataset(name);
  const Hdf5DatasetInfo& info = opened.info;
  if (info.type != type || info.shape.size() != 1 || bytes % size_of(type) != 0 || first > info.elements ||
      bytes / size_of(type) > info.elements - first) {
    throw InputError("dataset " + name + " has another type or size than expected", path_.string(),
                     "make the file anew");
  }
  return opened;
}

void Hdf5File::write_part(const std::string& name, Hdf5Type type, std::uint64_t first,
                          std::span<const std::byte> bytes) {
  const Hdf5Handle dataset = open_part(name, type, first, bytes.size()).dataset;
  for_pieces(dataset, size_of(type), first, bytes.size(), [&](hid_t memory, hid_t space, std::uint64_t at) {
    if (H5Dwrite(dataset.get(), hdf5_type(type), memory, space, H5P_DEFAULT, bytes.data() + at) < 0)
      write_failed("cannot write", name);
  });
}

void Hdf5File::read_part(const std::string& name, Hdf5Type type, std::uint64_t first,
                         std::span<std::byte> bytes) const {
  const Hdf5Handle dataset = open_part(name, type, first, bytes.size()).dataset;
  for_pieces(dataset, size_of(type), first, bytes.size(), [&](hid_t memory, hid_t space, std::uint64_t at) {
    if (H5Dread(dataset.get(), hdf5_type(type), memory, space, H5P_DEFAULT, bytes.data() + at) < 0)
      read_failed("cannot read", name);
  });
}

Hdf5File::Opened Hdf5File::open_rows(const std::string& name, Hdf5Type type,
                                     const std::array<std::uint64_t, 2>& shape, std::uint64_t first,
                                     std::uint64_t count) const {
  Opened opened = open_dataset(name);
  if (opened.info.type != type || !std::ranges::equal(opened.info.shape, shape) || first > shape[0] ||
      count > shape[0] - first) {
    throw InputError("dataset " + name + " has another type or shape than expected", path_.string(),
                     "make the file anew");
  }
  return opened;
}

void Hdf5File::read_opened_rows(const Opened& opened, std::uint64_t first, std::span<std::byte> bytes,
                                const std::string& name) const {
  constexpr std::uint64_t piece = std::uint64_t{1} << 30;
  const auto& [dataset, info] = opened;
  const std::uint64_t row = info.shape[1] * size_of(info.type), rows = row == 0 ? 0 : bytes.size() / row;
  const Hdf5Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const std::uint64_t at_once = std::max<std::uint64_t>(1, piece / std::max<std::uint64_t>(row, 1));
  for (std::uint64_t done = 0; done < rows; done += at_once) {
    const hsize_t start[2] = {first + done, 0}, count[2] = {std::min(at_once, rows - done), info.shape[1]};
    H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start, nullptr, count, nullptr);
    const Hdf5Handle memory(H5Screate_simple(2, count, nullptr), H5Sclose);
    if (H5Dread(dataset.get(), hdf5_type(info.type), memory.get(), space.get(), H5P_DEFAULT,
                bytes.data() + done * row) < 0)
      read_failed("cannot read", name);
  }
}

void Hdf5File::read_rows(const std::string& name, Hdf5Type type, const std::array<std::uint64_t, 2>& shape,
                         std::uint64_t first, std::span<std::byte> bytes) const {
  const std::uint64_t row = shape[1] * size_of(type), rows = row == 0 ? 0 : bytes.size() / row;
  const Opened opened = open_rows(name, type, shape, first, rows);
  if (rows * row != bytes.size()) {
    throw InputError("dataset " + name + " has another shape than expected", path_.string(),
                     "make the file anew");
  }
  read_opened_rows(opened, first, bytes, name);
}

void Hdf5File::read_rows(const std::string& name, Hdf5Type type, const std::array<std::uint64_t, 2>& shape,
                         std::uint64_t first, std::uint64_t count, std::vector<std::byte>& bytes) const {
  const Opened opened = open_rows(name, type, shape, first, count);
  bytes.resize(count * shape[1] * size_of(type));
  read_opened_rows(opened, first, bytes, name);
}

Hdf5DatasetInfo Hdf5File::describe(const std::string& name) const {
  return open_dataset(name).info;
}

Hdf5File::Opened Hdf5File::open_dataset(const std::string& name) const {
  Hdf5Handle dataset(H5Dopen2(file_.get(), name.c_str(), H5P_DEFAULT), H5Dclose);
  if (dataset.get() < 0) read_failed("no dataset", name);
  const Hdf5Handle type(H5Dget_type(dataset.get()), H5Tclose);
  const Hdf5Handle space(H5Dget_space(dataset.get()), H5Sclose);
  Hdf5DatasetInfo info{};
  const auto found = std::find_if(all_types.begin(), all_types.end(), [&](Hdf5Type candidate) {
    return H5Tequal(type.get(), hdf5_type(candidate)) > 0;
  });
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (found == all_types.end() || rank < 0 || rank > 3) read_failed("an unexpected kind of dataset", name);
  info.type = *found;
  std::array<hsize_t, 3> extents{};
  H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr);
  info.shape.assign(extents.begin(), extents.begin() + rank);
  info.elements =
      static_cast<std::uint64_t>(std::max<hssize_t>(H5Sget_simple_extent_npoints(space.get()), 0));
  // A few bytes may promise any size. Ours are stored as they are; a repacked file may be smaller by so much.
  constexpr std::uint64_t most_compressed = 1100;
  if (info.elements / most_compressed * size_of(info.type) > H5Dget_storage_size(dataset.get()))
    read_failed("the values are not there of", name);
  return {std::move(dataset), std::move(info)};
}

bool Hdf5File::has(const std::string& name) const {
  std::size_t at = 0;
  while ((at = name.find('/', at + 1)) != std::string::npos) {
    if (H5Lexists(file_.get(), name.substr(0, at).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return H5Lexists(file_.get(), name.c_str(), H5P_DEFAULT) > 0;
}

void Hdf5File::close() {
  const bool flushed = H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) >= 0;
  const Reason reason = flushed ? Reason() : innermost_reason();
  Hdf5Handle closing = std::move(file_);
  (void)closing;
  if (!flushed)
    throw ResourceError("cannot flush the file: " + reason.text, path_.string(), write_remedy(reason));
}

Hdf5File::Opened Hdf5File::open_values(const std::string& name, Hdf5Type type, std::uint64_t most) const {
  Opened opened = open_dataset(name);
  if (opened.info.type != type || opened.info.shape.size() != 1 || opened.info.elements > most) {
    throw InputError("dataset " + name + " has another type or size than expected", path_.string(),
                     "make the database anew");
  }
  return opened;
}

Hdf5File::Opened Hdf5File::open_all(const std::string& name, Hdf5Type type, std::uint64_t count) const {
  Opened opened = open_dataset(name);
  if (opened.info.type != type || opened.info.elements != count) {
    throw InputError("dataset " + name + " has another type or size than expected", path_.string(),
                     "make the file anew");
  }
  return opened;
}

void Hdf5File::read_failed(const std::string& what, const std::string& object) const {
  const Reason reason = innermost_reason();
  const std::string said = fmt::format("{} {}: {}", what, object, reason.text);
  if (is_shortage(reason.error)) throw ResourceError(said, path_.string(), remedy_for(reason.error));
  throw InputError(said, path_.string(),
                   reason.error != 0 ? remedy_for(reason.error)
                                     : "check that this is a complete Galapagos database, or make it anew");
}

void Hdf5File::write_failed(const std::string& what, const std::string& object) const {
  const Reason reason = innermost_reason();
  throw ResourceError(fmt::format("{} {}: {}", what, object, reason.text), path_.string(),
                      write_remedy(reason));
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

}  // namespace galapagos
