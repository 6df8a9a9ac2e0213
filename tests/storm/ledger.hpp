#pragma once

#include <filesystem>
#include <set>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos::storm {

/// The events so far, a JSON line each; several processes add to it. The lines of a run are added together,
/// at its end, so that a run is in it whole or not at all.
class Ledger {
 public:
  explicit Ledger(std::filesystem::path file) : file_(std::move(file)) {}

  void add(const std::vector<Json>& events) const;
  std::vector<Json> read() const;
  void forget() const { std::filesystem::remove(file_); }

 private:
  std::filesystem::path file_;
};

/// Events of these that something befell.
std::int64_t count_befallen(const std::vector<Json>& events);

/// A table by phase and fault on stdout, and each failure with the command that repeats it; how many failed.
std::int64_t summarise(const std::vector<Json>& events, const std::string& program);

}  // namespace galapagos::storm
