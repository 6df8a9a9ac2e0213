# shellcheck shell=bash disable=SC2154 # of common.sh
# Stages and rounds, submitted by hand with as much as the job files do not know better, on two nodes: stopped early, they
# go on in another job to what they end in without a scheduler.
by_hand() { # by_hand FOLDER PHASE
  SENSITIVITY="" TRAIN_DATA="" on "$1" 2 1 env HELD_OUT="$text" LOGS="$1/logs" sbatch --parsable --nodes=2 \
    --ntasks-per-node=1 --cpus-per-task=1 --time=10 --output="$1/logs/galapagos-$2-%j.log" "$root/jobs/slurm/$2.sbatch"
}
alone() { # alone PHASE: the same without Slurm
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout -s KILL 300 mpirun --oversubscribe --bind-to none -n 2 \
    "$program" "$1" --config "$T/config.ini" --log-level warning --model "$model" --calibration "$text" --held-out "$text" \
    --output "$T/alone-$1" >>"$T/plain.log" 2>&1
}
for phase in prune rounds; do
  work="$T/whole-$phase"
  mkdir -p "$work/logs"
  alone "$phase"
  job=$(GALAPAGOS_JOBS="$root/jobs" by_hand "$work" "$phase")
  begun() { [[ -n $(find "$work" -name '*.h5.part') ]]; }
  await 100 begun
  scancel --batch --signal=USR2 "$job"
  settle 250
  check "$phase goes on in another job" grep -q "$phase goes on in job" <(logs "$work" "$phase")
  check "$phase ends" grep -q "$phase is done" <(logs "$work" "$phase")
done
weights() { cksum <"$1/model/model.safetensors"; }
check "the model of the stages" same "$(weights "$T/whole-prune/stages")" "$(weights "$T/alone-prune")"
check "the assignment of the rounds" same "$(cksum <"$T/whole-rounds/rounds/best.txt")" "$(cksum <"$T/alone-rounds/best.txt")"
