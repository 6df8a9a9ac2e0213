// What a candidate of half the size costs beside the dense model on one GPU, its output and the comparison
// with the dense model included, and what it costs to switch to it, on layers of the shapes of Llama-2-7B and
// Qwen2.5-14B with random weights. Without a GPU it goes through toy shapes on the CPU, only to see that it
// runs.
#include "measuring.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <string>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/model/forward.hpp>
#include <galapagos/model/logit_losses.hpp>
#include <galapagos/ops/linear.hpp>
#include <galapagos/ops/transfer.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/ops/tuning.hpp>
#include <galapagos/pruning/pruned_module.hpp>
#include <galapagos/search/draw_answers.hpp>
#include <galapagos/search/replica.hpp>
#include <galapagos/tensor/gpu.hpp>
#include <galapagos/tensor/page_lock.hpp>

using namespace galapagos;

namespace {

struct Sizes {
  std::int64_t tokens, batch, sequence;
};

struct Model {
  std::string name;
  HfConfig config;  // of the layers that are measured
  std::int64_t layers;
};

Model model_of(const std::string& name, std::int64_t hidden, std::int64_t columns, std::int64_t heads,
               std::int64_t kv_heads, std::int64_t head_dim, std::int64_t vocabulary, std::int64_t layers,
               bool bias) {
  constexpr std::int64_t measured = 4;
  HfConfig config;
  config.model_type = bias ? "qwen2" : "llama";
  config.hidden_size = hidden;
  config.intermediate_size = columns;
  config.layers = measured;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = head_dim;
  config.vocab_size = vocabulary;
  config.max_position_embeddings = 4096;
  config.rms_norm_eps = 1e-5;
  config.rope.theta = 1e4;
  config.features.qkv_bias = bias;
  config.layer_shapes.assign(static_cast<std::size_t>(measured), even_layer_shape(heads, kv_heads, columns));
  return {name, config, layers};
}

/// The same few values over and over: gigabytes would take the host longer than everything else.
void repeat_over(std::span<std::byte> all, std::span<const std::byte> some) {
  for (std::size_t at = 0; at < all.size(); at += some.size())
    std::memcpy(all.data() + at, some.data(), std::min(some.size(), all.size() - at));
}

class Bench {
 public:
  Bench(const ops::Context& context, const Model& model, const Sizes& sizes)
      : context_(context), model_(model), config_(model.config), sizes_(sizes) {
    const std::int64_t hidden = config_.hidden_size, vocabulary = config_.vocab_size;
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) dense_.push_back(layer_of_random());
    head_.norm = tensor({hidden}, DType::bf16, 1);
    head_.head = tensor({vocabulary, hidden}, DType::bf16, 0.02f);
    hidden_ = tensor({sizes.tokens, hidden}, DType::f32, 1);
    for (std::int64_t i = 0; i < sizes.tokens; ++i) {
      pool_.tokens.push_back(static_cast<std::int32_t>(i % vocabulary));
      if ((i + 1) % sizes.sequence == 0) pool_.offsets.push_back(pool_.tokens.size());
    }
    draw_ = draw_tokens(pool_, sizes.tokens, RandomStream(1, {0, 0, 0, 0}));
    answers_ = host_memory(static_cast<std::size_t>(sizes.tokens * hidden), DType::f32, 1);
    fmt::print("{}, {} of {} layers, vocabulary {}, {} tokens in batches of {}\n", model.name, config_.layers,
               model.layers, vocabulary, sizes.tokens, sizes.batch);
  }

  void measure_all() {
    const std::int64_t half = config_.intermediate_size / 2;
    const std::vector<LayerWeights> candidate = half_layers(half);
    const double dense = layers_seconds(dense_), pruned = layers_seconds(candidate);
    line("dense layers", dense, fmt::format("{:.3f} ms a layer", 1e3 * dense / count()));
    line("half of heads and columns", pruned, fmt::format("{:.3f} of the dense layers", pruned / dense));
    {
      const std::vector<LayerWeights> odd = half_layers(half - 1);
      const double seconds = layers_seconds(odd);
      line(fmt::format("the same, {} columns", half - 1), seconds,
           fmt::format("{:.3f} of {} columns", seconds / pruned, half));
    }
    measure_parts(candidate.front(), dense / count(), pruned / count());
    std::int64_t tile = ops::logit_tile(Device::cuda);
    double kept = 0, made = 0;
    for (const std::int64_t rows :
         {std::int64_t{128}, std::int64_t{512}, std::int64_t{1024}, std::int64_t{2048}}) {
      const double anew = compare_seconds(rows, false), again = compare_seconds(rows, true);
      line(fmt::format("output and KL, tiles of {}", rows), again,
           fmt::format("{:.3f} ms where the dense logits are made, too", 1e3 * anew));
      if (rows <= tile) {
        kept = again;
        made = anew;
      }
    }
    const double scale = static_cast<double>(model_.layers) / count();
    const double all_dense = scale * dense, all_pruned = scale * pruned;
    fmt::print(
        "  {} layers: half-size / dense {:.3f} with dense logits that are kept, {:.3f} made for each "
        "candidate (goal 0.55); output and KL are {:.1f} % of the dense model's time\n",
        model_.layers, (all_pruned + kept) / (all_dense + kept), (all_pruned + made) / (all_dense + made),
        100 * kept / (all_dense + kept));
    measure_answers();
    measure_switches(half);
  }

