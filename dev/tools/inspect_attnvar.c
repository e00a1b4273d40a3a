/* inspect_attnvar.c: looks inside a trained model: what its attention maps are like, how its scores
   are distributed, what each layer's mixer costs.

    make tools
    dev/tools/inspect_attnvar FOLDER                      indicators and scores over 16 windows
    dev/tools/inspect_attnvar FOLDER --maps DIR           each map as DIR/layer1.head1.csv and .pgm
    dev/tools/inspect_attnvar FOLDER --cost               FLOPs, activation and cache bytes

The indicators, for a causal map A (T,T) of one head (row i a query, j <= i a key):

    entropy        H = -sum_ij A ln A                        0 .. ln T!          spread out?
    concentration  sqrt(sum_ij A^2)                          sqrt(H_T) .. sqrt T  peaked?
    sink           mean_i A_i0                               0 .. 1     looks at the first token?
    locfocN        mean_i A_i,i-N, N = 0 .. 3                0 .. 1     looks N tokens back?
    diversity      2/(T(T+1)) sum_ij std over heads of A_ij  the layer's  do its heads differ?

H_T is the harmonic number 1 + 1/2 + .. + 1/T. Each is the mean over heads, then over windows. The
normalised value is the place in the range, 0 to 1; diversity's range ends at 2 sqrt(NH-1)/(T+1),
where each head looks at one token, every head at another. An mlp layer has no map: n/a. In an
anchor layer the map is the anchor's: the same for every window. */

#ifndef PROGRAM
#define PROGRAM "inspect_attnvar"
#define SMALLER "with --cost a smaller --batch needs less"
#endif
static double multiplied;               // FLOPs of matrix products since it was set to 0
#ifdef _OPENMP
#define COUNT_FLOPS(n) do { \
        double more_ = (n); \
        _Pragma("omp atomic") multiplied += more_; \
    } while (0)
#else
#define COUNT_FLOPS(n) (multiplied += (n))
#endif
#define GENERATE_NO_MAIN
#include "generate_attnvar.c"           // its caches, to count what they take

// ---- maps --------------------------------------------------------------------------------------

// Row i of the map of head h in layer l, for row r of the batch: A (i+1). x (i+1), if not NULL,
// gets the scores before the softmax (or the Taylor polynomial). After model_forward; not for mlp.
static void map_row(double *A, double *x, const Model *m, int l, int r, int h, int i) {
    Mix mix = mix_shape(m, l);
    const Layer *L = &m->layer[l];
    int kind = m->c.kind[l], kv = h / (mix.NH / mix.NKV);
    double s = 1 / sqrt((double)mix.dh), max = 0, z = 0;
    if (mix.M == 1) r = 0;                                      // the anchor's map serves all
    for (int j = 0; j <= i; j++) {
        const float *q = L->q.out + at(r, kind == NONAPPROX ? j : i, h, &mix, mix.NH);
        const float *k = L->k.out + at(r, j, kv, &mix, mix.NKV);
        double sum = 0;
        for (int c = 0; c < mix.dh; c++)
            sum += (double)k[c] * (double)(kind == NONAPPROX ? q[c] * sigmoid(q[c]) : q[c]);
        A[j] = s * sum;
        if (x) x[j] = A[j];
        if (j == 0 || A[j] > max) max = A[j];
    }
    for (int j = 0; j <= i; j++)
        z += A[j] = kind == APPROX ? 1 + A[j] + A[j] * A[j] / 2 : exp(A[j] - max);
    for (int j = 0; j <= i; j++) A[j] /= z;
}

enum { ENTROPY, CONCENTRATION, DIVERSITY, SINK, LOCFOC0, LOCFOC1, LOCFOC2, LOCFOC3, INDICATORS };
static const char *const indicator_names[INDICATORS] = {
    "entropy", "concentration", "diversity", "sink", "locfoc0", "locfoc1", "locfoc2", "locfoc3"};

// Where x lies in its range, 0 to 1. Only the first three have another range than that.
static double normalised(int indicator, double x, int T, int NH) {
    double harmonic = 0, low = 0, high = 1;
    for (int t = 1; t <= T; t++) harmonic += 1.0 / t;
    if (indicator == ENTROPY) high = lgamma(T + 1.0);
    if (indicator == CONCENTRATION) low = sqrt(harmonic), high = sqrt((double)T);
    if (indicator == DIVERSITY) high = 2 * sqrt(NH - 1.0) / (T + 1);
    return high > low ? (x - low) / (high - low) : 0;
}

