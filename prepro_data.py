#!/usr/bin/env python3
"""prepro_data.py: makes and inspects data files for train_attnvar. COMMAND --help has the options.

train_attnvar needs no preparation: it reads any file as bytes. This script is for texts to clean
and split, other tokenizers' ids, and multiple-choice questions. It holds its inputs in memory.

    python3 prepro_data.py text novel.txt --clean --out data           texts to byte shards
    python3 prepro_data.py tokens ids.bin --from nanogpt --out data    existing ids to shards
    python3 prepro_data.py choices quiz.jsonl --out quiz.bin           questions of your own
    python3 prepro_data.py cloze held_out.txt --out cloze.bin          which text goes on here?
    python3 prepro_data.py lastword held_out.txt --out last.bin        how does this passage end?
    python3 prepro_data.py show FILE                                   what any of these files holds

Files are little-endian: llm.c's header, 256 int32, all 0 but for those listed here, then data.

    kind     magic [0]  version [1]  [2]        [3]                         after the header
    tokens   20240520   1            tokens     0                           uint16 tokens
    tokens   20240801   7            tokens     0                           uint32 tokens
    choices  20240522   1 or 2       examples   longest example, in bytes   examples, one by one

An example is a row of uint16: 65535, size, index, label, number of choices, length of the context,
the context's tokens, then for each choice its length and its tokens. size is the whole row, in
bytes; index counts the examples from 0; label is the right choice, counted from 0; a length counts
tokens and is at least 1. Version 1 (llm.c's HellaSwag layout) has 4 choices in every example,
version 2 from 1 to 8. A choice follows the context directly: one of them has the space between.
"""
import argparse
import itertools
import json
import os
import random
import re
import shlex
import signal
import struct
import sys
from argparse import Namespace
from array import array
from typing import Any, Callable, Dict, Iterator, List, NoReturn, Tuple, Union

Example = Tuple[int, Any, list]     # the label, the context's tokens, those of each choice

# magic: its versions, what header[2] counts, the data's type as array and struct name it
FORMATS = {20240520: ((1,), "tokens", "H"), 20240801: ((7,), "tokens", "I"),
           20240522: ((1, 2), "examples", "H")}
UINT16_MAX = 65535


def fail(message: str) -> NoReturn:
    """The one way to report a user's error: what was found, what is expected, what to run."""
    print(f"prepro_data.py: error: {message}", file=sys.stderr)
    sys.exit(1)


def expect(is_right: Any, where: str, found: Any, expected: str) -> None:
    """fail() for what is not as it should be."""
    if not is_right:
        fail(f"{where}: found {found!r:.60}; expected {expected}")


def expect_ids(values: Any, end: int, where: str) -> None:
    """Token ids are a list of integers (True and 1.0 are none) from 0 to below `end`."""
    expect(isinstance(values, list), where, values, "a list of token ids")
    wrong = [value for value in values if type(value) is not int or not 0 <= value < end]
    expect(not wrong, where, wrong, f"token ids, integers from 0 to {end - 1}")


def parse_json(text: Union[str, bytes], where: str) -> Any:
    """One JSON value."""
    try:
        return json.loads(text)
    except ValueError as error:
        fail(f"{where}: {error}; expected JSON in UTF-8")


def read_file(path: str, may_be_ours: bool = False) -> bytes:
    """The bytes of a file, which must not have a header of this project unless may_be_ours."""
    with open(path, "rb") as file:
        raw = file.read()
    if int.from_bytes(raw[:4], "little") in FORMATS and not may_be_ours:
        fail(f"{path} has a header of this project, expected raw data; see: prepro_data.py show")
    return raw


def unpack(raw: bytes, code: str, path: str) -> array:
    """The integers of type `code` that raw consists of, in an array."""
    if len(raw) % array(code).itemsize:
        fail(f"{path}: the last token of {len(raw)} bytes is cut off; expected a whole one")
    return array(code, (value for value, in struct.iter_unpack("<" + code, raw)))


