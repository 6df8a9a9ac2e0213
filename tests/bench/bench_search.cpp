// Evaluations of candidates as the search does them against dense-shaped copies of the model, as the
// reference (DarwinLM's own programs) makes them: the same kernels, the same tokens, in one process.
//   bench_search [model's folder = a synthetic Llama] [repeats = 3]
#include "synthetic_search_model.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <omp.h>
#include <set>

#include <galapagos/comm/environment.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/ops/divergence.hpp>
#include <galapagos/ops/rows.hpp>
#include <galapagos/ops/transformer.hpp>
#include <galapagos/search/mutation.hpp>

using namespace galapagos;
using bench::SearchModel;

namespace {

constexpr std::int64_t offspring = 8, draw_size = 1024;

/// What a build found, and the least times it needed for all candidates.
struct Measured {
  std::string name;
  std::function<std::vector<double>(EvaluationSeconds&)> run;
  std::vector<double> fitness;
  double seconds = INFINITY;
  EvaluationSeconds parts;  // of the run of least time
};

OwnedTensor copy_of(const Tensor& tensor) {
  if (tensor.empty()) return {};
  OwnedTensor copy(tensor.shape, tensor.dtype, tensor.device, "benchmark");
  copy_bytes(copy->data, tensor.device, tensor.data, tensor.device, tensor.bytes());
  return copy;
}

/// A model whose matrices all have their unpruned shapes.
struct DenseShaped {
  std::vector<LayerWeights> layers;
  OwnedTensor embedding;
  HeadWeights head;

  DenseShaped copy() const {
    DenseShaped other;
    for (const LayerWeights& layer : layers) {
      LayerWeights& same = other.layers.emplace_back();
      same.attention.kv_heads = layer.attention.kv_heads;
      same.attention.kv_of_head = layer.attention.kv_of_head;
      same.ffn.columns = layer.ffn.columns;
      for (const auto& one : layer_tensors::attention)
        same.attention.*one.weight = copy_of(layer.attention.*one.weight);
      for (const auto& one : layer_tensors::feed_forward)
        same.ffn.*one.weight = copy_of(layer.ffn.*one.weight);
    }
    other.embedding = copy_of(embedding);
    other.head = {copy_of(head.norm), copy_of(head.head)};
    return other;
  }
};

/// What the reference does with a candidate: a copy of the parent's whole model, in which the weights of
/// other levels come from the file, padded with zeros to their dense shapes; then all layers.
class DenseBuild {
 public:
  DenseBuild(const ops::Context& context, const SearchModel& model, const Assignment& parent,
             const TokenDraw& draw, DenseAnswers answers)
      : context_(context),
        model_(model),
        precision_(model.checkpoint->dtype()),
        draw_(draw),
        forward_(context, model.config, std::max(SearchModel::batch_tokens, model.length)) {
    for (std::int64_t layer = 0; layer < model.config.layers; ++layer) {
      dense_.layers.push_back(
          load_layer(*model.checkpoint, model.config, layer, precision_, context.device()));
    }
    dense_.embedding = load_embedding(*model.checkpoint, model.config, precision_, context.device());
    dense_.head = load_head(*model.checkpoint, model.config, precision_, context.device());
    parent_model_ = dense_.copy();
    parent_ = parent;
    for (std::size_t i = 0; i < parent.size(); ++i) put_in(parent_model_, i, parent[i]);
    const std::int64_t hidden = model.config.hidden_size;
    dense_hidden_ = OwnedTensor({static_cast<std::int64_t>(draw.tokens.size()), hidden}, DType::f32,
                                Device::cpu, "benchmark");
    float* out = dense_hidden_->floats();
    for (const std::uint32_t sequence : draw.sequences) {
      const std::uint64_t first = model.pool.offsets[sequence], last = model.pool.offsets[sequence + 1];
      const auto at = static_cast<std::ptrdiff_t>(first) * hidden;
      const auto count = std::min(static_cast<std::ptrdiff_t>(last - first) * hidden,
                                  dense_hidden_->floats() + dense_hidden_->elements() - out);
      out = std::copy_n(answers.begin() + at, count, out);
    }
    dense_logits_ = logits_of(dense_.head, dense_hidden_);
  }

