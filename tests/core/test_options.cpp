#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/core/option_hints.hpp>
#include <galapagos/core/options.hpp>

using namespace galapagos;

namespace {

enum class Colour { red, green };

/// Something with a member of every kind.
struct Example {
  std::int64_t number = 7, count = 0;
  int small = 1;
  std::uint64_t seed = 0, bytes = std::uint64_t{5} << 30;
  double share = 0.5, seconds = 0;
  bool flag = false;
  std::string word = "usual";
  std::filesystem::path path;
  std::vector<std::string> list;
  std::optional<std::int64_t> most;
  std::optional<double> rate;
  std::optional<std::filesystem::path> other;
  std::optional<Colour> colour;
};

void bind(Options& list, Example& example) {
  list.describe("test", "an example", "path");
  list.add("path", example.path, "where", {.required = true});
  list.add("number", example.number, "a number", {.least = 1, .decides = true});
  list.add("count", example.count, "another",
           {.least = 0, .most = 9, .refusal = "{} of them", .remedy = "give 1 to 9", .none_at_0 = true});
  list.add("small", example.small, "a small one", {.least = -5, .most = 5});
  list.add("seed", example.seed, "of chance", {.decides = true});
  list.add_bytes("bytes", example.bytes, "most bytes");
  list.add("share", example.share, "of all",
           {.least = 0, .most = 1, .above = true, .decides = example.flag, .indirectly = true});
  list.add_seconds("seconds", example.seconds, "at most");
  list.add("flag", example.flag, "a flag", {.decides = true});
  list.add("word", example.word, "a word", {.decides = true, .list = true});
  list.add("list", example.list, "a list", {.decides = true});
  list.add("most", example.most, "at most", {.least = 0, .decides = true});
  list.add("rate", example.rate, "at a rate", {.decides = true});
  list.add("other", example.other, "another path", {.indirectly = true});
  list.add_choice("colour", example.colour, "colour",
                  {{"none", std::nullopt}, {"red", Colour::red}, {"green", Colour::green}}, "of the paint",
                  {.decides = true});
}

struct Bound {
  Example example;
  Options options;

