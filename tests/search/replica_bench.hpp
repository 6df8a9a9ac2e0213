#pragma once

#include "model_search.hpp"

#include <limits>

namespace galapagos::test {

/// A replica with its own store and the answers of the unpruned model; with `sharded` all ranks of `comm`
/// hold it together. Making one is collective.
struct ReplicaBench {
  const ModelSearch& model;
  DType precision;
  ops::Context context;
  LevelStore store;
  Shards shards;
  Replica replica;
  std::vector<float> answers;

  ReplicaBench(const Communicator& comm, const ModelSearch& of, DType type, LevelHome home = LevelHome::file,
               std::uint64_t cache_limit = std::numeric_limits<std::uint64_t>::max(), bool sharded = false,
               std::uint64_t kept_logits = 0)
      : model(of),
        precision(type),
        store(comm, of.database, of.space, home),
        shards(sharded ? make_mpi_collectives(comm) : nullptr,
               sharded ? part_of_vocabulary(of.config.vocab_size, comm.rank(), comm.size()).first : 0),
        replica(context, of.checkpoint, of.config, of.space, store, type, 64, 64, cache_limit, shards,
                kept_logits),
        answers(dense_answers(replica, of)) {}

  std::vector<double> fitness(const Fitness& kind, const Assignment& base,
                              const std::vector<Assignment>& candidates, const TokenDraw& draw) {
    return replica.fitness(kind, base, candidates, model.pool, draw, answers, {}).value();
  }
  std::vector<double> tuned(const Fitness& kind, const FineTuning& tuning,
                            const std::vector<Assignment>& candidates, const TokenDraw& training,
                            const TokenDraw& draw) {
    return replica.tuned_fitness(kind, tuning, candidates, training, model.pool, draw, answers, {}).value();
  }
};

inline TokenDraw draw_of(const ModelSearch& model, std::int64_t tokens, std::uint32_t which = 0) {
  return draw_tokens(model.pool, tokens, RandomStream(3, {0, which, 0, 9}));
}

}  // namespace galapagos::test
