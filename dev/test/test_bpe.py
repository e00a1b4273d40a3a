#!/usr/bin/env python3
"""test_bpe.py: dev/scale/bpe.py against Hugging Face's tokenizers library, a plain trainer, and the
committed shards.

    python3 dev/test/test_bpe.py

The library's ids are a committed sample (dev/golden/bpe, with the script that made them); where
the Python package tokenizers is installed, it is asked as well. The last line printed is
"N passed, N failed"; exit code 1 if any failed.
"""
import importlib.util
import json
import os
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT, DATA, GOLDEN = (ROOT / "dev" / name for name in ("scale/bpe.py", "data", "golden/bpe"))
spec = importlib.util.spec_from_file_location("bpe", SCRIPT)
bpe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bpe)


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def run(*words, **more):
    """bpe.py as a program."""
    return subprocess.run([sys.executable, "-I", "-B", str(SCRIPT), *map(str, words)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, **more)


def shard(path):
    """The ids of a shard, its header checked."""
    raw = Path(path).read_bytes()
    fields = struct.unpack("<256i", raw[:1024])
    ids = struct.unpack(f"<{len(raw[1024:]) // 2}H", raw[1024:])
    assert fields[:3] == (20240520, 1, len(ids)) and not any(fields[3:]), fields[:4]
    return list(ids)


def plain_learn(words, vocab):
    """The same rule, each pair counted anew at every step."""
    words, merges = {word: list(word) for word in words}, []
    counts, texts = words_count(words), [bytes([i]) for i in range(256)]
    while len(texts) < vocab:
        pairs = Counter()
        for word, ids in words.items():
            for pair in zip(ids, ids[1:]):
                if texts[pair[0]] + texts[pair[1]] not in texts:
                    pairs[pair] += counts[word]
        best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))
        for word, ids in words.items():
            words[word] = bpe.join(ids, best, len(texts))
        texts.append(texts[best[0]] + texts[best[1]])
        merges.append(best)
    return merges


def words_count(words):
    """How often each word counts in plain_learn: some number that differs."""
    return {word: 1 + (len(word) * 7 + sum(word)) % 13 for word in words}


