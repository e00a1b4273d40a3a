#!/usr/bin/env python3
"""Trains and measures the models of the paper, gathers the results in a folder.

    python3 dev/experiments/deconstruct.py quick

Python 3.9, standard library. dev/experiments/README.md describes the presets and the folder. One
run is one command (--one), which resumes a run that was stopped and leaves a finished run alone; a
sweep calls it for each run, here or on a cluster, and gathers the results.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

if sys.version_info < (3, 9):
    sys.exit(f"deconstruct: error: Python {sys.version.split()[0]}: expected 3.9 or newer")

import display
import gather
import onerun
import presets
import slurm
from presets import ROOT, Refused


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(f"{message}: --help lists presets and options")


def positive(text):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 10 ** 9:
        raise argparse.ArgumentTypeError(f"'{text}': expected a whole number of 1 or more")
    return value


def options(words):
    described = "\n".join(f"  {name:<14} {what}" for name, what in presets.PRESETS.items())
    p = Parser(prog="deconstruct.py", formatter_class=argparse.RawDescriptionHelpFormatter,
               description="Trains and measures the models of the paper.",
               epilog="presets:\n" + described, allow_abbrev=False)
    p.add_argument("preset", nargs="?", help="which runs: one of those below")
    p.add_argument("--folder", help="for the results [dev/experiments/results-PRESET]")
    p.add_argument("--jobs", type=positive, help="runs side by side [one for each core]")
    p.add_argument("--threads", type=positive, help="of each run [the cores divided by --jobs]")
    p.add_argument("--seeds", type=positive, help="seeds 1 .. SEEDS [the preset's]")
    p.add_argument("--steps", type=positive, help="training steps of every run [the preset's]")
    p.add_argument("--only", metavar="WORD", action="append",
                   help="do only runs with WORD in their name; may be repeated")
    p.add_argument("--data", default=presets.DATA, help="training text [%(default)s]")
    p.add_argument("--val", default=presets.VAL, help="validation text [%(default)s]")
    p.add_argument("--list", action="store_true", help="only show the runs and their states")
    p.add_argument("--gather", action="store_true", help="only gather finished runs and draw")
    p.add_argument("--slurm", action="store_true", help="submit to a Slurm cluster instead")
    p.add_argument("--slurm-options", default="", metavar="WORDS", help="more options for sbatch")
    p.add_argument("--one", metavar="RUN", help="do only this run of --folder")
    o = p.parse_args(slurm.join_options(words))
    if o.one:
        if o.preset or not o.folder:
            raise Refused("--one RUN wants --folder F and no preset")
        return o
    if o.preset not in presets.PRESETS:
        found = f"'{o.preset}' is no preset" if o.preset else "no preset given"
        raise Refused(f"{found}: expected one of {', '.join(presets.PRESETS)}")
    for name in ("data", "val"):
        path = os.path.abspath(getattr(o, name)) if os.path.exists(getattr(o, name)) else \
            os.path.join(ROOT, getattr(o, name))
        inside = os.path.relpath(path, ROOT)
        setattr(o, name, path if inside.startswith("..") else inside)
    o.folder = os.path.abspath(o.folder or os.path.join(HERE, "results-" + o.preset))
    return o


def check_programs():
    missing = [name for name in ("train_attnvar", "dev/tools/eval_attnvar",
                                 "dev/tools/inspect_attnvar", "dev/tools/generate_attnvar")
               if not os.access(os.path.join(ROOT, name), os.X_OK)]
    if missing:
        raise Refused(f"no {', '.join(missing)}: build first: make train_attnvar tools")


# ---- running here --------------------------------------------------------------------------------

def gpus():
    """The GPUs to share out, by the names that CUDA_VISIBLE_DEVICES takes; [None]: none is known."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name] or [None]
    try:
        listed = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                universal_newlines=True).stdout
    except OSError:
        return [None]
    return listed.split() or [None]


