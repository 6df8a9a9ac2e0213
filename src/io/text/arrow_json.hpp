#pragma once

#include <cstdint>
#include <string>

namespace arrow {
class Array;
}

namespace galapagos {

/// Appends a text, quoted, as JSON.
void append_json_text(std::string& out, const std::string& text);

/// Appends an array's value as JSON: text, numbers, lists, structs. InputError (naming `where`) for other
/// types.
void append_json(std::string& out, const arrow::Array& array, std::int64_t row, const std::string& where);

}  // namespace galapagos
