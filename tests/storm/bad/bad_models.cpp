#include "bad/bad_input.hpp"

#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <map>

namespace galapagos::storm {
namespace {

using Words = std::vector<std::string>;

const Words use_model = {"eval",     "--model", "@/model",   "--data", "@/text.jsonl",
                         "--tokens", "300",     "--threads", "1"};

/// Values as they stand in the file.
const std::map<std::string, Words> wrong_values = {
    {"hidden_size",
     {"-64", "0", "63.5", "\"64\"", "1e30", "65", "128", "null", "[64]", "1000000000000000000"}},
    {"num_hidden_layers", {"0", "-4", "\"four\"", "5", "1000000000", "null", "{}"}},
    {"num_attention_heads", {"0", "7", "-8", "16", "4", "null", "1e400"}},
    {"num_key_value_heads", {"0", "3", "16", "-4", "\"4\"", "2"}},
    {"head_dim", {"0", "15", "32", "\"x\"", "-16", "8"}},
    {"intermediate_size", {"-176", "177", "88", "{}", "\"176\"", "9223372036854775807"}},
    {"vocab_size", {"0", "767", "769", "-1", "\"many\"", "1000000000000"}},
    {"model_type", {"\"gpt2\"", "5", "\"\"", "null", "\"llama\\u0000\"", "[\"llama\"]"}},
    {"rms_norm_eps", {"-1", "\"tiny\"", "NaN", "1e999", "null"}},
    {"rope_theta", {"0", "-1", "\"big\"", "Infinity"}},
    {"rope_scaling",
     {"{\"rope_type\":\"unknown\",\"factor\":8}", "{\"rope_type\":\"llama3\"}", "[]", "8",
      "{\"rope_type\":\"linear\",\"factor\":-1}", "{\"rope_type\":\"yarn\",\"factor\":\"x\"}"}},
    {"hidden_act", {"\"relu\"", "7", "null"}},
    {"tie_word_embeddings", {"\"yes\"", "2"}},
    {"max_position_embeddings", {"0", "-512", "\"512\""}},
};

std::vector<BadInput> bad_configs() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what,
                       const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back({"config.json: " + what, "model/config.json", spoil, use_model});
  };
  for (const auto& [key, values] : wrong_values) {
    for (const std::string& value : values) {
      add(key + " = " + value, edit([key = key, value](const std::string& text) {
            Json json = Json::parse(text);
            json[key] = "@value";
            std::string spoilt = json.dump();
            return spoilt.replace(spoilt.find("\"@value\""), std::strlen("\"@value\""), value);
          }));
    }
    add("no " + key, edit_json([key = key](Json& json) { json.erase(key); }));
  }
  add("empty", put(""));
  add("an open brace", put("{"));
  add("a list", put("[]"));
  add("null", put("null"));
  add("zeros", put(std::string(500, '\0')));
  add("no JSON", put("hidden_size = 64\n"));
  add("nested deeply", put(std::string(100000, '[')));
  add("not UTF-8", swap_text("LlamaForCausalLM", "Llama\xff\xfe"));
  for (const double share : {0.2, 0.5, 0.9, 0.99}) add(fmt::format("cut at {}", share), cut(share));
  return all;
}

std::uint64_t header_size(const std::string& bytes) {
  std::uint64_t size = 0;
  for (std::size_t i = 0; i < sizeof size; ++i)
    size |= std::uint64_t{static_cast<unsigned char>(bytes.at(i))} << (8 * i);
  return size;
}

/// The bytes of a safetensors file whose header is another.
std::string with_header(const std::string& bytes, const std::string& header) {
  const std::uint64_t size = header.size();
  std::string all(reinterpret_cast<const char*>(&size), sizeof size);
  return all + header + bytes.substr(8 + header_size(bytes));
}

std::function<void(const std::filesystem::path&)> edit_header(const std::function<void(Json& json)>& change) {
  return edit([=](const std::string& bytes) {
    Json json = Json::parse(bytes.substr(8, header_size(bytes)));
    change(json);
    return with_header(bytes, json.dump());
  });
}

std::function<void(const std::filesystem::path&)> edit_size(std::uint64_t size) {
  return edit([=](std::string bytes) {
    return bytes.replace(0, sizeof size, reinterpret_cast<const char*>(&size), sizeof size);
  });
}

constexpr const char* query = "model.layers.1.self_attn.q_proj.weight";
constexpr const char* down = "model.layers.2.mlp.down_proj.weight";