class Sweep:
    """Calls --one for the remaining runs, some side by side."""

    def __init__(self, o, runs, shown):
        self.o, self.runs, self.shown = o, runs, shown
        self.cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else \
            os.cpu_count() or 1
        shared = [presets.SIDE_BY_SIDE[run["settings"]["size"]] for run in runs
                  if run["settings"]["engine"] == "torch"]      # runs that share a GPU
        self.gpus = gpus() if shared else [None]
        beside = min(shared) * len(self.gpus) if shared else self.cores
        self.jobs = min(o.jobs or min(beside, self.cores), len(runs))
        self.children = {}                  # process -> run
        self.places = {}                    # process -> its GPU
        self.interrupted = 0

    def on_signal(self, number, frame):
        """At the first signal the runs save and stop; at the second they are killed."""
        self.interrupted += 1
        for child in list(self.children):
            try:
                if self.interrupted == 1:
                    child.terminate()
                else:
                    os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def launch(self, run):
        threads = self.o.threads or max(1, self.cores // self.jobs)
        onerun.prepare(self.o.folder, run)
        busy = [self.places[child] for child in self.children]
        gpu = min(self.gpus, key=busy.count)
        place = {"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}
        child = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), "--folder", self.o.folder, "--threads",
             str(threads), "--one", run["name"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=dict(os.environ, **{onerun.PARENT: str(os.getpid())}, **place),
            start_new_session=True)
        self.children[child], self.places[child] = run, gpu
        self.shown.started(run["name"])
        if self.interrupted:                # a signal came before the child was known
            child.terminate()

    def collect(self):
        """Rows of the runs that ended since the last call."""
        for child in [c for c in self.children if c.poll() is not None]:
            run = self.children.pop(child)
            if self.interrupted:
                self.shown.stopped(run["name"])
                continue
            if onerun.outcome(self.o.folder, run)[0] is None:
                path = onerun.path_of(self.o.folder, run["name"], "failed.json")
                onerun.write_json(path, {"error": onerun.reason(child.returncode)})
            self.shown.finished(run, gather.row_of(self.o.folder, self.o.preset, run))

    def go(self, todo):
        before = {s: signal.signal(s, self.on_signal)
                  for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        todo = list(todo)
        while self.children or (todo and not self.interrupted):
            while todo and len(self.children) < self.jobs and not self.interrupted:
                self.launch(todo.pop(0))
            time.sleep(0.05)
            self.collect()
            self.shown.draw()
        for number, handler in before.items():
            signal.signal(number, handler)


def run_here(o, runs):
    shown = display.Display(o.folder, runs)
    done = {run["name"]: gather.row_of(o.folder, o.preset, run) for run in runs
            if onerun.outcome(o.folder, run)[0] == "done"}
    shown.begin(done)
    sweep = Sweep(o, runs, shown)
    sweep.go(run for run in runs if run["name"] not in done)
    shown.end()
    return sweep.interrupted > 0


# ---- afterwards ----------------------------------------------------------------------------------

def bench(o):
    """The paper's cost against T, by dev/bench: alone on the machine, after the runs."""
    path = os.path.join(o.folder, "bench.txt")
    if os.path.exists(path) or o.only:
        return
    print("measuring the mixers' time against T with dev/bench (some minutes)", flush=True)
    for command in (["make", "-s", "dev/bench/bench"], ["dev/bench/bench", "--mixers"]):
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True)
        if done.returncode:
            print(f"note: {command[-1]} failed: no cost against T in this report")
            return
    gather.write_text(path, done.stdout)


def draw(folder):
    """The report, if its program is there. Returns its path or None."""
    if not os.path.exists(os.path.join(HERE, "report.py")):
        return None
    done = subprocess.run([sys.executable, os.path.join(HERE, "report.py"), folder],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          universal_newlines=True)
    if done.returncode:
        print(f"note: no report: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return None
    return os.path.join(folder, "report.html")


def shown_path(path):
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def conclude(o, runs, rows):
    """Prints tables, paragraph, files and failed runs. Returns whether no run failed."""
    text = display.summary(rows)
    print(f"\n{text}\n" if text else "")
    page = draw(o.folder)
    print(f"results     {shown_path(os.path.join(o.folder, 'results.csv'))}")
    if page:
        print(f"report      {shown_path(page)}")
    names = {run["name"] for run in runs}
    failed = [row for row in rows if row["status"] == "failed" and row["run"] in names]
    for row in failed:
        print(f"failed      {row['run']}: {row['error']}")
    if failed and not o.slurm:
        print("            the same command repeats them")
    return not failed


def main(words):
    o = options(words)
    if o.one:
        return onerun.do(o.folder, o.one, o.threads or os.cpu_count() or 1)
    check_programs()
    everything = presets.plan(o.preset, o.seeds, o.steps, o.data, o.val)
    runs = [run for run in everything
            if not o.only or any(word in run["name"] for word in o.only)]
    if not runs:
        raise Refused(f"--only {' '.join(o.only)}: no name of a run of {o.preset} contains it: "
                      "--list shows the names")
    if o.list:
        for run in runs:
            print(f"{onerun.outcome(o.folder, run)[0] or 'to do':<7} {run['name']}")
        return 0
    try:
        os.makedirs(o.folder, exist_ok=True)
    except OSError as error:
        raise Refused(f"--folder {o.folder}: {error.strerror}") from None
    interrupted = False
    if o.slurm:
        slurm.bring_on(o.folder, o.preset, runs, o.threads or 1, o.slurm_options)
    elif not o.gather:
        interrupted = run_here(o, runs)
        if o.preset == "paper" and not interrupted:
            bench(o)
    command = shlex.join(["python3", "dev/experiments/deconstruct.py"] + words)
    rows = gather.gather(o.folder, o.preset, everything, command)
    if interrupted:
        print(f"\ninterrupted: {len(rows)} of {len(everything)} runs are kept in "
              f"{shown_path(o.folder)}; the same command goes on")
        return 130
    return 0 if conclude(o, runs, rows) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as error:
        sys.exit(f"deconstruct: error: {error}")
    except BrokenPipeError:
        sys.exit(1)
