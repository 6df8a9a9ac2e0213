#include "golden_training.hpp"

#include "support/files.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace galapagos::test {
namespace {

template <typename T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* entry = file.find(name);
  if (entry == nullptr) throw std::runtime_error("no golden values of " + name);
  std::vector<T> values(entry->data.size() / sizeof(T));
  std::memcpy(values.data(), entry->data.data(), entry->data.size());
  return values;
}

}  // namespace

SmallModel::SmallModel(const std::string& name, DType precision)
    : config(read_hf_config(data_file("models/" + name))),
      checkpoint(data_file("models/" + name)),
      source(checkpoint_source(checkpoint, config, precision, Device::cpu)),
      weights(load_model_weights(source)) {}

GoldenTraining::GoldenTraining(const std::string& model)
    : file_(data_file("training/" + model + ".safetensors")),
      final_(data_file("training/" + model + "_final.safetensors")),
      steps_(file_.find("tokens")->shape[0]),
      length_(file_.find("tokens")->shape[1]),
      tokens_(galapagos::test::values_of<std::int32_t>(file_, "tokens")) {}

Batch GoldenTraining::batch(std::int64_t step) const {
  constexpr std::int64_t first_sequence = 20;  // LENGTHS of the script
  return {
      std::span(tokens_).subspan(static_cast<std::size_t>(step * length_), static_cast<std::size_t>(length_)),
      {0, first_sequence, length_}};
}

std::vector<float> GoldenTraining::values(const std::string& name) const {
  return galapagos::test::values_of<float>(file_, name);
}

std::vector<float> GoldenTraining::final_values(const std::string& parameter) const {
  return galapagos::test::values_of<float>(final_, "final." + parameter);
}

double largest_difference(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i]) - expected[i]);
    worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(worst, difference);
  }
  return worst;
}

double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) most = std::max(most, std::abs(static_cast<double>(value)));
  return most;
}

}  // namespace galapagos::test
