#include <algorithm>
#include <fmt/format.h>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/calibration_batches.hpp>

namespace galapagos {
namespace {

constexpr std::size_t held_out_every = 8;

/// Documents to hold out, sorted: of all, as they come, each that keeps their part below an eighth.
std::vector<std::uint32_t> documents_to_hold_out(const TokenSet& calibration) {
  std::vector<std::uint32_t> order;
  std::map<std::uint32_t, std::uint64_t> tokens;
  for (std::size_t s = 0; s < calibration.sequences(); ++s) {
    const auto [found, first] = tokens.emplace(calibration.documents[s], 0);
    if (first) order.push_back(calibration.documents[s]);
    found->second += calibration.sequence(s).size();
  }
  std::vector<std::uint32_t> held;
  if (order.size() < held_out_every) return held;
  std::uint64_t seen = 0, held_tokens = 0;
  for (const std::uint32_t document : order) {
    seen += tokens[document];
    if ((held_tokens + tokens[document]) * held_out_every > seen) continue;
    held_tokens += tokens[document];
    held.push_back(document);
  }
  const auto shorter = [&](std::uint32_t a, std::uint32_t b) { return tokens[a] < tokens[b]; };
  if (held.empty()) held.push_back(*std::min_element(order.begin(), order.end(), shorter));
  std::sort(held.begin(), held.end());
  return held;
}

/// Puts the sequences of these documents last; how many come before them.
std::size_t put_last(TokenSet& calibration, const std::vector<std::uint32_t>& documents) {
  std::vector<std::uint32_t> order(calibration.sequences());
  for (std::size_t s = 0; s < order.size(); ++s) order[s] = static_cast<std::uint32_t>(s);
  const auto held = std::stable_partition(order.begin(), order.end(), [&](std::uint32_t s) {
    return !std::binary_search(documents.begin(), documents.end(), calibration.documents[s]);
  });
  const auto fitted = static_cast<std::size_t>(held - order.begin());
  calibration = select_sequences(calibration, order);
  return fitted;
}

/// Every eighth batch, smaller ones if that takes it to have one, moved behind the others.
CalibrationBatches hold_out_batches(const TokenSet& calibration, std::int64_t most_tokens) {
  std::vector<Batch> batches = make_batches(calibration.tokens, calibration.offsets, most_tokens);
  while (batches.size() < held_out_every) {
    most_tokens /= 2;
    batches = make_batches(calibration.tokens, calibration.offsets, most_tokens);
  }
  CalibrationBatches found;
  std::vector<Batch> held;
  for (std::size_t b = 0; b < batches.size(); ++b)
    (b % held_out_every == held_out_every - 1 ? held : found.all).push_back(std::move(batches[b]));
  found.fitted = found.all.size();
  std::move(held.begin(), held.end(), std::back_inserter(found.all));
  return found;
}

}  // namespace

CalibrationBatches calibration_batches(TokenSet& calibration, std::int64_t most_tokens,
                                       const std::optional<std::string>& holder_out) {
  if (!holder_out) {
    CalibrationBatches found{make_batches(calibration.tokens, calibration.offsets, most_tokens)};
    found.fitted = found.all.size();
    return found;
  }
  if (calibration.sequences() < held_out_every) {
    throw InputError(
        fmt::format("{} sequences are too few to hold any out", calibration.sequences()), *holder_out,
        fmt::format("give at least {}, with more calibration data or a smaller --sequence-length",
                    held_out_every));
  }
  const std::vector<std::uint32_t> documents = documents_to_hold_out(calibration);
  if (documents.empty()) return hold_out_batches(calibration, most_tokens);
  const std::size_t sequences = put_last(calibration, documents);
  const std::span<const std::uint64_t> offsets(calibration.offsets);
  CalibrationBatches found{make_batches(calibration.tokens, offsets.first(sequences + 1), most_tokens)};
  found.fitted = found.all.size();
  std::vector<Batch> held = make_batches(calibration.tokens, offsets.subspan(sequences), most_tokens);
  std::move(held.begin(), held.end(), std::back_inserter(found.all));
  return found;
}

}  // namespace galapagos
