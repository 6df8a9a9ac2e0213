#pragma once

#include <string>
#include <string_view>

namespace galapagos {

enum class NormalForm { nfc, nfd, nfkc, nfkd };

/// Valid UTF-8 in a normal form by the tables of Unicode 9, which the Hugging Face tokenizers use: later
/// characters, above all combining marks, stay as and where they are. FailureError where ICU fails.
std::string normalized(std::string_view text, NormalForm form);

}  // namespace galapagos
