#!/usr/bin/env python3
"""eltec.py: makes the corpus of the experiments at scale from a checkout of ELTeC-eng. It needs
Python's standard library alone.

    git clone https://github.com/COST-ELTeC/ELTeC-eng
    python3 dev/experiments/eltec.py ELTeC-eng

ELTeC-eng (DOI 10.5281/zenodo.4662490) holds 100 English novels, first published from 1840 to 1920:
the texts are in the public domain, the markup is CC BY 4.0. 99 of them are taken: four validate, one
a period (ENG18610_Eliot, ENG18860_Hardy, ENG18900_Doyle, ENG19100_Forster), the others train.

Of each file of the folder level1, in the order of their names, it takes the first text/body, and of
it, in document order, every p, l and head, wherever nested: all text within, white space folded to
single spaces and trimmed; empty ones are left out; newlines join them, two newlines end a file. The
checkout must be of the commit below, or the checksums differ, and then nothing is written.

It writes into dev/experiments/eltec: eltec_train.txt (61,738,642 bytes), eltec_val.txt (1,894,989
bytes), and what dev/scale/bpe.py makes of both: 8,192 tokens (--no-tokens leaves them out).
"""
import common           # the first: Ctrl-C from here on is one line

import argparse
import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
COMMIT = "3db3b6738a836f0e1b276b6c9703e42f4297f978"
LEFT_OUT = ["ENG18460_Reynolds"]
VALIDATION = ["ENG18610_Eliot", "ENG18860_Hardy", "ENG18900_Doyle", "ENG19100_Forster"]
SHA256 = {
    "eltec_train.txt": "8b1b92bb23f95a12177291780afc760d313ef1d4f3c6e30cad775a40f836816a",
    "eltec_val.txt": "9eb055137b6f28c673f44630c0519f68e513c67a8c7d4c1099f7ab41a959cd38"}
TEI = "{http://www.tei-c.org/ns/1.0}"


def fail(message):
    """The one way to report a user's error."""
    raise common.Refused(message)


class Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message):
        fail(f"{message}: --help lists the options")


def text_of(path):
    """A novel as text, by the rule above."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        fail(f"{path}: {error}; expected a novel in TEI")
    body = root.find(f".//{TEI}text/{TEI}body")
    if body is None:
        fail(f"{path}: no text/body; expected a novel in TEI")
    parts = ("".join(node.itertext()) for node in body.iter()
             if node.tag in (TEI + "p", TEI + "l", TEI + "head"))
    return "\n".join(filter(None, (re.sub(r"\s+", " ", part).strip() for part in parts))) + "\n\n"


def main(words):
    """Reads all files, compares the checksums, then writes."""
    parser = Parser(prog="eltec.py", description=__doc__,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", help="the folder of ELTeC-eng")
    parser.add_argument("--out", default=os.path.join(HERE, "eltec"), help="folder [%(default)s]")
    parser.add_argument("--no-tokens", action="store_true", help="leave the tokenizer out")
    args = parser.parse_args(words)
    level1 = os.path.join(args.checkout, "level1")
    if not os.path.isdir(level1):
        fail(f"{level1}: no such folder; expected a checkout of github.com/COST-ELTeC/ELTeC-eng")
    novels = sorted(name[:-4] for name in os.listdir(level1) if name.endswith(".xml"))
    absent = [name for name in VALIDATION if name not in novels]
    if absent:
        fail(f"{level1}: no {absent[0]}.xml; expected commit {COMMIT}")
    parts = {"eltec_train.txt": [name for name in novels if name not in LEFT_OUT + VALIDATION],
             "eltec_val.txt": VALIDATION}
    texts = {}
    for name, of in parts.items():
        paths = [os.path.join(level1, novel + ".xml") for novel in of]
        texts[name] = "".join(map(text_of, paths)).encode()
        found = hashlib.sha256(texts[name]).hexdigest()
        if found != SHA256[name]:
            fail(f"{name} of {len(of)} novels has the checksum {found}, expected {SHA256[name]}: "
                 f"check out commit {COMMIT}")
    os.makedirs(args.out, exist_ok=True)
    paths = [os.path.join(args.out, name) for name in texts]
    for path, text in zip(paths, texts.values()):
        common.write(path, text)
        print(f"wrote {path}: {len(text)} bytes", flush=True)
    if not args.no_tokens:
        bpe = os.path.join(HERE, "..", "scale", "bpe.py")
        command = [sys.executable, bpe, "--vocab", "8192", "--out", args.out, "--force", paths[0],
                   "--val", paths[1]]
        return subprocess.run(command, check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(common.ended("eltec.py", main))
