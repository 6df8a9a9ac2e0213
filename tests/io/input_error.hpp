#pragma once

#include <random>
#include <string>

#include <galapagos/core/error.hpp>

namespace galapagos::test {

/// The message of the InputError that `action` throws; empty where it throws nothing.
template <typename Action>
std::string input_error(Action&& action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// `content` with a few bytes flipped, replaced, removed, doubled, cut off or added.
inline std::string mutated(std::string content, std::mt19937_64& random) {
  const auto below = [&](std::size_t limit) { return limit == 0 ? 0 : random() % limit; };
  for (std::size_t left = 1 + below(4); left > 0; --left) {
    const std::size_t at = below(content.size());
    const std::size_t length = 1 + below(8);
    switch (content.empty() ? 6 : below(7)) {
      case 0:
        content[at] = static_cast<char>(content[at] ^ (1 << below(8)));
        break;
      case 1:
        content[at] = static_cast<char>(below(256));
        break;
      case 2:
        content[at] = R"({}[]",:0123456789-eE. )"[below(22)];
        break;
      case 3:
        content.erase(at, length);
        break;
      case 4:
        content.insert(at, content.substr(below(content.size()), length * 4));
        break;
      case 5:
        content.resize(at);
        break;
      default:
        content.append(length, static_cast<char>(below(256)));
    }
  }
  return content;
}

}  // namespace galapagos::test
