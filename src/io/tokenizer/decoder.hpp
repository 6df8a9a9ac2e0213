#pragma once

#include <functional>
#include <string>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The byte that "<0x0A>" stands for; -1 for another token.
int byte_of_token(const std::string& token);

/// The `decoder` of a tokenizer.json: makes one text of tokens.
class Decoder {
 public:
  /// InputError (naming `where`) for what is unknown or incomplete. Null puts a space between tokens.
  Decoder(const Json& definition, const std::string& where);

  std::string decode(std::vector<std::string> tokens) const;

  using Step = std::function<void(std::vector<std::string>& tokens)>;

 private:
  void add(const Json& definition, const std::string& where);

  std::vector<Step> steps_;
  bool spaced_ = false;
};

}  // namespace galapagos
