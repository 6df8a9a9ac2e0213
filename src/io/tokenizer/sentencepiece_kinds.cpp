#include "sentencepiece_kinds.hpp"

#include <array>
#include <cstdint>
#include <optional>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

/// A field of a message in protobuf's wire format.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;      ///< of an integer
  std::string_view bytes = {};  ///< of a text or a message
};

class Message {
 public:
  Message(std::string_view bytes, const std::string& where) : rest_(bytes), where_(where) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const std::uint64_t tag = integer();
    Field field{tag >> 3};
    const std::uint64_t encoding = tag & 7;
    if (encoding == 0) {
      field.value = integer();
    } else if (encoding == 2) {
      field.bytes = take(integer());
    } else if (encoding == 1 || encoding == 5) {
      take(encoding == 1 ? 8 : 4);
    } else {
      fail();
    }
    return field;
  }

 private:
  std::string_view take(std::uint64_t bytes) {
    if (bytes > rest_.size()) fail();
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(bytes);
    return taken;
  }

  std::uint64_t integer() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail();
  }

  [[noreturn]] void fail() const {
    throw InputError("a damaged SentencePiece model", where_, "replace the file");
  }

  std::string_view rest_;
  const std::string& where_;
};

/// Of a piece: its text, its score and its type, which a normal one may leave out.
TokenKind kind_of(std::string_view piece, const std::string& where) {
  using enum TokenKind;
  constexpr std::array types = {normal, normal, unknown, control, user_defined, unused, byte};
  constexpr std::uint64_t type_field = 3;
  std::uint64_t type = 1;
  Message message(piece, where);
  while (const auto field = message.next())
    if (field->number == type_field) type = field->value;
  return type < types.size() ? types[type] : normal;
}

}  // namespace

std::vector<TokenKind> sentencepiece_kinds(std::string_view model, const std::string& where) {
  constexpr std::uint64_t piece_field = 1;
  std::vector<TokenKind> kinds;
  Message message(model, where);
  while (const auto field = message.next())
    if (field->number == piece_field) kinds.push_back(kind_of(field->bytes, where));
  return kinds;
}

Json sentencepiece_definition(std::string_view model, const std::string& where) {
  constexpr std::uint64_t trainer_field = 2, normalizer_field = 3;
  constexpr std::uint64_t type_field = 3, rules_field = 2, strips_field = 4;
  constexpr std::array types = {"Unigram", "Unigram", "BPE", "word", "char"};
  std::uint64_t type = 1;
  bool rules = false, strips = true;
  Message message(model, where);
  while (const auto field = message.next()) {
    if (field->number != trainer_field && field->number != normalizer_field) continue;
    const bool trainer = field->number == trainer_field;
    Message spec(field->bytes, where);
    while (const auto setting = spec.next()) {
      if (trainer && setting->number == type_field) type = setting->value;
      if (!trainer && setting->number == rules_field) rules = !setting->bytes.empty();
      if (!trainer && setting->number == strips_field) strips = setting->value != 0;
    }
  }
  return {{"normalizer", rules ? Json{{"type", "Precompiled"}} : Json()},
          {"strips", strips},
          {"model", {{"type", type < types.size() ? types[type] : "unknown"}}}};
}

}  // namespace galapagos
