#!/usr/bin/env python3
"""measure_torch.py: the measurements of dev/tools, for models too large for the CPU.

    python3 dev/scale/measure_torch.py FOLDER --skip --context 1,2,4,8 --inspect 16

Reads a folder that attnvar_torch.py or train_attnvar wrote. Writes into it eval.json and, with
--inspect, inspect.json: the members of `eval_attnvar --json --positions` and `inspect_attnvar --json`
by the same rules, in float32. dev/tools/README.md explains them.
"""
import argparse
import json
import math
import os
import sys
from types import SimpleNamespace

import attnvar_torch as A      # first: it says where to find torch if it is not there
import torch

TARGETS = 1024                                      # scored for every length of context


def mean_of(losses):
    losses = losses.double()
    return {"loss": float(losses.mean()),
            "loss_stderr": float(losses.std() / math.sqrt(len(losses))) if len(losses) > 1 else 0.0}


@torch.no_grad()
def over_windows(model, val, windows, skip, bytes_each):
    """Loss over the first windows, and by position."""
    B, T, losses, right = model.c.batch, model.c.seq, [], 0
    for first in range(0, windows, B):
        inputs, targets = val.validation_batch(first, min(B, windows - first), T)
        loss, hit = model.losses(inputs, targets, skip, torch.float32)
        losses.append(loss)
        right += int(hit.sum())
    losses = torch.cat(losses).double()
    result = {"skip": skip or "none", "tokens": losses.numel(), **mean_of(losses.flatten())}
    result["perplexity"] = math.exp(min(result["loss"], 700))
    if bytes_each:
        result["bits_per_byte"] = result["loss"] / math.log(2) / bytes_each
    result["accuracy"] = right / losses.numel()
    result["loss_by_position"] = [round(x, 6) for x in losses.mean(0).tolist()]
    return result


