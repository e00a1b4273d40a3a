#!/bin/sh
# Command-line tests: dev/test/cli.sh PROGRAM. Bad input must end with exit code 1 and one line on
# standard error that holds the given parts (what was found, what is allowed, what to run), and must
# leave no file behind; good input must do what it says. Prints a line for each failure, then
# "N passed, N failed"; exits 1 if any failed.
. "$(dirname "$0")/lib.sh"

mkdir in
head -c 20000 "$root/dev/data/austen_train.txt" > in/text
head -c 3000 "$root/dev/data/austen_val.txt" > in/val
head -c 128 in/text > in/short
: > in/empty
mkdir in/folder
mkfifo in/pipe

# Token shards by hand: a header of 256 int32, then little-endian tokens. 600 bytes of text as uint16
# and as uint32; the count 600 is 130 2 in octal bytes, the magics 210 330 064 001 and 241 331 064 001.
zeros() { head -c "$1" /dev/zero; }
bytes_as() { od -An -v -tu1 -N 600 in/text | awk -v more="$1" '{ for (i = 1; i <= NF; i++) printf "\\0%03o%s", $i, more }'; }
header() { printf '%b' "$1"; zeros $((1024 - 12)); }
{ header '\0210\0330\0064\0001\0001\0000\0000\0000\0130\0002\0000\0000'; printf '%b' "$(bytes_as '\\0000')"; } > in/u16
{ header '\0241\0331\0064\0001\0007\0000\0000\0000\0130\0002\0000\0000'; printf '%b' "$(bytes_as '\\0000\\0000\\0000')"; } > in/u32
cp in/u16 in/named.bin
head -c 2000 in/u16 > in/cut
{ cat in/u16; printf 'x'; } > in/longer
{ header '\0241\0331\0064\0001\0007\0000\0000\0000\0002\0000\0000\0000'; printf '%b' '\0005\0000\0000\0000\0000\0000\0100\0000'; } > in/beyond
{ header '\0210\0330\0064\0001\0002\0000\0000\0000\0130\0002\0000\0000'; zeros 1200; } > in/version2
{ header '\0212\0330\0064\0001\0001\0000\0000\0000\0001\0000\0000\0000'; zeros 100; } > in/choices
{ header '\0210\0330\0064\0001\0001\0000\0000\0000\0377\0377\0377\0377'; zeros 100; } > in/negative
zeros 5000 > in/headerless.bin
cp in/headerless.bin ./-raw.bin
cp in/choices in/quiz.bin
# beyond 2 and 4 GB, with holes for almost all of it: 5.5e8 uint32 tokens, the last one 70000; and text
{ header '\0241\0331\0064\0001\0007\0000\0000\0000\0200\0125\0310\0040'; } > in/huge
printf '%b' '\0160\0021\0001\0000' | dd of=in/huge bs=4 seek=$((256 + 550000000 - 1)) 2> dd.log
head -c 5000 in/text > in/hugetext
head -c 5000 in/text | dd of=in/hugetext bs=1000 seek=5000000 2> dd.log
rm -f dd.log
# files that are neither text nor tokens
mkdir "in/other kinds"
kind() { { printf "$2"; tail -c +20 in/text; } > "in/other kinds/$1"; }
kind utf16le '\377\376T\000'; kind utf16be '\376\377\000T'; kind gz '\037\213\010'; kind zip 'PK\003\004'
kind xz '\3757zXZ\000'; kind zst '\050\265\057\375'; kind bz2 'BZh91AY'; kind pdf '%%PDF-1.4'
kind npy '\223NUMPY\001\000'; kind safetensors '\150\007\000\000\000\000\000\000{"__metadata__":{'
printf '%b' "$(bytes_as '\\0000')" > "in/other kinds/bare16"
printf '%b' "$(bytes_as '\\0000\\0000\\0000')" > "in/other kinds/bare32"
printf '\303\251t\303\251, \320\264\320\276 \346\227\245\346\234\254 \377 %.0s' $(seq 40) > in/utf8
head -c 900 in/text > in/part_1.txt; tail -c +901 in/text > in/part_2.txt
cp in/text "in/it's here.bin"
{ head -c 64 in/text; tr 'a-d' '\001-\004' < in/text; } > "in/other kinds/controls"
{ printf '\033[1m'; cat in/text; } > "in/other kinds/coloured"
before=$(find . | sort)

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

