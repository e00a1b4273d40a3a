#!/usr/bin/env python3
"""Do the golden vectors notice a porter's mistakes? Each is made in a copy of dev/ports/attnvar.py.

    python3 dev/test/port_mistakes.py           every mistake, a line each
    python3 dev/test/port_mistakes.py WORD      those whose text holds the word
    python3 dev/test/port_mistakes.py --table   prints the table for dev/notes/porting.md

A mistake is a text and what it changes in the port; the table of pitfalls in dev/notes/porting.md
has one row for each: the text, and the tensor that notices it, first of all in the order of the
checks. This script makes each one and compares the row with what happens.
"""
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PORT = os.path.join(ROOT, "dev", "ports", "attnvar.py")
PAGE = os.path.join(ROOT, "dev", "notes", "porting.md")

# (the mistake, as the page names it; the port's words; the words in their place; the checks to run)
MISTAKES = [
    ("uniform takes 52 bits", ">> 11) * 2.0 ** -53", ">> 12) * 2.0 ** -52", "rng"),
    ("normal takes ln u1, not ln(1 - u1)", "math.log(1 - random_uniform(state))",
     "math.log(random_uniform(state))", "rng"),
    ("normal takes the sine", "radius * math.cos(", "radius * math.sin(", "rng"),
    ("a stream starts from 4 seed + k itself, not from its first output",
     "[random_u64([(seed * STREAMS + stream) & MASK])]", "[(seed * STREAMS + stream) & MASK]",
     "rng"),
    ("gains and biases draw, too", "0.02 * random_normal(rng) if t.role == MATRIX else "
     "float(t.role == GAIN)", "(0.02, 0.0)[t.role != MATRIX] * random_normal(rng) + "
     "(t.role == GAIN)", "rng"),
    ("matrices are filled column by column", "row[:] = [0.02 * random_normal(rng) if t.role == "
     "MATRIX else float(t.role == GAIN)\n                      for _ in row]",
     "row[:] = [0.02 * random_normal(rng) if t.role == MATRIX else float(t.role == GAIN)\n"
     "                      for _ in row]\n        if t.role == MATRIX:\n"
     "            t.w = by_heads(list(zip(*by_heads(t.w, t.rows))), t.cols)", "rng"),
    ("anchor.embeds come from stream 0", "rng = random_stream(seed, STREAM_ANCHOR)\n", "", "rng"),
    ("RMSNorm adds its 1e-6 to the root, not under it", "1 / math.sqrt(dot(x, x) / len(x) + "
     "RMS_EPS)", "1 / (math.sqrt(dot(x, x) / len(x)) + RMS_EPS)", "layers"),
    ("RMSNorm has 1e-5", "RMS_EPS = 1e-6", "RMS_EPS = 1e-5", "layers"),
    ("RMSNorm's gradient holds r fixed", "r * (p - a * mean)", "r * p", "layers"),
    ("a repeated token keeps only its last gradient", "        add_to([dtable[token]], [d])",
     "        dtable[token] = d[:]", "layers"),
    ("RoPE pairs neighbours", "row[a], row[a + half] = p * cosine - q * sine, q * cosine + p * "
     "sine", "row[a], row[a + half] = row[a], row[a + half]\n        row[:] = "
     "[z for b in range(0, H * dh, 2) for (c, s) in [turns[n % T][b % dh // 2]] for z in "
     "(row[b] * c - row[b + 1] * s, row[b + 1] * c + row[b] * s)]", "layers"),
    ("RoPE's exponent is -a/dh", "base ** (-2 * a / dh)", "base ** (-a / dh)", "layers"),
    ("RoPE's positions count from 1", "[t * base **", "[(t + 1) * base **", "layers"),
    ("RoPE's positions go on from row to row", "    turns = [[(math.cos(y)", "    T = len(x)\n"
     "    turns = [[t * base ** (-2 * a / dh) for a in range(half)] for t in range(T)]\n"
     "    turns = [[(math.cos(y)", "layers"),
    ("RoPE turns on in the backward pass", "rope(dx, base, -1, T, H, dh)",
     "rope(dx, base, 1, T, H, dh)", "layers"),
    ("SiLU' is taken for the sigmoid", "e * b * g * (1 + a * (1 - g)) for", "e * b * g for",
     "layers"),
    ("the loss is the mean over all positions", "scored = sum(target >= 0 for target in targets)",
     "scored = len(targets)", "layers"),
    ("positions that are not scored get a gradient", "if target >= 0 else 0.0 for v, y",
     "for v, y", "layers"),
    ("scores are scaled by 1/sqrt(C)", "    s = 1 / math.sqrt(m.dh)\n    both",
     "    s = 1 / math.sqrt(m.NH * m.dh)\n    both", "mixers.standard"),
    ("a query does not see itself", "in kh[:i + 1]], s) for i in range(m.T)]",
     "in kh[:max(i, 1)]], s) for i in range(m.T)]", "mixers.standard"),
    ("query head h reads key/value head h mod NKV", "            kv = h // (m.NH // m.NKV)\n"
     "            A, stat", "            kv = h % m.NKV\n            A, stat", "mixers.standard"),
    ("a shared key/value head keeps the gradient of its last query head",
     "            add_head(dk, r, kv, m, matmul(transposed(dx), transposed(qh)))",
     "            add_head(dk, r, kv, m, [[-x for x in y] for y in head(dk, r, kv, m)])\n"
     "            add_head(dk, r, kv, m, matmul(transposed(dx), transposed(qh)))",
     "mixers.standard"),
    ("the softmax's gradient leaves c out", "s * p * (d - c)", "s * p * d", "mixers.standard"),
    ("QK-norm comes after RoPE",
     "    if name + \"gain\" in g:\n        x = by_heads(rmsnorm_forward"
     "(by_heads(x, m.dh), g.rows(name + \"gain\")), H * m.dh)\n    if base:\n        rope(x, base, "
     "1, m.T, H, m.dh)", "    if base:\n        rope(x, base, 1, m.T, H, m.dh)\n    if name + "
     "\"gain\" in g:\n        x = by_heads(rmsnorm_forward(by_heads(x, m.dh), g.rows(name + "
     "\"gain\")), H * m.dh)", "mixers.standard"),
    ("QK-norm runs over all heads of a position at once",
     "x = by_heads(rmsnorm_forward(by_heads(x, "
     "m.dh), g.rows(name + \"gain\")), H * m.dh)", "x = rmsnorm_forward(x, [g.rows(name + "
     "\"gain\")[0] * H])", "mixers.standard"),
    ("approx differentiates exp, A in place of (1 + x)/z", "[s * (1 + s * y) * (d - c) * rz for",
     "[s * (1 + s * y + (s * y) ** 2 / 2) * (d - c) * rz for", "mixers.approx"),
    ("approx does not halve x^2", "f = [1 + s * y + (s * y) ** 2 / 2", "f = [1 + s * y + (s * y) "
     "** 2", "mixers.approx"),
    ("approx subtracts the row's maximum first", "    f = [1 + s * y + (s * y) ** 2 / 2",
     "    x = [y - max(x) for y in x]\n    f = [1 + s * y + (s * y) ** 2 / 2", "mixers.approx"),
    ("nonapprox leaves SiLU out", "x = s * dot(silu(qi), ki)", "x = s * dot(qi, ki)",
     "mixers.nonapprox"),
    ("nonapprox's P takes b_j, not b_{j+1}", "P = [x + b_next * y", "P = [x + b * y",
     "mixers.nonapprox"),
    ("nonapprox forgets that a score moves later gates", "a * (b * da + E), b * (E",
     "a * (b * da), "
     "b * (E", "mixers.nonapprox"),
    ("one map for all: c is that of one row", "c = sum(dot(gu[i], ou[i]) for gu, ou in zip(gs, "
     "outs))", "c = dot(gs[0][i], outs[0][i])", "mixers.rndembqk"),
    ("one map for all: dA is that of one row",
     "sum(dot(gu[i], vu[j]) for gu, vu in zip(gs, vs)) for",
     "dot(gs[0][i], vs[0][j]) for", "mixers.rndembqk"),
    ("RoPE is put on nonapprox", "\"N\": variant(\"nonapprox\", OWN, False,",
     "\"N\": variant(\"nonapprox\", OWN, True,", "model_nonapprox"),
    ("RoPE is put on mlp", "        L.u = mlp_forward(L.qraw, L.kraw)", "        for x in (L.qraw, "
     "L.kraw):\n            rope(x, c.rope_base, 1, m.T, c.heads, c.dim // c.heads)\n        L.u = "
     "mlp_forward(L.qraw, L.kraw)", "model_mlp"),
    ("QK-norm is put on mlp", "        L.u = mlp_forward(L.qraw, L.kraw)", "        L.u = "
     "mlp_forward(*[by_heads(rmsnorm_forward(by_heads(x, c.dim // c.heads), g.w), c.dim) if g else "
     "x for x, g in ((L.qraw, L.qnorm), (L.kraw, L.knorm))])", "training.MNR"),
    ("mlp projects with Wv first", "L.u = mlp_forward(L.qraw, L.kraw)\n        L.o = "
     "linear_forward(L.u, L.wv.w, L.bv.w)", "L.u = mlp_forward(L.qraw, L.kraw)\n        L.o = "
     "linear_forward(n, L.wv.w, L.bv.w)", "model_mlp"),
    ("the block's second norm reads h, not mid", "    n = rmsnorm_forward(L.mid, L.norm2.w)\n"
     "    L.gate", "    n = rmsnorm_forward(h, L.norm2.w)\n    L.gate", "model_standard"),
    ("staticembqk projects e without the norm",
     "rmsnorm_forward(m.e, L.norm1.w) if embeddings else "
     "n[first * m.T:(first + M) * m.T]\n    qnorm, knorm = (None, None) if kind.name == \"mlp\" "
     "else (L.qnorm, L.knorm)\n    L.q", "m.e if embeddings else n[first * m.T:(first + M) * m.T]\n"
     "    qnorm, knorm = (None, None) if kind.name == \"mlp\" else (L.qnorm, L.knorm)\n    L.q",
     "model_staticembqk"),
    ("staticembqk takes the norm of the first layer everywhere", "rmsnorm_forward(m.e, L.norm1.w) "
     "if embeddings else n[first * m.T:(first + M) * m.T]\n    qnorm, knorm = (None, None) if "
     "kind.name == \"mlp\" else (L.qnorm, L.knorm)\n    L.q", "rmsnorm_forward(m.e, "
     "m.layer[0].norm1.w) if embeddings else n[first * m.T:(first + M) * m.T]\n    qnorm, knorm = "
     "(None, None) if kind.name == \"mlp\" else (L.qnorm, L.knorm)\n    L.q", "model_staticembqk"),
    ("staticembqk's gain gets no gradient from e", "rmsnorm_backward(de, L.norm1.g, dx, m.e,",
     "rmsnorm_backward(de, zeros(1, c.dim), dx, m.e,", "model_staticembqk"),
    ("the gradient of e does not reach the table", "    add_to(dres, de)\n", "",
     "model_staticembqk"),
    ("an anchor's row takes its map from the first row of the batch", "return 1, m.b + "
     "m.anchors.index(source), False", "return 1, 0, False", "model_rndembqk"),
    ("the gradient of an anchor's q and k stops there",
     "        add_to(dn[first * m.T:(first + M) * "
     "m.T], dx)", "        add_to(dn[first * m.T:(first + M) * m.T], dx if M > 1 else [])",
     "model_rndembqk"),
    ("the map does not mix the anchor's own row", "return range(r * m.R // m.M, (r + 1) * m.R // "
     "m.M)", "return range(r * m.R // m.M, (r + 1) * m.R // m.M - (m.M < m.R))",
     "model_rndembqk"),
    ("the text anchor's tokens get no gradient", "        embedding_backward(m.embed.g, "
     "dres[first:first + m.T], m.anchor_tokens)", "        pass", "model_fixedseqqk"),
    ("an anchor takes the last positions of a shorter input", "m.eps[:T]", "m.eps[-T:]",
     "model_rndembqk"),
    ("an anchor passes by the layers that are not of its kind", "    add_to(out, L.mid)\n    "
     "return out", "    add_to(out, L.mid)\n    if kind.source == OWN:\n        out[m.b * m.T:] = "
     "h[m.b * m.T:]\n    return out", "model_hybrid_mixed"),
    ("a residual branch replaces the gradient of the stream", "    rmsnorm_backward(dres, "
     "L.norm2.g, dn,", "    for row in dres:\n        row[:] = [0.0] * c.dim\n    rmsnorm_backward("
     "dres, L.norm2.g, dn,", "model_standard"),
    ("a tied table forgets the head's gradient", "dn = linear_backward(m.head.g,",
     "dn = linear_backward(m.head.g if m.c.untied else zeros(m.c.vocab, C),", "model_standard"),
    ("untied, the head is the table all the same", "m.logits = linear_forward(rmsnorm_forward("
     "m.final, m.norm.w), m.head.w)", "m.logits = linear_forward(rmsnorm_forward(m.final, "
     "m.norm.w), m.embed.w)", "model_hybrid_even"),
    ("gains and biases decay", "decay = a.decay if p.role == MATRIX else 0", "decay = a.decay",
     "model_standard"),
    ("the table does not decay", "decay = a.decay if p.role == MATRIX else 0", "decay = a.decay if "
     "p.role == MATRIX and p is not m.embed else 0", "model_standard"),
    ("decay is part of the gradient (L2)", "                g *= scale\n",
     "                g = g * "
     "scale + decay * w[e]\n", "model_standard"),
    ("decay works on the weight after the step", "                w[e] -= lr * (m1[e] / c1 / "
     "(math.sqrt(m2[e] / c2) + a.adam_eps) + decay * w[e])", "                w[e] -= lr * m1[e] / "
     "c1 / (math.sqrt(m2[e] / c2) + a.adam_eps)\n                w[e] -= lr * decay * w[e]",
     "model_standard"),
    ("decay has no rate", "+ decay * w[e])", "+ decay / lr * w[e])", "model_standard"),
    ("eps stands under the root", "(math.sqrt(m2[e] / c2) + a.adam_eps)", "math.sqrt(m2[e] / c2 + "
     "a.adam_eps)", "model_standard"),
    ("eps is added before the second moment is corrected", "(math.sqrt(m2[e] / c2) + a.adam_eps)",
     "((math.sqrt(m2[e]) + a.adam_eps) / math.sqrt(c2))", "model_standard"),
    ("the moments are not corrected", "c1, c2 = 1 - a.beta1 ** t, 1 - a.beta2 ** t",
     "c1, c2 = 1, 1",
     "model_standard"),
    ("the corrections count t from 0", "c1, c2 = 1 - a.beta1 ** t, 1 - a.beta2 ** t",
     "c1, c2 = 1 - a.beta1 ** max(t - 1, 1), 1 - a.beta2 ** max(t - 1, 1)", "model_standard"),
    ("gradients are not clipped", "scale = a.clip / norm if a.clip > 0 and norm > a.clip else 1",
     "scale = 1", "model_standard"),
    ("gradients are always scaled to the clip", "scale = a.clip / norm if a.clip > 0 and norm > "
     "a.clip else 1", "scale = a.clip / norm", "model_standard"),
    ("the clip divides by norm + 1e-6", "a.clip / norm if", "a.clip / (norm + 1e-6) if",
     "model_standard"),
    ("the norm is the largest tensor's", "math.sqrt(sum(dot(row, row) for t in m.tensors.values() "
     "for row in t.g))", "math.sqrt(max(sum(dot(row, row) for row in t.g) for t in "
     "m.tensors.values()))", "model_standard"),
    ("warm-up starts at a rate of 0", "a.lr * (step + 1) / a.warmup", "a.lr * step / a.warmup",
     "model_standard"),
    ("the cosine counts steps from the first, warm-up included", "(step - a.warmup) / (a.steps - "
     "a.warmup)", "step / a.steps", "model_standard"),
    ("the last step's rate is min_lr", "(step - a.warmup) / (a.steps - a.warmup)", "(step - "
     "a.warmup) / (a.steps - a.warmup - 1)", "model_standard"),
    ("gradients pile up from step to step", "    zero_gradients(m)\n    model_forward",
     "    model_forward", "model_standard"),
    ("skipping leaves out the standard layers", 'm.skip and kind.name != "standard"',
     'm.skip and kind.name == "standard"', "model_hybrid_even"),
    ("skipping a mixer leaves out its block", 'if skipped and m.skip == "blocks":', "if skipped:",
     "model_hybrid_even"),
    ("sampling draws from the stream of the windows", "random_stream(seed, STREAM_SAMPLE)",
     "random_stream(seed, STREAM_DATA)", "model_standard"),
    ("the temperature multiplies the logits", "(x - largest) / temperature",
     "(x - largest) * temperature", "model_standard"),
    ("a sample sees the first T tokens, not the last", "tokens[-m.c.seq:]", "tokens[:m.c.seq]",
     "model_standard"),
    ("a token is drawn after its share, not within it", "        if left < 0:\n            return token\n",
     "        if left < 0:\n            return min(token + 1, len(e) - 1)\n", "model_standard"),
    ("windows start at u64 mod (n - T - 1)", "% (len(data) - T)", "% (len(data) - T - 1)",
     "training.MNR"),
    ("a batch's windows all start where the first does", "[random_u64(rng) % (len(data) - T) for _ "
     "in range(B)]", "[random_u64(rng) % (len(data) - T)] * B", "training.MNR"),
    ("windows are drawn from the stream of the weights", "rng = random_stream(s.seed, STREAM_DATA)",
     "rng = random_stream(s.seed, STREAM_INIT)", "training.MNR"),
    ("targets are the inputs", "for token in data[at + 1:at + 1 + T]]", "for token in data[at:at + "
     "T]]", "training.MNR"),
    ("validation windows overlap by one token more",
     "starts = [i * T for i", "starts = [i * (T - 1) "
     "for i", "training.MNR"),
]


