#!/bin/sh
# Tests of the instruments as programs: dev/test/tools.sh PROGRAM [FOLDER], where PROGRAM is
# train_attnvar, which makes the checkpoints, and FOLDER holds the three tools (default: dev/tools).
# What they compute is compared with what train_attnvar prints, with each other, and with what must
# hold; bad input must end with exit code 1 and one line. JSON is checked if there is a python3.
# Prints a line for each failure, then "N passed, N failed"; exits 1 if any failed.
tools=${2:-$(dirname "$0")/../tools}
tools=$(cd "$tools" && pwd)
. "$(dirname "$0")/lib.sh"
train=$program

is() {          # is WHAT FOUND EXPECTED: the same, and not empty
    [ -n "$2" ] && [ "$2" = "$3" ] && ok=yes || ok=no
    result $ok "$1" "found '$2', expected '$3'"
}
yes_if() {      # yes_if WHAT COMMAND...: the command succeeds
    what=$1
    shift
    if "$@" > out 2>&1; then result yes "$what" ""; else result no "$what" "$* said: $(tail -n 3 out)"; fi
}
# value NAME [N]: of the JSON on standard input, the N-th number called NAME
value() { grep -o "\"$1\":[^],}]*" | sed -n "${2:-1}s/^[^:]*://p"; }
# element NAME N: of the list called NAME, the N-th number
element() { tr -d '\n' | sed "s/.*\"$1\":\[//; s/\].*//" | cut -d , -f "$2"; }
below() { awk -v a="$1" -v b="$2" -v e="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= e && -d <= e) }'; }
valid() {       # valid WHAT FILE: one JSON value
    if command -v python3 > /dev/null; then yes_if "JSON: $1" python3 -m json.tool "$2"; fi
}

cp "$root/dev/data/austen_val.txt" text
head -c 6000 text > val
tiny="--data text --val val --dim 16 --heads 4 --ffn 24 --seq 16 --batch 4 --steps 12 --lr 1e-2 --sample 0
      --threads 1 --eval-batches 0"
for layers in SS MM AA NN RR FF EE MSMS ASAS NSNS RSRS FSFS ESES; do
    "$train" $tiny --layers ${#layers} --layout $layers --out $layers > $layers.log 2>&1 ||
        result no "trains $layers" "$(cat $layers.log)"
done
"$train" $tiny --layers 7 --layout SMANRFE --qk-norm --untied --out all > all.log 2>&1
"$train" $tiny --layers 6 --layout SANRFE --kv-heads 2 --qk-norm --out grouped > grouped.log 2>&1
"$train" --data recall --pairs 3 --vocab 20 --seq 20 --steps 2 --dim 16 --layers 1 --out recall --threads 1 > recall.log 2>&1
od -An -v -tu1 -N 600 text | awk '{ for (i = 1; i <= NF; i++) printf "\\0%03o\\0000", $i }' > octal
{ printf '%b' '\0210\0330\0064\0001\0001\0000\0000\0000\0130\0002\0000\0000'; head -c 1012 /dev/zero; printf '%b' "$(cat octal)"; } > u16
"$train" --data u16 --val u16 --dim 16 --layers 1 --seq 16 --steps 2 --vocab 300 --out ids --threads 1 > ids.log 2>&1
quick="--threads 1"

# ---- evaluate: the loss is the one that training printed, also of the skipped models
for layers in SS MM NSNS FSFS RR; do
    "$tools/eval_attnvar" $layers $quick --skip both --json > e.json
    printed=$(grep '^step    12  val' $layers.log | sed 's/.*loss \([0-9.]*\).*/\1/')
    yes_if "loss of $layers is the one printed" below "$(value loss < e.json)" "$printed" 0.00006
    for skip in blocks mixers; do
        case $layers in *S*S*) ;; *) continue ;; esac
        printed=$(grep "^skip $skip" $layers.log | sed 's/.*loss \([0-9.]*\).*/\1/')
        [ $skip = blocks ] && n=2 || n=3
        [ $layers = SS ] && printed=$(value loss < e.json)
        yes_if "skip $skip of $layers" below "$(value loss $n < e.json)" "$printed" 0.00006
    done
    valid "eval $layers" e.json
done
"$tools/eval_attnvar" SS $quick --skip both --json > e.json
is "a model without simple layers is itself when they are skipped" \
   "$(value loss 2 < e.json) $(value loss 3 < e.json)" "$(value loss 1 < e.json) $(value loss 1 < e.json)"
