#!/usr/bin/env python3
"""train_attnvar in plain Python: written from dev/notes/porting.md, checked by dev/golden.

The seven attention variants, forward and backward, the model around them, AdamW, and training on a
text, without any package: lists and math, to be read beside train_attnvar.c, whose sections, names
and order it keeps. It reads checkpoints and does not write any. Not ported: recall.

    python3 dev/ports/attnvar.py                            every check, a line each
    python3 dev/ports/attnvar.py mixers.approx              those whose name begins so
    python3 dev/ports/attnvar.py --quick                    with one row of training
    python3 dev/ports/attnvar.py --program ./train_attnvar  compares with the C program, too
    python3 dev/ports/attnvar.py train --layout NS --steps 20 --dim 16       shows the loss fall

x (R,T,C) is a list of R T rows, lists of C numbers; row r T + t is position t of sequence r. A
matrix w (O,I) is a list of O rows. A vector is a matrix of one row. Numbers are doubles.
"""
import json
import math
import os
import re
import struct
import subprocess
import sys
import tempfile
from operator import mul
from types import SimpleNamespace

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

# ---- 1  Utilities --------------------------------------------------------------------------------

MASK = (1 << 64) - 1
STREAM_INIT, STREAM_DATA, STREAM_ANCHOR, STREAM_SAMPLE, STREAMS = range(5)


def random_u64(state):
    """splitmix64; state is a list of one number."""
    z = state[0] = (state[0] + 0x9E3779B97F4A7C15) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def random_uniform(state):
    return (random_u64(state) >> 11) * 2.0 ** -53


def random_normal(state):
    radius = math.sqrt(-2 * math.log(1 - random_uniform(state)))
    return radius * math.cos(2 * math.pi * random_uniform(state))


def random_stream(seed, stream):
    """The state that a stream of a seed starts from."""
    return [random_u64([(seed * STREAMS + stream) & MASK])]


def zeros(rows, cols):
    return [[0.0] * cols for _ in range(rows)]


def add_to(out, x):
    """out += x, row by row."""
    for a, b in zip(out, x):
        a[:] = [p + q for p, q in zip(a, b)]


# ---- 2  Matrix product ---------------------------------------------------------------------------

def dot(a, b):
    return sum(map(mul, a, b))


def transposed(x):
    return list(zip(*x))


def matmul(a, b):
    """a b' of a (M,K) and b (N,K): the rows of both are what is multiplied."""
    return [[dot(x, y) for y in b] for x in a]


# ---- 3  Layers that every variant shares ---------------------------------------------------------

RMS_EPS = 1e-6


def sigmoid(x):
    if x < 0:                               # e^-x must not overflow
        e = math.exp(x)
        return e / (1 + e)
    return 1 / (1 + math.exp(-x))


def linear_forward(x, w, b=None):
    y = matmul(x, w)
    if b:
        add_to(y, [b[0]] * len(y))
    return y


def linear_backward(dw, db, dy, x, w):
    """Returns dx = dy w;  dw += dy' x;  db += sum_n dy"""
    add_to(dw, matmul(transposed(dy), transposed(x)))
    if db:
        add_to(db, [map(sum, transposed(dy))])
    return matmul(dy, transposed(w))


def inverse_rms(x):
    return 1 / math.sqrt(dot(x, x) / len(x) + RMS_EPS)


def rmsnorm_forward(x, gain):
    y = []
    for row in x:
        r = inverse_rms(row)
        y.append([a * r * g for a, g in zip(row, gain[0])])
    return y


def rmsnorm_backward(dx, dgain, dy, x, gain):
    """dx += r (u - x r^2 mean(u x)), u = dy gain;  dgain += sum_n dy x r"""
    for into, d, row in zip(dx, dy, x):
        r = inverse_rms(row)
        u = list(map(mul, d, gain[0]))
        mean = r * r * dot(u, row) / len(row)
        add_to([into], [[r * (p - a * mean) for p, a in zip(u, row)]])
        add_to(dgain, [[p * a * r for p, a in zip(d, row)]])


def rope(x, base, sign, T, H, dh):
    """Turns, in place, the pairs (a, a + dh/2) of every head of x (R,T,H dh) by t base^(-2a/dh)."""
    half = dh // 2
    turns = [[t * base ** (-2 * a / dh) for a in range(half)] for t in range(T)]
    turns = [[(math.cos(y), sign * math.sin(y)) for y in row] for row in turns]
    for n, row in enumerate(x):
        for h in range(0, H * dh, dh):
            for a, (cosine, sine) in enumerate(turns[n % T], h):
                p, q = row[a], row[a + half]
                row[a], row[a + half] = p * cosine - q * sine, q * cosine + p * sine


def swiglu_forward(gate, up):
    return [[a * sigmoid(a) * b for a, b in zip(p, q)] for p, q in zip(gate, up)]


def swiglu_backward(dy, gate, up):
    """Returns dgate = dy up SiLU'(gate) and dup = dy SiLU(gate)."""
    dgate, dup = [], []
    for d, p, q in zip(dy, gate, up):
        sg = [sigmoid(a) for a in p]
        dgate.append([e * b * g * (1 + a * (1 - g)) for e, a, b, g in zip(d, p, q, sg)])
        dup.append([e * a * g for e, a, g in zip(d, p, sg)])
    return dgate, dup


def embedding_forward(tokens, table):
    return [table[token][:] for token in tokens]


def embedding_backward(dtable, dy, tokens):
    for token, d in zip(tokens, dy):
        add_to([dtable[token]], [d])


def crossentropy_forward(logits, targets):
    """Returns the losses, 0 where target < 0, and the softmax probabilities."""
    losses, probs = [], []
    for x, target in zip(logits, targets):
        largest = max(x)
        p = [math.exp(y - largest) for y in x]
        z = sum(p)
        losses.append(0.0 if target < 0 else math.log(z) + largest - x[target])
        probs.append([y / z for y in p])
    return losses, probs


def crossentropy_backward(probs, targets):
    """Of the mean over the scored positions: (p - [v = target]) / scored."""
    scored = sum(target >= 0 for target in targets)
    return [[(y - (v == target)) / scored if target >= 0 else 0.0 for v, y in enumerate(p)]
            for p, target in zip(probs, targets)]


# ---- 4  Mixers -----------------------------------------------------------------------------------
# forward: o, stat from q, k, v; backward: dq, dk, dv from g = do. m: R rows of v and o, M of q and
# k (R, or 1: one map for all), T, NH, NKV, dh. stat[r, h] is what the map of a head is made from.

