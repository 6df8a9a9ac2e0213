# shellcheck shell=bash
# Nodes with 4 MI250X and one processor of 64 cores on HPE Slingshot 11, as Frontier's (OLCF):
# MACHINE=frontier-like. Galapagos has no code for AMD's GPUs: it runs on the processors, a rank for each
# NUMA domain. What is set already stays. Sources: jobs/machines/README.md.
NODES="${NODES:-8}"
RANKS_PER_NODE="${RANKS_PER_NODE:-4}"
THREADS="${THREADS:-14}"                              # of 16 of a domain, as the system keeps some
SRUN_MPI="${SRUN_MPI:-default}"                       # Cray MPICH
# The file system lays files out by their size as they grow: no STRIPES.
export MPICH_OFI_NIC_POLICY="${MPICH_OFI_NIC_POLICY:-NUMA}" # of four, the network card beside a rank
