// Attention through cuDNN against fp64 on the same bf16 operands, and against our own kernels where fp64
// would take too long.
#include "ops/cuda/attention_cudnn.hpp"
#include "ops/cuda/attention_cudnn_plan.hpp"
#include "ops/devices.hpp"

#include <cmath>
#include <cstring>

#include <galapagos/ops/backward.hpp>
#include <galapagos/ops/cudnn.hpp>
#include <galapagos/ops/transformer.hpp>

using namespace galapagos;
using ops::cuda::AttentionWay;
using test::on;
using test::random_tensor;
using test::read;
using test::relative_error;

namespace {

/// What attention goes through, for a while.
class Way {
 public:
  explicit Way(AttentionWay way) : before_(ops::cuda::attention_way()) { ops::cuda::set_attention_way(way); }
  ~Way() { ops::cuda::set_attention_way(before_); }
  Way(const Way&) = delete;
  Way& operator=(const Way&) = delete;

 private:
  AttentionWay before_;
};

/// Whether this machine has a GPU and cuDNN; says so where it has not.
bool cudnn_here() {
  if (test::without_gpu()) return false;
  if (ops::cuda::cudnn_loads()) return true;
  test::say_skipped("no cuDNN, " + ops::cudnn_version());
  return false;
}

/// NaN in both types: what an operation does not write shows.
OwnedTensor poisoned_on_gpu(Shape shape, DType type) {
  const OwnedTensor host(shape, type, Device::cpu, "test");
  std::memset(host->data, 0xff, host->bytes());
  return on(Device::cuda, host);
}

struct Problem {
  std::int64_t head_dim, kv_heads;
  std::vector<std::int32_t> kv_of_head;
  std::vector<std::int64_t> offsets;
  OwnedTensor q, k, v, d_out;  // bf16, on the CPU

  std::int64_t heads() const { return static_cast<std::int64_t>(kv_of_head.size()); }
  std::int64_t tokens() const { return offsets.back(); }
};

Problem problem_of(std::int64_t head_dim, std::int64_t heads, std::int64_t kv_heads,
                   const std::vector<std::int64_t>& offsets) {
  std::mt19937 random(static_cast<unsigned>(head_dim + heads));
  Problem problem{head_dim, kv_heads, {}, offsets, {}, {}, {}, {}};
  for (std::int64_t head = 0; head < heads; ++head)
    problem.kv_of_head.push_back(static_cast<std::int32_t>(head * kv_heads / heads));
  const Shape q_shape{offsets.back(), heads * head_dim}, kv_shape{offsets.back(), kv_heads * head_dim};
  problem.q = random_tensor(q_shape, random, DType::bf16, 1.5f);
  problem.k = random_tensor(kv_shape, random, DType::bf16, 1.5f);
  problem.v = random_tensor(kv_shape, random, DType::bf16, 1.5f);
  problem.d_out = random_tensor(q_shape, random, DType::bf16, 1.5f);
  return problem;
}

struct Results {
  std::vector<float> out, log_sums, d_q, d_k, d_v;
  bool operator==(const Results&) const = default;
};

/// The formulas, in fp64.
Results naive(const Problem& problem) {
  const std::int64_t heads = problem.heads(), kv_heads = problem.kv_heads, d = problem.head_dim;
  const std::vector<float> q = test::values_of(problem.q), k = test::values_of(problem.k),
                           v = test::values_of(problem.v), g = test::values_of(problem.d_out);
  std::vector<double> d_q(q.size()), d_k(k.size()), d_v(v.size());
  Results results;
  results.out.resize(q.size());
  results.log_sums.resize(static_cast<std::size_t>(problem.tokens() * heads));
  const auto dot = [d](const float* a, const float* b) {
    double sum = 0;
    for (std::int64_t i = 0; i < d; ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
  };
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  std::vector<double> p, d_p;
  for (std::size_t s = 0; s + 1 < problem.offsets.size(); ++s) {
    for (std::int64_t row = problem.offsets[s]; row < problem.offsets[s + 1]; ++row) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t kv_head = problem.kv_of_head[static_cast<std::size_t>(head)];
        const auto at = static_cast<std::size_t>((row * heads + head) * d);
        const auto key_at = [&](std::int64_t key) {
          return static_cast<std::size_t>((key * kv_heads + kv_head) * d);
        };
        p.clear();
        d_p.clear();
        double largest = -INFINITY, sum = 0, product = 0;
        for (std::int64_t key = problem.offsets[s]; key <= row; ++key) {
          p.push_back(scale * dot(&q[at], &k[key_at(key)]));
          d_p.push_back(dot(&g[at], &v[key_at(key)]));
          largest = std::max(largest, p.back());
        }
        for (double& score : p) sum += score = std::exp(score - largest);
        for (std::size_t i = 0; i < p.size(); ++i) product += (p[i] /= sum) * d_p[i];
        results.log_sums[static_cast<std::size_t>(row * heads + head)] =
            static_cast<float>(largest + std::log(sum));
        std::vector<double> out(static_cast<std::size_t>(d));
        for (std::size_t i = 0; i < p.size(); ++i) {
          const std::size_t there = key_at(problem.offsets[s] + static_cast<std::int64_t>(i));
          const double d_score = p[i] * (d_p[i] - product) * scale;
          for (std::size_t c = 0; c < out.size(); ++c) {
            out[c] += p[i] * v[there + c];
            d_q[at + c] += d_score * k[there + c];
            d_k[there + c] += d_score * q[at + c];
            d_v[there + c] += p[i] * g[at + c];
          }
        }
        for (std::size_t c = 0; c < out.size(); ++c) results.out[at + c] = static_cast<float>(out[c]);
      }
    }
  }
  results.d_q.assign(d_q.begin(), d_q.end());
  results.d_k.assign(d_k.begin(), d_k.end());
  results.d_v.assign(d_v.begin(), d_v.end());
  return results;
}

