#!/usr/bin/env python3
"""test_prepro.py: what prepro_data.py and dev/tools/quiz.py promise, checked from outside.

    python3 -I dev/test/test_prepro.py

Every test runs the script in a fresh folder; most runs share this process, since starting Python
takes longer than they do. What it writes is read by parsers that share no line with it. An error
must be one line on stderr, exit code 1, nothing on stdout, and no file made, changed or left over.
The last line printed is "N passed, N failed", skipped being passed; exit code 1 if any failed.
"""
import contextlib
import hashlib
import io
import json
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

SCRIPT = Path(__file__).resolve().parent.parent.parent / "prepro_data.py"
QUIZ = SCRIPT.parent / "dev" / "tools" / "quiz.py"      # has some of the commands
SOURCE = SCRIPT.read_text("utf-8")
CODE = {script: compile(script.read_text("utf-8"), str(script), "exec") for script in (SCRIPT, QUIZ)}
# -S keeps site-packages away, so that nothing but the standard library can be imported.
PYTHON = [sys.executable, "-I", "-S", "-B"] + [f"-W{option}" for option in sys.warnoptions]
ENVIRONMENT = {**{key: value for key, value in os.environ.items()
                  if not key.startswith(("LC_", "PYTHON", "COLUMNS"))}, "LANG": "C"}
FOUR = {"ctx": "caf\u00e9 \u4e2d", "choices": [" a", " bb", " ccc", " dddd"], "label": 2}
TWO = {"ctx": "x", "choices": ["yes", "no"], "label": 1}

def script_of(words):
    """The script that has the command."""
    return QUIZ if words[:1] in (["choices"], ["cloze"], ["lastword"]) else SCRIPT

def parse_shard(path):
    """(bytes a token, tokens) of a shard."""
    raw = path.read_bytes()
    fields = struct.unpack("<256i", raw[:1024])
    width = {(20240520, 1): 2, (20240801, 7): 4}[fields[:2]]
    assert not any(fields[3:]), fields
    return width, list(struct.unpack(f"<{fields[2]}{'H' if width == 2 else 'I'}", raw[1024:]))

def parse_choices(name):
    """(version, (label, [context, choice, ...]) examples); every redundant field is checked."""
    raw = Path(name).read_bytes()
    magic, version, count, longest, *rest = struct.unpack("<256i", raw[:1024])
    assert magic == 20240522 and not any(rest)
    at, sizes, examples = 1024, [], []
    for number in range(count):
        start, size, index, label, choices = struct.unpack_from("<5H", raw, at)
        assert (start, index) == (65535, number)
        end, at, parts = at + size, at + 10, []
        for _ in range(1 + choices):
            length, = struct.unpack_from("<H", raw, at)
            parts.append(list(struct.unpack_from(f"<{length}H", raw, at + 2)))
            at += 2 + 2 * length
        assert at == end, (at, end)
        sizes.append(size)
        examples.append((label, parts))
    assert at == len(raw) and longest == max(sizes)
    assert (version == 1) == all(len(parts) == 5 for _, parts in examples)
    return version, examples

def shard_bytes(ids, width=2, **change):
    """A shard made by hand; change replaces its magic, version or count."""
    magic, version = (20240520, 1) if width == 2 else (20240801, 7)
    fields = {"magic": magic, "version": version, "count": len(ids), **change}
    return (struct.pack("<3i", *fields.values()) + bytes(1012)
            + struct.pack(f"<{len(ids)}{'H' if width == 2 else 'I'}", *ids))

def sample_text(words):
    """Sentences of invented words; only the first letter of a sentence is a capital."""
    rng = random.Random(7)
    vocabulary = ["".join("bcdfghklmnprst"[int(rng.random() * 14)] + "aeiou"[int(rng.random() * 5)]
                          for _ in range(1 + int(rng.random() * 4))) for _ in range(200)]
    text = [vocabulary[int(rng.random() * 200)] for _ in range(words)]
    text[::9] = map(str.capitalize, text[::9])
    text[8::9] = [word + (".\n\n" if rng.random() < 0.2 else ".") for word in text[8::9]]
    return " ".join(text).replace("\n\n ", "\n\n").encode()

def occurrences(text, part):
    """Every place of part in text."""
    return [match.start() for match in re.finditer(b"(?=" + re.escape(part) + b")", text)]

def at_word(text, place):
    """Whether a word starts there."""
    return not text[place:place + 1].isspace() and (place == 0 or text[place - 1:place].isspace())

class Case(unittest.TestCase):
    """A test in a folder of its own. Commands are written as in a shell."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="prepro"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def write(self, name, content):
        """A file in the test's folder: bytes, a str, or a list of JSON lines."""
        if isinstance(content, list):
            content = "".join(json.dumps(line) + "\n" for line in content)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    def start(self, command, *flags, **more):
        """(exit code, stdout, stderr) of a run in a process of its own."""
        more = {"env": ENVIRONMENT, "stdout": subprocess.PIPE, **more}
        words = shlex.split(command)
        done = subprocess.run([*PYTHON, *flags, str(script_of(words)), *words], timeout=60,
                              stderr=subprocess.PIPE, **more)
        return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()

    def call(self, command):
        """(exit code, stdout, stderr) of a run in this process."""
        said, complaint, status = io.StringIO(), io.StringIO(), 0
        words = shlex.split(command)
        script = script_of(words)
        sys.argv = [str(script), *words]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complaint):
            try:
                exec(CODE[script], {"__name__": "__main__", "__file__": str(script)})
            except SystemExit as stop:
                status = stop.code
        return status, said.getvalue(), complaint.getvalue()

    def ok(self, command, run=None):
        """Runs it; it must succeed without a word on stderr. Returns stdout."""
        status, said, complaint = run or self.call(command)
        self.assertEqual((status, complaint), (0, ""), command)
        return said

    def snapshot(self):
        """All that lies in the test's folder."""
        return {str(path): path.read_bytes() if path.is_file() else None
                for path in self.folder.rglob("*")}

    def refused(self, command, *parts, run=None):
        """Runs it; it must fail in the one right way, with all of `parts` in its message."""
        before = self.snapshot()
        with self.subTest(command=command, parts=parts):
            status, said, message = run() if run else self.call(command)
            self.assertEqual((status, said), (1, ""), message)
            self.assertRegex(message, r"\A(prepro_data|quiz)\.py: error: [^\n]+\n\Z")
            self.assertNotRegex(message, "(Type|Name|Attribute|Index|Key|Unbound[A-Za-z]+)Error")
            for part in parts:
                self.assertIn(part, message)
            self.assertEqual(self.snapshot(), before, "an error left something behind")

    def files_refused(self, command, name, *cases):
        """The command must be refused for each (content of the file `name`, part of message)."""
        for content, part in cases:
            self.write(name, content)
            self.refused(command, part)

    def check_shards(self, expected, width=2, folder="o"):
        """The folder must hold these shards, {name: tokens}, and nothing else."""
        self.assertEqual({path.name: parse_shard(path) for path in Path(folder).iterdir()},
                         {f"{name}.bin": (width, list(ids)) for name, ids in expected.items()})

    def questions(self, version, name="a.bin"):
        """(label, context, choices) of a choices file of that version, its tokens being bytes."""
        found, examples = parse_choices(name)
        self.assertEqual(found, version)
        return [(label, bytes(parts[0]), list(map(bytes, parts[1:]))) for label, parts in examples]

