#include "writer.hpp"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <optional>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/failure_board.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/generation.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos {
namespace {

using Prompts = std::vector<std::vector<std::int32_t>>;

/// The prompts of each replica in turn, the longest first, without those that have their text.
std::vector<std::size_t> dealt(const Prompts& prompts, std::span<const char> written, int replica,
                               int replicas) {
  std::vector<std::size_t> order, mine;
  for (std::size_t i = 0; i < prompts.size(); ++i)
    if (written.empty() || written[i] == 0) order.push_back(i);
  std::ranges::stable_sort(order, std::greater(), [&](std::size_t i) { return prompts[i].size(); });
  for (auto i = static_cast<std::size_t>(replica); i < order.size(); i += static_cast<std::size_t>(replicas))
    mine.push_back(order[i]);
  return mine;
}

CacheExtents extents_of(const Prompts& prompts, std::span<const std::size_t> mine,
                        const GenerationOptions& options) {
  std::int64_t longest = 1, all = 0;
  for (const std::size_t i : mine) {
    longest = std::max(longest, std::ssize(prompts[i]) + options.limit(i));
    all += std::ssize(prompts[i]);
  }
  return generation_extents(options, std::ssize(mine), all, longest);
}

/// Collective. On the root, the texts of all replicas by their prompts; each text goes as what ends it, its
/// length and its ids.
std::vector<GeneratedText> bring_together(const ReplicaGrid& grid, const Prompts& prompts,
                                          std::span<const char> written,
                                          const std::vector<GeneratedText>& mine) {
  std::vector<std::int32_t> packed;
  for (const GeneratedText& text : mine) {
    packed.push_back(static_cast<std::int32_t>(text.reason));
    packed.push_back(static_cast<std::int32_t>(text.ids.size()));
    packed.insert(packed.end(), text.ids.begin(), text.ids.end());
  }
  if (grid.shard() != 0) packed.clear();
  const std::vector<std::int32_t> all = grid.ranks().gather(std::span<const std::int32_t>(packed));
  if (!grid.ranks().is_root()) return {};
  std::vector<GeneratedText> texts(prompts.size());
  auto at = all.begin();
  for (int replica = 0; replica < grid.replicas(); ++replica) {
    for (const std::size_t i : dealt(prompts, written, replica, grid.replicas())) {
      texts[i].reason = static_cast<StopReason>(*at++);
      const std::int32_t count = *at++;
      texts[i].ids.assign(at, at + count);
      at += count;
    }
  }
  return texts;
}

/// What a rank has to say behind a step; of a replica's the greatest counts.
enum class Report : std::int64_t { fine, stop, no_numbers };

/// Collective over the shards, each of which has its own slice of the logits, and may be the one that a
/// signal reaches.
Report report_of(const Shards& shards, const CachedModel& model, const GenerationOptions& options) {
  Report report = Report::fine;
  if (options.stops && options.stops()) report = Report::stop;
  if (!model.finite()) report = Report::no_numbers;
  if (shards.alone()) return report;
  return static_cast<Report>(shards.ranks().max(static_cast<std::int64_t>(report)));
}

void check(Report report) {
  if (report == Report::no_numbers) {
    throw NumericalError("activations became NaN or infinite", "generation",
                         "check the checkpoint, or use --precision fp32");
  }
  if (report == Report::stop)
    throw StoppedEarly("stopped; the texts that have ended are kept", "generation", go_on);
}

GenerationSpeed speed_of_all(const ReplicaGrid& grid, GenerationSpeed mine) {
  const Communicator& all = grid.ranks();
  const bool counts = grid.shard() == 0;
  return {all.sum(counts ? mine.prompt_tokens : 0), all.sum(counts ? mine.new_tokens : 0),
          all.max(mine.prompt_seconds), all.max(mine.new_seconds)};
}

}  // namespace

CacheExtents generation_extents(const GenerationOptions& options, std::int64_t texts,
                                std::int64_t prompt_tokens, std::int64_t longest) {
  CacheExtents extents;
  extents.places = std::clamp<std::int64_t>(texts, 1, options.batch);
  extents.capacity = std::min(longest, options.longest);
  // Texts whose keys are turned anew are read again, whole.
  extents.most_tokens =
      std::max(extents.places, std::min(options.batch_tokens, std::max(prompt_tokens, extents.capacity)));
  return extents;
}

std::uint64_t generation_bytes(const ModelSource& source, const CacheExtents& extents,
                               const Sampling& sampling, std::int64_t vocabulary, Device device,
                               DType activations) {
  const std::uint64_t drawing =
      Writer::drawing_bytes(sampling, extents.places, source.config.vocab_size, vocabulary, device);
  return CachedModel::bytes(source, extents, device, activations) + drawing;
}

std::vector<GeneratedText> generate(const ReplicaGrid& grid, const ops::Context& context,
                                    const ModelSource& source, const Prompts& prompts,
                                    const GenerationOptions& options, const TextWatch& watch,
                                    GenerationSpeed* speed) {
  const Communicator& comm = grid.ranks();
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  const std::vector<std::size_t> mine = dealt(prompts, options.written, grid.replica(), grid.replicas());
  const CacheExtents extents = extents_of(prompts, mine, options);
  const std::int64_t vocabulary = grid.of_replica().sum(source.config.vocab_size);
  agree(comm, [&] {
    const std::uint64_t need = generation_bytes(source, extents, options.sampling, vocabulary,
                                                context.device(), context.activations());
    if (need <= limit) return;
    throw ResourceError(fmt::format("a model and the keys and values of {} texts of {} tokens need {} on a "
                                    "rank, which may use {}",
                                    extents.places, extents.capacity, human_bytes(need), human_bytes(limit)),
                        "memory", "use more --shards, a smaller --batch, or raise --memory-limit");
  });
  const Shards shards = make_shards(grid, options.make_collectives, vocabulary);
  ModelWeights weights;
  std::optional<CachedModel> model;
  agree(comm, [&] {
    weights = load_model_weights(source);
    model.emplace(context, source.config, weights, extents, shards);
  });
  Writer writer(*model, context, source.config, prompts, mine, extents, options, watch);
  FailureBoard board(comm);
  Progress progress("texts", std::ssize(mine));
  const Stopwatch clock;
  while (!writer.done() && !shards.root_says(board.failed())) {
    Report report = Report::fine;
    shards.run([&] {
      writer.compute();
      report = report_of(shards, *model, options);
    });
    if (shards.is_root()) board.attempt([&] { check(report); });
    if (shards.root_says(board.failed())) break;
    std::vector<std::size_t> ended;
    shards.run([&] { ended = writer.choose(); });
    if (ended.empty()) continue;
    const auto tokens = static_cast<double>(writer.speed().new_tokens);
    progress.advance(std::ssize(ended), fmt::format("{:.1f} tokens/s", tokens / clock.seconds()));
    if (!shards.is_root() || !options.keep) continue;
    std::exception_ptr failure;
    try {  // also where another replica has failed: these texts are there
      for (const std::size_t which : ended) options.keep(mine[which], writer.written()[which]);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) board.attempt([&] { std::rethrow_exception(failure); });
  }
  board.settle();
  if (speed != nullptr) *speed = speed_of_all(grid, writer.speed());
  return bring_together(grid, prompts, options.written, writer.written());
}

}  // namespace galapagos
