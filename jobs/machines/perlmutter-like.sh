# shellcheck shell=bash
# Nodes with 4 A100 and one processor of 64 cores on HPE Slingshot 11, as Perlmutter's (NERSC), a rank for
# each GPU: MACHINE=perlmutter-like. What is set already stays. Sources: jobs/machines/README.md.
NODES="${NODES:-4}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-16}"                              # a NUMA domain
GPUS_PER_NODE="${GPUS_PER_NODE:-4}"
GPU_ORDER="${GPU_ORDER:-3,2,1,0}"                     # GPUs are numbered against the NUMA domains
SHARDS="${SHARDS:-$RANKS_PER_NODE}"
COLLECTIVES="${COLLECTIVES:-nccl}"
SRUN_MPI="${SRUN_MPI:-default}"                       # Cray MPICH
SUBMIT_OPTIONS="${SUBMIT_OPTIONS:---constraint=gpu}"  # and --qos=...; "gpu&hbm80g" for 80 GB
STRIPES="${STRIPES:-24}"                              # for files of 10 to 100 GB
STRIPE_SIZE="${STRIPE_SIZE:-1M}"
# NCCL through libfabric, refused where the plugin is not there.
export NCCL_NET="${NCCL_NET:-AWS Libfabric}"
export NCCL_NET_GDR_LEVEL="${NCCL_NET_GDR_LEVEL:-PHB}"
export NCCL_CROSS_NIC="${NCCL_CROSS_NIC:-1}"
export FI_CXI_DEFAULT_CQ_SIZE="${FI_CXI_DEFAULT_CQ_SIZE:-131072}"
export FI_CXI_DISABLE_HOST_REGISTER="${FI_CXI_DISABLE_HOST_REGISTER:-1}"
export FI_MR_CACHE_MONITOR="${FI_MR_CACHE_MONITOR:-userfaultfd}"
export MPICH_OFI_NIC_POLICY="${MPICH_OFI_NIC_POLICY:-NUMA}" # of four, the network card beside a rank
