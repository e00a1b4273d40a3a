#!/usr/bin/env python3
"""Makes the golden vectors: inputs, outputs and gradients that any implementation must reproduce.

An implementation of the model and its seven attention variants that is independent of
train_attnvar.c: PyTorch, float64, every forward pass as naive as the equations (the T x T map is
always written out, an anchor is never dropped), every gradient by autograd. README.md beside this
file describes the files that it writes.

    make_golden.py            makes them in a temporary folder and compares with the committed ones
    make_golden.py --write    replaces the committed ones
    make_golden.py --dir D    compares with (or writes) the files of folder D

Exit code 0 if they agree: the same tensors, types, shapes, order and configuration, whole numbers
exactly, and every F64 tensor within 1e-12 of its largest value (BLAS libraries round differently).
"""
import argparse
import json
import math
import os
import re
import struct
import sys
import tempfile
import zlib

try:
    import torch
except ImportError:
    sys.exit("make_golden.py: error: %s has no torch; on Debian: apt-get install python3-torch, "
             "then /usr/bin/python3 %s" % (sys.executable or "this Python", sys.argv[0]))

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

TOLERANCE = 1e-12
RMS_EPS = 1e-6
VARIANTS = {"S": "standard", "M": "mlp", "A": "approx", "N": "nonapprox", "R": "rndembqk",
            "F": "fixedseqqk", "E": "staticembqk"}


# ---- the RNG: splitmix64, and what is drawn from it ---------------------------------------------

MASK = (1 << 64) - 1


class RNG:
    """splitmix64. uniform(): the top 53 bits. normal(): Box and Muller, the cosine half."""

    def __init__(self, state):
        self.state = state & MASK

    def u64(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def uniform(self):
        return (self.u64() >> 11) / 2.0 ** 53

    def normal(self):
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return radius * math.cos(2.0 * math.pi * self.uniform())

    def tensor(self, *shape, std=1.0, mean=0.0):
        """Normal values rounded to multiples of 2^-12: exact in float32 as well, and the same on
        every machine, whatever its log and cos do in the last bit."""
        n = math.prod(shape)
        values = [round((mean + std * self.normal()) * 4096) / 4096 for _ in range(n)]
        return torch.tensor(values).reshape(shape)

    def integers(self, below, *shape):
        n = math.prod(shape)
        return torch.tensor([self.u64() % below for _ in range(n)], dtype=torch.int32).reshape(shape)


STREAM_INIT, STREAM_DATA, STREAM_ANCHOR, STREAM_SAMPLE, STREAMS = range(5)


def stream(seed, number):
    """The state that consumer `number` of a run with this seed starts from."""
    return RNG(seed * STREAMS + number).u64()


# ---- safetensors: 8 bytes of header length, the header, the data --------------------------------

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int32: "I32"}
FORMATS = {"F64": "d", "F32": "f", "I32": "i", "U64": "Q"}


class U64(list):
    """A vector of unsigned 64-bit numbers, which torch does not have."""


def encode(tensors, metadata):
    """The bytes of a file: its tensors in the given order, the header padded to 8 bytes."""
    header, data = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, b""
    for name, t in tensors.items():
        if isinstance(t, U64):
            dtype, shape, values = "U64", [len(t)], list(t)
        else:
            t = t.detach()
            dtype, shape, values = DTYPES[t.dtype], list(t.shape), t.reshape(-1).tolist()
        raw = struct.pack("<%d%s" % (len(values), FORMATS[dtype]), *values)
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def decode(raw):
    """(header, values by name) of a file's bytes."""
    length, = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    values = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        form = FORMATS[entry["dtype"]]
        count = (end - begin) // struct.calcsize(form)
        values[name] = struct.unpack("<%d%s" % (count, form), data[begin:end])
    return header, values


def json_differences(new, old, same_bytes):
    """Of two JSON files with losses the numbers count; of any other the bytes do."""
    if "val_loss" not in new:
        return [] if same_bytes else ["differs"]
    close = new.keys() == old.keys() and all(
        new[k] == old[k] if isinstance(new[k], list) else abs(new[k] - old[k]) <= TOLERANCE * abs(new[k]) for k in new)
    return [] if close else ["differs"]


