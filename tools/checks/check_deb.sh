#!/usr/bin/env bash
# Makes the Debian packages, looks at them with lintian where it is there, installs them in an empty Debian, prunes a tiny
# model there on two MPI ranks, reads the manual, and builds a program of somebody else with libgalapagos-dev.
#   tools/checks/check_deb.sh [--build FOLDER]      as tools/package.sh
# Needs root (tools/checks/empty_debian.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
tools/package.sh --output "$packages" "$@"
for package in "$packages"/*.deb; do dpkg-deb --field "$package" Package Version Depends Installed-Size; done
if command -v lintian >/dev/null; then
  # No Debian upload is to come of it, and job files are not started but submitted.
  lintian --allow-root --fail-on error --suppress-tags initial-upload-closes-no-bugs,bogus-mail-host,script-not-executable "$packages"/*.deb
else
  echo "check_deb: SKIPPED lintian: it is not installed"
fi

# shellcheck disable=SC2016 # the words are for the shell inside
tools/checks/empty_debian.sh '
  set -x
  cd /given
  apt-get update -q >/dev/null
  apt-get install -y -q --no-install-recommends ./galapagos_*.deb man-db groff-base >/dev/null
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1
  galapagos --version
  mpirun --oversubscribe -n 2 galapagos database --model tiny --calibration tiny_calibration.jsonl --levels 4 \
    --sequence-length 128 --calibration-tokens 2000 --config /usr/share/galapagos/config/laptop.ini --output x.h5
  galapagos info x.h5
  # dpkg of a small image leaves manuals out, as in containers.
  test -e /usr/share/man/man1/galapagos.1.gz
  man galapagos | grep "EXIT STATUS"
  man galapagos-database | grep -c -- "--calibration"
  test "$(ls /usr/share/man/man1/galapagos-*.1.gz | wc -l)" -ge 16
  # The installed job files find their own folder.
  said=$(MODEL=tiny WORK=/tmp/work CALIBRATION=tiny_calibration.jsonl /usr/share/galapagos/jobs/pipeline.sh slurm 2>&1 || true)
  [[ $said == *"sbatch: command not found"* ]]
  apt-get install -y -q --no-install-recommends ./libgalapagos-dev_*.deb g++ cmake ninja-build >/dev/null
  cmake -S consumer -B /tmp/consumer -G Ninja >/dev/null
  cmake --build /tmp/consumer
  /tmp/consumer/consumer tiny
  apt-get remove -y -q galapagos >/dev/null
  ! command -v galapagos
  echo "check_deb: all is well"' \
  "$packages"/*.deb tests/data/models/tiny tests/data/text/tiny_calibration.jsonl tests/tools/consumer
