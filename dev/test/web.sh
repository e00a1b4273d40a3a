#!/bin/sh
# dev/test/web.sh [PART...]: the page in a real browser, beside the native program. Without parts: what CI
# runs. Needs node, chromium, python3; clang, lld and wasi-libc to build the page again.
#   dev/test/web.sh recall          all 13 models on recall to their end, within five minutes of two idle cores
#   dev/test/web.sh speed           tokens/s of a worker beside the native program's
#   dev/test/web.sh firefox         the same page in firefox-esr
#   SECONDS=600 dev/test/web.sh growth      ten minutes of training
# Tests the committed page and, unless it is the same file, the one that is built here. The last line is
# "N passed, N failed".
set -u
LC_ALL=C
export LC_ALL
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

result() {      # result OK? WHAT
    if [ "$1" = yes ]; then passed=$((passed + 1)); echo "ok    $2"
    else failed=$((failed + 1)); echo "FAIL  $2"; fi
}
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}

for program in node chromium python3 clang; do
    command -v $program > /dev/null && continue
    result no "$program is installed: expected Debian's nodejs, chromium, python3, clang, lld, wasi-libc"
    finish
done

# the page is of today's sources, and a page of other sources is noticed
python3 "$root/dev/web/build.py" --check && ok=yes || ok=no
result $ok "the committed page carries the SHA-256 of the sources"
mkdir -p "$dir/old/dev" && cp "$root/train_attnvar.c" "$dir/old" &&
    cp -r "$root/dev/web" "$root/dev/tools" "$root/dev/data" "$dir/old/dev"
echo '// another source' >> "$dir/old/train_attnvar.c"
python3 "$dir/old/dev/web/build.py" --check 2> /dev/null && ok=no || ok=yes
result $ok "a page of other sources is noticed"
lines=$(wc -l < "$root/dev/web/web.c")
[ "$lines" -le 250 ] && ok=yes || ok=no
result $ok "web.c has at most 250 lines: $lines"
python3 "$root/dev/web/build.py" --out "$dir/attnvar.html" && ok=yes || ok=no
result $ok "the page builds"
[ $ok = yes ] || finish

mkdir -p "$dir/native/dev" && cp "$root/Makefile" "$root/train_attnvar.c" "$dir/native" && cp -r "$root/dev/tools" "$dir/native/dev" &&
    make -s -C "$dir/native" clean && make -s -C "$dir/native" PORTABLE=1 NO_OMP=1 train_attnvar dev/tools/inspect_attnvar && ok=yes || ok=no
result $ok "the native program builds, PORTABLE=1 NO_OMP=1"
[ $ok = yes ] || finish

try() {         # try PAGE PART...
    page=$1
    shift
    node "$root/dev/web/test.mjs" "$page" "$dir/native/train_attnvar" "$dir/native/dev/tools/inspect_attnvar" "$@" |
        tee "$dir/log" | grep -v '^[0-9]* passed'
    counts=$(tail -n 1 "$dir/log")
    case $counts in
        *" passed, "*" failed") passed=$((passed + ${counts%% *})); counts=${counts#*, }; failed=$((failed + ${counts%% *})) ;;
        *) result no "test.mjs ends with its counts" ;;
    esac
}
[ $# -gt 0 ] || set -- looks share own memory keyboard tokens losses maps presets lesson growth
try "$root/dev/web/attnvar.html" "$@"
if cmp -s "$dir/attnvar.html" "$root/dev/web/attnvar.html"; then result yes "the page that is built here is the committed one, byte for byte"
else
    echo "note: the page that is built here differs from the committed one (another compiler): testing it, too"
    try "$dir/attnvar.html" "$@"
fi
finish
