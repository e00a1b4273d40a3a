#!/usr/bin/env python3
"""Which lines of train_attnvar.c the tests run: `make coverage` (gcc and gcov, five minutes).

Builds the program and its tests with --coverage in a copy, runs test_attnvar, cli.sh and checkpoint.sh,
and joins what gcov counted. Prints the lines that nothing ran; exits 1 below 95 %."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = "train_attnvar.c"
FLAGS = "-std=c11 -O1 -g --coverage -fprofile-update=atomic -ffp-contract=fast -fopenmp".split()
RUNS = [["./test_attnvar"], ["dev/test/cli.sh", "./train_attnvar"],
        ["dev/test/checkpoint.sh", "./train_attnvar"]]
WANTED = 95


def build(folder):
    """Three compilations of the main file: the program's, the tests' in double and in float."""
    for output, source, more in (("program", SOURCE, []), ("double", "test_attnvar.c", []),
                                 ("float", "test_attnvar.c", ["-DFLOAT_PART"])):
        subprocess.run(["gcc", *FLAGS, *more, "-c", source, "-o", output + ".o"], cwd=folder,
                       check=True)
    for program, objects in (("train_attnvar", ["program.o"]),
                             ("test_attnvar", ["double.o", "float.o"])):
        subprocess.run(["gcc", "--coverage", "-fopenmp", *objects, "-o", program, "-lm"],
                       cwd=folder, check=True)


def counts(folder):
    """Line number -> how often it ran, the largest of the three compilations."""
    ran = {}
    for name in ("program", "double", "float"):
        out = subprocess.run(["gcov", "--json-format", "--stdout", name + ".gcda"], cwd=folder,
                             check=True, stdout=subprocess.PIPE).stdout
        for file in json.loads(out)["files"]:
            if os.path.basename(file["file"]) == SOURCE:
                for line in file["lines"]:
                    number = line["line_number"]
                    ran[number] = max(ran.get(number, 0), line["count"])
    return ran


def main():
    folder = tempfile.mkdtemp()
    try:
        for name in (SOURCE, "test_attnvar.c", "prepro_data.py", "Makefile"):
            shutil.copy(os.path.join(ROOT, name), folder)
        shutil.copytree(os.path.join(ROOT, "dev"), os.path.join(folder, "dev"),
                        ignore=shutil.ignore_patterns("results*", "runs"))
        build(folder)
        for command in RUNS:
            done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE,
                                  env=dict(os.environ, OMP_WAIT_POLICY="passive"))
            print(" ".join(command), "passed" if done.returncode == 0 else "FAILED", flush=True)
        ran = counts(folder)
    finally:
        shutil.rmtree(folder)
    with open(os.path.join(ROOT, SOURCE)) as file:
        text = file.read().splitlines()
    missed = sorted(number for number, count in ran.items() if count == 0)
    for number in missed:
        print(f"never ran  {number:5}  {text[number - 1]}")
    share = 100 * (len(ran) - len(missed)) / len(ran)
    print(f"coverage: {share:.1f} % of {len(ran)} lines, {len(missed)} never ran")
    return share < WANTED


if __name__ == "__main__":
    sys.exit(main())
