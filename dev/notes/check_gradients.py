#!/usr/bin/env python3
"""Checks dev/notes/gradients.md: its formulas against central differences, its quotes of the code.

    python3 dev/notes/check_gradients.py

Every formula that the note labels, such as (6d), is written out below once more, in plain Python
and double, and compared with (f(x + h) - f(x - h)) / 2h of the forward equations. A line a formula: its
label, what it gives, the error relative to the largest element. The note's C blocks must stand in
train_attnvar.c line by line, in the function that is named above them. Standard library only. Ends
with "N passed, N failed"; exits 1 if any failed."""

import math
import os
import random
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NOTE = os.path.join(HERE, "gradients.md")
CODE = os.path.join(HERE, "..", "..", "train_attnvar.c")
TOLERANCE = 1e-7        # h = 1e-5: an error of h^2 f''' / 6 and of 1e-16 f / h, both near 1e-11
seen = []               # labels that were checked
results = [0, 0]        # failed, passed


def report(ok, name, detail):
    results[ok] += 1
    print("%s  %-52s %s" % ("ok  " if ok else "FAIL", name, detail))


# ---- numbers, vectors (lists) and matrices (lists of rows) ---------------------------------------

random.seed(1)


def normal(*shape):
    if not shape:
        return random.gauss(0, 1)
    return [normal(*shape[1:]) for _ in range(shape[0])]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def product(a, b):
    return [[dot(row, column) for column in zip(*b)] for row in a]


def transpose(a):
    return [list(row) for row in zip(*a)]


def add(*matrices):
    return [[sum(cells) for cells in zip(*rows)] for rows in zip(*matrices)]


def scaled(s, a):
    return [[s * x for x in row] for row in a]


def flat(a):
    return [x for part in a for x in flat(part)] if isinstance(a, list) else [a]


def weighted(g, y):
    """The loss whose gradient with respect to y is g."""
    return dot(flat(g), flat(y))


def numeric(loss, x, h=1e-5):
    """Central differences of loss() by every element of x, which is changed in place."""
    if isinstance(x[0], list):
        return [numeric(loss, part, h) for part in x]
    out = []
    for i, kept in enumerate(x):
        x[i] = kept + h
        high = loss()
        x[i] = kept - h
        low = loss()
        x[i] = kept
        out.append((high - low) / (2 * h))
    return out


def compare(label, what, formula, truth):
    """The formula's values against the differences'; all zeros prove nothing and fail."""
    a, b = flat(formula), flat(truth)
    largest = max(abs(x) for x in b)
    error = max(abs(x - y) for x, y in zip(a, b)) / largest if largest > 1e-6 else math.inf
    seen.append(label)
    report(len(a) == len(b) and error <= TOLERANCE, "(%s) %s" % (label, what),
           "%.1e of %.2g, %d elements" % (error, largest, len(b)))


# ---- the layers ----------------------------------------------------------------------------------

def sg(x):
    return 1 / (1 + math.exp(-x))


def silu(x):
    return x * sg(x)


def silu_prime(x):
    return sg(x) * (1 + x * (1 - sg(x)))


def check_product():
    x, w, b, dy = normal(5, 3), normal(4, 3), normal(4), normal(5, 4)

    def loss():
        y = [[p + q for p, q in zip(row, b)] for row in product(x, transpose(w))]
        return weighted(dy, y)
    compare("1a", "linear: dx = dy w", product(dy, w), numeric(loss, x))
    compare("1b", "linear: dw = dy' x", product(transpose(dy), x), numeric(loss, w))
    compare("1c", "linear: db = sum_n dy_n", [sum(c) for c in zip(*dy)], numeric(loss, b))


def inverse_rms(x):
    return 1 / math.sqrt(dot(x, x) / len(x) + 1e-6)


def rmsnorm(x, gain):
    return [[xc * inverse_rms(row) * gc for xc, gc in zip(row, gain)] for row in x]


def rmsnorm_backward(dy, x, gain):
    dx, dgain = [], [0.0] * len(gain)
    for d, row in zip(dy, x):
        r, u = inverse_rms(row), [dc * gc for dc, gc in zip(d, gain)]
        mean = dot(u, row) / len(row)
        dx.append([r * (uc - xc * r * r * mean) for uc, xc in zip(u, row)])
        dgain = [s + dc * xc * r for s, dc, xc in zip(dgain, d, row)]
    return dx, dgain


