"""Reads what a sweep left in its folder, results.csv and details.json, checks it, and averages over
seeds. Everything that the report draws or decides comes from here."""
import csv
import io
import json
import math
import os
from typing import NamedTuple, Optional

from common import Refused, brief
from paper import VARIANTS

WORDS = ("run", "preset", "task", "size", "attn", "layout", "data", "engine", "status", "error")
COUNTS = ("layers", "dim", "heads", "kv_heads", "ffn", "seq", "batch", "steps", "warmup", "seed",
          "qk_norm", "pairs", "vocab", "parameters", "last_step", "solved_step", "threads")
REALS = ("lr", "min_lr", "train_loss", "val_loss", "bits_per_byte", "perplexity", "skip_mixers",
         "skip_blocks", "recall_accuracy", "chance_loss", "unigram_floor", "bigram_floor",
         "seconds", "tokens_per_second")
NEEDED = ("run", "task", "attn", "layout", "seed", "status", "val_loss")
# Two runs with the same of these differ in variant, layout and seed only.
SETTING = ("task", "size", "layers", "dim", "heads", "kv_heads", "ffn", "seq", "batch", "steps",
           "lr", "min_lr", "warmup", "qk_norm", "pairs", "data", "vocab", "engine")
# A number beyond these is no result: larger ones count as infinite, and whole ones of details.json
# are refused.
LARGE, LONG = 1e39, 10 ** 7


class BadInput(Refused):
    """The message says what was found, what was expected and what to do."""


class Mean(NamedTuple):
    """A mean over seeds; error is its standard error, None if there is one seed only."""
    value: float
    error: Optional[float]
    n: int


def mean(values):
    """The Mean of those values that are there, or None."""
    values = [x for x in values if x is not None]
    if not values:
        return None
    middle, n = math.fsum(values) / len(values), len(values)
    if n == 1:
        return Mean(middle, None, 1)
    variance = math.fsum((x - middle) ** 2 for x in values) / (n - 1)
    return Mean(middle, math.sqrt(variance / n), n)


def exact(value):
    """A number without error, such as a floor."""
    return None if value is None else Mean(value, 0.0, 0)


def combine(function, *means):
    """function of independent means, its error to first order; None if any mean is."""
    if None in means:
        return None
    values = [m.value for m in means]
    square, n = 0.0, min((m.n for m in means if m.n), default=0)
    for place, m in enumerate(means):
        if m.error is None or square is None:
            square = None
        elif m.error > 0:
            ends = [function(*values[:place], m.value + step, *values[place + 1:])
                    for step in (m.error / 2, -m.error / 2)]
            square += (ends[0] - ends[1]) ** 2
    return Mean(function(*values), None if square is None else math.sqrt(square), n)


