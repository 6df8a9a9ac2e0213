# shellcheck shell=bash
# Nodes with 4 GH200 on InfiniBand NDR, as JUPITER's Booster (JSC), a rank for each GPU:
# MACHINE=jupiter-like. What is set already stays. Sources: jobs/machines/README.md.
NODES="${NODES:-4}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-72}"                              # cores beside each GPU, a NUMA domain
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"                    # NCCL finds InfiniBand by itself
# Storage Scale (GPFS) spreads every file over all of its disks: no STRIPES.