tiny="--dim 16 --heads 2 --layers 2 --ffn 24 --seq 16 --batch 2 --steps 2 --eval-batches 2"

# ---- options
refuse "unknown option '--colour'" "--help" -- --colour red
refuse "unknown option 'data'" "--help" -- data
refuse "unknown option '-x'" "--help" -- -x
refuse "unknown option '--'" "--help" -- --
refuse "unknown option '--step'" "--help" -- --step 3
refuse "--steps wants a value" "--help" -- --steps
refuse "--data wants a value" -- --seed 1 --data
refuse "--out wants a value" -- --out ""
refuse "--out wants a value" -- $little --out --resume
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
refuse "--vocab '1'" "from 2 to" -- --vocab 1
refuse "a vocabulary of 255 (--vocab, or the checkpoint's): bytes need 256" -- --vocab 255 --data in/text --val in/val
refuse "--lr 'fast'" "number from 0 to 1000" -- --lr fast
refuse "--lr 'nan'" "number from 0" -- --lr nan
refuse "--lr 'inf'" "number from 0" -- --lr inf
refuse "--lr '0x1p-9'" "number from 0" -- --lr 0x1p-9
refuse "--steps '0x5'" "whole number" -- --steps 0x5
refuse "--lr '-1e-3'" "number from 0" -- --lr -1e-3
refuse "--beta2 '1'" "0.999999" -- --beta2 1
refuse "--rope-base '0.5'" "number from 1" -- --rope-base 0.5
refuse "--seed '-1'" "2^62 - 1" -- --seed -1
refuse "--seed 'x'" "2^62 - 1" -- --seed x
refuse "--seed '4611686018427387904'" "2^62 - 1" -- --seed 4611686018427387904
refuse "--seed '18446744073709551616'" "2^62 - 1" -- --seed 18446744073709551616
refuse "--qk-norm takes no value" "'yes'" -- --qk-norm=yes
refuse "--threads '0'" "from 1" -- --threads 0
refuse "unknown size 'huge'" "tiny, recall, small, 10m, 70m, 160m, 500m, 1.7b" -- --size huge

# ---- variants, layouts, shapes
refuse "unknown variant 'linear'" "standard, mlp, approx, nonapprox, rndembqk, fixedseqqk, staticembqk" -- --attn linear
refuse "'sideways' is no layout" "--help" -- --layout sideways
refuse "leave out --attn approx" "--layout NSNS" -- --attn approx --layout NSNS
refuse "'X' is no layout and no variant" "--help" -- --layout NSXS
refuse "'' is no layout and no variant" -- --layout nonapprox,,mlp,mlp
refuse "names 3 layers, the model has 4" "--layers 3" -- --layout NSN
refuse "names 5 layers, the model has 4" "--layers 5" -- --layout NSNSN
refuse "--layout wants a value" "--help" -- --layout ""
refuse "--layout even" "stay standard" "--attn" -- --layout even
refuse "names 2 layers, the model has 4" -- --layout mlp,standard
refuse "--dim 64 is not a multiple of --heads 3" -- --heads 3
refuse "--heads 4 is not a multiple of --kv-heads 3" -- --kv-heads 3
refuse "head size 3" "odd" "RoPE" "standard" -- --dim 12 --heads 4
refuse "head size 3" "odd" "RoPE" "rndembqk" -- --dim 12 --heads 4 --attn rndembqk
refuse "--save-every needs --out DIR" -- --save-every 10
refuse "--force needs --out DIR" -- --force
refuse "mlp with --kv-heads 2 and --heads 4" "expected --kv-heads 4" -- --attn mlp --kv-heads 2
refuse "mlp with --kv-heads 2" -- --layout SSSM --kv-heads 2
refuse "2^30 positions" -- --batch 65536 --seq 1048576
refuse "the model needs" "MB of memory and this machine has" "--batch" -- --size 1.7b --batch 60000 --data in/text --val in/val --seq 256

