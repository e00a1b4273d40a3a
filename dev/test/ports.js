// Checks dev/ports/attnvar.js: node dev/test/ports.js [--quick] PROGRAM
// Golden vectors in double; the losses, the checkpoint, the skipped layers and the sample of the
// program, trained here in small; the script as a browser loads it. A line a failure, then
// "N passed, N failed".
"use strict";
const fs = require("fs"), os = require("os"), path = require("path"), vm = require("vm");
const {execFileSync} = require("child_process");
const root = path.join(__dirname, "..", "..");
const source = path.join(root, "dev", "ports", "attnvar.js");
const A = require(source);

const TOLERANCE = 1e-12;        // relative to a tensor's largest value
const LOSS = 2e-5;              // absolute: the program computes in float32
let passed = 0, failed = 0;
function check(ok, what, detail) {
    if (ok) passed++;
    else failed++, console.log(`FAIL  ${what}\n      ${detail}`);
}

// ---- golden vectors ----

// The tensors of a file whose names begin with a prefix. Every one has to be used.
class Golden {
    constructor(file, prefix, tensors, metadata) {
        this.name = `${file}.${prefix}`, this.metadata = metadata, this.worst = 0, this.wrong = [];
        this.tensors = Object.fromEntries(Object.entries(tensors).filter(([n]) => n.startsWith(prefix))
            .map(([n, t]) => [n.slice(prefix.length), t]));
        this.unused = new Set(Object.keys(this.tensors));
    }
    has(name) { return name in this.tensors; }
    shape(name) { return this.tensors[name].shape; }
    get(name) {
        this.unused.delete(name);
        return this.tensors[name].values;
    }
    numbers(name) { return Float64Array.from(this.get(name)); }
    ints(name) { return Int32Array.from(this.get(name)); }
    parameter(name) {           // a weight to compute with, and a place for its gradient
        const w = this.numbers(name);
        return {shape: this.shape(name), w, g: new Float64Array(w.length)};
    }
    same(name, got, exact) {
        const wanted = this.get(name), flat = Array.from(got);
        let error = 0, size = 0;
        if (flat.length !== wanted.length) error = Infinity;
        else if (exact) error = flat.every((x, e) => x === wanted[e]) ? 0 : Infinity;
        else for (let e = 0; e < flat.length; e++) {
            if (!Number.isFinite(flat[e])) error = Infinity;
            error = Math.max(error, Math.abs(flat[e] - wanted[e]));
            size = Math.max(size, Math.abs(wanted[e]));
        }
        if (error > 0) error = size > 0 ? error / size : Infinity;
        this.worst = Math.max(this.worst, error);
        if (!(error <= TOLERANCE)) this.wrong.push(`${name} is off by ${error.toExponential(1)}`);
    }
    finish() {
        for (const name of this.unused) this.wrong.push(`${name} is not used`);
        check(this.wrong.length === 0, this.name, this.wrong.slice(0, 5).join("; "));
        return this.worst;
    }
}

const six = f => Array.from({length: 6}, f);
function goldenStreams(g, what) {
    for (const seed of Object.keys(g.tensors)) {
        const rngs = [0, 1, 2, 3].map(stream => A.randomStream(seed, stream));
        const rng = {state: BigInt(seed)}, draw = A[what === "uniform" ? "randomUniform" : "randomNormal"];
        if (what === "u64") g.same(seed, six(() => A.randomU64(rng)), true);
        else if (what === "streams") g.same(seed, rngs.map(r => r.state), true);
        else g.same(seed, rngs.flatMap(r => six(() => draw(r))), what === "uniform");
    }
}

function configuration(metadata) {
    return Object.fromEntries(Object.entries(metadata).map(([k, v]) => [k, v.trim() === "" || isNaN(v) ? v : Number(v)]));
}

function goldenInit(g) {
    const c = configuration(g.metadata), m = A.modelPlan(c);
    A.modelInit(m, c.seed);
    let place = 0, checksum = 0;
    for (const {name, w} of [...m.tensors, {name: "anchor.embeds", w: m.eps}]) {
        g.same(name, [w[0], w[w.length - 1], w.reduce((a, b) => a + b)]);
        for (const x of w) checksum += (1 + place++ % 97) * x;
    }
    g.same("checksum", [checksum]);
}

