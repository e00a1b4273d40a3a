/* tools_test.c: what the instruments compute, in double, where equal means 1e-9 and less.

   - decoding with caches equals a full forward pass: every variant, the even hybrid of each, all in
     one model, grouped heads, QK-norm, untied heads, both anchors, maps or keys kept, from weights
     strong enough that every part matters;
   - a cache takes the bytes that the formula says;
   - the closed forms of nonapprox's indicators equal those of its explicit map, and indicators of
     maps that are known take their known values;
   - the features of approx multiply to its polynomial; draws obey top-k and top-p; bytes become
     valid UTF-8; text becomes the tokens of a table. Run it from the project's folder.

One line for each failure, then "N passed, N failed"; exits with 1 if any failed. */

#define ATTNVAR_DOUBLE
#define PROGRAM "tools_test"
#define SMALLER ""
#define INSPECT_NO_MAIN
#include "../tools/inspect_attnvar.c"

static int passed, failed;

static void check(bool ok, const char *format, ...) {
    va_list args;
    if (ok) passed++;
    else failed++;
    if (ok) return;
    va_start(args, format);
    printf("FAIL  ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
}

static Config config(const char *layers, int NH, int NKV, int dh, int T, int qk_norm, int untied) {
    Config c = {.layers = (int)strlen(layers), .heads = NH, .kv_heads = NKV, .dim = NH * dh,
                .ffn = 20,
                .vocab = 23, .seq = T, .batch = 1, .qk_norm = qk_norm, .untied = untied,
                .rope_base = 100};
    set_layers(&c, NULL, layers);
    return c;
}

// At 0.02, the usual size, maps are flat and a wrong key would hardly show.
static void open_model(Model *m, const Config *c, uint64_t seed) {
    model_plan(m, c);
    model_allocate(m, seed);
    make_work(c);
    for (int i = 0; i < m->ntensors; i++) {
        Tensor *t = &m->tensors[i];
        double std = t->role != MATRIX ? 0.3 : t == m->embed ? 1 : 1.2 / sqrt((double)t->cols);
        for (size_t e = 0; e < t->size; e++)
            t->w[e] = (t->role == GAIN) + std * random_normal(&seed);
    }
    if (uses(c, QK_RANDOM_ANCHOR))
        for (size_t e = 0; e < (size_t)c->seq * c->dim; e++) m->anchor_input[e] = random_normal(&seed);
    for (int t = 0; t < c->seq; t++) m->anchor_tokens[t] = (int)(random_u64(&seed) % c->vocab);
}

static void close_model(Model *m) {
    free_work(omp_get_max_threads());
    model_free(m);
}

static void decoding(const char *layers, int NH, int NKV, int dh, int T, int qk_norm, int untied) {
    Config c = config(layers, NH, NKV, dh, T, qk_norm, untied);
    for (int keys = 0; keys < (has_anchor(&c) ? 2 : 1); keys++) {
        Model m;
        Decoder d;
        int tokens[256];
        uint64_t rng = 7;
        double worst = 0;
        open_model(&m, &c, 3);
        decoder_open(&d, &m, T, keys);
        for (int t = 0; t < T; t++) {
            tokens[t] = (int)(random_u64(&rng) % c.vocab);
            decode(&d, tokens[t]);
            keep_worst(&worst, check_step(&d, tokens, t + 1));
        }
        check(worst <= 1e-9, "decoding %s, %d heads, %d kv, dh %d, T %d, qk-norm %d, untied %d, "
              "%s: %.2e", layers, NH, NKV, dh, T, qk_norm, untied, keys ? "keys" : "maps", worst);
        for (int l = 0; l < c.layers; l++) {
            double formula = cache_formula(&c, l, T, T, keys),
                bytes = (double)d.cache[l].floats * 8;
            if (d.cache[l].map) formula -= 8.0 * NH * T * (T - 1) / 2;  // the half that is zero
            check(bytes == formula, "cache of %s, layer %d: %.0f bytes, formula %.0f", layers,
                  l + 1,
                  bytes, formula);
        }
        decoder_close(&d);
        close_model(&m);
    }
}

// check_step must see a wrong cache: here, one that missed a token.
static void detects(void) {
    Config c = config("SNAR", 2, 2, 4, 8, 0, 0);
    for (int l = 0; l < c.layers; l++) {
        Model m;
        Decoder d;
        int tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8};
        open_model(&m, &c, 5);
        decoder_open(&d, &m, 8, false);
        for (int t = 0; t < 3; t++) decode(&d, tokens[t]);
        Cache *k = &d.cache[l];
        float *hurt = k->v ? k->v : k->S ? k->S : k->o;
        for (int i = 0; i < 4; i++) hurt[i] += 0.1;
        decode(&d, tokens[3]);
        double error = check_step(&d, tokens, 4);
        check(error > 1e-6, "a damaged cache of layer %d goes unnoticed: %.2e", l + 1, error);
        decoder_close(&d);
        close_model(&m);
    }
}

