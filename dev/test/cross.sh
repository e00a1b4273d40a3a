#!/bin/sh
# What a Linux machine can check of other systems: dev/test/cross.sh [TARGET...], all of them if none is
# named (--list). A line a target: ok, FAIL, or skip with the packages that are missing; --long adds what
# takes minutes (a 5 GB text, every test of the musl and the 32-bit build).
#
# A target that can be run is built, its gradients are compared with finite differences, its golden vectors
# checked; a short training's losses must agree with this machine's to 1e-3 in every step, as must those of
# a run that is killed on one of the two, goes on on the other, is killed there and ends on the first.
# The last line is "cross: N passed, N failed, N skipped".
set -u
LC_ALL=C.UTF-8 OMP_WAIT_POLICY=passive OMP_NUM_THREADS=2 WINEDEBUG=-all NODE_NO_WARNINGS=1
export LC_ALL OMP_WAIT_POLICY OMP_NUM_THREADS WINEDEBUG NODE_NO_WARNINGS
root=$(cd "$(dirname "$0")/../.." && pwd)
all="makefile refused stacks musl tcc i386 aarch64 armhf riscv64 windows wasm macos-arm64 macos-x86_64"
long=
case ${1:-} in
--list) echo $all; exit ;;
--long) long=yes; shift ;;
esac
[ $# -gt 0 ] || set -- $all
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
WINEPREFIX=$dir/wine
export WINEPREFIX

# ---- what the targets share; each runs in a folder of its own, $dir/TARGET, with a copy of the tree

needs() {       # needs PACKAGE COMMAND...: skips the target if commands are missing
    for pair in "$@"; do
        command -v "${pair#*:}" > /dev/null || missing="${missing:-}${missing:+ }${pair%%:*}"
    done
    [ -z "${missing:-}" ] || { echo "skip  $target: not installed: $missing"; exit 0; }
}
die() { printf 'FAIL  %s: %s\n' "$target" "$*"; exit 0; }
try() {         # try WHAT COMMAND...: or the target fails, with the end of what the command said
    what=$1
    shift
    "$@" > log 2>&1 || die "$what: $(tail -n 5 log | tr '\n' ' ')"
}
not() { ! "$@"; }
said() { grep -q -e "$1" log; }
tree() { cp -r "$root/train_attnvar.c" "$root/test_attnvar.c" "$root/Makefile" "$root/dev" . && rm -f ./*.o; }
build() { try "does not build without a warning" make -s CFLAGS="${flags:-} -Werror" "$@" $targets; }
tests() {       # tests RUNNER PROGRAM: the gradients, the golden vectors
    for tests in gradient golden; do
        try "$tests" "$@" $tests
        said '^[1-9][0-9]* passed, 0 failed' || die "$tests: $(tail -n 1 log)"
        eval "$tests=\$(sed -n '\$s/ passed.*//p' log)"
    done
}

# eight layers, all variants, a fourth of a second
training="--layers 8 --layout SMANRFES --dim 32 --heads 2 --ffn 48 --seq 64 --batch 4 --steps 30 --sample 0
          --eval-every 10 --eval-batches 2 --log-every 1 --threads 1 --save-every 1
          --data dev/data/austen_train.txt --val dev/data/austen_val.txt"
reference() {   # this machine's build and its run, once
    [ -e "$dir/x86/run/model.safetensors" ] && return
    mkdir -p "$dir/x86" && (cd "$dir/x86" && tree && make -s train_attnvar &&
        ./train_attnvar $training --out run > out) || { echo "FAIL  this machine's own build"; exit 1; }
}
agree() {       # agree LOG: the largest difference to the reference's, or nothing if one is above 1e-3
    awk -F, 'FNR == 1 { file++; next }
             file == 1 { loss[$1] = $2; val[$1] = $6; n++ }
             file == 2 { m++; d = $2 - loss[$1]; if (d < 0) d = -d; if (!(d <= worst)) worst = d
                         if (val[$1] != "") { d = $6 - val[$1]; if (d < 0) d = -d; if (!(d <= worst)) worst = d } }
             END { if (n == 30 && m == 30 && worst <= 1e-3) printf "%.6f", worst }' "$dir/x86/run/log.csv" "$1"
}
last() { tail -n 1 "$1" | cut -d, -f6; }

until_row() {   # until_row FOLDER ROW PROGRAM...: killed as soon as its log has the row, whatever it is doing
    folder=$1 row=$2 waited=0
    shift 2
    "$@" > log 2>&1 & pid=$!
    while [ $waited -lt 6000 ] && kill -0 $pid 2> /dev/null && ! grep -q "^$row," "$folder/log.csv" 2> /dev/null; do
        sleep 0.02; waited=$((waited + 1))
    done
    kill -KILL $pid 2> /dev/null
    wait $pid 2> /dev/null
    grep -q "^$row," "$folder/log.csv" || die "killed and resumed: no row $row: $(tail -n 2 log | tr '\n' ' ')"
}
trains() {      # trains RUNNER PROGRAM: alone, then to and fro between this machine and that one
    try "training" "$@" $training --out run
    worst=$(agree run/log.csv)
    [ -n "$worst" ] || die "other losses than here: $(last run/log.csv), here $(last "$dir/x86/run/log.csv")"
    until_row trip 6 "$@" $training --out trip
    until_row trip 14 "$dir/x86/train_attnvar" --out trip --resume --save-every 1 --sample 0
    until_row trip 22 "$@" --out trip --resume --save-every 1 --sample 0
    try "to and fro: resumed here" "$dir/x86/train_attnvar" --out trip --resume --sample 0
    trip=$(agree trip/log.csv)
    [ -n "$trip" ] || die "to and fro: ends at $(last trip/log.csv), here at $(last "$dir/x86/run/log.csv")"
    losses="val loss $(last run/log.csv) (here $(last "$dir/x86/run/log.csv")), all 30 losses within $worst, to and fro within $trip"
}

# ---- the targets

target_makefile() {
    try "the Makefile" "$root/dev/test/makefile.sh" make ${MAKE381:+"$MAKE381"}
    passed="$(tail -n 1 log)${MAKE381:+, with make 3.81, too}"
}

target_refused() {      # machines that would compute something else, in one line that says why
    needs s390x-linux-gnu-gcc gcc-multilib:/usr/lib/gcc/x86_64-linux-gnu/*/32/libgcc.a
}
