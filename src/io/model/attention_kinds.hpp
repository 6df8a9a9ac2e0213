#pragma once

#include "families.hpp"

#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// In what the attention of a model's layers differs, as transformers 5 reads it from config.json, or as an
/// export of ours says it; empty where in nothing. InputError (naming `where`) for kinds of layers that are
/// not supported and for keys that do not fit each other.
std::vector<AttentionKind> read_attention_kinds(const Json& json, const Family& family, std::int64_t layers,
                                                const std::string& where);

}  // namespace galapagos
