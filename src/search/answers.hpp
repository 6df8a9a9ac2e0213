#pragma once

#include <functional>
#include <optional>
#include <string>

#include <galapagos/comm/node_buffer.hpp>
#include <galapagos/model/replicas.hpp>
#include <galapagos/search/replica.hpp>

namespace galapagos {

/// Collective over `comm`, of which `node` are the ranks of this one's node. The unpruned model's last hidden
/// states for the pool, [tokens, hidden] fp32, in memory that a node's ranks share; the replicas of a node
/// compute a part each. StoppedEarly where `interrupted` names a reason; ResourceError where a node's memory
/// is too small.
NodeBuffer compute_answers(const Communicator& comm, const Communicator& node, const ReplicaGrid& grid,
                           const Shards& shards, const TokenSet& pool, std::int64_t hidden_size,
                           Replica& replica, std::int64_t batch_tokens,
                           const std::function<std::optional<std::string>()>& interrupted);

}  // namespace galapagos