# ---- data files
refuse "in/none: No such file" "the default data are in dev/data" "--data FILE" -- --data in/none
refuse "in/none: No such file" "--val FILE" -- --data in/text --val in/none
refuse "in/none: No such file" -- --data in/text in/none
refuse "unknown option '-x'" -- --data in/text -x
refuse "unknown option 'in/val'" -- --data in/text --steps 2 in/val
refuse "--data: more than 256 files: join" -- --data $(for i in $(seq 257); do echo in/short; done)
refuse "--accumulate '0'" "from 1" -- --accumulate 0
refuse "in/folder: is no regular file" "--data FILE" -- --data in/folder
refuse "in/pipe: is no regular file" "--val FILE" -- --data in/text --val in/pipe
refuse "/dev/null: is no regular file" -- --data /dev/null
refuse "--data: found a file's name with a line break" -- --data "in/text
in/val"
refuse "--val wants a value" -- --data in/text --val in/val ""
refuse "in/quiz.bin: is a multiple-choice file" -- --data in/quiz.bin
refuse "tokens './-raw.bin' --from nanogpt" -- --data -raw.bin
refuse "in/empty: the file is empty" -- --data in/empty
refuse "in/short: 128 tokens for training" "--seq 128 + 1" "smaller --seq" -- --data in/short --val in/val
refuse "in/short: 128 tokens for validation" "--seq 128 + 1" -- --data in/text --val in/short
refuse "in/val: 300 tokens for validation (the last tenth)" "--seq 512" -- --data in/val --seq 512
refuse "in/short: 128 tokens, --seq needs 256" -- --data in/text --val in/val --attn fixedseqqk --seq 256 --anchor in/short
refuse "in/none: No such file" -- --data in/text --val in/val --attn fixedseqqk --anchor in/none
refuse "dev/data/austen_train.txt: No such file" "--data FILE" -- --steps 1

# ---- other kinds of file: the command that makes text of them
o="in/other kinds"
for name in utf16le utf16be gz zip xz zst bz2 pdf npy safetensors bare16 bare32; do
    refuse "$o/$name: is no text: expected UTF-8, or tokens" "python3 prepro_data.py show '$o/$name'" -- --data "$o/$name" --steps 0
done
refuse "$o/controls: is no text" -- --data "$o/controls" --steps 0
refuse "$o/gz: is no text" -- --data in/text --val "$o/gz"
refuse "$o/gz: is no text" -- $little --attn fixedseqqk --anchor "$o/gz"
refuse "in/u16 holds tokens and in/text holds bytes" -- --data in/u16 --val in/u16 $tiny --attn fixedseqqk --anchor in/text
refuse "python3 prepro_data.py tokens 'in/it'\\''s here.bin' --from nanogpt" -- --data "in/it's here.bin"