static void closed_forms(int NH, int NKV, int qk_norm, double strength) {
    Config c = config("NSN", NH, NKV, 6, 40, qk_norm, 0);
    Model m;
    int tokens[40];
    uint64_t rng = 11;
    double map[4 * INDICATORS], gates[INDICATORS];
    open_model(&m, &c, 13);
    for (size_t e = 0; e < m.layer[0].q.b->size; e++)
        m.layer[0].q.b->w[e] *= strength, m.layer[2].k.b->w[e % m.layer[2].k.b->size] *= strength;
    for (int t = 0; t < 40; t++) tokens[t] = (int)(random_u64(&rng) % c.vocab);
    model_forward(&m, tokens, 1, 40);
    for (int l = 0; l < 3; l += 2) {
        measure_maps(map, &m, l, 0, NULL);
        for (int h = 0; h < NH; h++) {
            measure_gates(gates, &m, l, 0, h);
            for (int i = 0; i < INDICATORS; i++) {
                double expected = map[h * INDICATORS + i], error = fabs(gates[i] - expected);
                if (i == DIVERSITY) continue;
                check(error <= 1e-11 * (1 + fabs(expected)),
                      "closed form of %s, layer %d head %d: %.12g, "
                      "from the map %.12g", indicator_names[i], l + 1, h, gates[i], expected);
            }
        }
    }
    close_model(&m);
}

static void near(double x, double y, const char *what) {
    check(fabs(x - y) <= 1e-10 * (1 + fabs(y)), "%s: %.12g, expected %.12g", what, x, y);
}

// Queries of zero give every key the same weight; then all indicators are known.
static void known_maps(void) {
    enum { T = 9, NH = 2 };
    Config c = config("SAEN", NH, NH, 4, T, 0, 0);
    Model m;
    int tokens[T] = {0};
    double of[NH * INDICATORS], harmonic = 0, focus = 0;
    open_model(&m, &c, 17);
    for (int l = 0; l < c.layers; l++) {
        Layer *L = &m.layer[l];
        memset(L->q.w->w, 0, L->q.w->size * sizeof(float));
        memset(L->q.b->w, 0, L->q.b->size * sizeof(float));
    }
    model_forward(&m, tokens, 1, T);
    for (int t = 1; t <= T; t++) harmonic += 1.0 / t;
    for (int i = 2; i < T; i++) focus += 1.0 / (i + 1) / (T - 2);
    for (int l = 0; l < c.layers; l++) {
        measure_maps(of, &m, l, 0, NULL);
        near(of[ENTROPY], lgamma(T + 1.0), "entropy of uniform maps");
        near(normalised(ENTROPY, of[ENTROPY], T, NH), 1, "its place");
        near(of[CONCENTRATION], sqrt(harmonic), "concentration of uniform maps");
        near(normalised(CONCENTRATION, of[CONCENTRATION], T, NH), 0, "its place");
        near(of[DIVERSITY], 0, "diversity of uniform maps");
        near(of[SINK], harmonic / T, "sink of uniform maps");
        near(of[LOCFOC0], harmonic / T, "locfoc0 of uniform maps");
        near(of[LOCFOC2], focus, "locfoc2 of uniform maps");
    }
    close_model(&m);

    // a score of nonapprox that falls by 1000 a position: all look at token 0
    Config n = config("N", NH, NH, 4, T, 0, 0);
    open_model(&m, &n, 19);
    model_forward(&m, tokens, 1, T);
    Mix mix = mix_shape(&m, 0);
    for (int i = 0; i < T; i++)
        for (int h = 0; h < NH; h++)
            for (int k = 0; k < mix.dh; k++) {
                m.layer[0].q.out[at(0, i, h, &mix, NH) + k] = 30;
                m.layer[0].k.out[at(0, i, h, &mix, NH) + k] = -20 * i;
            }
    measure_maps(of, &m, 0, 0, NULL);
    near(of[ENTROPY], 0, "entropy of one-hot maps");
    near(of[CONCENTRATION], sqrt((double)T), "concentration of one-hot maps");
    near(of[SINK], 1, "sink of one-hot maps");
    near(of[LOCFOC0], 1.0 / T, "locfoc0 of one-hot maps");
    near(of[LOCFOC1], 1.0 / (T - 1), "locfoc1 of one-hot maps");
    // the second head looks at itself instead: at each of T-1 rows two tokens differ, std 1/2 each
    for (int i = 0; i < T; i++)
        for (int k = 0; k < mix.dh; k++) m.layer[0].k.out[at(0, i, 1, &mix, NH) + k] *= -1;
    measure_maps(of, &m, 0, 0, NULL);
    near(of[DIVERSITY], 2.0 / (T * (T + 1)) * (T - 1), "diversity of opposite heads");
    near(of[INDICATORS + LOCFOC0], 1, "locfoc0 of a head that looks at itself");
    close_model(&m);
}

