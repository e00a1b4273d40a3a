#!/bin/sh
# Checkpoint tests: dev/test/checkpoint.sh PROGRAM. A run that was interrupted and resumed must end in
# the very bytes of one that was not, for every variant; killed at any moment, a run must leave a
# checkpoint that can be read; damaged, contradicting or unwritable files must be refused with a
# message, and what was saved before must stay. The last line is "checkpoint: N passed, N failed".
. "$(dirname "$0")/lib.sh"
head -c 60000 "$root/dev/data/austen_train.txt" > text
head -c 6000 "$root/dev/data/austen_val.txt" > val
rounds=${ROUNDS:-20}         # times a run is killed
long=${LONG:-400}            # steps of that run

same() {        # same WHAT FOLDER FOLDER: equal weights, moments, and log but for the times
    ok=yes why=
    for f in model.safetensors optim.safetensors config.json; do
        cmp -s "$2/$f" "$3/$f" || { ok=no; why="$why $f differs;"; }
    done
    cut -d, -f1-4,6- "$2/log.csv" > log1
    cut -d, -f1-4,6- "$3/log.csv" > log2
    cmp -s log1 log2 || { ok=no; why="$why log.csv differs;"; }
    result $ok "$1" "$why"
}

wait_for_row() {    # wait_for_row FOLDER STEP: until log.csv holds the step, or the run is over
    while kill -0 "$pid" 2>/dev/null && ! grep -q "^$2," "$1/log.csv" 2>/dev/null; do sleep 0.01; done
}

# A shell without job control has background programs ignore SIGINT, and ignored it stays; here it is
# not ignored. The program keeps the process's number.
heeding_int() { exec perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' "$@"; }

little="--data text --val val --dim 32 --heads 2 --ffn 48 --seq 64 --batch 8 --steps 60 --eval-every 7
        --eval-batches 1 --log-every 10 --sample 0"

# ---- interrupted and resumed = never interrupted
for run in SS MM AA NN RR FF EE "SMANRFE --qk-norm --untied" "SNRF --kv-heads 1" recall; do
    case $run in
    recall) options="--data recall --layout FS --steps 60 --batch 16 --eval-every 9 --eval-batches 2 --sample 0" ;;
    *) letters=${run%% *}; options="$little --layout $run --layers ${#letters} --save-every 6" ;;
    esac
    rm -rf straight stopped
    "$program" $options --out straight --threads 1 > out1 2>&1 || result no "a straight run of $run" "$(tail -1 out1)"
    "$program" $options --out stopped --threads 1 > out2 2>&1 & pid=$!
    wait_for_row stopped 10
    kill -TERM $pid
    wait $pid
    code=$?
    [ $code -eq 143 ] && grep -qF "saved in stopped; to go on: $program --out stopped --resume" out2 && ok=yes || ok=no
    result $ok "SIGTERM, $run: exit code 143 and the command to go on" "exit code $code: $(tail -1 out2)"
    "$program" --out stopped --resume --sample 0 --threads 2 > out3 2>&1 || result no "resume $run" "$(tail -1 out3)"
    same "stopped and resumed = straight: $run" straight stopped
done
"$program" --out straight --resume --sample 0 > out1 2>&1 && grep -q 'resumed after step 60' out1 && ok=yes || ok=no
result $ok "resuming a finished run validates it again" "$(tail -1 out1)"
grep -q 'nothing left to do: all 60 steps are done; more: --steps M' out1 && ok=yes || ok=no
result $ok "resuming a finished run says that nothing is left to do" "$(tail -2 out1)"
case $(sed -n 2p straight/log.csv) in 1,4.[0-9][0-9][0-9][0-9][0-9][0-9],*) ok=yes ;; *) ok=no ;; esac
result $ok "log.csv has six decimals" "$(sed -n 2p straight/log.csv)"

# ---- the whole command again with --resume is no contradiction; SIGINT does as SIGTERM
rm -rf again
heeding_int "$program" $little --layout NSNS --out again > out1 2>&1 & pid=$!
wait_for_row again 8
kill -INT $pid; wait $pid; code=$?
[ $code -eq 130 ] && ok=yes || ok=no
result $ok "SIGINT: exit code 130" "exit code $code: $(tail -1 out1)"
"$program" $little --layout NSNS --out again --resume > out2 2>&1 && ok=yes || ok=no
result $ok "the same command with --resume" "$(tail -1 out2)"
rm -rf whole
"$program" $little --layout NSNS --out whole > out1 2>&1
same "the same command with --resume = straight" whole again