// The indicators of every head of layer l in row r of the batch: of (NH,INDICATORS). Diversity is
// the layer's, the same for all heads. Scores (if not NULL) are handed each pair's score.
typedef struct Scores Scores;
static void scores_add(Scores *s, double x);
static void measure_maps(double *of, const Model *m, int l, int r, Scores *scores) {
    int T = m->T, NH = m->c.heads;
    double *A = allocate((size_t)NH * T * sizeof *A, "rows of maps"), diversity = 0;
    double *x = allocate((size_t)NH * T * sizeof *x, "rows of scores");
    memset(of, 0, (size_t)NH * INDICATORS * sizeof *of);
    for (int i = 0; i < T; i++) {
#pragma omp parallel for
        for (int h = 0; h < NH; h++) {
            double *row = A + (size_t)h * T, *to = of + h * INDICATORS;
            map_row(row, x + (size_t)h * T, m, l, r, h, i);
            for (int j = 0; j <= i; j++) {
                if (row[j] > 0) to[ENTROPY] -= row[j] * log(row[j]);
                to[CONCENTRATION] += row[j] * row[j];
            }
            to[SINK] += row[0] / T;
            for (int n = 0; n < 4 && n <= i; n++) to[LOCFOC0 + n] += row[i - n] / (T - n);
        }
        for (int j = 0; j <= i; j++) {
            double mean = 0, square = 0;
            for (int h = 0; h < NH; h++) mean += A[(size_t)h * T + j] / NH;
            for (int h = 0; h < NH; h++) {
                double apart = A[(size_t)h * T + j] - mean;
                square += apart * apart / NH;
            }
            diversity += sqrt(square);
        }
        // nonapprox has one score a key, so it counts once, not again for each later query
        int from = m->c.kind[l] == NONAPPROX ? i : 0;
        for (int h = 0; h < NH && scores; h++)
            for (int j = from; j <= i; j++) scores_add(scores, x[(size_t)h * T + j]);
    }
    for (int h = 0; h < NH; h++) {
        of[h * INDICATORS + CONCENTRATION] = sqrt(of[h * INDICATORS + CONCENTRATION]);
        of[h * INDICATORS + DIVERSITY] = 2 * diversity / ((double)T * (T + 1));
    }
    free(A), free(x);
}

// The same for nonapprox from its gates alone, without any map: row i is row i-1 times b_i, and
// a_i, so H_i = b_i H_{i-1} - a ln a - b ln b, sum_j A_ij^2 = b_i^2 (that of i-1) + a_i^2,
// A_i0 = b_1 .. b_i, A_{i,i-1} = a_{i-1} b_i. Linear in T. of (INDICATORS): entropy, concentration,
// sink and the local foci; diversity has no such form.
static void measure_gates(double *of, const Model *m, int l, int r, int h) {
    Mix mix = mix_shape(m, l);
    double entropy = 0, square = 0, first = 1, last[4] = {0};   // last: A_i,i-N of the row
    memset(of, 0, INDICATORS * sizeof *of);
    for (int i = 0; i < m->T; i++) {
        const float *gates = m->layer[l].stat + stat_at(r, i, h, &mix);
        double a = (double)gates[0], b = i ? (double)gates[1] : 0;
        entropy = b * entropy - (a > 0 ? a * log(a) : 0) - (b > 0 ? b * log(b) : 0);
        square = b * b * square + a * a;
        first = i ? first * b : a;
        for (int n = 3; n > 0; n--) last[n] = last[n - 1] * b;
        last[0] = a;
        of[ENTROPY] += entropy;
        of[CONCENTRATION] += square;
        of[SINK] += first / m->T;
        for (int n = 0; n < 4 && n <= i; n++) of[LOCFOC0 + n] += last[n] / (m->T - n);
    }
    of[CONCENTRATION] = sqrt(of[CONCENTRATION]);
}

// ---- the distribution of scores ----------------------------------------------------------------