static void percentiles_of(void) {
    Scores s = {0};
    for (int i = 0; i < 3 * KEPT_SCORES; i++)
        scores_add(&s, (double)((i * 7919LL) % (3 * KEPT_SCORES)));
    qsort(s.value, s.kept, sizeof(double), ascending);
    double n = 3.0 * KEPT_SCORES;
    near(s.least, 0, "least score");
    near(s.largest, n - 1, "largest score");
    near(s.sum / n, (n - 1) / 2, "mean score");
    for (int p = 0; p < PERCENTILES; p++)
        check(fabs(percentile(&s, percentiles[p]) / n - percentiles[p] / 100) < 1e-3,
              "percentile %.0f of 0 .. n-1: %g of %g", percentiles[p], percentile(&s,
                                                                                  percentiles[p]),
                                                                                      n);
    free(s.value);
}

static void features_of(void) {
    for (int dh = 1; dh <= 9; dh += 4) {
        double x[9], y[9], phi_x[64], phi_y[64], product = 0;
        uint64_t rng = 23;
        for (int i = 0; i < dh; i++) x[i] = random_normal(&rng), y[i] = random_normal(&rng);
        features(phi_x, x, dh), features(phi_y, y, dh);
        for (int f = 0; f < feature_count(dh); f++) product += phi_x[f] * phi_y[f];
        double score = 0;
        for (int i = 0; i < dh; i++) score += x[i] * y[i] / sqrt((double)dh);
        near(product, 1 + score + score * score / 2, "phi(x).phi(y)");
    }
}

// The same logits bit for bit from any number of threads, where products and heads are shared out.
static void threads(void) {
    Config c = config("SANRE", 4, 2, 64, 140, 0, 0);
    float *first = allocate((size_t)c.vocab * 140 * sizeof(float), "logits");
    int differ = 0;
    for (int n = 1; n <= 3; n++) {
        Model m;
        Decoder d;
        uint64_t rng = 31;
        omp_set_num_threads(n);
        open_model(&m, &c, 37);
        decoder_open(&d, &m, 140, false);
        for (int t = 0; t < 140; t++) {
            decode(&d, (int)(random_u64(&rng) % c.vocab));
            float *row = first + (size_t)t * c.vocab;
            if (n == 1) memcpy(row, d.logits, c.vocab * sizeof(float));
            else differ += memcmp(row, d.logits, c.vocab * sizeof(float)) != 0;
        }
        decoder_close(&d);
        close_model(&m);
    }
    omp_set_num_threads(1);
    check(differ == 0, "logits differ between 1, 2 and 3 threads at %d of 280 steps", differ);
    free(first);
}

