#pragma once

#include <cstdint>
#include <filesystem>

// How much of a run is done, as its files say: -1 before they say anything. Error where a file does not hold
// what it says is done.
namespace galapagos::storm {

std::int64_t batches_of(const std::filesystem::path& sensitivities);
std::int64_t modules_of_run(const std::filesystem::path& database);
std::int64_t generations_of(const std::filesystem::path& run);
std::int64_t trials_of(const std::filesystem::path& race);
std::int64_t updates_of(const std::filesystem::path& training);
std::int64_t layers_of(const std::filesystem::path& distillation);

}  // namespace galapagos::storm
