#pragma once

#include <mpi.h>
#include <string>

#include <galapagos/core/error.hpp>

namespace galapagos {

/// Turns the return code of an MPI call into a FailureError with MPI's own words.
inline void mpi_check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  MPI_Error_string(code, text, &length);
  throw FailureError(std::string(call) + " failed: " + std::string(text, static_cast<std::size_t>(length)),
                     "MPI", "check the network and the MPI installation");
}

}  // namespace galapagos

#define GALAPAGOS_MPI(call) ::galapagos::mpi_check(call, #call)
