#!/usr/bin/env python3
"""attnvar_torch.py against the golden vectors, and its two forms of every mixer against each other.

    /usr/bin/python3 dev/test/test_torch.py [--device cuda]

Needs torch. Double where the device has it (1e-9 demanded), float32 as well (1e-4). The last line is
"N passed, N failed".
"""
import argparse
import json
import os
import struct
import sys
from types import SimpleNamespace

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "dev", "scale"))
import torch                                                    # noqa: E402
import attnvar_files as files                                   # noqa: E402
import attnvar_torch as A                                       # noqa: E402

GOLDEN = os.path.join(ROOT, "dev", "golden")
TYPES = {"F64": torch.float64, "I32": torch.int32, "U64": torch.int64}
passed, failed = 0, 0


def expect(ok, what, detail=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f"FAIL  {what}  {detail}")


def read(name):
    """(tensors by name, metadata)"""
    with open(os.path.join(GOLDEN, name + ".safetensors"), "rb") as file:
        raw = file.read()
    n, = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
    meta = header.pop("__metadata__")
    return {name: torch.frombuffer(data[slice(*t["data_offsets"])], dtype=TYPES[t["dtype"]])
            .view(t["shape"]) for name, t in header.items()}, meta


def error(a, b):
    """max |a - b| / max |b|; where b is all zero, a must be. NaN is infinite."""
    a, b = a.detach().double().cpu().reshape(-1), b.double().cpu().reshape(-1)
    if a.shape != b.shape or not bool(torch.isfinite(a).all()):
        return float("inf")
    most = float(b.abs().max())
    return float((a - b).abs().max()) / most if most else float(a.abs().max())


def close(a, b, tolerance, what):
    e = error(a, b)
    expect(e <= tolerance, what, f"error {e:.1e}, allowed {tolerance:.0e}")
    return e


def rng():
    g, meta = read("rng")
    for name, t in g.items():
        kind, _, key = name.partition(".")
        if kind == "u64":
            expect(torch.equal(A.RNG(int(key)).u64(6), t), name)
            one = A.RNG(int(key))
            expect([one.draw() for _ in range(6)] == [x % 2 ** 64 for x in t.tolist()], name + " drawn")
        elif kind == "streams":
            expect([A.stream(int(key), i).state for i in range(4)] == [x % 2 ** 64 for x in t.tolist()], name)
        elif kind in ("uniform", "normal"):
            mine = torch.stack([getattr(A.stream(int(key), i), kind)(6) for i in range(4)])
            close(mine, t, 1e-15, name)
    c = config(meta)
    m = A.Model(c, int(meta["seed"]), dtype=torch.float64)
    values = [*m.w.items(), ("anchor.embeds", m.embeds)]
    for name, t in values:
        t = t.detach().reshape(-1)
        close(torch.stack([t[0], t[-1], t.sum()]), g["init." + name], 1e-13, "init " + name)
    flat = torch.cat([t.detach().reshape(-1) for _, t in values])
    weights = 1 + torch.arange(len(flat)) % 97
    close((flat * weights).sum()[None], g["init.checksum"], 1e-13, "init checksum")


def config(meta):
    c = SimpleNamespace(**{key: int(meta[key]) for key in (
        "heads", "kv_heads", "dim", "ffn", "vocab", "seq", "batch", "qk_norm", "untied")})
    c.rope_base, c.layout, c.layers = float(meta["rope_base"]), meta["layout"], len(meta["layout"])
    return c


def layers(dtype, device, tolerance):
    g, _ = read("layers")
    for case in sorted({name.rsplit(".", 1)[0] for name in g}):
        t = {name.rsplit(".", 1)[1]: x.to(device) for name, x in g.items() if name.startswith(case + ".")}
        t = {name: x.to(dtype).requires_grad_() if x.is_floating_point() else x.long()
             for name, x in t.items()}
        kind = case.split(".")[0]
        if kind == "embedding":
            y, inputs = t["table"][t["tokens"]], ["table"]
        elif kind == "rmsnorm":
            y, inputs = A.rmsnorm(t["x"], t["gain"]), ["x", "gain"]
        elif kind == "linear":
            y, inputs = A.linear(t["x"], t["w"], t.get("b")), ["x", "w", "b"][:2 + ("b" in t)]
        elif kind == "rope":
            y, inputs = A.rope(t["x"], angles(t["x"].shape[1], t["x"].shape[3], float(t["base"])).to(t["x"])), ["x"]
        elif kind == "swiglu":
            y, inputs = A.swiglu(t["gate"], t["up"]), ["gate", "up"]
        else:
            losses = A.crossentropy(t["logits"][None], t["targets"][None])
            close(losses, t["losses"], tolerance, case + ".losses")
            y, inputs = losses.sum() / (t["targets"] >= 0).sum(), ["logits"]
            close(y, t["loss"], tolerance, case + ".loss")
        up = None if kind == "crossentropy" else t["dy"].detach()
        if up is not None:
            close(y, t["y"], tolerance, case + ".y")
        for name, d in zip(inputs, torch.autograd.grad(y, [t[name] for name in inputs], up)):
            close(d, t["d" + name], tolerance, f"{case}.d{name}")


