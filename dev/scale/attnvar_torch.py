#!/usr/bin/env python3
"""attnvar_torch.py: the model of train_attnvar.c in PyTorch, for one GPU or several.

    python3 dev/scale/attnvar_torch.py --attn nonapprox --layout even       on the GPU, if any
    python3 dev/scale/attnvar_torch.py --size 70m --bf16 --compile ...      faster, see below
    torchrun --nproc-per-node 8 dev/scale/attnvar_torch.py ...              eight GPUs, one run
    python3 dev/scale/attnvar_torch.py --runs FILE                          each line is a run

Options, layouts, data, random streams, initial weights, windows, schedule, log and checkpoint are
train_attnvar's: each program resumes the runs of the other, and dev/tools read this one's
checkpoints. Read it beside the C file: the chapters have the same numbers; chapter 2, the matrix
product, is PyTorch's, and 1, 8 and 9 are in attnvar_files.py. Autograd computes the gradients.

Options that train_attnvar lacks:
    --device NAME   cuda, mps or cpu [the first that this machine has]
    --explicit      computes every map in full, as the equations say: the reference, also used where
                    PyTorch (before 2.0) has no scaled_dot_product_attention
    --bf16          matrix products in bfloat16; weights, residual stream, norms, loss, AdamW,
                    validation and nonapprox's scores stay float32
    --compile       torch.compile fuses each block, the loss and AdamW

On a GPU a step is recorded as a CUDA graph and replayed. Losses are fetched when they are shown or
saved, so a step that is not finite ends the run only at the next line of progress.
With torchrun every process takes its rows of each batch (no more processes than --batch); gradients
are summed, so N processes train as one does. Needs Python 3.8 and torch 1.13 or later.
"""
import math
import os
import shlex
import signal
import sys
import time
from types import SimpleNamespace

from attnvar_files import (MODEL_KEYS, NAMES, RANK, RANKS, RECALL_WINDOWS, RNG, STREAM_ANCHOR,
                           STREAM_DATA, STREAM_INIT, STREAM_SAMPLE, checkpoint_open,
                           checkpoint_read, checkpoint_save, declare_tensors, fail, open_data,
                           open_log, open_out, parse, read_anchor, say, settings, stream)
import torch            # after attnvar_files, which says where to find it if it is not there
import torch.distributed as dist
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

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
#    M = 1: it serves all. Two forms: from the equations, and in a form fast on a GPU (fast)
# ------------------------------------------------------------------------------------------------

FAST = hasattr(F, "scaled_dot_product_attention")


