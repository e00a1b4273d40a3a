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
Wanalyzer-malloc-leak|t->s = realloc(|quoted() and changes() return their text, for a message or the whole run
Wanalyzer-malloc-leak|fread(&length, 8, 1, k->file)|k keeps the file: the next open_tensors() or read_tensors() closes it
Wanalyzer-file-leak|fread(&length, 8, 1, k->file)|as above
bugprone-narrowing-conversions|>> 11) * 0x1p-53|53 bits are exact in a double
bugprone-narrowing-conversions|c == 'n' ? '\n'|the int is a character
bugprone-integer-division|1.0 / (V - V / 2)|so many values there are, a whole number
insecureAPI.strcpy|strcpy(allocate(strlen(|the room is allocated for it
core.NullDereference|follows[|survey() has counted the training data's pairs
core.NonNullParamChecker|strcmp(a->kind, b->kind)|shard_open() sets kind or ends the program
core.NonNullParamChecker|strcmp(now->content[i]|a run that goes on has a checkpoint
core.uninitialized.Assign|order[p] = order[other]|other <= p < P, and order[0 .. P-1] are set
core.UndefinedBinaryOperatorResult|int pair = 2 * order[asked++]|asked < P: of the slots left, P - asked are taken, and order[0 .. P-1] are set
zerodiv|(N + wide - 1) / wide|height <= count, so count / height is 1 or more
ctunullpointer|"%s/%s%s", dir, run_files[file]|--resume without --out has ended the program
ctuuninitvar|for (int got; n > 0; at += got|read_tokens() writes them
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
    cppcheck --std=c11 --enable=warning,portability,performance --quiet --suppress=toomanyconfigs \
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
    case $what in W*) tool=gcc ;; core.* | bugprone* | insecure*) tool=clang-tidy ;; *) tool=cppcheck ;; esac
    case $ran in *$tool*) ;; *) continue ;; esac
    grep -qxF "$what" "$dir/used" || { failed=$((failed + 1)); echo "FAIL  no longer found: $what"; }
done < "$dir/known"
echo "static analysis ($(echo $ran)): $(wc -l < "$dir/found") findings, $failed not known to be wrong"
[ $failed -eq 0 ]
