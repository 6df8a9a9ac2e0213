#pragma once

#include "mpi_check.hpp"

namespace galapagos {

/// MPI's sum of bf16 values, as words of 16 bits: two are added in fp32 and rounded to nearest, ties to even,
/// whichever of them comes first.
class Bf16Sum {
 public:
  Bf16Sum() { GALAPAGOS_MPI(MPI_Op_create(&add, 1, &op_)); }
  ~Bf16Sum() { MPI_Op_free(&op_); }
  Bf16Sum(const Bf16Sum&) = delete;
  Bf16Sum& operator=(const Bf16Sum&) = delete;

  MPI_Op get() const { return op_; }

 private:
  static void add(void* added, void* sum, int* count, MPI_Datatype* type);

  MPI_Op op_ = MPI_OP_NULL;
};

}  // namespace galapagos
