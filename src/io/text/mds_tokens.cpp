#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>

#include <galapagos/core/error.hpp>
#include <galapagos/io/mds.hpp>

namespace galapagos {
namespace {

struct IntegerType {
  const char* name;
  unsigned code;  ///< in front of a value whose column names no type
  std::size_t bytes;
  bool has_sign;
};

constexpr std::array<IntegerType, 8> types = {{{"uint8", 8, 1, false},
                                               {"int8", 9, 1, true},
                                               {"uint16", 16, 2, false},
                                               {"int16", 17, 2, true},
                                               {"uint32", 32, 4, false},
                                               {"int32", 33, 4, true},
                                               {"uint64", 64, 8, false},
                                               {"int64", 65, 8, true}}};

[[noreturn]] void damaged(const std::string& what, const MdsReader& reader) {
  throw InputError(what, reader.where(), "make the shards again");
}

/// The type and the numbers, without what stands in front of them.
std::pair<IntegerType, std::string_view> numbers_of(const MdsReader& reader, std::size_t column) {
  const std::string& encoding = reader.columns()[column].encoding;
  std::string_view value = reader.value(column);
  const auto take = [&](std::size_t count) {
    if (value.size() < count) damaged("an array that is cut short", reader);
    const std::string_view taken = value.substr(0, count);
    value.remove_prefix(count);
    return taken;
  };
  if (encoding == "bytes") return {types[7], value};  // as older programs for training store them
  const std::string of_array = encoding.size() > 8 ? encoding.substr(8) : "";  // behind "ndarray:"
  const std::string name = of_array.substr(0, of_array.find(':'));
  const unsigned code = name.empty() ? static_cast<unsigned char>(take(1)[0]) : 0;
  const auto type = std::find_if(types.begin(), types.end(), [&](const IntegerType& each) {
    return name.empty() ? each.code == code : each.name == name;
  });
  if (type == types.end()) damaged("token ids that are no integers", reader);
  if (of_array.find(':') == std::string::npos) {
    const auto shape = static_cast<unsigned char>(take(1)[0]);
    take((shape >> 2u) * (std::size_t{1} << (shape & 3u)));
  }
  return {*type, value};
}

}  // namespace

std::optional<std::size_t> mds_token_column(const MdsReader& reader) {
  const auto column = reader.find({"tokens", "input_ids"});
  if (!column) return std::nullopt;
  const std::string& encoding = reader.columns()[*column].encoding;
  const bool array = encoding == "bytes" || encoding == "ndarray" || encoding.starts_with("ndarray:");
  return array ? column : std::nullopt;
}

void read_mds_tokens(const MdsReader& reader, std::size_t column, std::vector<std::int32_t>& ids) {
  const auto [type, numbers] = numbers_of(reader, column);
  if (numbers.size() % type.bytes != 0)
    damaged(fmt::format("{} bytes of {}", numbers.size(), type.name), reader);
  ids.clear();
  for (std::size_t at = 0; at < numbers.size(); at += type.bytes) {
    std::uint64_t id = 0;
    std::memcpy(&id, numbers.data() + at, type.bytes);  // little-endian
    const bool negative = type.has_sign && (id >> (8 * type.bytes - 1)) != 0;
    if (negative || id >= static_cast<std::uint64_t>(INT32_MAX))
      damaged("a token id below 0 or above 2147483646", reader);
    ids.push_back(static_cast<std::int32_t>(id));
  }
}

}  // namespace galapagos
