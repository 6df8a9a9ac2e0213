#pragma once

#include "plan_commands.hpp"
#include "plan_request.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <galapagos/comm/bill.hpp>

namespace galapagos::app {

/// All that is known, and what had to be assumed.
class Planner {
 public:
  /// Reads the model's shape.
  explicit Planner(Commands& commands);

  void plan();
  std::optional<Bill> bill() const;
  Json json() const;
  std::string text() const;
  std::optional<std::string> first_warning() const;

 private:
  PlannedPhase phase(const std::string& name);
  PlannedPhase of_sensitivity();
  PlannedPhase of_eval();
  PlannedPhase of_generate();
  PlannedPhase of_distil();
  PlannedPhase of_train();
  std::optional<ModelSizes> reference_of(const std::optional<std::filesystem::path>& folder);
  void assume(const std::string& what);
  std::int64_t tokens_or(std::int64_t asked, std::int64_t otherwise, const char* of_what);
  DatabaseOptions database_options();
  SearchOptions search_options();
  StitchOptions of_refit();
  PlannedPhase of_stitch();
  std::filesystem::path database_path();
  void make_space();
  std::optional<std::filesystem::path> given_assignment();
  Assignment assignment();

  Commands& commands_;
  std::vector<std::string> assumed_;
  Machine machine_;
  ModelSizes model_;
  std::optional<DatabaseHeader> header_;
  SearchSpace space_;
  std::vector<PlannedPhase> phases_;
};

}  // namespace galapagos::app
