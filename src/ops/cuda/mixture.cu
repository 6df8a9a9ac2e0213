#include "../backends.hpp"
#include "gather.hpp"
#include "gelu.cuh"
#include "launch.cuh"
#include "reduce.cuh"
#include "stored.cuh"
#include "tuning.hpp"

namespace galapagos::ops::cuda {
namespace {

template <GateKind kind>
__device__ float share(float g) {
  return kind == GateKind::silu ? 1.0f / (1.0f + expf(-g)) : gelu_share(g);
}

template <GateKind kind>
__device__ float slope(float g) {
  if (kind == GateKind::gelu_tanh) return gelu_slope(g);
  const float sigmoid = share<kind>(g);
  return sigmoid + g * sigmoid * (1.0f - sigmoid);
}

/// ExpertRows on the device.
struct Layout {
  const std::int64_t *rows, *columns, *first_elements;
  int experts;
};

/// A row, one for each thread block: its columns, and its first element.
struct Row {
  std::int64_t columns, first;

  __device__ Row(const Layout& layout, std::int64_t row) {
    int low = 0, high = layout.experts - 1;  // the last expert whose rows begin at or before it
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (layout.rows[middle] <= row) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    columns = layout.columns[low];
    first = layout.first_elements[low] + (row - layout.rows[low]) * columns;
  }
};

template <GateKind kind, typename T>
__global__ void gate_rows(const T* gate, const T* up, const float* weights, Layout layout, T* out) {
  const Row row(layout, blockIdx.x);
  const float weight = weights[blockIdx.x];
  for (std::int64_t i = threadIdx.x; i < row.columns; i += blockDim.x) {
    const float g = widen(gate[row.first + i]);
    out[row.first + i] = narrow<T>(weight * (g * share<kind>(g) * widen(up[row.first + i])));
  }
}

template <GateKind kind, typename T>
__global__ void gate_rows_gradient(const T* d, T* gate, T* up, const float* weights, Layout layout,
                                   float* d_weights) {
  const Row row(layout, blockIdx.x);
  const float weight = weights[blockIdx.x];
  float by_weight = 0;
  for (std::int64_t i = threadIdx.x; i < row.columns; i += blockDim.x) {
    const std::int64_t at = row.first + i;
    const float g = widen(gate[at]), u = widen(up[at]), by_output = widen(d[at]);
    const float active = g * share<kind>(g), d_product = weight * by_output;
    by_weight += by_output * active * u;
    up[at] = narrow<T>(d_product * active);
    gate[at] = narrow<T>(d_product * u * slope<kind>(g));
  }
  by_weight = block_reduce(by_weight, Sum());
  if (threadIdx.x == 0) d_weights[blockIdx.x] = by_weight;
}

template <typename From, typename To>
__global__ void add_up_rows(const From* rows, const std::int64_t* places, std::int64_t columns, int each,
                            bool accumulate, To* out) {
  const std::int64_t token = blockIdx.x;
  for (std::int64_t c = threadIdx.x; c < columns; c += blockDim.x) {
    const std::int64_t at = token * columns + c;
    float sum = accumulate ? widen(out[at]) : 0.0f;
    for (int i = 0; i < each; ++i) {
      const std::int64_t place = places[token * each + i];
      if (place >= 0) sum += widen(rows[place * columns + c]);
    }
    out[at] = narrow<To>(sum);
  }
}

/// The arrays of a Layout.
class Uploaded {
 public:
  Uploaded(Resources& gpu, const ExpertRows& layout)
      : rows_(gpu.upload(std::span<const std::int64_t>(layout.rows))),
        columns_(gpu.upload(std::span<const std::int64_t>(layout.columns))),
        first_(gpu.upload(std::span<const std::int64_t>(layout.first_elements()))) {}

  Layout view() const {
    return {rows_.data(), columns_.data(), first_.data(), static_cast<int>(columns_.size())};
  }

 private:
  Array<std::int64_t> rows_, columns_, first_;
};

}  // namespace

void gather_routed(const Context& context, const Tensor& table, const Routing& routing, const Tensor& out) {
  gather(context.cuda(), table, routing.tokens.data(), routing.layout.count(), out);
}

void routed_swiglu(const Context& context, const Tensor& gate, const Tensor& up, const Routing& routing,
                   const Tensor& out, GateKind kind) {
  const std::int64_t rows = routing.layout.count();
  if (rows == 0) return;
  Resources& gpu = context.cuda();
  const Uploaded place(gpu, routing.layout);
  with_stored(gate.dtype, [&]<typename T>(const T*) {
    launch(gpu, kind == GateKind::silu ? gate_rows<GateKind::silu, T> : gate_rows<GateKind::gelu_tanh, T>,
           dim3(static_cast<unsigned>(rows)), block_threads, 0, data_as<T>(gate), data_as<T>(up),
           routing.weights.data(), place.view(), data_as<T>(out));
  });
}

void routed_swiglu_backward(const Context& context, const Tensor& d, const Tensor& gate, const Tensor& up,
                            const Routing& routing, const Tensor& d_weights, GateKind kind) {
  const std::int64_t rows = routing.layout.count();
  if (rows == 0) return;
  Resources& gpu = context.cuda();
  const Uploaded place(gpu, routing.layout);
  with_stored(gate.dtype, [&]<typename T>(const T*) {
    launch(gpu,
           kind == GateKind::silu ? gate_rows_gradient<GateKind::silu, T>
                                  : gate_rows_gradient<GateKind::gelu_tanh, T>,
           dim3(static_cast<unsigned>(rows)), block_threads, 0, data_as<T>(d), data_as<T>(gate),
           data_as<T>(up), routing.weights.data(), place.view(), d_weights.floats());
  });
}

void sum_rows(const Context& context, const Tensor& rows, const Routing& routing, const Tensor& out,
              bool accumulate) {
  if (out.empty()) return;
  with_stored(rows.dtype, [&]<typename From>(const From*) {
    with_stored(out.dtype, [&]<typename To>(const To*) {
      launch(context.cuda(), add_up_rows<From, To>, dim3(static_cast<unsigned>(out.rows())), block_threads, 0,
             data_as<From>(rows), routing.places.data(), out.columns(),
             static_cast<int>(routing.experts_per_token), accumulate, data_as<To>(out));
    });
  });
}

}  // namespace galapagos::ops::cuda
