#!/usr/bin/env python3
"""Does README.md say what is true? `make readme-check` (minutes), `readme.py --fast` (in CI).

In a copy of the project: every command of README's code blocks runs; ./train_attnvar and make's
targets as they stand, other trainings for a few steps. What the README says that ./train_attnvar
prints is compared with what it prints. Words must be equal; of numbers, those that a machine's
vectors or clock change (losses, megabytes, tokens/s) have a tolerance each. The table of variants
is computed again from results.csv.
--fast: ./train_attnvar ends after step 50, and make's targets are left out."""
import csv
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHORT = "--steps 3 --eval-batches 1 --sample 0".split()
# A number after one of these words may differ by so much, relative; after others, not at all. None:
# by anything (a clock's).
TOLERANCE = {"loss": 0.04, "norm": 0.5, "memory": 0.05, "backward": 0.05, "mixers": 0.05,
             "scratch": 0.5, "threads": None, "tokens/s": None, "left": None, "bits": 0.04}
passed = failed = 0


def result(ok, what, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print("FAIL  %s\n      %s" % (what, detail), flush=True)


def blocks(text):
    """The indented blocks, each a list of lines without the indent."""
    found = re.findall(r"(?:^|\n)\n((?:    .*\n|\n(?=    ))+)", text)
    return [[line[4:] for line in block.rstrip("\n").split("\n")] for block in found]


def commands(text):
    for block in blocks(text):
        for line in block:
            line = re.sub(r"\s+#.*", "", line).strip()
            if re.match(r"(make|\./train_attnvar|python3) ?", line):
                yield line.split()


def words(line):
    return re.findall(r"[a-zA-Z][\w/.-]*|\d+:\d\d:\d\d|[\d.]*\d(?:e-?\d+)?|\S", line)


def number(word):
    try:
        return float(word)
    except ValueError:
        return None


def differs(said, printed):
    """What differs between a line of the README's and the program's, or None."""
    a, b = words(said), words(printed)
    if len(a) != len(b):
        return "%d words, printed are %d" % (len(a), len(b))
    for i, (x, y) in enumerate(zip(a, b)):
        if x == y:
            continue
        if re.match(r"\d+:\d\d:\d\d$", x) and re.match(r"\d+:\d\d:\d\d$", y):
            continue
        # what a number means stands before it, as "loss 1.4", else behind it, as "2 threads"
        unit = a[i - 1] if a[i - 1][0].isalpha() or i + 1 == len(a) else a[i + 1]
        if a[0] == "memory" and unit not in TOLERANCE:
            unit = "memory"
        if unit not in TOLERANCE or number(x) is None or number(y) is None:
            return "'%s', printed is '%s'" % (x, y)
        allowed = TOLERANCE[unit]
        if allowed is not None and abs(number(x) - number(y)) > allowed * abs(number(x)):
            return "%s %s, printed is %s" % (unit, x, y)
    return None


def check_output(text, printed, last_step):
    """The block that quotes what ./train_attnvar prints, up to a step."""
    quoted = next(b for b in blocks(text) if b[0].startswith("layers"))
    lines = [line for line in printed.split("\n") if line.strip()]
    for said in quoted:
        if said.startswith("sample"):
            break
        step = re.match(r"step +(\d+)", said)
        if not said.strip() or said == "..." or (step and int(step[1]) > last_step):
            continue
        key = re.match(r"(step +\d+ +(?:val )?loss|\s*\S+\s)", said)[1]
        there = [line for line in lines if line.startswith(key)] or ["nothing that begins so"]
        why = differs(said, there[0])
        result(why is None, "README: " + said, why)


def check_table(text):
    """The rows | `variant` | ... | uniform | even | skip, of bytes and of tokens | against results.csv."""
    with open(os.path.join(ROOT, "dev/experiments/results/results.csv"), encoding="utf-8") as f:
        rows = [r for r in csv.DictReader(f) if r["task"] == "text" and r["size"] == "tiny" and
                r["layers"] == "4" and r["kv_heads"] == "4" and r["qk_norm"] == "0" and
                r["data"].startswith("dev/data/")]
    with open(os.path.join(ROOT, "train_attnvar.c"), encoding="utf-8") as f:
        names = re.findall(r'^ *\{"(\w+)", *\'[A-Z]\'', f.read(), re.M)
    result(len(names) == 7, "the table of variants in train_attnvar.c", "found %s" % names)

    def mean(vocab, attn, layout, column, error):
        values = [float(r[column]) for r in rows
                  if r["vocab"] == vocab and r["attn"] == attn and r["layout"] == layout]
        n, m = len(values), sum(values) / max(1, len(values))
        if n < 2:
            return ""
        se = math.sqrt(sum((v - m) ** 2 for v in values) / (n - 1) / n)
        return "%.3f ± %.3f" % (m, se) if error else "%.2f" % m

    for name in names:
        line = re.search(r"^\| \[`%s`\].*$" % name, text, re.M)
        found = [cell.strip() for cell in line[0].strip("|").split("|")][-6:] if line else None
        expected = [mean(vocab, name, *cell) for vocab in ("", "1024")
                    for cell in (("uniform", "val_loss", True), ("even", "val_loss", True),
                                 ("even", "skip_blocks", False))]
        result(found == expected, "README's table, " + name, "%s; results.csv: %s" % (found, expected))


def copy_of_project(folder):
    """What a clone would hold, so that the commands can leave behind what they like."""
    for name in ("train_attnvar.c", "test_attnvar.c", "prepro_data.py", "Makefile"):
        shutil.copy(os.path.join(ROOT, name), folder)
    shutil.copytree(os.path.join(ROOT, "dev"), os.path.join(folder, "dev"),
                    ignore=lambda at, names: [n for n in names if n.startswith("results")])
    with open(os.path.join(ROOT, "dev/data/austen_val.txt"), "rb") as f:
        part = f.read(60000)
    for name in ("my.txt", "novel.txt", "ids.bin"):       # the reader's own files
        with open(os.path.join(folder, name), "wb") as f:
            f.write(part if name != "ids.bin" else b"".join(bytes((c, 0)) for c in part))


def run(folder, command, seconds):
    """(exit code, output), stopped as by Ctrl-C after so many seconds."""
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          env=dict(os.environ, OMP_WAIT_POLICY="passive")) as process:
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate()
            out += "\n(stopped after %d s)" % seconds
    return process.returncode, out


