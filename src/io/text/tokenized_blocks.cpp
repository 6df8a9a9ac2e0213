#include "tokenized_blocks.hpp"

#include "../tokenizer/encode_parts.hpp"

#include <fmt/format.h>
#include <utility>

namespace galapagos {

TokenizedBlocks::TokenizedBlocks(std::vector<std::filesystem::path> files, const Tokenizer& tokenizer,
                                 std::optional<std::int32_t> bos, std::uint64_t block_bytes, int rank,
                                 int ranks, TextOptions options, bool responses)
    : files_(std::move(files)),
      tokenizer_(tokenizer),
      bos_(bos),
      block_bytes_(block_bytes),
      rank_(rank),
      ranks_(ranks),
      options_(std::move(options)),
      responses_(responses) {}

TokenizedBlock TokenizedBlocks::next_round() {
  TokenizedBlock mine;
  int rank = 0;
  try {
    for (; rank < ranks_ && !ended_; ++rank) ended_ = !visit_block(rank == rank_ ? &mine : nullptr);
  } catch (const Error&) {
    if (rank == rank_) mine = {};
    mine.failure = std::current_exception();
    mine.facts.failed_at = rank;
    ended_ = true;
  }
  return mine;
}

/// Tokenizes the next block, or passes over it where `block` is null; false where there is none.
bool TokenizedBlocks::visit_block(TokenizedBlock* block) {
  std::uint64_t bytes = 0;
  while (bytes < block_bytes_) {
    if (!reader_) {
      if (next_file_ == files_.size()) return false;
      reader_.emplace(files_[next_file_++], options_, responses_);
    }
    if (!(block != nullptr ? read_into(*block) : reader_->skip())) {
      reader_.reset();
      if (bytes > 0) return true;
      continue;
    }
    bytes += reader_->document_bytes();
  }
  return true;
}

/// Appends the next document, or notes what is wrong with it; false at the end of the file.
bool TokenizedBlocks::read_into(TokenizedBlock& block) {
  block.facts.file = next_file_ - 1;
  block.facts.web_page = reader_->web_page();
  try {
    if (!reader_->next(document_)) return false;
    append(block);
  } catch (const BadRecord& bad) {
    if (block.facts.bad_records++ == 0) block.fault = options_.skip_bad_lines > 0 ? bad.fault() : bad.what();
  }
  return true;
}

EncodedParts TokenizedBlocks::encode() const {
  try {
    return encode_parts(tokenizer_, document_, bos_);
  } catch (const InputError& error) {
    throw BadRecord(fmt::format("has what the tokenizer refuses: {}", error.what()), reader_->where(),
                    "or go on past such records with --skip-bad-lines N");
  }
}

void TokenizedBlocks::append(TokenizedBlock& block) const {
  TextCounts& counts = block.facts.counts;
  counts.characters += reader_->counts().characters;
  counts.invalid += reader_->counts().invalid;
  counts.surrogates += reader_->counts().surrogates;
  counts.zeros += reader_->counts().zeros;
  counts.bare_chats += reader_->counts().bare_chats;
  const EncodedParts encoded = encode();
  if (encoded.ids.empty()) {
    ++block.facts.empty_documents;
    return;
  }
  block.tokens.insert(block.tokens.end(), encoded.ids.begin(), encoded.ids.end());
  ++block.facts.documents;
  block.facts.tokens += encoded.ids.size();
  block.lengths.push_back(static_cast<std::uint32_t>(encoded.ids.size()));
  if (responses_) block.in_loss.insert(block.in_loss.end(), encoded.in_loss.begin(), encoded.in_loss.end());
}

}  // namespace galapagos