const goldenLayer = {
    embedding(g) {
        const table = g.parameter("table"), tokens = g.ints("tokens");
        g.same("y", A.embedding(tokens, table));
        A.embeddingBackward(g.numbers("dy"), tokens, table);
        g.same("dtable", table.g);
    },
    rmsnorm(g) {
        const x = g.numbers("x"), gain = g.parameter("gain");
        g.same("y", A.rmsnorm(x, gain));
        g.same("dx", A.rmsnormBackward(g.numbers("dy"), x, gain));
        g.same("dgain", gain.g);
    },
    linear(g) {
        const x = g.numbers("x"), w = g.parameter("w"), b = g.has("b") ? g.parameter("b") : null;
        g.same("y", A.linear(x, w, b));
        g.same("dx", A.linearBackward(g.numbers("dy"), x, w, b));
        g.same("dw", w.g);
        if (b) g.same("db", b.g);
    },
    rope(g) {
        const [, T, H, dh] = g.shape("x"), x = g.numbers("x"), dx = g.numbers("dy");
        const base = g.get("base")[0];
        A.rope(x, base, 1, T, H * dh, dh);
        g.same("y", x);
        A.rope(dx, base, -1, T, H * dh, dh);
        g.same("dx", dx);
    },
    swiglu(g) {
        const gate = g.numbers("gate"), up = g.numbers("up");
        g.same("y", A.swiglu(gate, up));
        const [dgate, dup] = A.swigluBackward(g.numbers("dy"), gate, up);
        g.same("dgate", dgate);
        g.same("dup", dup);
    },
    crossentropy(g) {
        const targets = g.ints("targets"), {losses, probs} = A.crossentropy(g.numbers("logits"), targets);
        g.same("losses", losses);
        g.same("loss", [losses.reduce((a, b) => a + b) / A.countScored(targets)]);
        g.same("dlogits", A.crossentropyBackward(probs, targets));
    },
};

function goldenMlp(g) {
    const q = g.numbers("q"), k = g.numbers("k"), wv = g.parameter("wv"), bv = g.parameter("bv");
    g.get("shape");
    const u = A.swiglu(q, k);
    g.same("u", u);
    g.same("o", A.linear(u, wv, bv));
    const du = A.linearBackward(g.numbers("do"), u, wv, bv), [dq, dk] = A.swigluBackward(du, q, k);
    for (const [name, d] of Object.entries({du, dwv: wv.g, dbv: bv.g, dq, dk})) g.same(name, d);
}

function goldenMixer(g, what) {
    if (what === "mlp") return goldenMlp(g);
    const kind = Object.values(A.VARIANTS).find(v => v.name === what);
    const [R, M, T, NH, NKV, dh] = g.get("shape"), m = {R, M, T, NH, NKV, dh};
    const base = kind.rotates ? g.get("base")[0] : null;
    const made = {}, v = g.numbers("v");
    for (const [name, H] of [["q", NH], ["k", NKV]]) {
        const raw = g.numbers(name), gain = g.has(name + "gain") ? g.parameter(name + "gain") : null;
        const out = gain ? A.rmsnorm(raw, gain) : raw.slice();
        if (base) A.rope(out, base, 1, T, H * dh, dh);
        g.same(name + "1", out);
        made[name] = {H, raw, gain, out};
    }
    const q = made.q.out, k = made.k.out;
    if (g.has("map")) {
        const map = new Float64Array(M * NH * T * T);
        for (let r = 0; r < M; r++)
            for (let h = 0; h < NH; h++)
                for (let i = 0; i < T; i++) map.set(kind.row(q, k, r, h, i, m).a, ((r * NH + h) * T + i) * T);
        g.same("map", map);
    }
    const o = kind.forward(q, k, v, m);
    g.same("o", o);
    const [dq, dk, dv] = kind.backward(g.numbers("do"), o, q, k, v, m);
    g.same("dv", dv);
    for (let [name, d] of [["q", dq], ["k", dk]]) {
        const {H, raw, gain} = made[name];
        g.same(`d${name}1`, d);
        if (base) A.rope(d, base, -1, T, H * dh, dh);
        if (gain) d = A.rmsnormBackward(d, raw, gain), g.same(`d${name}gain`, gain.g);
        g.same("d" + name, d);
    }
}

