/* test_attnvar.c: proof that train_attnvar.c is right.

It is compiled twice and linked into one program: once with every float a double (this file's main,
where gradients are compared with finite differences and invariants hold to 1e-12), once in float
(FLOAT_PART, where it is compared with the double part and, bit for bit, over numbers of threads).

    make test                   all of it, under a minute on two cores
    ./test_attnvar gradient     the checks whose name contains a word
    ./test_attnvar -v golden    and the largest error of every class of tensors in dev/golden

One line a check, then "N passed, N failed"; exits with 1 if any failed. Every tolerance stands at
its check: relative, and absolute where a comparison can meet zero. */

#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"      // a part tests what it needs
#endif
#ifdef __clang__
#pragma clang diagnostic ignored "-Wkeyword-macro"      // float is defined as double on purpose
#endif
#ifndef FLOAT_PART
#define ATTNVAR_DOUBLE
#endif
#define ATTNVAR_NO_MAIN
#include "train_attnvar.c"
#ifdef _WIN32                   // there the parts of tests that need processes are left out
#define NOWHERE "NUL"
#else
#define NOWHERE "/dev/null"
#include <sys/wait.h>
#endif

// The largest relative error that was met in one class of golden tensors, and how many there are.
typedef struct {
    char name[48];
    double worst;
    int tensors;
} ErrorClass;

// What the float part offers to the double part.
void float_tests(const char *filter, int *ran_passed, int *ran_failed);
const ErrorClass *float_errors(int *count);
double float_case(int index, double *gradients, size_t n);

static const char *wanted_name = "";
static int passed, failed;

static bool wanted(const char *name) { return strstr(name, wanted_name) != NULL; }

static void check(bool ok, const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("%s  %-44s ", ok ? "ok  " : "FAIL", name);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    if (ok) passed++; else failed++;
}

// Keeps the larger of two errors; once one is NaN, it stays.
static void note(double *worst, double error) {
    if (!isnan(*worst) && !(error <= *worst)) *worst = error;
}

// ------------------------------------------------------------------------------------------------
// Cases: small models that between them meet every branch
// ------------------------------------------------------------------------------------------------

typedef struct {
    const char *layers;         // a letter a layer
    int V, C, NH, NKV, F, T, B;
    int qk_norm, untied;
    double rope_base;           // 0: 10000
} Case;

static const Case cases[] = {
    // the seven uniform models, the even hybrid of each
    {"SS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0}, {"MM", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    {"AA", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0}, {"NN", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    {"RR", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0}, {"FF", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    {"EE", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    {"MSMS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0}, {"ASAS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    {"NSNS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0}, {"RSRS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    {"FSFS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0}, {"ESES", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0},
    // all seven in one; both anchors, either ending first; an anchor as an ordinary row elsewhere
    {"SMANRFE", 11, 8, 2, 2, 10, 5, 2, 0, 0, 0}, {"EFRNAMS", 11, 8, 2, 2, 10, 5, 2, 0, 0, 0},
    {"SEFRS", 9, 8, 2, 2, 6, 5, 2, 0, 1, 0}, {"RFRF", 9, 8, 2, 2, 6, 5, 2, 0, 0, 0},
    // grouped heads, QK-norm, both, untied
    {"SANRFE", 11, 16, 4, 2, 10, 5, 2, 0, 0, 0}, {"SANRFE", 11, 12, 3, 1, 10, 5, 2, 1, 0, 0},
    {"SMANRFE", 11, 8, 2, 2, 10, 5, 2, 1, 0, 0}, {"SMANRFE", 11, 8, 2, 2, 10, 5, 2, 0, 1, 0},
    // odd sizes: one position; one head; batch 1; odd head size (nonapprox and mlp have no RoPE);
    // T just below, at and beyond a block of the map; widths beyond a register tile
    {"SANRFE", 11, 8, 2, 2, 10, 1, 2, 0, 0, 0}, {"SANRFE", 7, 6, 1, 1, 5, 9, 1, 0, 0, 0},
    {"NMN", 7, 9, 3, 3, 5, 6, 1, 1, 0, 0}, {"SR", 5, 4, 2, 2, 3, QB - 1, 1, 0, 0, 0},
    {"AF", 5, 4, 2, 1, 3, QB, 1, 0, 0, 0}, {"EN", 5, 4, 2, 2, 3, 2 * QB + 5, 1, 0, 0, 0},
    {"SAN", 37, 40, 2, 1, 35, 19, 2, 1, 1, 50},
};
enum { CASES = sizeof cases / sizeof *cases };

static Config config_of(const Case *k) {
    Config c = {.layers = (int)strlen(k->layers), .heads = k->NH, .kv_heads = k->NKV, .dim = k->C,
                .ffn = k->F, .vocab = k->V, .seq = k->T, .batch = k->B, .qk_norm = k->qk_norm,
                .untied = k->untied, .rope_base = k->rope_base > 0 ? k->rope_base : 10000};
    set_layers(&c, NULL, k->layers);
    return c;
}

static double spread(uint64_t *rng, double std) { return std * random_normal(rng); }

// Weights of a size at which every part of the model matters: at the usual 0.02 maps are flat and
// most gradients of q and k vanish.
static void strong_weights(Model *m, uint64_t seed) {
    uint64_t rng = seed;
    for (int i = 0; i < m->ntensors; i++) {
        Tensor *t = &m->tensors[i];
        double std = t->role != MATRIX ? 0.2 : t == m->embed ? 1 : 1.2 / sqrt((double)t->cols);
        for (size_t e = 0; e < t->size; e++) t->w[e] = (float)((t->role == GAIN) + spread(&rng, std));
    }
    if (uses(&m->c, QK_RANDOM_ANCHOR))
        for (size_t e = 0; e < (size_t)m->c.seq * m->c.dim; e++) m->anchor_input[e] = (float)spread(&rng, 1);
    for (int t = 0; t < m->c.seq; t++) m->anchor_tokens[t] = (int)(random_u64(&rng) % m->c.vocab);
}

typedef struct {
    Model m;
    int *inputs, *targets;
} Run;

// A model with strong weights and a random batch; every fifth target is not scored.
static void run_open(Run *r, const Config *c, uint64_t seed) {
    uint64_t rng = seed + 1000;
    size_t N = (size_t)c->batch * c->seq;
    model_plan(&r->m, c);
    model_allocate(&r->m, seed);
    make_work(c);
    strong_weights(&r->m, seed);
    r->inputs = allocate(N * sizeof(int), "inputs");
    r->targets = allocate(N * sizeof(int), "targets");
    for (size_t n = 0; n < N; n++) {
        r->inputs[n] = (int)(random_u64(&rng) % c->vocab);
        r->targets[n] = n % 5 == 4 ? -1 : (int)(random_u64(&rng) % c->vocab);
    }
}

static double run_loss(Run *r) {
    model_forward(&r->m, r->inputs, r->m.c.batch, r->m.c.seq);
    return model_loss(&r->m, r->targets);
}

static double run_backward(Run *r) {
    zero_gradients(&r->m);
    model_forward(&r->m, r->inputs, r->m.c.batch, r->m.c.seq);
    return model_backward(&r->m, r->targets);
}

static void run_close(Run *r) {
    free_work(omp_get_max_threads());
    model_free(&r->m);
    free(r->inputs), free(r->targets);
}

static void case_name(char *name, size_t size, const char *test, int i) {
    const Case *k = &cases[i];
    snprintf(name, size, "%.24s %s C%d heads %d/%d T%d B%d%s%s", test, k->layers, k->C, k->NH, k->NKV, k->T,
             k->B, k->qk_norm ? " qk-norm" : "", k->untied ? " untied" : "");
}

// ------------------------------------------------------------------------------------------------
// Naive mixers: straight from the equations, with the whole map, one loop a sum
// ------------------------------------------------------------------------------------------------

// map (T,T) of query head h of row r, in double; rows of q and k as in the contract
static void naive_map(double *A, int kind, const float *q, const float *k, int r, int h, const Mix *m) {
    int kv = h / (m->NH / m->NKV);
    double s = 1 / sqrt((double)m->dh);
    for (int i = 0; i < m->T; i++) {
        double z = 0, max = -1e300;
        for (int j = 0; j <= i; j++) {
            const float *kj = k + at(r, j, kv, m, m->NKV);
            const float *qi = q + at(r, kind == NONAPPROX ? j : i, h, m, m->NH);
            double x = 0;
            for (int c = 0; c < m->dh; c++) {
                double u = (double)qi[c];
                if (kind == NONAPPROX) u = u / (1 + exp(-u));
                x += u * (double)kj[c];
            }
            A[i * m->T + j] = x * s;
            if (x * s > max) max = x * s;
        }
        for (int j = 0; j <= i; j++) {
            double x = A[i * m->T + j];
            A[i * m->T + j] = kind == APPROX ? 1 + x + x * x / 2 : exp(x - max);
            z += A[i * m->T + j];
        }
        for (int j = 0; j < m->T; j++) A[i * m->T + j] = j <= i ? A[i * m->T + j] / z : 0;
    }
}

// y (N,O) = x (N,I) w' + b in double
static void naive_linear(double *y, const double *x, const Tensor *w, const Tensor *b, int N) {
    for (int n = 0; n < N; n++)
        for (int o = 0; o < w->rows; o++) {
            double sum = b ? (double)b->w[o] : 0;
            for (int i = 0; i < w->cols; i++) sum += x[n * w->cols + i] * (double)w->w[o * w->cols + i];
            y[n * w->rows + o] = sum;
        }
}

static void naive_norm(double *y, const double *x, const Tensor *gain, int N, int C) {
    for (int n = 0; n < N; n++) {
        double square = 0;
        for (int c = 0; c < C; c++) square += x[n * C + c] * x[n * C + c];
        for (int c = 0; c < C; c++) y[n * C + c] = x[n * C + c] / sqrt(square / C + 1e-6) * (double)gain->w[c];
    }
}

static const Tensor *named(const Model *m, int l, const char *name) {
    char full[96];
    snprintf(full, sizeof full, l < 0 ? "%.0d%s" : "model.layers.%d.%s", l < 0 ? 0 : l, name);
    for (int i = 0; i < m->ntensors; i++)
        if (!strcmp(m->tensors[i].name, full)) return &m->tensors[i];
    return NULL;
}

static double *numbers(size_t n) { return allocate(n * sizeof(double), "test"); }

// q or k of one row (T,H*dh): project, norm per head, rotate
static void naive_qk(float *out, const double *x, const Model *m, int l, const char *which, int H) {
    int T = m->T, dh = m->c.dim / m->c.heads, kind = m->c.kind[l];
    char name[64];
    double *y = numbers((size_t)T * H * dh);
    snprintf(name, sizeof name, "self_attn.%s_proj.weight", which);
    const Tensor *w = named(m, l, name);
    snprintf(name, sizeof name, "self_attn.%s_proj.bias", which);
    naive_linear(y, x, w, named(m, l, name), T);
    snprintf(name, sizeof name, "self_attn.%s_norm.weight", which);
    if (m->c.qk_norm && kind != MLP) naive_norm(y, y, named(m, l, name), T * H, dh);
    for (int n = 0; n < T * H; n++)
        for (int a = 0; a < dh; a++) {
            int t = n / H, half = dh / 2, pair = a % (half ? half : 1);
            double angle = t * pow(m->c.rope_base, -2.0 * pair / dh);
            double other = a < half ? -y[n * dh + a + half] : y[n * dh + (a - half >= 0 ? a - half : 0)];
            out[n * dh + a] = (float)(kind == MLP || kind == NONAPPROX ? y[n * dh + a]
                                      : y[n * dh + a] * cos(angle) + other * sin(angle));
        }
    free(y);
}

