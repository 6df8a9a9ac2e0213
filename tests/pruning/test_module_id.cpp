#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/io/hdf5.hpp>
#include <galapagos/pruning/module_id.hpp>

using namespace galapagos;

TEST_CASE("a module has a name and a place in files, an expert its own", "[module_id]") {
  const ModuleId attention{3, ModuleKind::attention}, ffn{3, ModuleKind::ffn}, expert{3, ModuleKind::ffn, 0},
      other{3, ModuleKind::ffn, 11};
  CHECK(name_of(attention) == "model.layers.3.self_attn.o_proj");
  CHECK(name_of(ffn) == "model.layers.3.mlp.down_proj");
  CHECK(name_of(expert) == "model.layers.3.mlp.experts.0.down_proj");
  CHECK(group_of(attention) == "/modules/3/attn");
  CHECK(group_of(ffn) == "/modules/3/ffn");
  CHECK(group_of(other) == "/modules/3/ffn/11");
  CHECK(attention < ffn);
  CHECK(ffn < expert);
  CHECK(expert < other);
  CHECK(other < ModuleId{4, ModuleKind::attention});
}

TEST_CASE("groups are made with those above them, and once", "[module_id]") {
  const test::TemporaryFolder folder;
  Hdf5File file = Hdf5File::create(folder / "x.h5");
  for (const std::int64_t expert : {0, 11}) file.create_group(group_of({3, ModuleKind::ffn, expert}));
  file.create_group(group_of({3, ModuleKind::attention}));
  for (const char* group : {"/modules", "/modules/3", "/modules/3/ffn", "/modules/3/ffn/0",
                            "/modules/3/ffn/11", "/modules/3/attn"})
    CHECK(file.has(group));
  CHECK_FALSE(file.has("/modules/3/ffn/1"));
}
