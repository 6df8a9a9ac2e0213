#!/usr/bin/env bash
# The job files under a real Slurm, which has to run already, with PMIx and two idle nodes or more:
#   tests/jobs/slurm/run.sh PROGRAM [chain limits ends short study]
# Without names all cases, one after the other. Ends with 77, saying why, where no such Slurm answers. Runs as whoever
# may submit; a node that goes down is tried only by root. Nothing of Slurm's set-up is changed for good.
# shellcheck disable=SC2034 # variables of the cases
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../../.." && pwd)"
program="$(realpath "${1:?the program galapagos}")"
shift
# shellcheck source=/dev/null
source "$here/common.sh"
need_slurm
begin
for name in "${@:-chain limits ends short study whole}"; do
  for one in $name; do
    started=$SECONDS
    # shellcheck source=/dev/null
    source "$here/$one.sh"
    echo "$one: $((SECONDS - started)) s"
  done
done
finish
