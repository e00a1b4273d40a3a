/* test_attnvar.c: proof that train_attnvar.c is right.

It is compiled twice and linked into one program: once with every float a double (this file's main,
where gradients are compared with finite differences and invariants hold to 1e-12), once in float
(FLOAT_PART, where it is compared with the double part and, bit for bit, over numbers of threads).

    make test                   all of it, under a minute on two cores
    ./test_attnvar gradient     the checks whose name contains a word

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

// What the float part offers to the double part.
void float_tests(const char *filter, int *ran_passed, int *ran_failed);
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

// ------------------------------------------------------------------------------------------------
// Cases: small models that between them meet every branch
// ------------------------------------------------------------------------------------------------

typedef struct {
    const char *layers;         // a letter a layer
    int V, C, NH, NKV, F, T, B;
    int qk_norm, untied;
} Case;

static const Case cases[] = {
    // the seven uniform models, the even hybrid of each
    {"SS", 11, 8, 2, 2, 10, 7, 2, 0, 0}, {"MM", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    {"AA", 11, 8, 2, 2, 10, 7, 2, 0, 0}, {"NN", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    {"RR", 11, 8, 2, 2, 10, 7, 2, 0, 0}, {"FF", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    {"EE", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    {"MSMS", 11, 8, 2, 2, 10, 7, 2, 0, 0}, {"ASAS", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    {"NSNS", 11, 8, 2, 2, 10, 7, 2, 0, 0}, {"RSRS", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    {"FSFS", 11, 8, 2, 2, 10, 7, 2, 0, 0}, {"ESES", 11, 8, 2, 2, 10, 7, 2, 0, 0},
    // all seven in one; both anchors, either ending first; an anchor as an ordinary row elsewhere
    {"SMANRFE", 11, 8, 2, 2, 10, 5, 2, 0, 0}, {"EFRNAMS", 11, 8, 2, 2, 10, 5, 2, 0, 0},
    {"SEFRS", 9, 8, 2, 2, 6, 5, 2, 0, 1}, {"RFRF", 9, 8, 2, 2, 6, 5, 2, 0, 0},
    // grouped heads, QK-norm, both, untied
    {"SANRFE", 11, 16, 4, 2, 10, 5, 2, 0, 0}, {"SANRFE", 11, 12, 3, 1, 10, 5, 2, 1, 0},
    {"SMANRFE", 11, 8, 2, 2, 10, 5, 2, 1, 0}, {"SMANRFE", 11, 8, 2, 2, 10, 5, 2, 0, 1},
    // odd sizes: one position; one head; batch 1; odd head size (nonapprox and mlp have no RoPE);
    // T just below, at and beyond a block of the map; widths beyond a register tile
    {"SANRFE", 11, 8, 2, 2, 10, 1, 2, 0, 0}, {"SANRFE", 7, 6, 1, 1, 5, 9, 1, 0, 0},
    {"NMN", 7, 9, 3, 3, 5, 6, 1, 1, 0}, {"SR", 5, 4, 2, 2, 3, QB - 1, 1, 0, 0},
    {"AF", 5, 4, 2, 1, 3, QB, 1, 0, 0}, {"EN", 5, 4, 2, 2, 3, 2 * QB + 5, 1, 0, 0},
    {"SAN", 37, 40, 2, 1, 35, 19, 2, 1, 1},
};
enum { CASES = sizeof cases / sizeof *cases };

static Config config_of(const Case *k) {
    Config c = {.layers = (int)strlen(k->layers), .heads = k->NH, .kv_heads = k->NKV, .dim = k->C,
                .ffn = k->F, .vocab = k->V, .seq = k->T, .batch = k->B, .qk_norm = k->qk_norm,
                .untied = k->untied, .rope_base = 10000};
    set_layers(&c, "standard", k->layers, false);
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
        for (size_t e = 0; e < (size_t)m->c.seq * m->c.dim; e++) m->eps[e] = (float)spread(&rng, 1);
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
    make_work(c->seq, c->dim / c->heads);
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

// Random q, k, v for a mixer; scale sets how large the scores get.
typedef struct {
    Mix m;
    float *q, *k, *v, *o, *stat, *g, *dq, *dk, *dv;
} Mixing;

static Mixing mixing(int kind, int R, int T, int NH, int NKV, int dh, double scale, uint64_t seed) {
    QKSource source = variants[kind].source;
    bool anchor = source == QK_RANDOM_ANCHOR || source == QK_TEXT_ANCHOR;
    Mixing x = {.m = {R, anchor ? 1 : R, T, NH, NKV, dh}};
    size_t nq = (size_t)R * T * NH * dh;
    float **all[] = {&x.q, &x.k, &x.v, &x.o, &x.g, &x.dq, &x.dk, &x.dv};
    uint64_t rng = seed;
    for (int i = 0; i < 8; i++) {
        *all[i] = allocate(nq * sizeof(float), "test");
        for (size_t e = 0; e < nq; e++) (*all[i])[e] = (float)spread(&rng, i < 2 ? scale : 1);
    }
    x.stat = allocate((size_t)R * NH * T * 2 * sizeof(float), "test");
    make_work(T, dh);
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
                    if (!(fabs(o - sum) <= worst)) worst = fabs(o - sum);
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
        static const int shapes[][5] = {{2, 1, 1, 1, 4}, {2, 97, 2, 2, 6}, {3, 50, 4, 2, 16}, {1, 144, 3, 1, 10}};
        for (int i = 0; i < 4; i++) {
            const int *d = shapes[i];
            Mixing x = mixing(kind, d[0], d[1], d[2], d[3], d[4], 1.5, 7 + i);
            double e = mixer_error(kind, &x);
            if (!(e <= worst)) worst = e;
            mixing_free(&x);
        }
        check(worst <= tolerance, name, "%.1e, at most %.0e of the largest", worst, tolerance);
    }
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
    int target[2] = {1, 2};
    crossentropy_forward(loss, logits, target, 2, 3);
    double want[2] = {4000, log(2)};
    check(fabs((double)loss[0] - want[0]) < 1e-3 && fabs((double)loss[1] - want[1]) < 1e-6 && logits[0] == 1,
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
        if (!(fabs(got - ds) <= worst)) worst = fabs(got - ds);
    }
    check(worst <= tolerance * largest && fabs(sum) <= tolerance * largest && largest > 0.1 && high - low > 60,
          name, "scores %.0f to %.0f, gradients to %.2g within %.1e, sum %.1e", low, high, largest, worst, sum);
    mixing_free(&x);
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
    Config c = config_of(&(Case){"SMANRFE", 11, 8, 2, 2, 10, 60, 1, 0, 0});
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
        if (!(e <= worst)) worst = e;
        if (x > 0 && e > above) above = e;
    }
    check(worst <= 2e-7, "exp_fast against libm, -87 .. 88", "relative error %.2e, at most 2e-7", worst);
    check(exp_fast(-87.5f) == 0 && exp_fast(-INFINITY) == 0 && exp_fast(-1e30f) == 0 && exp_fast(0) == 1
          && isfinite(exp_fast(1e30f)) && isnan(exp_fast(NAN)), "exp_fast at its ends",
          "0 below -87, finite above 88, NaN stays NaN");
}

// Everything a step computes, at any number of threads: bit for bit.
static void test_threads(void) {
    static const int counts[] = {1, 2, 3, 4, 8};
    static const char *layers[] = {"SS", "MM", "AA", "NN", "RR", "FF", "EE", "SMANRFE"};
    int before = omp_get_max_threads();
    for (int i = 0; i < 8; i++) {
        char name[64];
        snprintf(name, sizeof name, "threads %s", layers[i]);
        if (!wanted(name)) continue;
        Config c = config_of(&(Case){layers[i], 300, 48, 3, 3, 70, 61, 3, i == 7, i % 2});
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

void float_tests(const char *filter, int *ran_passed, int *ran_failed) {
    wanted_name = filter;
    test_exp();
    test_mixers(2e-6, "float");
    test_extreme("float");
    test_saturated(1e-5, "float");
    test_causal("float");
    test_prefix("float");
    test_threads();
    *ran_passed = passed, *ran_failed = failed;
}

#else
// ------------------------------------------------------------------------------------------------
// The double part: gradients
// ------------------------------------------------------------------------------------------------

// Where a zero gradient is right: a mixer without queries and keys has no use for QK-norm's gains;
// with one position every map is 1, whatever q and k are; in a one-head anchor layer likewise.
static bool zero_is_right(const Model *m, const Tensor *t) {
    for (int l = 0; l < m->c.layers; l++) {
        const Layer *L = &m->layer[l];
        bool qk = t == L->wq || t == L->bq || t == L->wk || t == L->bk || t == L->qnorm || t == L->knorm;
        bool norm = t == L->qnorm || t == L->knorm;
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
                if (!(share <= worst)) worst = share;
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
                if (!(d <= error)) error = d;
            }
            double share = error / (1e-4 * largest + 1e-7);
            if (!(share <= worst)) worst = share, bad = t->name;
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

static double largest_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

// A layer string against the uniform standard model of the same weights: outputs, and with one
// layer of staticembqk all gradients, too.
static void test_same_as_standard(const char *name, const char *layers, int B, bool gradients) {
    if (!wanted(name)) return;
    char standard[16] = "";
    memset(standard, 'S', strlen(layers));
    Case k = {layers, 11, 8, 2, 2, 10, 53, B, 0, 0}, ks = k;
    ks.layers = standard;
    Config a = config_of(&k), b = config_of(&ks);
    Run x, y;
    run_open(&y, &b, 21);
    free_work(omp_get_max_threads());
    run_open(&x, &a, 21);
    int T = k.T, C = k.C;
    for (int n = 0; n < B * T; n++) x.inputs[n] = y.inputs[n] = x.inputs[n % T];    // all rows alike
    memcpy(x.m.anchor_tokens, x.inputs, (size_t)T * sizeof(int));
    if (uses(&a, QK_RANDOM_ANCHOR)) embedding_forward(x.m.eps, x.inputs, x.m.embed->w, T, C);
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
        approx_forward(x.o, x.stat, x.q, x.k, x.v, *m);
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
                if (!(d <= worst)) worst = d;
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
            set_layers(&a, "nonapprox", layouts[i].name, true);
            set_layers(&b, "nonapprox", layouts[i].name, true);
            for (int l = 0; l < 8; l++) ok &= variants[a.kind[l]].letter == want8[i][l];
            for (int l = 0; l < 5; l++) ok &= variants[b.kind[l]].letter == want5[i][l];
        }
        Config c = {.layers = 3};
        set_layers(&c, "standard", "nonapprox,mlp,staticembqk", false);
        ok &= c.kind[0] == NONAPPROX && c.kind[1] == MLP && c.kind[2] == STATICEMBQK;
        check(ok, "layouts", "all ten by name at 8 and 5 layers, letters, names");
    }
    if (wanted("parameter counts")) {
        size_t first = 0;
        bool same = true;
        for (int v = 0; v < VARIANTS; v++) {
            char layers[4] = {variants[v].letter, variants[v].letter, 'S', 0};
            Config c = config_of(&(Case){layers, 11, 8, 2, 2, 10, 7, 2, 0, 0});
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
        Config c = config_of(&(Case){layers, 11, 8, 2, 2, 10, 7, 2, 0, 0});
        Config standard = config_of(&(Case){"SS", 11, 8, 2, 2, 10, 7, 2, 0, 0});
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
        worst = fmax(worst, fabs(blocks - run_loss(&two)));
        r.m.skip = SKIP_MIXERS;
        double mixers = run_loss(&r);
        r.m.skip = SKIP_NONE;
        for (int l = 0; l < 4; l += 2) memset(r.m.layer[l].wo->w, 0, 64 * sizeof(float));
        worst = fmax(worst, fabs(mixers - run_loss(&r)));
        moved &= fabs(blocks - whole) > 1e-3 && fabs(mixers - whole) > 1e-3 && fabs(mixers - blocks) > 1e-3;
        two.m.skip = SKIP_BLOCKS;                           // nothing to skip
        worst = fmax(worst, fabs(blocks - run_loss(&two)));
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
                                    {2 * MR - 1, NC + 3, 9}, {70, 2 * NR, 2 * KC + 5}, {3, 200, 30}};
    double worst = 0;
    for (int i = 0; i < 7; i++) {
        int M = shapes[i][0], N = shapes[i][1], K = shapes[i][2];
        uint64_t rng = 1 + i;
        float *a = allocate((size_t)M * K * sizeof(float), "a"), *b = allocate((size_t)K * N * sizeof(float), "b");
        float *c = allocate((size_t)M * N * sizeof(float), "c"), *bias = allocate(N * sizeof(float), "bias");
        for (int e = 0; e < M * K; e++) a[e] = spread(&rng, 1);
        for (int e = 0; e < K * N; e++) b[e] = spread(&rng, 1);
        for (int e = 0; e < N; e++) bias[e] = spread(&rng, 1);
        make_work(1, 1);
        for (int way = 0; way < 12; way++) {                // a, b as stored or transposed; c0 three ways
            Mat x = way & 1 ? transposed(a, M) : rows(a, K), y = way & 2 ? transposed(b, K) : rows(b, N);
            int start = way / 4;
            for (int e = 0; e < M * N; e++) c[e] = 2 * e % 7;
            matmul(c, N, start == 0 ? NULL : start == 1 ? c : bias, start == 1 ? N : 0, x, y, M, N, K);
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) {
                    double sum = start == 0 ? 0 : start == 1 ? 2 * (m * N + n) % 7 : bias[n];
                    for (int k = 0; k < K; k++)
                        sum += x.p[m * x.rs + k * x.cs] * y.p[k * y.rs + n * y.cs];
                    double d = fabs(sum - c[m * N + n]);
                    if (!(d <= worst)) worst = d;
                }
        }
        free_work(omp_get_max_threads());
        free(a), free(b), free(c), free(bias);
    }
    check(worst <= 1e-11, "matmul against three loops", "within %.1e: 7 shapes, 4 orientations, 3 starts", worst);
}

static void test_layers(void) {
    if (wanted("rope")) {           // scores depend on the distance only; lengths stay; it inverts
        enum { D = 8, T = 12 };
        Config c = config_of(&(Case){"S", 5, D, 1, 1, 4, T, 1, 0, 0});
        Run r;
        run_open(&r, &c, 1);
        float q[T * D], k[T * D], q0[D];
        uint64_t rng = 2;
        for (int i = 0; i < D; i++) q[i] = spread(&rng, 1), k[i] = spread(&rng, 1);
        for (int t = 1; t < T; t++) memcpy(q + t * D, q, D * sizeof(float)), memcpy(k + t * D, k, D * sizeof(float));
        memcpy(q0, q, sizeof q0);
        rope(q, r.m.angles, 1, 1, T, 1, D), rope(k, r.m.angles, 1, 1, T, 1, D);
        double d = 0;
        for (int t = 3; t + 1 < T; t++)
            d = fmax(d, fabs(dot(q + t * D, k + (t - 3) * D, D) - dot(q + (t + 1) * D, k + (t - 2) * D, D)));
        double moved = fabs(dot(q + 5 * D, k, D) - dot(q + 4 * D, k, D));
        // pair (a, a + dh/2) at position 1: the angle of pair 0 is 1, of pair 1 base^(-2/dh) = 0.1
        d = fmax(d, fabs(q[D] - (q0[0] * cos(1) - q0[4] * sin(1))));
        d = fmax(d, fabs(q[D + 5] - (q0[5] * cos(0.1) + q0[1] * sin(0.1))));
        rope(q, r.m.angles, -1, 1, T, 1, D);
        for (int t = 0; t < T; t++) d = fmax(d, largest_difference(q + t * D, q0, D));
        check(d <= 1e-12 && moved > 1e-3, "rope", "within %.1e: by distance, by hand, and back", d);
        run_close(&r);
    }
    if (wanted("rmsnorm, swiglu, cross-entropy by hand")) {
        float x[2] = {3, -4}, gain[2] = {1, 2}, y[2], gate[1] = {1}, up[1] = {3}, out[1];
        rmsnorm_forward(y, x, gain, 1, 2);                  // rms = sqrt(12.5 + 1e-6)
        double rms = sqrt(12.500001), d = fmax(fabs(y[0] - 3 / rms), fabs(y[1] + 8 / rms));
        swiglu_forward(out, gate, up, 1, 1);                // 1 / (1 + e^-1) * 3
        d = fmax(d, fabs(out[0] - 3 * 0.731058578630004879));
        float logits[3] = {1, 2, 3}, loss[1];
        int target[1] = {0};
        crossentropy_forward(loss, logits, target, 1, 3);   // ln(e + e^2 + e^3) - 1
        d = fmax(d, fabs(loss[0] - 2.40760596444437981));
        check(d <= 1e-14, "rmsnorm, swiglu, cross-entropy by hand", "within %.1e", d);
    }
}

// Two steps of two weights, one of them decayed; the arithmetic stands in the comments.
static void test_adamw(void) {
    if (wanted("adamw by hand")) {
        Config c = config_of(&(Case){"S", 2, 2, 1, 1, 1, 1, 1, 0, 0});
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
    Config c = config_of(&(Case){"SR", 50, 16, 2, 2, 40, 8, 1, 0, 0}), d = config_of(&(Case){"NM", 50, 16, 2, 2, 40, 8, 1, 0, 0});
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
    for (int e = 0; e < 8 * 16; e++) anchor += a.eps[e] * a.eps[e] / 128;
    uint64_t rng = random_stream(5, STREAM_INIT);
    bool first = a.embed->w[0] == 0.02 * random_normal(&rng);
    check(same && fixed && first && fabs(sqrt(square / n) - 0.02) < 0.0006 && fabs(sqrt(anchor) - 0.02) < 0.006,
          "initial weights", "std %.5f, anchor %.5f, equal for all variants", sqrt(square / n), sqrt(anchor));
    model_free(&a), model_free(&b);
}

// Data: windows of a known file, its floors counted by hand, evaluation over all windows.
static void test_data(void) {
    if (!wanted("data windows, floors, evaluation")) return;
    char path[] = "/tmp/attnvar_test_XXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f) fail("cannot make a temporary file");
    for (int i = 0; i < 1000; i++) fputc(i * i % 7 + 'a', f);
    fclose(f);
    Data d;
    data_open(&d, path);
    int in[8], out[8], batch_in[24], batch_out[24];
    read_window(&d, 992 - 1, 8, in, out);
    bool ok = d.n == 1000;
    for (int i = 0; i < 8; i++) ok &= in[i] == (991 + i) * (991 + i) % 7 + 'a' && out[i] == (992 + i) * (992 + i) % 7 + 'a';
    ok &= validation_windows(&d, 3, 8, 0) == 124 && validation_windows(&d, 3, 8, 2) == 6 && validation_windows(&d, 3, 999, 9) == 1;
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
        int now = i * i % 7, before = (i - 1) * (i - 1) % 7, count = 0, from = 0, both = 0;
        for (int k = 0; k < 1000; k++) {
            count += k * k % 7 == now;
            if (k < 999 && k * k % 7 == before) from++, both += (k + 1) * (k + 1) % 7 == now;
        }
        u -= log((count + 1) / 1256.) / 80, g -= log((both + 1) / (from + 256.)) / 80;
    }
    ok &= fabs(u - unigram) < 1e-12 && fabs(g - bigram) < 1e-12;
    Config c = config_of(&(Case){"NS", 256, 8, 2, 2, 10, 8, 3, 0, 0});
    Run r;
    run_open(&r, &c, 2);
    double direct = 0, got = evaluate(&r.m, &d, 7, r.inputs, r.targets);        // 3 + 3 + 1 windows
    for (int w = 0; w < 7; w++) {
        read_window(&d, (size_t)w * 8, 8, in, out);
        model_forward(&r.m, in, 1, 8);
        direct += model_loss(&r.m, out) / 7;
    }
    ok &= fabs(direct - got) < 1e-12;
    check(ok, "data windows, floors, evaluation", "unigram %.4f, bigram %.4f, loss %.4f", unigram, bigram, got);
    run_close(&r);
    fclose(d.file);
    remove(path);
}

// Every variant learns one batch by heart. Each token has one successor, so that mlp can, too.
static void test_overfit(void) {
    for (int v = 0; v < VARIANTS; v++) {
        char name[64], layers[3] = {variants[v].letter, variants[v].letter, 0};
        snprintf(name, sizeof name, "overfits one batch: %s", variants[v].name);
        if (!wanted(name)) continue;
        Config c = config_of(&(Case){layers, 16, 16, 2, 2, 24, 8, 2, 0, 0});
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

int main(int argc, char **argv) {
    wanted_name = argc > 1 ? argv[1] : "";
    int threads = omp_get_max_threads();
    test_random();
    test_matmul();
    test_layers();
    test_mixers(1e-13, "double");
    test_extreme("double");
    test_saturated(1e-11, "double");
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
    test_data();
    test_adamw();
    omp_set_num_threads(1);         // models so small that threads would only wait for each other
    test_overfit();
    test_gradients();
    test_float_against_double();
    omp_set_num_threads(threads);
    int float_passed = 0, float_failed = 0;
    fflush(stdout);
    float_tests(wanted_name, &float_passed, &float_failed);
    passed += float_passed, failed += float_failed;
    if (passed + failed == 0) printf("no check is called '%s'\n", wanted_name);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
#endif
