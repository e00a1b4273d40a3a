#!/usr/bin/env python3
"""attnvar_torch.py: the model of train_attnvar.c in PyTorch, for GPUs and for several of them.

    python3 dev/scale/attnvar_torch.py --attn nonapprox --layout even       the GPU that is there
    python3 dev/scale/attnvar_torch.py --size 70m --bf16 --compile ...      faster, see below
    torchrun --nproc-per-node 8 dev/scale/attnvar_torch.py ...              eight GPUs, one run
    python3 dev/scale/attnvar_torch.py --runs FILE                          a run a line of FILE

Options, layouts, data, random streams, initial weights, windows, schedule, log and checkpoint are
train_attnvar's: a run that one program began the other resumes, and dev/tools read what this one
trained. Read it beside the C file; the chapters have its numbers, and chapter 2, the matrix product,
is PyTorch's. Gradients are autograd's.

Options of its own:
    --device NAME   cuda, mps or cpu [the first that is there]
    --explicit      every map is written out, as the equations say: the reference, also taken where
                    PyTorch (before 2.0) has no scaled_dot_product_attention
    --bf16          matrix products and what lies between them in bfloat16; weights, residual stream,
                    norms, scores of nonapprox, loss, AdamW and validation stay float32
    --compile       torch.compile fuses each block, the loss and AdamW

On a GPU a step is recorded once as a CUDA graph and replayed. Losses are fetched from there when they
are shown or saved, so a step that is not finite ends the run at the next line of progress.
With torchrun every process takes its rows of each batch (no more processes than --batch); gradients
are summed, so N processes train as one does. Needs Python 3.8 and torch 1.13 or later.
"""
import ctypes
import json
import math
import os
import re
import shlex
import signal
import struct
import sys
import time
import zlib
from types import SimpleNamespace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

# ------------------------------------------------------------------------------------------------
# 1  Utilities
# ------------------------------------------------------------------------------------------------

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))   # torchrun's


def fail(message):
    """Every error of the user's making ends here: what was found, what is expected, what to run."""
    sys.stdout.flush()
    rank = f"process {RANK}: " if RANK else ""
    print(f"attnvar_torch.py: error: {rank}{message}", file=sys.stderr, flush=True)
    sys.exit(1)


def say(text=""):
    if RANK == 0:
        print(text, flush=True)


# splitmix64. Its state is a counter, so n draws are computed at once: draw i mixes
# state + (i+1) gamma. int64 wraps around like uint64; a shift to the right must clear the sign.
MASK, GAMMA = (1 << 64) - 1, 0x9E3779B97F4A7C15
STREAM_INIT, STREAM_DATA, STREAM_ANCHOR, STREAM_SAMPLE, STREAMS = range(5)


def signed(x):
    return x - (1 << 64) if x >> 63 else x


def shift(z, n):
    return (z >> n) & ((1 << (64 - n)) - 1)


class RNG:
    def __init__(self, state):
        self.state = state

    def u64(self, n):
        """(n) the next n outputs, as int64 of the same bits."""
        z = torch.arange(1, n + 1, dtype=torch.int64) * signed(GAMMA) + signed(self.state)
        self.state = (self.state + n * GAMMA) & MASK
        z = (z ^ shift(z, 30)) * signed(0xBF58476D1CE4E5B9)
        z = (z ^ shift(z, 27)) * signed(0x94D049BB133111EB)
        return z ^ shift(z, 31)

    def draw(self):
        """The next output, as a Python int."""
        self.state = z = (self.state + GAMMA) & MASK
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31

    def below(self, m, n):
        """(n) outputs modulo m."""
        z = self.u64(n)
        return (shift(z, 1) % m * 2 + (z & 1)) % m

    def uniform(self, n):
        return shift(self.u64(n), 11).double() * 2.0 ** -53

    def normal(self, n):
        """(n) Box and Muller, the cosine half; two uniforms a draw."""
        u = self.uniform(2 * n)
        return torch.sqrt(-2 * torch.log(1 - u[0::2])) * torch.cos(2 * math.pi * u[1::2])


def stream(seed, number):
    return RNG(RNG((seed * STREAMS + number) & MASK).draw())


# ------------------------------------------------------------------------------------------------
# 3  Layers that every variant shares. Their result has x's type; reductions are float32
# ------------------------------------------------------------------------------------------------

def linear(x, w, b=None):
    """x (..,in), w (out,in)"""
    return F.linear(x, w.to(x.dtype), None if b is None else b.to(x.dtype))


def rmsnorm(x, gain):
    """x / sqrt(mean(x^2) + 1e-6) * gain, over the last dimension; in the type of gain."""
    x = x.to(gain.dtype)
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * gain


def rope(x, angles):
    """x (R,T,H,dh), angles (2,T,dh/2): the pair (a, a + dh/2) of position t turns."""
    cos, sin = angles[:, :x.shape[1], None]
    p, q = x.chunk(2, -1)
    return torch.cat([p * cos - q * sin, q * cos + p * sin], -1).to(x.dtype)


def swiglu(gate, up):
    return F.silu(gate) * up


def crossentropy(logits, targets):
    """(..) the loss of each position, 0 where the target is -1. Compiled, it is one pass over the
    logits forward and one backward: no index into them, and nothing of their size is kept."""
    right = torch.arange(logits.shape[-1], device=logits.device) == targets[..., None]
    losses = logits.logsumexp(-1) - logits.masked_fill(~right, 0).sum(-1)
    return losses.masked_fill(targets < 0, 0)


# ------------------------------------------------------------------------------------------------
# 4  Mixers: o (R,T,NH,dh) from q (M,T,NH,dh), k (M,T,NKV,dh), v (R,T,NKV,dh). M rows have a map;
#    M = 1: it serves all. Each comes twice: from the equations, and as a GPU likes it (fast)
# ------------------------------------------------------------------------------------------------

FAST = hasattr(F, "scaled_dot_product_attention")