enum { KEPT_SCORES = 1 << 20, PERCENTILES = 5 };
static const double percentiles[PERCENTILES] = {1, 25, 50, 75, 99};

// Least, largest and mean are of all scores; the percentiles of KEPT_SCORES of them at most: every
// 2^n-th, n growing as they come.
struct Scores {
    double least, largest, sum;
    size_t seen, kept, every;
    double *value;
};

static void scores_add(Scores *s, double x) {
    if (s->seen == 0 || x < s->least) s->least = x;
    if (s->seen == 0 || x > s->largest) s->largest = x;
    s->sum += x;
    if (!s->value) {
        s->value = allocate(KEPT_SCORES * sizeof *s->value, "scores");
        s->every = 1;
    }
    if (s->seen++ % s->every != 0) return;
    if (s->kept == KEPT_SCORES) {                   // thin out: of each two the first
        for (size_t i = 0; i < KEPT_SCORES / 2; i++) s->value[i] = s->value[2 * i];
        s->kept /= 2, s->every *= 2;
        if ((s->seen - 1) % s->every != 0) return;
    }
    s->value[s->kept++] = x;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// The value below which p percent lie, between its two neighbours; value is sorted.
static double percentile(const Scores *s, double p) {
    double place = p / 100 * (double)(s->kept - 1);
    size_t low = (size_t)place, high = low + 1 < s->kept ? low + 1 : low;
    return s->value[low] + (place - (double)low) * (s->value[high] - s->value[low]);
}

#ifndef INSPECT_NO_MAIN
// ---- the program -------------------------------------------------------------------------------

typedef struct {
    char *data;                 // a file a line
    const char *text, *ids, *maps, *format, *tokenizer;
    int windows, batch, threads, cost, json, force;
} Options;

static void read_options(Options *o, int argc, char **argv, const char **folder) {
    *o = (Options){.windows = 16, .batch = 1, .format = "csv,pgm"};
    const Arg args[] = {
        {"data", WORDS, &o->data, 0, 0,
         "text or tokens, may be repeated [the run's validation data]"},
        {"windows", WHOLE, &o->windows, 1, 1 << 20, "windows of the data to average over"},
        {"maps", WORD, &o->maps, 0, 0, "folder for the attention maps of --text [none]"},
        {"text", WORD, &o->text, 0, 0, "the text of --maps [the first window of the data]"},
        {"ids", WORD, &o->ids, 0, 0, "the text as token ids: 3,41,9"},
        {"tokenizer", WORD, &o->tokenizer, 0, 0,
         "of --text: tokens.txt of dev/scale/bpe.py [bytes]"},
        {"format", WORD, &o->format, 0, 0, "of the maps: csv, pgm, or both"},
        {"force", SWITCH, &o->force, 0, 0, "overwrite maps that are there"},
        {"cost", SWITCH, &o->cost, 0, 0, "show the cost of each layer's mixer instead"},
        {"batch", WHOLE, &o->batch, 1, 4096, "sequences, for --cost"},
        {"threads", WHOLE, &o->threads, 1, 1024, "threads [OMP_NUM_THREADS, or all cores]"},
        {"json", SWITCH, &o->json, 0, 0, "print one JSON object instead of tables, heads and all"},
    };
    *folder = parse_args(argc, argv,
        "usage: inspect_attnvar FOLDER [--option value]...\n\n"
        "Looks inside the model that ./train_attnvar --out FOLDER saved: indicators of its\n"
        "attention maps and the distribution of its scores over windows of the data; or the maps\n"
        "of one text (--maps); or what its mixers cost (--cost).\n", args,
        sizeof args / sizeof *args);
    if (strcmp(o->format, "csv") && strcmp(o->format, "pgm") && strcmp(o->format, "csv,pgm"))
        fail("--format '%s': expected csv, pgm or csv,pgm", o->format);
    if (o->text && o->ids) fail("--text and --ids: give one of them");
    if ((o->text || o->ids) && !o->maps) fail("--text and --ids are for --maps FOLDER");
    if (o->maps && o->cost) fail("--maps and --cost: one at a time");
    expect_use(o->maps, "format", "is for --maps FOLDER: add it, or leave --format out");
    expect_use(o->maps, "force", "is for --maps FOLDER: add it, or leave --force out");
    expect_use(o->cost, "batch", "is for --cost: add it, or leave --batch out");
    expect_use(!o->cost, "data", "has no part in --cost: give one");
    expect_use(!o->cost, "windows", "has no part in --cost: give one");
    expect_use(!o->maps, "windows", "has no part in --maps, which shows one text: give one");
    expect_use(!o->text, "data", "and --text: the maps are of one of them: give one");
    expect_use(!o->ids, "data", "and --ids: the maps are of one of them: give one");
}

// Indicators (layers,NH,INDICATORS), means over the windows; scores (layers).
static void look(Model *m, const Data *d, size_t windows, double *all, Scores *scores) {
    int NH = m->c.heads, T = m->c.seq;
    double *one = allocate((size_t)NH * INDICATORS * sizeof *one, "indicators");
    int *inputs = allocate((size_t)T * sizeof(int), "a window");
    int *targets = allocate((size_t)T * sizeof(int), "a window");
    for (size_t w = 0; w < windows; w++) {
        progress("window", w, windows);
        read_validation_window(d, w, T, inputs, targets);
        model_forward(m, inputs, 1, T);
        for (int l = 0; l < m->c.layers; l++) {
            if (m->c.kind[l] == MLP) continue;
            measure_maps(one, m, l, 0, &scores[l]);
            double *to = all + (size_t)l * NH * INDICATORS;
            for (int i = 0; i < NH * INDICATORS; i++) to[i] += one[i] / (double)windows;
        }
    }
    progress("window", windows, windows);
    free(one), free(inputs), free(targets);
}

static double head_mean(const double *of, int NH, int indicator) {
    double sum = 0;
    for (int h = 0; h < NH; h++) sum += of[h * INDICATORS + indicator] / NH;
    return sum;
}

static void print_look(const Model *m, const double *all, Scores *scores) {
    int NH = m->c.heads, T = m->c.seq;
    printf("layer  variant      %-15s  %-13s  %-16s  %7s  %7s  %7s  %7s  %7s\n", "entropy (norm.)",
           "conc. (norm.)", "diversity (norm.)", "sink", "locfoc0", "locfoc1", "locfoc2",
           "locfoc3");
    for (int l = 0; l < m->c.layers; l++) {
        const double *of = all + (size_t)l * NH * INDICATORS;
        printf("%5d  %-11s", l + 1, variants[m->c.kind[l]].name);
        for (int i = 0; i < INDICATORS; i++) {
            double x = head_mean(of, NH, i);
            static const int width[] = {8, 7, 9};
            if (m->c.kind[l] == MLP) printf("  %*s", i < 3 ? width[i] + 8 : 7, "n/a");
            else if (i < 3) printf("  %*.*f (%.3f)", width[i], i ? 2 + 3 * (i == 2) : 1, x,
                                   normalised(i, x, T, NH));
            else printf("  %7.4f", x);
        }
        printf("\n");
    }
    printf("\nscores of query and key, before the softmax or approx's polynomial: least,\n"
           "percentiles, largest, and the largest absolute value\nlayer  variant");
    printf("%14s", "min");
    for (int p = 0; p < PERCENTILES; p++) printf("%8.0f%%", percentiles[p]);
    printf("%9s  %9s\n", "max", "max |x|");
    for (int l = 0; l < m->c.layers; l++) {
        Scores *s = &scores[l];
        printf("%5d  %-11s", l + 1, variants[m->c.kind[l]].name);
        if (m->c.kind[l] == MLP) {
            printf("%10s\n", "n/a");
            continue;
        }
        printf("%10.3f", s->least);
        for (int p = 0; p < PERCENTILES; p++) printf("%9.3f", percentile(s, percentiles[p]));
        printf("%9.3f  %9.3f\n", s->largest, fmax(fabs(s->least), fabs(s->largest)));
    }
    printf("\nThe first table holds means over heads and windows; in brackets, normalised: 0 is\n"
           "the least value possible, 1 the largest.\n"
           "  entropy    how evenly a query spreads its weights: 0 all on one position, 1 evenly\n"
           "  conc.      concentration, how peaked they are: 0 evenly, 1 all on one position\n"
           "  diversity  how much the heads of a layer differ: 0 not at all\n"
           "  sink       weight on the first position\n"
           "  locfocN    weight on the position N tokens back; 0: the query's own\n"
           "n/a: an mlp layer has no map. The equations: head of dev/tools/inspect_attnvar.c.\n");
}

static void json_look(Text *t, const Model *m, const double *all, Scores *scores) {
    int NH = m->c.heads, T = m->c.seq;
    text_add(t, ",\"indicators\":[");
    for (int l = 0; l < m->c.layers; l++) {
        const double *of = all + (size_t)l * NH * INDICATORS;
        text_add(t, "%s{\"layer\":%d,\"variant\":\"%s\"", l ? "," : "", l + 1,
                 variants[m->c.kind[l]].name);
        if (m->c.kind[l] == MLP) {
            text_add(t, ",\"raw\":null,\"normalised\":null,\"heads\":null,\"scores\":null}");
            continue;
        }
        text_add(t, ",\"raw\":{");
        for (int i = 0; i < INDICATORS; i++)
            add_member(t, indicator_names[i], head_mean(of, NH, i));
        text_add(t, "},\"normalised\":{");
        for (int i = 0; i < INDICATORS; i++)
            add_member(t, indicator_names[i], normalised(i, head_mean(of, NH, i), T, NH));
        text_add(t, "},\"heads\":[");
        for (int h = 0; h < NH; h++) {
            text_add(t, "%s{", h ? "," : "");
            for (int i = 0; i < INDICATORS; i++)
                add_member(t, indicator_names[i], of[h * INDICATORS + i]);
            text_add(t, "}");
        }
        const Scores *s = &scores[l];
        text_add(t, "],\"scores\":{\"count\":%zu", s->seen);
        add_member(t, "min", s->least);
        for (int p = 0; p < PERCENTILES; p++) {
            char name[16];
            snprintf(name, sizeof name, "p%.0f", percentiles[p]);
            add_member(t, name, percentile(s, percentiles[p]));
        }
        add_member(t, "max", s->largest);
        add_member(t, "mean", s->sum / (double)s->seen);
        text_add(t, "}}");
    }
    text_add(t, "]");
}

// ---- maps as files -----------------------------------------------------------------------------

// T lines of T weights with commas, zeros above the diagonal.
static void write_csv(FILE *f, const double *map, int T) {
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++)
            fprintf(f, "%.6g%c", map[(size_t)i * T + j], j + 1 < T ? ',' : '\n');
}

