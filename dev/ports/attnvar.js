/* attnvar.js: train_attnvar in plain JavaScript, written from dev/notes/porting.md.

The seven attention variants, forward and backward, the model around them, AdamW, training on bytes,
checkpoints, sampling and skipping, with loops and Math alone, in double precision. Its sections,
names and order are those of train_attnvar.c. In a browser: <script src="attnvar.js"></script>; in
node: const attnvar = require("./attnvar.js"). dev/test/ports.sh checks it.

x (R,T,C) is a Float64Array with x[r][t][c] at (r*T + t)*C + c; a matrix w is (out,in). */

var attnvar = (() => {
"use strict";
// ---- 1  Utilities ------------------------------------------------------------------------------
const zeros = n => new Float64Array(n);

// splitmix64. rng.state is a BigInt: a Number holds 53 bits, this needs 64.
const U64 = x => BigInt.asUintN(64, x);
function randomU64(rng) {
    rng.state = U64(rng.state + 0x9e3779b97f4a7c15n);
    let z = rng.state;
    z = U64((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = U64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
}
const randomUniform = rng => Number(randomU64(rng) >> 11n) * 2 ** -53;
const randomNormal = rng => Math.sqrt(-2 * Math.log(1 - randomUniform(rng)))
                            * Math.cos(2 * Math.PI * randomUniform(rng));

// The generator of one stream of a seed. seed: a Number below 2^53, a BigInt, or its digits.
const STREAM_INIT = 0, STREAM_DATA = 1, STREAM_ANCHOR = 2, STREAM_SAMPLE = 3;
function randomStream(seed, stream) {
    return {state: randomU64({state: U64(4n * BigInt(seed) + BigInt(stream))})};
}

// ---- 2  Products -------------------------------------------------------------------------------
// sum_c a[i+c] b[j+c], c < n
function dot(a, i, b, j, n) {
    let total = 0;
    for (let c = 0; c < n; c++) total += a[i + c] * b[j + c];
    return total;
}
// out[i+c] += factor x[j+c], c < n
function addScaled(out, i, factor, x, j, n) {
    for (let c = 0; c < n; c++) out[i + c] += factor * x[j + c];
}
const add = (x, y) => x.map((xe, e) => xe + y[e]);
const sum = x => x.reduce((a, b) => a + b);
const times = (n, f) => Array.from({length: n}, (_, i) => f(i));

// ---- 3  Layers that every variant shares -------------------------------------------------------
// A parameter p has values p.w and gradients p.g. A backward function takes the upstream gradient
// first, adds to the parameters' gradients, and returns that of its input, dx: it adds to the dx
// that it is given, or to zeros.

const sigmoid = x => 1 / (1 + Math.exp(-x));

// y = x w' + b.   x (N,I), W (O,I), b (O) or none, y (N,O)
function linear(x, W, b) {
    const [O, I] = W.shape, N = x.length / I, y = zeros(N * O);
    for (let n = 0; n < N; n++)
        for (let o = 0; o < O; o++)
            y[n * O + o] = dot(x, n * I, W.w, o * I, I) + (b ? b.w[o] : 0);
    return y;
}

// dx += dy w;  dw += dy' x;  db += sum_n dy
function linearBackward(dy, x, W, b, dx = zeros(x.length)) {
    const [O, I] = W.shape, N = x.length / I;
    for (let n = 0; n < N; n++)
        for (let o = 0; o < O; o++) {
            const d = dy[n * O + o];
            addScaled(dx, n * I, d, W.w, o * I, I);
            addScaled(W.g, o * I, d, x, n * I, I);
            if (b) b.g[o] += d;
        }
    return dx;
}

// y = x r gain, r = 1 / sqrt(mean_c x^2 + 1e-6).   x, y (N,C), gain (C)
const inverseRms = (x, at, C) => 1 / Math.sqrt(dot(x, at, x, at, C) / C + 1e-6);
function rmsnorm(x, gain) {
    const C = gain.w.length, y = zeros(x.length);
    for (let n = 0; n < x.length; n += C) {
        const r = inverseRms(x, n, C);
        for (let c = 0; c < C; c++) y[n + c] = x[n + c] * r * gain.w[c];
    }
    return y;
}

// dx += r (u - x r^2 mean(u x)), u = dy gain;  dgain += sum_n dy x r
function rmsnormBackward(dy, x, gain, dx = zeros(x.length)) {
    const C = gain.w.length;
    for (let n = 0; n < x.length; n += C) {
        const r = inverseRms(x, n, C);
        let mean = 0;
        for (let c = 0; c < C; c++) mean += dy[n + c] * gain.w[c] * x[n + c] / C;
        for (let c = 0; c < C; c++) {
            dx[n + c] += r * (dy[n + c] * gain.w[c] - x[n + c] * r * r * mean);
            gain.g[c] += dy[n + c] * x[n + c] * r;
        }
    }
    return dx;
}

// Turns, in place, the pairs (a, a + dh/2) of every head of x (R,T,W), heads of dh side by side in
// W channels, by t base^(-2a/dh). With sign -1 it turns them back: that is the backward pass.
function rope(x, base, sign, T, W, dh) {
    for (let t = 0; t < T; t++)
        for (let a = 0; a < dh / 2; a++) {
            const angle = t * base ** (-2 * a / dh);
            const cosine = Math.cos(angle), sine = sign * Math.sin(angle);
            for (let row = t * W; row < x.length; row += T * W)
                for (let lo = row + a; lo < row + W; lo += dh) {
                    const hi = lo + dh / 2, p = x[lo], q = x[hi];
                    x[lo] = p * cosine - q * sine;
                    x[hi] = q * cosine + p * sine;
                }
        }
}

const silu = x => x * sigmoid(x);
const siluSlope = x => sigmoid(x) * (1 + x * (1 - sigmoid(x)));         // its derivative
// y = SiLU(gate) up;  backward: [dgate, dup]
const swiglu = (gate, up) => gate.map((x, e) => silu(x) * up[e]);
const swigluBackward = (dy, gate, up) =>
    [gate.map((x, e) => dy[e] * up[e] * siluSlope(x)), swiglu(gate, dy)];

// tokens (N) -> (N,C)
function embedding(tokens, table) {
    const C = table.shape[1], y = zeros(tokens.length * C);
    tokens.forEach((token, n) => y.set(table.w.subarray(token * C, (token + 1) * C), n * C));
    return y;
}
function embeddingBackward(dy, tokens, table) {
    const C = table.shape[1];
    tokens.forEach((token, n) => addScaled(table.g, token * C, 1, dy, n * C, C));  // they repeat
}

// y = x - max, and z, the sum of e^y
function shifted(x) {
    const max = x.reduce((a, b) => Math.max(a, b)), y = x.map(xj => xj - max);
    return {y, z: sum(y.map(Math.exp))};
}
const countScored = targets => targets.filter(target => target >= 0).length;

// losses (N): ln sum_v e^(x_v) - x_target, and 0 where target < 0; probs (N,V), the softmax
function crossentropy(logits, targets) {
    const V = logits.length / targets.length, probs = logits.slice();
    const losses = Float64Array.from(targets, (target, n) => {
        const {y, z} = shifted(logits.subarray(n * V, (n + 1) * V));
        probs.set(y.map(yv => Math.exp(yv) / z), n * V);
        return target < 0 ? 0 : Math.log(z) - y[target];
    });
    return {losses, probs};
}

// Returns the gradient of the mean over the scored positions: (p - [v = target]) / scored
function crossentropyBackward(probs, targets) {
    const V = probs.length / targets.length, scored = countScored(targets);
    return probs.map((p, e) => {
        const target = targets[Math.floor(e / V)];
        return target < 0 ? 0 : (p - (e % V === target)) / scored;
    });
}

// ---- 4  Mixers ---------------------------------------------------------------------------------
// forward(q, k, v, m) returns o; backward(g, o, q, k, v, m), g the gradient of o, [dq, dk, dv].
// q (M,T,NH,dh), k (M,T,NKV,dh), v (R,T,NKV,dh), o (R,T,NH,dh); M = R, or 1: one map for all rows.

const at = (r, t, h, m, H) => ((r * m.T + t) * H + h) * m.dh;   // position t of head h in row r
const keyHead = (h, m) => Math.floor(h / (m.NH / m.NKV));       // which query head h reads

// 4.1  standard
// The weights a of a row of scores x, and slope = df(x)/dx / z, where a = f(x) / z.
function softmaxRow(x) {
    const {y, z} = shifted(x), a = y.map(yj => Math.exp(yj) / z);
    return {a, slope: a};                               // e^x is its own derivative
}

// Row i of the map of head h: the weights of positions 0 to i.
function mapRow(q, k, r, h, i, m, weigh) {
    const x = zeros(i + 1), qi = at(r, i, h, m, m.NH), s = 1 / Math.sqrt(m.dh);
    for (let j = 0; j <= i; j++) x[j] = s * dot(q, qi, k, at(r, j, keyHead(h, m), m, m.NKV), m.dh);
    return weigh(x);
}

// Calls f(r, h, i, users) for every row i of every map; users: the rows of v that map r serves.
function eachMapRow(m, f) {
    const users = r => times(m.R / m.M, u => r * m.R / m.M + u);
    for (let r = 0; r < m.M; r++)
        for (let h = 0; h < m.NH; h++)
            for (let i = 0; i < m.T; i++) f(r, h, i, users(r));
}

const attendForward = weigh => (q, k, v, m) => {
    const o = zeros(m.R * m.T * m.NH * m.dh);
    eachMapRow(m, (r, h, i, users) => {
        const {a} = mapRow(q, k, r, h, i, m, weigh), kv = keyHead(h, m);
        for (const user of users)                       // o_i = sum_j A_ij v_j
            for (let j = 0; j <= i; j++)
                addScaled(o, at(user, i, h, m, m.NH), a[j], v, at(user, j, kv, m, m.NKV), m.dh);
    });
    return o;
};

// dA_ij = g_i.v_j and c_i = g_i.o_i, both summed over the users of the map;
// dx_ij = slope_ij (dA_ij - c_i);  dq_i = s sum_j dx_ij k_j;  dk_j = s sum_i dx_ij q_i;
// dv_j = sum_i A_ij g_i
const attendBackward = weigh => (g, o, q, k, v, m) => {
    const dq = zeros(q.length), dk = zeros(k.length), dv = zeros(v.length);
    const s = 1 / Math.sqrt(m.dh), dh = m.dh;
    eachMapRow(m, (r, h, i, users) => {
        const {a, slope} = mapRow(q, k, r, h, i, m, weigh), dA = zeros(i + 1);
        const qi = at(r, i, h, m, m.NH), kv = keyHead(h, m);
        let ci = 0;
        for (const user of users) {
            const gi = at(user, i, h, m, m.NH);
            ci += dot(g, gi, o, gi, dh);
            for (let j = 0; j <= i; j++) {
                const vj = at(user, j, kv, m, m.NKV);
                dA[j] += dot(g, gi, v, vj, dh);
                addScaled(dv, vj, a[j], g, gi, dh);
            }
        }
        for (let j = 0; j <= i; j++) {
            const dx = slope[j] * (dA[j] - ci), kj = at(r, j, kv, m, m.NKV);
            addScaled(dq, qi, s * dx, k, kj, dh);
            addScaled(dk, kj, s * dx, q, qi, dh);
        }
    });
    return [dq, dk, dv];
};

// 4.2  mlp: u = SiLU(q) k, by SwiGLU; the block calls it around Wv
// 4.3  approx: f(x) = 1 + x + x^2/2 in place of e^x
function taylorRow(x) {
    const f = x.map(y => 1 + y + y * y / 2), z = sum(f);
    return {a: f.map(y => y / z), slope: x.map(y => (1 + y) / z)};
}

// 4.4  nonapprox: x_j = s SiLU(q_j).k_j;  o_i = b_i o_{i-1} + a_i v_i
// The gates a_i, b_i (T) of head h. Z is kept relative to the largest score so far.
function gates(q, k, r, h, m) {
    const a = zeros(m.T), b = zeros(m.T);
    let max = -Infinity, Z = 0;
    for (let i = 0; i < m.T; i++) {
        const qi = at(r, i, h, m, m.NH), u = q.slice(qi, qi + m.dh).map(silu);
        const x = dot(u, 0, k, at(r, i, keyHead(h, m), m, m.NKV), m.dh) / Math.sqrt(m.dh);
        const higher = Math.max(max, x);
        const before = Z * Math.exp(max - higher), own = Math.exp(x - higher);
        max = higher, Z = before + own;
        a[i] = own / Z, b[i] = before / Z;
    }
    return {a, b};
}

function nonapproxForward(q, k, v, m) {
    const o = zeros(m.R * m.T * m.NH * m.dh);
    for (let r = 0; r < m.R; r++)
        for (let h = 0; h < m.NH; h++) {
            const {a, b} = gates(q, k, r, h, m);
            for (let i = 0; i < m.T; i++) {
                const oi = at(r, i, h, m, m.NH);
                addScaled(o, oi, a[i], v, at(r, i, keyHead(h, m), m, m.NKV), m.dh);
                if (i > 0) addScaled(o, oi, b[i], o, at(r, i - 1, h, m, m.NH), m.dh);
            }
        }
    return o;
}

// P_j = g_j + b_{j+1} P_{j+1};  da_j = P_j.(v_j - o_{j-1});  dv_j = a_j P_j;
// dx_j = a_j (b_j da_j + E_j);  E_{j-1} = b_j (E_j - a_j da_j)
function nonapproxBackward(g, o, q, k, v, m) {
    const dq = zeros(q.length), dk = zeros(k.length), dv = zeros(v.length), dh = m.dh;
    for (let r = 0; r < m.R; r++)
        for (let h = 0; h < m.NH; h++) {
            const {a, b} = gates(q, k, r, h, m), kv = keyHead(h, m);
            let P = zeros(dh), E = 0;
            for (let j = m.T - 1; j >= 0; j--) {
                const qj = at(r, j, h, m, m.NH), kj = at(r, j, kv, m, m.NKV);   // g as q, v as k
                P = P.map((Pc, c) => g[qj + c] + (j + 1 < m.T ? b[j + 1] * Pc : 0));
                let da = dot(P, 0, v, kj, dh);
                if (j > 0) da -= dot(P, 0, o, at(r, j - 1, h, m, m.NH), dh);
                addScaled(dv, kj, a[j], P, 0, dh);
                const dx = a[j] * (b[j] * da + E) / Math.sqrt(dh);
                E = b[j] * (E - a[j] * da);
                for (let c = 0; c < dh; c++) {
                    dq[qj + c] += dx * k[kj + c] * siluSlope(q[qj + c]);
                    dk[kj + c] += dx * silu(q[qj + c]);
                }
            }
        }
    return [dq, dk, dv];
}

// Row i of the map, A_ij = a_j b_{j+1} .. b_i: for looking at; training does not need it.
function nonapproxRow(q, k, r, h, i, m) {
    const {a, b} = gates(q, k, r, h, m), row = a.slice(0, i + 1);
    for (let j = 0; j <= i; j++) for (let l = j + 1; l <= i; l++) row[j] *= b[l];
    return {a: row};
}

// 4.5 rndembqk, 4.6 fixedseqqk, 4.7 staticembqk: standard's mixer; section 6 says whose q and k
const own = "h", random = "anchor.embeds", text = "anchor.tokens", embeddings = "e";
const mixer = (name, source, rotates, weigh) => ({
    name, source, rotates, forward: attendForward(weigh), backward: attendBackward(weigh),
    row: (q, k, r, h, i, m) => mapRow(q, k, r, h, i, m, weigh),
});
const VARIANTS = {
    S: mixer("standard", own, true, softmaxRow),
    M: {name: "mlp", source: own, rotates: false},
    A: mixer("approx", own, true, taylorRow),
    N: {name: "nonapprox", source: own, rotates: false, forward: nonapproxForward,
        backward: nonapproxBackward, row: nonapproxRow},
    R: mixer("rndembqk", random, true, softmaxRow),
    F: mixer("fixedseqqk", text, true, softmaxRow),
    E: mixer("staticembqk", embeddings, true, softmaxRow),
};

// ---- 5  The model: configuration, tensors ------------------------------------------------------
// c: layout (a letter a layer), heads, kv_heads, dim, ffn, vocab, seq, qk_norm, untied, rope_base
function modelPlan(c) {
    const m = {c, tensors: [], skip: "none"};
    const C = c.dim, dh = C / c.heads, CKV = c.kv_heads * dh, F = c.ffn;
    const declare = (role, shape, name) => {        // w: values, g: gradients, m, v: the moments
        const n = shape[0] * (shape[1] || 1);
        const t = {name, role, shape, w: zeros(n), g: zeros(n), m: zeros(n), v: zeros(n)};
        m.tensors.push(t);
        return t;
    };
    m.embed = declare("matrix", [c.vocab, C], "model.embed_tokens.weight");
    m.layer = [...c.layout].map((letter, l) => {
        const L = {kind: VARIANTS[letter]}, p = `model.layers.${l}.`, q = p + "self_attn.";
        const projection = (name, O) => ({W: declare("matrix", [O, C], q + name + "_proj.weight"),
                                          b: declare("bias", [O], q + name + "_proj.bias")});
        L.norm1 = declare("gain", [C], p + "input_layernorm.weight");
        L.q = projection("q", C);
        L.k = projection("k", CKV);
        L.wv = projection("v", CKV);
        L.wo = declare("matrix", [C, C], q + "o_proj.weight");
        if (c.qk_norm) L.q.gain = declare("gain", [dh], q + "q_norm.weight");
        if (c.qk_norm) L.k.gain = declare("gain", [dh], q + "k_norm.weight");
        L.norm2 = declare("gain", [C], p + "post_attention_layernorm.weight");
        L.wgate = declare("matrix", [F, C], p + "mlp.gate_proj.weight");
        L.wup = declare("matrix", [F, C], p + "mlp.up_proj.weight");
        L.wdown = declare("matrix", [C, F], p + "mlp.down_proj.weight");
        return L;
    });
    m.norm = declare("gain", [C], "model.norm.weight");
    m.head = c.untied ? declare("matrix", [c.vocab, C], "lm_head.weight") : m.embed;
    m.anchors = [random, text].filter(a => m.layer.some(L => L.kind.source === a));
    m.eps = zeros(c.seq * C);                       // (T,C) rndembqk's fixed random rows
    m.anchorTokens = new Int32Array(c.seq);         // (T) fixedseqqk's fixed text
    return m;
}

function modelInit(m, seed) {
    const fill = (x, rng) => x.forEach((_, e) => x[e] = 0.02 * randomNormal(rng));
    const rng = randomStream(seed, STREAM_INIT);
    for (const t of m.tensors)
        t.role === "matrix" ? fill(t.w, rng) : t.w.fill(t.role === "gain" ? 1 : 0);
    fill(m.eps, randomStream(seed, STREAM_ANCHOR));
}

// ---- 6  The model forward and backward ---------------------------------------------------------
// What the mixer of layer L works on: R rows of v, M of q and k. These are projected from the
// floats `begin` to `end` of the normed h, or of the normed e.
function mixShape(m, L) {
    const c = m.c, a = m.anchors.indexOf(L.kind.source), row = m.T * c.dim;
    const M = a < 0 ? m.R : 1, begin = a < 0 ? 0 : (m.b + a) * row;
    return {R: m.R, M, T: m.T, NH: c.heads, NKV: c.kv_heads, dh: c.dim / c.heads,
            begin, end: begin + M * row, ofE: L.kind.source === embeddings};
}

// One of q and k, p: project x, then QK-norm (mlp has none), then RoPE.
function qkForward(m, L, p, x) {
    p.raw = linear(x, p.W, p.b);
    p.out = p.gain && L.kind.forward ? rmsnorm(p.raw, p.gain) : p.raw.slice();
    if (L.kind.rotates) rope(p.out, m.c.rope_base, 1, m.T, p.b.w.length, m.c.dim / m.c.heads);
}

// d, the gradient of p.out, is used up; dx += that of x.
function qkBackward(m, L, p, d, x, dx) {
    if (L.kind.rotates) rope(d, m.c.rope_base, -1, m.T, p.b.w.length, m.c.dim / m.c.heads);
    if (p.gain && L.kind.forward) d = rmsnormBackward(d, p.raw, p.gain);
    linearBackward(d, x, p.W, p.b, dx);
}

// Returns the next block's h; keeps in L what the backward pass reads.
function blockForward(m, L, h) {
    const skipped = m.skip !== "none" && L.kind !== VARIANTS.S;
    if (skipped && m.skip === "blocks") return h;
    L.h = L.mid = h;
    if (!skipped) {
        // n = RMSNorm(h);  q, k from their source
        const shape = mixShape(m, L);
        L.n = rmsnorm(h, L.norm1);
        L.x = shape.ofE ? rmsnorm(m.e, L.norm1) : L.n.subarray(shape.begin, shape.end);
        qkForward(m, L, L.q, L.x);
        qkForward(m, L, L.k, L.x);
        // v = n Wv + bv, o = mix(q, k, v);  mlp: u = SiLU(q) * k, o = u Wv + bv
        if (L.kind.forward) L.v = linear(L.n, L.wv.W, L.wv.b);
        else L.u = swiglu(L.q.out, L.k.out);
        L.o = L.kind.forward ? L.kind.forward(L.q.out, L.k.out, L.v, shape)
                             : linear(L.u, L.wv.W, L.wv.b);
        // mid = h + o Wo
        L.mid = add(h, linear(L.o, L.wo));
    }
    // out = mid + (SiLU(n Wgate) * n Wup) Wdown,  n = RMSNorm(mid)
    L.n2 = rmsnorm(L.mid, L.norm2);
    L.gate = linear(L.n2, L.wgate);
    L.up = linear(L.n2, L.wup);
    L.act = swiglu(L.gate, L.up);
    return add(L.mid, linear(L.act, L.wdown));
}

// dres, the gradient of the block's output, becomes that of its input; de += that of e.
function blockBackward(m, L, dres, de) {
    // out = mid + act Wdown, act = SiLU(gate) * up
    const dact = linearBackward(dres, L.act, L.wdown);
    const [dgate, dup] = swigluBackward(dact, L.gate, L.up);
    // gate = n Wgate, up = n Wup, n = RMSNorm(mid)
    const dn2 = linearBackward(dgate, L.n2, L.wgate);
    linearBackward(dup, L.n2, L.wup, null, dn2);
    rmsnormBackward(dn2, L.mid, L.norm2, dres);
    // mid = h + o Wo
    const g = linearBackward(dres, L.o, L.wo), dn = zeros(L.n.length), shape = mixShape(m, L);
    // o = mix(q, k, v)
    let dq, dk, dv;
    if (L.kind.forward) {
        [dq, dk, dv] = L.kind.backward(g, L.o, L.q.out, L.k.out, L.v, shape);
        linearBackward(dv, L.n, L.wv.W, L.wv.b, dn);
    } else {
        [dq, dk] = swigluBackward(linearBackward(g, L.u, L.wv.W, L.wv.b), L.q.out, L.k.out);
    }
    // q, k from their source: dx is a part of dn, or for staticembqk the gradient of RMSNorm(e)
    const dx = shape.ofE ? zeros(dn.length) : dn.subarray(shape.begin, shape.end);
    qkBackward(m, L, L.q, dq, L.x, dx);
    qkBackward(m, L, L.k, dk, L.x, dx);
    // n = RMSNorm(h), and for staticembqk also RMSNorm(e): the same gain, used twice
    if (shape.ofE) rmsnormBackward(dx, m.e, L.norm1, de);
    rmsnormBackward(dn, L.h, L.norm1, dres);
}

// Runs tokens (b,T) through all blocks, the anchors as rows behind them. m.hidden[l] (R,T,C) enters
// block l, the last one the final norm; m.logits (b,T,V).
function modelForward(m, tokens, b, T) {
    const row = T * m.c.dim;
    m.tokens = tokens, m.b = b, m.T = T, m.R = b + m.anchors.length;
    let h = zeros(m.R * row);
    h.set(embedding(tokens, m.embed));
    const start = {[random]: m.eps.subarray(0, row),
                   [text]: embedding(m.anchorTokens.subarray(0, T), m.embed)};
    m.anchors.forEach((anchor, a) => h.set(start[anchor], (b + a) * row));
    m.e = h, m.hidden = [h];
    for (const L of m.layer) m.hidden.push(h = blockForward(m, L, h));
    m.final = h.subarray(0, b * row);
    m.n = rmsnorm(m.final, m.norm);
    return m.logits = linear(m.n, m.head);
}

// The mean loss over the scored positions, in nats; after modelForward.
function modelLoss(m, targets) {
    Object.assign(m, crossentropy(m.logits, targets));      // m.losses, m.probs
    return sum(m.losses) / countScored(targets);
}

// Adds the gradient of the mean loss to every tensor's g and returns the loss.
function modelBackward(m, targets) {
    const loss = modelLoss(m, targets), row = m.T * m.c.dim;
    const dres = zeros(m.R * row), de = zeros(m.R * row);
    const dn = linearBackward(crossentropyBackward(m.probs, targets), m.n, m.head);
    rmsnormBackward(dn, m.final, m.norm, dres);
    for (const L of [...m.layer].reverse()) blockBackward(m, L, dres, de);
    const dh = add(dres, de), a = m.anchors.indexOf(text), tokens = m.anchorTokens.subarray(0, m.T);
    embeddingBackward(dh, m.tokens, m.embed);
    if (a >= 0) embeddingBackward(dh.subarray((m.b + a) * row), tokens, m.embed);
    return loss;
}

// The map (T,T) of a head of layer l for row r of the last modelForward; null: mlp has none.
function attentionMap(m, l, r, h) {
    const L = m.layer[l], shape = mixShape(m, L), A = zeros(m.T * m.T), own = shape.M === 1 ? 0 : r;
    if (!L.kind.row) return null;
    for (let i = 0; i < m.T; i++) A.set(L.kind.row(L.q.out, L.k.out, own, h, i, shape).a, i * m.T);
    return A;
}

// ---- 7  AdamW ----------------------------------------------------------------------------------
function learningRate(step, {lr, min_lr, warmup, steps}) {           // step counts from 0
    if (step < warmup) return lr * (step + 1) / warmup;
    const done = (step - warmup) / Math.max(steps - warmup, 1);
    return min_lr + 0.5 * (lr - min_lr) * (1 + Math.cos(Math.PI * done));
}
function adamw(m, a, t, lr, norm) {                     // t = 1, 2, ..
    const scale = a.clip > 0 && norm > a.clip ? a.clip / norm : 1;
    const c1 = 1 - a.beta1 ** t, c2 = 1 - a.beta2 ** t;
    for (const p of m.tensors) {
        const decay = p.role === "matrix" ? a.decay : 0;
        p.g.forEach((gradient, e) => {
            const g = gradient * scale;
            p.m[e] = a.beta1 * p.m[e] + (1 - a.beta1) * g;
            p.v[e] = a.beta2 * p.v[e] + (1 - a.beta2) * g * g;
            p.w[e] -= lr * (p.m[e] / c1 / (Math.sqrt(p.v[e] / c2) + a.adam_eps) + decay * p.w[e]);
        });
    }
}

// Step 1, 2, ..: the loss before it, the gradient's norm, the rate.
function trainStep(m, a, step, tokens, targets, b, T) {
    const lr = learningRate(step - 1, a);
    for (const t of m.tensors) t.g.fill(0);
    modelForward(m, tokens, b, T);
    const loss = modelBackward(m, targets);
    const norm = Math.sqrt(sum(m.tensors.map(t => dot(t.g, 0, t.g, 0, t.g.length))));
    adamw(m, a, step, lr, norm);
    return {loss, norm, lr};
}

// ---- 8  Data: bytes ----------------------------------------------------------------------------
// One window of T inputs, and the T targets one further, for each of the places `starts`.
function readWindows(data, starts, T) {
    const from = d => Int32Array.from(starts.flatMap(p => [...data.subarray(p + d, p + d + T)]));
    return {inputs: from(0), targets: from(1)};
}

const readTrainingBatch = (data, rng, B, T) =>
    readWindows(data, times(B, () => Number(randomU64(rng) % BigInt(data.length - T))), T);

// ---- 9  Checkpoint -----------------------------------------------------------------------------
// The bytes of a .safetensors file -> {metadata, tensors}; a tensor is {dtype, shape, values}.
const TYPES = {F32: [4, "Float32"], F64: [8, "Float64"], I32: [4, "Int32"], U64: [8, "BigUint64"]};
function readSafetensors(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), tensors = {};
    const start = 8 + Number(view.getBigUint64(0, true));
    const text = new TextDecoder().decode(bytes.subarray(8, start));
    const {__metadata__: metadata, ...listed} = JSON.parse(text);
    for (const [name, {dtype, shape, data_offsets: [begin, end]}] of Object.entries(listed)) {
        const [size, type] = TYPES[dtype], n = shape.reduce((a, b) => a * b);
        if (n * size !== end - begin) throw Error(`${name}: its shape is not ${end - begin} bytes`);
        const values = times(n, e => view["get" + type](start + begin + e * size, true));
        tensors[name] = {dtype, shape, values};
    }
    return {metadata, tensors};
}
// The model of a checkpoint, the bytes of its model.safetensors.
function readModel(bytes) {
    const {metadata: d, tensors} = readSafetensors(bytes);
    if (d.attnvar !== "3") throw Error(`format ${d.attnvar}: expected a checkpoint of format 3`);
    const m = modelPlan({
        layout: d.layout, heads: +d.heads, kv_heads: +d["kv-heads"], dim: +d.dim, ffn: +d.ffn,
        vocab: +d.vocab, seq: +d.seq, rope_base: +d["rope-base"],
        qk_norm: d["qk-norm"] === "1", untied: d.untied === "1",
    });
    const anchors = [{name: random, w: m.eps}, {name: text, w: m.anchorTokens}];
    for (const {name, w} of [...m.tensors, ...anchors.filter(t => m.anchors.includes(t.name))]) {
        if (!tensors[name] || tensors[name].values.length !== w.length)
            throw Error(`${name} is missing, or of another shape`);
        w.set(tensors[name].values);
    }
    return m;
}

// ---- 10  Evaluation and sampling ---------------------------------------------------------------
// The mean loss over the first windows of the data.
function evaluate(m, data, windows, B) {
    const T = m.c.seq, n = Math.min(windows, Math.floor((data.length - 1) / T));
    return sum(times(Math.ceil(n / B), batch => {
        const first = batch * B, b = Math.min(B, n - first);
        const {inputs, targets} = readWindows(data, times(b, i => (first + i) * T), T);
        modelForward(m, inputs, b, T);
        return modelLoss(m, targets) * b / n;
    }));
}

// A token drawn from softmax(logits / temperature)
function draw(logits, temperature, rng) {
    const {y, z} = shifted(logits.map(x => x / temperature));
    let left = randomUniform(rng) * z;
    const v = y.findIndex(yv => (left -= Math.exp(yv)) < 0);
    return v < 0 ? logits.length - 1 : v;
}

// The prompt and n more tokens, each drawn after a forward pass over the last T tokens.
function sample(m, prompt, n, temperature, seed) {
    const tokens = [...prompt], rng = randomStream(seed, STREAM_SAMPLE);
    while (tokens.length < prompt.length + n) {
        const seen = Int32Array.from(tokens.slice(-m.c.seq));
        const logits = modelForward(m, seen, 1, seen.length).subarray(-m.c.vocab);
        tokens.push(draw(logits, temperature, rng));
    }
    return tokens;
}

return {VARIANTS, randomU64, randomUniform, randomNormal, randomStream, linear, linearBackward,
        rmsnorm, rmsnormBackward, rope, swiglu, swigluBackward, embedding, embeddingBackward,
        crossentropy, crossentropyBackward, countScored, modelPlan, modelInit, modelForward,
        modelLoss, modelBackward, attentionMap, learningRate, adamw, trainStep, readWindows,
        readTrainingBatch, readSafetensors, readModel, evaluate, draw, sample, STREAM_DATA};
})();
if (typeof module !== "undefined") module.exports = attnvar;        // node: require("./attnvar.js")
