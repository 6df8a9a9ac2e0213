#include "measured_memory.hpp"

#include "support/catch.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <unistd.h>

#include <galapagos/io/safetensors.hpp>
#include <galapagos/tensor/dtype.hpp>

namespace galapagos::test {
namespace {

constexpr std::int64_t hidden = 768, columns = 2048, layers = 4, heads = 12, kv_heads = 4, head_dim = 64,
                       vocabulary = 8192, experts = 8;

/// Random numbers without a library's: any weights do, quickly.
class Noise {
 public:
  std::uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<std::uint32_t>(state_ >> 32);
  }

 private:
  std::uint64_t state_ = 88172645463325252ull;
};

constexpr const char* mixture_config =
    R"({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
  "hidden_act": "silu", "hidden_size": 768, "intermediate_size": 2048, "moe_intermediate_size": 256, "num_experts": 8,
  "num_experts_per_tok": 2, "norm_topk_prob": true, "num_hidden_layers": 4, "num_attention_heads": 12,
  "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 1024, "rms_norm_eps": 1e-06,
  "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 8192})";

/// Writes the model's files.
class Writer {
 public:
  Writer(const std::filesystem::path& folder, bool mixture) : folder_(folder), mixture_(mixture) {}

  void write() {
    write_text(folder_ / "config.json",
               mixture_
                   ? mixture_config
                   : R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
                         "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 4,
                         "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 64,
                         "max_position_embeddings": 1024, "rms_norm_eps": 1e-05, "tie_word_embeddings": false,
                         "torch_dtype": "bfloat16", "vocab_size": 8192})");
    add("model.embed_tokens.weight", {vocabulary, hidden});
    add("lm_head.weight", {vocabulary, hidden});
    add("model.norm.weight", {hidden});
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      const std::string at = "model.layers." + std::to_string(layer) + ".";
      add(at + "input_layernorm.weight", {hidden});
      add(at + "post_attention_layernorm.weight", {hidden});
      add(at + "self_attn.q_proj.weight", {heads * head_dim, hidden});
      add(at + "self_attn.k_proj.weight", {kv_heads * head_dim, hidden});
      add(at + "self_attn.v_proj.weight", {kv_heads * head_dim, hidden});
      add(at + "self_attn.o_proj.weight", {hidden, heads * head_dim});
      if (mixture_) add(at + "mlp.gate.weight", {experts, hidden});
      for (std::int64_t expert = 0; expert < (mixture_ ? experts : 1); ++expert) {
        const std::string part = mixture_ ? at + "mlp.experts." + std::to_string(expert) + "." : at + "mlp.";
        const std::int64_t width = mixture_ ? columns / experts : columns;
        add(part + "gate_proj.weight", {width, hidden});
        add(part + "up_proj.weight", {width, hidden});
        add(part + "down_proj.weight", {hidden, width});
      }
      if (!mixture_) continue;
      add(at + "self_attn.q_norm.weight", {head_dim});
      add(at + "self_attn.k_norm.weight", {head_dim});
    }
    std::vector<TensorEntry> entries;
    for (const auto& [name, tensor] : tensors_)
      entries.push_back({name, "BF16", tensor.shape, std::as_bytes(std::span(tensor.words))});
    write_safetensors(folder_ / "model.safetensors", entries);
    tensors_.clear();
    write_tokens();
  }

 private:
  struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<std::uint16_t> words;
  };

  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t elements = 1;
    for (const std::int64_t extent : shape) elements *= static_cast<std::size_t>(extent);
    std::vector<std::uint16_t> words(elements);
    for (std::uint16_t& word : words) {
      const float value = static_cast<float>(noise_.next()) / 4294967296.0f - 0.5f;
      word = to_bfloat16(shape.size() == 1 ? 1.0f : 0.1f * value).bits;
    }
    tensors_[name] = {std::move(shape), std::move(words)};
  }

  void write_tokens() {
    constexpr std::int32_t count = 8192;
    std::vector<std::int32_t> header(256);  // of an llm.c file
    header[0] = 20240520;
    header[1] = 1;
    header[2] = count;
    std::vector<std::uint16_t> ids(count);
    for (std::uint16_t& id : ids) id = static_cast<std::uint16_t>(noise_.next() % vocabulary);
    std::string content(reinterpret_cast<const char*>(header.data()), 4 * header.size());
    content.append(reinterpret_cast<const char*>(ids.data()), 2 * ids.size());
    write_text(folder_ / "tokens.bin", content);
  }

  std::filesystem::path folder_;
  bool mixture_;
  std::map<std::string, Tensor> tensors_;
  Noise noise_;
};

