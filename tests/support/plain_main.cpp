#include "support/skip.hpp"

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <cstdlib>

int main(int argc, char** argv) {
  const int code = Catch::Session().run(argc, argv);
  const char* skip_code = std::getenv("GALAPAGOS_SKIP_CODE");
  return code == 0 && galapagos::test::skipped && skip_code != nullptr ? std::atoi(skip_code) : code;
}
