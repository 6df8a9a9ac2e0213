#include "text_tally.hpp"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <system_error>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {
namespace {

/// More replaced characters than a few in each thousand, begun or whole.
bool is_hardly_utf8(const TextCounts& counts) {
  return counts.replaced() * 1000 > 3 * std::max<std::uint64_t>(counts.characters, 1000);
}

/// So many that nothing which follows makes up for it.
bool is_no_utf8(const TextCounts& counts) {
  return counts.replaced() > 100 && counts.replaced() * 1000 > 20 * counts.characters;
}

void add_counts(TextFacts& sum, const TextFacts& more) {
  sum.web_page = sum.web_page || more.web_page;
  sum.tokens += more.tokens;
  sum.documents += more.documents;
  sum.empty_documents += more.empty_documents;
  sum.bad_records += more.bad_records;
  sum.counts.characters += more.counts.characters;
  sum.counts.invalid += more.counts.invalid;
  sum.counts.surrogates += more.counts.surrogates;
  sum.counts.bare_chats += more.counts.bare_chats;
  sum.counts.zeros += more.counts.zeros;
}

constexpr std::uint64_t most_named = 5;  // files without any text

/// Why there is no token in a file.
std::string why_nothing(const std::filesystem::path& path, const TextFacts& facts) {
  std::error_code ignored;
  if (std::filesystem::file_size(path, ignored) == 0) return "0 bytes";
  if (facts.empty_documents > 0) return fmt::format("{} empty texts", human_count(facts.empty_documents));
  return facts.bad_records > 0 ? "only bad records" : "no record";
}

}  // namespace

void TextTally::add(const TokenizedBlock& mine, std::uint64_t budget) {
  const std::vector<TextFacts> all = comm_.all_gather(mine.facts);
  std::int32_t readable = INT32_MAX;
  for (const TextFacts& facts : all) readable = std::min(readable, facts.failed_at);
  for (int rank = 0; rank < std::min(comm_.size(), readable) && tokens_ < budget; ++rank) {
    const TextFacts& facts = all[static_cast<std::size_t>(rank)];
    if (facts.records() > 0) add_block(facts, mine.fault, rank);
  }
  if (readable == INT32_MAX || tokens_ >= budget) return;
  agree(comm_, [&] {
    if (mine.failure) std::rethrow_exception(mine.failure);
  });
}

void TextTally::add_block(const TextFacts& facts, const std::string& fault, int owner) {
  while (file_ < facts.file) close_file();
  if (facts_.bad_records == 0 && facts.bad_records > 0) fault_ = comm_.broadcast_string(fault, owner);
  add_counts(facts_, facts);
  tokens_ += facts.tokens;
  const auto allowed = static_cast<std::uint64_t>(options_.skip_bad_lines);
  if (facts_.bad_records > allowed) {
    agree_at_root(comm_, [&] {
      if (allowed == 0) throw InputError(fault_, {}, {});
      throw InputError(
          fmt::format("more than {} records have no usable text, the first: {}", allowed, fault_), {},
          "correct the file, or raise --skip-bad-lines");
    });
  }
  if (!options_.allow_invalid_utf8 && is_no_utf8(facts_.counts)) refuse_invalid();
}

void TextTally::finish(bool all) {
  while (file_ < files_.size() && (all || facts_.records() > 0)) close_file();
  if (empty_files_ > most_named)
    nothing_in_ += fmt::format(" and {} more", human_count(empty_files_ - most_named));
  if (tokens_ > 0 && !nothing_in_.empty() && comm_.is_root()) log_warning("no text in {}", nothing_in_);
}

void TextTally::close_file() {
  const std::filesystem::path& path = files_[file_];
  const TextCounts& counts = facts_.counts;
  if (!options_.allow_invalid_utf8 && is_hardly_utf8(counts)) refuse_invalid();
  if (comm_.is_root()) {
    if (facts_.web_page)
      log_warning("{} begins like an HTML page, and is taken as text all the same", path.string());
    if (counts.invalid > 0) {
      log_warning("{}: {} of {} characters are not UTF-8 and became U+FFFD", path.string(),
                  human_count(counts.invalid), human_count(counts.characters));
    }
    if (counts.surrogates > 0) {
      log_warning("{}: {} escapes of half a character became U+FFFD", path.string(),
                  human_count(counts.surrogates));
    }
    if (counts.bare_chats > 0) {
      log_warning("{}: {} conversations taken as their contents alone: the model has no chat template",
                  path.string(), human_count(counts.bare_chats));
    }
    if (counts.zeros > 0)
      log_warning("{}: {} characters are zero bytes: is the file whole?", path.string(),
                  human_count(counts.zeros));
    if (facts_.bad_records > 0) {
      log_warning("{}: {} of {} records passed over, the first: {}", path.string(),
                  human_count(facts_.bad_records), human_count(facts_.records()), fault_);
    }
    if (facts_.tokens == 0 && ++empty_files_ <= most_named)
      nothing_in_ +=
          fmt::format("{}{} ({})", nothing_in_.empty() ? "" : ", ", path.string(), why_nothing(path, facts_));
  }
  facts_ = {};
  ++file_;
}

void TextTally::refuse_invalid() const {
  const TextCounts& counts = facts_.counts;
  const bool bytes = counts.invalid >= counts.surrogates;
  const std::string what = fmt::format(
      "{} of the first {} characters {}", human_count(bytes ? counts.invalid : counts.surrogates),
      human_count(counts.characters), bytes ? "are not UTF-8" : "are halves of characters, as \\ud83d");
  agree_at_root(comm_, [&] {
    throw InputError(
        what, files_[file_].string(),
        bytes ? "convert it from its encoding, often Latin-1, Windows-1252 or GBK: iconv -f LATIN1 -t "
                "UTF-8 FILE > NEW; or read U+FFFD in their place with --allow-invalid-utf8"
              : "correct what wrote them, or read U+FFFD in their place with --allow-invalid-utf8");
  });
}

}  // namespace galapagos