// A grey picture of T x T pixels, binary PGM: white 0, black 1, by the square root of the weight so
// that small ones can be seen.
static void write_pgm(FILE *f, const double *map, int T) {
    fprintf(f, "P5\n%d %d\n255\n", T, T);
    for (size_t e = 0; e < (size_t)T * T; e++) putc((int)(255.5 - 255 * sqrt(map[e])), f);
}

static Path map_path(const char *dir, const char *name, const char *suffix) {
    Path p;
    snprintf(p.s, sizeof p.s, "%s/%s%s", dir, name, suffix);
    return p;
}

// One file, whole or not at all.
static void save_map(const char *dir, const char *name, const double *map, int T, bool pgm) {
    Path path = map_path(dir, name, ""), temporary = map_path(dir, name, ".tmp");
    FILE *f = fopen(temporary.s, "wb");
    if (f && pgm) write_pgm(f, map, T);
    else if (f) write_csv(f, map, T);
    if (f && !ferror(f) && fflush(f) == 0 && fsync(fileno(f)) == 0 && fclose(f) == 0 &&
        rename(temporary.s, path.s) == 0) return;
    int error = errno;
    remove(temporary.s);
    fail("%s: cannot be written: %s; what was saved there before is as it was", path.s,
         strerror(error));
}