Results run(const ops::Context& context, const Problem& problem, AttentionWay chosen) {
  const Way way(chosen);
  const auto like = [](const OwnedTensor& tensor) { return poisoned_on_gpu(tensor->shape, DType::bf16); };
  const OwnedTensor q = on(Device::cuda, problem.q), k = on(Device::cuda, problem.k),
                    v = on(Device::cuda, problem.v), d_out = on(Device::cuda, problem.d_out);
  const OwnedTensor out = like(problem.q), d_q = like(problem.q), d_k = like(problem.k),
                    d_v = like(problem.v),
                    log_sums = poisoned_on_gpu({problem.tokens(), problem.heads()}, DType::f32);
  ops::attention(context, q, k, v, problem.head_dim, problem.kv_of_head, problem.offsets, out, log_sums);
  ops::attention_backward(context, q, k, v, problem.head_dim, problem.kv_of_head, problem.offsets, out,
                          log_sums, d_out, d_q, d_k, d_v);
  return {read(out), read(log_sums), read(d_q), read(d_k), read(d_v)};
}

void check_close(const Results& found, const Results& wanted) {
  CHECK(relative_error(found.out, wanted.out) < 6e-3);
  CHECK(relative_error(found.log_sums, wanted.log_sums) < 1e-4);
  CHECK(relative_error(found.d_q, wanted.d_q) < 1.2e-2);
  CHECK(relative_error(found.d_k, wanted.d_k) < 1.2e-2);
  CHECK(relative_error(found.d_v, wanted.d_v) < 6e-3);
}

}  // namespace

TEST_CASE("attention through cuDNN against fp64", "[ops][cudnn]") {
  if (!cudnn_here()) return;
  const ops::Context context(Device::cuda, 0, DType::bf16);
  const std::int64_t head_dim = GENERATE(64, 80, 96, 128);
  struct Case {
    std::int64_t heads, kv_heads;
    std::vector<std::int64_t> offsets;
  };
  const Case cases[] = {
      {4, 1, {0, 300, 600}}, {2, 2, {0, 257, 514, 771}}, {8, 2, {0, 256, 512, 512, 768, 1068}}};
  for (const Case& test : cases) {
    INFO("heads of " << head_dim << ", " << test.heads << " on " << test.kv_heads << " KV heads, "
                     << test.offsets.back() << " tokens");
    const Problem problem = problem_of(head_dim, test.heads, test.kv_heads, test.offsets);
    const Results wanted = naive(problem);
    const Results found = run(context, problem, AttentionWay::cudnn);
    check_close(found, wanted);
    CHECK(found == run(context, problem, AttentionWay::cudnn));
  }
}

TEST_CASE("attention through cuDNN where query heads share KV heads unevenly", "[ops][cudnn]") {
  if (!cudnn_here()) return;
  const ops::Context context(Device::cuda, 0, DType::bf16);
  const std::int64_t head_dim = GENERATE(64, 128);
  struct Case {
    std::int64_t kv_heads;
    std::vector<std::int32_t> kv_of_head;
  };
  // The second has a KV head without a query head, whose gradients are zero.
  const Case cases[] = {{2, {0, 0, 0, 1}}, {3, {0, 2, 2, 2, 2}}, {3, {0, 0, 2}}};
  for (const Case& test : cases) {
    const std::int64_t heads = std::ssize(test.kv_of_head);
    INFO("heads of " << head_dim << ", " << heads << " on " << test.kv_heads << " KV heads");
    Problem problem = problem_of(head_dim, heads, test.kv_heads, {0, 100, 356, 612, 612});
    problem.kv_of_head = test.kv_of_head;
    const Results found = run(context, problem, AttentionWay::cudnn);
    check_close(found, naive(problem));
    CHECK(found == run(context, problem, AttentionWay::cudnn));
  }
}

