#include "target.hpp"

#include <galapagos/io/safetensors.hpp>

// A file as it is.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  const SafetensorsFile file(folder.write("x.safetensors", input));
  for (const TensorEntry& entry : file.entries()) {
    touch(entry.data);
    if (file.find(entry.name) != &entry) throw std::logic_error("a tensor is not found by its name");
  }
}

const Target target("safetensors", read);

}  // namespace
}  // namespace galapagos::fuzz