// Every layer's and head's map of the text that was run last; returns how many files.
static int write_maps(const Model *m, const Options *o) {
    int T = m->T, files = 0;
    double *map = allocate((size_t)T * T * sizeof *map, "a map");
    if (mkdir(o->maps, 0777) != 0 && errno != EEXIST)
        fail("--maps %s: cannot make the folder: %s: make those above it, or give another --maps",
             o->maps, strerror(errno));
    for (int pass = 0; pass < 2; pass++) {                      // first look, then write
        for (int l = 0; l < m->c.layers; l++) {
            for (int h = 0; h < m->c.heads && m->c.kind[l] != MLP; h++) {
                for (int i = 0; i < T && pass; i++)
                    map_row(map + (size_t)i * T, NULL, m, l, 0, h, i);
                for (int pgm = 0; pgm < 2; pgm++) {
                    char name[64];
                    if (!strstr(o->format, pgm ? "pgm" : "csv")) continue;
                    snprintf(name, sizeof name, "layer%d.head%d.%s", l + 1, h + 1,
                             pgm ? "pgm" : "csv");
                    Path path = map_path(o->maps, name, "");
                    if (!pass && !o->force && access(path.s, F_OK) == 0)
                        fail("%s: is there already: expected another --maps folder, or --force",
                             path.s);
                    if (!pass) continue;
                    save_map(o->maps, name, map, T, pgm);
                    files++;
                }
            }
        }
    }
    free(map);
    return files;
}

