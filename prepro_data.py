#!/usr/bin/env python3
"""prepro_data.py: makes and inspects data files for train_attnvar. COMMAND --help has the options.

train_attnvar reads a text's bytes as they are. This script cleans and splits texts, converts UTF-16
to UTF-8, and converts the token ids of other programs. It holds its input in memory.

    python3 prepro_data.py text novel.txt --clean --out data           texts to byte shards
    python3 prepro_data.py tokens ids.bin --from nanogpt --out data    token ids to shards
    python3 prepro_data.py show FILE                                   describes any of these files

A file starts with llm.c's header: 256 little-endian int32, all 0 but for these.

    kind     magic [0]  version [1]  [2]        [3]                         after the header
    tokens   20240520   1            tokens     0                           uint16 tokens
    tokens   20240801   7            tokens     0                           uint32 tokens
    choices  20240522   1 or 2       examples   longest example, in bytes   examples, one by one

dev/tools/quiz.py makes choices files. An example is a row of uint16: 65535, size, index, label,
number of choices, length of the context, the context's tokens, then for each choice its length and
its tokens. size is the row's, in bytes; index counts the examples from 0; label is the right
choice, counted from 0; a length counts tokens and is at least 1. Version 1 (llm.c's HellaSwag
layout) has 4 choices in every example, version 2 from 1 to 8.
"""
import argparse
import itertools
import json
import os
import re
import shlex
import signal
import struct
import sys
from array import array
from typing import Any, Callable, Dict, List, NoReturn, Tuple

# magic: its versions, what header[2] counts, the data's type as array names it
FORMATS = {20240520: ((1,), "tokens", "H"), 20240801: ((7,), "tokens", "I"),
           20240522: ((1, 2), "examples", "H")}
UINT16_MAX, VOCAB_MAX = 65535, 2 ** 22                  # the second is train_attnvar's
RAW = {"nanogpt": "H", "uint16": "H", "uint32": "I", "int64": "q", "npy": ""}   # --from: its type
NPY = re.compile(rb"(?s)\x93NUMPY(?:\x01\0..|[\x02\x03]\0....)\{'descr': '[<|]([iu][1248])', "
                 rb"'fortran_order': \w+, 'shape': \((\d+),\), \} *\n")
KINDS = {   # of files that hold neither text nor ids: how they start, what to do about them
    "ours": (rb"[\x88\x8a]\xd8\x34\x01|\xa1\xd9\x34\x01", "has a header of this project, expected "
             "raw data; run: python3 prepro_data.py show FILE"),
    "npy": (rb"\x93NUMPY", "is a NumPy array; if it holds token ids, run: python3 prepro_data.py "
            "tokens FILE --from npy --out DIR"),
    "other": (rb"\x1f\x8b\x08|BZh\d1AY|\xfd7zXZ|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|PK\x03\x04|7z\xbc"
              rb"|Rar!|%PDF-|\{\\rtf|\xd0\xcf\x11\xe0|PAR1|ARROW1|\x89HDF|(?s:.{6}\0\0\{\")|GGUF"
              rb"|\x89PNG|\xff\xd8\xff|\x7fELF|(?s:.{257}ustar)", "is compressed, a document, a"
              " table or another file that is no text: unpack it, or export its text, first")}
