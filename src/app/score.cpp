#include "command.hpp"

#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/io/score_requests.hpp>

namespace galapagos::app {

void score_requests(const Communicator& world, const ops::Context& context, const ModelSource& model,
                    const HfConfig& config, const std::filesystem::path& requests,
                    const std::filesystem::path& scores, EvaluationOptions options) {
  const ScoreRequests all = agree_on(world, [&] { return read_score_requests(requests, config); });
  options.context = all.context;
  const std::vector<SequenceScore> found =
      score_sequences(world, context, model, nullptr, all.tokens, options);
  agree_at_root(world, [&] {
    check_finite(found);
    std::string text;
    for (const SequenceScore& score : found) {
      text +=
          fmt::format("{{\"logprob\": {}, \"greedy\": {}}}\n", -score.nll, score.greedy == score.predicted);
    }
    write_file_atomically(scores, text);
  });
}

}  // namespace galapagos::app