"$tools/eval_attnvar" NSNS $quick --skip blocks --json > e.json
"$tools/eval_attnvar" NSNS $quick --json > f.json
[ "$(value loss < e.json)" != "$(value loss < f.json)" ] && ok=yes || ok=no
result $ok "skipping blocks of a hybrid changes it" "$(value loss < e.json)"
bits=$(value bits_per_byte < f.json)
yes_if "bits a byte are nats / ln 2" below "$bits" "$(value loss < f.json | awk '{ printf "%.9f", $1 / log(2) }')" 1e-6
"$tools/eval_attnvar" recall $quick --json > e.json
printed=$(sed -n 's/^step     2  val.*accuracy \([0-9.]*\)/\1/p' recall.log | tail -n 1)
is "recall: tokens scored" "$(value tokens < e.json)" 3072
"$tools/eval_attnvar" recall $quick --json --windows 256 > e.json
yes_if "recall: accuracy as training printed" below "$(value accuracy < e.json)" "$printed" 0.00006
"$tools/eval_attnvar" ids $quick --json > e.json
is "tokens: bits a byte are not known" "$(value bits_per_byte < e.json)" null
# a table of bytes, and of pairs of them that no text here has
{ awk 'BEGIN { for (i = 0; i < 256; i++) printf "%02x\n", i }'; echo "0001 0 1"; echo "000102 256 2"; } > table
"$tools/eval_attnvar" ids $quick --json --tokenizer table > e.json
yes_if "tokens of one byte: as many bits" below "$(value bits_per_byte < e.json)" \
       "$(value loss < e.json | awk '{ printf "%.9f", $1 / log(2) }')" 1e-6
# the same text in 1,024 tokens: bits a byte from nats a token
"$train" --data "$root/dev/data/austen_val_1024.bin" --val "$root/dev/data/austen_val_1024.bin" --vocab 1024 --dim 16 \
    --layers 2 --layout SN --ffn 24 --seq 16 --batch 4 --steps 3 --sample 0 --eval-batches 3 --out words --threads 1 > words.log 2>&1
cp "$root/dev/data/tokens.txt" "$root/dev/data/austen_val_1024.bin" .
bpe="--tokenizer tokens.txt"
"$tools/eval_attnvar" words $quick --windows 12 --json $bpe > e.json
is "bits a byte of tokens: the scored tokens' bytes" "$(value tokens < e.json)" 192
if command -v python3 > /dev/null; then
    yes_if "bits a byte of tokens" below "$(value bits_per_byte < e.json)" "$(python3 -c "
import math, struct, sys
raw = open('austen_val_1024.bin', 'rb').read()
ids = struct.unpack('<193H', raw[1024:1024 + 386])[1:]
size = [len(bytes.fromhex(line.split()[0])) for line in open('tokens.txt')]
print($(value loss < e.json) * 192 / math.log(2) / sum(size[i] for i in ids))")" 1e-6
fi

# ---- context: with the full length it is the last position of a window; shorter, an earlier one
head -c 17 val > window
tail -c +13 window > short; head -c 12 val >> short                # 5 bytes, then whatever
for layers in SS AA NSNS RFRF all FF; do
    [ -d $layers ] || continue
    "$tools/eval_attnvar" $layers $quick --json --data window --positions --context 16,4 --targets 1 > e.json
    "$tools/eval_attnvar" $layers $quick --json --data short --positions > f.json
    yes_if "context 16 of $layers" below "$(value loss 2 < e.json)" "$(element loss_by_position 16 < e.json)" 1e-6
    yes_if "context 4 of $layers" below "$(value loss 3 < e.json)" "$(element loss_by_position 4 < f.json)" 1e-6
done
"$tools/eval_attnvar" MM $quick --json --no-loss --context 1,3,16,40 --targets 200 > e.json
is "mlp: any context gives the same loss, to the last digit" \
   "$(value loss 1 < e.json) $(value loss 2 < e.json) $(value loss 3 < e.json)" \
   "$(value loss 4 < e.json) $(value loss 4 < e.json) $(value loss 4 < e.json)"
valid "eval --context" e.json

