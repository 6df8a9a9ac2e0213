#include "writer.hpp"

#include <algorithm>
#include <utility>

#include <galapagos/core/progress.hpp>
#include <galapagos/ops/least_squares.hpp>

namespace galapagos {
namespace {

/// From which length on a text's heads are turned otherwise; 0: they never are.
std::int64_t turning_length(const HfConfig& config) {
  std::int64_t length = 0;
  for (const RopeSettings* rope : {&config.rope, config.local_rope ? &*config.local_rope : nullptr})
    if (rope != nullptr && rope->depends_on_length()) length = rope->original_positions + 1;
  return length;
}

}  // namespace

Writer::Writer(CachedModel& model, const ops::Context& context, const HfConfig& config,
               const std::vector<std::vector<std::int32_t>>& prompts, std::span<const std::size_t> mine,
               const CacheExtents& extents, const GenerationOptions& options, const TextWatch& watch)
    : model_(model),
      context_(context),
      prompts_(prompts),
      mine_(mine),
      options_(options),
      watch_(watch),
      extents_(extents),
      anew_(turning_length(config)),
      written_(mine.size()) {
  for (std::size_t i = 0; i < mine.size(); ++i) waiting_.push_back(i);
  for (std::int64_t place = extents.places; place > 0; --place) free_places_.push_back(place - 1);
}

void Writer::admit() {
  while (!waiting_.empty() && !free_places_.empty()) {
    const std::size_t which = waiting_.front();
    waiting_.pop_front();
    texts_.push_back({which, free_places_.back(), prompts_[mine_[which]]});
    free_places_.pop_back();
  }
}

void Writer::add_rows(Text& text, std::int64_t rows) {
  rows_.add(text.place, text.given, rows, text.length());
  const auto first = text.ids.begin() + text.given;
  tokens_.insert(tokens_.end(), first, first + rows);
  text.given += rows;
}

void Writer::compute() {
  admit();
  rows_ = {};
  tokens_.clear();
  taken_.clear();
  reads_ = std::ranges::any_of(texts_, [](const Text& text) { return text.length() - text.given > 1; });
  for (std::size_t i = 0; i < texts_.size(); ++i) {
    Text& text = texts_[i];
    const std::int64_t rest = text.length() - text.given, room = extents_.most_tokens - rows_.rows();
    if (reads_ && rest == 1 && text.given > 0) continue;  // a text that is being written
    if (rest > room && room < extents_.most_tokens) continue;
    add_rows(text, std::min(rest, room));  // only one that is longer than all of the room is cut
    taken_.push_back(i);
    if (text.given < text.length()) break;
  }
  const Stopwatch watch;
  logits_ = model_.step(tokens_, rows_);
  synchronise(context_.device());
  (reads_ ? speed_.prompt_tokens : speed_.new_tokens) += std::ssize(tokens_);
  (reads_ ? speed_.prompt_seconds : speed_.new_seconds) += watch.seconds();
}

std::int64_t Writer::written_by(const Text& text) const {
  return text.length() - std::ssize(prompts_[prompt_of(text)]);
}

std::uint64_t Writer::drawing_bytes(const Sampling& sampling, std::int64_t places, std::int64_t slice,
                                    std::int64_t vocabulary, Device device) {
  if (sampling.greedy() || !sampling.filters()) return 0;
  const auto logits = static_cast<std::uint64_t>(places) * static_cast<std::uint64_t>(vocabulary);
  const std::uint64_t gathered = slice < vocabulary ? logits * sizeof(float) : 0;
  return gathered + (device == Device::cpu ? logits * candidate_bytes : 0);
}

/// Of the logits of the whole vocabulary.
std::vector<std::int32_t> Writer::draw_of_few(const Tensor& logits, std::span<const double> uniforms) const {
  OwnedTensor copy;
  if (logits.device != Device::cpu) copy = copy_of(logits, Device::cpu, "logits");
  const Tensor host = copy->empty() ? logits : copy.view();
  std::vector<std::int32_t> ids(uniforms.size());
#pragma omp parallel for schedule(dynamic)
  for (std::size_t row = 0; row < ids.size(); ++row) {
    const Tensor one = host.slice(static_cast<std::int64_t>(row), 1);
    ids[row] = draw_filtered(one.float_span(), options_.sampling, uniforms[row]);
  }
  return ids;
}

std::vector<std::int32_t> Writer::choose_ids(std::span<const Text* const> texts) {
  const Sampling& sampling = options_.sampling;
  std::vector<std::int32_t> ids(texts.size());
  if (sampling.greedy()) {
    model_.losses().arg_max(logits_, ids);
    return ids;
  }
  std::vector<double> uniforms;
  for (const Text* text : texts)
    uniforms.push_back(
        uniform_for(sampling.seed, prompt_of(*text), static_cast<std::uint64_t>(written_by(*text))));
  if (sampling.filters()) {
    const Shards& shards = model_.shards();
    if (shards.alone()) return draw_of_few(logits_, uniforms);
    const OwnedTensor whole = model_.losses().whole(logits_);
    // Exponentials may be rounded otherwise on unlike machines: one of the shards draws for all.
    if (shards.is_root()) ids = draw_of_few(whole, uniforms);
    shards.ranks().broadcast(std::span(ids));
    return ids;
  }
  ops::combine(context_, static_cast<float>(1 / sampling.temperature), logits_, 0, logits_);
  model_.losses().draw(logits_, uniforms, ids);
  return ids;
}

/// Adds the token to the text, and says whether that is its end.
bool Writer::ends(Text& text, std::int32_t id) {
  GeneratedText& result = written_[text.which];
  if (std::ranges::find(options_.end_ids, id) != options_.end_ids.end()) {
    result.reason = StopReason::end;
    return true;
  }
  text.ids.push_back(id);
  result.ids.push_back(id);
  if (watch_ && watch_(prompt_of(text), id)) {
    result.reason = StopReason::word;
    return true;
  }
  if (text.length() == anew_) text.given = 0;
  return written_by(text) == options_.limit(prompt_of(text)) || text.length() == options_.longest;
}

std::vector<std::size_t> Writer::choose() {
  const Stopwatch watch;
  std::vector<const Text*> texts;
  for (const std::size_t i : taken_) texts.push_back(&texts_[i]);
  const std::vector<std::int32_t> ids = choose_ids(texts);
  std::vector<std::size_t> ended;
  for (std::size_t row = 0; row < taken_.size(); ++row) {
    Text& text = texts_[taken_[row]];
    if (text.given < text.length()) continue;  // of a prompt there is more to read
    if (ends(text, ids[row])) ended.push_back(taken_[row]);
  }
  std::vector<std::size_t> which;
  for (auto i = ended.rbegin(); i != ended.rend(); ++i) {
    which.push_back(texts_[*i].which);
    free_places_.push_back(texts_[*i].place);
    texts_.erase(texts_.begin() + static_cast<std::ptrdiff_t>(*i));
  }
  (reads_ ? speed_.prompt_seconds : speed_.new_seconds) += watch.seconds();
  return which;
}

}  // namespace galapagos
