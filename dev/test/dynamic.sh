#!/bin/sh
# Memory and threads while the program runs: `make dynamic` (valgrind; clang with its thread sanitizer and
# libarcher). What is not installed is left out with a note. A line a check; exits 1 if one failed.
#
# The thread sanitizer knows nothing of OpenMP: with gcc's runtime it takes every handing over of work at
# the start and the end of a parallel region for a race (about a thousand reports for two steps, the first in
# embedding_forward: a variable that the main thread wrote before the region began). clang's runtime
# tells it through libarcher when threads wait for each other; then what it reports is one. Whether it
# would is tried each time, with a barrier taken out.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cp "$root/train_attnvar.c" "$root/dev/data/austen_val.txt" "$dir" && cd "$dir" || exit 1
failed=0
result() {
    if [ "$1" = 0 ]; then echo "ok    $2"; else echo "FAIL  $2"; tail -n 30 log; failed=1; fi
}
data="--data austen_val.txt --layers 7 --layout SMANRFE --steps 2 --batch 2 --seq 40 --dim 32
      --ffn 48 --eval-batches 1 --sample 8"

if command -v valgrind > /dev/null; then
    gcc -std=c11 -g -O1 -Wno-unknown-pragmas train_attnvar.c -o plain -lm || exit 1
    for more in "--qk-norm --untied --out run" "--kv-heads 2 --layout SANRFES" "--out run --resume"; do
        case $more in *--resume) run=$more ;; *) run="$data $more" ;; esac
        valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible \
            ./plain $run > log 2>&1
        result $? "memcheck, mixed model $more"
    done
else echo "note: no valgrind: memory is not checked with it"; fi

archer=
for clang in clang clang-19 clang-18 clang-17 clang-16 clang-15 clang-14; do
    command -v $clang > /dev/null || continue
    archer=$(find "$($clang -print-resource-dir)/../.." "$($clang -print-resource-dir)/../../.." -maxdepth 1 \
                  -name libarcher.so 2> /dev/null | head -n 1)
    [ -z "$archer" ] || break
done
if [ -n "$archer" ]; then
    races() {       # races SOURCE LOG: how many does a run of it show?
        $clang -std=c11 -g -O1 -fopenmp -fsanitize=thread "$1" -o threads -lm || exit 1
        OMP_TOOL_LIBRARIES=$archer TSAN_OPTIONS=ignore_noninstrumented_modules=1 \
            ./threads $data --threads 3 > log 2>&1
        grep -c 'WARNING: ThreadSanitizer: data race' log
    }
    [ "$(races train_attnvar.c)" = 0 ] && grep -q 'step     2  val loss' log
    result $? "races: none in two steps of the mixed model, 3 threads"
    sed '/^static void nonapprox_forward/,/^}/s/#pragma omp for collapse(2)/& nowait/' train_attnvar.c > hurt.c
    [ "$(races hurt.c)" -gt 0 ]
    result $? "races: one is seen where a barrier is missing"
else echo "note: no clang with libarcher (Debian: libomp-dev): races are not looked for"; fi
exit $failed