 private:
  double count() const { return static_cast<double>(config_.layers); }

  static void line(const std::string& name, double seconds, const std::string& rest) {
    fmt::print("  {:<44} {:9.3f} ms   {}\n", name, seconds * 1e3, rest);
  }

  double seconds_of(const std::function<void()>& work, int runs = 5) const {
    return bench::median_seconds(context_.device(), work, runs);
  }

  OwnedTensor host_memory(std::size_t values, DType type, float scale) const {
    static const std::vector<float> some = bench::random_values((1 << 20) + 7, 1, 1);
    std::vector<float> scaled = some;
    for (float& value : scaled) value *= scale;
    std::vector<std::byte> words(scaled.size() * size_of(type));
    convert_from_float(scaled, type, words.data());
    OwnedTensor memory({static_cast<std::int64_t>(values)}, type, Device::cpu, "benchmark");
    repeat_over({memory->data, memory->bytes()}, words);
    return memory;
  }

  OwnedTensor tensor(Shape shape, DType type, float scale) const {
    const OwnedTensor host = host_memory(static_cast<std::size_t>(shape.elements()), type, scale);
    OwnedTensor there(shape, type, context_.device(), "benchmark");
    ops::upload(context_, {host->data, host->bytes()}, there);
    return there;
  }

  LayerWeights layer_of_random() const {
    const std::int64_t hidden = config_.hidden_size, columns = config_.intermediate_size;
    const std::int64_t q = config_.heads * config_.head_dim, kv = config_.kv_heads * config_.head_dim;
    const auto matrix = [&](std::int64_t rows, std::int64_t width) {
      return tensor({rows, width}, DType::bf16, 0.02f);
    };
    LayerWeights layer;
    AttentionWeights& attention = layer.attention;
    attention.kv_heads = config_.kv_heads;
    attention.kv_of_head = config_.shape(0).kv_of_head;
    attention.norm = tensor({hidden}, DType::bf16, 1);
    attention.q = matrix(q, hidden);
    attention.k = matrix(kv, hidden);
    attention.v = matrix(kv, hidden);
    attention.o = matrix(hidden, q);
    if (config_.features.qkv_bias) {
      attention.q_bias = tensor({q}, DType::bf16, 0.1f);
      attention.k_bias = tensor({kv}, DType::bf16, 0.1f);
      attention.v_bias = tensor({kv}, DType::bf16, 0.1f);
    }
    layer.ffn.columns = columns;
    layer.ffn.norm = tensor({hidden}, DType::bf16, 1);
    layer.ffn.gate = matrix(columns, hidden);
    layer.ffn.up = matrix(columns, hidden);
    layer.ffn.down = matrix(hidden, columns);
    return layer;
  }

  /// Columns of every other head, so that no KV head goes where several share it.
  std::vector<std::int64_t> half_of_heads() const {
    std::vector<std::int64_t> heads;
    for (std::int64_t head = 0; head < config_.heads; head += 2) heads.push_back(head);
    return rows_of_blocks(heads, config_.head_dim);
  }
  /// `count` columns, every other one.
  static std::vector<std::int64_t> columns_of(std::int64_t count) {
    std::vector<std::int64_t> kept;
    for (std::int64_t i = 0; i < count; ++i) kept.push_back(2 * i);
    return kept;
  }

  /// As ModuleCache does it: the level's words from the host, the rest from the dense weights.
  AttentionWeights half_attention(const LayerWeights& layer, std::span<const std::byte> words,
                                  DType stored) const {
    const std::vector<std::int64_t> kept = half_of_heads();
    const auto width = static_cast<std::int64_t>(kept.size());
    return prune_attention(context_, layer.attention, config_.head_dim, kept,
                           level_weight(context_, first_of(words, width, stored), stored, DType::bf16, width,
                                        width, config_.hidden_size));
  }
  FfnWeights half_ffn(const LayerWeights& layer, std::span<const std::byte> words, DType stored,
                      std::int64_t columns) const {
    return prune_ffn(context_, layer.ffn, columns_of(columns),
                     level_weight(context_, first_of(words, columns, stored), stored, DType::bf16, columns,
                                  columns, config_.hidden_size));
  }
  std::span<const std::byte> first_of(std::span<const std::byte> words, std::int64_t rows,
                                      DType stored) const {
    return words.first(static_cast<std::size_t>(rows * config_.hidden_size) * size_of(stored));
  }
  OwnedTensor level_words(DType stored) const {
    const std::int64_t rows =
        std::max(config_.intermediate_size / 2, (config_.heads + 1) / 2 * config_.head_dim);
    return host_memory(static_cast<std::size_t>(rows * config_.hidden_size), stored, 0.02f);
  }