/// A bf16 word in the middle of a tensor.
std::function<void(const std::filesystem::path&)> edit_weight(std::uint16_t word) {
  return edit([=](const std::string& bytes) {
    const Json json = Json::parse(bytes.substr(8, header_size(bytes)));
    const auto begin = json.at(down).at("data_offsets").at(0).get<std::size_t>();
    std::string spoilt = bytes;
    return spoilt.replace(8 + header_size(bytes) + begin + 2000, 2, reinterpret_cast<const char*>(&word), 2);
  });
}

std::vector<BadInput> bad_tensors() {
  std::vector<BadInput> all;
  const auto add = [&](const std::string& what,
                       const std::function<void(const std::filesystem::path&)>& spoil) {
    all.push_back({"model.safetensors: " + what, "model/model.safetensors", spoil, use_model});
  };
  const auto change = [&](const std::string& what, const std::function<void(Json & tensor)>& changed) {
    add(what, edit_header([=](Json& json) { changed(json[query]); }));
  };
  const auto set = [&](const char* key, const std::string& value) {
    change(std::string(key) + " = " + value, [=](Json& tensor) { tensor[key] = Json::parse(value); });
  };
  for (const char* dtype : {"\"Q4\"", "\"F64\"", "\"I8\"", "\"F32\"", "7", "null", "\"bf16\""})
    set("dtype", dtype);
  for (const char* shape : {"[64,128]", "[-128,64]", "[128]", "[128,64,1]", "[]", "\"128x64\"", "[0,64]",
                            "[4294967296,4294967296]", "[127,64]", "[128,64.5]", "null"})
    set("shape", shape);
  for (const char* place : {"[10,0]", "[0,1]", "[0,999999999999]", "[-5,16379]", "[0]", "[0,16384,3]",
                            "\"0\"", "null", "{}", "[18446744073709551615,18446744073709551615]"})
    set("data_offsets", place);
  for (const char* key : {"dtype", "shape", "data_offsets"})
    change(std::string("no ") + key, [=](Json& tensor) { tensor.erase(key); });
  change("a number for a tensor", [](Json& tensor) { tensor = 5; });
  change("a list for a tensor", [](Json& tensor) { tensor = Json::array(); });
  for (const char* name : {query, down, "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
                           "model.layers.0.input_layernorm.weight", "model.layers.3.mlp.gate_proj.weight"}) {
    add(std::string("no ") + name, edit_header([=](Json& json) { json.erase(name); }));
    add(std::string("another name for ") + name, edit_header([=](Json& json) {
          json[std::string("x.") + name] = json[name];
          json.erase(name);
        }));
  }
  add("two tensors share their bytes", edit_header([](Json& json) {
        json["model.layers.0.self_attn.q_proj.weight"]["data_offsets"] = json[query]["data_offsets"];
      }));
  add("shapes of gate and down are changed", edit_header([](Json& json) {
        std::swap(json[down]["shape"], json["model.layers.2.mlp.gate_proj.weight"]["shape"]);
      }));
  add("a number as __metadata__", edit_header([](Json& json) { json["__metadata__"] = 3; }));
  add("a tensor twice", edit([](const std::string& bytes) {
        std::string header = bytes.substr(8, header_size(bytes));
        const std::size_t name = header.find("model.layers.0.self_attn.q_proj.weight");
        header.replace(name, std::strlen("model.layers.0.self_attn.q_proj.weight"), query);
        return with_header(bytes, header);
      }));
  add("NaN in a weight", edit_weight(0x7fc0));
  add("infinity in a weight", edit_weight(0x7f80));
  add("a header of no length", edit_size(0));
  add("a header longer than the file", edit_size(std::uint64_t{1} << 30));
  add("a header of 2^63 bytes", edit_size(std::uint64_t{1} << 63));
  add("a header that ends too early", edit_size(100));
  add("a header of two more bytes", edit_size(4050));
  add("empty", put(""));
  add("seven bytes", put("1234567"));
  add("zeros", put(std::string(10000, '\0')));
  add("a header that is no JSON",
      edit([](const std::string& bytes) { return with_header(bytes, "tensors"); }));
  add("a header that is a list", edit([](const std::string& bytes) { return with_header(bytes, "[]"); }));
  add("an empty header", edit([](const std::string& bytes) { return with_header(bytes, "{}"); }));
  add("a text", put("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 668000\n"));
  for (const double share : {0.001, 0.005, 0.3, 0.7, 0.99, 0.99999})
    add(fmt::format("cut at {}", share), cut(share));
  add("bytes behind the last tensor", edit([](const std::string& bytes) { return bytes + "more"; }));
  return all;
}

}  // namespace

std::vector<BadInput> bad_models() {
  std::vector<BadInput> all = bad_configs();
  for (BadInput& one : bad_tensors()) all.push_back(std::move(one));
  return all;
}

}  // namespace galapagos::storm
