/* generate_attnvar.c: writes text with a trained model, one token at a time, each variant with the
   cache that it needs and no more.

    make tools
    dev/tools/generate_attnvar FOLDER --prompt "It was" --tokens 200
    dev/tools/generate_attnvar FOLDER --check       compares every step with a full forward pass

A full forward pass over t tokens for each new token would compute everything t times. A decoder
keeps only what the mixer needs of the past (L positions, D = 1 + dh + dh(dh+1)/2):

    variant       kept for a layer                              floats            work a token
    standard      every key and value                           2 L CKV           grows with L
    staticembqk   the same                                      2 L CKV           grows with L
    mlp           nothing: it never looks back                  0                 constant
    approx        S = sum_j phi(k_j) v_j', Z = sum_j phi(k_j)   NKV D (dh + 1)    constant
    nonapprox     o, and Z and the largest score m of a head    C + 2 NH          constant
    rndembqk,     every value; and the anchor's maps,           L CKV + NH T(T+1)/2
    fixedseqqk    or its queries and keys (--anchors keys)      L CKV + T (C + CKV)   grows with L

The anchors' maps do not depend on the text: they are computed once, before the first token, and
row i of a map is all that position i needs. For the same reason nothing is known beyond the length
T that the anchor has: these two variants must stop there.

A token's work is matrix times vector: every weight is read from memory for one multiply-add, so
memory bandwidth sets the speed. --bandwidth reports how close the decoder comes to it. */

#ifndef PROGRAM
#define PROGRAM "generate_attnvar"
#define SMALLER "with --check fewer --tokens need less"
#endif
#include "tools.h"

// ---- one product of a vector -------------------------------------------------------------------

// y = w x + b, or y += w x where add is set.   x (I), w (O,I), b (O) or NULL, y (O)
typedef struct {
    float *y;
    const float *x;
    const Tensor *w, *b;
    bool add;
} Product;

static double decoded_flops;    // of matrix and vector products, since it was set to 0
static size_t weights_read;     // bytes of weights, likewise

enum { WORTH_THREADS = 1 << 15 };       // multiply-adds; for less, waking the threads costs more

enum { ROWS = 4 };

// y_r = w_r.x for n <= ROWS rows of w, `apart` floats from each other: as many streams of memory,
// and as many chains of multiply-adds that need not wait for each other. A row is summed in the
// same order wherever it stands, in NR partial sums.
static void dot_rows(float *y, const float *w, size_t apart, const float *x, int I, int n) {
    vec acc[ROWS][NV];
    const float *row[ROWS];                             // those beyond n repeat the last
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
        row[r] = w + (size_t)(r < n ? r : n - 1) * apart;
#pragma GCC unroll 16
        for (int v = 0; v < NV; v++) acc[r][v] = (vec){0};
    }
    int i = 0;
    for (; i + NR <= I; i += NR)
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 16
            for (int v = 0; v < NV; v++)
                acc[r][v] += ((const vec *)(row[r] + i))[v] * ((const vec *)(x + i))[v];
    float lanes[ROWS][NR], sum[ROWS] = {0};
    memcpy(lanes, acc, sizeof lanes);
    for (int l = 0; l < NR; l++)
        for (int r = 0; r < ROWS; r++) sum[r] += lanes[r][l];
    for (; i < I; i++)
        for (int r = 0; r < ROWS; r++) sum[r] += row[r][i] * x[i];
    for (int r = 0; r < n; r++) y[r] = sum[r];
}

// Several products at once, so that the threads meet only once. Each takes its share of the rows of
// every matrix, as ROWS streams, each front to back. The result does not depend on the number of
// threads.
static void products(const Product *p, int count) {
    size_t elements = 0;
    for (int i = 0; i < count; i++) elements += p[i].w->size;
    decoded_flops += 2.0 * (double)elements;
    weights_read += elements * sizeof(float);
#pragma omp parallel if (elements > WORTH_THREADS)
    {
        int t = omp_get_thread_num(), nt = omp_get_num_threads();
        for (int i = 0; i < count; i++) {
            int O = p[i].w->rows, I = p[i].w->cols;
            int from = share(O, t, nt), end = share(O, t + 1, nt), apart = (end - from) / ROWS;
            int rest = from + ROWS * apart;                     // the few rows that are left
            for (int k = 0; k < apart + end - rest; k++) {
                int n = k < apart ? ROWS : 1, o = k < apart ? from + k : rest + k - apart;
                float y[ROWS];
                dot_rows(y, p[i].w->w + (size_t)o * I, (size_t)apart * I, p[i].x, I, n);
                for (int r = 0, at = o; r < n; r++, at += apart)
                    p[i].y[at] = y[r] + (p[i].add ? p[i].y[at] : p[i].b ? p[i].b->w[at] : 0);
            }
        }
    }
}

static void norm_row(float *y, const float *x, const Tensor *gain, int C) {
    float r = inverse_rms(x, C);
    for (int c = 0; c < C; c++) y[c] = x[c] * r * gain->w[c];
}

// ---- the decoder -------------------------------------------------------------------------------

