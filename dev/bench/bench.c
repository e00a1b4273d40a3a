/* bench.c: how fast is train_attnvar.c, and how far from the limits of the machine?

    build and run   make bench          everything: a quarter of an hour on two cores
                    make bench-quick    the matrix product and two sizes: under a minute
                    dev/bench/bench --help

It includes the program's one file and calls what training calls. README.md beside it tells how to
read the tables. Rules that all of them keep:
  - What is compared is measured in turns, in one process, and reported as the median over the
    turns of the ratio, so that a clock that drifts or a neighbour that wakes up hits both sides.
  - OpenBLAS's threads and OpenMP's both spin for a while when they have nothing to do, and would
    steal time from one another: after each block of measurements quiet() waits until the process
    uses no CPU any more.
  - The first calls of a block warm up caches and wake threads; they are not counted.
  - Before two products are compared for speed, their results are compared.
  - The libraries choose their kernels themselves: variables of the shell that would choose for them
    are removed. Where OpenBLAS does not know the processor and takes a kernel with narrower vectors
    than this program's, it is told to take one that has them; otherwise it is not compared with.
Numbers are printed for people; the last lines, `key: number` or `key: n/a`, for programs. */

#pragma GCC diagnostic ignored "-Wunused-function"      // of the included file only a part is used
#define ATTNVAR_NO_MAIN
#include "../../train_attnvar.c"
#include <dlfcn.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/wait.h>

extern char **environ;

enum { MAX_REPEATS = 99, MAX_ROUNDS = 999 };

// ---- the options -------------------------------------------------------------------------------

static struct {
    bool gemm, steps, scaling, mixers, memory, torch;   // the parts to run
    bool quick, selftest;
    int repeats, threads;                       // 0: not given
    const char *sizes;                          // a list with commas; NULL: all
    const char *variants;                       // the same
    const char *openblas;                       // its shared library; NULL: look for it
    const char *python;                         // one that can import torch; NULL: look for it
    int seq, batch;                             // for the steps; 0: the size's own
    const char *peak;                           // only measure this size's peak memory
    const char *program;                        // argv[0]
} opt;

// The sizes as this benchmark runs them. Steps are timed with the first T and B, of 2,048 or 4,096
// tokens; peak memory is measured with the second.
typedef struct {
    const char *name;
    int seq, batch, vocab;
    int memory_seq, memory_batch;
    int steps;                                  // of PyTorch in a round
} Case;
static const Case cases[] = {
    {"tiny",  128, 16, 256, 128, 16, 40},
    {"small", 256, 16, 256, 256, 16, 10},
    {"10m",   256,  8, 256, 256, 8, 4},
    {"70m",  1024,  2, 50304, 1024, 4, 2},
    {"160m", 1024,  2, 50304, 1024, 4, 2},
};
enum { CASES = sizeof cases / sizeof *cases };

static _Noreturn void bench_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("bench: error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

// Is name one of the list's entries, which commas part? Everything is in no list (NULL).
static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *p = list; p; p = strchr(p, ','), p += p != NULL)
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == 0)) return true;
    return !list;
}

// The shape of a case as a model's configuration, every layer of one variant.
static Config config_of(const Case *k, int variant, int seq, int batch) {
    Config c = {.rope_base = 10000, .vocab = k->vocab, .seq = seq, .batch = batch};
    for (int i = 1; i <= SIZES; i++) {
        if (strcmp(sizes[i][0], k->name) != 0) continue;
        Settings s = defaults();
        apply_size(&s, k->name);
        c.dim = s.c.dim, c.layers = s.c.layers, c.ffn = s.c.ffn, c.heads = c.kv_heads = s.c.heads;
    }
    for (int l = 0; l < c.layers; l++) c.kind[l] = variant;
    return c;
}

// ---- measuring ---------------------------------------------------------------------------------

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Waits until no thread of this process spins any longer, at most a quarter of a second.
static void quiet(void) {
    double end = seconds() + 0.25, used;
    do {
        double before = cpu_seconds();
        nanosleep(&(struct timespec){0, 2000000}, NULL);
        used = cpu_seconds() - before;
    } while (used > 2e-4 && seconds() < end);
}