def check_rmsnorm():
    x, gain, dy = normal(3, 6), normal(6), normal(3, 6)
    row, r = x[0], inverse_rms(x[0])
    compare("2a", "RMSNorm: dr/dx_c = -r^3 x_c / C", [-r ** 3 * xc / 6 for xc in row],
            numeric(lambda: inverse_rms(row), row))
    dx, dgain = rmsnorm_backward(dy, x, gain)

    def loss():
        return weighted(dy, rmsnorm(x, gain))
    compare("2b", "RMSNorm: dx", dx, numeric(loss, x))
    compare("2c", "RMSNorm: dgain", dgain, numeric(loss, gain))


def rope(x, sign=1, base=50.0):
    """Row t of x turns by t base^(-2a/dh); sign -1 turns it back."""
    out, half = [], len(x[0]) // 2
    for t, row in enumerate(x):
        turned = [0.0] * (2 * half)
        for a in range(half):
            angle = t * base ** (-a / half)
            c, s = math.cos(angle), sign * math.sin(angle)
            turned[a] = row[a] * c - row[a + half] * s
            turned[a + half] = row[a + half] * c + row[a] * s
        out.append(turned)
    return out


def check_rope():
    x, dy = normal(5, 6), normal(5, 6)
    compare("3a", "RoPE: dx = dy turned back", rope(dy, -1),
            numeric(lambda: weighted(dy, rope(x)), x))
    q, k = normal(6), normal(6)
    turned_q, turned_k = rope([q] * 7), rope([k] * 7)
    compare("3b", "RoPE: q_5.k_2 = q_6.k_3", [dot(turned_q[5], turned_k[2])],
            [dot(turned_q[6], turned_k[3])])


def check_swiglu():
    gate, up, dy = normal(2, 5), normal(2, 5), normal(2, 5)
    x = gate[0]
    compare("4a", "SiLU' = sg (1 + x (1 - sg))", [silu_prime(v) for v in x],
            numeric(lambda: sum(silu(v) for v in x), x))

    def loss():
        return sum(d * silu(a) * b for d, a, b in zip(flat(dy), flat(gate), flat(up)))
    each = list(zip(flat(dy), flat(gate), flat(up)))
    compare("4b", "SwiGLU: dgate = dy up SiLU'(gate)", [d * b * silu_prime(a) for d, a, b in each],
            flat(numeric(loss, gate)))
    compare("4c", "SwiGLU: dup = dy SiLU(gate)", [d * silu(a) for d, a, b in each],
            flat(numeric(loss, up)))


def softmax(x):
    e = [math.exp(v - max(x)) for v in x]
    return [v / sum(e) for v in e]


def check_crossentropy():
    logits, targets = normal(4, 5), [2, -1, 0, 4]
    scored = [n for n in range(4) if targets[n] >= 0]

    def loss():
        return sum(math.log(sum(math.exp(v) for v in logits[n])) - logits[n][targets[n]]
                   for n in scored) / len(scored)
    dx = [[(p - (v == t)) / len(scored) if t >= 0 else 0.0 for v, p in enumerate(softmax(x))]
          for x, t in zip(logits, targets)]
    compare("5a", "cross-entropy: dx = (p - [v = target]) / scored", dx, numeric(loss, logits))
    table, tokens, dy = normal(5, 3), [1, 4, 1], normal(3, 3)
    dtable = [[sum(dy[n][c] for n in range(3) if tokens[n] == v) for c in range(3)]
              for v in range(5)]
    compare("5b", "embedding: dtable_v = sum of dy_n with token_n = v", dtable,
            numeric(lambda: weighted(dy, [table[t] for t in tokens]), table))


# ---- the mixers, one head ------------------------------------------------------------------------

T, DH = 6, 4
S = 1 / math.sqrt(DH)


def taylor(x):
    return 1 + x + x * x / 2


def scores(q, k):
    return [[S * dot(q[i], k[j]) for j in range(i + 1)] for i in range(len(q))]


def normalised(rows, f):
    """A causal map (T,T): f of every score over the sum of its row."""
    out = []
    for x in rows:
        z = sum(f(v) for v in x)
        out.append([f(v) / z for v in x] + [0.0] * (len(rows) - len(x)))
    return out


