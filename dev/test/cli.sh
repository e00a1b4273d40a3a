#!/bin/sh
# Command-line tests: dev/test/cli.sh PROGRAM. Bad input must end with exit code 1 and one line on
# standard error that holds the given parts (what was found, what is allowed, what to run), and must
# leave no file behind; good input must do what it says. Prints a line for each failure, then
# "N passed, N failed"; exits 1 if any failed.
set -u
LC_ALL=C
OMP_WAIT_POLICY=passive
export LC_ALL OMP_WAIT_POLICY
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
passed=0
failed=0

mkdir in
head -c 20000 "$root/dev/data/austen_train.txt" > in/text
head -c 3000 "$root/dev/data/austen_val.txt" > in/val
head -c 128 in/text > in/short
: > in/empty
mkdir in/folder
before=$(find . | sort)

result() {      # result OK? WHAT DETAIL
    if [ "$1" = yes ]; then passed=$((passed + 1))
    else failed=$((failed + 1)); printf 'FAIL  %s\n      %s\n' "$2" "$3"; fi
}

# refuse PART... -- ARGUMENT...
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
    [ "$(find . | sort)" = "$before" ] || { ok=no; why="$why files were left: $(find . -newer in/empty | tr '\n' ' ')"; }
    result $ok "refuse: $*" "$why it said: $out"
}

# accept PART... -- ARGUMENT...: exit code 0, the parts on standard output, nothing on standard error
accept() {
    : > "$dir.parts"
    while [ "$1" != -- ]; do printf '%s\n' "$1" >> "$dir.parts"; shift; done
    shift
    out=$("$program" "$@" 2>"$dir.err" </dev/null)
    code=$?
    ok=yes why=
    [ $code -eq 0 ] || { ok=no; why="exit code $code;"; }
    [ -s "$dir.err" ] && { ok=no; why="$why errors: $(cat "$dir.err");"; }
    while IFS= read -r part; do
        case $out in *"$part"*) ;; *) ok=no; why="$why no '$part';" ;; esac
    done < "$dir.parts"
    rm -f "$dir.parts" "$dir.err"
    result $ok "accept: $*" "$why it said: $out"
}

little="--data in/text --val in/val --dim 16 --heads 2 --layers 2 --ffn 24 --seq 16 --batch 2 --steps 2
        --eval-batches 2 --sample 0"

# ---- options
refuse "unknown option '--colour'" "--help" -- --colour red
refuse "unknown option 'data'" "--help" -- data
refuse "unknown option '-x'" "--help" -- -x
refuse "unknown option '--'" "--help" -- --
refuse "unknown option '--step'" "--help" -- --step 3
refuse "--steps wants a value" "--help" -- --steps
refuse "--data wants a value" -- --seed 1 --data
refuse "--steps 'many'" "whole number from 0 to 1000000000" -- --steps many
refuse "--steps '-1'" "whole number from 0" -- --steps -1
refuse "--steps '1.5'" "whole number" -- --steps 1.5
refuse "--steps ''" "whole number" -- --steps ""
refuse "--steps '12x'" "whole number" -- --steps=12x
refuse "--steps '99999999999999999999'" "whole number" -- --steps 99999999999999999999
refuse "--layers '0'" "from 1 to 256" -- --layers 0
refuse "--layers '257'" "from 1 to 256" -- --layers 257
refuse "--batch '0'" "from 1" -- --batch 0
refuse "--seq '0'" "from 1" -- --seq 0
refuse "--vocab '255'" "from 256" -- --vocab 255
refuse "--lr 'fast'" "number from 0 to 1000" -- --lr fast
refuse "--lr 'nan'" "number from 0" -- --lr nan
refuse "--lr 'inf'" "number from 0" -- --lr inf
refuse "--lr '-1e-3'" "number from 0" -- --lr -1e-3
refuse "--beta2 '1'" "0.999999" -- --beta2 1
refuse "--rope-base '0.5'" "number from 1" -- --rope-base 0.5
refuse "--seed '-1'" "2^64 - 1" -- --seed -1
refuse "--seed 'x'" "2^64 - 1" -- --seed x
refuse "--seed '18446744073709551616'" "2^64 - 1" -- --seed 18446744073709551616
refuse "--qk-norm takes no value" "'yes'" -- --qk-norm=yes
refuse "--threads '0'" "from 1" -- --threads 0
refuse "unknown size 'huge'" "tiny, small, 10m, 70m, 160m, 500m, 1.7b" -- --size huge

