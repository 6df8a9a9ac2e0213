#include "search/search_command.hpp"
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"
#include "support/refusal.hpp"

#include <map>
#include <sstream>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>

using namespace galapagos;
using test::content;
using test::count_lines;
using test::data_file;
using test::Ended;
using test::findings;
using test::run_galapagos;
using test::search_inputs;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string database() {
  return (search_inputs() / "s.h5").string();
}

Words profile_words(const fs::path& output, const Words& more = {},
                    const std::string& model = "llama3_tiny") {
  Words words = {"profile",
                 "--model",
                 data_file("models/" + model).string(),
                 "--output",
                 output.string(),
                 "--context-length",
                 "24",
                 "--repeats",
                 "1",
                 "--threads",
                 "1",
                 "--backend",
                 "cpu"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Words assign_words(const fs::path& output, const Words& target) {
  Words words = {"assign",       "--model",  data_file("models/llama3_tiny").string(),
                 "--database",   database(), "--output",
                 output.string()};
  words.insert(words.end(), target.begin(), target.end());
  return words;
}

struct Row {
  std::string kind, phase;
  int heads = 0, kv_heads = 0, columns = 0;
  double seconds = 0;
};

std::vector<Row> rows_of(const fs::path& table) {
  std::vector<Row> rows;
  std::istringstream lines(content(table));
  std::string line;
  std::getline(lines, line);
  CHECK(line.starts_with(
      "kind,heads,kv_heads,columns,phase,seconds,hidden_size,head_dim,precision,device,batch,length"));
  while (std::getline(lines, line)) {
    std::istringstream fields(line);
    std::vector<std::string> all;
    for (std::string field; std::getline(fields, field, ',');) all.push_back(field);
    REQUIRE(all.size() >= 12);
    rows.push_back(
        {all[0], all[4], std::stoi(all[1]), std::stoi(all[2]), std::stoi(all[3]), std::stod(all[5])});
  }
  return rows;
}

// A table for the small database in which a part takes as many microseconds as it has heads and columns.
std::string made_up(const fs::path& measured, double scale = 1) {
  std::string text =
      "kind,heads,kv_heads,columns,phase,seconds,hidden_size,head_dim,precision,device,batch,length\n";
  for (const Row& row : rows_of(measured)) {
    if (row.kind == "whole") continue;
    const double time = row.kind == "fixed" ? 10 : 8 * row.heads + 4 * row.kv_heads + row.columns / 4.0;
    text += row.kind + "," + std::to_string(row.heads) + "," + std::to_string(row.kv_heads) + "," +
            std::to_string(row.columns) + "," + row.phase + "," + std::to_string(scale * time) +
            "e-6,64,16,bf16,another engine,4,24\n";
  }
  return text;
}

const fs::path& table() {
  static const test::TemporaryFolder folder;
  static const fs::path path = folder / "t.csv";
  if (fs::exists(path)) return path;
  REQUIRE(run_galapagos(1, profile_words(folder / "measured.csv", {"--database", database()})).code == 0);
  test::write_text(path, made_up(folder / "measured.csv"));
  return path;
}

}  // namespace

TEST_CASE("profile times every shape of a database once", "[profile]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "t.csv";
  const Ended ended = run_galapagos(1, profile_words(output, {"--database", database(), "--batch", "2"}));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  CHECK(count_lines(ended.output, "prefill") == 1);
  CHECK(count_lines(ended.output, "decode") == 1);
  CHECK(!fs::exists(part_path(output)));
  CHECK(!fs::exists(output.string() + ".lock"));
  std::map<std::string, int> seen;
  for (const Row& row : rows_of(output)) {
    CHECK((row.seconds > 0) == (row.heads + row.columns > 0));
    CHECK(row.seconds < 60);
    ++seen[row.kind + " " + std::to_string(row.heads) + " " + std::to_string(row.kv_heads) + " " +
           std::to_string(row.columns) + " " + row.phase];
    ++seen[row.kind + " " + row.phase];
  }
  CHECK(seen["fixed prefill"] == 1);
  CHECK(seen["ffn decode"] == 7);  // 6 levels and the unpruned part
  CHECK(seen["attn prefill"] >= 7);
  CHECK(seen["attn 8 4 0 decode"] == 1);
  CHECK(seen["attn 0 0 0 prefill"] == 1);
  const Json info = parse_json(run_galapagos(1, {"info", output.string(), "--json"}).output, "info");
  CHECK(info.at("kind") == "latencies");
  CHECK(info.at("decode").at("batch") == 2);
  CHECK(info.at("prefill").at("length") == 24);
  CHECK(info.at("prefill").at("shapes").size() == info.at("decode").at("shapes").size());

  // The same again is there already; another is not written over it.
  const std::string before = content(output);
  const Ended again = run_galapagos(1, profile_words(output, {"--database", database(), "--batch", "2"}));
  CHECK(again.code == 0);
  CHECK(count_lines(again.errors, "is complete already") == 1);
  CHECK(content(output) == before);
  const Ended other = run_galapagos(1, profile_words(output, {"--database", database(), "--batch", "3"}));
  CHECK(other.code == 3);
  CHECK(count_lines(other.errors, "another table is there") == 1);
  CHECK(content(output) == before);
  CHECK(run_galapagos(1, profile_words(output, {"--database", database(), "--batch", "3", "--fresh"})).code ==
        0);
  CHECK(content(output) != before);
}

TEST_CASE("profile times an assignment and the unpruned model whole", "[profile]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "t.csv", assignment = folder / "a.txt";
  REQUIRE(run_galapagos(1, assign_words(assignment, {"--target-sparsity", "0.5"})).code == 0);
  const Words words = profile_words(output, {"--database", database()});
  REQUIRE(run_galapagos(1, words).code == 0);
  const std::string parts = content(output);
  Words whole = words;
  whole.insert(whole.end(), {"--assignment", assignment.string()});
  const Ended ended = run_galapagos(1, whole);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  CHECK(count_lines(ended.output, "unpruned") == 2);
  CHECK(count_lines(ended.output, "assigned") == 2);
  // The parts are left as they were.
  const std::string text = content(output);
  CHECK(count_lines(text, "whole,") == 4);
  std::istringstream lines(parts);
  std::string line;
  std::getline(lines, line);
  CHECK(count_lines(text, line + ",parts") == 1);
  while (std::getline(lines, line)) CHECK(count_lines(text, line + ",") == 1);
  const Json info = parse_json(run_galapagos(1, {"info", output.string(), "--json"}).output, "info");
  for (const char* phase : {"prefill", "decode"}) {
    const Json& models = info.at(phase).at("whole");
    REQUIRE(models.size() == 2);
    CHECK(models[0].at("heads") == 32);
    CHECK(models[0].at("columns") == 704);
    CHECK(models[1].at("columns") < 704);
    CHECK(models[1].at("seconds") > 0);
  }
  CHECK(count_lines(run_galapagos(1, {"info", output.string()}).output, "beside the sum of its parts") == 4);
  // The same again is there already, with the assignment and without it.
  for (const Words& again : {whole, words}) {
    const Ended same = run_galapagos(1, again);
    CHECK(same.code == 0);
    CHECK(count_lines(same.errors, "is complete already") == 1);
    CHECK(content(output) == text);
  }
  // All of it at once.
  whole[4] = (folder / "new.csv").string();
  CHECK(run_galapagos(1, whole).code == 0);
  CHECK(count_lines(content(folder / "new.csv"), "whole,") == 4);
  // A speedup is then of what the unpruned model took whole, here 1 ms of 506 us.
  std::istringstream rows(made_up(folder / "new.csv"));
  std::string corrected;
  std::getline(rows, line);
  corrected = line + ",parts\n";
  while (std::getline(rows, line)) corrected += line + ",\n";
  corrected += "whole,32,16,704,prefill,0.001012,64,16,bf16,another engine,4,24,0.000506\n";
  test::write_text(folder / "made.csv", corrected);
  const auto assigned = [&](const std::string& name, const Words& target) {
    const Ended found = run_galapagos(1, assign_words(folder / name, target));
    INFO(found.errors);
    CHECK(found.code == 0);
    return content(folder / name);
  };
  const std::string made = (folder / "made.csv").string();
  CHECK(assigned("1.txt", {"--target-latency", "506us", "--latency-table", made}) ==
        assigned("2.txt", {"--target-latency", "253us", "--latency-table", table().string()}));
  CHECK(assigned("3.txt", {"--target-speedup", "2", "--latency-table", made}) == content(folder / "1.txt"));
}

TEST_CASE("without a database profile times what one may have, for every family", "[profile][.slow]") {
  const test::TemporaryFolder folder;
  for (const std::string model :
       {"llama3_tiny", "qwen3_pruned", "gemma2_tiny", "phi3_tiny", "biased_pruned"}) {
    INFO(model);
    const fs::path output = folder / (model + ".csv");
    const Ended ended = run_galapagos(1, profile_words(output, {"--levels", "2"}, model));
    INFO(ended.errors);
    REQUIRE(ended.code == 0);
    CHECK(rows_of(output).size() >= 10);
  }
  int with_4 = 0;
  for (const Row& row : rows_of(folder / "llama3_tiny.csv"))
    with_4 += row.kind == "attn" && row.heads == 4 && row.phase == "decode" ? 1 : 0;
  CHECK(with_4 == 3);  // 4 of 8 heads may be on 2, 3 or 4 KV heads

  // Of the model's folder only config.json is needed.
  fs::create_directory(folder / "bare");
  fs::copy_file(data_file("models/llama3_tiny/config.json"), folder / "bare" / "config.json");
  Words words = profile_words(folder / "bare.csv",
                              {"--levels", "1", "--precision", "fp32", "--attention-unit", "group"});
  words[2] = (folder / "bare").string();
  const Ended bare = run_galapagos(1, words);
  INFO(bare.errors);
  CHECK(bare.code == 0);
  CHECK(count_lines(content(folder / "bare.csv"), "fp32") == 2 * 5);
}

TEST_CASE("profile refuses what it cannot do", "[profile]") {
  const test::TemporaryFolder folder;
  const auto refused = [&](const Words& words, int code, const std::string& reason, int ranks = 1) {
    const Ended ended = run_galapagos(ranks, words);
    INFO(reason << "\n" << ended.errors);
    CHECK(ended.code == code);
    CHECK(count_lines(ended.errors, "galapagos: error") == 1);
    CHECK(ended.errors.find(reason) != std::string::npos);
  };
  const fs::path output = folder / "t.csv";
  refused(profile_words(output), 2, "2 ranks", 2);
  refused(profile_words(output, {"--batch", "0"}), 2, "--batch");
  refused(profile_words(output, {"--levels", "4", "--database", database()}), 2, "--levels");
  refused(profile_words(output, {"--assignment", "a.txt"}), 2, "an assignment without its database");
  refused(profile_words(output, {"--database", database(), "--assignment", (folder / "none.txt").string()}),
          3, "none.txt");
  Words longer = profile_words(output);
  longer[6] = "1000000";
  refused(longer, 2, "a context of 1000000 tokens, but the model takes");
  refused(profile_words(output, {"--database", database()}, "llama2_tiny"), 3, "made from another model");
  refused(profile_words(folder / "none" / "t.csv"), 3, "none");
  CHECK(!fs::exists(output));
  test::write_text(output, "mine");
  refused(profile_words(output, {"--fresh"}), 3, "line 1: no column 'kind'");
  CHECK(content(output) == "mine");
}

TEST_CASE("assign keeps limits of latency, memory and KV cache, several at once", "[profile]") {
  const test::TemporaryFolder folder;
  int number = 0;
  const auto assigned = [&](const Words& target) {
    const fs::path output = folder / (std::to_string(number++) + ".txt");
    const Ended ended = run_galapagos(1, assign_words(output, target));
    INFO(ended.errors);
    CHECK(ended.code == 0);
    return ended.output.substr(std::min(ended.output.find("assigned"), ended.output.size()));
  };
  const std::string path = table().string();
  // 4 layers of 8 heads on 4 KV heads and 176 columns: 10 + 4 * (64 + 16 + 44) = 506 us.
  CHECK(assigned({"--target-speedup", "2", "--latency-table", path}).find(" us") != std::string::npos);
  const std::string one = assigned({"--target-latency", "253us", "--latency-table", path}),
                    both = assigned({"--target-latency", "253us", "--latency-table", path,
                                     "--target-sparsity", "0.6", "--latency-phase", "decode"});
  CHECK(content(folder / "0.txt") == content(folder / "1.txt"));
  CHECK(content(folder / "1.txt") != content(folder / "2.txt"));
  // 332,352 parameters in bf16.
  assigned({"--target-memory", "400000"});
  assigned({"--target-params", "200000"});
  CHECK(content(folder / "3.txt") == content(folder / "4.txt"));
  const std::string cache = assigned({"--target-kv-cache", "500K", "--kv-tokens", "1000"});
  CHECK(cache.find("500.00 KiB of K and V") != std::string::npos);
}

TEST_CASE("targets that cannot be met say what can", "[profile]") {
  const test::TemporaryFolder folder;
  const fs::path output = folder / "a.txt";
  const std::string path = table().string();
  std::vector<test::Refusal> all;
  const auto refused = [&](const Words& target, int code, const std::string& reason) {
    all.push_back({[=](int) { return assign_words(output, target); }, code, reason, output});
  };
  refused({"--target-latency", "9us", "--latency-table", path}, 2, "have 10 us to 506 us");
  refused({"--target-speedup", "60", "--latency-table", path}, 2, "go to 50.60 (10 us of 506 us)");
  refused({"--target-latency", "20", "--latency-table", path}, 2, "'20' is no time");
  refused({"--target-latency", "20ms"}, 2, "a latency without its table");
  refused({"--target-sparsity", "0.5", "--latency-phase", "warm"}, 2, "unknown phase 'warm'");
  refused({"--target-memory", "1K"}, 2, "a target of 1.00 KiB of weights");
  refused({"--target-memory", "1T"}, 2, "a target of 1.00 TiB of weights");
  refused({"--target-kv-cache", "1G"}, 2, "--kv-tokens");
  refused({"--target-kv-cache", "1G", "--kv-tokens", "10"}, 2, "the unpruned model meets the target");
  refused({"--target-level", "3", "--target-memory", "400000"}, 2, "2 targets");
  refused({"--target-speedup", "2", "--latency-table", (folder / "none.csv").string()}, 3, "none.csv");
  const auto changed = [&](const std::string& name, const std::string& from, const std::string& to) {
    std::string text = content(path);
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
    test::write_text(folder / name, text);
    return (folder / name).string();
  };
  const std::string row = "attn,8,4,0,prefill,";
  refused({"--target-speedup", "2", "--latency-table", changed("lacks.csv", row, "attn,9,4,0,prefill,")}, 3,
          "no row for attn of 8 heads on 4 KV heads (prefill)");
  refused({"--target-speedup", "2", "--latency-table", changed("bad.csv", row, "attn,8,4,0,prefill,x")}, 3,
          "line ");
  std::string other = content(path);
  for (std::size_t at; (at = other.find(",64,16,")) != std::string::npos;) other.replace(at, 7, ",96,16,");
  test::write_text(folder / "other.csv", other);
  refused({"--target-speedup", "2", "--latency-table", (folder / "other.csv").string()}, 3,
          "hidden size is 96, not 64");
  check_refused(all);
}

TEST_CASE("a search under several limits is the same on any number of ranks, and of its table",
          "[profile][.slow]") {
  const test::TemporaryFolder folder;
  const fs::path own = folder / "own.csv";
  fs::copy_file(table(), own);
  const auto words = [&](const fs::path& run, const std::string& generations) {
    return test::search_words(run, {{"--database", database()},
                                    {"--target-level", "-"},
                                    {"--target-sparsity", "0.4"},
                                    {"--target-speedup", "1.8"},
                                    {"--target-kv-cache", "700K"},
                                    {"--kv-tokens", "1000"},
                                    {"--latency-table", own.string()},
                                    {"--proposals", "2"},
                                    {"--generations", generations}});
  };
  const Ended one = run_galapagos(1, words(folder / "one", "3"));
  INFO(one.errors);
  REQUIRE(one.code == 0);
  REQUIRE(run_galapagos(3, words(folder / "three", "3")).code == 0);
  CHECK(findings(folder / "one") == findings(folder / "three"));
  // What it found keeps the limits: it may be begun from.
  Words again = words(folder / "again", "1");
  again.insert(again.end(), {"--start", (folder / "one" / "best.txt").string()});
  CHECK(run_galapagos(1, again).code == 0);
  again = test::search_words(folder / "smaller", {{"--database", database()},
                                                  {"--target-level", "-"},
                                                  {"--target-latency", "100us"},
                                                  {"--latency-table", own.string()},
                                                  {"--start", (folder / "one" / "best.txt").string()}});
  const Ended missed = run_galapagos(1, again);
  CHECK(missed.code == 2);
  CHECK(missed.errors.find("us instead of at most 100 us") != std::string::npos);
  // The same times may be written in another way; others are another search's.
  test::write_text(own, content(own) + "\n");
  CHECK(run_galapagos(2, words(folder / "one", "4")).code == 0);
  std::string slower = content(own);
  slower.replace(slower.find("prefill,1"), 9, "prefill,2");
  test::write_text(own, slower);
  const Ended refused = run_galapagos(2, words(folder / "one", "5"));
  INFO(refused.errors);
  CHECK(refused.code == 3);
  CHECK(refused.errors.find("latency-times") != std::string::npos);
}

TEST_CASE("a plan takes a latency, and a guess of the KV heads that stay", "[profile]") {
  const Ended ended = run_galapagos(1, {"plan", "search", "--model", data_file("models/llama3_tiny").string(),
                                        "--ranks", "2", "--levels", "6", "--calibration-tokens", "2000",
                                        "--target-speedup", "1.5", "--latency-table", table().string()});
  INFO(ended.errors);
  CHECK(ended.code == 0);
  CHECK(count_lines(ended.output, "target") == 1);
}
