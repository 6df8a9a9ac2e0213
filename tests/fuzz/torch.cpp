#include "io/torch_bytes.hpp"
#include "target.hpp"

#include <galapagos/io/torch_file.hpp>

// A byte that says how, and a file of torch.save, or the pickle of one.
namespace galapagos::fuzz {
namespace {

constexpr std::size_t most_gathered = 1 << 20;

void use(const TorchValue& value) {
  if (const auto* tensor = std::get_if<TorchTensor>(&value.value)) {
    std::vector<std::byte> storage;
    if (tensor->elements() <= std::ssize(storage) + static_cast<std::int64_t>(most_gathered) &&
        tensor->bytes() <= most_gathered)
      touch(tensor->contiguous(storage));
  } else if (const auto* list = std::get_if<TorchValue::List>(&value.value)) {
    for (const TorchValue& each : *list) use(each);
  } else if (const auto* dict = std::get_if<TorchValue::Dict>(&value.value)) {
    for (const auto& [key, each] : *dict) use(each);
  }
}

void read(std::string_view input) {
  static const Folder folder;
  const bool pickle = take_byte(input) % 2 == 1;
  const TorchFile file(
      folder.write("x.pth", pickle ? test::torch_file_of(std::string(input)) : std::string(input)));
  use(file.value());
}

const Target target("torch", read);

}  // namespace
}  // namespace galapagos::fuzz
