#!/usr/bin/env python3
"""Do the tests notice mistakes? Applies each mutation of mutations.py to a copy of train_attnvar.c,
builds it and runs the tests until one fails: then the mutant is killed. A mutant that passes all of
them has survived: write the test that was missing.

    dev/test/mutate.py                      the whole table, two at a time
    dev/test/mutate.py --sample 10 --seed 1 some of it
    dev/test/mutate.py --only NAME          one; --list shows the names

A line a mutant, then "mutants killed: K/N"; exits 1 if one survived. Each check is first run on the
unmutated copy, where it must pass; it gets five times the time that it took there, and 20 s. A
crash and a check that does not end count as kills, a mutant that does not compile as an error."""

import argparse
import concurrent.futures
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from mutations import EQUIVALENT, GROUPS

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EVERY = ["both", "cli", "checkpoint", "save"]   # between them they run all that a mutant has to pass
SCRIPTS = ["cli", "checkpoint", "save"]

# What a group of mutations is to fail first is soon run, so all that counts there is how soon it is
# compiled (QUICK); all tests together are the soonest done with -O1.
FLAGS = ["-std=c11", "-fopenmp", "-w"]
QUICK, SLOW = "-O0", "-O1"

# In place of the float part, whose compilation most mutants do not live to see.
STUB = """typedef struct ErrorClass ErrorClass;
void float_tests(const char *filter, int *ran_passed, int *ran_failed) { (void)filter; *ran_passed = *ran_failed = 0; }
const ErrorClass *float_errors(int *count) { *count = 0; return 0; }
double float_case(int index, double *gradients, unsigned long n) { (void)index, (void)gradients, (void)n; return 0; }
"""


class TableError(Exception):
    """The table does not fit the source, or the source does not pass its own tests."""


def function_span(source, name):
    """Where a function or table begins and ends in the source."""
    found = list(re.finditer(r"^(?:static|int)\b[^;{}\n]*\b%s[(\[]" % re.escape(name), source, re.M))
    if len(found) != 1:
        raise TableError(f"{name}: found {len(found)} definitions, expected one")
    start = found[0].start()
    line_end = source.index("\n", start)
    if source[start:line_end].rstrip().endswith("}"):
        return start, line_end
    return start, source.index("\n}", start) + 2


def mutated(source, mutation):
    """The source with the mutation applied."""
    name, function, old, new = mutation[:4]
    k, n = mutation[4] if len(mutation) > 4 else (1, 1)
    start, end = function_span(source, function)
    body = source[start:end]
    if body.count(old) != n:
        raise TableError(f"{name}: '{old}' stands {body.count(old)} times in {function}, expected {n}")
    if old == new or "\n" in old + new:
        raise TableError(f"{name}: expected a change within a line")
    at = start - 1
    for _ in range(k):
        at = source.index(old, at + 1)
    return source[:at] + new + source[at + len(old):]


class Copy:
    """A source in a folder of its own, with what its tests need."""

    def __init__(self, work, name, source):
        self.folder = os.path.join(work, name)
        os.makedirs(os.path.join(self.folder, "tmp"))
        with open(os.path.join(self.folder, "train_attnvar.c"), "w", encoding="utf-8") as f:
            f.write(source)
        with open(os.path.join(self.folder, "stub.c"), "w", encoding="utf-8") as f:
            f.write(STUB)
        shutil.copy(os.path.join(ROOT, "test_attnvar.c"), self.folder)
        os.symlink(os.path.join(ROOT, "dev"), os.path.join(self.folder, "dev"))
        self.env = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", ROUNDS="2",
                        KILLS="1", CUTS="some",
                        TMPDIR=os.path.join(self.folder, "tmp"))

    def has(self, name):
        return os.path.exists(os.path.join(self.folder, name))

    def compile(self, *arguments):
        cc = os.environ.get("CC", "cc").split()
        done = subprocess.run(cc + FLAGS + list(arguments), cwd=self.folder, capture_output=True,
                              text=True, timeout=300)
        if done.returncode != 0:
            raise TableError("does not compile: " + done.stderr.strip()[:400])

    def build(self, check):
        """Compiles what the check runs, once; returns its command."""
        kind, _, word = check.partition(" ")
        if kind in SCRIPTS:
            if not self.has("train_attnvar"):
                self.compile(SLOW, "train_attnvar.c", "-o", "train_attnvar", "-lm")
            if kind == "save":
                return [sys.executable, "dev/test/save.py", "./train_attnvar"]
            return [f"dev/test/{kind}.sh", "./train_attnvar"]
        if kind == "double" and not self.has("test_double"):
            self.compile(QUICK, "test_attnvar.c", "stub.c", "-o", "test_double", "-lm")
        program = "test_both_quick" if kind == "both" and word else "test_" + kind
        if kind == "both" and not self.has(program):
            level = QUICK if word else SLOW
            self.compile(level, "-DFLOAT_PART", "-c", "test_attnvar.c", "-o", "float.o")
            self.compile(level, "test_attnvar.c", "float.o", "-o", program, "-lm")
        return ["./" + program] + [word] * bool(word)

    def run(self, check, limit):
        """None if the check passes, else what failed: the first check that says FAIL, or how the
        program ended."""
        command = self.build(check)
        with subprocess.Popen(command, cwd=self.folder, env=self.env, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, start_new_session=True) as process:
            late = threading.Event()
            timer = threading.Timer(limit, lambda: (late.set(), end(process)))
            timer.start()
            last, failed = "", None
            for line in process.stdout:
                last = line.strip() or last
                if line.startswith("FAIL"):
                    failed = re.split(r"\s{2,}", line[4:].strip())[0][:70]
                    break
            if failed:
                end(process)
            code = process.wait()
            timer.cancel()
            end(process)
        if failed or (code == 0 and not late.is_set()):
            return failed
        if late.is_set():
            return f"no end within {limit:.0f} s of {check}"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}: {last[:60]}"
        return f"{how} in {check}"


