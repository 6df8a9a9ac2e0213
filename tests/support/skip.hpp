#pragma once

#include <iostream>
#include <string>

namespace galapagos::test {

/// Whether anything said that it is skipped.
inline bool skipped = false;

/// Says why a case, or the rest of it, is left out. The program then ends with the code that CTest's
/// environment has for that, unless something failed (support/plain_main.cpp).
inline void say_skipped(const std::string& why) {
  skipped = true;
  std::cout << "SKIPPED: " << why << '\n';
}

}  // namespace galapagos::test
