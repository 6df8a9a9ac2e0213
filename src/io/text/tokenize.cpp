#include "text_tally.hpp"
#include "token_writer.hpp"
#include "tokenized_blocks.hpp"

#include <fcntl.h>
#include <numeric>
#include <optional>
#include <string>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/tokenize.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t input_block_bytes = std::uint64_t{1} << 20;

void name_outputs(const fs::path& output, TokenizeSummary& summary) {
  const bool suffixed = output.extension() == ".bin" || output.extension() == ".idx";
  const std::string prefix = suffixed ? fs::path(output).replace_extension().string() : output.string();
  summary.bin = prefix + ".bin";
  summary.idx = prefix + ".idx";
}

void refuse_existing(const fs::path& path) {
  if (fs::exists(path)) {
    throw InputError("exists already", path.string(), "remove it or give another output");
  }
}

/// The files under their names while unfinished; the root removes them where the writing fails.
struct PartFiles {
  PartFiles(const Communicator& comm, const TokenizeSummary& summary)
      : bin(part_path(summary.bin)), idx(part_path(summary.idx)), unfinished(comm.is_root()) {}
  ~PartFiles() {
    if (!unfinished) return;
    std::error_code ignored;
    fs::remove(bin, ignored);
    fs::remove(idx, ignored);
  }
  PartFiles(const PartFiles&) = delete;
  PartFiles& operator=(const PartFiles&) = delete;

  const fs::path bin;
  const fs::path idx;
  bool unfinished;
};

/// Tokens that the ranks before this one bring in a round.
std::uint64_t tokens_before(const std::vector<std::uint64_t>& counts, int rank) {
  return std::accumulate(counts.begin(), counts.begin() + rank, std::uint64_t{0});
}

}  // namespace

TokenizeSummary tokenize_files(const Communicator& comm, const Tokenizer& tokenizer,
                               const std::vector<fs::path>& inputs, const fs::path& output, bool add_bos,
                               const TextOptions& text) {
  TokenizeSummary summary;
  name_outputs(output, summary);
  summary.bytes_per_token = megatron_token_bytes(tokenizer.vocab_size());
  agree(comm, [&] {
    if (add_bos && !tokenizer.bos_id()) {
      throw InputError("has no BOS token", tokenizer.description(), "tokenize without BOS");
    }
  });
  agree_at_root(comm, [&] {
    // One without tokens is no one's: a killed run has left it.
    refuse_existing(summary.bin);
  });

  PartFiles parts(comm, summary);
  std::optional<IndexWriter> index;
  agree_at_root(comm, [&] {
    index.emplace(parts.idx, summary.bytes_per_token);
    FileDescriptor(parts.bin, O_WRONLY | O_CREAT | O_TRUNC);
  });
  auto bin = agree_on(comm, [&] { return FileDescriptor(parts.bin, O_WRONLY); });
  TokenizedBlocks blocks(inputs, tokenizer, add_bos ? tokenizer.bos_id() : std::nullopt, input_block_bytes,
                         comm.rank(), comm.size(), text);
  TextTally tally(comm, inputs, text);
  while (!blocks.ended()) {
    const TokenizedBlock mine = agree_on(comm, [&] { return blocks.next_round(); });
    tally.add(mine);
    const auto counts = comm.all_gather<std::uint64_t>(mine.tokens.size());
    const std::uint64_t first = summary.tokens + tokens_before(counts, comm.rank());
    const auto lengths = comm.gather(std::span<const std::uint32_t>(mine.lengths));
    agree(comm, [&] {
      bin.write_at(pack_tokens(mine.tokens, summary.bytes_per_token),
                   first * static_cast<std::uint64_t>(summary.bytes_per_token));
      if (index) index->append(lengths);
    });
    summary.tokens += tokens_before(counts, comm.size());
    summary.documents +=
        static_cast<std::uint64_t>(comm.sum(static_cast<std::int64_t>(mine.facts.documents)));
    summary.empty_documents +=
        static_cast<std::uint64_t>(comm.sum(static_cast<std::int64_t>(mine.facts.empty_documents)));
  }
  tally.finish(true);
  agree(comm, [&] {
    if (summary.tokens == 0) {
      throw InputError("the text is empty", tally.nothing_in(), "give files with text");
    }
    bin.sync();
    if (index) index->finish();
  });
  agree_at_root(comm, [&] {
    index.reset();
    publish_file(parts.idx, summary.idx);  // without tokens it is what a killed run has left
    publish_file(parts.bin, summary.bin);
    parts.unfinished = false;
  });
  return summary;
}

}  // namespace galapagos