def read_file(path):
    """The text of a file; bytes that are not UTF-8 become U+FFFD."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}; expected a folder that "
                       "deconstruct.py wrote") from None


def cell_value(path, line, column, text):
    """A cell as text, whole number, number, or None if it is empty."""
    if column in WORDS or column not in COUNTS + REALS:
        return text
    if text.strip() == "":
        return None
    try:
        value = int(text) if column in COUNTS else float(text)
        return value if abs(value) < LARGE else None
    except ValueError:
        kind = "a whole number" if column in COUNTS else "a number"
        raise BadInput(f"{path}, line {line}: found '{brief(text)}' as {column}; expected {kind} "
                       "or nothing") from None


def read_row(path, line, header, cells):
    """One run as a dictionary by column; columns that are missing read as empty."""
    if len(cells) != len(header):
        raise BadInput(f"{path}, line {line}: found {len(cells)} cells; expected {len(header)} as "
                       "in the first line; the sweep writes the file again")
    row = {name: "" if name in WORDS else None for name in WORDS + COUNTS + REALS}
    for column, text in zip(header, cells):
        row[column] = cell_value(path, line, column, text)
    for column, allowed in (("task", ("text", "recall")), ("status", ("done", "failed")),
                            ("attn", VARIANTS)):
        if row[column] not in allowed:
            raise BadInput(f"{path}, line {line}: found '{brief(row[column])}' as {column}; "
                           f"expected one of {', '.join(allowed)}")
    return row


def read_rows(path):
    """results.csv as a list of dictionaries."""
    text = read_file(path)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise BadInput(f"{path}: not a table of comma-separated values: {error}") from None
    header = lines[0] if lines else []
    missing = [name for name in NEEDED if name not in header]
    if missing:
        raise BadInput(f"{path}: the first line has no column {', '.join(missing)}; expected the "
                       "columns that deconstruct.py writes")
    rows = [read_row(path, number, header, cells)
            for number, cells in enumerate(lines[1:], 2) if cells]
    if not rows:
        raise BadInput(f"{path}: found no runs; expected one line a run: let the sweep finish one")
    return rows


# What details.json must look like where it is there: a type, [x] a list of x, {name: x} an object
# with any of these members, {"*": x} an object of x by any name. Numbers may be null.
INDICATORS = ("entropy", "concentration", "diversity", "sink", "locfoc0", "locfoc1", "locfoc2",
              "locfoc3")
SCORES = ("min", "p1", "p25", "p50", "p75", "p99", "max", "mean", "count")
COSTS = ("prefill_flops", "decode_flops", "activation_bytes", "cache_bytes")
BY_INDICATOR = {name: float for name in INDICATORS}
LAYER = {"layer": int, "variant": str, "raw": BY_INDICATOR, "normalised": BY_INDICATOR,
         "heads": [BY_INDICATOR], "scores": {name: float for name in SCORES}}
COST = {"layer": int, "variant": str,
        **{name + end: float for name in COSTS for end in ("", "_formula")}}
RUN = {
    "curve": [[float]], "context": [[float]], "loss_by_position": [float], "sample": str,
    "inspect": {"indicators": [LAYER], "positions": int},
    "maps": [{"layer": int, "head": int, "tokens": [str], "rows": [[float]]}],
}
DETAILS = {
    "preset": str, "command": str, "date": str, "runs": {"*": RUN},
    "time_per_token": [{"attn": str, "T": int, "forward_ns": float, "backward_ns": float}],
}


def kind_of(shape):
    """What a shape expects, in words."""
    if isinstance(shape, (list, dict)):
        return "a list" if isinstance(shape, list) else "an object"
    return {str: "a text", int: f"a whole number below {LONG:,}", float: "a number"}[shape]


def check_shape(path, value, shape, place):
    """Returns value with non-finite numbers as None; BadInput where it does not fit."""
    if value is None:
        return None
    if isinstance(shape, list) and isinstance(value, list):
        inner = isinstance(shape[0], (list, dict))              # a missing row or record: dropped
        return [check_shape(path, x, shape[0], f"{place}[{i}]") for i, x in enumerate(value)
                if x is not None or not inner]
    if shape == [str] and isinstance(value, str):               # a text of bytes, one each
        return list(value)
    if isinstance(shape, dict) and isinstance(value, dict):
        return {name: check_shape(path, x, shape.get(name, shape.get("*")), f"{place}.{name}")
                if name in shape or "*" in shape else x for name, x in value.items()}
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if shape is float and number:
        return value if abs(value) < LARGE else None
    if shape is str and isinstance(value, str) or shape is int and number and \
            isinstance(value, int) and abs(value) < LONG:
        return value
    raise BadInput(f"{path}: found {json.dumps(value)[:40]} as {brief(place.lstrip('.'), 99)}; "
                   f"expected {kind_of(shape)}")


def read_details(path):
    """details.json, or an empty one if there is none."""
    if not os.path.exists(path):
        return {}
    try:
        details = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid JSON: {error}; the sweep writes it again") from None
    if not isinstance(details, dict):
        raise BadInput(f"{path}: found {kind_of([])}; expected an object with runs")
    details = check_shape(path, details, DETAILS, "")
    for run in (details.get("runs") or {}).values():
        inspect = (run or {}).get("inspect") or {}
        cost = inspect.get("cost")
        if cost is not None:                # an object: as inspect_attnvar --cost printed it
            cost = cost.get("cost") if isinstance(cost, dict) else cost
            inspect["cost"] = check_shape(path, cost, [COST], "runs.inspect.cost")
    return details


class Group:
    """Runs of one setting: same task, model and recipe; variant, layout and seed differ."""

    def __init__(self, rows):
        self.rows = rows

    def __getattr__(self, column):
        """What all runs of the group have in this column."""
        if column not in WORDS + COUNTS + REALS:
            raise AttributeError(column)
        return self.rows[0][column] if self.rows else None

    @property
    def unit(self):
        """What a loss is of: a byte or a token."""
        return "byte" if self.vocab in (None, 256) else "token"

    @property
    def kind(self):
        """What the texts were cut into, and which they are if they are not the default's."""
        kind = "bytes" if self.unit == "byte" else f"{self.vocab:,} tokens"
        return kind + (" of ELTeC" if "eltec" in (self.data or "") and kind == "bytes" else "")

    @property
    def label(self):
        """Size and kind: tiny, bytes. Of the recall task: recall, 6 pairs."""
        recall = self.task == "recall"
        return f"recall, {self.pairs} pairs" if recall else f"{self.size}, {self.kind}"

    def runs(self, attn, layout):
        """The runs of a model, by seed. standard has no layouts."""
        return [row for row in self.rows
                if row["attn"] == attn and (attn == "standard" or row["layout"] == layout)]

    def models(self):
        """(attn, layout) of all models, in the paper's order of variants."""
        found = {(row["attn"], "uniform" if row["attn"] == "standard" else row["layout"])
                 for row in self.rows}
        return sorted(found, key=lambda model: (VARIANTS.index(model[0]), model[1]))

    def mean(self, attn, layout, column="val_loss"):
        """Over seeds, or None."""
        return mean(row[column] for row in self.runs(attn, layout))

    def floor(self, name):
        """chance_loss, unigram_floor or bigram_floor, which all runs on one text share."""
        return mean(row[name] for row in self.rows)

    def main_models(self):
        """How many of the uniform and even models there are."""
        return sum(layout in ("uniform", "even") for _, layout in self.models())

    def seeds(self):
        """The seeds of its runs."""
        return sorted({row["seed"] for row in self.rows if row["seed"] is not None})