def attend(q, k, v, f=math.exp):
    return product(normalised(scores(q, k), f), v)


def map_gradient(q, k, da, c, f, f_prime):
    """dx (T,T) of a map f(x)/z: f'(x) (dA - c) / z."""
    dx = [[0.0] * len(q) for _ in q]
    for i, x in enumerate(scores(q, k)):
        z = sum(f(value) for value in x)
        for j, value in enumerate(x):
            dx[i][j] = f_prime(value) * (da[i][j] - c[i]) / z
    return dx


def attend_backward(g, q, k, v, f=math.exp, f_prime=math.exp):
    a = normalised(scores(q, k), f)
    o = product(a, v)
    dx = map_gradient(q, k, product(g, transpose(v)), [dot(x, y) for x, y in zip(g, o)], f, f_prime)
    return (scaled(S, product(dx, k)), scaled(S, product(transpose(dx), q)),
            product(transpose(a), g))


def check_standard():
    q, k, v, g = (normal(T, DH) for _ in range(4))
    a = normalised(scores(q, k), math.exp)
    o = product(a, v)
    da = product(g, transpose(v))
    compare("6a", "standard: dv_j = sum_i A_ij g_i", product(transpose(a), g),
            numeric(lambda: weighted(g, attend(q, k, v)), v))
    compare("6b", "standard: dA_ij = g_i.v_j", da,
            numeric(lambda: weighted(g, product(a, v)), a))
    x = normal(5)
    p = softmax(x)
    jacobian = [[p[y] * ((y == j) - p[j]) for j in range(5)] for y in range(5)]
    compare("6c", "softmax: dA_l/dx_j = A_l ([l = j] - A_j)", jacobian,
            [numeric(lambda y=y: softmax(x)[y], x) for y in range(5)])
    compare("6d", "c_i = sum_l A_il dA_il = g_i.o_i", [dot(y, z) for y, z in zip(g, o)],
            [dot(a[i], da[i]) for i in range(T)])
    row, c = scores(q, k)[T - 1], dot(g[T - 1], o[T - 1])
    compare("6e", "standard: dx_ij = A_ij (dA_ij - c_i)",
            [a[T - 1][j] * (da[T - 1][j] - c) for j in range(T)],
            numeric(lambda: dot(softmax(row), da[T - 1]), row))
    dq, dk, _ = attend_backward(g, q, k, v)
    compare("6f", "standard: dq_i = s sum_j dx_ij k_j", dq,
            numeric(lambda: weighted(g, attend(q, k, v)), q))
    compare("6g", "standard: dk_j = s sum_i dx_ij q_i", dk,
            numeric(lambda: weighted(g, attend(q, k, v)), k))
    q2, g2 = normal(T, DH), normal(T, DH)           # a second query head of the same keys, values

    def two():
        return weighted(g, attend(q, k, v)) + weighted(g2, attend(q2, k, v))
    both = [add(y, z) for y, z in zip(attend_backward(g, q, k, v), attend_backward(g2, q2, k, v))]
    compare("6h", "grouped heads: dk, dv sum over the query heads", both[1] + both[2],
            numeric(two, k) + numeric(two, v))


def check_mlp():
    q, k, w, do = normal(3, 4), normal(3, 4), normal(4, 4), normal(3, 4)

    def forward():
        u = [[silu(x) * y for x, y in zip(a, b)] for a, b in zip(q, k)]
        return product(u, transpose(w))

    def loss():
        return weighted(do, forward())
    du = product(do, w)
    compare("7a", "mlp: dq = du k SiLU'(q), du = do wv",
            [[d * y * silu_prime(x) for d, x, y in zip(*rows)] for rows in zip(du, q, k)],
            numeric(loss, q))
    compare("7b", "mlp: dk = du SiLU(q)",
            [[d * silu(x) for d, x in zip(*rows)] for rows in zip(du, q)], numeric(loss, k))


def features(x):
    out = [1.0] + [math.sqrt(S) * v for v in x] + [S / math.sqrt(2) * v * v for v in x]
    return out + [S * x[a] * x[b] for a in range(len(x)) for b in range(a + 1, len(x))]


