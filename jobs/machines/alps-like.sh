# shellcheck shell=bash
# Nodes with 4 GH200 on HPE Slingshot 11, as Alps' (CSCS), a rank for each GPU: MACHINE=alps-like, and
# NODES=4 for another number. What is set already stays. Sources: jobs/machines/README.md.
NODES="${NODES:-1}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-72}"                              # cores beside each GPU, a NUMA domain
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"
SRUN_MPI="${SRUN_MPI:-default}"                       # Cray MPICH
STRIPES="${STRIPES:--1}"                              # all targets, for files as large as a database
STRIPE_SIZE="${STRIPE_SIZE:-4M}"
# NCCL through libfabric, refused where the plugin is not there (as the documentation of CSCS has it).
export NCCL_NET="${NCCL_NET:-AWS Libfabric}"
export NCCL_NET_GDR_LEVEL="${NCCL_NET_GDR_LEVEL:-PHB}"
export NCCL_CROSS_NIC="${NCCL_CROSS_NIC:-1}"
export FI_CXI_DEFAULT_CQ_SIZE="${FI_CXI_DEFAULT_CQ_SIZE:-131072}"
export FI_CXI_DISABLE_HOST_REGISTER="${FI_CXI_DISABLE_HOST_REGISTER:-1}"
export FI_MR_CACHE_MONITOR="${FI_MR_CACHE_MONITOR:-userfaultfd}"
# LL128 damages messages there in silence, in versions of NCCL from 2.27.3 on (NVIDIA/nccl issue
# 2001, pull request 2053).
export NCCL_PROTO="${NCCL_PROTO:-^LL128}"
