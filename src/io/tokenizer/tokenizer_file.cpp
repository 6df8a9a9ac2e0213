#include "tokenizer_file.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <set>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

using Event = nlohmann::json::parse_event_t;

/// A score as the tokenizers read it: their JSON parser scales the digits, a whole number, by a power of ten,
/// and is then at times off by a bit, which decides between spellings of equal sums.
double as_original_reads(double score) {
  const std::string text =
      fmt::format("{}", score);  // the fewest digits that tell it from others, at most 17
  std::uint64_t digits = 0;
  int exponent = 0;
  bool fraction = false;
  std::size_t at = 0;
  for (; at < text.size() && text[at] != 'e'; ++at) {
    if (text[at] == '.') fraction = true;
    if (text[at] < '0' || text[at] > '9') continue;
    digits = digits * 10 + static_cast<std::uint64_t>(text[at] - '0');
    exponent -= fraction ? 1 : 0;
  }
  if (at < text.size()) exponent += std::stoi(text.substr(at + 1));
  constexpr int largest = 308;
  if (std::abs(exponent) > largest) return score;
  const double power = std::stod(fmt::format("1e{}", std::abs(exponent)));
  const double size =
      exponent < 0 ? static_cast<double>(digits) / power : static_cast<double>(digits) * power;
  return std::signbit(score) ? -size : size;
}

/// Sees every value as it is parsed (nlohmann's parser callback); returning false drops the value.
class TableFilter {
 public:
  TableFilter(TokenizerFile& file, const std::string& where) : file_(file), where_(where) {}

  bool operator()(int depth, Event event, Json& parsed) {
    if (depth > max_depth) fail("JSON is nested too deeply");
    switch (event) {
      case Event::object_start:
        keys_.emplace_back();
        if (inside("vocab", depth, 3)) fail(pieces_ ? not_a_piece : not_an_id);
        if (inside("merges", depth, 2)) fail(not_merges);
        return true;
      case Event::object_end:
        keys_.pop_back();
        return true;
      case Event::key:
        return key(depth, parsed.get_ref<const std::string&>());
      case Event::array_start:
        if (inside("vocab", depth, 2)) pieces_ = true;
        if (inside("vocab", depth, 3) && !pieces_) fail(not_an_id);
        return true;
      case Event::array_end:
        if (inside("vocab", depth, 3)) return piece(parsed);
        if (!inside("merges", depth, 3)) return true;
        merge(parsed);
        return false;
      case Event::value:
        if (inside("vocab", depth, 3)) return pieces_ ? piece(parsed) : token(parsed);
        if (inside("merges", depth, 2)) fail(not_merges);
        if (!inside("merges", depth, 3)) return true;
        merge(parsed);
        return false;
    }
    return true;
  }

 private:
  static constexpr int max_depth = 64;
  static constexpr const char* not_an_id = "a token's id is not a number";
  static constexpr const char* not_merges = "'merges' is no list";
  static constexpr const char* not_a_piece = "the vocabulary has an entry that is not a token and its score";

  /// Whether the parser is `depth` levels down at a value of model.<table>.
  bool inside(const char* table, int depth, int wanted) const {
    return depth == wanted && path_[0] == "model" && path_[1] == table;
  }

  bool key(int depth, const std::string& name) {
    if (inside("vocab", depth, 3)) {
      token_ = name;
      return false;
    }
    if (depth <= 2) path_[static_cast<std::size_t>(depth) - 1] = name;
    if (depth == 1) path_[1].clear();
    if (!keys_.back().insert(name).second) fail("duplicate JSON key '" + printable(name) + "'");
    return true;
  }

  bool token(const Json& id) {
    if (!id.is_number_integer() || id < 0 || id >= INT32_MAX) {
      fail("the id of token '" + printable(token_) + "' is not a number from 0 to 2147483646");
    }
    if (!file_.vocabulary.emplace(token_, id.get<std::int32_t>()).second) {
      fail("token '" + printable(token_) + "' is in the vocabulary twice");
    }
    return false;
  }

  bool piece(const Json& entry) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number() ||
        file_.pieces.size() >= INT32_MAX) {
      fail(not_a_piece);
    }
    const auto score = entry[1].get<double>();
    file_.pieces.emplace_back(entry[0].get<std::string>(),
                              entry[1].is_number_float() ? as_original_reads(score) : score);
    return false;
  }

  void merge(const Json& pair) {
    if (pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string()) {
      file_.merges.emplace_back(pair[0].get<std::string>(), pair[1].get<std::string>());
      return;
    }
    if (pair.is_string()) {
      const auto& text = pair.get_ref<const std::string&>();
      if (text.starts_with("#version")) return;
      const std::size_t space = text.find(' ');
      if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
        file_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
        return;
      }
    }
    fail(fmt::format("merge {} is not a pair of tokens", file_.merges.size()));
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(what, where_, "replace the file");
  }

  TokenizerFile& file_;
  const std::string& where_;
  std::array<std::string, 2> path_;  // the keys above
  std::vector<std::set<std::string>> keys_;
  std::string token_;
  bool pieces_ = false;  // the vocabulary is a list
};

}  // namespace

TokenizerFile parse_tokenizer_file(const std::string& text, const std::string& where) {
  TokenizerFile file;
  TableFilter filter(file, where);
  try {
    file.rest = Json::parse(text, std::ref(filter));
  } catch (const nlohmann::json::exception& error) {
    throw InputError(std::string("not valid JSON: ") + error.what(), where, "replace the file");
  }
  return file;
}

}  // namespace galapagos
