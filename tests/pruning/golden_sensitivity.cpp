#include "golden_sensitivity.hpp"

#include "support/files.hpp"
#include "support/tokens.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

namespace galapagos::test {
namespace {

constexpr std::uint64_t first_sequence = 20;  // LENGTHS of the script

}  // namespace

GoldenSensitivity::GoldenSensitivity(const std::string& model)
    : file_(data_file("sensitivity/" + model + ".safetensors")) {}

void GoldenSensitivity::write_tokens(const std::filesystem::path& path) const {
  const TensorEntry& entry = *file_.find("tokens");
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(entry.shape[0]));
  std::memcpy(tokens.data(), entry.data.data(), entry.data.size());
  write_token_pair(path, tokens, std::vector<std::uint64_t>{0, first_sequence, tokens.size()});
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
    if (form == SensitivityForm::full)
      values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(row + 1));
    if (form == SensitivityForm::diagonal) values.push_back(begin[static_cast<std::ptrdiff_t>(row)]);
    trace += static_cast<double>(begin[static_cast<std::ptrdiff_t>(row)]);
  }
  if (form == SensitivityForm::scalar) values.push_back(static_cast<float>(trace / static_cast<double>(n)));
  return values;
}

}  // namespace galapagos::test