FLOAT = 1e-4                    # what a port in float32 is asked for


def first_failure(port, checks):
    """The first failing check of the port, as (name, tensor), or None."""
    for name, function in port["all_checks"](checks, None, False):
        wrong = function()[0] if name.startswith(checks) else None
        if wrong:
            return name, wrong.split()[0]
    return None


def make(old, new, checks):
    """What notices the mistake, as the page says it."""
    with open(PORT, encoding="utf-8") as f:
        source = f.read()
    if source.count(old) != 1:
        return "the port has these words %d times, not once: %s" % (source.count(old), old)
    port = {"__name__": "port", "__file__": PORT}
    exec(compile(source.replace(old, new), PORT, "exec"), port)
    found = first_failure(port, checks)
    if not found:
        return "nothing"
    port["TOLERANCE"] = FLOAT
    loose = "training" in checks or first_failure(port, checks)
    return "%s: `%s`%s" % (*found, "" if loose else ", in double only")


def main(words):
    with open(PAGE, encoding="utf-8") as f:
        rows = f.read().split("\n")
    wanted, passed, failed = words[0] if words and words[0] != "--table" else "", 0, 0
    for text, old, new, checks in MISTAKES:
        if wanted not in text:
            continue
        row = "| %s | %s |" % (text, make(old, new, checks))
        if words[:1] == ["--table"]:
            print(row, flush=True)
            continue
        good = row in rows and "nothing" not in row
        passed, failed = passed + good, failed + (not good)
        print("%s  %s" % ("ok  " if good else "FAIL", row), flush=True)
    if words[:1] != ["--table"]:
        print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
