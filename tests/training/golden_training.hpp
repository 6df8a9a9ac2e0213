#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/io/safetensors.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/model/model_weights.hpp>

namespace galapagos::test {

/// A model of tests/data/models with fp32 working weights.
struct SmallModel {
  explicit SmallModel(const std::string& name, DType precision = DType::f32);

  HfConfig config;
  Checkpoint checkpoint;
  ModelSource source;
  ModelWeights weights;
};

/// "qwen2_tiny" of "qwen2_pruned".
inline std::string unpruned(const std::string& name) {
  return name.substr(0, name.rfind('_')) + "_tiny";
}

/// What PyTorch computed in fp64 (tools/goldens/training.py): 20 steps of two sequences.
class GoldenTraining {
 public:
  explicit GoldenTraining(const std::string& model);

  std::int64_t steps() const { return steps_; }
  Batch batch(std::int64_t step) const;
  std::vector<float> values(const std::string& name) const;
  /// Of a parameter after the last step.
  std::vector<float> final_values(const std::string& parameter) const;

 private:
  SafetensorsFile file_, final_;
  std::int64_t steps_, length_;
  std::vector<std::int32_t> tokens_;
};

/// The greatest difference; infinite where one is no number or the lengths differ.
double largest_difference(const std::vector<float>& found, const std::vector<float>& expected);
double largest(const std::vector<float>& values);

}  // namespace galapagos::test
