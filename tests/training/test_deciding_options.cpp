#include "support/catch.hpp"

#include <set>
#include <string>

#include <galapagos/core/options.hpp>
#include <galapagos/training/distil_options.hpp>
#include <galapagos/training/train_options.hpp>

using namespace galapagos;

namespace {

template <typename T>
std::set<std::string> names_of_deciding(const T& options) {
  std::set<std::string> names;
  const Json json = deciding(options);
  for (const auto& [name, value] : json.items()) names.insert(name);
  return names;
}

}  // namespace

// A run that was begun before has to find the same in its checkpoint.
TEST_CASE("what decides a training or a distillation is what always did", "[options]") {
  const std::set<std::string> of_training = {
      "tokens", "step-tokens", "batch-tokens", "schedule", "learning-rate", "min-learning-rate", "warmup",
      "clip",   "beta1",       "beta2",        "epsilon",  "weight-decay",  "precision",         "seed"};
  TrainOptions training;
  CHECK(names_of_deciding(training) == of_training);
  training.shards = 2;
  training.responses_only = true;
  std::set<std::string> more = of_training;
  more.insert({"shards", "loss-on"});
  CHECK(names_of_deciding(training) == more);
  CHECK(names_of_deciding(DistilOptions()) ==
        std::set<std::string>{"epochs", "step-tokens", "batch-tokens", "learning-rate", "min-learning-rate",
                              "warmup", "weight-decay", "precision", "seed"});
}