def check_approx():
    q, k, v, g = (normal(T, DH) for _ in range(4))
    x, da = normal(5), normal(5)
    f, z = [taylor(y) for y in x], sum(taylor(y) for y in x)
    c = dot(f, da) / z
    compare("8a", "approx: df_j = (dA_j - c) / z", [(d - c) / z for d in da],
            numeric(lambda: dot(f, da) / sum(f), f))
    compare("8b", "approx: dx_j = (1 + x_j) df_j", [(1 + y) * (d - c) / z for y, d in zip(x, da)],
            numeric(lambda: dot([taylor(y) for y in x], da) / sum(taylor(y) for y in x), x))

    def loss():
        return weighted(g, attend(q, k, v, taylor))
    for label, what, got, wrt in zip(("8c", "8d", "8e"), ("dq", "dk", "dv"),
                                     attend_backward(g, q, k, v, taylor, lambda y: 1 + y),
                                     (q, k, v)):
        compare(label, "approx: %s" % what, got, numeric(loss, wrt))
    compare("8f", "approx: f(s q.k) = phi(q).phi(k)", [dot(features(q[0]), features(k[0]))],
            [taylor(S * dot(q[0], k[0]))])


def gates(x):
    """a_i, b_i of the scores x, through Z and the running maximum."""
    a, b, z, m = [], [], 0.0, -math.inf
    for score in x:
        higher = max(m, score)
        old, new = z * math.exp(m - higher), math.exp(score - higher)
        z, m = old + new, higher
        a.append(new / z)
        b.append(old / z)
    return a, b


def gated(a, b, v):
    o = []
    for i, row in enumerate(v):
        o.append([b[i] * (o[i - 1][c] if i else 0) + a[i] * row[c] for c in range(len(row))])
    return o


def key_scores(q, k):
    return [S * dot([silu(c) for c in qj], kj) for qj, kj in zip(q, k)]


def per_key_map(x):
    return normalised([x[:i + 1] for i in range(len(x))], math.exp)


def decays(b):
    """(T,T) the products b_{j+1} .. b_i, for i >= j; else 0."""
    return [[math.prod(b[j + 1:i + 1]) if i >= j else 0.0 for j in range(len(b))] for i in range(len(b))]


def gate_backward(g, a, b, v):
    """The reverse scan: P (T,dh), da (T), E (T), dx (T)."""
    o, end, dh = gated(a, b, v), len(a), len(v[0])
    p, e, ps, das, es, dx = [0.0] * dh, 0.0, [None] * end, [0.0] * end, [0.0] * end, [0.0] * end
    for j in reversed(range(end)):
        after = b[j + 1] if j + 1 < end else 0
        p = [gc + after * pc for gc, pc in zip(g[j], p)]
        before = o[j - 1] if j else [0.0] * dh
        da = dot(p, [vc - oc for vc, oc in zip(v[j], before)])
        ps[j], das[j], es[j], dx[j] = p, da, e, a[j] * (b[j] * da + e)
        e = b[j] * (e - a[j] * da)
    return ps, das, es, dx