def differences(new, old):
    """What differs between two files, a line each; empty if they agree."""
    if new[:1] == b"{":                     # JSON: its numbers to 1e-12, else equal
        try:
            return json_differences(json.loads(new), json.loads(old), new == old)
        except ValueError as error:
            return ["is damaged: %s" % error]
    try:
        (head, values), (old_head, old_values) = decode(new), decode(old)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        return ["is damaged: %s" % error]
    if list(head.items()) != list(old_head.items()):
        changed = [k for k in list(head) + list(old_head) if head.get(k) != old_head.get(k)]
        return ["differs in structure: %s" % (", ".join(dict.fromkeys(changed)) or "the order")]
    found = []
    for name, b in values.items():
        a = old_values[name]
        if head[name]["dtype"] != "F64":
            if a != b:
                found.append("%s differs" % name)
            continue
        size = max(abs(y) for y in b)
        error = max(abs(x - y) for x, y in zip(a, b))
        if not all(map(math.isfinite, a + b)) or not error <= TOLERANCE * size:
            found.append("%s differs by %.1e, its largest value is %.1e" % (name, error, size))
    return found


# ---- layers --------------------------------------------------------------------------------------

def rms_norm(x, gain):
    """Over the last dimension: x / sqrt(mean(x^2) + 1e-6) * gain."""
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + RMS_EPS) * gain


def linear(x, w, b=None):
    """w is (out, in), as Hugging Face stores it."""
    y = x @ w.T
    return y if b is None else y + b


def silu(x):
    return x * torch.sigmoid(x)


def rope(x, base):
    """x (R, T, H, dh): the pair (a, a + dh/2) of position t turns by t base^(-2a/dh)."""
    T, dh = x.shape[1], x.shape[3]
    half = dh // 2
    speed = torch.tensor([base ** (-2.0 * a / dh) for a in range(half)])
    angle = torch.arange(T, dtype=torch.float64)[:, None] * speed[None, :]
    cos, sin = torch.cos(angle)[None, :, None, :], torch.sin(angle)[None, :, None, :]
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def cross_entropy(logits, targets):
    """(loss of each position, their mean over the positions with a target >= 0)."""
    scored = targets >= 0
    target = targets.clamp(min=0).long()
    log_p = logits - torch.logsumexp(logits, -1, keepdim=True)
    losses = -log_p.gather(-1, target[..., None])[..., 0] * scored
    return losses, losses.sum() / scored.sum()


# ---- mixers --------------------------------------------------------------------------------------

def causal(T):
    return torch.tril(torch.ones(T, T)).bool()