def per_head(x, NH):
    """(R,T,NKV,dh) -> (R,NH,T,dh): neighbouring query heads share a key/value head."""
    return x.transpose(1, 2).repeat_interleave(NH // x.shape[2], 1)


def later(T, device):
    """(T,T) true where j > i: query i does not see key j."""
    return torch.ones(T, T, dtype=torch.bool, device=device).triu(1)


def scores(q, k):
    """(M,NH,T,T) s q_i.k_j, in at least float32, which softmax and approx's polynomial need."""
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
    """f(s q.k) = phi(q).phi(k) with phi(x) = (1, sqrt(s) x, s x_a x_b / sqrt 2). All positions
    before a chunk are summed up in the state (R,NH,1+dh+dh^2,dh+1); only within the chunk there is
    a map. A channel of ones appended to v yields the denominator."""
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


# ---- 4.4  nonapprox: A_ij = exp(x_j) / sum_{l<=i} exp(x_l), x_j = s SiLU(q_j).k_j: one score a key

def nonapprox(q, k, v, fast):
    """Scores beyond 1000 occur, so they are float32 and are masked before the exponential."""
    T, wide = q.shape[1], torch.promote_types(q.dtype, torch.float32)
    q, k, heads = q.transpose(1, 2).to(wide), per_head(k, q.shape[2]).to(wide), q.shape[2]
    x = (F.silu(q) * k).sum(-1) / math.sqrt(q.shape[3])                             # (R,NH,T)
    if fast:            # attention with query 1 and key x_j; padded with zeros, as kernels need 8
        key = F.pad(x[..., None], (0, 7))
        one = F.pad(torch.ones_like(x[..., None]), (0, 7))
        o = F.scaled_dot_product_attention(one, key, per_head(v, heads).to(wide), is_causal=True,
                                           scale=1.0)
        return o.transpose(1, 2).to(v.dtype)
    x = x[:, :, None].expand(-1, -1, T, -1).masked_fill(later(T, x.device), -math.inf)
    return apply_map(x.softmax(-1), v)


# ---- 4.5, 4.6, 4.7  rndembqk, fixedseqqk, staticembqk: standard, with q and k of another input

OWN, RANDOM_ANCHOR, TEXT_ANCHOR, STATIC = range(4)

VARIANTS = {    # where q and k come from, RoPE?, mixer
    "S": (OWN, True, standard),
    "M": (OWN, False, None),
    "A": (OWN, True, approx),
    "N": (OWN, False, nonapprox),
    "R": (RANDOM_ANCHOR, True, standard),
    "F": (TEXT_ANCHOR, True, standard),
    "E": (STATIC, True, standard),
}

# ------------------------------------------------------------------------------------------------
# 5  The model: its tensors
# ------------------------------------------------------------------------------------------------

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
        # an anchor's row is kept up to the last layer that uses it; the longest needed comes first
        last = {kind: max(l for l, x in enumerate(c.layout) if VARIANTS[x][0] == kind)
                for kind in (RANDOM_ANCHOR, TEXT_ANCHOR)
                if any(VARIANTS[x][0] == kind for x in c.layout)}
        self.anchors = sorted(last.items(), key=lambda item: -item[1])
        self.fast, self.dtype = FAST, dtype
        self.block, self.head, self.adamw = block, head, adamw

    def tensor(self, name):
        """The tensor of this name in a checkpoint; None for an anchor that this model lacks."""
        if name.startswith("anchor."):
            letter, anchor = {"anchor.embeds": ("R", self.embeds),
                              "anchor.tokens": ("F", self.anchor_tokens)}[name]
            return anchor if letter in self.c.layout else None
        moment, _, rest = name.partition(".")
        return {"exp_avg": self.m, "exp_avg_sq": self.v}.get(moment, {}).get(rest, self.w.get(name))

    # --------------------------------------------------------------------------------------------
    # 6  The model forward
    # --------------------------------------------------------------------------------------------

    def forward(self, tokens, skip=None, dtype=None, hidden=None):
        """(B,T,C) the output of the last block. skip: leaves out the "blocks" or the "mixers" of
        layers that are not standard. hidden: a list to which each block's input is appended."""
        (B, T), table = tokens.shape, self.w["model.embed_tokens.weight"]
        rows, alive = [table[tokens]], [] if skip else self.anchors
        for kind, _ in alive:
            anchor = self.embeds if kind == RANDOM_ANCHOR else table[self.anchor_tokens]
            rows.append(anchor[None, :T])
        e = h = torch.cat(rows) if alive else rows[0]
        for l, letter in enumerate(self.c.layout):
            if hidden is not None:
                hidden.append(h[:B])
            skipped = skip if letter != "S" else None
            if skipped == "blocks":
                continue
            source = [kind for kind, _ in alive].index(VARIANTS[letter][0]) + B \
                if VARIANTS[letter][0] in (RANDOM_ANCHOR, TEXT_ANCHOR) and not skipped else None
            stay = B + sum(last > l for _, last in alive)
            h = self.block(h, e if letter == "E" else None, self.layer[l], self.angles, letter,
                           source, stay, self.c.heads, skipped == "mixers", self.fast,
                           dtype or self.dtype)
        return h[:B]

    def losses(self, tokens, targets, skip=None, dtype=None):
        """(B,T) the loss of each position, and whether its target is the likeliest, as in head()."""
        h = self.forward(tokens, skip, dtype)
        return self.head(h, self.w["model.norm.weight"], self.head_weight(), targets,
                         dtype or self.dtype)

    def head_weight(self):
        return self.w["lm_head.weight" if self.c.untied else "model.embed_tokens.weight"]

    def logits(self, tokens, skip=None):
        return linear(rmsnorm(self.forward(tokens, skip), self.w["model.norm.weight"]),
                      self.head_weight())

    def add_gradients(self, loss):
        """g += the gradient of the loss; nothing for tensors that the loss does not depend on."""
        found = torch.autograd.grad(loss, list(self.w.values()), allow_unused=True)
        pairs = [(g, x) for g, x in zip(self.g.values(), found) if x is not None]
        torch._foreach_add_([g for g, _ in pairs], [x for _, x in pairs])


def block(h, e, w, angles, letter, source, stay, heads, skip_mixer, fast, dtype):
    """The next block's h (stay,T,C). source: the row of h whose q and k serve all rows, or None."""
    if skip_mixer:
        mid = h[:stay]
    else:
        kind, rotates, mixer = VARIANTS[letter]
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
    """Those arguments of adamw() that change with the step t = 1, 2, .."""
    return [lr / (1 - s.beta1 ** t), 1 / math.sqrt(1 - s.beta2 ** t), lr * s.decay]


def adamw(w, g, m, v, decays, norm, step, root, shrink, beta1, beta2, clip, eps=1e-8):
    """All tensors at once; m and v are moments of the clipped gradient.
        w -= lr (m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + decay w)    decay on matrices only"""
    if clip > 0:
        g = g * torch.where(norm > clip, clip / norm, torch.ones_like(norm))
    m.mul_(beta1).add_(g, alpha=1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    w.sub_(w * (shrink * decays) + step * m / (v.sqrt() * root + eps))


# ------------------------------------------------------------------------------------------------
# 11  Evaluation and sampling
# ------------------------------------------------------------------------------------------------

def my_rows(B):
    """The rows of a batch of B that this process takes."""
    return slice(B * RANK // RANKS, B * (RANK + 1) // RANKS)


def meet(device):
    """Returns when all processes are here. (barrier() would have to guess the device.)"""
    if RANKS > 1:
        dist.all_reduce(torch.zeros(1, device=device))


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
        fail(f"{what}: the validation loss is {loss}: not finite; the save before stays; try a "
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
# 11  Training and main
# ------------------------------------------------------------------------------------------------

# ---- training ------------------------------------------------------------------------------------

class Launch:
    """A function without arguments. On a GPU it is recorded after three trials and replayed as a
    whole, because small kernels finish faster than Python can start the next one."""

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
            # thread_local: NCCL's own thread may go on asking the GPU
            with torch.cuda.graph(self.graph, stream=side, capture_error_mode="thread_local"):
                function()
            self.call = self.graph.replay


class Trainer:
    """One step: the gradients of --accumulate batches, then AdamW. Its measurements stay on the
    device until fetch() reads them."""

    def __init__(self, model, s, data, recorded=True):
        self.model, self.s, self.data = model, s, data
        T, rows, device = s.seq, my_rows(s.batch), model.store.device
        self.rows, self.scored = rows, s.batch * (data.pairs or T) * s.accumulate
        self.batch = torch.zeros(2, rows.stop - rows.start, T, dtype=torch.int64, device=device)
        self.k = torch.ones(3, device=device, dtype=model.store.dtype)
        self.shared = torch.zeros(2, device=device, dtype=model.store.dtype)    # loss, interrupted
        self.loss = self.shared[0]
        self.report, self.kept = None, []
        self.interrupted, self.began = 0, time.monotonic()
        recorded = recorded and device.type == "cuda"
        before = model.store.clone() if recorded else None
        self.add_batch = Launch(self._add_batch, recorded)
        self.update = Launch(self._update, recorded)
        if recorded:
            model.store.copy_(before)
            self.shared.zero_()

    def _add_batch(self):
        loss = self.model.losses(*self.batch)[0].sum() / self.scored
        self.model.add_gradients(loss)
        self.loss += loss.detach()

    @torch.no_grad()
    def _update(self):
        w, g, m, v = self.model.store
        norms = torch.stack(torch._foreach_norm(list(self.model.g.values())))
        norm = norms.double().square().sum().sqrt().to(norms)
        self.model.adamw(w, g, m, v, self.model.decays, norm, *self.k, self.s.beta1, self.s.beta2,
                         self.s.clip)
        g.zero_()
        self.report = torch.cat([torch.stack([self.loss, norm, self.shared[1]]), norms])
        self.shared.zero_()

    def step(self, t, rng):
        lr = learning_rate(self.s, t - 1)
        for _ in range(self.s.accumulate):
            for to, x in zip(self.batch, self.data.training_batch(rng, self.s.batch, self.s.seq)):
                to.copy_(x[self.rows])
            self.add_batch.call()
        if RANKS > 1:                           # between the two recordings: it waits for others
            self.shared[1] = float(self.interrupted)
            dist.all_reduce(self.shared)
            dist.all_reduce(self.model.store[1])
        self.k.copy_(torch.tensor(coefficients(self.s, t, lr), dtype=self.k.dtype))
        self.update.call()
        self.kept.append((t, lr, self.report.clone()))

    def fetch(self):
        """(step, loss, lr, norm, tokens/s) of each step since the last call; the signal that stops
        the run, or 0."""
        values = torch.stack([report for _, _, report in self.kept]).tolist()
        now, names = time.monotonic(), list(self.model.w)
        rate = len(values) * self.s.accumulate * self.s.batch * self.s.seq / (now - self.began)
        rows = []
        for (t, lr, _), (loss, norm, stop, *norms) in zip(self.kept, values):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                lost = [name for name, x in zip(names, norms) if not math.isfinite(x)]
                fail(f"step {t}: the loss is {abs(loss)} and the gradient of "
                     f"{(lost + ['no tensor'])[0]} is not finite; try a lower --lr or a longer "
                     "--warmup")
            rows.append((t, loss, lr, norm, rate))
        self.kept = []
        if RANKS > 1 and not values[-1][2]:             # no process stops until all know
            return rows, 0
        return rows, self.interrupted or (signal.SIGTERM if values[-1][2] else 0)


def train(model, s, data, val):
    """Trains, logs, validates, saves."""
    windows = RECALL_WINDOWS if val.pairs else (val.n - 1) // s.seq
    wanted = s.eval_batches * s.batch
    windows = windows if not wanted else wanted if val.pairs else min(windows, wanted)
    state = s.state if s.resume else SimpleNamespace(
        step=0, rng=stream(s.seed, STREAM_DATA).state, train="", val="", weights="", moments="")
    rng, first = RNG(state.rng), state.step
    log = open_log(s, first) if s.out and RANK == 0 else None
    if first:
        changed = "; changed: " + ", ".join(s.changes) if s.changes else ""
        say(f"resumed after step {first}{changed}")
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
            say(f"step {step:5d}  loss {loss:.4f}  lr {lr:.2e}  norm {norm:6.3f}  {rate:7.0f} "
                f"tokens/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left")
        score = validate(f"step {step:5d}", model, val, windows) if done or measured else None
        if log:
            cells = ["%d,%.6f,%.6e,%.6f,%.0f," % row for row in rows]
            log.write(",\n".join(cells) + ("%.6f,%.6f\n" % score if score else ",\n"))
            log.flush()
        if (save or stopped and s.out) and RANK == 0:
            state.step, state.rng = step, rng.state
            state.train, state.val = s.content
            os.fsync(log.fileno())
            log.close()
            checkpoint_save(model, s, state)
            log = open(os.path.join(s.out, "log.csv"), "a")     # it had another name before, perhaps
        if stopped:
            say(f"\ninterrupted after step {step}, " + (f"saved in {s.out}; to go on: --out "
                f"{shlex.quote(s.out)} --resume" if s.out else "without --out nothing is saved"))
            meet(model.store.device)            # a process that ends early may end the others
            sys.exit(128 + stopped)
        trainer.began = time.monotonic()
    for number, action in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), caught):
        signal.signal(number, action)
    if first == s.steps:
        validate(f"step {first:5d}", model, val, windows)
    if "S" in s.layout and set(s.layout) != {"S"}:  # a hybrid: what are its simple layers worth?
        validate("skip blocks", model, val, windows, "blocks")
        validate("skip mixers", model, val, windows, "mixers")


def describe(s, model, data, val):
    counts = ", ".join(f"{s.layout.count(x)} {NAMES[x]}" for x in NAMES if x in s.layout)
    how = [str(model.store.device), "bf16" if s.bf16 else "float32"] + ["compile"] * s.compile
    how += [f"{RANKS} processes"] * (RANKS > 1) + ["explicit"] * (not model.fast)
    how.append(f"torch {torch.__version__}")
    say(f"layers      {s.layout}  ({counts}), seed {s.seed}; {', '.join(how)}")
    say(f"shape       dim {s.dim}, heads {s.heads}, kv-heads {s.kv_heads}, ffn {s.ffn}, seq "
        f"{s.seq}, batch {s.batch}" + f" x {s.accumulate}" * (s.accumulate > 1)
        + ", qk-norm" * s.qk_norm + ", untied" * s.untied)
    say(f"parameters  {model.parameters}")
    if data.pairs:
        say(f"task        recall: {s.pairs} pairs; {s.steps} steps of {s.batch * s.accumulate} x "
            f"{s.seq} tokens")
    else:
        more = " and more" * (len(data.paths) > 1)
        say(f"training    {data.paths[0]}{more}: {data.n} {data.kind}, vocabulary {s.vocab}; "
            f"{s.steps} steps of {s.batch * s.accumulate} x {s.seq} tokens")
        say(f"validation  {val.paths[0]}: {val.n} {val.kind}; chance {math.log(s.vocab):.4f}")


def restore(model, s, data):
    """Before a run starts or goes on: sets the anchor, and all tensors of the checkpoint."""
    if "F" in s.layout and not s.resume:
        model.anchor_tokens.copy_(read_anchor(s, data))
    if not s.kept:
        return
    folder = s.out if s.resume else s.init
    checkpoint_read(model, folder, s.kept, s.state, False)
    if "anchor" in s.given:                     # it replaces the checkpoint's
        kept = model.anchor_tokens.clone()
        model.anchor_tokens.copy_(read_anchor(s, data))
        if s.resume and not torch.equal(kept, model.anchor_tokens):
            fail(f"--anchor {s.anchor}: is not the run's anchor: leave it out")
    if not s.resume:
        return
    for mine, theirs, role, option in zip(s.content, (s.state.train, s.state.val),
                                          ("training", "validation"), ("data", "val")):
        if mine != theirs:
            fail(f"{s.out}: the run's {role} data are {theirs} (tokens, checksum), these are "
                 f"{mine}: give the run's own data, from wherever they are now: --{option} FILE")
    if s.state.step > s.steps:
        fail(f"{s.out}: step {s.state.step} is done, --steps {s.steps} is less: give more")
    checkpoint_read(model, folder, s.kept, s.state, True)


def one_run(words, device):
    s = settings(words)
    if RANKS > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    lock = open_out(s) if s.out and RANK == 0 else None
    meet(device)                                # the folder exists and is locked
    data, val = open_data(s, device)
    s.content = (data.content(), val.content()) if s.out else None
    c = SimpleNamespace(**{key: getattr(s, key) for key in MODEL_KEYS})
    model = Model(c, s.seed, device)
    model.fast, model.dtype = FAST and not s.explicit, torch.bfloat16 if s.bf16 else torch.float32
    restore(model, s, data)
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
    """Compiled once in a process: later runs of the same shapes reuse the code."""
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
        fail(f"--device {name}: {str(error).splitlines()[0]}: expected cuda, mps or cpu, "
             "whichever this machine has")


def main(words):
    if "--help" in words or "-h" in words:
        say(__doc__)
        return
    given = parse(words)
    if "threads" in given:
        torch.set_num_threads(given["threads"])
    device = choose_device(given.get("device"))
    if "runs" not in given:
        one_run(words, device)
        if RANKS > 1:
            dist.destroy_process_group()
        return
    if len(given) > 1 and set(given) - {"runs", "device", "threads"}:
        fail("--runs FILE: each line of FILE has the options of a run; beside --runs give only "
             "--device and --threads")
    try:
        with open(given["runs"]) as file:
            lines = [shlex.split(line, comments=True) for line in file]
    except (OSError, ValueError) as error:
        fail(f"--runs {given['runs']}: {error}: expected a file with a run's options on each line")
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
