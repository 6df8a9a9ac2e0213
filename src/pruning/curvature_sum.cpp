#include "curvature_sum.hpp"

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/linear.hpp>

namespace galapagos {
namespace {

void append_on_host(const Tensor& tensor, std::vector<float>& values) {
  const OwnedTensor on_host = copy_of(tensor, Device::cpu, "a module's sensitivity");
  values.insert(values.end(), on_host->floats(), on_host->floats() + on_host->elements());
}

}  // namespace

CurvatureSum::CurvatureSum(const ops::Context& context, SensitivityForm form, std::int64_t hidden,
                           const SketchDirections* directions, const std::string& purpose)
    : context_(context), form_(form), directions_(directions) {
  const auto zeros = [&](Shape shape) {
    OwnedTensor tensor(shape, DType::f32, context.device(), purpose);
    fill_zero(tensor);
    return tensor;
  };
  if (form == SensitivityForm::full) {
    square_ = zeros({hidden, hidden});
    return;
  }
  if (form == SensitivityForm::lowrank) sketch_ = zeros({hidden, directions->matrix->rows()});
  squares_ = zeros({hidden});
}

void CurvatureSum::add(const Tensor& gradients) const {
  if (form_ == SensitivityForm::full) return ops::accumulate_gram(context_, gradients, 1.0f, square_);
  ops::add_column_squares(context_, gradients, squares_);
  if (form_ != SensitivityForm::lowrank) return;
  const Tensor product = directions_->product->slice(0, gradients.rows());
  const ops::Factor g(gradients);
  ops::linear(directions_->exact, g, directions_->matrix, nullptr, product);
  ops::linear_weight_gradient(directions_->exact, g, product, sketch_);
}

std::vector<float> CurvatureSum::take() const {
  std::vector<float> values;
  if (form_ == SensitivityForm::full) {
    const OwnedTensor on_host = copy_of(square_, Device::cpu, "a module's sensitivity");
    const std::int64_t n = on_host->rows();
    for (std::int64_t row = 0; row < n; ++row)
      values.insert(values.end(), on_host->floats() + row * n, on_host->floats() + row * n + row + 1);
    fill_zero(square_);
    return values;
  }
  if (form_ == SensitivityForm::lowrank) {
    append_on_host(sketch_, values);
    fill_zero(sketch_);
  }
  append_on_host(squares_, values);
  fill_zero(squares_);
  if (form_ != SensitivityForm::scalar) return values;
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value);
  return {static_cast<float>(sum / static_cast<double>(values.size()))};
}

}  // namespace galapagos
