#include "bad/bad_input.hpp"

#include <fmt/format.h>

namespace galapagos::storm {

std::vector<BadInput> bad_tokenizers() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what,
                       const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back(
        {"tokenizer.json: " + what,
         "model/tokenizer.json",
         spoil,
         {"tokenize", "--tokenizer", "@/model", "--input", "@/text.jsonl", "--output", "@/out.bin"}});
  };
  const auto set = [&](const char* pointer, const char* value) {
    add(std::string(pointer) + " = " + value,
        edit_json([=](Json& json) { json[Json::json_pointer(pointer)] = Json::parse(value); }));
  };
  for (const char* type : {"\"WordPiece\"", "\"WordLevel\"", "\"unknown\"", "3", "null", "\"Unigram\""})
    set("/model/type", type);
  for (const char* vocab :
       {"null", "[]", "{}", "{\"a\": \"b\"}", "{\"a\": -1}", "{\"a\": 1.5}", "7", "{\"a\": 4294967296000}"})
    set("/model/vocab", vocab);
  for (const char* merges :
       {"null", "7", "[\"a\"]", "[[\"zz\", \"yy\"]]", "[[\"a\"]]", "[\"no-such no-thing\"]", "[5]", "{}"})
    set("/model/merges", merges);
  for (const char* steps :
       {"{\"type\":\"Unknown\"}", "{}", "5",
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\",\"invert\":false}",
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{9999999}\"},\"behavior\":\"Isolated\",\"invert\":"
        "false}",
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Strange\",\"invert\":false}",
        "{\"type\":\"Sequence\",\"pretokenizers\":3}", "{\"type\":\"Split\"}"})
    set("/pre_tokenizer", steps);
  for (const char* steps : {"{\"type\":\"Unknown\"}", "5", "{\"type\":\"Replace\"}",
                            "{\"type\":\"Sequence\",\"normalizers\":[{}]}"})
    set("/normalizer", steps);
  for (const char* tokens : {"5", "[5]", "[{}]", "[{\"id\":-1,\"content\":\"x\"}]",
                             "[{\"id\":\"1\",\"content\":\"x\"}]", "[{\"id\":1,\"content\":5}]"})
    set("/added_tokens", tokens);
  set("/model/dropout", "0.1");
  set("/model/unk_token", "\"not there\"");
  set("/model/byte_fallback", "\"yes\"");
  add("no model", edit_json([](Json& json) { json.erase("model"); }));
  add("no vocab", edit_json([](Json& json) { json["model"].erase("vocab"); }));
  add("no merges", edit_json([](Json& json) { json["model"].erase("merges"); }));
  add("two pieces of one id", edit_json([](Json& json) { json["model"]["vocab"]["!"] = 1; }));
  add("a list", put("[]"));
  add("empty", put(""));
  add("zeros", put(std::string(1000, '\0')));
  for (const double share : {0.01, 0.3, 0.6, 0.95, 0.999}) add(fmt::format("cut at {}", share), cut(share));
  return all;
}

}  // namespace galapagos::storm
