#pragma once

#include <cuda_bf16.h>

// The tensor-core instructions of sm_80 and later, by warps, and the copies that feed them. Each matrix piece
// is spread over the 32 lanes as the PTX manual lays out for mma.m16n8k16.
namespace galapagos::ops::cuda {

/// C [16, 8] += A [16, 16] B [16, 8], bf16 with fp32 sums. Lane l has of C the rows l / 4 (two values) and l
/// / 4 + 8 (two more), columns 2 (l % 4) and the next.
__device__ inline void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Four 8 x 8 matrices from shared memory, matrix m with the rows to which lanes 8 m ... 8 m + 7 point; lane
/// l gets of each the elements (l / 4, 2 (l % 4)) and the next.
__device__ inline void load_matrices(unsigned (&r)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

/// The same of the transposed matrices.
__device__ inline void load_transposed(unsigned (&r)[4], const __nv_bfloat16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(row)))
               : "memory");
}

/// Copies 16 bytes into shared memory behind the computation, or zeros where the source is not `valid`.
__device__ inline void copy_async(__nv_bfloat16* to, const __nv_bfloat16* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}

/// Waits for all copies of this thread.
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

/// Two values as bf16 in one word, the first in its lower half.
__device__ inline unsigned pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&pair);
}

}  // namespace galapagos::ops::cuda