static void draws(void) {
    enum { V = 5, DRAWS = 20000 };
    const double p[V] = {0.1, 0.4, 0.05, 0.3, 0.15};
    const struct {
        double temperature, top_p, expected[V];
        int top_k;
    } cases[] = {
        {1, 1, {0.1, 0.4, 0.05, 0.3, 0.15}, 0},
        {0, 1, {0, 1, 0, 0, 0}, 0},
        {1, 1, {0, 0.4 / 0.7, 0, 0.3 / 0.7, 0}, 2},
        {1, 0.69, {0, 0.4 / 0.7, 0, 0.3 / 0.7, 0}, 0},
        {1, 0.71, {0, 0.4 / 0.85, 0, 0.3 / 0.85, 0.15 / 0.85}, 0},
        {1, 0.5, {0, 1, 0, 0, 0}, 2},                           // top-p of what top-k leaves
        {0.5, 1, {0.01 / 0.285, 0.16 / 0.285, 0.0025 / 0.285, 0.09 / 0.285, 0.0225 / 0.285}, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double seen[V] = {0};
        uint64_t rng = 29;
        for (int n = 0; n < DRAWS; n++) {
            float logits[V];
            Choice list[V];
            for (int v = 0; v < V; v++) logits[v] = log(p[v]) + 2;
            seen[draw_token(logits, list, V, cases[i].temperature, cases[i].top_k, cases[i].top_p,
                            &rng)]++;
        }
        for (int v = 0; v < V; v++) {
            double expected = cases[i].expected[v], error = fabs(seen[v] / DRAWS - expected);
            double allowed = 4 * sqrt(expected * (1 - expected) / DRAWS);       // 4 standard errors
            check(error <= allowed, "draws, case %zu: token %d at %.4f, expected %.4f", i, v,
                  seen[v] / DRAWS, expected);
        }
    }
}

// Text becomes the tokens that Hugging Face's library gives it (dev/golden/bpe/make_ids.js).
static void tokens_of_text(void) {
    static char text[1 << 15];
    static int ids[1 << 15];
    TokenTable table;
    int wrong = 0, n = 0, id;
    table_read(&table, "dev/data/tokens.txt", 1024);
    FILE *f = fopen("dev/golden/bpe/text.txt", "rb");
    size_t bytes = f ? fread(text, 1, sizeof text, f) : 0;
    if (f) fclose(f);
    int count = table_encode(&table, text, bytes, ids);
    f = fopen("dev/golden/bpe/ids.txt", "r");
    for (; f && fscanf(f, "%d", &id) == 1; n++) wrong += n < count && ids[n] != id;
    if (f) fclose(f);
    check(n > 10000 && n == count && wrong == 0, "tokens of a text: %d, the library's %d, %d of "
          "them others", count, n, wrong);
    Text out = {0};
    Utf8 utf8 = {0};
    const char *sentence = "\xe2\x80\x9cYes\xe2\x80\x9d \xc3\xa9t\xc3\xa9, it\xe2\x80\x99s";
    count = table_encode(&table, sentence, strlen(sentence), ids);
    for (int i = 0; i < count; i++) token_put(&table, ids[i], &utf8, &out);
    check(strcmp(out.s, sentence) == 0, "tokens back to text: '%s'", out.s);
    check(table_encode(&(TokenTable){0}, "\xff a", 3, ids) == 3 && ids[0] == 255 && ids[1] == 32,
          "without a table a byte is its own token");
    free(out.s);
    table_free(&table);
}

int main(void) {
    static const char *const layers[] = {"SSS", "MMM", "AAA", "NNN", "RRR", "FFF", "EEE", "MSMS",
                                         "ASAS",
                                         "NSNS", "RSRS", "FSFS", "ESES", "SMANRFE", "EFRNAMS",
                                             "RFRF",
                                         "FSRS"};
    omp_set_num_threads(1);                                     // these models are tiny
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (int qk_norm = 0; qk_norm < 2; qk_norm++) {
            decoding(layers[i], 2, 2, 6, 21, qk_norm, (int)i % 2);
            if (strchr(layers[i], 'M')) continue;               // has no shape with grouped heads
            decoding(layers[i], 4, 2, 4, 13, qk_norm, 0);
            decoding(layers[i], 3, 1, 2, 13, qk_norm, 0);
        }
    decoding("SANRFE", 2, 1, 4, QB + 9, 0, 0);
    decoding("SANRFE", 1, 1, 4, 1, 0, 0);
    decoding("NMN", 3, 3, 5, 9, 1, 0);                          // an odd head size: no RoPE
    detects();
    threads();
    closed_forms(2, 2, 0, 1);
    closed_forms(4, 2, 1, 1);
    closed_forms(2, 1, 0, 30);                                  // saturated gates
    known_maps();
    percentiles_of();
    features_of();
    draws();
    tokens_of_text();
    printf("instruments, in double: %d passed, %d failed\n", passed, failed);
    return failed > 0;
}