  Bound() { bind(options, example); }
};

/// What an example is made by some words.
Example example_of(const std::vector<std::string>& words) {
  Bound bound;
  bound.options.parse(words);
  bound.options.take();
  return bound.example;
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    check_ranges(example_of(words));
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("options come from the command line, then the file, then defaults", "[options]") {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "a.ini").string();
  test::write_text(file, "number = 3\nlist = x\nlist = y\nflag = true\n");
  Bound first;
  Options& options = first.options;
  options.parse({"--config", file, "--number", "5", "word"});
  CHECK(options.get<std::int64_t>("number") == 5);
  CHECK(options.get<std::vector<std::string>>("list") == std::vector<std::string>{"x", "y"});
  CHECK(options.flag("flag"));
  CHECK(options.get<std::string>("path") == "word");

  // What --print-config prints, --config reads back.
  const std::string again = (folder / "b.ini").string();
  test::write_text(again, options.resolved());
  const Example second = example_of({"--config", again});
  CHECK(second.number == 5);
  CHECK(second.flag);
  CHECK(second.list.size() == 2);

  Bound third;
  third.options.parse({});
  CHECK(third.options.get<std::int64_t>("number") == 7);
  CHECK(!third.options.flag("flag"));
  CHECK_THROWS_AS(third.options.require("path"), UsageError);
  CHECK_THROWS_AS(third.options.require_all(), UsageError);
}

TEST_CASE("options are bound to members of many kinds", "[options]") {
  const Example usual = example_of({});
  CHECK(usual.bytes == std::uint64_t{5} << 30);
  CHECK(usual.word == "usual");
  CHECK_FALSE(usual.most);
  CHECK_FALSE(usual.colour);
  const Example given = example_of(
      {"--number", "3",    "--count",   "2",     "--small", "-4", "--seed", "-1",     "--bytes", "64K",
       "--share",  "0.25", "--seconds", "1:30",  "--word",  "w",  "--most", "0",      "--rate",  "2",
       "--other",  "b",    "--colour",  "green", "--list",  "x",  "y",      "--path", "a"});
  CHECK(given.number == 3);
  CHECK(given.count == 2);
  CHECK(given.small == -4);
  CHECK(given.seed == ~std::uint64_t{0});
  CHECK(given.bytes == 65536);
  CHECK(given.share == 0.25);
  CHECK(given.seconds == 90);
  CHECK(given.word == "w");
  CHECK(given.most == 0);
  CHECK(given.rate == 2);
  CHECK(given.other == "b");
  CHECK(given.colour == Colour::green);
  CHECK(given.list == std::vector<std::string>{"x", "y"});
  CHECK(given.path == "a");
}

TEST_CASE("numbers out of their range and words that there are not", "[options]") {
  CHECK(refusal({"--number", "0"}) == "0 [--number]; give 1 or more");
  CHECK(refusal({"--count", "10"}) == "10 of them [--count]; give 1 to 9");
  CHECK(refusal({"--small", "99999999999"}) == "2147483647 [--small]; give a number from -5 to 5");
  CHECK(refusal({"--share", "0"}) == "0 [--share]; give a number above 0 and up to 1");
  CHECK(refusal({"--share", "nan"}) == "nan [--share]; give a number above 0 and up to 1");
  CHECK(refusal({"--most", "-1"}) == "-1 [--most]; give 0 or more");
  CHECK(refusal({"--colour", "blue"}) == "unknown colour 'blue' [--colour]; choose none, red or green");
  CHECK(refusal({"--bytes", "many"}) ==
        "'many' is not a number of bytes [--bytes]; write it like 64G or 512MiB");
  CHECK(refusal({}).empty());
}

TEST_CASE("an identity has the options that decide, a reference all", "[options]") {
  Example example;
  CHECK(
      deciding(example).dump() ==
      R"({"number":7,"seed":0,"flag":false,"word":"usual","list":[],"most":-1,"rate":-1.0,"colour":"none"})");
  example.flag = true;
  example.list = {"x"};
  example.most = 4;
  example.colour = Colour::red;
  CHECK(deciding(example).dump() ==
        R"({"number":7,"seed":0,"share":0.5,"flag":true,"word":"usual","list":["x"],)"
        R"("most":4,"rate":-1.0,"colour":"red"})");
  Bound bound;
  bool resume = false;
  bound.options.add("resume", resume, "go on");
  const std::string reference = bound.options.reference();
  const auto has = [&](const std::string& line) {
    INFO(reference);
    CHECK(reference.find(line) != std::string::npos);
  };
  has("galapagos test: an example\n");
  has("  --path                  required                      where\n");
  has("  --number                7                    decides  a number [1 or more]\n");
  has("  --count                                               another [0 to 9]\n");
  has("  --bytes                 5G                            most bytes\n");
  has("  --share                 0.5                  decides  of all [above 0 and up to 1]\n");
  has("  --other                                      decides  another path\n");
  has("  --colour                none                 decides  of the paint [none, red or green]\n");
}

TEST_CASE("an option that may stand alone takes a word of its own, too", "[options]") {
  const auto parsed = [](const std::vector<std::string>& words) {
    Options options;
    Colour colour = Colour::green;
    std::vector<std::string> list;
    options.describe("test", "an example");
    options.add_choice("colour", colour, "colour",
                       Choices<Colour>{{"green", Colour::green}, {"red", Colour::red}}, "of the paint",
                       {.implied = "red"});
    options.add("list", list, "more");
    options.parse(words);
    options.take();
    return std::pair(colour, list);
  };
  CHECK(parsed({}).first == Colour::green);
  CHECK(parsed({"--colour"}).first == Colour::red);
  CHECK(parsed({"--colour", "green"}).first == Colour::green);
  CHECK(parsed({"--colour=red"}).first == Colour::red);
  CHECK(parsed({"--colour", "--list", "a", "b"}) ==
        std::pair(Colour::red, std::vector<std::string>{"a", "b"}));
  CHECK(parsed({"--list", "a", "--colour", "red"}) == std::pair(Colour::red, std::vector<std::string>{"a"}));
  CHECK_THROWS_AS(parsed({"--colour", "blue"}), UsageError);
}

TEST_CASE("a command's own words and section are told from what is for every command", "[options]") {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "a.ini").string();
  test::write_text(file, "number = 3\nprecision = bf16\n[prune]\nstages = 3\n[test]\nflag = true\n");
  Bound bound;
  Options& options = bound.options;
  options.parse({"--config", file, "word"});
  CHECK(options.given("number"));
  CHECK_FALSE(options.given_here("number"));
  CHECK(options.in_section("flag"));
  CHECK(options.given_here("flag"));
  CHECK(options.given_here("path"));
  CHECK_FALSE(options.in_section("path"));
  CHECK_FALSE(options.given_here("list"));
}

