"""The grids: which models each preset trains and what it measures of them."""

import hashlib
import json
import os
import re
import subprocess

from common import Refused

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRESETS = {
    "quick": "bytes and tokens, one seed: seven variants, uniform and hybrid; two minutes",
    "recall": "the recall task, three seeds: the same 13 models with two layers; minutes",
    "table": "bytes, tokens and recall, three seeds: means and standard errors; an hour",
    "paper": "table, and sizes, layouts, context, ablations, cost; overnight",
    "scale-tiny": "on a GPU: the 13 models, size tiny, 8,192 tokens, three seeds",
    "scale-small": "on a GPU: the same at size small",
    "scale-10m": "on a GPU: the same at size 10m",
    "scale-70m": "on a GPU: the same at the paper's smallest size, 70m, one seed",
    "scale-bytes": "on a GPU: tiny, small and 10m on bytes, one seed",
    "scale-layouts": "on a GPU: nine layouts of 8 layers for rndembqk and nonapprox, size small",
    "scale-options": "on a GPU: QK-norm and grouped heads at size 10m",
    "scale-recall": "on a GPU: the 13 models on recall with more pairs, size small, three seeds",
}
SIMPLE = ["mlp", "approx", "nonapprox", "rndembqk", "fixedseqqk", "staticembqk"]
LAYOUTS = ["even", "odd", "top", "middle", "bottom", "25", "first", "last", "bilateral"]
DATA = "dev/data/austen_train.txt"
VAL = "dev/data/austen_val.txt"
OWN_TEXT = ("quick", "table", "paper")      # the presets that can train on a user's text
# What a model is trained on: the texts as bytes, or as the tokens that dev/scale/bpe.py made of
# them, with the table by which the instruments read and print text. eltec.py makes the second.
ELTEC = "dev/experiments/eltec/"
CORPORA = {
    "bytes": {"data": DATA, "val": VAL, "vocab": None, "tokenizer": None},
    "tokens": {"data": "dev/data/austen_train_1024.bin", "val": "dev/data/austen_val_1024.bin",
               "vocab": 1024, "tokenizer": "dev/data/tokens.txt"},
    "eltec-bytes": {"data": ELTEC + "eltec_train.txt", "val": ELTEC + "eltec_val.txt",
                    "vocab": None, "tokenizer": None},
    "eltec-tokens": {"data": ELTEC + "eltec_train_8192.bin", "val": ELTEC + "eltec_val_8192.bin",
                     "vocab": 8192, "tokenizer": ELTEC + "tokens.txt"},
}
SENTENCE = "It was so very kind of you, my dear."
PROMPT = "It was "

# A run's name follows from every setting that changes its result. The number of threads does not.
SETTINGS = ["task", "size", "attn", "layout", "layers", "dim", "heads", "kv_heads", "ffn", "seq",
            "batch", "steps", "lr", "min_lr", "warmup", "beta2", "seed", "qk_norm", "pairs",
            "vocab", "data", "val", "tokenizer", "engine", "eval_every", "eval_batches", "patience"]
WHOLE = ["layers", "dim", "heads", "kv_heads", "ffn", "seq", "batch", "steps", "warmup", "seed",
         "pairs", "vocab", "eval_every", "eval_batches"]

# A smaller task than train_attnvar's size recall and a larger batch: a variant that can solve it
# does so soon, with every seed (README.md lists the trials). A run ends after PATIENCE solved
# validations in a row, else after STEPS.
RECALL = {"seq": 24, "pairs": 6, "vocab": 32, "batch": 128, "ffn": 64, "steps": 600, "lr": 3e-3,
          "patience": 4, "eval_every": 20}
# Short enough for two minutes, long enough to show that a model without mixing stops at the floor.
# Small batches learn most in that time. The rates were chosen on standard.
QUICK = {"bytes": {"batch": 2, "steps": 1200}, "tokens": {"batch": 2, "steps": 1200, "lr": 4e-3}}


