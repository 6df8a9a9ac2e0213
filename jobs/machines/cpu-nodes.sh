# shellcheck shell=bash
# Nodes with two processors of 64 cores in 8 NUMA domains and no GPUs, a rank for each domain:
# MACHINE=cpu-nodes, and RANKS_PER_NODE=2 THREADS=24 for two processors of 24 cores in one domain each.
# What is set already stays.
NODES="${NODES:-4}"
RANKS_PER_NODE="${RANKS_PER_NODE:-8}"
THREADS="${THREADS:-16}"                              # cores of a domain
