#!/bin/sh
# deconstruct.py --slurm on a real Slurm cluster of one machine, set up here and taken down again:
# `make train_attnvar tools && dev/test/slurm.sh`. Needs Debian's slurm-wlm and munge installed, but
# none of their services: the daemons run in a temporary folder, on free ports, as the user who
# calls. About a minute; not part of `make test`.
if ! command -v slurmctld > /dev/null || ! command -v slurmd > /dev/null ||
    ! command -v munged > /dev/null; then
    echo "note: no Slurm here, so --slurm is not tested; with Debian: apt-get install slurm-wlm munge"
    exit 0
fi
set -- "$(dirname "$0")/../../train_attnvar"
. "$(dirname "$0")/lib.sh"

# The cluster: munged (who is who), slurmctld (the queue), slurmd (the node: this machine, 2 CPUs; and a
# second one, also this machine, in a partition of its own).
# They stay in the foreground, children of this script, so that it can wait for their end; setsid
# keeps a signal to the script's group from them, since they are needed to cancel the jobs.
chmod 755 "$dir"                # munged wants its socket to be reachable by everybody
mkdir cluster cluster/state cluster/spool
cluster=$dir/cluster
set -- $(python3 -c 'import socket
a, b, c = socket.socket(), socket.socket(), socket.socket()
for s in (a, b, c): s.bind(("127.0.0.1", 0))
print(a.getsockname()[1], b.getsockname()[1], c.getsockname()[1])')
cat > cluster/slurm.conf << END
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$1
SlurmdPort=$2
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$cluster/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,sched_min_interval=1
KillWait=5
ReturnToService=2
MailProg=/bin/true
MessageTimeout=2
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/spool/%n
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmdPidFile=$cluster/slurmd.%n.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdLogFile=$cluster/slurmd.%n.log
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
NodeName=second NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$3 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=$(hostname -s) Default=YES MaxTime=INFINITE State=UP
PartitionName=both Nodes=ALL MaxTime=INFINITE State=UP
END
SLURM_CONF=$cluster/slurm.conf
export SLURM_CONF

# until SECONDS COMMAND...: waits until the command succeeds
until_true() {
    tries=$(($1 * 5))
    shift
    while ! "$@" > /dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.2
    done
}
node_idle() { sinfo --noheader --partition=both --format='%t %D' | grep -qx 'idle 2'; }
queue_empty() { [ -z "$(squeue --noheader)" ]; }

daemons=
down() {
    if [ -n "$daemons" ]; then
        scancel --user="$(id -un)" 2> /dev/null
        until_true 20 queue_empty
    fi
    for pid in $daemons; do kill "$pid" && wait "$pid"; done 2> /dev/null
    # a step that could not report its end would wait for its daemons; its jobs' environment names us
    for pid in $(pgrep -x slurmstepd); do
        grep -qs "$cluster/slurm.conf" "/proc/$pid/environ" && kill -9 "$pid"
    done
    rm -rf "$dir"
}
trap down EXIT
trap 'exit 1' INT TERM HUP

head -c 128 /dev/urandom > cluster/munge.key
chmod 600 cluster/munge.key
setsid munged --foreground --key-file=cluster/munge.key --socket="$cluster/munge.socket" --num-threads=10 \
    --pid-file="$cluster/munged.pid" --seed-file="$cluster/munge.seed" > cluster/munged.log 2>&1 &
daemons=$!
until_true 10 test -S cluster/munge.socket
setsid slurmctld -D > cluster/slurmctld.out 2>&1 &
daemons="$! $daemons"
for node in "$(hostname -s)" second; do
    mkdir "cluster/spool/$node"
    setsid slurmd -D -N "$node" > "cluster/slurmd.$node.out" 2>&1 &
    daemons="$! $daemons"
done
if ! until_true 20 node_idle; then
    echo "FAIL  the cluster does not start"
    tail -n 5 cluster/*.log cluster/*.out
    exit 1
fi
echo "cluster     $(sinfo --version), $(sinfo --noheader --format='%D node, %C CPUs (used/idle/other/all)')"

# says PART... : what the last sweep printed holds all parts; one that begins with ! it does not hold
says() {
    for part in "$@"; do
        found=yes
        case $(cat said) in *"${part#!}"*) ;; *) found=no ;; esac
        case $part in "!"*) if [ $found = yes ]; then found=no; else found=yes; fi ;; esac
        result $found "$what: '$part'" "it said: $(cat said)"
    done
}
# sweep WHAT OPTION...: six runs of the quick preset, cut short. They differ in variant and layout.
sweep() {
    what=$1
    shift
    "$python" "$root/dev/experiments/deconstruct.py" quick --steps 120 --threads 1 \
        --only tiny-standard-uniform --only tiny-mlp-even --only tiny-approx-uniform \
        --only tiny-nonapprox-uniform --only tiny-rndembqk-even --only tiny-fixedseqqk-even "$@" > said 2>&1
    code=$?
}
# same A B: both folders hold the same results, but for the time they took
same() {
    python3 - "$1" "$2" << 'END'
import csv, json, sys
def table(folder):
    with open(folder + "/results.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in ("seconds", "tokens_per_second")}
                for row in csv.DictReader(file)]
    with open(folder + "/details.json") as file:
        return rows, json.load(file)["runs"]
(a, more_a), (b, more_b) = map(table, sys.argv[1:])
cells = [(x["run"], k, x[k], y[k]) for x, y in zip(a, b) for k in x if x[k] != y[k]]
print(f"{len(a)} and {len(b)} rows, {sum(map(len, a))} cells, {len(cells)} differ {cells[:3]};",
      "details", "equal" if more_a == more_b else "differ")
done = all(row["status"] == "done" and float(row["val_loss"]) > 0 for row in a)
sys.exit(not (done and len(a) == 6 and a == b and more_a and more_a == more_b))
END
}

python=$(python3 -c "import sys; print(sys.executable)")
start=$(date +%s)
sweep "on this machine" --folder "$dir/local" --jobs 2
[ $code -eq 0 ] || { echo "FAIL  the local sweep: $(cat said)"; exit 1; }
echo "local       6 runs in $(($(date +%s) - start)) s"

# A folder whose name asks for quoting everywhere. The first call submits all, the second nothing.
there="$dir/a \"cluster's\" 100%j folder"
start=$(date +%s)
sweep "first call" --folder "$there" --slurm
says "6 runs: 6 new" "submitted   job" ": 6 runs"
job=$(sed -n 's/^submitted   job \([0-9]*\):.*/\1/p' said)
sweep "second call" --folder "$there" --slurm
says "6 runs: " "!submitted" "!new" "!failed      " "same command"

# One task is killed in its training, after a checkpoint, and one before it began.
first=$(ls -d "$there"/runs/text-tiny-standard-uniform-*)
last=$(sed -n '/^runs=/,/^)/p' "$there"/slurm/*.sh | tail -n 2 | head -n 1 | tr -d ' ')
scancel "${job}_5"
in_training() { [ "$(wc -l < "$first/log.csv")" -ge 105 ]; }
until_true 60 in_training && scancel "${job}_0"
ended() { ! squeue --noheader --array --format=%K --job="$job" | grep -qx "$1"; }
until_true 30 ended 0
[ ! -e "$first/done.json" ] && [ ! -e "$there/runs/$last/done.json" ]
[ $? -eq 0 ] && result yes || result no "two tasks are killed" "they were done before"
until_true 90 queue_empty
sweep "two were killed" --folder "$there" --slurm
says "6 runs: 4 done, 2 failed" "${first##*/}: task ${job}_0 CANCELLED" "$last: task ${job}_5 " ": 2 runs"
again=$(sed -n 's/^submitted   job \([0-9]*\):.*/\1/p' said)
until_true 90 queue_empty
before=$(ls -l --time-style=full-iso "$there"/runs/*/done.json)
sweep "all done" --folder "$there" --slurm
says "6 runs: 6 done" "!submitted" "!same command"
echo "cluster     6 runs, 2 killed and submitted again, in $(($(date +%s) - start)) s"
grep -qs "\"$again\"" "$there/slurm/jobs.json" && [ "$(ls -l --time-style=full-iso "$there"/runs/*/done.json)" = "$before" ]
[ $? -eq 0 ] && result yes || result no "done runs are not touched" "$(ls -l "$there"/runs/*/done.json)"
compared=$(same "$dir/local" "$there")
[ $? -eq 0 ] && result yes || result no "local and cluster results are the same" "$compared"
echo "compared    $compared"

# Slurm has no use for these options: nothing is submitted and nothing pretends to have been.
sweep "no such partition" --folder refused --slurm --slurm-options "--partition=none"
says "sbatch says" "invalid partition"
result "$([ $code -eq 1 ] && echo yes)" "exit code 1" "$code"
sweep "an option of ours" --folder refused --slurm --slurm-options "--array=1-3"
says "--array is not for the user"
sweep "not an option" --folder refused --slurm --slurm-options "cpu"
says "found 'cpu', expected options of sbatch"
sweep "an open quote" --folder refused --slurm --slurm-options "--comment='x"
says "--slurm-options"
sed 's/^SlurmctldPort=.*/SlurmctldPort=1/' cluster/slurm.conf > cluster/down.conf
SLURM_CONF=$cluster/down.conf
sweep "no cluster" --folder "$there" --slurm
SLURM_CONF=$cluster/slurm.conf
says "squeue says" "nothing more was submitted"
kept=$PATH
PATH=$dir/none
sweep "no Slurm" --folder refused2 --slurm
PATH=$kept
says "expected the login node of a Slurm cluster"

# one COMMAND: a single run with data of its own, on two cores
head -c 50000 "$root/dev/data/austen_val.txt" > text
one() {
    what=$1
    shift
    "$python" "$root/dev/experiments/deconstruct.py" quick --steps 20 --only nonapprox-even \
        --data "$dir/text" --val "$dir/text" --folder one --slurm \
        --slurm-options "--cpus-per-task=2 $*" > said 2>&1
    code=$?
}
# A command that is killed before or after sbatch did its work: the run is submitted once.
mkdir bin
real=$(command -v sbatch)
for when in before after; do
    { echo '#!/bin/sh'; [ $when = before ] || echo "'$real' \"\$@\""; echo 'kill -9 $PPID'; } > bin/sbatch
    chmod +x bin/sbatch
    PATH=$dir/bin:$kept
    one "killed $when sbatch" --hold
    PATH=$kept
    says "1 runs: 1 new" "!submitted"
    [ $code -eq 137 ] && result yes || result no "killed $when sbatch" "code $code"
done
one "after both" --hold
says "1 waiting (JobHeldUser)" "!submitted"
# A run that fails tells its own error; when the cause is gone, the same command does it.
mv text text.away
squeue --noheader --format=%A | xargs -n 1 scontrol release
until_true 60 queue_empty
mv text.away text
one "failed by itself"
says "1 failed" "failed      text-tiny-nonapprox-even" "$dir/text" "submitted"
until_true 60 queue_empty
one "mended"
says "1 runs: 1 done" "!failed      "
threads=$(tail -n 1 one/results.csv | sed 's/.*,//' | tr -d '\r')
[ "$threads" = 2 ] && result yes || result no "--cpus-per-task=2" "threads: $threads"

# dev/scale/train.sbatch: one process, two on a node, two on each of two nodes: the same losses. The second
# is stopped on its way, as before a time limit; the same command goes on.
torch=
for one in "${ATTNVAR_PYTHON:-python3}" /usr/bin/python3; do
    [ -z "$torch" ] && "$one" -c 'import torch' 2> /dev/null && torch=$one
done
train() {       # train FOLDER OPTION...: submits a run of 60 steps; the options are sbatch's
    what="train.sbatch, $*" folder=$1
    shift
    (cd "$root" && PYTHON=$torch sbatch --output="$dir/$folder.log" --cpus-per-task=1 "$@" dev/scale/train.sbatch --device cpu \
        --layers 2 --layout RN --dim 16 --heads 2 --ffn 32 --seq 32 --batch 4 --steps 60 --eval-every 0 --sample 0 \
        --data "$dir/text" --out "$dir/$folder") > said 2>&1
}
losses() { cut -d, -f1,2 "$1/log.csv" | sed 's/,\(.\{6\}\).*/ \1/'; }      # four decimals
if [ -z "$torch" ]; then
    echo "note: no Python with torch here, so train.sbatch is not tested"
else
    train one_process --wait
    says "Submitted batch job"
    train two_processes --ntasks-per-node=2
    job=$(sed -n 's/.*job //p' said)
    begun() { [ "$(wc -l < two_processes/log.csv)" -ge 5 ]; } 2> /dev/null
    until_true 90 begun
    scancel --signal=TERM "$job"
    until_true 60 queue_empty
    [ -e two_processes/model.safetensors ] && [ "$(wc -l < two_processes/log.csv)" -lt 61 ]
    [ $? -eq 0 ] && result yes || result no "a job that is stopped saves" "$(tail -n 3 two_processes.log)"
    train two_processes --ntasks-per-node=2 --wait
    train four_processes --partition=both --nodes=2 --ntasks-per-node=2 --wait
    grep -q '4 processes' four_processes.log && result yes || result no "four processes" "$(tail -n 3 four_processes.log)"
    for folder in two_processes four_processes; do
        [ "$(losses $folder)" = "$(losses one_process)" ] && [ "$(losses one_process | wc -l)" -eq 61 ]
        [ $? -eq 0 ] && result yes || result no "$folder: the losses of one" "$(tail -n 3 $folder.log)"
    done
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
