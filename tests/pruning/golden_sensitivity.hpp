#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <galapagos/io/safetensors.hpp>
#include <galapagos/pruning/sensitivity.hpp>

namespace galapagos::test {

/// What PyTorch found for a model of tests/data/models in fp64 (tools/goldens/sensitivity.py).
class GoldenSensitivity {
 public:
  explicit GoldenSensitivity(const std::string& model);

  /// The two sequences as a Megatron pair `path`.bin and `path`.idx.
  void write_tokens(const std::filesystem::path& path) const;
  /// G of a module as a file of that form holds it.
  std::vector<float> values(const ModuleId& module, SensitivityForm form) const;

 private:
  SafetensorsFile file_;
};

}  // namespace galapagos::test