// What a layer keeps; which parts exist depends on its variant (cache_open).
typedef struct {
    float *k, *v;               // (NKV,L,dh) keys and values of the positions so far
    float *S, *Z;               // approx: (NKV,D,dh), (NKV,D); nonapprox: Z (NH)
    float *max, *o;             // nonapprox: (NH), (NH,dh)
    float *map;                 // anchors: (NH,T(T+1)/2), row i has i+1 weights
    float *q0, *k0;             // anchors, instead of the map: (T,NH,dh), (NKV,T,dh)
    size_t floats;              // all of it
} Cache;

typedef struct {
    Model *m;
    Cache *cache;               // one a layer
    int L, t;                   // positions there is room for; position of the next token
    int T;                      // length of the anchors
    float *e, *x, *n, *ne;      // (C) embedding, residual stream, both normed
    float *q, *k, *v, *o;       // (C) (C) (C) (C)
    float *gate, *up;           // (F)
    float *scores;              // (NH,L)
    float *phi;                 // (NH,2D) features
    float *angle;               // (dh) cosines and sines of position t
    float *logits;              // (V) of the token after the last one
} Decoder;

static int feature_count(int dh) { return 1 + dh + dh * (dh + 1) / 2; }

static float *keep(Cache *c, size_t floats) {
    c->floats += floats;
    return allocate(floats * sizeof(float), "a layer's cache");
}

// L positions of text; anchored layers want the q and k that model_forward left in layer l.
static void cache_open(Cache *c, const Model *m, int l, int L, bool keys) {
    const Layer *layer = &m->layer[l];
    int NH = m->c.heads, NKV = m->c.kv_heads, dh = m->c.dim / NH, T = m->T;
    size_t D = (size_t)feature_count(dh), positions = (size_t)NKV * L * dh;
    *c = (Cache){0};
    switch (m->c.kind[l]) {
    case STANDARD:
    case STATICEMBQK:
        c->k = keep(c, positions), c->v = keep(c, positions);
        return;
    case MLP:
        return;
    case APPROX:
        c->S = keep(c, NKV * D * dh), c->Z = keep(c, NKV * D);
        return;
    case NONAPPROX:
        c->Z = keep(c, NH), c->max = keep(c, NH), c->o = keep(c, (size_t)NH * dh);
        return;
    case RNDEMBQK:
    case FIXEDSEQQK:
        c->v = keep(c, positions);
        break;
    default:
        fail("layer %d: no decoding is written for its variant", l + 1);
    }
    if (keys) {
        c->q0 = keep(c, (size_t)T * NH * dh), c->k0 = keep(c, (size_t)T * NKV * dh);
        memcpy(c->q0, layer->q.out, (size_t)T * NH * dh * sizeof(float));
        for (int h = 0; h < NKV; h++)
            for (int t = 0; t < T; t++)
                memcpy(c->k0 + ((size_t)h * T + t) * dh, layer->k.out + ((size_t)t * NKV + h) * dh,
                       dh * sizeof(float));
        return;
    }
    size_t triangle = (size_t)T * (T + 1) / 2;
    float s = (float)(1 / sqrt((double)dh));
    c->map = keep(c, NH * triangle);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int h = 0; h < NH; h++) {
        for (int i = 0; i < T; i++) {
            const float *q = layer->q.out + ((size_t)i * NH + h) * dh;
            float *row = c->map + h * triangle + (size_t)i * (i + 1) / 2;
            for (int j = 0; j <= i; j++)
                row[j] = dot(q, layer->k.out + ((size_t)j * NKV + h / (NH / NKV)) * dh, dh);
            float z = row_exp(row, s, row_max(row, i + 1), i + 1);
            for (int j = 0; j <= i; j++) row[j] /= z;
        }
    }
}

// keys: anchored layers keep the anchor's queries and keys, not its maps.
static void decoder_open(Decoder *d, Model *m, int L, bool keys) {
    const Config *c = &m->c;
    size_t C = c->dim, D = (size_t)feature_count(c->dim / c->heads);
    *d = (Decoder){.m = m, .L = L, .T = c->seq};
    if (has_anchor(c)) {                            // one pass for the anchors' queries and keys
        int *nothing = allocate((size_t)c->seq * sizeof(int), "tokens");
        model_forward(m, nothing, 1, c->seq);
        free(nothing);
    }
    d->cache = allocate(c->layers * sizeof *d->cache, "the caches");
    for (int l = 0; l < c->layers; l++) cache_open(&d->cache[l], m, l, L, keys);
    float **rows_of_c[] = {&d->e, &d->x, &d->n, &d->ne, &d->q, &d->k, &d->v, &d->o};
    for (int i = 0; i < 8; i++) *rows_of_c[i] = allocate(C * sizeof(float), "a row");
    d->gate = allocate(c->ffn * sizeof(float), "a row");
    d->up = allocate(c->ffn * sizeof(float), "a row");
    d->scores = allocate((size_t)c->heads * L * sizeof(float), "scores");
    d->phi = allocate(c->heads * 2 * D * sizeof(float), "features");
    d->angle = allocate(C / c->heads * sizeof(float), "angles");
    d->logits = allocate(c->vocab * sizeof(float), "logits");
}

