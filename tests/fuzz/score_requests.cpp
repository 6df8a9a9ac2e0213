#include "target.hpp"

#include <galapagos/io/score_requests.hpp>

// Lines of a file given to eval --score.
namespace galapagos::fuzz {
namespace {

void read(std::string_view input) {
  static const Folder folder;
  HfConfig config;
  config.vocab_size = 100;
  config.max_position_embeddings = 8;
  const ScoreRequests requests = read_score_requests(folder.write("x.jsonl", input), config);
  for (std::size_t i = 0; i < requests.tokens.sequences(); ++i) {
    const auto length = std::ssize(requests.tokens.sequence(i));
    if (requests.context[i] < 1 || requests.context[i] >= length || length > 9)
      throw std::logic_error("a request without a context or a continuation, or too long");
  }
}

const Target target("score_requests", read);

}  // namespace
}  // namespace galapagos::fuzz
