#include "tokenized_blocks.hpp"

#include <utility>

namespace galapagos {

TokenizedBlocks::TokenizedBlocks(std::vector<std::filesystem::path> files, const Tokenizer& tokenizer,
                                 std::optional<std::int32_t> bos, std::uint64_t block_bytes, int rank,
                                 int ranks, bool responses)
    : files_(std::move(files)),
      tokenizer_(tokenizer),
      bos_(bos),
      block_bytes_(block_bytes),
      rank_(rank),
      ranks_(ranks),
      responses_(responses) {}

TokenizedBlock TokenizedBlocks::next_round() {
  TokenizedBlock mine;
  for (int rank = 0; rank < ranks_ && !ended_; ++rank) ended_ = !visit_block(rank == rank_ ? &mine : nullptr);
  return mine;
}

/// Tokenizes the next block, or passes over it where `block` is null; false where there is none.
bool TokenizedBlocks::visit_block(TokenizedBlock* block) {
  std::uint64_t bytes = 0;
  while (bytes < block_bytes_) {
    if (!reader_) {
      if (next_file_ == files_.size()) return false;
      reader_.emplace(files_[next_file_++], TextOptions{}, responses_);
    }
    if (!(block != nullptr ? reader_->next(document_) : reader_->skip())) {
      reader_.reset();
      if (bytes > 0) return true;
      continue;
    }
    bytes += reader_->document_bytes();
    if (block != nullptr) append(*block);
  }
  return true;
}

/// Each part is tokenized by itself, so that no token belongs to two.
void TokenizedBlocks::append(TokenizedBlock& block) const {
  const std::size_t before = block.tokens.size();
  if (bos_) block.tokens.push_back(*bos_);
  const std::size_t first = block.tokens.size();
  std::vector<std::uint8_t> in_loss(first - before, 0);
  for (const TextPart& part : document_) {
    const std::vector<std::int32_t> ids = tokenizer_.encode(part.text);
    block.tokens.insert(block.tokens.end(), ids.begin(), ids.end());
    in_loss.insert(in_loss.end(), ids.size(), part.response ? 1 : 0);
  }
  if (block.tokens.size() == first) {
    block.tokens.resize(before);
    ++block.empty_documents;
    return;
  }
  block.lengths.push_back(static_cast<std::uint32_t>(block.tokens.size() - before));
  if (responses_) block.in_loss.insert(block.in_loss.end(), in_loss.begin(), in_loss.end());
}

}  // namespace galapagos
