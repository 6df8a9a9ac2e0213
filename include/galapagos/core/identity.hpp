#pragma once

#include <span>
#include <string>
#include <vector>

namespace galapagos {

/// A key whose value is a name now, and was the place of that name in this list once.
struct FormerNumber {
  std::string key;
  std::vector<std::string> names;
};

/// Compares what decided the course of the `run` ("search", "training") that a checkpoint belongs to with
/// that of this one, both JSON objects; what was `former`ly a number is taken as its name. InputError,
/// naming the first difference, where they differ.
void check_identity(const std::string& found, const std::string& wanted, const std::string& run,
                    const std::string& path, std::span<const FormerNumber> former = {});

}  // namespace galapagos
