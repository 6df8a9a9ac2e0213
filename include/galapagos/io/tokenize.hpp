#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/text_options.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

struct TokenizeSummary {
  std::uint64_t documents = 0;
  std::uint64_t tokens = 0;
  std::uint64_t empty_documents = 0;  ///< without any token; left out
  int bytes_per_token = 0;
  std::filesystem::path bin;
  std::filesystem::path idx;
};

/// Collective. Writes the tokens of text files as Megatron's `output`.bin and `output`.idx (`output` may also
/// name one of the two), one sequence per document, the same bytes for any number of ranks, which share the
/// work. InputError where an input cannot be used, there are no tokens, BOS is asked for and the tokenizer
/// has none, or an output file exists already.
TokenizeSummary tokenize_files(const Communicator& comm, const Tokenizer& tokenizer,
                               const std::vector<std::filesystem::path>& inputs,
                               const std::filesystem::path& output, bool add_bos,
                               const TextOptions& text = {});

}  // namespace galapagos