TEST_CASE("cuDNN computes what it is asked for, with and without the logarithms", "[ops][cudnn]") {
  if (!cudnn_here()) return;
  const ops::Context context(Device::cuda, 0, DType::bf16);
  const std::int64_t length = GENERATE(256, 300);
  const Problem problem = problem_of(64, 4, 2, {0, length, 2 * length, 3 * length});
  const Results wanted = naive(problem);
  const OwnedTensor q = on(Device::cuda, problem.q), k = on(Device::cuda, problem.k),
                    v = on(Device::cuda, problem.v), d_out = on(Device::cuda, problem.d_out);
  const ops::cuda::AttentionInput all{q, k, v, problem.head_dim, problem.kv_of_head, problem.offsets, {}};
  const OwnedTensor plain = poisoned_on_gpu(q->shape, DType::bf16),
                    out = poisoned_on_gpu(q->shape, DType::bf16),
                    log_sums = poisoned_on_gpu({problem.tokens(), problem.heads()}, DType::f32);
  REQUIRE(ops::cuda::cudnn_attention(context.cuda(), all, length, plain, Tensor()));
  REQUIRE(ops::cuda::cudnn_attention(context.cuda(), all, length, out, log_sums));
  CHECK(relative_error(read(plain), wanted.out) < 6e-3);
  CHECK(relative_error(read(out), wanted.out) < 6e-3);
  CHECK(relative_error(read(log_sums), wanted.log_sums) < 1e-4);
  const OwnedTensor d_q = poisoned_on_gpu(q->shape, DType::bf16),
                    d_k = poisoned_on_gpu(k->shape, DType::bf16),
                    d_v = poisoned_on_gpu(v->shape, DType::bf16);
  REQUIRE(ops::cuda::cudnn_attention_backward(context.cuda(), all, length,
                                              {out, log_sums, d_out, nullptr, d_q, d_k, d_v}));
  CHECK(relative_error(read(d_q), wanted.d_q) < 1.2e-2);
  CHECK(relative_error(read(d_k), wanted.d_k) < 1.2e-2);
  CHECK(relative_error(read(d_v), wanted.d_v) < 6e-3);

  // Of the second sequence only: nothing else is touched.
  const std::vector<std::int64_t> second = {length, 2 * length};
  const OwnedTensor part = poisoned_on_gpu(q->shape, DType::bf16);
  REQUIRE(ops::cuda::cudnn_attention(context.cuda(), all.of(second), length, part, Tensor()));
  const std::vector<float> values = read(part), whole = read(plain);
  const auto width = static_cast<std::size_t>(q->columns()), first = static_cast<std::size_t>(length) * width;
  CHECK(std::isnan(values[first - 1]));
  CHECK(std::isnan(values[2 * first]));
  CHECK(relative_error({values.begin() + static_cast<std::ptrdiff_t>(first),
                        values.begin() + static_cast<std::ptrdiff_t>(2 * first)},
                       {whole.begin() + static_cast<std::ptrdiff_t>(first),
                        whole.begin() + static_cast<std::ptrdiff_t>(2 * first)}) < 4e-3);
}

TEST_CASE("sequences that cuDNN gets and others in one call", "[ops][cudnn]") {
  if (!cudnn_here()) return;
  const ops::Context context(Device::cuda, 0, DType::bf16);
  const Problem problem = problem_of(64, 4, 1, {0, 384, 768, 868, 868, 1252});
  check_close(run(context, problem, AttentionWay::automatic), naive(problem));
  check_close(run(context, problem, AttentionWay::own), naive(problem));
}

TEST_CASE("gradients through cuDNN that are cut into several calls", "[ops][cudnn]") {
  if (!cudnn_here()) return;
  const ops::Context context(Device::cuda, 0, DType::bf16);
  struct Case {
    std::int64_t heads, kv_heads, sequences, length;
  };
  // Two sequences, then one; four heads, twice; one KV head and its four, twice.
  const Case test = GENERATE(Case{8, 8, 3, 4096}, Case{8, 8, 1, 8192}, Case{8, 2, 1, 8192});
  std::vector<std::int64_t> offsets;
  for (std::int64_t s = 0; s <= test.sequences; ++s) offsets.push_back(s * test.length);
  INFO(test.heads << " heads, " << test.sequences << " x " << test.length);
  const Problem problem = problem_of(64, test.heads, test.kv_heads, offsets);
  const Results found = run(context, problem, AttentionWay::cudnn);
  check_close(found, run(context, problem, AttentionWay::own));
  CHECK(found == run(context, problem, AttentionWay::cudnn));
}