static void decoder_close(Decoder *d) {
    for (int l = 0; l < d->m->c.layers; l++) {
        Cache *c = &d->cache[l];
        free(c->k), free(c->v), free(c->S), free(c->Z), free(c->max), free(c->o);
        free(c->map), free(c->q0), free(c->k0);
    }
    free(d->cache);
    free(d->e), free(d->x), free(d->n), free(d->ne), free(d->q), free(d->k), free(d->v), free(d->o);
    free(d->gate), free(d->up), free(d->scores), free(d->phi), free(d->angle), free(d->logits);
}

// ---- the mixers, one position each: o_t from q, k, v of position t and the cache ---------------

// o = sum_j A_j v_j over n positions.   A (n), v (n,dh), o (dh)
static void mix_values(float *o, const float *A, const float *v, int n, int dh) {
    memset(o, 0, dh * sizeof(float));
    for (int j = 0; j < n; j++)
        for (int c = 0; c < dh; c++) o[c] += A[j] * v[(size_t)j * dh + c];
}

// o_t = sum_j A_j v_j, A = softmax_j(s q.k_j), for every head: k (NKV,stride,dh), v (NKV,L,dh), the
// first n positions of both.
static void attend_decode(Decoder *d, const float *q, const float *k, size_t stride, const float *v,
                        int n) {
    int NH = d->m->c.heads, group = NH / d->m->c.kv_heads, dh = d->m->c.dim / NH;
    float s = (float)(1 / sqrt((double)dh));
    decoded_flops += 4.0 * NH * n * dh;
#pragma omp parallel for if ((size_t)NH * n * dh > WORTH_THREADS)
    for (int h = 0; h < NH; h++) {
        const float *keys = k + (size_t)(h / group) * stride * dh;
        float *A = d->scores + (size_t)h * d->L;
        for (int j = 0; j < n; j++) A[j] = dot(q + h * dh, keys + (size_t)j * dh, dh);
        float z = row_exp(A, s, row_max(A, n), n);
        for (int j = 0; j < n; j++) A[j] /= z;
        mix_values(d->o + h * dh, A, v + (size_t)(h / group) * d->L * dh, n, dh);
    }
}

// Appends a row (NKV,dh) to what is kept as (NKV,L,dh), at position t.
static void append(float *kept, const float *row, const Decoder *d) {
    int NKV = d->m->c.kv_heads, dh = d->m->c.dim / d->m->c.heads;
    for (int h = 0; h < NKV; h++)
        memcpy(kept + ((size_t)h * d->L + d->t) * dh, row + h * dh, dh * sizeof(float));
}

// standard and staticembqk: append the key and the value, then attend to all of them.
static void standard_decode(Decoder *d, Cache *c) {
    append(c->k, d->k, d);
    append(c->v, d->v, d);
    attend_decode(d, d->q, c->k, d->L, c->v, d->t + 1);
}

// rndembqk and fixedseqqk: append the value; the weights are row t of the anchor's map, kept or
// made from its query t and its keys 0 .. t.
static void anchor_decode(Decoder *d, Cache *c) {
    int NH = d->m->c.heads, group = NH / d->m->c.kv_heads, dh = d->m->c.dim / NH, n = d->t + 1;
    size_t T = (size_t)d->T, triangle = T * (T + 1) / 2;
    append(c->v, d->v, d);
    if (c->q0) {
        attend_decode(d, c->q0 + (size_t)d->t * NH * dh, c->k0, T, c->v, n);
        return;
    }
    decoded_flops += 2.0 * NH * n * dh;
#pragma omp parallel for if ((size_t)NH * n * dh > WORTH_THREADS)
    for (int h = 0; h < NH; h++)
        mix_values(d->o + h * dh, c->map + h * triangle + (size_t)d->t * n / 2,
                   c->v + (size_t)(h / group) * d->L * dh, n, dh);
}

// phi(x).phi(y) = f(s x.y), f(x) = 1 + x + x^2/2, because (x.y)^2 = sum_ab x_a x_b y_a y_b and the
// terms ab and ba are one: phi = [1, sqrt(s) x_a, s/sqrt2 x_a^2, s x_a x_b (a < b)].
static void features(float *phi, const float *x, int dh) {
    float s = (float)(1 / sqrt((double)dh)), root = (float)sqrt((double)s);
    float half = (float)((double)s / sqrt(2.0));
    *phi++ = 1;
    for (int a = 0; a < dh; a++) *phi++ = root * x[a];
    for (int a = 0; a < dh; a++) {
        *phi++ = half * x[a] * x[a];
        for (int b = a + 1; b < dh; b++) *phi++ = s * x[a] * x[b];
    }
}

