#include "../backends.hpp"
#include "../grouped_parts.hpp"
#include "blas.hpp"
#include "linear_tiles.hpp"

#include <algorithm>
#include <vector>

namespace galapagos::ops::cpu {
namespace {

/// A piece of one expert's product: the pieces of linear() and its gradients, those of all experts together,
/// so that threads share the many small products of small experts.
struct Piece {
  Tensor from, weight, to;
  std::int64_t row, rows, column, columns;
};

/// Adds the pieces of an [m, n] result, as for_tiles() cuts it.
void add_pieces(std::vector<Piece>& pieces, const Tensor& from, const Tensor& weight, const Tensor& to,
                std::int64_t m, std::int64_t n) {
  const std::int64_t tall = tile_of(m), wide = tile_of(n);
  for (std::int64_t row = 0; row < m; row += tall)
    for (std::int64_t column = 0; column < n; column += wide)
      pieces.push_back({from, weight, to, row, std::min(tall, m - row), column, std::min(wide, n - column)});
}

template <typename Work>
void for_pieces(const std::vector<Piece>& pieces, const Work& work) {
#pragma omp parallel for schedule(dynamic) if (pieces.size() > 1)
  for (std::size_t i = 0; i < pieces.size(); ++i) work(pieces[i]);
}

}  // namespace

void grouped_linear(const Context&, const Factor& x, std::span<const std::int64_t> rows,
                    std::span<const GroupedProduct> products, bool accumulate) {
  std::vector<Piece> pieces;
  for (const GroupedProduct& product : products) {
    for (const GroupedPart& part : grouped_parts(rows, product.weights)) {
      const Tensor y = part.of_outputs(product.y);
      if (part.in == 0) {
        if (!accumulate) fill_zero(y);
        continue;
      }
      add_pieces(pieces, part.of_inputs(x.values()), product.weights[part.expert], y, 1, part.out);
    }
  }
  for_pieces(pieces, [beta = accumulate ? 1.0f : 0.0f](const Piece& piece) {
    linear_columns(piece.from, piece.weight, beta, piece.to, piece.column, piece.columns);
  });
}

void grouped_input_gradient(const Context&, const Factor& d_y, std::span<const std::int64_t> rows,
                            std::span<const Tensor> weights, const Tensor& d_x, bool accumulate) {
  std::vector<Piece> pieces;
  for (const GroupedPart& part : grouped_parts(rows, weights)) {
    const Tensor to = part.of_inputs(d_x);
    if (part.out == 0) {
      if (!accumulate) fill_zero(to);
      continue;
    }
    add_pieces(pieces, part.of_outputs(d_y.values()), weights[part.expert], to, 1, part.in);
  }
  for_pieces(pieces, [beta = accumulate ? 1.0f : 0.0f](const Piece& piece) {
    input_gradient_columns(piece.from, piece.weight, beta, piece.to, piece.column, piece.columns);
  });
}

void grouped_weight_gradient(const Context&, const Factor& d_y, const Factor& x,
                             std::span<const std::int64_t> rows, std::span<const Tensor> d_weights) {
  std::vector<Piece> pieces;
  for (const GroupedPart& part : grouped_parts(rows, d_weights)) {
    if (part.in == 0) continue;
    add_pieces(pieces, part.of_outputs(d_y.values()), part.of_inputs(x.values()), d_weights[part.expert],
               part.out, part.in);
  }
  for_pieces(pieces, [](const Piece& piece) {
    const std::int64_t tokens = piece.from.rows(), out = piece.to.rows(), in = piece.to.columns();
    gemm(true, false, piece.rows, piece.columns, tokens, 1.0f, piece.from.floats() + piece.row, out,
         piece.weight.floats() + piece.column, in, 1.0f, piece.to.floats() + piece.row * in + piece.column,
         in);
  });
}

}  // namespace galapagos::ops::cpu
