#!/usr/bin/env python3
"""bpe.py: trains a byte-level BPE tokenizer and cuts texts into its tokens. Standard library only.

    python3 dev/scale/bpe.py --vocab 8192 --out data train.txt --val val.txt
    python3 dev/scale/bpe.py --tokenizer data/tokenizer.json --out data more.txt

The first command learns from train.txt and encodes both texts, the second only encodes. It writes

    tokenizer.json    for Hugging Face's tokenizers library, which gives the same ids
    tokens.txt        for each token its bytes and the two tokens it joins (dev/tools: --tokenizer)
    train_8192.bin    ids in llm.c's format: 256 int32 (magic, version, count), then uint16

A text is cut into words: letters, digits or other characters, each with at most one space in front,
and runs of white space. A word begins as its bytes, tokens 0 to 255. The pair of neighbours that is
most frequent in all words becomes token 256 and is joined wherever it occurs; the next becomes 257,
and so on (of equally frequent pairs, that with the smaller ids). To encode a word, its pairs are
joined in the order in which they were learned. A byte that is not UTF-8 counts as a letter.
"""
import argparse
import functools
import heapq
import json
import os
import re
import struct
import sys
from array import array
from collections import Counter, defaultdict
from pathlib import Path
from typing import Dict, List, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from prepro_data import MARKS, fail, read_file, run_command     # noqa: E402

Pair = Tuple[int, int]      # two neighbouring tokens
# Each class is spelled out, since \w and \s differ between libraries: letters from U+00C0 on are all
# characters but U+2000 to U+2BFF. White space leaves its last character to the next word.
LETTER, SPACE = "A-Za-z\u00c0-\u1fff\u2c00-\U0010ffff", "\\t-\\r "
PATTERN = (f" ?[{LETTER}]+| ?[0-9]+| ?[^{SPACE}0-9{LETTER}]+|"
           f"[{SPACE}]+(?![^{SPACE}])|[{SPACE}]+")


def words_of(path: str):
    """The words of a file, as bytes."""
    raw = read_file(path)                           # refuses what is no text
    if raw.startswith(tuple(MARKS)):
        fail(f"{path}: is UTF-16 or UTF-32; expected UTF-8: see prepro_data.py text --help")
    text = raw.decode("utf-8", "surrogateescape")
    return (word.group().encode("utf-8", "surrogateescape") for word in re.finditer(PATTERN, text))


def join(ids: List[int], pair: Pair, new: int) -> List[int]:
    """ids with each occurrence of the pair replaced, from left to right."""
    out, i = [], 0
    while i < len(ids):
        found = i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair
        out.append(new if found else ids[i])
        i += 2 if found else 1
    return out


def learn(counts: Dict[bytes, int], vocab: int) -> List[Pair]:
    """The pairs that become tokens 256, 257, ...; counts: how often each word occurs."""
    words, often = [list(word) for word in counts], list(counts.values())
    pairs: Dict[Pair, int] = Counter()              # how often each pair occurs
    where: Dict[Pair, set] = defaultdict(set)       # the words that have it, or once had it
    for index, pair in ((i, pair) for i, ids in enumerate(words) for pair in zip(ids, ids[1:])):
        pairs[pair] += often[index]
        where[pair].add(index)
    merges, texts, known = [], spell([]), set(spell([]))
    heap = sorted((-count, pair) for pair, count in pairs.items())
    while len(texts) < vocab:
        if not heap:
            fail(f"--vocab {vocab}: the texts have pairs for {len(texts)} tokens only; give a "
                 "longer text or a smaller --vocab")
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair]:                   # its count has fallen: reinsert it
            heapq.heappush(heap, (-pairs[pair], pair))
        elif count < 0 and texts[pair[0]] + texts[pair[1]] not in known:    # no two tokens alike
            new = len(texts)
            for index in where.pop(pair):
                old, words[index] = words[index], join(words[index], pair, new)
                for gone in zip(old, old[1:]):
                    pairs[gone] -= often[index]
                for found in zip(words[index], words[index][1:]):
                    pairs[found] += often[index]
                    if new in found:                # only counts of such pairs can rise
                        where[found].add(index)
                        heapq.heappush(heap, (-pairs[found], found))
            texts.append(texts[pair[0]] + texts[pair[1]])
            known.add(texts[-1])
            merges.append(pair)
    return merges


def spell(merges: List[Pair]) -> List[bytes]:
    """The bytes of every token."""
    texts = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        texts.append(texts[left] + texts[right])
    return texts


