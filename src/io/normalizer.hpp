#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <galapagos/core/json.hpp>

namespace galapagos {

/// The `normalizer` of a tokenizer.json: NFC, Prepend, Replace of a fixed string, and sequences of them.
class Normalizer {
 public:
  /// InputError (naming `where`) for any other kind. Null makes a normalizer that changes nothing.
  Normalizer(const Json& definition, const std::string& where);

  bool empty() const { return steps_.empty(); }
  /// `text` itself where nothing changes it, else a view of `storage`.
  std::string_view apply(std::string_view text, std::string& storage) const;

 private:
  void add(const Json& definition, const std::string& where);

  std::vector<std::function<std::string(std::string_view)>> steps_;
};

}  // namespace galapagos
