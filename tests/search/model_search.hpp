#pragma once

#include "support/small_run.hpp"

#include <filesystem>
#include <map>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <galapagos/io/checkpoint.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos::test {

/// A small model with a database of its levels and a pool of random tokens. Making one is collective.
struct ModelSearch {
  std::filesystem::path folder;
  HfConfig config;
  Checkpoint checkpoint;
  DatabaseReader database;
  SearchSpace space;
  TokenSet pool;

  ModelSearch(const Communicator& comm, const DatabaseOptions& built);
  Assignment random_assignment(std::mt19937& random) const;
};

/// Makes the database and takes it up. Collective.
ModelSearch make_model_search(const Communicator& comm, const DatabaseOptions& options);

std::string fingerprint_of(const Checkpoint& checkpoint);

/// Answers of the unpruned model to all of a pool.
std::vector<float> dense_answers(Replica& replica, const ModelSearch& model);

/// The fitness of assignments by another way: layers of the dense shapes, with zeros for the columns that are
/// gone, one sequence at a time; logits compared in fp64.
class FitnessByHand {
 public:
  FitnessByHand(const ModelSearch& model, DType precision) : model_(model), precision_(precision) {}

  double operator()(const Fitness& fitness, const Assignment& assignment, const TokenDraw& draw);

 private:
  using Logits = std::vector<std::vector<double>>;  // of each token

  const Logits& logits(const Assignment& assignment, std::span<const std::int32_t> tokens);

  const ModelSearch& model_;
  DType precision_;
  std::map<std::pair<Assignment, std::vector<std::int32_t>>, Logits> known_;
};

}  // namespace galapagos::test
