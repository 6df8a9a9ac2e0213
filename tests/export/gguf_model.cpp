#include "gguf_model.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>
#include <variant>

#include <galapagos/io/checkpoint.hpp>

namespace galapagos::test {
namespace {

namespace fs = std::filesystem;

using Rows = std::vector<float>;

/// Rows of heads whose elements (2 i, 2 i + 1) are turned together, so that (i, i + pairs) are.
Rows half_split(const Rows& values, std::int64_t rows, std::int64_t head_dim, std::int64_t pairs) {
  Rows result(values.size());
  const std::int64_t width = std::ssize(values) / rows;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t within = r % head_dim, head = r - within;
    const bool turned = within < 2 * pairs;
    const std::int64_t to = !turned ? r : head + within / 2 + (within % 2 == 0 ? 0 : pairs);
    std::copy_n(values.begin() + r * width, width, result.begin() + to * width);
  }
  return result;
}

std::string block_name(std::size_t layer, const std::string& module) {
  return fmt::format("blk.{}.{}", layer, module);
}

}  // namespace

GgufFile read_gguf(const fs::path& folder) {
  if (fs::exists(folder / "model.gguf")) return GgufFile(folder / "model.gguf");
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".gguf") paths.push_back(entry.path());
  std::ranges::sort(paths);
  GgufFile all(paths.front());
  REQUIRE(all.number("split.count") == std::ssize(paths));
  for (std::size_t f = 1; f < paths.size(); ++f) {
    GgufFile file(paths[f]);
    REQUIRE(file.number("split.no") == static_cast<std::int64_t>(f));
    all.tensors.merge(file.tensors);
  }
  CHECK(all.number("split.tensors.count") == std::ssize(all.tensors));
  return all;
}

Numbers of_layers(const GgufFile& file, const std::string& key, std::int64_t layers) {
  if (const auto* each = std::get_if<Numbers>(&file.metadata.at(key))) return *each;
  return Numbers(static_cast<std::size_t>(layers), file.number(key));
}

GgufModel::GgufModel(const GgufFile& file, HfConfig parent, const fs::path& output)
    : config(std::move(parent)),
      folder(output),
      architecture_(file.get<std::string>("general.architecture")) {
  const std::string& name = architecture_;
  const Numbers heads = of_layers(file, name + ".attention.head_count", config.layers),
                kv = of_layers(file, name + ".attention.head_count_kv", config.layers),
                columns = of_layers(file, name + ".feed_forward_length", config.layers);
  for (std::size_t l = 0; l < heads.size(); ++l) {
    CHECK((kv[l] == 0 ? heads[l] == 0 : heads[l] % kv[l] == 0));
    config.layer_shapes[l] = even_layer_shape(heads[l], kv[l], columns[l]);
    add_experts(file, l);
  }
  config.heads = std::max(config.heads, std::ranges::max(heads));
  config.kv_heads = std::max(config.kv_heads, std::ranges::max(kv));
  config.intermediate_size = std::max(config.intermediate_size, std::ranges::max(columns));
  for (const LayerShape& shape : config.layer_shapes)
    for (const std::int64_t width : shape.experts)
      config.mixture->expert_size = std::max(config.mixture->expert_size, width);
  if (config.mixture) check_mixture(file);
  fs::create_directories(folder);
  std::vector<TensorEntry> entries;
  for (const auto& [gguf_name, stored] : file.tensors) add(gguf_name, stored);
  for (const auto& [hf_name, tensor] : made_) {
    entries.push_back({hf_name, "F32", tensor.shape, std::as_bytes(std::span(tensor.values))});
  }
  write_safetensors(folder / "model.safetensors", entries);
}

