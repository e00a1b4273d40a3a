#!/bin/sh
# The slower checks, part by part, as many parts side by side as there are cores, each in its own copy
# of the tree so that nothing is left behind. dev/test/check.sh PART... runs some of them.
# A line a check, then "N passed, N failed"; exits 1 if any failed.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY

check() {       # check NAME COMMAND...: passes if the command exits with 0
    name=$1
    shift
    if "$@" > log 2>&1; then echo "ok    $name"
    else echo "FAIL  $name"; tail -n 20 log; fi
}

clean_build() { make -s clean && make -s CFLAGS=-Werror "$@"; }

# Builds without a warning in all flavours, and what is built runs.
flavours() {
    cc=$1
    if ! command -v $cc > /dev/null; then check "$cc is installed" false; return; fi
    check "$cc builds without a warning" clean_build CC=$cc train_attnvar test_attnvar
    check "$cc builds the instruments without a warning" clean_build CC=$cc tools
    check "$cc, NO_OMP=1, the instruments' tests" clean_build CC=$cc NO_OMP=1 dev/test/tools_test
    check "$cc, NO_OMP=1, what the instruments compute" dev/test/tools_test
    check "$cc, PORTABLE=1" clean_build CC=$cc PORTABLE=1 train_attnvar
    check "$cc, NO_OMP=1" clean_build CC=$cc NO_OMP=1 train_attnvar test_attnvar
    check "$cc, NO_OMP=1 runs" ./train_attnvar --steps 2 --sample 8
    check "$cc -O3 train_attnvar.c -lm, as the file says" $cc -O3 train_attnvar.c -o bare -lm
    check "the same runs" ./bare --steps 2 --sample 8
    check "$cc, the benchmark" clean_build CC=$cc dev/bench/bench
    check "the benchmark, $cc: options, and every part once" dev/test/bench.sh dev/bench/bench
    check "$cc keeps the tile of the product in registers" python3 dev/test/registers.py --cc $cc
}
part_gcc() { flavours gcc; }
part_clang() { flavours clang; }

# 20 steps at a constant rate, compared by the loss of the first and of the last step
falls() {
    ./train_attnvar --steps 20 --warmup 0 --min-lr 3e-3 --batch 4 --log-every 1 --sample 0 "$@" |
        awk '/^step/ && !/val/ { if (!n++) first = $4; last = $4 }
             END { print first, last; exit !(n == 20 && last < first - 1) }'
}
part_learning() {
    check "builds" clean_build train_attnvar
    for variant in standard mlp approx nonapprox rndembqk fixedseqqk staticembqk; do
        check "20 steps, $variant, uniform" falls --attn $variant
        [ $variant = standard ] || check "20 steps, $variant, even" falls --attn $variant --layout even
    done
    check "20 steps, all seven in one model" falls --layers 7 --layout SMANRFE
}

# The address and undefined-behaviour sanitizers. The tests run in gcc's build alone: clang's OpenMP
# runtime leaks a few bytes of its own.
sanitized() {
    check "sanitizers, $1: build" make -s CC=$1 train_debug
    check "sanitizers, $1: 5 steps of all seven" ./train_debug --steps 5 --batch 2 --layers 7 --layout SMANRFE --sample 8
    check "sanitizers, $1: command line" dev/test/cli.sh ./train_debug
}
part_sanitized_clang() { sanitized clang; }
part_sanitized_gcc() {
    sanitized gcc
    for step in "--layers 7 --layout SMANRFE --steps 6 --batch 2 --save-every 3 --out run" "--resume --out run" "--init run --attn approx --steps 2"; do
        check "sanitizers: checkpoints, $step" ./train_debug $step --sample 0
    done
}
part_sanitized_tests() {
    check "sanitizers: build of the tests" make -s CC=gcc test_debug
    check "sanitizers: tests" ./test_debug
}
part_sanitized_tools() {
    check "sanitizers, the instruments: build" make -s CC=gcc train_debug
    check "sanitizers: build all tools" make -s CC=gcc tools dev/test/tools_test \
        CFLAGS='-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all'
    check "sanitizers: what the instruments compute" dev/test/tools_test
    mkdir sanitized
    mv dev/tools/eval_attnvar dev/tools/inspect_attnvar dev/tools/generate_attnvar sanitized
    check "sanitizers: the instruments" dev/test/tools.sh ./train_debug sanitized
}