// The whole model from the equations: out (T,C) is what leaves the last block for one row of tokens.
// Both anchors run through all layers, needed or not.
static void naive_model(double *out, const Model *m, const int *tokens) {
    const Config *c = &m->c;
    int T = m->T, C = c->dim, dh = C / c->heads, CKV = dh * c->kv_heads, F = c->ffn;
    enum { ROW, RANDOM_ROW, TEXT_ROW, ROWS };
    double *e[ROWS], *h[ROWS], *n = numbers((size_t)T * C), *x = numbers((size_t)T * C);
    double *v = numbers((size_t)T * C), *o = numbers((size_t)T * C), *A = numbers((size_t)T * T);
    double *gate = numbers((size_t)T * F), *up = numbers((size_t)T * F);
    float *q = allocate((size_t)T * C * sizeof *q, "test"), *k = allocate((size_t)T * C * sizeof *k, "test");
    for (int r = 0; r < ROWS; r++) {
        e[r] = numbers((size_t)T * C), h[r] = numbers((size_t)T * C);
        for (int i = 0; i < T * C; i++)
            h[r][i] = e[r][i] = r == RANDOM_ROW ? uses(c, QK_RANDOM_ANCHOR) ? (double)m->anchor_input[i] : 1
                : (double)named(m, -1, "model.embed_tokens.weight")->w[(r == ROW ? tokens : m->anchor_tokens)[i / C] * C + i % C];
    }
    for (int l = 0; l < c->layers; l++) {
        double *next[ROWS];
        int kind = c->kind[l];
        for (int r = 0; r < ROWS; r++) {
            int from = kind == RNDEMBQK ? RANDOM_ROW : kind == FIXEDSEQQK ? TEXT_ROW : r;
            Mix shape = {1, 1, T, c->heads, c->kv_heads, dh, NULL, NULL};
            next[r] = numbers((size_t)T * C);
            naive_norm(n, h[r], named(m, l, "input_layernorm.weight"), T, C);
            naive_norm(x, kind == STATICEMBQK ? e[from] : h[from], named(m, l, "input_layernorm.weight"), T, C);
            naive_qk(q, x, m, l, "q", c->heads);
            naive_qk(k, x, m, l, "k", c->kv_heads);
            if (kind == MLP) {
                for (int i = 0; i < T * C; i++) x[i] = (double)q[i] / (1 + exp(-(double)q[i])) * (double)k[i];
                naive_linear(o, x, named(m, l, "self_attn.v_proj.weight"), named(m, l, "self_attn.v_proj.bias"), T);
            } else {
                naive_linear(v, n, named(m, l, "self_attn.v_proj.weight"), named(m, l, "self_attn.v_proj.bias"), T);
                for (int head = 0; head < c->heads; head++) {
                    naive_map(A, kind, q, k, 0, head, &shape);
                    int kv = head / (c->heads / c->kv_heads);
                    for (int i = 0; i < T * dh; i++) {
                        double sum = 0;
                        for (int j = 0; j <= i / dh; j++) sum += A[i / dh * T + j] * v[j * CKV + kv * dh + i % dh];
                        o[i / dh * C + head * dh + i % dh] = sum;
                    }
                }
            }
            naive_linear(x, o, named(m, l, "self_attn.o_proj.weight"), NULL, T);
            for (int i = 0; i < T * C; i++) next[r][i] = h[r][i] + x[i];
            naive_norm(n, next[r], named(m, l, "post_attention_layernorm.weight"), T, C);
            naive_linear(gate, n, named(m, l, "mlp.gate_proj.weight"), NULL, T);
            naive_linear(up, n, named(m, l, "mlp.up_proj.weight"), NULL, T);
            for (int i = 0; i < T * F; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            naive_linear(x, gate, named(m, l, "mlp.down_proj.weight"), NULL, T);
            for (int i = 0; i < T * C; i++) next[r][i] += x[i];
        }
        for (int r = 0; r < ROWS; r++) free(h[r]), h[r] = next[r];
    }
    memcpy(out, h[ROW], (size_t)T * C * sizeof *out);
    for (int r = 0; r < ROWS; r++) free(e[r]), free(h[r]);
    free(n), free(x), free(v), free(o), free(A), free(gate), free(up), free(q), free(k);
}

// Every case, row by row, and with fewer rows and positions than the model has room for; then the
// head: loss and accuracy, with the logits made in one piece and in pieces of three positions.
static void test_naive_model(double tolerance, const char *precision) {
    for (int i = 0; i < CASES; i++) {
        char name[128], what[64];
        snprintf(what, sizeof what, "model %s = naive", precision);
        case_name(name, sizeof name, what, i);
        if (!wanted(name)) continue;
        Config c = config_of(&cases[i]);
        Run r;
        run_open(&r, &c, 13);
        double worst = 0, largest = 0, *want = numbers((size_t)c.seq * c.dim);
        for (int b = 1; b <= c.batch; b++) {
            int T = b < c.batch ? (c.seq + 1) / 2 : c.seq;
            model_forward(&r.m, r.inputs, b, T);
            for (int row = 0; row < b; row++) {
                naive_model(want, &r.m, r.inputs + row * T);
                for (int e = 0; e < T * c.dim; e++) {
                    note(&worst, fabs(want[e] - (double)r.m.final[row * T * c.dim + e]));
                    largest = fmax(largest, fabs(want[e]));
                }
            }
        }
        double loss = 0, scored = 0, correct = 0, *logits = numbers(c.vocab), *n = numbers(c.dim);
        double got = model_loss(&r.m, r.targets), chunked;
        int right = r.m.correct, chunk = r.m.chunk;
        r.m.chunk = 3;
        chunked = model_loss(&r.m, r.targets);
        bool same = chunked == got && r.m.correct == right;
        r.m.chunk = chunk;
        for (int t = 0; t < c.batch * c.seq; t++) {
            if (r.targets[t] < 0) continue;
            double z = 0;
            int best = 0;
            for (int d = 0; d < c.dim; d++) n[d] = (double)r.m.final[t * c.dim + d];
            naive_norm(n, n, named(&r.m, -1, "model.norm.weight"), 1, c.dim);
            naive_linear(logits, n, named(&r.m, -1, c.untied ? "lm_head.weight" : "model.embed_tokens.weight"), NULL, 1);
            for (int w = 0; w < c.vocab; w++) z += exp(logits[w]), best = logits[w] > logits[best] ? w : best;
            loss += log(z) - logits[r.targets[t]], scored++, correct += best == r.targets[t];
        }
        note(&worst, fabs(loss / scored - got) * largest / (fabs(got) + 1));
        check(worst <= tolerance * largest && same && r.m.scored == scored && right == correct, name,
              "within %.1e of %.1f; loss %.4f, %d of %d right", worst, largest, got, right, r.m.scored);
        free(want), free(logits), free(n);
        run_close(&r);
    }
}

// Random q, k, v for a mixer; scale sets how large the scores get.
typedef struct {
    Mix m;
    float *q, *k, *v, *o, *stat, *g, *dq, *dk, *dv;
} Mixing;

static Mixing mixing(int kind, int R, int T, int NH, int NKV, int dh, double scale, uint64_t seed) {
    QKSource source = variants[kind].source;
    bool anchor = source == QK_RANDOM_ANCHOR || source == QK_TEXT_ANCHOR;
    Mixing x = {.m = {R, anchor ? 1 : R, T, NH, NKV, dh, variants[kind].weigh, variants[kind].weigh_backward}};
    size_t nq = (size_t)R * T * NH * dh;
    float **all[] = {&x.q, &x.k, &x.v, &x.o, &x.g, &x.dq, &x.dk, &x.dv};
    uint64_t rng = seed;
    for (int i = 0; i < 8; i++) {
        *all[i] = allocate(nq * sizeof(float), "test");
        for (size_t e = 0; e < nq; e++) (*all[i])[e] = (float)spread(&rng, i < 2 ? scale : 1);
    }
    x.stat = allocate((size_t)R * NH * T * 2 * sizeof(float), "test");
    make_work(&(Config){.seq = T, .batch = R, .dim = NH * dh, .heads = NH, .kv_heads = NKV});
    return x;
}

static void mixing_free(Mixing *x) {
    free(x->q), free(x->k), free(x->v), free(x->o), free(x->stat);
    free(x->g), free(x->dq), free(x->dk), free(x->dv);
    free_work(omp_get_max_threads());
}

// The largest difference between o and the naive map's, relative to the largest |o|.
static double mixer_error(int kind, Mixing *x) {
    const Mix *m = &x->m;
    double worst = 0, largest = 0;
    double *A = allocate((size_t)m->T * m->T * sizeof *A, "test");
    variants[kind].forward(x->o, x->stat, x->q, x->k, x->v, *m);
    for (int r = 0; r < m->R; r++) {
        for (int h = 0; h < m->NH; h++) {
            naive_map(A, kind, x->q, x->k, m->M == 1 ? 0 : r, h, m);
            for (int i = 0; i < m->T; i++) {
                for (int c = 0; c < m->dh; c++) {
                    double sum = 0, o = (double)x->o[at(r, i, h, m, m->NH) + c];
                    for (int j = 0; j <= i; j++)
                        sum += A[i * m->T + j] * (double)x->v[at(r, j, h / (m->NH / m->NKV), m, m->NKV) + c];
                    note(&worst, fabs(o - sum));
                    if (fabs(sum) > largest) largest = fabs(sum);
                }
            }
        }
    }
    free(A);
    return worst / largest;
}

static void test_mixers(double tolerance, const char *precision) {
    for (int kind = 0; kind < VARIANTS; kind++) {
        char name[64];
        snprintf(name, sizeof name, "mixer %s %s = naive map", precision, variants[kind].name);
        if (!variants[kind].forward || !wanted(name)) continue;
        double worst = 0;
        static const int shapes[][5] = {{2, 1, 1, 1, 4}, {2, 97, 2, 2, 6}, {3, 50, 4, 2, 16}, {1, 144, 3, 1, 10},
                                        {1, KC + 9, 1, 1, 2},       // more keys than a block is deep
                                        {1, KC + 9, 1, 1, FEW * NR + 2}};   // and rows of a are copied
        for (int i = 0; i < 6; i++) {
            const int *d = shapes[i];
            Mixing x = mixing(kind, d[0], d[1], d[2], d[3], d[4], i < 5 ? 1.5 : 0.5, 7 + i);
            double e = mixer_error(kind, &x);
            note(&worst, e);
            mixing_free(&x);
        }
        check(worst <= tolerance, name, "%.1e, at most %.0e of the largest", worst, tolerance);
    }
}

// The plain loops of section 4.1 against the blocks: o, dq, dk and dv of every head.
static void test_plain_attention(double tolerance, const char *precision) {
    static const int shapes[][4] = {{1, 1, 1, 4}, {2, 49, 2, 6}, {1, 97, 3, 16}};       // R, T, NH, dh
    char name[64];
    snprintf(name, sizeof name, "attention %s, plain = blocks", precision);
    if (!wanted(name)) return;
    double worst = 0;
    for (int i = 0; i < 3; i++) {
        int T = shapes[i][1], NH = shapes[i][2], dh = shapes[i][3];
        size_t n = (size_t)T * dh;
        Mixing x = mixing(STANDARD, shapes[i][0], T, NH, NH, dh, 1.5, 40 + i);
        Mix m = x.m;
        for (size_t e = 0; e < n * m.R * NH; e++)           // must be written, not added to
            x.o[e] = x.dq[e] = x.dk[e] = x.dv[e] = (float)NAN;
        attend_forward(x.o, x.stat, x.q, x.k, x.v, m);
        attend_backward(x.dq, x.dk, x.dv, x.g, x.o, x.stat, x.q, x.k, x.v, m);
        float *head = allocate((8 * n + (size_t)T * T) * sizeof *head, "test"), *A = head + 8 * n;
        float *const in[] = {x.q, x.k, x.v, x.g}, *const out[] = {x.o, x.dq, x.dk, x.dv};
        for (int r = 0; r < m.R; r++) {
            for (int h = 0; h < NH; h++) {
                memset(head, 0, 8 * n * sizeof *head);
                for (int a = 0; a < 4; a++)
                    for (int t = 0; t < T; t++)
                        memcpy(head + a * n + t * dh, in[a] + at(r, t, h, &m, NH), dh * sizeof *head);
                float *q = head, *k = q + n, *v = k + n, *g = v + n, *o = g + n, *dq = o + n;
                attention_plain(o, A, q, k, v, T, dh);
                attention_plain_backward(dq, dq + n, dq + 2 * n, g, A, q, k, v, T, dh);
                for (int a = 0; a < 4; a++)
                    for (int t = 0; t < T; t++)
                        for (int c = 0; c < dh; c++) {
                            double want = (double)out[a][at(r, t, h, &m, NH) + c];
                            note(&worst, fabs((double)(o + a * n)[t * dh + c] - want) / (1 + fabs(want)));
                        }
            }
        }
        free(head);
        mixing_free(&x);
    }
    check(worst <= tolerance, name, "%.1e, at most %.0e", worst, tolerance);
}

// Scores up to +-2000 and beyond: everything stays finite, and o is still the average it should be.
static void test_extreme(const char *precision) {
    for (int kind = 0; kind < VARIANTS; kind++) {
        char name[64];
        snprintf(name, sizeof name, "extreme scores %s %s", precision, variants[kind].name);
        if (!variants[kind].forward || !wanted(name)) continue;
        Mixing x = mixing(kind, 2, 61, 2, 2, 16, 40, 3);
        const Mix *m = &x.m;
        double largest = 0;
        for (int i = 0; i < m->T; i++)
            largest = fmax(largest, fabs((double)dot(x.q + at(0, i, 0, m, 2), x.k + at(0, 3, 0, m, 2), 16) / 4));
        double e = mixer_error(kind, &x);
        variants[kind].backward(x.dq, x.dk, x.dv, x.g, x.o, x.stat, x.q, x.k, x.v, *m);
        bool finite = true;
        for (size_t n = 0; n < (size_t)2 * 61 * 2 * 16; n++)
            finite &= isfinite(x.dq[n]) && isfinite(x.dk[n]) && isfinite(x.dv[n]);
        // scores of 4000 carry an error of 4000 eps, which the exponential passes on
        double tolerance = sizeof(float) == 8 ? 1e-10 : 1e-2;
        check(finite && e <= tolerance && largest > 2000, name, "scores to %.0f, o within %.1e, gradients %s",
              largest, e, finite ? "finite" : "NOT FINITE");
        mixing_free(&x);
    }
    char name[64];
    snprintf(name, sizeof name, "extreme logits %s cross-entropy", precision);
    if (!wanted(name)) return;
    float logits[6] = {2000, -2000, 0, -2000, 2000, 2000}, loss[2];
    unsigned char right[2];
    int target[2] = {1, 2};
    crossentropy_forward(loss, right, logits, target, 2, 3);
    double want[2] = {4000, log(2)};
    check(fabs((double)loss[0] - want[0]) < 1e-3 && fabs((double)loss[1] - want[1]) < 1e-6 && logits[0] == 1
          && !right[0] && right[1],
          name, "%g %g", (double)loss[0], (double)loss[1]);
}

// nonapprox where gates saturate: scores with a spread of 30 and more, so that single keys take all
// the weight for a while. Gradients against the sums over the whole map, in double; and since a
// constant added to all scores changes nothing, the gradients of the scores must sum to zero.
static void test_saturated(double tolerance, const char *precision) {
    enum { T = 80, D = 4 };
    char name[64];
    snprintf(name, sizeof name, "saturated gates %s nonapprox", precision);
    if (!wanted(name)) return;
    Mixing x = mixing(NONAPPROX, 1, T, 1, 1, D, 6, 8);
    double A[T * T], worst = 0, largest = 0, sum = 0, low = 0, high = 0;
    nonapprox_forward(x.o, x.stat, x.q, x.k, x.v, x.m);
    nonapprox_backward(x.dq, x.dk, x.dv, x.g, x.o, x.stat, x.q, x.k, x.v, x.m);
    naive_map(A, NONAPPROX, x.q, x.k, 0, 0, &x.m);
    for (int j = 0; j < T; j++) {
        double ds = 0, score = 0, got = 0, uu = 0;
        for (int i = j; i < T; i++)
            for (int c = 0; c < D; c++) {
                double mean = 0;
                for (int e = 0; e <= i; e++) mean += A[i * T + e] * (double)x.v[e * D + c];
                ds += A[i * T + j] * (double)x.g[i * D + c] * ((double)x.v[j * D + c] - mean);
            }
        for (int c = 0; c < D; c++) {                       // dk = s ds u, s = 1/2, so ds = 2 dk.u / u.u
            double q = (double)x.q[j * D + c], u = q / (1 + exp(-q));
            score += u * (double)x.k[j * D + c] / 2, got += 2 * (double)x.dk[j * D + c] * u, uu += u * u;
        }
        got /= uu;
        sum += got, low = fmin(low, score), high = fmax(high, score), largest = fmax(largest, fabs(ds));
        note(&worst, fabs(got - ds));
    }
    check(worst <= tolerance * largest && fabs(sum) <= tolerance * largest && largest > 0.1 && high - low > 60,
          name, "scores %.0f to %.0f, gradients to %.2g within %.1e, sum %.1e", low, high, largest, worst, sum);
    mixing_free(&x);
}

// A new key that takes all but e^-20 of the weight: 1 - a has no digit left in float, b = Z_0 / Z_1 has
// all, and every score's gradient is proportional to b.
static void test_small_gate(double tolerance, const char *precision) {
    char name[64];
    snprintf(name, sizeof name, "gate of e^-20 %s nonapprox", precision);
    if (!wanted(name)) return;
    enum { DH = 4 };
    static volatile int dh = DH;                            // not known when compiling
    Mix m = {1, 1, 2, 1, 1, dh, NULL, NULL};
    enum { ROOM = 4 * LANES };                              // gcc warns of loops that do not run here
    float q[ROOM], k[ROOM] = {0}, v[ROOM], g[ROOM], o[ROOM], stat[4], dq[ROOM], dk[ROOM], dv[ROOM];
    double silu = 1 / (1 + exp(-1)), h = 0;                 // q = 1 everywhere; s = 1/2; x_0 = 0, x_1 = 20
    for (int c = 0; c < 2 * DH; c++) q[c] = 1, v[c] = (float)(c % 3), g[c] = (float)(c % 5 + 1);
    for (int c = 0; c < DH; c++) k[DH + c] = (float)(20 / (0.5 * silu * DH));
    make_work(&(Config){.seq = 2, .batch = 1, .dim = DH, .heads = 1, .kv_heads = 1});
    nonapprox_forward(o, stat, q, k, v, m);
    nonapprox_backward(dq, dk, dv, g, o, stat, q, k, v, m);
    free_work(omp_get_max_threads());
    for (int c = 0; c < DH; c++) h += (double)g[DH + c] * ((double)v[DH + c] - (double)v[c]);
    double b = exp(-20) / (1 + exp(-20)), dx = (1 - b) * b * h, worst = 0;
    for (int c = 0; c < DH; c++) {
        note(&worst, fabs((double)dk[DH + c] / (0.5 * dx * silu) - 1));
        note(&worst, fabs((double)dk[c] / (-0.5 * dx * silu) - 1));
    }
    check(worst <= tolerance, name, "dk of %.1e within %.1e", 0.5 * dx * silu, worst);
}

// A change at position t must not move any bit before it; behind it, something must move.
static void test_causal(const char *precision) {
    for (int i = 0; i < CASES; i++) {
        char name[128], what[64];
        snprintf(what, sizeof what, "causal %s", precision);
        case_name(name, sizeof name, what, i);
        const Case *k = &cases[i];
        if (k->T < 3 || !wanted(name)) continue;
        Config c = config_of(k);
        Run r;
        run_open(&r, &c, 5);
        int t = k->T / 2;
        size_t row = (size_t)k->T * k->C, front = (size_t)t * k->C;
        float *before = allocate(k->B * row * sizeof *before, "test");
        model_forward(&r.m, r.inputs, k->B, k->T);
        memcpy(before, r.m.final, k->B * row * sizeof *before);
        for (int b = 0; b < k->B; b++) r.inputs[b * k->T + t] = (r.inputs[b * k->T + t] + 1) % k->V;
        model_forward(&r.m, r.inputs, k->B, k->T);
        bool same = true, moved = false, blind = strspn(k->layers, "M") == strlen(k->layers);
        for (int b = 0; b < k->B; b++) {
            same &= !memcmp(before + b * row, r.m.final + b * row, front * sizeof(float));
            size_t next = b * row + front + k->C;
            moved |= memcmp(before + next, r.m.final + next, (row - front - k->C) * sizeof(float)) != 0;
        }
        check(same && moved != blind, name, "%s", !same ? "the past moved" : moved ? "" : "mlp: blind to context");
        free(before);
        run_close(&r);
    }
}

// A shorter input uses the front of the anchors: the first positions of a long run, bit for bit.
static void test_prefix(const char *precision) {
    char name[64];
    snprintf(name, sizeof name, "prefix %s = front of the whole", precision);
    if (!wanted(name)) return;
    Config c = config_of(&(Case){"SMANRFE", 11, 8, 2, 2, 10, 60, 1, 0, 0, 0});
    Run r;
    run_open(&r, &c, 9);
    float *whole = allocate((size_t)60 * 8 * sizeof *whole, "test");
    model_forward(&r.m, r.inputs, 1, 60);
    memcpy(whole, r.m.final, (size_t)60 * 8 * sizeof *whole);
    bool same = true;
    for (int T = 1; T < 60; T += 7) {
        model_forward(&r.m, r.inputs, 1, T);
        same &= !memcmp(whole, r.m.final, (size_t)T * 8 * sizeof *whole);
    }
    check(same, name, "all seven variants, T = 1, 8, 15 .. 57 of 60");
    free(whole);
    run_close(&r);
}

// ------------------------------------------------------------------------------------------------
// Golden vectors: the files of dev/golden, which an independent implementation made
//
// In the order in which an implementation grows (RNG, layer functions, mixers, whole models) and in
// each file from the inputs to the last gradient, so that the first tensor named wrong stands next
// to the mistake. The error of a tensor is max |a - b| / max |b|, b the file's; at most 1e-9 in
// double and 1e-4 in float. Where b is all zero, a must be. NaN fails.
// ------------------------------------------------------------------------------------------------

enum { UNREAD, READ, COMPARED };

// The golden vectors' files, which the program itself does not read: tensors with their place in the
// file, and the metadata. All strings lie in text.
typedef struct {
    char *name, *dtype;
    int dims;
    unsigned long long dim[4];
    unsigned long long place[2];        // its first byte behind the header, the one after its last
} Found;

typedef struct {
    Path path;
    FILE *file;
    char *text, *at;            // the header, a zero byte behind it; how far it is read
    unsigned long long start, bytes;    // of the tensors' bytes in the file
    Found *found;
    int count;
    struct { char *key, *value; } *meta;
    int metas;
} Vectors;

// A reader of the little JSON that such a header is made of. Whatever is not as it must be ends the
// run with the place.
static _Noreturn void json_fail(const Vectors *h, const char *expected) {
    fail("%s: damaged header: expected %s at byte %zu: not a safetensors file, or cut short",
         h->path.s, expected, (size_t)(h->at - h->text) + 8);
}

static bool json_accept(Vectors *h, char c) {
    h->at += strspn(h->at, " \t\r\n");
    if (*h->at != c) return false;
    h->at++;
    return true;
}

static void json_expect(Vectors *h, char c) {
    if (!json_accept(h, c)) json_fail(h, (char[]){'\'', c, '\'', 0});
}

// A string, decoded where it stands: it only gets shorter. \u escapes are read up to 00ff.
static char *json_string(Vectors *h) {
    json_expect(h, '"');
    char *start = h->at, *out = start;
    for (; *h->at != '"'; h->at++) {
        char c = *h->at;
        if (c == '\\') {
            const char *known = "\"\"\\\\//b\bf\fn\nr\rt\t";     // pairs: as written, as meant
            const char *x = ++h->at;
            while (*known && *known != *x) known += 2;
            c = known[*known != 0];
            if (*x == 'u' && x[1] == '0' && x[2] == '0' && isxdigit((unsigned char)x[3])
                          && isxdigit((unsigned char)x[4])) {
                c = (char)strtol((char[]){x[3], x[4], 0}, NULL, 16);
                h->at += 4;
            }
        }
        if (c == 0) json_fail(h, "a string: its end, or a known escape up to \\u00ff");
        *out++ = c;
    }
    h->at++;
    *out = 0;
    return start;
}

// A list of at most n numbers; how many.
static int json_numbers(Vectors *h, unsigned long long *out, int n) {
    int count = 0;
    json_expect(h, '[');
    if (json_accept(h, ']')) return 0;
    do {
        json_accept(h, ' ');                            // skips what is blank
        if (count == n) json_fail(h, "no more numbers");
        if (!isdigit((unsigned char)*h->at)) json_fail(h, "a whole number");
        errno = 0;
        out[count++] = strtoull(h->at, &h->at, 10);
        if (errno) json_fail(h, "a number below 2^64");
    } while (json_accept(h, ','));
    json_expect(h, ']');
    return count;
}

// An object: a tensor's, into f; or with f NULL the metadata, strings all.
static void json_object(Vectors *h, Found *f) {
    static const char *const members = "dtype, shape and data_offsets";
    int places = f ? 0 : 2;
    json_expect(h, '{');
    if (json_accept(h, '}') && !f) return;
    do {
        char *key = json_string(h);
        json_expect(h, ':');
        if (!f) h->meta[h->metas].key = key, h->meta[h->metas++].value = json_string(h);
        else if (strcmp(key, "dtype") == 0) f->dtype = json_string(h);
        else if (strcmp(key, "shape") == 0) f->dims = json_numbers(h, f->dim, 4);
        else if (strcmp(key, "data_offsets") == 0) places = json_numbers(h, f->place, 2);
        else json_fail(h, members);
    } while (json_accept(h, ','));
    json_expect(h, '}');
    if (places != 2 || (f && !f->dtype)) json_fail(h, members);
}

// Reads h->text, n bytes. The tensors must stand in the order of their bytes, as this program and
// Hugging Face's library put them, each beginning where the one before ends, and fill the file.
static void vectors_parse(Vectors *h, size_t n) {
    unsigned long long at = 0;
    json_expect(h, '{');
    do {
        char *name = json_string(h);
        json_expect(h, ':');
        Found *f = strcmp(name, "__metadata__") == 0 ? NULL : &h->found[h->count++];
        json_object(h, f);
        if (!f) continue;
        f->name = name;
        if (f->place[0] != at || f->place[1] < at || f->place[1] > h->bytes)
            fail("%s: tensor %s lies at bytes %llu to %llu of %llu, expected it to begin at %llu: "
                 "an overlap, a gap, or the file is cut short", h->path.s, f->name, f->place[0],
                 f->place[1], h->bytes, at);
        at = f->place[1];
    } while (json_accept(h, ','));
    json_expect(h, '}');
    json_accept(h, ' ');                                // skips the padding
    if (h->at != h->text + n) json_fail(h, "nothing more");
    if (at != h->bytes)
        fail("%s: the tensors take %llu bytes, the file holds %llu: damaged or cut short",
             h->path.s, at, h->bytes);
}

static void vectors_open(Vectors *h, const char *path) {
    uint64_t length = 0, members = 0;
    *h = (Vectors){0};
    snprintf(h->path.s, sizeof h->path.s, "%s", path);
    if (!(h->file = fopen(path, "rb"))) fail("%s: %s", path, strerror(errno));
    fseeko(h->file, 0, SEEK_END);
    uint64_t size = (uint64_t)ftello(h->file);
    fseeko(h->file, 0, SEEK_SET);
    if (size < 8 || fread(&length, 8, 1, h->file) != 1 || length > size - 8)
        fail("%s: not a safetensors file", path);
    h->start = 8 + length, h->bytes = size - h->start;
    h->text = h->at = allocate(length + 1, "a header");
    if (fread(h->text, 1, length, h->file) != length) fail("%s: cannot be read", path);
    for (uint64_t i = 0; i < length; i++) members += h->text[i] == ':';     // at most so many
    h->found = allocate(members * sizeof *h->found, "a header");
    h->meta = allocate(members * sizeof *h->meta, "a header");
    vectors_parse(h, length);
}

static void vectors_close(Vectors *h) {
    free(h->meta), free(h->found), free(h->text);
    if (h->file) fclose(h->file);
}

// The metadata's value, or NULL.
static const char *vectors_get(const Vectors *h, const char *key) {
    for (int i = 0; i < h->metas; i++)
        if (strcmp(h->meta[i].key, key) == 0) return h->meta[i].value;
    return NULL;
}

static uint64_t vectors_number(const Vectors *h, const char *key) {
    const char *text = vectors_get(h, key);
    if (!text || !*text || text[strspn(text, "0123456789")])
        fail("%s: its metadata has %s %s, expected a whole number: not written by this program",
             h->path.s, key, text ? text : "missing");
    return strtoull(text, NULL, 10);
}

typedef struct {
    Vectors h;
    void **data;                // of each tensor: double, int32_t or uint64_t, as its type says
    char *use;                  // what was made of it
    void *rooms[160];           // memory for one check
    int nrooms;
    char wrong[160];            // the first tensor that is wrong, with its error; empty: none
    double worst;
    int compared;
    bool rehearsal;             // on damaged values: nothing goes into the classes
} Golden;

static ErrorClass classes[64];
static int nclasses;

static const char *precision_name(void) { return sizeof(float) == 4 ? "float" : "double"; }
static double golden_tolerance(void) { return sizeof(float) == 4 ? 1e-4 : 1e-9; }

static bool golden_open(Golden *g, const char *file) {
    char path[128];
    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "dev/golden/%s.safetensors", file);
    if (access(path, R_OK) != 0) {
        check(false, path, "missing: run the tests in the repository's root; make golden-write makes it");
        return false;
    }
    vectors_open(&g->h, path);
    g->data = allocate((size_t)g->h.count * sizeof *g->data, "golden tensors");
    g->use = allocate((size_t)g->h.count, "golden tensors");
    for (int i = 0; i < g->h.count; i++) {
        const Found *f = &g->h.found[i];
        size_t bytes = (size_t)(f->place[1] - f->place[0]);
        g->data[i] = allocate(bytes, "golden tensor");
        if (fseeko(g->h.file, (off_t)(g->h.start + f->place[0]), SEEK_SET) != 0 ||
            fread(g->data[i], 1, bytes, g->h.file) != bytes) fail("%s: cannot be read", g->h.path.s);
    }
    return true;
}

