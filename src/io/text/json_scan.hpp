#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <galapagos/io/document.hpp>

namespace galapagos {

// Reads records without making values of what nobody asked for, so that NaN, deep nesting, huge numbers,
// duplicate keys or half surrogates elsewhere in a record do not matter. What is read is read strictly, but
// for raw tabs and other control characters. All throw a RecordFault without a remedy.

/// A member of an object, both as they are written; the key without its quotes.
struct JsonMember {
  std::string_view key, value;
};

/// The members of the one object that is all of `text` but for white space and a byte order mark.
void scan_object(std::string_view text, std::vector<JsonMember>& members);
/// The elements of the one array that is all of `text`.
void scan_array(std::string_view text, std::vector<std::string_view>& elements);

/// The value of the last member with this key, as in Python.
std::optional<std::string_view> find_member(const std::vector<JsonMember>& members, std::string_view key);

/// The text of a string as written, without its quotes: escapes undone, valid UTF-8. Adds to `counts`.
std::string decode_json_string(std::string_view written, TextCounts& counts);
/// Makes a text valid UTF-8. Adds to `counts`.
void make_valid(std::string& text, TextCounts& counts);

/// "null", "a number" and the like, of a value as written.
const char* kind_of_json(std::string_view value);

}  // namespace galapagos
