#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The token that a tokenizer puts in front of a text.
struct FrontToken {
  std::string text;
  std::optional<std::int32_t> id;  ///< where the definition says it
};

/// Of the `post_processor` of a tokenizer.json, where it puts one; what else it adds does not matter here.
/// InputError (naming `where`) for an unknown kind.
std::optional<FrontToken> post_processor_front(const Json& processor, const std::string& where);

}  // namespace galapagos