static void golden_restart(Golden *g) {         // before a check, and after it
    for (int i = 0; i < g->nrooms; i++) free(g->rooms[i]);
    g->nrooms = g->compared = 0, g->wrong[0] = 0, g->worst = 0;
}

static void golden_close(Golden *g) {
    golden_restart(g);
    for (int i = 0; i < g->h.count; i++) free(g->data[i]);
    free(g->data), free(g->use), vectors_close(&g->h);
}

static int golden_find(const Golden *g, const char *prefix, const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (int i = 0; i < g->h.count; i++)
        if (!strcmp(g->h.found[i].name, full)) return i;
    return -1;
}

static size_t golden_size(const Golden *g, int i) {
    size_t size = 1;
    for (int d = 0; d < g->h.found[i].dims; d++) size *= (size_t)g->h.found[i].dim[d];
    return size;
}

// The place of a tensor that must be there, of this type and, unless n is 0, with n elements.
static int golden_at(const Golden *g, const char *dtype, size_t n, const char *prefix, const char *name) {
    int i = golden_find(g, prefix, name);
    if (i < 0) fail("%s: has no tensor %s%s, which the test needs", g->h.path.s, prefix, name);
    const Found *f = &g->h.found[i];
    size_t each = !strcmp(f->dtype, "I32") ? 4 : 8;
    if (strcmp(f->dtype, dtype) || (n && golden_size(g, i) != n) || f->place[1] - f->place[0] != golden_size(g, i) * each)
        fail("%s: tensor %s has type %s and %zu elements, the test expects %s and %zu", g->h.path.s, f->name,
             f->dtype, golden_size(g, i), dtype, n);
    return i;
}

static float *room(Golden *g, size_t n) {       // n zeros until the next golden_restart
    if (g->nrooms == sizeof g->rooms / sizeof *g->rooms) fail("the test needs more rooms");
    return g->rooms[g->nrooms++] = allocate(n * sizeof(float), "test");
}

// An input of the golden file, and its dimension d.
static float *golden_input(Golden *g, size_t n, const char *prefix, const char *name) {
    int i = golden_at(g, "F64", n, prefix, name);
    float *to = room(g, n);
    for (size_t e = 0; e < n; e++) to[e] = (float)((double *)g->data[i])[e];
    g->use[i] = READ;
    return to;
}

static int *golden_ints(Golden *g, size_t n, const char *prefix, const char *name) {
    int i = golden_at(g, "I32", n, prefix, name);
    g->use[i] = READ;
    return g->data[i];
}

static int golden_dim(const Golden *g, const char *prefix, const char *name, int d) {
    int i = golden_find(g, prefix, name);
    if (i < 0 || d >= g->h.found[i].dims) fail("%s: no dimension %d of %s%s", g->h.path.s, d, prefix, name);
    return (int)g->h.found[i].dim[d];
}

static void note_class(const char *name, double error) {
    int i = 0;
    while (i < nclasses && strcmp(classes[i].name, name) != 0) i++;
    if (i == sizeof classes / sizeof *classes) fail("the test needs more classes");
    if (i == nclasses) snprintf(classes[nclasses++].name, sizeof classes[i].name, "%s", name);
    note(&classes[i].worst, error);
    classes[i].tensors++;
}

// Compares got with the golden tensor.
static void same(Golden *g, const char *class, const float *got, size_t n, const char *prefix, const char *name) {
    int i = golden_at(g, "F64", n, prefix, name);
    const double *want = g->data[i];
    double error = 0, largest = 0;
    for (size_t e = 0; e < n; e++) {
        note(&largest, fabs(want[e]));
        note(&error, fabs((double)got[e] - want[e]));
    }
    if (error != 0) error /= largest;           // infinite where the file says zero
    if (!(error <= golden_tolerance()) && !g->wrong[0])
        snprintf(g->wrong, sizeof g->wrong, "%s%s is off by %.1e of its largest element", prefix, name, error);
    note(&g->worst, error);
    g->use[i] = COMPARED;
    g->compared++;
    if (!g->rehearsal) note_class(class, error);
}

static void same_number(Golden *g, const char *class, double got, const char *prefix, const char *name) {
    float x = (float)got;
    same(g, class, &x, 1, prefix, name);
}

// ---- the layer functions; prefix: which function and case ----

static void golden_embedding(Golden *g, const char *p) {
    int V = golden_dim(g, p, "table", 0), C = golden_dim(g, p, "table", 1);
    size_t N = (size_t)golden_dim(g, p, "tokens", 0) * golden_dim(g, p, "tokens", 1);
    const int *tokens = golden_ints(g, N, p, "tokens");
    float *y = room(g, N * C), *dtable = room(g, (size_t)V * C);
    embedding_forward(y, tokens, golden_input(g, (size_t)V * C, p, "table"), N, C);
    same(g, "embedding", y, N * C, p, "y");
    embedding_backward(dtable, golden_input(g, N * C, p, "dy"), tokens, N, C);
    same(g, "embedding", dtable, (size_t)V * C, p, "dtable");
}

static void golden_rmsnorm(Golden *g, const char *p) {
    int N = golden_dim(g, p, "x", 0), C = golden_dim(g, p, "x", 1);
    size_t size = (size_t)N * C;
    const float *x = golden_input(g, size, p, "x"), *gain = golden_input(g, C, p, "gain");
    float *y = room(g, size), *dx = room(g, size), *dgain = room(g, C), *r = room(g, N);
    rmsnorm_forward(y, x, gain, N, C);
    same(g, "rmsnorm", y, size, p, "y");
    rmsnorm_backward(dx, dgain, golden_input(g, size, p, "dy"), x, gain, r, N, C);
    same(g, "rmsnorm", dx, size, p, "dx");
    same(g, "rmsnorm", dgain, C, p, "dgain");
}

// The three orientations of the matrix product: x w', dy w, dy' x.
static void golden_linear(Golden *g, const char *p) {
    int N = golden_dim(g, p, "x", 0), I = golden_dim(g, p, "x", 1), O = golden_dim(g, p, "w", 0);
    bool bias = golden_find(g, p, "b") >= 0;
    const float *x = golden_input(g, (size_t)N * I, p, "x"), *w = golden_input(g, (size_t)O * I, p, "w");
    const float *b = bias ? golden_input(g, O, p, "b") : NULL, *dy = golden_input(g, (size_t)N * O, p, "dy");
    float *y = room(g, (size_t)N * O), *dx = room(g, (size_t)N * I), *dw = room(g, (size_t)O * I);
    float *db = bias ? room(g, O) : NULL;
    make_work(&(Config){.seq = 1, .batch = 1, .dim = 1, .heads = 1, .kv_heads = 1});
    linear_forward(y, x, w, b, N, I, O);
    same(g, "linear", y, (size_t)N * O, p, "y");
    linear_backward(dx, dw, db, dy, x, w, N, I, O, false);
    same(g, "linear", dx, (size_t)N * I, p, "dx");
    same(g, "linear", dw, (size_t)O * I, p, "dw");
    if (bias) same(g, "linear", db, O, p, "db");
    free_work(omp_get_max_threads());
}

static float *golden_angles(Golden *g, const char *p, int T, int dh) {      // (T,dh/2,2)
    double base = (double)golden_input(g, 1, p, "base")[0];
    float *cs = room(g, (size_t)T * dh);
    for (int t = 0; t < T; t++)
        for (int a = 0; a < dh / 2; a++) {
            cs[t * dh + 2 * a] = (float)cos(t * pow(base, -2.0 * a / dh));
            cs[t * dh + 2 * a + 1] = (float)sin(t * pow(base, -2.0 * a / dh));
        }
    return cs;
}

static void golden_rope(Golden *g, const char *p) {
    int R = golden_dim(g, p, "x", 0), T = golden_dim(g, p, "x", 1), H = golden_dim(g, p, "x", 2);
    int dh = golden_dim(g, p, "x", 3);
    size_t size = (size_t)R * T * H * dh;
    float *cs = golden_angles(g, p, T, dh), *x = golden_input(g, size, p, "x"), *d = golden_input(g, size, p, "dy");
    rope(x, cs, 1, R, T, H, dh);
    same(g, "rope", x, size, p, "y");
    rope(d, cs, -1, R, T, H, dh);
    same(g, "rope", d, size, p, "dx");
}

static void golden_swiglu(Golden *g, const char *p) {
    int N = golden_dim(g, p, "up", 0), F = golden_dim(g, p, "up", 1);
    size_t size = (size_t)N * F;
    const float *gate = golden_input(g, size, p, "gate"), *up = golden_input(g, size, p, "up");
    float *y = room(g, size), *dgate = room(g, size), *dup = room(g, size);
    swiglu_forward(y, gate, up, N, F);
    same(g, "swiglu", y, size, p, "y");
    swiglu_backward(dgate, dup, golden_input(g, size, p, "dy"), gate, up, N, F);
    same(g, "swiglu", dgate, size, p, "dgate");
    same(g, "swiglu", dup, size, p, "dup");
}

static void golden_crossentropy(Golden *g, const char *p) {
    int N = golden_dim(g, p, "logits", 0), V = golden_dim(g, p, "logits", 1), scored = 0;
    float *x = golden_input(g, (size_t)N * V, p, "logits"), *losses = room(g, N);
    const int *targets = golden_ints(g, N, p, "targets");
    double sum = 0;
    crossentropy_forward(losses, (unsigned char *)room(g, N), x, targets, N, V);
    for (int n = 0; n < N; n++) sum += (double)losses[n], scored += targets[n] >= 0;
    same(g, "cross-entropy", losses, N, p, "losses");
    same_number(g, "cross-entropy", sum / scored, p, "loss");
    crossentropy_backward(x, targets, scored, N, V);
    same(g, "cross-entropy", x, (size_t)N * V, p, "dlogits");
}

// ---- the mixers ----

// One of q and k on its way to the map: QK-norm, then RoPE, as far as the case has them.
static float *golden_qk(Golden *g, const char *p, bool query, const Mix *m, const float *cs, bool rotates) {
    int H = query ? m->NH : m->NKV;
    size_t N = (size_t)m->M * m->T * H;
    float *x = golden_input(g, N * m->dh, p, query ? "q" : "k"), *y = x;
    const char *gain = query ? "qgain" : "kgain";
    if (golden_find(g, p, gain) >= 0)
        rmsnorm_forward(y = room(g, N * m->dh), x, golden_input(g, m->dh, p, gain), N, m->dh);
    if (rotates) rope(y, cs, 1, m->M, m->T, H, m->dh);
    same(g, "q and k: norm, RoPE", y, N * m->dh, p, query ? "q1" : "k1");
    return y;
}

// The way back: d is the gradient of what golden_qk returned.
static void golden_qk_back(Golden *g, const char *p, bool query, float *d, const Mix *m, const float *cs,
                           bool rotates) {
    int H = query ? m->NH : m->NKV;
    size_t N = (size_t)m->M * m->T * H;
    const char *gain = query ? "qgain" : "kgain", *class = "q and k: norm, RoPE, gradient";
    if (rotates) rope(d, cs, -1, m->M, m->T, H, m->dh);
    if (golden_find(g, p, gain) >= 0) {
        float *dx = room(g, N * m->dh), *dgain = room(g, m->dh);
        rmsnorm_backward(dx, dgain, d, golden_input(g, N * m->dh, p, query ? "q" : "k"),
                         golden_input(g, m->dh, p, gain), room(g, N), N, m->dh);
        same(g, class, dgain, m->dh, p, query ? "dqgain" : "dkgain");
        d = dx;
    }
    same(g, class, d, N * m->dh, p, query ? "dq" : "dk");
}

