#include "support/catch.hpp"
#include "support/gpu.hpp"

#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/tensor/gpu.hpp>
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

TEST_CASE("tensors on a GPU", "[tensor]") {
  if (test::without_gpu()) return;
  const std::vector<Gpu> gpus = visible_gpus();
  CHECK(text_of_uuid(gpus.front().uuid).size() == 40);
  std::vector<float> values(1000), back(1000, -1.0f);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const auto* from = reinterpret_cast<const std::byte*>(values.data());
  auto* to = reinterpret_cast<std::byte*>(back.data());
  const OwnedTensor first({1000}, DType::f32, Device::cuda, "test");
  copy_bytes(first->data, Device::cuda, from, Device::cpu, first->bytes());
  const OwnedTensor second = copy_of(first, Device::cuda, "test");
  fill_zero(first->slice(0, 10));
  copy_bytes(to, Device::cpu, second->data, Device::cuda, second->bytes());
  CHECK(back == values);
  copy_bytes(to, Device::cpu, first->data, Device::cuda, first->bytes());
  CHECK(back[9] == 0);
  CHECK(back[10] == 10);
  CHECK(OwnedTensor({0, 4}, DType::f32, Device::cuda, "test")->empty());
  try {
    const Buffer buffer(std::size_t{1} << 50, Device::cuda, "the activations of everything");
    FAIL_CHECK("there cannot be so much memory");
  } catch (const ResourceError& error) {
    const std::string message = error.what();
    CHECK(message.find("the activations of everything") != std::string::npos);
    CHECK(message.find("--batch-tokens") != std::string::npos);
  }
}
