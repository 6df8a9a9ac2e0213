#include <cmath>

#include <galapagos/core/error.hpp>
#include <galapagos/ops/obs.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>
#include <galapagos/pruning/sketch.hpp>

namespace galapagos {
namespace {

constexpr double least_ridge = 1e-3, most_ridge = 1.0;

[[noreturn]] void refuse(const std::string& what, const std::string& name) {
  throw NumericalError("the sensitivity is " + what, name, "make the sensitivities anew, with more samples");
}

double checked_scale(double scale, const std::string& name) {
  if (!std::isfinite(scale)) refuse("not finite", name);
  if (scale < 0) refuse("negative", name);
  return scale;
}

/// An fp32 matrix [n, n] of zeros on the host.
OwnedTensor square_zeros(std::int64_t n, const std::string& name) {
  OwnedTensor matrix({n, n}, DType::f32, Device::cpu, "the sensitivity of " + name);
  fill_zero(matrix);
  return matrix;
}

}  // namespace

Sensitivity full_sensitivity(const ops::Context& context, std::span<const float> lower, std::int64_t d_row,
                             const std::string& name) {
  double trace = 0;
  for (std::int64_t i = 0; i < d_row; ++i) trace += lower[static_cast<std::size_t>(i * (i + 3) / 2)];
  Sensitivity sensitivity = scalar_sensitivity(trace / static_cast<double>(d_row), name);
  if (sensitivity.scale == 0) return sensitivity;
  const OwnedTensor scaled = square_zeros(d_row, name);
  auto value = lower.begin();
  for (std::int64_t i = 0; i < d_row; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      if (!std::isfinite(*value)) refuse("not finite", name);
      scaled->floats()[i * d_row + j] = static_cast<float>(*value++ / sensitivity.scale);
    }
  }
  for (double ridge = least_ridge; ridge <= most_ridge; ridge *= 10) {
    for (std::int64_t i = 0; i < d_row; ++i) {
      const double diagonal = lower[static_cast<std::size_t>(i * (i + 3) / 2)] / sensitivity.scale;
      scaled->floats()[i * (d_row + 1)] = static_cast<float>(diagonal + ridge);
    }
    const OwnedTensor factor = copy_of(scaled, context.device(), "the root of the sensitivity of " + name);
    if (!ops::factor_spd(context, factor)) continue;
    sensitivity.ridge = ridge;
    sensitivity.root = OwnedTensor(factor->shape, DType::f32, context.device(), "the root of a sensitivity");
    ops::transpose(context, factor, sensitivity.root);
    return sensitivity;
  }
  refuse("not positive semidefinite", name);
}

Sensitivity diagonal_sensitivity(const ops::Context& context, std::span<const float> diagonal,
                                 const std::string& name) {
  const auto d_row = static_cast<std::int64_t>(diagonal.size());
  double trace = 0;
  for (const float value : diagonal) trace += checked_scale(value, name);
  Sensitivity sensitivity = scalar_sensitivity(trace / static_cast<double>(d_row), name);
  if (sensitivity.scale == 0) return sensitivity;
  sensitivity.ridge = least_ridge;
  const OwnedTensor root = square_zeros(d_row, name);
  for (std::int64_t i = 0; i < d_row; ++i) {
    const double value = diagonal[static_cast<std::size_t>(i)] / sensitivity.scale + sensitivity.ridge;
    root->floats()[i * (d_row + 1)] = static_cast<float>(std::sqrt(value));
  }
  sensitivity.root = copy_of(root, context.device(), "the root of the sensitivity of " + name);
  return sensitivity;
}

Sensitivity scalar_sensitivity(double scale, const std::string& name) {
  Sensitivity sensitivity;
  sensitivity.scale = checked_scale(scale, name);
  return sensitivity;
}

Sensitivity read_sensitivity(const ops::Context& context, const SensitivityReader& reader,
                             const ModuleId& module) {
  const std::string name = name_of(module);
  const std::vector<float> values = reader.values(part_with(module));
  switch (reader.header().form) {
    case SensitivityForm::full:
      return full_sensitivity(context, values, reader.header().config.hidden_size, name);
    case SensitivityForm::lowrank: {
      const SensitivityHeader& header = reader.header();
      const std::vector<float> lower = lower_of_sketch(values, header.rank, header.config.hidden_size);
      return full_sensitivity(context, lower, header.config.hidden_size, name);
    }
    case SensitivityForm::diagonal:
      return diagonal_sensitivity(context, values, name);
    case SensitivityForm::scalar:
      break;
  }
  return scalar_sensitivity(values.at(0), name);
}

}  // namespace galapagos