  /// `all_levels`: every module's weights are read again, not only those that differ from the parent's.
  /// `kept_logits`: the dense model's logits are in memory, else made anew from its last hidden states.
  std::vector<double> fitness(std::span<const Assignment> candidates, bool all_levels, bool kept_logits,
                              EvaluationSeconds& seconds) const {
    std::vector<double> found;
    for (const Assignment& candidate : candidates) {
      const Stopwatch switching;
      DenseShaped copy = parent_model_.copy();
      for (std::size_t i = 0; i < candidate.size(); ++i) {
        if (all_levels || candidate[i] != parent_[i]) put_in(copy, i, candidate[i]);
      }
      seconds.switching += switching.seconds();
      const Stopwatch layers;
      const OwnedTensor hidden(dense_hidden_->shape, DType::f32, context_.device(), "benchmark");
      for (const Batch& batch : make_batches(draw_.tokens, draw_.offsets, SearchModel::batch_tokens)) {
        const Tensor rows = hidden->slice(batch.tokens.data() - draw_.tokens.data(),
                                          static_cast<std::int64_t>(batch.tokens.size()));
        ops::embed(context_, batch.tokens, copy.embedding, rows);
        for (const LayerWeights& layer : copy.layers) forward_.run(layer, batch.offsets, rows);
      }
      seconds.layers += layers.seconds();
      const Stopwatch head;
      found.push_back(divergence(copy.head, hidden, kept_logits));
      seconds.head += head.seconds();
    }
    return found;
  }

 private:
  /// The reference's files hold o_proj and down_proj as they are after padding; so the padding here is as
  /// cheap as can be, and nothing is checked.
  void put_in(DenseShaped& to, std::size_t module, std::int64_t level) const {
    const ModuleChoices& choices = model_.space.modules[module];
    const auto layer = static_cast<std::size_t>(choices.id.layer);
    const bool attention = choices.id.kind == ModuleKind::attention;
    const LayerWeights& dense = dense_.layers[layer];
    const Tensor& whole = attention ? dense.attention.o : dense.ffn.down;
    OwnedTensor& place = attention ? to.layers[layer].attention.o : to.layers[layer].ffn.down;
    if (level == 0) {
      place = copy_of(whole);
      return;
    }
    const auto& kept = choices.kept[static_cast<std::size_t>(level)];
    const std::vector<std::byte> bytes = model_.database->level_bytes(choices.id, level);
    const std::size_t row = static_cast<std::size_t>(whole.rows()) * size_of(precision_);
    const OwnedTensor padded({whole.columns(), whole.rows()}, precision_, Device::cpu, "benchmark");
    fill_zero(padded);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      std::copy_n(bytes.data() + i * row, row, padded->data + static_cast<std::size_t>(kept[i]) * row);
    }
    place = OwnedTensor(whole.shape, precision_, Device::cpu, "benchmark");
    ops::transpose(context_, padded, place);
  }

  OwnedTensor logits_of(const HeadWeights& head, const Tensor& hidden) const {
    OwnedTensor logits({hidden.rows(), model_.config.vocab_size}, DType::f32, context_.device(), "benchmark");
    const OwnedTensor normed = copy_of(hidden);
    compute_logits(context_, model_.config, head, normed, logits);
    return logits;
  }

  /// In chunks, as the search does it.
  double divergence(const HeadWeights& head, const Tensor& hidden, bool kept_logits) const {
    constexpr std::int64_t chunk = 128;
    std::vector<double> values(static_cast<std::size_t>(hidden.rows()));
    const OwnedTensor scale({chunk, 2}, DType::f32, context_.device(), "benchmark");
    for (std::int64_t first = 0; first < hidden.rows(); first += chunk) {
      const std::int64_t rows = std::min(chunk, hidden.rows() - first);
      OwnedTensor made;
      if (!kept_logits) made = logits_of(dense_.head, dense_hidden_->slice(first, rows));
      const Tensor wanted = kept_logits ? dense_logits_->slice(first, rows) : made;
      const OwnedTensor other = logits_of(head, hidden.slice(first, rows));
      ops::softmax_scale(context_, wanted, scale->slice(0, rows));
      ops::kl_divergence(
          context_, wanted, scale->slice(0, rows), other,
          std::span(values).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)));
    }
    double sum = 0;
    for (std::size_t s = 0; s < draw_.sequences.size(); ++s) {
      for (std::uint64_t i = draw_.offsets[s]; i + 1 < draw_.offsets[s + 1]; ++i) sum += values[i];
    }
    return sum / static_cast<double>(draw_.predicted());
  }

  const ops::Context& context_;
  const SearchModel& model_;
  DType precision_;
  const TokenDraw& draw_;
  mutable LayerForward forward_;
  DenseShaped dense_, parent_model_;
  Assignment parent_;
  OwnedTensor dense_hidden_, dense_logits_;
};

