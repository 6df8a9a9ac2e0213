# shellcheck shell=bash
# Nodes with 4 GH200 on HPE Slingshot 11, a rank for each GPU: MACHINE=gh200-slingshot, and NODES=4
# for another number. What is set already stays.
NODES="${NODES:-1}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-72}"                              # cores beside each GPU
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"
# NCCL through libfabric, refused where the plugin is not there (as the documentation of CSCS has it).
export NCCL_NET="${NCCL_NET:-AWS Libfabric}"
export NCCL_NET_GDR_LEVEL="${NCCL_NET_GDR_LEVEL:-PHB}"
export FI_CXI_DISABLE_HOST_REGISTER="${FI_CXI_DISABLE_HOST_REGISTER:-1}"
export FI_MR_CACHE_MONITOR="${FI_MR_CACHE_MONITOR:-userfaultfd}"
# LL128 damages messages there in silence, in versions of NCCL from 2.27.3 on (NVIDIA/nccl issue
# 2001, pull request 2053).
export NCCL_PROTO="${NCCL_PROTO:-^LL128}"
