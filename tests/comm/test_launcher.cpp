#include "support/catch.hpp"

#include <cstdlib>
#include <initializer_list>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/error.hpp>

using namespace galapagos;

namespace {

constexpr const char* variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE",      "SLURM_NTASKS",
                                     "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID", "SLURM_JOB_ID"};

bool refused(std::initializer_list<std::pair<const char*, const char*>> settings, int world_size) {
  for (const char* variable : variables) ::unsetenv(variable);
  for (const auto& [variable, value] : settings) ::setenv(variable, value, 1);
  try {
    check_launcher(world_size);
    return false;
  } catch (const ResourceError&) {
    return true;
  }
}

}  // namespace

TEST_CASE("many worlds of one rank are refused, one world of many is not", "[launcher]") {
  CHECK(!refused({}, 1));
  CHECK(refused({{"SLURM_NTASKS", "4"}}, 1));
  CHECK(!refused({{"SLURM_NTASKS", "4"}}, 4));
  CHECK(!refused({{"SLURM_NTASKS", "1"}}, 1));
  CHECK(refused({{"SLURM_JOB_ID", "7"}, {"SLURM_STEP_ID", "0"}, {"SLURM_NTASKS", "8"}}, 1));
  CHECK(!refused({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}}, 1));  // the batch script's own shell
  CHECK(!refused(
      {{"SLURM_JOB_ID", "7"}, {"SLURM_STEP_ID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_NTASKS", "8"}},
      1));
  CHECK(refused({{"PMI_SIZE", "2"}}, 1));
  CHECK(refused({{"OMPI_COMM_WORLD_SIZE", "2"}}, 1));
  CHECK(!refused({{"OMPI_COMM_WORLD_SIZE", "1"}, {"SLURM_NTASKS", "2"}}, 1));
}
