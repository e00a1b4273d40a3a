#!/bin/sh
# dev/scale/attnvar_torch.py against the C program: `dev/test/scale.sh ./train_attnvar [PYTHON]`. Golden
# vectors, the losses of ten steps, checkpoints in both directions, several processes, accumulation,
# refusals. PYTHON [$ATTNVAR_PYTHON, python3, /usr/bin/python3: the first that has torch]. On the CPU; a
# few minutes, most of them for PyTorch's start. The last line is "N passed, N failed".
set -- "${1:-./train_attnvar}" "${2:-}"
python=$2
. "$(dirname "$0")/lib.sh"
for one in ${python:-"${ATTNVAR_PYTHON:-python3}" python3 /usr/bin/python3}; do
    "$one" -c 'import torch' 2> /dev/null && python=$one && break
    python=
done
[ -n "$python" ] || { echo "note: no Python with torch here, so dev/scale is not tested; with Debian: apt-get install python3-torch"; exit 0; }
PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1
export PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS
c=$program scale=$root/dev/scale
cat > torch_program << 'END'
#!/bin/sh
exec "$python" "$scale/attnvar_torch.py" --device cpu --threads 1 "$@"
END
export python scale
chmod +x torch_program
program=$dir/torch_program
cp "$root/dev/data/austen_val.txt" text
task="--steps 10 --warmup 2 --lr 0.003 --sample 0 --eval-every 5"
small="--dim 16 --heads 2 --ffn 32 --seq 16 --batch 4 --data text $task"
recall="--size recall --data recall --layers 2 --layout NS --batch 3 $task"

expect() {      # expect WHAT COMMAND...: the command succeeds; its output is shown if it does not
    what=$1
    shift
    if "$@" > said 2>&1; then result yes "$what" ""; else result no "$what" "$(tail -n 5 said)"; fi
}

# same TOLERANCE LOG LOG [COLUMN...]: both have the same steps; losses and norms of gradients, or the columns
# that are named, differ by no more
same() {
    "$python" - "$@" << 'END'
import csv, sys
tolerance, a, b = float(sys.argv[1]), *(list(csv.DictReader(open(name))) for name in sys.argv[2:4])
worst = 0.0
assert len(a) == len(b) > 0 and [r["step"] for r in a] == [r["step"] for r in b], (len(a), len(b))
for x, y in zip(a, b):
    assert x["lr"] == y["lr"] and bool(x["val_loss"]) == bool(y["val_loss"]), (x, y)
    for name in sys.argv[4:] or ("loss", "gradient_norm", "val_loss"):
        if x[name]:
            worst = max(worst, abs(float(x[name]) - float(y[name])))
print("largest difference", worst)
sys.exit(not worst <= tolerance)
END
}

# ---- the model -----------------------------------------------------------------------------------
"$python" "$root/dev/test/test_torch.py" > golden
if [ $? -eq 0 ]; then result yes golden ""; else result no "golden vectors" "$(grep FAIL golden | head -n 5) $(tail -n 1 golden)"; fi

# ---- ten steps of every variant and of two mixes, in one process -----------------------------------
i=0
: > runs
while IFS= read -r line; do
    i=$((i + 1))
    [ -n "${line##*recall*}" ] && line="$small $line"
    "$c" --threads 1 --out c$i $line > /dev/null || result no "C: $line" "does not run"
    echo "--out torch$i $line" >> runs
done << END
--layers 2 --layout SS
--layers 2 --layout MM
--layers 2 --layout AA
--layers 2 --layout NN
--layers 2 --layout RR
--layers 2 --layout FF
--layers 2 --layout EE
--layers 7 --layout SMANRFE --untied --seed 2
--layers 6 --layout ESRNFA --heads 4 --kv-heads 2 --qk-norm --rope-base 500 --anchor text
$recall
END
expect "ten runs" "$program" --runs runs
while [ $i -gt 0 ]; do
    expect "ten steps: $(sed -n ${i}p runs)" same 1e-4 c$i/log.csv torch$i/log.csv
    expect "config.json: $(sed -n ${i}p runs)" cmp c$i/config.json torch$i/config.json
    i=$((i - 1))
done
expect "--runs again: all are done" "$program" --runs runs
grep -c ': done' said > count
[ "$(cat count)" = 10 ] && result yes x "" || result no "--runs passes over what is done" "$(cat said)"

