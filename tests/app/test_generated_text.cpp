#include "generate_command.hpp"

#include <algorithm>

#include <galapagos/io/checkpoint.hpp>

using namespace galapagos;
using test::generated;
using test::run_galapagos;
using test::write_prompts;

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;
using Ids = std::vector<std::int32_t>;

constexpr std::int32_t bos = 1022, eos = 1023;  // of `tiny`, which has been trained and writes English
const std::string bos_text = "<|begin_of_text|>";

const fs::path& tiny() {
  static const fs::path folder = test::data_file("models/tiny");
  return folder;
}

/// A copy of `tiny` in which two tokens have changed places: wherever the one would be read or written, the
/// other is, and nothing else is different.
void exchange_tokens(const fs::path& folder, std::int32_t a, std::int32_t b) {
  fs::copy(tiny(), folder);
  const Checkpoint checkpoint(tiny());
  const std::string name = "model.embed_tokens.weight";  // which is the head, too
  const TensorEntry& embedding = checkpoint.entry(name);
  std::vector<std::byte> bytes(embedding.data.begin(), embedding.data.end());
  const std::size_t row = bytes.size() / static_cast<std::size_t>(embedding.shape[0]);
  const auto place = [&](std::int32_t id) { return bytes.begin() + static_cast<std::ptrdiff_t>(row) * id; };
  std::swap_ranges(place(a), place(a + 1), place(b));
  std::vector<TensorEntry> entries;
  for (const std::string& other : checkpoint.names()) {
    entries.push_back(checkpoint.entry(other));
    if (other == name) entries.back().data = bytes;
  }
  fs::remove(folder / "model.safetensors");
  write_safetensors(folder / "model.safetensors", entries);
}

/// A prompt of ids, what `tiny` writes behind it, and one of the tokens, which is not the first and comes
/// nowhere before it: the text is `before` + `token` + `behind`.
struct Known {
  Ids prompt = {352, 258, 553, 307};
  std::size_t at = 0;
  std::int32_t id = 0;
  Ids ids;
  std::string before, token, behind;

  Json record(std::size_t tokens) const { return {{"ids", prompt}, {"max_new_tokens", tokens}}; }

  explicit Known(const test::TemporaryFolder& folder) {
    const auto write = [&](const std::vector<Json>& records) {
      return generated(tiny(), folder / "known.jsonl",
                       {"--prompts", write_prompts(folder / "known_prompts.jsonl", records)});
    };
    ids = write({record(20)}).at(0).at("ids").get<Ids>();
    REQUIRE(ids.size() == 20);
    const auto first = [&](std::size_t i) {
      const auto begin = ids.begin(), end = begin + static_cast<std::ptrdiff_t>(i);
      return std::find(begin, end, ids[i]) == end && std::ranges::find(prompt, ids[i]) == prompt.end();
    };
    for (at = 4; at < ids.size() && !first(at);) ++at;
    REQUIRE(at + 2 < ids.size());
    id = ids[at];
    const std::vector<Json> lines = write({record(at), record(at + 1), record(ids.size())});
    before = lines[0].at("text");
    token = lines[1].at("text").get<std::string>().substr(before.size());
    behind = lines[2].at("text").get<std::string>().substr(before.size() + token.size());
    REQUIRE(!token.empty());
    REQUIRE(std::ranges::count(ids, id) == 1);  // so that it is not in `behind`, either
  }
};

}  // namespace

TEST_CASE("a text ends at the token that ends texts, which is no part of it", "[app]") {
  const test::TemporaryFolder folder;
  const Known known(folder);
  exchange_tokens(folder / "ends", known.id, eos);
  const Ids written(known.ids.begin(), known.ids.begin() + static_cast<std::ptrdiff_t>(known.at));
  const Words prompts = {
      "--prompts", write_prompts(folder / "p.jsonl",
                                 {known.record(20), known.record(known.at), known.record(known.at + 1)})};
  for (const bool special : {false, true}) {
    Words words = prompts;
    if (special) words.emplace_back("--keep-special");
    const std::vector<Json> lines = generated(folder / "ends", folder / "e.jsonl", words, special ? 3 : 1);
    REQUIRE(lines.size() == 3);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      CHECK(lines[i].at("index") == i);
      CHECK(lines[i].at("ids") == written);
      CHECK(lines[i].at("text") == known.before);
      CHECK(lines[i].at("stop") == (i == 1 ? "length" : "eos"));
    }
  }
  // Whatever else a folder says that ends texts.
  fs::copy(tiny(), folder / "also");
  test::write_text(folder / "also/generation_config.json", Json{{"eos_token_id", {eos, known.id}}}.dump());
  const Json also = generated(folder / "also", folder / "a.jsonl", prompts).at(0);
  CHECK(also.at("ids") == written);
  CHECK(also.at("stop") == "eos");
}

TEST_CASE("special tokens stand in a text only where that is asked for", "[app]") {
  const test::TemporaryFolder folder;
  const Known known(folder);
  exchange_tokens(folder / "special", known.id, bos);
  const Words prompts = {"--prompts", write_prompts(folder / "p.jsonl", {known.record(20)})};
  Ids ids = known.ids;
  ids[known.at] = bos;
  const auto line_of = [&](const Words& more) {
    Words words = prompts;
    words.insert(words.end(), more.begin(), more.end());
    return generated(folder / "special", folder / "s.jsonl", words).at(0);
  };
  const Json without = line_of({}), with = line_of({"--keep-special"});
  CHECK(without.at("ids") == ids);
  CHECK(with.at("ids") == ids);
  CHECK(without.at("text") == known.before + known.behind);
  CHECK(with.at("text") == known.before + bos_text + known.behind);
  for (const Words& more : {Words{}, Words{"--keep-special"}}) {
    Words words = more;
    words.insert(words.end(), {"--stop", bos_text});
    const Json stopped = line_of(words);
    CHECK(stopped.at("ids").size() == known.at + 1);
    CHECK(stopped.at("text") == known.before);
    CHECK(stopped.at("stop") == "stop");
  }
}

