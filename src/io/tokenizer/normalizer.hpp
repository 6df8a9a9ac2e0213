#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The `normalizer` of a tokenizer.json, of any kind that the Hugging Face tokenizers have.
class Normalizer {
 public:
  /// InputError (naming `where`) for what is unknown or incomplete. Null makes a normalizer that changes
  /// nothing.
  Normalizer(const Json& definition, const std::string& where);

  /// `text` itself where there is nothing to do, else a view of `storage`. `head`: bytes at the text's front
  /// that stem from the first character of the whole input, before and after.
  std::string_view apply(std::string_view text, std::string& storage, std::size_t& head) const;

  using Step = std::function<std::string(std::string_view text, std::size_t& head)>;

 private:
  void add(const Json& definition, const std::string& where);

  std::vector<Step> steps_;
};

}  // namespace galapagos
