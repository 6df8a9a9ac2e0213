#include "inverse.hpp"
#include "launch.cuh"
#include "tuning.hpp"

#include <algorithm>
#include <type_traits>
#include <vector>

namespace galapagos::ops::cuda {
namespace {

// The lower triangle of a row-major matrix is the upper one of the same memory by columns, which is how the
// libraries see it: a factor L is their upper L^T, a product A B their B^T A^T.
constexpr cublasFillMode_t triangle = CUBLAS_FILL_MODE_UPPER;

template <typename T>
constexpr cudaDataType_t type_of = std::is_same_v<T, float> ? CUDA_R_32F : CUDA_R_64F;

/// The rows and columns from `first` on, `width` of them.
struct Span {
  std::int64_t first, width;
  std::int64_t end() const { return first + width; }
};

/// The blocks of n rows, ascending.
std::vector<Span> blocks_of(std::int64_t n) {
  std::vector<Span> blocks;
  for (std::int64_t first = 0; first < n; first += inverse_block)
    blocks.push_back({first, std::min(inverse_block, n - first)});
  return blocks;
}

/// The lower triangle [n, n] of one matrix to another; what lies above becomes zero or stays.
template <typename T>
__global__ void copy_triangle(const T* from, std::int64_t from_stride, T* to, std::int64_t to_stride,
                              std::int64_t n, bool clears) {
  for (std::int64_t i = global_thread(); i < n * n; i += global_threads()) {
    const std::int64_t row = i / n, column = i % n;
    if (column <= row) {
      to[row * to_stride + column] = from[row * from_stride + column];
    } else if (clears) {
      to[row * to_stride + column] = 0;
    }
  }
}

template <typename T>
__global__ void set_identity(T* to, std::int64_t n) {
  for (std::int64_t i = global_thread(); i < n * n; i += global_threads()) to[i] = i / n == i % n ? 1 : 0;
}

// B [m, n] column-major = alpha op(A)^-1 B or alpha B op(A)^-1, A upper.
template <typename T>
void solve(Resources& gpu, cublasSideMode_t side, std::int64_t m, std::int64_t n, T alpha, const T* a,
           std::int64_t lda, T* b, std::int64_t ldb) {
  if (m == 0 || n == 0) return;
  const auto with = [&](const auto& trsm) {
    check_blas(trsm(gpu.blas(), side, triangle, CUBLAS_OP_N, CUBLAS_DIAG_NON_UNIT, static_cast<int>(m),
                    static_cast<int>(n), &alpha, a, static_cast<int>(lda), b, static_cast<int>(ldb)),
               "cublas trsm");
  };
  if constexpr (std::is_same_v<T, float>) {
    with(cublasStrsm);
  } else {
    with(cublasDtrsm);
  }
}

// C [m, n] column-major += A B.
template <typename T>
void add_product(Resources& gpu, std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda,
                 const T* b, std::int64_t ldb, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  const T one = 1;
  const auto with = [&](const auto& gemm) {
    check_blas(gemm(gpu.blas(), CUBLAS_OP_N, CUBLAS_OP_N, static_cast<int>(m), static_cast<int>(n),
                    static_cast<int>(k), &one, a, static_cast<int>(lda), b, static_cast<int>(ldb), &one, c,
                    static_cast<int>(ldc)),
               "cublas gemm");
  };
  if constexpr (std::is_same_v<T, float>) {
    with(cublasSgemm);
  } else {
    with(cublasDgemm);
  }
}

// The upper triangle of C [n, n] column-major = A A^T + beta C, A [n, k].
template <typename T>
void add_square(Resources& gpu, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, T beta, T* c,
                std::int64_t ldc) {
  if (n == 0) return;
  const T one = 1;
  const auto with = [&](const auto& syrk) {
    check_blas(syrk(gpu.blas(), triangle, CUBLAS_OP_N, static_cast<int>(n), static_cast<int>(k), &one, a,
                    static_cast<int>(lda), &beta, c, static_cast<int>(ldc)),
               "cublas syrk");
  };
  if constexpr (std::is_same_v<T, float>) {
    with(cublasSsyrk);
  } else {
    with(cublasDsyrk);
  }
}

// B [m, n] column-major = B A^T, A [n, n] upper.
template <typename T>
void multiply_transposed(Resources& gpu, std::int64_t m, std::int64_t n, const T* a, std::int64_t lda, T* b,
                         std::int64_t ldb) {
  if (m == 0 || n == 0) return;
  const T one = 1;
  const auto with = [&](const auto& trmm) {
    check_blas(trmm(gpu.blas(), CUBLAS_SIDE_RIGHT, triangle, CUBLAS_OP_T, CUBLAS_DIAG_NON_UNIT,
                    static_cast<int>(m), static_cast<int>(n), &one, a, static_cast<int>(lda), b,
                    static_cast<int>(ldb), b, static_cast<int>(ldb)),
               "cublas trmm");
  };
  if constexpr (std::is_same_v<T, float>) {
    with(cublasStrmm);
  } else {
    with(cublasDtrmm);
  }
}

/// What the 64-bit interface asks for, with its defaults.
class SolverParameters {
 public:
  SolverParameters() { check_solver(cusolverDnCreateParams(&parameters_), "cusolverDnCreateParams"); }
  ~SolverParameters() { cusolverDnDestroyParams(parameters_); }
  SolverParameters(const SolverParameters&) = delete;
  SolverParameters& operator=(const SolverParameters&) = delete;

