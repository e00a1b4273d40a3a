/* web.c: train_attnvar.c as the engine of a web page.

   Compiled to WebAssembly by `make web`. The page's worker (src/engine.js) calls the functions
   marked EXPORT: start a model from the command line's own options, take steps, validate, look at
   maps, write text, save. The worker provides the files and the two output streams: it answers
   WASI's calls from a few files that it holds in memory, so the main file's reader of data and its
   writer of checkpoints work unchanged. fail() ends in proc_exit(), which the worker turns
   into an exception that carries the message.

   One instance holds one model, so everything here is global. Numbers return in result[]; rows of
   maps, indicators and tokens in memory that web_memory() reserved. */

#define PROGRAM "attnvar"
#define SMALLER "choose a smaller model"
#define INSPECT_NO_MAIN
#ifdef __clang__
#pragma clang diagnostic ignored "-Wunused-function"
#endif
#include "../tools/inspect_attnvar.c"

#ifdef __wasm__
#define EXPORT(name) __attribute__((export_name(#name))) name

// wasi-libc's strtoull() multiplies numbers of 128 bits, for which the compiler calls this routine
// of its own library. Debian packs that library separately; the one routine is shorter than a check
// for it. Schoolbook, in halves of 32 bits; high parts wrap around.
__extension__ typedef unsigned __int128 Wide;
Wide __multi3(Wide a, Wide b);
Wide __multi3(Wide a, Wide b) {
    uint64_t a0 = (uint32_t)a, a1 = (uint64_t)a >> 32, b0 = (uint32_t)b, b1 = (uint64_t)b >> 32;
    uint64_t mid = a1 * b0 + (a0 * b0 >> 32), low = (uint64_t)a * (uint64_t)b;
    uint64_t high = a1 * b1 + (mid >> 32) + (((uint32_t)mid + a0 * b1) >> 32);
    high += (uint64_t)(a >> 64) * (uint64_t)b + (uint64_t)a * (uint64_t)(b >> 64);
    return (Wide)high << 64 | low;
}

// wasi-libc copies and clears 4 bytes at a time; here it is 16. The attributes keep the compiler
// from turning the loops into calls of these very functions.
typedef unsigned char Block __attribute__((vector_size(16), aligned(1), may_alias));
__attribute__((no_builtin("memcpy"))) void *memcpy(void *restrict to, const void *restrict from,
                                                   size_t n) {
    unsigned char *d = to;
    const unsigned char *b = from;
    for (; n >= 16; n -= 16, d += 16, b += 16) *(Block *)d = *(const Block *)b;
    while (n-- > 0) *d++ = *b++;
    return to;
}

__attribute__((no_builtin("memset"))) void *memset(void *to, int byte, size_t n) {
    unsigned char *d = to;
    Block all = {0};
    for (all += (unsigned char)byte; n >= 16; n -= 16, d += 16) *(Block *)d = all;
    while (n-- > 0) *d++ = (unsigned char)byte;
    return to;
}
#else
#define EXPORT(name) name
#endif

static Settings s;
static Data data, val;
static Model model;
static size_t windows;                  // that a validation scores
static State now;                       // steps taken, the training windows' RNG
static double result[16];               // what a call returns besides its value

double *EXPORT(web_result)(void);
void *EXPORT(web_memory)(int bytes);
int EXPORT(web_start)(char *options);
double EXPORT(web_step)(void);
double EXPORT(web_validate)(int skip);
void EXPORT(web_floors)(void);
int EXPORT(web_read)(const int *tokens, int n);
void EXPORT(web_map)(float *map, float *scores, int l, int h);
int EXPORT(web_indicators)(double *of, int l);
int EXPORT(web_sample)(int *tokens, int prompted, int n, double temperature, int seed);
void EXPORT(web_save)(void);

double *web_result(void) { return result; }

// Memory for the arguments of a call; the caller keeps it.
void *web_memory(int bytes) { return allocate((size_t)bytes, "the page's own data"); }

// Makes the model. options: words of the command line, a line each; --init loads weights. They are
// overwritten with the letters of the layers, for which there must be room for MAX_LAYERS + 1.
// result: parameters, vocabulary, T, B, heads, steps in all, memory in bytes, validation tokens.
int web_start(char *options) {
    enum { MOST = 2 * OPTIONS + 2 };
    char *argv[MOST + 1] = {PROGRAM};
    int argc = 1;
    for (char *p = options, *next; *p; p = next) {
        next = p + strcspn(p, "\n");
        if (*next) *next++ = 0;
        if (argc == MOST) fail("more than %d words of options", MOST);
        argv[argc++] = p;
    }
    parse(argc, argv);
    settings(&s);
    open_data(&s, &data, &val);
    windows = validation_windows(&val, s.c.batch, s.c.seq, s.eval_batches);
    model_plan(&model, &s.c);
    model_allocate(&model, s.seed);
    make_work(&s.c);
    if (data_is_bytes(&val)) survey(&val);       // its checksum, for web_save()
    now = restore(&model, &s, &data, &val);
    double bytes = 4.0 * (double)model.parameters * sizeof(float) + (double)model.activation_bytes
                 + (double)work_bytes(&s.c);
    double all[] = {(double)model.parameters, s.c.vocab, s.c.seq, s.c.batch, s.c.heads, s.steps,
                    bytes, (double)windows * s.c.seq};
    memcpy(result, all, sizeof all);
    strcpy(options, s.c.letters);
    return s.c.layers;
}

