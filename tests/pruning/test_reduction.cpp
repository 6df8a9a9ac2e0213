#include "pruning/reduction.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/small_run.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include <galapagos/pruning/hessian.hpp>

using namespace galapagos;

namespace {

/// A rank's summand, the same whenever it is made.
OwnedTensor summand_of(int rank, const Shape& shape, unsigned seed) {
  OwnedTensor made(shape, DType::f32, Device::cpu, "test");
  std::minstd_rand random(seed * 1000 + static_cast<unsigned>(rank) + 1);
  for (float& value : made->float_span()) value = static_cast<float>(random() % 100'003) * 0.37F - 9e3F;
  return made;
}

/// Values in which two matrices differ, of a lower triangle or of all.
std::size_t differences(const Tensor& a, const Tensor& b, Triangle triangle) {
  std::size_t different = 0;
  for (std::int64_t row = 0; row < a.rows(); ++row) {
    const std::int64_t end = triangle == Triangle::lower ? row + 1 : a.columns();
    for (std::int64_t i = row * a.columns(); i < row * a.columns() + end; ++i)
      different += a.floats()[i] != b.floats()[i] ? 1 : 0;
  }
  return different;
}

}  // namespace

TEST_CASE("a sum from device to device has the bits of one through host memory", "[reduction]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const auto collectives = make_mpi_collectives(world);
  const int me = world.rank();
  // Only some of the ranks hold something, in any order, and whoever owns it.
  std::vector<std::vector<int>> holders = {{0}, {world.size() - 1}};
  std::vector<int> all(static_cast<std::size_t>(world.size()));
  std::iota(all.begin(), all.end(), 0);
  holders.push_back(all);
  std::reverse(all.begin(), all.end());
  holders.push_back(all);
  if (all.size() > 2) holders.emplace_back(all.begin() + 1, all.end());
  struct Case {
    Shape shape;
    Triangle triangle;
  };
  // The last goes in two pieces.
  for (const auto& [shape, triangle] : {Case{{1, 1}, Triangle::lower},
                                        {{70, 70}, Triangle::lower},
                                        {{33, 7}, Triangle::both},
                                        {{0, 0}, Triangle::lower},
                                        {{2900, 2900}, Triangle::lower}}) {
    for (const std::vector<int>& of : holders) {
      const bool holds = std::find(of.begin(), of.end(), me) != of.end();
      for (int owner = 0; owner<world.size(); owner += shape[0]> 1000 ? std::max(1, world.size() - 1) : 1) {
        const auto mine = [&] { return holds ? summand_of(me, shape, 3) : OwnedTensor(); };
        const Reduction reduction = {of, owner, shape, triangle};
        const OwnedTensor expected = sum_at_owner(world, reduction, mine(), "test");
        const OwnedTensor found = sum_at_owner(context, *collectives, reduction, mine(), Device::cpu, "test");
        CHECK(found->elements() == (me == owner ? shape.elements() : 0));
        if (me == owner && found->elements() == shape.elements())
          CHECK(differences(found, expected, triangle) == 0);
      }
    }
  }
}

TEST_CASE("Hessians come to their owners from device to device as through host memory", "[reduction]") {
  const Communicator world = Communicator::world();
  const ops::Context context;
  const auto collectives = make_mpi_collectives(world);
  const HfConfig config = read_hf_config(test::data_file("models/qwen2_tiny"));
  std::vector<ModuleId> modules;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    modules.push_back({layer, ModuleKind::attention});
    modules.push_back({layer, ModuleKind::ffn});
  }
  for (int lanes = 1; lanes <= world.size(); ++lanes) {
    const PipelineGrid grid = make_pipeline_grid(
        std::vector<double>(static_cast<std::size_t>(config.layers), 1.0), world.size(), lanes);
    const auto partial = [&] {
      Hessians hessians;
      for (std::size_t m = 0; m < modules.size() && grid.member(world.rank()); ++m) {
        const std::int64_t n = module_columns(config, modules[m]);
        if (grid.stage_of_layer(modules[m].layer) == grid.stage_of(world.rank()))
          hessians.emplace(modules[m], summand_of(world.rank(), {n, n}, static_cast<unsigned>(m)));
      }
      return hessians;
    };
    std::vector<int> owners = assign_owners(modules, config, grid, world.size());
    for (const bool moved : {false, true}) {
      for (int& owner : owners) owner = (owner + (moved ? 1 : 0)) % world.size();
      const Hessians expected = reduce_to_owners(world, grid, config, modules, owners, partial());
      const Hessians found = reduce_to_owners(world, grid, config, modules, owners, partial(),
                                              DeviceSums{context, *collectives, 1 << 20, 1 << 20});
      CHECK(found.size() == expected.size());
      for (const auto& [module, hessian] : expected) {
        CHECK(found.contains(module));
        if (found.contains(module)) CHECK(differences(found.at(module), hessian, Triangle::lower) == 0);
      }
    }
  }
}

TEST_CASE("a database has the same bits, whichever way its Hessians go", "[reduction]") {
  const Communicator world = Communicator::world();
  const test::SharedFolder folder(world);
  const std::optional<Compensation> given = Compensation{1e-2};
  int number = 0;
  const auto check = [&](const DatabaseOptions& through_host) {
    DatabaseOptions direct = through_host;
    direct.output = folder / ("direct" + std::to_string(++number) + ".h5");
    direct.make_collectives = make_mpi_collectives;
    CHECK(test::code_of_build(world, through_host) == 0);
    CHECK(test::code_of_build(world, direct) == 0);
    if (world.is_root()) CHECK(test::compare(through_host.output, direct.output).same_bits);
    world.barrier();
  };
  for (int lanes = 1; lanes <= world.size(); lanes += std::max(1, world.size() - 1)) {
    DatabaseOptions options =
        test::small_database("llama3_tiny", folder / ("lanes" + std::to_string(lanes) + ".h5"));
    options.lanes = lanes;
    check(options);
  }
  check(test::on_path(world, test::small_database("llama3_tiny", folder / "path.h5"), 1, 2, given));
}