def write_files(files: Dict[str, tuple], force: bool) -> None:
    """Writes {path: (magic, version, count, longest, integers)}: all under temporary names, then
    renames them all, so that an error or a full disk leaves every older file as it was."""
    for path in files:
        if os.path.exists(path) and not (force and os.path.isfile(path)):
            fail(f"{path} exists; choose another --out, or overwrite a file with --force")
    temporary = {path: f"{path}.{os.getpid()}.tmp" for path in files}
    try:
        for path, (magic, version, count, longest, integers) in files.items():
            layout = f"<4i1008x{len(integers)}{FORMATS[magic][2]}"
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(temporary[path], "wb") as file:
                file.write(struct.pack(layout, magic, version, count, longest, *integers))
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            os.replace(temporary[path], path)
    finally:
        for path in filter(os.path.exists, temporary.values()):
            os.unlink(path)
    for path, (magic, version, count, *_) in files.items():
        print(f"wrote {path}: {count} {FORMATS[magic][1]}, {os.path.getsize(path)} bytes")


# --clean: what to replace, in this order. Project Gutenberg's books stand between lines such as
# "*** START OF THE PROJECT GUTENBERG EBOOK EMMA ***" (a long title wraps) and "*** END OF ...".
CLEAN = (
    (rb"\A\xef\xbb\xbf", b""),          # byte-order mark
    (rb"\r\n?", b"\n"),
    (rb"(?ims)\A.*?^\*\*\* ?START OF (THE|THIS) PROJECT GUTENBERG[^*]{0,400}\*\*\*[^\n]*\n", b""),
    (rb"(?ims)^(\*\*\* ?END OF (THE|THIS)|End of( the| this)?) PROJECT GUTENBERG.*", b""),
    (rb"(?m)^([ \t]*\n){3,}", b"\n\n"))


def read_ids(paths: List[str], args: Namespace) -> array:
    """The token ids of files, one file after the other, in an array."""
    ids = array({"text": "B", "nanogpt": "H", "json": "I", "txt": "I"}[args.form])
    for path in paths:
        raw = read_file(path)
        for pattern, replacement in CLEAN if args.clean else ():
            raw = re.sub(pattern, replacement, raw)
        if args.form in ("text", "nanogpt"):
            ids.extend(unpack(raw, ids.typecode, path))
        else:
            text = raw.decode("utf-8-sig")
            if args.form == "txt":
                lists = [[int(word) if word.isdigit() else word for word in text.split()]]
            else:                       # [1, 2] [3] becomes [[1, 2], [3]]
                lists = parse_json("[" + re.sub(r"\](\s*)\[", r"],\1[", text) + "]", path)
            for values in lists:
                expect_ids(values, 2 ** 32, path)
                ids.extend(values)
    return ids


def run_shards(args: Namespace) -> None:
    """text and tokens: writes train_000.bin, ... and val_000.bin, and says what to run next."""
    expect(0 <= args.val_fraction < 1, "--val-fraction", args.val_fraction, "0 or more, below 1")
    ids, where = read_ids(args.file, args), " ".join(args.file)
    cut = len(ids) - int(len(ids) * args.val_fraction)
    train, val = (ids, read_ids([args.val], args)) if args.val else (ids[:cut], ids[cut:])
    expect(train and (val or not args.val_fraction), where, [len(train), len(val)],
           "tokens for training and for validation; --val-fraction 0 does without the latter")
    largest = max(itertools.chain(train, val))
    vocab = args.vocab or largest + 1
    expect_ids([largest], vocab, where)
    kind = (20240520, 1) if vocab <= UINT16_MAX + 1 else (20240801, 7)
    shards = [("--data", f"train_{number:03d}.bin", train[first:first + args.shard_tokens])
              for number, first in enumerate(range(0, len(train), args.shard_tokens))]
    shards += [("--val", "val_000.bin", val)] if val else []
    files, command = {}, "./train_attnvar"
    for option, name, ids in shards:
        path = os.path.join(args.out, name)
        files[path] = (*kind, len(ids), 0, ids)
        command += f" {option} {shlex.quote(path)}"
    write_files(files, args.force)
    print("train with: " + command + (f" --vocab {args.vocab}" if args.vocab else ""))


