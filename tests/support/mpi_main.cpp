// Runs the whole test program on every rank. Rank 0 reports; the others speak only where they failed, and a
// failure on any rank fails the program on all of them.
#include <mpi.h>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <iostream>
#include <sstream>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::ostringstream report;
  std::streambuf* console = nullptr;
  if (rank != 0) console = std::cout.rdbuf(report.rdbuf());
  const int mine = Catch::Session().run(argc, argv);
  if (console != nullptr) std::cout.rdbuf(console);
  if (rank != 0 && mine != 0) std::cerr << "rank " << rank << ":\n" << report.str();
  int worst = 0;
  MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return worst != 0 ? 1 : 0;
}
