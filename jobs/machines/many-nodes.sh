# shellcheck shell=bash
# Many nodes with 4 GPUs each, a rank for each GPU: MACHINE=many-nodes, and NODES=16 for another
# number. What is set already stays.
NODES="${NODES:-8}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-16}"                              # cores of a node, over its ranks
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
# A replica a node: what its shards sum does not pass through the network between nodes.
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"                    # a program without NCCL is refused, not slow