class Shards(Case):
    """The commands text and tokens."""

    def test_all_bytes_split_and_report(self):
        content = bytes(range(1, 256)) * 4 + b"123456789"     # a tenth is 102.9: rounded down
        self.write("a.txt", content)
        said = self.ok("", self.start("text a.txt --out deep/er"))
        self.check_shards({"train_000": content[:-102], "val_000": content[-102:]}, 2, "deep/er")
        self.assertEqual(said.splitlines(), [
            "wrote deep/er/train_000.bin: 927 tokens, 2878 bytes",
            "wrote deep/er/val_000.bin: 102 tokens, 1228 bytes",
            "train with: ./train_attnvar --data deep/er/train_000.bin --val deep/er/val_000.bin "
            "--vocab 256"])

    def test_files_and_validation(self):
        self.write("a", b"aaaaa")
        self.write("b", b"bbbbb")
        self.ok("text b a b --out o --val-fraction 0.2")
        self.check_shards({"train_000": b"bbbbbaaaaabb", "val_000": b"bbb"})
        self.ok("text a b --val b --out p")
        self.check_shards({"train_000": b"aaaaabbbbb", "val_000": b"bbbbb"}, 2, "p")
        self.write("one", b"x")
        said = self.ok("text one --val-fraction 0 --out q")
        self.check_shards({"train_000": b"x"}, 2, "q")
        self.assertIn("./train_attnvar --data q/train_000.bin --vocab 256\n", said)

    def test_several_shards(self):
        content = random.Random(3).getrandbits(8 * 300000).to_bytes(300000, "big")
        content = content.replace(b"\0", b"\1")
        self.write("a", content[:100000])
        self.write("b", content[100000:])
        said = self.ok("text a b --out 'o o' --shard-tokens 70001")
        parts = {f"train_00{i}": content[70001 * i:min(270000, 70001 * (i + 1))] for i in range(4)}
        self.check_shards({**parts, "val_000": content[270000:]}, 2, "o o")
        self.assertIn("./train_attnvar --data " + " ".join(f"'o o/{name}.bin'" for name in parts)
                      + " --val 'o o/val_000.bin' --vocab 256\n", said)
        self.write("a", b"abcdef")
        self.ok("text a --out o --shard-tokens 3 --val-fraction 0")
        self.check_shards({"train_000": b"abc", "train_001": b"def"})
        self.assertIn('"--shard-tokens", 2 ** 31 - 1,', SOURCE)      # what a header can count

    def test_clean(self):
        untouched = b"a *** START OF THE PROJECT GUTENBERG EBOOK ***\nTHE END OF PROJECT GUTENBERG"
        for given, expected in (
                (b"\xef\xbb\xbfabc\r\nd\re\n\r\n\r\n\r\n\r\nf \n \t\n\n   \ng",
                 b"abc\nd\ne\n\n\nf \n\n\ng"),
                (b"a\n\n\nb\xef\xbb\xbf\n", b"a\n\n\nb\xef\xbb\xbf\n"), (untouched, untouched),
                (b"front\n*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***\r\nbook\r\n"
                 b"End of the Project Gutenberg EBook of Emma\n\n"
                 b"*** END OF THE PROJECT GUTENBERG EBOOK EMMA ***\nlicence\n", b"book\n"),
                (b"x\n***START OF THIS PROJECT GUTENBERG EBOOK A LONG\nTITLE*** tail\nbook\n"
                 b"***END OF THIS PROJECT GUTENBERG EBOOK A***\nz", b"book\n")):
            with self.subTest(given):
                self.write("a", given)
                self.ok("text a a --val a --clean --out o --force")     # cleans each of them
                self.check_shards({"train_000": expected * 2, "val_000": expected})
                self.ok("text a --val-fraction 0 --out p --force")
                self.check_shards({"train_000": given}, 2, "p")

    def test_force(self):
        self.write("a", b"first text")
        self.ok("text a --out o")
        self.write("a", b"other text")
        self.refused("text a --out o", "train_000.bin", "exists", "--force")
        os.unlink("o/train_000.bin")
        self.refused("text a --out o", "val_000.bin", "exists", "--force")
        with unittest.mock.patch("os.fsync") as to_disk:
            self.ok("text a --out o --force")
        self.assertEqual(to_disk.call_count, 2)
        self.check_shards({"train_000": b"other tex", "val_000": b"t"})
        self.ok("text a --out o --shard-tokens 3 --force")
        self.write("o/train_note.bin", b"not a shard")
        self.ok("text a --out o --val-fraction 0 --force")      # no shard of an earlier run is left
        self.assertEqual(sorted(os.listdir("o")), ["train_000.bin", "train_note.bin"])

    def test_what_train_attnvar_takes(self):
        self.write("a", b"x" * 600)
        self.refused("text a --out o --shard-tokens 2 --val-fraction 0", "--shard-tokens", "3 or more", "256 files")
        self.ok("text a --out o --shard-tokens 3 --val-fraction 0")
        self.write("ids", b"1 2 3 4 5 6 7 8 9 10")
        self.refused("tokens ids --from txt --vocab 4194305 --out p", "--vocab", "4194304")
        self.ok("tokens ids --from txt --vocab 4194304 --out p")

    @unittest.skipUnless(hasattr(os, "geteuid") and os.geteuid(), "root may write anywhere")
    def test_unwritable_folder(self):
        self.write("a", b"text enough")
        os.mkdir("d")
        os.chmod("d", 0o500)
        self.refused("text a --out d", "d/", "Permission denied")

    @unittest.skipUnless(hasattr(os, "fork"), "needs a limit on file sizes")
    def test_disk_full(self):
        import resource
        command = "text a --out o --val-fraction 0.5 --shard-tokens 500 --force"
        self.write("a", sample_text(500))
        self.ok(command)
        self.write("a", sample_text(600))

        def limit():
            """No file may grow beyond this: the first shards fit, the validation does not."""
            resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))
        self.refused("full", "File too large",
                     run=lambda: self.start(command, preexec_fn=limit))

    def test_names_beyond_ascii(self):
        name, text = "caf\u00e9\u4e2d.txt", ("caf\u00e9 \u4e2d " * 9).encode()
        self.write(name, text)
        for flags in (), ("-X", "utf8=0"):
            def run(command):
                """One run in a folder and a locale without those letters."""
                return self.start(command, *flags, env={**ENVIRONMENT, "LC_ALL": "C"})
            self.ok("", run(f"text {name} --out \u00f6 --force"))
            self.assertIn(r"caf\xc3\xa9 \xe4\xb8\xad", self.ok("", run(f"show {name}")))
            self.refused("none", "No such file", run=lambda: run(f"show {name}x"))
        self.check_shards({"train_000": text[:81], "val_000": text[81:]}, 2, "\u00f6")

    def test_nanogpt(self):
        ids = [(i * 7919) % 65536 for i in range(70000)]
        self.write("a.bin", struct.pack("<70000H", *ids))
        said = self.ok("tokens a.bin --from nanogpt --out o")
        self.check_shards({"train_000": ids[:63000], "val_000": ids[63000:]})
        self.assertIn("./train_attnvar --data o/train_000.bin --val o/val_000.bin\n", said)
        self.ok("tokens a.bin --from nanogpt --out p --vocab 100000 --val-fraction 0")
        self.check_shards({"train_000": ids}, 4, "p")

    def test_json_and_txt(self):
        ids = list(range(0, 3000, 3))
        for number, form in enumerate((
                json.dumps(ids), json.dumps(ids, indent=1), "\ufeff" + json.dumps(ids, indent=1),
                f"{ids[:10]}\n\n[]\r\n{ids[10:]}\n")):
            self.write("a.json", form)
            self.ok(f"tokens a.json --from json --out {number}")
            self.check_shards({"train_000": ids[:900], "val_000": ids[900:]}, 2, str(number))
        self.write("a.txt", "1 2\t3\r\n\n 65535 \n0 7 8 9 10 11")
        self.ok("tokens a.txt --from txt --out o")
        self.check_shards({"train_000": [1, 2, 3, 65535, 0, 7, 8, 9, 10], "val_000": [11]})

    def test_width_follows_the_vocabulary(self):
        for largest, vocab, width in (
                (65535, "", 2), (65536, "", 4), (4194303, "", 4), (5, " --vocab 65536", 2),
                (5, " --vocab 65537", 4), (65536, " --vocab 65537", 4)):
            with self.subTest(largest=largest, vocab=vocab):
                ids = [1, largest, 2, 3, 4, 5, 5, 5, 5, 5]
                self.write("a.txt", " ".join(map(str, ids)))
                said = self.ok(f"tokens a.txt --from txt --out o --force{vocab}")
                self.check_shards({"train_000": ids[:9], "val_000": [5]}, width)
                self.assertTrue(said.endswith(f"val_000.bin{vocab}\n"))
        self.write("a.txt", "1 2 3")
        self.write("b.txt", "4 70000")
        self.ok("tokens a.txt --val b.txt --from txt --out p")
        self.check_shards({"train_000": [1, 2, 3], "val_000": [4, 70000]}, 4, "p")
        self.refused("tokens a.txt --val b.txt --from txt --out q --vocab 70000", "a.txt: found "
                     "[70000]; expected token ids, integers from 0 to 69999")

    def test_errors_of_text(self):
        for name, content in (("empty", b""), ("one", b"x"), ("a", b"text enough"),
                              ("shard.bin", shard_bytes([1, 2, 3]))):
            self.write(name, content)
        os.makedirs("d/train_000.bin")
        for command, *parts in (
                ("empty --out o", "empty", "[0, 0]", "expected"),
                ("one --out o", "one", "[1, 0]", "--val-fraction 0"),
                ("one --val empty --out o", "[1, 0]"), ("empty --val one --out o", "[0, 1]"),
                ("empty --val-fraction 0 --out o", "[0, 0]"), ("a no --out o", "'no'"),
                ("no --out o", "No such file", "'no'"), ("a --val no --out o", "'no'"),
                ("d --out o", "Is a directory: 'd'"), ("a --out a", "'a'"),
                ("shard.bin --out o", "shard.bin", "header", "prepro_data.py show"),
                ("a --out d", "train_000.bin exists"), ("a --out d --force", "000.bin exists")):
            self.refused("text " + command, *parts)

    def test_errors_of_tokens(self):
        self.write("text.bin", b"A text of an even length is no file of token ids, whatever it is named. ")
        for form in ("nanogpt", "uint16", "uint32", "int64"):
            self.refused(f"tokens text.bin --from {form} --out o", "text.bin", "A text of an even",
                         "expected token ids", "prepro_data.py text")
        self.files_refused(
            "tokens a.bin --from nanogpt --out o", "a.bin", (b"abc", "a.bin: the last token of 3"),
            (shard_bytes([1, 2, 3]), "header"), (b"", "[0, 0]"))
        self.files_refused(
            "tokens a.json --from json --out o", "a.json", ("[1, -2]", "a.json: found [-2]"),
            ("[1, 2.0]", "[2.0]"), ("[1, true]", "[True]"), ("[4294967296]", "4294967296"),
            ("[[1]]", "[[1]]"), ("{}", "{}"), ("7", "found 7; expected a list"),
            ("[1\n", "a.json: "), ("[1]\n[2]\nx\n", "line 3"), ("[1]\n[2]\n7\n", "line 3"),
            (b"[1]\n\xff\n", "decode byte 0xff"), ("[1]\n\n[-5]\n", "[-5]"), ("[]", "[0, 0]"),
            ("", "[0, 0]"), ("[" * 200000, "recursion"), ('["1"]', "found ['1']"),
            ('"a\\nb"', "found 'a\\nb'"), ('{"a": [1]}', "expected a list"))
        self.files_refused(
            "tokens a.txt --from txt --out o", "a.txt", ("1 2\n\n3 x4\n", "a.txt: found ['x4']"),
            ("-1", "'-1'"), ("1_0", "1_0"), ("4294967296", "4294967296"), ("1.5", "1.5"),
            ("9" * 5000, "a.txt: found ['9999"), (b"\xff", "decode byte 0xff"), (" \n", "[0, 0]"),
            ("\u00b2", "a.txt: found ['\u00b2']"))
        self.refused("tokens no.bin --from nanogpt --out o", "'no.bin'")

