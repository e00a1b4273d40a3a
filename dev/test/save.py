#!/usr/bin/env python3
"""Saving survives everything: dev/test/save.py PROGRAM.

    cuts    a save flushes its files before it renames them, and its folder before and after. It is
            cut at each of its system calls in turn (strace -e inject), by SIGKILL and by an
            error, on a first save, a later one and one over another run (--force). After each the
            folder resumes or starts anew, ends in the bytes of a run that was not cut, and what was
            saved before is whole.
    kills   SIGINT, SIGTERM, SIGHUP and SIGKILL at random moments, KILLS times each (40; the long run
            in dev/README.md has 200): nothing that was reported as saved is lost, log.csv has each
            step once, and the end is that of a run that was never stopped.
    locks   a second process in the folder is refused; after a kill -9 nothing blocks the next.

The last line is "saving: N passed, N failed"."""

import filecmp
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1])
KILLS = int(os.environ.get("KILLS", "40"))
CUTS = os.environ.get("CUTS", "all")        # "some": every third system call
SMALL = ("--data text --val val --layers 2 --layout FS --dim 8 --heads 1 --ffn 8 --seq 8 --batch 1 "
         "--eval-batches 1 --sample 0 --threads 1").split()
CALLS = ["openat", "write", "fsync", "rename", "close", "ftruncate", "fcntl", "mkdir"]
ERRORS = {"write": "ENOSPC", "openat": "EMFILE"}
FILES = ["model.safetensors", "optim.safetensors", "config.json"]
count = {True: 0, False: 0}


def result(ok, what, detail=""):
    count[bool(ok)] += 1
    if not ok:
        print(f"FAIL  {what}\n      {detail}", flush=True)
    return ok