def questions(args: Namespace) -> Iterator[Example]:
    """Multiple-choice questions (label, context, choices) from the lines of a .jsonl file."""
    for number, line in enumerate(read_file(args.file).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{args.file} line {number}"
        value = parse_json(line, where)
        expect(isinstance(value, dict), where, value, "an object with ctx, choices and label")
        context, choices, label = map(value.get, ("ctx", "choices", "label"))
        expect(isinstance(choices, list) and 2 <= len(choices) <= 8, where, choices, "2-8 choices")
        expect(type(label) is int and 0 <= label < len(choices), where, label,
               f"a label from 0 to {len(choices) - 1}")
        for part in [context, *choices]:
            expect(part and isinstance(part, list if args.ids else str), where, part,
                   "ctx and each choice to be a string or, with --ids, a list of token ids")
            expect_ids(part if args.ids else [], UINT16_MAX + 1, where)
        if not args.ids:
            context, choices = context.encode(), [choice.encode() for choice in choices]
        yield label, context, choices


WORD_START = re.compile(rb"(?<!\S)(?=\S)")
# After a blank line, or after the stop that ends a sentence (a title's does not) and its quotes.
SENTENCE_START = re.compile(rb"(\n[ \t]*\n|([!?]|(?<!Mr)(?<!Mrs)(?<!Dr)\.)[\"')\]]*\s)\s*")


def cloze(args: Namespace) -> Iterator[Example]:
    """Contexts, their true continuations, and three others each from elsewhere in the text."""
    text, rand = read_file(args.file), random.Random(args.seed).random
    last = len(text) - args.context - args.length
    words = [match.start() for match in WORD_START.finditer(text) if match.start() <= last]
    starts = [start for start in words if WORD_START.match(text, start + args.context)]
    for start in sorted(starts, key=lambda _: rand()):      # a shuffle, the same in every Python
        middle, end = start + args.context, start + args.context + args.length
        spans = {text[middle:end]}
        for _ in range(100):            # draws, before this context is given up
            other = words[int(rand() * len(words))]
            if len(spans) < 4 and (other + args.length <= start or other >= end):
                spans.add(text[other:other + args.length])
        if len(spans) == 4:
            choices = sorted(spans)     # an order that does not tell which is right
            yield choices.index(text[middle:end]), text[start:middle], choices


def lastword(args: Namespace) -> Iterator[Example]:
    """Passages of the text that end with a whole word, the word being the one choice."""
    text, rand = read_file(args.file), random.Random(args.seed).random
    last_word = re.compile(rb"(?<=\S )[A-Za-z]{%d,}(?![^\s.,;:!?])" % args.min_letters)
    spans = [match.span() for match in last_word.finditer(text) if match.end() >= args.passage]
    for place, end in sorted(spans, key=lambda _: rand()):
        low = end - args.passage        # a passage starts here or later
        found = SENTENCE_START.search(text, low, place)
        if not found or found.end() > low + args.passage // 2:
            found = WORD_START.search(text, min(low, place))
        context, word = text[found.end():place - 1], text[place:end]
        if context and (not args.in_context or word in re.findall(rb"[A-Za-z]+", context)):
            yield 0, context, [b" " + word]


def run_choices(args: Namespace) -> None:
    """choices, cloze and lastword: writes a choices file of all examples, or of --count."""
    make = {"choices": questions, "cloze": cloze, "lastword": lastword}[args.command]
    count, longest, version, integers = 0, 0, 1, array("H")
    for label, context, choices in itertools.islice(make(args), args.count):
        row = [UINT16_MAX, 0, count, label, len(choices)]
        for part in [context, *choices]:
            row += [len(part), *part]
        row[1] = 2 * len(row)
        expect(max(row[1], count) <= UINT16_MAX, f"{args.file}, example {count}", row[1],
               f"at most {UINT16_MAX} bytes in an example, and {UINT16_MAX + 1} examples")
        integers.extend(row)
        count, longest = count + 1, max(longest, row[1])
        version = version if len(choices) == 4 else 2
    expect(count >= (args.count or 1), args.file, count,
           f"{args.count or 'some'} examples: give a longer text or other options")
    write_files({args.out: (20240522, version, count, longest, integers)}, args.force)


def read_examples(integers: array, version: int, count: int, longest: int,
                  path: str) -> Tuple[list, list]:
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


def run_show(args: Namespace) -> None:
    """Prints what a file holds, after a check from end to end."""
    path, raw = args.file, read_file(args.file, may_be_ours=True)
    magic, version, count, longest = struct.unpack("<4i", raw[:16].ljust(16, b"\0"))
    known, noun, code = FORMATS.get(magic, ([version], "", "H" if path.endswith(".bin") else "B"))
    expect(version in known, path, version, f"a version in {known} for magic {magic}")
    tokens = unpack(raw[1024:] if noun else raw, code, path)
    rows = [(i, tokens[i:i + 32]) for i in range(0, min(len(tokens), 128), 32)]
    kind = f"magic {magic}, version {version}, {count} {noun}, uint{8 * tokens.itemsize}"
    if noun == "examples":
        tokens, rows = read_examples(tokens, version, count, longest, path)
    elif noun == "tokens":
        expect(len(tokens) == count, path, len(tokens), f"{count} tokens, as its header says")
    elif code == "H":
        kind = "no header; if it is nanoGPT's layout, convert it with: tokens --from nanogpt"
    else:
        kind = f"bytes, vocabulary 256; train with: ./train_attnvar --data {shlex.quote(path)}"
    expect(tokens, path, len(tokens), "at least one token")
    largest = max(tokens)
    print(f"{path}: {kind}\n  {len(tokens)} tokens, largest id {largest}")
    for mark, ids in rows:
        shown = repr(bytes(list(ids)))[1:] if largest < 256 else " ".join(map(str, ids))
        print(f"{mark:>7}  {shown}")


def parse_arguments() -> Namespace:
    """The command line; parents hold what commands share. argparse's own error() exits with 2."""
    argparse.ArgumentParser.error = lambda self, message: fail(f"{message}; see {self.prog} --help")
    parser = argparse.ArgumentParser(prog="prepro_data.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(form="text", clean=False, vocab=256, count=None)  # without such an option
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    shards, quiz, drawn = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    def number(holder: Any, name: str, default: Any, text: str) -> None:
        holder.add_argument(name, metavar="N", type=type(default), default=default,
                            help=f"{text} (default: {default})")

    def command(name: str, run: Callable, text: str, *parents: Any) -> Any:
        added = commands.add_parser(name, help=text, description=text, parents=parents)
        added.add_argument("file", metavar="FILE", nargs="+" if run == run_shards else None)
        added.set_defaults(run=run)
        return added
    for holder, text in (shards, "folder for train_000.bin, ..., val_000.bin"), (quiz, "the file"):
        holder.add_argument("--out", required=True, help=f"{text} to write (required)")
        holder.add_argument("--force", action="store_true", help="overwrite what exists")
    shards.add_argument("--val", metavar="FILE", help="validation (default: the last part of FILE)")
    number(shards, "--val-fraction", 0.1, "the size of that part; 0 for no validation")
    number(shards, "--shard-tokens", 2 ** 31 - 1, "most tokens in a training shard")
    number(drawn, "--count", 500, "examples to write")
    number(drawn, "--seed", 1, "of every random choice")
    to_text = command("text", run_shards, "texts to byte shards", shards)
    to_text.add_argument("--clean", action="store_true", help="remove byte-order marks, carriage "
                         "returns, Project Gutenberg's header and footer, 3rd blank lines in a row")
    tokens = command("tokens", run_shards, "token ids to shards", shards)
    tokens.add_argument("--from", choices=["nanogpt", "json", "txt"], required=True, dest="form",
                        help="uint16, arrays, or integers between white space (required)")
    tokens.add_argument("--vocab", type=int, help="above every id (default: the largest id + 1)")
    own = command("choices", run_choices, 'lines such as {"ctx": "2 and 2 are", "choices": '
                  '[" 4", " 5"], "label": 0} to a choices file', quiz)
    own.add_argument("--ids", action="store_true", help="lists of token ids, not strings")
    which = command("cloze", run_choices, "which of four spans goes on here?", quiz, drawn)
    number(which, "--context", 96, "bytes of a context, which starts with a word")
    number(which, "--length", 24, "bytes of a span, which starts with a word")
    last = command("lastword", run_choices, "how does this passage end?", quiz, drawn)
    number(last, "--passage", 200, "most bytes of it, from the start of a sentence or a word")
    number(last, "--min-letters", 4, "fewest letters (A-Z, a-z) of the word")
    last.add_argument("--in-context", action="store_true", help="only words it has before as well")
    command("show", run_show, "what any of these files holds")
    return parser.parse_args()


def main() -> None:
    """Reads the command line and runs the command."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)   # `show FILE | head` ends in silence
    args = parse_arguments()
    for name, value in vars(args).items():
        expect(type(value) is not int or value > 0 or name == "seed", name, value, "1 or more")
    try:
        args.run(args)
    except (Exception, KeyboardInterrupt) as error:     # never a traceback
        fail(f"{args.command}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
