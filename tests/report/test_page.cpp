#include "made_up_run.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "xml_check.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/report/page.hpp>

using namespace galapagos;
using namespace galapagos::report;
using test::xml_fault;

namespace {

namespace fs = std::filesystem;

std::size_t count(const std::string& text, const std::string& of) {
  std::size_t found = 0;
  for (std::size_t at = 0; (at = text.find(of, at)) != std::string::npos; at += of.size()) ++found;
  return found;
}

}  // namespace

TEST_CASE("a report stands alone, is well-formed and the same again", "[report]") {
  const test::TemporaryFolder folder;
  test::write_search(folder / "first");
  test::write_half_search(folder / "second");
  test::write_text(
      folder / "comparison.json",
      R"([{"name":"dense","parameters":1000,"perplexity":5.5,"kl":0.0},{"name":"pruned","parameters":600,"perplexity":7,"kl":null}])");
  const std::string page = html_report(read_report({folder.path()}, 0), 1.8e9);
  CHECK(xml_fault(page) == "");
  CHECK(page == html_report(read_report({folder.path()}, 0), 1.8e9));
  CHECK(page.find("as of 2027-01-15 08:00 UTC") != std::string::npos);
  // Nothing is fetched: no address but SVG's name.
  CHECK(count(page, "http") == count(page, "http://www.w3.org/2000/svg") + 1);  // and http-equiv
  for (const char* part : {"src=", "url(", "@import", "<link", "nan", "-inf"}) {
    INFO(part);
    CHECK(count(page, part) == 0);
  }
  for (const char* part : {"Models beside each other", "Runs beside each other", "Best assignment",
                           "Migrations and the way of the best", "Expected and measured",
                           "Where the time went", "60.0 % of 1000", "2 kWh", ">first<", ">second<"}) {
    INFO(part);
    CHECK(count(page, part) > 0);
  }
}

TEST_CASE("names of folders and what stands in files cannot break out of the page", "[report]") {
  const test::TemporaryFolder folder;
  const fs::path run = folder / "<script>alert(1)<";
  test::write_search(run);
  test::add_text(run / "config.ini", "# default\nname\"><img = </style><img src=x onerror=alert(1)>\n");
  test::add_text(
      run / "metrics.jsonl",
      "{\"generation\":3,\"comparison\":[],\"best_island\":0,\"fitness\":0.5,\"perplexity\":{\"<b>\":1}}\n");
  test::add_text(run / "bill.jsonl", "{\"command\":\"<i>\",\"ended\":\"&\",\"joules\":{\"<u>\":1}}\n");
  const std::string page = html_report(read_report({run}, 0), 0);
  CHECK(xml_fault(page) == "");
  for (const char* tag : {"<script>alert", "<img", "<b>", "<i>", "<u>"}) CHECK(count(page, tag) == 0);
}

TEST_CASE("what holds no run is refused", "[report]") {
  const test::TemporaryFolder folder;
  CHECK_THROWS_AS(read_report({folder.path()}, 0), InputError);
  CHECK_THROWS_AS(read_report({folder / "none"}, 0), InputError);
  test::write_text(folder / "notes.txt", "no table\n");
  CHECK_THROWS_AS(read_report({folder / "notes.txt"}, 0), InputError);
}
