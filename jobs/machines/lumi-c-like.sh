# shellcheck shell=bash
# Nodes with two processors of 64 cores and no GPUs on HPE Slingshot 11, as LUMI-C's (CSC), a rank for each
# NUMA domain: MACHINE=lumi-c-like. (LUMI-G's GPUs are AMD's, for which Galapagos has no code.) What is set
# already stays. Sources: jobs/machines/README.md.
NODES="${NODES:-4}"
RANKS_PER_NODE="${RANKS_PER_NODE:-8}"
THREADS="${THREADS:-16}"
SRUN_MPI="${SRUN_MPI:-default}"                       # Cray MPICH
QUEUE="${QUEUE:-standard}"
STRIPES="${STRIPES:-8}"                               # Lustre; what its wiki has for large shared files
STRIPE_SIZE="${STRIPE_SIZE:-4M}"
