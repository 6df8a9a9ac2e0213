#!/usr/bin/env bash
# Runs a command in an empty Debian of the release that this machine has: debootstrap's smallest, in a folder, with nothing
# installed but certificates, no GPU and the registry of this machine.
#   tools/checks/empty_debian.sh COMMAND [PATH...]     the PATHs lie in /given; what the command leaves in /out comes back to $OUT
# Needs root and debootstrap. The base is kept in EMPTY_DEBIAN_BASE (/var/tmp/empty-debian). Leaves nothing mounted.
# Exit codes: the command's; 2 wrong use, 4 something is missing.
set -euo pipefail
(($# > 0)) || { sed -n '2,7p' "${BASH_SOURCE[0]}" >&2; exit 2; }
command=$1
shift
((EUID == 0)) || { echo "empty_debian: needs root" >&2; exit 4; }
command -v debootstrap >/dev/null || apt-get install -y -q debootstrap >/dev/null ||
  { echo "empty_debian: there is no debootstrap" >&2; exit 4; }
# shellcheck source=/dev/null
. /etc/os-release
base="${EMPTY_DEBIAN_BASE:-/var/tmp/empty-debian}"
if [[ ! -e $base/.ready ]]; then
  mirror=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '/^URIs:/ { print $2; exit }')
  [[ -n $mirror ]] || mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list)
  rm -rf "$base"
  debootstrap --variant=minbase --include=ca-certificates "$VERSION_CODENAME" "$base" "$mirror" >"$base.log" 2>&1 ||
    { tail -n 3 "$base.log" >&2; exit 4; }
  cp /etc/apt/sources.list.d/*.sources "$base/etc/apt/sources.list.d/" 2>/dev/null && : >"$base/etc/apt/sources.list"
  cp -r /etc/apt/apt.conf.d/. "$base/etc/apt/apt.conf.d/" 2>/dev/null || true
  touch "$base/.ready"
fi
root=$(mktemp -d "${TMPDIR:-/tmp}/empty-debian.XXXXXX")
trap 'rm -rf --one-file-system "$root"' EXIT
cp -a "$base/." "$root/"
mkdir -p "$root/given" "$root/out"
for path in "$@"; do cp -rL "$path" "$root/given/"; done
cp /etc/resolv.conf "$root/etc/" 2>/dev/null || true
code=0
# shellcheck disable=SC2016 # the words are for the inner shell
env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  DEBIAN_FRONTEND=noninteractive unshare --mount --pid --fork bash -c '
    mount -t proc proc "$1/proc"
    mount --rbind /sys "$1/sys"
    mount --rbind /dev "$1/dev"
    exec chroot "$1" bash -euo pipefail -c "$2"' - "$root" "$command" || code=$?
if [[ -n ${OUT:-} ]]; then mkdir -p "$OUT" && cp -a "$root/out/." "$OUT/"; fi
exit "$code"