part_mutations() {
    check "every mutant compiles" python3 dev/test/mutate.py --compile --jobs 1
    check "the tests notice ten mistakes" python3 dev/test/mutate.py --sample 10 --seed 45 --jobs 1
}

part_saving() {
    check "builds for saving" clean_build train_attnvar
    check "saving: every system call cut, 40 kills by each of four signals" python3 dev/test/save.py ./train_attnvar
}

part_notes() {
    check "links and commands of every Markdown file" python3 dev/test/markdown.py
    check "README: its commands, its output, its table" python3 dev/test/readme.py --fast
    check "dev/notes: the gradients' formulas, their lines of code" python3 dev/notes/check_gradients.py
    check "dev/notes: the eighth variant applies, its gradients, 20 steps" dev/notes/eighth_check.sh
}

part_tokens() {
    check "bpe.py: the tokenizers library's ids, the committed shards" python3 dev/test/test_bpe.py
}

part_ports() {
    check "builds for the port" clean_build train_attnvar
    check "the Python port: golden vectors, first losses" python3 dev/ports/attnvar.py --quick --program ./train_attnvar
    check "the JavaScript port: golden vectors, losses, checkpoints, samples" dev/test/ports.sh ./train_attnvar
    check "golden vectors notice a port's mistakes" python3 dev/test/port_mistakes.py
}
part_experiments() {
    check "builds for the sweep" make -s train_attnvar tools
    check "the sweep: killed, failing, side by side" python3 dev/test/test_experiments.py
    check "the report: verdicts, pages, damaged input" python3 dev/test/test_report.py
    check "models of Hugging Face: losses, refusals, damage" python3 dev/test/test_hf.py
}
part_scale() {
    check "builds for PyTorch's model" make -s train_attnvar
    check "attnvar_torch.py: golden vectors, losses, checkpoints, processes, refusals" dev/test/scale.sh ./train_attnvar
}
part_mpi() {
    check "builds for MPI" make -s train_attnvar
    check "several processes: losses, repetition, resuming, refusals" dev/test/mpi.sh ./train_attnvar
}
part_exercises() {
    check "exercises: stubs fail, solutions pass, wrong answers fail" make -s exercises-check
}

# The longest first, so that no core is idle in the end.
parts="sanitized_tests sanitized_tools clang gcc sanitized_gcc sanitized_clang experiments mutations
       exercises ports learning scale saving mpi tokens notes"

if [ "${1:-}" = --one ]; then           # one part, called by the loop below
    dir=$(mktemp -d) || exit 1
    trap 'rm -rf "$dir"' EXIT
    cp -r "$root/train_attnvar.c" "$root/test_attnvar.c" "$root/prepro_data.py" "$root/Makefile" \
          "$root/README.md" "$root/dev" "$dir" && cd "$dir" || exit 1
    begin=$(date +%s)
    "part_$2" > lines
    cat lines
    echo "      $2: $(($(date +%s) - begin)) s"
    exit 0
fi
for part in "$@"; do
    case " $(echo $parts) " in *" $part "*) ;; *) echo "no part '$part': expected some of $parts"; exit 1 ;; esac
done
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
printf '%s\n' ${*:-$parts} | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" "$0" --one | tee "$log"
passed=$(grep -c '^ok ' "$log") failed=$(grep -c '^FAIL ' "$log")
echo "$passed passed, $failed failed"
ended=$(grep -c '^      .* s$' "$log") expected=$(set -- ${*:-$parts}; echo $#)
[ "$ended" -eq "$expected" ] || { echo "$((expected - ended)) parts broke off"; exit 1; }
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