def encode(word: bytes, rank: Dict[Pair, int]) -> List[int]:
    """The ids of one word: of its pairs, the one learned first is joined first."""
    ids = list(word)
    while any(pair in rank for pair in zip(ids, ids[1:])):
        first = min(zip(ids, ids[1:]), key=lambda pair: rank.get(pair, 65536))
        ids = join(ids, first, rank[first])
    return ids


def to_json(merges: List[Pair]) -> str:
    """tokenizer.json: Split cuts the words, ByteLevel spells each byte as a printable character."""
    plain, others = {*range(33, 127), *range(161, 173), *range(174, 256)}, iter(range(256, 512))
    letters = [chr(byte if byte in plain else next(others)) for byte in range(256)]
    names = ["".join(letters[byte] for byte in text) for text in spell(merges)]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    split = dict(type="Split", pattern={"Regex": PATTERN}, behavior="Isolated", invert=False)
    model = dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                 end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=False,
                 vocab={name: i for i, name in enumerate(names)},
                 merges=[f"{names[left]} {names[right]}" for left, right in merges])
    return json.dumps(dict(version="1.0", truncation=None, padding=None, added_tokens=[],
                           normalizer=None, post_processor=None, decoder=level, model=model,
                           pre_tokenizer=dict(type="Sequence", pretokenizers=[split, level])),
                      indent=0) + "\n"


def from_json(path: str) -> List[Pair]:
    """The merges of a tokenizer.json that to_json() wrote; any other is refused."""
    try:
        value = json.loads(Path(path).read_text("utf-8"))
        model = value["model"]
        merges = [tuple(map(model["vocab"].get, line.split(" "))) for line in model["merges"]]
        if to_json(merges) != json.dumps(value, indent=0) + "\n":
            raise ValueError
        return merges
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        fail(f"{path}: another tokenizer or a damaged file; expected a tokenizer.json of bpe.py")


def write(path: str, data: bytes, note: str = "") -> None:
    """Writes the whole file or none."""
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.exists() and temporary.unlink()
        fail(f"{path}: {error.strerror}")
    print(f"wrote {path}: {len(data)} bytes{note}", flush=True)


def run(args: argparse.Namespace) -> None:
    """Learns or reads the merges, then encodes every text."""
    merges = from_json(args.tokenizer) if args.tokenizer else []
    vocab = 256 + len(merges) if args.tokenizer else args.vocab
    if not 300 <= vocab <= 65536:
        fail(f"--vocab {vocab}: expected 300 to 65536")
    own = [] if args.tokenizer else ["tokenizer.json", "tokens.txt"]
    stems = [os.path.splitext(os.path.basename(path))[0] for path in args.file + args.val]
    for path in args.file + args.val:
        words_of(path)                              # a wrong file is noticed before the work
    made = [os.path.join(args.out, name) for name in own + [f"{s}_{vocab}.bin" for s in stems]]
    for path in made:
        if made.count(path) > 1 or os.path.exists(path) and not args.force:
            fail(f"{path} exists, or two texts have this name; use another --out, or --force")
    if not args.tokenizer:
        merges = learn(Counter(word for path in args.file for word in words_of(path)), vocab)
    os.makedirs(args.out, exist_ok=True)
    if own:
        write(made[0], to_json(merges).encode())
        write(made[1], "".join(" ".join([text.hex(), *map(str, pair)]) + "\n" for text, pair in
                               zip(spell(merges), 256 * [()] + merges)).encode())
    rank = {pair: 256 + i for i, pair in enumerate(merges)}
    cut = functools.lru_cache(maxsize=None)(lambda word: encode(word, rank))
    for path, target in zip(args.file + args.val, made[len(own):]):
        ids = array("H", (token for word in words_of(path) for token in cut(word)))
        write(target, struct.pack("<3i1012x", 20240520, 1, len(ids)) + ids.tobytes(),
              f", {len(ids)} tokens of {os.path.getsize(path) / max(1, len(ids)):.3f} bytes each")


def main() -> None:
    argparse.ArgumentParser.error = lambda self, message: fail(f"{message}; see bpe.py --help")
    parser = argparse.ArgumentParser(prog="bpe.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("file", metavar="FILE", nargs="+", help="texts to learn from and to encode")
    option("--val", metavar="FILE", nargs="+", default=[], help="texts to encode only")
    option("--vocab", metavar="N", type=int, default=1024, help="tokens, 300 to 65536 (1024)")
    option("--tokenizer", metavar="FILE", help="encode with this tokenizer.json, learn nothing")
    option("--out", metavar="DIR", required=True, help="folder to write (required)")
    option("--force", action="store_true", help="overwrite what exists")
    parser.set_defaults(run=run)
    run_command(parser)


if __name__ == "__main__":
    main()