// No mixer forms its map; this one is the naive map that test_mixers compares them with.
static void golden_map(Golden *g, const char *p, int kind, const float *q, const float *k, const Mix *m) {
    size_t square = (size_t)m->T * m->T;
    double *A = allocate(square * sizeof *A, "test");
    float *map = room(g, m->M * m->NH * square);
    for (int n = 0; n < m->M * m->NH; n++) {
        naive_map(A, kind, q, k, n / m->NH, n % m->NH, m);
        for (size_t e = 0; e < square; e++) map[n * square + e] = (float)A[e];
    }
    free(A);
    same(g, "this test's naive map", map, m->M * m->NH * square, p, "map");
}

static void golden_mixer(Golden *g, const char *p) {
    int kind = 0;
    while (strncmp(p, variants[kind].name, strcspn(p, ".")) != 0) kind++;
    const int *d = golden_ints(g, 6, p, "shape");
    Mix m = {d[0], d[1], d[2], d[3], d[4], d[5], variants[kind].weigh, variants[kind].weigh_backward};
    bool rotates = variants[kind].rotates;
    size_t nq = (size_t)m.T * m.NH * m.dh, nk = (size_t)m.T * m.NKV * m.dh;
    char forward[48], backward[48];
    snprintf(forward, sizeof forward, "%s o", variants[kind].name);
    snprintf(backward, sizeof backward, "%s dq, dk, dv", variants[kind].name);
    make_work(&(Config){.seq = m.T, .batch = m.R, .dim = m.NH * m.dh, .heads = m.NH,
                        .kv_heads = m.NKV});
    float *cs = rotates ? golden_angles(g, p, m.T, m.dh) : NULL, *stat = room(g, (size_t)m.M * m.NH * m.T * 2);
    float *q = golden_qk(g, p, true, &m, cs, rotates), *k = golden_qk(g, p, false, &m, cs, rotates);
    float *v = golden_input(g, m.R * nk, p, "v"), *o = room(g, m.R * nq);
    if (golden_find(g, p, "map") >= 0) golden_map(g, p, kind, q, k, &m);
    variants[kind].forward(o, stat, q, k, v, m);
    same(g, forward, o, m.R * nq, p, "o");
    float *dq = room(g, m.M * nq), *dk = room(g, m.M * nk), *dv = room(g, m.R * nk);
    variants[kind].backward(dq, dk, dv, golden_input(g, m.R * nq, p, "do"), o, stat, q, k, v, m);
    same(g, backward, dv, m.R * nk, p, "dv");
    same(g, backward, dq, m.M * nq, p, "dq1");
    same(g, backward, dk, m.M * nk, p, "dk1");
    golden_qk_back(g, p, true, dq, &m, cs, rotates);
    golden_qk_back(g, p, false, dk, &m, cs, rotates);
    free_work(omp_get_max_threads());
}

static void golden_mlp(Golden *g, const char *p) {
    const int *d = golden_ints(g, 6, p, "shape");
    Mix m = {d[0], d[1], d[2], d[3], d[4], d[5], NULL, NULL};
    int C = m.NH * m.dh, N = m.R * m.T;
    size_t n = (size_t)N * C;
    const float *q = golden_input(g, n, p, "q"), *k = golden_input(g, n, p, "k");
    const float *wv = golden_input(g, (size_t)C * C, p, "wv"), *bv = golden_input(g, C, p, "bv");
    float *u = room(g, n), *o = room(g, n), *du = room(g, n), *dq = room(g, n), *dk = room(g, n);
    float *dwv = room(g, (size_t)C * C), *dbv = room(g, C);
    make_work(&(Config){.seq = m.T, .batch = m.R, .dim = m.NH * m.dh, .heads = m.NH,
                        .kv_heads = m.NKV});
    swiglu_forward(u, q, k, N, C);
    same(g, "mlp u, o", u, n, p, "u");
    linear_forward(o, u, wv, bv, N, C, C);
    same(g, "mlp u, o", o, n, p, "o");
    linear_backward(du, dwv, dbv, golden_input(g, n, p, "do"), u, wv, N, C, C, false);
    same(g, "mlp du, dWv, dbv, dq, dk", dwv, (size_t)C * C, p, "dwv");
    same(g, "mlp du, dWv, dbv, dq, dk", dbv, C, p, "dbv");
    same(g, "mlp du, dWv, dbv, dq, dk", du, n, p, "du");
    swiglu_backward(dq, dk, du, q, k, N, C);
    same(g, "mlp du, dWv, dbv, dq, dk", dq, n, p, "dq");
    same(g, "mlp du, dWv, dbv, dq, dk", dk, n, p, "dk");
    free_work(omp_get_max_threads());
}

// ---- RNG and initial values ----

static Config golden_config(const Golden *g) {
    const Vectors *h = &g->h;
    const char *layout = vectors_get(h, "layout");
    if (!layout) fail("%s: its metadata has no layout", h->path);
    Config c = {.layers = (int)strlen(layout), .rope_base = strtod(vectors_get(h, "rope_base"), NULL)};
    static const char *const names[] = {"heads", "kv_heads", "dim", "ffn", "vocab", "seq", "batch", "qk_norm", "untied"};
    int *to[] = {&c.heads, &c.kv_heads, &c.dim, &c.ffn, &c.vocab, &c.seq, &c.batch, &c.qk_norm, &c.untied};
    for (int i = 0; i < 9; i++) *to[i] = (int)vectors_number(h, names[i]);
    set_layers(&c, NULL, layout);
    return c;
}

static void same_bits(Golden *g, const uint64_t *got, size_t n, const char *name) {
    int i = golden_at(g, "U64", n, "", name);
    if (memcmp(got, g->data[i], n * sizeof *got) && !g->wrong[0])
        snprintf(g->wrong, sizeof g->wrong, "%s differs", name);
    g->use[i] = COMPARED;
    g->compared++;
}

static void golden_rng(Golden *g, const char *p) {
    (void)p;
    for (int i = 0; i < g->h.count; i++) {
        const char *name = g->h.found[i].name;
        uint64_t seed = strtoull(name + strcspn(name, ".") + 1, NULL, 10), state = seed, bits[6];
        if (!strncmp(name, "u64.", 4)) {
            for (int n = 0; n < 6; n++) bits[n] = random_u64(&state);
            same_bits(g, bits, 6, name);
        } else if (!strncmp(name, "streams.", 8)) {
            for (int n = 0; n < STREAMS; n++) bits[n] = random_stream(seed, n);
            same_bits(g, bits, STREAMS, name);
        } else if (!strncmp(name, "uniform.", 8) || !strncmp(name, "normal.", 7)) {
            float x[6 * STREAMS];
            for (int n = 0; n < 6 * STREAMS; n++) {
                if (n % 6 == 0) state = random_stream(seed, n / 6);
                x[n] = (float)(*name == 'u' ? random_uniform(&state) : random_normal(&state));
            }
            same(g, "RNG: uniform, normal", x, 6 * STREAMS, "", name);
        }
    }
}

static void note_init(Golden *g, const char *name, const float *w, size_t n, double *checksum, size_t *place) {
    double sum = 0;
    for (size_t e = 0; e < n; e++) {
        sum += (double)w[e];
        *checksum += (double)(1 + (*place)++ % 97) * (double)w[e];
    }
    float three[3] = {w[0], w[n - 1], (float)sum};
    same(g, "initial values", three, 3, "init.", name);
}

static void golden_init(Golden *g, const char *p) {
    (void)p;
    Config c = golden_config(g);
    Model m;
    double checksum = 0;
    size_t place = 0;
    model_plan(&m, &c);
    model_allocate(&m, vectors_number(&g->h, "seed"));
    int at = golden_find(g, "init.", m.tensors[0].name);
    for (int i = 0; i < m.ntensors; i++) {
        note_init(g, m.tensors[i].name, m.tensors[i].w, m.tensors[i].size, &checksum, &place);
        if (golden_find(g, "init.", m.tensors[i].name) != at + i && !g->wrong[0])
            snprintf(g->wrong, sizeof g->wrong, "%s is not tensor %d of the file", m.tensors[i].name, i);
    }
    note_init(g, "anchor.embeds", m.anchor_input, (size_t)c.seq * c.dim, &checksum, &place);
    same_number(g, "initial values", checksum, "init.", "checksum");
    model_free(&m);
}

// ---- whole models ----

// The logits of the last forward pass, as the head makes them.
static float *golden_logits(Golden *g, Model *m) {
    size_t N = (size_t)m->b * m->T;
    float *n = room(g, N * m->c.dim), *logits = room(g, N * m->c.vocab);
    rmsnorm_forward(n, m->final, m->norm->w, N, m->c.dim);
    linear_forward(logits, n, m->head->w, NULL, N, m->c.dim, m->c.vocab);
    return logits;
}

static const char *role_class(const Model *m, const Tensor *t) {
    if (t == m->embed || t == m->head) return "model gradient: embedding, head";
    if (strstr(t->name, "q_proj") || strstr(t->name, "k_proj")) return "model gradient: Wq, bq, Wk, bk";
    if (t->role == GAIN) return "model gradient: gains";
    return strstr(t->name, "self_attn") ? "model gradient: Wv, bv, Wo" : "model gradient: MLP";
}

// Ten steps of AdamW, each on a batch of its own.
static void golden_steps(Golden *g, Model *m) {
    static const char *const names[] = {"lr", "min_lr", "beta1", "beta2", "adam_eps", "decay", "clip"};
    double x[7];
    for (int i = 0; i < 7; i++) {
        const char *text = vectors_get(&g->h, names[i]);
        if (!text) fail("%s: its metadata has no %s", g->h.path.s, names[i]);
        x[i] = strtod(text, NULL);
    }
    AdamW a = {x[2], x[3], x[4], x[5], x[6]};
    int steps = (int)vectors_number(&g->h, "steps"), warmup = (int)vectors_number(&g->h, "warmup");
    size_t N = (size_t)m->c.batch * m->c.seq;
    const int *tokens = golden_ints(g, steps * N, "", "tokens"), *targets = golden_ints(g, steps * N, "", "targets");
    float *losses = room(g, steps), *norms = room(g, steps), *rates = room(g, steps);
    for (int step = 0; step < steps; step++) {
        zero_gradients(m);
        model_forward(m, tokens + step * N, m->c.batch, m->c.seq);
        double loss = model_backward(m, targets + step * N), norm = gradient_norm(m, step, loss);
        double lr = learning_rate(step, steps, warmup, x[0], x[1]);
        adamw(m, &a, step + 1, lr, norm);
        losses[step] = (float)loss, norms[step] = (float)norm, rates[step] = (float)lr;
    }
    same(g, "AdamW: learning rates", rates, steps, "adamw.", "lr");
    same(g, "AdamW: gradient norms", norms, steps, "adamw.", "norm");
    same(g, "AdamW: losses", losses, steps, "adamw.", "loss");
    for (int i = 0; i < m->ntensors; i++)
        same(g, m->tensors[i].role == MATRIX ? "AdamW: matrices after 10 steps" : "AdamW: gains, biases after 10 steps",
             m->tensors[i].w, m->tensors[i].size, "final.", m->tensors[i].name);
}

// A prompt, and the tokens that are drawn after it: as many as the file has.
static void golden_sample(Golden *g, Model *m, const int *prompt) {
    int total = golden_dim(g, "", "sample.tokens", 0), at = golden_at(g, "I32", total, "", "sample.tokens");
    int prompted = (int)vectors_number(&g->h, "prompt"), tokens[64];
    uint64_t rng = random_stream(vectors_number(&g->h, "sample_seed"), STREAM_SAMPLE);
    const char *temperature = vectors_get(&g->h, "temperature");
    if (!temperature) fail("%s: its metadata has no temperature", g->h.path.s);
    for (int i = 0; i < total && i < 64; i++) {
        if (i < prompted) { tokens[i] = prompt[i]; continue; }
        int seen = min_int(i, m->c.seq);
        model_forward(m, tokens + i - seen, 1, seen);
        tokens[i] = draw(next_logits(m), m->c.vocab, strtod(temperature, NULL), &rng);
    }
    if ((total > 64 || memcmp(tokens, g->data[at], total * sizeof *tokens)) && !g->wrong[0])
        snprintf(g->wrong, sizeof g->wrong, "sample.tokens differs");
    g->use[at] = COMPARED;
    g->compared++;
}

// The logits with the mixers, or the blocks, of all layers left out that are not standard.
static void golden_skip(Golden *g, Model *m, const int *tokens) {
    static const char *const names[] = {[SKIP_BLOCKS] = "skip.blocks.logits", [SKIP_MIXERS] = "skip.mixers.logits"};
    for (int skip = SKIP_BLOCKS; skip <= SKIP_MIXERS; skip++) {
        if (golden_find(g, "", names[skip]) < 0) continue;
        m->skip = skip;
        model_forward(m, tokens, m->c.batch, m->c.seq);
        same(g, "model logits", golden_logits(g, m), (size_t)m->c.batch * m->c.seq * m->c.vocab, "", names[skip]);
        m->skip = SKIP_NONE;
    }
}

static void golden_model(Golden *g, const char *p) {
    Config c = golden_config(g);
    Model m;
    size_t N = (size_t)c.batch * c.seq;
    int steps = golden_dim(g, p, "tokens", 0);
    const int *tokens = golden_ints(g, steps * N, p, "tokens"), *targets = golden_ints(g, steps * N, p, "targets");
    model_plan(&m, &c);
    model_allocate(&m, 1);
    make_work(&c);
    for (int i = 0; i < m.ntensors; i++) {
        int at = golden_at(g, "F64", m.tensors[i].size, "weight.", m.tensors[i].name);
        for (size_t e = 0; e < m.tensors[i].size; e++) m.tensors[i].w[e] = (float)((double *)g->data[at])[e];
        g->use[at] = READ;
    }
    if (uses(&c, QK_RANDOM_ANCHOR))
        memcpy(m.anchor_input, golden_input(g, (size_t)c.seq * c.dim, p, "anchor.embeds"), (size_t)c.seq * c.dim * sizeof(float));
    if (uses(&c, QK_TEXT_ANCHOR))
        memcpy(m.anchor_tokens, golden_ints(g, c.seq, p, "anchor.tokens"), (size_t)c.seq * sizeof(int));
    // one row and two positions less than there is room for, then the first batch
    model_forward(&m, tokens, 1, c.seq - 2);
    const float *logits = golden_logits(g, &m);
    model_forward(&m, tokens, c.batch, c.seq);
    for (int l = 0; l <= c.layers; l++) {
        char name[32];
        snprintf(name, sizeof name, "hidden.%d", l);
        same(g, "model hidden states", l < c.layers ? m.layer[l].h : m.final, N * c.dim, p, name);
    }
    same(g, "model logits", golden_logits(g, &m), N * c.vocab, p, "logits");
    same(g, "model logits", logits, (size_t)(c.seq - 2) * c.vocab, p, "short.logits");
    zero_gradients(&m);
    double loss = model_backward(&m, targets);
    same(g, "model loss", m.losses, N, p, "losses");
    same_number(g, "model loss", loss, p, "loss");
    for (int i = m.ntensors - 1; i >= 0; i--)               // the order in which they are computed
        same(g, role_class(&m, &m.tensors[i]), m.tensors[i].g, m.tensors[i].size, "grad.", m.tensors[i].name);
    golden_skip(g, &m, tokens);
    golden_sample(g, &m, tokens);
    golden_steps(g, &m);
    model_free(&m), free_work(omp_get_max_threads());
}

// ---- the checks ----

enum { GOLDEN_CASES = 4 };
typedef void GoldenRun(Golden *g, const char *prefix);

static const struct {
    const char *file, *name;
    GoldenRun *run;
    const char *prefix[GOLDEN_CASES];       // of each case
} golden_runs[] = {
    {"rng", "RNG", golden_rng, {""}},
    {"rng", "initial values", golden_init, {"init."}},
    {"layers", "embedding", golden_embedding, {"embedding.0.", "embedding.1."}},
    {"layers", "rmsnorm", golden_rmsnorm, {"rmsnorm.0.", "rmsnorm.1."}},
    {"layers", "linear", golden_linear, {"linear.0.", "linear.1."}},
    {"layers", "rope", golden_rope, {"rope.0.", "rope.1."}},
    {"layers", "swiglu", golden_swiglu, {"swiglu.0.", "swiglu.1."}},
    {"layers", "cross-entropy", golden_crossentropy, {"crossentropy.0.", "crossentropy.1."}},
#define MIXER(name, ...) \
    {"mixers", "mixer " name, golden_mixer, {name ".plain.", name ".grouped.", name ".qknorm.", __VA_ARGS__}}
    MIXER("standard", "standard.long."),
    {"mixers", "mixer mlp", golden_mlp, {"mlp.plain.", "mlp.wide."}},
    MIXER("approx", "approx.long."), MIXER("nonapprox", "nonapprox.long."),
    MIXER("rndembqk", NULL), MIXER("fixedseqqk", NULL), MIXER("staticembqk", NULL),
#undef MIXER
    {"model_standard", "model standard", golden_model, {""}},
    {"model_mlp", "model mlp", golden_model, {""}},
    {"model_approx", "model approx", golden_model, {""}},
    {"model_nonapprox", "model nonapprox", golden_model, {""}},
    {"model_rndembqk", "model rndembqk", golden_model, {""}},
    {"model_fixedseqqk", "model fixedseqqk", golden_model, {""}},
    {"model_staticembqk", "model staticembqk", golden_model, {""}},
    {"model_hybrid_mixed", "model EMANSFRF", golden_model, {""}},
    {"model_hybrid_even", "model ASRSNS grouped qk-norm untied", golden_model, {""}},
};
enum { GOLDEN_RUNS = sizeof golden_runs / sizeof *golden_runs };

// The case of a run that tensor i belongs to, or NULL.
static const char *golden_prefix(const Golden *g, int run, int i) {
    const char *name = g->h.found[i].name;
    if (golden_runs[run].run == golden_rng && !strncmp(name, "init.", 5)) return NULL;
    for (int p = 0; p < GOLDEN_CASES && golden_runs[run].prefix[p]; p++)
        if (!strncmp(name, golden_runs[run].prefix[p], strlen(golden_runs[run].prefix[p])))
            return golden_runs[run].prefix[p];
    return NULL;
}