# ---- shards, recall
refuse "in/headerless.bin" "without llm.c's header" "nanoGPT" "python3 prepro_data.py tokens in/headerless.bin --from nanogpt --out DIR" -- --data in/headerless.bin
refuse "in/cut: its header counts 600 tokens of 2 bytes, so 2224 bytes" "the file has 2000" -- --data in/cut
refuse "in/longer: its header counts 600 tokens" "the file has 2225" -- --data in/longer
refuse "in/version2: has another version" -- --data in/version2
refuse "in/choices: is a multiple-choice file" "expected UTF-8, or tokens" -- --data in/choices
refuse "in/negative: its header counts -1 tokens" -- --data in/negative
refuse "in/text holds bytes and in/u16 holds tokens" "one kind" -- --data in/text --data in/u16 --val in/val
refuse "in/u16 holds tokens and in/val holds bytes" -- --data in/u16 --val in/val
refuse "in/u16: token 0 is 83, expected less than the vocabulary of 64" "--vocab" -- --data in/u16 --val in/u16 --vocab 64 --seq 16
largest=$(od -An -v -tu1 -N 600 in/text | tr -s ' ' '\n' | sort -n | tail -n 1)
refuse "is $largest, expected less than the vocabulary of $largest" -- --data in/u16 --val in/u16 --vocab "$largest" --seq 16
refuse "in/huge: token 549999999 is 70000, expected less than the vocabulary of 50304" -- --data in/u32 --data in/huge --val in/u32 --vocab 50304 --seq 16
refuse "in/beyond: token 1 is 4194304, expected less than the vocabulary of 4194304" -- --data in/beyond --val in/beyond --seq 1
refuse "in/u16: 540 tokens for training" -- --data in/u16 --seq 600
refuse "--pairs '0'" "from 1 to 256" -- --data recall --pairs 0
refuse "--pairs 3: the data are not recall" -- $little --pairs 3
refuse "--sample 5: recall has no text" -- --data recall --sample 5
refuse "--pairs 40" "--vocab 64" "expected --vocab 82" -- --data recall --pairs 40 --seq 400
refuse "--pairs 20" "--seq 48" "expected --vocab 42 and --seq 80" -- --data recall --pairs 20
refuse "--pairs 20" "--seq 79" "--seq 80, or more" -- --data recall --pairs 20 --seq 79
refuse "recall makes its own validation data" -- --data recall --val in/val
refuse "recall: No such file" -- --data recall --data in/text --val in/val
refuse "--anchor in/text: no layer is fixedseqqk" -- $little --anchor in/text

# ---- a model that is lost
dead="--data in/text --val in/val --dim 32 --heads 2 --layers 2 --ffn 48 --seq 32 --batch 4 --eval-batches 1 --sample 0
      --lr 1000 --warmup 0 --clip 0 --decay 1000"
refuse "the validation loss is nan" "--lr" -- $dead --steps 3

# ---- a run that cannot go on: the step and the tensor are named
refuse "step " ": the loss is nan and the gradient of model.embed_tokens.weight" "--lr" -- $little --lr 1000 --warmup 0 --clip 0 --steps 30 --decay 1000
# ---- output that cannot be written
if [ -w /dev/full ]; then
    for words in "--help" "$little"; do
        "$program" $words > /dev/full 2> "$dir.err" < /dev/null
        code=$?
        [ $code -eq 1 ] && grep -q 'cannot write the output: No space left' "$dir.err" && ok=yes || ok=no
        result $ok "output that cannot be written: $words" "exit code $code: $(cat "$dir.err")"
    done
    rm -f "$dir.err"
fi