def check_nonapprox():
    q, k, v, g = (normal(T, DH) for _ in range(4))
    x = key_scores(q, k)
    a, b = gates(x)
    rows, falls = per_key_map(x), decays(b)
    compare("9a", "nonapprox: o_i = b_i o_(i-1) + a_i v_i", gated(a, b, v), product(rows, v))
    compare("9b", "nonapprox: A_ij = a_j b_(j+1) .. b_i",
            [[aj * f for aj, f in zip(a, row)] for row in falls], rows)

    def loss():
        return weighted(g, product(per_key_map(key_scores(q, k)), v))
    ps, das, es, dx = gate_backward(g, a, b, v)
    extra = [[0.0] * DH for _ in range(T)]          # added to o_j before it goes on to o_(j+1)

    def disturbed():
        o = []
        for i, row in enumerate(v):
            o.append([b[i] * (o[i - 1][c] if i else 0) + a[i] * row[c] + extra[i][c] for c in range(DH)])
        return weighted(g, o)
    compare("9c", "nonapprox: P_j = g_j + b_(j+1) P_(j+1)", ps, numeric(disturbed, extra))
    compare("9c", "nonapprox: P_j = sum_i b_(j+1) .. b_i g_i", product(transpose(falls), g), ps)
    compare("9d", "nonapprox: dv_j = a_j P_j", [[aj * c for c in p] for aj, p in zip(a, ps)],
            numeric(loss, v))
    free = a[1:]                                    # the gates, free; the first has nothing before it
    compare("9e", "nonapprox: da_j = P_j.(v_j - o_(j-1))", das[1:],
            numeric(lambda: weighted(g, gated(a[:1] + free, b[:1] + [1 - y for y in free], v)), free))
    jacobian = [[a[i] * ((i == j) - rows[i][j]) for j in range(T)] for i in range(T)]
    compare("9f", "nonapprox: da_i/dx_j = a_i ([i = j] - A_ij)", jacobian,
            [numeric(lambda i=i: gates(x)[0][i], x) for i in range(T)])
    compare("9g", "nonapprox: dx_j = a_j (b_j da_j + E_j)", dx,
            numeric(lambda: weighted(g, product(per_key_map(x), v)), x))
    compare("9h", "nonapprox: E_j = -sum_(i>j) a_i da_i b_(j+1) .. b_i", es,
            [-sum(a[i] * das[i] * falls[i][j] for i in range(j + 1, T)) for j in range(T)])
    compare("9i", "nonapprox: dq = s dx k SiLU'(q)",
            [[S * d * kc * silu_prime(qc) for qc, kc in zip(qj, kj)]
             for d, qj, kj in zip(dx, q, k)], numeric(loss, q))
    compare("9j", "nonapprox: dk = s dx SiLU(q)", [[S * d * silu(c) for c in qj]
                                                   for d, qj in zip(dx, q)], numeric(loss, k))
    compare("9k", "nonapprox: sum_j dx_j = 0 (1 added to both)", [1 + sum(dx)], [1.0])
    after, other = 0.0, [0.0] * T                   # the form that cancels where gates saturate
    o = gated(a, b, v)
    for j in reversed(range(T)):
        after = dot(g[j], o[j]) + (b[j + 1] if j + 1 < T else 0) * after
        other[j] = a[j] * (dot(v[j], ps[j]) - after)
    compare("9l", "nonapprox: dx_j = a_j (v_j.P_j - G_j)", other, dx)


def check_anchor():
    q0, k0 = normal(T, DH), normal(T, DH)
    v, g = normal(3, T, DH), normal(3, T, DH)       # three rows use the one map
    a = normalised(scores(q0, k0), math.exp)

    def loss():
        return sum(weighted(gr, attend(q0, k0, vr)) for gr, vr in zip(g, v))
    o = [product(a, vr) for vr in v]
    da = add(*[product(gr, transpose(vr)) for gr, vr in zip(g, v)])
    compare("10a", "anchor: dA_ij = sum_r g_ri.v_rj", da,
            numeric(lambda: sum(weighted(gr, product(a, vr)) for gr, vr in zip(g, v)), a))
    c = [sum(dot(gr[i], orow[i]) for gr, orow in zip(g, o)) for i in range(T)]
    compare("10b", "anchor: c_i = sum_r g_ri.o_ri", c, [dot(a[i], da[i]) for i in range(T)])
    dx = map_gradient(q0, k0, da, c, math.exp, math.exp)
    compare("10c", "anchor: dQ0 = s dx K0", scaled(S, product(dx, k0)), numeric(loss, q0))
    compare("10d", "anchor: dK0 = s dx' Q0", scaled(S, product(transpose(dx), q0)),
            numeric(loss, k0))
    compare("10e", "anchor: dv_r = A' g_r", [product(transpose(a), gr) for gr in g],
            numeric(loss, v))


def check_text_anchor():
    """fixedseqqk: a table that feeds both a sequence (v) and the anchor (q, k)."""
    table, wq, wk, wv, g = (normal(5, DH), normal(DH, DH), normal(DH, DH), normal(DH, DH),
                            normal(T, DH))
    text, anchor = [0, 3, 1, 1, 2, 0], [4, 1, 4, 0, 2, 2]

    def project():
        e, e0 = [table[t] for t in text], [table[t] for t in anchor]
        return (product(e0, transpose(wq)), product(e0, transpose(wk)), product(e, transpose(wv)))
    dq, dk, dv = attend_backward(g, *project())
    de, de0 = product(dv, wv), add(product(dq, wq), product(dk, wk))
    dtable = [[sum(de[n][c] for n in range(T) if text[n] == v)
               + sum(de0[n][c] for n in range(T) if anchor[n] == v) for c in range(DH)]
              for v in range(5)]
    compare("11a", "fixedseqqk: dtable from the text and the anchor", dtable,
            numeric(lambda: weighted(g, attend(*project())), table))


