#pragma once

#include <filesystem>
#include <vector>

#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/token_source.hpp>

namespace galapagos {

/// How much of a text or token file is used, and how it is cut.
struct SequenceRequest {
  std::int64_t sequence_length = 0;
  std::int64_t token_budget = 0;  ///< 0: everything
  bool add_bos = false;           ///< a BOS token in front of every sequence
  bool fewer = false;             ///< a text with fewer tokens than the budget will do
  bool responses_only = false;    ///< only tokens of responses count in a loss
  TextOptions text = {};          ///< how files of text are read
};

/// The sequence length asked for, or where that is 0 the longest the model takes, at most 8192. UsageError
/// where the model does not take as long a one.
std::int64_t checked_sequence_length(std::int64_t asked, const HfConfig& config);

/// Collective. load_sequences() for a model's folder: its tokenizer where a file is text, its BOS token where
/// one is asked for (UsageError where it has none), its vocabulary as the bound of ids.
TokenSet load_model_sequences(const Communicator& comm, const std::vector<std::filesystem::path>& files,
                              const std::filesystem::path& model, const HfConfig& config,
                              const SequenceRequest& request);

}  // namespace galapagos
