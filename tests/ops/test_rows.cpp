#include "ops/devices.hpp"

#include <galapagos/ops/rows.hpp>

using namespace galapagos;
using test::on;
using test::random_tensor;
using test::read;

TEST_CASE("rows are gathered, matrices transposed, values converted and added, of any type and width",
          "[ops]") {
  const Device device = GENERATE_DEVICE();
  const ops::Context context(device);
  std::mt19937 random(12);
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    for (const auto& [rows, columns] : {std::pair{1, 1}, {5, 3}, {33, 64}, {70, 129}, {4, 0}}) {
      const OwnedTensor table = random_tensor({rows, columns}, random, type);
      const std::vector<float> values = read(table);
      const std::vector<std::int64_t> chosen = {rows - 1, 0, rows / 2};
      const OwnedTensor gathered({3, columns}, type, device, "test"),
          turned({columns, rows}, type, device, "test");
      ops::gather_rows(context, on(device, table), chosen, gathered);
      ops::transpose(context, on(device, table), turned);
      const std::vector<float> found = read(gathered), other = read(turned);
      std::size_t wrong = 0;
      for (std::int64_t j = 0; j < columns; ++j) {
        for (std::int64_t i = 0; i < 3; ++i) {
          wrong += found[static_cast<std::size_t>(i * columns + j)] ==
                           values[static_cast<std::size_t>(chosen[static_cast<std::size_t>(i)] * columns + j)]
                       ? 0
                       : 1;
        }
        for (std::int64_t i = 0; i < rows; ++i) {
          wrong += other[static_cast<std::size_t>(j * rows + i)] ==
                           values[static_cast<std::size_t>(i * columns + j)]
                       ? 0
                       : 1;
        }
      }
      CHECK(wrong == 0);
    }
  }
  for (const DType from : {DType::f32, DType::bf16, DType::f16}) {
    for (const DType to : {DType::f32, DType::bf16, DType::f16}) {
      const OwnedTensor values = random_tensor({3, 777}, random, from, 100);
      const OwnedTensor found({3, 777}, to, device, "test");
      ops::convert(context, on(device, values), found);
      CHECK(read(found) == read(test::rounded(values, to)));
    }
  }
  for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
    for (const std::int64_t width : {1, 7, 64, 777}) {
      const OwnedTensor added = random_tensor({3, width}, random, type, 100);
      const OwnedTensor before = random_tensor({3, width}, random, DType::f32, 100);
      const OwnedTensor sum = on(device, before);
      ops::add(context, on(device, added), sum);
      const std::vector<float> x = read(added), y = read(before), found = read(sum);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < found.size(); ++i) wrong += found[i] != y[i] + x[i] ? 1 : 0;
      CHECK(wrong == 0);
    }
  }
  const OwnedTensor nothing({0, 4}, DType::f32, device, "test"),
      table = on(device, random_tensor({2, 4}, random));
  ops::gather_rows(context, table, {}, nothing);
}
