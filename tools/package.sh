#!/usr/bin/env bash
# Makes what is handed to others, in build/package or the folder named by --output:
#   tools/package.sh            galapagos_*.deb and libgalapagos-dev_*.deb, for the Debian or Ubuntu that it runs on
#   tools/package.sh --source   galapagos-<version>.tar.gz of the last commit, and its SHA-256
#   --build FOLDER              with a build that is there already (as build/release), in place of one of its own
# The maintainer of the packages is DEBFULLNAME <DEBEMAIL>. SOURCE_DATE_EPOCH makes them the same again.
# Exit codes: 0 done, 2 wrong use, 4 something is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "package: $1; see the head of tools/package.sh" >&2
  exit 2
}
build="" output=build/package source=no
while (($#)); do
  case $1 in
    --source) source=yes ;;
    --build | --output)
      (($# > 1)) || usage "no folder after $1"
      if [[ $1 == --build ]]; then build="$2"; else output="$2"; fi
      shift
      ;;
    *) usage "unknown option $1" ;;
  esac
  shift
done
version=$(sed -n 's/^project(galapagos VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
mkdir -p "$output"
output=$(cd "$output" && pwd)
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
export SOURCE_DATE_EPOCH

if [[ $source == yes ]]; then
  archive="$output/galapagos-$version.tar.gz"
  git archive --format=tar --prefix="galapagos-$version/" HEAD | gzip -9n >"$archive"
  (cd "$output" && sha256sum "$(basename "$archive")")
  exit
fi

for tool in dpkg-shlibdeps dpkg-deb strip gzip; do
  command -v "$tool" >/dev/null || { echo "package: there is no $tool: install dpkg-dev and binutils" >&2; exit 4; }
done
maintainer=""
if [[ -n ${DEBEMAIL:-} ]]; then maintainer="${DEBFULLNAME:-Galapagos} <$DEBEMAIL>"; fi
options=(-DGALAPAGOS_MAINTAINER="$maintainer" -DCMAKE_SKIP_INSTALL_ALL_DEPENDENCY=ON)
if [[ -z $build ]]; then
  build=build/package
  options+=(-G Ninja -DCMAKE_BUILD_TYPE=Release -DGALAPAGOS_TESTS=OFF -DGALAPAGOS_BENCHMARKS=OFF)
fi
cmake -S . -B "$build" "${options[@]}" >/dev/null
cmake --build "$build" --target galapagos
(cd "$build" && cpack -G DEB -B "$output")
rm -rf "$output/_CPack_Packages"
ls -l "$output"/*.deb