class Bpe(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.at = Path(self.folder.name)

    def write(self, name, data):
        (self.at / name).write_bytes(data)
        return self.at / name

    def encode(self, data, tokenizer=DATA / "tokenizer.json"):
        out = run("--tokenizer", tokenizer, "--out", self.at, "--force", self.write("text", data))
        self.assertEqual((out.returncode, out.stderr), (0, ""))
        return shard(self.at / "text_1024.bin")

    def test_the_librarys_ids(self):
        """text.txt has characters of every Unicode category, and the edges of bpe.py's classes."""
        expected = [int(line) for line in (GOLDEN / "ids.txt").read_text().split()]
        self.assertEqual(self.encode((GOLDEN / "text.txt").read_bytes()), expected)
        self.assertGreater(len(set(expected)), 300)

    def test_the_library_itself(self):
        try:
            from tokenizers import Tokenizer
        except ImportError:
            self.skipTest("the tokenizers library is not installed")
        library = Tokenizer.from_file(str(DATA / "tokenizer.json"))
        for path in (GOLDEN / "text.txt", DATA / "austen_val.txt"):
            raw = path.read_bytes()
            ids = library.encode(raw.decode(), add_special_tokens=False).ids
            self.assertEqual(self.encode(raw), ids)

    def test_committed_shards(self):
        out = run("--vocab", "1024", "--out", self.at, DATA / "austen_train.txt", "--val",
                  DATA / "austen_val.txt")
        self.assertEqual((out.returncode, out.stderr), (0, ""))
        names = ["tokenizer.json", "tokens.txt", "austen_train_1024.bin", "austen_val_1024.bin"]
        self.assertEqual(sorted(os.listdir(self.at)), sorted(names))
        for name in names:
            self.assertEqual((self.at / name).read_bytes(), (DATA / name).read_bytes(), name)

    def test_table_spells_every_byte(self):
        table = [line.split() for line in (DATA / "tokens.txt").read_text().splitlines()]
        texts = [bytes.fromhex(line[0]) for line in table]
        self.assertEqual(texts[:256], [bytes([i]) for i in range(256)])
        for text, line in zip(texts[256:], table[256:]):
            self.assertEqual(text, texts[int(line[1])] + texts[int(line[2])])
        self.assertEqual(len(set(texts)), 1024)
        for name in ("train", "val"):
            text = b"".join(texts[i] for i in shard(DATA / f"austen_{name}_1024.bin"))
            self.assertEqual(text, (DATA / f"austen_{name}.txt").read_bytes())

    def test_any_bytes_come_back(self):
        rand = random.Random(1)
        data = bytes(rand.randrange(256) for _ in range(20000)) + "a\u2019b \u00a0c".encode() * 9
        texts = bpe.spell(bpe.from_json(DATA / "tokenizer.json"))
        self.assertEqual(b"".join(texts[i] for i in self.encode(data)), data)
        self.assertEqual(self.encode(b""), [])

    def test_learning_counts_right(self):
        words = set(re.findall(rb" ?\w+|\W", (DATA / "austen_val.txt").read_bytes()[:30000]))
        words |= {b"aaaa", b"aaaaaaa", b"abababab", b"aabaab", b"x"}
        self.assertEqual(bpe.learn(words_count(words), 700), plain_learn(sorted(words), 700))

    def test_encoding_joins_in_the_order_learned(self):
        """Against the definition: join the first merge everywhere, then the second, and so on."""
        merges = bpe.from_json(DATA / "tokenizer.json")
        rank = {pair: 256 + i for i, pair in enumerate(merges)}
        words = set(bpe.words_of(DATA / "austen_val.txt"))
        for word in sorted(words)[::40]:
            ids = list(word)
            for i, pair in enumerate(merges):
                ids = bpe.join(ids, pair, 256 + i)
            self.assertEqual(bpe.encode(word, rank), ids, word)

    def test_words(self):
        text = " It's  1817,\n\n  isn't\u00a0it\u2014\u201cyes\u201d \u00e9t\u00e9\t!"
        words = [word.decode() for word in bpe.words_of(self.write("w", text.encode()))]
        self.assertEqual(words, [" It", "'", "s", " ", " 1817", ",", "\n\n ", " isn", "'", "t",
                                 "\u00a0", "it", "\u2014\u201c", "yes", "\u201d", " \u00e9t\u00e9",
                                 "\t", "!"])

    def test_tokenizer_json_can_be_read_again(self):
        merges = bpe.learn(Counter(bpe.words_of(DATA / "austen_val.txt")), 400)
        path = self.write("tokenizer.json", bpe.to_json(merges).encode())
        self.assertEqual(bpe.from_json(path), merges)
        value = json.loads(path.read_text())
        self.assertEqual(value["model"]["vocab"]["\u0120"], 32)         # a space

    def test_refusals(self):
        text = self.write("text", b"to be or not to be")
        damaged = (DATA / "tokenizer.json").read_text().replace('"e r"', '"r e"')
        for words, says in (
                (["--vocab", "299"], "300 to 65536"), (["--vocab", "65537"], "300 to 65536"),
                (["--vocab", "x"], "invalid int"), (["--vocab", "5000"], "5000"),
                (["--tokenizer", text], "tokenizer.json"),
                (["--tokenizer", self.write("bad.json", damaged.encode())], "damaged"),
                (["--tokenizer", self.at / "none"], "none"), (["--val", self.at / "missing"], "missing"),
                (["--val", text], "two texts"),
                (["--val", self.write("gz", b"\x1f\x8b\x08 compressed")], "is compressed"),
                (["--val", DATA / "austen_val_1024.bin"], "has a header of this project"),
                (["--val", self.write("wide", "text".encode("utf-16"))], "is UTF-16"),
                (["--tokenizer", self.write("deep", b"[" * 99999)], "damaged")):
            out = run(text, "--out", self.at / "out", *words)
            self.assertEqual((out.returncode, out.stdout), (1, ""), words)
            self.assertEqual(out.stderr.count("\n"), 1, out.stderr)
            self.assertTrue(out.stderr.startswith("bpe.py: error: ") and says in out.stderr, out.stderr)
        self.assertFalse((self.at / "out").exists())
        out = run(DATA / "austen_val.txt", "--vocab", "300", "--out", self.at / "full", preexec_fn=small_files)
        self.assertEqual((out.returncode, out.stdout), (1, ""))
        self.assertIn("tokenizer.json: File too large", out.stderr)
        self.assertEqual(list((self.at / "full").iterdir()), [])        # no half of a file
        out = [run("--tokenizer", DATA / "tokenizer.json", text, "--out", self.at / "twice").returncode
               for _ in range(2)]
        self.assertEqual(out, [0, 1])


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromTestCase(Bpe))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(bool(failed) or not result.testsRun)
