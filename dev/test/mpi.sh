#!/bin/sh
# mpi_attnvar against train_attnvar: losses, repetition, resuming, what is refused, a rank that dies.
# Called with train_attnvar; says so and ends well where there is no MPI.
. "$(dirname "$0")/lib.sh"
for tool in mpicc mpirun; do
    command -v $tool > /dev/null || { echo "note: no $tool: dev/scale/mpi_attnvar.c is not tested"; exit 0; }
done
# Open MPI refuses to run as root and beyond the cores unless it is told so; other MPIs ignore these.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
make -s -C "$root" mpi > log 2>&1 || { cat log; result no "make mpi" "it does not build"; }
mpi=$root/dev/scale/mpi_attnvar
tail -c 200000 "$root/dev/data/austen_train.txt" > text
common="--data text --dim 32 --heads 2 --ffn 48 --seq 32 --batch 5 --eval-batches 2 --threads 1 --sample 0 --log-every 1"
model="$common --layers 7 --layout SMANRFE --steps 10"

# The losses and norms of two logs, within 1e-5.
close() {
    [ "$(wc -l < "$1/log.csv")" -eq "$(wc -l < "$2/log.csv")" ] &&
    paste -d, "$1/log.csv" "$2/log.csv" | awk -F, 'NR > 1 {
        n++; for (i = 2; i <= 4; i += 2) { d = $i - $(i + 7); if (d < 0) d = -d; if (!(d <= 1e-5 * (1 + $i))) bad = 1 } }
        END { exit bad || n < 3 }'
}
compare() { if close "$1" "$2"; then result yes "$3" ""; else result no "$3" "$(paste "$1/log.csv" "$2/log.csv" | tail -n 3)"; fi; }

"$program" $model --out one > out 2>&1
for ranks in 1 2 3 5; do
    mpirun -n $ranks "$mpi" $model --out ranks$ranks > out$ranks 2> err
    compare one ranks$ranks "all seven, $ranks processes = one"
    [ "$(grep -c '^step .*tokens/s' out$ranks)" -eq 10 ] && ok=yes || ok=no
    result $ok "$ranks processes: rank 0 alone prints" "$(cat out$ranks err)"
done
mpirun -n 3 "$mpi" $model --out again > out 2>&1
cmp -s ranks3/model.safetensors again/model.safetensors && ok=yes || ok=no
result $ok "three processes: the same bits at every repetition" ""

recall="--data recall --dim 32 --heads 1 --layers 2 --ffn 32 --seq 24 --pairs 4 --batch 7 --steps 5 --threads 1 --accumulate 2"
"$program" $recall --out recall1 > out 2>&1
mpirun -n 3 "$mpi" $recall --out recall3 > out 2>&1
compare recall1 recall3 "recall, two accumulated batches, three processes = one"

# Half of the run with three processes, the rest with two, then by train_attnvar.
mpirun -n 3 "$mpi" $model --steps 4 --out parts > out 2>&1
mpirun -n 2 "$mpi" --out parts --resume --steps 7 --threads 1 --sample 0 > out 2>&1
"$program" --out parts --resume --steps 10 --threads 1 --sample 0 > out 2>&1
[ "$(cut -d, -f1 parts/log.csv | tr '\n' ' ')" = "step 1 2 3 4 5 6 7 8 9 10 " ] && ok=yes || ok=no
result $ok "resumed with two processes, then without MPI" "$(cat out parts/log.csv)"

complain() {    # complain TEXT RANKS ARGUMENT...: an error, said once
    text=$1 ranks=$2
    shift 2
    mpirun -n "$ranks" "$mpi" "$@" > out 2>&1
    code=$?
    [ $code -ne 0 ] && [ "$(grep -c 'mpi_attnvar: error' out)" -eq 1 ] && grep -q "$text" out && ok=yes || ok=no
    result $ok "$ranks processes: $*: an error, once" "exit code $code: $(cat out)"
}
complain "mpirun -n 5" 6 $model
complain "unknown option '--lr-peak'" 2 --lr-peak 1
complain "holds a run already" 2 $model --out one

# A signal to mpirun reaches every rank: they stop after the same step, and it is saved. mpirun itself
# reads no output from then on: a rank that printed a line for each of these short steps would fill
# the pipe and wait; and it kills the ranks a second later, unless it is told to wait longer.
mpirun --mca odls_base_sigkill_timeout 5 -n 2 "$mpi" $model --steps 1000000 --log-every 500 --eval-every 0 \
    --save-every 0 --out stopped > out 2>&1 &
pid=$!
while kill -0 $pid 2> /dev/null && ! grep -q "^500," stopped/log.csv 2> /dev/null; do sleep 0.1; done
kill -TERM $pid
wait $pid
last=$(sed -n '$s/,.*//p' stopped/log.csv)
"$program" --out stopped --resume --steps $((last + 1)) --threads 1 --sample 0 > again.txt 2>&1
grep -q "resumed after step $last" again.txt && [ "$last" -ge 500 ] && ok=yes || ok=no
result $ok "SIGTERM: saved" "log.csv ends with step $last; $(tail -n 20 out) $(cat again.txt)"

# A rank that dies ends the run, and what was saved is there.
mpirun -n 2 "$mpi" $model --steps 100000 --eval-every 0 --save-every 5 --out killed > out 2>&1 &
pid=$!
while kill -0 $pid 2> /dev/null && [ ! -f killed/model.safetensors ]; do sleep 0.1; done
victim=$(pgrep -f "mpi_attnvar .*--out killed" | while read -r p; do
    [ "$(tr '\0' '\n' < /proc/$p/environ 2> /dev/null | grep -c '^\(OMPI_COMM_WORLD_RANK\|PMI_RANK\|PMIX_RANK\)=1$')" -gt 0 ] && echo "$p"; done | tail -n 1)
[ -n "$victim" ] && kill -KILL "$victim"
wait $pid
code=$?
mpirun -n 2 "$mpi" --out killed --resume --steps 5 --threads 1 --sample 0 > again.txt 2>&1 ||
    mpirun -n 2 "$mpi" --out killed --resume --steps "$(sed -n '$s/,.*//p' killed/log.csv)" --threads 1 --sample 0 > again.txt 2>&1
[ -n "$victim" ] && [ $code -ne 0 ] && [ -s out ] && grep -q 'resumed after step' again.txt && ok=yes || ok=no
result $ok "a rank is killed: the run ends, and resumes" "exit code $code, rank '$victim': $(tail -n 5 out) $(cat again.txt)"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