def check_static():
    """staticembqk: q, k from the normed embeddings, v from the normed hidden rows, one gain."""
    e, h, gain, g = normal(T, DH), normal(T, DH), normal(DH), normal(T, DH)
    wq, wk, wv = normal(DH, DH), normal(DH, DH), normal(DH, DH)

    def project():
        ne, n = rmsnorm(e, gain), rmsnorm(h, gain)
        return (product(ne, transpose(wq)), product(ne, transpose(wk)), product(n, transpose(wv)))

    def loss():
        return weighted(g, attend(*project()))
    dq, dk, dv = attend_backward(g, *project())
    de, dgain_e = rmsnorm_backward(add(product(dq, wq), product(dk, wk)), e, gain)
    dh, dgain_h = rmsnorm_backward(product(dv, wv), h, gain)
    compare("12a", "staticembqk: de, through the norm", de, numeric(loss, e))
    compare("12b", "staticembqk: dh, from v alone", dh, numeric(loss, h))
    compare("12c", "staticembqk: dgain, from both uses",
            [x + y for x, y in zip(dgain_e, dgain_h)], numeric(loss, gain))


# ---- the note ------------------------------------------------------------------------------------

def function_text(code, name):
    """The lines of a function or chapter: from its head to the brace or line that ends it."""
    head = re.compile(r"^(static .*\b%s\(|// ---- 4\.\d+ +%s\b)" % (name, name))
    for i, line in enumerate(code):
        if head.match(line):
            chapter, end = line.startswith("//"), i + 1
            while end < len(code) and not (code[end].startswith("// ----") if chapter
                                           else code[end] == "}"):
                end += 1
            return [text.strip() for text in code[i:end]]
    return None


def quotes(note):
    """The note's C blocks: the function named last in backticks above each, and its lines."""
    name, block, found = None, None, []
    for line in note:
        if line.startswith("```"):
            if block is not None:
                found.append((name, block))
            block = [] if line.strip() == "```c" else None
        elif block is not None:
            block.append(line)
        else:
            named = re.findall(r"\[`(\w+)`\]\(", line)
            name = named[-1] if named else name
    return found


def wrong_quotes(note, code):
    wrong = []
    for name, block in quotes(note):
        text = function_text(code, name)
        if text is None:
            wrong.append("no function %s" % name)
            continue
        at = 0                              # in the order of the file
        for line in (x.strip() for x in block):
            if line in ("", "..."):
                continue
            if line not in text[at:]:
                wrong.append("%s: not, or not in this order: %s" % (name, line))
            else:
                at = text.index(line, at) + 1
    return wrong


def check_note():
    note = open(NOTE, encoding="utf-8").read().split("\n")
    code = open(CODE, encoding="utf-8").read().split("\n")
    wrong = wrong_quotes(note, code)
    blocks = quotes(note)
    for text in wrong:
        print("      " + text)
    lines = sum(len([x for x in block if x.strip() not in ("", "...")]) for _, block in blocks)
    report(not wrong and lines > 30, "the note's C lines stand in train_attnvar.c",
           "%d lines in %d blocks" % (lines, len(blocks)))
    damaged = [line.replace("da[j] = s * x[j] * (da[j] - c);", "da[j] = s * x[j] * da[j];")
               for line in code]
    report(len(wrong_quotes(note, damaged)) == len(wrong) + 1,
           "a changed line of the code is found", "softmax_row_backward without its c")
    labels = re.findall(r"\((\d+[a-l])\)", "\n".join(note))
    missing = sorted(set(labels) ^ set(seen))
    report(not missing, "every formula of the note is checked, and no other",
           "%d labels%s" % (len(set(labels)), ": not so " + ", ".join(missing) if missing else ""))


def main():
    for check in (check_product, check_rmsnorm, check_rope, check_swiglu, check_crossentropy,
                  check_standard, check_mlp, check_approx, check_nonapprox, check_anchor,
                  check_text_anchor, check_static, check_note):
        check()
    print("%d passed, %d failed" % (results[1], results[0]))
    return results[0] > 0


if __name__ == "__main__":
    sys.exit(main())
