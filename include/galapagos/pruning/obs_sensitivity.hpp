#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <galapagos/ops/context.hpp>

namespace galapagos {

class SensitivityReader;
struct ModuleId;

/// A module's G [d_row, d_row], the mean over tokens of g g^T, as OBS weighs with it: a multiple of the
/// identity is added, or directions that no gradient has seen would cost nothing.
struct Sensitivity {
  double scale = 0;  ///< mean diagonal of G, nats per squared unit of the module's output
  double ridge = 0;  ///< added to the diagonal of G / scale
  OwnedTensor root;  ///< R [d_row, d_row] fp32 with R^T R = G / scale + ridge I; empty where G = scale I
};

/// From the lower triangle of G, row by row. NumericalError, naming the module, where it is not finite or not
/// positive semidefinite.
Sensitivity full_sensitivity(const ops::Context& context, std::span<const float> lower, std::int64_t d_row,
                             const std::string& name);
/// Of a G of which the diagonal is known. NumericalError where it is not finite or negative.
Sensitivity diagonal_sensitivity(const ops::Context& context, std::span<const float> diagonal,
                                 const std::string& name);
/// Of G = scale I.
Sensitivity scalar_sensitivity(double scale, const std::string& name);

/// What a file has of a module, on the context's device. InputError where the file is damaged, NumericalError
/// where nothing can be weighed with it.
Sensitivity read_sensitivity(const ops::Context& context, const SensitivityReader& reader,
                             const ModuleId& module);

}  // namespace galapagos