# The same at ten times the rate, where differences grow: the losses still agree, norms are not compared.
sed 's/--out torch/--out fast_torch/; s/--lr 0.003/--lr 0.03/' runs > fast_runs
while IFS= read -r line; do
    i=$((i + 1))
    line=${line#--out fast_torch* }
    "$c" --threads 1 --out fast_c$i $line > /dev/null || result no "C: $line" "does not run"
done < fast_runs
expect "ten runs at a high rate" "$program" --runs fast_runs
while [ $i -gt 0 ]; do
    expect "ten steps: $(sed -n ${i}p fast_runs)" same 1e-4 fast_c$i/log.csv fast_torch$i/log.csv loss val_loss
    i=$((i - 1))
done

# ---- checkpoints, both ways ------------------------------------------------------------------------
mix="--layers 4 --layout SRNF"
"$c" $small $mix --out straight > /dev/null
"$c" $small $mix --save-every 5 --out from_c > /dev/null
"$c" $small $mix --steps 5 --out halfway > /dev/null        # its schedule is another, so:
for kind in c torch; do
    cp -r halfway resumed_$kind
done
expect "C resumes its own" "$c" --out resumed_c --resume --steps 10 --threads 1
expect "attnvar_torch.py resumes C's" "$program" --out resumed_torch --resume --steps 10 --sample 0
cp resumed_torch/log.csv ten.csv
expect "both went the same way" same 1e-4 resumed_c/log.csv resumed_torch/log.csv
expect "C reads what attnvar_torch.py saved" "$c" --out resumed_torch --resume --steps 12 --threads 1 --sample 0
expect "and goes on" "$c" --out resumed_c --resume --steps 12 --threads 1 --sample 0
expect "in the same way" same 1e-4 resumed_c/log.csv resumed_torch/log.csv
expect "--init takes C's weights, and another layout" "$program" --init straight --layout SSSS --data text --steps 1 --seq 16 --batch 2 --sample 0
cp -r "$root/dev/golden/checkpoint" golden_checkpoint 2> /dev/null && {
    chmod -R u+w golden_checkpoint
    expect "the golden checkpoint is read" "$program" --init golden_checkpoint --data text --steps 1 --batch 2 --sample 0
}
expect "attnvar_torch.py resumes at a save, bit for bit" sh -c "
    '$program' $small $mix --out whole && '$program' $small $mix --steps 6 --out part &&
    '$program' --out part --resume --steps 10 --sample 0 &&
    '$program' $small $mix --steps 6 --out part2 && '$program' --out part2 --resume --steps 10 --sample 0 &&
    cmp part/model.safetensors part2/model.safetensors"

# ---- several processes, accumulation ---------------------------------------------------------------
several() {     # several N OPTION...: what torchrun does (Debian's, of 1.13, fails with Python 3.11)
    n=$1 rank=0 pids=
    shift
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    while [ $rank -lt $n ]; do
        RANK=$rank LOCAL_RANK=$rank WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$program" "$@" > rank$rank 2>&1 &
        pids="$pids $!" rank=$((rank + 1))
    done
    code=0
    for pid in $pids; do wait $pid || code=1; done
    [ $code -eq 0 ] || cat rank*
    return $code
}
expect "three processes, four rows" several 3 $small $mix --out three
expect "three processes = one" same 1e-5 whole/log.csv three/log.csv
expect "two processes, recall" several 2 $recall --out two
expect "two processes = one, recall" same 1e-5 torch10/log.csv two/log.csv
cp -r halfway again
expect "two processes resume C's run" several 2 --out again --resume --steps 10 --sample 0
expect "as one did" same 1e-5 ten.csv again/log.csv
expect "accumulation" "$program" $small $mix --batch 2 --accumulate 2 --eval-batches 8 --out added
expect "two batches of two = one of four" same 1e-5 whole/log.csv added/log.csv

# ---- refusals --------------------------------------------------------------------------------------
refuse "unknown option '--hidden'" -- --hidden 3
refuse "--heads 5" "multiple" -- --heads 5
refuse "--steps 'many'" "whole number" -- --steps many
refuse "unknown variant 'linear'" "nonapprox" -- --attn linear
refuse "--layout SSX" "'X'" -- --layers 3 --layout SSX
refuse "names 2 layers, the model has 4" -- --layout SS
refuse "no/such/file" "--data FILE" -- --data no/such/file
refuse "fewer than one window" -- --data torch_program --val torch_program
printf 'nothing' > x.bin
refuse "x.bin" "header" -- --data x.bin
refuse "holds a run already" "--resume" -- $small --out whole
refuse "mlp with --kv-heads 2" -- --layers 1 --layout M --kv-heads 2
refuse "contradicts the checkpoint" "--dim 32" -- --out whole --resume --dim 32
refuse "--size small contradicts the checkpoint in whole" "--layers" -- --init whole --size small
refuse "training" "--data FILE" -- --out whole --resume --data "$root/dev/data/austen_train.txt"
refuse "--device gpu" "expected cuda, mps or cpu" -- --device gpu
refuse "--runs nowhere" -- --runs nowhere
refuse "step 10 is done" -- --out whole --resume --steps 5
gzip -c text > text.gz
refuse "text.gz: is no text" "prepro_data.py show text.gz" -- --data text.gz
refuse "--pairs 3: the data are not recall" -- $small --pairs 3
refuse "recall has no text" -- --data recall --sample 5
mkdir notours; echo 'date,event' > notours/log.csv
refuse "notours/log.csv: is not a log of this program" -- $small --out notours

# ---- --force over a save that was cut off between two renames, which ends before its own first save
cp -r whole forced
for f in log.csv config.json optim.safetensors; do mv forced/$f forced/$f.tmp; done
refuse "not finite" -- $small --steps 60 --lr 1000 --warmup 0 --clip 0 --decay 1000 --save-every 0 --out forced --force
expect "the save that had been cut off goes on" "$c" --out forced --resume --sample 0
cmp -s whole/log.csv forced/log.csv && cmp -s whole/optim.safetensors forced/optim.safetensors && ok=yes || ok=no
result $ok "its log and moments are those of that save" "$(tail -n 2 forced/log.csv)"
expect "--force writes over it" "$program" $small --steps 3 --out forced --force
[ "$(tail -n 1 forced/log.csv | cut -d, -f1)" = 3 ] && [ ! -e forced/log.csv.tmp ] && ok=yes || ok=no
result $ok "its log is the new one" "$(cat forced/log.csv)"
cp -r whole damaged
"$python" -c '
data = bytearray(open("damaged/model.safetensors", "rb").read())
data[-5000] ^= 1
open("damaged/model.safetensors", "wb").write(data)'
refuse "checksum" -- --out damaged --resume --steps 12
RANK=0 WORLD_SIZE=5
export RANK WORLD_SIZE
refuse "5 processes and --batch 4" -- $small $mix
unset RANK WORLD_SIZE
if "$python" -c 'import sys, torch; sys.exit(hasattr(torch, "compile"))'; then
    refuse "--compile needs PyTorch 2" -- $small --compile
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