/// A parent some way from the uniform assignment, and its offspring as a generation has them.
std::vector<Assignment> make_offspring(const SearchModel& model, Assignment& parent) {
  RandomStream random(1, {});
  parent = model.budget->uniform();
  for (int i = 0; i < 20; ++i) parent = mutate(*model.budget, parent, random);
  std::set<Assignment> known = {parent};
  std::vector<Assignment> found;
  while (found.size() < offspring) {
    Assignment child = mutate(*model.budget, parent, random);
    if (known.insert(child).second) found.push_back(std::move(child));
  }
  return found;
}

double share_of_layers(const SearchModel& model, const Assignment& assignment) {
  return static_cast<double>(model.space.parameters(assignment) - model.space.fixed_parameters) /
         static_cast<double>(model.space.dense_parameters());
}

EvaluationSeconds difference(const EvaluationSeconds& after, const EvaluationSeconds& before) {
  return {after.switching - before.switching, after.layers - before.layers, after.head - before.head};
}

/// Runs the builds in turn; whether all came to the fitness of the first one.
bool measure(std::vector<Measured>& builds, int repeats) {
  EvaluationSeconds unused;
  builds[0].run(unused);  // to fill the cache
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (Measured& build : builds) {
      EvaluationSeconds parts;
      const Stopwatch watch;
      build.fitness = build.run(parts);
      const double seconds = watch.seconds();
      if (seconds >= build.seconds) continue;
      build.seconds = seconds;
      build.parts = parts;
    }
  }
  bool same = true;
  for (const Measured& build : builds) {
    for (std::size_t i = 0; i < build.fitness.size(); ++i)
      same = same && std::abs(build.fitness[i] - builds[0].fitness[i]) <= 1e-4;
  }
  return same;
}

double worst_difference(const Measured& a, const Measured& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.fitness.size(); ++i)
    worst = std::max(worst, std::abs(a.fitness[i] - b.fitness[i]));
  return worst;
}

/// Builds of the search itself share this replica; `limit` as ModuleCache's.
struct Searcher {
  LevelStore store;
  Replica replica;

  Searcher(const ops::Context& context, const Communicator& comm, const SearchModel& model, LevelHome home,
           std::uint64_t limit)
      : store(comm, *model.database, model.space, home), replica(model.replica(context, store, limit)) {}
};