// CPU seconds that others used since the start of the machine: all that /proc/stat counts as busy,
// time stolen by other virtual machines among it, less this process and its children. NaN where
// there is no such file.
static double others_seconds(void) {
    double field[8], busy = 0;
    struct rusage children;
    FILE *f = fopen("/proc/stat", "r");
    int n = 0;
    if (!f) return NAN;
    if (fscanf(f, "cpu") == 0)
        while (n < 8 && fscanf(f, "%lf", &field[n]) == 1) n++;
    fclose(f);
    if (n < 8) return NAN;
    for (int i = 0; i < 8; i++) busy += i == 3 || i == 4 ? 0 : field[i];    // idle, waiting for I/O
    getrusage(RUSAGE_CHILDREN, &children);
    return busy / (double)sysconf(_SC_CLK_TCK) - cpu_seconds()
         - (double)(children.ru_utime.tv_sec + children.ru_stime.tv_sec)
         - 1e-6 * (double)(children.ru_utime.tv_usec + children.ru_stime.tv_usec);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *x, int n) {
    double sorted[MAX_ROUNDS];
    memcpy(sorted, x, (size_t)n * sizeof *x);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

// Seconds a call of work_on(arg), of as many calls as fill `least` seconds. The calls of the first
// `warm` seconds, at least one, do not count: caches fill, threads wake and find their cores.
static double block(void (*work_on)(void *), void *arg, double warm, double least) {
    double start = seconds(), now;
    int calls = 0;
    do work_on(arg);
    while (seconds() - start < warm);
    start = seconds();
    do {
        work_on(arg);
        calls++;
        now = seconds();
    } while (now - start < least);
    quiet();
    return (now - start) / calls;
}

static float *random_floats(size_t n, float scale, uint64_t seed) {
    float *x = allocate(n * sizeof *x, "the benchmark's operands");
    for (size_t i = 0; i < n; i++) x[i] = scale * (float)(2 * random_uniform(&seed) - 1);
    return x;
}

// A number of the last lines; NaN stands for what was not measured.
static void print_key(const char *key, double value) {
    if (isfinite(value)) printf("%s: %.4g\n", key, value);
    else printf("%s: n/a\n", key);
}

static void print_cell(double value, const char *format, int width) {
    char text[32];
    snprintf(text, sizeof text, format, value);
    printf(" %*s", width, isfinite(value) ? text : "n/a");
}

// ---- OpenBLAS, if it is there ------------------------------------------------------------------
//
// cblas_sgemm with int dimensions, or with 64-bit ones where the name ends in 64_, as in the
// libraries that Python's numpy and scipy bring along.

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
typedef void Sgemm(int, int, int, int, int, int, float, const float *, int, const float *, int,
                   float, float *, int);
typedef void Sgemm64(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, float, const float *,
                     int64_t, const float *, int64_t, float, float *, int64_t);
static Sgemm *sgemm;
static Sgemm64 *sgemm64;
static char openblas_text[512];
static bool told, too_narrow;           // told which kernel to take; its vectors are narrower than ours

// Removes what the shell tells the libraries, PyTorch's among them, about kernels and threads.
static void clear_environment(void) {
    static const char *const prefixes[] = {"OPENBLAS_", "GOTO_", "MKL_", "ONEDNN_", "DNNL_",
                                           "ATEN_CPU_CAPABILITY", "TORCHINDUCTOR_"};
    for (char **entry = environ; *entry;) {
        char name[128];
        size_t n = strcspn(*entry, "=");
        bool known = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            known = known || strncmp(*entry, prefixes[i], strlen(prefixes[i])) == 0;
        if (!known || n >= sizeof name) {
            entry++;
            continue;
        }
        memcpy(name, *entry, n);
        name[n] = 0;
        printf("ignored   %s\n", *entry);
        unsetenv(name);
        entry = environ;                        // unsetenv moves the rest
    }
}

// Bytes in a vector of an OpenBLAS kernel, by the name that openblas_get_corename() returns. Other
// names than these mean kernels of x86 with 16, or of other processors, on which all are 16.
static int kernel_bytes(const char *name) {
    static const char *const wide[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    static const char *const middle[] = {"Haswell", "Zen", "Sandybridge", "Bulldozer", "Piledriver",
                                         "Steamroller", "Excavator"};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strcasecmp(name, wide[i]) == 0) return 64;
    for (size_t i = 0; i < sizeof middle / sizeof *middle; i++)
        if (strcasecmp(name, middle[i]) == 0) return 32;
    return 16;
}

// A data pointer becomes a function pointer, which POSIX allows and ISO C does not.
static bool find_symbol(void *function, void *library, const char *name) {
    void *p = dlsym(library, name);
    if (p) memcpy(function, &p, sizeof p);
    return p != NULL;
}

static bool openblas_use(void *library, const char *file) {
    static const char *const prefixes[] = {"", "scipy_"};
    for (int wide = 0; wide < 2; wide++) {
        for (int p = 0; p < 2; p++) {
            char name[80];
            void (*set_threads)(int) = NULL;
            char *(*get_config)(void) = NULL, *(*get_name)(void) = NULL;
            const char *before = prefixes[p], *after = wide ? "64_" : "";
            snprintf(name, sizeof name, "%sopenblas_set_num_threads%s", before, after);
            if (!find_symbol(&set_threads, library, name)) continue;
            snprintf(name, sizeof name, "%scblas_sgemm%s", before, after);
            if (wide ? !find_symbol(&sgemm64, library, name) : !find_symbol(&sgemm, library, name))
                continue;
            set_threads(opt.threads);
            snprintf(name, sizeof name, "%sopenblas_get_config%s", before, after);
            const char *config = find_symbol(&get_config, library, name) ? get_config() : "";
            snprintf(name, sizeof name, "%sopenblas_get_corename%s", before, after);
            const char *kernel = find_symbol(&get_name, library, name) ? get_name() : "unknown";
            bool narrow = kernel_bytes(kernel) < (int)VECTOR_BYTES;
            snprintf(openblas_text, sizeof openblas_text, "%s: kernel %s%s%s; %s", file, kernel,
                     told ? ", as it is told: its own choice has narrower vectors" : "",
                     narrow ? ", whose vectors are narrower than this program's: what compares "
                              "with it is n/a (see --openblas)" : "", config);
            too_narrow = narrow;
            if (narrow) sgemm = NULL, sgemm64 = NULL;
            return true;
        }
    }
    return false;
}

static bool openblas_there(void) { return sgemm || sgemm64; }

// The library names its kernel once it is loaded, and takes another only before. So a child process
// loads it and looks.
static void openblas_widen(const char *file) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
        _exit(library && openblas_use(library, file) && too_narrow);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) return;
    told = WEXITSTATUS(status) == 1;
    if (told) setenv("OPENBLAS_CORETYPE", VECTOR_BYTES == 64 ? "SkylakeX" : "Haswell", 1);
}

// Its idle threads spin for 2^28 clock ticks, a tenth of a second, unless told before it is loaded.
static void openblas_open(void) {
    static const char *const names[] = {
        "libopenblas.so.0", "libopenblas.so", "libopenblasp.so.0", "libopenblas.dylib",
        "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
        "/usr/local/opt/openblas/lib/libopenblas.dylib"};
    setenv("OPENBLAS_THREAD_TIMEOUT", "20", 1);
    if (opt.openblas) {
        openblas_widen(opt.openblas);
        void *library = dlopen(opt.openblas, RTLD_NOW | RTLD_LOCAL);
        if (!library) bench_fail("--openblas %s: cannot be loaded: %s", opt.openblas, dlerror());
        if (!openblas_use(library, opt.openblas))
            bench_fail("--openblas %s: has no cblas_sgemm and openblas_set_num_threads",
                       opt.openblas);
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        openblas_widen(names[i]);
        void *library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (library && openblas_use(library, names[i])) return;
    }
    snprintf(openblas_text, sizeof openblas_text,
             "not found (libopenblas.so.0; see --openblas): what compares with it is n/a");
}

// c = a b + beta c, row-major: a (M,K) or its transpose as stored, b (K,N) likewise.
static void openblas_product(float *c, int ldc, const float *a, int lda, bool ta, const float *b,
                             int ldb, bool tb, int M, int N, int K, float beta) {
    int x = ta ? TRANS : NO_TRANS, y = tb ? TRANS : NO_TRANS;
    if (sgemm) sgemm(ROW_MAJOR, x, y, M, N, K, 1, a, lda, b, ldb, beta, c, ldc);
    else sgemm64(ROW_MAJOR, x, y, M, N, K, 1, a, lda, b, ldb, beta, c, ldc);
}

// The machine's speed limit: GFLOP/s of a square product, large enough to hide all overhead.
enum { SQUARE = 1024 };
static float *square_a, *square_b, *square_c;

static void square_call(void *unused) {
    (void)unused;
    openblas_product(square_c, SQUARE, square_a, SQUARE, false, square_b, SQUARE, false,
                     SQUARE, SQUARE, SQUARE, 0);
}

static double sgemm_gflops(double least) {
    if (!openblas_there()) return NAN;
    if (!square_a) {
        square_a = random_floats(SQUARE * SQUARE, 1, 1);
        square_b = random_floats(SQUARE * SQUARE, 1, 2);
        square_c = random_floats(SQUARE * SQUARE, 1, 3);
    }
    return 2e-9 * SQUARE * SQUARE * SQUARE / block(square_call, NULL, least / 4, least);
}

// ---- the matrix product ------------------------------------------------------------------------

enum { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, ORIENTATIONS };
static const char *const orientation_names[] = {"y = x w'", "dx = dy w", "dw += dy' x"};

// One product of a linear layer: x (N,I), w (O,I), y (N,O); each array may serve as any gradient.
typedef struct {
    const char *size, *layer;
    int orientation, N, I, O;
    const float *x, *w, *y;         // operands, shared by all shapes
    float *out;                     // the result, apart from them
    double ours[MAX_REPEATS], theirs[MAX_REPEATS], ratio[MAX_REPEATS];
    int rounds;
} Product;