// The tokens of --text or --ids; *count of them.
static int *map_tokens(const Options *o, const Settings *s, const Data *d, const TokenTable *table,
                       int *count) {
    const Config *c = &s->c;
    const char *text = o->text ? o->text : o->ids;
    int *tokens = allocate(((text ? strlen(text) : 0) + c->seq + 1) * sizeof *tokens, "the tokens");
    *count = 0;
    if (!text) {
        int *targets = allocate(c->seq * sizeof(int), "a window");
        read_validation_window(d, 0, c->seq, tokens, targets);
        *count = c->seq;
        free(targets);
    }
    if (o->text && !takes_text(table, s))
        refuse_text("--text", s, "give --tokenizer FILE with the tokens that each token joins, or "
                    "--ids 3,41,9");
    if (o->text) *count = table_encode(table, text, strlen(text), tokens);
    const Arg id = {"ids", WHOLE, NULL, 0, c->vocab - 1, NULL};
    for (; o->ids; text++) {
        size_t length = strcspn(text, ",");
        tokens[(*count)++] = whole_arg(&id, text, length);
        text += length;
        if (!*text) break;
    }
    if (*count < 1 || *count > c->seq)
        fail("%d tokens of text: expected 1 to %d, the trained length", *count, c->seq);
    expect_lines(table, tokens, *count, o->ids ? "--ids" : text ? "--text" : "the data");
    return tokens;
}

// ---- cost --------------------------------------------------------------------------------------

// A layer's mixer, by the paper's formulas (paper's Tables 5 to 8, grouped heads generalised: kv is
// the width of k and v) and as it is here. FLOPs without Wo. Bytes at 4 a number.
typedef struct {
    double prefill, prefill_counted, decode, decode_counted, kept, kept_here, cache, cache_here;
} Cost;

static void cost_formula(Cost *of, const Config *c, int l) {
    double B = c->batch, L = c->seq, d = c->dim, h = c->heads, dh = d / h, kv = c->kv_heads * dh;
    double D = feature_count((int)dh), project = 2 * d * (d + 2 * kv), F4 = 4;
    switch (c->kind[l]) {
    case MLP:
        of->prefill = B * L * project, of->decode = B * project;
        of->kept = F4 * 4 * B * L * d;
        break;
    case APPROX:
        of->prefill = B * L * (project + 4 * d * D), of->decode = B * (project + 4 * d * D);
        of->kept = F4 * (4 * B * L * d + B * L * L * h);
        break;
    case NONAPPROX:
        of->prefill = B * L * project, of->decode = B * project;
        of->kept = F4 * (4 * B * L * d + 2 * B * L * h);
        break;
    case RNDEMBQK:
    case FIXEDSEQQK:        // prefill with the anchor's row, decoding with its maps kept
        of->prefill = 2 * L * L * d + 2 * B * L * L * d + L * 2 * d * (d + kv) + B * L * 2 * d * kv;
        of->decode = B * (2 * L * d + 2 * d * kv);
        of->kept = F4 * (2 * B * L * d + 4 * L * d + L * L * h);
        break;
    default:
        of->prefill = B * L * project + 4 * B * L * L * d, of->decode = B * (project + 4 * L * d);
        of->kept = F4 * (4 * B * L * d + B * L * L * h);
    }
    of->cache = B * cache_formula(c, l, (int)L, (int)L, false);
    if (variants[c->kind[l]].source == QK_RANDOM_ANCHOR ||
        variants[c->kind[l]].source == QK_TEXT_ANCHOR)
        of->cache -= (B - 1) * F4 * h * L * L;                  // the maps are there once
}