  cusolverDnParams_t get() const { return parameters_; }

 private:
  cusolverDnParams_t parameters_ = nullptr;
};

/// The workspaces of a call to cuSOLVER, whose info says 0 where all went well. The one on the host has to
/// outlive the work, for which succeeded() waits.
struct SolverCall {
  SolverCall(std::size_t on_device, std::size_t on_host)
      : device(static_cast<std::int64_t>(std::max<std::size_t>(on_device, 1)), "a workspace of cuSOLVER"),
        host(on_host),
        info(1, "a flag") {}

  bool succeeded(Resources& gpu) const { return gpu.download(info.data()) == 0; }

  Array<std::byte> device;
  std::vector<std::byte> host;
  Array<int> info;
};

template <typename T>
bool invert_lower_by_library(Resources& gpu, T* l, std::int64_t n) {
  std::size_t on_device = 0, on_host = 0;
  check_solver(cusolverDnXtrtri_bufferSize(gpu.solver(), triangle, CUBLAS_DIAG_NON_UNIT, n, type_of<T>, l, n,
                                           &on_device, &on_host),
               "trtri_bufferSize");
  SolverCall call(on_device, on_host);
  check_solver(cusolverDnXtrtri(gpu.solver(), triangle, CUBLAS_DIAG_NON_UNIT, n, type_of<T>, l, n,
                                call.device.data(), on_device, call.host.data(), on_host, call.info.data()),
               "trtri");
  return call.succeeded(gpu);
}

template <typename T>
bool invert_by_potri(Resources& gpu, T* l, std::int64_t extent) {
  const int n = static_cast<int>(extent);
  int words = 0;
  const auto with = [&](const auto& size_of_workspace, const auto& potri) {
    check_solver(size_of_workspace(gpu.solver(), triangle, n, l, n, &words), "potri_bufferSize");
    const SolverCall call(static_cast<std::size_t>(words) * sizeof(T), 0);
    check_solver(potri(gpu.solver(), triangle, n, l, n, reinterpret_cast<T*>(call.device.data()), words,
                       call.info.data()),
                 "potri");
    return call.succeeded(gpu);
  };
  if constexpr (std::is_same_v<T, float>) {
    return with(cusolverDnSpotri_bufferSize, cusolverDnSpotri);
  } else {
    return with(cusolverDnDpotri_bufferSize, cusolverDnDpotri);
  }
}

}  // namespace

template <typename T>
bool factor_lower(Resources& gpu, T* h, std::int64_t n) {
  const SolverParameters parameters;
  std::size_t on_device = 0, on_host = 0;
  check_solver(cusolverDnXpotrf_bufferSize(gpu.solver(), parameters.get(), triangle, n, type_of<T>, h, n,
                                           type_of<T>, &on_device, &on_host),
               "potrf_bufferSize");
  SolverCall call(on_device, on_host);
  check_solver(cusolverDnXpotrf(gpu.solver(), parameters.get(), triangle, n, type_of<T>, h, n, type_of<T>,
                                call.device.data(), on_device, call.host.data(), on_host, call.info.data()),
               "potrf");
  return call.succeeded(gpu);
}

// Block after block from the top, what is left of L below them already standing for -L L_kk^-1 ... of the
// blocks before: with A the block on the diagonal, B what lies left of it, C below it, D below B,
//   C <- -C A^-1,   D <- D + C B,   B <- A^-1 B,   A <- A^-1
// (Bientinesi, Gunter, van de Geijn 2008, variant 3), nearly all of it products.
template <typename T>
void invert_lower(Resources& gpu, T* l, std::int64_t n) {
  const std::int64_t most = std::min(inverse_block, n);
  const Array<T> inverse(most * most, "a block of an inverse");
  for (const Span& k : blocks_of(n)) {
    T *const left = l + k.first * n, *const diagonal = left + k.first, *const bottom = l + k.end() * n;
    const std::int64_t below = n - k.end();
    solve<T>(gpu, CUBLAS_SIDE_LEFT, k.width, below, -1, diagonal, n, bottom + k.first, n);
    add_product(gpu, k.first, below, k.width, left, n, bottom + k.first, n, bottom, n);
    solve<T>(gpu, CUBLAS_SIDE_RIGHT, k.first, k.width, 1, diagonal, n, left, n);
    launch(gpu, set_identity<T>, blocks_for(k.width * k.width), block_threads, 0, inverse.data(), k.width);
    solve<T>(gpu, CUBLAS_SIDE_RIGHT, k.width, k.width, 1, diagonal, n, inverse.data(), k.width);
    launch(gpu, copy_triangle<T>, blocks_for(k.width * k.width), block_threads, 0, inverse.data(), k.width,
           diagonal, n, k.width, false);
  }
}

// Block after block from the top, what lies above them already being part of the product: with A the block
// on the diagonal, B what lies left of it, P the product above,
//   P <- P + B^T B,   B <- A^T B,   A <- A^T A.
template <typename T>
void square_lower(Resources& gpu, T* x, std::int64_t n) {
  const std::int64_t most = std::min(inverse_block, n);
  const Array<T> lower(most * most, "a block of an inverse");
  for (const Span& k : blocks_of(n)) {
    T *const left = x + k.first * n, *const diagonal = left + k.first;
    add_square<T>(gpu, k.first, k.width, left, n, 1, x, n);
    multiply_transposed(gpu, k.first, k.width, diagonal, n, left, n);
    launch(gpu, copy_triangle<T>, blocks_for(k.width * k.width), block_threads, 0, diagonal, n, lower.data(),
           k.width, k.width, true);
    add_square<T>(gpu, k.width, k.width, lower.data(), k.width, 0, diagonal, n);
  }
}

template <typename T>
bool invert_factor(Resources& gpu, T* l, std::int64_t n, InverseWay way) {
  if (way == InverseWay::potri && n <= potri_columns) return invert_by_potri(gpu, l, n);
  if (way == InverseWay::product) {
    if (!invert_lower_by_library(gpu, l, n)) return false;
  } else {
    invert_lower(gpu, l, n);
  }
  square_lower(gpu, l, n);
  return true;
}

template bool factor_lower(Resources&, float*, std::int64_t);
template bool factor_lower(Resources&, double*, std::int64_t);
template bool invert_factor(Resources&, float*, std::int64_t, InverseWay);
template bool invert_factor(Resources&, double*, std::int64_t, InverseWay);
template void invert_lower(Resources&, float*, std::int64_t);
template void invert_lower(Resources&, double*, std::int64_t);
template void square_lower(Resources&, float*, std::int64_t);
template void square_lower(Resources&, double*, std::int64_t);

}  // namespace galapagos::ops::cuda
