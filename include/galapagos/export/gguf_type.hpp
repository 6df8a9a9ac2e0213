#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace galapagos {

/// How GGUF files store the elements of matrices. q8_0: in blocks of 32, each an fp16 scale and 32 bytes.
enum class GgufType : std::uint8_t { f32, f16, bf16, q8_0 };

constexpr std::string_view name_of(GgufType type) {
  constexpr std::string_view names[] = {"f32", "f16", "bf16", "q8_0"};
  return names[static_cast<std::size_t>(type)];
}

/// The type's number in the file's list of tensors.
constexpr std::uint32_t number_of(GgufType type) {
  constexpr std::uint32_t numbers[] = {0, 1, 30, 8};
  return numbers[static_cast<std::size_t>(type)];
}

/// What the file as a whole is said to be (general.file_type).
constexpr std::uint32_t file_number_of(GgufType type) {
  constexpr std::uint32_t numbers[] = {0, 1, 32, 7};
  return numbers[static_cast<std::size_t>(type)];
}

}  // namespace galapagos
