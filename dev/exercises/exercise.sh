#!/bin/sh
# exercise.sh [N [FOLDER]]: grades the answer to exercise N, the file in this folder or in FOLDER
# (such as solutions). Without N: lists the exercises. Exit code 0: PASS. See README.md.
set -u
here=$(dirname "$0")
cc=${CC:-cc}
if [ $# -eq 0 ]; then
    echo "make exercise N=1 grades dev/exercises/01_swiglu_backward.c, and so on:"
    for file in "$here"/[0-9][0-9]_*.c; do
        printf '  %-44s %s\n' "dev/exercises/${file##*/}" \
            "$(sed -n '1,/^$/{s/^\/\* Exercise //;s/^   //;p;}' "$file" | tr '\n' ' ')"
    done
    exit 0
fi
plain=$(echo "$1" | sed 's/^0*//')           # 09 and 9 are the same exercise
number=$(printf '%02d' "$plain" 2> /dev/null) || number=none
set -- "$1" "${2:-$here}" "$here/graders/$number"_*.c
if ! [ -f "$3" ]; then
    last=$(ls "$here"/graders/[0-9]*.c | tail -n 1 | sed 's/.*\///; s/_.*//')
    echo "exercise: error: found N=$1, expected 1 to $last: make exercise lists them" >&2
    exit 1
fi
name=$(basename "$3")
if ! [ -f "$2/$name" ]; then
    echo "exercise: error: there is no $2/$name: restore it with git checkout" >&2
    exit 1
fi
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
# What is missing in a stub leaves parameters unused; every other warning is worth reading.
$cc -std=c11 -O1 -g -Wall -Wextra -Wpedantic -Wshadow -Wno-unused-parameter -I "$here" \
    -c "$2/$name" -o "$dir/answer.o" || { echo "FAIL  $2/$name does not compile"; exit 1; }
if [ "$number" = 13 ]; then make -s train_attnvar || exit 1; fi
$cc -std=c11 -O1 -Wno-unknown-pragmas "$3" "$dir/answer.o" -o "$dir/grade" -lm ||
    { echo "FAIL  $2/$name does not define what exercise.h declares"; exit 1; }
"$dir/grade"