def head(x, r, h, m):
    """Head h of row r: T lists of dh numbers."""
    return [row[h * m.dh:(h + 1) * m.dh] for row in x[r * m.T:(r + 1) * m.T]]


def add_head(x, r, h, m, part):
    """x += part, in that head."""
    for row, new in zip(x[r * m.T:(r + 1) * m.T], part):
        row[h * m.dh:(h + 1) * m.dh] = [a + b for a, b in zip(row[h * m.dh:], new)]


def users(r, m):
    """The rows that map r serves."""
    return range(r * m.R // m.M, (r + 1) * m.R // m.M)


def padded(row, T):
    return row + [0.0] * (T - len(row))


# 4.1  standard

def softmax_row(x, s):
    """Scores q.k of a row become its weights; also what is kept of them."""
    largest = max(x)
    e = [math.exp(s * (y - largest)) for y in x]
    z = sum(e)
    return [y / z for y in e], (largest, 1 / z)


def softmax_row_backward(x, da, stat, c, s):
    """The weights again, and the gradient of q.k."""
    largest, rz = stat
    a = [math.exp(s * (y - largest)) * rz for y in x]
    return a, [s * p * (d - c) for p, d in zip(a, da)]


def attend_map(q, k, r, h, kv, m, weigh):
    """The causal map of a head (T,T), zero above the diagonal, and what is kept of its rows."""
    qh, kh = head(q, r, h, m), head(k, r, kv, m)
    s = 1 / math.sqrt(m.dh)
    both = [weigh([dot(qh[i], kj) for kj in kh[:i + 1]], s) for i in range(m.T)]
    return [padded(a, m.T) for a, _ in both], [kept for _, kept in both]


def attend_forward(q, k, v, m, weigh):
    o, stat = zeros(m.R * m.T, m.NH * m.dh), {}
    for r in range(m.M):
        for h in range(m.NH):
            kv = h // (m.NH // m.NKV)
            A, stat[r, h] = attend_map(q, k, r, h, kv, m, weigh)
            for user in users(r, m):                                                    # o = A v
                add_head(o, user, h, m, matmul(A, transposed(head(v, user, kv, m))))
    return o, stat


def attend_backward(g, o, stat, q, k, v, m, weigh_backward):
    dq, dk, dv = zeros(len(q), len(q[0])), zeros(len(k), len(k[0])), zeros(len(v), len(v[0]))
    s = 1 / math.sqrt(m.dh)
    for r in range(m.M):
        for h in range(m.NH):
            kv = h // (m.NH // m.NKV)
            qh, kh = head(q, r, h, m), head(k, r, kv, m)
            gs, outs = ([head(x, u, h, m) for u in users(r, m)] for x in (g, o))
            vs, A, dx = [head(v, u, kv, m) for u in users(r, m)], [], []
            for i in range(m.T):
                x = [dot(qh[i], kj) for kj in kh[:i + 1]]               # as in the forward
                da = [sum(dot(gu[i], vu[j]) for gu, vu in zip(gs, vs)) for j in range(i + 1)]
                c = sum(dot(gu[i], ou[i]) for gu, ou in zip(gs, outs))
                a, d = weigh_backward(x, da, stat[r, h][i], c, s)
                A.append(padded(a, m.T))
                dx.append(padded(d, m.T))
            for user, gu in zip(users(r, m), gs):                       # o = A v, so dv += A' g
                add_head(dv, user, kv, m, matmul(transposed(A), transposed(gu)))
            add_head(dq, r, h, m, matmul(dx, transposed(kh)))           # x = q k'
            add_head(dk, r, kv, m, matmul(transposed(dx), transposed(qh)))
    return dq, dk, dv


def standard_forward(q, k, v, m):
    return attend_forward(q, k, v, m, softmax_row)


def standard_backward(g, o, stat, q, k, v, m):
    return attend_backward(g, o, stat, q, k, v, m, softmax_row_backward)


# 4.2  mlp: u = SiLU(q) k, which the block itself calls around Wv

def mlp_forward(q, k):
    return swiglu_forward(q, k)


def mlp_backward(du, q, k):
    return swiglu_backward(du, q, k)


# 4.3  approx

def taylor_row(x, s):
    f = [1 + s * y + (s * y) ** 2 / 2 for y in x]
    z = sum(f)
    return [y / z for y in f], 1 / z


def taylor_row_backward(x, da, rz, c, s):
    a = [(1 + s * y + (s * y) ** 2 / 2) * rz for y in x]
    return a, [s * (1 + s * y) * (d - c) * rz for y, d in zip(x, da)]


def approx_forward(q, k, v, m):
    return attend_forward(q, k, v, m, taylor_row)


def approx_backward(g, o, stat, q, k, v, m):
    return attend_backward(g, o, stat, q, k, v, m, taylor_row_backward)


# 4.4  nonapprox: o_i = b_i o_{i-1} + a_i v_i, gates from one score a key

def silu(row):
    return [x * sigmoid(x) for x in row]


def nonapprox_forward(q, k, v, m):
    o, stat, s = zeros(m.R * m.T, m.NH * m.dh), {}, 1 / math.sqrt(m.dh)
    for r in range(m.R):
        for h in range(m.NH):
            kv = h // (m.NH // m.NKV)
            largest, Z, oi, out, gates = -math.inf, 0.0, [0.0] * m.dh, [], []
            for qi, ki, vi in zip(head(q, r, h, m), head(k, r, kv, m), head(v, r, kv, m)):
                x = s * dot(silu(qi), ki)
                higher = max(largest, x)
                old, new = Z * math.exp(largest - higher), math.exp(x - higher)
                largest, Z = higher, old + new
                a, b = new / Z, old / Z
                oi = [b * y + a * z for y, z in zip(oi, vi)]
                out.append(oi)
                gates.append((a, b))
            add_head(o, r, h, m, out)
            stat[r, h] = gates
    return o, stat


def nonapprox_backward(g, o, stat, q, k, v, m):
    dq, dk, dv = zeros(len(q), len(q[0])), zeros(len(k), len(k[0])), zeros(len(v), len(v[0]))
    s, nothing = 1 / math.sqrt(m.dh), [0.0] * m.dh
    for r in range(m.R):
        for h in range(m.NH):
            kv = h // (m.NH // m.NKV)
            gh, oh, qh = head(g, r, h, m), head(o, r, h, m), head(q, r, h, m)
            kh, vh, dqs, dks, dvs = head(k, r, kv, m), head(v, r, kv, m), [], [], []
            P, E, b_next = nothing, 0.0, 0.0
            for j in reversed(range(m.T)):
                a, b = stat[r, h][j]
                P = [x + b_next * y for x, y in zip(gh[j], P)]
                da = dot(P, vh[j]) - dot(P, oh[j - 1] if j else nothing)
                dx, E, b_next = a * (b * da + E), b * (E - a * da), b
                sg = [sigmoid(x) for x in qh[j]]
                du = [s * dx * y for y in kh[j]]
                dqs.append([d * p * (1 + x * (1 - p)) for d, x, p in zip(du, qh[j], sg)])
                dks.append([s * dx * x * p for x, p in zip(qh[j], sg)])
                dvs.append([a * x for x in P])
            add_head(dq, r, h, m, reversed(dqs))
            add_head(dk, r, kv, m, reversed(dks))
            add_head(dv, r, kv, m, reversed(dvs))
    return dq, dk, dv


def nonapprox_map(stat, r, h, m):
    """A_ij = a_j b_{j+1} .. b_i, for the checks alone: training needs no map."""
    rows, row = [], []
    for a, b in stat[r, h]:
        row = [b * x for x in row] + [a]
        rows.append(padded(row, m.T))
    return rows


# 4.5 rndembqk, 4.6 fixedseqqk, 4.7 staticembqk: standard's mixer; section 6 says whose q and k

OWN, RANDOM_ANCHOR, TEXT_ANCHOR, STATIC = "own", "random anchor", "text anchor", "static"


def variant(name, source, rotates, forward, backward, weigh=None):
    return SimpleNamespace(name=name, source=source, rotates=rotates, forward=forward,
                           backward=backward, weigh=weigh)


VARIANTS = {
    "S": variant("standard", OWN, True, standard_forward, standard_backward, softmax_row),
    "M": variant("mlp", OWN, False, None, None),
    "A": variant("approx", OWN, True, approx_forward, approx_backward, taylor_row),
    "N": variant("nonapprox", OWN, False, nonapprox_forward, nonapprox_backward),
    "R": variant("rndembqk", RANDOM_ANCHOR, True, standard_forward, standard_backward, softmax_row),
    "F": variant("fixedseqqk", TEXT_ANCHOR, True, standard_forward, standard_backward, softmax_row),
    "E": variant("staticembqk", STATIC, True, standard_forward, standard_backward, softmax_row),
}

# ---- 5  The model: configuration, tensors --------------------------------------------------------

MATRIX, BIAS, GAIN = "matrix", "bias", "gain"


def add_tensor(m, role, rows, cols, name):
    """A vector has one row. w, g: value and gradient; m, v: AdamW's moments."""
    t = SimpleNamespace(name=name, role=role, rows=rows, cols=cols, w=zeros(rows, cols),
                        g=zeros(rows, cols), m=zeros(rows, cols), v=zeros(rows, cols))
    m.tensors[name] = t
    return t


def declare_tensors(m):
    c = m.c
    C, dh, CKV, F = c.dim, c.dim // c.heads, c.dim // c.heads * c.kv_heads, c.ffn
    m.embed = add_tensor(m, MATRIX, c.vocab, C, "model.embed_tokens.weight")
    for l in range(len(c.layout)):
        p, L = "model.layers.%d." % l, SimpleNamespace()
        L.norm1 = add_tensor(m, GAIN, 1, C, p + "input_layernorm.weight")
        L.wq = add_tensor(m, MATRIX, C, C, p + "self_attn.q_proj.weight")
        L.bq = add_tensor(m, BIAS, 1, C, p + "self_attn.q_proj.bias")
        L.wk = add_tensor(m, MATRIX, CKV, C, p + "self_attn.k_proj.weight")
        L.bk = add_tensor(m, BIAS, 1, CKV, p + "self_attn.k_proj.bias")
        L.wv = add_tensor(m, MATRIX, CKV, C, p + "self_attn.v_proj.weight")
        L.bv = add_tensor(m, BIAS, 1, CKV, p + "self_attn.v_proj.bias")
        L.wo = add_tensor(m, MATRIX, C, C, p + "self_attn.o_proj.weight")
        L.qnorm = add_tensor(m, GAIN, 1, dh, p + "self_attn.q_norm.weight") if c.qk_norm else None
        L.knorm = add_tensor(m, GAIN, 1, dh, p + "self_attn.k_norm.weight") if c.qk_norm else None
        L.norm2 = add_tensor(m, GAIN, 1, C, p + "post_attention_layernorm.weight")
        L.wgate = add_tensor(m, MATRIX, F, C, p + "mlp.gate_proj.weight")
        L.wup = add_tensor(m, MATRIX, F, C, p + "mlp.up_proj.weight")
        L.wdown = add_tensor(m, MATRIX, C, F, p + "mlp.down_proj.weight")
        m.layer.append(L)
    m.norm = add_tensor(m, GAIN, 1, C, "model.norm.weight")
    m.head = add_tensor(m, MATRIX, c.vocab, C, "lm_head.weight") if c.untied else m.embed


def model_plan(c):
    """c: layout, heads, kv_heads, dim, ffn, vocab, seq, qk_norm, untied, rope_base."""
    m = SimpleNamespace(c=c, tensors={}, layer=[], eps=None, anchor_tokens=None, skip=None)
    sources = {VARIANTS[letter].source for letter in c.layout}
    m.anchors = [a for a in (RANDOM_ANCHOR, TEXT_ANCHOR) if a in sources]
    declare_tensors(m)
    return m


def model_init(m, seed):
    rng = random_stream(seed, STREAM_INIT)
    for t in m.tensors.values():
        for row in t.w:
            row[:] = [0.02 * random_normal(rng) if t.role == MATRIX else float(t.role == GAIN)
                      for _ in row]
    rng = random_stream(seed, STREAM_ANCHOR)
    m.eps = [[0.02 * random_normal(rng) for _ in range(m.c.dim)] for _ in range(m.c.seq)]


# ---- 6  The model forward and backward -----------------------------------------------------------

def qk_source(m, l):
    """The positions whose q and k layer l uses: M rows from row `first`; of the normed e, or h."""
    source = VARIANTS[m.c.layout[l]].source
    if source in m.anchors:
        return 1, m.b + m.anchors.index(source), False
    return m.R, 0, source == STATIC


def mix_shape(m, l):
    c = m.c
    return SimpleNamespace(R=m.R, M=qk_source(m, l)[0], T=m.T, NH=c.heads, NKV=c.kv_heads,
                           dh=c.dim // c.heads)


def by_heads(x, dh):
    """(N, H dh) -> (N H, dh), or back: the same numbers in rows of another length."""
    flat = [y for row in x for y in row]
    return [flat[i:i + dh] for i in range(0, len(flat), dh)]


def qk_forward(m, x, w, b, gain, H, rotates):
    """One of q and k, and what it was before QK-norm: project, QK-norm, RoPE."""
    dh = m.c.dim // m.c.heads
    raw = linear_forward(x, w.w, b.w)
    out = by_heads(raw, dh)
    if gain:
        out = rmsnorm_forward(out, gain.w)
    out = by_heads(out, H * dh)
    if rotates:
        rope(out, m.c.rope_base, 1, m.T, H, dh)
    return out, raw


def qk_backward(m, w, b, gain, d, raw, x, H, rotates):
    """Returns dx; uses up d."""
    dh = m.c.dim // m.c.heads
    if rotates:
        rope(d, m.c.rope_base, -1, m.T, H, dh)
    if gain:
        dout, d = by_heads(d, dh), zeros(len(raw) * H, dh)
        rmsnorm_backward(d, gain.g, dout, by_heads(raw, dh), gain.w)
        d = by_heads(d, H * dh)
    return linear_backward(w.g, b.g, d, x, w.w)


def block_forward(m, l, h):
    """Returns the next block's h; keeps in layer l what the backward pass reads.
    m.skip, for evaluation: "blocks" or "mixers" of the layers that are not standard."""
    L, kind, c = m.layer[l], VARIANTS[m.c.layout[l]], m.c
    skipped = m.skip and kind.name != "standard"
    if skipped and m.skip == "blocks":
        return h
    L.h = h
    # mid = h + o Wo
    L.mid = zeros(len(h), c.dim) if skipped else linear_forward(mix(m, l, h), L.wo.w)
    add_to(L.mid, h)
    # out = mid + (SiLU(n Wgate) * n Wup) Wdown,  n = RMSNorm(mid)
    n = rmsnorm_forward(L.mid, L.norm2.w)
    L.gate, L.up = linear_forward(n, L.wgate.w), linear_forward(n, L.wup.w)
    out = linear_forward(swiglu_forward(L.gate, L.up), L.wdown.w)
    add_to(out, L.mid)
    return out


def mix(m, l, h):
    """Returns o of layer l."""
    L, kind, c = m.layer[l], VARIANTS[m.c.layout[l]], m.c
    # n = RMSNorm(h);  q, k from their source
    n = rmsnorm_forward(h, L.norm1.w)
    M, first, embeddings = qk_source(m, l)
    x = rmsnorm_forward(m.e, L.norm1.w) if embeddings else n[first * m.T:(first + M) * m.T]
    qnorm, knorm = (None, None) if kind.name == "mlp" else (L.qnorm, L.knorm)
    L.q, L.qraw = qk_forward(m, x, L.wq, L.bq, qnorm, c.heads, kind.rotates)
    L.k, L.kraw = qk_forward(m, x, L.wk, L.bk, knorm, c.kv_heads, kind.rotates)
    # o = mix(q, k, v)
    if kind.name == "mlp":
        L.u = mlp_forward(L.qraw, L.kraw)
        L.o = linear_forward(L.u, L.wv.w, L.bv.w)
    else:
        L.v = linear_forward(n, L.wv.w, L.bv.w)
        L.o, L.stat = kind.forward(L.q, L.k, L.v, mix_shape(m, l))
    return L.o


def block_backward(m, l, dres, de):
    """dres, the gradient of the block's output, becomes that of its input; de += that of e."""
    L, kind, c = m.layer[l], VARIANTS[m.c.layout[l]], m.c
    # out = mid + act Wdown, act = SiLU(gate) * up
    act = swiglu_forward(L.gate, L.up)
    dact = linear_backward(L.wdown.g, None, dres, act, L.wdown.w)
    dgate, dup = swiglu_backward(dact, L.gate, L.up)
    # gate = n Wgate, up = n Wup, n = RMSNorm(mid)
    n = rmsnorm_forward(L.mid, L.norm2.w)
    dn = linear_backward(L.wgate.g, None, dgate, n, L.wgate.w)
    add_to(dn, linear_backward(L.wup.g, None, dup, n, L.wup.w))
    rmsnorm_backward(dres, L.norm2.g, dn, L.mid, L.norm2.w)
    # mid = h + o Wo
    g = linear_backward(L.wo.g, None, dres, L.o, L.wo.w)
    # o = mix(q, k, v)
    n = rmsnorm_forward(L.h, L.norm1.w)
    if kind.name == "mlp":
        dn = zeros(len(n), c.dim)
        du = linear_backward(L.wv.g, L.bv.g, g, L.u, L.wv.w)
        dq, dk = mlp_backward(du, L.qraw, L.kraw)
    else:
        dq, dk, dv = kind.backward(g, L.o, L.stat, L.q, L.k, L.v, mix_shape(m, l))
        dn = linear_backward(L.wv.g, L.bv.g, dv, n, L.wv.w)
    # q, k from their source
    M, first, embeddings = qk_source(m, l)
    x = rmsnorm_forward(m.e, L.norm1.w) if embeddings else n[first * m.T:(first + M) * m.T]
    qnorm, knorm = (None, None) if kind.name == "mlp" else (L.qnorm, L.knorm)
    dx = qk_backward(m, L.wq, L.bq, qnorm, dq, L.qraw, x, c.heads, kind.rotates)
    add_to(dx, qk_backward(m, L.wk, L.bk, knorm, dk, L.kraw, x, c.kv_heads, kind.rotates))
    # n = RMSNorm(h), and for staticembqk also RMSNorm(e): the same gain, used twice
    if embeddings:
        rmsnorm_backward(de, L.norm1.g, dx, m.e, L.norm1.w)
    else:
        add_to(dn[first * m.T:(first + M) * m.T], dx)
    rmsnorm_backward(dres, L.norm1.g, dn, L.h, L.norm1.w)


def model_forward(m, tokens, b, T):
    """Runs tokens (b T) through all blocks, anchors behind them; m.hidden: what enters each."""
    m.tokens, m.b, m.T, m.R = tokens, b, T, b + len(m.anchors)
    h = embedding_forward(tokens, m.embed.w)
    for anchor in m.anchors:
        if anchor == RANDOM_ANCHOR:
            h += [row[:] for row in m.eps[:T]]
        else:
            h += embedding_forward(m.anchor_tokens[:T], m.embed.w)
    m.e, m.hidden = h, []
    for l in range(len(m.layer)):
        m.hidden.append(h)
        h = block_forward(m, l, h)
    m.hidden.append(h)
    m.final = h[:b * T]
    m.logits = linear_forward(rmsnorm_forward(m.final, m.norm.w), m.head.w)


def model_loss(m, targets):
    """The mean loss over the scored positions; after model_forward."""
    m.losses, m.probs = crossentropy_forward(m.logits, targets)
    return sum(m.losses) / sum(target >= 0 for target in targets)


def model_backward(m, targets):
    """Adds the gradient of the mean loss to every tensor's g and returns the loss."""
    loss = model_loss(m, targets)
    N, C = m.R * m.T, m.c.dim
    dlogits = crossentropy_backward(m.probs, targets)
    n = rmsnorm_forward(m.final, m.norm.w)
    dn = linear_backward(m.head.g, None, dlogits, n, m.head.w)
    dres, de = zeros(N, C), zeros(N, C)
    rmsnorm_backward(dres[:m.b * m.T], m.norm.g, dn, m.final, m.norm.w)
    for l in reversed(range(len(m.layer))):
        block_backward(m, l, dres, de)
    add_to(dres, de)
    embedding_backward(m.embed.g, dres, m.tokens)
    if TEXT_ANCHOR in m.anchors:
        first = (m.b + m.anchors.index(TEXT_ANCHOR)) * m.T
        embedding_backward(m.embed.g, dres[first:first + m.T], m.anchor_tokens)
    return loss


# ---- 7  AdamW ------------------------------------------------------------------------------------

def learning_rate(step, a):
    """step counts from 0."""
    if step < a.warmup:
        return a.lr * (step + 1) / a.warmup
    done = (step - a.warmup) / (a.steps - a.warmup)
    return a.min_lr + 0.5 * (a.lr - a.min_lr) * (1 + math.cos(math.pi * done))


def gradient_norm(m):
    return math.sqrt(sum(dot(row, row) for t in m.tensors.values() for row in t.g))


def adamw(m, a, t, lr, norm):
    """Step t = 1, 2, .. with the gradients in m, whose norm is given."""
    scale = a.clip / norm if a.clip > 0 and norm > a.clip else 1
    c1, c2 = 1 - a.beta1 ** t, 1 - a.beta2 ** t
    for p in m.tensors.values():
        decay = a.decay if p.role == MATRIX else 0
        for w, grad, m1, m2 in zip(p.w, p.g, p.m, p.v):
            for e, g in enumerate(grad):
                g *= scale
                m1[e] = a.beta1 * m1[e] + (1 - a.beta1) * g
                m2[e] = a.beta2 * m2[e] + (1 - a.beta2) * g * g
                w[e] -= lr * (m1[e] / c1 / (math.sqrt(m2[e] / c2) + a.adam_eps) + decay * w[e])


def zero_gradients(m):
    for t in m.tensors.values():
        t.g = zeros(t.rows, t.cols)


def train_step(m, a, step, tokens, targets, b, T):
    """Step 1, 2, ..; returns the loss before it, the gradient's norm and the rate."""
    lr = learning_rate(step - 1, a)
    zero_gradients(m)
    model_forward(m, tokens, b, T)
    loss = model_backward(m, targets)
    norm = gradient_norm(m)
    adamw(m, a, step, lr, norm)
    return loss, norm, lr


# ---- 8  Data -------------------------------------------------------------------------------------

def read_text(name):
    with open(os.path.join(ROOT, "dev", "data", name), "rb") as f:
        return f.read()


def read_windows(data, starts, T):
    """Inputs and targets (B T): the windows' tokens, and those that follow them."""
    inputs = [token for at in starts for token in data[at:at + T]]
    targets = [token for at in starts for token in data[at + 1:at + 1 + T]]
    return inputs, targets


def read_training_batch(data, rng, B, T):
    return read_windows(data, [random_u64(rng) % (len(data) - T) for _ in range(B)], T)


# ---- 10  Evaluation, training --------------------------------------------------------------------

def evaluate(m, data, windows, B):
    """The mean loss over the first windows of the data."""
    T, total, windows = m.c.seq, 0.0, min(windows, (len(data) - 1) // m.c.seq)
    for w in range(0, windows, B):
        starts = [i * T for i in range(w, min(w + B, windows))]
        inputs, targets = read_windows(data, starts, T)
        model_forward(m, inputs, len(starts), T)
        total += model_loss(m, targets) * len(targets)
    return total / (windows * T)


def draw(logits, temperature, rng):
    """A token drawn from softmax(logits / temperature)."""
    largest = max(logits)
    e = [math.exp((x - largest) / temperature) for x in logits]
    left = random_uniform(rng) * sum(e)
    for token, x in enumerate(e):
        left -= x
        if left < 0:
            return token
    return len(e) - 1


def sample(m, prompt, n, temperature, seed):
    """The prompt and n more tokens, each drawn after a forward pass over the last T tokens."""
    tokens, rng = list(prompt), random_stream(seed, STREAM_SAMPLE)
    for _ in range(n):
        seen = tokens[-m.c.seq:]
        model_forward(m, seen, 1, len(seen))
        tokens.append(draw(m.logits[-1], temperature, rng))
    return tokens


# What the table of dev/notes/porting.md is about; `train` and the table's options change it.
SETTINGS = dict(layout="S", dim=16, heads=2, kv_heads=0, ffn=32, seq=16, batch=2, steps=10,
                warmup=2, lr=0.03, min_lr=0.003, beta1=0.9, beta2=0.99, adam_eps=1e-8, decay=0.1,
                clip=1.0, seed=1, qk_norm=0, untied=0, rope_base=10000.0, vocab=256)


def settings(words):
    """SETTINGS, changed by words such as --steps 20 --qk-norm."""
    s, words = dict(SETTINGS), list(words)
    while words:
        word = words.pop(0)
        name = word[2:].replace("-", "_")
        if not word.startswith("--") or name not in s:
            sys.exit("attnvar.py: error: unknown option %s: expected one of %s"
                     % (word, " ".join("--" + n.replace("_", "-") for n in s)))
        flag = name in ("qk_norm", "untied")
        if not flag and not words:
            sys.exit("attnvar.py: error: %s wants a value" % word)
        try:
            s[name] = 1 if flag else type(s[name])(words.pop(0))
        except ValueError as error:
            sys.exit("attnvar.py: error: %s: %s" % (word, error))
    s["kv_heads"] = s["kv_heads"] or s["heads"]
    s = SimpleNamespace(**s)
    check_config(s)
    return s


def check_config(s):
    """Ends with one message where the options make no model."""
    sizes = "dim", "heads", "kv_heads", "ffn", "seq", "batch", "steps"
    small = [name for name in sizes if getattr(s, name) < 1]
    wrong = ("--%s is below 1" % small[0].replace("_", "-") if small else
             "--layout %s: expected letters of %s" % (s.layout, "".join(VARIANTS))
             if not s.layout or set(s.layout) - set(VARIANTS) else
             "--dim has to be a multiple of --heads" if s.dim % s.heads else
             "--heads has to be a multiple of --kv-heads" if s.heads % s.kv_heads else
             "mlp layers need as many key/value heads as heads"
             if "M" in s.layout and s.heads != s.kv_heads else
             "RoPE needs an even head size, --dim / --heads" if s.dim // s.heads % 2 else
             "--vocab %d: bytes need 256" % s.vocab if s.vocab < 256 else None)
    if wrong:
        sys.exit("attnvar.py: error: " + wrong)


def train(s):
    """Yields (step, loss, rate, norm) of every step, and at the end (None, validation loss)."""
    data, val = read_text("austen_train.txt"), read_text("austen_val.txt")
    m = model_plan(s)
    model_init(m, s.seed)
    m.anchor_tokens = list(data[:s.seq])
    rng = random_stream(s.seed, STREAM_DATA)
    for step in range(1, s.steps + 1):
        inputs, targets = read_training_batch(data, rng, s.batch, s.seq)
        loss, norm, lr = train_step(m, s, step, inputs, targets, s.batch, s.seq)
        yield step, loss, lr, norm
    yield None, evaluate(m, val, 4 * s.batch, s.batch)


# ---- Checks: the golden vectors, and the table of dev/notes/porting.md ---------------------------

TOLERANCE, LOSS_TOLERANCE = 1e-12, 2e-5     # relative to a tensor's largest value; absolute


FORMATS = {"F64": "d", "F32": "f", "I32": "i", "U64": "Q"}


def safetensors(path):
    """The metadata, and (dtype, shape, values) of every tensor by name."""
    with open(path, "rb") as f:
        raw = f.read()
    length, = struct.unpack("<Q", raw[:8])
    header, data, out = json.loads(raw[8:8 + length]), raw[8 + length:], {}
    metadata = header.pop("__metadata__", {})
    for name, t in header.items():
        form = "<%d%s" % (math.prod(t["shape"]), FORMATS[t["dtype"]])
        begin, end = t["data_offsets"]
        out[name] = t["dtype"], t["shape"], struct.unpack(form, data[begin:end])
    return metadata, out


def flat(x):
    return [z for y in x for z in flat(y)] if isinstance(x, (list, tuple)) else [x]


def relative_error(got, wanted):
    if len(got) != len(wanted) or any(map(math.isnan, got)):
        return math.inf
    error, size = max(abs(a - b) for a, b in zip(got, wanted)), max(map(abs, wanted))
    return error / size if size else math.inf if error else 0.0


class Golden:
    """The tensors of a file whose names begin with a prefix. Every one has to be used."""

    def __init__(self, metadata, tensors, prefix):
        self.meta, self.errors, self.wrong = metadata, {}, []
        self.tensors = {n[len(prefix):]: t for n, t in tensors.items() if n.startswith(prefix)}
        self.unused = dict.fromkeys(self.tensors)

    def __contains__(self, name):
        return name in self.tensors

    def shape(self, name):
        return self.tensors[name][1]

    def numbers(self, name):
        self.unused.pop(name, None)
        return list(self.tensors[name][2])

    def rows(self, name):
        """A vector as a matrix of one row, (R,T,C) as R T rows."""
        return by_heads([self.numbers(name)], self.shape(name)[-1])

    def same(self, kind, name, got):
        got, wanted = flat(got), self.numbers(name)
        exact = kind in ("u64", "streams", "uniform", "drawn")
        error = (0.0 if got == wanted else math.inf) if exact else relative_error(got, wanted)
        self.errors[kind] = max(error, self.errors.get(kind, 0.0))
        if not error <= TOLERANCE:
            self.wrong.append("%s is off by %.1e" % (name, error))

    def finish(self):
        """The first mistake, or None; and the errors reached."""
        wrong = self.wrong + ["%s is not used" % name for name in self.unused]
        more = " (and %d more)" % (len(wrong) - 1) if len(wrong) > 1 else ""
        text = "  ".join("%s %.1e" % (k, e) for k, e in self.errors.items())
        return wrong[0] + more if wrong else None, text


def check_streams(g, what):
    for seed in list(g.tensors):
        rngs = [random_stream(int(seed), stream) for stream in range(STREAMS)]
        if what == "u64":
            rng = [int(seed)]
            got = [random_u64(rng) for _ in range(6)]
        elif what == "streams":
            got = rngs
        else:
            draw = random_uniform if what == "uniform" else random_normal
            got = [[draw(rng) for _ in range(6)] for rng in rngs]
        g.same(what, seed, got)


def configuration(meta):
    """The metadata's numbers as numbers."""
    words = {k: v for k, v in meta.items() if k not in ("about", "layout")}
    numbers = {k: int(v) if v.isdigit() else float(v) for k, v in words.items()}
    return SimpleNamespace(layout=meta["layout"], **numbers)


def check_init(g, what):
    c = configuration(g.meta)
    m, everything = model_plan(c), []
    model_init(m, c.seed)
    for name, w in [(t.name, t.w) for t in m.tensors.values()] + [("anchor.embeds", m.eps)]:
        values = flat(w)
        g.same("values", name, [values[0], values[-1], sum(values)])
        everything += values
    g.same("sum", "checksum", sum((1 + e % 97) * x for e, x in enumerate(everything)))


def check_embedding(g):
    tokens, table = g.numbers("tokens"), g.rows("table")
    g.same("forward", "y", embedding_forward(tokens, table))
    dtable = zeros(len(table), len(table[0]))
    embedding_backward(dtable, g.rows("dy"), tokens)
    g.same("backward", "dtable", dtable)


def check_rmsnorm(g):
    x, gain = g.rows("x"), g.rows("gain")
    g.same("forward", "y", rmsnorm_forward(x, gain))
    dx, dgain = zeros(len(x), len(x[0])), zeros(1, len(x[0]))
    rmsnorm_backward(dx, dgain, g.rows("dy"), x, gain)
    g.same("backward", "dx", dx)
    g.same("backward", "dgain", dgain)


def check_linear(g):
    x, w, b = g.rows("x"), g.rows("w"), g.rows("b") if "b" in g else None
    g.same("forward", "y", linear_forward(x, w, b))
    dw, db = zeros(len(w), len(w[0])), zeros(1, len(w)) if b else None
    g.same("backward", "dx", linear_backward(dw, db, g.rows("dy"), x, w))
    g.same("backward", "dw", dw)
    if b:
        g.same("backward", "db", db)


def check_rope(g):
    R, T, H, dh = g.shape("x")
    base, = g.numbers("base")
    x, dx = by_heads(g.rows("x"), H * dh), by_heads(g.rows("dy"), H * dh)
    rope(x, base, 1, T, H, dh)
    g.same("forward", "y", x)
    rope(dx, base, -1, T, H, dh)
    g.same("backward", "dx", dx)


def check_swiglu(g):
    gate, up = g.rows("gate"), g.rows("up")
    g.same("forward", "y", swiglu_forward(gate, up))
    dgate, dup = swiglu_backward(g.rows("dy"), gate, up)
    g.same("backward", "dgate", dgate)
    g.same("backward", "dup", dup)


def check_crossentropy(g):
    targets = g.numbers("targets")
    losses, probs = crossentropy_forward(g.rows("logits"), targets)
    g.same("forward", "losses", losses)
    g.same("forward", "loss", sum(losses) / sum(target >= 0 for target in targets))
    g.same("backward", "dlogits", crossentropy_backward(probs, targets))


def check_layer(g, what):
    {"embedding": check_embedding, "rmsnorm": check_rmsnorm, "linear": check_linear,
     "rope": check_rope, "swiglu": check_swiglu, "crossentropy": check_crossentropy}[what](g)


def check_mlp(g):
    g.numbers("shape")
    q, k, wv = g.rows("q"), g.rows("k"), g.rows("wv")
    u = mlp_forward(q, k)
    g.same("o", "u", u)
    g.same("o", "o", linear_forward(u, wv, g.rows("bv")))
    dwv, dbv = zeros(len(wv), len(wv)), zeros(1, len(wv))
    du = linear_backward(dwv, dbv, g.rows("do"), u, wv)
    dq, dk = mlp_backward(du, q, k)
    for name, d in ("du", du), ("dwv", dwv), ("dbv", dbv), ("dq", dq), ("dk", dk):
        g.same("gradients", name, d)


def golden_qk(g, name, H, m, base):
    """q or k as the mixer gets it: what qk_forward does behind the projection."""
    x = g.rows(name)
    if name + "gain" in g:
        x = by_heads(rmsnorm_forward(by_heads(x, m.dh), g.rows(name + "gain")), H * m.dh)
    if base:
        rope(x, base, 1, m.T, H, m.dh)
    g.same("q, k", name + "1", x)
    return x


def golden_qk_back(g, name, d, H, m, base):
    g.same("gradients", "d%s1" % name, d)
    if base:
        rope(d, base, -1, m.T, H, m.dh)
    if name + "gain" in g:
        dout, d, dgain = by_heads(d, m.dh), zeros(len(d) * H, m.dh), zeros(1, m.dh)
        rmsnorm_backward(d, dgain, dout, by_heads(g.rows(name), m.dh), g.rows(name + "gain"))
        g.same("gradients", "d%sgain" % name, dgain)
    g.same("gradients", "d" + name, d)


def check_mixer(g, what):
    if what == "mlp":
        return check_mlp(g)
    kind = next(v for v in VARIANTS.values() if v.name == what)
    m = SimpleNamespace(**dict(zip(("R", "M", "T", "NH", "NKV", "dh"), g.numbers("shape"))))
    base = g.numbers("base")[0] if kind.rotates else None
    q, k = golden_qk(g, "q", m.NH, m, base), golden_qk(g, "k", m.NKV, m, base)
    v, do = g.rows("v"), g.rows("do")
    o, stat = kind.forward(q, k, v, m)
    if "map" in g:
        pairs = [(r, h) for r in range(m.M) for h in range(m.NH)]
        g.same("map", "map", [
            attend_map(q, k, r, h, h // (m.NH // m.NKV), m, kind.weigh)[0] if kind.weigh
            else nonapprox_map(stat, r, h, m) for r, h in pairs])
    g.same("o", "o", o)
    dq, dk, dv = kind.backward(do, o, stat, q, k, v, m)
    g.same("gradients", "dv", dv)
    golden_qk_back(g, "q", dq, m.NH, m, base)
    golden_qk_back(g, "k", dk, m.NKV, m, base)


def check_model(g, what):
    c = configuration(g.meta)
    m, B, T = model_plan(c), c.batch, c.seq
    for t in m.tensors.values():
        t.w = g.rows("weight." + t.name)
    m.eps = g.rows("anchor.embeds") if "anchor.embeds" in g else None
    m.anchor_tokens = g.numbers("anchor.tokens") if "anchor.tokens" in g else None
    tokens, targets = by_heads(g.rows("tokens"), B * T), by_heads(g.rows("targets"), B * T)
    model_forward(m, tokens[0], B, T)
    loss = model_backward(m, targets[0])
    for l, h in enumerate(m.hidden):
        g.same("hidden", "hidden.%d" % l, h[:B * T])
    g.same("logits", "logits", m.logits)
    g.same("loss", "losses", m.losses)
    g.same("loss", "loss", loss)
    for t in reversed(m.tensors.values()):
        g.same("gradients", "grad." + t.name, t.g)
    model_forward(m, tokens[0][:T - 2], 1, T - 2)
    g.same("short", "short.logits", m.logits)
    for m.skip in "blocks", "mixers":
        if "skip.%s.logits" % m.skip in g:
            model_forward(m, tokens[0], B, T)
            g.same("skip", "skip.%s.logits" % m.skip, m.logits)
    m.skip = None
    count = g.shape("sample.tokens")[0] - c.prompt
    drawn = sample(m, tokens[0][:c.prompt], count, c.temperature, c.sample_seed)
    g.same("drawn", "sample.tokens", drawn)
    steps = [train_step(m, c, n + 1, tokens[n], targets[n], B, T) for n in range(c.steps)]
    for name, values in reversed(list(zip(("loss", "norm", "lr"), zip(*steps)))):
        g.same("steps", "adamw." + name, values)
    for t in m.tensors.values():
        g.same("weights after", "final." + t.name, t.w)


def checkpoint_model(path):
    """The model in a model.safetensors of the C program, and the file's metadata."""
    metadata, tensors = safetensors(path)
    if metadata.get("attnvar") != "3":
        sys.exit("attnvar.py: error: %s: expected a checkpoint of format 3" % path)
    names = "heads", "kv-heads", "dim", "ffn", "vocab", "seq", "qk-norm", "untied"
    c = SimpleNamespace(layout=metadata["layout"], rope_base=float(metadata["rope-base"]))
    for name in names:
        setattr(c, name.replace("-", "_"), int(metadata[name]))
    m = model_plan(c)
    for t in m.tensors.values():
        t.w = by_heads([tensors[t.name][2]], t.cols)
    if RANDOM_ANCHOR in m.anchors:
        m.eps = by_heads([tensors["anchor.embeds"][2]], m.c.dim)
    if TEXT_ANCHOR in m.anchors:
        m.anchor_tokens = list(tensors["anchor.tokens"][2])
    return m, metadata


def check_checkpoint():
    """dev/golden/checkpoint: read, validated, with layers left out, sampled from."""
    folder = os.path.join(ROOT, "dev", "golden", "checkpoint")
    with open(os.path.join(folder, "expected.json"), encoding="utf-8") as f:
        expected = json.load(f)
    m, metadata = checkpoint_model(os.path.join(folder, "model.safetensors"))
    val, B, seed = read_text("austen_val.txt"), int(metadata["batch"]), int(metadata["seed"])
    worst = 0.0
    for name, m.skip in ("val_loss", None), ("skip_blocks", "blocks"), ("skip_mixers", "mixers"):
        loss = evaluate(m, val, int(metadata["eval-batches"]) * B, B)
        worst = max(worst, relative_error([loss], [expected[name]]))
    m.skip, prompt = None, val[:min(32, m.c.seq)]
    drawn = sample(m, prompt, len(expected["sample"]) - len(prompt), 0.8, seed)
    rng = random_stream(seed, STREAM_DATA)
    for _ in range(int(metadata["step"]) * B):
        random_u64(rng)
    right = worst <= TOLERANCE and drawn == expected["sample"] and rng == [int(metadata["rng"])]
    wrong = None if right else "losses off by %.1e, or another sample, or another rng" % worst
    return wrong, "losses %.1e" % worst


def training_table():
    """(layout, options, losses of steps 1 to 5 and 10 and validation loss) of the table's rows."""
    with open(os.path.join(ROOT, "dev", "notes", "porting.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| ([A-Z]+) \| (.*?) ?\| ([\d. ]+) \| ([\d.]+) \|$", f.read(), re.M)
    return [(layout, options.split(), [float(x) for x in (losses + " " + val).split()])
            for layout, options, losses, val in rows]


def program_losses(program, layout, options):
    """The same losses by the C program, from its log.csv."""
    with tempfile.TemporaryDirectory() as work:
        words = dict(SETTINGS, layers=len(layout), layout=layout, threads=1, sample=0,
                     out=os.path.join(work, "run"))
        for name in "kv_heads", "adam_eps", "qk_norm", "untied", "vocab":
            del words[name]
        command = [os.path.abspath(program)] + options
        for name, value in words.items():
            if "--" + name.replace("_", "-") not in options:
                command += ["--" + name.replace("_", "-"), str(value)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(work, "run", "log.csv"), encoding="utf-8") as f:
            lines = [line.split(",") for line in f.read().split("\n")[1:] if line]
    return [float(line[1]) for line in lines] + [float(lines[-1][5])]


def check_training(layout, options, wanted, program):
    got = [step[1] for step in train(settings(["--layout", layout] + options))]
    pairs = [("table", got[:5] + got[-2:], wanted)]
    if program:
        pairs.append(("program", got, program_losses(program, layout, options)))
    worst = {what: max(abs(a - b) for a, b in zip(x, y)) for what, x, y in pairs}
    text = "  ".join("%s %.1e" % item for item in worst.items())
    close = all(len(x) == len(y) and worst[what] <= LOSS_TOLERANCE for what, x, y in pairs)
    return None if close else "losses are off: " + text, text


def golden_check(function, prefix, what, metadata, tensors):
    def check():
        g = Golden(metadata, tensors, prefix)
        function(g, what)
        return g.finish()
    return check


def all_checks(begin, program, quick):
    """(name, function) of the checks whose name begins so, in the order in which a port needs them.
    quick: of training only the last row of the table."""
    folder = os.path.join(ROOT, "dev", "golden")
    functions = {"rng": check_streams, "layers": check_layer, "mixers": check_mixer}
    models = sorted(f[:-12] for f in os.listdir(folder) if f.startswith("model_"))
    for file in list(functions) + models:
        if not (file.startswith(begin) or begin.startswith(file)):
            continue
        metadata, tensors = safetensors(os.path.join(folder, file + ".safetensors"))
        depth = {"rng": 1, "layers": 2, "mixers": 2}.get(file, 0)
        for group in dict.fromkeys(".".join(name.split(".")[:depth]) for name in tensors):
            what = group.split(".")[0]
            function = check_init if what == "init" else functions.get(file, check_model)
            yield (file + "." + group).strip("."), golden_check(
                function, group + "." if group else "", what, metadata, tensors)
    yield "checkpoint", check_checkpoint
    for row in training_table()[-1 if quick else 0:]:
        yield "training." + row[0], lambda row=row: check_training(*row, program)


def run_checks(begin, program=None, quick=False):
    """Runs the checks whose name begins so, a line each; returns how many failed, of none 1."""
    passed = failed = 0
    for name, function in all_checks(begin, program, quick):
        if not name.startswith(begin):
            continue
        wrong, text = function()
        print("%s  %-26s %s" % ("FAIL" if wrong else "ok  ", name, wrong or text), flush=True)
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print("%d passed, %d failed" % (passed, failed))
    return failed if passed else failed or 1


def main(words):
    program = None
    if words[:1] == ["train"]:
        for step, loss, *rest in train(settings(words[1:])):
            if step:
                print("step %5d  loss %.6f  lr %.2e  norm %6.3f" % (step, loss, *rest), flush=True)
            else:
                print("val loss %.6f" % loss)
        return 0
    quick = "--quick" in words
    words = [word for word in words if word != "--quick"]
    if words[:1] == ["--program"] and len(words) > 1:
        program, words = words[1], words[2:]
    if len(words) > 1 or words and words[0].startswith("-"):
        print(__doc__)
        return 0 if words in (["-h"], ["--help"]) else 1
    return 1 if run_checks(words[0] if words else "", program, quick) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
