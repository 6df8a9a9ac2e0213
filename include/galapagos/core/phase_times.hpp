#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <galapagos/core/progress.hpp>

namespace galapagos {

/// Where the time since its making went: seconds in named phases. Phases may lie within each other; then the
/// inner one's time is not the outer one's. What lies in none is "other".
class PhaseTimes {
 public:
  struct Phase {
    std::string name;
    double seconds = 0;
  };

  /// Goes over to a phase; the one before, for go_back().
  std::size_t go_to(const std::string& name);
  void go_back(std::size_t before);

  /// Seconds of a phase that are known to belong to another.
  void move(const std::string& from, const std::string& to, double seconds);

  /// In the order of their first use, "other" last; all together are the time since its making.
  std::vector<Phase> phases();

 private:
  std::size_t place_of(const std::string& name);
  void charge();

  std::vector<Phase> phases_ = {{"other"}};
  std::size_t current_ = 0;
  Stopwatch watch_;
  double charged_ = 0;  // up to here by the watch
};

/// A phase as long as this lives. Nothing where there are no `times`.
class PhaseScope {
 public:
  PhaseScope(PhaseTimes* times, const std::string& name)
      : times_(times), before_(times != nullptr ? times->go_to(name) : 0) {}
  ~PhaseScope() {
    if (times_ != nullptr) times_->go_back(before_);
  }
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  PhaseTimes* times_;
  std::size_t before_;
};

}  // namespace galapagos
