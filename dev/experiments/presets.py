"""The grids: which models each preset trains and what it measures of them."""

import hashlib
import json
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRESETS = {
    "quick": "text, one seed: seven variants, uniform and every other layer standard; minutes",
    "recall": "the recall task, three seeds: the same 13 models with two layers; minutes",
    "table": "text and recall, three seeds: means and standard errors; hours",
    "paper": "table, and sizes, layouts, context, ablations, cost; overnight",
}
SIMPLE = ["mlp", "approx", "nonapprox", "rndembqk", "fixedseqqk", "staticembqk"]
LAYOUTS = ["even", "odd", "top", "middle", "bottom", "25", "first", "last", "bilateral"]
DATA = "dev/data/austen_train.txt"
VAL = "dev/data/austen_val.txt"
SENTENCE = "It was so very kind of you, my dear."
PROMPT = "It was "

# What names a run: every setting that changes its result. The number of threads does not.
SETTINGS = ["task", "size", "attn", "layout", "layers", "dim", "heads", "kv_heads", "ffn", "seq",
            "batch", "steps", "lr", "min_lr", "warmup", "seed", "qk_norm", "pairs", "vocab",
            "data", "val", "eval_every", "eval_batches", "patience"]
WHOLE = ["layers", "dim", "heads", "kv_heads", "ffn", "seq", "batch", "steps", "warmup", "seed",
         "pairs", "vocab", "eval_every", "eval_batches"]

# A smaller task than train_attnvar's size recall and a larger batch: what can solve it does so with
# every seed, soon (README.md says what was tried). A run ends after PATIENCE solved validations in
# a row, else after STEPS.
RECALL = {"seq": 24, "pairs": 6, "vocab": 32, "batch": 128, "ffn": 64, "steps": 600, "lr": 3e-3,
          "patience": 4, "eval_every": 20}
# Small enough for minutes, long enough that what cannot mix is seen to have stopped at the floor.
QUICK = {"batch": 8, "steps": 550}


class Refused(Exception):
    """One line for the user: what was found, what is expected, what to do."""


