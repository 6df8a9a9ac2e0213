#include "support/catch.hpp"

#include <cmath>
#include <string>

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/core/utf8.hpp>

using namespace galapagos;

TEST_CASE("an error is one line with its exit code", "[error]") {
  const InputError error("bad\nthing", "file\x01.txt", "fix\tit");
  CHECK(std::string(error.what()) == "bad\\x0athing [file\\x01.txt]; fix\\x09it");
  CHECK(error.code() == ExitCode::bad_input);
  CHECK(static_cast<int>(UsageError("", "", "").code()) == 2);
  CHECK(static_cast<int>(ResourceError("", "", "").code()) == 4);
  CHECK(static_cast<int>(NumericalError("", "", "").code()) == 5);
  CHECK(printable(std::string(500, 'a'), 10) == std::string(10, 'a') + "...");
  CHECK(printable("\xff\xe4\xb8\xad") == "\\xff\xe4\xb8\xad");
}

TEST_CASE("well-formed UTF-8 is told from the rest", "[text]") {
  CHECK(utf8_length("a", 0) == 1);
  CHECK(utf8_length("\xc3\xa9", 0) == 2);
  CHECK(utf8_length("\xe4\xb8\xad", 0) == 3);
  CHECK(utf8_length("\xf0\x9f\x98\x80", 0) == 4);
  for (const char* bad : {"\x80", "\xc0\x80", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe4\xb8"}) {
    CHECK(utf8_length(bad, 0) == 0);
  }
  CHECK(utf8_length("", 0) == 0);
}

TEST_CASE("numbers for people", "[text]") {
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1536) == "1.50 KiB");
  CHECK(human_count(0) == "0");
  CHECK(human_count(1234567) == "1,234,567");
  CHECK(human_duration(3661) == "01:01:01");
  CHECK(human_duration(90061) == "1d 01:01:01");
  CHECK(human_duration(std::nan("")) == "unknown");
  CHECK(parse_bytes("64G", "o") == std::uint64_t{64} << 30);
  CHECK(parse_bytes("1.5 MiB", "o") == 1572864);
  CHECK(parse_bytes("17", "o") == 17);
  for (const char* bad : {"", "x", "5 parsecs", "-1", "1e30G", "nan"})
    CHECK_THROWS_AS(parse_bytes(bad, "o"), UsageError);
}

TEST_CASE("JSON that is not what it should be is refused", "[json]") {
  CHECK_THROWS_AS(parse_json(R"({"a": 1, "a": 2})", "x"), InputError);
  CHECK_THROWS_AS(parse_json(R"({"a": {"b": 1, "b": 2}})", "x"), InputError);
  CHECK_NOTHROW(parse_json(R"({"a": {"b": 1}, "c": {"b": 2}})", "x"));
  CHECK_THROWS_AS(parse_json("{", "x"), InputError);
  CHECK_THROWS_AS(parse_json(std::string("{}\0{}", 5), "x"), InputError);
  CHECK_THROWS_AS(parse_json(std::string(100000, '['), "x"), InputError);
  CHECK_THROWS_AS(parse_json("\"\xff\"", "x"), InputError);
  const Json json =
      parse_json(R"({"i": 3, "big": 18446744073709551615, "f": 1.5, "s": "t", "n": null})", "x");
  CHECK(json_integer(json, "i", 0, 3, "x") == 3);
  CHECK_THROWS_AS(json_integer(json, "i", 0, 2, "x"), InputError);
  CHECK_THROWS_AS(json_integer(json, "big", 0, INT64_MAX, "x"), InputError);
  CHECK_THROWS_AS(json_integer(json, "f", 0, 9, "x"), InputError);
  CHECK_THROWS_AS(json_integer(json, "missing", 0, 9, "x"), InputError);
  CHECK(json_number(json, "f", "x") == 1.5);
  CHECK(json_string(json, "s", "x") == "t");
  CHECK(json_absent(json, "n"));
}

TEST_CASE("JSON as Python takes it", "[json]") {
  const Json json = parse_json_leniently(
      R"({"a": 1, "b": [NaN, -Infinity, Infinity, -1], "c": "NaN \"Infinity", "a": {"d": NaN, "d": 2}, "e\\": NaN})",
      "x");
  CHECK(json == Json({{"a", {{"d", 2}}},
                      {"b", {nullptr, nullptr, nullptr, -1}},
                      {"c", "NaN \"Infinity"},
                      {"e\\", nullptr}}));
  for (const char* bad : {"", "{", "Na", "N", "[NaN", "\"NaN", "\"\\", "-Infinit", "{\"a\": NaN1}"})
    CHECK_THROWS_AS(parse_json_leniently(bad, "x"), InputError);
  CHECK_THROWS_AS(parse_json_leniently(std::string(100000, '['), "x"), InputError);
}
