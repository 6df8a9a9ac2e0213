#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include <galapagos/comm/communicator.hpp>
#include <galapagos/io/hf_config.hpp>
#include <galapagos/io/token_source.hpp>
#include <galapagos/io/tokenizer.hpp>

namespace galapagos {

/// Multiple-choice questions as token ids. Each choice of each question is a sequence of its own, behind the
/// question's context.
struct ChoiceQuestions {
  TokenSet tokens;
  std::vector<std::int64_t> context;     ///< of each sequence, the tokens that are not scored
  std::vector<double> bytes;             ///< of each sequence's choice, without white space around it
  std::vector<std::size_t> first = {0};  ///< sequence of each question, and their end
  std::vector<std::size_t> answers;      ///< of each question, the sequence of its right choice

  std::size_t count() const { return answers.size(); }
  std::int64_t longest() const;  ///< tokens of a sequence; 0 where there is none
  /// Checksum of ids, what is scored of them, and the answers.
  std::uint64_t fingerprint() const;
};

/// From lines {"context": "...", "choices": ["...", "..."], "answer": 0}. A choice follows the context as it
/// is; white space at the context's end is the choice's, as tokens begin with it. InputError, naming the
/// line, where a text is empty or a choice adds no token, there is but one choice, the answer is none of
/// them, or the model does not take as many tokens.
ChoiceQuestions read_choices(const std::filesystem::path& path, const Tokenizer& tokenizer,
                             std::optional<std::int32_t> bos, const HfConfig& config);

/// Collective. The same on every rank, with the tokenizer in a model's folder.
ChoiceQuestions load_choices(const Communicator& comm, const std::filesystem::path& path,
                             const std::filesystem::path& model, const HfConfig& config, bool add_bos);

/// Tokens of all sequences of a file of questions, for plans: at so many bytes a token as English text has, 0
/// where there is no such file. Lines that are none of a question are passed over.
std::int64_t assumed_choice_tokens(const std::filesystem::path& path);

}  // namespace galapagos