def sizes():
    """The table of --size that the program prints, so that it stands in one place only."""
    program = os.path.join(ROOT, "train_attnvar")
    try:
        text = subprocess.run([program, "--help"], stdout=subprocess.PIPE, check=True,
                              universal_newlines=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise Refused("no ./train_attnvar that runs: build it with make train_attnvar tools"
                      ) from None
    head, *lines = text[text.index("--size NAME"):].splitlines()
    names = head.split()[2:]
    return {line.split()[0]: dict(zip(names, map(float, line.split()[1:])))
            for line in lines if line.strip()}


def checksum(path):
    """Of a data file: other contents are another run."""
    try:
        with open(os.path.join(ROOT, path), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}: expected a text to train on") from None


class Grid:
    """Collects runs; the same run asked for twice is one, with the measurements of both."""

    def __init__(self, data=DATA, val=VAL):
        self.data, self.val = data, val
        self.sizes = sizes()
        self.sums = {path: checksum(path) for path in {data, val}}
        self.runs = {}

    def add(self, attn, layout="uniform", size="tiny", seed=1, measures=(), **over):
        s = {name: int(value) if value == int(value) else value
             for name, value in self.sizes[size].items() if name != "beta2"}
        s.update(task="text", size=size, attn=attn, layout=layout, seed=seed, qk_norm=0,
                 pairs=None, vocab=None, data=self.data, val=self.val, patience=0, eval_batches=4)
        s.update(over)
        if s["task"] == "recall":
            s.update(data="recall", val=None, pairs=s["pairs"] or 8,
                     vocab=s["vocab"] or 64)
        s.setdefault("kv_heads", s["heads"])
        s.setdefault("eval_every", max(1, s["steps"] // 10))
        s.setdefault("warmup", s["steps"] // 20)
        s.setdefault("min_lr", float(f"{s['lr'] / 10:.6g}"))
        settings = {name: s[name] for name in SETTINGS}
        name = self.name(settings)
        run = self.runs.setdefault(name, {"name": name, "settings": settings, "measures": {}})
        run["measures"].update(measures)

    def name(self, s):
        """Readable, and with a checksum of all settings and of the data."""
        marks = [s["task"], s["size"], s["attn"], s["layout"]]
        if s["layers"] != self.sizes[s["size"]]["layers"]:
            marks.append(f"{s['layers']}layers")
        if s["qk_norm"]:
            marks.append("qknorm")
        if s["kv_heads"] != s["heads"]:
            marks.append(f"kv{s['kv_heads']}")
        text = json.dumps([s, self.sums.get(s["data"]), self.sums.get(s["val"])], sort_keys=True)
        marks += [f"s{s['seed']}", hashlib.sha256(text.encode()).hexdigest()[:6]]
        return re.sub(r"[^A-Za-z0-9.-]", "-", "-".join(marks))


def models():
    """The 13 of the paper's Table 1: each variant alone, then between standard layers."""
    yield "standard", "uniform"
    for layout in ("uniform", "even"):
        for attn in SIMPLE:
            yield attn, layout


def measures_of(attn, layout, windows, seq=128, look=False, context=False, maps=False):
    """File name -> the instrument's arguments; 0 windows: all of the validation text."""
    evaluate = ["eval_attnvar", "--windows", str(windows)]
    if layout != "uniform":
        evaluate += ["--skip", "both"]
    m = {"eval.json": evaluate + (["--positions"] if look else [])}
    if look:
        m["inspect.json"] = ["inspect_attnvar", "--windows", "16"]
        m["inspect-cost.json"] = ["inspect_attnvar", "--cost"]
        m["generate.json"] = ["generate_attnvar", "--prompt", PROMPT, "--tokens",
                              str(min(240, seq - len(PROMPT)))]
    if maps and attn != "mlp":
        m["inspect-maps.json"] = ["inspect_attnvar", "--maps", "maps", "--format", "csv",
                                  "--force", "--text", SENTENCE]
    if context:
        lengths = [2 ** k for k in range(20) if 2 ** k <= seq]
        m["eval-context.json"] = ["eval_attnvar", "--no-loss", "--context",
                                  ",".join(map(str, lengths))]
    return m


def quick(grid, seeds, steps=None):
    for seed in seeds:
        for attn, layout in models():
            maps = layout == "uniform" or attn == "nonapprox"
            grid.add(attn, layout, seed=seed, **dict(QUICK, steps=steps or QUICK["steps"]),
                     measures=measures_of(attn, layout, 256, look=True, maps=maps))


def recall(grid, seeds, steps=None):
    for seed in seeds:
        for attn, layout in models():
            grid.add(attn, layout, "recall", seed, task="recall",
                     **dict(RECALL, steps=steps or RECALL["steps"]))


def text(grid, seeds, size, steps=None, **over):
    """The 13 models at a size; the first seed is looked at closely."""
    over.update({"steps": steps} if steps else {})
    seq = int(grid.sizes[size]["seq"])
    for seed in seeds:
        first = seed == seeds[0]
        for attn, layout in models():
            grid.add(attn, layout, size, seed, **over,
                     measures=measures_of(attn, layout, 0, seq, look=first, context=first,
                                          maps=first and (layout == "uniform" or
                                                          attn == "nonapprox")))


def table(grid, seeds, steps=None):
    text(grid, seeds, "tiny", steps)
    recall(grid, seeds, steps)


def paper(grid, seeds, steps=None):
    table(grid, seeds, steps)
    over = {"steps": steps} if steps else {}
    for option in ({"qk_norm": 1}, {"kv_heads": 2}):
        for attn in ("standard", "nonapprox", "rndembqk"):
            for layout in ("uniform", "even")[:1 if attn == "standard" else 2]:
                grid.add(attn, layout, **option, **over, measures=measures_of(attn, layout, 0))
    grid.add("standard", layers=8, **over, measures=measures_of("standard", "uniform", 0))
    for attn in ("rndembqk", "nonapprox"):
        for layout in ["uniform"] + LAYOUTS:
            grid.add(attn, layout, layers=8, **over, measures=measures_of(attn, layout, 0))
    for size in ("small", "10m"):
        text(grid, seeds[:1], size, steps)


BUILD = {"quick": quick, "recall": recall, "table": table, "paper": paper}
SEEDS = {"quick": 1, "recall": 3, "table": 3, "paper": 3}


def plan(preset, seeds=None, steps=None, data=DATA, val=VAL):
    """The runs of a preset in their order: [{"name", "settings", "measures"}, ...]"""
    grid = Grid(data, val)
    BUILD[preset](grid, range(1, (seeds or SEEDS[preset]) + 1), steps)
    return list(grid.runs.values())
