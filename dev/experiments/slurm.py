"""Runs of a sweep as job arrays of a Slurm cluster, one run a task.

bring_on() looks where the tasks stand and submits the runs that have no result and no task; called
again it goes on from there, so nothing has to stay running on the login node. Kept in FOLDER/slurm:
NAME.sh, the script of each array as it was submitted; NAME-TASK.log, what each task printed; and
jobs.json, which run is which task of which array. An array is recorded before it is submitted and
found again by its name, which no other array has: a command killed in between loses no task and
starts none twice. Slurm forgets a task some minutes after its end, so whether a run is done is
never asked of Slurm: it is seen in the run's files.
"""

import collections
import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import subprocess
import sys

from common import Refused, write
from onerun import outcome, prepare
from presets import ROOT

# Every other state means that the task still has, or will have, processes.
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL",
         "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
WAITS = {"CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD",
         "SPECIAL_EXIT"}
# Options of sbatch that belong to the array, or after which its tasks would not be found again.
OURS = ("--array", "-a", "--job-name", "-J", "--wait", "-W", "--wrap", "--test-only",
        "--clusters", "-M", "--cluster")

SCRIPT = """\
#!/bin/bash
# A job array: each task is one run of a sweep, complete in itself; a run that is done ends at once.
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --output="{output}"
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={threads}
runs=(
{runs}
)
cd {root} || exit 1
exec {python} dev/experiments/deconstruct.py --folder {folder} \\
    --threads "${{SLURM_CPUS_PER_TASK:-{threads}}}" --one "${{runs[SLURM_ARRAY_TASK_ID]}}"
"""

Task = collections.namedtuple("Task", "name number job")      # job: Slurm's number, or None
Place = collections.namedtuple("Place", "state reason")       # as squeue says


def slurm(*command):
    """What a command of Slurm's prints. No filter that the user set for squeue may hide a task."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("SQUEUE_")}
    try:
        done = subprocess.run(command, env=dict(env, LC_ALL="C"), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise Refused(f"--slurm: no {command[0]} here: expected the login node of a Slurm cluster; "
                      "without --slurm the runs are done on this machine") from None
    if done.returncode:
        said = "; ".join(line.strip() for line in done.stderr.splitlines() if line.strip())
        raise Refused(f"--slurm: {command[0]} says: {said or 'nothing'} "
                      f"(exit code {done.returncode}); nothing more was submitted")
    return done.stdout


def join_options(words):
    """argparse takes dashes after --slurm-options for options of its own unless = is between."""
    joined = list(words)
    while "--slurm-options" in joined[:-1]:
        i = joined.index("--slurm-options")
        joined[i:i + 2] = ["--slurm-options=" + joined[i + 1]]
    return joined


def split_options(text):
    """--slurm-options as a list of words."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Refused(f"--slurm-options '{text}': {error}") from None
    if words and not words[0].startswith("-"):
        raise Refused(f"--slurm-options '{text}': found '{words[0]}', expected options of sbatch, "
                      "such as \"--partition=cpu --time=2:00:00 --cpus-per-task=4\"")
    for word in words:
        if word.split("=")[0] in OURS:
            raise Refused(f"--slurm-options: {word.split('=')[0]} is not for the user to set: "
                          "one array holds the runs of one command, and it does not wait")
    return words


@contextlib.contextmanager
def alone(directory):
    """Two commands at once would each submit what the other is about to submit."""
    with open(os.path.join(directory, "lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"--slurm: another command is submitting from {directory}: "
                          "try again when it has ended") from None
        except OSError:
            pass                # a file system without locks
        yield


def read_jobs(directory):
    """The arrays submitted so far, oldest first: [{"name", "job", "runs"}, ...]"""
    path = os.path.join(directory, "jobs.json")
    try:
        with open(path, encoding="utf-8") as file:
            jobs = [{key: job[key] for key in ("name", "job", "runs")} for job in json.load(file)]
        for job in jobs:
            if not isinstance(job["name"], str) or not isinstance(job["job"], (str, type(None))) \
                    or not isinstance(job["runs"], list) \
                    or not all(isinstance(run, str) for run in job["runs"]):
                raise ValueError
        return jobs
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(f"{path}: damaged: cancel this sweep's tasks (squeue --me, scancel), "
                      "delete the file and repeat the command") from None


def write_jobs(directory, jobs):
    write(os.path.join(directory, "jobs.json"), json.dumps(jobs, indent=1) + "\n")


def queue(names):
    """Where the tasks of these arrays stand, as far as Slurm remembers: {(name, number): Place}"""
    if not names:
        return {}
    lines = slurm("squeue", "--noheader", "--array", "--states=all", "--name=" + ",".join(names),
                  "--format=%j|%K|%T|%r").splitlines()
    rows = [line.strip().split("|", 3) for line in lines if line.strip()]
    return {(name, int(number)): Place(state, reason) for name, number, state, reason in rows
            if number.isdigit()}


def drop_never_submitted(directory, jobs, places):
    """Forgets arrays that sbatch refused or that a killed command did not come to submit."""
    known = {name for name, _ in places}
    lost = [job for job in jobs if job["job"] is None and job["name"] not in known]
    if lost:
        jobs[:] = [job for job in jobs if job not in lost]
        write_jobs(directory, jobs)
    for job in lost:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(directory, job["name"] + ".sh"))