def repeat_kv(x, heads):
    """(R, T, NKV, dh) -> (R, T, NH, dh): key/value head h serves query heads h g .. h g + g - 1."""
    return x.repeat_interleave(heads // x.shape[2], dim=2)


def softmax_map(q, k):
    """(R, NH, T, T) from q (R, T, NH, dh), k (R, T, NKV, dh), after RoPE."""
    x = torch.einsum("rihd,rjhd->rhij", q, repeat_kv(k, q.shape[2])) / math.sqrt(q.shape[3])
    return torch.softmax(x.masked_fill(~causal(q.shape[1]), -math.inf), -1)


def taylor_map(q, k):
    """approx: 1 + x + x^2/2 in place of exp(x), one denominator a row."""
    x = torch.einsum("rihd,rjhd->rhij", q, repeat_kv(k, q.shape[2])) / math.sqrt(q.shape[3])
    f = (1 + x + x * x / 2) * causal(q.shape[1])
    return f / f.sum(-1, keepdim=True)


def key_score_map(q, k):
    """nonapprox: every query i sees the same score of key j, s SiLU(q_j).k_j; no RoPE."""
    T = q.shape[1]
    score = (silu(q) * repeat_kv(k, q.shape[2])).sum(-1) / math.sqrt(q.shape[3])     # (R, T, NH)
    x = score.permute(0, 2, 1)[:, :, None, :].expand(-1, -1, T, -1)
    return torch.softmax(x.masked_fill(~causal(T), -math.inf), -1)


def mix(A, v):
    """o (R, T, NH dh) from A (R or 1, NH, T, T), v (R, T, NKV, dh)."""
    o = torch.einsum("rhij,rjhd->rihd", A.expand(v.shape[0], -1, -1, -1), repeat_kv(v, A.shape[1]))
    return o.reshape(*o.shape[:2], -1)


def attention_map(letter, q, k, base):
    """The map of a variant from projected (and, with QK-norm, normed) q and k, before RoPE."""
    if letter == "N":
        return key_score_map(q, k)
    q, k = rope(q, base), rope(k, base)
    return taylor_map(q, k) if letter == "A" else softmax_map(q, k)


def split(x, dh):
    return x.reshape(*x.shape[:2], -1, dh)


# ---- the model -----------------------------------------------------------------------------------

def tensor_list(c):
    """(name, shape, role) of every parameter, in the order in which they are initialised."""
    C, F, V, dh = c["dim"], c["ffn"], c["vocab"], c["dim"] // c["heads"]
    CKV = c["kv_heads"] * dh
    out = [("model.embed_tokens.weight", (V, C), "matrix")]
    for l in range(len(c["layout"])):
        layer = [("input_layernorm.weight", (C,), "gain"),
                 ("self_attn.q_proj.weight", (C, C), "matrix"), ("self_attn.q_proj.bias", (C,), "bias"),
                 ("self_attn.k_proj.weight", (CKV, C), "matrix"), ("self_attn.k_proj.bias", (CKV,), "bias"),
                 ("self_attn.v_proj.weight", (CKV, C), "matrix"), ("self_attn.v_proj.bias", (CKV,), "bias"),
                 ("self_attn.o_proj.weight", (C, C), "matrix")]
        if c["qk_norm"]:
            layer += [("self_attn.q_norm.weight", (dh,), "gain"), ("self_attn.k_norm.weight", (dh,), "gain")]
        layer += [("post_attention_layernorm.weight", (C,), "gain"), ("mlp.gate_proj.weight", (F, C), "matrix"),
                  ("mlp.up_proj.weight", (F, C), "matrix"), ("mlp.down_proj.weight", (C, F), "matrix")]
        out += [("model.layers.%d.%s" % (l, n), s, r) for n, s, r in layer]
    out.append(("model.norm.weight", (C,), "gain"))
    if c["untied"]:
        out.append(("lm_head.weight", (V, C), "matrix"))
    return out


def forward(c, W, anchors, tokens, skip=None):
    """(logits (B,T,V), [h entering each block, and the final norm's input: (B,T,C)]).

    The rows are the batch, then the anchors; every row passes through every block. skip leaves out
    of every layer that is not standard its mixer ("mixers") or all of it ("blocks")."""
    B, T = tokens.shape
    dh = c["dim"] // c["heads"]
    table = W["model.embed_tokens.weight"]
    rows, row_of = [table[tokens.long()]], {}
    if "anchor.embeds" in anchors:
        row_of["R"] = B + len(row_of)
        rows.append(anchors["anchor.embeds"][None, :T])
    if "anchor.tokens" in anchors:
        row_of["F"] = B + len(row_of)
        rows.append(table[anchors["anchor.tokens"][None, :T].long()])
    e = h = torch.cat(rows)
    hidden = []
    for l, letter in enumerate(c["layout"]):
        hidden.append(h[:B])
        skipped = letter != "S" and skip
        if skipped == "blocks":
            continue
        w = {n[len("model.layers.%d." % l):]: t for n, t in W.items() if n.startswith("model.layers.%d." % l)}
        n = rms_norm(h, w["input_layernorm.weight"])
        source = rms_norm(e, w["input_layernorm.weight"]) if letter == "E" else n
        if letter in row_of:
            source = n[row_of[letter]:row_of[letter] + 1]
        q = linear(source, w["self_attn.q_proj.weight"], w["self_attn.q_proj.bias"])
        k = linear(source, w["self_attn.k_proj.weight"], w["self_attn.k_proj.bias"])
        if letter == "M":
            o = linear(silu(q) * k, w["self_attn.v_proj.weight"], w["self_attn.v_proj.bias"])
        else:
            v = linear(n, w["self_attn.v_proj.weight"], w["self_attn.v_proj.bias"])
            q, k, v = split(q, dh), split(k, dh), split(v, dh)
            if c["qk_norm"]:
                q = rms_norm(q, w["self_attn.q_norm.weight"])
                k = rms_norm(k, w["self_attn.k_norm.weight"])
            o = mix(attention_map(letter, q, k, c["rope_base"]), v)
        if not skipped:
            h = h + linear(o, w["self_attn.o_proj.weight"])
        n = rms_norm(h, w["post_attention_layernorm.weight"])
        act = silu(linear(n, w["mlp.gate_proj.weight"])) * linear(n, w["mlp.up_proj.weight"])
        h = h + linear(act, w["mlp.down_proj.weight"])
    hidden.append(h[:B])
    head = W["lm_head.weight"] if c["untied"] else table
    return linear(rms_norm(h[:B], W["model.norm.weight"]), head), hidden


SAMPLE = dict(prompt=3, drawn=20, temperature=2.0)


def sample(c, W, anchors, prompt, seed, count=SAMPLE["drawn"], temperature=SAMPLE["temperature"]):
    """(the prompt and the drawn tokens, the least distance of a draw from another token's share).

    A token is drawn from the softmax of the last position's logits, divided by the temperature, after
    a pass over the last T tokens: the first token whose cumulated probability exceeds the draw."""
    tokens, rng, nearest = list(prompt), RNG(stream(seed, STREAM_SAMPLE)), 1.0
    for _ in range(count):
        logits = forward(c, W, anchors, torch.tensor([tokens[-c["seq"]:]]))[0][0, -1]
        upto = torch.cumsum(torch.softmax(logits / temperature, 0), 0)
        u = rng.uniform()
        tokens.append(int((upto <= u).sum()))
        nearest = min(nearest, float((upto - u).abs().min()))
    return tokens, nearest


def learning_rate(a, step):
    """step from 0: linear warm-up, then half a cosine from lr towards min_lr."""
    if step < a["warmup"]:
        return a["lr"] * (step + 1) / a["warmup"]
    done = (step - a["warmup"]) / (a["steps"] - a["warmup"])
    return a["min_lr"] + 0.5 * (a["lr"] - a["min_lr"]) * (1 + math.cos(math.pi * done))


# ---- what the files hold -------------------------------------------------------------------------

def with_gradients(out, prefix, names, inputs, outputs, upstream):
    """Stores inputs, outputs, upstream gradients (d + output's name) and input gradients (d + name).

    names: of the inputs that get a gradient; outputs: name -> tensor computed from them."""
    for name, t in inputs.items():
        out[prefix + name] = t
    for name, t in outputs.items():
        out[prefix + name] = t
    for name, t in upstream.items():
        out[prefix + "d" + name] = t
    total = sum((outputs[name] * t).sum() for name, t in upstream.items())
    for name, g in zip(names, torch.autograd.grad(total, [inputs[n] for n in names])):
        out[prefix + "d" + name] = g


def layers_file():
    rng, out = RNG(1), {}

    def leaf(*shape, **how):
        return rng.tensor(*shape, **how).requires_grad_()

    for case, (B, T, V, C) in enumerate([(2, 5, 11, 8), (1, 7, 5, 19)]):
        x = {"tokens": rng.integers(V, B, T), "table": leaf(V, C)}
        y = {"y": x["table"][x["tokens"].long()]}
        with_gradients(out, "embedding.%d." % case, ["table"], x, y, {"y": rng.tensor(B, T, C)})

    for case, (N, C, std) in enumerate([(6, 8, 1.0), (5, 19, 0.002)]):  # the second is small: eps counts
        x = {"x": leaf(N, C, std=std), "gain": leaf(C, mean=1.0, std=0.3)}
        y = {"y": rms_norm(x["x"], x["gain"])}
        with_gradients(out, "rmsnorm.%d." % case, ["x", "gain"], x, y, {"y": rng.tensor(N, C)})

    for case, (N, I, O, bias) in enumerate([(6, 8, 5, True), (14, 9, 37, False)]):
        x = {"x": leaf(N, I), "w": leaf(O, I)}
        if bias:
            x["b"] = leaf(O)
        y = {"y": linear(**x)}
        with_gradients(out, "linear.%d." % case, list(x), x, y, {"y": rng.tensor(N, O)})

    for case, (R, T, H, dh, base) in enumerate([(2, 6, 2, 4, 10000.0), (1, 9, 3, 6, 50.0)]):
        x = {"x": leaf(R, T, H, dh)}
        with_gradients(out, "rope.%d." % case, ["x"], x, {"y": rope(x["x"], base)},
                       {"y": rng.tensor(R, T, H, dh)})
        out["rope.%d.base" % case] = torch.tensor([base])

    for case, (N, F, std) in enumerate([(6, 12, 1.0), (3, 7, 8.0)]):
        x = {"gate": leaf(N, F, std=std), "up": leaf(N, F)}
        with_gradients(out, "swiglu.%d." % case, ["gate", "up"], x, {"y": silu(x["gate"]) * x["up"]},
                       {"y": rng.tensor(N, F)})

    for case, (N, V, std) in enumerate([(10, 11, 2.0), (7, 37, 40.0)]):
        logits, targets = leaf(N, V, std=std), rng.integers(V, N)
        targets[1::3] = -1                                              # ignored
        losses, loss = cross_entropy(logits, targets)
        grad, = torch.autograd.grad(loss, [logits])
        for name, t in (("logits", logits), ("targets", targets), ("losses", losses),
                        ("loss", loss.reshape(1)), ("dlogits", grad)):
            out["crossentropy.%d.%s" % (case, name)] = t
    return out, {"about": "layer functions; see dev/golden/README.md", "rms_eps": RMS_EPS}


MIXER_CASES = {     # name: (R, T, NH, NKV, dh, RoPE base, QK-norm)
    "plain": (2, 7, 2, 2, 4, 10000.0, False),
    "grouped": (3, 5, 4, 2, 4, 50.0, False),
    "qknorm": (2, 6, 3, 1, 4, 500.0, True),
    # wider and longer than a vector register, a tile or a block of most implementations; no map stored
    "long": (1, 50, 1, 1, 18, 10000.0, False),
}


def mixers_file():
    rng, out = RNG(2), {}

    def leaf(*shape, **how):
        return rng.tensor(*shape, **how).requires_grad_()

    for letter in "SANRFE":
        for case, (R, T, NH, NKV, dh, base, normed) in MIXER_CASES.items():
            if case == "long" and letter not in "SAN":
                continue                        # the same mixer as standard's
            prefix = "%s.%s." % (VARIANTS[letter], case)
            M = 1 if letter in "RF" else R          # an anchor's one map serves every row
            C, CKV = NH * dh, NKV * dh
            q, k = leaf(M, T, C, std=1.5), leaf(M, T, CKV, std=1.5)
            v, do = leaf(R, T, CKV), rng.tensor(R, T, C)
            out[prefix + "shape"] = torch.tensor([R, M, T, NH, NKV, dh], dtype=torch.int32)
            if letter != "N":
                out[prefix + "base"] = torch.tensor([base])
            leaves = {"q": q, "k": k, "v": v}
            q1, k1 = split(q, dh), split(k, dh)
            if normed:
                leaves["qgain"], leaves["kgain"] = leaf(dh, mean=1.0, std=0.3), leaf(dh, mean=1.0, std=0.3)
                q1, k1 = rms_norm(q1, leaves["qgain"]), rms_norm(k1, leaves["kgain"])
            if letter != "N":
                q1, k1 = rope(q1, base), rope(k1, base)
            A = {"A": taylor_map, "N": key_score_map}.get(letter, softmax_map)(q1, k1)
            o = mix(A, split(v, dh))
            for name, t in leaves.items():
                out[prefix + name] = t
            wanted = dict(leaves, q1=q1, k1=k1)
            grads = torch.autograd.grad((o * do).sum(), list(wanted.values()))
            # q1, k1: what the map is made of, after QK-norm and RoPE
            out[prefix + "q1"], out[prefix + "k1"] = q1.reshape(M, T, C), k1.reshape(M, T, CKV)
            if case != "long":
                out[prefix + "map"] = A
            out[prefix + "o"], out[prefix + "do"] = o, do
            for name, g in zip(wanted, grads):
                out[prefix + "d" + name] = g.reshape(wanted[name].shape if name not in ("q1", "k1") else
                                                     leaves[name[0]].shape)
    for case, (R, T, C) in {"plain": (2, 5, 8), "wide": (1, 7, 12)}.items():
        x = {"q": leaf(R, T, C), "k": leaf(R, T, C), "wv": leaf(C, C), "bv": leaf(C)}
        do, prefix = rng.tensor(R, T, C), "mlp.%s." % case
        u = silu(x["q"]) * x["k"]
        o = linear(u, x["wv"], x["bv"])
        out[prefix + "shape"] = torch.tensor([R, R, T, 1, 1, C], dtype=torch.int32)
        for name, t in dict(x, u=u, o=o, do=do).items():
            out[prefix + name] = t
        wanted = dict(x, u=u)
        for name, g in zip(wanted, torch.autograd.grad((o * do).sum(), list(wanted.values()))):
            out[prefix + "d" + name] = g
    return out, {"about": "mixers; see dev/golden/README.md", "rms_eps": RMS_EPS}


BASE = dict(heads=2, kv_heads=2, dim=8, ffn=12, vocab=11, seq=7, batch=2, qk_norm=0, untied=0,
            rope_base=10000.0)
ADAMW = dict(steps=10, lr=0.01, min_lr=0.001, warmup=3, beta1=0.9, beta2=0.95, adam_eps=1e-8, decay=0.1)
MODELS = {      # file: layout, what differs from BASE, clip, seed
    "standard": ("SS", {}, 10.0, 100), "mlp": ("MM", {}, 7.6, 101), "approx": ("AA", {}, 6.6, 102),
    "nonapprox": ("NN", {}, 6.9, 103), "rndembqk": ("RR", {}, 7.0, 104), "fixedseqqk": ("FF", {}, 9.0, 105),
    "staticembqk": ("EE", {}, 7.0, 106),
    # each anchor is an ordinary row in every other kind of layer, the other anchor's among them
    "hybrid_mixed": ("EMANSFRF", {"seq": 5, "rope_base": 50.0}, 9.0, 116),
    "hybrid_even": ("ASRSNS", {"heads": 4, "kv_heads": 2, "dim": 16, "seq": 6, "qk_norm": 1, "untied": 1,
                               "rope_base": 500.0}, 4.5, 108),
}


def model_file(name):
    layout, other, clip, seed = MODELS[name]
    c = {**BASE, "layout": layout, **other}
    a = dict(ADAMW, clip=clip)
    rng = RNG(seed)
    B, T, V, C = c["batch"], c["seq"], c["vocab"], c["dim"]
    W, roles = {}, {}
    for tensor, shape, role in tensor_list(c):
        # large enough for every part to matter: with std 0.02 all maps are flat
        std = 0.2 if role != "matrix" else 1.0 if "embed" in tensor else 1.2 / math.sqrt(shape[-1])
        W[tensor] = rng.tensor(*shape, std=std, mean=1.0 * (role == "gain")).requires_grad_()
        roles[tensor] = role
    anchors = {}
    if "R" in layout:
        anchors["anchor.embeds"] = rng.tensor(T, C)
    if "F" in layout:
        anchors["anchor.tokens"] = rng.integers(V, T)
    tokens = rng.integers(V, a["steps"], B, T)
    targets = rng.integers(V, a["steps"], B, T)
    targets.view(a["steps"], -1)[:, 4::5] = -1                          # ignored

    out = {"weight." + n: t.detach().clone() for n, t in W.items()}
    out.update(anchors)
    out["tokens"], out["targets"] = tokens, targets
    logits, hidden = forward(c, W, anchors, tokens[0])
    losses, loss = cross_entropy(logits, targets[0])
    for l, h in enumerate(hidden):
        out["hidden.%d" % l] = h
    out["logits"], out["losses"], out["loss"] = logits, losses, loss.reshape(1)
    for n, g in zip(W, torch.autograd.grad(loss, list(W.values()))):
        out["grad." + n] = g
    short = tokens[0][:1, :T - 2]                                       # fewer rows and positions
    out["short.logits"] = forward(c, W, anchors, short)[0]
    if "S" in layout and len(set(layout)) > 1:
        for what in "blocks", "mixers":
            out["skip.%s.logits" % what] = forward(c, W, anchors, tokens[0], what)[0]
    prompt, sample_seed, nearest = tokens[0, 0, :SAMPLE["prompt"]].tolist(), 0, 0
    while nearest < 1e-3:                   # so that float32 draws the same tokens
        sample_seed += 1
        drawn, nearest = sample(c, W, anchors, prompt, sample_seed)
    out["sample.tokens"] = torch.tensor(drawn, dtype=torch.int32)

    optimizer = torch.optim.AdamW(
        [{"params": [W[n] for n in W if roles[n] == "matrix"], "weight_decay": a["decay"]},
         {"params": [W[n] for n in W if roles[n] != "matrix"], "weight_decay": 0.0}],
        lr=a["lr"], betas=(a["beta1"], a["beta2"]), eps=a["adam_eps"])
    history = {"loss": [], "norm": [], "lr": []}
    for step in range(a["steps"]):
        optimizer.zero_grad()
        loss = cross_entropy(forward(c, W, anchors, tokens[step])[0], targets[step])[1]
        loss.backward()
        norm = math.sqrt(sum(float((t.grad ** 2).sum()) for t in W.values()))
        if norm > clip:
            for t in W.values():
                t.grad *= clip / norm
        lr = learning_rate(a, step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        for key, value in (("loss", float(loss)), ("norm", norm), ("lr", lr)):
            history[key].append(value)
    clipped = sum(norm > clip for norm in history["norm"])
    if not 3 <= clipped <= 7 or min(abs(n / clip - 1) for n in history["norm"]) < 2e-3:
        sys.exit("make_golden.py: model_%s: clip %g takes %d of %d steps; norms %s; choose another"
                 % (name, clip, clipped, a["steps"], ["%.3f" % n for n in history["norm"]]))
    for key, values in history.items():
        out["adamw." + key] = torch.tensor(values)
    for n, t in W.items():
        out["final." + n] = t.detach()
    return out, dict(about="a whole model; see dev/golden/README.md", **c, rms_eps=RMS_EPS, **a,
                     sample_seed=sample_seed, prompt=SAMPLE["prompt"], temperature=SAMPLE["temperature"])


INIT_CONFIG = {**BASE, "layout": "SR", "kv_heads": 1, "qk_norm": 1, "untied": 1, "seed": 42}


def rng_file():
    out = {}
    for state in (0, 1, 42, MASK):
        rng = RNG(state)
        out["u64.%d" % state] = U64(rng.u64() for _ in range(6))
    for seed in (0, 1, 42, 2 ** 61 + 12345):
        states = [stream(seed, number) for number in range(STREAMS)]
        out["streams.%d" % seed] = U64(states)
        for what in ("uniform", "normal"):
            rngs = [RNG(state) for state in states]
            out["%s.%d" % (what, seed)] = torch.tensor([[getattr(rng, what)() for _ in range(6)] for rng in rngs])
    c = INIT_CONFIG
    rng, everything = RNG(stream(c["seed"], STREAM_INIT)), []
    for name, shape, role in tensor_list(c):
        n = math.prod(shape)
        values = [0.02 * rng.normal() if role == "matrix" else 1.0 * (role == "gain") for _ in range(n)]
        out["init." + name] = torch.tensor([values[0], values[-1], math.fsum(values)])
        everything += values
    rng = RNG(stream(c["seed"], STREAM_ANCHOR))
    values = [0.02 * rng.normal() for _ in range(c["seq"] * c["dim"])]
    out["init.anchor.embeds"] = torch.tensor([values[0], values[-1], math.fsum(values)])
    everything += values
    out["init.checksum"] = torch.tensor([math.fsum((1 + e % 97) * x for e, x in enumerate(everything))])
    return out, dict(about="RNG and initial values; see dev/golden/README.md", **c)


# ---- a whole checkpoint, as section 12 of dev/notes/porting.md describes it ----------------------

CHECKPOINT = dict(layout="SRF", heads=2, kv_heads=1, dim=8, ffn=8, vocab=256, seq=8, batch=2, qk_norm=1, untied=1,
                  rope_base=500.0)
STEPS, SEED, EVAL_BATCHES, DRAWN = 3, 11, 4, 20


def number(x):
    """The fewest digits, at least six, that read back as the same double."""
    return next(t for t in ("%.*g" % (digits, x) for digits in range(6, 18)) if float(t) == x)


def content(data):
    return "%d %08x" % (len(data), zlib.crc32(data))


def checkpoint_files():
    """The bytes of a folder that ./train_attnvar --resume goes on with, and what it must print then."""
    c, rng = CHECKPOINT, RNG(SEED)
    W, moments = {}, {}
    for name, shape, role in tensor_list(c):
        W[name] = rng.tensor(*shape, std=0.5 if role == "matrix" else 0.2, mean=1.0 * (role == "gain"))
    anchors = {"anchor.embeds": rng.tensor(c["seq"], c["dim"]), "anchor.tokens": rng.integers(c["vocab"], c["seq"])}
    for moment in "exp_avg", "exp_avg_sq":
        for name, t in W.items():
            moments[moment + "." + name] = rng.tensor(*t.shape, std=0.01).abs()
    weights = {n: t if t.dtype == torch.int32 else t.float() for n, t in {**W, **anchors}.items()}
    moments = {n: t.float() for n, t in moments.items()}

    texts, folder = {}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data")
    for name in "train", "val":
        with open(os.path.join(folder, "austen_%s.txt" % name), "rb") as f:
            texts[name] = f.read()
    windows = RNG(stream(SEED, STREAM_DATA))
    for _ in range(STEPS * c["batch"]):
        windows.u64()
    checksum = ["%08x" % zlib.crc32(b"".join(t.numpy().tobytes() for t in tensors.values()))
                for tensors in (weights, moments)]
    metadata = {
        "format": "pt", "attnvar": 3, "step": STEPS, "rng": windows.state, "layout": c["layout"], "size": "tiny",
        "layers": len(c["layout"]), "heads": c["heads"], "kv-heads": c["kv_heads"], "dim": c["dim"], "ffn": c["ffn"],
        "vocab": c["vocab"], "seq": c["seq"], "batch": c["batch"], "accumulate": 1, "qk-norm": c["qk_norm"],
        "untied": c["untied"], "rope-base": number(c["rope_base"]), "steps": STEPS, "lr": number(3e-3), "min-lr": "",
        "warmup": "", "beta1": number(0.9), "beta2": number(0.99), "decay": number(0.1), "clip": number(1.0),
        "seed": SEED, "data": "dev/data/austen_train.txt", "val": "dev/data/austen_val.txt", "pairs": 8, "anchor": "",
        "eval-every": 200, "eval-batches": EVAL_BATCHES, "train-content": content(texts["train"]),
        "val-content": content(texts["val"]), "weights": checksum[0], "moments": checksum[1]}
    before = json.dumps({"__metadata__": {k: str(v) for k, v in metadata.items()}}, separators=(",", ":"))[:-2]
    metadata["metadata"] = "%08x" % zlib.crc32(before.encode())
    config = {
        "architectures": ["AttnvarForCausalLM"], "model_type": "attnvar", "vocab_size": c["vocab"],
        "hidden_size": c["dim"], "intermediate_size": c["ffn"], "num_hidden_layers": len(c["layout"]),
        "num_attention_heads": c["heads"], "num_key_value_heads": c["kv_heads"], "max_position_embeddings": c["seq"],
        "rope_theta": int(c["rope_base"]), "rms_norm_eps": 1e-06, "hidden_act": "silu", "initializer_range": 0.02,
        "attention_dropout": 0.0, "use_sliding_window": False, "tie_word_embeddings": False, "torch_dtype": "float32",
        "attnvar_layers": c["layout"], "attnvar_qk_norm": True}
    # one member a line, two spaces in front
    lines = ",\n".join("  %s: %s" % (json.dumps(k), json.dumps(v)) for k, v in config.items())

    val, T = list(texts["val"]), c["seq"]
    starts = [w * T for w in range(EVAL_BATCHES * c["batch"])]
    inputs = torch.tensor([val[p:p + T] for p in starts])
    targets = torch.tensor([val[p + 1:p + 1 + T] for p in starts])
    losses = {what or "whole": float(cross_entropy(forward(c, W, anchors, inputs, what)[0], targets)[1])
              for what in (None, "blocks", "mixers")}
    drawn, nearest = sample(c, W, anchors, val[:T], SEED, DRAWN, 0.8)
    if nearest < 5e-6:
        sys.exit("make_golden.py: a draw of the checkpoint's sample is too near: choose another SEED")
    expected = {"val_loss": losses["whole"], "skip_blocks": losses["blocks"], "skip_mixers": losses["mixers"],
                "sample": drawn}
    return {"model.safetensors": encode(weights, metadata), "optim.safetensors": encode(moments, metadata),
            "config.json": ("{\n%s\n}\n" % lines).encode(), "expected.json": (json.dumps(expected) + "\n").encode()}


def all_files():
    """(file name, bytes), in the order in which a port needs them."""
    yield "rng.safetensors", encode(*rng_file())
    yield "layers.safetensors", encode(*layers_file())
    yield "mixers.safetensors", encode(*mixers_file())
    for name in MODELS:
        yield "model_%s.safetensors" % name, encode(*model_file(name))
    for name, raw in checkpoint_files().items():
        yield "checkpoint/" + name, raw


# ---- main ----------------------------------------------------------------------------------------

def notices_damage(raw):
    """Does the comparison see one value that is 1e-11 off, one whole number, one name, a short file?"""
    if raw[:1] == b"{":
        return bool(differences(raw, raw[:20]) and differences(raw, raw.replace(b": ", b": 1", 1)))
    header, values = decode(raw)
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    for name, v in values.items():
        damaged = bytearray(raw)
        form = FORMATS[header[name]["dtype"]]
        at = max(range(len(v)), key=lambda i: abs(v[i]))
        struct.pack_into("<" + form, damaged, start + header[name]["data_offsets"][0] + at * struct.calcsize(form),
                         v[at] - 1 if form != "d" else v[at] * (1 + 1e-11) or 1e-11)
        if not differences(raw, bytes(damaged)):
            return False
    return all(differences(raw, other) for other in
               (raw[:-1], raw[:20], re.sub(b'"dtype":"[FU]', b'"dtype":"I', raw[:start], count=1) + raw[start:]))


def main():
    parser = argparse.ArgumentParser(description="Compares or (--write) makes the golden vectors.")
    parser.add_argument("--write", action="store_true", help="replace the committed files")
    parser.add_argument("--dir", default=os.path.dirname(os.path.abspath(__file__)), help="the files' folder")
    args = parser.parse_args()
    bad, total, names = 0, 0, []
    target = args.dir
    with tempfile.TemporaryDirectory() as work:
        for name, raw in all_files():
            names.append(name)
            total += len(raw)
            os.makedirs(os.path.dirname(os.path.join(work, name)), exist_ok=True)
            with open(os.path.join(work, name), "wb") as f:
                f.write(raw)
            if not notices_damage(raw):
                print("FAIL  %s: a damaged copy is not noticed" % name)
                bad += 1
        for name in names:
            with open(os.path.join(work, name), "rb") as f:
                raw = f.read()
            path = os.path.join(target, name)
            if args.write:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as f:
                    f.write(raw)
                print("wrote %s, %d bytes" % (name, len(raw)))
                continue
            try:
                with open(path, "rb") as f:
                    old = f.read()
                found = differences(raw, old)
            except OSError as error:
                found, old = ["cannot be read: %s" % error.strerror], b""
            print("%s  %-34s %s" % ("FAIL" if found else "ok  ", name,
                                    "; ".join(found[:5]) or ("the same bytes" if raw == old else "within 1e-12")))
            bad += bool(found)
    extra = sorted(f for f in os.listdir(target) if f.endswith(".safetensors") and f not in names)
    for name in extra:
        print("FAIL  %s: not one of the files that this script makes" % name)
    bad += len(extra)
    print("%d files, %d bytes, %d wrong" % (len(names), total, bad))
    if bad:
        print("make_golden.py: error: the golden files differ from what this script computes; if the "
              "script is right, run: make golden-write")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