MARKS = {b"\xff\xfe\0\0": "utf-32-le", b"\0\0\xfe\xff": "utf-32-be",    # the first that fits
         b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def fail(message: str) -> NoReturn:
    """The one way to report a user's error: what was found, what is expected, what to run."""
    print(os.path.basename(sys.argv[0]) + ": error:", message.replace("\n", " "), file=sys.stderr)
    sys.exit(1)


def expect(is_right: Any, where: str, found: Any, expected: str) -> None:
    """Fails unless is_right."""
    if not is_right:
        fail(f"{where}: found {found!r:.60}; expected {expected}")


def expect_ids(values: Any, end: int, where: str) -> None:
    """Token ids are integers (True and 1.0 are none) from 0 to end - 1, in a list or an array."""
    expect(isinstance(values, (list, array)), where, values, "a list of token ids")
    wrong = [value for value in values if type(value) is not int or not 0 <= value < end]
    expect(not wrong, where, wrong, f"token ids, integers from 0 to {end - 1}")


def parse(where: str, expected: str, function: Callable, *values: Any) -> Any:
    """function(*values), whose ValueError means that the values are not as expected."""
    try:
        return function(*values)
    except ValueError as error:
        fail(f"{where}: {error}; expected {expected}")


def read_file(path: str, *kinds: str) -> bytes:
    """The bytes of a file, which must not be of one of KINDS, except for those that are named."""
    with open(path, "rb") as file:
        raw = file.read()
    for kind, (start, problem) in KINDS.items():
        if kind not in kinds and re.match(start, raw):
            fail(f"{path} {problem}".replace("FILE", shlex.quote(path)))
    return raw


def read_text(path: str) -> bytes:
    """A text in UTF-8. A byte-order mark tells UTF-32 and UTF-16, and zeros tell UTF-16 without a
    mark: in a Latin script most of its high bytes are 0, and no low byte is."""
    raw = read_file(path)
    mark = next(filter(raw.startswith, MARKS), b"")
    encoding = MARKS.get(mark)
    for high, name in () if mark else ((1, "utf-16-le"), (0, "utf-16-be")):
        if raw[high::2].count(0) > len(raw) / 4 and 0 not in raw[1 - high::2]:
            encoding = name
    if encoding:
        raw = parse(path, encoding, str, raw[len(mark):], encoding).encode()
    expect(0 not in raw, f"{path} byte {raw.find(0)}", 0, "text, which has no such byte, in UTF-8, "
           "UTF-16 or UTF-32; for token ids see: python3 prepro_data.py tokens --help")
    return raw


def unpack(raw: bytes, code: str, path: str) -> array:
    """The little-endian integers of type `code` that raw consists of."""
    if len(raw) % array(code).itemsize:
        fail(f"{path}: the last token of {len(raw)} bytes is cut off; expected a whole one")
    return array(code, raw)


def read_integers(path: str, form: str = "") -> Tuple[str, array]:
    """The ids in a NumPy array or in a file without a header, and their type: form, or a guess."""
    raw = read_file(path, "npy" if form in ("", "npy") else "")
    if form == "npy" or re.match(KINDS["npy"][0], raw):
        header = NPY.match(raw)
        expect(header, path, raw[10:70], "a NumPy array of one dimension and of integers")
        code = "bhiqBHIQ"[b"i1i2i4i8u1u2u4u8".find(header[1]) // 2]
        ids = unpack(raw[header.end():], code, path)
        expect(len(ids) == int(header[2]), path, len(ids), f"{int(header[2])} integers")
        return "npy", ids
    expect(not re.fullmatch(rb"[\t-\r -~\x80-\xff]{32,}", raw), path, raw[:30], "token ids; if "
           "it is a text: python3 prepro_data.py text --help")
    words = unpack(raw, "H", path)      # the high halves of wide ids are below 16
    likely = "uint32" if len(words) % 4 or any(words[2::4] + words[3::4]) else "int64"
    likely = "uint16" if max(words[1::2], default=16) >= 16 else likely
    sure = len(words) > 16 and (max(words[::2]) >= 16 or not any(words[1::2]))
    too_narrow = ["nanogpt", "uint16"][:1 + sure] + ["uint32"] * (likely == "int64")
    if likely != "uint16" and form in too_narrow:
        fail(f"{path}: found ids whose high halves are almost all 0, expected {form} (nanogpt is "
             f"uint16); give --from {likely}, or --from uint16 if all ids are below 16")
    return likely, unpack(raw, RAW[form or likely], path)


def write_files(files: Dict[str, tuple], force: bool) -> None:
    """Writes {path: (magic, version, count, longest, integers)}: all or, if one fails, none."""
    for path in files:
        if os.path.exists(path) and not (force and os.path.isfile(path)):
            fail(f"{path} exists; choose another --out, or overwrite a file with --force")
    temporary = {path: f"{path}.{os.getpid()}.tmp" for path in files}
    try:
        for path, (*header, integers) in files.items():
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(temporary[path], "wb") as file:
                file.write(struct.pack("<4i1008x", *header))
                file.write(array(FORMATS[header[0]][2], integers))
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            os.replace(temporary[path], path)
    finally:
        for path in filter(os.path.exists, temporary.values()):
            os.unlink(path)
    for path, (magic, _, count, *_) in files.items():
        print(f"wrote {path}: {count} {FORMATS[magic][1]}, {os.path.getsize(path)} bytes")


# --clean: what to replace, in this order. A Project Gutenberg line starts a book, another ends it.
CLEAN = (
    (rb"\A\xef\xbb\xbf", b""),          # byte-order mark
    (rb"\r\n?", b"\n"),
    (rb"(?ims)\A.*?^\*\*\* ?START OF (THE|THIS) PROJECT GUTENBERG[^*]{0,400}\*\*\*[^\n]*\n", b""),
    (rb"(?ims)^(\*\*\* ?END OF (THE|THIS)|End of( the| this)?) PROJECT GUTENBERG.*", b""),
    (rb"(?m)^([ \t]*\n){3,}", b"\n\n"))


def read_ids(paths: List[str], args: Any) -> array:
    """The token ids of files, one file after the other."""
    ids = array("B" if args.form == "text" else "I")
    for path in paths:
        raw = b"" if args.form in RAW else read_text(path)
        for pattern, replacement in CLEAN if args.clean else ():
            raw = re.sub(pattern, replacement, raw)
        text = "" if args.form == "text" else parse(path, "UTF-8", str, raw, "utf-8-sig")
        lists = [read_integers(path, args.form)[1] if args.form in RAW else array("B", raw)]
        if args.form == "txt":
            lists = [[int(s) if re.fullmatch("[0-9]{1,10}", s) else s for s in text.split()]]
        if args.form == "json":         # [1, 2] [3] becomes [[1, 2], [3]]
            text = "[" + re.sub(r"\](\s*)\[", r"],\1[", text) + "]"
            lists = parse(path, "JSON", json.loads, text)
        for values in lists:
            expect_ids(values, VOCAB_MAX, path)
            ids.extend(iter(values))
    return ids


def run_shards(args: Any) -> None:
    """text and tokens: writes train_000.bin, ... and val_000.bin, and says what to run next."""
    expect(0 <= args.val_fraction < 1, "--val-fraction", args.val_fraction, "0 or more, below 1")
    ids, where = read_ids(args.file, args), " ".join(args.file)
    cut = len(ids) - int(len(ids) * args.val_fraction)
    train, val = (ids, read_ids([args.val], args)) if args.val else (ids[:cut], ids[cut:])
    expect(train and (val or not (args.val or args.val_fraction)), where, [len(train), len(val)],
           "tokens for training and for validation; with --val-fraction 0 none for validation")
    largest = max(itertools.chain(train, val))
    vocab = args.vocab or largest + 1
    expect(vocab <= VOCAB_MAX, "--vocab", vocab, f"at most {VOCAB_MAX}")
    expect_ids([largest], vocab, where)
    kind = (20240520, 1) if vocab <= UINT16_MAX + 1 else (20240801, 7)
    files = {os.path.join(args.out, f"train_{number:03d}.bin"): train[at:at + args.shard_tokens]
             for number, at in enumerate(range(0, len(train), args.shard_tokens))}
    expect(len(files) <= 256, "--shard-tokens", args.shard_tokens,
           f"{-(-len(train) // 256)} or more, since train_attnvar reads at most 256 files")
    command = "train with: ./train_attnvar --data " + " ".join(map(shlex.quote, files))
    files.update({os.path.join(args.out, "val_000.bin"): val} if val else {})
    command += f" --val {shlex.quote(list(files)[-1])}" * bool(val)
    write_files({path: (*kind, len(ids), 0, ids) for path, ids in files.items()}, args.force)
    for name in set(os.listdir(args.out)) - set(map(os.path.basename, files)) if args.force else ():
        if re.fullmatch(r"train_\d{3}\.bin|val_000\.bin", name):     # of an earlier run
            os.remove(os.path.join(args.out, name))
    print(command + (f" --vocab {args.vocab}" if args.vocab else ""))


def read_examples(integers: array, version: int, count: int, longest: int, path: str) -> tuple:
    """All tokens of a choices file, each field checked; (mark, tokens) rows of 3 examples."""
    tokens, rows, sizes, rest = [], [], [0], iter(integers)     # next(rest, 0) is 0 at the end
    for index in range(count):
        fields = start, size, number, label, choices = [next(rest, 0) for _ in range(5)]
        parts = [list(itertools.islice(rest, next(rest, 0))) for _ in range(1 + choices)]
        expect(start == UINT16_MAX and number == index and label < choices <= 8 and all(parts)
               and size == 2 * (6 + choices + sum(map(len, parts)))
               and (choices == 4 or version == 2), f"{path} example {index}", fields,
               "[65535, size, index, label, choices] that fit its data: make the file again")
        sizes.append(size)
        tokens += itertools.chain.from_iterable(parts)
        if index < 3:
            rows += [(index, parts[0])]
            rows += [("*" if i == label else "", choice) for i, choice in enumerate(parts[1:])]
    expect(max(sizes) == longest > 0 and next(rest, None) is None, path,
           [count, longest], "a header with the data's number of examples and longest one")
    return tokens, rows


def run_show(args: Any) -> None:
    """Prints what a file holds, after a check from end to end."""
    path, raw = args.file, read_file(args.file, "ours", "npy")
    magic, version, count, longest = struct.unpack("<4i", raw[:16].ljust(16, b"\0"))
    known, noun, code = FORMATS.get(magic, ([version], "", "B"))
    expect(version in known, path, version, f"a version in {known} for magic {magic}")
    run = f"python3 prepro_data.py {{}} {shlex.quote(path)} --out DIR"
    if noun:
        tokens = unpack(raw[1024:], code, path)
        kind = f"magic {magic}, version {version}, {count} {noun}, uint{8 * tokens.itemsize}"
    elif path.endswith(".bin") or raw[:6] == b"\x93NUMPY":
        form, tokens = read_integers(path)
        kind = f"{form}, it seems; to shards: {run.format('tokens')} --from {form}"
    else:
        tokens = array("B", read_text(path))
        kind = (f"bytes, vocabulary 256; train with: ./train_attnvar --data {shlex.quote(path)}"
                if tokens.tobytes() == raw else f"UTF-16 or UTF-32; to UTF-8: {run.format('text')}")
    rows = [(i, tokens[i:i + 32]) for i in range(0, min(len(tokens), 128), 32)]
    if noun == "examples":
        tokens, rows = read_examples(tokens, version, count, longest, path)
    expect(noun != "tokens" or len(tokens) == count, path, len(tokens), f"{count} tokens")
    expect(tokens, path, len(tokens), "at least one token")
    largest = max(tokens)
    print(f"{path}: {kind}\n  {len(tokens)} tokens, largest id {largest}")
    for mark, ids in rows:
        shown = repr(bytes(list(ids)))[1:] if largest < 256 else " ".join(map(str, ids))
        print(f"{mark:>7}  {shown}")


def parser(manual: str) -> Tuple[Any, Callable, Callable]:
    """The parser of a command line, a function that adds a command, one that adds an option."""
    argparse.ArgumentParser.error = lambda self, message: fail(f"{message}; see {self.prog} --help")
    whole = argparse.ArgumentParser(prog=os.path.basename(sys.argv[0]), description=manual,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(dest="command", metavar="COMMAND", required=True)
    def command(name: str, run: Callable, text: str, files: str = "", out: str = "") -> Any:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("file", metavar="FILE", nargs=files or None)
        if out:
            added.add_argument("--out", required=True, help=f"{out} to write (required)")
            option(added, "--force", False, "replace what an earlier run wrote there")
        added.set_defaults(run=run)
        return added
    def option(holder: Any, name: str, default: Any, text: str) -> None:
        more = {} if default is False else {"metavar": "N", "type": type(default)}
        holder.add_argument(name, default=default, action="store_true" if not more else "store",
                            help=text + f" (default: {default})" * bool(more), **more)
    return whole, command, option


def run_command(whole: Any) -> None:
    """Reads the command line and runs the command."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)   # `show FILE | head` ends in silence
    expect(sys.stdout, "standard output", "it closed", "one that can be written to")
    if sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")       # any file name can be printed
    try:
        try:
            args = whole.parse_args()
            for name, n in vars(args).items():
                expect(type(n) is not int or n > 0 or name == "seed", name, n, "1 or more")
            args.run(args)
        finally:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:     # never a traceback
        sys.stdout = sys.stderr                         # its rest would fail again at the exit
        fail(str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}")


def main() -> None:
    """The command line."""
    whole, command, option = parser(__doc__)
    text = command("text", run_shards, "texts to byte shards", "+", "folder of shards")
    tokens = command("tokens", run_shards, "token ids to shards", "+", "folder of shards")
    text.set_defaults(form="text", vocab=256), tokens.set_defaults(clean=False)
    for holder in text, tokens:
        holder.add_argument("--val", metavar="FILE", help="validation (default: FILE's last part)")
        option(holder, "--val-fraction", 0.1, "the size of that part; 0 for no validation")
        option(holder, "--shard-tokens", 2 ** 31 - 1, "most tokens in a training shard")
    option(text, "--clean", False, "remove byte-order marks, carriage returns, Project Gutenberg's "
           "header and footer, third blank lines in a row")
    tokens.add_argument("--from", choices=[*RAW, "json", "txt"], required=True, dest="form",
                        help="integers (nanogpt: uint16), NumPy, JSON, numbers in text (required)")
    tokens.add_argument("--vocab", type=int, help="above every id (default: the largest id + 1)")
    command("show", run_show, "what any of these files holds")
    if sys.argv[1:2] in (["choices"], ["cloze"], ["lastword"]):
        fail("this command has moved; run: python3 dev/tools/quiz.py " + shlex.join(sys.argv[1:]))
    run_command(whole)


if __name__ == "__main__":
    main()