def latest_tasks(jobs):
    """The last task that each run was given: {run: Task}"""
    return {run: Task(job["name"], number, job["job"])
            for job in jobs for number, run in enumerate(job["runs"])}


def last_line(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        return "it never began"
    return lines[-1][:200] if lines else "it printed nothing"


def fate(directory, task, place):
    """Why a task that ended without a result did so, as far as it can be told."""
    log = f"{task.name}-{task.number}.log"
    state = place.state if place else "ended"
    where = f"task {task.job}_{task.number}" if task.job else f"task {task.number} of {task.name}"
    return f"{where} {state}: {last_line(os.path.join(directory, log))} (slurm/{log})"


def write_script(folder, directory, name, runs, threads):
    """The array's script. In an #SBATCH line a path is quoted, and % starts a pattern."""
    path = os.path.join(directory, name)
    output = path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"') + "-%a.log"
    write(path + ".sh", os.fsencode(SCRIPT.format(
        name=name, last=len(runs) - 1, output=output, threads=threads,
        runs="\n".join("    " + shlex.quote(run) for run in runs), root=shlex.quote(ROOT),
        python=shlex.quote(sys.executable), folder=shlex.quote(os.path.abspath(folder)))))
    return path + ".sh"


def largest_array():
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", slurm("scontrol", "show", "config"), re.M)
    return max(1, int(found.group(1))) if found else 1000


def submit(folder, directory, jobs, sweep, runs, threads, options):
    """Submits the runs as one array, or as several if the cluster allows no array so long."""
    size = largest_array() if runs else 1
    for run in runs:
        prepare(folder, run)
    for start in range(0, len(runs), size):
        part = [run["name"] for run in runs[start:start + size]]
        name = f"attnvar-{re.sub('[^A-Za-z0-9_.]+', '-', sweep)}-{secrets.token_hex(4)}"
        script = write_script(folder, directory, name, part, threads)
        jobs.append({"name": name, "job": None, "runs": part})
        write_jobs(directory, jobs)
        answer = slurm("sbatch", "--parsable", *options, script)
        jobs[-1]["job"] = answer.strip().split(";")[0]
        write_jobs(directory, jobs)
        yield jobs[-1]


def counts(states, reasons):
    """'13 runs: 4 done, 2 running, 7 waiting (Resources)'"""
    tally = collections.Counter(states.values())
    parts = [f"{tally[state]} {state}" for state in ("done", "running", "waiting", "failed", "new")
             if tally[state]]
    why = ", ".join(sorted(reasons - {"None"}))
    text = ", ".join(parts).replace("waiting", f"waiting ({why})" if why else "waiting")
    return f"{len(states)} runs: {text}"


def classify(folder, directory, runs, jobs, places):
    """The state of every run, why tasks ended that left no word of their own, and why they wait."""
    states, errors, reasons = {}, {}, set()
    tasks = latest_tasks(jobs)
    for run in runs:
        name = run["name"]
        task = tasks.get(name)
        place = places.get((task.name, task.number)) if task else None
        status, _ = outcome(folder, run)
        if place and place.state not in ENDED:
            states[name] = "waiting" if place.state in WAITS else "running"
            if place.state in WAITS:
                reasons.add(place.reason)
        elif status == "done":
            states[name] = "done"
        elif task or status == "failed":
            states[name] = "failed"
            if status != "failed":
                errors[name] = fate(directory, task, place)
        else:
            states[name] = "new"
    return states, errors, reasons


def bring_on(folder, sweep, runs, threads=1, options="", show=print):
    """Says where the runs of a sweep stand and submits those that have no result and no task.

    A task has as many cores as threads, unless the options (words for sbatch) say otherwise.
    Returns the state of each run as it was found: done, running, waiting, failed or new. The queue
    is asked before the files: a run that ends in between is seen as running or as done.
    """
    words = split_options(options)
    directory = os.path.join(os.path.abspath(folder), "slurm")
    os.makedirs(directory, exist_ok=True)
    with alone(directory):
        jobs = read_jobs(directory)
        places = queue([job["name"] for job in jobs])
        drop_never_submitted(directory, jobs, places)
        states, errors, reasons = classify(folder, directory, runs, jobs, places)
        show("slurm       " + counts(states, reasons))
        for name, error in errors.items():
            show(f"failed      {name}: {error}")
        todo = [run for run in runs if states[run["name"]] in ("failed", "new")]
        for job in submit(folder, directory, jobs, sweep, todo, threads, words):
            show(f"submitted   job {job['job']}: {len(job['runs'])} runs, one a task; "
                 f"to stop them: scancel {job['job']}")
    if set(states.values()) - {"done"}:
        show("next        the same command again says what is done, gathers it, and submits what "
             "failed")
    return states
