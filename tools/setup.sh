#!/usr/bin/env bash
# Installs what Galapagos needs to be built and tested, on Debian and Ubuntu; elsewhere it names the packages.
#   tools/setup.sh           install what is missing
#   tools/setup.sh --check   only say what is missing
#   tools/setup.sh --checks  besides what tools/fuzz.sh and tools/check.sh need: clang with libFuzzer, clang-tidy, cppcheck
# Exit codes: 0 everything is there, 2 wrong use, 4 something is missing.
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

check_packages=(clang libclang-rt-dev libomp-dev clang-tidy cppcheck)

list_packages() {
  cat <<'TEXT'
Galapagos runs on Linux and needs:

  a C++20 compiler (GCC 12 or later), CMake 3.25 or later, Ninja, pkg-config, git
  MPI (3.1 or later), HDF5 built with that MPI, a BLAS with LAPACK (OpenBLAS)
  Boost 1.74 (program_options), nlohmann-json 3.10, fmt, spdlog
  Oniguruma, SentencePiece, ICU, zlib, zstd, xxHash
  Catch2 for the tests, clang-format for tools/format.sh
  clang (14 or later) with its sanitizers, libFuzzer and OpenMP for tools/fuzz.sh, clang-tidy and cppcheck for tools/check.sh
  for the preset cuda: the CUDA Toolkit 12 or later, and NCCL 2.14 or later for several GPUs (both from NVIDIA, on
  Debian and Ubuntu cuda-toolkit and libnccl-dev of its repository; with Spack: cuda nccl), and optionally cuDNN 9 with
  its frontend for faster attention (pip: nvidia-cudnn-cu13, nvidia-cudnn-frontend); not installed by this script
  for Parquet and Arrow files: Apache Arrow with Parquet (pip: pyarrow); not installed by this script

Names of the packages (they vary with the release):

Fedora, RHEL with EPEL and CRB; then `module load mpi`:
  gcc-c++ cmake ninja-build pkgconf-pkg-config git openmpi-devel hdf5-openmpi-devel openblas-devel boost-devel json-devel
  fmt-devel spdlog-devel oniguruma-devel sentencepiece-devel libicu-devel zlib-devel libzstd-devel xxhash-devel
  catch-devel clang-tools-extra

SUSE:
  gcc-c++ cmake ninja pkgconf-pkg-config git openmpi4-devel hdf5-openmpi4-devel openblas-devel
  libboost_program_options-devel nlohmann_json-devel fmt-devel spdlog-devel oniguruma-devel sentencepiece-devel
  libicu-devel zlib-devel libzstd-devel xxhash-devel Catch2-devel clang-tools

Arch:
  gcc cmake ninja pkgconf git openmpi hdf5-openmpi blas-openblas boost nlohmann-json fmt spdlog oniguruma sentencepiece
  icu zlib zstd xxhash catch2 clang

A cluster's modules: load the compiler, MPI, parallel HDF5, OpenBLAS, Boost, CMake and Ninja; take the rest from Spack:
  spack install cmake ninja pkgconf openmpi hdf5+mpi openblas boost+program_options nlohmann-json fmt spdlog \
    oniguruma sentencepiece icu4c zlib zstd xxhash catch2
  spack load cmake ninja pkgconf openmpi hdf5 openblas boost nlohmann-json fmt spdlog oniguruma sentencepiece icu4c \
    zlib zstd xxhash catch2
TEXT
}

# What the build looks for by these names; CMake finds and checks the rest.
missing_by_name() {
  local name
  for name in c++ cmake ninja pkg-config git mpicxx mpirun; do
    command -v "$name" >/dev/null || echo "$name"
  done
  command -v pkg-config >/dev/null || return 0
  for name in oniguruma sentencepiece libzstd libxxhash; do
    pkg-config --exists "$name" || echo "$name"
  done
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || echo "$package"
  done
}

check_cmake() {
  local version
  version=$(cmake --version | sed -n '1s/[^0-9]*//p')
  if [[ $(printf '%s\n' 3.25 "$version" | sort -V | head -n 1) != 3.25 ]]; then
    echo "setup: CMake $version is too old; put CMake 3.25 or later on PATH" >&2
    exit 4
  fi
}

check_only=false
case "$#:${1:-}" in
  0:) ;;
  1:--check) check_only=true ;;
  1:--checks) packages+=("${check_packages[@]}") ;;
  *) echo "setup: unknown option $*; see the head of tools/setup.sh" >&2; exit 2 ;;
esac

apt=false
if command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then apt=true; fi
if $apt; then found=$(missing_packages); else found=$(missing_by_name); fi
mapfile -t missing <<<"$found"
if [[ -z $found ]]; then
  check_cmake
  echo "setup: everything is there"
  exit 0
fi
echo "setup: missing: ${missing[*]}"
if ! $apt; then
  list_packages
  echo "setup: this is neither Debian nor Ubuntu, so nothing was installed" >&2
  exit 4
fi
if $check_only; then exit 4; fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "setup: installing needs root or sudo; with libraries of your own, use cmake --preset release" >&2
    exit 4
  fi
  as_root=(sudo)
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
check_cmake