/// Time to have the modules of a mutation, those of its parent being there: when they are used for the first
/// time and when they were used before.
void print_switches(const ops::Context& context, const Communicator& comm, const SearchModel& model,
                    const Assignment& parent, std::span<const Assignment> candidates, int repeats) {
  const SpacePart part = part_of_space(model.space, model.config);
  std::vector<LayerWeights> dense;
  for (std::int64_t layer = 0; layer < model.config.layers; ++layer) {
    dense.push_back(
        load_layer(*model.checkpoint, model.config, layer, model.checkpoint->dtype(), context.device()));
  }
  double changed = 0, kept = 0;
  for (const Assignment& candidate : candidates) {
    for (std::size_t i = 0; i < candidate.size(); ++i) {
      if (candidate[i] == parent[i]) continue;
      changed += 1;
      kept += static_cast<double>(model.space.modules[i].parameters[static_cast<std::size_t>(candidate[i])]);
    }
  }
  const auto count = static_cast<double>(candidates.size());
  fmt::print("\na switch from the parent: {:.1f} modules of {:.2f} million parameters together\n",
             changed / count, kept / count / 1e6);
  fmt::print("{:<44} {:>14} {:>14}\n", "weights of levels", "not cached ms", "cached ms");
  const auto seconds_of = [&](ModuleCache& cache, const Assignment& assignment) {
    const Stopwatch watch;
    for (std::size_t i = 0; i < assignment.size(); ++i) {
      if (assignment[i] != 0) cache.get(i, assignment[i]);
    }
    return watch.seconds();
  };
  const LevelHome homes[] = {LevelHome::host, LevelHome::file};
  double first[2] = {INFINITY, INFINITY}, again[2] = {INFINITY, INFINITY};
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (int home = 0; home < 2; ++home) {
      const LevelStore store(comm, *model.database, model.space, homes[home]);
      double sum = 0, repeated = 0;
      for (const Assignment& candidate : candidates) {
        ModuleCache cache(context, part, dense, store, model.checkpoint->dtype(), UINT64_MAX);
        seconds_of(cache, parent);
        sum += seconds_of(cache, candidate);
        repeated += seconds_of(cache, candidate);
      }
      first[home] = std::min(first[home], sum);
      again[home] = std::min(again[home], repeated);
    }
  }
  const auto print = [&](const char* name, int home) {
    fmt::print("{:<44} {:>14.3f} {:>14.4f}\n", name, 1e3 * first[home] / count, 1e3 * again[home] / count);
  };
  print("one copy per node (host)", 0);
  print("file, in the page cache (also device at first)", 1);
}

/// One candidate, all of its layers, against the unpruned model.
bool print_sizes(const SearchModel& model, Searcher& searcher, const TokenDraw& draw, DenseAnswers answers,
                 const Assignment& candidate, int repeats) {
  const Assignment dense(candidate.size(), 0), nothing(candidate.size(), -1);
  std::vector<Measured> sizes(2);
  for (std::size_t i = 0; i < 2; ++i) {
    sizes[i].run = [&, i](EvaluationSeconds& parts) {
      const EvaluationSeconds before = searcher.replica.seconds();
      const auto found = searcher.replica.fitness({}, nothing, std::span(i == 0 ? &dense : &candidate, 1),
                                                  model.pool, draw, answers, {});
      parts = difference(searcher.replica.seconds(), before);
      return *found;
    };
  }
  measure(sizes, 2 * repeats);
  const double share = share_of_layers(model, candidate);
  fmt::print("\none evaluation, alone and with all layers, ms\n{:<36} {:>10} {:>10} {:>10}\n", "", "layers",
             "head, KL", "all");
  const auto line = [&](const std::string& name, double layers, double head, double all, const char* format) {
    fmt::print("{:<36} {:>10} {:>10} {:>10}\n", name, fmt::format(fmt::runtime(format), layers),
               fmt::format(fmt::runtime(format), head), fmt::format(fmt::runtime(format), all));
  };
  const Measured &d = sizes[0], &c = sizes[1];
  line("the unpruned model", 1e3 * d.parts.layers, 1e3 * d.parts.head, 1e3 * d.seconds, "{:.1f}");
  line(fmt::format("a candidate of {:.1f} % of the layers", 100 * share), 1e3 * c.parts.layers,
       1e3 * c.parts.head, 1e3 * c.seconds, "{:.1f}");
  line("ratio (goal 0.55)", c.parts.layers / d.parts.layers, c.parts.head / d.parts.head,
       c.seconds / d.seconds, "{:.3f}");
  const bool right = std::abs(d.fitness[0]) < 1e-4;
  if (!right) fmt::print("the unpruned model differs from itself by {:.2e}\n", d.fitness[0]);
  return right;
}