// approx: S += phi(k) v', Z += phi(k); o = S' phi(q) / Z.phi(q).
static void approx_decode(Decoder *d, Cache *c) {
    int NH = d->m->c.heads, NKV = d->m->c.kv_heads, group = NH / NKV, dh = d->m->c.dim / NH;
    int D = feature_count(dh);
    decoded_flops += 2.0 * NKV * D * dh + 2.0 * NH * D * dh;    // without Z, as the paper counts
#pragma omp parallel for if ((size_t)NH * D * dh > WORTH_THREADS)
    for (int h = 0; h < NKV; h++) {
        float *S = c->S + (size_t)h * D * dh, *Z = c->Z + (size_t)h * D;
        float *phi_k = d->phi + (size_t)h * 2 * D, *phi_q = phi_k + D;
        const float *v = d->v + h * dh;
        features(phi_k, d->k + h * dh, dh);
        for (int f = 0; f < D; f++) {
            Z[f] += phi_k[f];
            for (int a = 0; a < dh; a++) S[(size_t)f * dh + a] += phi_k[f] * v[a];
        }
        for (int head = h * group; head < (h + 1) * group; head++) {
            float *o = d->o + head * dh;
            features(phi_q, d->q + head * dh, dh);
            float z = dot(phi_q, Z, D);
            mix_values(o, phi_q, S, D, dh);
            for (int a = 0; a < dh; a++) o[a] /= z;
        }
    }
}

// nonapprox: the recurrence of its chapter, o = b o + a v, with Z relative to the largest score.
static void nonapprox_decode(Decoder *d, Cache *c) {
    int NH = d->m->c.heads, group = NH / d->m->c.kv_heads, dh = d->m->c.dim / NH;
    for (int h = 0; h < NH; h++) {
        const float *k = d->k + h / group * dh, *v = d->v + h / group * dh;
        float *u = d->q + h * dh, *o = c->o + h * dh;
        for (int a = 0; a < dh; a++) u[a] *= sigmoid(u[a]);
        float x = (float)(1 / sqrt((double)dh)) * dot(u, k, dh);
        float higher = d->t == 0 || x > c->max[h] ? x : c->max[h];
        float old = d->t == 0 ? 0 : c->Z[h] * exp_fast(c->max[h] - higher);
        float new = exp_fast(x - higher);
        c->max[h] = higher;
        c->Z[h] = old + new;
        for (int i = 0; i < dh; i++) o[i] = old / c->Z[h] * o[i] + new / c->Z[h] * v[i];
    }
    memcpy(d->o, c->o, (size_t)NH * dh * sizeof(float));
}

// ---- a block, a token --------------------------------------------------------------------------

// QK-norm and RoPE of position t, on the heads of one row.   x (H,dh)
static void finish_qk(Decoder *d, float *x, const Tensor *gain, int H, bool rotates) {
    int dh = d->m->c.dim / d->m->c.heads;
    for (int h = 0; h < H; h++, x += dh) {
        if (gain) norm_row(x, x, gain, dh);
        for (int a = 0; a < dh / 2 && rotates; a++) {
            float cosine = d->angle[2 * a], sine = d->angle[2 * a + 1];
            float lo = x[a], hi = x[a + dh / 2];
            x[a] = lo * cosine - hi * sine;
            x[a + dh / 2] = hi * cosine + lo * sine;
        }
    }
}

static void block_step(Decoder *d, int l) {
    const Config *c = &d->m->c;
    const Layer *L = &d->m->layer[l];
    const Variant *variant = &variants[c->kind[l]];
    Cache *cache = &d->cache[l];
    int C = c->dim;
    bool own = L->anchor < 0, mlp = c->kind[l] == MLP;
    // n = RMSNorm(x); q and k from it, from the normed embedding, or not at all; v
    norm_row(d->n, d->x, L->norm1, C);
    if (variant->source == QK_STATIC) norm_row(d->ne, d->e, L->norm1, C);
    const float *source = variant->source == QK_STATIC ? d->ne : d->n;
    Product qkv[3] = {{d->v, d->n, L->wv, L->bv, false}, {d->q, source, L->q.w, L->q.b, false},
                      {d->k, source, L->k.w, L->k.b, false}};
    if (mlp) products(qkv + 1, 2);
    else products(qkv, own ? 3 : 1);
    if (own && !mlp) {
        finish_qk(d, d->q, L->q.gain, c->heads, variant->rotates);
        finish_qk(d, d->k, L->k.gain, c->kv_heads, variant->rotates);
    }
    // o = mix(q, k, v, cache)
    switch (c->kind[l]) {
    case MLP:
        for (int i = 0; i < C; i++) d->q[i] *= sigmoid(d->q[i]) * d->k[i];
        products(&(Product){d->o, d->q, L->wv, L->bv, false}, 1);
        break;
    case APPROX:     approx_decode(d, cache); break;
    case NONAPPROX:  nonapprox_decode(d, cache); break;
    case RNDEMBQK:
    case FIXEDSEQQK: anchor_decode(d, cache); break;
    default:         standard_decode(d, cache);
    }
    // x += o Wo;  x += (SiLU(n Wgate) * n Wup) Wdown, n = RMSNorm(x)
    products(&(Product){d->x, d->o, L->wo, NULL, true}, 1);
    norm_row(d->n, d->x, L->norm2, C);
    products((Product[]){{d->gate, d->n, L->wgate, NULL, false},
                         {d->up, d->n, L->wup, NULL, false}}, 2);
    for (int f = 0; f < c->ffn; f++) d->gate[f] *= sigmoid(d->gate[f]) * d->up[f];
    products(&(Product){d->x, d->gate, L->wdown, NULL, true}, 1);
}

