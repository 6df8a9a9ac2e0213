#include "answers.hpp"

#include <exception>
#include <fmt/format.h>

#include <galapagos/comm/agreement.hpp>
#include <galapagos/comm/failure_board.hpp>
#include <galapagos/core/error.hpp>
#include <galapagos/core/progress.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/core/system.hpp>
#include <galapagos/core/text.hpp>

namespace galapagos {

NodeBuffer compute_answers(const Communicator& comm, const Communicator& node, const ReplicaGrid& grid,
                           const Shards& shards, const TokenSet& pool, std::int64_t hidden_size,
                           Replica& replica, std::int64_t batch_tokens,
                           const std::function<std::optional<std::string>()>& interrupted) {
  const auto hidden = static_cast<std::size_t>(hidden_size);
  const std::size_t bytes = pool.tokens.size() * hidden * sizeof(float);
  agree(comm, [&] {
    if (const std::uint64_t free = available_memory(); node.is_root() && bytes > free) {
      throw ResourceError(
          fmt::format("the unpruned model's answers need {} of a node's memory, of which {} are free",
                      human_bytes(bytes), human_bytes(free)),
          "--calibration-tokens", "use fewer calibration tokens");
    }
  });
  NodeBuffer buffer(node, bytes);
  auto* answers = reinterpret_cast<float*>(buffer.bytes().data());
  const Turn turn = turn_on_node(node.all_gather(grid.replica()), grid.replica(), grid.shards());
  FailureBoard board(comm);
  const std::vector<Batch> batches = make_batches(pool.tokens, pool.offsets, batch_tokens);
  Progress progress("answers of the unpruned model, batches",
                    static_cast<std::int64_t>(batches.size() / turn.of));
  for (std::size_t b = turn.first; b < batches.size(); b += turn.of) {
    board.attempt([&] {  // also a shard that follows may get the signal
      if (const auto reason = interrupted()) {
        throw StoppedEarly(fmt::format("stopped by {} before the first generation of this run", *reason),
                           "search", go_on);
      }
    });
    if (shards.root_says(board.failed())) break;
    const Batch& batch = batches[b];
    const auto at = static_cast<std::size_t>(batch.tokens.data() - pool.tokens.data()) * hidden;
    std::exception_ptr failure;  // what does not end all ranks comes on all shards
    try {
      replica.dense_answers(batch, {answers + at, batch.tokens.size() * hidden});
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure && shards.is_root()) board.attempt([&] { std::rethrow_exception(failure); });
    progress.advance();
  }
  board.settle();
  buffer.synchronise(node);
  return buffer;
}

}  // namespace galapagos
