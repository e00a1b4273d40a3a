#!/usr/bin/env python3
"""build.py: makes dev/web/attnvar.html, one file that needs nothing else, from dev/web/src.

    python3 dev/web/build.py                  compiles web.c (clang, wasi-libc, lld), writes the page
    python3 dev/web/build.py --out FILE       writes it elsewhere
    python3 dev/web/build.py --check          does the committed page carry today's sources?

Everything is inlined: style, scripts, the engine as base64, the corpus's first 600,000 bytes, and the
tokens' pairs. The page carries the SHA-256 of all its sources, so that --check needs no compiler.
"""
import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SCRIPTS = ["text.js", "pool.js", "tokens.js", "draw.js", "lab.js", "inside.js", "lesson.js", "share.js", "main.js"]
WORKER = ["engine.js", "worker.js"]
ENGINE = ["train_attnvar.c", "dev/tools/tools.h", "dev/tools/generate_attnvar.c", "dev/tools/inspect_attnvar.c", "dev/web/web.c"]
CORPUS, CORPUS_BYTES = "dev/data/austen_train.txt", 600000
TOKENS = "dev/data/tokens.txt"
PAGE, MOST = "dev/web/attnvar.html", 1200000

COMPILE = ["clang", "--target=wasm32-wasi", "--sysroot=/usr", "-std=c11", "-O3", "-msimd128", "-ffp-contract=fast",
           "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra", "-Wno-unknown-pragmas",
           "-D_WASI_EMULATED_SIGNAL", "-mexec-model=reactor", "-nodefaultlibs"]
LINK = ["-lm", "-lc", "-lwasi-emulated-signal", "-Wl,--max-memory=2147483648", "-Wl,-z,stack-size=1048576",
        "-Wl,--stack-first", "-Wl,--strip-all"]


def read(path, mode="r"):
    with open(os.path.join(ROOT, path), mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
        return file.read()


def source(name):
    return read(f"dev/web/src/{name}")


def sources():
    """What the page is made of, in a fixed order."""
    own = [f"dev/web/src/{name}" for name in ["page.html", "style.css"] + WORKER + SCRIPTS]
    return ENGINE + own + ["dev/web/build.py"] + [p for p in [CORPUS, TOKENS] if os.path.exists(os.path.join(ROOT, p))]


def checksum():
    total = hashlib.sha256()
    for path in sources():
        content = read(path, "rb")
        if path == CORPUS:
            content = content[:CORPUS_BYTES]
        total.update(f"{path} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def chapters():
    """Where each variant's chapter begins in train_attnvar.c."""
    return {m.group(1): text.count("\n", 0, m.start()) + 1
            for text in [read("train_attnvar.c")] for m in re.finditer(r"^// -+ 4\.\d  (\w+) -", text, re.M)}


def compile_engine():
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "web.wasm")
        try:
            subprocess.run(COMPILE + ["dev/web/web.c", "-o", out] + LINK, cwd=ROOT, check=True)
        except FileNotFoundError:
            sys.exit("build.py: error: no clang: expected Debian's clang, lld and wasi-libc: apt-get install clang lld wasi-libc")
        except subprocess.CalledProcessError:
            sys.exit("build.py: error: web.c was not compiled: expected Debian's clang, lld and wasi-libc: "
                     "apt-get install clang lld wasi-libc")
        with open(out, "rb") as file:
            return file.read()


def token_pairs():
    """The two tokens that each token from 256 on joins, a line each; empty without a tokenizer."""
    if not os.path.exists(os.path.join(ROOT, TOKENS)):
        return ""
    pairs = []
    for number, line in enumerate(read(TOKENS).splitlines()):
        fields = line.split()
        if number >= 256:
            pairs.append(f"{fields[-2]} {fields[-1]}")
    return "\n".join(pairs)


def build():
    corpus = read(CORPUS, "rb")[:CORPUS_BYTES].decode("ascii")
    if re.search(r"</script|<!--|\r", corpus):
        sys.exit(f"build.py: error: {CORPUS} holds what a page cannot: </script, <!-- or a carriage return")
    built = {"sources": checksum(), "chapters": chapters()}
    parts = {
        "style": source("style.css").strip(),
        "wasm": base64.b64encode(compile_engine()).decode(),
        "worker": "".join(source(name) for name in WORKER),
        "corpus": corpus,
        "tokens": token_pairs(),
        "script": "\n".join(source(name) for name in SCRIPTS).replace("{{built}}", json.dumps(built)),
    }
    for name in ("worker", "script"):
        if "</script" in parts[name]:
            sys.exit(f"build.py: error: the {name} holds </script, which would end it")
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m.group(1)], source("page.html"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the SHA-256 in the page with the sources")
    parser.add_argument("--out", default=os.path.join(ROOT, PAGE), help=f"the page to write [{PAGE}]")
    options = parser.parse_args()
    if options.check:
        found = re.search(r'"sources": "([0-9a-f]{64})"', read(PAGE))
        if not found or found.group(1) != checksum():
            sys.exit(f"build.py: error: {PAGE} was built from other sources than today's: run make web and commit it")
        return
    page = build().encode()
    if len(page) > MOST:
        sys.exit(f"build.py: error: the page has {len(page)} bytes, expected at most {MOST}")
    with open(options.out, "wb") as file:
        file.write(page)
    print(f"{options.out}: {len(page)} bytes")


if __name__ == "__main__":
    main()
