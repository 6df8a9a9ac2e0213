#include "characters.hpp"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

namespace galapagos {
namespace {

bool has_category(char32_t code, std::uint32_t categories) {
  return (U_MASK(u_charType(static_cast<UChar32>(code))) & categories) != 0;
}

/// Whether a version of Unicode had the character.
bool known_to(int version, char32_t code) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(code), age);
  return age[0] != 0 && (age[0] < version || (age[0] == version && age[1] == 0));
}

UGraphemeClusterBreak break_class(char32_t code) {
  return static_cast<UGraphemeClusterBreak>(
      u_getIntPropertyValue(static_cast<UChar32>(code), UCHAR_GRAPHEME_CLUSTER_BREAK));
}

/// The rules GB3 to GB9b of UAX 29.
bool joins(UGraphemeClusterBreak left, UGraphemeClusterBreak right) {
  const auto control = [](UGraphemeClusterBreak c) {
    return c == U_GCB_CONTROL || c == U_GCB_CR || c == U_GCB_LF;
  };
  if (left == U_GCB_CR && right == U_GCB_LF) return true;
  if (control(left) || control(right)) return false;
  if (left == U_GCB_L && (right == U_GCB_L || right == U_GCB_V || right == U_GCB_LV || right == U_GCB_LVT))
    return true;
  if ((left == U_GCB_LV || left == U_GCB_V) && (right == U_GCB_V || right == U_GCB_T)) return true;
  if ((left == U_GCB_LVT || left == U_GCB_T) && right == U_GCB_T) return true;
  return right == U_GCB_EXTEND || right == U_GCB_ZWJ || right == U_GCB_SPACING_MARK || left == U_GCB_PREPEND;
}

}  // namespace

bool is_word_character(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) ||
         has_category(code, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool is_white_space(char32_t code) {
  return u_hasBinaryProperty(static_cast<UChar32>(code), UCHAR_WHITE_SPACE);
}

bool is_numeric(char32_t code) {
  return has_category(code, U_GC_N_MASK);
}

bool is_punctuation(char32_t code) {
  if (code < 0x80) return code > ' ' && code < 0x7f && u_isalnum(static_cast<UChar32>(code)) == 0;
  if (code == 0x166d || code == 0x111c9) return true;  // of other categories since
  return has_category(code, U_GC_P_MASK) && known_to(8, code);
}

bool is_mark(char32_t code) {
  if (code == 0x1cf2 || code == 0x1cf3) return true;  // of other categories since
  return code != 0x111c9 && has_category(code, U_GC_M_MASK) && known_to(9, code);
}

bool is_nonspacing_mark(char32_t code) {
  // These are of other categories since.
  if (code == 0x1734) return true;
  if (code == 0x1885 || code == 0x1886 || code == 0xa9bd || code == 0x111c9) return false;
  return has_category(code, U_GC_MN_MASK) && known_to(8, code);
}

bool is_control(char32_t code) {
  return has_category(code, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK) && known_to(8, code);
}

bool is_han_ideograph(char32_t code) {
  const auto in = [code](char32_t first, char32_t last) { return code >= first && code <= last; };
  return in(0x4e00, 0x9fff) || in(0x3400, 0x4dbf) || in(0x20000, 0x2a6df) || in(0x2a700, 0x2b81f) ||
         in(0x2b920, 0x2ceaf) || in(0xf900, 0xfaff) || in(0x2f800, 0x2fa1f);
}

char32_t lower_case(char32_t code) {
  return code == 0x130 ? code : static_cast<char32_t>(u_tolower(static_cast<UChar32>(code)));
}

int script_of(char32_t code) {
  if (code == ' ' || !known_to(9, code)) return any_script;
  switch (code) {
    case 0x30fc:
      return USCRIPT_HAN;
    case 0x0589:
    case 0x061c:
      return USCRIPT_COMMON;  // these four are of other scripts since
    case 0x0953:
    case 0x0954:
      return USCRIPT_DEVANAGARI;
    default:
      break;
  }
  UErrorCode status = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(static_cast<UChar32>(code), &status);
  if (U_FAILURE(status) || script == USCRIPT_UNKNOWN) return any_script;
  return script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA ? USCRIPT_HAN : script;
}

std::size_t grapheme_length(std::string_view text, std::size_t at) {
  const auto ascii = [&](std::size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  if (ascii(at) && text[at] != '\r' && (at + 1 == text.size() || ascii(at + 1))) return 1;
  std::size_t end = at;
  UGraphemeClusterBreak last = U_GCB_OTHER;
  std::size_t flags = 0;      // regional indicators in a row
  bool pictograph = false;    // the last is one, or an extension of one
  bool after_joiner = false;  // the last is a joiner behind such
  while (end < text.size()) {
    const std::size_t length = utf8_length(text, end);
    const char32_t code = decode_utf8(text, end, length);
    const UGraphemeClusterBreak next = break_class(code);
    const bool pictographic =
        u_hasBinaryProperty(static_cast<UChar32>(code), UCHAR_EXTENDED_PICTOGRAPHIC) != 0;
    const bool pair = next == U_GCB_REGIONAL_INDICATOR && last == next && flags % 2 == 1;
    if (end > at && !joins(last, next) && !(after_joiner && pictographic) && !pair) break;
    after_joiner = pictograph && next == U_GCB_ZWJ;
    pictograph = pictographic || (pictograph && next == U_GCB_EXTEND);
    flags = next == U_GCB_REGIONAL_INDICATOR ? flags + 1 : 0;
    last = next;
    end += length;
  }
  return end - at;
}

}  // namespace galapagos
