#include "scoring.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/text.hpp>
#include <galapagos/model/evaluate.hpp>
#include <galapagos/model/stage.hpp>

namespace galapagos {
namespace {

/// Ids of the whole vocabulary, of which a shard's model has a slice. Collective over the shards.
std::int64_t ids_of(const ModelSource& model, const EvaluationOptions& options) {
  return options.grid == nullptr ? model.config.vocab_size
                                 : options.grid->of_replica().sum(model.config.vocab_size);
}

void check_comparable(const HfConfig& model, std::int64_t ids, const HfConfig& reference,
                      std::int64_t reference_ids) {
  const auto compare = [](std::int64_t a, std::int64_t b, const char* what) {
    if (a == b) return;
    throw InputError(fmt::format("the reference has {} {}, the model {}", b, what, a), "--reference",
                     "compare a pruned model with the one it was made from");
  };
  compare(model.layers, reference.layers, "layers");
  compare(model.hidden_size, reference.hidden_size, "hidden columns");
  compare(ids, reference_ids, "ids");
}

}  // namespace

double Evaluation::perplexity() const {
  return std::exp(nll);
}

Evaluation summarise(std::span<const SequenceScore> scores) {
  Evaluation sum;
  std::int64_t agreed = 0;
  for (const SequenceScore& score : scores) {
    ++sum.sequences;
    sum.tokens += score.predicted;
    sum.nll += score.nll;
    sum.kl += score.kl;
    agreed += score.agreed;
  }
  const auto tokens = static_cast<double>(std::max<std::int64_t>(sum.tokens, 1));
  sum.nll /= tokens;
  sum.kl /= tokens;
  sum.top1_agreement = static_cast<double>(agreed) / tokens;
  return sum;
}

std::vector<SequenceScore> score_sequences(const Communicator& world, const ops::Context& context,
                                           const ModelSource& model, const ModelSource* reference,
                                           const TokenSet& data, const EvaluationOptions& options,
                                           PhaseTimes* times) {
  const Communicator comm = world.duplicate();
  Models models = {&model};
  if (reference != nullptr) models.push_back(reference);
  const Batches batches(data, options);
  const std::uint64_t limit = memory_per_rank(comm, options.memory_limit, context.device());
  if (reference != nullptr) {
    const std::int64_t ids = ids_of(model, options), reference_ids = ids_of(*reference, options);
    agree(comm, [&] { check_comparable(model.config, ids, reference->config, reference_ids); });
  }
  return options.grid == nullptr ? score_on_stages(comm, context, models, batches, limit, times)
                                 : score_on_shards(comm, context, models, batches, options, limit, times);
}

}  // namespace galapagos