def per_head(x, NH):
    """(R,T,NKV,dh) -> (R,NH,T,dh): neighbouring query heads share a key/value head."""
    return x.transpose(1, 2).repeat_interleave(NH // x.shape[2], 1)


def later(T, device):
    """(T,T) true where j > i: a query does not see it."""
    return torch.ones(T, T, dtype=torch.bool, device=device).triu(1)


def scores(q, k):
    """(M,NH,T,T) s q_i.k_j; softmax and its relatives want at least float32."""
    x = q.transpose(1, 2) @ per_head(k, q.shape[2]).transpose(2, 3)
    return x.to(torch.promote_types(x.dtype, torch.float32)) / math.sqrt(q.shape[3])


def apply_map(A, v):
    """o_i = sum_j A_ij v_j. One map for all rows is one product: the rows side by side."""
    R, T, NKV, dh = v.shape
    v = per_head(v, A.shape[1])
    if A.shape[0] == 1:
        o = A[0].to(v.dtype) @ v.permute(1, 2, 0, 3).reshape(-1, T, R * dh)         # (NH,T,R dh)
        return o.view(-1, T, R, dh).permute(2, 1, 0, 3)
    return (A.to(v.dtype) @ v).transpose(1, 2)


# ---- 4.1  standard: A_ij = exp(x_ij) / sum_{l<=i} exp(x_il), x_ij = s q_i.k_j

def standard(q, k, v, fast):
    if fast and q.shape[0] == v.shape[0]:
        q, k, v = (per_head(x, q.shape[2]) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    x = scores(q, k)
    return apply_map(x.masked_fill(later(x.shape[-1], x.device), -math.inf).softmax(-1), v)


# ---- 4.2  mlp: o_i = (SiLU(q_i) * k_i) Wv + bv: no mixing; the block calls it (chapter 6)

# ---- 4.3  approx: A_ij = f(x_ij) / sum_{l<=i} f(x_il), f(x) = 1 + x + x^2/2

def approx(q, k, v, fast):
    T, dh = q.shape[1], q.shape[3]
    if fast and T > max(1024, (dh + 1) * (dh + 2)):
        return approx_recurrent(q, k, v)
    x = scores(q, k)
    f = (1 + x + x * x / 2).masked_fill(later(T, x.device), 0)
    return apply_map(f / f.sum(-1, keepdim=True), v)


def approx_recurrent(q, k, v, chunk=256):
    """f(s q.k) = phi(q).phi(k) with phi(x) = (1, sqrt(s) x, s x_a x_b / sqrt 2): what is before a
    chunk of positions is a sum, the state (R,NH,1+dh+dh^2,dh+1), and only within it there is a map.
    A channel of ones beside v sums up the denominator."""
    dtype, s = v.dtype, 1 / math.sqrt(q.shape[3])
    q, k, v = (per_head(x, q.shape[2]).to(torch.promote_types(dtype, torch.float32))
               for x in (q, k, v))
    v = F.pad(v, (0, 1), value=1)

    def phi(x):
        pairs = (x[..., :, None] * x[..., None, :]).flatten(-2)
        return torch.cat([torch.ones_like(x[..., :1]), x * s ** 0.5, pairs * (s / 2 ** 0.5)], -1)

    def step(state, q, k, v):
        x = s * q @ k.transpose(2, 3)
        f = (1 + x + x * x / 2).masked_fill(later(x.shape[-1], x.device), 0)
        return f @ v + phi(q) @ state, state + phi(k).transpose(2, 3) @ v

    out, state = [], q.new_zeros(*q.shape[:2], 1 + q.shape[3] + q.shape[3] ** 2, v.shape[3])
    for parts in zip(q.split(chunk, 2), k.split(chunk, 2), v.split(chunk, 2)):
        o, state = checkpoint(step, state, *parts, use_reentrant=False, preserve_rng_state=False)
        out.append(o[..., :-1] / o[..., -1:])
    return torch.cat(out, 2).transpose(1, 2).to(dtype)


# ---- 4.4  nonapprox: A_ij = exp(x_j) / sum_{l<=i} exp(x_l), x_j = s SiLU(q_j).k_j: a score a key

def nonapprox(q, k, v, fast):
    """Scores beyond 1000 occur: they are float32, and the mask comes before the exponential."""
    T, wide = q.shape[1], torch.promote_types(q.dtype, torch.float32)
    q, k, heads = q.transpose(1, 2).to(wide), per_head(k, q.shape[2]).to(wide), q.shape[2]
    x = (F.silu(q) * k).sum(-1) / math.sqrt(q.shape[3])                             # (R,NH,T)
    if fast:            # attention with one channel, query 1 and key x_j; zeros, as kernels want 8
        key = F.pad(x[..., None], (0, 7))
        one = F.pad(torch.ones_like(x[..., None]), (0, 7))
        o = F.scaled_dot_product_attention(one, key, per_head(v, heads).to(wide), is_causal=True,
                                           scale=1.0)
        return o.transpose(1, 2).to(v.dtype)
    x = x[:, :, None].expand(-1, -1, T, -1).masked_fill(later(T, x.device), -math.inf)
    return apply_map(x.softmax(-1), v)


# ---- 4.5, 4.6, 4.7  rndembqk, fixedseqqk, staticembqk: standard, with q and k from elsewhere

OWN, RANDOM_ANCHOR, TEXT_ANCHOR, STATIC = range(4)

VARIANTS = {    # letter: name, where q and k come from, RoPE?, mixer
    "S": ("standard", OWN, True, standard),
    "M": ("mlp", OWN, False, None),
    "A": ("approx", OWN, True, approx),
    "N": ("nonapprox", OWN, False, nonapprox),
    "R": ("rndembqk", RANDOM_ANCHOR, True, standard),
    "F": ("fixedseqqk", TEXT_ANCHOR, True, standard),
    "E": ("staticembqk", STATIC, True, standard),
}
LETTER = {row[0]: letter for letter, row in VARIANTS.items()}

# ------------------------------------------------------------------------------------------------
# 5  The model: layouts, tensors
# ------------------------------------------------------------------------------------------------

LAYOUTS = {     # which layers l = 1 .. n stay standard
    "uniform": lambda l, n: False,
    "even": lambda l, n: l % 2 == 0,
    "odd": lambda l, n: l % 2 == 1,
    "top": lambda l, n: 2 * l <= n,
    "middle": lambda l, n: 4 * l <= n or 4 * l > 3 * n,
    "bottom": lambda l, n: 2 * l > n,
    "25": lambda l, n: l % 4 == 0,
    "first": lambda l, n: l == 1,
    "last": lambda l, n: l == n,
    "bilateral": lambda l, n: l in (1, n),
}


def declare_tensors(c):
    """[(name, shape, role)] in the order of the initial values and of the checkpoint."""
    C, G, V, dh = c.dim, c.ffn, c.vocab, c.dim // c.heads
    CKV, layer = c.kv_heads * dh, []
    for name, rows, bias in (("q", C, True), ("k", CKV, True), ("v", CKV, True), ("o", C, False)):
        layer.append((f"self_attn.{name}_proj.weight", (rows, C), "matrix"))
        layer += [(f"self_attn.{name}_proj.bias", (rows,), "bias")] if bias else []
    layer += [(f"self_attn.{x}_norm.weight", (dh,), "gain") for x in "qk" if c.qk_norm]
    layer = [("input_layernorm.weight", (C,), "gain"), *layer,
             ("post_attention_layernorm.weight", (C,), "gain"),
             ("mlp.gate_proj.weight", (G, C), "matrix"), ("mlp.up_proj.weight", (G, C), "matrix"),
             ("mlp.down_proj.weight", (C, G), "matrix")]
    tensors = [("model.embed_tokens.weight", (V, C), "matrix")]
    for l in range(c.layers):
        tensors += [(f"model.layers.{l}.{name}", *rest) for name, *rest in layer]
    tensors.append(("model.norm.weight", (C,), "gain"))
    return tensors + ([("lm_head.weight", (V, C), "matrix")] if c.untied else [])


MODEL_KEYS = ["layers", "heads", "kv_heads", "dim", "ffn", "vocab", "seq", "batch", "qk_norm",
              "untied", "rope_base", "layout"]


class Model:
    """store holds all values, gradients and moments, each of them flat; the tensors are views."""

    def __init__(self, c, seed=1, device="cpu", dtype=torch.float32):
        self.c, self.tensors = c, declare_tensors(c)
        sizes = [math.prod(shape) for _, shape, _ in self.tensors]
        self.parameters = sum(sizes)
        values, rng = torch.empty(self.parameters, dtype=dtype), stream(seed, STREAM_INIT)
        for part, (_, _, role) in zip(values.split(sizes), self.tensors):
            part[:] = 0.02 * rng.normal(len(part)) if role == "matrix" else float(role == "gain")
        self.store = torch.zeros(4, self.parameters, dtype=dtype, device=device)
        self.store[0] = values.to(device)
        self.decays = torch.cat([torch.full((n,), float(role == "matrix"))     # where decay applies
                                 for n, (_, _, role) in zip(sizes, self.tensors)]).to(self.store)
        rows = [[part.view(shape) for part, (_, shape, _) in zip(row.split(sizes), self.tensors)]
                for row in self.store]
        names = [name for name, _, _ in self.tensors]
        self.w, self.g, self.m, self.v = (dict(zip(names, row)) for row in rows)
        self.w = {name: t.detach().requires_grad_() for name, t in self.w.items()}
        self.layer = [{name.split(".", 3)[3]: t for name, t in self.w.items()
                       if name.startswith(f"model.layers.{l}.")} for l in range(c.layers)]
        T, dh = c.seq, c.dim // c.heads
        self.embeds = (0.02 * stream(seed, STREAM_ANCHOR).normal(T * c.dim)
                       ).view(T, c.dim).to(self.store)
        self.anchor_tokens = torch.zeros(T, dtype=torch.int64, device=device)
        speed = torch.tensor([c.rope_base ** (-2.0 * a / dh) for a in range(dh // 2)],
                             dtype=torch.float64)
        angle = torch.arange(T).double()[:, None] * speed
        self.angles = torch.stack([angle.cos(), angle.sin()]).to(self.store)
        # an anchor's row is kept up to the last layer that uses it; the one needed longest is first
        last = {kind: max(l for l, x in enumerate(c.layout) if VARIANTS[x][1] == kind)
                for kind in (RANDOM_ANCHOR, TEXT_ANCHOR)
                if any(VARIANTS[x][1] == kind for x in c.layout)}
        self.anchors = sorted(last.items(), key=lambda item: -item[1])
        self.fast, self.dtype = FAST, dtype
        self.block, self.head, self.adamw = block, head, adamw

    # --------------------------------------------------------------------------------------------
    # 6  The model forward
    # --------------------------------------------------------------------------------------------

    def forward(self, tokens, skip=None, dtype=None, hidden=None):
        """(B,T,C) what leaves the last block. skip: of layers that are not standard, "blocks" or
        "mixers" are left out. hidden: a list that gets what enters each block."""
        (B, T), table = tokens.shape, self.w["model.embed_tokens.weight"]
        rows, alive = [table[tokens]], [] if skip else self.anchors
        for kind, _ in alive:
            rows.append((self.embeds if kind == RANDOM_ANCHOR else table[self.anchor_tokens])[None, :T])
        e = h = torch.cat(rows) if alive else rows[0]
        for l, letter in enumerate(self.c.layout):
            if hidden is not None:
                hidden.append(h[:B])
            skipped = skip if letter != "S" else None
            if skipped == "blocks":
                continue
            source = [kind for kind, _ in alive].index(VARIANTS[letter][1]) + B \
                if VARIANTS[letter][1] in (RANDOM_ANCHOR, TEXT_ANCHOR) and not skipped else None
            stay = B + sum(last > l for _, last in alive)
            h = self.block(h, e if letter == "E" else None, self.layer[l], self.angles, letter, source,
                           stay, self.c.heads, skipped == "mixers", self.fast, dtype or self.dtype)
        return h[:B]

    def losses(self, tokens, targets, skip=None, dtype=None):
        """(B,T) the loss of each position, and as head() whether its target is the likeliest."""
        h = self.forward(tokens, skip, dtype)
        return self.head(h, self.w["model.norm.weight"], self.head_weight(), targets,
                         dtype or self.dtype)

    def head_weight(self):
        return self.w["lm_head.weight" if self.c.untied else "model.embed_tokens.weight"]

    def logits(self, tokens, skip=None):
        return linear(rmsnorm(self.forward(tokens, skip), self.w["model.norm.weight"]),
                      self.head_weight())

    def add_gradients(self, loss):
        """g += the gradient of the loss; what the loss does not depend on gets nothing."""
        found = torch.autograd.grad(loss, list(self.w.values()), allow_unused=True)
        pairs = [(g, x) for g, x in zip(self.g.values(), found) if x is not None]
        torch._foreach_add_([g for g, _ in pairs], [x for _, x in pairs])


def block(h, e, w, angles, letter, source, stay, heads, skip_mixer, fast, dtype):
    """The next block's h (stay,T,C). source: the row of h whose q and k all rows use, or None."""
    if skip_mixer:
        mid = h[:stay]
    else:
        _, kind, rotates, mixer = VARIANTS[letter]
        n = rmsnorm(h, w["input_layernorm.weight"]).to(dtype)
        x = rmsnorm(e, w["input_layernorm.weight"]).to(dtype) if kind == STATIC else \
            n if source is None else n[source:source + 1]
        n = n[:stay]
        x = x[:stay] if source is None else x
        q = linear(x, w["self_attn.q_proj.weight"], w["self_attn.q_proj.bias"])
        k = linear(x, w["self_attn.k_proj.weight"], w["self_attn.k_proj.bias"])
        if letter == "M":
            o = linear(swiglu(q, k), w["self_attn.v_proj.weight"], w["self_attn.v_proj.bias"])
        else:
            v = linear(n, w["self_attn.v_proj.weight"], w["self_attn.v_proj.bias"])
            q, k, v = (y.unflatten(-1, (-1, h.shape[2] // heads)) for y in (q, k, v))
            if "self_attn.q_norm.weight" in w:
                q = rmsnorm(q, w["self_attn.q_norm.weight"]).to(dtype)
                k = rmsnorm(k, w["self_attn.k_norm.weight"]).to(dtype)
            if rotates:
                q, k = rope(q, angles), rope(k, angles)
            o = mixer(q, k, v, fast).flatten(2)
        mid = h[:stay] + linear(o, w["self_attn.o_proj.weight"])
    n = rmsnorm(mid, w["post_attention_layernorm.weight"]).to(dtype)
    gate, up = linear(n, w["mlp.gate_proj.weight"]), linear(n, w["mlp.up_proj.weight"])
    return mid + linear(swiglu(gate, up), w["mlp.down_proj.weight"])


def head(h, gain, w, targets, dtype):
    """The loss of each position; outside of training also whether its target is the likeliest."""
    logits = linear(rmsnorm(h, gain).to(dtype), w)
    losses = crossentropy(logits.to(torch.promote_types(dtype, torch.float32)), targets)
    return losses, None if torch.is_grad_enabled() else logits.argmax(-1) == targets


# ------------------------------------------------------------------------------------------------
# 7  AdamW
# ------------------------------------------------------------------------------------------------

def learning_rate(s, step):
    """Linear warm-up, then half a cosine from lr down to min_lr. step counts from 0."""
    warmup = s.steps // 20 if s.warmup is None else s.warmup
    low = s.lr / 10 if s.min_lr is None else s.min_lr
    if step < warmup:
        return s.lr * (step + 1) / warmup
    done = (step - warmup) / max(s.steps - warmup, 1)
    return low + 0.5 * (s.lr - low) * (1 + math.cos(math.pi * done))


def coefficients(s, t, lr):
    """What of step t = 1, 2, .. differs from the other steps': the arguments of adamw()."""
    return [lr / (1 - s.beta1 ** t), 1 / math.sqrt(1 - s.beta2 ** t), lr * s.decay]


def adamw(w, g, m, v, decays, norm, step, root, shrink, beta1, beta2, clip, eps=1e-8):
    """All tensors at once; m and v are moments of the clipped gradient.
        w -= lr (m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + decay w)       decay on matrices only"""
    if clip > 0:
        g = g * torch.where(norm > clip, clip / norm, torch.ones_like(norm))
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    w.sub_(w * (shrink * decays) + step * m / (v.sqrt() * root + eps))


# ------------------------------------------------------------------------------------------------
# 8  Data
# ------------------------------------------------------------------------------------------------

KINDS = {20240520: (1, 2, torch.int16), 20240801: (7, 4, torch.int32)}     # magic: version, width
RECALL_WINDOWS = 1024


class Data:
    """Tokens of files, mapped into memory; or recall, made up as it is read."""

    def __init__(self, lines, option, device="cpu"):
        self.pairs, self.paths, shards = 0, lines.split("\n"), []
        for path in self.paths:
            shards.append(self.open(path))
            if shards[-1][1] != shards[0][1]:
                fail(f"{option}: {self.paths[0]} holds {shards[0][1]} and {path} holds "
                     f"{shards[-1][1]}: expected files of one kind")
        self.kind, self.shards = shards[0][1], shards
        parts = [part.to(torch.int32) & 0xFFFF if part.dtype == torch.int16 and len(
            {x[0].dtype for x in shards}) > 1 else part for part, _, _ in shards]
        self.stream = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.first, self.n, self.device = 0, len(self.stream), device
        if self.stream.element_size() * self.n < 1 << 32:
            self.stream = self.stream.to(device)

    @staticmethod
    def open(path):
        """(tokens as they lie in the file, bytes or tokens, where they begin in it)"""
        try:
            with open(path, "rb") as file:
                head, size = file.read(12).ljust(12, b"\0"), os.path.getsize(path)
        except OSError as error:
            fail(f"{path}: {error.strerror}; expected a text file, such as "
                 "dev/data/austen_train.txt: --data FILE")
        if size == 0:
            fail(f"{path}: the file is empty; expected a text or a shard of tokens")
        magic, version, count = struct.unpack("<3i", head)
        if magic not in KINDS:
            if path.endswith(".bin"):
                fail(f"{path}: a .bin file without llm.c's header (found {magic}); see: "
                     "python3 prepro_data.py --help")
            return torch.from_file(path, size=size, dtype=torch.uint8), "bytes", 0
        expected, width, dtype = KINDS[magic]
        if version != expected:
            fail(f"{path}: version {version} of the shard format, expected {expected}")
        if count <= 0 or size != 1024 + count * width:
            fail(f"{path}: its header counts {count} tokens of {width} bytes, so "
                 f"{1024 + count * width} bytes in all, but the file has {size}: damaged or cut short")
        tokens = torch.from_file(path, size=size // width, dtype=dtype)[1024 // width:]
        return tokens, "tokens", 1024

    def tokens(self, at):
        """The tokens at these places, int64."""
        found = self.stream[(at + self.first).to(self.stream.device)].to(self.device).long()
        return found & 0xFFFF if self.stream.dtype == torch.int16 else found

    def survey(self, limit):
        """The largest token; one that is not below the limit (0: none) ends the run."""
        largest, piece = 0, 1 << 22
        for at in range(0, self.n, piece):
            tokens = self.tokens(torch.arange(at, min(at + piece, self.n)))
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or (limit and high >= limit):
                fail(f"{self.paths[0]}: has a token {high if low >= 0 else low % (1 << 32)}, expected "
                     f"less than the vocabulary of {limit or 1 << 22}: see --vocab")
            largest = max(largest, high)
        return largest

    def content(self):
        """Their number and the checksum of their bytes, for the checkpoint."""
        if self.pairs:
            return "0 00000000"
        crc, skip, left = 0, self.first, self.n
        for path, (tokens, _, start) in zip(self.paths, self.shards):
            n = min(max(len(tokens) - skip, 0), left)
            with open(path, "rb") as file:
                file.seek(start + min(skip, len(tokens)) * tokens.element_size())
                for at in range(0, n, 1 << 22):
                    crc = zlib.crc32(file.read(min(1 << 22, n - at) * tokens.element_size()), crc)
            skip, left = max(skip - len(tokens), 0), left - n
        return f"{self.n} {crc:08x}"

    def windows(self, starts, T):
        """inputs and targets (len(starts),T)"""
        starts = starts.to(self.stream.device)
        found = self.tokens(starts[:, None] + torch.arange(T + 1, device=starts.device))
        return found[:, :-1], found[:, 1:]

    def training_batch(self, rng, B, T):
        if self.pairs:
            return self.stack([self.recall(rng, T) for _ in range(B)])
        return self.windows(rng.below(self.n - T, B), T)

    def validation_batch(self, first, B, T):
        """Windows first .. first+B-1: they follow each other at stride T; recall's come from seeds
        counted down from the last one."""
        if not self.pairs:
            return self.windows(torch.arange(first, first + B) * T, T)
        return self.stack([self.recall(stream(MASK // STREAMS - w, STREAM_DATA), T)
                           for w in range(first, first + B)])

    def stack(self, rows):
        return torch.tensor(rows, device=self.device).unbind(1)

    def recall(self, rng, T):
        """[inputs, targets]: pairs of a key and its value, then each key again, in random order at
        random even positions; the target stands at the query."""
        P, half, values = self.pairs, self.vocab // 2, self.vocab - self.vocab // 2
        inputs, targets, order = [0] * T, [-1] * T, list(range(P))

        def below(m):
            return rng.draw() % m

        for p in range(P):
            key = 1 + below(half - 1)
            while key in inputs[0:2 * p:2]:
                key = 1 + below(half - 1)
            inputs[2 * p:2 * p + 2] = key, half + below(values)
        for p in range(P - 1, 0, -1):
            other = below(p + 1)
            order[p], order[other] = order[other], order[p]
        slots, asked = (T - 2 * P) // 2, 0
        for slot in range(slots):
            if below(slots - slot) < P - asked:
                pair, t, asked = 2 * order[asked], 2 * P + 2 * slot, asked + 1
                inputs[t], targets[t] = inputs[pair:pair + 2]
        return [inputs, targets]


def open_data(s, device):
    """(training data, validation data), and what depends on them: the vocabulary, the sample."""
    if s.data == "recall":
        if s.val:
            fail(f"--val {s.val}: recall makes its own validation data: leave it out")
        train = Data.__new__(Data)
        s.vocab, s.sample, train.device = s.vocab or 64, 0, device
        train.pairs, train.vocab, train.n = s.pairs, s.vocab, 0
        if s.pairs > s.vocab // 2 - 1 or s.seq < 4 * s.pairs:
            fail(f"recall: --pairs {s.pairs} need --vocab {2 * s.pairs + 2} and --seq {4 * s.pairs} or "
                 f"more, found --vocab {s.vocab} and --seq {s.seq}")
        return train, train
    train = Data(s.data, "--data", device)
    val = Data(s.val or s.data, "--val", device)
    if train.kind != val.kind:
        fail(f"{train.paths[0]} holds {train.kind} and {val.paths[0]} holds {val.kind}: expected "
             "files of one kind")
    if not s.val:                                                       # the last tenth
        val.n = train.n // 10
        train.n -= val.n
        val.first = train.n
    for data, role in ((train, "training"), (val, "validation")):
        if data.n < s.seq + 1:
            fail(f"{data.paths[0]}: {data.n} tokens for {role}, fewer than one window of --seq {s.seq} "
                 "+ 1: give a longer file or a smaller --seq")
    if train.kind == "bytes" and s.vocab and s.vocab < 256:
        fail(f"--vocab {s.vocab}: bytes need 256")
    largest = 255 if train.kind == "bytes" else max(train.survey(s.vocab), val.survey(s.vocab))
    s.vocab = s.vocab or (largest // 64 + 1) * 64
    s.sample = s.sample if s.sample is not None else 300 if train.kind == "bytes" else 0
    return train, val


def read_anchor(s, train):
    """(T) fixedseqqk's text."""
    if train.pairs and not s.anchor:
        return torch.tensor(train.recall(stream(s.seed, STREAM_DATA), s.seq)[0])
    data = Data(s.anchor, "--anchor") if s.anchor else train
    if data.n < s.seq:
        fail(f"{s.anchor}: {data.n} tokens, the anchor needs --seq {s.seq}")
    tokens = data.tokens(torch.arange(s.seq))
    if int(tokens.max()) >= s.vocab:
        fail(f"{s.anchor}: has a token {int(tokens.max())}, expected less than {s.vocab}")
    return tokens


# ------------------------------------------------------------------------------------------------
# 9  Checkpoint: dev/notes/porting.md describes it byte for byte
# ------------------------------------------------------------------------------------------------

RUN_FILES = ["model.safetensors", "log.csv", "config.json", "optim.safetensors"]    # renamed so


def entries(model, optimizer):
    """[(name, tensor)] of a file."""
    if optimizer:
        return ([("exp_avg." + name, t) for name, t in model.m.items()]
                + [("exp_avg_sq." + name, t) for name, t in model.v.items()])
    anchors = [("anchor.embeds", model.embeds)] if "R" in model.c.layout else []
    anchors += [("anchor.tokens", model.anchor_tokens)] if "F" in model.c.layout else []
    return [*model.w.items(), *anchors]


def header_text(model, optimizer, metadata):
    parts, offset = [], 0
    for name, t in entries(model, optimizer):
        end, shape = offset + 4 * t.numel(), ",".join(map(str, t.shape))
        kind = "F32" if t.is_floating_point() else "I32"
        parts.append(f',"{name}":{{"dtype":"{kind}","shape":[{shape}],"data_offsets":[{offset},{end}]}}')
        offset = end
    text = (f'{{"__metadata__":{{{metadata}}}' + "".join(parts) + "}").encode()
    return text + b" " * (-len(text) % 8)


def tensor_bytes(t):
    t = t.detach().to("cpu", torch.float32 if t.is_floating_point() else torch.int32).contiguous()
    return ctypes.string_at(t.data_ptr(), 4 * t.numel())


def number_text(x):
    """The fewest digits, but at least six, that mean this very number."""
    return str(x) if isinstance(x, int) else next(
        t for t in ("%.*g" % (digits, x) for digits in range(6, 18)) if float(t) == x)


def option_text(s, option):
    value = getattr(s, option.key)
    return "" if value is None else value if isinstance(value, str) else number_text(value)


def metadata(s, state):
    shown = {"format": "pt", "attnvar": "2", "step": str(state.step), "rng": str(state.rng)}
    shown.update((o.name, option_text(s, o)) for o in OPTIONS if o.keeper != "free")
    shown.update({"train-content": state.train, "val-content": state.val,
                  "weights": state.weights, "moments": state.moments})

    def text(value):    # what is not UTF-8, or a control character other than tab and newline
        value = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", value)
        return json.dumps(value, ensure_ascii=False)
    return ",".join(f"{text(name)}:{text(value)}" for name, value in shown.items())


def config_text(c):
    """config.json in Hugging Face's terms; only a standard model without QK-norm is qwen2."""
    qwen2 = not c.qk_norm and set(c.layout) == {"S"}
    rows = {"architectures": ["Qwen2ForCausalLM" if qwen2 else "AttnvarForCausalLM"],
            "model_type": "qwen2" if qwen2 else "attnvar", "vocab_size": c.vocab,
            "hidden_size": c.dim, "intermediate_size": c.ffn, "num_hidden_layers": c.layers,
            "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
            "max_position_embeddings": c.seq, "rope_theta": None, "rms_norm_eps": 1e-06,
            "hidden_act": "silu", "initializer_range": 0.02, "attention_dropout": 0.0,
            "use_sliding_window": False, "tie_word_embeddings": not c.untied,
            "torch_dtype": "float32"}
    if not qwen2:
        rows.update(attnvar_layers=c.layout, attnvar_qk_norm=bool(c.qk_norm))
    lines = [f"  {json.dumps(key)}: " + (f"{c.rope_base:.17g}" if value is None else json.dumps(value))
             for key, value in rows.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_file(path, pieces):
    """To the disk, not only to the system."""
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def finish_save(folder):
    for name in RUN_FILES[1:]:
        if os.path.exists(os.path.join(folder, name + ".tmp")):
            os.replace(os.path.join(folder, name + ".tmp"), os.path.join(folder, name))


def checkpoint_save(model, s, state):
    """All files are complete under temporary names before the first is renamed. Renaming the model
    is what counts: before it the folder is as it was, after it --resume renames what is left."""
    crc = {}
    for optimizer in (False, True):
        crc[optimizer] = 0
        for _, t in entries(model, optimizer):
            crc[optimizer] = zlib.crc32(tensor_bytes(t), crc[optimizer])
    state.weights, state.moments = f"{crc[False]:08x}", f"{crc[True]:08x}"

    def pieces(optimizer):
        header = header_text(model, optimizer, metadata(s, state))
        yield struct.pack("<Q", len(header)) + header
        for _, t in entries(model, optimizer):
            yield tensor_bytes(t)

    path, name = os.path.join(s.out, "model.safetensors"), ""
    try:
        for name, parts in (("config.json", [config_text(model.c).encode()]),
                            ("optim.safetensors", pieces(True)), ("model.safetensors", pieces(False))):
            write_file(os.path.join(s.out, name + ".tmp"), parts)
        os.replace(path + ".tmp", path)
    except OSError as error:
        for left in RUN_FILES:
            if os.path.exists(os.path.join(s.out, left + ".tmp")):
                os.remove(os.path.join(s.out, left + ".tmp"))
        fail(f"{s.out}/{name}: cannot be written: {error.strerror}; what was saved there before is as "
             "it was")
    finish_save(s.out)


def read_header(path):
    """(text, where the tensors begin), or None if it is no safetensors file."""
    try:
        with open(path, "rb") as file:
            length, = struct.unpack("<Q", file.read(8))
            if length > os.path.getsize(path) - 8:
                return None
            return file.read(length), 8 + length
    except (OSError, struct.error):
        return None


def checkpoint_open(folder):
    """(settings, state) as the metadata have them. The rest of the header must follow from them."""
    path = os.path.join(folder, "model.safetensors")
    header = read_header(path)
    if not header:
        fail(f"{path}: not there or damaged; expected a folder that a run with --out wrote")
    try:
        kept = json.loads(header[0])["__metadata__"]
        if kept.get("attnvar") != "2":
            fail(f"{path}: has format {kept.get('attnvar', 'of another program, or 1')}, expected 2; see "
                 "python3 dev/tools/from_hf.py --help")
        s = SimpleNamespace(**{o.key: o.parse(kept[o.name]) if kept[o.name] else None
                               for o in OPTIONS if o.keeper != "free"})
        state = SimpleNamespace(step=int(kept["step"]), rng=int(kept["rng"]),
                                train=kept["train-content"], val=kept["val-content"],
                                weights=kept["weights"], moments=kept["moments"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fail(f"{path}: damaged header: {error}")
    return s, state


def checkpoint_read(model, folder, kept, state, optimizer):
    """Fills the weights and anchors, or the moments, from the file with the expected header."""
    name = "optim.safetensors" if optimizer else "model.safetensors"
    expected = header_text(model, optimizer, metadata(kept, state))
    for suffix in ("", ".tmp"):
        path = os.path.join(folder, name + suffix)
        header = read_header(path)
        if header and header[0] == expected:
            break
    else:
        fail(f"{folder}/{name}: damaged, or not of the same save as the folder's other files (step "
             f"{state.step}): start another run with --init {folder}")
    crc, size = 0, os.path.getsize(path) - header[1]
    with open(path, "rb") as file, torch.no_grad():
        file.seek(header[1])
        for name, t in entries(model, optimizer):
            data = bytearray(file.read(4 * t.numel()))
            if len(data) != 4 * t.numel():
                fail(f"{path}: cut short at tensor {name}")
            crc, size = zlib.crc32(data, crc), size - len(data)
            kind = torch.float32 if t.is_floating_point() else torch.int32
            t.copy_(torch.frombuffer(data, dtype=kind).view(t.shape))
    wanted = state.moments if optimizer else state.weights
    if f"{crc:08x}" != wanted or size:
        fail(f"{path}: damaged: its tensors have the checksum {crc:08x}, expected {wanted}")
    if suffix and RANK == 0:
        finish_save(folder)                             # it was killed between two renames


# ------------------------------------------------------------------------------------------------
# 10  Evaluation and sampling
# ------------------------------------------------------------------------------------------------

def my_rows(B):
    """The rows of a batch of B that this process takes."""
    return slice(B * RANK // RANKS, B * (RANK + 1) // RANKS)


@torch.no_grad()
def evaluate(model, val, windows, skip=None):
    """(loss, accuracy) over the first windows, in float32 (double if the model is)."""
    B, T, total = model.c.batch, model.c.seq, torch.zeros(3, device=model.store.device)
    for first in range(0, windows, B):
        rows = my_rows(min(B, windows - first))
        inputs, targets = (x[rows] for x in val.validation_batch(first, min(B, windows - first), T))
        if len(inputs):
            losses, right = model.losses(inputs, targets, skip, model.store.dtype)
            scored = targets >= 0
            total += torch.stack([losses.sum(), (right & scored).sum(), scored.sum()])
    if RANKS > 1:
        dist.all_reduce(total)
    loss, correct, scored = total.tolist()
    return loss / scored, correct / scored


def validate(what, model, val, windows, skip=None):
    loss, accuracy = evaluate(model, val, windows, skip)
    if not math.isfinite(loss):
        fail(f"{what}: the validation loss is {loss}: not finite; what was saved before stays; try a "
             "lower --lr or a longer --warmup")
    say(f"{what}  val loss {loss:.4f}" + (f"  accuracy {accuracy:.4f}" if val.pairs else
        f"  ({loss / math.log(2):.4f} bits a byte)" if val.kind == "bytes" else
        f"  (perplexity {math.exp(loss):.2f})"))
    return loss, accuracy


@torch.no_grad()
def sample(model, prompt, n, seed, temperature=0.8):
    """The prompt and n drawn tokens, each computed from scratch over the last T tokens."""
    tokens, rng = list(prompt), stream(seed, STREAM_SAMPLE)
    for _ in range(n):
        seen = torch.tensor([tokens[-model.c.seq:]], device=model.store.device)
        logits = model.logits(seen)[0, -1].double().cpu()
        e = ((logits - logits.max()) / temperature).exp()
        left = (rng.draw() >> 11) * 2.0 ** -53 * float(e.sum())
        tokens.append(min(int((e.cumsum(0) <= left).sum()), model.c.vocab - 1))
    return tokens


# ------------------------------------------------------------------------------------------------
# 11  Command line and main
# ------------------------------------------------------------------------------------------------

SIZES = {   # dim, layers, heads, ffn, seq, batch, steps, lr, beta2
    "tiny": (64, 4, 4, 192, 128, 16, 1200, 3e-3, 0.99),
    "recall": (64, 2, 1, 192, 48, 64, 800, 3e-3, 0.99),
    "small": (128, 6, 4, 384, 256, 16, 2000, 2e-3, 0.99),
    "10m": (384, 6, 6, 1024, 256, 8, 2000, 1e-3, 0.99),
    "70m": (512, 6, 8, 2048, 2048, 4, 100000, 4e-4, 0.999),
    "160m": (768, 12, 12, 3072, 2048, 4, 100000, 4e-4, 0.999),
    "500m": (896, 24, 14, 4864, 2048, 4, 100000, 4e-4, 0.999),
    "1.7b": (2048, 28, 16, 6144, 2048, 4, 100000, 4e-4, 0.999),
}


class Option:
    """keeper: a checkpoint keeps what makes the model ("model": --init and --resume take it), the run
    ("run": --resume does, "path": whose contents count, "plan": which may change); or not ("free")."""

    def __init__(self, name, kind, keeper, low=0, high=0, default=None):
        self.name, self.kind, self.keeper, self.default = name, kind, keeper, default
        self.low, self.high, self.key = low, high, name.replace("-", "_")

    def parse(self, text):
        if self.kind in ("text", "list"):
            return text
        try:
            value = float(text) if self.kind == "real" else int(text)
            if self.low <= value <= self.high:
                return value
        except ValueError:
            pass
        whole = "a" if self.kind == "real" else "a whole"
        fail(f"--{self.name} '{text}': expected {whole} number from {self.low:g} to {self.high:g}")


OPTIONS = [Option(*row) for row in (
    ("attn", "text", "free", 0, 0, "standard"), ("layout", "text", "run", 0, 0, "uniform"),
    ("size", "text", "run"), ("layers", "int", "model", 1, 256), ("heads", "int", "model", 1, 1024),
    ("kv-heads", "int", "model", 1, 1024), ("dim", "int", "model", 1, 65536),
    ("ffn", "int", "model", 1, 262144), ("vocab", "int", "model", 2, 1 << 22),
    ("seq", "int", "run", 1, 1 << 20), ("batch", "int", "run", 1, 65536),
    ("accumulate", "int", "run", 1, 65536, 1), ("qk-norm", "flag", "model", 0, 1, 0),
    ("untied", "flag", "model", 0, 1, 0), ("rope-base", "real", "model", 1, 1e9, 10000.0),
    ("steps", "int", "plan", 0, 1e9), ("lr", "real", "plan", 0, 1e3),
    ("min-lr", "real", "plan", 0, 1e3), ("warmup", "int", "plan", 0, 1e9),
    ("beta1", "real", "plan", 0, 0.999999, 0.9), ("beta2", "real", "plan", 0, 0.999999),
    ("decay", "real", "plan", 0, 1e3, 0.1), ("clip", "real", "plan", 0, 1e9, 1.0),
    ("seed", "int", "run", 0, (1 << 62) - 1, 1),
    ("data", "list", "path", 0, 0, "dev/data/austen_train.txt"),
    ("val", "list", "path", 0, 0, "dev/data/austen_val.txt"), ("pairs", "int", "run", 1, 256, 8),
    ("anchor", "text", "path"), ("eval-every", "int", "plan", 0, 1e9, 200),
    ("eval-batches", "int", "plan", 0, 1e6, 4), ("log-every", "int", "free", 1, 1e9, 50),
    ("sample", "int", "free", 0, 1e6), ("out", "text", "free"),
    ("save-every", "int", "free", 0, 1e9, 200), ("resume", "flag", "free", 0, 1, 0),
    ("force", "flag", "free", 0, 1, 0), ("init", "text", "free"),
    ("threads", "int", "free", 1, 1024), ("device", "text", "free"), ("runs", "text", "free"),
    ("explicit", "flag", "free", 0, 1, 0), ("bf16", "flag", "free", 0, 1, 0),
    ("compile", "flag", "free", 0, 1, 0))]


def parse(words):
    """{option: value given} from --name value, --name=value and, for data, --name value value"""
    known, given, at = {o.name: o for o in OPTIONS}, {}, 0
    while at < len(words):
        name, equals, value = words[at][2:].partition("=")
        if not words[at].startswith("--") or name not in known:
            fail(f"unknown option '{words[at]}': expected one of --{', --'.join(known)}")
        option, at = known[name], at + 1
        if option.kind == "flag":
            if equals:
                fail(f"--{name} takes no value, found '{value}'")
            given[name] = 1
            continue
        values = [value] if equals else words[at:at + 1]
        at += not equals
        while option.kind == "list" and at < len(words) and not words[at].startswith("-"):
            values.append(words[at])
            at += 1
        if not values:
            fail(f"--{name} wants a value: ./train_attnvar --help lists them all")
        before = [given[name]] if option.kind == "list" and name in given else []
        given[name] = option.parse("\n".join(before + values))
    return given


def layers_of(attn, layout, n, attn_given):
    """A letter a layer."""
    if attn not in LETTER:
        fail(f"unknown variant '{attn}': expected one of {', '.join(LETTER)}")
    if layout in LAYOUTS:
        return "".join("S" if LAYOUTS[layout](l, n) else LETTER[attn] for l in range(1, n + 1))
    if attn_given:
        fail(f"--layout {layout} names every layer's variant, or is no layout: leave out --attn {attn}, "
             f"or name one of {', '.join(LAYOUTS)}")
    names = layout.split(",") if "," in layout or layout[:1].islower() else list(layout)
    letters = "".join(LETTER.get(x, x) for x in names)
    wrong = [x for x, letter in zip(names, letters) if letter not in VARIANTS]
    if wrong or len(letters) != len(names):
        fail(f"--layout {layout}: '{wrong[0] if wrong else layout}' is no layout and no variant: expected "
             f"one of {', '.join(LAYOUTS)}, a letter a layer of {''.join(VARIANTS)}, or names with commas")
    if len(letters) != n:
        fail(f"--layout {layout} names {len(letters)} layers, the model has {n}: give one for each, or "
             f"--layers {len(letters)}")
    return letters


def check_config(s):
    if s.dim % s.heads:
        fail(f"--dim {s.dim} is not a multiple of --heads {s.heads}")
    if s.heads % s.kv_heads:
        fail(f"--heads {s.heads} is not a multiple of --kv-heads {s.kv_heads}")
    for letter in s.layout:
        name, _, rotates, _ = VARIANTS[letter]
        if rotates and s.dim // s.heads % 2:
            fail(f"head size {s.dim // s.heads} (--dim {s.dim} / --heads {s.heads}) is odd: RoPE turns "
                 f"pairs of channels, so {name} needs an even one")
        if letter == "M" and s.kv_heads != s.heads:
            fail(f"mlp with --kv-heads {s.kv_heads} and --heads {s.heads}: its gate and its up must be "
                 "equally wide: leave out --kv-heads")
    if s.anchor and "F" not in s.layout:
        fail(f"--anchor {s.anchor}: no layer is fixedseqqk: leave it out")
    if RANKS > s.batch:
        fail(f"{RANKS} processes and --batch {s.batch}: each takes at least one row of a batch; start "
             f"at most {s.batch}, or choose a larger --batch")


def settings(words):
    """The defaults, over them those of the size, then what is given or a checkpoint keeps."""
    given = parse(words)
    size = given.get("size") or ("recall" if given.get("data") == "recall" else None)
    if size and size not in SIZES:
        fail(f"unknown size '{size}': expected one of {', '.join(SIZES)}")
    s = SimpleNamespace(**{o.key: o.default for o in OPTIONS})
    s.size = size or "tiny"
    s.dim, s.layers, s.heads, s.ffn, s.seq, s.batch, s.steps, s.lr, s.beta2 = SIZES[s.size]
    if "data" in given:
        s.val = None
    for name, value in given.items():
        setattr(s, name.replace("-", "_"), value)
    if s.resume and not s.out:
        fail("--resume wants to know which run: --out DIR")
    if s.resume and (s.force or s.init):
        fail("--resume goes on with a run, --force and --init start another: give one")
    s.kept, s.state, s.changes = None, None, []
    own = "attn" in given or "layout" in given
    if s.resume or s.init:
        take_settings(s, given, own)
    s.kv_heads = s.kv_heads or s.heads
    s.layout = layers_of(s.attn, s.layout, s.layers, "attn" in given)
    if s.resume and s.layout != s.kept.layout:
        fail(f"the layers {s.layout} are not those of the checkpoint in {s.out}, {s.kept.layout}: leave "
             f"out --attn and --layout, or start another run with --init {s.out}")
    check_config(s)
    return s


def take_settings(s, given, own_layers):
    """Takes from a checkpoint what it keeps and was not given. --init takes --seq, too."""
    folder = s.out if s.resume else s.init
    s.kept, s.state = checkpoint_open(folder)
    for o in OPTIONS:
        taken = o.keeper != "free" if s.resume else o.keeper == "model" or o.key in ("layout", "seq")
        if not taken or o.key == "layout" and own_layers:
            continue
        mine, theirs = getattr(s, o.key), getattr(s.kept, o.key)
        if o.name not in given:
            setattr(s, o.key, theirs)
        elif mine != theirs and o.keeper == "plan":
            s.changes.append(f"--{o.name} {mine} (was {theirs})")
        elif mine != theirs and (o.keeper == "model" or o.keeper == "run" and s.resume):
            fail(f"--{o.name} {mine} contradicts the checkpoint in {folder}, which has {theirs}: leave "
                 "it out, or start another run")


# ---- the run's folder and its log ----------------------------------------------------------------

COLUMNS = "step,loss,lr,gradient_norm,tokens_per_second,val_loss,val_accuracy\n"


def open_out(s):
    """Makes the folder and locks it; refuses to touch a run that is there. The lock."""
    try:
        os.makedirs(s.out, exist_ok=True)
        lock = open(os.path.join(s.out, "lock"), "a")
    except OSError as error:
        fail(f"--out {s.out}: cannot make the folder: {error.strerror}")
    try:
        import fcntl
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"--out {s.out}: another process is training there: wait for its end, or choose another "
             "folder")
    except (ImportError, OSError):
        say(f"note: {s.out} cannot be locked: see to it that no other process writes there")
    for name in RUN_FILES:
        path = os.path.join(s.out, name)
        if name != "log.csv" and os.path.exists(path) and not s.resume and not s.force:
            fail(f"--out {s.out}: holds a run already ({path}): go on with it by --resume, or overwrite "
                 "it by --force")
    return lock


def open_log(s, step):
    """log.csv, without what a killed run logged beyond its checkpoint, open to add to it."""
    path, lines = os.path.join(s.out, "log.csv"), [COLUMNS]
    if step and os.path.exists(path):
        with open(path) as file:
            lines += [line for line in file if line.endswith("\n") and line[0].isdigit()
                      and int(line.split(",")[0]) <= step]
    write_file(path + ".tmp", ["".join(lines).encode()])
    os.replace(path + ".tmp", path)
    return open(path, "a")


# ---- training ------------------------------------------------------------------------------------

class Launch:
    """A function without arguments. On one GPU it is recorded after three trials and replayed as a
    whole, since small kernels run faster than Python starts them."""

    def __init__(self, function, recorded):
        self.call = function
        if recorded:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    function()
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph, stream=side):
                function()
            self.call = self.graph.replay


class Trainer:
    """One step: the gradients of --accumulate batches, then AdamW. What it measures stays on the
    device until rows() fetches it."""

    def __init__(self, model, s, data, recorded=True):
        self.model, self.s, self.data = model, s, data
        T, rows, device = s.seq, my_rows(s.batch), model.store.device
        self.rows, self.scored = rows, s.batch * (data.pairs or T) * s.accumulate
        self.batch = torch.zeros(2, rows.stop - rows.start, T, dtype=torch.int64, device=device)
        self.k = torch.ones(3, device=device, dtype=model.store.dtype)
        self.loss = torch.zeros((), device=device, dtype=model.store.dtype)
        self.report, self.kept = None, []
        self.interrupted, self.began = 0, time.monotonic()
        recorded = recorded and device.type == "cuda" and RANKS == 1
        before = model.store.clone() if recorded else None
        self.add_batch, self.update = Launch(self._add_batch, recorded), Launch(self._update, recorded)
        if recorded:
            model.store.copy_(before)
            self.loss.zero_()

    def _add_batch(self):
        loss = self.model.losses(*self.batch)[0].sum() / self.scored
        self.model.add_gradients(loss)
        self.loss += loss.detach()

    @torch.no_grad()
    def _update(self):
        w, g, m, v = self.model.store
        if RANKS > 1:
            stop = torch.full_like(self.loss, float(self.interrupted))
            shared = torch.stack([self.loss, stop])
            dist.all_reduce(shared)
            dist.all_reduce(g)
            self.loss.copy_(shared[0])
        norms = torch.stack(torch._foreach_norm(list(self.model.g.values())))
        norm = norms.double().square().sum().sqrt().to(norms)
        self.model.adamw(w, g, m, v, self.model.decays, norm, *self.k, self.s.beta1, self.s.beta2,
                         self.s.clip)
        g.zero_()
        stop = shared[1] if RANKS > 1 else torch.zeros_like(norm)
        self.report = torch.cat([torch.stack([self.loss, norm, stop]), norms])
        self.loss.zero_()

    def step(self, t, rng):
        lr = learning_rate(self.s, t - 1)
        for _ in range(self.s.accumulate):
            for to, x in zip(self.batch, self.data.training_batch(rng, self.s.batch, self.s.seq)):
                to.copy_(x[self.rows])
            self.add_batch.call()
        self.k.copy_(torch.tensor(coefficients(self.s, t, lr), dtype=self.k.dtype))
        self.update.call()
        self.kept.append((t, lr, self.report.clone()))

    def fetch(self):
        """(step, loss, lr, norm, tokens/s) of each step since the last call; was a process stopped?"""
        values = torch.stack([report for _, _, report in self.kept]).tolist()
        now, names = time.monotonic(), list(self.model.w)
        rate = len(values) * self.s.accumulate * self.s.batch * self.s.seq / (now - self.began)
        rows = []
        for (t, lr, _), (loss, norm, stop, *norms) in zip(self.kept, values):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                at = next((i for i, x in enumerate(norms) if not math.isfinite(x)), 0)
                fail(f"step {t}: the loss is {abs(loss)} and the gradient of {names[at]} has norm "
                     f"{abs(norms[at])}: not finite; try a lower --lr or a longer --warmup")
            rows.append((t, loss, lr, norm, rate))
        self.kept = []
        return rows, int(values[-1][2]) if RANKS > 1 else self.interrupted


def train(model, s, data, val):
    """Trains, logs, validates, saves. (loss of the last validation, of skip blocks, of skip mixers)"""
    windows = RECALL_WINDOWS if val.pairs else (val.n - 1) // s.seq
    wanted = s.eval_batches * s.batch
    windows = windows if not wanted else wanted if val.pairs else min(windows, wanted)
    state = s.state if s.resume else SimpleNamespace(
        step=0, rng=stream(s.seed, STREAM_DATA).state, train="", val="", weights="", moments="")
    rng, first = RNG(state.rng), state.step
    log = open_log(s, first) if s.out and RANK == 0 else None
    if first:
        say(f"resumed after step {first}" + ("; changed: " + ", ".join(s.changes)) * bool(s.changes))
    trainer = Trainer(model, s, data) if first < s.steps else None
    caught = [signal.signal(n, lambda number, _: setattr(trainer, "interrupted", number))
              for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] if trainer else []
    start = logged = time.monotonic()
    if trainer:
        trainer.began = start
    for step in range(first + 1, s.steps + 1):
        trainer.step(step, rng)
        done, measured = step == s.steps, bool(s.eval_every) and step % s.eval_every == 0
        line = step % s.log_every == 0 or done or step == first + 1
        save = s.out and (done or s.save_every and step % s.save_every == 0)
        if not (line or measured or save or model.store.device.type == "cpu" or trainer.interrupted
                and RANKS == 1):
            continue
        rows, stopped = trainer.fetch()
        _, loss, lr, norm, rate = rows[-1]
        if line:
            left = int((time.monotonic() - start) / (step - first) * (s.steps - step))
            say(f"step {step:5d}  loss {loss:.4f}  lr {lr:.2e}  norm {norm:6.3f}  {rate:7.0f} tokens/s  "
                f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left")
        score = validate(f"step {step:5d}", model, val, windows) if done or measured else None
        if log:
            cells = ["%d,%.6f,%.6e,%.6f,%.0f," % row for row in rows]
            log.write(",\n".join(cells) + ("%.6f,%.6f\n" % score if score else ",\n"))
            log.flush()
        if (save or stopped and s.out) and RANK == 0:
            state.step, state.rng = step, rng.state
            state.train, state.val = s.content
            os.fsync(log.fileno())
            checkpoint_save(model, s, state)
        if stopped:
            say(f"\ninterrupted after step {step}, " + (f"saved in {s.out}; to go on: --out {s.out} "
                "--resume" if s.out else "without --out nothing is saved"))
            sys.exit(128 + min(stopped, 64))
        trainer.began = time.monotonic()
    for number, action in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), caught):
        signal.signal(number, action)
    if first == s.steps:
        validate(f"step {first:5d}", model, val, windows)
    if "S" in s.layout and set(s.layout) != {"S"}:      # a hybrid: what are its simple layers worth?
        validate("skip blocks", model, val, windows, "blocks")
        validate("skip mixers", model, val, windows, "mixers")


def describe(s, model, data, val):
    counts = ", ".join(f"{s.layout.count(x)} {VARIANTS[x][0]}" for x in VARIANTS if x in s.layout)
    how = [str(model.store.device), "bf16" if s.bf16 else "float32"] + ["compile"] * s.compile
    how += [f"{RANKS} processes"] * (RANKS > 1) + ["explicit"] * (not model.fast)
    say(f"layers      {s.layout}  ({counts}), seed {s.seed}; {', '.join(how)}, torch {torch.__version__}")
    say(f"shape       dim {s.dim}, heads {s.heads}, kv-heads {s.kv_heads}, ffn {s.ffn}, seq {s.seq}, batch "
        f"{s.batch}" + f" x {s.accumulate}" * (s.accumulate > 1) + ", qk-norm" * s.qk_norm
        + ", untied" * s.untied)
    say(f"parameters  {model.parameters}")
    if data.pairs:
        say(f"task        recall: {s.pairs} pairs; {s.steps} steps of {s.batch * s.accumulate} x {s.seq} "
            "tokens")
    else:
        say(f"training    {data.paths[0]}{' and more' * (len(data.paths) > 1)}: {data.n} {data.kind}, "
            f"vocabulary {s.vocab}; {s.steps} steps of {s.batch * s.accumulate} x {s.seq} tokens")
        say(f"validation  {val.paths[0]}: {val.n} {val.kind}; chance {math.log(s.vocab):.4f}")


def one_run(words, device):
    s = settings(words)
    lock = open_out(s) if s.out and RANK == 0 else None
    if RANKS > 1:
        dist.barrier()                          # the folder is there, and no other's
    data, val = open_data(s, device)
    s.content = (data.content(), val.content()) if s.out else None
    c = SimpleNamespace(**{key: getattr(s, key) for key in MODEL_KEYS})
    model = Model(c, s.seed, device)
    model.fast, model.dtype = FAST and not s.explicit, torch.bfloat16 if s.bf16 else torch.float32
    if "F" in s.layout and not s.resume:
        model.anchor_tokens.copy_(read_anchor(s, data))
    if s.kept:
        folder = s.out if s.resume else s.init
        checkpoint_read(model, folder, s.kept, s.state, False)
        if s.resume:
            for mine, theirs, option in zip(s.content, (s.state.train, s.state.val), ("data", "val")):
                if mine != theirs:
                    fail(f"{s.out}: the run's data are {theirs} (tokens, checksum), these are {mine}: "
                         f"give the run's own, wherever they are now: --{option} FILE")
            if s.state.step > s.steps:
                fail(f"{s.out}: step {s.state.step} is done, --steps {s.steps} is less")
            checkpoint_read(model, folder, s.kept, s.state, True)
    describe(s, model, data, val)
    if s.compile:
        model.block, model.head, model.adamw = compiled()
    train(model, s, data, val)
    if s.sample and not data.pairs and RANK == 0:
        prompt = val.tokens(torch.arange(min(32, s.seq))).tolist()
        tokens = sample(model, prompt, s.sample, s.seed)
        say(f"\nsample, temperature 0.8; its first {len(prompt)} tokens are the validation data's:")
        say("".join(chr(x) if x == 10 or 32 <= x < 127 else "?" for x in tokens)
            if data.kind == "bytes" else " ".join(map(str, tokens)))
    if lock:
        lock.close()
    return model, s, data, val


def compiled(cache=[]):
    """Compiled once a process: later runs of the same shapes find their code."""
    if not hasattr(torch, "compile"):
        fail(f"--compile needs PyTorch 2, this is {torch.__version__}: leave it out")
    if not cache:
        torch._dynamo.config.cache_size_limit = 256
        cache += [torch.compile(function, dynamic=False) for function in (block, head, adamw)]
    # evaluation has other shapes and types: not worth compiling
    return [lambda *a: (cache[0] if torch.is_grad_enabled() else block)(*a),
            lambda *a: (cache[1] if torch.is_grad_enabled() else head)(*a), cache[2]]


def choose_device(name):
    local = int(os.environ.get("LOCAL_RANK", 0))
    mps = getattr(torch.backends, "mps", None)
    name = name or ("cuda" if torch.cuda.is_available() else
                    "mps" if mps and mps.is_available() else "cpu")
    try:
        if name == "cuda":
            torch.cuda.set_device(local)
            name = f"cuda:{local}"
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        fail(f"--device {name}: {str(error).splitlines()[0]}: expected cuda, mps or cpu, as this machine "
             "has")


def main(words):
    if "--help" in words or "-h" in words:
        say(__doc__)
        return
    given = parse(words)
    if "threads" in given:
        torch.set_num_threads(given["threads"])
    device = choose_device(given.get("device"))
    if RANKS > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if "runs" not in given:
        return one_run(words, device)
    if len(given) > 1 and set(given) - {"runs", "device", "threads"}:
        fail("--runs FILE: the options of a run stand in its line; beside --runs only --device, --threads")
    try:
        with open(given["runs"]) as file:
            lines = [shlex.split(line, comments=True) for line in file]
    except (OSError, ValueError) as error:
        fail(f"--runs {given['runs']}: {error}: expected a file with a line of options a run")
    for line in filter(None, lines):
        out = parse(line).get("out")
        there = out and os.path.exists(os.path.join(out, "model.safetensors"))
        if there and (lambda kept: kept[1].step == kept[0].steps)(checkpoint_open(out)):
            say(f"{out}: done\n")
            continue
        say(f"--- {shlex.join(line)}")
        one_run(line + ["--resume"] if there else line, device)
        say()


if __name__ == "__main__":
    main(sys.argv[1:])
