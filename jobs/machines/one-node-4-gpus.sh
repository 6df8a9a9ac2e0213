# shellcheck shell=bash
# One node with 4 GPUs, a rank for each: MACHINE=one-node-4-gpus. What is set already stays.
NODES="${NODES:-1}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-16}"                              # cores of the node, over its ranks
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
# All GPUs hold one replica. Where a model fits fewer of them, fewer shards leave more replicas,
# which exchange nothing while they compute: galapagos plan search --shards S.
SHARDS="${SHARDS:-4}"
COLLECTIVES="${COLLECTIVES:-nccl}"                    # a program without NCCL is refused, not slow