// One step of training, as in the main file's train(). Returns the loss; result: the share of
// right answers in its last batch, the gradient's norm, the learning rate, the steps taken.
double web_step(void) {
    double lr = rate_of(&s, now.step);
    double loss = accumulate(&model, &s, &data, &now.rng);
    double norm = gradient_norm(&model, now.step + 1, loss);
    adamw(&model, &s.adamw, ++now.step, lr, norm);
    double all[] = {(double)model.correct / model.scored, norm, lr, now.step};
    memcpy(result, all, sizeof all);
    return loss;
}

// The validation loss; result: the share of right answers. skip 1 leaves out the blocks of
// variant layers, 2 only their mixers.
double web_validate(int skip) {
    model.skip = (Skip)skip;
    Score score = evaluate(&model, &val, windows);
    model.skip = SKIP_NONE;
    result[0] = score.accuracy;
    return score.loss;
}

// result: chance, unigram, bigram, in nats. Of recall: the two chances of a right answer.
void web_floors(void) {
    if (data.pairs) {
        result[0] = 1.0 / (s.c.vocab - s.c.vocab / 2), result[1] = 1.0 / data.pairs;
        return;
    }
    result[0] = log((double)s.c.vocab), result[1] = result[2] = NAN;
    if (s.c.vocab <= FLOORS_VOCAB)
        floors(&data, &val, windows, s.c.seq, s.c.vocab, &result[1], &result[2]);
}

// Runs n tokens through the model, for web_map() and web_indicators(). Returns how many: at most T.
int web_read(const int *tokens, int n) {
    n = min_int(n, s.c.seq);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= s.c.vocab)
            fail("token %d is %d, expected 0 to %d", i, tokens[i], s.c.vocab - 1);
    if (n > 0) model_forward(&model, tokens, 1, n);
    return n;
}

// map, scores (n,n): of head h in layer l (from 0) for the text that was read, which must have a
// map; zero where the key comes after the query.
void web_map(float *map, float *scores, int l, int h) {
    size_t n = (size_t)model.T;
    double *row = allocate(2 * n * sizeof *row, "a row of the map");
    for (size_t i = 0; i < n; i++, map += n, scores += n) {
        map_row(row, row + n, &model, l, 0, h, (int)i);
        for (size_t j = 0; j < n; j++) {
            map[j] = j <= i ? (float)row[j] : 0;
            scores[j] = j <= i ? (float)row[n + j] : 0;
        }
    }
    free(row);
}

// of (INDICATORS): means over the heads of layer l for the text that was read, each as its place
// in its range, 0 to 1. Returns how many there are: 0 for an mlp layer, which has no map.
int web_indicators(double *of, int l) {
    int NH = s.c.heads;
    if (s.c.kind[l] == MLP) return 0;
    double *all = allocate((size_t)NH * INDICATORS * sizeof *all, "indicators");
    measure_maps(all, &model, l, 0, NULL);
    for (int i = 0; i < INDICATORS; i++) {
        of[i] = 0;
        for (int h = 0; h < NH; h++) of[i] += all[h * INDICATORS + i] / NH;
        of[i] = normalised(i, of[i], model.T, NH);
    }
    free(all);
    return INDICATORS;
}

// Goes on from tokens[0 .. prompted-1] until there are n, or as far as the trained length reaches.
// Returns how many there are.
int web_sample(int *tokens, int prompted, int n, double temperature, int seed) {
    static Decoder d;
    uint64_t draws = random_stream((uint64_t)seed, STREAM_SAMPLE);
    n = min_int(n, s.c.seq);
    decoder_open(&d, &model, n, false);
    for (int i = 0; i < n; i++) {
        if (i >= prompted) tokens[i] = draw(d.logits, s.c.vocab, temperature, &draws);
        if (i + 1 < n) decode(&d, tokens[i]);
    }
    decoder_close(&d);
    return n;
}

// Writes the checkpoint into the folder "saved": model.safetensors and its companions.
void web_save(void) {
    if (!make_folder("saved")) fail("saved: cannot make the folder: %s", strerror(errno));
    save(&model, &s, "saved", &now);
}
