#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#include <galapagos/core/json.hpp>
#include <galapagos/io/safetensors.hpp>
#include <galapagos/tensor/dtype.hpp>

// The memory that `plan` foretells against that of the program itself, on a model large enough that the
// program's own memory is little beside it.
using namespace galapagos;

namespace {

constexpr std::int64_t hidden = 768, columns = 2048, layers = 4, heads = 12, kv_heads = 4, head_dim = 64,
                       vocabulary = 8192;

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

/// A model of about 75 MB in bf16 and 8192 tokens.
class LargeModel {
 public:
  LargeModel() {
    test::write_text(folder_ / "config.json",
                     R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
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
      add(at + "mlp.gate_proj.weight", {columns, hidden});
      add(at + "mlp.up_proj.weight", {columns, hidden});
      add(at + "mlp.down_proj.weight", {hidden, columns});
    }
    std::vector<TensorEntry> entries;
    for (const auto& [name, tensor] : tensors_)
      entries.push_back({name, "BF16", tensor.shape, std::as_bytes(std::span(tensor.words))});
    write_safetensors(folder_ / "model.safetensors", entries);
    tensors_.clear();
    write_tokens();
  }

  std::string path() const { return folder_.path().string(); }
  std::string file(const std::string& name) const { return (folder_ / name).string(); }

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
    test::write_text(folder_ / "tokens.bin", content);
  }

  test::TemporaryFolder folder_;
  std::map<std::string, Tensor> tensors_;
  Noise noise_;
};

/// Bytes that ranks have held at most: of their own, and shared; without pages of files.
struct Held {
  double own = 0;     ///< of the rank with the most
  double sum = 0;     ///< of all ranks
  double shared = 0;  ///< by the ranks
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

Held measure(int ranks, const std::vector<std::string>& words) {
  Watch watch;
  const test::Ended ended = test::run_galapagos(ranks, words, 300, [&] {
    watch.look();
    return false;
  });
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return watch.held();
}

/// The program on so many ranks, without what it is asked to do.
Held measure_idle(int ranks, const LargeModel& model) {
  return measure(ranks, {"info", model.path()});
}

Json plan(const LargeModel& model, std::vector<std::string> words, const std::string& ranks) {
  words.insert(words.begin(), {test::program(), "plan"});
  words.insert(words.end(), {"--model", model.path(), "--ranks", ranks, "--json"});
  const test::Ended ended = test::run_program(words);
  INFO(ended.errors);
  REQUIRE(ended.code == 0);
  return parse_json(ended.output, "plan");
}

/// Says both and checks that they agree within a factor.
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

double bytes(const Json& plan, const char* pointer) {
  return plan.at(Json::json_pointer(pointer)).get<double>();
}

}  // namespace

TEST_CASE("planned and measured memory", "[plan]") {
  const LargeModel model;
  const std::vector<std::string> sizes = {"--sequence-length",    "256", "--batch-tokens", "512",
                                          "--calibration-tokens", "1024"};
  const auto with = [](std::vector<std::string> words, const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const Held one = measure_idle(1, model), two = measure_idle(2, model);
  std::cout << "the program itself: " << one.own / (1 << 20) << " MiB, of two ranks " << two.own / (1 << 20)
            << " MiB\n";

  const std::vector<std::string> levels = {"--levels", "4"};
  const std::string database = model.file("x.h5");
  const std::vector<std::string> build = {
      "--model", model.path(), "--calibration", model.file("tokens.bin"), "--threads", "1"};
  {
    const Json json = plan(model, with(with({"database"}, sizes), levels), "1");
    const Held held = measure(1, with(with(with({"database", "--output", database}, build), sizes), levels));
    compare("database on 1 rank", bytes(json, "/database/memory/total"), held.own - one.own, 0.8, 1.2);
  }
  {
    const Json json = plan(model, with(with({"database"}, sizes), levels), "2");
    const Held held =
        measure(2, with(with(with({"database", "--output", model.file("y.h5")}, build), sizes), levels));
    compare("database, a rank of 2", bytes(json, "/database/memory/total"), held.own - two.own, 0.75, 1.25);
  }
  const std::vector<std::string> search = {"--target-level", "2",       "--generations",    "1",
                                           "--offspring",    "4",       "--survivors",      "2 1",
                                           "--tokens",       "256 512", "--compare-tokens", "512"};
  {
    const std::vector<std::string> home = {"--level-cache", "file"};
    const Json json =
        plan(model, with(with(with({"search", "--database", database}, sizes), search), home), "1");
    const Held held = measure(
        1, with(with(with(with({"search", "--database", database, "--output", model.file("run1")}, build),
                          sizes),
                     search),
                home));
    compare("search, levels in the file, 1 rank",
            bytes(json, "/search/memory/total") + bytes(json, "/search/memory/node_shared"),
            held.own - one.own + held.shared, 0.7, 1.25);
  }
  {
    const std::vector<std::string> home = {"--level-cache", "host"};
    const Json json = plan(model, with(with(with({"search"}, sizes), with(search, levels)), home), "2");
    const Held held = measure(
        2, with(with(with(with({"search", "--database", database, "--output", model.file("run2")}, build),
                          sizes),
                     search),
                home));
    compare("search, levels on the host, 2 ranks of a node",
            2 * bytes(json, "/search/memory/total") + bytes(json, "/search/memory/node_shared"),
            held.sum - two.sum + held.shared, 0.7, 1.25);
  }
  {
    const std::vector<std::string> data = {"--sequence-length", "256", "--batch-tokens", "512",
                                           "--tokens",          "1024"};
    const Json json = plan(model, with({"eval"}, data), "1");
    const Held held = measure(
        1,
        with({"eval", "--model", model.path(), "--data", model.file("tokens.bin"), "--threads", "1"}, data));
    compare("eval on 1 rank", bytes(json, "/eval/memory/total"), held.own - one.own, 0.8, 1.2);
  }
  const std::vector<std::string> training = {"--sequence-length", "256",  "--batch-tokens", "512",
                                             "--step-tokens",     "1024", "--tokens",       "2048"};
  const std::vector<std::string> taught = {"--model",   model.path(), "--data", model.file("tokens.bin"),
                                           "--threads", "1"};
  {
    const Json json = plan(model, with({"train"}, training), "1");
    const Held held = measure(1, with(with({"train", "--output", model.file("train1")}, taught), training));
    compare("train on 1 rank", bytes(json, "/train/memory/total"), held.own - one.own, 0.85, 1.15);
  }
  {
    const std::vector<std::string> reference = {"--recompute", "--reference", model.path()};
    const Json json = plan(model, with(with({"train"}, training), reference), "2");
    const Held held = measure(
        2, with(with(with({"train", "--output", model.file("train2")}, taught), training), reference));
    compare("distillation with --recompute, a rank of 2", bytes(json, "/train/memory/total"),
            held.own - two.own, 0.85, 1.15);
  }
}
