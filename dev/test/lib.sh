# What the shell tests share, to be read with `.` by a script that is called with a PROGRAM: it runs
# in a new temporary folder, $dir; $root is the project's.
set -u
# A shell that starts with SIGHUP ignored (nohup, some CI) cannot undo that, and neither can what it
# starts; Python can.
if [ -n "$(sh -c 'kill -HUP $$; echo ignored')" ] && command -v python3 > /dev/null; then
    exec python3 -c 'import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' sh "$0" "$@"
fi
LC_ALL=C
OMP_WAIT_POLICY=passive         # threads that wait for each other sleep: kind to a busy machine
export LC_ALL OMP_WAIT_POLICY
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

result() {      # result OK? WHAT DETAIL
    if [ "$1" = yes ]; then passed=$((passed + 1))
    else failed=$((failed + 1)); printf 'FAIL  %s\n      %s\n' "$2" "$3"; fi
}

# refuse PART... -- ARGUMENT...: exit code 1 and one line on standard error that holds the parts; where
# $before lists the files there were, no file more.
refuse() {
    : > "$dir.parts"
    while [ "$1" != -- ]; do printf '%s\n' "$1" >> "$dir.parts"; shift; done
    shift
    out=$("$program" "$@" 2>&1 >/dev/null </dev/null)
    code=$?
    ok=yes why=
    [ $code -eq 1 ] || { ok=no; why="exit code $code;"; }
    [ "$(printf '%s\n' "$out" | wc -l)" -eq 1 ] || { ok=no; why="$why not one line;"; }
    while IFS= read -r part; do
        case $out in *"$part"*) ;; *) ok=no; why="$why no '$part';" ;; esac
    done < "$dir.parts"
    rm -f "$dir.parts"
    [ -z "${before:-}" ] || [ "$(find . | sort)" = "$before" ] || { ok=no; why="$why files were left: $(find . -newer in/empty | tr '\n' ' ')"; }
    result $ok "refuse: $*" "$why it said: $out"
}
