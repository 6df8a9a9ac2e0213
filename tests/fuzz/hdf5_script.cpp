#include "hdf5_script.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

#include <galapagos/io/hdf5.hpp>

namespace galapagos::fuzz {
namespace {

constexpr std::uint64_t most_written = 1 << 12;
constexpr int most_lines = 300;

Hdf5Handle creating_groups() {
  Hdf5Handle list(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(list.get(), 1);
  return list;
}

hid_t type_named(const std::string& name) {
  static const std::map<std::string, hid_t> types = {
      {"u8", H5T_STD_U8LE},   {"u16", H5T_STD_U16LE},  {"u64", H5T_STD_U64LE}, {"i32", H5T_STD_I32LE},
      {"i64", H5T_STD_I64LE}, {"f32", H5T_IEEE_F32LE}, {"f64", H5T_IEEE_F64LE}};
  const auto found = types.find(name);
  return found == types.end() ? H5I_INVALID_HID : found->second;
}

/// A number in the bytes of a type.
void append(std::string& bytes, const std::string& type, const std::string& word) {
  const auto put = [&](auto value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof value); };
  if (type == "f64") return put(std::strtod(word.c_str(), nullptr));
  if (type == "f32") return put(std::strtof(word.c_str(), nullptr));
  std::int64_t value = 0;
  std::from_chars(word.data(), word.data() + word.size(), value);
  if (type == "u8") return put(static_cast<std::uint8_t>(value));
  if (type == "u16") return put(static_cast<std::uint16_t>(value));
  if (type == "i32") return put(static_cast<std::int32_t>(value));
  put(value);
}

void write_attribute(hid_t file, const std::string& name, char kind, const std::string& text) {
  Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose), copy;
  std::string bytes;
  hid_t type = H5T_STD_I64LE;
  if (kind == 's') {
    copy = Hdf5Handle(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(copy.get(), std::max<std::size_t>(text.size(), 1));
    type = copy.get();
    bytes = text + '\0';
  } else if (kind == 'd') {
    type = H5T_IEEE_F64LE;
    append(bytes, "f64", text);
  } else {
    const hsize_t several = 3;
    if (kind == 'n') space = Hdf5Handle(H5Screate_simple(1, &several, nullptr), H5Sclose);
    for (int i = 0; i < 3; ++i) append(bytes, "i64", text);
  }
  const Hdf5Handle attribute(H5Acreate2(file, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
                             H5Aclose);
  if (attribute.get() >= 0) H5Awrite(attribute.get(), type, bytes.data());
}

void write_dataset(hid_t file, std::istringstream& line) {
  std::string path, type, shape, equals;
  line >> path >> type >> shape >> equals;
  const hid_t stored = type_named(type);
  std::vector<hsize_t> extents;
  std::uint64_t elements = 1;
  for (std::istringstream numbers(shape); extents.size() < 4;) {
    std::uint64_t extent = 0;
    if (!(numbers >> extent)) break;
    extents.push_back(extent);
    if (__builtin_mul_overflow(elements, extent, &elements)) return;
    if (numbers.get() != 'x') break;
  }
  if (stored < 0) return;
  const bool written = equals == "=" && elements <= most_written;
  std::string values, bytes;
  for (std::string word; written && line >> word;) append(values, type, word);
  if (values.empty()) append(values, type, "0");
  while (written && bytes.size() < elements * H5Tget_size(stored)) bytes += values;
  const Hdf5Handle space(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr),
                         H5Sclose),
      groups = creating_groups();
  const Hdf5Handle dataset(
      H5Dcreate2(file, path.c_str(), stored, space.get(), groups.get(), H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  if (written && dataset.get() >= 0)
    H5Dwrite(dataset.get(), stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data());
}

}  // namespace

std::filesystem::path write_hdf5(const Folder& folder, std::string_view script) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  const std::filesystem::path path = folder.path() / "x.h5";
  const Hdf5Handle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  std::istringstream lines{std::string(script)};
  int count = 0;
  for (std::string text; ++count <= most_lines && std::getline(lines, text);) {
    if (text.find('\0') != text.npos) continue;
    std::istringstream line(text);
    if (text.starts_with('/')) {
      write_dataset(file.get(), line);
    } else if (text.starts_with('@')) {
      std::string name, value;
      char kind = 0;
      line.get();
      line >> name >> kind;
      line.get();
      std::getline(line, value);
      write_attribute(file.get(), name, kind, value);
    }
  }
  return path;
}

}  // namespace galapagos::fuzz