def angles(T, dh, base):
    c = SimpleNamespace(dim=dh, heads=1, kv_heads=1, ffn=1, vocab=2, seq=T, layers=0, layout="", qk_norm=0,
                        untied=0, rope_base=base)
    return A.Model(c, dtype=torch.float64).angles


def mixers(dtype, device, tolerance, fast):
    g, _ = read("mixers")
    for case in sorted({name.rsplit(".", 1)[0] for name in g}):
        t = {name.rsplit(".", 1)[1]: x.to(device) for name, x in g.items() if name.startswith(case + ".")}
        variant = case.split(".")[0]
        R, M, T, NH, NKV, dh = t["shape"].tolist()
        leaf = {name: x.to(dtype).requires_grad_() for name, x in t.items() if x.is_floating_point()}
        if variant == "mlp":
            o = A.linear(A.swiglu(leaf["q"], leaf["k"]), leaf["wv"], leaf["bv"])
            inputs = ["q", "k", "wv", "bv"]
        else:
            _, rotates, mixer = A.VARIANTS[files.LETTER[variant]]
            q, k, v = (leaf[x].unflatten(-1, (-1, dh)) for x in "qkv")
            inputs = ["q", "k", "v"]
            if "qgain" in leaf:
                q, k = A.rmsnorm(q, leaf["qgain"]), A.rmsnorm(k, leaf["kgain"])
                inputs += ["qgain", "kgain"]
            if rotates:
                a = angles(T, dh, float(t["base"])).to(q)
                q, k = A.rope(q, a), A.rope(k, a)
            o = mixer(q, k, v, fast).flatten(2)
        what = f"{case}{' fast' if fast else ''} {dtype}"
        close(o, t["o"], tolerance, what + " o")
        for name, d in zip(inputs, torch.autograd.grad(o, [leaf[x] for x in inputs], t["do"].to(dtype))):
            close(d, t["d" + name], tolerance, f"{what} d{name}")


def models(dtype, device, tolerance, fast):
    for file in sorted(os.listdir(GOLDEN)):
        if file.startswith("model_"):
            model(file[:-len(".safetensors")], dtype, device, tolerance, fast)