function goldenModel(g) {
    const c = configuration(g.metadata), m = A.modelPlan(c), N = c.batch * c.seq;
    for (const t of m.tensors) t.w.set(g.numbers("weight." + t.name));
    if (g.has("anchor.embeds")) m.eps.set(g.numbers("anchor.embeds"));
    if (g.has("anchor.tokens")) m.anchorTokens.set(g.ints("anchor.tokens"));
    const tokens = g.ints("tokens"), targets = g.ints("targets");
    const batch = (x, n) => x.subarray(n * N, (n + 1) * N);
    g.same("logits", A.modelForward(m, batch(tokens, 0), c.batch, c.seq));
    m.hidden.forEach((h, l) => g.same("hidden." + l, h.subarray(0, N * c.dim)));
    const loss = A.modelBackward(m, batch(targets, 0));
    g.same("losses", m.losses);
    g.same("loss", [loss]);
    for (const t of [...m.tensors].reverse()) g.same("grad." + t.name, t.g);
    g.same("short.logits", A.modelForward(m, tokens.subarray(0, c.seq - 2), 1, c.seq - 2));
    for (const skip of ["blocks", "mixers"].filter(what => g.has(`skip.${what}.logits`))) {
        m.skip = skip;
        g.same(`skip.${skip}.logits`, A.modelForward(m, batch(tokens, 0), c.batch, c.seq));
    }
    m.skip = "none";
    const prompt = tokens.subarray(0, c.prompt), drawn = g.shape("sample.tokens")[0] - c.prompt;
    g.same("sample.tokens", A.sample(m, prompt, drawn, c.temperature, c.sample_seed), true);
    const steps = Array.from({length: c.steps}, (_, n) =>
        A.trainStep(m, c, n + 1, batch(tokens, n), batch(targets, n), c.batch, c.seq));
    for (const what of ["lr", "norm", "loss"]) g.same("adamw." + what, steps.map(s => s[what]));
    for (const t of m.tensors) g.same("final." + t.name, t.w);
}

function golden() {
    const folder = path.join(root, "dev", "golden"), worst = {};
    const files = fs.readdirSync(folder).filter(f => f.endsWith(".safetensors"));
    check(files.length >= 12, "golden files", `found ${files.length}`);
    for (const file of files) {
        const name = file.slice(0, -".safetensors".length);
        const {tensors, metadata} = A.readSafetensors(fs.readFileSync(path.join(folder, file)));
        const depth = name === "rng" ? 1 : name.startsWith("model_") ? 0 : 2;
        const prefixes = new Set(Object.keys(tensors).map(n => n.split(".").slice(0, depth).map(p => p + ".").join("")));
        for (const prefix of prefixes) {
            const g = new Golden(name, prefix, tensors, metadata), what = prefix.split(".")[0];
            if (name === "layers") goldenLayer[what](g);
            else if (name === "mixers") goldenMixer(g, what);
            else if (name.startsWith("model_")) goldenModel(g);
            else if (what === "init") goldenInit(g);
            else goldenStreams(g, what);
            const kind = name.replace(/_.*/, "s");
            worst[kind] = Math.max(worst[kind] || 0, g.finish());
        }
    }
    console.log("golden vectors, worst error: " +
                Object.entries(worst).map(([k, e]) => `${k} ${e.toExponential(1)}`).join(", "));
}

// ---- the checkpoint of dev/golden: read here, and resumed by the program ----

