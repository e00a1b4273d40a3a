#!/bin/sh
# The slower checks, in a copy of the tree so that nothing is left behind: builds without a warning by
# gcc and clang in all flavours, the tests under the address and undefined-behaviour sanitizers, the
# command line likewise, and 20 steps of every variant, uniform and hybrid, whose loss must fall.
# A line a check, then "N passed, N failed"; exits 1 if any failed.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cp -r "$root/train_attnvar.c" "$root/test_attnvar.c" "$root/prepro_data.py" "$root/Makefile" \
      "$root/dev" "$dir" || exit 1
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
cd "$dir" || exit 1
passed=0
failed=0

check() {       # check NAME COMMAND...: passes if the command exits with 0
    name=$1
    shift
    if "$@" > log 2>&1; then passed=$((passed + 1)); echo "ok    $name"
    else failed=$((failed + 1)); echo "FAIL  $name"; tail -n 20 log; fi
}

clean_build() { make -s clean && make -s CFLAGS=-Werror "$@"; }

for cc in gcc clang; do
    if ! command -v $cc > /dev/null; then check "$cc is installed" false; continue; fi
    check "$cc builds without a warning" clean_build CC=$cc train_attnvar test_attnvar
    check "$cc builds the instruments without a warning" clean_build CC=$cc tools dev/test/tools_test
    check "$cc, NO_OMP=1, the instruments" clean_build CC=$cc NO_OMP=1 tools dev/test/tools_test
    check "$cc, NO_OMP=1, what they compute" dev/test/tools_test
    check "$cc, PORTABLE=1" clean_build CC=$cc PORTABLE=1 train_attnvar
    check "$cc, NO_OMP=1" clean_build CC=$cc NO_OMP=1 train_attnvar test_attnvar
    check "$cc, NO_OMP=1 runs" ./train_attnvar --steps 2 --sample 8
    check "$cc -O3 train_attnvar.c -lm, as the file says" $cc -O3 train_attnvar.c -o bare -lm
    check "the same runs" ./bare --steps 2 --sample 8
    check "$cc, the benchmark" clean_build CC=$cc dev/bench/bench
    check "the benchmark, $cc: options, and every part once" dev/test/bench.sh dev/bench/bench
done

# 20 steps at a constant rate, compared by the loss of the first and of the last step
falls() {
    ./train_attnvar --steps 20 --warmup 0 --min-lr 3e-3 --batch 4 --log-every 1 --sample 0 "$@" |
        awk '/^step/ && !/val/ { if (!n++) first = $4; last = $4 }
             END { print first, last; exit !(n == 20 && last < first - 1) }'
}
check "builds again" clean_build train_attnvar
for variant in standard mlp approx nonapprox rndembqk fixedseqqk staticembqk; do
    check "20 steps, $variant, uniform" falls --attn $variant
    [ $variant = standard ] || check "20 steps, $variant, even" falls --attn $variant --layout even
done
check "20 steps, all seven in one model" falls --layers 7 --layout SMANRFE

check "exercises: stubs fail, solutions pass, wrong answers fail" make -s exercises-check

# gcc comes last, and its build runs the tests: clang's OpenMP runtime leaks a few bytes of its own
for cc in clang gcc; do
    check "sanitizers, $cc: build" make -s CC=$cc debug
    check "sanitizers, $cc: 5 steps of all seven" ./train_debug --steps 5 --batch 2 --layers 7 --layout SMANRFE --sample 8
    check "sanitizers, $cc: command line" dev/test/cli.sh ./train_debug
done
check "sanitizers: tests" ./test_debug
mkdir sanitized
for tool in tools/eval_attnvar tools/inspect_attnvar tools/generate_attnvar test/tools_test; do
    check "sanitizers: build $tool" gcc -std=c11 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
        -fopenmp dev/$tool.c -o sanitized/${tool#*/} -lm
done
check "sanitizers: what the instruments compute" sanitized/tools_test
check "sanitizers: the instruments" dev/test/tools.sh ./train_debug sanitized
for step in "--layers 7 --layout SMANRFE --steps 6 --batch 2 --save-every 3 --out run" "--resume --out run" "--init run --attn approx --steps 2"; do
    check "sanitizers: checkpoints, $step" ./train_debug $step --sample 0
done

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