// Damages tensor i: a result's largest element by ten times the tolerance, or it becomes NaN; all of
// an input by a hundredth (one element may have no effect); the first token; one bit.
static void golden_damage(Golden *g, int i, bool nan) {
    const char *dtype = g->h.found[i].dtype;
    if (!strcmp(dtype, "U64")) {
        *(uint64_t *)g->data[i] ^= 1;
    } else if (!strcmp(dtype, "I32")) {
        int *x = g->data[i];
        x[0] = x[0] > 0 ? x[0] - 1 : 1;
    } else {
        double *x = g->data[i];
        size_t at = 0, n = golden_size(g, i);
        for (size_t e = 0; e < n; e++) at = fabs(x[e]) > fabs(x[at]) ? e : at;
        if (g->use[i] == READ) for (size_t e = 0; e < n; e++) x[e] *= 1.01;
        else x[at] = nan ? NAN : x[at] == 0 ? 1e-30 : x[at] * (1 + 10 * golden_tolerance());
    }
}

// Can the check fail? One tensor at a time is damaged, then a NaN stands in it if it is a result:
// every tensor of the small files, about 24 of each model's. Returns how often; missed names a
// tensor whose damage went unnoticed.
static int golden_rehearse(Golden *g, int run, const char **missed) {
    int count = 0;
    uint64_t rng = 9;
    g->rehearsal = true;
    for (int i = 0; i < g->h.count; i++) {
        const Found *f = &g->h.found[i];
        const char *prefix = golden_prefix(g, run, i);
        if (!prefix || strstr(f->name, ".shape")) continue;
        if (golden_runs[run].run == golden_model && random_u64(&rng) % g->h.count >= 24) continue;
        size_t bytes = (size_t)(f->place[1] - f->place[0]);
        void *kept = allocate(bytes, "test");
        memcpy(kept, g->data[i], bytes);
        for (int nan = 0; nan < (g->use[i] == COMPARED && !strcmp(f->dtype, "F64") ? 2 : 1); nan++) {
            golden_damage(g, i, nan);
            golden_restart(g);
            golden_runs[run].run(g, prefix);
            if (!g->wrong[0]) *missed = f->name;
            memcpy(g->data[i], kept, bytes);
            count++;
        }
        free(kept);
    }
    golden_restart(g);
    g->rehearsal = false;
    return count;
}

static void test_golden(void) {
    for (int run = 0; run < GOLDEN_RUNS; run++) {
        char name[96];
        const char *unread = NULL, *missed = NULL;
        Golden g;
        snprintf(name, sizeof name, "golden %s %s", precision_name(), golden_runs[run].name);
        if (!wanted(name) || !golden_open(&g, golden_runs[run].file)) continue;
        for (int p = 0; p < GOLDEN_CASES && golden_runs[run].prefix[p]; p++)
            golden_runs[run].run(&g, golden_runs[run].prefix[p]);
        for (int i = 0; i < g.h.count; i++)
            if (golden_prefix(&g, run, i) && g.use[i] == UNREAD) unread = g.h.found[i].name;
        bool ok = !g.wrong[0] && g.compared && !unread;
        double worst = g.worst;
        int compared = g.compared;
        char wrong[sizeof g.wrong];
        memcpy(wrong, g.wrong, sizeof wrong);
        int damaged = ok ? golden_rehearse(&g, run, &missed) : 0;
        check(ok && !missed, name, "%d tensors within %.1e, %d damages noticed%s%s%s%s%s%s", compared, worst, damaged,
              wrong[0] ? "; first wrong: " : "", wrong, unread ? "; never read: " : "", unread ? unread : "",
              missed ? "; damage not noticed: " : "", missed ? missed : "");
        golden_close(&g);
    }
}

#ifdef FLOAT_PART
// ------------------------------------------------------------------------------------------------
// The float part
// ------------------------------------------------------------------------------------------------

double float_case(int index, double *gradients, size_t n) {
    Config c = config_of(&cases[index]);
    Run r;
    run_open(&r, &c, 3);
    double loss = run_backward(&r);
    for (size_t e = 0; e < n && e < r.m.parameters; e++) gradients[e] = (double)r.m.tensors[0].g[e];
    run_close(&r);
    return loss;
}

static void test_exp(void) {
    if (!wanted("exp_fast")) return;
    double worst = 0, above = 0;
    for (long i = 0; i <= 3000000; i++) {
        float x = (float)(-87 + 175 * (double)i / 3000000);
        double e = fabs((double)exp_fast(x) / exp((double)x) - 1);
        note(&worst, e);
        if (x > 0 && e > above) above = e;
    }
    check(worst <= 2e-7, "exp_fast against libm, -87 .. 88", "relative error %.2e, at most 2e-7", worst);
    check(exp_fast(-87.5f) == 0 && exp_fast(-INFINITY) == 0 && exp_fast(-1e30f) == 0 && exp_fast(0) == 1
          && isfinite(exp_fast(1e30f)) && isnan(exp_fast(NAN)), "exp_fast at its ends",
          "0 below -87, finite above 88, NaN stays NaN");
}

// Everything a step computes, at any number of threads: bit for bit.
// Some sums and angles are double in this build, too: here float would be wrong by 1e-7 and more.
static void test_doubles(void) {
    if (!wanted("sums and angles in double")) return;
    Config c = config_of(&(Case){"N", 300, 16, 2, 2, 8, 4000, 1, 0, 0, 0});
    Run r;
    run_open(&r, &c, 12);
    double loss = run_backward(&r), mean = 0, squares = 0, angles = 0, update = 0;
    for (int n = 0; n < 4000; n++) mean += (double)r.m.losses[n] / r.m.scored;
    for (size_t e = 0; e < r.m.parameters; e++) squares += (double)r.m.tensors[0].g[e] * (double)r.m.tensors[0].g[e];
    double norm = gradient_norm(&r.m, 1, loss);
    for (int a = 0; a < 4; a++) {                           // the last position, dh 8
        double angle = 3999 * pow(10000, -2.0 * a / 8);
        note(&angles, fabs((double)r.m.cos_sin[3999 * 8 + 2 * a] - cos(angle)));
        note(&angles, fabs((double)r.m.cos_sin[3999 * 8 + 2 * a + 1] - sin(angle)));
    }
    // after one step m / (1 - b1) = g and v / (1 - b2) = g^2, so each weight moves by lr, whatever b2
    AdamW adam = {0.9, 0.9999, 1e-20, 0, 0};
    Tensor *t = r.m.norm;
    for (size_t e = 0; e < t->size; e++) t->w[e] = 0, t->g[e] = (float)(1 + e);
    adamw(&r.m, &adam, 1, 0.5, norm);
    for (size_t e = 0; e < t->size; e++) note(&update, fabs((double)t->w[e] / -0.5 - 1));
    double off = fabs(loss / mean - 1), off_norm = fabs(norm / sqrt(squares) - 1);
    check(off <= 1e-12 && off_norm <= 1e-12 && angles <= 1e-7 && update <= 2e-6, "sums and angles in double",
          "mean loss within %.1e, norm %.1e, RoPE at position 3999 %.1e, AdamW with beta2 0.9999 %.1e", off, off_norm,
          angles, update);
    run_close(&r);
}

static void test_threads(void) {
    static const int counts[] = {1, 2, 3, 4, 8};
    static const char *layers[] = {"SS", "MM", "AA", "NN", "RR", "FF", "EE", "SMANRFE"};
    int before = omp_get_max_threads();
    for (int i = 0; i < 8; i++) {
        char name[64];
        snprintf(name, sizeof name, "threads %s", layers[i]);
        if (!wanted(name)) continue;
        // 3 x 101 positions, more than KC, and small weights: their gradients divide the positions
        Config c = config_of(&(Case){layers[i], 700, 24, 3, 3, 35, 101, 3, i == 7, i % 2, 0});
        uint64_t first = 0;
        bool same = true;
        for (int k = 0; k < 5; k++) {
            omp_set_num_threads(counts[k]);
            Run r;
            run_open(&r, &c, 11);
            uint64_t hash = 14695981039346656037u;              // FNV-1a over all bits
            AdamW a = {0.9, 0.99, 1e-8, 0.1, 1};
            for (int step = 1; step <= 2; step++) {
                double loss = run_backward(&r), norm = gradient_norm(&r.m, step, loss);
                adamw(&r.m, &a, step, 1e-2, norm);
                const unsigned char *bytes = (const unsigned char *)r.m.store;
                for (size_t b = 0; b < 4 * r.m.parameters * sizeof(float); b++)
                    hash = (hash ^ bytes[b]) * 1099511628211u;
                for (size_t b = 0; b < sizeof loss; b++)
                    hash = (hash ^ ((unsigned char *)&loss)[b]) * 1099511628211u;
            }
            if (k == 0) first = hash;
            same &= hash == first;
            run_close(&r);
        }
        check(same, name, "weights, gradients, moments, loss equal at 1, 2, 3, 4, 8");
    }
    omp_set_num_threads(before);
}

// Weights so large that scores pass 1000: 100 steps on one batch stay finite and bring the loss down.
static void test_extreme_training(void) {
    for (int kind = 0; kind < VARIANTS; kind++) {
        char name[64], layers[3] = {variants[kind].letter, variants[kind].letter, 0};
        snprintf(name, sizeof name, "trains with extreme scores: %s", variants[kind].name);
        if (!variants[kind].forward || !wanted(name)) continue;
        Config c = config_of(&(Case){layers, 16, 16, 1, 1, 24, 8, 2, 0, 0, 0});
        Run r;
        run_open(&r, &c, 3);
        for (int l = 0; l < 2; l++)
            for (size_t e = 0; e < r.m.layer[l].q.w->size; e++)
                r.m.layer[l].q.w->w[e] *= 40, r.m.layer[l].k.w->w[e] *= 40;
        AdamW a = {0.9, 0.99, 1e-8, 0.01, 1};
        for (int n = 0; n < 16; n++) r.inputs[n] = n * 5 % 16, r.targets[n] = n * 7 % 16;
        double first = 0, loss = 0, least = 1e300;     // the largest score, where it was smallest
        for (int step = 1; step <= 100; step++) {
            loss = run_backward(&r);
            if (step == 1) first = loss;
            double largest = 0;
            for (int i = 0; i < 8; i++) {               // a key's score, or the query's with itself
                const float *q = r.m.layer[1].q.out + i * 16, *k = r.m.layer[1].k.out + i * 16;
                double x = 0;
                for (int e = 0; e < 16; e++)
                    x += (double)q[e] * (double)k[e] / 4 * (kind == NONAPPROX ? 1 / (1 + exp(-(double)q[e])) : 1);
                largest = fmax(largest, fabs(x));
            }
            least = fmin(least, largest);
            adamw(&r.m, &a, step, 1e-2, gradient_norm(&r.m, step, loss));       // ends the program if not finite
        }
        check(isfinite(loss) && loss < first / 4 && least > 1000, name,
              "loss %.3f -> %.5f in 100 steps, scores to %.0f or more", first, loss, least);
        run_close(&r);
    }
}

void float_tests(const char *filter, int *ran_passed, int *ran_failed) {
    wanted_name = filter;
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);         // such small tensors
    test_golden();
    omp_set_num_threads(threads);
    test_exp();
    test_mixers(2e-6, "float");
    test_plain_attention(1e-5, "float");
    test_naive_model(2e-5, "float");
    test_extreme("float");
    test_saturated(1e-5, "float");
    test_small_gate(1e-5, "float");
    test_causal("float");
    test_prefix("float");
    test_doubles();
    test_threads();
    test_extreme_training();
    *ran_passed = passed, *ran_failed = failed;
}

const ErrorClass *float_errors(int *count) {
    *count = nclasses;
    return classes;
}

#else
// ------------------------------------------------------------------------------------------------
// The double part: gradients
// ------------------------------------------------------------------------------------------------

// Where a zero gradient is right: a mixer without queries and keys has no use for QK-norm's gains;
// with one position every map is 1, whatever q and k are.
static bool zero_is_right(const Model *m, const Tensor *t) {
    for (int l = 0; l < m->c.layers; l++) {
        const Layer *L = &m->layer[l];
        char mixer[64];
        snprintf(mixer, sizeof mixer, "model.layers.%d.self_attn.", l);
        bool norm = strncmp(t->name, mixer, strlen(mixer)) == 0 && strstr(t->name, "_norm.");
        bool qk = norm || t == L->q.w || t == L->q.b || t == L->k.w || t == L->k.b;
        if (qk && m->c.seq == 1 && m->c.kind[l] != MLP) return true;
        if (norm && m->c.kind[l] == MLP) return true;
    }
    return false;
}

// Central differences of fourth order, (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h, h = 4e-4. Their
// error is h^4/30 times the fifth derivative, 1e-15 times some hundreds, and the rounding of a loss
// near 3 (1e-15 after its sums) times 18/12h, near 4e-12: so 1e-6 relative, 2e-11 absolute.
static void test_gradients(void) {
    for (int i = 0; i < CASES; i++) {
        char name[128];
        case_name(name, sizeof name, "gradient", i);
        if (!wanted(name)) continue;
        Config c = config_of(&cases[i]);
        Run r;
        run_open(&r, &c, 3);
        run_backward(&r);
        uint64_t rng = 17;
        int checked = 0;
        double worst = 0;
        const char *bad = NULL, *dead = NULL;
        for (int k = 0; k < r.m.ntensors; k++) {
            Tensor *t = &r.m.tensors[k];
            size_t some = t->size <= 64 ? t->size : 64;
            double largest = 0;
            for (size_t n = 0; n < t->size; n++) largest = fmax(largest, fabs(t->g[n]));
            if ((largest <= 1e-12) != zero_is_right(&r.m, t)) dead = t->name;
            for (size_t n = 0; n < some; n++) {
                size_t e = t->size <= 64 ? n : (size_t)(random_u64(&rng) % t->size);
                const double h = 4e-4;
                double w = t->w[e], f[4];
                static const double steps[4] = {1, -1, 2, -2};
                for (int p = 0; p < 4; p++) {
                    t->w[e] = w + steps[p] * h;
                    f[p] = run_loss(&r);
                }
                t->w[e] = w;
                double numeric = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * h);
                double error = fabs(numeric - t->g[e]), scale = fmax(fabs(numeric), fabs(t->g[e]));
                double share = error / (1e-6 * scale + 2e-11);      // 1: at the tolerance
                note(&worst, share);
                if (!(share <= 1)) bad = t->name;
                checked++;
            }
        }
        check(!bad && !dead, name, "%d elements, worst at %.3f of the tolerance%s%s%s%s", checked, worst,
              bad ? "; wrong: " : "", bad ? bad : "", dead ? "; all zero, or not zero: " : "", dead ? dead : "");
        run_close(&r);
    }
}

static void test_float_against_double(void) {
    for (int i = 0; i < CASES; i++) {
        char name[128];
        case_name(name, sizeof name, "float = double", i);
        if (!wanted(name)) continue;
        Config c = config_of(&cases[i]);
        Run r;
        run_open(&r, &c, 3);
        double loss = run_backward(&r), worst = 0;
        double *g = allocate(r.m.parameters * sizeof *g, "test");
        double loss_float = float_case(i, g, r.m.parameters);
        const char *bad = NULL;
        for (int k = 0; k < r.m.ntensors; k++) {            // per tensor, against its largest element
            Tensor *t = &r.m.tensors[k];
            double largest = 0, error = 0;
            for (size_t e = 0; e < t->size; e++) {
                largest = fmax(largest, fabs(t->g[e]));
                double d = fabs(t->g[e] - g[(t->g - r.m.tensors[0].g) + e]);
                note(&error, d);
            }
            double share = error / (1e-4 * largest + 1e-7);
            if (!(share <= worst)) bad = t->name;
            note(&worst, share);
        }
        bool ok = worst <= 1 && fabs(loss - loss_float) <= 1e-5 * loss;
        check(ok, name, "losses %.6f %.6f, gradients at %.3f of 1e-4%s%s", loss, loss_float, worst,
              ok ? "" : ": ", ok ? "" : bad);
        free(g);
        run_close(&r);
    }
}

// ------------------------------------------------------------------------------------------------
// The double part: invariants
// ------------------------------------------------------------------------------------------------

// The name of a temporary file, for mkstemp.
static void temporary(char path[128]) {
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder) folder = getenv("TEMP");           // Windows
    snprintf(path, 128, "%.100s/attnvar_test_XXXXXX", folder && *folder ? folder : "/tmp");
}

static double largest_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        note(&worst, d);
    }
    return worst;
}

// A layer string against the uniform standard model of the same weights: outputs, and with one
// layer of staticembqk all gradients, too.
static void test_same_as_standard(const char *name, const char *layers, int B, bool gradients) {
    if (!wanted(name)) return;
    char standard[16] = "";
    memset(standard, 'S', strlen(layers));
    Case k = {layers, 11, 8, 2, 2, 10, 53, B, 0, 0, 0}, ks = k;
    ks.layers = standard;
    Config a = config_of(&k), b = config_of(&ks);
    Run x, y;
    run_open(&y, &b, 21);
    free_work(omp_get_max_threads());
    run_open(&x, &a, 21);
    int T = k.T, C = k.C;
    for (int n = 0; n < B * T; n++) x.inputs[n] = y.inputs[n] = x.inputs[n % T];    // all rows alike
    memcpy(x.m.anchor_tokens, x.inputs, (size_t)T * sizeof(int));
    if (uses(&a, QK_RANDOM_ANCHOR)) embedding_forward(x.m.anchor_input, x.inputs, x.m.embed->w, T, C);
    run_backward(&x);
    run_backward(&y);
    double d = largest_difference(x.m.final, y.m.final, (size_t)B * T * C);
    double dg = gradients ? largest_difference(x.m.tensors[0].g, y.m.tensors[0].g, x.m.parameters) : 0;
    check(d <= 1e-12 && dg <= 1e-12, name, "outputs within %.1e%s", fmax(d, dg), gradients ? ", gradients too" : "");
    free(y.inputs), free(y.targets), model_free(&y.m);
    run_close(&x);
}