def sizes():
    """The sizes, from the table that the program's --help prints: they are defined only there."""
    program = os.path.join(ROOT, "train_attnvar")
    try:
        text = subprocess.run([program, "--help"], stdout=subprocess.PIPE, check=True,
                              encoding="utf-8", errors="replace").stdout
        _, head, *lines = text[text.index("--size NAME"):].splitlines()
        names = head.split()[1:]
        return {line.split()[0]: dict(zip(names, map(float, line.split()[1:])))
                for line in lines if line.strip()}
    except (OSError, ValueError, subprocess.CalledProcessError):
        raise Refused("no ./train_attnvar that runs: build it with make train_attnvar tools"
                      ) from None


def checksum(path):
    """The checksum of a data file: a run with other contents is another run."""
    try:
        with open(os.path.join(ROOT, path), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        hint = ": python3 dev/experiments/eltec.py makes it" if path.startswith(ELTEC) else ""
        raise Refused(f"{path}: {error.strerror}: expected a text to train on{hint}") from None


class Grid:
    """Collects runs; the same run asked for twice is one, with the measurements of both."""

    def __init__(self, data=DATA, val=VAL):
        own = dict(CORPORA["bytes"], data=data, val=val)
        self.own = None if own == CORPORA["bytes"] else own
        self.sizes = sizes()
        self.sums = {}
        self.runs = {}

    def add(self, attn, layout="uniform", size="tiny", seed=1, measures=(), corpus="bytes", **over):
        if self.own and corpus != "bytes":
            return                          # a user's own text is used as bytes only
        s = {name: int(value) if value == int(value) else value
             for name, value in self.sizes[size].items() if name != "beta2"}
        s.update(task="text", size=size, attn=attn, layout=layout, seed=seed, qk_norm=0,
                 pairs=None, patience=0, eval_batches=4, engine="c", beta2=None)
        s.update(self.own or CORPORA[corpus])
        s.update(over)
        if s["task"] == "recall":
            s.update(data="recall", val=None, pairs=s["pairs"] or 8,
                     vocab=s["vocab"] or 64)
        for path in (s["data"], s["val"]):
            if path not in self.sums and path and s["task"] != "recall":
                self.sums[path] = checksum(path)
        s.setdefault("kv_heads", s["heads"])
        s.setdefault("eval_every", max(1, s["steps"] // 10))
        s.setdefault("warmup", s["steps"] // 20)
        s.setdefault("min_lr", float(f"{s['lr'] / 10:.6g}"))
        settings = {name: s[name] for name in SETTINGS}
        name = self.name(settings)
        run = self.runs.setdefault(name, {"name": name, "settings": settings, "measures": {}})
        more = ["--tokenizer", settings["tokenizer"]] if settings["tokenizer"] and \
            settings["engine"] == "c" else []
        run["measures"].update({file: words + more for file, words in dict(measures).items()})

    def name(self, s):
        """Readable, and with a checksum of all settings and of the data."""
        marks = [s["task"], s["size"]]
        marks += [f"{s['vocab']}"] if s["tokenizer"] else []
        marks += [s["attn"], s["layout"]]
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
    for corpus, recipe in QUICK.items():
        for seed in seeds:
            for attn, layout in models():
                grid.add(attn, layout, seed=seed, corpus=corpus,
                         **dict(recipe, steps=steps or recipe["steps"]),
                         measures=measures_of(attn, layout, 256, look=True,
                                              maps=corpus == "tokens" or layout == "uniform"))


def recall(grid, seeds, steps=None):
    for seed in seeds:
        for attn, layout in models():
            grid.add(attn, layout, "recall", seed, task="recall",
                     **dict(RECALL, steps=steps or RECALL["steps"]))


def text(grid, seeds, size, steps=None, corpus="bytes", **over):
    """The 13 models at a size; the first seed is looked at closely."""
    over.update({"steps": steps} if steps else {})
    seq = int(grid.sizes[size]["seq"])
    for seed in seeds:
        first = seed == seeds[0]
        for attn, layout in models():
            grid.add(attn, layout, size, seed, **over, corpus=corpus, measures=measures_of(
                attn, layout, 0, seq, look=first, context=True,
                maps=first and ("tokens" in corpus or layout == "uniform")))


def table(grid, seeds, steps=None):
    for corpus in ("bytes", "tokens"):
        text(grid, seeds, "tiny", steps, corpus)
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


# On a GPU, by dev/scale/attnvar_torch.py. Of each size: its recipe, how many runs share the GPU.
# The rates were chosen on standard.
SCALE = {
    "tiny": {"seq": 512, "batch": 32, "steps": 1221, "lr": 8e-3},
    "small": {"seq": 512, "batch": 32, "steps": 1221, "lr": 4e-3},
    "10m": {"seq": 512, "batch": 32, "steps": 1221, "lr": 7e-4},
    "70m": {"seq": 1024, "batch": 32, "steps": 1832, "lr": 8e-4, "beta2": 0.99},
}
# More pairs, words, positions, layers and channels than the laptop's recall. The rate was chosen on
# standard.
SCALE_RECALL = {"seq": 64, "pairs": 16, "vocab": 128, "batch": 128, "steps": 4000, "lr": 1e-3,
                "patience": 4, "eval_every": 100}
SIDE_BY_SIDE = {"tiny": 8, "small": 8, "10m": 4, "70m": 2}


def measures_on_gpu(layout, seq, look=False):
    """The same by dev/scale/measure_torch.py, which leaves both files at once."""
    words = ["measure_torch"] + (["--skip"] if layout != "uniform" else [])
    if look:
        lengths = [2 ** k for k in range(20) if 2 ** k <= seq]
        words += ["--context", ",".join(map(str, lengths)), "--inspect", "16"]
    return {"eval.json": words}


def scale_run(grid, attn, layout, size, seed, steps, look=False, corpus="eltec-tokens", **over):
    recipe = dict(SCALE[size], engine="torch", **over)
    recipe.update(eval_every=max(1, (steps or recipe["steps"]) // 5))
    recipe.update({"steps": steps} if steps else {})
    grid.add(attn, layout, size, seed, corpus=corpus, **recipe,
             measures=measures_on_gpu(layout, recipe["seq"], look))


def scale(grid, seeds, size, steps=None, corpus="eltec-tokens"):
    for seed in seeds:
        for attn, layout in models():
            scale_run(grid, attn, layout, size, seed, steps, seed == seeds[0], corpus)


def scale_of(size):
    """The preset of a size."""
    return lambda grid, seeds, steps=None: scale(grid, seeds, size, steps)


def scale_bytes(grid, seeds, steps=None):
    for size in ("tiny", "small", "10m"):
        scale(grid, seeds, size, steps, "eltec-bytes")


def scale_layouts(grid, seeds, steps=None):
    for seed in seeds:
        scale_run(grid, "standard", "uniform", "small", seed, steps, layers=8)
        for attn in ("rndembqk", "nonapprox"):
            for layout in ["uniform"] + LAYOUTS:
                scale_run(grid, attn, layout, "small", seed, steps, layers=8)


def scale_options(grid, seeds, steps=None):
    for seed in seeds:
        for option in ({"qk_norm": 1}, {"kv_heads": 2}):
            for attn in ("standard", "nonapprox", "rndembqk"):
                for layout in ("uniform", "even")[:1 if attn == "standard" else 2]:
                    scale_run(grid, attn, layout, "10m", seed, steps, **option)


def scale_recall(grid, seeds, steps=None):
    for seed in seeds:
        for attn, layout in models():
            grid.add(attn, layout, "small", seed, task="recall", engine="torch",
                     **dict(SCALE_RECALL, steps=steps or SCALE_RECALL["steps"]))


BUILD = {"quick": quick, "recall": recall, "table": table, "paper": paper,
         **{f"scale-{size}": scale_of(size) for size in SCALE}, "scale-bytes": scale_bytes,
         "scale-layouts": scale_layouts, "scale-options": scale_options,
         "scale-recall": scale_recall}
SEEDS = {"recall": 3, "table": 3, "paper": 3, "scale-tiny": 3, "scale-small": 3, "scale-10m": 3,
         "scale-layouts": 3, "scale-recall": 3}                # else 1


def plan(preset, seeds=None, steps=None, data=DATA, val=VAL):
    """The runs of a preset in their order: [{"name", "settings", "measures"}, ...]"""
    grid = Grid(data, val)
    BUILD[preset](grid, range(1, (seeds or SEEDS.get(preset, 1)) + 1), steps)
    return list(grid.runs.values())
