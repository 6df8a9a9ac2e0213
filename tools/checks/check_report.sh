#!/usr/bin/env bash
# Opens reports in a browser without a screen, in a wide and a narrow window: fails where one writes an error to its
# console, asks for anything from elsewhere, or is wider than a narrow window. Leaves with 77 (skipped) without Chromium.
#   tools/checks/check_report.sh REPORT.html... [--pictures DIR]
set -euo pipefail
browser=
for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
  if [[ -n $name ]] && command -v "$name" >/dev/null; then
    browser=$name
    break
  fi
done
if [[ -z $browser ]]; then
  echo "skipped: no Chromium; on Debian: apt-get install chromium"
  exit 77
fi
pages=() pictures=
while (($#)); do
  case $1 in
    --pictures) pictures=${2:?a folder} && shift ;;
    -*) echo "check_report: unknown option $1; see the head of tools/checks/check_report.sh" >&2 && exit 2 ;;
    *) pages+=("$1") ;;
  esac
  shift
done
((${#pages[@]})) || { echo "check_report: give a report" >&2 && exit 2; }
T="$(mktemp -d)"
trap 'rm -rf "$T"' EXIT
failures=0
failed() { echo "FAILED: $*" >&2; failures=$((failures + 1)); }

# look PAGE WIDTH HEIGHT OPTIONS...
look() {
  local page=$1 width=$2 height=$3
  shift 3
  timeout -s KILL "${SECONDS_A_PAGE:-60}" "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars \
    --user-data-dir="$T/profile" --enable-logging=stderr --v=0 --log-net-log="$T/net.json" \
    --window-size="$width,$height" "$@" "file://$page" 2>"$T/log"
}

for page in "${pages[@]}"; do
  page=$(realpath "$page")
  name=$(basename "$page" .html)
  # What the script measures once the page is laid out stands in the title of the copy.
  sed 's#</body>#<script>document.title="wide "+document.documentElement.scrollWidth+" of "+window.innerWidth</script></body>#' \
    "$page" >"$T/$name.html"
  for width in 1280 500; do
    # Once more where it hangs, as it does now and then on a busy machine.
    look "$T/$name.html" "$width" 900 --dump-dom >"$T/dom" || look "$T/$name.html" "$width" 900 --dump-dom >"$T/dom" ||
      failed "$page: the browser ended with an error"
    if grep -E 'CONSOLE.*(rror|efused|iolat)' "$T/log"; then failed "$page: errors on the console"; fi
    measured=$(grep -oE '<title>wide [0-9]+ of [0-9]+' "$T/dom" | head -1 || true)
    read -r _ is _ of <<<"${measured#<title>}" || true
    if [[ -z ${is:-} ]]; then
      failed "$page: its script did not run"
    elif ((is > of)); then
      failed "$page: $is px wide in a window of $of"
    fi
    # Of what the browser asks for itself nothing is the page's.
    if grep -oE '"url":"(https?|ftp|wss?)://[^"]*"' "$T/net.json" |
      grep -vE '(google|gstatic|googleapis|gvt1)\.com|chromium\.org' | sort -u | grep .; then
      failed "$page: asks for what lies elsewhere"
    fi
  done
  if grep -oE '(src|href|action)="(https?:|//)[^"]*"' "$page"; then failed "$page: names what lies elsewhere"; fi
  if [[ -n $pictures ]]; then
    mkdir -p "$pictures"
    look "$page" 1280 3000 --screenshot="$pictures/$name.png" >/dev/null
    look "$page" 500 3000 --screenshot="$pictures/$name-narrow.png" >/dev/null
    echo "$pictures/$name.png, $pictures/$name-narrow.png"
  fi
  echo "$page: looked at"
done
((failures == 0)) || { echo "$failures checks failed" >&2 && exit 1; }
