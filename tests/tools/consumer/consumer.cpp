#include <cstdio>

#include <galapagos/core/version.hpp>
#include <galapagos/io/hf_config.hpp>

// Says how many layers the model in a folder has.
int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const galapagos::HfConfig config = galapagos::read_hf_config(argv[1]);
  std::printf("galapagos %s: %d layers\n", galapagos::version().c_str(), static_cast<int>(config.layers));
  return config.layers > 0 ? 0 : 1;
}