  std::vector<LayerWeights> half_layers(std::int64_t columns) const {
    const OwnedTensor memory = level_words(DType::bf16);
    const std::span<const std::byte> words(memory->data, memory->bytes());
    std::vector<LayerWeights> layers;
    for (const LayerWeights& layer : dense_) {
      LayerWeights pruned;
      pruned.attention = half_attention(layer, words, DType::bf16);
      pruned.ffn = half_ffn(layer, words, DType::bf16, columns);
      layers.push_back(std::move(pruned));
    }
    synchronise(context_.device());
    return layers;
  }

  double layers_seconds(const std::vector<LayerWeights>& layers) {
    LayerForward forward(context_, config_, std::max(sizes_.batch, sizes_.sequence));
    const std::vector<Batch> batches = make_batches(draw_.tokens, draw_.offsets, sizes_.batch);
    return seconds_of([&] {
      for (const Batch& batch : batches) {
        const Tensor rows = hidden_->slice(batch.tokens.data() - draw_.tokens.data(),
                                           static_cast<std::int64_t>(batch.tokens.size()));
        for (const LayerWeights& layer : layers) forward.run(layer, batch.offsets, rows);
      }
    });
  }

  /// Where the time of a layer goes, of the dense one and of the candidate's: products, attention, the rest.
  void measure_parts(const LayerWeights& half, double dense_layer, double half_layer) {
    const std::vector<Batch> batches = make_batches(draw_.tokens, draw_.offsets, sizes_.batch);
    const auto for_batches = [&](const auto& work) {
      return seconds_of([&] {
        for (const Batch& batch : batches) work(batch, static_cast<std::int64_t>(batch.tokens.size()));
      });
    };
    const OwnedTensor normed = tensor({sizes_.batch, config_.hidden_size}, context_.activations(), 1);
    const auto product = [&](const Tensor& weight) {  // of the norm's output
      const OwnedTensor y({sizes_.batch, weight.rows()}, context_.activations(), context_.device(),
                          "benchmark");
      return for_batches([&](const Batch&, std::int64_t rows) {
        ops::linear(context_, normed->slice(0, rows), weight, nullptr, y->slice(0, rows));
      });
    };
    const auto sum = [&](const Tensor& weight) {  // to the hidden states
      const OwnedTensor x = tensor({sizes_.batch, weight.columns()}, context_.activations(), 1);
      return for_batches([&](const Batch&, std::int64_t rows) {
        ops::linear(context_, x->slice(0, rows), weight, nullptr, hidden_->slice(0, rows), true);
      });
    };
    const auto mixing = [&](const AttentionWeights& weights) {
      const std::int64_t q_width = weights.heads() * config_.head_dim;
      const OwnedTensor q = tensor({sizes_.batch, q_width}, context_.activations(), 1),
                        k = tensor({sizes_.batch, weights.kv_heads * config_.head_dim},
                                   context_.activations(), 1),
                        out = tensor({sizes_.batch, q_width}, context_.activations(), 1);
      return for_batches([&](const Batch& batch, std::int64_t rows) {
        ops::attention(context_, q->slice(0, rows), k->slice(0, rows), k->slice(0, rows), config_.head_dim,
                       weights.kv_of_head, batch.offsets, out->slice(0, rows), {});
      });
    };
    double dense_rest = dense_layer, half_rest = half_layer;
    const auto part = [&](const std::string& name, double whole, double pruned) {
      dense_rest -= whole;
      half_rest -= pruned;
      line("  " + name, whole, fmt::format("half {:.3f} ms, {:.3f} of it", 1e3 * pruned, pruned / whole));
    };
    const AttentionWeights &a = dense_.front().attention, &b = half.attention;
    const FfnWeights &f = dense_.front().ffn, &g = half.ffn;
    part("a layer's q", product(a.q), product(b.q));
    part("k and v", product(a.k) + product(a.v), product(b.k) + product(b.v));
    part("attention", mixing(a), mixing(b));
    part("o", sum(a.o), sum(b.o));
    part("gate and up", product(f.gate) + product(f.up), product(g.gate) + product(g.up));
    part("down", sum(f.down), sum(g.down));
    part("all else: norms, rotation, gating", dense_rest, half_rest);
  }

