#!/bin/sh
# Static analysis of train_attnvar.c: gcc -fanalyzer, clang-tidy (.clang-tidy says what is left out and
# why), cppcheck; each if it is installed. Findings that are known to be wrong stand below, as
#     text of the finding | text of its line | why it is wrong
# and everything else fails, as does a known finding of a tool that ran but did not report it again.
# About a minute; `make static`, not part of `make check`.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cat > "$dir/known" << 'END'
core.DivideZero|count / height|unit_size() divides by 1 or more
core.NonNullParamChecker|strcmp(a->kind, b->kind)|shard_open() sets kind or ends the program
core.UndefinedBinaryOperatorResult|int pair = 2 * order[asked++]|asked < P: of the slots left, P - asked are taken, and order[0 .. P-1] are set
core.uninitialized.Assign|const char *entry = *(const char|each row of a table begins with its name
invalidPointerCast|(float *)(a->base + a->used)|used is a multiple of 64, base comes from aligned_alloc
END
ran=
: > "$dir/found"
if command -v gcc > /dev/null; then     # without OpenMP: gcc loses the values of what it outlines
    ran="$ran gcc"
    gcc -std=c11 -O1 -fanalyzer -Wno-unknown-pragmas -c train_attnvar.c -o "$dir/o" 2> "$dir/log"
    grep 'warning:' "$dir/log" >> "$dir/found"
fi
if command -v clang-tidy > /dev/null; then
    ran="$ran clang-tidy"
    clang-tidy --quiet train_attnvar.c -- -std=c11 -fopenmp 2> /dev/null | grep 'warning:' >> "$dir/found"
fi
if command -v cppcheck > /dev/null; then
    ran="$ran cppcheck"
    cppcheck --std=c11 --enable=warning,portability,performance --quiet \
        --template='{file}:{line}: warning: {message} [{id}]' --template-location='' \
        train_attnvar.c 2>&1 | grep 'warning:' >> "$dir/found"
fi
[ -n "$ran" ] || { echo "none of gcc, clang-tidy, cppcheck is installed"; exit 1; }
failed=0
: > "$dir/used"
while IFS= read -r finding; do
    number=$(printf '%s\n' "$finding" | sed -n 's/^[^:]*:\([0-9]*\):.*/\1/p')
    line=$(sed -n "${number:-0}p" train_attnvar.c 2> /dev/null)
    known=no
    while IFS='|' read -r what where why; do
        case $finding in *"$what"*) ;; *) continue ;; esac
        case $line in *"$where"*) known=yes; echo "known $what: $why"; echo "$what" >> "$dir/used" ;; esac
    done < "$dir/known"
    [ $known = yes ] || { failed=$((failed + 1)); echo "FAIL  $finding"; echo "      $line"; }
done < "$dir/found"
while IFS='|' read -r what where why; do
    case $what in core.*) tool=clang-tidy ;; *) tool=cppcheck ;; esac
    case $ran in *$tool*) ;; *) continue ;; esac
    grep -qxF "$what" "$dir/used" || { failed=$((failed + 1)); echo "FAIL  no longer found: $what"; }
done < "$dir/known"
echo "static analysis ($(echo $ran)): $(wc -l < "$dir/found") findings, $failed not known to be wrong"
[ $failed -eq 0 ]