// Counts by running block l again, less what is not the mixer's: Wo and the block's MLP.
static double counted_prefill(Model *m, int l) {
    double N = (double)rows_in(m, m->b, l + 1) * m->T, C = m->c.dim, F = m->c.ffn;
    multiplied = 0;
    block_forward(m, l);
    return multiplied - 2 * N * C * C - 6 * N * C * F;
}

// What carve() gave the mixer of layer l: its pieces lie between q and the next layer's first one.
static double mixer_bytes(const Model *m, int l) {
    return (double)(m->layer[l + 1].h - m->layer[l].q.out) * sizeof(float);
}

static void measure_cost(Cost *cost, Model *m) {
    int T = m->c.seq, B = m->c.batch, C = m->c.dim;
    int *inputs = allocate((size_t)B * T * sizeof(int), "a batch");     // any tokens cost the same
    model_forward(m, inputs, B, T);
    double sum = 0;
    for (int l = 0; l < m->c.layers; l++) {
        cost_formula(&cost[l], &m->c, l);
        cost[l].prefill_counted = counted_prefill(m, l);
        sum += cost[l].kept_here = mixer_bytes(m, l);
    }
    if (sum != (double)m->mixer_bytes)
        fail("the mixers' parts add up to %.0f bytes, the model says %zu: the layout of carve() "
             "has changed, mixer_bytes() must follow it", sum, m->mixer_bytes);
    Decoder d;
    decoder_open(&d, m, T, false);
    for (int t = 0; t < T; t++) {                       // the last token is the one that counts
        for (int l = 0; l < m->c.layers && t + 1 == T; l++) {
            if (l == 0) memcpy(d.x, memcpy(d.e, m->embed->w + (size_t)inputs[t] * C,
                                           C * sizeof(float)), C * sizeof(float));
            decoded_flops = 0;
            block_step(&d, l);
            double rest = 2.0 * C * C + 6.0 * C * m->c.ffn;
            cost[l].decode_counted = B * (decoded_flops - rest);
            double own = (double)(d.cache[l].floats * sizeof(float));
            double map = sizeof(float) * m->c.heads * T * (T + 1.0) / 2;
            if (!d.cache[l].map) map = 0;
            cost[l].cache_here = B * (own - map) + map;
        }
        if (t + 1 < T) decode(&d, inputs[t]);
    }
    decoder_close(&d);
    free(inputs);
}

static void print_cost(const Model *m, const Cost *cost) {
    printf("%d sequence%s of %d positions. prefill: all positions at once; decode: one more\n"
           "token; kept for backward: bytes that the mixer keeps; cache: bytes at the last token.\n"
           "formula: as in the paper, at 4 bytes a number; here: FLOPs counted during a run\n"
           "(without Wo), bytes as allocated.\n\n"
           "                   prefill MFLOP      decode MFLOP/token       kept for backward     "
           "     cache bytes\nlayer  variant      formula      here    formula      here      "
           " formula      here      formula      here\n", m->c.batch, m->c.batch > 1 ? "s" : "",
           m->c.seq);
    for (int l = 0; l < m->c.layers; l++) {
        const Cost *c = &cost[l];
        printf("%5d  %-11s %9.2f %9.2f  %9.4f %9.4f  %12.0f %9.0f %12.0f %9.0f\n", l + 1,
               variants[m->c.kind[l]].name, c->prefill / 1e6, c->prefill_counted / 1e6,
               c->decode / 1e6, c->decode_counted / 1e6, c->kept, c->kept_here, c->cache,
               c->cache_here);
    }
    printf("\nWhy they differ: only the causal half of the paper's T x T map is computed, in\n"
           "blocks of %d queries and whole panels of %d keys; no map is kept for the backward\n"
           "pass, which recomputes it; approx computes a prefill by its map (the formula is the\n"
           "recurrent form's) and decodes from its state; anchors' maps are kept as triangles;\n"
           "the anchor is one more sequence in all layers before the last one that uses it.\n", QF,
           NR);
}