// Takes the token at position t and leaves the logits (V) of the one after it in d->logits.
static void decode(Decoder *d, int token) {
    const Config *c = &d->m->c;
    int C = c->dim, dh = C / c->heads;
    memcpy(d->e, d->m->embed->w + (size_t)token * C, C * sizeof(float));
    memcpy(d->x, d->e, C * sizeof(float));
    for (int a = 0; a < dh / 2; a++) {                  // RoPE's, at any position
        double angle = d->t * pow(c->rope_base, -2.0 * a / dh);
        d->angle[2 * a] = (float)cos(angle);
        d->angle[2 * a + 1] = (float)sin(angle);
    }
    for (int l = 0; l < c->layers; l++) block_step(d, l);
    norm_row(d->n, d->x, d->m->norm, C);
    products(&(Product){d->logits, d->n, d->m->head, NULL, false}, 1);
    d->t++;
}

// How far the decoder's logits are from those of a full forward pass over the same tokens: the
// largest difference over the largest logit. The model needs room for n positions (m->c.seq).
static double check_step(Decoder *d, const int *tokens, int n) {
    double most = 0, apart = 0;
    model_forward(d->m, tokens, 1, n);
    const float *full = next_logits(d->m);
    for (int v = 0; v < d->m->c.vocab; v++) {
        keep_worst(&apart, fabs((double)(d->logits[v] - full[v])));
        keep_worst(&most, fabs((double)full[v]));
    }
    return apart / most;
}

// What the layer's cache takes in bytes by the paper's formulas, at 4 bytes a number (the paper has
// 2): batch 1, L positions, CKV channels of keys (the paper: C).
static double cache_formula(const Config *c, int l, int L, int T, bool keys) {
    double NH = c->heads, dh = c->dim / NH, CKV = c->kv_heads * dh, D = feature_count((int)dh);
    switch (c->kind[l]) {
    case MLP:        return 0;
    case APPROX:     return sizeof(float) * c->kv_heads * D * (dh + 1);
    case NONAPPROX:  return sizeof(float) * (c->dim + 2 * NH);
    case RNDEMBQK:
    case FIXEDSEQQK: return sizeof(float) * (L * CKV + (keys ? T * (c->dim + CKV) : NH * T * T));
    default:         return sizeof(float) * 2 * L * CKV;
    }
}

// ---- drawing a token ---------------------------------------------------------------------------

typedef struct {
    float p;
    int token;
} Choice;

static int by_probability(const void *a, const void *b) {
    const Choice *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return x->token - y->token;
}

// Draws from softmax(logits / temperature) cut to the top_k likeliest tokens (0: all), then to the
// fewest whose probabilities reach top_p. Temperature 0: the likeliest. Uses up the logits.
static int draw_token(float *logits, Choice *list, int V, double temperature, int top_k,
                      double top_p, uint64_t *rng) {
    float max = row_max(logits, V);
    if (temperature < 1e-30) {
        for (int v = 0; v < V; v++)
            if (logits[v] == max) return v;
    }
    if (top_k == 0 && top_p >= 1) return draw(logits, V, temperature, rng);
    double z = (double)row_exp(logits, (float)(1 / temperature), max, V), sum = 0;
    for (int v = 0; v < V; v++) list[v] = (Choice){logits[v], v};
    qsort(list, (size_t)V, sizeof *list, by_probability);
    int n = 0, most = top_k ? min_int(top_k, V) : V;
    double kept = z;
    if (top_k) {
        kept = 0;
        for (int i = 0; i < most; i++) kept += (double)list[i].p;
    }
    while (n < most && (n == 0 || sum < top_p * kept)) sum += (double)list[n++].p;
    double left = random_uniform(rng) * sum;
    for (int i = 0; i < n; i++)
        if ((left -= (double)list[i].p) < 0) return list[i].token;
    return list[n - 1].token;
}

// ---- the program -------------------------------------------------------------------------------
#ifndef GENERATE_NO_MAIN

