#pragma once

#include <string>

namespace galapagos {

/// Compares what decided the course of the `run` ("search", "training") that a checkpoint belongs to with
/// that of this one, both JSON objects. InputError, naming the first difference, where they differ.
void check_identity(const std::string& found, const std::string& wanted, const std::string& run,
                    const std::string& path);

}  // namespace galapagos