# ---- a signal that is ignored when the program starts, as under nohup, stays ignored; SIGHUP, which a
# closing terminal sends more than once, saves, however often it comes
for ignored in HUP ''; do
    rm -rf hung
    ( [ -z "$ignored" ] || trap '' $ignored
      exec "$program" $little --layout SS --layers 2 --steps 100000 --save-every 0 --out hung ) > out1 2>&1 & pid=$!
    wait_for_row hung 8
    for i in 1 2 3; do kill -HUP $pid 2>/dev/null; done
    if [ -n "$ignored" ]; then
        sleep 0.3
        kill -0 $pid 2>/dev/null && [ ! -e hung/model.safetensors ] && ok=yes || ok=no
        result $ok "an ignored SIGHUP stays ignored" "$(tail -1 out1)"
        kill -TERM $pid
    fi
    wait $pid; code=$?
    [ $code -gt 128 ] && [ -e hung/model.safetensors ] && grep -q 'saved in hung' out1 && ok=yes || ok=no
    result $ok "SIGHUP${ignored:+ is ignored, then SIGTERM} saves" "exit code $code: $(tail -1 out1)"
done

# ---- a second signal ends the run at once, within a step of seconds; nothing is saved
"$program" --data text --val val --dim 256 --heads 4 --layers 8 --ffn 1024 --seq 256 --batch 32 --steps 3 \
    --threads 1 --out quit > out1 2>&1 & pid=$!
while kill -0 $pid 2>/dev/null && [ ! -e quit/log.csv ]; do sleep 0.05; done
sleep 0.3
kill -TERM $pid; sleep 0.8; kill -TERM $pid
wait $pid 2>/dev/null
code=$?
[ $code -gt 130 ] && [ ! -e quit/model.safetensors ] && ok=yes || ok=no
result $ok "a second signal ends it at once" "exit code $code: $(tail -1 out1)"

# ---- make sends its child the signal that the whole group has received already; a reader may leave
"$program" --data text --val val --dim 256 --heads 4 --layers 4 --ffn 1024 --seq 256 --batch 16 --steps 3 \
    --eval-batches 1 --threads 1 --out twice > out1 2>&1 & pid=$!
while kill -0 $pid 2>/dev/null && [ ! -e twice/log.csv ]; do sleep 0.05; done
sleep 0.3
kill -TERM $pid; sleep 0.05; kill -TERM $pid
wait $pid 2>/dev/null
code=$?
[ $code = 143 ] && [ -e twice/model.safetensors ] && ok=yes || ok=no
result $ok "a signal that comes twice at once is one" "exit code $code: $(tail -1 out1)"
"$program" $little --steps 5000 --log-every 1 --save-every 0 --out unread 2> out1 | head -12 > out2
[ -e unread/model.safetensors ] && grep -q "^step" out2 && [ $(wc -l < unread/log.csv) -lt 5000 ] && ok=yes || ok=no
result $ok "output that nobody reads any more ends the run, saved" "$(tail -1 out1)"

# ---- without --out an interrupted run says that nothing is kept
"$program" $little --layout S --layers 1 --steps 100000 --log-every 1 --threads 1 > out1 2>&1 & pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q '^step' out1; do sleep 0.05; done
kill -TERM $pid; wait $pid; code=$?
[ $code -eq 143 ] && grep -q 'without --out nothing is saved' out1 && ok=yes || ok=no
result $ok "interrupted without --out" "exit code $code: $(tail -1 out1)"

# ---- killed at any moment
rm -rf killed
"$program" $little --layout RSFE --threads 1 --steps $long --save-every 1 --eval-every 0 --out killed > out1 2>&1 & pid=$!
wait_for_row killed 2
round=0 ok=yes why=
while [ $round -lt $rounds ]; do
    sleep "0.$(( (round * 37 + 11) % 40 + 10 ))"
    kill -KILL $pid 2>/dev/null; wait $pid 2>/dev/null
    "$program" --out killed --resume --save-every 1 --sample 0 > out2 2>&1 & pid=$!
    while kill -0 $pid 2>/dev/null && ! grep -q -e '^step' -e error out2; do sleep 0.01; done
    grep -q error out2 && { ok=no; why="round $round: $(cat out2)"; break; }
    round=$((round + 1))
done
wait $pid
result $ok "killed $rounds times, never a checkpoint that cannot be read" "$why"
rm -rf whole
"$program" $little --layout RSFE --threads 1 --steps $long --save-every 0 --eval-every 0 --out whole > out1 2>&1
same "killed $rounds times and resumed = straight" whole killed

# ---- killed between two renames, after the model's: what is still temporary is taken
rm -rf between
cp -r whole between
mv between/optim.safetensors between/optim.safetensors.tmp
mv between/config.json between/config.json.tmp
"$program" --out between --resume --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "killed between two renames" "$(tail -1 out1)"
same "the renaming is finished" between whole
cp -r whole pair
"$program" --out pair --resume --sample 0 --steps $((long + 1)) > out1 2>&1
cp whole/optim.safetensors pair/optim.safetensors
refuse "expected that of the same save as model.safetensors (step $((long + 1)))" "is of another save" "--init pair" -- --out pair --resume

