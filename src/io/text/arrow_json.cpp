#include "arrow_json.hpp"

#include <arrow/api.h>
#include <cmath>
#include <fmt/format.h>
#include <string_view>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using arrow::Type;

template <typename ArrayType>
void append_list(std::string& out, const arrow::Array& array, std::int64_t row, const std::string& where) {
  const auto& list = static_cast<const ArrayType&>(array);
  out += '[';
  for (std::int64_t i = list.value_offset(row); i < list.value_offset(row) + list.value_length(row); ++i) {
    if (i > list.value_offset(row)) out += ',';
    append_json(out, *list.values(), i, where);
  }
  out += ']';
}

void append_struct(std::string& out, const arrow::StructArray& array, std::int64_t row,
                   const std::string& where) {
  out += '{';
  for (int field = 0; field < array.num_fields(); ++field) {
    if (field > 0) out += ',';
    append_json_text(out, array.struct_type()->field(field)->name());
    out += ':';
    append_json(out, *array.field(field), row, where);
  }
  out += '}';
}

template <typename ArrayType>
std::string text_at(const arrow::Array& array, std::int64_t row) {
  return std::string(static_cast<const ArrayType&>(array).GetView(row));
}

template <typename ArrayType>
void append_number(std::string& out, const arrow::Array& array, std::int64_t row) {
  const auto value = static_cast<const ArrayType&>(array).Value(row);
  if constexpr (std::is_floating_point_v<decltype(value)>) {
    out += std::isfinite(value) ? fmt::format("{}", value) : "null";
  } else {
    out += fmt::format("{}", +value);
  }
}

}  // namespace

void append_json_text(std::string& out, const std::string& text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_json(std::string& out, const arrow::Array& array, std::int64_t row, const std::string& where) {
  if (array.IsNull(row)) {
    out += "null";
    return;
  }
  switch (array.type_id()) {
    case Type::STRING:
      return append_json_text(out, text_at<arrow::StringArray>(array, row));
    case Type::BINARY:  // as Spark may write texts
      return append_json_text(out, text_at<arrow::BinaryArray>(array, row));
    case Type::LARGE_BINARY:
      return append_json_text(out, text_at<arrow::LargeBinaryArray>(array, row));
    case Type::LARGE_STRING:
      return append_json_text(out, text_at<arrow::LargeStringArray>(array, row));
    case Type::LIST:
      return append_list<arrow::ListArray>(out, array, row, where);
    case Type::LARGE_LIST:
      return append_list<arrow::LargeListArray>(out, array, row, where);
    case Type::STRUCT:
      return append_struct(out, static_cast<const arrow::StructArray&>(array), row, where);
    case Type::DICTIONARY: {
      const auto& coded = static_cast<const arrow::DictionaryArray&>(array);
      return append_json(out, *coded.dictionary(), coded.GetValueIndex(row), where);
    }
    case Type::BOOL:
      out += static_cast<const arrow::BooleanArray&>(array).Value(row) ? "true" : "false";
      return;
    case Type::INT8:
      return append_number<arrow::Int8Array>(out, array, row);
    case Type::INT16:
      return append_number<arrow::Int16Array>(out, array, row);
    case Type::INT32:
      return append_number<arrow::Int32Array>(out, array, row);
    case Type::INT64:
      return append_number<arrow::Int64Array>(out, array, row);
    case Type::FLOAT:
      return append_number<arrow::FloatArray>(out, array, row);
    case Type::DOUBLE:
      return append_number<arrow::DoubleArray>(out, array, row);
    default:
      throw InputError("a column of the type " + printable(array.type()->ToString(), 60) + " is not read",
                       where, "give texts, or lists of objects with \"role\" and \"content\"");
  }
}

}  // namespace galapagos
