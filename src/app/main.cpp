#include <galapagos/app/run.hpp>

int main(int argc, char** argv) {
  return galapagos::run(argc, argv);
}
