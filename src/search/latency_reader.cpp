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
  length
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

  LatencyTable read() {
    std::istringstream lines(read_file(path_, most_table_bytes));
    LatencyTable table;
    for (std::string line; std::getline(lines, line);) {
      ++number_;
      if (number_ == 1 && line.starts_with("\xef\xbb\xbf")) line.erase(0, 3);  // as spreadsheets write
      if (trimmed(line).empty()) continue;
      fields_ = fields_of(line);
      if (places_.empty()) {
        read_header();
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
    if (fields_.size() == latency_columns.size()) return;
    for (const std::string& name : fields_) {
      if (std::count(fields_.begin(), fields_.end(), name) > 1)
        fail(fmt::format("the column '{}' is there twice", printable(name, 60)));
      if (std::find(latency_columns.begin(), latency_columns.end(), name) == latency_columns.end())
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

  double time() const {
    const std::string& text = field(seconds);
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
    fail(fmt::format("the {} '{}' is not {}", latency_columns[column], printable(field(column), 60), names));
  }

  LatencyRow read_row() const {
    if (fields_.size() != latency_columns.size())
      fail(fmt::format("{} fields, not {}", fields_.size(), latency_columns.size()));
    LatencyRow row;
    row.shape = {one_of(kind, {PartKind::attention, PartKind::ffn, PartKind::fixed}), count(heads),
                 count(kv_heads), count(width)};
    row.phase = one_of(phase_of, {LatencyPhase::prefill, LatencyPhase::decode});
    row.seconds = time();
    row.conditions = {count(hidden_size, 1), count(head_dim, 1), field(precision),
                      field(device),         count(batch, 1),    count(length, 1)};
    const bool attention = row.shape.kind == PartKind::attention;
    if (attention ? row.shape.columns != 0 : row.shape.heads != 0 || row.shape.kv_heads != 0)
      fail(attention ? "attention has no columns" : "only attention has heads");
    if ((row.shape.heads == 0) != (row.shape.kv_heads == 0) || row.shape.kv_heads > row.shape.heads)
      fail(fmt::format("{} heads on {} KV heads", row.shape.heads, row.shape.kv_heads));
    return row;
  }

  void add(LatencyRow row, LatencyTable& table) {
    const auto first = std::find_if(table.rows.begin(), table.rows.end(),
                                    [&](const LatencyRow& other) { return other.phase == row.phase; });
    if (first != table.rows.end() && first->conditions != row.conditions)
      fail(fmt::format("another model, precision, device, batch or length than the rows of {} before",
                       name_of(row.phase)));
    if (!known_.emplace(row.shape, row.phase).second)
      fail(fmt::format("{} ({}) is there twice", name_of(row.shape), name_of(row.phase)));
    table.rows.push_back(std::move(row));
  }

  std::filesystem::path path_;
  std::int64_t number_ = 0;
  std::vector<std::string> fields_;
  std::vector<std::size_t> places_;  // of the columns among a line's fields
  std::set<std::pair<PartShape, LatencyPhase>> known_;
};

}  // namespace

LatencyTable read_latency_table(const std::filesystem::path& path) {
  return Reader(path).read();
}

bool is_latency_table(const std::filesystem::path& path) {
  if (path.extension() != ".csv" || !std::filesystem::is_regular_file(path)) return false;
  const std::string text = read_file(path, most_table_bytes);
  const std::string header = text.substr(0, text.find('\n'));
  return header.find("kv_heads") != std::string::npos && header.find("seconds") != std::string::npos;
}

}  // namespace galapagos