// approx as a recurrence over S = sum phi(k) v' and Z = sum phi(k), features in paper order
static int features(double *phi, const float *x, int dh) {
    double s = 1 / sqrt((double)dh);
    int n = 0;
    phi[n++] = 1;
    for (int a = 0; a < dh; a++) phi[n++] = sqrt(s) * x[a];
    for (int a = 0; a < dh; a++) phi[n++] = s / sqrt(2) * x[a] * x[a];
    for (int a = 0; a < dh; a++)
        for (int b = a + 1; b < dh; b++) phi[n++] = s * x[a] * x[b];
    return n;
}

static void test_approx_recurrent(void) {
    const char *name = "approx quadratic = recurrent";
    if (!wanted(name)) return;
    double worst = 0;
    for (int dh = 2; dh <= 16; dh += 7) {
        Mixing x = mixing(APPROX, 1, 70, 1, 1, dh, 1, 4);
        const Mix *m = &x.m;
        attend_forward(x.o, x.stat, x.q, x.k, x.v, *m);
        enum { F = 200 };
        double S[F][16] = {{0}}, Z[F] = {0}, phi[F];
        for (int i = 0; i < m->T; i++) {
            int n = features(phi, x.k + at(0, i, 0, m, 1), dh);
            for (int f = 0; f < n; f++) {
                Z[f] += phi[f];
                for (int c = 0; c < dh; c++) S[f][c] += phi[f] * x.v[at(0, i, 0, m, 1) + c];
            }
            features(phi, x.q + at(0, i, 0, m, 1), dh);
            double z = 0;
            for (int f = 0; f < n; f++) z += Z[f] * phi[f];
            for (int c = 0; c < dh; c++) {
                double o = 0;
                for (int f = 0; f < n; f++) o += S[f][c] * phi[f];
                double d = fabs(o / z - x.o[at(0, i, 0, m, 1) + c]);
                note(&worst, d);
            }
        }
        mixing_free(&x);
    }
    check(worst <= 1e-12, name, "within %.1e, dh = 2, 9, 16", worst);
}

static void test_nonapprox_order(void) {
    const char *name = "nonapprox blind to the order of the prefix";
    if (!wanted(name)) return;
    enum { T = 40, D = 8 };
    Mixing x = mixing(NONAPPROX, 1, T, 1, 1, D, 2, 6);
    float before[D], swap[D];
    nonapprox_forward(x.o, x.stat, x.q, x.k, x.v, x.m);
    memcpy(before, x.o + (T - 1) * D, sizeof before);
    float first = x.o[(T / 2) * D];
    float *all[] = {x.q, x.k, x.v};
    for (int a = 0; a < 3; a++)
        for (int i = 0; i < (T - 1) / 2; i++) {             // the prefix, reversed
            memcpy(swap, all[a] + i * D, sizeof swap);
            memcpy(all[a] + i * D, all[a] + (T - 2 - i) * D, sizeof swap);
            memcpy(all[a] + (T - 2 - i) * D, swap, sizeof swap);
        }
    nonapprox_forward(x.o, x.stat, x.q, x.k, x.v, x.m);
    double d = largest_difference(before, x.o + (T - 1) * D, D);
    check(d <= 1e-13 && x.o[(T / 2) * D] != first, name, "last row within %.1e, a middle one moved", d);
    mixing_free(&x);
}

static void test_layouts(void) {
    static const char *want8[] = {"NNNNNNNN", "NSNSNSNS", "SNSNSNSN", "SSSSNNNN", "SSNNNNSS", "NNNNSSSS",
                                  "NNNSNNNS", "SNNNNNNN", "NNNNNNNS", "SNNNNNNS"};
    static const char *want5[] = {"NNNNN", "NSNSN", "SNSNS", "SSNNN", "SNNSS", "NNSSS", "NNNSN", "SNNNN",
                                  "NNNNS", "SNNNS"};
    if (wanted("layouts")) {
        bool ok = true;
        for (int i = 0; i < LAYOUTS; i++) {
            Config a = {.layers = 8}, b = {.layers = 5};
            set_layers(&a, "nonapprox", layouts[i].name);
            set_layers(&b, "nonapprox", layouts[i].name);
            for (int l = 0; l < 8; l++) ok &= variants[a.kind[l]].letter == want8[i][l];
            for (int l = 0; l < 5; l++) ok &= variants[b.kind[l]].letter == want5[i][l];
        }
        Config c = {.layers = 3};
        set_layers(&c, NULL, "nonapprox,mlp,staticembqk");
        ok &= c.kind[0] == NONAPPROX && c.kind[1] == MLP && c.kind[2] == STATICEMBQK;
        check(ok, "layouts", "all ten by name at 8 and 5 layers, letters, names");
    }
    if (wanted("parameter counts")) {
        size_t first = 0;
        bool same = true;
        for (int v = 0; v < VARIANTS; v++) {
            char layers[4] = {variants[v].letter, variants[v].letter, 'S', 0};
            Config c = config_of(&(Case){layers, 11, 8, 2, 2, 10, 7, 2, 0, 0, 0});
            Model m;
            model_plan(&m, &c);
            if (!v) first = m.parameters;
            same &= m.parameters == first;
            free(m.tensors), free(m.layer);
        }
        // V C + per layer (4 C^2 + 3 C F + biases 3 C + gains 2 C) + C
        check(same && first == 11 * 8 + 3 * (4 * 64 + 3 * 80 + 5 * 8) + 8, "parameter counts",
              "%zu for every variant", first);
    }
}

// Skipping the simple blocks of a hybrid is the model of its standard layers; skipping their mixers
// is the model whose Wo is zero there; skipping nothing is the model.
static void test_skip(void) {
    const char *name = "skip blocks, skip mixers";
    if (!wanted(name)) return;
    double worst = 0;
    bool moved = true;
    for (const char *letter = "MANRFE"; *letter; letter++) {
        char layers[5] = {*letter, 'S', *letter, 'S', 0};
        Config c = config_of(&(Case){layers, 11, 8, 2, 2, 10, 7, 2, 0, 0, 0});
        Config standard = config_of(&(Case){"SS", 11, 8, 2, 2, 10, 7, 2, 0, 0, 0});
        Run r, two;
        run_open(&two, &standard, 1);
        free_work(omp_get_max_threads());
        run_open(&r, &c, 31);
        for (int i = 0; i < two.m.ntensors; i++) {          // layers 1 and 3 become 0 and 1
            char from[64];
            int layer, rest;
            const char *n = two.m.tensors[i].name;
            if (sscanf(n, "model.layers.%d.%n", &layer, &rest) == 1)
                snprintf(from, sizeof from, "model.layers.%d.%s", 2 * layer + 1, n + rest);
            else snprintf(from, sizeof from, "%s", n);
            for (int k = 0; k < r.m.ntensors; k++)
                if (!strcmp(r.m.tensors[k].name, from))
                    memcpy(two.m.tensors[i].w, r.m.tensors[k].w, r.m.tensors[k].size * sizeof(float));
        }
        memcpy(two.inputs, r.inputs, 14 * sizeof(int)), memcpy(two.targets, r.targets, 14 * sizeof(int));
        double whole = run_loss(&r);
        r.m.skip = SKIP_BLOCKS;
        double blocks = run_loss(&r);
        note(&worst, fabs(blocks - run_loss(&two)));
        r.m.skip = SKIP_MIXERS;
        double mixers = run_loss(&r);
        r.m.skip = SKIP_NONE;
        for (int l = 0; l < 4; l += 2) memset(r.m.layer[l].wo->w, 0, 64 * sizeof(float));
        note(&worst, fabs(mixers - run_loss(&r)));
        moved &= fabs(blocks - whole) > 1e-3 && fabs(mixers - whole) > 1e-3 && fabs(mixers - blocks) > 1e-3;
        two.m.skip = SKIP_BLOCKS;                           // nothing to skip
        note(&worst, fabs(blocks - run_loss(&two)));
        free(two.inputs), free(two.targets), model_free(&two.m);
        run_close(&r);
    }
    check(worst <= 1e-12 && moved, name, "within %.1e of the models they stand for", worst);
}

// ------------------------------------------------------------------------------------------------
// The double part: pieces
// ------------------------------------------------------------------------------------------------

static void test_random(void) {
    if (!wanted("random numbers")) return;
    uint64_t s = 1, a = random_u64(&s), b = random_u64(&s), c = random_u64(&s);
    double sum = 0, square = 0;
    for (int i = 0; i < 100000; i++) {
        double x = random_normal(&s);
        sum += x, square += x * x;
    }
    // standard errors: 1/sqrt(1e5) = 0.0032 of the mean, sqrt(2/1e5) = 0.0045 of the variance
    check(a == 0x910a2dec89025cc1u && b == 0xbeeb8da1658eec67u && c == 0xf893a2eefb32555eu
          && fabs(sum / 1e5) < 0.013 && fabs(square / 1e5 - 1) < 0.018, "random numbers",
          "first outputs as documented; normal: mean %.4f, variance %.4f", sum / 1e5, square / 1e5);
}

static void test_matmul(void) {
    if (!wanted("matmul")) return;
    static const int shapes[][3] = {{1, 1, 1}, {5, 3, 7}, {MR, NR, 4}, {MR + 1, NR + 1, KC + 1},
                                    {2 * MR - 1, NC + 3, 9}, {70, 2 * NR, 2 * KC + 5}, {3, 200, 30},
                                    {3, 2 * NR - 1, NC * KC / (2 * NR) + 300}};    // deeper than a packed block
    double worst = 0;
    for (int i = 0; i < 8; i++) {
        int M = shapes[i][0], N = shapes[i][1], K = shapes[i][2];
        uint64_t rng = 1 + i;
        float *a = allocate((size_t)M * K * sizeof(float), "a"), *b = allocate((size_t)K * N * sizeof(float), "b");
        float *c = allocate((size_t)M * N * sizeof(float), "c"), *bias = allocate(N * sizeof(float), "bias");
        for (int e = 0; e < M * K; e++) a[e] = spread(&rng, 1);
        for (int e = 0; e < K * N; e++) b[e] = spread(&rng, 1);
        for (int e = 0; e < N; e++) bias[e] = spread(&rng, 1);
        make_work(&(Config){.seq = 1, .batch = 1, .dim = 1, .heads = 1, .kv_heads = 1});
        for (int way = 0; way < 12; way++) {                // a, b as stored or transposed; c0 three ways
            Mat x = way & 1 ? transposed(rows(a, M)) : rows(a, K), y = way & 2 ? transposed(rows(b, K)) : rows(b, N);
            int start = way / 4;
            for (int e = 0; e < M * N; e++) c[e] = 2 * e % 7;
            matmul(c, N, start == 0 ? NULL : start == 1 ? c : bias, start == 1 ? N : 0, x, y, M, N, K);
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) {
                    double sum = start == 0 ? 0 : start == 1 ? 2 * (m * N + n) % 7 : bias[n];
                    for (int k = 0; k < K; k++)
                        sum += x.p[m * x.rs + k * x.cs] * y.p[k * y.rs + n * y.cs];
                    double d = fabs(sum - c[m * N + n]);
                    note(&worst, d / sqrt(1 + K / 1000.0));
                }
        }
        free_work(omp_get_max_threads());
        free(a), free(b), free(c), free(bias);
    }
    check(worst <= 1e-11, "matmul against three loops", "within %.1e: 8 shapes, 4 orientations, 3 starts", worst);
}

static void test_layers(void) {
    if (wanted("rope")) {           // scores depend on the distance only; lengths stay; it inverts
        enum { D = 8, T = 12 };
        Config c = config_of(&(Case){"S", 5, D, 1, 1, 4, T, 1, 0, 0, 0});
        Run r;
        run_open(&r, &c, 1);
        float q[T * D], k[T * D], q0[D];
        uint64_t rng = 2;
        for (int i = 0; i < D; i++) q[i] = spread(&rng, 1), k[i] = spread(&rng, 1);
        for (int t = 1; t < T; t++) memcpy(q + t * D, q, D * sizeof(float)), memcpy(k + t * D, k, D * sizeof(float));
        memcpy(q0, q, sizeof q0);
        rope(q, r.m.cos_sin, 1, 1, T, 1, D), rope(k, r.m.cos_sin, 1, 1, T, 1, D);
        double d = 0;
        for (int t = 3; t + 1 < T; t++)
            note(&d, fabs(dot(q + t * D, k + (t - 3) * D, D) - dot(q + (t + 1) * D, k + (t - 2) * D, D)));
        double moved = fabs(dot(q + 5 * D, k, D) - dot(q + 4 * D, k, D));
        // pair (a, a + dh/2) at position 1: the angle of pair 0 is 1, of pair 1 base^(-2/dh) = 0.1
        note(&d, fabs(q[D] - (q0[0] * cos(1) - q0[4] * sin(1))));
        note(&d, fabs(q[D + 5] - (q0[5] * cos(0.1) + q0[1] * sin(0.1))));
        rope(q, r.m.cos_sin, -1, 1, T, 1, D);
        for (int t = 0; t < T; t++) note(&d, largest_difference(q + t * D, q0, D));
        check(d <= 1e-12 && moved > 1e-3, "rope", "within %.1e: by distance, by hand, and back", d);
        run_close(&r);
    }
    if (wanted("rmsnorm, swiglu, cross-entropy by hand")) {
        float x[2] = {3, -4}, gain[2] = {1, 2}, y[2], gate[1] = {1}, up[1] = {3}, out[1];
        rmsnorm_forward(y, x, gain, 1, 2);                  // rms = sqrt(12.5 + 1e-6)
        double rms = sqrt(12.500001), d = fmax(fabs(y[0] - 3 / rms), fabs(y[1] + 8 / rms));
        swiglu_forward(out, gate, up, 1, 1);                // 1 / (1 + e^-1) * 3
        note(&d, fabs(out[0] - 3 * 0.731058578630004879));
        float logits[3] = {1, 2, 3}, loss[1];
        int target[1] = {0};
        unsigned char right[1];
        crossentropy_forward(loss, right, logits, target, 1, 3);    // ln(e + e^2 + e^3) - 1
        note(&d, fabs(loss[0] - 2.40760596444437981));
        float near[3] = {2.999f, 3, 1};                     // a target that is nearly the likeliest is not right
        int right_of[3];
        for (int t = 0; t < 3; t++) {
            float x3[3] = {near[0], near[1], near[2]};
            crossentropy_forward(loss, right, x3, &t, 1, 3);
            right_of[t] = right[0];
        }
        bool likeliest = !right_of[0] && right_of[1] && !right_of[2];
        check(d <= 1e-14 && likeliest, "rmsnorm, swiglu, cross-entropy by hand", "within %.1e%s", d,
              likeliest ? "" : ", but the likeliest token is not told from the others");
    }
}

// Two steps of two weights, one of them decayed; the arithmetic stands in the comments.
static void test_adamw(void) {
    if (wanted("adamw by hand")) {
        Config c = config_of(&(Case){"S", 2, 2, 1, 1, 1, 1, 1, 0, 0, 0});
        Run r;
        run_open(&r, &c, 1);
        AdamW a = {0.9, 0.99, 1e-8, 0.1, 1};
        Tensor *matrix = r.m.embed, *gain = r.m.norm;
        zero_gradients(&r.m);
        matrix->w[0] = 0.5, matrix->g[0] = 3, gain->w[0] = 2, gain->g[0] = -4;
        double norm = gradient_norm(&r.m, 1, 1);            // 5, so both are divided by 5: 0.6, -0.8
        adamw(&r.m, &a, 1, 0.01, norm);
        // t = 1: m/(1-b1) = g, v/(1-b2) = g^2, so the step is lr g/|g| = 0.01, eps aside:
        //   0.5 (1 - 0.01*0.1) - 0.01 = 0.4895;  2 + 0.01 = 2.01
        double d = fmax(fabs(matrix->w[0] - 0.4895), fabs(gain->w[0] - 2.01)), d2;
        matrix->g[0] = 0.3, gain->g[0] = 0.4;
        norm = gradient_norm(&r.m, 2, 1);                   // 0.5: not clipped
        adamw(&r.m, &a, 2, 0.02, norm);
        // t = 2, matrix: m = 0.9*0.06 + 0.1*0.3 = 0.084, /0.19 = 0.4421052632; v = 0.99*0.0036 +
        //   0.01*0.09 = 0.004464, /0.0199 = 0.2243216080, root 0.4736260213. Their ratio is
        //   0.9334480018; 0.4895 (1 - 0.002) - 0.02*0.9334480018 = 0.4698520400
        // gain: m = 0.9*(-0.08) + 0.04 = -0.032, /0.19 = -0.1684210526; v = 0.99*0.0064 + 0.01*0.16 =
        //   0.007936, /0.0199 = 0.3987939698, root 0.6315013617; ratio -0.2666994291; 2.01 + 0.0053339886
        d2 = fmax(fabs(matrix->w[0] - 0.4698520400), fabs(gain->w[0] - 2.0153339886));
        check(norm == 0.5 && d <= 1e-9 && d2 <= 2e-9, "adamw by hand", "off by %.1e and %.1e", d, d2);
        run_close(&r);
    }
    if (wanted("adamw: eps, decay, every element")) {
        // Gradients g = 1e-8 = eps, clip off: the first step is lr g / (|g| + eps) = lr / 2. A tensor
        // of 40000 elements spans three chunks; the norm is sqrt(parameters) g.
        Config c = config_of(&(Case){"S", 400, 100, 2, 2, 3, 4, 1, 0, 0, 0});
        Run r;
        run_open(&r, &c, 1);
        AdamW a = {0.9, 0.99, 1e-8, 0.1, 0};
        float *before = allocate(r.m.parameters * sizeof *before, "test");
        memcpy(before, r.m.tensors[0].w, r.m.parameters * sizeof *before);
        for (size_t e = 0; e < r.m.parameters; e++) r.m.tensors[0].g[e] = 1e-8;
        double norm = gradient_norm(&r.m, 1, 1), d = fabs(norm / (1e-8 * sqrt((double)r.m.parameters)) - 1);
        adamw(&r.m, &a, 1, 0.01, norm);
        for (int i = 0; i < r.m.ntensors; i++)
            for (size_t e = 0; e < r.m.tensors[i].size; e++) {
                double w = before[r.m.tensors[i].w - r.m.tensors[0].w + e];
                double want = w * (r.m.tensors[i].role == MATRIX ? 1 - 0.001 : 1) - 0.005;
                note(&d, fabs(want - r.m.tensors[i].w[e]));
            }
        check(d <= 1e-12, "adamw: eps, decay, every element", "within %.1e", d);
        free(before);
        run_close(&r);
    }
    if (wanted("learning rate")) {
        double peak = learning_rate(9, 110, 10, 1, 0.1), first = learning_rate(0, 110, 10, 1, 0.1);
        double half = learning_rate(60, 110, 10, 1, 0.1), last = learning_rate(110, 110, 10, 1, 0.1);
        check(fabs(first - 0.1) < 1e-15 && peak == 1 && fabs(half - 0.55) < 1e-12 && fabs(last - 0.1) < 1e-15
              && learning_rate(0, 5, 0, 1, 0) == 1, "learning rate",
              "warm-up %g .. %g, half way %g, end %g", first, peak, half, last);
    }
}