int run(const std::filesystem::path& folder, int repeats) {
  const Communicator comm = Communicator::self();
  const ops::Context context;
  const SearchModel model(comm, context, folder);
  const TokenDraw draw = draw_tokens(model.pool, draw_size, RandomStream(2, {}));
  Assignment parent;
  const std::vector<Assignment> candidates = make_offspring(model, parent);
  const Assignment nothing(parent.size(), -1);
  double shared = 0;
  for (const Assignment& candidate : candidates) {
    shared += static_cast<double>(std::mismatch(parent.begin(), parent.end(), candidate.begin()).first -
                                  parent.begin()) /
              static_cast<double>(parent.size()) / static_cast<double>(candidates.size());
  }
  fmt::print("{}\n", model.description());
  fmt::print(
      "{} offspring of one parent, {:.1f} % of the prunable parameters, on {} tokens in sequences of {}; "
      "{:.0f} % of their modules lie before the first change\n",
      offspring, 100 * share_of_layers(model, parent), draw.tokens.size(), model.length, 100 * shared);
  fmt::print("{} threads on {} processors; least of {} runs each, in turn\n\n", omp_get_max_threads(),
             usable_processors(), repeats);
  std::fflush(stdout);

  Searcher warm(context, comm, model, LevelHome::device, UINT64_MAX);
  Searcher host(context, comm, model, LevelHome::host, 0), file(context, comm, model, LevelHome::file, 0);
  const std::vector<float> answers = model.answers(warm.replica);
  const DenseBuild reference(context, model, parent, draw, answers);
  const auto search = [&](Searcher& searcher, const Assignment& base, bool together) {
    return [&, together](EvaluationSeconds& parts) {
      const EvaluationSeconds before = searcher.replica.seconds();
      std::vector<double> found;
      const std::size_t at_once = together ? candidates.size() : 1;
      for (std::size_t i = 0; i < candidates.size(); i += at_once) {
        const auto some = searcher.replica.fitness({}, base, std::span(candidates).subspan(i, at_once),
                                                   model.pool, draw, answers, {});
        found.insert(found.end(), some->begin(), some->end());
      }
      parts = difference(searcher.replica.seconds(), before);
      return found;
    };
  };
  const auto as_reference = [&](bool all_levels, bool kept_logits) {
    return [&, all_levels, kept_logits](EvaluationSeconds& parts) {
      return reference.fitness(candidates, all_levels, kept_logits, parts);
    };
  };
  std::vector<Measured> builds;
  const auto add = [&](const char* name, auto work) {
    builds.emplace_back();
    builds.back().name = name;
    builds.back().run = work;
  };
  add("the search: small, shared, cached", search(warm, parent, true));
  add("  without shared layers", search(warm, nothing, true));
  add("  without cache, levels in host memory", search(host, parent, true));
  add("  without cache, levels from file", search(file, parent, true));
  add("  one at a time, nothing shared", search(warm, nothing, false));
  add("dense copies, changed levels, kept logits", as_reference(false, true));
  add("dense copies, all levels from file", as_reference(true, false));
  bool same = measure(builds, repeats);

  fmt::print("mean KL {:.4f}\n", std::accumulate(builds[0].fitness.begin(), builds[0].fitness.end(), 0.0) /
                                     static_cast<double>(offspring));
  fmt::print("{:<44} {:>8} {:>7} {:>10} {:>10} {:>10} {:>9}\n", "milliseconds are of one candidate",
             "a second", "ratio", "switch ms", "layers ms", "head ms", "differs");
  for (const Measured& build : builds) {
    const double each = 1e3 / static_cast<double>(offspring);
    fmt::print("{:<44} {:>8.2f} {:>7.2f} {:>10.3f} {:>10.2f} {:>10.2f} {:>9.1e}\n", build.name,
               static_cast<double>(offspring) / build.seconds, build.seconds / builds[0].seconds,
               each * build.parts.switching, each * build.parts.layers, each * build.parts.head,
               worst_difference(build, builds[0]));
  }
  std::fflush(stdout);
  print_switches(context, comm, model, parent, candidates, repeats);
  same = print_sizes(model, warm, draw, answers, candidates[0], repeats) && same;
  if (!same) fmt::print("\nFITNESS VALUES DIFFER\n");
  return same ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const MpiEnvironment environment(argc, argv);
  try {
    return run(argc > 1 ? argv[1] : "", argc > 2 ? std::max(1, std::atoi(argv[2])) : 3);
  } catch (const Error& error) {
    fmt::print(stderr, "bench_search: {}\n", error.what());
    return static_cast<int>(error.code());
  }
}
