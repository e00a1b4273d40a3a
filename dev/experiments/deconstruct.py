#!/usr/bin/env python3
"""Trains and measures the models of the paper, gathers the results in a folder.

    python3 dev/experiments/deconstruct.py quick

Python 3.9, standard library. dev/experiments/README.md describes the presets and the folder. One
run is one command (--one), which resumes a run that was stopped and leaves a finished run alone; a
sweep calls it for each run, here or on a cluster, and gathers the results.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

if sys.version_info < (3, 9):
    sys.exit(f"deconstruct: error: Python {sys.version.split()[0]}: expected 3.9 or newer")

import common           # the first: Ctrl-C from here on is one line

import argparse
import shlex
import signal
import subprocess
import time

import display
import gather
import onerun
import presets
import slurm
from common import Refused
from presets import ROOT


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(f"{message}: --help lists presets and options")


def positive(text, most=10 ** 9):
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"'{common.brief(text)}': expected a whole number of 1 or "
                                         f"more, at most {most:,}")
    return value


def seeds(text):
    """So many that the list of the runs is made in seconds."""
    return positive(text, 1000)


# Options that mean nothing beside another one, which is named first.
EXCLUDED = [("one", ("jobs", "seeds", "steps", "only", "data", "val", "list", "gather", "slurm",
                     "slurm_options")),
            ("list", ("gather", "slurm", "slurm_options", "jobs", "threads")),
            ("gather", ("slurm", "slurm_options", "jobs", "threads")),
            ("slurm", ("jobs",))]


def check_together(o):
    """Refuses options that would be ignored."""
    def named(option):
        return "--" + option.replace("_", "-")
    for option, others in EXCLUDED:
        for other in others:
            if getattr(o, option) not in (None, False) and getattr(o, other) not in (None, False):
                raise Refused(f"{named(option)} with {named(other)}: found both, expected one: "
                              f"leave {named(other)} out")
    if o.slurm_options is not None and not o.slurm:
        raise Refused("--slurm-options without --slurm: they are options for sbatch: add --slurm "
                      "or leave them out")
    for option in ("data", "val"):
        if getattr(o, option) is not None and o.preset not in presets.OWN_TEXT:
            raise Refused(f"--{option}: the preset {o.preset} has data of its own: leave it out, "
                          f"or choose one of {', '.join(presets.OWN_TEXT)}")


def options(words):
    described = "\n".join(f"  {name:<14} {what}" for name, what in presets.PRESETS.items())
    p = Parser(prog="deconstruct.py", formatter_class=argparse.RawDescriptionHelpFormatter,
               description="Trains and measures the models of the paper.",
               epilog="presets:\n" + described, allow_abbrev=False)
    p.add_argument("preset", nargs="?", help="which runs: one of those below")
    p.add_argument("--folder", help="for the results [dev/experiments/results-PRESET]")
    p.add_argument("--jobs", type=positive, help="runs side by side [one for each core]")
    p.add_argument("--threads", type=positive, help="of each run [the cores divided by --jobs]")
    p.add_argument("--seeds", type=seeds, help="seeds 1 .. SEEDS [the preset's]")
    p.add_argument("--steps", type=positive, help="training steps of every run [the preset's]")
    p.add_argument("--only", metavar="WORD", action="append",
                   help="do only runs with WORD in their name; may be repeated")
    p.add_argument("--data", help=f"training text [{presets.DATA}]")
    p.add_argument("--val", help=f"validation text [{presets.VAL}]")
    p.add_argument("--list", action="store_true", help="only show the runs and their states")
    p.add_argument("--gather", action="store_true", help="only gather finished runs and draw")
    p.add_argument("--slurm", action="store_true", help="submit to a Slurm cluster instead")
    p.add_argument("--slurm-options", metavar="WORDS", help="more options for sbatch")
    p.add_argument("--one", metavar="RUN", help="do only this run of --folder")
    o = p.parse_args(slurm.join_options(words))
    if o.one:
        if o.preset or not o.folder:
            raise Refused("--one RUN wants --folder F and no preset")
        check_together(o)
        check_folder(o.folder)
        return o
    if o.preset not in presets.PRESETS:
        found = f"'{o.preset}' is no preset" if o.preset else "no preset given"
        raise Refused(f"{found}: expected one of {', '.join(presets.PRESETS)}")
    check_together(o)
    for name, default in (("data", presets.DATA), ("val", presets.VAL)):
        given = default if getattr(o, name) is None else getattr(o, name)
        path = os.path.abspath(given) if os.path.exists(given) else os.path.join(ROOT, given)
        inside = os.path.relpath(path, ROOT)
        setattr(o, name, path if inside.startswith("..") else inside)
    o.folder = os.path.abspath(o.folder or os.path.join(HERE, "results-" + o.preset))
    check_folder(o.folder)
    return o


def check_folder(folder):
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise Refused(f"--folder {folder}: is no folder; expected one that deconstruct.py wrote, "
                      "or a new name")


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
                                encoding="utf-8", errors="replace").stdout
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
        try:
            while self.children or (todo and not self.interrupted):
                while todo and len(self.children) < self.jobs and not self.interrupted:
                    self.launch(todo.pop(0))
                time.sleep(0.05)
                self.collect()
                self.shown.draw()
        finally:
            for child in self.children:         # some after an error, such as a full disk
                child.terminate()
            for child in self.children:
                child.wait()
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
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8",
                              errors="replace")
        if done.returncode:
            print(f"note: {command[-1]} failed: no cost against T in this report")
            return
    common.write(path, done.stdout)


def draw(folder):
    """The report, if its program is there. Returns its path or None."""
    if not os.path.exists(os.path.join(HERE, "report.py")):
        return None
    done = subprocess.run([sys.executable, os.path.join(HERE, "report.py"), folder],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          encoding="utf-8", errors="replace")
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
    for word in o.only or ():
        if not any(word in run["name"] for run in everything):
            raise Refused(f"--only {word}: no name of a run of {o.preset} contains it: "
                          "--list shows the names")
    runs = [run for run in everything
            if not o.only or any(word in run["name"] for word in o.only)]
    if o.list:
        for run in runs:
            print(f"{onerun.outcome(o.folder, run)[0] or 'to do':<7} {run['name']}")
        return 0
    try:
        os.makedirs(o.folder, exist_ok=True)
    except OSError as error:
        raise Refused(f"--folder {o.folder}: {error.strerror}") from None
    gather.keep(o.folder, {run["name"] for run in everything})
    interrupted = False
    if o.slurm:
        slurm.bring_on(o.folder, o.preset, runs, o.threads or 1, o.slurm_options or "")
    elif not o.gather:
        interrupted = run_here(o, runs)
        if o.preset == "paper" and not interrupted:
            bench(o)
    command = shlex.join(["python3", "dev/experiments/deconstruct.py"] + words)
    rows = gather.gather(o.folder, o.preset, everything, command)
    if interrupted:
        done = {row["run"] for row in rows if row["status"] == "done"}
        kept = sum(run["name"] in done for run in runs)
        print(f"\ninterrupted: {kept} of {len(runs)} runs are kept in {shown_path(o.folder)}; "
              "the same command goes on")
        return 130
    return 0 if conclude(o, runs, rows) else 1


if __name__ == "__main__":
    sys.exit(common.ended("deconstruct", main))
