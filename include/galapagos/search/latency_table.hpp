#pragma once

#include <compare>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/assignment/space.hpp>

namespace galapagos {

/// "12.3 ms".
std::string latency_text(std::int64_t nanoseconds);

/// What is computed: a prompt, all of its tokens at once, or one token of each sequence after a context.
enum class LatencyPhase : std::uint8_t { prefill, decode };
std::string name_of(LatencyPhase phase);

/// A part of a model that is timed: the attention or the feed-forward part of a layer, or what no level
/// changes, embedding and head, whose `columns` are the vocabulary.
enum class PartKind : std::uint8_t { attention, ffn, fixed };
std::string name_of(PartKind kind);

struct PartShape {
  PartKind kind = PartKind::attention;
  std::int64_t heads = 0, kv_heads = 0, columns = 0;

  auto operator<=>(const PartShape&) const = default;
  /// Whether anything is left of it.
  bool present() const { return heads > 0 || columns > 0; }
};
/// "attn of 8 heads on 2 KV heads".
std::string name_of(const PartShape& shape);

/// What a module is at one of its levels.
PartShape part_shape(const SearchSpace& space, std::size_t module, std::size_t level);
/// What no level changes.
PartShape fixed_shape(const SearchSpace& space);

/// What rows of a table have in common; of another phase, batch and length may be others.
struct LatencyConditions {
  std::int64_t hidden_size = 0, head_dim = 0;
  std::string precision, device;
  std::int64_t batch = 0, length = 0;  ///< sequences, and tokens of each: of the prompt, or of the context

  bool operator==(const LatencyConditions&) const = default;
};

struct LatencyRow {
  PartShape shape;
  LatencyPhase phase = LatencyPhase::prefill;
  double seconds = 0;
  LatencyConditions conditions;
};

/// What a model has in all layers together of what levels decide.
struct WholeShape {
  std::int64_t heads = 0, kv_heads = 0, columns = 0;

  auto operator<=>(const WholeShape&) const = default;
};
WholeShape whole_shape(const SearchSpace& space, const Assignment& assignment);
/// "whole of 72 heads on 24 KV heads, 23040 columns".
std::string name_of(const WholeShape& shape);

/// A model that was timed whole.
struct WholeRow {
  WholeShape shape;
  LatencyPhase phase = LatencyPhase::prefill;
  double seconds = 0, parts = 0;  ///< timed, and the sum of its parts by the other rows; both above 0
  LatencyConditions conditions;
};

/// How long the parts of a model take, each by itself, and what whole models took. As text CSV: a header with
/// the names of the columns, then a row for each shape and phase; whole models come last.
struct LatencyTable {
  std::vector<LatencyRow> rows;
  std::vector<WholeRow> wholes = {};  ///< in the order in which they were timed

  std::string text() const;
  /// Of one phase: where it says the same, it is the same.
  std::string fingerprint(LatencyPhase phase) const;
  const LatencyRow* find(const PartShape& shape, LatencyPhase phase) const;
  /// Of parts or whole models; nothing where there are none of that phase.
  const LatencyConditions* conditions(LatencyPhase phase) const;
};

/// InputError, with the line, where it is malformed, or rows of a phase have other conditions.
LatencyTable read_latency_table(const std::filesystem::path& path);
/// The same of its text, which lies in `path`.
LatencyTable parse_latency_table(const std::string& text, const std::filesystem::path& path);
/// Whether a file begins as such a table does.
bool is_latency_table(const std::filesystem::path& path);

/// What a space's modules take at their levels, and what is fixed, in nanoseconds, each by itself. Where a
/// table has no row for what is gone, that takes no time.
struct LatencyCosts {
  std::vector<std::vector<std::int64_t>> modules;
  std::int64_t fixed = 0;

  /// What the parts of an assignment's model sum up to.
  std::int64_t sum(const Assignment& assignment) const;
};
/// InputError where the table is of another model, or lacks a shape that a level has; where the space is
/// assumed, the row with the nearest number of KV heads stands for that.
LatencyCosts latency_costs(const SearchSpace& space, const LatencyTable& table, LatencyPhase phase,
                           const std::filesystem::path& path);

}  // namespace galapagos
