# shellcheck shell=bash
# Nodes with 4 A100 and two processors of 24 cores on InfiniBand HDR, as JUWELS Booster's (JSC), a rank for
# each GPU: MACHINE=juwels-booster-like. What is set already stays. Sources: jobs/machines/README.md.
NODES="${NODES:-4}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-12}"                              # two of the eight NUMA domains, of 6 cores each
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"                    # NCCL finds InfiniBand by itself
# Storage Scale (GPFS) spreads every file over all of its disks: no STRIPES.