# ---- choices: a row of uint16 from text; the score is the sum over the choice's positions
u16() { printf '%b' "$(awk -v n="$1" 'BEGIN { printf "\\0%03o\\0%03o", n % 256, n / 256 }')"; }
text16() { printf '%s' "$1" | od -An -v -tu1 | awk '{ for (i = 1; i <= NF; i++) printf "\\0%03o\\0000", $i }' > part; printf '%b' "$(cat part)"; }
row() {         # row INDEX LABEL CONTEXT CHOICE...
    index=$1 label=$2 context=$3 size=$((6 + ${#3}))
    shift 3
    for c in "$@"; do size=$((size + 1 + ${#c})); done
    u16 65535; u16 $((2 * size)); u16 $index; u16 $label; u16 $#
    u16 ${#context}; text16 "$context"
    for c in "$@"; do u16 ${#c}; text16 "$c"; done
}
quiz() {        # quiz VERSION EXAMPLES LONGEST: the header
    u16 55434; u16 308; u16 $1; u16 0; u16 $2; u16 0; u16 $3; u16 0; head -c 1008 /dev/zero
}
a=$(head -c 10 window | tr '\n' ' ') b=$(tail -c +11 window | tr '\n' ' ')
printf '%s%s' "$a" "$b" > window
{ quiz 2 4 90; row 0 0 "$a" "$b"; row 1 0 "$a" "$b" " xyz"; row 2 1 "It" " w" " was it not" "s"; row 3 0 "a much longer context than fits" " yes" " no"; } > quiz2
{ quiz 1 2 90; row 0 3 "He said" " a" " bb" " ccc" " dddd"; row 1 0 "She" " is" " as" " we" " go"; } > quiz1
for layers in SS NSNS RR all grouped AA; do
    "$tools/eval_attnvar" $layers $quick --json --data window --positions --choices quiz2 --scores > e.json
    sum=$(for p in 10 11 12 13 14 15 16; do element loss_by_position $p < e.json; done | awk '{ s -= $1 } END { printf "%.7f", s }')
    yes_if "choices: the score is the sum over the choice's tokens, $layers" below "$(element scores 1 < e.json)" "$sum" 1e-5
    is "choices: the same choice scores the same beside another one, $layers" "$(element scores 2 < e.json)" "$(element scores 1 < e.json)"
    for batch in 1 2 3 5; do
        "$tools/eval_attnvar" $layers $quick --json --data window --positions --choices quiz2 --scores --batch $batch > f.json
        cmp -s e.json f.json && ok=yes || ok=no
        result $ok "choices: --batch $batch changes nothing, bit for bit, $layers" "$(diff e.json f.json)"
    done
done
valid "eval --choices" e.json
is "choices: contexts cut, by how much" "$(value contexts_cut < e.json) $(value tokens_cut < e.json)" "2 35"
"$tools/eval_attnvar" SS $quick --json --no-loss --choices quiz1 --scores > e.json
acc() {         # from the scores: which of 4 is best, after division by these lengths
    tr -d '\n' < e.json | sed 's/.*"scores":\[//; s/\].*//' | tr ',' '\n' |
        awk -v lengths="$1" 'BEGIN { split(lengths, n, " ") } { i = (NR - 1) % 4; x = $1 / n[NR]
             if (i == 0 || x > best) { best = x; at = i } if (i == 3) right += at == (NR == 4 ? 3 : 0) }
             END { print right / 2 }'
}
is "acc, as counted from the scores" "$(value acc < e.json)" "$(acc '1 1 1 1 1 1 1 1')"
is "acc by tokens, likewise" "$(value acc_by_tokens < e.json)" "$(acc '2 3 4 5 3 3 3 3')"
is "acc by bytes, likewise" "$(value acc_by_bytes < e.json)" "$(acc '2 3 4 5 3 3 3 3')"
is "chance" "$(value chance < e.json)" 0.25
"$tools/eval_attnvar" words $quick --json --no-loss --choices quiz1 --scores $bpe > e.json
is "a quiz in bytes becomes tokens: acc by bytes" "$(value acc_by_bytes < e.json)" "$(acc '2 3 4 5 3 3 3 3')"
is "its mean over tokens: \" dddd\" are 5, \" go\" is one" "$(value acc_by_tokens < e.json)" \
   "$(acc "$(for c in " a" " bb" " ccc" " dddd" " is" " as" " we" " go"; do
             "$tools/generate_attnvar" words $quick $bpe --as ids --tokens 1 --prompt "$c" 2> out | awk '{ printf "%d ", NF - 1 }'
         done)")"
if command -v python3 > /dev/null; then
    python3 "$root/dev/tools/quiz.py" cloze text --count 40 --context 9 --length 6 --out cloze.bin > out
    python3 "$root/dev/tools/quiz.py" lastword text --count 40 --passage 14 --out last.bin > out
    "$tools/eval_attnvar" NSNS $quick --no-loss --json --choices cloze.bin > e.json
    is "choices of quiz.py: cloze" "$(value questions < e.json) $(value chance < e.json)" "40 0.25"
    "$tools/eval_attnvar" NSNS $quick --no-loss --json --choices last.bin > e.json
    is "choices of quiz.py: lastword" "$(value last_words < e.json)" 40
fi

# ---- inspect
for layers in SS MSMS all grouped NSNS; do
    "$tools/inspect_attnvar" $layers $quick --windows 2 --json > e.json
    valid "inspect $layers" e.json
    "$tools/inspect_attnvar" $layers $quick --cost --batch 3 --json > e.json
    valid "inspect $layers --cost" e.json
done
mkdir -p "$dir/alone"; cp SS/model.safetensors "$dir/alone"
( cd "$dir/alone" && "$tools/inspect_attnvar" . --cost > cost ) || result no "inspect --cost needs no data" ""
is "mlp has no map" "$("$tools/inspect_attnvar" MSMS $quick --windows 2 | grep -c 'mlp .*n/a')" 4
"$tools/inspect_attnvar" MSMS $quick --cost --batch 3 --json > e.json
is "cost: FLOPs of mlp as the formula says" "$(value prefill_flops < e.json) $(value decode_flops < e.json)" \
   "$(value prefill_flops_formula < e.json) $(value decode_flops_formula < e.json)"
is "cost: bytes of mlp likewise" "$(value activation_bytes < e.json) $(value cache_bytes < e.json)" \
   "$(value activation_bytes_formula < e.json) $(value cache_bytes_formula < e.json)"
"$tools/inspect_attnvar" NN $quick --cost --batch 3 --json > e.json
is "cost: nonapprox likewise" \
   "$(value prefill_flops < e.json) $(value decode_flops < e.json) $(value activation_bytes < e.json) $(value cache_bytes < e.json)" \
   "$(value prefill_flops_formula < e.json) $(value decode_flops_formula < e.json) $(value activation_bytes_formula < e.json) $(value cache_bytes_formula < e.json)"
for layers in SS EE AA; do
    "$tools/inspect_attnvar" $layers $quick --cost --batch 3 --json > e.json
    is "cost: a decoded token of $layers" "$(value decode_flops < e.json) $(value cache_bytes < e.json)" \
       "$(value decode_flops_formula < e.json) $(value cache_bytes_formula < e.json)"
done
yes_if "maps are written" "$tools/inspect_attnvar" all $quick --maps maps --text "It was so"
is "maps: one a layer that has one, head and format" "$(($(ls maps | wc -l)))" 48
is "maps: rows of a CSV add up to 1" "$(awk -F, '{ s = 0; for (i = 1; i <= NF; i++) s += $i; if (NF != 9 || s < 0.9999 || s > 1.0001) bad++ } END { print NR, bad + 0 }' maps/layer1.head2.csv)" "9 0"
is "maps: a PGM's size" "$(head -n 2 maps/layer1.head2.pgm | tr '\n' ' ')$(($(wc -c < maps/layer1.head2.pgm)))" "P5 9 9 $((11 + 81))"
"$tools/inspect_attnvar" all $quick --maps other --text "Another t" > out
cmp -s maps/layer5.head1.csv other/layer5.head1.csv && ok=yes || ok=no
result $ok "maps: the anchor's are the same for another text" ""
cmp -s maps/layer1.head1.csv other/layer1.head1.csv && ok=no || ok=yes
result $ok "maps: standard's are not" ""

# ---- generate: every step equals the full pass; the same from the same seed; past the trained length
for layers in SS MM AA NN RR FF EE MSMS ASAS NSNS RSRS FSFS ESES all grouped; do
    for anchors in maps keys; do
        case $layers in *R*|*F*|all|grouped) ;; *) [ $anchors = keys ] && continue ;; esac
        case $layers in *R*|*F*|all|grouped) keep="--anchors $anchors" ;; *) keep= ;; esac
        "$tools/generate_attnvar" $layers $quick --prompt "It w" --tokens 12 --check --json $keep > e.json 2> out
        code=$?
        yes_if "--check of $layers, $anchors" below "$(value worst < e.json)" 0 1e-5
        is "--check of $layers: steps, exit code" "$(value steps < e.json) $code" "15 0"
        valid "generate $layers" e.json
    done
done
"$tools/generate_attnvar" SS $quick --tokens 14 --seed 3 --prompt "It" > a 2> out
"$tools/generate_attnvar" SS $quick --tokens 14 --seed 3 --prompt "It" > b 2> out
"$tools/generate_attnvar" SS $quick --tokens 14 --seed 4 --prompt "It" > c 2> out
cmp -s a b && ! cmp -s a c && ok=yes || ok=no
result $ok "the same seed writes the same, another one does not" "$(cat a b c)"
"$tools/generate_attnvar" SS $quick --tokens 14 --temperature 0 --prompt "It" > a 2> out
"$tools/generate_attnvar" SS $quick --tokens 14 --top-k 1 --seed 9 --prompt "It" > b 2> out
cmp -s a b && ok=yes || ok=no
result $ok "--temperature 0 and --top-k 1 are the same" "$(cat a b)"
"$tools/generate_attnvar" SS $quick --tokens 14 --temperature 1e-40 --prompt "It" > b 2> out
cmp -s a b && ok=yes || ok=no
result $ok "--temperature 1e-40 is almost 0" "$(cat a b)"
for layers in RR FF all; do
    "$tools/generate_attnvar" $layers $quick --tokens 100 --prompt "It" --json > e.json
    is "$layers stops where its anchor ends" "$(value note < e.json | cut -c 1-23) $(element tokens 15 < e.json | grep -c .) $(element tokens 16 < e.json | grep -c .)" '"stopped at position 16 1 0'
done
for layers in SS AA NN EE MM; do
    "$tools/generate_attnvar" $layers $quick --tokens 40 --prompt "It" --check --json > e.json
    yes_if "$layers goes on past the trained length, and rightly" below "$(value worst < e.json)" 0 1e-5
    is "$layers says so" "$(value note < e.json | cut -c 1-38)" '"went on past the trained length of 16'
done
is "cache bytes of standard" "$("$tools/generate_attnvar" SS $quick --tokens 9 --prompt "It" --json | value cache_bytes)" $((2 * 2 * 10 * 16 * 4))
is "cache bytes of mlp" "$("$tools/generate_attnvar" MM $quick --tokens 9 --prompt "It" --json | value cache_bytes)" 0
is "cache bytes of nonapprox" "$("$tools/generate_attnvar" NN $quick --tokens 9 --prompt "It" --json | value cache_bytes)" $((2 * (16 + 2 * 4) * 4))
is "cache bytes of approx" "$("$tools/generate_attnvar" AA $quick --tokens 9 --prompt "It" --json | value cache_bytes)" $((2 * 4 * 15 * 5 * 4))
"$tools/generate_attnvar" words $quick $bpe --tokens 3 --prompt "It was so very kind" > a 2> out
is "a prompt in tokens comes back as text" "$(head -c 19 a)" "It was so very kind"
"$tools/inspect_attnvar" words $quick $bpe --maps wordmaps --text "It was so" --json > e.json
is "maps of tokens: the tokens" "$(sed 's/.*"tokens":\[//; s/\].*//' e.json)" '"It"," was"," so"'
# --as changes how tokens are shown, and no token
"$tools/generate_attnvar" SS $quick --tokens 9 --temperature 0 --prompt "It" --json > a 2> out
"$tools/generate_attnvar" SS $quick --tokens 9 --temperature 0 --prompt "It" --json --as ids > b 2> out
is "--as ids: a prompt in text, the same tokens" "$(sed 's/.*"tokens":\[\([^]]*\).*/\1/' b)" "$(sed 's/.*"tokens":\[\([^]]*\).*/\1/' a)"
is "--as ids: the default prompt is a newline" "$("$tools/generate_attnvar" SS $quick --tokens 3 --as ids 2> out | cut -d ' ' -f 1)" 10
is "a table of bytes alone: the default prompt is a newline" "$(head -n 256 table > bytes256; "$tools/generate_attnvar" SS $quick --tokens 3 --as ids --tokenizer bytes256 2> out | cut -d ' ' -f 1)" 10
# bytes in a vocabulary of 320: the run's own data tell
"$train" $tiny --layers 2 --vocab 320 --out wide > wide.log 2>&1
is "bytes in a larger vocabulary: text" "$("$tools/generate_attnvar" wide $quick --tokens 3 --as ids --prompt "It" 2> out | cut -d ' ' -f 1-2)" "73 116"
yes_if "bytes in a larger vocabulary: --text" "$tools/inspect_attnvar" wide $quick --maps widemaps --text "It was"
yes_if "bytes in a larger vocabulary: --data, --choices" "$tools/eval_attnvar" wide $quick --data text --windows 2 --choices quiz2
# tokens without a line in the table, which a vocabulary's padding has: shown as U+FFFD
for seed in $(seq 60); do
    "$tools/generate_attnvar" ids $quick --tokens 1 --temperature 100 --seed $seed --tokenizer table --prompt-ids 65 --json > e.json
    [ "$(element tokens 1 < e.json)" -lt 258 ] || break
done
is "a token without a line is seen" "$(value text < e.json)" "$(printf '"\357\277\275"')"
# the run's own data, changed since
small="--dim 16 --heads 4 --ffn 24 --seq 16 --layers 2 --steps 2 --sample 0 --threads 1"
cp val moved; "$train" --data text --val moved $small --out moving > moving.log 2>&1
head -c 5000 text > moved
for t in "eval_attnvar moving" "inspect_attnvar moving --windows 1"; do
    "$tools/"$t $quick --json > e.json 2> note
    is "$t: data that changed are noted" "$(wc -l < note | tr -d ' '), $(sed 's/checksum [0-9a-f]\{8\}/checksum X/g' note)" \
       "1, note: moved is not the data that the run validated on: 5000 tokens, checksum X; the run's were 6000 tokens, checksum X"
    valid "$t: with the note" e.json
    is "$t: no note of data that are given" "$("$tools/"$t $quick --data moved 2>&1 >/dev/null | wc -l | tr -d ' ')" 0
done
cp val moved
cp text tenth; "$train" --data tenth $small --out tenths > tenths.log 2>&1
for folder in moving tenths words recall; do
    for t in "eval_attnvar $folder" "inspect_attnvar $folder --windows 1"; do
        is "$t: no note of data that did not change" "$("$tools/"$t $quick 2>&1 >/dev/null | wc -l | tr -d ' ')" 0
    done
done
echo more >> tenth
is "data that changed: the last tenth" "$("$tools/eval_attnvar" tenths $quick --windows 1 2>&1 >/dev/null | cut -d ' ' -f 1-13)" "note: the last tenth of tenth is not the data that the run"
is "ids in, ids out" "$(($("$tools/generate_attnvar" ids $quick --tokens 3 --prompt-ids 5,299 2> out | wc -w)))" 5

# ---- readers need no lock: while a run saves, and while another instrument reads
"$train" $tiny --layers 2 --layout SN --steps 1000000 --save-every 1 --eval-every 0 --out inuse > inuse.log 2>&1 & pid=$!
while kill -0 $pid 2> out && [ ! -e inuse/optim.safetensors ]; do sleep 0.05; done
for t in "eval_attnvar inuse --windows 1" "inspect_attnvar inuse --cost" "generate_attnvar inuse --tokens 2 --prompt a"; do
    yes_if "a folder in use: $t" "$tools/"$t
done
kill -TERM $pid; wait $pid
"$tools/eval_attnvar" SS > out3 2>&1 & pid=$!
yes_if "training goes on beside an instrument" "$train" --out SS --resume
wait $pid
for t in "eval_attnvar SS --windows 1" "inspect_attnvar SS --cost" "generate_attnvar SS --tokens 2 --prompt a" "eval_attnvar --help"; do
    "$tools/"$t >&- 2> out
    is "$t, standard output closed" "$?, $(grep -c 'cannot write the output' out)" "1, 1"
done

# ---- what is refused
refused() { t=$1; shift; program=$tools/$t; refuse "$@"; }
for t in eval_attnvar inspect_attnvar generate_attnvar; do
    is "$t --help" "$("$tools/$t" --help | head -n 1 | cut -d ' ' -f 1-2)" "usage: $t"
    refused $t "$t: error: no checkpoint" --
    refused $t "$t: error: no checkpoint" -- ""
    refused $t "$t: error: none/" "No such file" -- none
    refused $t "unknown option '--colour'" "--help" -- SS --colour red
    refused $t "two folders, SS and MM" -- SS MM
    refused $t "--threads 'x'" "whole number from 1 to 1024" -- SS --threads x
    refused $t "--threads wants a value" -- SS --threads
    refused $t "--json takes no value" -- SS --json=1
    refused $t "--tokenizer wants a value: see --help" -- SS --tokenizer ""
    mkdir -p hurt; head -c 3000 SS/model.safetensors > hurt/model.safetensors; cp SS/optim.safetensors hurt
    refused $t "hurt/model.safetensors" -- hurt
done
e="refused eval_attnvar" i="refused inspect_attnvar" g="refused generate_attnvar"
if command -v python3 > /dev/null; then     # models that are lost: a weight that is not finite; weights too large
    for kind in nan 1e30; do
        rm -rf lost; cp -r SS lost
        python3 - lost/model.safetensors $kind << 'END'
import array, re, sys, zlib
path, kind = sys.argv[1:]
raw = open(path, "rb").read()
end = 8 + int.from_bytes(raw[:8], "little")
values = array.array("f", raw[end:])
values = [float(kind)] + list(values[1:]) if kind == "nan" else [x * float(kind) for x in values]
data = array.array("f", values).tobytes()
head = re.sub(rb'"weights":"[0-9a-f]{8}"', b'"weights":"%08x"' % zlib.crc32(data), raw[:end])
at = head.index(b',"metadata":"')
head = head[:at + 13] + b"%08x" % zlib.crc32(head[8:at]) + head[at + 21:]
open(path, "wb").write(head + data)
END
        case $kind in nan) part="lost: its weights are not all finite" ;; *) part="the model computes" ;; esac
        for t in eval_attnvar generate_attnvar; do refused $t "$part" "lost in training" "./train_attnvar" -- lost $quick; done
    done
fi
mkfifo pipe
for t in eval_attnvar generate_attnvar; do refused $t "--tokenizer pipe: is no regular file" "bpe.py" -- SS --tokenizer pipe; done
$e "--choices pipe: is no regular file" "quiz.py" -- SS --choices pipe
for o in data choices skip; do $e "--$o wants a value: see --help" -- SS --$o ""; done
for o in data maps text ids format; do $i "--$o wants a value: see --help" -- SS --maps new --$o=; done
for o in prompt prompt-ids anchors as; do $g "--$o wants a value: see --help" -- SS --$o=; done
$e "--data: found a file's name with a line break" -- SS --data "val
text"
$e "--skip 'layers'" "none, blocks, mixers or both" -- SS --skip layers
$e "--context '0'" "from 1 to" -- SS --context 16,0
$e "--context ''" -- SS --context 16,
$e "--context 17: the maps of this model's anchor end at 16" -- RR --context 17
$e "--context 9000: the data has 6000" -- SS --context 9000
$e "--context: recall" -- recall --context 4
head -c 10 val > ten; $e "ten: 10 tokens" "window of 16" -- SS --data ten
$e "--no-loss leaves nothing" -- SS --no-loss
$e "text is text" "bpe.py --tokenizer tokenizer.json" -- words --data text --tokenizer "$root/dev/data/tokens.txt"
$e "the largest token is 1023, the model's vocabulary 256" -- SS --data "$root/dev/data/austen_val_1024.bin"
$e "recall with 8 pairs" "32 positions, the model has 256 and 16" -- SS --data recall
$e "65536 sequences of 65536 positions" "a smaller --batch or --context" -- SS --data text --no-loss --context 65536 --batch 65536
$e "val holds bytes, the model's vocabulary is 20" -- recall --data val
$e "quiz2: is a multiple-choice file" -- SS --data quiz2
$e "--choices val: does not begin with 20240522" "python3 dev/tools/quiz.py" -- SS --choices val
$e "--choices none: No such file" -- SS --choices none
$e "example 0 has token" "vocabulary is 20" -- recall --choices quiz1
head -c 1100 quiz2 > cut; $e "cut" -- SS --choices cut
{ cat quiz2; u16 1; } > more; $e "2 bytes follow the last of its 4 examples" -- SS --choices more
{ quiz 1 1 90; row 0 0 "a" "b" "c"; } > bad; $e "example 0 is damaged" -- SS --choices bad
{ quiz 2 1 90; row 0 2 "a" "b" "c"; } > bad; $e "example 0 is damaged" -- SS --choices bad
{ quiz 2 1 90; row 0 0 "a" "b" ""; } > bad; $e "example 0 is damaged" -- SS --choices bad
{ quiz 2 1 90; row 1 0 "a" "b" "c"; } > bad; $e "example 0 is damaged" -- SS --choices bad
{ quiz 3 1 90; row 0 0 "a" "b" "c"; } > bad; $e "version 3, expected 1 or 2" -- SS --choices bad
{ quiz 2 1 90; row 0 0 "a" "b" "12345678901234567"; } > bad; $e "choice 1 of example 0 has 17 tokens" -- SS --choices bad
echo xyz > bad; $e "--tokenizer bad: line 1 is 'xyz'" "hexadecimal" -- SS --tokenizer bad
echo 01 > bad; $g "--tokenizer bad: line 1 is not the byte 00" "bpe.py" -- SS --tokenizer bad
{ cat table; echo "0000 0 259"; } > bad; $i "line 259" "two tokens before it" -- ids --tokenizer bad
{ cat table; echo "0000 0"; } > bad; $i "line 259" "two tokens before it" -- ids --tokenizer bad
$e "line 257 is '0001 0 1'" "at most 256 lines" -- SS --tokenizer table
: > empty; $e "--tokenizer empty: is empty" -- SS --tokenizer empty
$e "--tokenizer none: No such file" -- SS --tokenizer none
head -n 256 table > bad; $g "not bytes" "--tokenizer FILE" -- ids --tokenizer bad --prompt "text"
$i "--format 'png'" "csv" -- SS --format png
$i "--text and --ids are for --maps" -- SS --text hello
$i "17 tokens of text: expected 1 to 16" -- SS --maps new --text "This is too long."
$i "layer1.head1.csv: is there already" "--force" -- all --maps maps --text "It was so"
$i "--ids '300'" "from 0 to 255" -- SS --maps new --ids 300
$g "--temperature '-1'" -- SS --temperature -1
$g "--top-p '0'" -- SS --top-p 0
$g "--anchors 'both'" "maps or keys" -- SS --anchors both
$g "the prompt has 20 tokens" "end at 16" -- RR --prompt "It was a dark night."
$g "--prompt and --prompt-ids" -- SS --prompt a --prompt-ids 1
$g "--prompt-ids '256'" "from 0 to 255" -- SS --prompt-ids 1,256
$g "not bytes" "--prompt-ids" -- ids --prompt "text"
$g "--prompt is text" "not bytes" "vocabulary is 20" -- recall --as bytes --prompt "The"
# options without effect
$e "--targets is for --context" -- SS --targets 1024
$e "--windows limits the loss that --no-loss leaves out" -- SS --no-loss --context 4 --windows 0
$e "--data is for the loss that --no-loss leaves out, or for --context" -- SS --no-loss --choices quiz2 --data val
for o in "--format csv" --force; do $i "${o%% *} is for --maps" -- SS $o; $i "${o%% *} is for --maps" -- SS --cost $o; done
$i "--batch is for --cost" -- SS --batch 1
$i "--batch is for --cost" -- SS --batch 2 --maps new
$i "--data has no part in --cost" -- SS --cost --data val
$i "--windows has no part in --cost" -- SS --cost --windows 16
$i "--windows has no part in --maps" -- SS --maps new --windows 2
$i "--data and --text" -- SS --maps new --text It --data val
$i "--data and --ids" -- SS --maps new --ids 1,2 --data val
for layers in SS NSNS; do $g "--anchors is for rndembqk and fixedseqqk" -- $layers --anchors maps; done
# text for a model of tokens
head -n 320 tokens.txt > joins
text="is text, this model's tokens are not bytes (its vocabulary is 1024)"
$e "text $text: encode it: python3 dev/scale/bpe.py" -- words --data text
$i "text $text: encode it: python3 dev/scale/bpe.py" -- words --data text
$e "--choices quiz1 $text: give --tokenizer FILE" "quiz.py choices" -- words --no-loss --choices quiz1
$i "--text $text: give --tokenizer FILE" "--ids 3,41,9" -- words --maps new --text "It was"
$g "--prompt $text: give --tokenizer FILE" "--prompt-ids 3,41,9" -- words --prompt "It was"
$g "--prompt $text: give --tokenizer FILE" -- words --as bytes --prompt "It was"
$e "--tokenizer joins: joins bytes, this model's tokens are bytes: leave it out" -- wide --tokenizer joins
# a table that is cut short or damaged
head -n 600 tokens.txt > lines600; head -n 1000 tokens.txt > lines1000
for t in "eval_attnvar words" "inspect_attnvar words --maps new --text It" "generate_attnvar words --prompt It"; do
    refused ${t%% *} "--tokenizer lines600: has 600 lines, none for token 600 of a vocabulary of 1024" -- ${t#* } --tokenizer lines600
done
$e "--tokenizer lines1000: has 1000 lines, none for token 1023 of austen_val_1024.bin" -- words --data austen_val_1024.bin --tokenizer lines1000
$g "--tokenizer lines1000: has 1000 lines, none for token 1001 of --prompt-ids" -- words --tokenizer lines1000 --prompt-ids 5,1001
$i "--tokenizer lines1000: has 1000 lines, none for token 1001 of --ids" -- words --tokenizer lines1000 --maps new --ids 5,1001
head -n 255 table > bad; $e "--tokenizer bad: has 255 lines, none for token 255 of a vocabulary of 256" -- SS --tokenizer bad
{ head -n 300 tokens.txt; echo "7374 115 11"; } > bad; $g "line 301: its bytes are not those of tokens 115 and 11" -- words --tokenizer bad
u16 1001 > id1001; { quiz 2 1 90; u16 65535; u16 24; u16 0; u16 0; u16 2; u16 1; u16 5; u16 1; cat id1001; u16 2; u16 6; u16 7; } > quizids
$e "--tokenizer lines1000: has 1000 lines, none for token 1001 of --choices quizids" -- words --no-loss --choices quizids --tokenizer lines1000
# a limit on the size of files (512 or 1,024 bytes): a message, and no signal ends the program
limited=$( (ulimit -f 1; "$tools/inspect_attnvar" SS $quick --maps limited) 2>&1 >/dev/null; echo "exit code $?")
is "a map that grows too large" "$limited" "inspect_attnvar: error: limited/layer1.head1.csv: cannot be written: File too large; what was saved there before is as it was
exit code 1"
for t in "eval_attnvar SS --json --targets 9 --context 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16" "inspect_attnvar SS --windows 1" "generate_attnvar SS --tokens 4000 --json --prompt a"; do
    limited=$( (ulimit -f 1; "$tools/"$t $quick > toolarge) 2>&1; echo "exit code $?")
    is "$t, an output that grows too large" "$(echo "$limited" | tail -n 2)" "${t%% *}: error: cannot write the output: File too large
exit code 1"
done
yes_if "nothing half-written" [ -z "$(find . -name '*.tmp')" ]

printf 'instruments: %d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