  DenseAnswers answers() const { return answers_->float_span(); }

  /// As Replica::compare does it with one candidate, the answers being there already.
  double compare_seconds(std::int64_t wanted, bool kept) {
    const std::int64_t tokens = sizes_.tokens, tile = std::min(tokens, wanted), width = config_.vocab_size;
    const auto kept_bytes = static_cast<std::uint64_t>(kept ? tokens * width : 0) * sizeof(float);
    DrawAnswers dense(context_, config_, head_, kept_bytes);
    dense.take(answers(), pool_, draw_);
    const OwnedTensor logits({tile, width}, DType::f32, context_.device(), "benchmark");
    const OwnedTensor states = copy_of(hidden_, context_.device(), "benchmark");
    LogitLosses losses(context_, alone(), tile, width, true);
    const Buffer found(static_cast<std::size_t>(tokens) * sizeof(double), context_.device(), "benchmark");
    const ops::RowValues all(reinterpret_cast<double*>(found.data()), tokens, found.device());
    std::vector<double> values(static_cast<std::size_t>(tokens));
    return seconds_of(
        [&] {
          for (std::int64_t first = 0; first < tokens; first += tile) {
            const std::int64_t rows = std::min(tile, tokens - first);
            const Tensor other = logits->slice(0, rows);
            losses.take_reference(dense.logits(first, rows, losses.reference(rows)));
            compute_logits(context_, config_, head_, states->slice(first, rows), other);
            losses.divergence(other, all.part(first, rows));
          }
          ops::download(context_, all, values);
        },
        3);
  }

  void measure_answers() {
    const auto bring = [&] {
      DrawAnswers fresh(context_, config_, head_, 0);
      fresh.take(answers(), pool_, draw_);
    };
    const double pageable = seconds_of(bring);
    const Stopwatch watch;
    const PageLock lock({answers_->data, answers_->bytes()}, context_.device(), "the benchmark's answers");
    const double locking = watch.seconds();
    line(fmt::format("dense answers of a draw, {} MB, page-locked", answers_->bytes() / 1000000),
         seconds_of(bring),
         fmt::format("{:.3f} ms through pinned buffers; locking took {:.1f} ms", 1e3 * pageable,
                     1e3 * locking));
  }

  void measure_switches(std::int64_t columns) {
    for (const DType stored : {DType::bf16, DType::f16}) {
      const OwnedTensor memory = level_words(stored);
      const std::span<std::byte> words(memory->data, memory->bytes());
      const auto ffn = [&] { half_ffn(dense_[0], words, stored, columns); };
      const auto all = [&] {
        for (const LayerWeights& layer : dense_) {
          half_attention(layer, words, stored);
          half_ffn(layer, words, stored, columns);
        }
      };
      const double ffn_pageable = seconds_of(ffn), all_pageable = seconds_of(all);
      const PageLock lock(words, context_.device(), "the benchmark's levels");
      const std::string name = stored == DType::bf16 ? "" : ", stored in fp16";
      line("switch of one ffn module" + name, seconds_of(ffn),
           fmt::format("{:.3f} ms through pinned buffers (goal 10)", 1e3 * ffn_pageable));
      line(fmt::format("switch of all of {} layers{}", config_.layers, name), seconds_of(all),
           fmt::format("{:.3f} ms through pinned buffers", 1e3 * all_pageable));
    }
  }

  const ops::Context& context_;
  const Model& model_;
  const HfConfig& config_;
  Sizes sizes_;
  std::vector<LayerWeights> dense_;
  HeadWeights head_;
  OwnedTensor hidden_;
  TokenSet pool_;
  TokenDraw draw_;
  OwnedTensor answers_;
};

}  // namespace

int main() {
  try {
    const std::vector<Gpu> gpus = visible_gpus();
    std::vector<Model> models;
    Sizes sizes{8192, 4096, 2048};
    if (gpus.empty()) {
      fmt::print("no GPU is visible: toy shapes on the CPU, whose times say nothing\n");
      models = {model_of("toy", 64, 96, 4, 4, 16, 500, 8, false),
                model_of("toy with groups", 64, 96, 8, 2, 8, 700, 8, true)};
      sizes = {300, 200, 100};
    } else {
      fmt::print("{}\n", gpus.front().name);
      models = {model_of("Llama-2-7B", 4096, 11008, 32, 32, 128, 32000, 32, false),
                model_of("Qwen2.5-14B", 5120, 13824, 40, 8, 128, 152064, 48, true)};
    }
    const ops::Context context(gpus.empty() ? Device::cpu : Device::cuda, 0, DType::bf16);
    for (const Model& model : models) Bench(context, model, sizes).measure_all();
    return 0;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_switch: error: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
