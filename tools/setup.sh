#!/usr/bin/env bash
# Installs what Galapagos needs to be built and tested, on Debian and Ubuntu; elsewhere it names the packages.
#   tools/setup.sh           install what is missing
#   tools/setup.sh --check   only say what is missing
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config git ca-certificates
  openmpi-bin libopenmpi-dev openssh-client
  libhdf5-openmpi-dev libopenblas-dev
  libboost-dev libboost-program-options-dev
  nlohmann-json3-dev libfmt-dev libspdlog-dev
  libonig-dev libsentencepiece-dev libicu-dev
  zlib1g-dev libzstd-dev libxxhash-dev
  catch2 clang-format
)

check_only=false
[[ ${1:-} == --check ]] && check_only=true

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  cat <<'TEXT'
This is neither Debian nor Ubuntu, so nothing is installed. Galapagos needs:

  a C++20 compiler (GCC 12 or later), CMake 3.25 or later, Ninja, pkg-config, git
  MPI (3.1 or later), HDF5 built with that MPI, a BLAS with LAPACK (OpenBLAS)
  Boost 1.74 (program_options), nlohmann-json 3.10, fmt, spdlog
  Oniguruma, SentencePiece, ICU, zlib, zstd, xxHash
  Catch2 for the tests, clang-format for tools/format.sh

Fedora, RHEL (with EPEL):
  gcc-c++ cmake ninja-build pkgconf git openmpi-devel hdf5-openmpi-devel openblas-devel boost-devel json-devel fmt-devel
  spdlog-devel oniguruma-devel sentencepiece-devel libicu-devel zlib-devel libzstd-devel xxhash-devel catch-devel
  clang-tools-extra

Spack:
  spack install cmake ninja pkgconf openmpi hdf5+mpi openblas boost+program_options nlohmann-json fmt spdlog \
    oniguruma sentencepiece icu4c zlib zstd xxhash catch2
  spack load cmake ninja pkgconf openmpi hdf5 openblas boost nlohmann-json fmt spdlog oniguruma sentencepiece icu4c \
    zlib zstd xxhash catch2

Then: cmake --preset release && cmake --build --preset release
TEXT
  # Where everything is there already, as after `spack load`, the build may go on.
  for tool in cmake ninja pkg-config mpicxx; do
    command -v "$tool" >/dev/null || { echo "setup: $tool is missing" >&2; exit 4; }
  done
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "setup: everything is installed"
  exit 0
fi
echo "setup: missing: ${missing[*]}"
if $check_only; then exit 4; fi

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || { echo "setup: installing needs root; run this as root or install sudo" >&2; exit 4; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}"