static void json_cost(Text *t, const Model *m, const Cost *cost) {
    text_add(t, ",\"batch\":%d,\"positions\":%d,\"cost\":[", m->c.batch, m->c.seq);
    for (int l = 0; l < m->c.layers; l++) {
        const Cost *c = &cost[l];
        text_add(t, "%s{\"layer\":%d,\"variant\":\"%s\"", l ? "," : "", l + 1,
                 variants[m->c.kind[l]].name);
        add_member(t, "prefill_flops_formula", c->prefill);
        add_member(t, "prefill_flops", c->prefill_counted);
        add_member(t, "decode_flops_formula", c->decode);
        add_member(t, "decode_flops", c->decode_counted);
        add_member(t, "activation_bytes_formula", c->kept);
        add_member(t, "activation_bytes", c->kept_here);
        add_member(t, "cache_bytes_formula", c->cache);
        add_member(t, "cache_bytes", c->cache_here);
        text_add(t, "}");
    }
    text_add(t, "]");
}

int main(int argc, char **argv) {
    static Options o;
    static Data data;
    const char *folder;
    Model m;
    TokenTable table = {0};
    Text t = {0};
    read_options(&o, argc, argv, &folder);
    static Settings s;              // its texts live as long as the program
    checkpoint_settings(&s, folder, o.threads);
    s.c.batch = o.cost ? o.batch : 1;
    table_open(&table, o.tokenizer, &s);
    if (!o.cost && !(o.maps && (o.text || o.ids))) open_evaluation(&data, &s, o.data, s.c.seq);
    model_open(&m, &s);
    print_change();
    text_add(&t, "{");
    add_model(&t, folder, &s.c, s.c.seq);
    if (o.cost) {
        Cost *cost = allocate(s.c.layers * sizeof *cost, "the costs");
        measure_cost(cost, &m);
        if (o.json) json_cost(&t, &m, cost);
        else print_cost(&m, cost);
        free(cost);
    } else if (o.maps) {
        int count, *tokens = map_tokens(&o, &s, &data, &table, &count);
        model_forward(&m, tokens, 1, count);
        int files = write_maps(&m, &o);
        if (o.json) {
            text_add(&t, ",\"positions\":%d,\"files\":%d,\"maps\":", count, files);
            add_string(&t, o.maps);
            text_add(&t, ",\"tokens\":[");
            for (int i = 0; i < count; i++) {               // each by its own bytes
                Text piece = {0};
                Utf8 utf8 = {0};
                token_put(&table, tokens[i], &utf8, &piece);
                utf8_end(&utf8, &piece);
                text_add(&t, i ? "," : "");
                text_quote(&t, piece.s ? piece.s : "");
                free(piece.s);
            }
            text_add(&t, "]");
        } else printf("%d files in %s: maps of %d x %d, a layer and head each\n", files, o.maps,
                      count, count);
        free(tokens);
    } else {
        size_t windows = validation_windows(&data, 1, s.c.seq, o.windows);
        double *all = allocate((size_t)s.c.layers * s.c.heads * INDICATORS * sizeof *all,
                               "indicators");
        Scores *scores = allocate(s.c.layers * sizeof *scores, "scores");
        look(&m, &data, windows, all, scores);
        for (int l = 0; l < s.c.layers; l++)
            if (scores[l].kept) qsort(scores[l].value, scores[l].kept, sizeof(double), ascending);
        if (!o.json) printf("%zu windows of %d positions, %d heads\n\n", windows, s.c.seq,
                            s.c.heads);
        text_add(&t, ",\"windows\":%zu,\"positions\":%d", windows, s.c.seq);
        if (o.json) json_look(&t, &m, all, scores);
        else print_look(&m, all, scores);
        for (int l = 0; l < s.c.layers; l++) free(scores[l].value);
        free(scores), free(all);
    }
    text_add(&t, "}\n");
    if (!o.json) t.s[0] = 0;
    print_text(&t);
    free(o.data);
    table_free(&table);
    free_work(omp_get_max_threads());
    model_free(&m);
    return 0;
}
#endif