@torch.no_grad()
def by_context(model, val, contexts, skip):
    """Loss of the same targets for each length, from only that many tokens before them."""
    longest, out = max(contexts), []
    places = torch.tensor([longest + int((val.n - longest) * i / TARGETS) for i in range(TARGETS)])
    for context in contexts:
        losses = []
        for some in places.split(max(1, model.c.batch * model.c.seq // context)):
            tokens = val.tokens(some[:, None] + torch.arange(-context, 1))
            targets = torch.full_like(tokens[:, 1:], -1)
            targets[:, -1] = tokens[:, -1]
            losses.append(model.losses(tokens[:, :-1], targets, skip, torch.float32)[0][:, -1])
        out.append({"context": context, "targets": TARGETS, **mean_of(torch.cat(losses))})
    return out


def evaluate(model, val, windows=0, skips=(None,), contexts=(), bytes_each=None):
    windows = min(windows or val.n, (val.n - 1) // model.c.seq)
    results = []
    for skip in skips:
        result = over_windows(model, val, windows, skip, bytes_each)
        if contexts and not skip:
            result["context"] = by_context(model, val, contexts, skip)
        results.append(result)
    return {**shape(model), "results": results}


def shape(model):
    c = model.c
    return {"layers": c.layout, "dim": c.dim, "heads": c.heads, "kv_heads": c.kv_heads, "ffn": c.ffn,
            "vocab": c.vocab, "trained_length": c.seq}


# ---- maps ----------------------------------------------------------------------------------------

NAMES = ["entropy", "concentration", "diversity", "sink", "locfoc0", "locfoc1", "locfoc2", "locfoc3"]


def map_and_scores(letter, q, k):
    """(NH,T,T) the map of the first row; the scores before the softmax or the polynomial."""
    q, k, T = q[:1].double(), k[:1].double(), q.shape[1]
    hidden = A.later(T, q.device)
    if letter == "N":
        x = (torch.nn.functional.silu(q.transpose(1, 2)) * A.per_head(k, q.shape[2])).sum(-1)[0]
        x = x / math.sqrt(q.shape[3])
        return x[:, None].expand(-1, T, -1).masked_fill(hidden, -math.inf).softmax(-1), x.flatten()
    x = A.scores(q, k)[0]
    if letter == "A":
        f = (1 + x + x * x / 2).masked_fill(hidden, 0)
        return f / f.sum(-1, keepdim=True), x[:, ~hidden].flatten()
    return x.masked_fill(hidden, -math.inf).softmax(-1), x[:, ~hidden].flatten()


def indicators(a):
    """(NH,8) of a map (NH,T,T)"""
    T = a.shape[1]
    entropy = -torch.special.xlogy(a, a).sum((1, 2))
    diversity = 2 * a.std(0, unbiased=False).sum() / (T * (T + 1))
    focus = [a.diagonal(-n, 1, 2).mean(1) for n in range(4)]
    return torch.stack([entropy, a.square().sum((1, 2)).sqrt(), diversity.expand(len(a)),
                        a[:, :, 0].mean(1), *focus], 1)


def normalised(raw, T, NH):
    """The first three rescaled to 0 .. 1; the range of the others is 0 to 1 already."""
    ranges = {"entropy": (0, math.lgamma(T + 1)), "diversity": (0, 2 * math.sqrt(NH - 1) / (T + 1)),
              "concentration": (math.sqrt(sum(1 / t for t in range(1, T + 1))), math.sqrt(T))}
    return {name: (x - ranges[name][0]) / (ranges[name][1] - ranges[name][0])
            if name in ranges and ranges[name][1] > ranges[name][0] else 0.0 if name in ranges else x
            for name, x in raw.items()}


def distribution(x):
    """Least, largest and mean of the scores; percentiles interpolated between neighbours."""
    x = x.sort().values
    out = {"count": len(x), "min": float(x[0])}
    for p in (1, 25, 50, 75, 99):
        place = p / 100 * (len(x) - 1)
        low = int(place)
        high = min(low + 1, len(x) - 1)
        out[f"p{p}"] = float(x[low] + (place - low) * (x[high] - x[low]))
    return {**out, "max": float(x[-1]), "mean": float(x.mean())}


@torch.no_grad()
def inspect(model, val, windows=16):
    """Indicators and scores of every layer's maps: means over the first windows."""
    c, seen, real = model.c, [], dict(A.VARIANTS)
    sums = [torch.zeros(c.heads, len(NAMES), dtype=torch.float64, device=model.store.device)
            for _ in range(c.layers)]
    scores, kept_block, kept_dtype = [[] for _ in range(c.layers)], model.block, model.dtype

    def watched(letter, mixer):
        def mix(q, k, v, fast):
            seen.append(map_and_scores(letter, q, k))
            return mixer(q, k, v, fast)
        return mix

    model.block, model.dtype = A.block, torch.float32
    try:
        for letter, (kind, rotates, mixer) in real.items():
            if mixer:
                A.VARIANTS[letter] = (kind, rotates, watched(letter, mixer))
        for w in range(windows):
            seen.clear()
            model.forward(val.validation_batch(w, 1, c.seq)[0])
            layers = [l for l, letter in enumerate(c.layout) if letter != "M"]
            for l, (a, x) in zip(layers, seen):
                sums[l] += indicators(a) / windows
                scores[l].append(x.float())
    finally:
        A.VARIANTS.update(real)
        model.block, model.dtype = kept_block, kept_dtype
    out = []
    for l, letter in enumerate(c.layout):
        entry = {"layer": l + 1, "variant": A.NAMES[letter]}
        if letter != "M":
            raw = dict(zip(NAMES, sums[l].mean(0).tolist()))
            entry.update(raw=raw, normalised=normalised(raw, c.seq, c.heads),
                         heads=[dict(zip(NAMES, row)) for row in sums[l].tolist()],
                         scores=distribution(torch.cat(scores[l])))
        out.append(entry)
    return {**shape(model), "windows": windows, "positions": c.seq, "indicators": out}


# ---- the program ---------------------------------------------------------------------------------

def load(folder, device, data=None):
    """(model, validation data) of a checkpoint"""
    s, state = A.checkpoint_open(folder)
    c = SimpleNamespace(**{key: getattr(s, key) for key in A.MODEL_KEYS})
    model = A.Model(c, 0, device)
    A.checkpoint_read(model, folder, s, state, False)
    s.data, s.val, s.sample = (data, data, 0) if data else (s.data, s.val, 0)
    return model, A.open_data(s, device)[1]


def write(folder, name, value):
    path = os.path.join(folder, name)
    with open(path + ".tmp", "w") as file:
        json.dump({"checkpoint": folder, **value}, file)
        file.write("\n")
    os.replace(path + ".tmp", path)


def main():
    argparse.ArgumentParser.error = lambda self, message: A.fail(f"{message}; see --help")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    option = parser.add_argument
    option("folder")
    option("--data", metavar="FILE", help="text or tokens [the run's validation data]")
    option("--windows", metavar="N", type=int, default=0, help="windows to score; 0: all [0]")
    option("--skip", action="store_true", help="also without the blocks, then without the mixers, of "
           "the layers that are not standard")
    option("--context", metavar="N,N", default="", help="lengths of context [none]")
    option("--inspect", metavar="N", type=int, default=0, help="windows for inspect.json [none]")
    option("--bytes", metavar="X", type=float, help="mean bytes of a token, for bits a byte [none]")
    option("--device", metavar="NAME", help="cuda, mps or cpu [the first that this machine has]")
    args = parser.parse_args()
    device = A.choose_device(args.device)
    model, val = load(args.folder, device, args.data)
    if val.pairs:
        A.fail(f"{args.folder}: was trained on recall, which has no running text")
    try:
        contexts = [int(x) for x in args.context.split(",") if x]
    except ValueError:
        A.fail(f"--context {args.context}: expected whole numbers such as 1,2,4")
    if contexts and not 1 <= min(contexts) <= max(contexts) <= min(model.c.seq, val.n - 1):
        A.fail(f"--context {args.context}: expected 1 to {min(model.c.seq, val.n - 1)}")
    skips = (None, "blocks", "mixers") if args.skip else (None,)
    write(args.folder, "eval.json", evaluate(model, val, args.windows, skips, contexts, args.bytes))
    if args.inspect:
        write(args.folder, "inspect.json", inspect(model, val, args.inspect))


if __name__ == "__main__":
    main()
