#include "support/catch.hpp"
#include "support/files.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>

using namespace galapagos;
namespace po = boost::program_options;

namespace {

Options example() {
  Options options("test", "an example", "path");
  options.declared().add_options()("number", po::value<std::int64_t>()->default_value(7), "a number")(
      "list", po::value<std::vector<std::string>>()->multitoken()->composing(), "a list")(
      "path", po::value<std::string>(), "")("flag", po::bool_switch(), "a flag");
  return options;
}

}  // namespace

TEST_CASE("options come from the command line, then the file, then defaults", "[options]") {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "a.ini").string();
  test::write_text(file, "number = 3\nlist = x\nlist = y\nflag = true\n");
  Options options = example();
  options.parse({"--config", file, "--number", "5", "word"});
  CHECK(options.get<std::int64_t>("number") == 5);
  CHECK(options.get<std::vector<std::string>>("list") == std::vector<std::string>{"x", "y"});
  CHECK(options.flag("flag"));
  CHECK(options.get<std::string>("path") == "word");

  // What --print-config prints, --config reads back.
  const std::string again = (folder / "b.ini").string();
  test::write_text(again, options.resolved());
  Options second = example();
  second.parse({"--config", again});
  CHECK(second.get<std::int64_t>("number") == 5);
  CHECK(second.flag("flag"));
  CHECK(second.get<std::vector<std::string>>("list").size() == 2);

  Options third = example();
  third.parse({});
  CHECK(third.get<std::int64_t>("number") == 7);
  CHECK(!third.flag("flag"));
  CHECK_THROWS_AS(third.require("path"), UsageError);
}

TEST_CASE("a command's own words and section are told from what is for every command", "[options]") {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "a.ini").string();
  test::write_text(file, "number = 3\nprecision = bf16\n[prune]\nstages = 3\n[test]\nflag = true\n");
  Options options = example();
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
    Options options = example();
    try {
      options.parse(words);
      FAIL_CHECK("accepted: " << words.front());
    } catch (const UsageError& error) {
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
  }
  Options options = example();
  CHECK_THROWS_AS(options.parse({"--config", (folder / "none.ini").string()}), InputError);
}

TEST_CASE("a file holds options of several commands in sections", "[options]") {
  const test::TemporaryFolder folder;
  const std::string file = (folder / "a.ini").string();
  test::write_text(
      file, "flag = true\nprecision = fp32\n[search]\nislands = 4\n[test]\nnumber = 3\n[eval]\nnumber = 9\n");
  Options options = example();
  options.parse({"--config", file});
  CHECK(options.get<std::int64_t>("number") == 3);
  CHECK(options.flag("flag"));
  test::write_text(file, "[tset]\nnumber = 3\n");
  Options wrong = example();
  CHECK_THROWS_AS(wrong.parse({"--config", file}), UsageError);
}

TEST_CASE("lists of whole numbers", "[options]") {
  CHECK(parse_integers("0 256,512", "o") == std::vector<std::int64_t>{0, 256, 512});
  CHECK(parse_integers("", "o").empty());
  for (const char* bad : {"1.5", "x", "3x", "99999999999999999999"})
    CHECK_THROWS_AS(parse_integers(bad, "o"), UsageError);
}
