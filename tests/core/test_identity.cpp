#include "support/catch.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/core/identity.hpp>

using namespace galapagos;

namespace {

std::string refusal(const std::string& found, const std::string& wanted) {
  const FormerNumber former[] = {{"topology", {"ring", "star"}}};
  try {
    check_identity(found, wanted, "search", "RUN", former);
  } catch (const InputError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a run goes on with what it was begun with, and with nothing else", "[identity]") {
  const std::string now = R"({"topology": "star", "seed": 3})";
  CHECK(refusal(now, now).empty());
  CHECK(refusal(R"({"seed": 3, "topology": "star"})", now).empty());
  CHECK(refusal(R"({"topology": "star", "seed": 4})", now).find("'seed' was 4 and is 3") !=
        std::string::npos);
  CHECK(refusal(R"({"topology": "star"})", now).find("'seed' was not there") != std::string::npos);
  CHECK(refusal(R"({"topology": "star", "seed": 3, "x": 1})", now).find("'x' was 1") != std::string::npos);
}

TEST_CASE("an option that there was not yet stands at what was done before", "[identity]") {
  for (const char* none : {"\"\"", "false", "0", "-1", "-1.0", "null"})
    CHECK(refusal(R"({"seed": 3})", std::string(R"({"seed": 3, "new": )") + none + "}").empty());
  for (const char* other : {"\"x\"", "true", "1", "[]"})
    CHECK(refusal(R"({"seed": 3})", std::string(R"({"seed": 3, "new": )") + other + "}")
              .find("'new' was not there") != std::string::npos);
}

TEST_CASE("what was a number once is taken as its name", "[identity]") {
  const std::string now = R"({"topology": "star", "seed": 1})";
  CHECK(refusal(R"({"topology": 1, "seed": 1})", now).empty());
  CHECK(refusal(R"({"topology": 0, "seed": 1})", now).find(R"("ring" and is "star")") != std::string::npos);
  for (const char* other : {"2", "-1", "1.5", "null", "[1]"})
    CHECK_FALSE(refusal(std::string(R"({"topology": )") + other + R"(, "seed": 1})", now).empty());
}