function checkpoint(program) {
    const folder = path.join(root, "dev", "golden", "checkpoint"), val = fs.readFileSync(path.join(root, "dev", "data", "austen_val.txt"));
    const expected = JSON.parse(fs.readFileSync(path.join(folder, "expected.json"), "utf8"));
    const bytes = fs.readFileSync(path.join(folder, "model.safetensors")), m = A.readModel(bytes);
    const d = A.readSafetensors(bytes).metadata, B = Number(d.batch), windows = Number(d["eval-batches"]) * B;
    const near = (got, wanted, limit, what) => check(Math.abs(got - wanted) <= limit, `golden checkpoint: ${what}`, `${got}, expected ${wanted}`);
    for (const [skip, name] of [["none", "val_loss"], ["blocks", "skip_blocks"], ["mixers", "skip_mixers"]]) {
        m.skip = skip;
        near(A.evaluate(m, val, windows, B), expected[name], 1e-11, name);
    }
    m.skip = "none";
    const prompt = val.subarray(0, Math.min(32, m.c.seq)), drawn = expected.sample.length - prompt.length;
    check(String(A.sample(m, prompt, drawn, 0.8, d.seed)) === String(expected.sample), "golden checkpoint: sample", "other tokens");
    // The state of the windows' generator: a draw for each window of each step.
    const rng = A.randomStream(d.seed, A.STREAM_DATA);
    for (let i = 0; i < Number(d.step) * B; i++) A.randomU64(rng);
    check(String(rng.state) === d.rng, "golden checkpoint: rng", `${rng.state}, expected ${d.rng}`);

    // The program takes no header but the bytes that it would write itself.
    const work = fs.mkdtempSync(path.join(os.tmpdir(), "attnvar-ports-"));
    try {
        const run = (name) => {
            const copy = path.join(work, name);
            fs.cpSync(folder, copy, {recursive: true});
            fs.rmSync(path.join(copy, "expected.json"));
            return copy;
        };
        const words = ["--resume", "--threads", "1", "--sample", String(drawn), "--out"];
        const said = execFileSync(program, [...words, run("whole")], {cwd: root, encoding: "utf8"});
        for (const [label, name] of [["step +3 ", "val_loss"], ["skip blocks", "skip_blocks"], ["skip mixers", "skip_mixers"]]) {
            const told = said.match(new RegExp(`${label} +val loss ([0-9.]+)`));
            near(Number(told && told[1]), expected[name], 1e-4, `the program's ${name}`);
        }
        check(said.includes(asText(expected.sample)), "golden checkpoint: the program's sample", said);
        // A step more, so that the program writes its own config.json: the same bytes.
        const longer = run("longer");
        execFileSync(program, [...words, longer, "--steps", "4"], {cwd: root, encoding: "utf8"});
        const read = (dir, name) => fs.readFileSync(path.join(dir, name));
        check(read(longer, "config.json").equals(read(folder, "config.json")), "golden checkpoint: config.json", "other bytes");
        // One other byte in the header.
        const damaged = run("damaged"), file = path.join(damaged, "model.safetensors");
        fs.writeFileSync(file, Buffer.from(bytes.toString("latin1").replace('"attnvar":"3"', '"attnvar":"4"'), "latin1"));
        let code = 0;
        try {
            execFileSync(program, [...words, damaged], {cwd: root, encoding: "utf8", stdio: "pipe"});
        } catch (error) {
            code = error.status;
        }
        check(code === 1, "golden checkpoint: a damaged one is refused", `exit code ${code}`);
    } finally {
        fs.rmSync(work, {recursive: true, force: true});
    }
}

// As the program prints bytes: what is no UTF-8, and control characters, as U+FFFD.
function asText(tokens) {
    return new TextDecoder().decode(Uint8Array.from(tokens))
        .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "\ufffd").replace(/[\u0080-\u009f]/g, "\ufffd\ufffd");
}

// ---- the program ----

