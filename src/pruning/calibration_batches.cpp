#include <algorithm>
#include <fmt/format.h>
#include <map>

#include <galapagos/core/error.hpp>
#include <galapagos/pruning/calibration_batches.hpp>

namespace galapagos {
namespace {

constexpr std::size_t held_out_every = 8;

/// Documents to hold out, sorted: of all, as they come, each that keeps their part below an eighth. None
/// where there are few.
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

}  // namespace

std::size_t hold_out(TokenSet& text, const std::string& holder_out) {
  if (text.sequences() < held_out_every) {
    throw InputError(
        fmt::format("{} sequences are too few to hold any out", text.sequences()), holder_out,
        fmt::format("give at least {}, with more text or a smaller --sequence-length", held_out_every));
  }
  const std::vector<std::uint32_t> documents = documents_to_hold_out(text);
  return documents.empty() ? text.sequences() - text.sequences() / held_out_every : put_last(text, documents);
}

CalibrationBatches calibration_batches(TokenSet& calibration, std::int64_t most_tokens,
                                       const std::optional<std::string>& holder_out) {
  const std::size_t fitted = holder_out ? hold_out(calibration, *holder_out) : calibration.sequences();
  const std::span<const std::uint64_t> offsets(calibration.offsets);
  CalibrationBatches found{make_batches(calibration.tokens, offsets.first(fitted + 1), most_tokens)};
  found.fitted = found.all.size();
  std::vector<Batch> held = make_batches(calibration.tokens, offsets.subspan(fitted), most_tokens);
  std::move(held.begin(), held.end(), std::back_inserter(found.all));
  return found;
}

}  // namespace galapagos
