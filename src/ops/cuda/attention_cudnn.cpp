#include "attention_cudnn.hpp"

#include "attention_cudnn_plan.hpp"
#include "attention_spread.hpp"
#include "tuning.hpp"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>
#include <optional>
#include <string>

#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos::ops::cuda {
namespace {

AttentionWay& way() {
  static AttentionWay chosen = [] {
    const char* word = std::getenv("GALAPAGOS_ATTENTION");
    if (word == nullptr || std::string(word) == "auto") return AttentionWay::automatic;
    if (std::string(word) == "own") return AttentionWay::own;
    if (std::string(word) == "cudnn") return AttentionWay::cudnn;
    throw UsageError("unknown word '" + std::string(word) + "'", "the environment's GALAPAGOS_ATTENTION",
                     "choose auto, own or cudnn");
  }();
  return chosen;
}

/// Where cuDNN is taken for the faster way: measured on an H100 from 512 to 4096 tokens (bench_attention). A
/// length that is no multiple of 128 is mostly the rest of a text, not worth a plan of its own; in gradients
/// on Hopper it has also given NaN (cudnn-frontend 160, PyTorch 196678). Blackwell is left out until it is
/// measured.
bool faster_with_cudnn(const Resources& gpu, std::int64_t head_dim, std::int64_t length) {
  return gpu.compute_capability() < 100 && head_dim >= 64 && length >= 256 && length % 128 == 0;
}

/// Whether query heads share KV heads as cuDNN has it.
bool evenly_shared(const AttentionInput& input) {
  const std::int64_t heads = input.heads(), kv_heads = input.kv_heads();
  if (heads % kv_heads != 0) return false;
  for (std::int64_t head = 0; head < heads; ++head) {
    if (input.kv_of_head[static_cast<std::size_t>(head)] != head / (heads / kv_heads)) return false;
  }
  return true;
}

/// Whether tensors start where cuDNN's loads of 16 bytes may.
bool aligned(std::initializer_list<const Tensor*> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const Tensor* tensor) {
    return reinterpret_cast<std::uintptr_t>(tensor->data) % 16 == 0;
  });
}

/// The rows of a part in an operation's tensors.
class Rows {
 public:
  Rows(const AttentionInput& input, std::int64_t length)
      : first_(input.offsets.front()), count_(input.offsets.back() - first_), length_(length) {}

  std::int64_t count() const { return count_; }
  std::int64_t sequences() const { return count_ / length_; }
  float* of_sums(const Tensor& tensor) const { return tensor.floats() + first_ * tensor.columns(); }

  /// The first row of a sequence at a column.
  void* at(const Tensor& tensor, std::int64_t sequence, std::int64_t column) const {
    const std::int64_t element = (first_ + sequence * length_) * tensor.columns() + column;
    return tensor.data + static_cast<std::size_t>(element) * size_of(tensor.dtype);
  }

 private:
  std::int64_t first_, count_, length_;
};

/// How the gradients of some sequences are cut into calls: sequences, or KV heads of one sequence.
struct Cut {
  std::int64_t sequences, kv_heads;
};

Cut cut_of(const AttentionInput& input, std::int64_t sequences, std::int64_t length) {
  const auto padded = [&](std::int64_t tile) { return (length + tile - 1) / tile * tile; };
  const std::int64_t kv_heads = input.kv_heads();
  const std::int64_t of_kv_head = input.heads() / kv_heads * padded(64) * padded(128) * 2;
  const std::int64_t most_heads =
      std::max<std::int64_t>(static_cast<std::int64_t>(cudnn_score_bytes) / of_kv_head, 1);
  if (most_heads >= kv_heads) {
    const std::int64_t calls = (sequences + most_heads / kv_heads - 1) / (most_heads / kv_heads);
    return {(sequences + calls - 1) / calls, kv_heads};
  }
  std::int64_t taken = most_heads;
  while (kv_heads % taken != 0) --taken;
  return {1, taken};
}

AttentionShape shape_of(const AttentionInput& input, std::int64_t sequences, std::int64_t length,
                        std::int64_t kv_heads) {
  return {sequences, length,        input.head_dim,   kv_heads * (input.heads() / input.kv_heads()),
          kv_heads,  input.heads(), input.kv_heads(), input.scale()};
}

}  // namespace

AttentionWay attention_way() {
  return way();
}
void set_attention_way(AttentionWay chosen) {
  way() = chosen;
}

