#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

namespace galapagos {

/// What sketches of all modules share: their directions, and room for the gradients' parts along them.
struct SketchDirections {
  ops::Context exact;   ///< whose products keep fp32
  OwnedTensor matrix;   ///< Omega^T [rank, hidden] fp32
  OwnedTensor product;  ///< [most_tokens, rank] fp32
};

/// The sum over tokens of g g^T of one module, in the form in which it is kept: its lower triangle [hidden,
/// hidden], a sketch [hidden, rank] with the squares [hidden], or these alone. All fp32.
class CurvatureSum {
 public:
  /// `directions` may be null where the form is no sketch. The references must outlive this.
  CurvatureSum(const ops::Context& context, SensitivityForm form, std::int64_t hidden,
               const SketchDirections* directions, const std::string& purpose);

  /// Gradients [t, hidden] fp32 of t tokens.
  void add(const Tensor& gradients) const;
  /// The numbers as an unfinished file has them, in host memory; the sum begins at zero again.
  std::vector<float> take() const;

 private:
  const ops::Context& context_;
  SensitivityForm form_;
  const SketchDirections* directions_;
  OwnedTensor square_, sketch_, squares_;
};

}  // namespace galapagos