# ---- variants, layouts, shapes
refuse "unknown variant 'linear'" "standard, mlp, approx, nonapprox, rndembqk, fixedseqqk, staticembqk" -- --attn linear
refuse "'sideways' is no layout" "--help" -- --layout sideways
refuse "leave out --attn approx" "--layout NSNS" -- --attn approx --layout NSNS
refuse "'X' is no layout and no variant" "S M A N R F E" -- --layout NSXS
refuse "'' is no layout and no variant" -- --layout nonapprox,,mlp,mlp
refuse "names 3 layers, the model has 4" "--layers 3" -- --layout NSN
refuse "names 5 layers, the model has 4" "--layers 5" -- --layout NSNSN
refuse "names 0 layers, the model has 4" -- --layout ""
refuse "names 2 layers, the model has 4" -- --layout mlp,standard
refuse "--dim 64 is not a multiple of --heads 3" -- --heads 3
refuse "--heads 4 is not a multiple of --kv-heads 3" -- --kv-heads 3
refuse "head size 3" "odd" "RoPE" "standard" -- --dim 12 --heads 4
refuse "head size 3" "odd" "RoPE" "rndembqk" -- --dim 12 --heads 4 --attn rndembqk
refuse "mlp with --kv-heads 2 and --heads 4" "equally wide" -- --attn mlp --kv-heads 2
refuse "mlp with --kv-heads 2" -- --layout SSSM --kv-heads 2
refuse "2^30 positions" -- --batch 65536 --seq 1048576
refuse "the model needs" "MB of memory and this machine has" "--batch" -- --size 1.7b --batch 60000 --data in/text --val in/val --seq 256

# ---- data files
refuse "in/none: No such file" "dev/data/austen_train.txt" "--data FILE" -- --data in/none
refuse "in/none: No such file" -- --data in/text --val in/none
refuse "in/folder: is a directory" "--data FILE" -- --data in/folder
refuse "/dev/null: is not a regular file" -- --data /dev/null
refuse "in/empty: the file is empty" "--data FILE" -- --data in/empty
refuse "in/short: 128 tokens for training" "--seq 128 + 1" "smaller --seq" -- --data in/short --val in/val
refuse "in/short: 128 tokens for validation" "--seq 128 + 1" -- --data in/text --val in/short
refuse "in/val: 300 tokens for validation (the last tenth)" "--seq 512" -- --data in/val --seq 512
refuse "in/short: 128 tokens, the anchor needs --seq 256" -- --data in/text --val in/val --attn fixedseqqk --seq 256 --anchor in/short
refuse "in/none: No such file" -- --data in/text --val in/val --attn fixedseqqk --anchor in/none
refuse "dev/data/austen_train.txt: No such file" "--data FILE" -- --steps 1

# ---- a run that cannot go on: the step and the tensor are named
refuse "step " ": the loss is nan and the gradient of model.embed_tokens.weight" "--lr" -- $little --lr 1000 --warmup 0 --clip 0 --steps 30 --decay 1000
# ---- what works
accept "usage:" "--rope-base" "staticembqk" "bilateral" "1.7b" -- --help
accept "step     2  val loss" "floors" -- $little
accept "step     2  val loss" -- $little --size=small --dim 16 --seed=18446744073709551615
accept "NSNS" "skip blocks  val loss" "skip mixers  val loss" -- $little --layers 4 --layout NSNS
accept "2 nonapprox" -- $little --attn nonapprox
accept "SMANRFE" -- $little --layers 7 --layout SMANRFE --qk-norm --untied
accept "1 mlp, 1 approx" -- $little --layout mlp,approx
accept "kv-heads 1" -- $little --kv-heads 1 --attn fixedseqqk --anchor in/short
accept "last tenth" -- --data in/text --dim 16 --heads 2 --layers 1 --ffn 8 --seq 8 --batch 2 --steps 1 --sample 0
accept "step     0  val loss 5." -- $little --steps 0
accept "sample" -- $little --sample 20 --threads 1
accept "vocabulary 300" -- $little --vocab 300
accept "step     2  val loss" -- $little --seq 1 --batch 1 --dim 2 --heads 1
one=$("$program" $little --steps 5 --log-every 1 --threads 1 | grep -o 'loss [0-9.]*')
two=$("$program" $little --steps 5 --log-every 1 --eval-every 2 --threads 1 | grep -v val | grep -o 'loss [0-9.]*')
[ "$(printf '%s' "$one" | grep -v val | head -5)" = "$(printf '%s' "$two" | head -5)" ] && same=yes || same=no
result $same "evaluation does not change training" "$one / $two"
all=$(find . | sort)
[ "$all" = "$before" ] && same=yes || same=no
result $same "without --out nothing is written" "$all"

printf 'command line: %d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