static void ours_call(void *arg) {
    const Product *p = arg;
    int N = p->N, I = p->I, O = p->O;
    switch (p->orientation) {
    case FORWARD:
        matmul(p->out, O, NULL, 0, rows(p->x, I), transposed(rows(p->w, I)), N, O, I);
        break;
    case INPUT_GRADIENT:
        matmul(p->out, I, NULL, 0, rows(p->y, O), rows(p->w, I), N, I, O);
        break;
    default:
        matmul(p->out, I, p->out, I, transposed(rows(p->y, O)), rows(p->x, I), O, I, N);
    }
}

static void theirs_call(void *arg) {
    const Product *p = arg;
    int N = p->N, I = p->I, O = p->O;
    switch (p->orientation) {
    case FORWARD:
        openblas_product(p->out, O, p->x, I, false, p->w, I, true, N, O, I, 0);
        break;
    case INPUT_GRADIENT:
        openblas_product(p->out, I, p->y, O, false, p->w, I, false, N, I, O, 0);
        break;
    default:
        openblas_product(p->out, I, p->y, O, true, p->x, I, false, O, I, N, 1);
    }
}

// Both products of the same operands must agree within 1e-4 of the largest element: what is
// measured is right.
static void compare_results(Product *p, float *other) {
    int across = p->orientation == FORWARD ? p->O : p->I;
    int down = p->orientation == WEIGHT_GRADIENT ? p->O : p->N;
    size_t n = (size_t)down * across;
    float *mine = p->out;
    double largest = 0, worst = 0;
    for (size_t i = 0; i < n; i++) mine[i] = other[i] = (float)(i % 7);
    ours_call(p);
    p->out = other;
    theirs_call(p);
    p->out = mine;
    for (size_t i = 0; i < n; i++) {
        double size = fabs((double)other[i]), error = fabs((double)mine[i] - (double)other[i]);
        if (!(size <= largest)) largest = size;
        if (!(error <= worst)) worst = error;
    }
    if (!(largest > 0 && worst <= 1e-4 * largest))
        bench_fail("%s, %s, %s: the product differs from OpenBLAS's by %g where its largest "
                   "element is %g: nothing to measure until that is mended",
                   p->size, p->layer, orientation_names[p->orientation], worst, largest);
}

// Lists the products of every size; returns how many. The head's are chunks of positions, as the
// model cuts them.
static int list_products(Product *list) {
    int count = 0;
    for (int i = 0; i < CASES; i++) {
        if (!listed(opt.sizes, cases[i].name)) continue;
        Config c = config_of(&cases[i], STANDARD, cases[i].seq, cases[i].batch);
        Model m;
        model_plan(&m, &c);
        int N = c.seq * c.batch, C = c.dim, F = c.ffn, chunk = m.chunk;
        free(m.tensors), free(m.layer);
        if (opt.selftest) N = 64, chunk = min_int(chunk, 64);
        const struct { const char *layer; int N, I, O; } layers[] = {
            {"q k v o", N, C, C}, {"gate up", N, C, F}, {"down", N, F, C},
            {"head", chunk, C, c.vocab}};
        for (int l = 0; l < 4; l++)
            for (int o = 0; o < ORIENTATIONS; o++)
                list[count++] = (Product){.size = cases[i].name, .layer = layers[l].layer,
                    .orientation = o, .N = layers[l].N, .I = layers[l].I, .O = layers[l].O};
    }
    return count;
}

static void print_products(const Product *list, int count) {
    printf("\nThe matrix product: N positions, I inputs, O outputs of a linear layer; GFLOP/s\n");
    printf("%-6s %-8s %-12s %6s %6s %6s %8s %9s %7s\n", "size", "layer", "product", "N", "I", "O",
           "ours", "OpenBLAS", "ratio");
    for (int i = 0; i < count; i++) {
        const Product *p = &list[i];
        printf("%-6s %-8s %-12s %6d %6d %6d", p->size, p->layer, orientation_names[p->orientation],
               p->N, p->I, p->O);
        print_cell(median(p->ours, p->rounds), "%.1f", 8);
        print_cell(median(p->theirs, p->rounds), "%.1f", 9);
        print_cell(median(p->ratio, p->rounds), "%.3f", 7);
        printf("\n");
    }
}