// GB/s at which all threads together read memory, each summing its part of `bytes` as ROWS streams
// (one alone reaches less): the best of 8.
static double plain_read(size_t bytes) {
    enum { STEP = 16 };
    size_t n = bytes / sizeof(float) / STEP * STEP;
    float *x = allocate(n * sizeof(float), "the memory to read"), total = 0;
    float *sums = allocate(1024 * LANES * sizeof(float), "sums");
    double best = 0;
    for (int pass = 0; pass < 8; pass++) {
        double start = seconds();
#pragma omp parallel
        {
            int t = omp_get_thread_num(), nt = omp_get_num_threads();
            size_t apart = n / STEP / ROWS / nt * STEP;
            const float *mine = x + ROWS * apart * t;
            float lane[ROWS][STEP] = {{0}};
            for (size_t i = 0; i < apart; i += STEP)
                for (int r = 0; r < ROWS; r++)
                    for (int s = 0; s < STEP; s++) lane[r][s] += mine[r * apart + i + s];
            for (int r = 0; r < ROWS; r++)
                for (int s = 0; s < STEP; s++) sums[t % 1024 * LANES] += lane[r][s];
        }
        double rate = (double)n * sizeof(float) / (seconds() - start) / 1e9;
        if (rate > best) best = rate;
    }
    for (int t = 0; t < 1024; t++) total += sums[t * LANES];
    if (total != 0) fail("a sum of zeros is %g", (double)total);    // also: the sums are wanted
    free(x), free(sums);
    return best;
}

typedef struct {
    const char *prompt, *prompt_ids, *anchors, *as, *tokenizer;
    double temperature, top_p;
    int tokens, top_k, seed, threads, check, profile, bandwidth, json;
    bool text, keys;            // tokens are shown by their bytes; the anchors' keys are kept
    TokenTable table;           // of --tokenizer
} Options;

static void read_options(Options *o, int argc, char **argv, const char **folder) {
    *o = (Options){.temperature = 0.8, .top_p = 1, .tokens = 200, .seed = 1, .anchors = "maps"};
    const Arg args[] = {
        {"prompt", WORD, &o->prompt, 0, 0,
         "text to continue [a newline; token 0 if text cannot become tokens]"},
        {"prompt-ids", WORD, &o->prompt_ids, 0, 0, "the prompt as token ids: 3,41,9"},
        {"tokens", WHOLE, &o->tokens, 1, 1 << 24, "tokens to generate"},
        {"temperature", NUMBER, &o->temperature, 0, 1e3, "0: always the likeliest token"},
        {"top-k", WHOLE, &o->top_k, 0, 1 << 22, "draw from the k likeliest tokens; 0: from all"},
        {"top-p", NUMBER, &o->top_p, 1e-9, 1, "draw from the fewest tokens of this probability"},
        {"seed", WHOLE, &o->seed, 0, INT_MAX, "of the draws"},
        {"anchors", WORD, &o->anchors, 0, 0, "rndembqk, fixedseqqk: keep the maps, or the keys"},
        {"tokenizer", WORD, &o->tokenizer, 0, 0, "tokens.txt of dev/scale/bpe.py [bytes]"},
        {"as", WORD, &o->as, 0, 0,
         "show tokens as bytes or ids [bytes if tokens are bytes or with --tokenizer]"},
        {"check", SWITCH, &o->check, 0, 0, "compare every step with a full forward pass"},
        {"profile", SWITCH, &o->profile, 0, 0, "show the time a token takes, by position"},
        {"bandwidth", SWITCH, &o->bandwidth, 0, 0, "compare with a plain read of 512 MB"},
        {"threads", WHOLE, &o->threads, 1, 1024, "threads [OMP_NUM_THREADS, or all cores]"},
        {"json", SWITCH, &o->json, 0, 0, "print one JSON object instead of text"},
    };
    *folder = parse_args(argc, argv,
        "usage: generate_attnvar FOLDER [--option value]...\n\n"
        "Writes text with the model that ./train_attnvar --out FOLDER saved. The text goes to\n"
        "standard output, what it cost to standard error. Past the trained length rndembqk and\n"
        "fixedseqqk stop (their maps end there); the other variants go on, at positions they have\n"
        "not seen in training.\n", args, sizeof args / sizeof *args);
    if (strcmp(o->anchors, "maps") != 0 && strcmp(o->anchors, "keys") != 0)
        fail("--anchors '%s': expected maps or keys", o->anchors);
    if (o->as && strcmp(o->as, "bytes") != 0 && strcmp(o->as, "ids") != 0)
        fail("--as '%s': expected bytes or ids", o->as);
    if (o->prompt && o->prompt_ids) fail("--prompt and --prompt-ids: give one of them");
    o->keys = strcmp(o->anchors, "keys") == 0;
}

// The prompt's tokens, with room for n more; *count is set.
static int *read_prompt(const Options *o, const Settings *s, int *count) {
    const char *text = o->prompt ? o->prompt : "\n";
    size_t most = strlen(o->prompt_ids ? o->prompt_ids : text) + 1;
    int *tokens = allocate((most + o->tokens) * sizeof *tokens, "the tokens");
    *count = 0;
    bool encodes = takes_text(&o->table, s);
    if (!o->prompt_ids && !o->prompt && !encodes) {         // begin with token 0
        *count = 1;
        return tokens;
    }
    if (!o->prompt_ids) {
        if (!encodes)
            refuse_text("--prompt", s, "give --tokenizer FILE with the tokens that each token "
                        "joins, or --prompt-ids 3,41,9");
        *count = table_encode(&o->table, text, strlen(text), tokens);
        return tokens;
    }
    const Arg id = {"prompt-ids", WHOLE, NULL, 0, s->c.vocab - 1, NULL};
    for (text = o->prompt_ids;; text++) {
        size_t length = strcspn(text, ",");
        tokens[(*count)++] = whole_arg(&id, text, length);
        text += length;
        if (!*text) break;
    }
    expect_lines(&o->table, tokens, *count, "--prompt-ids");
    return tokens;
}