// Weights start as documented: N(0, 0.02^2) in registry order, gains 1, biases 0; the same for all
// variants; the anchor from a stream of its own.
static void test_init(void) {
    if (!wanted("initial weights")) return;
    Config c = config_of(&(Case){"SR", 50, 16, 2, 2, 40, 8, 1, 0, 0, 0}), d = config_of(&(Case){"NM", 50, 16, 2, 2, 40, 8, 1, 0, 0, 0});
    Model a, b;
    model_plan(&a, &c), model_allocate(&a, 5), model_plan(&b, &d), model_allocate(&b, 5);
    bool same = !memcmp(a.store, b.store, a.parameters * sizeof(float)), fixed = true;
    double square = 0, n = 0, anchor = 0;
    for (int i = 0; i < a.ntensors; i++)
        for (size_t e = 0; e < a.tensors[i].size; e++) {
            double w = a.tensors[i].w[e];
            if (a.tensors[i].role == MATRIX) square += w * w, n++;
            else fixed &= w == (a.tensors[i].role == GAIN);
        }
    for (int e = 0; e < 8 * 16; e++) anchor += a.anchor_input[e] * a.anchor_input[e] / 128;
    uint64_t rng = random_stream(5, STREAM_INIT), other = random_stream(5, STREAM_ANCHOR);
    bool first = a.embed->w[0] == 0.02 * random_normal(&rng) && a.anchor_input[0] == 0.02 * random_normal(&other)
              && a.anchor_input[0] != a.embed->w[0];
    check(same && fixed && first && fabs(sqrt(square / n) - 0.02) < 0.0006 && fabs(sqrt(anchor) - 0.02) < 0.006,
          "initial weights", "std %.5f, anchor %.5f, equal for all variants", sqrt(square / n), sqrt(anchor));
    model_free(&a), model_free(&b);
}

// The head's gradients, made in one piece and in pieces of three positions: with a table of its own,
// and with one to which the embedding adds as well.
// What the start-up block reports of memory, counted by hand.
static void test_memory(void) {
    if (!wanted("memory report")) return;
    // V 65536: the logits of 512 positions at a time. R, so layer 1 keeps one row of q and k
    Config c = config_of(&(Case){"SR", 65536, 16, 2, 1, 24, 64, 8, 0, 0, 0});
    Model m;
    int before = omp_get_max_threads();
    model_plan(&m, &c);
    size_t T = 64, C = 16, CKV = 8, rows = 9, mixers = 0;   // the anchor's row ends before layer 1's mixer returns
    mixers += rows * T * (C + CKV + CKV + C + 2 * 2);       // q, k, v, o, stat (two heads)
    mixers += T * (C + CKV + 2 * 2) + 8 * T * (CKV + C);    // one row of q, k and stat; v and o of the batch
    omp_set_num_threads(1);
    size_t one = work_bytes(&c);
    omp_set_num_threads(3);
    size_t three = work_bytes(&c);
    omp_set_num_threads(before);
    Scratch s = scratch_floats(&c);                         // of a thread: panels of a, two maps, rows
    bool scratch = three - one == 2 * (GROUP * MR * KC + 2 * s.map + s.packed) * sizeof(float);
    check(m.mixer_bytes == mixers * sizeof(float) && m.chunk == 512 && scratch, "memory report",
          "mixers %zu bytes, expected %zu; logits of %d positions, expected 512; scratch %zu, with three threads %zu",
          m.mixer_bytes, mixers * sizeof(float), m.chunk, one, three);
    free(m.tensors), free(m.layer);
}

static void test_pieces(void) {
    const char *name = "gradients of the head in pieces";
    if (!wanted(name)) return;
    double worst = 0;
    for (int untied = 0; untied < 2; untied++) {
        Config c = config_of(&(Case){"SF", 11, 8, 2, 2, 10, 7, 2, 0, untied, 0});
        Run r;
        run_open(&r, &c, 4);
        double loss = run_backward(&r);
        float *whole = allocate(r.m.parameters * sizeof *whole, "test");
        memcpy(whole, r.m.tensors[0].g, r.m.parameters * sizeof *whole);
        r.m.chunk = 3;
        note(&worst, fabs(run_backward(&r) - loss));
        note(&worst, largest_difference(whole, r.m.tensors[0].g, r.m.parameters));
        free(whole);
        run_close(&r);
    }
    check(worst <= 1e-13, name, "within %.1e", worst);
}

// A loss or a gradient that is not finite ends the run: in a child process, that must say so.
static void test_not_finite(void) {
#ifndef _WIN32
    static const struct { double loss, gradient; const char *said; } runs[] = {
        {1, INFINITY, "step 7: the loss is 1 and the gradient of model.norm.weight is not finite"},
        {1, NAN, "step 7: the loss is 1 and the gradient of model.norm.weight is not finite"},
        {NAN, 0, "step 7: the loss is nan and the gradient of no tensor is not finite"},
    };
    if (!wanted("what is not finite ends the run")) return;
    Config c = config_of(&(Case){"S", 3, 2, 1, 1, 1, 1, 1, 0, 0, 0});
    Run r;
    bool ok = true;
    run_open(&r, &c, 1);
    for (int i = 0; i < 3; i++) {
        char said[512] = "";
        int ends[2], code = 0;
        zero_gradients(&r.m);
        r.m.norm->g[1] = runs[i].gradient;
        fflush(stdout);
        pid_t child = pipe(ends) == 0 ? fork() : -1;
        if (child < 0) fail("the test needs a pipe and a process");
        if (child == 0) {
            dup2(ends[1], 2);
            gradient_norm(&r.m, 7, runs[i].loss);
            _exit(0);
        }
        close(ends[1]);
        waitpid(child, &code, 0);
        ok &= read(ends[0], said, sizeof said - 1) > 0;
        close(ends[0]);
        ok &= WIFEXITED(code) && WEXITSTATUS(code) == 1 && strstr(said, runs[i].said);
    }
    check(ok, "what is not finite ends the run", "a gradient that is inf or nan, a loss that is nan");
    run_close(&r);
#endif
}

// The strings of a header, with every escape that JSON has; two bytes behind it.
static void test_json(void) {
    if (!wanted("json strings")) return;
    char text[] = "\"q\\\" b\\\\ s\\/ \\b\\f\\n\\r\\t \\u000a\\u0041\\u00e9.\":";
    Vectors h = {.text = text, .at = text};
    const char *got = json_string(&h);
    check(!strcmp(got, "q\" b\\ s/ \b\f\n\r\t \nA\xe9.") && !strcmp(h.at, ":"), "json strings", "all escapes");
}

// Data: windows of a known file, its floors counted by hand, evaluation over all windows.
static void test_data(void) {
    if (!wanted("data windows, floors, evaluation")) return;
    char path[128];
    temporary(path);
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f) fail("cannot make a temporary file");
    for (int i = 0; i < 1000; i++) fputc(i * i % 7 + 'a', f);
    fclose(f);
    Data d;
    data_open(&d, path, "--data");
    survey(&d);
    int in[8], out[8], batch_in[24], batch_out[24];
    read_window(&d, 992 - 1, 8, in, out);
    bool ok = d.n == 1000;
    for (int i = 0; i < 8; i++) ok &= in[i] == (991 + i) * (991 + i) % 7 + 'a' && out[i] == (992 + i) * (992 + i) % 7 + 'a';
    ok &= validation_windows(&d, 3, 8, 0) == 124 && validation_windows(&d, 3, 8, 2) == 6 && validation_windows(&d, 3, 999, 9) == 1;
    for (int w = 0; w < 4; w++) {                           // at stride T
        read_validation_window(&d, w, 8, in, out);
        for (int i = 0; i < 8; i++) ok &= in[i] == (8 * w + i) * (8 * w + i) % 7 + 'a';
    }
    uint64_t rng = 4, again = 4;
    read_training_batch(&d, &rng, 3, 8, batch_in, batch_out);
    for (int b = 0; b < 3; b++) {
        size_t p = random_u64(&again) % (1000 - 8);
        ok &= batch_in[b * 8] == (int)(p * p % 7 + 'a') && batch_out[b * 8 + 7] == (int)((p + 8) * (p + 8) % 7 + 'a');
    }
    // floors: the sequence i^2 mod 7 has period 7, 0 1 4 2 2 4 1; 1000 = 142*7 + 6
    double unigram, bigram, u = 0, g = 0;
    floors(&d, &d, 10, 8, 256, &unigram, &bigram);
    for (int i = 1; i <= 80; i++) {
        int now = i * i % 7, before = (i - 1) * (i - 1) % 7, count = 0, from = 0, both = 0, seen[7] = {0}, kinds = 0;
        for (int k = 0; k < 1000; k++) {
            int next = (k + 1) * (k + 1) % 7;
            count += k * k % 7 == now;
            if (k == 999 || k * k % 7 != before) continue;
            from++, both += next == now, kinds += !seen[next], seen[next] = 1;
        }
        double one = (count + 1) / 1256.;
        u -= log(one) / 80, g -= log((both + kinds * one) / (from + kinds)) / 80;
    }
    ok &= fabs(u - unigram) < 1e-12 && fabs(g - bigram) < 1e-12;
    Data ten;                                               // ten times the file: more than a piece
    Text names = {0};
    for (int i = 0; i < 10; i++) text_add(&names, i ? "\n%s" : "%s", path);
    data_open(&ten, names.s, "--data");
    survey(&ten);
    size_t pairs = 0;
    for (size_t i = 0; i < (size_t)FLOORS_VOCAB * FLOORS_VOCAB; i++) pairs += ten.follows[i];
    ok &= pairs == 9999 && ten.largest == 'a' + 4 && checksum(0, "123456789", 9) == 0xcbf43926;
    free(names.s), data_close(&ten);
    Config c = config_of(&(Case){"RF", 256, 8, 2, 2, 10, 8, 3, 0, 0, 0});
    Run r;
    run_open(&r, &c, 2);
    double direct = 0, got = evaluate(&r.m, &d, 7).loss;   // 3 + 3 + 1 windows
    for (int w = 0; w < 7; w++) {
        read_window(&d, (size_t)w * 8, 8, in, out);
        model_forward(&r.m, in, 1, 8);
        direct += model_loss(&r.m, out) / 7;
    }
    ok &= fabs(direct - got) < 1e-12;
    check(ok, "data windows, floors, evaluation", "unigram %.4f, bigram %.4f, loss %.4f", unigram, bigram, got);
    run_close(&r);
    data_close(&d);
    remove(path);
}

// The floors of a text so short that they are fractions: "abac" trains, "cbab" validates. Token a
// has p = 3/260 (2 of 4, and one added to each of 256), b and c 2/260. In training c, the last,
// is followed by nothing, so p alone counts after it; b once, by a; a twice, by b and by c.
static void test_floors(void) {
    if (!wanted("data whose floors are fractions")) return;
    char path[128];
    temporary(path);
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f) fail("cannot make a temporary file");
    fputs("abaccbab", f);
    fclose(f);
    Data train, val;
    data_open(&train, path, "--data");
    val = train;
    train.n = val.n = val.first = 4;
    survey(&train);
    double unigram, bigram;
    floors(&train, &val, 1, 3, 256, &unigram, &bigram);
    double b_of_c = 2 / 260., a_of_b = (1 + 1 * 3 / 260.) / (1 + 1);
    double b_of_a = (1 + 2 * 2 / 260.) / (2 + 2);
    bool ok = fabs(unigram + (2 * log(2 / 260.) + log(3 / 260.)) / 3) < 1e-12
           && fabs(bigram + (log(b_of_c) + log(a_of_b) + log(b_of_a)) / 3) < 1e-12;
    check(ok, "data whose floors are fractions", "followed never, once, twice: %.4f", bigram);
    data_close(&train);
    remove(path);
}

// The recall task: layout of a sequence, and what training and validation draw.
static void test_recall(void) {
    if (!wanted("recall task")) return;
    enum { T = 48 };
    Data d;
    int x[T], y[T], again[T], ignored[T], first_slot = 0, last_slot = 0, repeats = 0, first_pair = 0;
    bool ok = true;
    recall_open(&d, 8, 64, T);
    for (int w = 0; w < 500; w++) {
        int asked = 0;
        bool key[64] = {false}, value[64] = {false};
        read_validation_window(&d, w, T, x, y);
        read_validation_window(&d, w, T, again, ignored);
        ok &= !memcmp(x, again, sizeof x);
        for (int p = 0; p < 16; p += 2) {
            ok &= x[p] >= 1 && x[p] < 32 && !key[x[p]] && x[p + 1] >= 32 && x[p + 1] < 64 && y[p] < 0 && y[p + 1] < 0;
            repeats += value[x[p + 1]];
            key[x[p]] = value[x[p + 1]] = true;
        }
        for (int t = 16; t < T; t++) {
            if (y[t] < 0) { ok &= x[t] == 0; continue; }
            int p = 0;
            while (p < 16 && x[p] != x[t]) p += 2;
            ok &= t % 2 == 0 && p < 16 && x[p + 1] == y[t] && key[x[t]];
            key[x[t]] = false, first_pair += asked++ == 0 && p == 0;        // each once
        }
        ok &= asked == 8;
        first_slot += y[16] >= 0, last_slot += y[T - 2] >= 0;
    }
    // 8 of 16 places are asked, each with probability 1/2: 250 of 500, standard error 11; the first pair
    // is asked for first with probability 1/8: 62.5, standard error 7.4
    ok &= abs(first_slot - 250) < 45 && abs(last_slot - 250) < 45 && repeats > 100 && abs(first_pair - 62) < 30;
    uint64_t rng = 3, copy = 3;
    read_training_batch(&d, &rng, 1, T, x, y);
    recall_sequence(&d, &copy, T, again, ignored);
    ok &= !memcmp(x, again, sizeof x) && rng == copy && validation_windows(&d, 4, T, 0) == RECALL_WINDOWS
        && validation_windows(&d, 4, T, 500) == 2000;
    check(ok, "recall task", "first and last place asked in %d and %d of 500", first_slot, last_slot);
}

// Token shards, uint16 and uint32 as one stream, read across the seam; a third has the tokens of
// the first as uint32.
static void test_shards(void) {
    if (!wanted("token shards")) return;
    char paths[3][128];
    char names[300];
    for (int k = 0; k < 3; k++) {
        temporary(paths[k]);
        FILE *f = fdopen(mkstemp(paths[k]), "wb");
        int n = k == 1 ? 5002 : 5000;
        int32_t header[256] = {k ? MAGIC_32 : MAGIC_16, k ? 7 : 1, n};
        fwrite(header, 4, 256, f);
        for (int i = 0; i < n; i++) {
            uint16_t small = (uint16_t)(i * 13 % 60000);
            uint32_t large = i == 5001 ? UINT32_MAX : i == 5000 ? 0x12345678 : (uint32_t)i * 17 + 100000;
            if (k == 2) large = small;
            if (k) fwrite(&large, 4, 1, f); else fwrite(&small, 2, 1, f);
        }
        fclose(f);
    }
    Data d;
    int got[4000];
    snprintf(names, sizeof names, "%s\n%s", paths[0], paths[1]);
    data_open(&d, names, "--data");
    survey(&d);
    bool ok = d.n == 10002 && !data_is_bytes(&d) && d.largest == INT_MAX;
    for (size_t at = 0; at + 4000 <= d.n; at += 1500) {
        read_tokens(&d, at, 4000, got);
        for (int i = 0; i < 4000; i++) {
            int t = (int)at + i;
            ok &= got[i] == (t < 5000 ? t * 13 % 60000 : (t - 5000) * 17 + 100000);
        }
    }
    read_tokens(&d, 9999, 3, got);
    ok &= got[0] == 4999 * 17 + 100000 && got[1] == 0x12345678 && got[2] == INT_MAX;    // what an int holds
    d.first = 4990, d.n = 20;
    read_tokens(&d, 5, 10, got);
    ok &= got[0] == 4995 * 13 % 60000 && got[9] == 4 * 17 + 100000;
    data_close(&d);
    // the content is 4 bytes a token, whatever the shard's width; Python, with struct and zlib:
    // "%08x" % crc32(pack("<5000I", *(i * 13 % 60000 for i in range(5000))))
    for (int k = 0; k < 3; k += 2) {
        data_open(&d, paths[k], "--data");
        survey(&d);
        ok &= d.n == 5000 && d.checksum == 0x1331f76d;
        data_close(&d);
    }
    check(ok, "token shards", "uint16 and uint32, 10002 tokens, across the seam; one content");
    for (int k = 0; k < 3; k++) remove(paths[k]);
}