std::vector<AttentionPart> parts_of(const Resources& gpu, const AttentionInput& input) {
  const std::span<const std::int64_t> offsets = input.offsets;
  const AttentionWay chosen = attention_way();
  if (chosen == AttentionWay::own) return {{offsets, 0}};
  struct Run {
    std::size_t first, last;
    std::int64_t length;
  };
  std::vector<Run> runs;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const std::int64_t tokens = offsets[s + 1] - offsets[s];
    if (tokens == 0 && runs.empty()) continue;
    const bool by_cudnn =
        chosen == AttentionWay::cudnn ? tokens > 1 : faster_with_cudnn(gpu, input.head_dim, tokens);
    const std::int64_t length = by_cudnn ? tokens : 0;
    if (!runs.empty() && (tokens == 0 || runs.back().length == length)) {
      runs.back().last = s + 1;
    } else {
      runs.push_back({s, s + 1, length});
    }
  }
  const auto given = std::count_if(runs.begin(), runs.end(), [](const Run& run) { return run.length > 0; });
  if (given == 0 || static_cast<std::size_t>(given) > cudnn_lengths || !cudnn_loads()) return {{offsets, 0}};
  std::vector<AttentionPart> parts;
  for (const Run& run : runs)
    parts.push_back({offsets.subspan(run.first, run.last - run.first + 1), run.length});
  return parts;
}

bool cudnn_attention(Resources& gpu, const AttentionInput& input, std::int64_t length, const Tensor& out,
                     const Tensor& log_sums) {
  if (!aligned({&input.q, &input.k, &input.v, &out})) return false;
  if (!evenly_shared(input)) {
    const SpreadHeads spread(gpu, input);
    return cudnn_attention(gpu, spread.input(), length, out, log_sums);
  }
  const Rows rows(input, length);
  const bool with_sums = log_sums.data != nullptr;
  AttentionPlan* plan =
      attention_plan(gpu, with_sums ? AttentionStep::forward_with_sums : AttentionStep::forward,
                     shape_of(input, rows.sequences(), length, input.kv_heads()), cudnn_workspace_bytes);
  if (plan == nullptr) return false;
  const std::int64_t count = rows.count() * input.heads();
  std::optional<Array<float>> sums;
  if (with_sums) sums.emplace(count, "logarithms of attention");
  void* const tensors[] = {rows.at(input.q, 0, 0), rows.at(input.k, 0, 0), rows.at(input.v, 0, 0),
                           rows.at(out, 0, 0), with_sums ? sums->data() : nullptr};
  if (!plan->run(gpu, std::span(tensors).first(with_sums ? 5 : 4))) return false;
  if (with_sums) sums_to_rows(gpu, sums->data(), length, input.heads(), count, rows.of_sums(log_sums));
  return true;
}

bool cudnn_attention_backward(Resources& gpu, const AttentionInput& input, std::int64_t length,
                              const AttentionGradients& to) {
  if (!aligned({&input.q, &input.k, &input.v, &to.out, &to.d_out, &to.d_q, &to.d_k, &to.d_v})) return false;
  if (!evenly_shared(input)) {
    SpreadHeads spread(gpu, input);
    spread.make_gradients();
    const AttentionGradients of_copies{to.out, to.log_sums,     to.d_out,         to.products,
                                       to.d_q, spread.d_keys(), spread.d_values()};
    if (!cudnn_attention_backward(gpu, spread.input(), length, of_copies)) return false;
    spread.sum_up(gpu, to.d_k, to.d_v);
    return true;
  }
  const Rows rows(input, length);
  const Cut cut = cut_of(input, rows.sequences(), length);
  const std::int64_t group = input.heads() / input.kv_heads();
  const std::int64_t count = rows.count() * input.heads();
  std::optional<Array<float>> sums;
  for (std::int64_t sequence = 0; sequence < rows.sequences(); sequence += cut.sequences) {
    const std::int64_t sequences = std::min(cut.sequences, rows.sequences() - sequence);
    AttentionPlan* plan =
        attention_plan(gpu, AttentionStep::backward, shape_of(input, sequences, length, cut.kv_heads),
                       cudnn_workspace_bytes);
    if (plan == nullptr) return false;
    if (!sums) {
      sums.emplace(count, "logarithms of attention");
      sums_from_rows(gpu, rows.of_sums(to.log_sums), length, input.heads(), count, sums->data());
    }
    for (std::int64_t kv_head = 0; kv_head < input.kv_heads(); kv_head += cut.kv_heads) {
      const auto by_query = [&](const Tensor& tensor) {
        return rows.at(tensor, sequence, kv_head * group * input.head_dim);
      };
      const auto by_key = [&](const Tensor& tensor) {
        return rows.at(tensor, sequence, kv_head * input.head_dim);
      };
      float* sums_here = sums->data() + (sequence * input.heads() + kv_head * group) * length;
      void* const tensors[] = {by_query(input.q), by_key(input.k), by_key(input.v),
                               by_query(to.out),  sums_here,       by_query(to.d_out),
                               by_query(to.d_q),  by_key(to.d_k),  by_key(to.d_v)};
      if (!plan->run(gpu, tensors)) return false;
    }
  }
  return true;
}

}  // namespace galapagos::ops::cuda
