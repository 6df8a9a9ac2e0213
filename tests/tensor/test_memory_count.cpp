#include "support/catch.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/tensor/memory_count.hpp>
#include <galapagos/tensor/tensor.hpp>

using namespace galapagos;

namespace {

/// Keeps two tensors, whatever it makes of others meanwhile.
struct Holder {
  OwnedTensor kept, moved;

  Holder() {
    OwnedTensor first({100}, DType::f32, Device::cpu, "test");
    const OwnedTensor passing({1000, 1000}, DType::f32, Device::cpu, "test");
    fill_zero(first);
    copy_values(passing->slice(0, 0), first->slice(0, 0));
    kept = std::move(first);
    moved = OwnedTensor({7, 3}, DType::bf16, Device::cuda, "test");
    moved = OwnedTensor({7, 5}, DType::bf16, Device::cuda, "test");
  }
};

}  // namespace

TEST_CASE("what a constructor holds is counted without allocating it, on a device that need not be there") {
  CHECK(bytes_held([] { return Holder(); }) == 100 * 4 + 7 * 5 * 2);
  // More than any machine has.
  CHECK(bytes_held([] {
          return OwnedTensor({std::int64_t{1} << 30, 1 << 20}, DType::f32, Device::cuda, "test");
        }) == std::uint64_t{1} << 52);
  CHECK(bytes_held([] { return OwnedTensor(); }) == 0);
}

TEST_CASE("beside a count memory is as ever") {
  OwnedTensor before({3}, DType::f32, Device::cpu, "test");
  before->floats()[0] = 1;
  OwnedTensor counted;
  {
    const MemoryCount count;
    CHECK(MemoryCount::counting());
    CHECK_THROWS_AS(MemoryCount(), FailureError);
    counted = OwnedTensor({5}, DType::f32, Device::cpu, "test");
    CHECK(counted->data == nullptr);
    CHECK(count.bytes() == 20);
    counted = {};
    CHECK(count.bytes() == 0);
    counted = OwnedTensor({5}, DType::f32, Device::cpu, "test");
  }
  CHECK(!MemoryCount::counting());
  CHECK(before->floats()[0] == 1);
  fill_zero(before);
  CHECK(before->floats()[0] == 0);
  counted = OwnedTensor({2}, DType::f32, Device::cpu, "test");
  CHECK(counted->data != nullptr);
  const MemoryCount again;
  CHECK(again.bytes() == 0);
}
