#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <galapagos/ops/context.hpp>
#include <galapagos/pruning/compensation.hpp>
#include <galapagos/pruning/obs_sensitivity.hpp>

// Weights fitted to the residual stream of the unpruned model. On the pruned path a module gets a [n] per
// token where the unpruned one got something else, and adds W a to a stream x that has gone astray. Ridge
// regression moves its weight W to where x + W a comes close to the unpruned model's stream t after the
// module:
//   argmin_W sum |x + W a - t|^2 + lambda |W - W_0|^2, lambda = ridge * mean diagonal of sum a a^T.
// All weights here are transposed, [n, d] with d the hidden size, and all sums carry the same scale.
namespace galapagos {

/// Where a ridge is given, the share of it that kept columns are refitted with: they have learnt the path's
/// errors in the compensation before.
constexpr double refit_share = 0.3;

/// Sums over tokens.
struct FitSums {
  OwnedTensor gram;      ///< sum a a^T [n, n], lower triangle
  OwnedTensor residual;  ///< sum a (t - x - W_0 a)^T [n, d]: what is left to explain by a change of W_0
};

/// A change of a weight, and the ridge that it took.
struct Correction {
  OwnedTensor change;  ///< [n, d]
  double ridge = 0;
};

/// (gram + lambda I)^-1 residual. An infinite ridge gives zeros. Where the sum is not positive definite the
/// ridge is raised, and NumericalError thrown naming `name` where that does not help.
Correction fit(const ops::Context& context, const FitSums& sums, double ridge, const std::string& name);

/// Says where more than the ridge wanted had to be taken.
void warn_where_raised(const std::string& name, double wanted, double taken);

/// By how much a change of the weight changes sum |x + W a - t|^2; or sum e^T G e, e the same difference, in
/// units of G's scale, where there is a sensitivity (it may be null).
double change_of_error(const ops::Context& context, const FitSums& sums, const Tensor& change,
                       const Sensitivity* sensitivity = nullptr);

/// The ridge out of 0.03 0.1 0.3 1 3 10 whose fit to `training` changes the error on `held_out` most for the
/// better; infinite where all are for the worse. NumericalError naming `name` where none has a solution.
double choose_ridge(const ops::Context& context, const FitSums& training, const FitSums& held_out,
                    const std::string& name, const Sensitivity* sensitivity = nullptr);

/// The fit of a weight to all tokens, and the ridge that was given or chosen.
struct PartsFit {
  FitSums all;
  double ridge = 0;
  Correction correction;
};

/// Fits to all parts together: to one part, which is taken, with the ridge given; or to the two that
/// choose_ridge() takes, which stay, with the one that it chooses. Warns where it had to be raised.
PartsFit fit_parts(const ops::Context& context, std::vector<FitSums>& parts, const Compensation& compensation,
                   const std::string& name, const Sensitivity* sensitivity = nullptr);

/// Bytes of what it returns and takes meanwhile, beside the parts: of that many columns, with a ridge given
/// or one `chosen`.
std::uint64_t fit_parts_bytes(std::int64_t columns, std::int64_t hidden, bool chosen, Device device);

/// What is left to explain where only the columns `kept` are there with weight [kept, d], of a module with
/// `gram` and `cross` = sum a (t - x)^T [n, d].
FitSums kept_sums(const ops::Context& context, const Tensor& gram, const Tensor& cross,
                  std::span<const std::int64_t> kept, const Tensor& weight);

/// sum a (t - x)^T of sums that were made with weight W_0 [n, d].
OwnedTensor cross_of(const ops::Context& context, const FitSums& sums, const Tensor& weight);

/// The ridge for the refit of kept columns, chosen as above. Held-out tokens have no part in what is tried:
/// the weight is compensated with `ridge` and cut down to `kept` with `training` alone.
double choose_refit_ridge(const ops::Context& context, const FitSums& training, const FitSums& held_out,
                          const Tensor& weight, double ridge, std::span<const std::int64_t> kept,
                          double relative_damping, const std::string& name,
                          const Sensitivity* sensitivity = nullptr);

}  // namespace galapagos