# ---- refusals
refuse "holds a run already" "whole/model.safetensors" "--resume" "--force" -- $little --out whole
mkdir looped && ln -s model.safetensors looped/model.safetensors         # it is there, but cannot be opened
refuse "holds a run already" "looped/model.safetensors" -- $little --out looped
refuse "--resume needs --out DIR" -- --resume
refuse "neither --force nor --init" -- --out whole --resume --force
refuse "neither --force nor --init" -- --out whole --resume --init whole
refuse "none/model.safetensors: No such file" "--out" -- --out none --resume
refuse "none/model.safetensors: No such file" -- --init none
mkdir unsaved; sed 1q whole/log.csv > unsaved/log.csv
refuse "unsaved: its run has saved no model yet" "start again by --force" -- --out unsaved --resume
[ "$(ls unsaved)" = log.csv ] && ok=yes || ok=no
result $ok "a folder that cannot be resumed stays as it is" "$(ls unsaved)"
"$program" ${little#*val val} --data text --layout S --layers 1 --steps 1 --out tenth > out1 2>&1
refuse "--val val: the run validates on the last tenth" "leave it out" -- --out tenth --resume --steps 2 --val val
refuse "step $long is done, --steps 30 is less" -- --out whole --resume --steps 30
refuse "--batch 3 contradicts the checkpoint in whole, which has 8" -- --out whole --resume --batch 3
refuse "--seed 2 contradicts" -- --out whole --resume --seed 2
refuse "training data are 60000 " "these are 6000 " "--data FILE" -- --out whole --resume --data val
refuse "--layout NNNN contradicts the checkpoint in whole, which has RSFE" "--init whole" -- --out whole --resume --layout NNNN
refuse "--attn nonapprox contradicts the checkpoint in whole, which has RSFE" "--init whole" -- --out whole --resume --attn nonapprox
refuse "--dim 64 contradicts the checkpoint in whole, which has 32" -- --init whole --dim 64
refuse "--size small contradicts the checkpoint in whole, with --dim 32 --layers 4 --heads" -- --init whole --size small
refuse "--qk-norm contradicts" "has it off" -- --init whole --qk-norm
refuse "cannot make the folder" -- $little --out text/folder
refuse "cannot make the folder: no/such is missing: mkdir -p no/such" -- $little --out no/such/folder
"$program" $little --layout S --layers 1 --steps 1 --out fresh/ > out1 2>&1 && [ -e fresh/model.safetensors ] && ok=yes || ok=no
result $ok "--out with a slash behind it" "$(tail -1 out1)"
cp text text.kept; printf 'x' >> text
refuse "training data are 60000 " "these are 60001 " -- --out whole --resume
tr A B < text.kept > text
refuse "training data are 60000 " "these are 60000 " -- --out whole --resume
mv text.kept text

# ---- the data may move, their content may not change; the anchor's file is not needed
mkdir "else where"
head -c 20000 text > part1; tail -c +20001 text > part2
"$program" $little --layout FS --layers 2 --steps 20 --anchor val --out moved > out1 2>&1
cp -r moved unmoved; cp text "else where/né \"w\" \\ t.txt"; cp val "else where/v"; mv text text.kept; mv val val.kept
refuse "text: No such file" "--data FILE" -- --out moved --resume
refuse "val: No such file" "--val FILE" -- --out moved --resume --data text.kept
"$program" --out moved --resume --data "else where/né \"w\" \\ t.txt" --val "else where/v" --sample 0 --steps 22 > out1 2>&1 && ok=yes || ok=no
result $ok "resumed with data that moved, without the anchor's file" "$(tail -1 out1)"
"$program" --out moved --resume --steps 24 --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "where they are now is kept, whatever their name" "$(tail -1 out1)"
"$program" --out moved --resume --data part1 part2 --steps 26 --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "the same text in two files" "$(tail -1 out1)"
"$program" --out moved --resume --steps 28 --sample 0 > out1 2>&1 && grep -q 'part1 and more: 60000 bytes' out1 && ok=yes || ok=no
result $ok "two files are kept" "$(tail -1 out1)"
mv text.kept text; mv val.kept val
"$program" --out unmoved --resume --steps 22 --sample 0 > out1 2>&1
cut -d, -f1-4 moved/log.csv > log1; cut -d, -f1-4 unmoved/log.csv > log2
[ "$(sed -n '22p' log1)" = "$(sed -n '22p' log2)" ] || result no "moved data train otherwise" ""
refuse "--anchor text: is not the run's anchor" -- --out moved --resume --anchor text
"$program" --out moved --resume --anchor val --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "the run's own anchor may be given" "$(tail -1 out1)"
odd=$(printf 'w\300\212v')                              # a line break in two bytes, which UTF-8 forbids
cp text "$odd"
if command -v python3 > /dev/null && [ -f "$odd" ]; then
    "$program" $little --data "$odd" --steps 0 --sample 0 --out odd > out1 2>&1
    python3 -c "import json; b = open('odd/model.safetensors', 'rb').read()
json.loads(b[8:8 + int.from_bytes(b[:8], 'little')].decode())" 2> out1 && ok=yes || ok=no
    result $ok "a name that is not UTF-8: the header is" "$(tail -1 out1)"
fi
sed '100s/./#/' val > val2
refuse "validation data are 6000 " "these are 6000 " "--val FILE" -- --out moved --resume --val val2
refuse "anchor.tokens is made for --seq 64: leave --seq out" -- $little --init moved --layout FS --layers 2 --seq 32
od -An -v -tu1 -w1 -N 3000 text > ids
octal() { awk -v more="$1" '{ printf "\\0%03o%s", $1, more }' ids; }
{ printf '\210\330\064\001\001\0\0\0\270\013\0\0'; head -c 1012 /dev/zero; printf '%b' "$(octal '\\0000')"; } > s16
{ printf '\241\331\064\001\007\0\0\0\270\013\0\0'; head -c 1012 /dev/zero; printf '%b' "$(octal '\\0000\\0000\\0000')"; } > s32
"$program" --data s16 --val s16 --layers 1 --dim 8 --heads 1 --ffn 8 --seq 8 --batch 1 --steps 2 --out shards > out1 2>&1
"$program" --out shards --resume --data s32 --val s32 --steps 3 > out1 2>&1 && ok=yes || ok=no
result $ok "the same tokens as uint16 and as uint32" "$(tail -1 out1)"

# ---- tokens are checked whenever they are read
cp s16 changing
"$program" --data changing --val s32 --layers 1 --dim 8 --heads 1 --ffn 8 --seq 8 --batch 1 --steps 100000000 --eval-every 0 \
    --out changed > out1 2> out2 & pid=$!
wait_for_row changed 20
{ head -c 1024 s16; head -c 6000 /dev/zero | tr '\0' '\377'; } | dd of=changing conv=notrunc 2> dd.log
wait $pid; code=$?
[ $code -eq 1 ] && grep -q 'changing: token .* is 65535, expected less than the vocabulary of' out2 && ok=yes || ok=no
result $ok "a shard that is overwritten while it is read" "exit code $code: $(cat out2)"

# ---- resuming with other settings
"$program" $little --layout SN --layers 2 --steps 30 --out plan > out1 2>&1
cp -r plan again2
"$program" --out plan --resume --steps 60 --lr 0.002 --eval-every 25 --sample 0 > out1 2>&1 && ok=yes || ok=no
[ "$(grep -c '^resumed after step 30; --steps 60, was 30; --lr 0.002, was 0.003; --eval-every 25, was 7$' out1)" -eq 1 ] || ok=no
result $ok "one line says what changed" "$(grep resumed out1)"
"$program" $little --layout SN --layers 2 --steps 60 --lr 0.002 --eval-every 25 --out whole60 > out1 2>&1
tail -n +32 plan/log.csv | cut -d, -f1,3 > log1; tail -n +32 whole60/log.csv | cut -d, -f1,3 > log2
cmp -s log1 log2 && [ "$(wc -l < log1)" -eq 30 ] && ok=yes || ok=no
result $ok "from there on the schedule is that of the new settings" "$(head -2 log1) / $(head -2 log2)"
"$program" --out again2 --resume --steps 40 --min-lr 0.001 --warmup 5 --beta1 0.8 --beta2 0.9 --decay 0 --clip 2 --eval-batches 2 \
    --save-every 3 --log-every 1 --sample 5 > out1 2>&1 && grep -q 'warmup 5, was not given' out1 && ok=yes || ok=no
result $ok "all that may change" "$(tail -1 out1)"
for words in "--layout SS" "--seq 32" "--accumulate 2" "--rope-base 500" "--pairs 3" "--size small" "--vocab 300" "--kv-heads 1" "--qk-norm"; do
    refuse "${words%% *}" "contradicts" -- --out plan --resume $words
done

# ---- names that a shell would take apart
"$program" $little --layout S --layers 1 --steps 100000 --out "my run" > out1 2>&1 & pid=$!
wait_for_row "my run" 5
kill -TERM $pid; wait $pid
command=$(sed -n 's/^interrupted after.*; to go on: //p' out1) done=$(sed -n 's/^interrupted after step \([0-9]*\).*/\1/p' out1)
(eval "$command --sample 0 --steps $((done + 1))") > out2 2>&1 && grep -q "^resumed after step $done" out2 && ok=yes || ok=no
result $ok "the command to go on works as it is, in any folder" "$command: $(tail -1 out2)"

# ---- a signal while it validates, long after the step: what it says is what is saved
ok=yes why=
for round in 1 2 3 4 5; do
    rm -rf validating
    "$program" $little --val text --layout S --layers 1 --steps 100000 --save-every 0 --eval-every 1 --eval-batches 0 --out validating \
        > out1 2>&1 & pid=$!
    wait_for_row validating 2
    sleep "0.0$round"
    kill -TERM $pid; wait $pid
    said=$(sed -n 's/^interrupted after step \([0-9]*\), saved.*/\1/p' out1)
    saved=$(head -c 200 validating/model.safetensors | sed -n 's/.*"step":"\([0-9]*\)".*/\1/p')
    [ -n "$said" ] && [ "$said" = "$saved" ] || { ok=no; why="said $said, saved $saved"; }
done
result $ok "interrupted while it validates" "$why"

# ---- an ignored SIGINT stays ignored, as nohup wants it for SIGHUP
rm -rf ignored
(trap '' INT HUP; exec "$program" $little --layout S --layers 1 --out ignored > out1 2>&1) & pid=$!
wait_for_row ignored 2
kill -INT $pid; kill -HUP $pid; wait $pid; code=$?
[ $code -eq 0 ] && grep -q '^step    60  val' out1 && ok=yes || ok=no
result $ok "ignored signals stay ignored" "exit code $code: $(tail -1 out1)"

# ---- a run that has not saved yet and is still at work: the folder is locked, not damaged
rm -rf busy
"$program" $little --layout SS --layers 2 --steps 100000 --save-every 0 --out busy > out1 2>&1 & pid=$!
wait_for_row busy 2
refuse "--out busy: another process writes there" -- --out busy --resume
kill -KILL $pid; wait $pid 2> /dev/null

# ---- standard output is closed: its text goes into none of the files that are opened later
"$program" $little --layout S --layers 1 --out closed >&- 2> err1; code=$?
[ $code -eq 1 ] && grep -q 'cannot write the output' err1 && ok=yes || ok=no
result $ok "closed standard output is an error" "exit code $code: $(tail -1 err1)"
"$program" $little --layout S --layers 1 --out open > out1 2>&1
same "what is saved with standard output closed" open closed
"$program" --out closed --resume --steps 62 --sample 0 >&- 2> err1
[ -e closed/lock ] && [ ! -s closed/lock ] && ok=yes || ok=no
result $ok "resumed with standard output closed: the lock stays empty" "$(head -c 200 closed/lock)"

# ---- pipes in place of files end in a message; nobody waits for them
cp -r closed pipes
rm pipes/log.csv; mkfifo pipes/log.csv
refuse "pipes/log.csv: cannot be written" -- --out pipes --resume --steps 70
rm pipes/model.safetensors; mkfifo pipes/model.safetensors
refuse "pipes/model.safetensors: is no regular file" "a folder that a run with --out wrote" -- --init pipes

# ---- what stands under a temporary name is not written to: neither a pipe nor where a link leads
mkdir links; echo kept > other; mkfifo links/optim.safetensors.tmp; ln -s ../other links/model.safetensors.tmp
timeout -s KILL 60 "$program" $little --layout S --layers 1 --steps 1 --out links > out1 2>&1 && [ "$(cat other)" = kept ] &&
    [ -f links/optim.safetensors ] && [ ! -L links/model.safetensors ] && ok=yes || ok=no
result $ok "a save takes a pipe and a link under its temporary names away" "$(tail -1 out1)"

# ---- a log that is removed while its run goes on begins anew at the next save
"$program" $little --layout S --layers 1 --threads 1 --steps 100000 --save-every 1 --eval-every 0 --out unlogged > out1 2>&1 & pid=$!
wait_for_row unlogged 3; rm unlogged/log.csv; wait_for_row unlogged "[0-9]*"; kill -TERM $pid; wait $pid
done=$(sed -n 's/^interrupted after step \([0-9]*\).*/\1/p' out1)
"$program" --out unlogged --resume --sample 0 --steps $((done + 1)) > out1 2>&1 && [ "$(sed 1q unlogged/log.csv)" = "$(sed 1q open/log.csv)" ] &&
    [ "$(tail -1 unlogged/log.csv | cut -d, -f1)" = $((done + 1)) ] && ok=yes || ok=no
result $ok "a log that was removed begins anew, and the run goes on" "$(tail -1 out1)"

# ---- a signal that comes after the last save, in the sample
"$program" $little --layout S --layers 1 --steps 2 --sample 1000000 --out sampling > out1 2>&1 & pid=$!
wait_for_row sampling 2
for i in 1 2 3 4 5 6 7 8 9; do [ -e sampling/model.safetensors ] || sleep 0.5; done
kill -TERM $pid; wait $pid; code=$?
[ $code -eq 143 ] && grep -qa '^interrupted after the last step' out1 && ok=yes || ok=no
result $ok "interrupted in the sample" "exit code $code: $(tail -1 out1 | tr -cd '[:print:]' | tail -c 100)"

# ---- names with a tab, and moments that are lost while weights and loss are finite
cp text "$(printf 'tab\tname')"
"$program" $little --data "$(printf 'tab\tname')" --layout S --layers 1 --steps 2 --out tabs > out1 2>&1 &&
    "$program" --out tabs --resume --steps 3 --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "a name with a tab is kept" "$(tail -1 out1)"
if command -v python3 > /dev/null; then
    cp -r tabs lost
    python3 - lost << 'END'
import struct, sys, zlib
model, optim = (sys.argv[1] + f"/{name}.safetensors" for name in ("model", "optim"))
data = bytearray(open(optim, "rb").read())
start = 8 + struct.unpack("<Q", data[:8])[0]
old = b"%08x" % zlib.crc32(data[start:])
data[-4:] = struct.pack("<f", float("inf"))
for path, text in ((optim, bytes(data)), (model, open(model, "rb").read())):
    assert text.count(b'"moments":"' + old) == 1
    text = text.replace(b'"moments":"' + old, b'"moments":"%08x' % zlib.crc32(data[start:]))
    at = text.index(b',"metadata":"')
    open(path, "wb").write(text[:at + 13] + b"%08x" % zlib.crc32(text[8:at]) + text[at + 21:])
END
    cp -r lost before-lost
    refuse "weights or moments are not finite" "--lr" -- --out lost --resume --steps 4 --sample 0
    cmp lost/model.safetensors before-lost/model.safetensors && cmp lost/optim.safetensors before-lost/optim.safetensors && ok=yes || ok=no
    result $ok "a save of lost moments leaves the one before" ""
fi

# ---- a log that is not ours, a log whose last line is cut
mkdir notours; echo 'date,event' > notours/log.csv
refuse "notours/log.csv: is not a log of this program" -- $little --out notours
[ "$(cat notours/log.csv)" = 'date,event' ] && ok=yes || ok=no
result $ok "a log of another program is left alone" ""
printf 'notes' > notours/log.csv
refuse "notours/log.csv: is not a log of this program" -- $little --out notours
[ "$(cat notours/log.csv)" = notes ] && ok=yes || ok=no
result $ok "a text without a newline is left alone" ""
refuse "notours/log.csv: is not a log of this program" -- $little --out notours --force
[ "$(cat notours/log.csv)" = notes ] && ok=yes || ok=no
result $ok "not even --force removes a log of another program" ""
head -c 100 /dev/zero > notours/log.csv
refuse "notours/log.csv: is not a log of this program" -- $little --out notours
cp -r plan torn; head -c "$(($(wc -c < plan/log.csv) - 5))" plan/log.csv > torn/log.csv
"$program" --out torn --resume --steps 61 --sample 0 > out1 2>&1
awk -F, 'NF != 7 { bad = 1 } END { exit bad }' torn/log.csv && ok=yes || ok=no
result $ok "a line that was cut short is removed" "$(tail -2 torn/log.csv)"

# ---- a log with a step that the checkpoint does not have: that step comes again
rm -rf ahead; cp -r whole ahead
sed -n '$p' whole/log.csv | sed "s/^$long,/$((long + 1)),/" >> ahead/log.csv
"$program" --out ahead --resume --sample 0 > out1 2>&1
same "a log beyond the checkpoint is cut" whole ahead

# ---- only a uniform standard model calls itself qwen2
"$program" $little --layout SSSS --steps 1 --out plain --sample 0 > out1 2>&1
grep -q '"model_type": "qwen2"' plain/config.json && ! grep -q attnvar plain/config.json && ok=yes || ok=no
result $ok "a uniform standard model is a qwen2" "$(cat plain/config.json)"
grep -q '"model_type": "attnvar"' whole/config.json && grep -q '"attnvar_layers": "RSFE"' whole/config.json && ok=yes || ok=no
result $ok "any other is not" "$(cat whole/config.json)"

# ---- --force
rm -rf forced
cp -r whole forced
"$program" $little --layout SSSS --steps 1 --out forced --force > out1 2>&1 && [ "$(wc -l < forced/log.csv)" -eq 2 ] &&
    ! cmp -s whole/model.safetensors forced/model.safetensors && ok=yes || ok=no
result $ok "--force overwrites the run" "$(tail -1 out1)"

# ---- --force that fails before its first save: the old run and its log stay
rm -rf failed; cp -r whole failed
"$program" $little --layout RSFE --lr 1000 --warmup 0 --clip 0 --decay 1000 --steps 60 --save-every 0 --out failed --force > out1 2>&1
[ $? -eq 1 ] && "$program" --out failed --resume --sample 0 >> out1 2>&1 && [ ! -e failed/log.csv.tmp ] && ok=yes || ok=no
result $ok "after a --force that failed the old run goes on" "$(tail -1 out1)"
same "its log and tensors are the old ones" whole failed

# ---- --force over a save that was cut off between two renames, which fails before or in its own first save
for how in "--lr 1000 --warmup 0 --clip 0 --decay 1000 --save-every 0" "--ffn 4000 --steps 1"; do
    rm -rf failed; cp -r whole failed
    for f in log.csv config.json optim.safetensors; do mv failed/$f failed/$f.tmp; done
    (ulimit -f 1000; "$program" $little --layout RSFE $how --out failed --force > out1 2>&1) && ok=no || ok=yes
    result $ok "--force $how fails" "$(tail -1 out1)"
    "$program" --out failed --resume --sample 0 > out1 2>&1 && ok=yes || ok=no
    result $ok "after --force $how the save that had been cut off goes on" "$(tail -1 out1)"
    same "its log and tensors are those of that save" whole failed
done

# ---- --force over a save that was cut off before it was committed
rm -rf failed; cp -r whole failed
cp whole/model.safetensors failed/model.safetensors.tmp; head -c 1000 whole/optim.safetensors > failed/optim.safetensors.tmp
"$program" $little --layout RSFE --lr 1000 --warmup 0 --clip 0 --decay 1000 --save-every 0 --out failed --force > out1 2>&1
"$program" --out failed --resume --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "what was not committed is not taken by --force" "$(tail -1 out1)"

# ---- a model without its moments, moments without their model, a model that was converted
cp -r whole parts; rm parts/optim.safetensors; mkdir parts/optim.safetensors
refuse "parts/optim.safetensors: is no regular file" "--init parts" -- --out parts --resume
rmdir parts/optim.safetensors; cp whole/optim.safetensors parts; rm parts/model.safetensors
refuse "or the model was removed" "--force" -- --out parts --resume
if command -v python3 > /dev/null; then
    "$program" $little --layout SS --layers 2 --steps 1 --out hf > out1 2>&1
    python3 "$root/dev/tools/from_hf.py" hf --out converted > out1 2>&1 || result no "from_hf.py" "$(tail -1 out1)"
    refuse "converted: holds a converted model and no run" "--init converted" -- --out converted --resume --data text
fi

# ---- no steps: the weights are saved all the same
"$program" $little --layout RSFE --steps 0 --out none > out1 2>&1 && "$program" --init none --data text --val val --steps 1 --sample 0 > out1 2>&1 &&
    ok=yes || ok=no
result $ok "--steps 0 saves" "$(tail -1 out1)"

# ---- a folder that may not be made
: > file
refuse "--out file: cannot make the folder: File exists" -- $little --out file

# ---- another layout of the same shapes
"$program" $little --init whole --layout SSSS --steps 1 --sample 0 > out1 2>&1 && ok=yes || ok=no
result $ok "--init with another layout" "$(tail -1 out1)"
a=$("$program" $little --init whole --steps 0 | grep '  val loss')
b=$("$program" --out whole --resume --sample 0 | grep '  val loss' | sed "s/step *$long/step     0/")
[ -n "$a" ] && [ "$a" = "$b" ] && ok=yes || ok=no
result $ok "--init alone is the saved model" "$a / $b"

a=$("$program" $little --init whole --steps 0 --anchor val | grep '  val loss')
[ -n "$a" ] && [ "$a" != "$(printf '%s' "$b")" ] && ok=yes || ok=no
result $ok "--init with an --anchor of its own" "$a / $b"

# ---- damaged files
damage() {      # damage FILE, then a sed script for its header
    rm -rf hurt
    cp -r whole hurt
    sed "$2" "whole/$1" > "hurt/$1"
}
m=model.safetensors
damage $m 's/"dtype":"F32"/"dtype":"F16"/';          refuse "damaged header" 'found' 'F16' -- --out hurt --resume
damage $m 's/"shape":\[256,32\]/"shape":[32,256]/'; refuse "damaged header" "[256,32]" "[32,256]" -- --out hurt --resume
damage $m 's/embed_tokens/embed_tokers/';            refuse "damaged header" "embed_tokers" -- --out hurt --resume
damage $m 's/data_offsets":\[0,/data_offsets":[4,/'; refuse "damaged header" -- --out hurt --resume
damage $m 's/,"model.embed/;"model.embed/';          refuse "damaged header" -- --out hurt --resume
damage $m 's/"seq":"64"/"seq":"6x"/';                refuse "damaged checkpoint: --seq '6x'" -- --out hurt --resume
damage $m 's/"seq":"64"/"seq":"0"/';                 refuse "damaged checkpoint: --seq '0'" -- --out hurt --resume
damage $m 's/"seq":"64"/"seq":"064"/';               refuse "damaged header" -- --out hurt --resume
damage $m 's/"seq":"64"/"seq":""/';                  refuse "damaged checkpoint: --seq ''" -- --out hurt --resume
damage $m 's/"heads":"2"/"heads":"3"/';              refuse "not a multiple of --heads 3" -- --out hurt --resume
damage $m 's/"layout":"RSFE/"layout":"RSXE/';        refuse "'X' is no layout and no variant" -- --out hurt --resume
damage $m 's/"layout":"RSFE/"layout":"RSSE/';        refuse "damaged header" '"metadata":"' -- --out hurt --resume
damage $m 's/"layout":"RSFE/"layout":"RNFE/';        refuse "damaged header" '"metadata":"' -- --init hurt --steps 1
damage $m 's/"rope-base":"1/"rope-base":"2/';        refuse "damaged header" '"metadata":"' -- --init hurt --steps 1
damage $m 's/"lr":/"lx":/';                          refuse "damaged header: no lr in its metadata" -- --out hurt --resume
damage $m 's/"lr":"0.003"/"lr":"0.0030"/';           refuse "damaged header" -- --out hurt --resume
damage $m 's/"step":"'$long'"/"step":"x00"/';        refuse "damaged header" -- --out hurt --resume
damage $m 's/"weights":"./"weights":"x/';            refuse "hurt/$m: damaged" -- --out hurt --resume
damage $m 's/"attnvar":"3"/"attnvar":"2"/';          refuse "is not of format 3" -- --out hurt --resume
damage $m 's/"attnvar":"3",//';                      refuse "is not of format 3" "from_hf.py hurt --out NEW" -- --out hurt --resume
damage $m 's/"__metadata__"/"__metablabla"/';        refuse "is not of format 3" "from_hf.py" -- --out hurt --resume
damage optim.safetensors 's/"rng":"./"rng":"x/';     refuse "expected that of the same save" -- --out hurt --resume
damage optim.safetensors 's/exp_avg\.model.norm/exp_avg.model.nerm/'; refuse "expected that of the same save" -- --out hurt --resume
damage $m 's/"anchor.tokens"/"anchor.tokems"/';      refuse "damaged header" "anchor.tokems" -- --out hurt --resume
damage $m 's/32768/32772/g';                         refuse "damaged header" -- --out hurt --resume
rm -rf hurt; cp -r whole hurt; { head -c "$(($(wc -c < whole/$m) - 4))" whole/$m; printf '\377\377\377\377'; } > hurt/$m
refuse "hurt/$m: damaged or cut short: its tensors' checksum is" -- --out hurt --resume
for f in $m optim.safetensors; do
    rm -rf hurt; cp -r whole hurt; size=$(($(wc -c < whole/$f) - 3000))
    { head -c $size whole/$f; printf x; tail -c +$((size + 2)) whole/$f; } > hurt/$f
    refuse "hurt/$f: damaged or cut short: its tensors' checksum is" -- --out hurt --resume
done
for size in 0 7 8 100 2000 100000; do
    rm -rf hurt; cp -r whole hurt; head -c $size whole/$m > hurt/$m
    refuse "hurt/$m" -- --out hurt --resume
done
rm -rf hurt; cp -r whole hurt; printf 'more' >> hurt/$m
refuse "more bytes follow" -- --out hurt --resume
rm -rf hurt; cp -r whole hurt; { printf '\377\377\377\377\377\377\377\177'; tail -c +9 whole/$m; } > hurt/$m
refuse "not a safetensors file" -- --out hurt --resume
rm -rf hurt; cp -r whole hurt; cp text hurt/$m
refuse "hurt/$m" -- --init hurt
rm -rf hurt; mkdir -p hurt/$m
refuse "hurt/$m" -- --init hurt

# ---- no room: the checkpoint before stays as it was, nothing half-written is left
rm -rf full; cp -r whole full; cp -r full kept
# 150 blocks of 512 bytes hold the log, not the weights
( ulimit -f 150; "$program" --out full --resume --steps $((long + 1)) > out1 2>&1; echo $? > code )
[ "$(cat code)" -eq 1 ] && grep -q 'model.safetensors: cannot be written: File too large' out1 && ok=yes || ok=no
result $ok "no room on the disk: exit code 1" "$(cat code): $(tail -1 out1)"
cmp -s full/$m kept/$m && cmp -s full/optim.safetensors kept/optim.safetensors && ok=yes || ok=no
result $ok "no room on the disk: the checkpoint before is intact" ""
find full -name '*.tmp' | grep -q . && ok=no || ok=yes
result $ok "no room on the disk: nothing half-written" "$(ls full)"

# ---- a checkpoint that another implementation wrote: dev/golden/make_golden.py, in PyTorch
cp -r "$root/dev/golden/checkpoint" golden
"$program" --out golden --resume --data "$root/dev/data/austen_train.txt" --val "$root/dev/data/austen_val.txt" \
    --sample 0 > out1 2>&1
for key in val_loss skip_blocks skip_mixers; do
    wanted=$(sed "s/.*\"$key\": \([0-9.]*\).*/\1/" golden/expected.json)
    case $key in val_loss) line='^step' ;; *) line="^skip ${key#skip_}" ;; esac
    found=$(sed -n "/$line/s/.*val loss \([0-9.]*\).*/\1/p" out1)
    awk "BEGIN { d = ${found:-9} - $wanted; exit !(d < 1e-4 && d > -1e-4) }" && ok=yes || ok=no
    result $ok "a checkpoint of another implementation resumes: $key" "expected $wanted, it said: $(tail -3 out1)"
done

printf 'checkpoint: %d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
