#!/bin/sh
# check.sh: are the graders true? Every stub must compile without a warning and FAIL, every solution
# must PASS, and every slightly wrong answer of wrong.txt must FAIL with the message given there.
# Needs ./train_attnvar. A line for what is not so, then "N passed, N failed"; exits 1 if any failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
cd "$here/../.." || exit 1

grader() {          # grader NN: compiles it
    $cc -std=c11 -O1 -Wno-unknown-pragmas -c "$here/graders/$1"_*.c -o "$work/$1.o" ||
        echo "FAIL  exercise $1: its grader does not compile"
}

# judge TASK NN KIND EDIT MESSAGE: one answer; KIND is stub, solution or wrong
judge() {
    name=$(basename "$here/graders/$2"_*.c)
    answer=$work/$1.c what="exercise $2, $3${4:+: $4}"
    case $3 in
    stub) cp "$here/$name" "$answer" ;;
    *) sed "$4" "$here/solutions/$name" > "$answer.edited"
       if [ "$3" = wrong ] && cmp -s "$answer.edited" "$here/solutions/$name"; then
           echo "FAIL  $what: the edit changes nothing"
           return
       fi
       sed 's|"../exercise.h"|"exercise.h"|' "$answer.edited" > "$answer" ;;
    esac
    warn="-Wall -Wextra -Wpedantic -Wshadow -Wno-unused-parameter -Werror"
    [ "$3" = wrong ] && warn=-w
    if ! $cc -std=c11 -O1 $warn -I "$here" "$answer" "$work/$2.o" -o "$work/$1" -lm \
         2> "$work/$1.log"; then
        echo "FAIL  $what: does not compile: $(head -n 1 "$work/$1.log")"
        return
    fi
    "$work/$1" > "$work/$1.log" 2>&1
    code=$?
    want=1
    [ "$3" = solution ] && want=0
    if [ $code -eq $want ] && grep -q -F "$5" "$work/$1.log"; then echo ok
    else
        echo "FAIL  $what: exit code $code, expected $want and '$5'; it said:"
        sed 's/^/      | /' "$work/$1.log"
    fi
}

if [ $# -gt 0 ]; then           # one task of the parallel run below
    [ -n "${work:-}" ] || { echo "check.sh: found '$1', expected no argument" >&2; exit 1; }
    if [ $# -eq 1 ]; then out=$(grader "$1"); else out=$(judge "$@"); fi
    [ -z "$out" ] || printf '%s\n' "$out"
    exit 0
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export work
jobs=$(getconf _NPROCESSORS_ONLN 2> /dev/null || echo 1)
numbers=$(for file in "$here"/graders/[0-9]*.c; do basename "$file" | cut -c 1-2; done)
# tasks: the fields of a line, each ended by a zero byte; those of exercise 13, which trains, first
{
    for n in $numbers; do printf '%s|stub||FAIL\n%s|solution||PASS\n' $n $n; done
    sed '/^#/d; s/ | /|wrong|/; s/ | /|/' "$here/wrong.txt"
} | sort -t '|' -s -r -k 1,1 > "$work/tasks"
tr ' ' '\n' <<EOF | xargs -n 1 -P "$jobs" "$0" > "$work/results"
$(echo $numbers)
EOF
awk -F '|' '{ bars = $3; for (i = 4; i < NF; i++) bars = bars "|" $i
              printf "%d%c%s%c%s%c%s%c%s%c", NR, 0, $1, 0, $2, 0, bars, 0, $NF, 0 }' "$work/tasks" |
    xargs -0 -n 5 -P "$jobs" "$0" >> "$work/results"
if CC="$cc -DUNUSED" "$here/exercise.sh" 1 "$here/solutions" > "$work/log" 2>&1; then echo ok
else echo "FAIL  exercise 1, a compiler with an option: $(head -n 1 "$work/log")"; fi >> "$work/results"
grep -v '^ok$' "$work/results"
passed=$(grep -c '^ok$' "$work/results")
failed=$(grep -c '^FAIL' "$work/results")
[ $((passed + failed)) -ge "$(wc -l < "$work/tasks")" ] || failed=$((failed + 1))
echo "exercises: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
