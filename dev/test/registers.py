#!/usr/bin/env python3
"""Does the compiler keep the tile of the matrix product in registers?

    dev/test/registers.py [--cc gcc --cc clang]

Compiles train_attnvar.c to assembly for several kinds of processor. A loop body of `multiply` that
holds a whole tile's multiply-adds must not move a vector to or from the stack: then the product is
three to four times slower, and nothing else would show it. A compiler that is not installed is
named and skipped. The last line is "N passed, N failed".
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = ("-O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -w -S -o - "
         "-mprefer-vector-width=512").split()
ARM_HEADERS = "/usr/aarch64-linux-gnu/include"
# name, options, multiply-adds of a tile (MR rows of two vectors), needed in PATH or the file system
TARGETS = [("AVX2", ["-march=haswell"], 12), ("AVX-512", ["-march=skylake-avx512"], 24)]
ARM = ("64-bit ARM", ["--target=aarch64-linux-gnu", "-mcpu=apple-m1", "-isystem", ARM_HEADERS], 24)
FMA = re.compile(r"\b(vfn?madd|fmla)")
# %rbp points at the stack only with a negative offset: without a frame it is a register like others.
STACK = r"(\(%rsp\)|-\d+\(%rbp\))"
ON_STACK = re.compile(rf"{STACK}.*[yz]mm|[yz]mm.*{STACK}|\bq\d+.*\[(sp|x29)")


def blocks(assembly):
    """(function, lines) of each basic block."""
    function, lines = "", []
    for line in assembly.splitlines():
        if re.match(r"[.\w]+:", line):
            yield function, lines
            function, lines = line.split(":")[0] if line[0] != "." else function, []
        lines.append(line)
    yield function, lines


def tiles(command, adds):
    """(whole tiles, those of them that use the stack), or the compiler's complaint."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)
    if done.returncode:
        return done.stderr.strip()[:200]
    whole = [lines for function, lines in blocks(done.stdout)
             if function.startswith("multiply") and sum(map(bool, map(FMA.search, lines))) == adds]
    return len(whole), sum(any(map(ON_STACK.search, lines)) for lines in whole)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--cc", action="append", help="a compiler [gcc and clang]")
    p.add_argument("--source", default="train_attnvar.c", help="the file [%(default)s]")
    o = p.parse_args()
    passed = failed = 0
    for cc in o.cc or ["gcc", "clang"]:
        if not shutil.which(cc):
            print(f"note: {cc} is not installed: skipped")
            continue
        for name, options, adds in TARGETS + [ARM] * (cc == "clang" and os.path.isdir(ARM_HEADERS)):
            flags = [f for f in FLAGS if "prefer" not in f or name != "64-bit ARM"]
            found = tiles([cc, *flags, *options, o.source], adds)
            if isinstance(found, str) or found[0] < 1 or found[1]:
                failed += 1
                print(f"FAIL {cc}, {name}: " + (found if isinstance(found, str) else
                      f"{found[1]} of {found[0]} whole tiles use the stack; expected one tile or more, and none of them"))
            else:
                passed += 1
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
