#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

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

/// The members of an object, of which these come first, where they are there, in this order: what is written
/// stays the same whatever order options have.
Json in_order(const Json& object, std::initializer_list<const char*> first);

}  // namespace galapagos