def check_commands(text, fast):
    with tempfile.TemporaryDirectory() as folder:
        copy_of_project(folder)
        code, out = run(folder, ["make", "train_attnvar"], 300)
        result(code == 0, "make", out[-300:])
        for command in commands(text):
            training = command[0] == "./train_attnvar" and "--help" not in command
            if fast and command[0] == "make":
                continue
            default = command == ["./train_attnvar"]
            if default and fast:        # its data, its schedule: up to step 50 the run is itself
                code, out = run(folder, ["sh", "-c", "./train_attnvar | sed -u '/^step *50 /q'"], 120)
            else:
                code, out = run(folder, command + SHORT * (training and not default), 900)
            result(code == 0, "README: " + " ".join(command), "exit code %d: %s" % (code, out[-300:]))
            if default:
                check_output(text, out, 50 if fast else 1 << 30)


def selftest(text):
    """A README with a mistake in it must be noticed."""
    said = "step    50  loss 2.9104  lr 2.50e-03  norm  0.928    38476 tokens/s  0:01:01 left"
    result(differs(said, said.replace("38476", "1234").replace("2.9104", "2.9")) is None, "selftest: clock")
    for old, new in (("2.9104", "3.2104"), ("2.50e", "2.60e"), ("loss", "lost"), (" left", "")):
        result(differs(said, said.replace(old, new)) is not None, "selftest: %s for %s" % (new, old))
    result(len(list(commands(text))) > 10, "selftest: README has commands", list(commands(text)))


def main():
    if sys.argv[1:] not in ([], ["--fast"]):
        sys.exit("usage: dev/test/readme.py [--fast]")
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    selftest(text)
    check_table(text)
    check_commands(text, fast=len(sys.argv) > 1)
    print("readme: %d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
