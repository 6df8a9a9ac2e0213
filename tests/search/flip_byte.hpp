#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace galapagos::test {

/// Damages the byte at `place` of a dataset.
void flip_byte(const std::filesystem::path& file, const std::string& dataset, std::int64_t place);

}  // namespace galapagos::test
