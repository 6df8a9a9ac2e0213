#include "text_tally.hpp"
#include "tokenized_blocks.hpp"

#include <algorithm>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/hash.hpp>
#include <galapagos/io/mds.hpp>
#include <galapagos/io/token_file.hpp>
#include <galapagos/io/token_source.hpp>

namespace galapagos {
namespace {

using Paths = std::vector<std::filesystem::path>;

constexpr std::uint64_t block_bytes = std::uint64_t{64} << 10;

/// Documents gathered on the root; `total` is known to every rank.
struct Gathered {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint64_t> lengths;
  std::vector<std::uint8_t> in_loss;  // of each token, where responses are asked for
  std::uint64_t total = 0;
  std::string nothing_in;  // on the root: files of text without any
};

void check_ids(const std::vector<std::int32_t>& ids, std::int32_t vocab_size, const std::string& where,
               const char* remedy) {
  const auto highest = std::max_element(ids.begin(), ids.end());
  if (highest == ids.end() || *highest < vocab_size) return;
  throw InputError(fmt::format("token id {} is beyond the model's {} ids", *highest, vocab_size), where,
                   remedy);
}

void append_document(std::vector<std::int32_t>& ids, const std::string& where, const SequenceOptions& options,
                     std::int32_t vocab_size, Gathered& gathered) {
  if (ids.empty()) return;
  check_ids(ids, vocab_size, where, "was it made with another tokenizer?");
  if (options.bos) ids.insert(ids.begin(), *options.bos);
  gathered.tokens.insert(gathered.tokens.end(), ids.begin(), ids.end());
  gathered.lengths.push_back(ids.size());
  gathered.total += ids.size();
}

void read_token_file(const std::filesystem::path& path, const SequenceOptions& options, std::uint64_t budget,
                     std::int32_t vocab_size, Gathered& gathered) {
  std::vector<std::int32_t> ids;
  if (is_mds_folder(path)) {
    MdsReader shards(path);
    const std::size_t column = mds_token_column(shards).value();
    while (gathered.total < budget && shards.next()) {
      read_mds_tokens(shards, column, ids);
      append_document(ids, shards.where(), options, vocab_size, gathered);
    }
    return;
  }
  const TokenFile file = TokenFile::open(path);
  for (std::size_t i = 0; i < file.documents() && gathered.total < budget; ++i) {
    file.read(i, ids, budget - gathered.total);
    append_document(ids, path.string(), options, vocab_size, gathered);
  }
}

void load_token_file(const Communicator& comm, const std::filesystem::path& path,
                     const SequenceOptions& options, std::uint64_t budget, std::int32_t vocab_size,
                     Gathered& gathered) {
  agree_at_root(comm, [&] { read_token_file(path, options, budget, vocab_size, gathered); });
  gathered.total = comm.broadcast_value(gathered.total);
}

void load_text_files(const Communicator& comm, const Paths& files, const Tokenizer& tokenizer,
                     const SequenceOptions& options, std::uint64_t budget, std::int32_t vocab_size,
                     Gathered& gathered) {
  TokenizedBlocks blocks(files, tokenizer, options.bos, block_bytes, comm.rank(), comm.size(), options.text,
                         options.responses_only);
  TextTally tally(comm, files, options.text);
  const std::uint64_t before = gathered.total;
  while (!blocks.ended() && before + tally.tokens() < budget) {
    const TokenizedBlock mine = agree_on(comm, [&] {
      TokenizedBlock block = blocks.next_round();
      check_ids(block.tokens, vocab_size, tokenizer.description(), "use the tokenizer of this model");
      return block;
    });
    tally.add(mine, budget - before);
    const auto tokens = comm.gather(std::span<const std::int32_t>(mine.tokens));
    const auto lengths = comm.gather(std::span<const std::uint32_t>(mine.lengths));
    const auto in_loss = comm.gather(std::span<const std::uint8_t>(mine.in_loss));
    agree(comm, [&] {
      gathered.tokens.insert(gathered.tokens.end(), tokens.begin(), tokens.end());
      gathered.lengths.insert(gathered.lengths.end(), lengths.begin(), lengths.end());
      gathered.in_loss.insert(gathered.in_loss.end(), in_loss.begin(), in_loss.end());
    });
  }
  tally.finish(before + tally.tokens() < budget);
  gathered.total += tally.tokens();
  if (gathered.nothing_in.empty()) gathered.nothing_in = tally.nothing_in();
}

Gathered gather_documents(const Communicator& comm, const Paths& files, const Tokenizer* tokenizer,
                          const SequenceOptions& options, std::uint64_t budget, std::int32_t vocab_size) {
  // One rank's view of the file system decides, so that all take the same way.
  std::vector<char> kinds(files.size());
  agree_at_root(comm, [&] {
    std::transform(files.begin(), files.end(), kinds.begin(), [&](const auto& file) {
      if (is_token_file(file)) {
        if (!options.responses_only) return 1;
        throw InputError("token files do not say what is a response", file.string(),
                         "give .jsonl with \"prompt\" and \"response\" or \"messages\", or --loss-on all");
      }
      if (tokenizer != nullptr) return 0;
      throw InputError("text needs a tokenizer", file.string(),
                       "put tokenizer.json or tokenizer.model beside the model, or give token files");
    });
  });
  comm.broadcast(std::span<char>(kinds));
  Gathered gathered;
  for (std::size_t i = 0; i < files.size() && gathered.total < budget;) {
    if (kinds[i] != 0) {
      load_token_file(comm, files[i++], options, budget, vocab_size, gathered);
      continue;
    }
    Paths texts;
    while (i < files.size() && kinds[i] == 0) texts.push_back(files[i++]);
    load_text_files(comm, texts, *tokenizer, options, budget, vocab_size, gathered);
  }
  return gathered;
}

TokenSet cut_into_sequences(Gathered gathered, std::uint64_t sequence_length) {
  TokenSet set;
  for (std::size_t i = 0; i < gathered.lengths.size(); ++i) {
    const std::uint64_t begin = set.offsets.back();
    const std::uint64_t end = std::min<std::uint64_t>(begin + gathered.lengths[i], gathered.tokens.size());
    for (std::uint64_t at = begin; at < end;) {
      at = std::min(at + sequence_length, end);
      set.offsets.push_back(at);
      set.documents.push_back(static_cast<std::uint32_t>(i));
    }
  }
  set.tokens = std::move(gathered.tokens);
  set.in_loss = std::move(gathered.in_loss);
  return set;
}

}  // namespace

std::int64_t TokenSet::predicted(std::size_t i) const {
  const auto length = static_cast<std::int64_t>(offsets[i + 1] - offsets[i]);
  if (length < 2) return 0;
  if (in_loss.empty()) return length - 1;
  const auto first = in_loss.begin() + static_cast<std::ptrdiff_t>(offsets[i]);
  return (length - 1) - std::count(first + 1, first + length, 0);
}

std::int64_t predicted_tokens(const TokenSet& sequences) {
  std::int64_t predicted = 0;
  for (std::size_t s = 0; s < sequences.sequences(); ++s) predicted += sequences.predicted(s);
  return predicted;
}

TokenSet select_sequences(const TokenSet& data, std::span<const std::uint32_t> sequences) {
  TokenSet selected;
  for (const std::uint32_t s : sequences) {
    const std::span<const std::int32_t> sequence = data.sequence(s);
    selected.tokens.insert(selected.tokens.end(), sequence.begin(), sequence.end());
    selected.offsets.push_back(selected.tokens.size());
    if (!data.documents.empty()) selected.documents.push_back(data.documents[s]);
    if (data.in_loss.empty()) continue;
    const auto first = data.in_loss.begin() + static_cast<std::ptrdiff_t>(data.offsets[s]);
    selected.in_loss.insert(selected.in_loss.end(), first,
                            first + static_cast<std::ptrdiff_t>(sequence.size()));
  }
  return selected;
}

std::uint64_t TokenSet::fingerprint() const {
  return Hash64()
      .add(std::as_bytes(std::span(tokens)))
      .add(std::as_bytes(std::span(offsets)))
      .add(std::as_bytes(std::span(in_loss)))
      .value();
}

TokenSet load_sequences(const Communicator& comm, const std::vector<std::filesystem::path>& files,
                        const Tokenizer* tokenizer, const SequenceOptions& options, std::int32_t vocab_size) {
  agree(comm, [&] {
    if (options.sequence_length < 1 || options.token_budget < 0) {
      throw UsageError(fmt::format("sequences of {} tokens, {} tokens in all", options.sequence_length,
                                   options.token_budget),
                       "token source", "give a sequence length of at least 1 and a budget of at least 0");
    }
    if (options.bos && (*options.bos < 0 || *options.bos >= vocab_size)) {
      throw InputError(fmt::format("BOS token {} is beyond the model's {} ids", *options.bos, vocab_size),
                       "token source", "use the tokenizer of this model");
    }
  });
  const bool all = options.token_budget == 0;
  const auto budget = all ? UINT64_MAX : static_cast<std::uint64_t>(options.token_budget);
  Gathered gathered = gather_documents(comm, files, tokenizer, options, budget, vocab_size);
  agree(comm, [&] {
    const std::string where = files.empty() ? "" : files.front().string();
    if (gathered.total == 0) {
      throw InputError("the data is empty", gathered.nothing_in.empty() ? where : gathered.nothing_in,
                       "give files with text or tokens");
    }
    if (!all && !options.fewer && gathered.total < budget) {
      throw InputError(fmt::format("calibration data too short: {} tokens, {} asked", gathered.total, budget),
                       where, "give more data or ask for fewer tokens");
    }
    gathered.total = std::min(gathered.total, budget);
    gathered.tokens.resize(gathered.total);
    if (options.responses_only) gathered.in_loss.resize(gathered.total);
  });
  comm.broadcast(std::span<std::int32_t>(gathered.tokens));
  comm.broadcast(std::span<std::uint8_t>(gathered.in_loss));
  comm.broadcast(gathered.lengths);
  return agree_on(comm, [&] {
    return cut_into_sequences(std::move(gathered), static_cast<std::uint64_t>(options.sequence_length));
  });
}

}  // namespace galapagos
