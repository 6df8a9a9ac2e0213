#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <hdf5.h>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/comm/communicator.hpp>

namespace galapagos {

/// An HDF5 identifier that closes itself. Not every identifier may outlive MPI: close files before
/// MPI_Finalize.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Hdf5Handle() {
    if (id_ >= 0) close_(id_);
  }

  hid_t get() const { return id_; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

/// Element types of the datasets we keep. In memory and in the file they are the same, so that nothing is
/// ever converted.
enum class Hdf5Type { u8, u64, i32, i64, f32, f64, f16, bf16 };

std::size_t size_of(Hdf5Type type);

/// A dataset found in a file.
struct Hdf5DatasetInfo {
  Hdf5Type type;
  std::vector<std::uint64_t> shape;
  std::uint64_t elements = 0;
};

/// An HDF5 file of contiguous datasets of fixed size. All errors throw: InputError where a file cannot be
/// read as expected, ResourceError where one cannot be written; both with the path, the object and HDF5's own
/// reason.
class Hdf5File {
 public:
  /// A new file on this rank alone, replacing an old one. Metadata is made here and never changed by others.
  static Hdf5File create(const std::filesystem::path& path);
  /// On this rank alone, to read.
  static Hdf5File open(const std::filesystem::path& path);
  /// On this rank alone, to change attributes of a finished file.
  static Hdf5File open_to_change(const std::filesystem::path& path);
  /// Collective: all ranks open the file through MPI-IO to write raw data.
  static Hdf5File open_parallel(const std::filesystem::path& path, const Communicator& comm);

  /// With all groups above it that are not there yet.
  void create_group(const std::string& name);
  /// Contiguous, its space allocated at once, not filled.
  void create_dataset(const std::string& name, Hdf5Type type, const std::vector<std::uint64_t>& shape);

  /// Writes a whole dataset, independently of other ranks, in pieces of at most 1 GiB.
  void write(const std::string& name, Hdf5Type type, std::span<const std::byte> bytes);
  /// Reads a whole dataset; InputError where its type or its size is another.
  void read(const std::string& name, Hdf5Type type, std::span<std::byte> bytes) const;
  /// The same for elements [first, ...) of a one-dimensional dataset.
  void write_part(const std::string& name, Hdf5Type type, std::uint64_t first,
                  std::span<const std::byte> bytes);
  void read_part(const std::string& name, Hdf5Type type, std::uint64_t first,
                 std::span<std::byte> bytes) const;
  /// Whole rows from `first` on of a two-dimensional dataset; InputError where its type or shape is another.
  void read_rows(const std::string& name, Hdf5Type type, const std::array<std::uint64_t, 2>& shape,
                 std::uint64_t first, std::span<std::byte> bytes) const;
  /// The same `count` rows, for which `bytes` is made as large once the dataset is known to have them.
  void read_rows(const std::string& name, Hdf5Type type, const std::array<std::uint64_t, 2>& shape,
                 std::uint64_t first, std::uint64_t count, std::vector<std::byte>& bytes) const;
  /// Where in the file a dataset's bytes lie; InputError where its type or its size is another, or it has no
  /// place.
  std::uint64_t place_of(const std::string& name, Hdf5Type type, std::uint64_t bytes) const;
  Hdf5DatasetInfo describe(const std::string& name) const;
  bool has(const std::string& name) const;

  void write_attribute(const std::string& object, const std::string& name, const std::string& value);
  void write_attribute(const std::string& object, const std::string& name, double value);
  void write_attribute(const std::string& object, const std::string& name, std::int64_t value);
  bool has_attribute(const std::string& object, const std::string& name) const;
  std::string read_string(const std::string& object, const std::string& name) const;
  double read_double(const std::string& object, const std::string& name) const;
  std::int64_t read_integer(const std::string& object, const std::string& name) const;

  /// Flushes and closes; ResourceError where that fails, as on a full disk. Collective on a parallel file.
  void close();

  template <typename T>
  void write_values(const std::string& name, Hdf5Type type, const std::vector<T>& values) {
    write(name, type, std::as_bytes(std::span(values)));
  }
  /// A one-dimensional dataset, of at most `most` elements.
  template <typename T>
  std::vector<T> read_values(const std::string& name, Hdf5Type type, std::uint64_t most) const {
    const Opened opened = open_values(name, type, most);
    std::vector<T> values(opened.info.elements);
    read_whole(opened, std::as_writable_bytes(std::span(values)), name);
    return values;
  }
  /// All values of a dataset of any shape, for which memory is taken once it is known to have `count`;
  /// InputError where it has another number or type.
  template <typename T>
  std::vector<T> read_all(const std::string& name, Hdf5Type type, std::uint64_t count) const {
    const Opened opened = open_all(name, type, count);
    std::vector<T> values(opened.info.elements);
    read_whole(opened, std::as_writable_bytes(std::span(values)), name);
    return values;
  }

 private:
  Hdf5File(Hdf5Handle file, std::filesystem::path path) : file_(std::move(file)), path_(std::move(path)) {}

  /// A dataset and what it is: opening one costs more than reading a few values of it.
  struct Opened {
    Hdf5Handle dataset;
    Hdf5DatasetInfo info;
  };

  Opened open_dataset(const std::string& name) const;
  Opened open_values(const std::string& name, Hdf5Type type, std::uint64_t most) const;
  Opened open_all(const std::string& name, Hdf5Type type, std::uint64_t count) const;
  Opened open_rows(const std::string& name, Hdf5Type type, const std::array<std::uint64_t, 2>& shape,
                   std::uint64_t first, std::uint64_t count) const;
  void read_opened_rows(const Opened& opened, std::uint64_t first, std::span<std::byte> bytes,
                        const std::string& name) const;
  Opened open_part(const std::string& name, Hdf5Type type, std::uint64_t first, std::uint64_t bytes) const;
  void read_whole(const Opened& opened, std::span<std::byte> bytes, const std::string& name) const;
  void set_attribute(const std::string& object, const std::string& name, hid_t type, const void* value);
  void get_attribute(const std::string& object, const std::string& name, hid_t type, void* value) const;
  [[noreturn]] void read_failed(const std::string& what, const std::string& object) const;
  [[noreturn]] void write_failed(const std::string& what, const std::string& object) const;

  Hdf5Handle file_;
  std::filesystem::path path_;
};

/// "1.10.8".
std::string hdf5_version();

}  // namespace galapagos
