#pragma once

#include <string>

namespace galapagos::jinja {

/// A template cannot be read or rendered: what Python would have raised, or what is not supported. Whoever
/// knows where it lies makes an error of it.
struct Fault {
  std::string what;
};
[[noreturn]] inline void fail(const std::string& what) {
  throw Fault{what};
}

}  // namespace galapagos::jinja
