#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace galapagos {

/// 64-bit XXH64 (seed 0) of a byte sequence given in pieces. A checksum, not a defence against forgery.
class Hash64 {
 public:
  Hash64();
  ~Hash64();
  Hash64(const Hash64&) = delete;
  Hash64& operator=(const Hash64&) = delete;

  Hash64& add(std::span<const std::byte> bytes);
  Hash64& add(const std::string& text) { return add(std::as_bytes(std::span(text))); }
  Hash64& add(std::uint64_t number) { return add(std::as_bytes(std::span(&number, 1))); }
  std::uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// 16 lower-case hexadecimal digits.
std::string hex64(std::uint64_t value);

}  // namespace galapagos
