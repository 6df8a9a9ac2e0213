#include "golden_sensitivity.hpp"

#include "support/files.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

namespace galapagos::test {
namespace {

constexpr std::int32_t first_sequence = 20;  // LENGTHS of the script

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

GoldenSensitivity::GoldenSensitivity(const std::string& model)
    : file_(data_file("sensitivity/" + model + ".safetensors")) {}

void GoldenSensitivity::write_tokens(const std::filesystem::path& path) const {
  const TensorEntry& tokens = *file_.find("tokens");
  const auto count = static_cast<std::int32_t>(tokens.shape[0]);
  std::string index("MMIDIDX\0\0", 9);
  put(index, std::uint64_t{1});  // version
  put(index, std::uint8_t{4});   // of int32
  put(index, std::uint64_t{2});
  put(index, std::uint64_t{3});
  for (const std::int32_t length : {first_sequence, count - first_sequence}) put(index, length);
  for (const std::int64_t offset : {std::int64_t{0}, std::int64_t{4} * first_sequence}) put(index, offset);
  for (const std::int64_t document : {0, 1, 2}) put(index, document);
  write_text(path.string() + ".idx", index);
  write_text(path.string() + ".bin",
             std::string(reinterpret_cast<const char*>(tokens.data.data()), tokens.data.size()));
}

std::vector<float> GoldenSensitivity::values(const ModuleId& module, SensitivityForm form) const {
  const TensorEntry* entry = file_.find(std::to_string(module.layer) + "." + name_of(module.kind));
  if (entry == nullptr) throw std::runtime_error("no golden values of " + name_of(module));
  const auto n = static_cast<std::size_t>(entry->shape[0]);
  std::vector<float> whole(n * n), values;
  std::memcpy(whole.data(), entry->data.data(), entry->data.size());
  double trace = 0;
  for (std::size_t row = 0; row < n; ++row) {
    const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(row * n);
    if (form == SensitivityForm::full) values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(row + 1));
    if (form == SensitivityForm::diagonal) values.push_back(begin[static_cast<std::ptrdiff_t>(row)]);
    trace += static_cast<double>(begin[static_cast<std::ptrdiff_t>(row)]);
  }
  if (form == SensitivityForm::scalar) values.push_back(static_cast<float>(trace / static_cast<double>(n)));
  return values;
}

}  // namespace galapagos::test
