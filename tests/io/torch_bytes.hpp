#pragma once

#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <cstdint>
#include <string>
#include <vector>
#include <zlib.h>

#include <galapagos/io/torch_file.hpp>

// Files of torch.save made by hand, as nobody's torch would make them.
namespace galapagos::test {

template <typename T>
std::string little(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct ZipPart {
  std::string name, data;
  std::uint16_t method = 0, flags = 0;
  std::uint32_t longer = 0;  ///< its size is said to be so much more than it is
  std::uint32_t wrong_crc = 0;
};

/// A zip archive without fields of 64 bits.
inline std::string zip_of(const std::vector<ZipPart>& parts) {
  std::string file, directory;
  for (const ZipPart& part : parts) {
    const auto size = static_cast<std::uint32_t>(part.data.size());
    const auto crc =
        static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(part.data.data()), size)) ^
        part.wrong_crc;
    const std::string common =
        little<std::uint16_t>(20) + little(part.flags) + little(part.method) + little<std::uint32_t>(0) +
        little(crc) + little(size + part.longer) + little(size + part.longer) +
        little(static_cast<std::uint16_t>(part.name.size())) + little<std::uint16_t>(0);
    directory += "PK\1\2" + little<std::uint16_t>(20) + common + std::string(10, '\0') +
                 little(static_cast<std::uint32_t>(file.size())) + part.name;
    file += "PK\3\4" + common + part.name + part.data;
  }
  const auto count = static_cast<std::uint16_t>(parts.size());
  const std::string end = "PK\5\6" + std::string(4, '\0') + little(count) + little(count) +
                          little(static_cast<std::uint32_t>(directory.size())) +
                          little(static_cast<std::uint32_t>(file.size())) + std::string(2, '\0');
  return file + directory + end;
}

/// A text, as a pickle has it.
inline std::string pickled(const std::string& text) {
  return 'X' + little(static_cast<std::uint32_t>(text.size())) + text;
}

inline std::string pickled(std::int64_t value) {
  return "\x8a\x08" + little(value);
}

/// What a pickle of a lone fp32 tensor says.
struct TensorPickle {
  std::int64_t elements = 6, offset = 0;
  std::vector<std::int64_t> shape = {2, 3}, strides = {3, 1};
  std::string storage = "torch\nFloatStorage\n", key = "0";

  std::string text() const {
    const auto tuple = [](const std::vector<std::int64_t>& numbers) {
      std::string all = "(";
      for (const std::int64_t number : numbers) all += pickled(number);
      return all + 't';
    };
    return "\x80\x02"
           "ctorch._utils\n_rebuild_tensor_v2\n((" +
           pickled("storage") + 'c' + storage + pickled(key) + pickled("cpu") + pickled(elements) + "tQ" +
           pickled(offset) + tuple(shape) + tuple(strides) +
           "\x89"
           "ccollections\nOrderedDict\n)RtR.";
  }
};

/// A file of torch.save with that pickle and six numbers.
inline std::string torch_file_of(const std::string& pickle, const std::vector<ZipPart>& more = {}) {
  std::vector<ZipPart> parts = {{"x/data.pkl", pickle}, {"x/data/0", std::string(24, '\x3f')}};
  parts.insert(parts.end(), more.begin(), more.end());
  return zip_of(parts);
}

/// The InputError of a file of this content, one line that names it; empty where it is read.
inline std::string torch_error(const std::string& content) {
  static const TemporaryFolder folder;
  const std::filesystem::path path = folder / "x.pth";
  write_text(path, content);
  const std::string error = input_error([&] { TorchFile file(path); });
  std::filesystem::remove(path);  // some file systems wait for the disk where a file is written anew
  CHECK_FALSE(contains(error, "\n"));
  CHECK((error.empty() || contains(error, path.string())));
  return error;
}

}  // namespace galapagos::test
