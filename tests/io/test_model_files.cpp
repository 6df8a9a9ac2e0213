#include "input_error.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/io/model_files.hpp>

using namespace galapagos;

TEST_CASE("a complete run whose model is gone is told so") {
  const test::TemporaryFolder folder;
  CHECK(test::contains(test::input_error([&] { check_result(folder.path()); }), "its model is gone"));
  std::filesystem::create_directory(folder / "model");
  test::write_text(folder / "model" / "config.json", "{}");
  CHECK_NOTHROW(check_result(folder.path()));
}
