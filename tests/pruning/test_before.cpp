#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/comm/communicator.hpp>
#include <galapagos/pruning/assignment_text.hpp>
#include <galapagos/pruning/database.hpp>
#include <galapagos/pruning/sensitivity_file.hpp>

using namespace galapagos;

// tests/data/before holds what version 0.1.0 (2d3c96438e91) made of qwen2_tiny.
TEST_CASE("files of the version before are still read", "[before]") {
  if (!Communicator::world().is_root()) return;  // nothing here is collective
  const SensitivityReader sensitivity(test::data_file("before/sensitivity.h5"));
  CHECK(sensitivity.header().form == SensitivityForm::diagonal);
  CHECK(sensitivity.header().modules().size() == 6);
  CHECK(sensitivity.values({1, ModuleKind::ffn}).at(0) == Approx(0.00322107).epsilon(1e-5));

  const DatabaseReader database(test::data_file("before/database.h5"));
  CHECK(database.complete());
  CHECK(database.header().model_fingerprint == "7a0e63f5c04dde0e");
  CHECK(database.header().config == read_hf_config(test::data_file("models/qwen2_tiny")));
  CHECK(database.header().sensitivity_fingerprint == sensitivity.fingerprint());
  for (const ModuleId& module : database.header().modules()) CHECK_NOTHROW(database.verify(module));
  const ModuleId attention{1, ModuleKind::attention}, ffn{2, ModuleKind::ffn};
  CHECK(database.header().removed(attention) == std::vector<std::int64_t>{0, 4, 8});
  CHECK(database.header().removed(ffn) == std::vector<std::int64_t>{0, 64, 160});
  CHECK(database.order(attention).at(0) == 6);
  CHECK(database.end_loss(ffn).at(2) == Approx(0.30679645).epsilon(1e-7));
  CHECK(database.level_bytes(ffn, 1, true).size() == 96 * 64 * sizeof(std::uint16_t));

  const std::vector<std::int16_t> assignment = read_assignment_text(
      database.header().modules(), std::vector<std::int16_t>(6, 2), test::data_file("before/assignment.txt"));
  CHECK(assignment == std::vector<std::int16_t>{0, 1, 1, 1, 1, 2});
}
