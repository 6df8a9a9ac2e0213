#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace galapagos {

/// What a token says of the text up to it.
enum class TokenEnd : std::uint8_t {
  none,  ///< it has no text, as if it was not there
  open,  ///< it is a byte: those behind it may still change what it and those before it become
  text,
};

/// Turns token ids into text exactly as the library does that a tokenizer's file is of; ids of no token are
/// passed over. Made by Tokenizer::decoder().
class TextDecoder {
 public:
  virtual ~TextDecoder() = default;

  /// UTF-8. Bytes of no character become U+FFFD.
  virtual std::string decode(std::span<const std::int32_t> ids) const = 0;
  virtual TokenEnd end_of(std::int32_t id) const = 0;
};

/// The text of ids that come one by one. What it gives in pieces is together what decode() makes of all of
/// them; no piece ends within a character.
class TextStream {
 public:
  /// The reference must outlive this.
  explicit TextStream(const TextDecoder& decoder) : decoder_(decoder) {}

  /// What is sure of the text with one more id, behind what was before.
  std::string push(std::int32_t id);
  /// What would come behind it if no more ids did.
  std::string rest() const;

 private:
  const TextDecoder& decoder_;
  std::vector<std::int32_t> window_;  // the last ids, from one on before which nothing matters any more
  std::size_t given_ = 0;             // bytes of their text that were handed out
};

}  // namespace galapagos