TEST_CASE("each prompt has its own words to stop at and its own length", "[app]") {
  const test::TemporaryFolder folder;
  const Known known(folder);
  // The end of one token and the beginning of the next.
  REQUIRE(known.before.size() > 1);
  const std::string word = known.before.back() + known.token.substr(0, 1);
  const std::string whole = known.before + known.token + known.behind;
  const std::size_t at = whole.find(word);
  Json listed = known.record(20), single = known.record(20), never = known.record(20);
  listed["stop"] = {"\u00e9", word};
  single["stop"] = known.behind.substr(known.behind.size() / 2);
  never["stop"] = Json::array();
  const std::vector<Json> records = {
      listed, known.record(3), single, never, {{"ids", known.prompt}, {"stop", nullptr}}};
  const Words words = {"--prompts", write_prompts(folder / "p.jsonl", records), "--max-new-tokens", "7"};
  const std::vector<Json> lines = generated(tiny(), folder / "o.jsonl", words);
  REQUIRE(lines.size() == 5);
  CHECK(lines[0].at("text") == whole.substr(0, at));
  CHECK(lines[0].at("stop") == "stop");
  CHECK(lines[0].at("ids").size() <= known.at + 1);
  CHECK(lines[1].at("ids").size() == 3);
  CHECK(lines[1].at("stop") == "length");
  CHECK(lines[2].at("text") == whole.substr(0, whole.find(single["stop"].get<std::string>())));
  CHECK(lines[2].at("stop") == "stop");
  CHECK(lines[2].at("ids").size() > lines[0].at("ids").size());
  CHECK(lines[3].at("text") == whole);
  CHECK(lines[3].at("ids") == known.ids);
  CHECK(lines[3].at("stop") == "length");
  CHECK(lines[4].at("ids").size() == 7);
  Words all = words;  // those of the command are every prompt's, beside its own
  all.insert(all.end(), {"--stop", word});
  for (const int ranks : {1, 2}) {
    const std::vector<Json> stopped = generated(tiny(), folder / "a.jsonl", all, ranks);
    REQUIRE(stopped.size() == 5);
    for (const std::size_t i : {0, 2, 3}) {
      CHECK(stopped[i].at("text") == whole.substr(0, at));
      CHECK(stopped[i].at("ids") == lines[0].at("ids"));
      CHECK(stopped[i].at("stop") == "stop");
    }
  }
}

TEST_CASE("a model without its tokenizer writes the same ids, and ends its texts", "[app]") {
  const test::TemporaryFolder folder;
  const Known known(folder);
  exchange_tokens(folder / "whole", known.id, eos);
  fs::copy(folder / "whole", folder / "bare");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) fs::remove(folder / "bare" / name);
  const Words prompts = {
      "--prompts",
      write_prompts(folder / "p.jsonl", {known.record(20), known.record(3), {{"ids", {5, 6, 7}}}}),
      "--max-new-tokens", "6"};
  std::vector<Json> wanted = generated(folder / "whole", folder / "w.jsonl", prompts);
  REQUIRE(wanted.size() == 3);
  CHECK(wanted[0].at("stop") == "eos");
  CHECK(wanted[1].at("ids").size() == 3);
  for (Json& line : wanted) CHECK(line.erase("text") == 1);
  CHECK(generated(folder / "bare", folder / "b.jsonl", prompts, 2) == wanted);
  const auto refused = [&](const Words& words, int code, const std::string& reason) {
    const test::Ended ended =
        run_galapagos(1, test::generate_words(folder / "bare", folder / "r.jsonl", words));
    INFO(ended.errors);
    CHECK(ended.code == code);
    CHECK(ended.errors.find(reason) != std::string::npos);
    CHECK(!fs::exists(folder / "r.jsonl"));
  };
  Words stop = prompts;
  stop.insert(stop.end(), {"--stop", "a"});
  refused(stop, 2, "it writes no words");
  refused({"--prompts", write_prompts(folder / "s.jsonl", {{{"ids", {5}}, {"stop", "a"}}})}, 3,
          "it writes no words to stop at");

  // One that is not read is told of, and what needs it refused by what is wrong with it.
  fs::copy(folder / "bare", folder / "broken");
  test::write_text(folder / "broken/tokenizer.json", "{\"model\": {\"type\": \"Rune\"}}");
  const test::Ended told =
      run_galapagos(2, test::generate_words(folder / "broken", folder / "t.jsonl", prompts));
  INFO(told.errors);
  CHECK(told.code == 0);
  CHECK(test::count_lines(told.errors, "ids and no text") == 1);
  CHECK(test::lines_of(folder / "t.jsonl") == wanted);
  for (const Json& record : std::vector<Json>{{{"prompt", "A"}},
                                              {{"ids", {5}}, {"stop", "a"}},
                                              {{"messages", {{{"role", "user"}, {"content", "A"}}}}}}) {
    const test::Ended ended =
        run_galapagos(1, test::generate_words(folder / "broken", folder / "r.jsonl",
                                              {"--prompts", write_prompts(folder / "r1.jsonl", {record})}));
    INFO(ended.errors);
    CHECK(ended.code == 3);
    CHECK(ended.errors.find("tokenizer.json") != std::string::npos);
    CHECK(!fs::exists(folder / "r.jsonl"));
  }
}
