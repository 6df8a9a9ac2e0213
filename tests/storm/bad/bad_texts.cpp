#include "bad/bad_input.hpp"

#include <cstring>
#include <fmt/format.h>

namespace galapagos::storm {
namespace {

using Words = std::vector<std::string>;

Words collect(const char* file) {
  return {"sensitivity", "--model",           "@/model", "--calibration", file, "--calibration-tokens",
          "300",         "--sequence-length", "64",      "--threads",     "1",  "--output",
          "@/out.h5"};
}

std::function<void(const std::filesystem::path&)> edit_number(std::size_t at, std::uint64_t value,
                                                              std::size_t bytes) {
  return edit([=](std::string text) {
    return text.replace(at, bytes, reinterpret_cast<const char*>(&value), bytes);
  });
}

std::vector<BadInput> bad_documents() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what, const std::string& text) {
    all.push_back({"text.jsonl: " + what, "text.jsonl", put(text), collect("@/text.jsonl")});
  };
  const std::string good = "{\"text\": \"one two three four\"}\n";
  add("no JSON", good + "{\"text\": two}\n");
  add("no text", good + "{\"content\": \"x\"}\n");
  add("a number for the text", good + "{\"text\": 5}\n");
  add("null for the text", good + "{\"text\": null}\n");
  add("a list for a record", good + "[1, 2]\n");
  add("a number for a record", good + "7\n");
  add("half a record", good + "{\"text\": \"three");
  add("two records on a line", good + "{\"text\": \"a\"} {\"text\": \"b\"}\n");
  add("empty", "");
  add("blank lines", "\n\n\n");
  add("empty texts", "{\"text\": \"\"}\n{\"text\": \"\"}\n");
  add("too short", good);
  add("zeros", std::string(3000, '\0'));
  add("UTF-16", std::string("\xff\xfe{\0\"\0t\0", 8));
  add("not UTF-8", good + "{\"text\": \"" + std::string(200, '\xfe') + "\"}\n");
  add("half a gzip file", std::string("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10) + "abc");
  add("half a zstd file", std::string("\x28\xb5\x2f\xfd", 4) + "abc");
  add("messages that are no list", "{\"messages\": \"hello\"}\n");
  add("a message that is no object", "{\"messages\": [\"hello\"]}\n");
  add("a message without a role", "{\"messages\": [{\"content\": \"hello\"}]}\n");
  add("no messages", "{\"messages\": []}\n");
  add("nested deeply", "{\"text\": " + std::string(100000, '[') + "\n");
  add("half an escape", good + "{\"text\": \"\\ud8\"}\n");
  return all;
}

std::vector<BadInput> bad_token_files() {
  std::vector<BadInput> all;
  const auto index = [&](const std::string& what,
                         const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back({"t.idx: " + what, "t.idx", spoil, collect("@/t.bin")});
  };
  index("another magic", swap_text("MMIDIDX", "MMIDIDY"));
  index("version 2", edit_number(9, 2, 8));
  index("an unknown type", edit_number(17, 99, 1));
  index("more documents than there are", edit_number(18, 1 << 20, 8));
  index("2^62 documents", edit_number(18, std::uint64_t{1} << 62, 8));
  index("a document longer than the file", edit_number(34, 1 << 30, 4));
  index("a document of negative length", edit_number(34, 0xffffffff, 4));
  index("empty", put(""));
  for (const double share : {0.02, 0.5, 0.98}) index(fmt::format("cut at {}", share), cut(share));
  const auto tokens = [&](const std::string& what,
                          const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back({"t.bin: " + what, "t.bin", spoil, collect("@/t.bin")});
  };
  tokens("empty", put(""));
  tokens("an id beyond the vocabulary", edit_number(40, 60000, 2));
  for (const double share : {0.001, 0.5, 0.9999}) tokens(fmt::format("cut at {}", share), cut(share));
  return all;
}

std::vector<BadInput> bad_prompts() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what, const std::string& text) {
    all.push_back({"prompts.jsonl: " + what,
                   "prompts.jsonl",
                   put(text),
                   {"generate", "--model", "@/model", "--prompts", "@/prompts.jsonl", "--max-new-tokens", "4",
                    "--threads", "1", "--output", "@/out.jsonl"}});
  };
  add("empty", "");
  add("an unknown key", "{\"prompt\": \"a\", \"tempo\": 3}\n");
  add("a number for a prompt", "{\"prompt\": 5}\n");
  add("an id that is no number", "{\"ids\": [\"a\"]}\n");
  add("an id beyond the vocabulary", "{\"ids\": [100000]}\n");
  add("a negative id", "{\"ids\": [-1]}\n");
  add("no ids", "{\"ids\": []}\n");
  add("a negative number of tokens", "{\"prompt\": \"a\", \"max_new_tokens\": -5}\n");
  add("a word for a number of tokens", "{\"prompt\": \"a\", \"max_new_tokens\": \"many\"}\n");
  add("a number as stop", "{\"prompt\": \"a\", \"stop\": 3}\n");
  add("more than the context", "{\"prompt\": \"a\", \"max_new_tokens\": 1000000}\n");
  add("two prompts in one", "{\"prompt\": \"a\", \"text\": \"b\"}\n");
  add("no JSON", "prompt\n");
  return all;
}

}  // namespace

std::vector<BadInput> bad_texts() {
  std::vector<BadInput> all = bad_documents();
  for (auto* more : {&bad_token_files, &bad_prompts})
    for (BadInput& one : more()) all.push_back(std::move(one));
  return all;
}

}  // namespace galapagos::storm