def model(name, dtype, device, tolerance, fast):
    g, meta = read(name)
    c, what = config(meta), f"{name}{' fast' if fast else ''} {dtype}"
    m = A.Model(c, 1, device, dtype)
    m.fast = fast
    with torch.no_grad():
        for tensor in m.w:
            m.w[tensor].copy_(g["weight." + tensor])
        if "anchor.embeds" in g:
            m.embeds.copy_(g["anchor.embeds"])
        if "anchor.tokens" in g:
            m.anchor_tokens.copy_(g["anchor.tokens"])
    tokens, targets = g["tokens"].long().to(device), g["targets"].long().to(device)
    hidden = []
    hidden.append(m.forward(tokens[0], hidden=hidden))
    for l, h in enumerate(hidden):
        close(h, g[f"hidden.{l}"], tolerance, f"{what} hidden.{l}")
    close(m.logits(tokens[0]), g["logits"], tolerance, what + " logits")
    close(m.logits(tokens[0][:1, :c.seq - 2]), g["short.logits"], tolerance, what + " short.logits")
    losses, _ = m.losses(tokens[0], targets[0])
    close(losses, g["losses"], tolerance, what + " losses")
    m.add_gradients(losses.sum() / (targets[0] >= 0).sum())
    for tensor in m.w:
        close(m.g[tensor], g["grad." + tensor], tolerance, f"{what} grad.{tensor}")
    m.store[1] = 0
    for skip in "blocks", "mixers":
        if f"skip.{skip}.logits" in g:
            close(m.logits(tokens[0], skip), g[f"skip.{skip}.logits"], tolerance, f"{what} skip {skip}")
    prompt = int(meta["prompt"])
    drawn = A.sample(m, tokens[0, 0, :prompt].tolist(), 20, int(meta["sample_seed"]), float(meta["temperature"]))
    expect(drawn == g["sample.tokens"].tolist(), what + " sample")
    s = SimpleNamespace(**{key: float(meta[key]) for key in ("lr", "min_lr", "beta1", "beta2", "decay", "clip")},
                        steps=int(meta["steps"]), warmup=int(meta["warmup"]), seq=c.seq, batch=c.batch, accumulate=1)

    class Batches:      # the batches of the file, whose targets are not all scored
        pairs = 0

        def training_batch(self, rng, B, T):
            trainer.scored = int((targets[rng] >= 0).sum())
            return tokens[rng], targets[rng]
    trainer = A.Trainer(m, s, Batches(), recorded=False)
    for t in range(s.steps):
        trainer.step(t + 1, t)
    rows, _ = trainer.fetch()
    for i, key in ((1, "loss"), (2, "lr"), (3, "norm")):
        close(torch.tensor([row[i] for row in rows]), g["adamw." + key], max(tolerance, 1e-7), f"{what} adamw.{key}")
    for tensor in m.w:
        close(m.w[tensor], g["final." + tensor], tolerance, f"{what} final.{tensor}")


def forms(device, dtype=torch.float32, tolerance=1e-5):
    """The equations and the fast form of each mixer, at lengths where the fast form differs most."""
    torch.manual_seed(1)
    for letter, R, M, T, NH, NKV, dh in (("S", 2, 2, 300, 4, 2, 32), ("A", 2, 2, 1200, 2, 1, 16), ("N", 2, 2, 300, 4, 2, 32),
                                         ("R", 3, 1, 300, 4, 2, 32), ("E", 1, 1, 300, 4, 4, 64)):
        q, k, v = (torch.randn(r, T, n, dh, device=device, dtype=dtype).requires_grad_()
                   for r, n in ((M, NH), (M, NKV), (R, NKV)))
        up = torch.randn(R, T, NH, dh, device=device, dtype=dtype)
        mixer = A.VARIANTS[letter][2]
        pairs = []
        for fast in (False, A.FAST):
            o = mixer(q, k, v, fast)
            pairs.append([o, *torch.autograd.grad(o, [q, k, v], up)])
        for name, a, b in zip(("o", "dq", "dk", "dv"), pairs[1], pairs[0]):
            e = close(a, b, tolerance, f"{A.NAMES[letter]}: fast = equations, {name}")
            print(f"{A.NAMES[letter]:12s} {name:2s} fast against the equations: {e:.1e}")
    # the recurrence of approx needs no new PyTorch
    q, k, v = (torch.randn(2, 700, n, 8, device=device, dtype=dtype).requires_grad_() for n in (4, 2, 2))
    for a, b in zip(*[torch.autograd.grad(o, [q, k, v], torch.ones_like(o)) + (o,) for o in
                      (A.approx_recurrent(q, k, v), A.approx(q, k, v, False))]):
        close(a, b, tolerance * 10 if dtype == torch.float32 else tolerance, "approx: recurrence = map")
    x = torch.tensor([[[[1500.0]], [[-1500.0]], [[1400.0]]]], device=device, dtype=dtype).expand(1, 3, 1, 8)
    for fast in sorted({False, A.FAST}):         # scores beyond 1000 stay finite
        o = A.nonapprox(x.clone().requires_grad_(), torch.ones_like(x), x, fast)
        expect(bool(torch.isfinite(o).all()) and error(o[0, :, 0, 0], torch.tensor([1500.0, 1500, 1500])) < 1e-5,
               "nonapprox with scores beyond 1000", o[0, :, 0, 0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    rng()
    for fast in sorted({False, A.FAST}):
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
            if not fast:
                layers(dtype, device, tolerance)
            mixers(dtype, device, tolerance, fast)
            models(dtype, device, tolerance, fast)
    if A.FAST:
        forms(device)
    forms(device, torch.float64, 1e-10)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0 or not passed)


main()
