#include "support/catch.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/tensor/tensor.hpp>

using namespace galapagos;

TEST_CASE("tensors are views of buffers", "[tensor]") {
  OwnedTensor owned({3, 4}, DType::bf16, Device::cpu, "test");
  CHECK(owned->bytes() == 24);
  CHECK(owned->rows() == 3);
  CHECK(owned->columns() == 4);
  fill_zero(owned);
  const Tensor row = owned->slice(1, 2);
  CHECK(row.shape == Shape{2, 4});
  CHECK(row.data == owned->data + 8);
  CHECK(owned->view({2, 6}).bytes() == 24);
  CHECK_THROWS_AS(owned->slice(2, 2), FailureError);
  CHECK_THROWS_AS(owned->view({5, 5}), FailureError);
  const std::byte* data = owned->data;
  const OwnedTensor moved = std::move(owned);
  CHECK(moved->data == data);
  CHECK(OwnedTensor({0, 4}, DType::f32, Device::cpu, "test")->empty());
}

TEST_CASE("what cannot be had is refused with its purpose", "[tensor]") {
  try {
    const Buffer buffer(std::size_t{1} << 62, Device::cpu, "the Hessian of everything");
    FAIL_CHECK("there cannot be so much memory");
  } catch (const ResourceError& error) {
    CHECK(std::string(error.what()).find("the Hessian of everything") != std::string::npos);
  }
  if (!built_with_cuda()) CHECK_THROWS_AS(Buffer(8, Device::cuda, "test"), ResourceError);
}