// What follows from other options, and what a folder keeps and gives back.
static void test_settings(void) {
    if (!wanted("settings")) return;
    char *words[] = {"x", "--size", "small", "--steps", "400", "--lr", "0.02", "--seed", "9",
                     "--layout", "NSNSNS", "--data", "some", "--threads", "1"};
    Settings s;
    parse(15, words), settings(&s);
    bool ok = s.c.dim == 128 && s.c.layers == 6 && s.c.ffn == 384 && s.c.seq == 256 && s.c.batch == 16
           && s.c.kv_heads == 4 && fabs(rate_of(&s, 0) - 1e-3) + fabs(rate_of(&s, 20) - 0.02) + fabs(rate_of(&s, 400) - 2e-3) < 1e-16 && s.seed == 9 && !s.val
           && !strcmp(s.data, "some") && s.adamw.beta2 == 0.99 && s.c.kind[0] == NONAPPROX && s.c.kind[5] == STANDARD;
    static const int want[SIZES][5] = {{64, 4, 4, 192, 128}, {64, 2, 1, 192, 48}, {128, 6, 4, 384, 256},
        {384, 6, 6, 1024, 256}, {512, 6, 8, 2048, 2048}, {768, 12, 12, 3072, 2048},
        {896, 24, 14, 4864, 2048}, {2048, 28, 16, 6144, 2048}};
    for (int i = 0; i < SIZES; i++) {
        Settings of = defaults();
        apply_size(&of, sizes[i + 1][0]);
        ok &= of.c.dim == want[i][0] && of.c.layers == want[i][1] && of.c.heads == want[i][2]
           && of.c.ffn == want[i][3] && of.c.seq == want[i][4];
    }
    char *recall[] = {"x", "--data", "recall"};
    parse(3, recall), settings(&s);
    ok &= s.c.dim == 64 && s.c.layers == 2 && s.c.heads == 1 && s.c.seq == 48 && s.c.batch == 64;
    char number[32];
    for (const Option *o = options; o < options + OPTIONS; o++) {      // as text and back
        if (o->type != REAL) continue;
        double x = o->low + (o->high - o->low) / 3.0000001234567;
        *(double *)((char *)&s + o->offset) = x;
        ok &= strtod(option_text(&s, o, number), NULL) == x;
        *(double *)((char *)&s + o->offset) = o->low - 1;
        ok &= !*option_text(&s, o, number);
    }
    check(ok, "settings", "derived defaults, sizes, recall's own, numbers as text");
}

// Do the first n bytes at s become what is wanted?
static bool utf8_becomes(const char *s, size_t n, const char *wanted_text) {
    Text out = {0};
    text_utf8(&out, s, n, false);
    bool same = strcmp(out.s, wanted_text) == 0;
    free(out.s);
    return same;
}

static void test_utf8(void) {
    if (!wanted("utf-8")) return;
    bool ok = true;
    static const char *const cases[][2] = {
        {"plain\n\ttext", "plain\n\ttext"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc3", "\xef\xbf\xbd"}, {"\xc3(", "\xef\xbf\xbd("}, {"\x80z", "\xef\xbf\xbdz"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                       // an overlong form
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},       // a surrogate
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},   // too large
        {"\xe2\x82\xe2\x82\xac", "\xef\xbf\xbd\xef\xbf\xbd\xe2\x82\xac"}, {"\xf0\x8f\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, {"a\xf0\x9f\x98", "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, {"\x1b[31m", "\xef\xbf\xbd[31m"},
        {"\xc2\x9b", "\xef\xbf\xbd\xef\xbf\xbd"}, {"\x7f", "\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ok &= utf8_becomes(cases[i][0], strlen(cases[i][0]), cases[i][1]);
    // the first and the last code of each length, and around the gaps: each is kept, as it is
    static const char *const kept[] = {
        " ", "~", "\xc2\xa0", "\xdf\xbf", "\xe0\xa0\x80", "\xef\x80\x80", "\xef\xbf\xbf",
        "\xed\x9f\xbf", "\xee\x80\x80",               // U+D7FF and U+E000, beside the surrogates
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf",       // U+10000 and U+10FFFF
    };
    // their neighbours beyond: U+FFFD for each byte
    static const char *const refused[] = {
        "\x1f", "\xc2\x80", "\xc2\x85", "\xc2\x9f",   // control: U+001F, 0080, 0085, 009F
        "\xed\xa0\x80", "\xed\xaf\xbf",               // surrogates: U+D800, U+DBFF,
        "\xed\xb0\x80", "\xed\xbf\xbf",               // U+DC00, U+DFFF
        "\xc1\xbf", "\xe0\x9f\xbf",                   // a byte too long: U+007F, U+07FF,
        "\xf0\x8f\x80\x80", "\xf0\x8f\xbf\xbf",       // U+F000, U+FFFF
        "\xf4\x90\x80\x80", "\xff\xbf\xbf\xbf",       // U+110000; FF begins nothing
    };
    // the text ends within a character, whose next byte stands in memory behind it
    static const char *const cut[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    static const char four[] = "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", *end = four + 12;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        ok &= utf8_becomes(kept[i], strlen(kept[i]), kept[i]);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        ok &= utf8_becomes(refused[i], strlen(refused[i]), end - 3 * strlen(refused[i]));
    for (size_t n = 1; n < 4; n++)
        ok &= utf8_becomes(cut[n - 1], n, end - 3 * n);
    check(ok, "utf-8", "whole, cut short, overlong, surrogates, too large, control characters");
}

// --accumulate N is a batch N times as large; the rows of an anchor and recall's targets count alike.
static void test_accumulate(void) {
    if (!wanted("accumulate")) return;
    double worst = 0;
    for (int recall = 0; recall < 2; recall++) {
        float *w[2];
        double losses[2][10];
        size_t n = 0;
        for (int way = 0; way < 2; way++) {
            char *words[] = {"x", "--layout", "FSR", "--layers", "3", "--dim", "16", "--heads", "2", "--ffn", "24",
                             "--seq", "16", "--threads", "1", recall ? "--pairs" : "--seed", "3", "--vocab", recall ? "32" : "256",
                             "--batch", way ? "2" : "6", "--accumulate", way ? "3" : "1",
                             "--data", recall ? "recall" : "dev/data/austen_val.txt"};
            Settings s;
            parse(sizeof words / sizeof *words, words), settings(&s);
            static Data data, val;
            Model m;
            open_data(&s, &data, &val);
            model_plan(&m, &s.c);
            model_allocate(&m, 1);
            make_work(&s.c);
            read_anchor(&s, &data, m.anchor_tokens);
            uint64_t rng = 7;
            for (int step = 1; step <= 10; step++) {
                losses[way][step - 1] = accumulate(&m, &s, &data, &rng);
                adamw(&m, &s.adamw, step, 1e-2, gradient_norm(&m, step, 1));
            }
            n = m.parameters;
            w[way] = allocate(n * sizeof(float), "test");
            memcpy(w[way], m.store, n * sizeof(float));
            model_free(&m), free_work(1), data_close(&data), data_close(&val);
        }
        for (size_t e = 0; e < n; e++) note(&worst, fabs(w[0][e] - w[1][e]));
        for (int step = 0; step < 10; step++) note(&worst, fabs(losses[0][step] - losses[1][step]));
        free(w[0]), free(w[1]);
    }
    check(worst < 1e-10, "accumulate", "ten steps of 3 x 2 sequences within %.1e of 1 x 6", worst);
}

// train() against the loop it should be, by the losses in its log; the sampler's logits against the
// head's; the last tenth; the anchor's tokens.
static void test_train(void) {
    if (!wanted("train")) return;
    char folder[128], text[160], path[160], line[256];
    temporary(folder);
    int unique = mkstemp(folder);           // the name of a file, then of a folder
    if (unique < 0 || close(unique) != 0 || remove(folder) != 0 || !make_folder(folder))
        fail("cannot make a temporary folder");
    snprintf(text, sizeof text, "%s.txt", folder);
    FILE *f = fopen(text, "wb");
    for (int i = 0; i < 5000; i++) fputc('a' + i * i % 23 + i % 3, f);
    fclose(f);
    char *words[] = {"x", "--data", text, "--layout", "FS", "--layers", "2", "--dim", "16", "--heads", "2",
                     "--ffn", "24", "--seq", "12", "--batch", "3", "--steps", "9", "--eval-every", "4", "--seed",
                     "5", "--warmup", "3", "--out", folder, "--threads", "1", "--anchor", text, "--eval-batches", "2"};
    Settings s;
    parse(sizeof words / sizeof *words, words), settings(&s);
    static Data data, val;
    Model m;
    double losses[9], norms[9];
    int in[36], out[36], anchor[12];
    open_data(&s, &data, &val);
    read_anchor(&s, &data, anchor);
    bool ok = data.n == 4500 && val.n == 500 && val.first == 4500;
    for (int t = 0; t < 12; t++) ok &= anchor[t] == 'a' + t * t % 23 + t % 3;
    size_t windows = validation_windows(&val, 3, 12, 2);
    make_work(&s.c);
    for (int way = 0; way < 2; way++) {                     // by hand, then by train()
        model_plan(&m, &s.c);
        model_allocate(&m, s.seed);
        memcpy(m.anchor_tokens, anchor, sizeof anchor);
        if (way == 0) {
            uint64_t rng = random_stream(5, STREAM_DATA);
            for (int step = 0; step < 9; step++) {
                for (int b = 0; b < 3; b++)
                    read_window(&data, (size_t)(random_u64(&rng) % (4500 - 12)), 12, in + 12 * b, out + 12 * b);
                zero_gradients(&m);
                model_forward(&m, in, 3, 12);
                losses[step] = model_backward(&m, out), norms[step] = gradient_norm(&m, step, 1);
                double lr = step < 3 ? 3e-3 * (step + 1) / 3 : 3e-4 + 1.35e-3 * (1 + cos(3.141592653589793 * (step - 3) / 6));
                adamw(&m, &s.adamw, step + 1, lr, norms[step]);
            }
            model_free(&m);
            continue;
        }
        fflush(stdout);
        int kept = dup(1);                                  // its progress is not ours
        FILE *null = fopen(NOWHERE, "w");
        if (!null) fail(NOWHERE);
        dup2(fileno(null), 1), fclose(null);
        train(&m, &s, &data, &val, windows);
        fflush(stdout);
        dup2(kept, 1), close(kept);
    }
    double direct = evaluate(&m, &val, windows).loss, nats = 0, worst = 0;
    snprintf(path, sizeof path, "%s/log.csv", folder);
    f = fopen(path, "r");
    ok &= f && fgets(line, sizeof line, f);
    for (int step = 1; step <= 9 && ok; step++) {
        double loss = 0, lr = 0, norm = 0, rate = 0;
        int n = 0, fields;
        ok &= fgets(line, sizeof line, f) != NULL;
        fields = sscanf(line, "%d,%lf,%lf,%lf,%lf,%lf", &n, &loss, &lr, &norm, &rate, &nats);
        ok &= n == step && fields == (step % 4 == 0 || step == 9 ? 6 : 5);
        note(&worst, fabs(loss - losses[step - 1])), note(&worst, fabs(norm - norms[step - 1]));
    }
    if (f) fclose(f);
    note(&worst, fabs(nats - direct));
    model_forward(&m, in, 1, 12);                           // the sampler's logits
    float *last = allocate(256 * sizeof *last, "test");
    memcpy(last, next_logits(&m), 256 * sizeof *last);
    model_forward(&m, in, 1, 12);
    model_loss(&m, in);                                     // leaves probabilities in m.logits
    double z = 0, d = 0;
    for (int v = 0; v < 256; v++) z += exp(last[v]);
    for (int v = 0; v < 256; v++) note(&d, fabs(exp(last[v]) / z - m.logits[11 * 256 + v]));
    int counts[3] = {0};
    uint64_t rng = 1;
    for (int i = 0; i < 20000; i++) {                       // exp(2 ln p): 1, 4, 16 of 21
        float l[3] = {0, log(2), log(4)};
        counts[draw(l, 3, 0.5, &rng)]++;
    }
    ok &= abs(counts[0] - 20000 / 21) < 130 && abs(counts[1] - 80000 / 21) < 240;
    int story[30], shown = 0;                               // what sample() prints, beyond the context
    fflush(stdout);
    int kept = dup(1);
    snprintf(path, sizeof path, "%s/sample", folder);
    if (!freopen(path, "w", stdout)) fail("cannot write %s", path);
    sample(&m, in, 5, 25, false, 3);
    fflush(stdout);
    dup2(kept, 1), close(kept);
    f = fopen(path, "r");
    for (int lines = 0; lines < 2; ) lines += fgetc(f) == '\n';
    while (shown < 30 && fscanf(f, "%d", &story[shown]) == 1) shown++;
    fclose(f), remove(path);
    rng = random_stream(3, STREAM_SAMPLE);
    ok &= shown == 30 && memcmp(story, in, 5 * sizeof(int)) == 0;
    for (int i = 5; i < shown; i++) {
        int seen = i < 12 ? i : 12;
        model_forward(&m, story + i - seen, 1, seen);
        ok &= story[i] == draw(next_logits(&m), m.c.vocab, 0.8, &rng);
    }
#ifndef _WIN32
    fflush(stdout);
    pid_t child = fork();                                   // a model that is lost is not saved
    if (child == 0) {
        State now = {.step = 10};
        if (!freopen("/dev/null", "w", stderr)) _exit(9);
        m.embed->w[200 * 16] = (float)NAN;                  // a token that does not occur
        save(&m, &s, folder, &now);
        _exit(0);
    }
    int code = 0;
    ok &= waitpid(child, &code, 0) == child && WIFEXITED(code) && WEXITSTATUS(code) == 1;
#endif
    check(ok && worst <= 6e-7 && d <= 1e-14, "train = the loop by hand", "log within %.1e, logits within %.1e", worst, d);
    free(last), model_free(&m), free_work(1), data_close(&data), data_close(&val);
    static const char *const files[] = {"log.csv", "config.json", "model.safetensors", "optim.safetensors", "lock"};
    for (int i = 0; i < 5; i++) snprintf(path, sizeof path, "%s/%s", folder, files[i]), remove(path);
    rmdir(folder), remove(text);
}

// Every variant learns one batch by heart. Each token has one successor, so that mlp can, too.
static void test_overfit(void) {
    for (int v = 0; v < VARIANTS; v++) {
        char name[64], layers[3] = {variants[v].letter, variants[v].letter, 0};
        snprintf(name, sizeof name, "overfits one batch: %s", variants[v].name);
        if (!wanted(name)) continue;
        Config c = config_of(&(Case){layers, 16, 16, 2, 2, 24, 8, 2, 0, 0, 0});
        Run r;
        run_open(&r, &c, 3);
        AdamW a = {0.9, 0.99, 1e-8, 0.01, 1};
        for (int n = 0; n < 16; n++) r.inputs[n] = n * 5 % 16, r.targets[n] = n * 7 % 16;
        double first = 0, loss = 0;
        for (int step = 1; step <= 150; step++) {
            loss = run_backward(&r);
            if (step == 1) first = loss;
            adamw(&r.m, &a, step, 1e-2, gradient_norm(&r.m, step, loss));
        }
        check(first > 2 && loss < 0.02, name, "loss %.3f -> %.5f in 150 steps", first, loss);
        run_close(&r);
    }
}

// What -v shows: how exact each class of golden tensors was met.
static void print_errors(void) {
    int n;
    const ErrorClass *in_float = float_errors(&n);
    printf("\nlargest error of a golden tensor, max |a - b| / max |b|; at most 1e-9 in double, 1e-4 in float\n");
    printf("%-40s %8s %10s %10s\n", "class", "tensors", "double", "float");
    for (int i = 0; i < nclasses && n == nclasses; i++)     // both parts met them in the same order
        printf("%-40s %8d %10.1e %10.1e\n", classes[i].name, classes[i].tensors, classes[i].worst, in_float[i].worst);
    printf("\n");
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);           // a line can be read as soon as its check is done
    bool verbose = argc > 1 && !strcmp(argv[1], "-v");
    wanted_name = argc > 1 + verbose ? argv[1 + verbose] : "";
    int threads = omp_get_max_threads();
    omp_set_num_threads(1);         // such small tensors
    test_golden();
    omp_set_num_threads(threads);
    test_random();
    test_matmul();
    test_layers();
    test_mixers(1e-13, "double");
    test_plain_attention(1e-13, "double");
    test_naive_model(1e-12, "double");
    test_extreme("double");
    test_saturated(1e-11, "double");
    test_small_gate(1e-12, "double");
    test_causal("double");
    test_prefix("double");
    test_same_as_standard("staticembqk with one layer = standard", "E", 2, true);
    test_same_as_standard("fixedseqqk fed its anchor = standard", "FFF", 2, false);
    test_same_as_standard("rndembqk with the input as anchor = standard", "RRR", 2, false);
    test_same_as_standard("both anchors fed the input = standard", "RSFRF", 2, false);
    test_same_as_standard("an all-S layout = standard", "SSS", 2, true);
    test_approx_recurrent();
    test_nonapprox_order();
    test_layouts();
    test_skip();
    test_init();
    test_memory();
    test_pieces();
    test_json();
    test_data();
    test_floors();
    test_recall();
    test_shards();
    test_adamw();
    omp_set_num_threads(1);         // models so small that threads would only wait for each other
    test_not_finite();
    test_settings();
    test_utf8();
    test_accumulate();
    test_train();
    test_overfit();
    test_gradients();
    test_float_against_double();
    omp_set_num_threads(threads);
    int float_passed = 0, float_failed = 0;
    fflush(stdout);
    float_tests(wanted_name, &float_passed, &float_failed);
    passed += float_passed, failed += float_failed;
    if (verbose) print_errors();
    if (passed + failed == 0) printf("no check is called '%s'\n", wanted_name);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
#endif
