#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/core/phase_times.hpp>
#include <galapagos/search/archive.hpp>
#include <galapagos/search/racing.hpp>

namespace galapagos {

/// Assignments measured on the same tokens, token by token, so that it is known how sure a difference is.
class Finalists {
 public:
  /// Collective: they are dealt over the ranks. Throws what all ranks agree on: StoppedEarly where
  /// `interrupted` names a reason, saying `when`. `times` may be null.
  Finalists(const Communicator& comm, std::vector<Assignment> assignments, TokenDraw draw,
            const Fitness& fitness, const MeasureLosses& losses,
            const std::function<std::optional<std::string>()>& interrupted, const std::string& when,
            PhaseTimes* times);
  Finalists(const Finalists&) = delete;
  Finalists& operator=(const Finalists&) = delete;

  const std::vector<Assignment>& assignments() const { return assignments_; }
  /// Of each of them.
  std::vector<double> fitness() const;
  /// Whether one is better than the other by more than its difference varies between segments: 90 % sure.
  bool surely_better(std::size_t one, std::size_t other) const;

 private:
  std::vector<Assignment> assignments_;
  std::vector<TokenDraw> blocks_;
  Fitness fitness_;
  Archive archive_;
};

}  // namespace galapagos
