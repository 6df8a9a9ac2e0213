#pragma once

#include <galapagos/ops/adamw.hpp>
#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/cached_attention.hpp>
#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/grouped.hpp>
#include <galapagos/ops/head_norm.hpp>
#include <galapagos/ops/hidden_loss.hpp>
#include <galapagos/ops/least_squares.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/mixture.hpp>
#include <galapagos/ops/obs.hpp>
#include <galapagos/ops/routing.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/soft_cap.hpp>
#include <galapagos/ops/total_variation.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/ops/vocabulary.hpp>

// Each public operation once more for each backend, of the same type; dispatch.cpp chooses between them.
#define GALAPAGOS_DECLARE_OPERATIONS                                        \
  decltype(ops::linear) linear;                                             \
  decltype(ops::accumulate_gram) accumulate_gram;                           \
  decltype(ops::embed) embed;                                               \
  decltype(ops::rms_norm) rms_norm;                                         \
  decltype(ops::head_norm) head_norm;                                       \
  decltype(ops::head_norm_backward) head_norm_backward;                     \
  decltype(ops::rope) rope;                                                 \
  decltype(ops::store_heads) store_heads;                                   \
  decltype(ops::cached_attention) cached_attention;                         \
  decltype(ops::swiglu) swiglu;                                             \
  decltype(ops::grouped_linear) grouped_linear;                             \
  decltype(ops::grouped_input_gradient) grouped_input_gradient;             \
  decltype(ops::grouped_weight_gradient) grouped_weight_gradient;           \
  decltype(ops::route) route;                                               \
  decltype(ops::route_backward) route_backward;                             \
  decltype(ops::gather_routed) gather_routed;                               \
  decltype(ops::routed_swiglu) routed_swiglu;                               \
  decltype(ops::routed_swiglu_backward) routed_swiglu_backward;             \
  decltype(ops::sum_rows) sum_rows;                                         \
  decltype(ops::soft_cap) soft_cap;                                         \
  decltype(ops::soft_cap_backward) soft_cap_backward;                       \
  decltype(ops::attention) attention;                                       \
  decltype(ops::token_nll) token_nll;                                       \
  decltype(ops::all_finite) all_finite;                                     \
  decltype(ops::upload) upload;                                             \
  decltype(ops::download) download;                                         \
  decltype(ops::gather_rows) gather_rows;                                   \
  decltype(ops::row_norms) row_norms;                                       \
  decltype(ops::transpose) transpose;                                       \
  decltype(ops::convert) convert;                                           \
  decltype(ops::add) add;                                                   \
  decltype(ops::softmax_scale) softmax_scale;                               \
  decltype(ops::kl_divergence) kl_divergence;                               \
  decltype(ops::sparse_kl_divergence) sparse_kl_divergence;                 \
  decltype(ops::arg_max) arg_max;                                           \
  decltype(ops::linear_input_gradient) linear_input_gradient;               \
  decltype(ops::linear_weight_gradient) linear_weight_gradient;             \
  decltype(ops::bias_gradient) bias_gradient;                               \
  decltype(ops::add_column_squares) add_column_squares;                     \
  decltype(ops::rms_norm_backward) rms_norm_backward;                       \
  decltype(ops::rope_backward) rope_backward;                               \
  decltype(ops::swiglu_backward) swiglu_backward;                           \
  decltype(ops::attention_backward) attention_backward;                     \
  decltype(ops::embed_backward) embed_backward;                             \
  decltype(ops::cross_entropy_backward) cross_entropy_backward;             \
  decltype(ops::kl_backward) kl_backward;                                   \
  decltype(ops::hidden_loss) hidden_loss;                                   \
  decltype(ops::slice_scales) slice_scales;                                 \
  decltype(ops::slice_logits_of) slice_logits_of;                           \
  decltype(ops::draw_ids) draw_ids;                                         \
  decltype(ops::slice_divergence) slice_divergence;                         \
  decltype(ops::slice_cross_entropy_backward) slice_cross_entropy_backward; \
  decltype(ops::slice_kl_backward) slice_kl_backward;                       \
  decltype(ops::total_variation) total_variation;                           \
  decltype(ops::total_variation_backward) total_variation_backward;         \
  decltype(ops::slice_variation) slice_variation;                           \
  decltype(ops::slice_variation_backward) slice_variation_backward;         \
  decltype(ops::adamw) adamw;                                               \
  decltype(ops::sums_of_squares) sums_of_squares;                           \
  decltype(ops::solve_spd) solve_spd;                                       \
  decltype(ops::symmetric_product) symmetric_product;                       \
  decltype(ops::principal_submatrix) principal_submatrix;                   \
  decltype(ops::combine) combine;                                           \
  decltype(ops::inner_product) inner_product;                               \
  decltype(ops::obs_damp) obs_damp;                                         \
  decltype(ops::invert_spd) invert_spd;                                     \
  decltype(ops::factor_spd) factor_spd;                                     \
  decltype(ops::obs_remove_columns) obs_remove_columns;                     \
  decltype(ops::obs_structure_scores) obs_structure_scores;                 \
  decltype(ops::obs_remove_structure) obs_remove_structure;                 \
  decltype(ops::obs_change) obs_change

namespace galapagos::ops::cpu {
GALAPAGOS_DECLARE_OPERATIONS;
}  // namespace galapagos::ops::cpu

namespace galapagos::ops::cuda {
GALAPAGOS_DECLARE_OPERATIONS;
}  // namespace galapagos::ops::cuda

#undef GALAPAGOS_DECLARE_OPERATIONS
