#!/usr/bin/env python3
"""quiz.py: makes multiple-choice files for eval_attnvar --choices. COMMAND --help has the options.

    python3 dev/tools/quiz.py choices quiz.jsonl --out quiz.bin        questions of your own
    python3 dev/tools/quiz.py cloze held_out.txt --out cloze.bin       which of four spans is next?
    python3 dev/tools/quiz.py lastword held_out.txt --out last.bin     how does this passage end?

prepro_data.py, whose functions this script uses, describes the format, and `prepro_data.py show
FILE` such a file. A choice follows the context directly: one of the two holds the space between.
"""
import itertools
import json
import os
import random
import re
import sys
from array import array
from typing import Any, Iterator, Tuple

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
from prepro_data import (UINT16_MAX, expect, expect_ids, parse, parser, read_text,  # noqa: E402
                         run_command, write_files)

Example = Tuple[int, Any, list]     # the label, the context's tokens, those of each choice


def read_json(line: bytes) -> Any:
    """The value of a line of JSON; whatever is wrong with it is a ValueError."""
    try:
        return json.loads(line)
    except RecursionError as error:
        raise ValueError(f"nested too deeply ({error})") from error


def questions(args: Any) -> Iterator[Example]:
    """Multiple-choice questions (label, context, choices) from the lines of a .jsonl file."""
    for number, line in enumerate(read_text(args.file).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{args.file} line {number}"
        value = parse(where, "JSON", read_json, line)
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
            context, *choices = [parse(where, "text", str.encode, part)
                                 for part in [context, *choices]]
        yield label, context, choices


WORD_START = re.compile(rb"(?<!\S)(?=\S)")
# After a blank line, or after the stop that ends a sentence (a title's does not) and its quotes.
SENTENCE_START = re.compile(rb"(\n[ \t]*\n|([!?]|(?<!Mr)(?<!Mrs)(?<!Dr)\.)[\"')\]]*\s)\s*")


def cloze(args: Any) -> Iterator[Example]:
    """Contexts, their true continuations, and three others each from elsewhere in the text."""
    text, rand = read_text(args.file), random.Random(args.seed).random
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


def lastword(args: Any) -> Iterator[Example]:
    """Passages of the text that end with a whole word, the word being the one choice."""
    text, rand = read_text(args.file), random.Random(args.seed).random
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


def run_choices(args: Any) -> None:
    """choices, cloze and lastword: writes a choices file of all examples, or of --count."""
    for name in "count", "context", "length", "passage", "min_letters":
        n = getattr(args, name, None) or 1
        expect(n <= UINT16_MAX + 1, name, n, f"at most {UINT16_MAX + 1}")
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


def main() -> None:
    """The command line."""
    whole, command, option = parser(__doc__)
    own = command("choices", run_choices, 'lines such as {"ctx": "2 and 2 are", "choices": [" 4", '
                  '" 5"], "label": 0} to a choices file', out="the file")
    option(own, "--ids", False, "lists of token ids, not strings")
    own.set_defaults(count=None)
    which = command("cloze", run_choices, "which of four spans comes next?", out="the file")
    option(which, "--context", 96, "bytes of a context, which starts with a word")
    option(which, "--length", 24, "bytes of a span, which starts with a word")
    last = command("lastword", run_choices, "how does this passage end?", out="the file")
    option(last, "--passage", 200, "most bytes of it, from the start of a sentence or a word")
    option(last, "--min-letters", 4, "fewest letters (A-Z, a-z) of the word")
    option(last, "--in-context", False, "only words that the passage has before as well")
    for holder in which, last:
        option(holder, "--count", 500, "examples to write")
        option(holder, "--seed", 1, "of every random choice")
    run_command(whole)


if __name__ == "__main__":
    main()