void GgufModel::add(const std::string& name, const GgufFile::Stored& stored) {
  static const std::map<std::string, std::string> outside = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"}};
  static const std::map<std::string, std::string> inside = {
      {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
      {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  static const std::set<std::string> of_mixtures = {"ffn_gate_inp",   "ffn_gate_exps",  "ffn_up_exps",
                                                    "ffn_down_exps",  "ffn_gate_shexp", "ffn_up_shexp",
                                                    "ffn_down_shexp", "exp_probs_b"};
  if (name.starts_with("rope_")) return;
  if (const auto found = outside.find(name); found != outside.end()) {
    made_[found->second] = {stored.shape, stored.values};
    return;
  }
  REQUIRE(name.starts_with("blk."));
  const std::size_t dot = name.find('.', 4), last = name.rfind('.');
  const std::string layer = name.substr(4, dot - 4), module = name.substr(dot + 1, last - dot - 1),
                    kind = name.substr(last), prefix = "model.layers." + layer + ".";
  if (of_mixtures.contains(module)) return;
  if (module == "attn_qkv") return split_heads(prefix, std::stoul(layer), stored);
  const auto found = inside.find(module);
  REQUIRE(found != inside.end());
  Tensor tensor{stored.shape, stored.values};
  const bool interleaved = architecture_ == "deci" || architecture_ == "llama";
  if (interleaved && (module == "attn_q" || module == "attn_k"))
    tensor.values =
        half_split(tensor.values, stored.shape[0], config.head_dim, config.rope.pairs(config.head_dim));
  made_[prefix + found->second + kind] = std::move(tensor);
}

void GgufModel::split_heads(const std::string& prefix, std::size_t layer, const GgufFile::Stored& stored) {
  const LayerShape& shape = config.layer_shapes[layer];
  const std::int64_t width = stored.shape[1];
  auto from = stored.values.begin();
  const auto take = [&](const char* name, std::int64_t heads) {
    const std::int64_t rows = heads * config.head_dim;
    made_[prefix + name] = {{rows, width}, Rows(from, from + rows * width)};
    from += rows * width;
  };
  take("self_attn.q_proj.weight", shape.heads());
  take("self_attn.k_proj.weight", shape.kv_heads);
  take("self_attn.v_proj.weight", shape.kv_heads);
  CHECK(from == stored.values.end());
}

/// Experts that the file says are never chosen are left out.
void GgufModel::add_experts(const GgufFile& file, std::size_t layer) {
  const auto router = file.tensors.find(block_name(layer, "ffn_gate_inp.weight"));
  if (router == file.tensors.end()) return;
  const std::int64_t hidden = config.hidden_size,
                     width = file.number(architecture_ + ".expert_feed_forward_length");
  const std::int64_t stored = file.number(architecture_ + ".expert_count");
  CHECK(router->second.type == 0);
  CHECK(router->second.shape == Numbers{stored, hidden});
  std::int64_t experts = stored;
  if (const auto bias = file.tensors.find(block_name(layer, "exp_probs_b.bias"));
      bias != file.tensors.end()) {
    CHECK(architecture_ == "step35");
    REQUIRE(std::ssize(bias->second.values) == stored);
    experts = std::ranges::count(bias->second.values, 0.0f);
    for (std::int64_t e = experts; e < stored; ++e)
      CHECK(bias->second.values[static_cast<std::size_t>(e)] == -1e30f);
  }
  LayerShape& shape = config.layer_shapes[layer];
  shape.experts.assign(static_cast<std::size_t>(experts), width);
  shape.columns = experts * width;
  const std::string prefix = fmt::format("model.layers.{}.mlp.", layer);
  const auto slice = [&](const GgufFile::Stored& tensor, std::int64_t first, std::int64_t count) {
    return Rows(tensor.values.begin() + first, tensor.values.begin() + first + count);
  };
  made_[prefix + "gate.weight"] = {{experts, hidden}, slice(router->second, 0, experts * hidden)};
  for (const std::string part : {"gate", "up", "down"}) {
    const GgufFile::Stored& all = file.tensors.at(block_name(layer, "ffn_" + part + "_exps.weight"));
    const Numbers matrix = part == "down" ? Numbers{hidden, width} : Numbers{width, hidden};
    CHECK(all.shape == Numbers{stored, matrix[0], matrix[1]});
    for (std::int64_t e = 0; e < experts; ++e)
      made_[fmt::format("{}experts.{}.{}_proj.weight", prefix, e, part)] = {
          matrix, slice(all, e * hidden * width, hidden * width)};
    const Rows behind = slice(all, experts * hidden * width, (stored - experts) * hidden * width);
    CHECK(std::ranges::count(behind, 0.0f) == std::ssize(behind));
    if (architecture_ != "step35") continue;
    const Rows& shared = file.tensors.at(block_name(layer, "ffn_" + part + "_shexp.weight")).values;
    CHECK(std::ranges::count(shared, 0.0f) ==
          file.number("step35.expert_shared_feed_forward_length") * hidden);
  }
}

/// What is said of how tokens go to experts.
void GgufModel::check_mixture(const GgufFile& file) const {
  if (architecture_ == "step35") {
    CHECK(file.number("step35.expert_gating_func") == (config.mixture->renormalised ? 3 : 1));
    CHECK(file.number("step35.expert_weights_norm") == 0);
    CHECK(file.number("step35.attention.sliding_window") == config.longest_sequence());
    CHECK(file.number("step35.rope.dimension_count_swa") == config.head_dim);
    CHECK(file.get<double>("step35.rope.freq_base_swa") == file.get<double>("step35.rope.freq_base"));
    Numbers windows(static_cast<std::size_t>(config.layers), 0);
    windows.front() = 1;
    CHECK(file.get<Numbers>("step35.attention.sliding_window_pattern") == windows);
    CHECK(file.number("step35.rope.dimension_count") == 2 * config.head_dim);
  } else {
    CHECK(config.mixture->renormalised);
    CHECK(file.number(architecture_ + ".rope.dimension_count") == config.head_dim);
  }
  if (!file.metadata.contains(architecture_ + ".expert_count")) return;
  const std::int64_t chosen = file.number(architecture_ + ".expert_used_count");
  CHECK(chosen == std::min(config.mixture->experts_per_token, file.number(architecture_ + ".expert_count")));
  for (const LayerShape& shape : config.layer_shapes)
    CHECK((!shape.mixture() || std::ssize(shape.experts) >= chosen));
}

}  // namespace galapagos::test