// Trains a small model by the program and by the port, and compares all that both tell.
function training(program, layout, words) {
    const work = fs.mkdtempSync(path.join(os.tmpdir(), "attnvar-ports-"));
    try {
        const a = {layers: layout.length, layout, dim: 16, heads: 2, ffn: 32, seq: 16, batch: 2, steps: 10,
                   warmup: 2, lr: 0.03, seed: "1", sample: 60, threads: 1, out: path.join(work, "run")};
        for (let i = 0; i < words.length; i++) {
            const name = words[i].slice(2), flag = name === "qk-norm" || name === "untied";
            a[name] = flag ? true : words[++i];
        }
        const command = Object.entries(a).flatMap(([n, v]) => v === true ? ["--" + n] : ["--" + n, String(v)]);
        const said = execFileSync(program, command, {cwd: root, encoding: "utf8"});
        const log = fs.readFileSync(path.join(a.out, "log.csv"), "utf8").trim().split("\n").slice(1).map(l => l.split(","));

        const number = name => Number(a[name]), text = name => fs.readFileSync(path.join(root, "dev", "data", name));
        const data = text("austen_train.txt"), val = text("austen_val.txt");
        const c = {layout, dim: number("dim"), heads: number("heads"), kv_heads: Number(a["kv-heads"] || a.heads),
                   ffn: number("ffn"), vocab: 256, seq: number("seq"), qk_norm: "qk-norm" in a, untied: "untied" in a,
                   rope_base: Number(a["rope-base"] || 10000)};
        const recipe = {steps: a.steps, warmup: a.warmup, lr: a.lr, min_lr: a.lr / 10, beta1: 0.9, beta2: 0.99,
                        adam_eps: 1e-8, decay: 0.1, clip: 1};
        const m = A.modelPlan(c), rng = A.randomStream(a.seed, A.STREAM_DATA), B = number("batch"), what = `${layout} ${words.join(" ")}`;
        A.modelInit(m, a.seed);
        m.anchorTokens.set(data.subarray(0, c.seq));
        const losses = Array.from({length: a.steps}, (_, n) => {
            const {inputs, targets} = A.readTrainingBatch(data, rng, B, c.seq);
            return A.trainStep(m, recipe, n + 1, inputs, targets, B, c.seq).loss;
        });
        const close = (got, wanted, name) => check(Math.abs(got - wanted) <= LOSS, `${what}: ${name}`, `${got}, the program: ${wanted}`);
        check(log.length === a.steps, `${what}: log`, `${log.length} lines`);
        log.forEach((row, n) => close(losses[n], Number(row[1]), `loss of step ${n + 1}`));
        const wanted = Number(log[log.length - 1][5]);
        close(A.evaluate(m, val, 4 * B, B), wanted, "validation after training here");

        const folder = name => fs.readFileSync(path.join(a.out, name));
        const read = A.readModel(folder("model.safetensors"));
        close(A.evaluate(read, val, 4 * B, B), wanted, "validation of the program's checkpoint");
        const simple = [...layout].filter(letter => letter !== "S").length;
        for (const skip of simple > 0 && simple < layout.length ? ["blocks", "mixers"] : []) {
            read.skip = skip;
            const told = said.match(new RegExp(`skip ${skip}  val loss ([0-9.]+)`));
            check(Math.abs(A.evaluate(read, val, 4 * B, B) - Number(told && told[1])) <= 1e-4, `${what}: skip ${skip}`, String(told));
        }
        read.skip = "none";
        const tokens = A.sample(read, val.subarray(0, Math.min(32, c.seq)), a.sample, 0.8, a.seed);
        const shown = asText(tokens);
        const sample = said.slice(said.indexOf("sample, temperature")).split(":\n").slice(1).join(":\n");
        check(sample === shown + "\n", `${what}: sample`, `${JSON.stringify(shown)}, the program: ${JSON.stringify(sample)}`);
    } finally {
        fs.rmSync(work, {recursive: true, force: true});
    }
}

// ---- as a classic script: no module, no require, no process ----

function classic() {
    const page = vm.createContext({TextDecoder});
    try {
        vm.runInContext(fs.readFileSync(source, "utf8"), page);
        const ok = vm.runInContext(`
            const m = attnvar.modelPlan({layout: "SMANRFE", heads: 2, kv_heads: 2, dim: 8, ffn: 8, vocab: 16,
                                         seq: 4, qk_norm: true, untied: false, rope_base: 10000});
            attnvar.modelInit(m, 1);
            attnvar.modelForward(m, new Int32Array(4).fill(3), 1, 4);
            Number.isFinite(attnvar.modelBackward(m, Int32Array.from([1, 2, 3, -1])))`, page);
        check(ok, "classic script: a step", "its loss is not a number");
    } catch (error) {
        check(false, "classic script", error.stack);
    }
}

const words = process.argv.slice(2), quick = words[0] === "--quick";
const program = path.resolve(words[quick ? 1 : 0] || path.join(root, "train_attnvar"));
golden();
classic();
checkpoint(program);
const porting = fs.readFileSync(path.join(root, "dev", "notes", "porting.md"), "utf8");
const rows = [...porting.matchAll(/^\| ([A-Z]+) \| (.*?) ?\| ([\d. ]+) \| ([\d.]+) \|$/gm)];
check(rows.length >= 10, "the table of porting.md", `${rows.length} rows`);
for (const [, layout, options] of quick ? rows.slice(-3) : rows) training(program, layout, options.split(" ").filter(w => w));
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
