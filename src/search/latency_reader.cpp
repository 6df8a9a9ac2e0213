#include "latency_columns.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fmt/format.h>
#include <set>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/search/latency_table.hpp>

namespace galapagos {
namespace {

constexpr std::uint64_t most_table_bytes = 16 << 20;
constexpr double most_seconds = 1e6;
constexpr double most_ratio = 20;  // of a whole model and its parts, one way or the other

enum Column : std::size_t {
  kind,
  heads,
  kv_heads,
  width,
  phase_of,
  seconds,
  hidden_size,
  head_dim,
  precision,
  device,
  batch,
  length,
  parts
};

std::string trimmed(std::string text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.back())) text.pop_back();
  while (!text.empty() && blank(text.front())) text.erase(text.begin());
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
  return text;
}

std::vector<std::string> fields_of(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  for (std::string& field : fields) field = trimmed(field);
  return fields;
}

/// A table's lines as they are read.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path) {}

  LatencyTable read(const std::string& text) {
    std::istringstream lines(text);
    LatencyTable table;
    for (std::string line; std::getline(lines, line);) {
      ++number_;
      if (number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);  // as spreadsheets write
      if (trimmed(line).empty()) continue;
      fields_ = fields_of(line);
      if (places_.empty()) {
        read_header();
      } else if (fields_.size() != columns_) {
        fail(fmt::format("{} fields, not {}", fields_.size(), columns_));
      } else if (field(kind) == whole_kind) {
        add(read_whole(), table);
      } else {
        add(read_row(), table);
      }
    }
    if (table.rows.empty()) throw InputError("no times", path_.string(), remedy);
    return table;
  }

 private:
  static constexpr const char* remedy =
      "write it as 'galapagos profile' does: a header with the names of the columns, and a row for each "
      "shape and phase";

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(fmt::format("line {}: {}", number_, what), path_.string(), remedy);
  }

  void read_header() {
    for (const char* name : latency_columns) {
      const auto at = std::find(fields_.begin(), fields_.end(), name);
      if (at == fields_.end()) fail(fmt::format("no column '{}'", name));
      places_.push_back(static_cast<std::size_t>(at - fields_.begin()));
    }
    columns_ = fields_.size();
    const auto sums = std::find(fields_.begin(), fields_.end(), parts_column);
    if (sums != fields_.end()) places_.push_back(static_cast<std::size_t>(sums - fields_.begin()));
    if (columns_ == places_.size()) return;
    for (const std::string& name : fields_) {
      if (std::count(fields_.begin(), fields_.end(), name) > 1)
        fail(fmt::format("the column '{}' is there twice", printable(name, 60)));
      if (name != parts_column &&
          std::find(latency_columns.begin(), latency_columns.end(), name) == latency_columns.end())
        fail(fmt::format("unknown column '{}'", printable(name, 60)));
    }
  }

  const std::string& field(Column column) const { return fields_[places_[column]]; }

  std::int64_t count(Column column, std::int64_t least = 0) const {
    const std::string& text = field(column);
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stopped != end || value < least || value > (std::int64_t{1} << 40))
      fail(fmt::format("'{}' is no {}", printable(text, 60), latency_columns[column]));
    return value;
  }

  /// Whether there is a sum of parts in this line.
  bool has_parts() const { return places_.size() > parts && !field(parts).empty(); }

  double time(Column column) const {
    const std::string& text = field(column);
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !std::isfinite(value) || value < 0 || value > most_seconds)
      fail(fmt::format("'{}' is no time in seconds", printable(text, 60)));
    return value;
  }

  template <typename T>
  T one_of(Column column, std::initializer_list<T> values) const {
    std::string names;
    for (const T value : values) {
      if (field(column) == name_of(value)) return value;
      names += (names.empty() ? "" : " or ") + name_of(value);
    }
    if (column == kind) names += std::string(" or ") + whole_kind;
    fail(fmt::format("the {} '{}' is not {}", latency_columns[column], printable(field(column), 60), names));
  }

  LatencyRow read_row() const {
    LatencyRow row;
    row.shape = {one_of(kind, {PartKind::attention, PartKind::ffn, PartKind::fixed}), count(heads),
                 count(kv_heads), count(width)};
    row.phase = one_of(phase_of, {LatencyPhase::prefill, LatencyPhase::decode});
    row.seconds = time(seconds);
    row.conditions = read_conditions();
    if (has_parts()) fail(fmt::format("only a whole model has {}", parts_column));
    const bool attention = row.shape.kind == PartKind::attention;
    if (attention ? row.shape.columns != 0 : row.shape.heads != 0 || row.shape.kv_heads != 0)
      fail(attention ? "attention has no columns" : "only attention has heads");
    check_heads(row.shape.heads, row.shape.kv_heads);
    return row;
  }

  WholeRow read_whole() const {
    WholeRow row;
    row.shape = {count(heads), count(kv_heads), count(width)};
    check_heads(row.shape.heads, row.shape.kv_heads);
    row.phase = one_of(phase_of, {LatencyPhase::prefill, LatencyPhase::decode});
    if (!has_parts()) fail(fmt::format("a whole model without {}, the sum of its parts", parts_column));
    row.seconds = time(seconds);
    row.parts = time(parts);
    row.conditions = read_conditions();
    // It corrects everything: what cannot be is no measurement.
    if (!(row.seconds > 0 && row.parts > 0 && row.seconds <= most_ratio * row.parts &&
          row.parts <= most_ratio * row.seconds))
      fail(fmt::format("{:g} seconds of a whole model whose parts take {:g}", row.seconds, row.parts));
    return row;
  }

  LatencyConditions read_conditions() const {
    return {count(hidden_size, 1), count(head_dim, 1), field(precision),
            field(device),         count(batch, 1),    count(length, 1)};
  }

  void check_heads(std::int64_t all, std::int64_t of_kv) const {
    if ((all == 0) != (of_kv == 0) || of_kv > all) fail(fmt::format("{} heads on {} KV heads", all, of_kv));
  }

  void check_conditions(const LatencyTable& table, LatencyPhase phase, const LatencyConditions& found) const {
    const LatencyConditions* before = table.conditions(phase);
    if (before != nullptr && *before != found)
      fail(fmt::format("another model, precision, device, batch or length than the rows of {} before",
                       name_of(phase)));
  }

  void add(WholeRow row, LatencyTable& table) const {
    check_conditions(table, row.phase, row.conditions);
    const auto same = [&](const WholeRow& other) {
      return other.phase == row.phase && other.shape == row.shape && other.parts == row.parts;
    };
    if (std::any_of(table.wholes.begin(), table.wholes.end(), same))
      fail(fmt::format("{} ({}) is there twice", name_of(row.shape), name_of(row.phase)));
    table.wholes.push_back(std::move(row));
  }

  void add(LatencyRow row, LatencyTable& table) {
    check_conditions(table, row.phase, row.conditions);
    if (!known_.emplace(row.shape, row.phase).second)
      fail(fmt::format("{} ({}) is there twice", name_of(row.shape), name_of(row.phase)));
    table.rows.push_back(std::move(row));
  }

  std::filesystem::path path_;
  std::int64_t number_ = 0;
  std::size_t columns_ = 0;
  std::vector<std::string> fields_;
  std::vector<std::size_t> places_;  // of the columns among a line's fields
  std::set<std::pair<PartShape, LatencyPhase>> known_;
};

}  // namespace

LatencyTable read_latency_table(const std::filesystem::path& path) {
  return parse_latency_table(read_file(path, most_table_bytes), path);
}

LatencyTable parse_latency_table(const std::string& text, const std::filesystem::path& path) {
  return Reader(path).read(text);
}

bool is_latency_table(const std::filesystem::path& path) {
  if (path.extension() != ".csv" || !std::filesystem::is_regular_file(path)) return false;
  const std::string text = read_file(path, most_table_bytes);
  const std::string header = text.substr(0, text.find('\n'));
  return header.find("kv_heads") != std::string::npos && header.find("seconds") != std::string::npos;
}

}  // namespace galapagos
