# shellcheck shell=bash
# One node with 8 GPUs, a rank for each: MACHINE=one-node-8-gpus. What is set already stays.
NODES="${NODES:-1}"
RANKS_PER_NODE="${RANKS_PER_NODE:-8}"
THREADS="${THREADS:-12}"                              # cores of the node, over its ranks
GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
# Two replicas; where they do not fit, take 8: galapagos plan search --shards S.
SHARDS="${SHARDS:-4}"
COLLECTIVES="${COLLECTIVES:-nccl}"                    # a program without NCCL is refused, not slow