# ---- what works
accept "in/part_1.txt and more: 20000 bytes" "in/val and more: 6000 bytes" -- --data in/part_*.txt --val in/val in/val $tiny --sample 0
accept "in/part_1.txt and more: 40000 bytes" -- --data=in/part_1.txt in/part_2.txt --val in/val --data in/text $tiny --sample 0
accept "5 steps of 6 x 16 tokens" -- $little --accumulate 3 --steps 5
accept "0 steps of 2147483648 x 1 tokens" -- $little --batch 32768 --accumulate 65536 --seq 1 --steps 0 --eval-batches 1
accept "$(printf '\303\251t\303\251, \320\264\320\276 \346\227\245\346\234\254 \357\277\275 ')" -- --data in/text --val in/utf8 $tiny --seq 40 --sample 3
accept "$o/coloured: " -- --data "$o/coloured" --val in/val $tiny --sample 0
accept "usage:" "--rope-base" "staticembqk" "bilateral" "1.7b" -- --help
accept "step     2  val loss" "floors" -- $little
accept "step     2  val loss" -- $little --size=small --dim 16 --seed=4611686018427387903
accept "NSNS" "skip blocks  val loss" "skip mixers  val loss" -- $little --layers 4 --layout NSNS
accept "2 nonapprox" -- $little --attn nonapprox
accept "SMANRFE" -- $little --layers 7 --layout SMANRFE --qk-norm --untied
accept "1 mlp, 1 approx" -- $little --layout mlp,approx
accept "kv-heads 1" -- $little --kv-heads 1 --attn fixedseqqk --anchor in/short
accept "last tenth" -- --data in/text --dim 16 --heads 2 --layers 1 --ffn 8 --seq 8 --batch 2 --steps 1 --sample 0
accept "step     0  val loss 5." -- $little --steps 0
accept "sample" -- $little --sample 20 --threads 1
f=$(printf '\357\277\275')              # a token above 255 is no byte
accept "$f$f$f$f$f$f$f$f$f$f$f$f$f$f$f$f" -- $little --vocab 65536 --steps 0 --sample 16
accept "vocabulary 300" -- $little --vocab 300
accept "step     2  val loss" -- $little --seq 1 --batch 1 --dim 2 --heads 1
accept "vocabulary 128;" "600 tokens" "perplexity" -- --data in/u16 --val in/u32 $tiny
accept "vocabulary 128;" "1080 tokens" "last tenth" -- --data in/u16 --data in/u32 $tiny
accept "vocabulary 300;" -- --data in/named.bin --val in/named.bin --vocab 300 --sample 3 $tiny
accept "and more: 1200 tokens" -- --data in/u16 --data in/u32 --val in/u16 $tiny
accept "5000005000 bytes, the first 64 scored" "step     2  val loss" -- --data in/text --val in/hugetext $tiny
accept "task        recall: 3 pairs, keys 1 to 9, values 10 to 19" "0.1000" "0.3333" "accuracy" -- --data recall --pairs 3 --vocab 20 --seq 20 --steps 2 --attn fixedseqqk
accept "SSNN" "sample, temperature" -- $little --layers 4 --layout top --attn nonapprox --sample 4
out=$("$program" $little | sed -n 's/^step     2  val loss \([0-9.]*\)  (\([0-9.]*\) bits a byte)$/\1 \2/p')
same=$(echo "$out" | awk '{ d = $2 - $1 / log(2); print (NF == 2 && d * d < 4e-8 ? "yes" : "no") }')
result "$same" "bits a byte are nats / ln 2" "$out"
"$program" $little --steps 20000 --log-every 10 > "$dir.out" & pid=$!    # paused for longer than it computes
sleep 0.2; kill -STOP $pid; sleep 1.5; kill -CONT $pid; wait $pid
grep '^step 20000  loss.* 0:00:00 left$' "$dir.out" > "$dir.last" && same=yes || same=no
result $same "after the last step no time is left" "$(tail -3 "$dir.out")"
rm -f "$dir.out" "$dir.last"
same=yes
for file in u16 u32; do
    "$program" --data in/$file --val in/$file --vocab 256 --log-every 1 $tiny --threads 1 | grep -o 'loss [0-9.]*' > "$dir.$file"
done
cmp -s "$dir.u16" "$dir.u32" && [ -s "$dir.u16" ] || same=no
result $same "uint16 and uint32 shards of the same tokens train alike" "$(cat "$dir.u16" "$dir.u32")"
rm -f "$dir.u16" "$dir.u32"
one=$("$program" $little --steps 5 --log-every 1 --threads 1 | grep -o 'loss [0-9.]*')
two=$("$program" $little --steps 5 --log-every 1 --eval-every 2 --threads 1 | grep -v val | grep -o 'loss [0-9.]*')
[ "$(printf '%s' "$one" | grep -v val | head -5)" = "$(printf '%s' "$two" | head -5)" ] && same=yes || same=no
result $same "evaluation does not change training" "$one / $two"
three=$("$program" $little --layers 4 --layout NSNS --steps 30 --lr 0.02 | grep -e '^step    30  val' -e '^skip' | grep -o 'loss [0-9.]*' | sort -u | wc -l)
[ "$three" -eq 3 ] && same=yes || same=no
result $same "nothing skipped, blocks skipped, mixers skipped: three losses" "$three different ones"
all=$(find . | sort)
[ "$all" = "$before" ] && same=yes || same=no
result $same "without --out nothing is written" "$all"

printf 'command line: %d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