class WrongKind(Case):
    """Files that hold something else than a command expects, and their conversions."""

    TEXT = "It was \u00e9t\u00e9, caf\u00e9 by caf\u00e9, line by line.\n" * 30
    CYRILLIC = "\u043c\u0438\u0440 \u043c\u0438\u0440\u0443\n" * 30

    def test_utf_16_and_32(self):
        for encoding in "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be":
            for text in self.TEXT, self.CYRILLIC:
                self.write("a.txt", ("\ufeff" + text).encode(encoding))
                for clean in "", " --clean":
                    self.ok(f"text a.txt --out o --val a.txt --force{clean}")
                    self.check_shards({"train_000": text.encode(), "val_000": text.encode()})
                self.assertIn("python3 prepro_data.py text a.txt --out DIR", self.ok("show a.txt"))
                self.assertIn(repr(text[:9].encode())[2:-1], self.ok("show a.txt"))
            self.write("a.txt", ("\ufeff1 2 3\n4").encode(encoding))
            self.ok("tokens a.txt --from txt --val-fraction 0 --out o --force")
            self.assertEqual(parse_shard(Path("o/train_000.bin")), (2, [1, 2, 3, 4]))
            self.write("a.jsonl", ("\ufeff" + json.dumps(TWO) + "\n").encode(encoding))
            self.ok("choices a.jsonl --out a.bin --force")
            self.assertEqual(self.questions(2), [(1, b"x", [b"yes", b"no"])])
        for encoding in "utf-16-le", "utf-16-be":           # no mark, but Latin
            self.write("a.txt", self.TEXT.encode(encoding))
            self.ok("text a.txt --out p --val-fraction 0 --force")
            self.check_shards({"train_000": self.TEXT.encode()}, folder="p")
        for command in "cloze", "lastword":
            files = []
            for encoding in "utf-8", "utf-16":
                self.write("a.txt", sample_text(2000).decode().encode(encoding))
                self.ok(f"{command} a.txt --out a.bin --count 100 --force")
                files.append(Path("a.bin").read_bytes())
            self.assertEqual(files[0], files[1])
        self.write("a.txt", b"\xef\xbb\xbf1 2 3")
        self.ok("tokens a.txt --from txt --val-fraction 0 --out q")
        self.check_shards({"train_000": [1, 2, 3]}, folder="q")

    def test_broken_utf_16(self):
        whole = ("\ufeff" + self.TEXT).encode("utf-16-le")
        self.files_refused(
            "text a.txt --out o", "a.txt", (whole[:-1], "utf-16-le"), (b"\xff\xfe\0\xd8a\0", "a.txt: "),
            (b"\xff\xfe\0\0\0\0\x11\0", "utf-32-le"), (("\ufeffa\0b").encode("utf-16-le"), "byte 1"))

    def test_zero_bytes(self):
        cyrillic = self.CYRILLIC.encode("utf-16-le")        # no mark, and no byte is mostly zero
        for command in ("text {} --out o", "tokens {} --from txt --out o", "cloze {} --out o",
                        "tokens {} --from json --out o", "lastword {} --out o", "show {}",
                        "choices {} --out o", "text b --val {} --out o"):
            self.write("b", b"some other text")
            for content, place in ((b"abc\0def", 3), (bytes(64), 0), (cyrillic, 7),
                                   (struct.pack("<40H", *range(256, 296)), 0),
                                   (struct.pack("<40I", *range(256, 296)), 0)):
                self.write("a.txt", content)
                self.refused(command.format("a.txt"), f"a.txt byte {place}: found 0", "UTF-16",
                             "python3 prepro_data.py tokens --help")

    def test_foreign_files(self):
        import bz2
        import gzip
        import lzma
        import zipfile
        self.write("a.txt", self.TEXT)
        with zipfile.ZipFile("a.zip", "w") as archive:
            archive.write("a.txt")
        raw = self.TEXT.encode()
        for content in (gzip.compress(raw), bz2.compress(raw), lzma.compress(raw),
                        Path("a.zip").read_bytes(), b"\x28\xb5\x2f\xfd" + raw, b"%PDF-1.7\n" + raw,
                        b"\x04\x22\x4d\x18" + raw, b"7z\xbc\xaf\x27\x1c" + raw, b"Rar!\x1a\x07" + raw,
                        b"{\\rtf1 text}", b"\xd0\xcf\x11\xe0" + raw, b"PAR1" + raw, b"ARROW1" + raw,
                        b"\x89HDF\r\n" + raw, b'\x40\1\0\0\0\0\0\0{"a":' + raw,
                        b"GGUF" + raw, b"\x89PNG\r\n" + raw, b"\xff\xd8\xff\xe0" + raw,
                        b"\x7fELF" + raw, (b"a.txt" + bytes(252) + b"ustar" + raw)):
            self.write("a.bin", content)
            for command in ("text a.bin --out o", "text a.txt --val a.bin --out o", "show a.bin",
                            "tokens a.bin --from nanogpt --out o", "tokens a.bin --from uint32 --out o",
                            "tokens a.bin --from npy --out o", "tokens a.bin --from json --out o",
                            "choices a.bin --out o", "cloze a.bin --out o"):
                self.refused(command, "a.bin is compressed, a document, a table")

    def numpy(self, kind, count, data, start=b"\x93NUMPY\1\0", width=2, shape=None):
        """A file as numpy.save writes it."""
        header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape or f'({count},)'}, }}"
        header = header.encode().ljust(118 - width) + b"\n"
        self.write("a.npy", start + len(header).to_bytes(width, "little") + header + data)

    def test_numpy(self):
        ids = [(i * 7919) % 50257 for i in range(1000)]
        for kind, code in ("<u2", "H"), ("<u4", "I"), ("<i4", "i"), ("<i8", "q"), ("<u8", "Q"):
            self.numpy(kind, 1000, struct.pack(f"<1000{code}", *ids))
            self.ok("tokens a.npy --from npy --out o --force")
            self.check_shards({"train_000": ids[:900], "val_000": ids[900:]})
        for kind, code in ("|u1", "B"), ("|i1", "b"), ("<i2", "h"):
            self.numpy(kind, 3, struct.pack(f"<3{code}", 1, 127, 3), b"\x93NUMPY\2\0", 4)
            self.ok("tokens a.npy --from npy --val-fraction 0 --out p --force")
            self.check_shards({"train_000": [1, 127, 3]}, folder="p")
        said = self.ok("show a.npy")
        self.assertIn("python3 prepro_data.py tokens a.npy --out DIR --from npy", said)
        self.assertIn("3 tokens, largest id 127", said)
        for command in ("text a.npy --out q", "tokens a.npy --from nanogpt --out q",
                        "tokens a.npy --from uint16 --out q", "cloze a.npy --out q"):
            self.refused(command, "a.npy is a NumPy array",
                         "python3 prepro_data.py tokens a.npy --from npy --out DIR")
        good = struct.pack("<4H", 1, 2, 3, 4)
        for kind, count, data, shape, *parts in (
                ("<f4", 2, good, None, "expected a NumPy array"), (">u2", 4, good, None, "NumPy"),
                ("|O", 4, good, None, "NumPy"), ("<u2", 4, good, "(2, 2)", "one dimension"),
                ("<u2", 5, good, None, "found 4; expected 5"), ("<u2", 3, good, None, "found 4"),
                ("<u2", 4, good[:-1], None, "7 bytes"), ("<i2", 1, b"\xff\xff", None, "found [-1]"),
                ("<u8", 1, b"\xff" * 8, None, "18446744073709551615"), ("<u2", 0, b"", None, "[0, 0]")):
            self.numpy(kind, count, data, shape=shape)
            self.refused("tokens a.npy --from npy --out q", "a.npy", *parts)
        self.files_refused("tokens a.npy --from npy --out q", "a.npy", (b"", "NumPy"), (good, "NumPy"),
                           (b"\x93NUMPY", "NumPy"), (b"\x93NUMPY\1\0\xff\xff{}", "NumPy"))

    def test_widths_of_ids(self):
        ids = [(i * 7919) % 151643 for i in range(1, 5001)]
        codes = {"uint16": "H", "uint32": "I", "int64": "q"}
        for name, code in codes.items():
            given = [number % 50257 for number in ids] if name == "uint16" else ids
            self.write("a.bin", struct.pack(f"<5000{code}", *given))
            self.ok(f"tokens a.bin --from {name} --out {name}")
            width = 2 if name == "uint16" else 4
            self.check_shards({"train_000": given[:4500], "val_000": given[4500:]}, width, name)
            said = self.ok("show a.bin")
            self.assertIn(f"{name}, it seems", said)
            self.assertIn(f"python3 prepro_data.py tokens a.bin --out DIR --from {name}", said)
            self.assertIn(f"5000 tokens, largest id {max(given)}\n", said)
            for wrong in "nanogpt", "uint16", "uint32", "int64":
                if wrong != name and (wrong, name) != ("nanogpt", "uint16"):
                    wider = wrong not in codes or list(codes).index(name) > list(codes).index(wrong)
                    self.refused(f"tokens a.bin --from {wrong} --out q", "a.bin",
                                 f"--from {name}" if wider else "expected token ids")
        for name in "uint32", "int64":                      # a small vocabulary
            self.write("a.bin", struct.pack(f"<5000{codes[name]}", *(number % 9 for number in ids)))
            self.refused("tokens a.bin --from uint16 --out q", f"--from {name}")
        small = [number % 16 for number in ids]             # ids that do not tell their width
        self.write("a.bin", struct.pack("<5000H", *small))
        self.refused("tokens a.bin --from nanogpt --out q", "uint32", "uint16")
        self.ok("tokens a.bin --from uint16 --out r")
        self.check_shards({"train_000": small[:4500], "val_000": small[4500:]}, 2, "r")
        self.write("a.bin", struct.pack("<3I", 1, 4194304, 2))
        self.refused("tokens a.bin --from uint32 --out q", "found [4194304]", "0 to 4194303")
        self.write("a.bin", struct.pack("<3q", 1, -1, 2))
        self.refused("tokens a.bin --from int64 --out q", "found [-1]")
        for form, size in ("uint32", 6), ("int64", 12), ("uint16", 3):
            self.write("a.bin", b"\xff" * size)
            self.refused(f"tokens a.bin --from {form} --out q", f"of {size} bytes is cut off")

    def test_commands_to_paste(self):
        name = "my 'ids.bin"
        self.write(name, struct.pack("<50I", *range(1000, 1050)))
        said = self.ok("show " + shlex.quote(name))
        command = re.search(r"python3 prepro_data\.py (.*)", said).group(1).replace("DIR", "o")
        self.ok(command)
        self.check_shards({"train_000": range(1000, 1045), "val_000": range(1045, 1050)})
        self.write(name, shard_bytes([1, 2, 3]))
        message = self.call("text --out p " + shlex.quote(name))[2]
        self.assertIn("3 tokens", self.ok(re.search(r"run: python3 prepro_data\.py (.*)", message)
                                          .group(1)))
        self.write("a.txt", sample_text(3000))
        self.refused("moved", "python3 dev/tools/quiz.py cloze a.txt --out 'b c'",
                     run=lambda: self.old("cloze a.txt --out 'b c'"))

    def old(self, command):
        """A run of prepro_data.py with a command that it does not have any more."""
        done = subprocess.run([*PYTHON, str(SCRIPT), *shlex.split(command)], timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_output_that_cannot_be_written(self):
        self.write("a.txt", b"text\n" * 99)
        for command in "--help", "show a.txt", "text --help":
            with open("/dev/full", "w") as full:
                status, _, message = self.start(command, stdout=full)
            self.assertEqual(status, 1)
            self.assertRegex(message, r"\Aprepro_data\.py: error: [^\n]*No space left[^\n]*\n\Z")
        status, _, message = self.start("show a.txt", preexec_fn=lambda: os.close(1))
        self.assertEqual(status, 1)
        self.assertRegex(message, r"\Aprepro_data\.py: error: standard output[^\n]*\n\Z")

    @unittest.skipUnless(sys.platform.startswith("linux"), "needs names of any bytes")
    def test_names_of_any_bytes(self):
        name = os.fsdecode(b"a\xff\n.txt")
        self.write(name, b"text\n" * 99)
        environment = {**ENVIRONMENT, "PYTHONIOENCODING": "utf-8:strict"}
        more = {"timeout": 60, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        flags = [option for option in PYTHON if option != "-I"]
        done = subprocess.run([*flags, str(SCRIPT), "text", name, "--out", "o\udcff"], **more)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        done = subprocess.run([*flags, str(SCRIPT), "text", name + "x", "--out", "o"], **more)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertRegex(done.stderr.decode(), r"\Aprepro_data\.py: error: [^\n]+\n\Z")

class Choices(Case):
    """The command choices."""

    def test_versions(self):
        self.write("a.jsonl", [FOUR, {**FOUR, "label": 0}])
        self.assertEqual(self.ok("choices a.jsonl --out new/a.bin"),
                         "wrote new/a.bin: 2 examples, 1156 bytes\n")
        parts = FOUR["ctx"].encode(), [b" a", b" bb", b" ccc", b" dddd"]
        self.assertEqual(self.questions(1, "new/a.bin"), [(2, *parts), (0, *parts)])
        eight = {"ctx": "n", "choices": list("abcdefgh"), "label": 7}
        self.write("a.jsonl", "\n\n \r\n".join(map(json.dumps, (TWO, eight, FOUR))))
        self.ok("choices a.jsonl --out a.bin")
        self.assertEqual([(label, len(choices)) for label, _, choices in self.questions(2)],
                         [(1, 2), (7, 8), (2, 4)])

    def test_bytes_outputs_and_ids(self):
        self.write("a.jsonl", [TWO])
        self.ok("choices a.jsonl --out a.bin")
        expected = struct.pack("<4i", 20240522, 2, 1, 28) + bytes(1008)
        expected += struct.pack("<14H", 65535, 28, 0, 1, 2, 1, 120, 3, *b"yes", 2, *b"no")
        self.assertEqual(Path("a.bin").read_bytes(), expected)
        os.mkdir("d")
        for out, *parts in (("a.bin", "a.bin exists", "--force"), ("a.jsonl", "a.jsonl exists"),
                            ("d --force", "d exists"), ("a.bin/b", "a.bin")):
            self.refused(f"choices a.jsonl --out {out}", *parts)
        parts = [[0, 65535], [1], [2, 300], [3], [4]]
        self.write("a.jsonl", [{"ctx": parts[0], "choices": parts[1:], "label": 1}])
        self.ok("choices a.jsonl --ids --out a.bin --force")
        self.assertEqual(parse_choices("a.bin"), (1, [(1, parts)]))
        self.assertEqual(sorted(os.listdir()), ["a.bin", "a.jsonl", "d"])

    def test_errors_name_the_line(self):
        def refuse(options, good, *cases):
            """The third line of the file is wrong."""
            for line, part in cases:
                line = line if isinstance(line, str) else json.dumps(line)
                self.write("a.jsonl", f"{json.dumps(good)}\n\n{line}\n")
                self.refused(f"choices a.jsonl --out a.bin{options}", f"a.jsonl line 3: {part}")
        refuse("", TWO, ("{", "Expecting"), ("[]", "found []; expected an object"), ("3", "found"),
               ('{"ctx": "x", "choices": ["a", "b"]}', "found None; expected a label"),
               ({**TWO, "label": 2}, "found 2; expected a label from 0 to 1"),
               ({**TWO, "label": -1}, "found -1"), ({**TWO, "label": True}, "found True"),
               ({**TWO, "label": 1.0}, "found 1.0"), ({**TWO, "label": "1"}, "found '1'"),
               ({**TWO, "choices": ["a"], "label": 0}, "found ['a']; expected 2-8 choices"),
               ({**TWO, "choices": list("abcdefghi")}, "found ['a', 'b', "),
               ({**TWO, "choices": "ab"}, "found 'ab'; expected 2-8"),
               ({"choices": ["a", "b"], "label": 1}, "found None; expected ctx"),
               ({**TWO, "ctx": ""}, "found ''"), ({**TWO, "choices": ["a", ""]}, "found ''"),
               ({**TWO, "ctx": 5}, "found 5; expected ctx"), ({**TWO, "ctx": [5]}, "found [5]"))
        base = {"ctx": [1], "choices": [[1], [2]], "label": 1}
        refuse(" --ids", base, ({**base, "ctx": [65536]}, "found [65536]"),
               ({**base, "ctx": [-1]}, "found [-1]"), ({**base, "ctx": "text"}, "found 'text'"),
               ({**base, "choices": [[1], [1.5]]}, "found [1.5]"),
               ({**base, "choices": [[1], []]}, "found []"))
        self.files_refused(
            "choices a.jsonl --out a.bin", "a.jsonl", (b'{"ctx": "\xff"}\n', "a.jsonl line 1: "),
            ("\n", "found 0; expected some"), (shard_bytes([1]), "header"))
        refuse("", TWO, ("[" * 200000, "nested too deeply"),
               ('{"a":' * 200000, "nested too deeply"), ({**TWO, "ctx": "\ud800"}, "'utf-8'"),
               ({**TWO, "choices": ["a", "b\udfff"]}, "'utf-8' codec can't encode"))

    def test_size_and_index_at_their_ends(self):
        # 6 fields + context + 2 lengths + 5 bytes of choices: 32754 bytes of context make 65534
        self.write("a.jsonl", [{**TWO, "ctx": "x" * 32754}])
        self.ok("choices a.jsonl --out a.bin")
        self.assertEqual(len(self.questions(2)[0][1]), 32754)
        self.write("a.jsonl", [TWO, {**TWO, "ctx": "x" * 32755}])
        self.refused("choices a.jsonl --out b.bin", "a.jsonl, example 1: found 65536", "65535")
        self.write("a.jsonl", (json.dumps(TWO) + "\n") * 65537)
        self.refused("choices a.jsonl --out b.bin", "example 65536", "and 65536 examples")

class Drawn(Case):
    """The commands cloze and lastword."""

    def cloze(self, text, context, length, options=""):
        """Runs it; checks all that is promised of each example. Returns (label, context) pairs."""
        self.write("a.txt", text)
        self.ok(f"cloze a.txt --out a.bin --force {options}")
        for label, before, choices in self.questions(1):
            self.assertEqual([len(before), *map(len, choices)], [context] + 4 * [length])
            self.assertEqual(len(set(choices)), 4)
            places = [place for place in occurrences(text, before + choices[label])
                      if at_word(text, place) and at_word(text, place + context)]
            self.assertTrue(places)
            for choice in choices[:label] + choices[label + 1:]:
                self.assertTrue(any(at_word(text, other) and
                                    (other + length <= place or other >= place + context + length)
                                    for other in occurrences(text, choice) for place in places))
        return [question[:2] for question in self.questions(1)]

    def lastword(self, text, passage, letters, options=""):
        """Runs it; checks all that is promised of each example. Returns (context, word) pairs."""
        self.write("a.txt", text)
        self.ok(f"lastword a.txt --out a.bin --force {options}")
        for label, context, (word,) in self.questions(2):
            self.assertEqual(label, 0)
            self.assertRegex(word, rb"\A [A-Za-z]{%d,}\Z" % letters)
            self.assertRegex(context, rb"\A\S(?s:.*\S)?\Z")
            size = len(context + word)
            self.assertLessEqual(size, passage)
            self.assertTrue([place for place in occurrences(text, context + word)
                             if at_word(text, place)
                             and not text[place + size:place + size + 1].isalpha()])
        return [(context, word) for _, context, (word,) in self.questions(2)]

    def test_cloze(self):
        pairs = self.cloze(sample_text(3000), 96, 24)
        self.assertEqual(len({context for _, context in pairs}), 500)
        for label in range(4):
            self.assertGreater([pair[0] for pair in pairs].count(label), 90)
        for text in sample_text(1000), sample_text(1000).replace(b"a", "\u00e4".encode()):
            pairs = self.cloze(text, 31, 2, "--context 31 --length 2 --count 50")
            self.assertEqual(len(pairs), 50)
        # every span is unique here, so that an overlap would show; and every place is used
        text = b" ".join(b"%02d" % number for number in range(100))
        self.cloze(text, 60, 5, "--context 60 --length 5 --seed 0 --count 79")

    def test_seeds_and_pythons(self):
        self.write("a.txt", sample_text(2000))
        for command, digest in ("cloze", "fb5f27e8285687a3"), ("lastword", "697b89383e5c1c65"):
            files = []
            for seed in "1", "1", "2":
                self.ok(f"{command} a.txt --out a.bin --seed {seed} --count 300 --force")
                files.append(Path("a.bin").read_bytes())
            self.assertEqual(files[0], files[1])
            self.assertNotEqual(files[0], files[2])
            # the same in every version of Python
            self.assertEqual(hashlib.sha256(files[0]).hexdigest()[:16], digest)

    def test_lastword(self):
        pairs = self.lastword(sample_text(3000), 200, 4)
        self.assertEqual(len(set(pairs)), 500)
        for context, word in pairs:      # in this text only sentences start with a capital
            self.assertTrue(context[:1].isupper())
            self.assertGreaterEqual(len(context + word), 100)
        text = sample_text(2000).replace(b".", b"").replace(b"\n\n", b" ")      # no sentences
        pairs = self.lastword(text, 80, 6, "--passage 80 --min-letters 6 --count 100")
        self.assertGreater(min(len(context + word) for context, word in pairs), 80 - 10)

    def test_sentence_starts(self):
        filler = b"so and on it goes to be or not to be of it all "
        for before, expected in (
                (b"said Mr. Price to him ", b"said Mr."), (b'he left." She went ', b"She went"),
                (b"he left! she went ", b"she went"), (b"no stop\n \nshe went ", b"she went"),
                (b"3.5 of that ", b"3.5 of"), (b"all (so?) she went ", b"she went"),
                (b"it ended.  Two spaces ", b"Two spaces"),
                (b"so it goes " * 5 + b"on. She went ", b"so it goes")):
            # the window of 100 bytes begins right at `before`, and only one word is long enough
            text = (b"ab " * 40 + before + filler * 2)[:208].rsplit(b" ", 1)[0] + b" "
            text += b"w" * (220 - len(text)) + b" to be"
            options = "--passage 100 --min-letters 8 --count 1"
            self.assertTrue(self.lastword(text, 100, 8, options)[0][0].startswith(expected), before)

    def test_last_words(self):
        for option, inside in ("--in-context", {True}), ("", {True, False}):
            pairs = self.lastword(sample_text(6000), 200, 4, f"--count 100 {option}")
            self.assertEqual({word[1:] in re.findall(rb"[A-Za-z]+", context)
                              for context, word in pairs}, inside)
        text = b"xx xx xx isn't don\xc3\xa9 good-bye over--there last\n" * 40
        pairs = self.lastword(text, 200, 3, "--count 20 --min-letters 3")
        self.assertEqual({word for _, word in pairs}, {b" last"})

    def test_errors(self):
        for name, content in (
                ("short", b"only a few words"), ("empty", b""), ("dull", b"the same " * 1000),
                ("other", "\u043c\u0438\u0440\u0443 \u043c\u0438\u0440 " * 100),
                ("a.bin", shard_bytes([1])), ("a.txt", sample_text(4000)),
                ("long", sample_text(20000))):
            self.write(name, content)
        none = ": found 0; expected 500 examples"
        for command, *parts in (
                *((f"cloze {name} --out b", none) for name in ("short", "empty", "dull")),
                *((f"lastword {name} --out b", none) for name in ("short", "empty", "other")),
                ("cloze a.txt --out b --count 65536", "expected 65536 examples", "longer text"),
                ("cloze a.txt --out b --context 40000", none),
                ("cloze long --out b --context 40000 --count 1", "long, example 0", "65535"),
                ("lastword a.txt --out b --min-letters 9", none),
                ("lastword a.txt --out b --passage 1", none),
                ("lastword a.txt --out b --passage 65535", none),
                ("lastword a.txt --out b --in-context --count 9999", "expected 9999")):
            self.refused(command, *parts)
        for option in "lastword --min-letters", "lastword --passage", "cloze --context", "cloze --length", \
                "cloze --count", "lastword --count":
            command, _, name = option.partition(" --")
            for n in 65537, 99999999999, 10 ** 30:
                self.refused(f"{command} a.txt --out b --{name} {n}",
                             f"{name.replace('-', '_')}: found {n}; expected at most 65536")
        for command in "cloze", "lastword":
            self.refused(f"{command} no --out b", "'no'")
            self.refused(f"{command} a.bin --out b", "a.bin", "header")
            self.refused(f"{command} a.txt --out a.bin", "a.bin exists", "--force")

class Show(Case):
    """The command show."""

    def shows(self, content, *parts, name="a.bin"):
        """It must accept such a file, with all of `parts` in what it says."""
        self.write(name, content)
        said = self.ok(f"show '{name}'")
        for part in parts:
            self.assertIn(part, said)
        return said

    def test_shards(self):
        said = self.shows(
            shard_bytes(list(b"Line one\n\xff'") + [97] * 200), r"Line one\n\xff",
            "magic 20240520, version 1, 211 tokens, uint16\n  211 tokens, largest id 255\n",
            f"     96  '{32 * 'a'}'\n")
        self.assertEqual(len(said.splitlines()), 6)
        self.shows(shard_bytes([5, 64, 300] * 99), "largest id 300\n", "5 64 300 5 64 300")
        self.shows(shard_bytes([256]), "      0  256\n")
        self.shows(shard_bytes([70000, 1], 4), "magic 20240801, version 7, 2 tokens, uint32\n",
                   "  2 tokens, largest id 70000\n      0  70000 1\n")

    def test_choices(self):
        self.write("a.jsonl", [FOUR, TWO, TWO, {**TWO, "ctx": "fourth"}])
        self.ok("choices a.jsonl --out a.bin")
        said = self.shows(
            Path("a.bin").read_bytes(), "magic 20240522, version 2, 4 examples, uint16\n  46 "
            "tokens, largest id 228\n      0  'caf\\xc3\\xa9 \\xe4\\xb8\\xad'\n         ' a'\n",
            "\n      *  ' ccc'\n         ' dddd'\n      1  'x'\n         'yes'\n      *  'no'\n")
        self.assertEqual(len(said.splitlines()), 2 + 5 + 3 + 3)
        self.write("b.jsonl", [{"ctx": [1, 256], "choices": [[3], [4, 5]], "label": 0}])
        self.ok("choices b.jsonl --ids --out b.bin")
        self.assertIn("      0  1 256\n      *  3\n         4 5\n", self.ok("show b.bin"))

    def test_files_without_header(self):
        self.shows(b"caf\xc3\xa9\nend", r"'caf\xc3\xa9\nend'", "9 tokens, largest id 195",
                   "vocabulary 256", "./train_attnvar --data 'a b.txt'", name="a b.txt")
        self.shows(struct.pack("<3H", 50000, 17, 2), "uint16, it seems", "3 tokens", "50000 17 2",
                   "python3 prepro_data.py tokens a.bin --out DIR --from uint16")
        self.files_refused("show e.bin", "e.bin", (b"", "e.bin: found 0"), (b"abc", "3 bytes"))
        self.files_refused("show e", "e", (b"", "e: found 0; expected at least one"))
        self.refused("show no", "No such file")
        self.refused("show .", "'.'")

    def test_damaged_shards(self):
        good = shard_bytes(list(range(50)))
        self.files_refused(
            "show a.bin", "a.bin", (good[:-1], "99 bytes"), (good[:-2], "found 49; expected 50"),
            (good + b"x", "101 bytes"), (good + b"xx", "found 51; expected 50 tokens"),
            (good[:500], "found 0"), (good[:4], "found 0; expected a version in (1,)"),
            (shard_bytes([1], version=2), "found 2; expected a version in (1,) for magic 20240520"),
            (shard_bytes([1], count=-1), "expected -1 tokens"), (shard_bytes([]), "found 0"),
            (shard_bytes([1], 4, version=1), "found 1; expected a version in (7,)"),
            (shard_bytes([1], 4, count=2 ** 31 - 1), "expected 2147483647 tokens"))

    def test_damaged_choices(self):
        self.write("a.jsonl", [FOUR, FOUR])
        self.ok("choices a.jsonl --out good.bin")
        good = Path("good.bin").read_bytes()

        def change(place, value, form="<H"):
            """good with one field changed."""
            raw = bytearray(good)
            struct.pack_into(form, raw, place, value)
            return bytes(raw)

        def one(version, choices, *parts):
            """A file of one example that is right in all other ways."""
            row = 65535, 10 + 2 * len(parts), 0, 0, choices, *parts
            return struct.pack(f"<4i1008x{len(row)}H", 20240522, version, 1, 2 * len(row), *row)
        self.files_refused(
            "show a.bin", "a.bin", (good[:-1], "131 bytes"), (good[:-2], "example 1: found"),
            (good[:1026], "example 0"), (good[:1000], "example 0"), (good + b"\0\0", "[2, 66]"),
            (change(4, 3, "<i"), "found 3; expected a version in (1, 2)"),
            (change(8, 0, "<i"), "[0, 66]"), (change(8, -1, "<i"), "[-1, 66]"),
            (change(8, 3, "<i"), "example 2"), (change(8, 1, "<i"), "[1, 66]"),
            (change(12, 64, "<i"), "[2, 64]"), (change(1024, 65534), "[65534, 66, 0, 2, 4]"),
            (change(1026, 10), "[65535, 10, 0"), (change(1026, 65), "[65535, 65, 0"),
            (change(1028, 1), "[65535, 66, 1, 2, 4]"), (change(1030, 4), "[65535, 66, 0, 4, 4]"),
            (change(1032, 3), "[65535, 66, 0, 2, 3]"),
            *((content, "example 0: found") for content in (
                change(1034, 10), change(1034, 0), change(1034, 65535), change(1054, 4),
                change(1054, 0), one(2, 2, 1, 120, 0, 1, 120), one(2, 2, 0, 1, 120, 1, 120),
                one(1, 2, 1, 120, 1, 120, 1, 120), one(2, 0, 1, 120), one(2, 9, *(1, 120) * 10))))
        self.shows(one(2, 2, 1, 120, 1, 120, 1, 120))
        self.shows(one(2, 8, *(1, 120) * 9))

    def test_any_damage(self):
        self.write("a.jsonl", [FOUR, TWO, FOUR])
        self.ok("choices a.jsonl --out c.bin")
        script, rng, outcomes = {"__name__": "prepro_data"}, random.Random(5), [0, 0]
        exec(CODE[SCRIPT], script)
        ids = list(range(40))
        for whole in [Path("c.bin").read_bytes(), shard_bytes(ids), shard_bytes(ids, 4)] * 150:
            raw = bytearray(whole)
            for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
                place = rng.choice((rng.randrange(16), rng.randrange(1024, 1033), -1, 1050, 1070))
                raw[place % len(raw)] = rng.choice((0, 1, 4, 127, 255, rng.randrange(256)))
            if rng.random() < 0.3:
                del raw[rng.randrange(len(raw)):]
            self.write("fuzzed.bin", raw + bytes(rng.choice((0, 0, 0, 0, 0, 0, 1, 2, 4))))
            said, status = io.StringIO(), 0
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
                try:            # not by way of main(), which turns every exception into a message
                    script["run_show"](type("Arguments", (), {"file": "fuzzed.bin"}))
                except SystemExit as stop:
                    status = stop.code
            outcomes[status] += 1
            self.assertEqual(bool(said.getvalue()), not status)
        self.assertGreater(min(outcomes), 50)

class CommandLine(Case):
    """The rest."""

    def test_errors(self):
        self.write("a", b"some text")
        for command, part in (
                ("", "COMMAND"), ("nonsense", "nonsense"), ("text", "FILE"), ("text a", "--out"),
                ("tokens a --out o", "--from"), ("tokens a --out o --from csv", "csv"),
                ("text a --out o --bogus", "--bogus"), ("text a --out o --val-fraction x", "'x'"),
                ("text a --out o --shard-tokens 1.5", "'1.5'"), ("cloze a --out o --length x", "x"),
                ("cloze a --out o --count \u00e9", "--count"),
                ("lastword a --out o --seed x", "--seed")):
            self.refused(command, part, "--help")
        for command in ("text a --out o --shard-tokens", "tokens a --out o --from txt --vocab",
                        "cloze a --out o --count", "cloze a --out o --context",
                        "cloze a --out o --length", "lastword a --out o --passage",
                        "lastword a --out o --min-letters"):
            self.refused(f"{command} 0", "found 0; expected 1 or more")
        for value in "1.0", "nan", "-0.1":
            self.refused(f"text a --out o --val-fraction={value}", f"found {value}; expected 0 or")
        self.refused("nonsense", "nonsense", "--help", run=lambda: self.start("nonsense"))

    def test_help_names_every_default(self):
        manual = self.ok("", self.start("--help"))
        commands = "text", "tokens", "show", "choices", "cloze", "lastword"
        for part in ("20240520", "20240801", "20240522", "65535, size, index, label", *commands[:3],
                     "dev/tools/quiz.py"):
            self.assertIn(part, manual)
        done = subprocess.run([*PYTHON, str(QUIZ), "--help"], stdout=subprocess.PIPE, timeout=60)
        for part in commands[3:]:
            self.assertIn(part, done.stdout.decode())
        manual += done.stdout.decode()
        self.assertLessEqual(max(map(len, manual.splitlines())), 100)
        text = "".join(" ".join(self.ok(f"{command} --help").split()) for command in commands)
        for option, default in zip(
                "val-fraction shard-tokens count seed context length passage min-letters".split(),
                (0.1, 2 ** 31 - 1, 500, 1, 96, 24, 200, 4)):
            entries = text.split(f" --{option} N ")[1:]
            self.assertTrue(entries, option)
            for entry in entries:
                self.assertEqual(re.search(r"default: ([^)]+)\)", entry).group(1), str(default))

    def test_no_traceback_into_a_closed_pipe(self):
        self.write("a.txt", b"text\n" * 99)
        for command in "--help", "show a.txt":
            reader, writer = os.pipe()
            os.close(reader)
            self.assertEqual(self.start(command, stdout=writer)[2], "")
            os.close(writer)

    def test_source(self):
        lines = SOURCE.splitlines()
        self.assertLessEqual(len(lines), 330)
        self.assertLessEqual(max(map(len, lines)), 100)
        self.assertTrue(all(line.isascii() for line in lines))

def main():
    """Runs all tests; the last line counts them."""
    sys.stdout.reconfigure(errors="backslashreplace")
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    count = suite.countTestCases()
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    failed = {getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors}
    print(f"{count - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not count else 0

if __name__ == "__main__":
    sys.exit(main())
