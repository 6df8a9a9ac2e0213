#pragma once

namespace galapagos {

/// The whole program: MPI, the command named by argv[1], and the exit code. An error is
/// printed once.
int run(int argc, char** argv);

}  // namespace galapagos
