#include "flip_byte.hpp"

#include <fstream>
#include <hdf5.h>

#include <galapagos/io/hdf5.hpp>

namespace galapagos::test {

void flip_byte(const std::filesystem::path& path, const std::string& dataset, std::int64_t place) {
  const Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  const Hdf5Handle weight(H5Dopen2(file.get(), dataset.c_str(), H5P_DEFAULT), H5Dclose);
  const auto at = static_cast<std::streamoff>(H5Dget_offset(weight.get())) + place;
  std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(at);
  const char byte = static_cast<char>(bytes.get() ^ 4);
  bytes.seekp(at);
  bytes.put(byte);
}

}  // namespace galapagos::test
