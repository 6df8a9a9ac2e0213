# shellcheck shell=bash disable=SC2034
# What the jobs run, and where: edit it here, or set environment variables of the same names.
# Every job and submitting script reads this file. What a job was submitted with goes before it.

# Model and data, on a file system that all nodes share. The model is a folder in the Hugging Face
# format; data are .txt, .jsonl, .json (also .gz, .zst) or tokens (.bin), several separated by blanks.
MODEL="${MODEL:-/path/to/model}"
CALIBRATION="${CALIBRATION:-/path/to/calibration.jsonl}"
TRAIN_DATA="${TRAIN_DATA:-}"                          # empty: no training of the pruned model
EVAL_DATA="${EVAL_DATA:-}"                            # empty: no evaluation
HELD_OUT="${HELD_OUT:-}"                              # on which rounds and stages are compared

# Where the results go.
WORK="${WORK:-/path/to/work}"
SENSITIVITY="${SENSITIVITY:-}"                        # as $WORK/sensitivity.h5, which weighs the database; empty: no such phase
DATABASE="${DATABASE:-$WORK/database.h5}"
RUN="${RUN:-$WORK/run}"                               # of the search
ROUNDS="${ROUNDS:-$WORK/rounds}"                      # of the rounds, in place of database and search
STAGES="${STAGES:-$WORK/stages}"                      # of prune, in place of all that; then PRUNED is $STAGES/model
PRUNED="${PRUNED:-$WORK/pruned}"                      # the pruned model
TRAINED="${TRAINED:-$WORK/trained}"                   # of the training; the model is in its model/
EVALUATION="${EVALUATION:-$WORK/evaluation}"          # dense.json, pruned.json, trained.json
LOGS="${LOGS:-$WORK/logs}"

# Options: from a file as config/llama-3.1-8b.ini, and further words for each command. A word cannot
# hold blanks here; what needs them goes into the file.
CONFIG="${CONFIG:-}"
SENSITIVITY_OPTIONS="${SENSITIVITY_OPTIONS:-}"        # as --calibration-tokens 32768
DATABASE_OPTIONS="${DATABASE_OPTIONS:-}"              # as --levels 10 --sequence-length 2048
SEARCH_OPTIONS="${SEARCH_OPTIONS:-}"                  # as --target-level 5 --training-data FILE
ROUNDS_OPTIONS="${ROUNDS_OPTIONS:-}"                  # as --target-sparsity 0.5
PRUNE_OPTIONS="${PRUNE_OPTIONS:-}"                    # as --target-sparsity 0.5 --stages 4
STITCH_OPTIONS="${STITCH_OPTIONS:-}"
TRAIN_OPTIONS="${TRAIN_OPTIONS:-}"                    # as --tokens 1000000000
EVAL_OPTIONS="${EVAL_OPTIONS:-}"

# Of the search; empty: as in CONFIG, or the program's default.
ISLANDS="${ISLANDS:-}"
OFFSPRING="${OFFSPRING:-}"
SURVIVORS="${SURVIVORS:-}"                            # as 8 4 2 1
GENERATIONS="${GENERATIONS:-}"
SEED="${SEED:-}"

# A machine described in jobs/machines, as one-node-8-gpus, many-nodes, perlmutter-like: sets what is not
# set, of NODES, RANKS_PER_NODE, THREADS, GPUS_PER_NODE, SHARDS, COLLECTIVES and what its network and file
# system want. Empty: what stands below.
MACHINE="${MACHINE:-}"
if [[ -f $GALAPAGOS_JOBS/machines/$MACHINE.sh ]]; then
  # shellcheck source=/dev/null
  source "$GALAPAGOS_JOBS/machines/$MACHINE.sh"
fi

# Ranks that hold one replica of the model, of search, training and evaluation; the ranks must be a
# multiple. What all ranks on GPUs exchange through: auto, nccl or mpi. Empty: as in CONFIG, or the default.
SHARDS="${SHARDS:-}"
COLLECTIVES="${COLLECTIVES:-}"

# What to ask the scheduler for, where a script or a job submits a job: jobs/pipeline.sh,
# jobs/scaling.sh, and a job that goes on in another one. Empty: what stands at the top of the job
# file. NODES, RANKS_PER_NODE and THREADS go together: one rank per NUMA domain (or per GPU), its
# cores as threads.
ACCOUNT="${ACCOUNT:-}"
QUEUE="${QUEUE:-}"                                    # queue or partition
NODES="${NODES:-}"
RANKS_PER_NODE="${RANKS_PER_NODE:-}"
THREADS="${THREADS:-}"
GPUS_PER_NODE="${GPUS_PER_NODE:-}"
TIME_LIMIT="${TIME_LIMIT:-}"                          # HH:MM:SS, of all phases but stitch and eval
SUBMIT_OPTIONS="${SUBMIT_OPTIONS:-}"                  # further words for sbatch, qsub or bsub, as --qos=debug

# The program, built with this cluster's MPI, and what starts it; empty: srun or Open MPI's mpirun.
GALAPAGOS="${GALAPAGOS:-galapagos}"
LAUNCHER="${LAUNCHER:-}"
SRUN_MPI="${SRUN_MPI:-pmix}"                          # what `srun --mpi` is told; default: nothing, as for Cray MPICH
GPU_ORDER="${GPU_ORDER:-}"                            # the GPUs of ranks 0, 1, ... of a node, as 3,2,1,0

# A sensitivity, a database, a search or a training that runs out of time is stopped this many seconds
# before the limit and submitted again, at most so many times.
STOP_BEFORE="${STOP_BEFORE:-300}"
MAX_RESTARTS="${MAX_RESTARTS:-20}"

# On Lustre and BeeGFS: over how many targets to spread what the jobs write, -1 for all of them on Lustre,
# and in pieces of what size. Elsewhere both are left alone.
STRIPES="${STRIPES:-}"
STRIPE_SIZE="${STRIPE_SIZE:-16M}"

# What a job needs before the program starts: the modules that it was built with.
load_modules() {
  : # module load ...
}