/// Watches the descendants of this process that are the program.
class Watch {
 public:
  void look() {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_) return;
    next_ = now + std::chrono::milliseconds(4);
    for (const pid_t child : children_of(::getpid())) look_at(child);
  }
  Held held() const {
    Held most;
    for (const auto& [process, bytes] : own_) {
      most.own = std::max(most.own, bytes);
      most.sum += bytes;
    }
    most.shared = shared_;
    return most;
  }

 private:
  static std::vector<pid_t> children_of(pid_t process) {
    std::vector<pid_t> children;
    const std::string id = std::to_string(process);
    std::ifstream file("/proc/" + id + "/task/" + id + "/children");
    for (pid_t child = 0; file >> child;) children.push_back(child);
    return children;
  }

  void look_at(pid_t process) {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    bool program = false;
    double own = 0, shared = 0;
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("Name:")) program = line.find("galapagos") != std::string::npos;
      if (line.starts_with("RssAnon:")) own = 1024 * std::stod(line.substr(8));
      if (line.starts_with("RssShmem:")) shared = 1024 * std::stod(line.substr(9));
    }
    if (program) {
      own_[process] = std::max(own_[process], own);
      shared_ = std::max(shared_, shared);
    }
    for (const pid_t child : children_of(process)) look_at(child);
  }

  std::chrono::steady_clock::time_point next_;
  std::map<pid_t, double> own_;
  double shared_ = 0;
};

/// "tensors of a rank: at most 12.3 MiB in host memory".
double tensors_of(const std::string& log) {
  const std::string said = "tensors of a rank: at most ";
  const std::size_t at = log.rfind(said);
  if (at == std::string::npos) return 0;
  std::istringstream words(log.substr(at + said.size()));
  double count = 0;
  std::string unit;
  words >> count >> unit;
  return count * static_cast<double>(unit == "GiB" ? 1 << 30 : unit == "MiB" ? 1 << 20 : 1 << 10);
}

}  // namespace

LargeModel::LargeModel(bool mixture) {
  Writer(folder_.path(), mixture).write();
}

Words joined(const std::vector<Words>& parts) {
  Words all;
  for (const Words& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Held measure(int ranks, const Words& words) {
  Watch watch;
  const Ended ended = run_galapagos(ranks, words, 300, [&] {
    watch.look();
    return false;
  });
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  Held held = watch.held();
  held.tensors = tensors_of(ended.errors);
  return held;
}

Held measure_idle(int ranks, const LargeModel& model) {
  return measure(ranks, {"info", model.path()});
}

Json plan(const LargeModel& model, const Words& words, int ranks) {
  const Ended ended = run_program(joined(
      {{program(), "plan"}, words, {"--model", model.path(), "--ranks", std::to_string(ranks), "--json"}}));
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return parse_json(ended.output, "plan");
}

void compare(const std::string& what, double planned, double measured, double low,
             [[maybe_unused]] double high) {
  constexpr double mebibyte = 1 << 20;
  std::cout << what << ": planned " << planned / mebibyte << " MiB, measured " << measured / mebibyte
            << " MiB, measured / planned " << measured / planned << '\n';
  CHECK(measured / planned > low);
#ifdef __SANITIZE_ADDRESS__
  WARN("not compared with the plan: the address sanitizer keeps freed memory and shadows all of it");
#else
  CHECK(measured / planned < high);
#endif
}

void compare_tensors(const std::string& what, double planned, const Held& held, double low) {
  constexpr double rounding = 0.01;  // of what the program says
  std::cout << what << ", tensors: measured / planned " << held.tensors / planned << '\n';
  CHECK(held.tensors / planned > low);
  CHECK(held.tensors / planned < 1 + rounding);
}

double bytes(const Json& plan, const char* pointer) {
  return plan.at(Json::json_pointer(pointer)).get<double>();
}

}  // namespace galapagos::test