class Results:
    """A results folder."""

    def __init__(self, folder):
        if not os.path.isdir(folder):
            raise BadInput(f"{folder}: is no folder; expected one that deconstruct.py wrote: run "
                           "python3 dev/experiments/deconstruct.py first")
        self.all_rows = read_rows(os.path.join(folder, "results.csv"))
        self.rows = [row for row in self.all_rows if row["status"] == "done"]
        self.details = read_details(os.path.join(folder, "details.json"))
        groups = {}
        for row in self.rows:
            groups.setdefault(tuple(row[name] for name in SETTING), []).append(row)
        self.groups = [Group(rows) for rows in groups.values()]
        self.texts = self.by_label()
        # The two that stand side by side: bytes, and tokens of the same size if there are any.
        self.text = self.best(self.texts, lambda g: g.unit == "byte") or Group([])
        self.tokens = self.best(self.texts, lambda g: g.unit == "token" and (
            not self.text.rows or g.size == self.text.size))
        self.mains = [group for group in (self.text, self.tokens) if group and group.rows]
        if not self.text.rows:
            self.text = self.tokens or self.best(self.texts, lambda g: True) or Group([])
            self.mains = [self.text] if self.text.rows else []
        # Recall's groups. The first decides the findings: it has most models and runs.
        self.recalls = sorted((group for group in self.groups if group.task == "recall"),
                              key=lambda g: (-g.main_models(), -len(g.rows)))
        self.recall = self.recalls[0] if self.recalls else Group([])

    @staticmethod
    def plain(group):
        """Whether it has neither QK-norm nor grouped heads."""
        return not group.qk_norm and group.kv_heads == group.heads

    @staticmethod
    def best(groups, wanted):
        """Of the wanted groups the one with most of the paper's models, then the smallest size."""
        found = [group for group in groups if wanted(group)]
        return max(found, key=lambda g: (g.main_models(), -(g.parameters or 0)), default=None)

    def by_label(self):
        """Of each size and kind the group with most models; bytes before tokens, by size."""
        found = {}
        for group in self.groups:
            if group.task == "text" and self.plain(group):
                found.setdefault(group.label, []).append(group)
        best = [max(groups, key=lambda g: (g.main_models(), len(g.rows)))
                for groups in found.values()]
        return sorted(best, key=lambda g: (g.unit != "byte", g.vocab or 0, g.kind,
                                           g.parameters or 0))

    def sizes(self):
        """[(kind, its groups by number of parameters)] where there are two sizes or more."""
        kinds = {}
        for group in self.texts:
            kinds.setdefault(group.kind, []).append(group)
        return [(kind, groups) for kind, groups in kinds.items() if len(groups) > 1]

    def layouts(self):
        """(group, attn) wherever a variant was trained in three layouts or more."""
        found = [(group, attn) for group in self.groups for attn in VARIANTS[1:]
                 if group.task == "text" and self.plain(group)
                 and len({layout for a, layout in group.models() if a == attn}) > 2]
        return sorted(found, key=lambda pair: -len(pair[0].rows))

    def detail(self, row, part):
        """A part of details.json for a run, or None."""
        runs = self.details.get("runs") or {}
        return (runs.get(row["run"]) or {}).get(part)

    def parts(self, group, attn, layout, part):
        """That part of all runs of a model that have it."""
        found = [self.detail(row, part) for row in group.runs(attn, layout)]
        return [x for x in found if x]