TEST_CASE("wrong options are usage errors of one line", "[options]") {
  const test::TemporaryFolder folder;
  const std::string bad = (folder / "bad.ini").string();
  test::write_text(bad, "nonsense = 3\n");
  const std::vector<std::vector<std::string>> wrong = {
      {"--nonsense"},
      {"--num", "3"},
      {"--number", "three"},
      {"--number"},
      {"--number", "3", "--number", "4"},
      {"a", "b", "c"},
      {"--config", bad},
      {"--flag=maybe"},
      {"--number", "3.5"},
  };
  for (const auto& words : wrong) {
    Bound bound;
    Options& options = bound.options;
    try {
      options.parse(words);
      FAIL_CHECK("accepted: " << words.front());
    } catch (const UsageError& error) {
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
  }
  Bound bound;
  Options& options = bound.options;
  CHECK_THROWS_AS(options.parse({"--config", (folder / "none.ini").string()}), InputError);
}

TEST_CASE("a file holds options of several commands in sections", "[options]") {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "a.ini").string();
  test::write_text(
      file, "flag = true\nprecision = fp32\n[search]\nislands = 4\n[test]\nnumber = 3\n[eval]\nnumber = 9\n");
  Bound bound;
  Options& options = bound.options;
  options.parse({"--config", file});
  CHECK(options.get<std::int64_t>("number") == 3);
  CHECK(options.flag("flag"));
  test::write_text(file, "[tset]\nnumber = 3\n");
  Bound wrong;
  CHECK_THROWS_AS(wrong.options.parse({"--config", file}), UsageError);
}

namespace {

/// What words are refused with before any value is looked at.
std::string parse_refusal(const std::vector<std::string>& words) {
  Bound bound;
  try {
    bound.options.parse(words);
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("numbers without quotes are one list", "[options]") {
  CHECK(example_of({"--word", "4", "2", "1", "--flag"}).word == "4 2 1");
  CHECK(example_of({"--word", "4,2,1"}).word == "4,2,1");
  CHECK(example_of({"--word=4", "7"}).path == "7");
  CHECK(example_of({"--word", "4 2", "1"}).word == "4 2 1");
  CHECK(example_of({"--list", "4", "2", "1"}).list == std::vector<std::string>{"4", "2", "1"});
  CHECK(example_of({"--number", "4", "2"}).path == "2");  // one number is all that it takes
  CHECK(example_of({"--word", "four", "2"}).path == "2");
  CHECK(example_of({"--other", "4", "2"}).path == "2");
}

TEST_CASE("slips are answered with what was meant", "[options]") {
  const std::string help = "see 'galapagos test --help'";
  CHECK(parse_refusal({"--nubmer", "3"}) ==
        "there is no option '--nubmer' [galapagos test]; did you mean '--number'? " + help);
  CHECK(parse_refusal({"--Number", "3"}) ==
        "there is no option '--Number' [galapagos test]; did you mean '--number'? " + help);
  CHECK(parse_refusal({"--num", "3"}) ==
        "there is no option '--num' [galapagos test]; did you mean '--number'? " + help);
  CHECK(parse_refusal({"--zzzzzzzz", "3"}) == "there is no option '--zzzzzzzz' [galapagos test]; " + help);
  CHECK(parse_refusal({"--survivors_per_selection", "4"}) ==
        "there is no option '--survivors_per_selection' [galapagos test]; here it is --survivors");
  CHECK(parse_refusal({"--cols_removed_attn", "0"}) ==
        "there is no option '--cols_removed_attn' [galapagos test]; here it is --attn-removed \"0 512 1024 "
        "...\"");
  CHECK(parse_refusal({"here", "--number", "3", "there"}) ==
        "'there' belongs to no option [galapagos test]; put what belongs together in quotes; " + help);
  CHECK(parse_refusal({"--count", "1.5"}).ends_with("; give 1 to 9"));
  CHECK(nearest_name("daatbase", {"database", "distil"}) == "database");
  CHECK(nearest_name("x", {"y"}).empty());
}

TEST_CASE("lists of whole numbers", "[options]") {
  CHECK(parse_integers("0 256,512", "o") == std::vector<std::int64_t>{0, 256, 512});
  CHECK(parse_integers("", "o").empty());
  for (const char* bad : {"1.5", "x", "3x", "99999999999999999999"})
    CHECK_THROWS_AS(parse_integers(bad, "o"), UsageError);
}