static double highest(const double *x, int n) {
    double most = x[0];
    for (int i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

// Geometric means of the ratios, by size, by orientation, and of all: that one is returned. The
// same from the best round of each side says how much of it is noise, which only slows.
static double print_means(const Product *list, int count) {
    double all[2] = {0};
    for (int best = 0; best < 2; best++) {
        printf("geometric mean of the %s:", best ? "best rounds" : "ratio");
        for (int group = 0; group < CASES + ORIENTATIONS; group++) {
            const char *name = group < CASES ? cases[group].name : orientation_names[group - CASES];
            double sum = 0;
            int n = 0;
            for (int i = 0; i < count; i++) {
                const Product *p = &list[i];
                bool in = group < CASES ? strcmp(p->size, name) == 0
                                        : p->orientation == group - CASES;
                if (!in) continue;
                sum += log(best ? highest(p->ours, p->rounds) / highest(p->theirs, p->rounds)
                                : median(p->ratio, p->rounds));
                n++;
            }
            if (n) printf("  %s", name), print_cell(exp(sum / n), "%.3f", 0);
            if (group < CASES) all[best] += sum;
        }
        printf("  all"), print_cell(exp(all[best] / count), "%.3f", 0);
        printf("\n");
    }
    return exp(all[0] / count);
}

// Who comes first alternates.
static void measure_product(Product *p, int round, double least) {
    double gflop = 2e-9 * p->N * p->I * p->O, theirs = NAN;
    if (round % 2 && openblas_there()) theirs = block(theirs_call, p, least, least);
    double ours = block(ours_call, p, least, least);
    if (round % 2 == 0 && openblas_there()) theirs = block(theirs_call, p, least, least);
    p->ours[round] = gflop / ours, p->theirs[round] = gflop / theirs;
    p->ratio[round] = theirs / ours;
    p->rounds = round + 1;
}

static size_t largest_size(size_t a, size_t b) { return a > b ? a : b; }

// Rounds over all shapes, until `repeats` or, after the first, until `budget` seconds are over.
static double gemm_part(double budget) {
    static Product list[CASES * 4 * ORIENTATIONS];
    int count = list_products(list), round = 0;
    double start = seconds(), least = opt.selftest ? 0 : opt.quick ? 0.01 : 0.03;
    size_t x = 0, w = 0, y = 0;
    for (int i = 0; i < count; i++) {
        const Product *p = &list[i];
        x = largest_size(x, (size_t)p->N * p->I);
        w = largest_size(w, (size_t)p->O * p->I);
        y = largest_size(y, (size_t)p->N * p->O);
    }
    size_t most = largest_size(x, largest_size(w, y));
    float *px = random_floats(x, 1, 1), *pw = random_floats(w, 1, 2), *py = random_floats(y, 1, 3);
    float *out = random_floats(most, 1, 4);
    float *other = openblas_there() ? random_floats(most, 1, 5) : NULL;
    for (int i = 0; i < count; i++) {
        list[i].x = px, list[i].w = pw, list[i].y = py, list[i].out = out;
        if (other) compare_results(&list[i], other);
    }
    free(other);
    for (; round < opt.repeats && (round == 0 || seconds() - start < budget); round++)
        for (int i = 0; i < count; i++) measure_product(&list[i], round, least);
    print_products(list, count);
    printf("rounds: %d; blocks of at least %.0f ms\n", round, 1e3 * least);
    free(px), free(pw), free(py), free(out);
    return print_means(list, count);
}

// ---- a whole step of training ------------------------------------------------------------------

// One model with random tokens; run() is one step as train() makes it, without the data.
typedef struct {
    Model m;
    int *inputs, *targets, step;
} Trainee;

static void trainee_open(Trainee *t, const Config *c) {
    int n = c->batch * c->seq;
    *t = (Trainee){.step = 0};
    model_plan(&t->m, c);
    model_allocate(&t->m, 1);
    t->inputs = allocate((size_t)n * sizeof(int), "tokens");
    t->targets = allocate((size_t)n * sizeof(int), "tokens");
    uint64_t rng = 1;
    for (int i = 0; i < n; i++) t->inputs[i] = (int)(random_u64(&rng) % (uint64_t)c->vocab);
    for (int i = 0; i < n; i++) t->targets[i] = (int)(random_u64(&rng) % (uint64_t)c->vocab);
    for (int i = 0; i < c->seq; i++) t->m.anchor_tokens[i] = t->inputs[i];
}

static void trainee_close(Trainee *t) {
    model_free(&t->m);
    free(t->inputs), free(t->targets);
}

static void trainee_step(void *arg) {
    Trainee *t = arg;
    const Config *c = &t->m.c;
    const AdamW a = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .decay = 0.1, .clip = 1};
    zero_gradients(&t->m);
    model_forward(&t->m, t->inputs, c->batch, c->seq);
    double loss = model_backward(&t->m, t->targets);
    t->step++;
    adamw(&t->m, &a, t->step, 1e-4, gradient_norm(&t->m, t->step, loss));
}

// FLOPs of a step: 6 N + 6 L C T a token, N the parameters with the head and without the embedding
// look-up. The same for every variant, so that rates compare: it is what standard attention costs.
static double step_flops(const Model *m) {
    const Config *c = &m->c;
    double N = (double)m->parameters - (c->untied ? (double)c->vocab * c->dim : 0);
    return (double)c->batch * c->seq * (6 * N + 6.0 * c->layers * c->dim * c->seq);
}

typedef struct {
    double rate[MAX_ROUNDS], sgemm[MAX_ROUNDS], ratio[MAX_ROUNDS], gflop;   // tokens/s, GFLOP/s
    int tokens, rounds;
} Steps;

// One visit: a model is made and warmed up, and its steps take turns with sgemm. A large one (more
// than 0.5 TFLOP a step) is not warmed up: its memory was touched when it was made.
static void visit(Steps *s, const Config *c, int steps) {
    Trainee t;
    trainee_open(&t, c);
    s->gflop = 1e-9 * step_flops(&t.m);
    s->tokens = c->batch * c->seq;
    double least = opt.selftest ? 0 : 0.1;
    if (s->gflop < 500) trainee_step(&t);
    quiet();
    double before = sgemm_gflops(least);
    for (int i = 0; i < steps && s->rounds < MAX_ROUNDS; i++) {
        double start = seconds(), took;
        int calls = 0;
        do {
            trainee_step(&t);
            took = (seconds() - start) / ++calls;
        } while (took * calls < least);
        quiet();
        double after = sgemm_gflops(least), limit = (before + after) / 2;
        s->rate[s->rounds] = s->tokens / took, s->sgemm[s->rounds] = limit;
        s->ratio[s->rounds++] = s->gflop / took / limit;
        before = after;
    }
    trainee_close(&t);
}

static void print_steps(const char *size, const Config *c, int variant, const Steps *s) {
    double rate = median(s->rate, s->rounds);
    printf("%-6s %-12s %5d %3d %6d", size, variants[variant].name, c->seq, c->batch, s->rounds);
    print_cell(rate, "%.0f", 9);
    print_cell(rate / s->tokens * s->gflop, "%.1f", 9);
    print_cell(median(s->sgemm, s->rounds), "%.1f", 8);
    print_cell(median(s->ratio, s->rounds), "%.3f", 7);
    printf("\n");
    fflush(stdout);
}

static void print_steps_head(const char *what) {
    printf("\n%s\n%-6s %-12s %5s %3s %6s %9s %9s %8s %7s\n", what, "size", "variant", "T", "B",
           "steps", "tokens/s", "GFLOP/s", "sgemm", "ratio");
}

// Steps of every size and variant; ratios[size] gets standard's share of sgemm's rate.
static void steps_part(double *ratios, double deadline) {
    static Steps all[VARIANTS];
    print_steps_head("A training step: forward, backward, gradient norm, AdamW; "
                     "6 N + 6 L C T FLOPs a token");
    for (int i = 0; i < CASES; i++) {
        const Case *k = &cases[i];
        bool small = i <= 2;
        if (!listed(opt.sizes ? opt.sizes : opt.quick ? "tiny,10m" : NULL, k->name)) continue;
        int seq = opt.seq ? opt.seq : k->seq, batch = opt.batch ? opt.batch : k->batch;
        memset(all, 0, sizeof all);
        for (int round = 0; round < (small ? opt.repeats : 1); round++) {
            if (round && seconds() > deadline) break;
            for (int v = 0; v < VARIANTS; v++) {
                if (!listed(opt.variants ? opt.variants : opt.quick ? "standard" : NULL,
                            variants[v].name)) continue;
                Config c = config_of(k, v, seq, batch);
                visit(&all[v], &c, opt.selftest || (i >= 2 && !opt.quick) ? 1 : 2);
            }
        }
        for (int v = 0; v < VARIANTS; v++) {
            Config c = config_of(k, v, seq, batch);
            if (all[v].rounds) print_steps(k->name, &c, v, &all[v]);
        }
        if (all[STANDARD].rounds)
            ratios[i] = median(all[STANDARD].ratio, all[STANDARD].rounds);
    }
}

// What a token of a step costs at 16 times the length: no more, where the mixer is linear in T.
static void growth_part(void) {
    static const int kinds[] = {STANDARD, NONAPPROX, MLP};
    static Steps all[3][2];
    const Case *k = &cases[opt.selftest ? 0 : 2];
    int lengths[] = {opt.selftest ? 32 : 256, opt.selftest ? 128 : 4096};
    int rounds = min_int(opt.repeats, 3);
    print_steps_head("The same at two lengths, as many tokens a step");
    for (int round = 0; round < rounds; round++)
        for (int v = 0; v < 3; v++)
            for (int l = 0; l < 2; l++) {
                Config c = config_of(k, kinds[v], lengths[l], lengths[1] / lengths[l]);
                visit(&all[v][l], &c, 1);
            }
    for (int v = 0; v < 3; v++) {
        double ratio[MAX_ROUNDS];
        for (int l = 0; l < 2; l++) {
            Config c = config_of(k, kinds[v], lengths[l], lengths[1] / lengths[l]);
            print_steps(k->name, &c, kinds[v], &all[v][l]);
        }
        for (int i = 0; i < rounds; i++) ratio[i] = all[v][0].rate[i] / all[v][1].rate[i];
        printf("       a token of %s takes %.3f times as long at T = %d as at %d",
               variants[kinds[v]].name, median(ratio, rounds), lengths[1], lengths[0]);
        if (kinds[v] == STANDARD) printf(" (its FLOPs: %.3f)", all[v][1].gflop / all[v][0].gflop);
        printf("\n");
    }
}

// ---- more threads --------------------------------------------------------------------------------

enum { CHAINS = 12, THREAD_COUNTS = 12 };

// Multiply-adds in registers, nothing else: what the cores can do at once. GFLOP/s.
static double fma_gflops(int threads, double least) {
    double start = seconds(), flops = 0;
    (void)threads;                          // unused without OpenMP
    do {
        #pragma omp parallel num_threads(threads) reduction(+ : flops)
        {
            enum { TIMES = 200000 };
            volatile float quarter = 0.25f, kept[VL];
            vec x[CHAINS] = {{0}}, f = x[0] + quarter;
            for (int i = 0; i < CHAINS; i++) x[i] += (float)i;      // else they would be one chain
            for (int k = 0; k < TIMES; k++) {
                #pragma GCC unroll 12
                for (int i = 0; i < CHAINS; i++) x[i] = x[i] * f + f;
            }
            for (int i = 1; i < CHAINS; i++) x[0] += x[i];
            for (int l = 0; l < (int)VL; l++) kept[l] = ((float *)x)[l];    // so all are computed
            (void)kept;
            flops += 2.0 * TIMES * CHAINS * VL;
        }
    } while (seconds() - start < least);
    return 1e-9 * flops / (seconds() - start);
}

// Steps of standard with 1, 2, 4, .. threads, in turns with the bare loop.
static void scaling_part(void) {
    static double rate[THREAD_COUNTS][MAX_REPEATS], bare[THREAD_COUNTS][MAX_REPEATS];
    int counts[THREAD_COUNTS], n = 0, most = opt.threads;
    for (int t = 1; t < most && n < THREAD_COUNTS - 1; t *= 2) counts[n++] = t;
    counts[n++] = most;
    printf("\nStandard's steps with more threads, and a loop of multiply-adds in registers\n"
           "%-6s %7s %9s %9s %7s %9s %7s\n", "size", "threads", "tokens/s", "over 1", "loop",
           "over 1", "ratio");
    for (int i = 0; i < CASES; i++) {
        if (!listed(opt.sizes ? opt.sizes : "10m", cases[i].name)) continue;
        Config c = config_of(&cases[i], STANDARD, cases[i].seq, cases[i].batch);
        Trainee t;
        trainee_open(&t, &c);
        trainee_step(&t);
        for (int round = 0; round < opt.repeats; round++)
            for (int k = 0; k < n; k++) {
                double least = opt.selftest ? 0 : 0.2;
                omp_set_num_threads(counts[k]);
                bare[k][round] = fma_gflops(counts[k], least);
                int steps = 0;
                double start = seconds();
                do trainee_step(&t), steps++;
                while (seconds() - start < 2 * least);
                rate[k][round] = (double)steps * c.batch * c.seq / (seconds() - start);
            }
        for (int k = 0; k < n; k++) {
            double ours[MAX_REPEATS], loop[MAX_REPEATS], ratio[MAX_REPEATS];
            for (int r = 0; r < opt.repeats; r++) {
                ours[r] = rate[k][r] / rate[0][r], loop[r] = bare[k][r] / bare[0][r];
                ratio[r] = ours[r] / loop[r];
            }
            printf("%-6s %7d %9.0f %9.2f %7.0f %9.2f %7.2f\n", cases[i].name, counts[k],
                   median(rate[k], opt.repeats), median(ours, opt.repeats),
                   median(bare[k], opt.repeats), median(loop, opt.repeats),
                   median(ratio, opt.repeats));
            fflush(stdout);
        }
        trainee_close(&t);
    }
    omp_set_num_threads(most);
}

// ---- the mixers --------------------------------------------------------------------------------

enum { LENGTHS = 6, MIX_TOKENS = 8192 };

// A mixer at one shape. Its arrays are shared by all and large enough for any.
typedef struct {
    int variant, B;
    Mix m;
    float *q, *k, *v, *o, *g, *dq, *dk, *dv, *stat, *w, *dw;
    double forward[MAX_REPEATS], backward[MAX_REPEATS], both[MAX_REPEATS];  // ns a token
} Mixing;

// mlp's mixer is the product with Wv too: without it the two others would stand alone.
static void mixing_forward(void *arg) {
    const Mixing *x = arg;
    int C = x->m.NH * x->m.dh, N = x->m.R * x->m.T;
    if (variants[x->variant].forward) {
        variants[x->variant].forward(x->o, x->stat, x->q, x->k, x->v, x->m);
    } else {
        swiglu_forward(x->v, x->q, x->k, N, C);
        matmul(x->o, C, NULL, 0, rows(x->v, C), transposed(rows(x->w, C)), N, C, C);
    }
}

static void mixing_backward(void *arg) {
    const Mixing *x = arg;
    int C = x->m.NH * x->m.dh, N = x->m.R * x->m.T;
    if (variants[x->variant].backward) {
        variants[x->variant].backward(x->dq, x->dk, x->dv, x->g, x->o, x->stat, x->q, x->k, x->v,
                                      x->m);
    } else {
        matmul(x->dv, C, NULL, 0, rows(x->g, C), rows(x->w, C), N, C, C);
        matmul(x->dw, C, x->dw, C, transposed(rows(x->g, C)), rows(x->v, C), C, C, N);
        swiglu_backward(x->dq, x->dk, x->dv, x->q, x->k, N, C);
    }
}

static bool has_anchor(int variant) {
    QKSource source = variants[variant].source;
    return source == QK_RANDOM_ANCHOR || source == QK_TEXT_ANCHOR;
}

// Does an earlier variant of the table have the very same mixer?
static int same_mixer(int variant) {
    for (int v = 0; v < variant; v++)
        if (variants[v].forward == variants[variant].forward
            && variants[v].weigh == variants[variant].weigh
            && has_anchor(v) == has_anchor(variant)) return v;
    return -1;
}

// FLOPs of the products with the map, causal: the chapters' "Cost". 0 where there is no map.
static double map_flops(const Mixing *x, bool backward) {
    double square = (double)x->m.T * x->m.T * x->m.NH * x->m.dh;
    if (x->variant == MLP || x->variant == NONAPPROX) return 0;
    return square * (backward ? 3 * x->m.M + 2 * x->m.R : x->m.M + x->m.R);
}

// 10m's heads: C 384, 6 heads. A mixer with an anchor has one row more and one map.
static Mixing mixing(const Mixing *arrays, int variant, int T, int B) {
    Mixing x = *arrays;
    int R = B + has_anchor(variant);
    x.variant = variant, x.B = B;
    x.m = (Mix){.R = R, .M = has_anchor(variant) ? 1 : R, .T = T, .NH = 6, .NKV = 6, .dh = 64,
                .weigh = variants[variant].weigh, .weigh_backward = variants[variant].weigh_backward};
    return x;
}

static void measure_mixing(Mixing *x, int round) {
    double least = opt.selftest ? 0 : 0.03, tokens = (double)x->B * x->m.T;
    x->forward[round] = 1e9 / tokens * block(mixing_forward, x, least / 2, least);
    x->backward[round] = 1e9 / tokens * block(mixing_backward, x, least / 2, least);
    x->both[round] = x->forward[round] + x->backward[round];
}

static void print_mixing(const Mixing *x) {
    double tokens = (double)x->B * x->m.T, forward = median(x->forward, opt.repeats);
    double backward = median(x->backward, opt.repeats), work_f = map_flops(x, false);
    printf("%-12s %5d %4d", variants[x->variant].name, x->m.T, x->B);
    print_cell(forward, "%.0f", 9);
    print_cell(backward, "%.0f", 9);
    print_cell(median(x->both, opt.repeats), "%.0f", 9);
    print_cell(work_f > 0 ? work_f / tokens / forward : NAN, "%.1f", 9);
    print_cell(work_f > 0 ? map_flops(x, true) / tokens / backward : NAN, "%.1f", 9);
    printf("\n");
}

static void print_mixing_head(const char *what) {
    printf("\n%s\n%-12s %5s %4s %9s %9s %9s %9s %9s\n", what, "variant", "T", "B", "forward",
           "backward", "both", "GFLOP/s f", "GFLOP/s b");
}

// All mixers at all lengths, B T constant. Returns nonapprox's time a token at T = 8192 over 512.
static double mixers_by_length(const Mixing *arrays) {
    static Mixing list[VARIANTS][LENGTHS];
    int shrink = opt.selftest ? 64 : 1, longest = MIX_TOKENS / shrink;
    double ratio[MAX_REPEATS];
    for (int round = 0; round < opt.repeats; round++) {
        for (int v = 0; v < VARIANTS; v++) {
            if (same_mixer(v) >= 0) continue;
            for (int l = 0; l < LENGTHS; l++) {
                int T = (256 << l) / shrink;
                if (round == 0) list[v][l] = mixing(arrays, v, T, longest / T);
                measure_mixing(&list[v][l], round);
            }
        }
        const Mixing *n = list[NONAPPROX];
        ratio[round] = n[LENGTHS - 1].both[round] / n[1].both[round];
    }
    print_mixing_head("The mixers alone (C 384, 6 heads; mlp's with Wv): ns a token of the batch; "
                      "GFLOP/s of the causal map's products");
    for (int v = 0; v < VARIANTS; v++) {
        if (same_mixer(v) >= 0) continue;
        for (int l = 0; l < LENGTHS; l++) print_mixing(&list[v][l]);
    }
    for (int v = 0; v < VARIANTS; v++)
        if (same_mixer(v) >= 0)
            printf("%-12s the same code as %s\n", variants[v].name, variants[same_mixer(v)].name);
    return median(ratio, opt.repeats);
}

// One map instead of B of them: standard's time over the anchors', at B = 16.
static void mixers_with_anchor(const Mixing *arrays) {
    static Mixing list[2][VARIANTS];
    int lengths[] = {opt.selftest ? 8 : 256, opt.selftest ? 16 : 1024};
    for (int l = 0; l < 2; l++)
        for (int round = 0; round < opt.repeats; round++)
            for (int v = 0; v < VARIANTS; v++) {
                if (v != STANDARD && (!has_anchor(v) || same_mixer(v) >= 0)) continue;
                if (round == 0) list[l][v] = mixing(arrays, v, lengths[l], 16);
                measure_mixing(&list[l][v], round);
            }
    print_mixing_head("One map for a batch of 16");
    for (int l = 0; l < 2; l++) {
        print_mixing(&list[l][STANDARD]);
        for (int v = 0; v < VARIANTS; v++) {
            double ratio[MAX_REPEATS];
            if (!has_anchor(v) || same_mixer(v) >= 0) continue;
            for (int r = 0; r < opt.repeats; r++)
                ratio[r] = list[l][STANDARD].both[r] / list[l][v].both[r];
            print_mixing(&list[l][v]);
            printf("%-12s %.2f times as fast as standard\n", "", median(ratio, opt.repeats));
        }
    }
}

static double mixers_part(void) {
    size_t C = 384, tokens = opt.selftest ? 1024 : 17 * 1024;     // the most: 16 rows and an anchor
    Mixing arrays = {.B = 0};
    float **all[] = {&arrays.q, &arrays.k, &arrays.v, &arrays.o, &arrays.g, &arrays.dq, &arrays.dk,
                     &arrays.dv};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = random_floats(tokens * C, 1, i);
    arrays.stat = random_floats(tokens * 6 * 2, 1, 11);
    arrays.w = random_floats(C * C, 0.05f, 12), arrays.dw = random_floats(C * C, 1, 13);
    double growth = mixers_by_length(&arrays);
    mixers_with_anchor(&arrays);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(*all[i]);
    free(arrays.stat), free(arrays.w), free(arrays.dw);
    return growth;
}

// ---- children: memory and PyTorch --------------------------------------------------------------

// Runs a program and waits; what it writes to standard output comes back in text, or the beginning
// of it. Its standard error goes where this one's does, or nowhere if silent. Did it end well?
static bool run_child(char *const argv[], char *text, size_t size, bool silent) {
    int ends[2], status = 0;
    size_t n = 0;
    char rest[256];
    fflush(stdout);
    if (pipe(ends) != 0) bench_fail("no pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) bench_fail("no new process: %s", strerror(errno));
    if (child == 0) {
        dup2(ends[1], 1);
        if (silent && !freopen("/dev/null", "w", stderr)) _exit(127);
        close(ends[0]), close(ends[1]);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    for (;;) {
        bool full = n + 1 >= size;
        ssize_t got = full ? read(ends[0], rest, sizeof rest)
                           : read(ends[0], text + n, size - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += full ? 0 : (size_t)got;
    }
    text[n] = 0;
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// The number behind `key` at the start of a line, else NaN.
static double number_behind(const char *text, const char *key) {
    size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n'), line += line != NULL)
        if (strncmp(line, key, n) == 0 && line[n] == ' ') return strtod(line + n, NULL);
    return NAN;
}

// --peak: in a process of its own, one step of a size, and what the system says it held at most.
static void print_peak(void) {
    const Case *k = NULL;
    for (int i = 0; i < CASES; i++)
        if (strcmp(cases[i].name, opt.peak) == 0) k = &cases[i];
    if (!k) bench_fail("--peak '%s': unknown; see --help", opt.peak);
    Config c = config_of(k, STANDARD, opt.seq ? opt.seq : k->memory_seq,
                         opt.batch ? opt.batch : k->memory_batch);
    Trainee t;
    struct rusage usage;
    trainee_open(&t, &c);
    make_work(&c);
    double start = seconds();
    trainee_step(&t);
    double took = seconds() - start;
    getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
    double unit = 1;            // macOS counts bytes
#else
    double unit = 1024;         // Linux and the BSDs count KiB
#endif
    printf("peak %.0f\nweights %.0f\nactivations %.0f\nseconds %.2f\n",
           unit * (double)usage.ru_maxrss, 4.0 * sizeof(float) * (double)t.m.parameters,
           (double)t.m.activation_bytes, took);
    trainee_close(&t);
    free_work(opt.threads);
}

// One row of the table; returns the peak in GB. It must run while this process is still small:
// Linux counts what a process held before it called exec, and that is what the parent holds.
static double memory_of(const Case *k, int seq, int batch) {
    char T[16], B[16], threads[16], text[256];
    snprintf(T, sizeof T, "%d", seq);
    snprintf(B, sizeof B, "%d", batch);
    snprintf(threads, sizeof threads, "%d", opt.threads);
    char *argv[] = {(char *)opt.program, "--peak", (char *)k->name, "--seq", T, "--batch", B,
                    "--threads", threads, NULL};
    bool ok = run_child(argv, text, sizeof text, false);
    double peak = ok ? number_behind(text, "peak") / 1e9 : NAN;
    printf("%-6s %5d %3d", k->name, seq, batch);
    print_cell(1e3 * peak, "%.0f", 9);
    print_cell(ok ? number_behind(text, "weights") / 1e6 : NAN, "%.0f", 9);
    print_cell(ok ? number_behind(text, "activations") / 1e6 : NAN, "%.0f", 12);
    print_cell(ok ? number_behind(text, "seconds") : NAN, "%.2f", 9);
    printf("\n");
    fflush(stdout);
    return peak;
}

static double memory_part(void) {
    double largest = NAN;
    printf("\nPeak memory of a process that makes one step of standard, MB (weights: with gradient "
           "and moments)\n");
    printf("%-6s %5s %3s %9s %9s %12s %9s\n", "size", "T", "B", "peak", "weights", "activations",
           "seconds");
    for (int i = 0; i < CASES; i++) {
        const Case *k = &cases[i];
        if (!listed(opt.sizes, k->name)) continue;
        double peak = memory_of(k, k->memory_seq, k->memory_batch);
        if (strcmp(k->name, "10m") == 0) memory_of(k, 8192, 1);
        if (strcmp(k->name, "160m") == 0) largest = peak;
    }
    return largest;
}

// A Python that can import torch, or NULL.
static const char *find_python(void) {
    const char *names[] = {opt.python, "python3", "/usr/bin/python3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[64], *argv[] = {(char *)names[i], "-c", "import torch", NULL};
        if (names[i] && run_child(argv, text, sizeof text, true)) return names[i];
        if (i == 0 && names[i]) bench_fail("--python %s: cannot import torch", names[i]);
    }
    return NULL;
}

// What PyTorch reports of one size: its tokens/s, or NaN where it cannot compile the model.
static double torch_rate(char *const argv[], double parameters, const char *size, char *text,
                         size_t room) {
    if (!run_child(argv, text, room, false)) return NAN;
    if (!(fabs(number_behind(text, "parameters") - parameters) < 1))
        bench_fail("peer_torch.py has %.0f parameters at size %s, this program %.0f",
                   number_behind(text, "parameters"), size, parameters);
    return number_behind(text, "tokens/s");
}

// Steps of this program and of PyTorch's, eager and compiled, in turns. ratios: the medians of our
// tokens/s over each of the two.
static void beside_torch(const char *python, const Case *k, double ratios[2]) {
    char path[4096], threads[16], steps[16], text[1024], first[1024];
    const char *slash = strrchr(opt.program, '/');
    snprintf(path, sizeof path, "%.*speer_torch.py", slash ? (int)(slash - opt.program) + 1 : 0,
             opt.program);
    snprintf(threads, sizeof threads, "%d", opt.threads);
    snprintf(steps, sizeof steps, "%d", opt.selftest ? 1 : k->steps);
    char *argv[] = {(char *)python, path, "--size", (char *)k->name, "--threads", threads,
                    "--steps", steps, NULL, NULL};
    double ours[MAX_REPEATS], theirs[2][MAX_REPEATS], ratio[2][MAX_REPEATS];
    for (int round = 0; round < opt.repeats; round++) {
        Config c = config_of(k, STANDARD, k->seq, k->batch);
        Trainee t;
        trainee_open(&t, &c);
        double parameters = (double)t.m.parameters, least = opt.selftest ? 0 : 3;
        ours[round] = c.seq * c.batch / block(trainee_step, &t, 0, least);
        trainee_close(&t);
        for (int compiled = 0; compiled < 2; compiled++) {
            // a Python whose PyTorch cannot compile the model is asked once
            bool ask = !compiled || round == 0 || isfinite(theirs[1][0]);
            argv[8] = compiled ? "--compile" : NULL;
            theirs[compiled][round] = ask ? torch_rate(argv, parameters, k->name,
                                                       compiled ? text : first, sizeof text) : NAN;
            ratio[compiled][round] = ours[round] / theirs[compiled][round];
        }
    }
    printf("%-6s %5d %3d", k->name, k->seq, k->batch);
    print_cell(median(ours, opt.repeats), "%.0f", 9);
    for (int i = 0; i < 2; i++) {
        ratios[i] = median(ratio[i], opt.repeats);
        print_cell(median(theirs[i], opt.repeats), "%.0f", 9);
        print_cell(ratios[i], "%.2f", 7);
    }
    printf("   %.*s\n", (int)strcspn(first, "\n"), first);
    fflush(stdout);
}

// ratios: ours over PyTorch's at 10m, eager and compiled.
static void torch_part(double ratios[2]) {
    const char *python = find_python();
    printf("\nBeside PyTorch, eager and torch.compile, the same model and threads: tokens/s of a "
           "training step\n");
    if (!python) {
        printf("no python3 here can import torch: n/a (see --python)\n");
        return;
    }
    printf("%-6s %5s %3s %9s %9s %7s %9s %7s\n", "size", "T", "B", "ours", "eager", "ratio",
           "compiled", "ratio");
    for (int i = 0; i < CASES; i++) {
        double found[2];
        if (!listed(opt.sizes ? opt.sizes : "tiny,10m", cases[i].name)) continue;
        beside_torch(python, &cases[i], found);
        if (strcmp(cases[i].name, "10m") == 0) ratios[0] = found[0], ratios[1] = found[1];
    }
}

// ---- main --------------------------------------------------------------------------------------

static const char help[] =
    "usage: bench [PART...] [OPTION...]\n"
    "parts; without any, all, in this order:\n"
    "  --memory         peak memory of a step, by size\n"
    "  --gemm           the matrix product beside OpenBLAS's\n"
    "  --steps          whole training steps, by size and variant\n"
    "  --scaling        steps with 1, 2, 4, .. threads beside bare multiply-adds; only if named\n"
    "  --mixers         the mixers alone, by variant and length\n"
    "  --torch          steps beside PyTorch's, eager and compiled, if a python3 can import torch\n"
    "options:\n"
    "  --quick          --gemm, and --steps of standard at tiny and 10m, within a minute\n"
    "  --selftest       everything once, too short to mean anything: does it still work?\n"
    "  --repeats N      rounds, of which medians are taken (5; 3 with --quick)\n"
    "  --threads N      threads, of every side (OMP_NUM_THREADS, else all)\n"
    "  --sizes A,B      of tiny, small, 10m, 70m, 160m (all; --torch: tiny,10m; --scaling: 10m)\n"
    "  --variants A,B   of --steps (all)\n"
    "  --seq N, --batch N   of --steps and --peak (the size's own)\n"
    "  --openblas FILE  its shared library (searched under its usual names)\n"
    "  --python FILE    a Python that can import torch (python3, /usr/bin/python3)\n"
    "  --peak SIZE      nothing but one step, and the most memory this process held\n";

static int number(const char *option, const char *text, int most) {
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (*end || end == text || errno || n < 1 || n > most)
        bench_fail("%s '%s': expected a number from 1 to %d", option, text, most);
    return (int)n;
}

// Every entry of a list must be a known name.
static const char *known_list(const char *option, const char *list, bool of_sizes) {
    for (const char *p = list;; p++) {
        size_t n = strcspn(p, ",");
        bool known = false;
        for (int i = 0; i < (of_sizes ? (int)CASES : (int)VARIANTS); i++) {
            const char *name = of_sizes ? cases[i].name : variants[i].name;
            known = known || (strlen(name) == n && strncmp(p, name, n) == 0);
        }
        if (!known) bench_fail("%s '%.*s': unknown; see --help", option, (int)n, p);
        p += n;
        if (!*p) return list;
    }
}

// An option with a value; false if there is none of this name.
static bool set_value(const char *name, const char *value) {
    const struct { const char *name; const char **text; } texts[] = {
        {"--openblas", &opt.openblas}, {"--python", &opt.python}, {"--peak", &opt.peak}};
    const struct { const char *name; int *n, most; } numbers[] = {
        {"--repeats", &opt.repeats, MAX_REPEATS}, {"--threads", &opt.threads, 1024},
        {"--seq", &opt.seq, 1 << 20}, {"--batch", &opt.batch, 1 << 20}};
    const struct { const char *name; const char **list; bool of_sizes; } lists[] = {
        {"--sizes", &opt.sizes, true}, {"--variants", &opt.variants, false}};
    const char *missing = "%s: a value is missing; see --help";
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(texts[i].name, name) != 0) continue;
        if (!value) bench_fail(missing, name);
        return *texts[i].text = value, true;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(numbers[i].name, name) != 0) continue;
        if (!value) bench_fail(missing, name);
        return *numbers[i].n = number(name, value, numbers[i].most), true;
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(lists[i].name, name) != 0) continue;
        if (!value) bench_fail(missing, name);
        return *lists[i].list = known_list(name, value, lists[i].of_sizes), true;
    }
    return false;
}

static void parse_options(int argc, char **argv) {
    const struct { const char *name; bool *flag; } flags[] = {
        {"--memory", &opt.memory}, {"--gemm", &opt.gemm}, {"--steps", &opt.steps},
        {"--scaling", &opt.scaling}, {"--mixers", &opt.mixers}, {"--torch", &opt.torch}, {"--quick", &opt.quick},
        {"--selftest", &opt.selftest}};
    size_t count = sizeof flags / sizeof *flags, f;
    opt.program = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(help, stdout);
            exit(0);
        }
        for (f = 0; f < count && strcmp(flags[f].name, argv[i]) != 0; f++) {}
        if (f < count) *flags[f].flag = true;
        else if (set_value(argv[i], argv[i + 1])) i++;
        else bench_fail("unknown option '%s'; see --help", argv[i]);
    }
    if (!opt.repeats) opt.repeats = opt.selftest ? 1 : opt.quick ? 3 : 5;
    if (opt.selftest && !opt.sizes) opt.sizes = "tiny";
    if (opt.quick) opt.gemm = opt.steps = true;
    if (!(opt.memory || opt.gemm || opt.steps || opt.scaling || opt.mixers || opt.torch))
        opt.memory = opt.gemm = opt.steps = opt.mixers = opt.torch = true;
}