def end(process):
    """Ends a check's processes, all of which are in a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Original:
    """The unmutated copy: each check has to pass here before it counts. Keeps the time it took."""

    def __init__(self, copy):
        self.copy = copy
        self.seconds = {}
        self.build_lock = threading.Lock()
        self.locks = {}

    def limit(self, check):
        with self.build_lock:
            lock = self.locks.setdefault(check, threading.Lock())
        with lock:
            if check not in self.seconds:
                with self.build_lock:
                    self.copy.build(check)
                start = time.monotonic()
                why = self.copy.run(check, 600)
                if why:
                    raise TableError(f"the unmutated copy fails {check}: {why}")
                self.seconds[check] = time.monotonic() - start
        return 20 + 5 * self.seconds[check]


def judge(work, source, original, mutation, checks):
    """What killed the mutant, or None, and the seconds that it took."""
    start = time.monotonic()
    copy = Copy(work, mutation[0], mutated(source, mutation))
    why = None
    for check in checks + [c for c in EVERY if c not in checks]:
        limit = original.limit(check)
        try:
            why = copy.run(check, limit)
        except TableError as error:
            raise TableError(f"{mutation[0]}: {error}") from error
        if why:
            break
    shutil.rmtree(copy.folder, ignore_errors=True)
    return why, time.monotonic() - start


def chosen(arguments):
    """The (mutation, checks) to run, in the table's order; and the reasons of the equivalent."""
    table = [(mutation, checks) for checks, group in GROUPS for mutation in group]
    reasons = {mutation[0]: reason for mutation, reason in EQUIVALENT}
    names = [mutation[0] for mutation, _ in table] + list(reasons)
    if len(set(names)) != len(names):
        raise TableError("two mutations have one name")
    if arguments.only:
        table += [(mutation, []) for mutation, _ in EQUIVALENT]
        table = [entry for entry in table if entry[0][0] in arguments.only]
        if len(table) != len(arguments.only):
            raise TableError("--only: no such mutation; --list shows the names")
    if 0 < arguments.sample < len(table):
        picked = random.Random(arguments.seed).sample(range(len(table)), arguments.sample)
        table = [table[i] for i in sorted(picked)]
    if arguments.part:
        k, n = (int(x) for x in arguments.part.split("/"))
        table = table[len(table) * (k - 1) // n:len(table) * k // n]
    return table, reasons


def compiles(source, mutation):
    """Nothing, or the compiler's complaint."""
    done = subprocess.run(os.environ.get("CC", "cc").split() + FLAGS + ["-fsyntax-only", "-x", "c", "-"],
                          input=mutated(source, mutation), capture_output=True, text=True)
    return done.stderr.strip()[:400] if done.returncode else ""


def run_table(table, source, jobs):
    """Runs the mutants and prints a line for each; how many were killed."""
    killed = 0
    with tempfile.TemporaryDirectory() as work:
        original = Original(Copy(work, "original", source))
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            runs = {pool.submit(judge, work, source, original, mutation, checks): mutation
                    for mutation, checks in table}
            try:
                for run in concurrent.futures.as_completed(runs):
                    why, seconds = run.result()
                    killed += why is not None
                    name = runs[run][0]
                    print(f"{'killed  ' if why else 'SURVIVED'}  {name:30} {seconds:5.1f} s  "
                          f"{'by ' + why if why else 'every check passed'}", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return killed


def main():
    parser = argparse.ArgumentParser(description="Mutation check: do the tests notice mistakes?")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time [2]")
    parser.add_argument("--sample", type=int, default=0, help="only so many, drawn at random")
    parser.add_argument("--seed", type=int, default=1, help="of the sample [1]")
    parser.add_argument("--part", metavar="K/N", help="the K-th of N parts of the table")
    parser.add_argument("--only", action="append", metavar="NAME", help="this one; may be repeated")
    parser.add_argument("--list", action="store_true", help="show the table and check it")
    parser.add_argument("--compile", action="store_true", help="does each of the mutants compile?")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))      # a mutant may ask for too much
    try:
        with open(os.path.join(ROOT, "train_attnvar.c"), encoding="utf-8") as f:
            source = f.read()
        for _, group in GROUPS + [([], [mutation for mutation, _ in EQUIVALENT])]:
            for mutation in group:
                mutated(source, mutation)
        table, reasons = chosen(arguments)
        if arguments.list:
            for mutation, _ in table:
                print(f"{mutation[0]:30} {mutation[1]:24} {mutation[2]}  ->  {mutation[3]}")
            return 0
        if arguments.compile:
            with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
                wrong = list(pool.map(lambda entry: compiles(source, entry[0]), table))
            for (mutation, _), why in zip(table, wrong):
                if why:
                    print(f"{mutation[0]}: does not compile: {why}")
            print(f"mutants that compile: {len(table) - sum(map(bool, wrong))}/{len(table)}")
            return any(wrong)
        killed = run_table(table, source, arguments.jobs)
    except TableError as error:
        print(f"mutate.py: error: {error}")
        return 1
    for name, reason in reasons.items():
        if not arguments.only:
            print(f"equivalent {name}: {reason}")
    print(f"mutants killed: {killed}/{len(table)}")
    return killed != len(table)


if __name__ == "__main__":
    sys.exit(main())