typedef struct {
    int *tokens, prompted, n, limit;    // n tokens in all, the prompt's first; limit 0, or the
                                        // position at which an anchor ends
    double *took;                       // seconds of each step
    double total, worst;                // seconds of all; --check
    bool stopped;
    Text text;                          // what was generated, as it is shown
} Story;

// Adds a token to the text, and prints it unless the output is JSON.
static void show(Story *s, const Options *o, Utf8 *utf8, int token) {
    Text piece = {0};
    if (o->text) token_put(&o->table, token, utf8, &piece);
    else text_add(&piece, "%d ", token);
    if (piece.n) text_add(&s->text, "%s", piece.s);
    if (!o->json) print_text(&piece);
    free(piece.s);
}

static void generate(Story *s, const Options *o, Decoder *d) {
    int V = d->m->c.vocab, all = s->prompted + o->tokens;
    uint64_t rng = random_stream((uint64_t)o->seed, STREAM_SAMPLE);
    Choice *list = allocate(V * sizeof *list, "choices");
    Utf8 utf8 = {0};
    s->took = allocate(all * sizeof *s->took, "times");
    for (int i = 0; i < s->prompted && !o->json; i++) show(s, o, &utf8, s->tokens[i]);
    if (s->text.s) s->text.s[0] = 0, s->text.n = 0;
    double start = seconds();
    for (s->n = s->prompted; s->n < all && !interrupted; s->n++) {
        if (s->limit && s->n > s->limit) {
            s->stopped = true;
            break;
        }
        while (d->t < s->n) {
            double began = seconds();
            decode(d, s->tokens[d->t]);
            s->took[d->t - 1] = seconds() - began;
            if (o->check) keep_worst(&s->worst, check_step(d, s->tokens, d->t));
        }
        if (s->n == s->prompted) start = seconds() - s->took[d->t - 1];
        for (int v = 0; v < V; v++) expect_finite((double)d->logits[v]);
        s->tokens[s->n] = draw_token(d->logits, list, V, o->temperature, o->top_k, o->top_p, &rng);
        show(s, o, &utf8, s->tokens[s->n]);
    }
    s->total = seconds() - start;
    Text rest = {0};
    utf8_end(&utf8, &rest);
    if (rest.n) text_add(&s->text, "%s", rest.s);
    if (!o->json) text_add(&rest, "\n"), print_text(&rest);
    free(rest.s);
    free(list);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// The steps from..end-1, in seconds: the shortest, or the one in the middle.
static double step_time(const double *took, int from, int end, bool shortest) {
    double *copy = allocate((end - from) * sizeof *copy, "times");
    memcpy(copy, took + from, (end - from) * sizeof *copy);
    qsort(copy, (size_t)(end - from), sizeof *copy, by_size);
    double time = copy[shortest ? 0 : (end - from) / 2];
    free(copy);
    return time;
}

// Times around positions 64, 128, .. : of the 64 steps that end there. The shortest shows the work
// itself, the median also what else the machine was doing.
static void profile(const Story *s, const Decoder *d, Text *json) {
    if (!json) fprintf(stderr, "position  ms a token: median  shortest\n");
    else text_add(json, ",\"profile\":[");
    for (int p = 64, first = 1; p <= d->t; p *= 2, first = 0) {
        double ms = 1e3 * step_time(s->took, p - 64, p, false);
        double least = 1e3 * step_time(s->took, p - 64, p, true);
        if (!json) fprintf(stderr, "%8d  %18.4f  %8.4f\n", p, ms, least);
        else text_add(json, "%s{\"position\":%d,\"ms\":%.6f,\"shortest_ms\":%.6f}",
                      first ? "" : ",", p, ms, least);
    }
    if (json) text_add(json, "]");
}

static void report_cache(const Decoder *d, const Options *o, Text *json) {
    const Config *c = &d->m->c;
    double all = 0, formula = 0, kinds[VARIANTS] = {0};
    if (json) text_add(json, ",\"cache\":[");
    for (int l = 0; l < c->layers; l++) {
        double bytes = (double)(d->cache[l].floats * sizeof(float));
        double expected = cache_formula(c, l, d->L, d->T, o->keys);
        all += bytes, formula += expected, kinds[c->kind[l]] += bytes;
        if (json)
            text_add(json, "%s{\"layer\":%d,\"variant\":\"%s\",\"bytes\":%.0f,\"formula\":%.0f}",
                           l ? "," : "", l + 1, variants[c->kind[l]].name, bytes, expected);
    }
    if (json) {
        text_add(json, "],\"cache_bytes\":%.0f,\"cache_formula\":%.0f", all, formula);
        return;
    }
    fprintf(stderr, "cache       %.0f bytes for %d positions (formula %.0f)", all, d->L, formula);
    for (int v = 0; v < VARIANTS; v++)
        if (uses_kind(c, v)) fprintf(stderr, "; %s %.0f", variants[v].name, kinds[v]);
    fprintf(stderr, "\n");
}

static void report(const Story *s, const Options *o, const Decoder *d, const char *folder,
                   int trained) {
    int made = s->n - s->prompted;
    // of the steps that made a token; like the plain read, the rate is that of the best one
    int from = min_int(s->prompted, d->t) - 1;
    double step = step_time(s->took, from, d->t, false);
    double best = step_time(s->took, from, d->t, true);
    double read = (double)weights_read / d->t, rate = read / best / 1e9, plain = 0;
    if (o->bandwidth) plain = plain_read((size_t)512 << 20);
    char reason[160] = "";
    if (s->stopped)
        snprintf(reason, sizeof reason,
                 "stopped at position %d: the maps of %s come from an anchor "
                 "of that length", s->limit, uses(&d->m->c, QK_TEXT_ANCHOR) ? "fixedseqqk"
                 : "rndembqk");
    else if (d->t > trained)
        snprintf(reason, sizeof reason,
                 "went on past the trained length of %d: positions beyond it "
                 "were never seen in training", trained);
    if (!o->json) {
        if (*reason) fprintf(stderr, "note        %s\n", reason);
        fprintf(stderr, "speed       %d tokens in %.2f s, %.1f a second; a step takes %.3f ms, at "
                "best %.3f\n", made, s->total, made / s->total, 1e3 * step, 1e3 * best);
        fprintf(stderr, "weights     %.1f MB read a token, %.2f GB/s", read / 1e6, rate);
        if (o->bandwidth) fprintf(stderr, ", %.2f of a plain read of memory (%.2f GB/s)",
                                  rate / plain, plain);
        fprintf(stderr, "\n");
        report_cache(d, o, NULL);
        if (o->check)
            fprintf(stderr, "check       %d steps, worst relative difference %.2e\n", d->t,
                    s->worst);
        if (o->profile) profile(s, d, NULL);
        return;
    }
    Text t = {0};
    text_add(&t, "{");
    add_model(&t, folder, &d->m->c, trained);
    text_add(&t, ",\"prompt_tokens\":%d,\"tokens\":[", s->prompted);
    for (int i = s->prompted; i < s->n; i++)
        text_add(&t, "%s%d", i > s->prompted ? "," : "", s->tokens[i]);
    text_add(&t, "],\"text\":");
    text_quote(&t, s->text.s ? s->text.s : "");
    text_add(&t, ",\"note\":");
    text_quote(&t, reason);
    add_member(&t, "seconds", s->total);
    add_member(&t, "tokens_per_second", made / s->total);
    add_member(&t, "step_ms", 1e3 * step);
    add_member(&t, "best_step_ms", 1e3 * best);
    add_member(&t, "weight_bytes_per_token", read);
    add_member(&t, "gb_per_second", rate);
    if (o->bandwidth) add_member(&t, "plain_read_gb_per_second", plain);
    if (o->bandwidth) add_member(&t, "share_of_plain_read", rate / plain);
    report_cache(d, o, &t);
    if (o->check) text_add(&t, ",\"check\":{\"steps\":%d,\"worst\":%.9g}", d->t, s->worst);
    if (o->profile) profile(s, d, &t);
    text_add(&t, "}\n");
    print_text(&t);
}

int main(int argc, char **argv) {
    static Options o;
    static Story story;
    const char *folder;
    Model m;
    Decoder d;
    read_options(&o, argc, argv, &folder);
    static Settings s;              // its texts live as long as the program
    checkpoint_settings(&s, folder, o.threads);
    int trained = s.c.seq;
    expect_use(has_anchor(&s.c), "anchors", "is for rndembqk and fixedseqqk, of which this model has "
               "no layer: leave it out");
    o.text = o.as ? strcmp(o.as, "bytes") == 0 : o.tokenizer || tokens_are_bytes(&s);
    table_open(&o.table, o.tokenizer, &s);
    story.tokens = read_prompt(&o, &s, &story.prompted);
    int L = story.prompted + o.tokens - 1;          // the last token is not looked at
    s.c.batch = 1;
    if (has_anchor(&s.c)) {
        story.limit = trained;
        if (story.prompted > trained)
            fail("the prompt has %d tokens, the maps of this model's anchor end at %d: expected a "
                 "shorter one", story.prompted, trained);
        L = min_int(L, trained);
    } else s.c.seq = o.check ? L : 1;               // no pass over more than one position
    model_open(&m, &s);
    decoder_open(&d, &m, L, o.keys);
    catch_signals();
    generate(&story, &o, &d);
    report(&story, &o, &d, folder, trained);
    if (o.check && !(story.worst <= 1e-4))
        fail("--check: a step is %.2e away from the full forward pass, expected 1e-4 at most",
             story.worst);
    free(story.tokens), free(story.took), free(story.text.s);
    table_free(&o.table);
    decoder_close(&d);
    free_work(omp_get_max_threads());
    model_free(&m);
    return 0;
}
#endif