static void print_head(void) {
    const char *wait = getenv("OMP_WAIT_POLICY");
    printf("threads   %d of OpenMP%s%s, as many of OpenBLAS\n", opt.threads,
           wait ? ", OMP_WAIT_POLICY=" : "", wait ? wait : "");
#ifdef __clang__
    printf("compiler  %s", __VERSION__);            // its name is part of it
#elif defined __GNUC__
    printf("compiler  gcc %s", __VERSION__);
#else
    printf("compiler  unknown");
#endif
    printf(", vectors of %d bytes\n", (int)VECTOR_BYTES);
}

int main(int argc, char **argv) {
    double gemm = NAN, growth = NAN, rss = NAN, torch[2] = {NAN, NAN}, ratios[CASES];
    double began = seconds(), others = others_seconds();
    for (int i = 0; i < CASES; i++) ratios[i] = NAN;
    parse_options(argc, argv);
    setenv("KMP_BLOCKTIME", "10", 0);       // clang's OpenMP threads would spin for 200 ms
    if (opt.threads) omp_set_num_threads(opt.threads);
    else opt.threads = omp_get_max_threads();
    if (opt.peak) {
        print_peak();
        return 0;
    }
    print_head();
    clear_environment();
    if (opt.memory) rss = memory_part();
    openblas_open();
    printf("%sOpenBLAS  %s\n", opt.memory ? "\n" : "", openblas_text);
    make_work(&(Config){.seq = opt.seq > 8192 ? opt.seq : 8192, .batch = 4, .dim = 384, .heads = 6,
                        .kv_heads = 6});
    if (opt.gemm) gemm = gemm_part(opt.quick ? 25 : 1e9);
    if (opt.steps) steps_part(ratios, began + (opt.quick ? 42 : 1e9));
    bool growing = opt.selftest || (!opt.quick && listed(opt.sizes, "10m"));
    if (opt.steps && growing && !opt.variants && !opt.seq) growth_part();
    if (opt.scaling) scaling_part();
    if (opt.mixers) growth = mixers_part();
    if (opt.torch) torch_part(torch);
    free_work(opt.threads);
    double took = seconds() - began;
    others = (others_seconds() - others) / took;
    printf("\n%.0f s", took);
    if (isfinite(others)) printf("; beside this, %.2f cores were busy%s", others,
                                 others > 0.2 ? ": too many to trust the numbers" : "");
    printf("\n");
    if (opt.gemm) print_key("gemm_vs_openblas", gemm);
    if (opt.steps) print_key("step_10m_vs_sgemm", ratios[2]);
    if (opt.steps) print_key("step_tiny_vs_sgemm", ratios[0]);
    if (opt.mixers) print_key("nonapprox_8192_vs_512", growth);
    if (opt.memory) print_key("rss_160m_gb", rss);
    if (opt.torch) print_key("torch_ratio_10m", torch[0]);
    if (opt.torch) print_key("torch_compile_ratio_10m", torch[1]);
    return 0;
}
