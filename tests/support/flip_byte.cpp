#include "support/flip_byte.hpp"

#include <fstream>

#include <galapagos/io/hdf5.hpp>

namespace galapagos::test {

std::int64_t place_in_file(const std::filesystem::path& file, const std::string& dataset) {
  const Hdf5File opened = Hdf5File::open(file);
  const Hdf5DatasetInfo info = opened.describe(dataset);
  return static_cast<std::int64_t>(
      opened.place_of(dataset, info.type, info.elements * size_of(info.type)));
}

void flip_byte(const std::filesystem::path& file, const std::string& dataset, std::int64_t place) {
  const std::streamoff at = place_in_file(file, dataset) + place;
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(at);
  const char byte = static_cast<char>(bytes.get() ^ 4);
  bytes.seekp(at);
  bytes.put(byte);
}

}  // namespace galapagos::test