def run(*words, strace=()):
    return subprocess.run([*strace, PROGRAM, *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", timeout=120)


def rows(folder):
    """The log's rows without the times."""
    with open(f"{folder}/log.csv", encoding="ascii") as file:
        return [",".join(line.split(",")[:4] + line.split(",")[5:]) for line in file]


def step_of(folder):
    with open(f"{folder}/model.safetensors", "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return int(json.loads(file.read(length))["__metadata__"]["step"])


def differences(a, b):
    """What of two runs is not the same."""
    found = [name for name in FILES if not os.path.exists(f"{a}/{name}")
             or not filecmp.cmp(f"{a}/{name}", f"{b}/{name}", shallow=False)]
    if not os.path.exists(f"{a}/log.csv") or rows(a) != rows(b):
        found.append("log.csv")
    left = [name for name in os.listdir(a) if name.endswith(".tmp")]
    return found + left


# ---- cuts ----------------------------------------------------------------------------------------

def check_cut(what, case, done):
    """After a cut run in folder `cut`: does it go on to the end that it should reach?"""
    model = "cut/model.safetensors"
    have = next((state for state in ("old", case) if os.path.exists(model) and os.path.exists(
        f"{state}/model.safetensors") and filecmp.cmp(model, f"{state}/model.safetensors", False)), None)
    if done.returncode == 0 and have != case:
        return result(False, what, f"it said that it saved, but holds {have}")
    if have is None and (case != "first" or os.path.exists(model)):
        return result(False, what, "the model is neither the old one nor the new one")
    if have is None:
        again, expected = run(*SMALL, "--steps", "1", "--out", "cut"), "first"
    elif case == "force" and have == "old":
        again, expected = run("--out", "cut", "--resume", "--sample", "0"), "old"
    else:
        again = run("--out", "cut", "--resume", "--sample", "0", "--steps", "2" if case == "later" else "1")
        expected = case
    apart = differences("cut", expected) if again.returncode == 0 else []
    # over another run, the old one's temporary files may be left
    if case == "force" and have == "old":
        apart = [name for name in apart if not name.endswith(".tmp")]
    return result(again.returncode == 0 and not apart, what,
                  f"holds {have}; afterwards: {(again.stderr or str(apart)).strip()}")


def check_flushed(what, words, strace):
    """Is all of a save on the disk before the first file is renamed, and are the new names at the end?"""
    run(*words, strace=[strace, "-f", "-y", "-o", "trace", "-e", "trace=fsync,rename"])
    events = []
    with open("trace", encoding="utf-8", errors="replace") as file:
        for line in file:
            found = re.search(r"fsync\(\d+<(.*)>\) += 0|(rename)\(.* = 0", line)
            if found:
                events.append(found.group(2) or os.path.basename(found.group(1)))
    first = events.index("rename") if "rename" in events else 0
    expected = {"cut"} | {name + ".tmp" for name in FILES}
    result(expected <= set(events[:first]) and events[-1:] == ["cut"]
           and any(name.startswith("log.csv") for name in events[:first]),
           f"{what}: files and folder are flushed", str(events))


def cuts():
    strace = shutil.which("strace")
    if not strace or subprocess.run([strace, "-o", "trace", "true"], capture_output=True).returncode:
        print("note: no strace that works here: saves are not cut at their system calls")
        return
    assert run(*SMALL, "--steps", "1", "--out", "first").returncode == 0
    assert run(*SMALL, "--steps", "1", "--seed", "5", "--out", "old").returncode == 0
    shutil.copytree("old", "later")
    assert run("--out", "later", "--resume", "--steps", "2", "--sample", "0").returncode == 0
    shutil.copytree("first", "force")
    commands = {"first": [*SMALL, "--steps", "1", "--out", "cut"],
                "later": ["--out", "cut", "--resume", "--steps", "2", "--sample", "0"],
                "force": [*SMALL, "--steps", "1", "--out", "cut", "--force"]}
    for case, words in commands.items():
        def begin():
            shutil.rmtree("cut", ignore_errors=True)
            if case != "first":
                shutil.copytree("old", "cut")
        begin()
        check_flushed(case, words, strace)
        begin()
        whole = run(*words, strace=[strace, "-f", "-o", "trace", "-e", "trace=" + ",".join(CALLS)])
        apart = differences("cut", case)
        result(whole.returncode == 0 and not apart, f"{case}: uncut", f"{whole.stderr} {apart}")
        with open("trace", encoding="utf-8", errors="replace") as file:
            calls = [m.group(1) for m in (re.match(r"\d+ +(\w+)\(", line) for line in file) if m]
            file.seek(0)
            start = next(i for i, line in enumerate(file) if "cut" in line)
        for call in CALLS:
            before, total = calls[:start].count(call), calls.count(call)
            for n in range(before + 1, total + 1):
                if CUTS == "some" and (n - before) % 3 != 1:
                    continue
                for how in ("signal=SIGKILL", "error=" + ERRORS.get(call, "EIO")):
                    begin()
                    done = run(*words, strace=[strace, "-f", "-o", "trace", "-e", f"trace={call}",
                                               "-e", f"inject={call}:{how}:when={n}"])
                    check_cut(f"{case}: {call} {n - before} of {total - before}, {how}", case, done)


# ---- kills ---------------------------------------------------------------------------------------

LONG = ("--data text --val val --layers 2 --layout NF --dim 16 --heads 2 --ffn 24 --seq 16 --batch 2 "
        "--eval-every 50 --eval-batches 1 --sample 0 --threads 1 --log-every 1000000").split()


def log_steps(folder):
    with open(f"{folder}/log.csv", encoding="ascii") as file:
        return [int(line.split(",")[0]) for line in file.read().split("\n")[1:-1]]


def kills(number, rng):
    name = signal.Signals(number).name
    shutil.rmtree("killed", ignore_errors=True)
    saved, stopped, why, tries, window = 0, 0, "", 0, 0.12
    while stopped < KILLS and not why and tries < 20 * KILLS:
        tries += 1
        words = (["--out", "killed", "--resume", "--sample", "0"] if saved else
                 [*LONG, "--out", "killed"]) + ["--steps", "100000000", "--save-every", "3"]
        process = subprocess.Popen([PROGRAM, *words], stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   restore_signals=True, preexec_fn=lambda: [
                                       signal.signal(s, signal.SIG_DFL) for s in (1, 2, 15)])
        time.sleep(0.005 + window * rng.random())
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        code, before = process.returncode, saved
        if code not in (-number, 128 + number) or err:
            why = f"exit code {code}: {err}"
        if os.path.exists("killed/model.safetensors"):
            saved = step_of("killed")
            steps = log_steps("killed")
            reported = re.search(r"interrupted after step (\d+), saved", out)
            if saved < before or (reported and saved != int(reported.group(1))):
                why = f"step {saved} is saved, {before} was, reported: {reported and reported.group(0)}"
            if code == 128 + number and not reported:
                why = "stopped without a word about what is saved"
            if steps != list(range(1, len(steps) + 1)) or len(steps) < saved:
                why = f"log.csv has {len(steps)} rows, step {saved} is saved: {steps[-5:]}"
            stopped += saved > before or code == 128 + number
        if saved == before:
            window = min(3, 1.1 * window)       # on a busy machine it takes longer to begin
    result(stopped == KILLS and not why, f"{name}, {stopped} of {KILLS} times", why)
    end = saved + 3
    done = run("--out", "killed", "--resume", "--steps", str(end), "--sample", "0")
    straight = run(*LONG, "--out", "straight", "--steps", str(end), "--force")
    # the schedule looks at --steps: here it was another one until the end
    result(done.returncode == 0 and straight.returncode == 0 and log_steps("killed") == list(range(1, end + 1)),
           f"{name}: the log has each step once", done.stderr + straight.stderr)
    return tries


def same_end(number, rng):
    """Stopped again and again, a run of 400 steps ends like one that was not stopped."""
    shutil.rmtree("killed", ignore_errors=True)
    words = [*LONG, "--steps", "400", "--save-every", "3"]
    for stops in range(21):                     # the last time it may run to its end
        resume = os.path.exists("killed/model.safetensors")
        process = subprocess.Popen([PROGRAM, *words, "--out", "killed"] + ["--resume"] * resume,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(0.02 + 0.1 * rng.random() if stops < 20 else 120)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        if process.wait() == 0:
            break
    if not os.path.exists("straight400"):
        run(*words, "--out", "straight400")
    apart = differences("killed", "straight400")
    result(not apart, f"{signal.Signals(number).name}: the end is that of a straight run", str(apart))


# ---- locks ---------------------------------------------------------------------------------------

def locks():
    shutil.rmtree("locked", ignore_errors=True)
    words = [*LONG, "--steps", "100000000", "--save-every", "5", "--out", "locked"]
    first = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL)
    while not os.path.exists("locked/model.safetensors"):
        time.sleep(0.01)
    for more in ([], ["--resume"], ["--force"]):
        second = run(*words, *more)
        result(second.returncode == 1 and "--out locked: " in second.stderr and "another process"
               in second.stderr and second.stderr.count("\n") == 1, f"a second process {more}", second.stderr)
    evaluated = run("--init", "locked", "--data", "text", "--val", "val", "--steps", "0", "--sample", "0")
    result(evaluated.returncode == 0, "its checkpoint can be read meanwhile", evaluated.stderr)
    first.kill()
    first.wait()
    steps = log_steps("locked")
    result(steps == list(range(1, len(steps) + 1)), "the second left the log alone", str(steps[-5:]))
    again = run("--out", "locked", "--resume", "--steps", str(step_of("locked") + 1), "--sample", "0")
    result(again.returncode == 0, "after a kill -9 nothing blocks the next", again.stderr)


def no_locks():
    """A file system without locks (NFS without its daemon): a note, not a hang, not an error."""
    strace = shutil.which("strace")
    if strace and not subprocess.run([strace, "-o", "trace", "true"], capture_output=True).returncode:
        done = run(*SMALL, "--steps", "1", "--out", "unlocked", strace=[
            strace, "-f", "-o", "trace", "-e", "trace=fcntl", "-e", "inject=fcntl:error=ENOLCK"])
        result(done.returncode == 0 and "note: unlocked cannot be locked (No locks available)" in done.stdout,
               "no locks on the file system", done.stdout[-300:] + done.stderr)


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)       # also where nohup or CI ignores them
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    seed = int(os.environ.get("SEED", "1"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ.update(OMP_WAIT_POLICY="passive", OMP_NUM_THREADS="1")
        for name, source in (("text", "austen_train"), ("val", "austen_val")):
            with open(f"{root}/dev/data/{source}.txt", "rb") as file, open(name, "wb") as out:
                out.write(file.read(5000))
        locks()
        no_locks()
        cuts()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            if KILLS:
                kills(number, random.Random(seed))
                same_end(number, random.Random(seed))
        os.chdir(root)
    print(f"saving: {count[True]} passed, {count[False]} failed")
    sys.exit(count[False] > 0)


if __name__ == "__main__":
    main()
