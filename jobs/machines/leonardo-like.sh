# shellcheck shell=bash
# Nodes with 4 A100 of 64 GB and one processor of 32 cores on InfiniBand HDR, as Leonardo's Booster
# (CINECA), a rank for each GPU: MACHINE=leonardo-like. What is set already stays. Sources:
# jobs/machines/README.md.
NODES="${NODES:-4}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-8}"
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"                    # NCCL finds InfiniBand by itself
QUEUE="${QUEUE:-boost_usr_prod}"
STRIPES="${STRIPES:-8}"                               # Lustre; what its wiki has for large shared files
STRIPE_SIZE="${STRIPE_SIZE:-4M}"
