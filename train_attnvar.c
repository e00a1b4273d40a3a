/* train_attnvar.c: what is attention made of, and what is each part worth?

This file trains a small Qwen2.5-style language model. Each layer's attention is one of seven
variants: standard attention, or one of six that relax one of its four design principles, after
"Deconstructing Attention" (Xue, Moosavi, Aletras, arXiv 2510.11602). The forward and the backward
pass of every variant are written out; there is no tensor library. One model, one optimizer,
float32, on the CPU. It is C11 and needs libm, the libc of a POSIX.1-2008 system or of MinGW-w64
and, if there, OpenMP; gcc and clang make it fast.

    build   make            (or: cc -O3 train_attnvar.c -o train_attnvar -lm)
    run     ./train_attnvar                                       standard attention, every layer
            ./train_attnvar --attn nonapprox --layout even        every second layer standard
            ./train_attnvar --layout NSFS --data my.txt           any mix, any text
            ./train_attnvar --help                                all options and their defaults
    test    make test

The four principles of attention, and the variants that relax them:
    1  mixing: information moves between positions
    2  the form: a dot product of query and key, then a softmax
    3  dependence on the sequence: its tokens make the map A (T x T; A_ij: i's weight on value j)
    4  queries and keys of the current layer: they are projected from its own input

    variant       relaxes   how                                     its map A
  S standard      nothing                                           softmax(q_i.k_j / sqrt dh)
  M mlp           1         no position sees another                none
  A approx        2         exp(x) becomes 1 + x + x^2/2            Taylor weights, normalised
  N nonapprox     2         each key has one score for all queries  softmax(SiLU(q_j).k_j / sqrt dh)
  R rndembqk      3         q, k of a fixed random sequence         one softmax map for all
  F fixedseqqk    3         q, k of a fixed text                    one softmax map for all
  E staticembqk   4         q, k from the token embeddings          softmax(q_i.k_j / sqrt dh)

Map of this file
     1  utilities       one way to fail, allocation, the RNG
     2  matrix product  one blocked product that every projection, the head and attention use
     3  layers          exp, linear, RMSNorm, RoPE, SwiGLU, embedding, cross-entropy
     4  mixers          the contract, seven chapters, the variant table
     5  model           configuration, layouts, tensor registry, activations and their memory
     6  forward and backward of the model: the block read forwards, then backwards
     7  AdamW           clipping, schedule, the check for non-finite values
     8  data            bytes or tokens of files, the recall task; the unigram and bigram floors
     9  options         one table: the command line, and what a checkpoint keeps of it
    10  checkpoint      safetensors, written and read; config.json for other software
    11  training, main  evaluation, a sample, the report at the start, the steps

Notation; a comment's own definition of a letter takes precedence
    B   sequences in a batch               V   vocabulary
    R   rows (a row is a sequence, except in a matrix or a map) that leave a layer: the batch, then
        the anchors (fixed sequences, 4.5) still needed; Rin: rows that enter it; Rmax: Rin of the
        first layer; M: rows with queries and keys of their own
    T   positions in a sequence            N   = R*T or B*T, positions in all
    C   channels (--dim)                   F   hidden channels of the block's MLP (--ffn)
    NH  query heads, NKV key/value heads   dh  = C/NH, channels of a head; CKV = NKV*dh
    s   = 1/sqrt(dh)                       dq, dx, ..: gradients; dq is dLoss/dq, of q's shape
    '   transpose (k') or derivative (f')  *   between vectors: element by element
    i   a query position, from 0           j   a key position, j <= i; [l = j]: 1 if so, else 0
    x W in an equation has W (in,out), as in the paper; stored is its transpose w (out,in), as in
        Hugging Face, so that the code computes x w'
    Arrays are row-major: x (R,T,C) has x[r][t][c] at x + (r*T + t)*C + c. The equations of a mixer
        are those of one row and one head, and g_i = dLoss/do_i

One block, one layer of Qwen2.5. The variants change the places marked *; [ ]: not in every model

    h -+-> RMSNorm -+-> Wq, bq -> q -+                             *  where q and k come from
       |            +-> Wk, bk -> k -+-> [QK-norm] -> [RoPE] --+
       |            +-> Wv, bv -> v --------------------------(mix)   *  how they mix the values
       |                                                        |
       +<------------------- Wo <------------------------- o <--+      (mlp: Wv follows the mix)
       |
       +-> RMSNorm -+-> Wgate -> SiLU -+
       |            +-> Wup -------- (times)
       +<------------------- Wdown <---+
       h of the next block; after the last: RMSNorm, then the head (the embedding table, if tied) */

#define _DEFAULT_SOURCE         // POSIX.1-2008 beside C11, as glibc and musl name it
#define _FILE_OFFSET_BITS 64    // files beyond 2 GB, also where off_t has 32 bits
#include <float.h>
#if defined _MSC_VER || __STDC_VERSION__ < 201112L
#error "this is C11: add -std=c11; on Windows use MinGW-w64 or WSL, not MSVC"
#elif __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "this machine is big-endian: no other could read its files, and it would misread theirs"
#elif FLT_EVAL_METHOD == 1 || FLT_EVAL_METHOD == 2 || FLT_EVAL_METHOD < 0
#error "this compiler computes float in a wider type: on x86 add -msse2 -mfpmath=sse"
#elif __FINITE_MATH_ONLY__
#error "without -ffast-math and -Ofast: they would let a model that is lost pass for a good one"
#endif
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef _WIN32                   // MinGW-w64; declared here, for <windows.h> takes many names
__declspec(dllimport) int __stdcall MoveFileExA(const char *, const char *, unsigned long);
__declspec(dllimport) int __stdcall SetConsoleOutputCP(unsigned);
#include <sys/locking.h>
#define mkdir(path, mode) mkdir(path)
#define fsync(file) _commit(file)
#define rename(from, to) (MoveFileExA(from, to, 9) ? 0 : (errno = EACCES))      // replaces, waits
#define aligned_alloc(to, bytes) malloc(bytes)      // not aligned: right, but slower
#define sysconf(name) 0L        // not known; a lack of memory is noticed when it is allocated
#define SIGHUP SIGBREAK
#define SIGPIPE SIGBREAK
__attribute__((constructor)) static void begin(void) {      // binary files; a UTF-8 console
    _fmode = _O_BINARY, SetConsoleOutputCP(65001);
}
#elif defined F_FULLFSYNC       // macOS, where fsync stops at the drive's own memory
#define fsync(file) (fcntl(file, F_FULLFSYNC) && fsync(file))
#endif
#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num(void) { return 0; }
static int omp_get_num_threads(void) { return 1; }
static int omp_get_max_threads(void) { return 1; }
static void omp_set_num_threads(int n) { (void)n; }
#endif
#ifdef ATTNVAR_DOUBLE           // The tests compare gradients with finite differences in double,
#define float double            // so no code here may assume that a float has 4 bytes.
#endif

// ------------------------------------------------------------------------------------------------
// 1  Utilities
// ------------------------------------------------------------------------------------------------

static int min_int(int a, int b) { return a < b ? a : b; }

// n things in `parts` parts: where part p begins. Part p + 1 begins where part p ends.
static int share(int n, int p, int parts) { return (int)((long long)n * p / parts); }

#ifndef PROGRAM                 // the programs in dev/tools include this file under their own names
#define PROGRAM "train_attnvar"
#endif

// Every error ends here. A message says what was found, what is expected and what to run, if any.
static _Noreturn void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs(PROGRAM ": error: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

// Zeroed memory; but on Windows aligned to 64 bytes (a cache line, the widest vector). Never NULL.
static void *allocate(size_t bytes, const char *what) {
    size_t whole = (bytes + 63) / 64 * 64;              // rounded up; less than bytes: overflow
    void *p = whole < bytes ? NULL : aligned_alloc(64, whole ? whole : 64);
    if (!p) fail("no memory for %s (%.1f MB): choose a smaller --batch, --seq or --size",
                 what, (double)bytes / 1e6);
    return memset(p, 0, whole);
}

// The system's services beyond C, for POSIX, Windows and, where it has them, WebAssembly (WASI).
// Paths are UTF-8, also on Windows, by the manifest that the Makefile links in.
static bool make_folder(const char *path) {         // true: it exists now; false: errno says why
    struct stat info;
    return (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) || mkdir(path, 0777) == 0;
}

// Opens a file to read it; if that fails, *why says why. A pipe is refused: it might never end.
static FILE *open_file(const char *path, const char **why) {
    struct stat info;
    bool special = stat(path, &info) == 0 && !S_ISREG(info.st_mode);
    FILE *f = special ? NULL : fopen(path, "rb");
    *why = special ? "is no regular file" : strerror(errno);
    return f;
}

// To the disk, not only to the system: a file's bytes, a folder's names.
static bool flush_file(FILE *f) { return fflush(f) == 0 && fsync(fileno(f)) == 0; }
static bool flush_folder(const char *path) {
    FILE *folder = fopen(path, "rb");
    if (!folder) return errno == EACCES;            // Windows opens no folder
    bool done = flush_file(folder) || errno == EINVAL;          // EINVAL: needs no flushing
    return fclose(folder) == 0 && done;
}

// If a standard stream is closed (>&-), the next file that is opened would take its number and get
// what is printed there. So a file to which nothing can be written takes the number first.
static void fill_closed(void) {
    for (int f = 0; f < 3; f++)
        if (fstat(f, &(struct stat){0}) != 0) open("/dev/null", O_RDONLY);
}

// Locks a file; `create` makes a missing one. 1: it is this process's until the process ends in
// any way; 0: it is another's; -1: there is no file, or the system or its file system has no locks
// (errno says why).
static int lock_file(const char *path, bool create) {
    int file = open(path, create ? O_RDWR | O_CREAT : O_RDWR, 0666);
    if (file < 0) return -1;
#ifdef _WIN32
    if (errno = EACCES, _locking(file, _LK_NBLCK, 1) == 0) return 1;        // wine sets no errno
#elif defined F_SETLK
    if (fcntl(file, F_SETLK, &(struct flock){.l_type = F_WRLCK}) == 0) return 1;
#else
    errno = ENOTSUP;
#endif
    return errno == EACCES || errno == EAGAIN ? 0 : -1;
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// SIGINT, SIGTERM, SIGHUP (Windows: Ctrl-C, Ctrl-Break, a closing console) and SIGPIPE (no program
// reads the output any more) end the run after the step it is in. Another signal ends it at once,
// but for SIGHUP or within half a second, since make and terminals may send one signal twice.
static volatile sig_atomic_t interrupted;           // the signal's number, else 0
static void on_signal(int number) {
    static double first;
    if (!interrupted) first = seconds();
    else if (number != SIGHUP && seconds() - first > 0.5) signal(number, SIG_DFL), raise(number);
    interrupted = number;
#ifdef _WIN32
    signal(number, on_signal);
    while (number == SIGBREAK) sleep(1);            // Windows ends the program when this returns
#endif
}

static void catch_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (int i = 0; i < 4; i++)                     // one ignored (nohup) stays so, not SIGPIPE
        if (signal(numbers[i], SIG_IGN) != SIG_IGN || numbers[i] == SIGPIPE)
            signal(numbers[i], on_signal);
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN);       // a file that grows too large is a failed write, not a crash
#endif
}

// The RNG is splitmix64 (Steele, Lea, Flood 2014); one 64-bit number is its whole state. From state
// 1 its first outputs are 0x910a2dec89025cc1, 0xbeeb8da1658eec67, 0xf893a2eefb32555e.
static uint64_t random_u64(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Uniform in [0, 1): the top 53 bits.
static double random_uniform(uint64_t *state) { return (random_u64(state) >> 11) * 0x1p-53; }

// N(0, 1) by Box and Muller, the cosine half, from two uniforms u, v; 1 - u is in (0, 1].
static double random_normal(uint64_t *state) {
    double radius = sqrt(-2 * log(1 - random_uniform(state)));
    return radius * cos(6.283185307179586 * random_uniform(state));
}

// Independent streams of one seed, so that what one consumer draws never shifts another's: all
// variants start from the same weights and see the same windows in the same order. seed < 2^62.
enum { STREAM_INIT, STREAM_DATA, STREAM_ANCHOR, STREAM_SAMPLE, STREAMS };
static uint64_t random_stream(uint64_t seed, int stream) {
    uint64_t state = seed * STREAMS + (uint64_t)stream;
    return random_u64(&state);
}

// ------------------------------------------------------------------------------------------------
// 2  The matrix product
//
//     c = c0 + a b        a (M,K), b (K,N), c (M,N)
//
// Every projection, the head and the blocks of attention call this. It is fast for four reasons.
//   - Registers hold an MR x NR tile of c. Each step adds the outer product a[:,k] b[k,:] to it:
//     MR + NR floats, once loaded, feed MR*NR multiply-adds.
//   - Packing first copies b into panels of NR columns (zeros beyond N), so that the inner loop
//     reads any b with stride one. If more than FEW panels of b use MR rows of a, these are copied.
//   - Blocks. KC rows of a panel of b stay in the first cache (16 KB with AVX2) while GROUP panels
//     of a, from the second (48 KB), pass by. K beyond KC is handled in later passes.
//   - Threads pack a block of b together; then each takes a unit of c (some tiles), then another.
// Each element of c is c0, plus the sum over the first KC of k, plus that over the next KC, and so
// on, whoever computes it: the result does not depend on the number of threads.
// ------------------------------------------------------------------------------------------------

#if defined __AVX512F__
enum { VECTOR_BYTES = 64, MR = 12 };    // 32 registers of 16 floats: 24 hold the tile
#elif defined __AVX__
enum { VECTOR_BYTES = 32, MR = 6 };     // 16 registers of 8 floats: 12 hold the tile
#elif defined __aarch64__
enum { VECTOR_BYTES = 16, MR = 12 };    // 32 registers of 4 floats
#elif defined __wasm__
enum { VECTOR_BYTES = 16, MR = 4 };     // engines keep 8 in registers, hardly more
#else
enum { VECTOR_BYTES = 16, MR = 6 };     // such as x86-64 without options: 16 of 4 floats
#endif

// A vec is a vector register of VL floats. gcc and clang add and multiply vecs like numbers; for
// any other compiler a vec is one float, and the same code is right.
#ifdef __GNUC__
#define ATTRIBUTE(...) __attribute__((__VA_ARGS__))
#define FETCH(p) __builtin_prefetch(p, 1)       // asks for p's cache line, to write to it
#else
#define ATTRIBUTE(...)
#define FETCH(p) ((void)0)
#endif
typedef float vec ATTRIBUTE(vector_size(VECTOR_BYTES), aligned(sizeof(float)), may_alias);
enum { VL = sizeof(vec) / sizeof(float), NV = 2, NR = NV * VL };
enum { KC = 256, NC = 2048, BLOCK = NC * KC, GROUP = 8, FEW = 8 };   // BLOCK: floats of b

// A matrix: element (i, j) is p[i*rs + j*cs]. view() is the part from element (i, j) on.
typedef struct { const float *p; size_t rs, cs; } Mat;
static Mat rows(const float *p, size_t ld) { return (Mat){p, ld, 1}; }  // row i begins at p + i*ld
static Mat transposed(Mat x) { return (Mat){x.p, x.cs, x.rs}; }
static Mat view(Mat x, size_t i, size_t j) { return (Mat){x.p + i * x.rs + j * x.cs, x.rs, x.cs}; }

static int padded(int n) { return (n + NR - 1) / NR * NR; }     // n rounded up to whole panels

// One panel: out[k*width + w] = x(w, k) for w < n, zero for n <= w < width. The first two cases
// tell the compiler more: that x is contiguous down a column, or along a row.
static inline void pack(float *restrict out, Mat x, int n, int K, int width) {
    if (n == width && x.rs == 1) {
        for (int k = 0; k < K; k++)
#pragma GCC unroll 64
            for (int w = 0; w < width; w++) out[k * width + w] = x.p[w + k * x.cs];
    } else if (n == width && x.cs == 1) {
        for (int k = 0; k < K; k++)
#pragma GCC unroll 64
            for (int w = 0; w < width; w++) out[k * width + w] = x.p[w * x.rs + k];
    } else {
        memset(out, 0, (size_t)K * width * sizeof(float));
        for (int k = 0; k < K; k++)
            for (int w = 0; w < n; w++) out[k * width + w] = x.p[w * x.rs + k * x.cs];
    }
}

// Thread t of nt (0 of 1: all) packs panels of b (K,N): out + j*K holds columns j .. j + NR - 1.
static void pack_panels(float *out, Mat b, int K, int N, int t, int nt) {
    for (int j = t * NR; j < N; j += nt * NR)
        pack(out + (size_t)j * K, transposed(view(b, 0, j)), min_int(NR, N - j), K, NR);
}

// One tile of c = c0 + a b: MR rows of nv vecs, left and right (nv = 1: only left; one array of
// both would stay in memory with clang). a (m,K) is read through its strides; rows beyond m repeat
// the last. b is a packed panel (K,NR). c0 is NULL (zero) or has row stride ldc0.
ATTRIBUTE(always_inline)
static inline void tile(float *c, size_t ldc, const float *c0, size_t ldc0, Mat a, int m,
                        const float *restrict b, int K, int nv) {
    vec left[MR] = {(vec){0}}, right[MR] = {(vec){0}};
    const float *row[MR];
    if (K == KC)                                    // a long sum: c's rows can come meanwhile
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) FETCH(c + i * ldc), FETCH(c + i * ldc + nv * VL - 1);
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) row[i] = a.p + min_int(i, m - 1) * a.rs;
    for (size_t at_k = 0; at_k < K * a.cs; at_k += a.cs, b += NR)
#pragma GCC unroll 16
        for (int i = 0; i < MR; i++) {
            left[i] += row[i][at_k] * ((const vec *)b)[0];
            if (nv > 1) right[i] += row[i][at_k] * ((const vec *)b)[1];
        }
#pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        if (c0) left[i] += ((const vec *)(c0 + i * ldc0))[0];
        if (c0 && nv > 1) right[i] += ((const vec *)(c0 + i * ldc0))[1];
        ((vec *)(c + i * ldc))[0] = left[i];
        if (nv > 1) ((vec *)(c + i * ldc))[1] = right[i];
    }
}

// A tile at an edge, c (m,n): tile() fills `whole`; its first m x n elements, plus c0, go to c.
static void edge_tile(float *c, size_t ldc, const float *c0, size_t ldc0, Mat a, int m,
                      const float *b, int n, int K) {
    float whole[MR * NR];
    if (n > VL) tile(whole, NR, NULL, 0, a, m, b, K, NV);
    else        tile(whole, NR, NULL, 0, a, m, b, K, 1);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float sum = whole[i * NR + j];
            c[i * ldc + j] = c0 ? c0[i * ldc0 + j] + sum : sum;
        }
}

// Made by make_work(): two blocks of b, BLOCK floats each (in the second weight_gradient adds up);
// then, for each thread, GROUP panels of a.
static float *panels;

// c (M,N) = c0 + a b by the calling thread. Packed b has `depth` rows; the first K are used.
static void multiply(float *c, size_t ldc, const float *c0, size_t ldc0, Mat a,
                     const float *packed_b, int depth, int M, int N, int K) {
    float *group = panels + 2 * BLOCK + (size_t)omp_get_thread_num() * GROUP * MR * KC;
    bool copy = N > FEW * NR;
#ifdef COUNT_FLOPS              // dev/tools/inspect_attnvar.c counts what is really multiplied
    COUNT_FLOPS(2.0 * M * N * K);
#endif
    for (int k0 = 0; k0 < K; k0 += KC, c0 = c, ldc0 = ldc) {       // from then on c0 is c
        int kn = min_int(KC, K - k0);
        for (int i0 = 0; i0 < M; i0 += GROUP * MR) {
            int end = min_int(i0 + GROUP * MR, M);
            if (copy && a.cs == 1)
                for (int i = i0; i < end; i++)
                    memcpy(group + (i - i0) * KC, a.p + i * a.rs + k0, kn * sizeof(float));
            else if (copy)
                for (int i = i0; i < end; i += MR)
                    pack(group + (i - i0) * KC, view(a, i, k0), min_int(MR, end - i), kn, MR);
            for (int j = 0; j < N; j += NR) {
                const float *b = packed_b + (size_t)j * depth + (size_t)k0 * NR;
                for (int i = i0; i < end; i += MR) {
                    float *out = c + i * ldc + j;
                    const float *in = c0 ? c0 + i * ldc0 + j : NULL;
                    int m = min_int(MR, end - i), n = min_int(NR, N - j);
                    float *panel = group + (i - i0) * KC;
                    Mat x = !copy ? view(a, i, k0) : a.cs == 1 ? rows(panel, KC)
                          : transposed(rows(panel, MR));
                    if (m < MR || n % VL) edge_tile(out, ldc, in, ldc0, x, m, b, n, kn);
                    else if (n == VL)     tile(out, ldc, in, ldc0, x, MR, b, kn, 1);
                    else                  tile(out, ldc, in, ldc0, x, MR, b, kn, NV);
                }
            }
        }
    }
}

// c is divided into a grid of at most `count` units of whole tiles, of one size but at the edges.
// Returns the size of the least cost: multiply-adds, rows of a to copy, columns of b to read. The
// weights 16 and 4 were chosen by measurement, like the bounds in matmul.
typedef struct { int down, across; } Unit;
static Unit unit_size(int M, int N, int count) {
    Unit best = {0, 0};
    double least = INFINITY;
    for (int n = 1; n <= count; n++) {                          // n units down, count / n across:
        int tall = n * MR, wide = count / n * NR;               // their grid, were each one tile
        Unit u = {(M + tall - 1) / tall * MR, (N + wide - 1) / wide * NR};
        double cost = (double)u.down * u.across + 16 * u.down + 4 * u.across;
        if (cost < least) least = cost, best = u;
    }
    return best;
}

// c = c0 + a b by all threads. c0 = NULL: c = a b; c0 = c: c += a b; ldc0 = 0: c0 is a bias row.
static void matmul(float *c, size_t ldc, const float *c0, size_t ldc0, Mat a, Mat b,
                   int M, int N, int K) {
#pragma omp parallel
    {
        int t = omp_get_thread_num(), nt = omp_get_num_threads(), turn = 0;
        for (int j0 = 0; j0 < N; j0 += NC) {
            int jn = min_int(NC, N - j0), deep = BLOCK / padded(jn) / KC * KC;
            bool few = nt == 1 || (double)M * jn * K < 4e6 * nt;
            Unit unit = unit_size(M, jn, few ? nt : 8 * nt);        // more units balance the load
            for (int k0 = 0; k0 < K; k0 += deep, turn = !turn) {
                // Two blocks take turns: a slower thread may read one while the other is packed.
                int kn = min_int(deep, K - k0);
                float *block = panels + (size_t)turn * BLOCK;
                pack_panels(block, view(b, k0, j0), kn, jn, t, nt);
#pragma omp barrier
#pragma omp for collapse(2) schedule(dynamic) nowait
                for (int i = 0; i < M; i += unit.down)
                    for (int j = 0; j < jn; j += unit.across) {
                        float *out = c + i * ldc + j0 + j;
                        const float *in = k0 ? out : c0 ? c0 + i * ldc0 + j0 + j : NULL;
                        multiply(out, ldc, in, k0 ? ldc : ldc0, view(a, i, k0),
                                 block + (size_t)j * kn, kn, min_int(unit.down, M - i),
                                 min_int(unit.across, jn - j), kn);
                    }
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------
// 3  Layers that every variant shares
//
// Argument order in sections 3 and 4: outputs, inputs, weights, dimensions; a backward function
// takes first the gradients that it computes, then the upstream gradient, then what it needs of the
// forward function's outputs and inputs. Gradients of activations are assigned (=). Gradients of
// parameters, and of tensors with several readers (the residual stream), are accumulated (+=). Of
// section 2 these use matmul and Mat; weight_gradient and 4.1 also pack_panels and multiply.
// ------------------------------------------------------------------------------------------------

enum { LANES = 16 };        // partial sums of a reduction. Their order is fixed here, so that a
                            // compiler can use vectors without permission to reorder sums

// exp(x) to 2e-7 relative, in operations that compilers vectorise, unlike a call of expf. With
// x = n ln 2 + r, |r| <= ln 2 / 2: exp(x) = 2^n exp(r), exp(r) by Taylor to r^7. Adding 1.5 * 2^23
// rounds and leaves n in the low bits. Below -87 the result is 0, above 88 exp(88); NaN stays NaN.
static inline float exp_fast(float x) {
    if (sizeof(float) != 4) return (float)exp((double)x);       // the double build of the tests
    float keep = x < -87.f ? 0.f : 1.f;
    float y = x < -87.f ? -87.f : x > 88.f ? 88.f : x;
    float t = y * 1.44269504f + 12582912.f, n = t - 12582912.f;
    float r = y - n * 0.693359375f + n * 2.12194440e-4f;        // ln 2 in two parts
    float p = 1.f + r * (1.f + r * (1.f / 2 + r * (1.f / 6 + r * (1.f / 24
            + r * (1.f / 120 + r * (1.f / 720 + r * (1.f / 5040)))))));
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127) << 23;                                  // the float 2^n
    float scale = 0;
    memcpy(&scale, &bits, sizeof bits);
    return keep * (p * scale);
}

static inline float sigmoid(float x) { return 1 / (1 + exp_fast(-x)); }

// The sum of the lanes, by halves, so that no addition waits for all before it. Changes them.
static inline float sum_lanes(float *lane) {
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

// sum_c a_c b_c
static inline float dot(const float *restrict a, const float *restrict b, int n) {
    float lane[LANES] = {0};
    int c = 0;
    for (; c + LANES <= n; c += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += a[c + l] * b[c + l];
    for (; c < n; c++) lane[0] += a[c] * b[c];
    return sum_lanes(lane);
}

// out[c] += sum_n a_nc b_nc r_n (the gradient of a gain), or, if b and r are NULL, sum_n a_nc (the
// gradient of a bias). An iteration sums LANES columns.
static void add_column_sums(float *out, const float *a, const float *b, const float *r,
                            size_t N, int C) {
#pragma omp parallel for
    for (int c0 = 0; c0 < C; c0 += LANES) {
        float sum[LANES] = {0};
        int width = min_int(LANES, C - c0);
        for (size_t n = 0; n < N; n++)
            for (int c = 0; c < width; c++) {
                size_t e = n * C + c0 + c;
                sum[c] += b ? a[e] * b[e] * r[n] : a[e];
            }
        for (int c = 0; c < width; c++) out[c0 + c] += sum[c];
    }
}

// Linear: y = x w' + b.   x (N,I), w (O,I), b (O) or NULL, y (N,O)
static void linear_forward(float *y, const float *x, const float *w, const float *b,
                           size_t N, int I, int O) {
    matmul(y, O, b, 0, rows(x, I), transposed(rows(w, I)), (int)N, O, I);
}

// dw += dy' x. A small dw has too few tiles for many threads; then they divide the positions, too:
// blocks of KC are multiplied apart and added in matmul's order. First read only the matmul below.
static void weight_gradient(float *dw, const float *dy, const float *x, int N, int I, int O) {
    int blocks = (N + KC - 1) / KC, across = padded(I), nt = omp_get_max_threads();
    float *sums = panels + BLOCK;                       // (blocks,O,I)
    if (nt == 1 || (size_t)O * I >= (size_t)4 * nt * MR * NR
        || (size_t)blocks * KC * across > BLOCK || (size_t)blocks * O * I > BLOCK) {
        matmul(dw, I, dw, I, transposed(rows(dy, O)), rows(x, I), O, I, N);
        return;
    }
#pragma omp parallel
    {
#pragma omp for collapse(2)
        for (int block = 0; block < blocks; block++)
            for (int j = 0; j < I; j += NR) {
                int k = block * KC, kn = min_int(KC, N - k), n = min_int(NR, I - j);
                float *panel = panels + (size_t)k * across + (size_t)j * KC;
                pack_panels(panel, view(rows(x, I), k, j), kn, n, 0, 1);
                multiply(sums + (size_t)block * O * I + j, I, NULL, 0,
                         view(transposed(rows(dy, O)), 0, k), panel, kn, O, n, kn);
            }
#pragma omp for
        for (int e = 0; e < O * I; e++)
            for (int block = 0; block < blocks; block++) dw[e] += sums[(size_t)block * O * I + e];
    }
}

// dx = dy w, or dx += dy w where add is set;  dw += dy' x;  db += sum_n dy
static void linear_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                            const float *w, size_t N, int I, int O, bool add) {
    matmul(dx, I, add ? dx : NULL, I, rows(dy, O), rows(w, I), (int)N, I, O);
    weight_gradient(dw, dy, x, (int)N, I, O);
    if (db) add_column_sums(db, dy, NULL, NULL, N, O);
}

// RMSNorm: y = x r g, r = 1 / sqrt(mean_c x^2 + 1e-6).   x, y (N,C), gain g (C)
static inline float inverse_rms(const float *x, int C) {
    return (float)(1 / sqrt(dot(x, x, C) / (double)C + 1e-6));
}

static void rmsnorm_forward(float *y, const float *x, const float *gain, size_t N, int C) {
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        float r = inverse_rms(x + n * C, C);
        for (int c = 0; c < C; c++) y[n * C + c] = x[n * C + c] * r * gain[c];
    }
}

// With u = dy g:  dx_c += r (u_c - x_c r^2 mean_c(u x)), as r's derivative is -r^3 x_c / C;
// dg_c += sum_n dy x r. dx is added to, because the residual stream has other readers (QK-norm sets
// dx to 0 before). r (N) is scratch: the inverse RMS is not kept from the forward pass.
static void rmsnorm_backward(float *dx, float *dgain, const float *dy, const float *x,
                             const float *gain, float *r, size_t N, int C) {
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        const float *xn = x + n * C, *dyn = dy + n * C;
        float lane[LANES] = {0};
        int c = 0;
        for (; c + LANES <= C; c += LANES)
            for (int l = 0; l < LANES; l++) lane[l] += dyn[c + l] * gain[c + l] * xn[c + l];
        for (; c < C; c++) lane[0] += dyn[c] * gain[c] * xn[c];
        r[n] = inverse_rms(xn, C);
        float r2_mean = r[n] * r[n] * sum_lanes(lane) / (float)C;
        for (c = 0; c < C; c++) dx[n * C + c] += r[n] * (dyn[c] * gain[c] - xn[c] * r2_mean);
    }
    add_column_sums(dgain, dy, x, r, N, C);
}

// RoPE: each pair (x_a, x_{a+dh/2}) of a head at position t turns by the angle t base^(-2a/dh).
// Turning q and k by the same angle keeps q.k, so q_i.k_j depends on positions through i - j only.
// x (R,T,H,dh), in place; cos_sin (T,dh/2,2) is a table. With sign = -1 it turns back,
// which is also the backward pass: the inverse of a rotation is its transpose.
static void rope(float *x, const float *cos_sin, int sign, int R, int T, int H, int dh) {
#pragma omp parallel for
    for (int n = 0; n < R * T; n++) {
        const float *turn = cos_sin + (size_t)(n % T) * dh;
        for (int h = 0; h < H; h++) {
            float *lo = x + ((size_t)n * H + h) * dh, *hi = lo + dh / 2;
            for (int a = 0; a < dh / 2; a++) {
                float cosine = turn[2 * a], sine = (float)sign * turn[2 * a + 1];
                float p = lo[a], q = hi[a];
                lo[a] = p * cosine - q * sine;
                hi[a] = q * cosine + p * sine;
            }
        }
    }
}

// SwiGLU: y = SiLU(gate) * up, SiLU(x) = x sigmoid(x).   all (N,F)
static void swiglu_forward(float *y, const float *gate, const float *up, size_t N, int F) {
#pragma omp parallel for
    for (size_t e = 0; e < N * F; e++) y[e] = gate[e] * sigmoid(gate[e]) * up[e];
}

// dgate = dy up SiLU'(gate), dup = dy SiLU(gate); SiLU'(x) = sg (1 + x (1 - sg)), sg = sigmoid(x)
static void swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate,
                            const float *up, size_t N, int F) {
#pragma omp parallel for
    for (size_t e = 0; e < N * F; e++) {
        float sg = sigmoid(gate[e]), d = dy[e];
        dgate[e] = d * up[e] * sg * (1 + gate[e] * (1 - sg));
        dup[e] = d * gate[e] * sg;
    }
}

// Embedding: y_n = table[token_n].   tokens (N), table (V,C), y (N,C)
static void embedding_forward(float *y, const int *tokens, const float *table, size_t N, int C) {
#pragma omp parallel for
    for (size_t n = 0; n < N; n++)
        memcpy(y + n * C, table + (size_t)tokens[n] * C, C * sizeof(float));
}

// dtable[token_n] += dy_n. Tokens repeat, so the threads divide the columns, not the tokens.
static void embedding_backward(float *dtable, const float *dy, const int *tokens, size_t N, int C) {
#pragma omp parallel for
    for (int c0 = 0; c0 < C; c0 += LANES) {
        int width = min_int(LANES, C - c0);
        for (size_t n = 0; n < N; n++) {
            float *to = dtable + (size_t)tokens[n] * C + c0;
            for (int c = 0; c < width; c++) to[c] += dy[n * C + c0 + c];
        }
    }
}

// max_j x_j, n >= 1. A leading NaN propagates here; a later one propagates through exp.
static inline float row_max(const float *x, int n) {
    float lane[LANES];
    for (int l = 0; l < LANES; l++) lane[l] = x[0];
    int j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] = x[j + l] > lane[l] ? x[j + l] : lane[l];
    for (; j < n; j++) lane[0] = x[j] > lane[0] ? x[j] : lane[0];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] = lane[l + half] > lane[l] ? lane[l + half] : lane[l];
    return lane[0];
}

// x_j = exp(s (x_j - max)) in place; returns their sum. s >= 0, so no exponent is positive.
static inline float row_exp(float *x, float s, float max, int n) {
    float lane[LANES] = {0};
    int j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++) {
            x[j + l] = exp_fast(s * (x[j + l] - max));
            lane[l] += x[j + l];
        }
    for (; j < n; j++) {
        x[j] = exp_fast(s * (x[j] - max));
        lane[0] += x[j];
    }
    return sum_lanes(lane);
}

// Cross-entropy: loss_n = ln sum_v exp(x_v) - x_target, nats; 0 where target_n < 0 (not scored).
// right_n: is no logit larger than the target's? logits (N,V) become the probabilities, in place.
static void crossentropy_forward(float *loss, unsigned char *right, float *logits,
                                 const int *target, size_t N, int V) {
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        float *x = logits + n * V, max = row_max(x, V);
        float shifted = target[n] < 0 ? 0 : x[target[n]] - max;
        right[n] = target[n] >= 0 && shifted == 0;
        float z = row_exp(x, 1, max, V);
        loss[n] = target[n] < 0 ? 0 : (float)log((double)z) - shifted;
        for (int v = 0; v < V; v++) x[v] /= z;
    }
}

// The loss is the mean of all scored positions: dx_v = (p_v - [v = target]) / scored, in place.
static void crossentropy_backward(float *probs, const int *target, int scored, size_t N, int V) {
#pragma omp parallel for
    for (size_t n = 0; n < N; n++) {
        float *x = probs + n * V, scale = target[n] < 0 ? 0 : 1 / (float)scored;
        if (target[n] >= 0) x[target[n]] -= 1;
        for (int v = 0; v < V; v++) x[v] *= scale;
    }
}

// ------------------------------------------------------------------------------------------------
// 4  Mixers
//
// A mixer stands between the projections and Wo: it takes q, k, v and returns o. (Only mlp differs:
// it takes q and k and returns u, which Wv then projects to o.) All seven have the same parameters
// (Wq, bq, Wk, bk, Wv, bv, Wo, QK-norm's gains), so all variants have equal parameter counts.
// Every chapter has the same parts: the idea; the equations; the change from standard; the values
// kept for the backward pass; the gradient; the cost in FLOPs a layer (a multiply-add is two FLOPs,
// projections are left out); forward and backward (4.2 uses section 3's SwiGLU, 4.3 and 4.5 to 4.7
// standard's); an exercise.
//
// The contract.   q (M,T,NH,dh), k (M,T,NKV,dh), v (R,T,NKV,dh), o (R,T,NH,dh), stat (M,NH,T,2),
// where M is the number of rows with queries and keys of their own: all R rows, or one whose map
// serves all R. forward writes o and stat; backward takes g = dLoss/do and writes dq, dk and dv.
// Query head h reads key/value head h / (NH/NKV): this is grouped-query attention if NKV < NH.
// ------------------------------------------------------------------------------------------------

// How a variant with a T x T map weighs the n keys of one query i, in place; 4.1 has the equations.
// Weigh: x_j = q_i.k_j (4.1's x_ij without s) becomes z_i A_ij; stat[1] = 1/z_i, by which o_i is
// multiplied later (dh products, not n); stat[0] = the maximum, if there is one.
// WeighBackward: x_j, q_i.k_j again, becomes A_ij; da_j: from dA_ij to q_i.k_j's gradient; c = c_i.
typedef void Weigh(float *x, float *stat, float s, int n);
typedef void WeighBackward(float *x, float *da, const float *stat, float c, float s, int n);

typedef struct {
    int R, M;                   // rows of v and o; rows of q and k: R, or 1 (one map for all)
    int T, NH, NKV, dh;
    Weigh *weigh;               // NULL: no map
    WeighBackward *weigh_backward;
} Mix;

// Offset of position t of head h in row r of an array (rows,T,H,dh).
static inline size_t at(int r, int t, int h, const Mix *m, int H) {
    return (((size_t)r * m->T + t) * H + h) * m->dh;
}

// Offset of the two floats that position t of query head h in row r keeps, in stat (M,NH,T,2).
static inline size_t stat_at(int r, int t, int h, const Mix *m) {
    return (((size_t)r * m->NH + h) * m->T + t) * 2;
}

// ---- 4.1  standard -----------------------------------------------------------------------------
//
// The idea. Each position asks with a query, each offers a key, and the answer is an average of the
// values, weighted by how well query and key match. All four principles hold.
//
//     x_ij = s q_i.k_j            q, k after QK-norm, RoPE
//     A_ij = exp(x_ij) / sum_{l<=i} exp(x_il)                   the map, causal
//     o_i  = sum_{j<=i} A_ij v_j
//
// Changed: nothing.
// Kept:    q, k, v, o and, for each query, max_i = max_j q_i.k_j and 1/z_i, where z_i = sum_j
//          exp(s (q_i.k_j - max_i)): with them the backward pass computes A_ij again in one step.
//          The blocks below never store the T x T map itself, only a few rows at a time.
// Gradient: dA_ij = g_i.v_j. A_il's derivative with respect to x_ij is A_il ([l = j] - A_ij), so
//          dx_ij = A_ij dA_ij - A_ij sum_l A_il dA_il = A_ij (dA_ij - c_i) with
//          c_i = sum_l A_il dA_il = g_i.(sum_l A_il v_l) = g_i.o_i: dh products instead of T. Then
//          dq_i = s sum_j dx_ij k_j;  dk_j = s sum_i dx_ij q_i;  dv_j = sum_i A_ij g_i.
// Cost:    2 R T^2 C forward, 5 R T^2 C backward (two and five products over the T^2/2 pairs with
//          j <= i): grows with the square of the length.

// Attention in its plainest form: one head of one sequence, with the whole map A (T,T), of which
// j <= i is used. q, k, v, o (T,dh). The blocks further down compute the same: the tests compare.
ATTRIBUTE(unused) static void attention_plain(float *o, float *A, const float *q, const float *k,
                                              const float *v, int T, int dh) {
    float s = (float)(1 / sqrt((double)dh));
    for (int i = 0; i < T; i++) {
        float *a = A + (size_t)i * T, *oi = o + (size_t)i * dh, z = 0;
        for (int j = 0; j <= i; j++) a[j] = s * dot(q + (size_t)i * dh, k + (size_t)j * dh, dh);
        float max = row_max(a, i + 1);
        for (int j = 0; j <= i; j++) {
            a[j] = exp_fast(a[j] - max);
            z += a[j];
        }
        memset(oi, 0, dh * sizeof(float));
        for (int j = 0; j <= i; j++) {
            a[j] /= z;
            for (int c = 0; c < dh; c++) oi[c] += a[j] * v[(size_t)j * dh + c];
        }
    }
}

// Its gradients, from g = dLoss/do (T,dh) and the map A. The caller sets dq, dk and dv to 0.
ATTRIBUTE(unused)
static void attention_plain_backward(float *dq, float *dk, float *dv, const float *g,
                                     const float *A, const float *q, const float *k,
                                     const float *v, int T, int dh) {
    float s = (float)(1 / sqrt((double)dh));
    for (int i = 0; i < T; i++) {
        const float *a = A + (size_t)i * T, *gi = g + (size_t)i * dh;
        float ci = 0;                                           // c_i = sum_j A_ij dA_ij
        for (int j = 0; j <= i; j++) ci += a[j] * dot(gi, v + (size_t)j * dh, dh);
        for (int j = 0; j <= i; j++) {
            float dx = a[j] * (dot(gi, v + (size_t)j * dh, dh) - ci);
            for (int c = 0; c < dh; c++) {
                dq[i * dh + c] += s * dx * k[j * dh + c];
                dk[j * dh + c] += s * dx * q[i * dh + c];
                dv[j * dh + c] += a[j] * gi[c];
            }
        }
    }
}

// The same loops by blocks of queries, for every variant with a T x T map. Mix holds what differs:
// how to weigh a query's keys, and M, the rows with maps of their own. multiply() is section 2's.
// QF and QB: queries in a block, multiples of every MR. The forward pass takes few, so
// that the block stays in a near cache and little lies above the diagonal; the backward pass
// takes more, because the sums over a block's queries (dk, dv) should be long.
enum { QF = 24, QB = 48 };

static void softmax_row(float *x, float *stat, float s, int n) {
    stat[0] = row_max(x, n);
    stat[1] = 1 / row_exp(x, s, stat[0], n);
}

static void softmax_row_backward(float *x, float *da, const float *stat, float c, float s, int n) {
    float max = stat[0], rz = stat[1];
    for (int j = 0; j < n; j++) {
        x[j] = exp_fast(s * (x[j] - max)) * rz;
        da[j] = s * x[j] * (da[j] - c);
    }
}

// Scratch of the mixers, made by make_work(), for each thread. All share the heads, which are
// packed once a layer, not once a block.
typedef struct {
    float *map, *dmap;          // (QB, padded T)
    float *packed;              // (QB, padded dh) a block's rows of q or g
} Work;
static Work *work;              // one a thread
enum { HEADS_KT, HEADS_K, HEADS_V, HEADS };      // k', k; v in the forward pass, v' in the backward
static float *packed_heads[HEADS];      // (R,NKV, head_floats) each

static size_t head_floats(int T, int dh) { return (size_t)padded(T) * padded(dh); }
static float *packed_head(int slot, int r, int kv, const Mix *m) {
    return packed_heads[slot] + ((size_t)r * m->NKV + kv) * head_floats(m->T, m->dh);
}

// Panels of each head of x (R,T,NKV,dh), as the b of a product: x (T,dh), or x' (dh,T).
static void pack_heads(int slot, const float *x, int R, bool turned, const Mix *m) {
#pragma omp parallel for collapse(2)
    for (int r = 0; r < R; r++)
        for (int kv = 0; kv < m->NKV; kv++) {
            Mat head = rows(x + at(r, 0, kv, m, m->NKV), (size_t)m->NKV * m->dh);
            float *to = packed_head(slot, r, kv, m);
            if (turned) pack_panels(to, transposed(head), m->dh, m->T, 0, 1);
            else        pack_panels(to, head, m->T, m->dh, 0, 1);
        }
}

// Blocks of queries are independent: each thread takes the next; those with most keys come first.
static void attend_forward(float *o, float *stat, const float *q, const float *k, const float *v,
                           Mix m) {
    int blocks = (m.T + QF - 1) / QF, served = m.R / m.M;       // rows that one map serves
    size_t C = (size_t)m.NH * m.dh;
    float s = (float)(1 / sqrt((double)m.dh));
    pack_heads(HEADS_KT, k, m.M, true, &m), pack_heads(HEADS_V, v, m.R, false, &m);
#pragma omp parallel for collapse(3) schedule(dynamic)
    for (int b = 0; b < blocks; b++)
        for (int r = 0; r < m.M; r++)
            for (int h = 0; h < m.NH; h++) {
                int i0 = (blocks - 1 - b) * QF, n = min_int(QF, m.T - i0), kv = h / (m.NH / m.NKV);
                int keys = i0 + n, ld = padded(keys);
                float *map = work[omp_get_thread_num()].map;
                multiply(map, ld, NULL, 0, rows(q + at(r, i0, h, &m, m.NH), C),         // q k'
                         packed_head(HEADS_KT, r, kv, &m), m.dh, n, ld, m.dh);
                for (int i = 0; i < n; i++) {
                    int seen = i0 + i + 1;                  // a query sees the keys up to itself
                    float *row = map + (size_t)i * ld;
                    m.weigh(row, stat + stat_at(r, i0 + i, h, &m), s, seen);
                    memset(row + seen, 0, (size_t)(keys - seen) * sizeof(float));
                }
                for (int user = r * served; user < (r + 1) * served; user++) {   // z o = (z A) v
                    float *ou = o + at(user, i0, h, &m, m.NH);
                    multiply(ou, C, NULL, 0, rows(map, ld), packed_head(HEADS_V, user, kv, &m),
                             m.T, n, m.dh, keys);
                    for (int i = 0; i < n; i++) {
                        float rz = stat[stat_at(r, i0 + i, h, &m) + 1];
                        for (int c = 0; c < m.dh; c++) ou[i * C + c] *= rz;
                    }
                }
            }
}

// A thread owns a key/value head of a row, since the gradients of k and v sum over the queries of
// all its query heads. The last block comes first: it sees every key, so it writes dk and dv, and
// the blocks and heads after it add.
static void attend_backward(float *dq, float *dk, float *dv, const float *g, const float *o,
                            const float *stat, const float *q, const float *k, const float *v,
                            Mix m) {
    int blocks = (m.T + QB - 1) / QB, served = m.R / m.M, group = m.NH / m.NKV;
    size_t C = (size_t)m.NH * m.dh, CKV = (size_t)m.NKV * m.dh;
    float s = (float)(1 / sqrt((double)m.dh));
    pack_heads(HEADS_KT, k, m.M, true, &m), pack_heads(HEADS_V, v, m.R, true, &m);
    pack_heads(HEADS_K, k, m.M, false, &m);
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int r = 0; r < m.M; r++)
        for (int kv = 0; kv < m.NKV; kv++)
            for (int b = 0; b < group * blocks; b++) {              // blocks of each query head
                int h = kv * group + b / blocks, i0 = (blocks - 1 - b % blocks) * QB;
                int n = min_int(QB, m.T - i0), keys = i0 + n, ld = padded(keys);
                bool add = b > 0;
                int first = r * served, last = first + served - 1;
                const Work *mine = &work[omp_get_thread_num()];
                float *map = mine->map, *dmap = mine->dmap;
                // forward: map = q k', weigh(map) = z A. The map was not kept: compute it again
                Mat qi = rows(q + at(r, i0, h, &m, m.NH), C);
                multiply(map, ld, NULL, 0, qi, packed_head(HEADS_KT, r, kv, &m), m.dh, n, ld, m.dh);
                for (int user = first; user <= last; user++)                     // dA = g v'
                    multiply(dmap, ld, user > first ? dmap : NULL, ld,
                             rows(g + at(user, i0, h, &m, m.NH), C),
                             packed_head(HEADS_V, user, kv, &m), m.dh, n, ld, m.dh);
                for (int i = 0; i < n; i++) {
                    int seen = i0 + i + 1;
                    float *row = map + (size_t)i * ld, *drow = dmap + (size_t)i * ld, c = 0;
                    for (int user = first; user <= last; user++) {                       // c = g.o
                        size_t here = at(user, i0 + i, h, &m, m.NH);
                        c += dot(g + here, o + here, m.dh);
                    }
                    m.weigh_backward(row, drow, stat + stat_at(r, i0 + i, h, &m), c, s, seen);
                    memset(row + seen, 0, (size_t)(keys - seen) * sizeof(float));
                    memset(drow + seen, 0, (size_t)(keys - seen) * sizeof(float));
                }
                // forward: o = A v; backward: dv += A' g
                for (int user = first; user <= last; user++) {
                    float *dvu = dv + at(user, 0, kv, &m, m.NKV);
                    Mat gi = rows(g + at(user, i0, h, &m, m.NH), C);
                    pack_panels(mine->packed, gi, n, m.dh, 0, 1);
                    multiply(dvu, CKV, add ? dvu : NULL, CKV, transposed(rows(map, ld)),
                             mine->packed, n, keys, m.dh, n);
                }
                // forward: map = q k'; backward: dq = dmap k, dk += dmap' q
                float *dkr = dk + at(r, 0, kv, &m, m.NKV);
                multiply(dq + at(r, i0, h, &m, m.NH), C, NULL, 0, rows(dmap, ld),
                         packed_head(HEADS_K, r, kv, &m), m.T, n, m.dh, keys);
                pack_panels(mine->packed, qi, n, m.dh, 0, 1);
                multiply(dkr, CKV, add ? dkr : NULL, CKV, transposed(rows(dmap, ld)),
                         mine->packed, n, keys, m.dh, n);
            }
}

// Exercise: a sliding window sees only the last W keys. Which products need not be formed?

// ---- 4.2  mlp ----------------------------------------------------------------------------------
//
// The idea. Relax principle 1, mixing, and keep everything else: the three projections become a
// gated MLP of hidden width C, applied to each position by itself.
//
//     o_i = (SiLU(q_i) * k_i) Wv + bv        q = n Wq + bq is the gate, k = n Wk + bk goes up;
//                                            n = RMSNorm(h), the normed input of the block
//
// Changed: no position sees another, so there is no map. Wv comes last: it projects the mixer's
//          result u = SiLU(q) * k, so the block runs the mixer first. q and k are not compared
//          with anything, so there is no RoPE and no QK-norm. (This is the paper's "MLP"; its equal
//          parameter counts and its cost tables fit hidden width C with Wo kept.)
// Kept:    q, k, u, o.
// Gradient: that of SwiGLU, section 3: with du = do Wv', dq = du k SiLU'(q), dk = du SiLU(q).
// Cost:    about 5 R T C forward: linear in the length, no cache when decoding.
//
// Forward and backward are swiglu_forward(u, q, k) and swiglu_backward(dq, dk, du, q, k). Grouped
// queries are refused: k would have fewer channels than q, with which it is multiplied.

// Exercise: the program prints the bigram floor when it starts. Why does a uniform mlp end there?

// ---- 4.3  approx -------------------------------------------------------------------------------
//
// The idea. Relax principle 2, the form: keep the dot product, but replace the exponential by its
// second-order Taylor polynomial f. Its weights are less sharp, since f grows like x^2 and not like
// exp(x); and a strong mismatch weighs as much as a match, f(-5) = f(3): f is smallest at x = -1.
//
//     f(x) = 1 + x + x^2/2        x_ij as in standard, RoPE included              (paper, eq. 6)
//     A_ij = f(x_ij) / z_i        z_i = sum_{j<=i} f(x_ij)
//     o_i  = sum_{j<=i} A_ij v_j
//
// f(x) = (1 + (1 + x)^2) / 2 >= 1/2, so z_i >= (i+1)/2: no epsilon, and no maximum to subtract.
//
// Changed: the weights of a row (Weigh), nothing else: taylor_row instead of softmax_row.
// Kept:    q, k, v, o and 1/z_i.
// Gradient: df_ij = (g_i.v_j - c_i) / z_i with c_i = g_i.o_i as before; dx_ij = f'(x_ij) df_ij, and
//          f'(x) = 1 + x. In the softmax f is exp, its own derivative, so f'/z is A_ij again; here
//          it is (1 + x_ij)/z_i.
// Cost:    as standard. f is a polynomial of q_i.k_j, so the sums over j can also be kept as a
//          state of D = 1 + dh + dh(dh+1)/2 features, and no map is formed: 4 R T D C FLOPs, linear
//          in T, less than the square beyond T ~ (dh+1)(dh+2). The tests check that both agree.
//
// Deviation: the paper's appendix (eqs 14-17) prints one denominator for each order of the
// polynomial; the linear one, sum_j x_ij, is negative for half of random q, k. We use eq. 6's.

static void taylor_row(float *x, float *stat, float s, int n) {
    float lane[LANES] = {0};
    for (int j = 0; j < n; j++) {
        float y = s * x[j];
        x[j] = 1 + y + y * y / 2;
    }
    int j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += x[j + l];
    for (; j < n; j++) lane[0] += x[j];
    stat[1] = 1 / sum_lanes(lane);
}

static void taylor_row_backward(float *x, float *da, const float *stat, float c, float s, int n) {
    float rz = stat[1];
    for (int j = 0; j < n; j++) {
        float y = s * x[j];
        x[j] = (1 + y + y * y / 2) * rz;
        da[j] = s * (1 + y) * (da[j] - c) * rz;
    }
}

// Exercise: write phi with phi(q).phi(k) = f(s q.k) and the forward pass as a scan over positions.

// ---- 4.4  nonapprox ----------------------------------------------------------------------------
//
// The idea. Relax principle 2, the form: keep the softmax, but give each KEY one score, whichever
// query asks. Row i of the map is then row i - 1, scaled down to make room for the new key, and o_i
// is a running average with a data-dependent gate: a linear RNN, exact, in linear time. (RWKV-4's
// recurrence with decay 0 and bonus 0 computes the same.)
//
//     u_j = SiLU(q_j)             the query at the key's own position
//     x_j = s u_j.k_j             one score a key and head, no RoPE: it would cancel
//     A_ij = exp(x_j) / sum_{l<=i} exp(x_l)
//     o_i = sum_{j<=i} A_ij v_j
//
// with gates: Z_i = sum_{j<=i} exp(x_j), a_i = exp(x_i)/Z_i, b_i = Z_{i-1}/Z_i = 1 - a_i (b_0 = 0):
//
//     o_i = b_i o_{i-1} + a_i v_i
//
// Z is kept relative to the scores' running maximum, so that no exponent is positive: scores beyond
// 1000 do occur.
//
// Changed: the T x T map is never formed; two gates a position and head replace a row of weights.
// Kept:    q, k, v, o and the gates a_i, b_i.
// Gradient: P_j = g_j + b_{j+1} P_{j+1} is the whole gradient of o_j (b_{j+1} = 0 at the end). From
//          o_j = b_j o_{j-1} + a_j v_j follow dv_j = a_j P_j and, as b_j = 1 - a_j, the gradient of
//          gate a_j, da_j = P_j.(v_j - o_{j-1}). Score x_j moves its own gate by a_j b_j and, being
//          in Z_i, every later gate a_i by -a_i A_ij, where A_ij = a_j b_{j+1} .. b_i:
//          dx_j = a_j (b_j da_j + E_j),  E_j = -sum_{i>j} a_i da_i b_{j+1} .. b_i, that is
//          E_{j-1} = b_j (E_j - a_j da_j). Then du_j = s dx_j k_j, dk_j = s dx_j u_j; dq by SiLU'.
//          The textbook form dx_j = a_j (v_j.P_j - W_j), W_j = g_j.o_j + b_{j+1} W_{j+1}, subtracts
//          two large numbers where the gate saturates: with scores of std 1e3 its float32 noise is
//          7e6 times the true value. No gradient passes through the maximum: it cancels in a, b.
// Cost:    about 10 R T C forward, 20 backward: linear in the length; a state of C + 2 NH floats.

// The scan of head h of row r: scores x_i in stat become gates a_i, b_i, and o_i follows. Scans are
// parallel over heads, everything else over positions.
static void nonapprox_scan(float *o, float *stat, const float *v, int r, int h, const Mix *m) {
    float max = stat[stat_at(r, 0, h, m)], Z = 0;
    for (int i = 0; i < m->T; i++) {
        float *gate = stat + stat_at(r, i, h, m), x = gate[0];
        float higher = x > max ? x : max;
        float old = Z * exp_fast(max - higher), new = exp_fast(x - higher);
        max = higher, Z = old + new;
        float a = new / Z, b = old / Z;
        gate[0] = a, gate[1] = b;
        const float *vi = v + at(r, i, h / (m->NH / m->NKV), m, m->NKV);
        float *oi = o + at(r, i, h, m, m->NH);
        const float *before = i ? oi - (size_t)m->NH * m->dh : vi;      // any numbers: b_0 = 0
        for (int c = 0; c < m->dh; c++) oi[c] = b * before[c] + a * vi[c];
    }
}

static void nonapprox_forward(float *o, float *stat, const float *q, const float *k, const float *v,
                              Mix m) {
    int group = m.NH / m.NKV;
    float s = (float)(1 / sqrt((double)m.dh));
#pragma omp parallel
    {
        float *u = work[omp_get_thread_num()].map;
#pragma omp for collapse(2)
        for (int r = 0; r < m.R; r++)
            for (int i = 0; i < m.T; i++)
                for (int h = 0; h < m.NH; h++) {
                    const float *qi = q + at(r, i, h, &m, m.NH);
                    for (int c = 0; c < m.dh; c++) u[c] = qi[c] * sigmoid(qi[c]);
                    float x = dot(u, k + at(r, i, h / group, &m, m.NKV), m.dh);
                    stat[stat_at(r, i, h, &m)] = s * x;
                }
#pragma omp for collapse(2)
        for (int r = 0; r < m.R; r++)
            for (int h = 0; h < m.NH; h++) nonapprox_scan(o, stat, v, r, h, &m);
    }
}

// Head h of row r: writes dv, and leaves dx_j in dq's first channel. P (dh) is scratch.
static void nonapprox_scan_backward(float *dq, float *dv, float *P, const float *g, const float *o,
                                    const float *stat, const float *v, int r, int h,
                                    const Mix *m) {
    float E = 0;
    bool add = h % (m->NH / m->NKV) != 0;       // dv holds what the heads before put there
    for (int c = 0; c < m->dh; c++) P[c] = 0;
    for (int j = m->T - 1; j >= 0; j--) {
        size_t at_q = at(r, j, h, m, m->NH), at_k = at(r, j, h / (m->NH / m->NKV), m, m->NKV);
        const float *gate = stat + stat_at(r, j, h, m), *gj = g + at_q, *vj = v + at_k;
        const float *before = j ? o + at_q - (size_t)m->NH * m->dh : vj;    // any numbers: b_0 = 0
        float a = gate[0], b = gate[1], *dvj = dv + at_k, lane[LANES] = {0};
        float b_next = j + 1 < m->T ? gate[3] : 0;              // b_{j+1}, position j + 1's gate[1]
        // forward: o_j = b_j o_{j-1} + a_j v_j; backward:
        int c;
        for (c = 0; c < m->dh; c++) P[c] = gj[c] + b_next * P[c];
        for (c = 0; c + LANES <= m->dh; c += LANES)
            for (int l = 0; l < LANES; l++) lane[l] += P[c + l] * (vj[c + l] - before[c + l]);
        for (; c < m->dh; c++) lane[0] += P[c] * (vj[c] - before[c]);
        float da = sum_lanes(lane);
        for (c = 0; c < m->dh; c++) dvj[c] = a * P[c] + (add ? dvj[c] : 0);
        dq[at_q] = a * (b * da + E);
        E = b * (E - a * da);
    }
}

static void nonapprox_backward(float *dq, float *dk, float *dv, const float *g, const float *o,
                               const float *stat, const float *q, const float *k, const float *v,
                               Mix m) {
    int group = m.NH / m.NKV;
    float s = (float)(1 / sqrt((double)m.dh));
#pragma omp parallel
    {
        float *P = work[omp_get_thread_num()].map;
#pragma omp for collapse(2)
        for (int r = 0; r < m.R; r++)
            for (int kv = 0; kv < m.NKV; kv++)
                for (int h = kv * group; h < (kv + 1) * group; h++)
                    nonapprox_scan_backward(dq, dv, P, g, o, stat, v, r, h, &m);
#pragma omp for collapse(2)
        for (int r = 0; r < m.R; r++)
            for (int j = 0; j < m.T; j++)
                for (int h = 0; h < m.NH; h++) {
                    // forward: x_j = s SiLU(q_j).k_j; backward:
                    size_t at_q = at(r, j, h, &m, m.NH), at_k = at(r, j, h / group, &m, m.NKV);
                    float dx = s * dq[at_q];
                    bool add = h % group != 0;
                    for (int c = 0; c < m.dh; c++) {
                        float qc = q[at_q + c], sg = sigmoid(qc);
                        dq[at_q + c] = dx * k[at_k + c] * sg * (1 + qc * (1 - sg));
                        dk[at_k + c] = dx * qc * sg + (add ? dk[at_k + c] : 0);
                    }
                }
    }
}

// Exercise: show that permuting positions 0 .. i-1 leaves o_i unchanged. What can o_i not show?

// ---- 4.5  rndembqk -----------------------------------------------------------------------------
//
// The idea. Relax principle 3, dependence on the sequence: tokens still mix through a softmax map,
// but one extra row makes it. This row, the anchor, starts from fixed random vectors and runs
// through the same blocks; the map of its queries and keys mixes the values of every sequence.
//
//     A = softmax(s Q0 K0')       causal, RoPE; Q0, K0 from the anchor's row alone
//     o_r = A v_r                 for every row r, also the anchor's if a later layer needs it
//
// Changed: the anchor's q and k make the one map (M = 1); in standard each row's own do.
// Kept:    Q0, K0 (one row), v, o of all rows; stat of the one row.
// Gradient: as standard, except that the map has R users, so dA_ij = sum_r g_ri.v_rj and
//          c_i = sum_r g_ri.o_ri. It flows through Q0, K0 into the anchor's row and down its
//          blocks: the only way to Wq and Wk. The random input, N(0, 0.02^2), is never trained.
// Cost:    (1 + R) T^2 C forward, (3 + 2 R) T^2 C backward: one map, not R; blocks have a row more.
//
// Its mixer is standard's, called with M = 1. (In the backward pass a thread takes a whole
// key/value head of the one map, so at most NKV threads have work.)

// Exercise: after training the maps are constants. How many floats would replace Wq, bq, Wk, bk?

// ---- 4.6  fixedseqqk ---------------------------------------------------------------------------
//
// The idea. Relax principle 3, dependence on the sequence, with an anchor that reads a text: its
// tokens are fixed (the first T of the training data, or of --anchor FILE), and the current
// embedding table embeds them.
//
//     A = softmax(s Q0 K0')       causal, RoPE; Q0, K0 from the anchor's row alone
//     o_r = A v_r                 as rndembqk
//
// Changed: as rndembqk, but the anchor's input is an embedded text (section 6).
// Kept:    as rndembqk.
// Gradient: as rndembqk; it ends in the embedding table, at the anchor's tokens.
// Cost:    as rndembqk.

// Exercise: on the anchor's own text fixedseqqk computes what standard does with its weights. Why?

// ---- 4.7  staticembqk --------------------------------------------------------------------------
//
// The idea. Relax principle 4, queries and keys of the current layer: every layer projects them, by
// its own weights, from the token embeddings e and not from the hidden state. So its map knows the
// tokens and their positions, but nothing that earlier layers computed from them.
//
//     q = RMSNorm_l(e) Wq + bq,  k = RMSNorm_l(e) Wk + bk;  v from the hidden state
//     then as standard            e: the first block's input; RMSNorm_l: layer l's own norm
//
// Changed: the input of Wq and Wk is e, normed by layer l's own norm (without it, e's std of 0.02
//          would make the first scores 2500 times smaller). In layer 1 e is h: standard.
// Kept:    as standard; e is the first layer's input and is kept anyway.
// Gradient: as standard, but that of q and k goes to e: every layer adds to the embedding's
//          gradient, and the norm's gain gets its gradient from both uses.
// Cost:    as standard, and one more RMSNorm.
//
// Its mixer is standard's; the block (section 6) decides where its q and k come from.

// Exercise: which layers' maps could be computed before the first block runs?

// ---- the variant table -------------------------------------------------------------------------
//
// To add an eighth: write its chapter, add its name to the enum and a row to the table; command
// line, layouts and memory report follow. Give it cases and a naive map in test_attnvar.c.

enum { STANDARD, MLP, APPROX, NONAPPROX, RNDEMBQK, FIXEDSEQQK, STATICEMBQK, VARIANTS };

// Where a layer's q and k come from.
typedef enum { QK_OWN, QK_RANDOM_ANCHOR, QK_TEXT_ANCHOR, QK_STATIC } QKSource;

typedef struct {
    const char *name;
    char letter;                // in a layer string such as NSNS
    const char *relaxes;        // the principle that it relaxes
    QKSource source;
    bool rotates;               // RoPE on q and k?
    // NULL in mlp, whose SwiGLU the block itself calls before Wv
    void (*forward)(float *o, float *stat, const float *q, const float *k, const float *v, Mix m);
    void (*backward)(float *dq, float *dk, float *dv, const float *g, const float *o,
                     const float *stat, const float *q, const float *k, const float *v, Mix m);
    Weigh *weigh;               // how attend_forward weighs the keys, or NULL
    WeighBackward *weigh_backward;
} Variant;

static const Variant variants[VARIANTS] = {
    {"standard", 'S', "nothing", QK_OWN, true,
     attend_forward, attend_backward, softmax_row, softmax_row_backward},
    {"mlp", 'M', "1, mixing", QK_OWN, false, NULL, NULL, NULL, NULL},
    {"approx", 'A', "2, the form", QK_OWN, true,
     attend_forward, attend_backward, taylor_row, taylor_row_backward},
    {"nonapprox", 'N', "2, the form", QK_OWN, false,
     nonapprox_forward, nonapprox_backward, NULL, NULL},
    {"rndembqk", 'R', "3, dependence on the sequence", QK_RANDOM_ANCHOR, true,
     attend_forward, attend_backward, softmax_row, softmax_row_backward},
    {"fixedseqqk", 'F', "3, dependence on the sequence", QK_TEXT_ANCHOR, true,
     attend_forward, attend_backward, softmax_row, softmax_row_backward},
    {"staticembqk", 'E', "4, queries and keys of the current layer", QK_STATIC, true,
     attend_forward, attend_backward, softmax_row, softmax_row_backward},
};

// ------------------------------------------------------------------------------------------------
// 5  The model: configuration, layouts, tensors, activations
// ------------------------------------------------------------------------------------------------

enum { MAX_LAYERS = 256 };
typedef struct {
    int layers, heads, kv_heads, dim, ffn, vocab, seq, batch;
    int qk_norm, untied;
    double rope_base;
    int kind[MAX_LAYERS];       // the variant of each layer
    char letters[MAX_LAYERS + 1];   // the same as a text
} Config;

// Layouts: which layers l = 1 .. n stay standard. top, middle, bottom name the place of the others.
enum { UNIFORM, EVEN, ODD, TOP, MIDDLE, BOTTOM, QUARTER, FIRST, LAST, BILATERAL, LAYOUTS };

static const struct { const char *name, *stays; } layouts[LAYOUTS] = {
    [UNIFORM] = {"uniform", "none"},
    [EVEN] = {"even", "every even layer"},
    [ODD] = {"odd", "every odd layer"},
    [TOP] = {"top", "the lower half, l <= n/2"},
    [MIDDLE] = {"middle", "l <= n/4 or l > 3n/4"},
    [BOTTOM] = {"bottom", "the upper half, l > n/2"},
    [QUARTER] = {"25", "every fourth layer"},
    [FIRST] = {"first", "layer 1"},
    [LAST] = {"last", "layer n"},
    [BILATERAL] = {"bilateral", "layers 1 and n"},
};

static bool stays_standard(int layout, int l, int n) {
    switch (layout) {
    case EVEN:      return l % 2 == 0;
    case ODD:       return l % 2 == 1;
    case TOP:       return 2 * l <= n;
    case MIDDLE:    return 4 * l <= n || 4 * l > 3 * n;
    case BOTTOM:    return 2 * l > n;
    case QUARTER:   return l % 4 == 0;
    case FIRST:     return l == 1;
    case LAST:      return l == n;
    case BILATERAL: return l == 1 || l == n;
    default:        return false;
    }
}

// A parameter tensor is declared once, by add_tensor(); everything else (memory, initial values,
// AdamW, checkpoint, tests, the memory report) loops over the list.
typedef enum { MATRIX, BIAS, GAIN } Role;   // MATRIX: N(0, 0.02^2), decayed; BIAS: 0; GAIN: 1

typedef struct {
    char name[64];              // as in Hugging Face's Qwen2
    Role role;
    int rows, cols;             // (rows, cols); vectors: (1, cols)
    size_t size;                // rows * cols
    float *w, *g, *m, *v;       // value, gradient, AdamW's two moments
} Tensor;

// How a layer computes its queries, or its keys, and what it keeps of them.
typedef struct {
    Tensor *w, *b;              // (H*dh,C) (H*dh), H = NH for q, NKV for k
    Tensor *gain;               // (dh) QK-norm's; NULL without --qk-norm and in mlp
    float *raw, *out;           // (M,T,H,dh) before QK-norm; after it and RoPE. No gain: the same
} Projection;

typedef struct {
    Tensor *norm1, *norm2;      // (C) (C) the gains before the mixer and before the block's MLP
    Projection q, k;
    Tensor *wv, *bv, *wo;       // (CKV,C) (CKV) (C,C)
    Tensor *wgate, *wup, *wdown;    // (F,C) (F,C) (C,F)
    int anchor;                 // the anchor whose q and k the layer uses, 0 or 1, or -1: none
    int anchor_rows;            // anchors that enter the block: this layer or a later one uses them
    // activations kept for the backward pass; M and R as in section 4, Rin >= R below
    float *h;                   // (Rin,T,C) the residual stream that enters the block
    float *v, *u, *o;           // (R,T,CKV) (R,T,C) (R,T,C) mlp has u instead of v, in its memory
    float *stat;                // (M,NH,T,2) what the mixer keeps
    float *mid;                 // (R,T,C) the residual stream between mixer and MLP
    float *gate, *up;           // (R,T,F)
} Layer;

typedef enum { SKIP_NONE, SKIP_BLOCKS, SKIP_MIXERS } Skip;

typedef struct {
    Config c;
    Tensor *tensors;
    int ntensors;
    Tensor *embed, *norm, *head;    // (V,C) (C) (V,C); tied: head == embed
    Layer *layer;               // one a block, and one more whose h is `final`
    bool frozen;                // no gradients and moments: set before model_allocate()
    float *store;               // all values, then all gradients, all m, all v
    size_t parameters;
    QKSource anchor_kind[2];    // of anchors 0 and 1; a model has at most one of each kind
    float *anchor_input;        // (T,C) rndembqk's fixed random input, not a parameter
    int *anchor_tokens;         // (T) fixedseqqk's fixed text
    // activations
    float *activations;
    size_t activation_bytes, kept_bytes, mixer_bytes;
    float *final;               // (B,T,C) the last block's output
    float *cos_sin;             // (T,dh/2,2) RoPE: cosine, sine
    float *n, *dn, *dres;       // (Rmax,T,C) normed rows; gradients of n, of the residual stream
    float *ne, *dne, *de;       // (Rmax,T,C) staticembqk: RMSNorm(e); gradients of ne, of e
    float *dq, *dk, *dv, *du;   // room (Rmax,T,C) for gradients of q, k, v, u; du in dv's memory
    float *g;                   // (Rmax,T,C) gradient of the mixer's output o
    float *dprenorm;            // (Rmax,T,C) gradient of q or k before QK-norm
    float *act, *dact, *dgate, *dup;    // (Rmax,T,F)
    float *r;                   // (Rmax,T,NH) scratch of RMSNorm's backward pass
    float *logits;              // (chunk,V) in the memory of act, dact, dgate, dup
    float *losses;              // (B,T) of the last forward pass, 0 where nothing is scored
    unsigned char *right;       // (B,T) is no token likelier than the target?
    int scored, correct;        // positions with a target; those of them that are right
    int chunk;                  // positions whose logits are in memory at a time
    int *tokens;                // (B,T) the inputs of the last forward pass
    int b, T;                   // batch and positions of the last forward pass
    Skip skip;
} Model;

// Rows that enter block l (l = layers: that leave the last): the batch, then the anchors that layer
// l or a later one uses. When layers are skipped, no anchor is used.
static int rows_in(const Model *m, int b, int l) {
    return m->skip == SKIP_NONE ? b + m->layer[l].anchor_rows : b;
}

// Numbers the anchors from the last layer down: the last anchored layer's is 0. So the
// rows that enter a block are always the first of those that enter the block before it.
static void find_anchors(Model *m) {
    int count = 0;
    for (int l = m->c.layers - 1; l >= 0; l--) {
        Layer *L = &m->layer[l];
        QKSource source = variants[m->c.kind[l]].source;
        L->anchor = -1;
        if (source == QK_RANDOM_ANCHOR || source == QK_TEXT_ANCHOR) {
            L->anchor = count > 0 && m->anchor_kind[0] != source;
            if (L->anchor == count) m->anchor_kind[count++] = source;
        }
        L->anchor_rows = count;
    }
}

static bool uses(const Config *c, QKSource source) {
    for (int l = 0; l < c->layers; l++)
        if (variants[c->kind[l]].source == source) return true;
    return false;
}

// The registry. From here on layers count from 0, as in Hugging Face's names; l = -1: of no layer.
static Tensor *add_tensor(Model *m, Role role, int nrows, int ncols, int l, const char *name) {
    Tensor *t = &m->tensors[m->ntensors++];
    t->role = role, t->rows = nrows, t->cols = ncols, t->size = (size_t)nrows * ncols;
    if (l < 0) snprintf(t->name, sizeof t->name, "%s", name);
    else snprintf(t->name, sizeof t->name, "model.layers.%d.%s", l, name);
    m->parameters += t->size;
    return t;
}

static void declare_tensors(Model *m) {
    const Config *c = &m->c;
    int C = c->dim, dh = C / c->heads, CKV = c->kv_heads * dh, F = c->ffn;
    m->tensors = allocate((3 + 14 * (size_t)c->layers) * sizeof *m->tensors, "the tensor list");
    m->embed = add_tensor(m, MATRIX, c->vocab, C, -1, "model.embed_tokens.weight");
    for (int l = 0; l < c->layers; l++) {
        Layer *L = &m->layer[l];
        L->norm1 = add_tensor(m, GAIN, 1, C, l, "input_layernorm.weight");
        L->q.w = add_tensor(m, MATRIX, C, C, l, "self_attn.q_proj.weight");
        L->q.b = add_tensor(m, BIAS, 1, C, l, "self_attn.q_proj.bias");
        L->k.w = add_tensor(m, MATRIX, CKV, C, l, "self_attn.k_proj.weight");
        L->k.b = add_tensor(m, BIAS, 1, CKV, l, "self_attn.k_proj.bias");
        L->wv = add_tensor(m, MATRIX, CKV, C, l, "self_attn.v_proj.weight");
        L->bv = add_tensor(m, BIAS, 1, CKV, l, "self_attn.v_proj.bias");
        L->wo = add_tensor(m, MATRIX, C, C, l, "self_attn.o_proj.weight");
        L->q.gain = c->qk_norm ? add_tensor(m, GAIN, 1, dh, l, "self_attn.q_norm.weight") : NULL;
        L->k.gain = c->qk_norm ? add_tensor(m, GAIN, 1, dh, l, "self_attn.k_norm.weight") : NULL;
        if (c->kind[l] == MLP) L->q.gain = L->k.gain = NULL;    // declared for equal counts only
        L->norm2 = add_tensor(m, GAIN, 1, C, l, "post_attention_layernorm.weight");
        L->wgate = add_tensor(m, MATRIX, F, C, l, "mlp.gate_proj.weight");
        L->wup = add_tensor(m, MATRIX, F, C, l, "mlp.up_proj.weight");
        L->wdown = add_tensor(m, MATRIX, C, F, l, "mlp.down_proj.weight");
    }
    m->norm = add_tensor(m, GAIN, 1, C, -1, "model.norm.weight");
    m->head = c->untied ? add_tensor(m, MATRIX, c->vocab, C, -1, "lm_head.weight") : m->embed;
}

// The activations (not tokens, not right) are slices of one allocation. carve() runs twice: first
// without memory, to add up the sizes, then to assign the slices.
typedef struct { char *base; size_t used; } Arena;

static float *take(Arena *a, size_t floats) {
    float *p = a->base ? (float *)(a->base + a->used) : NULL;
    a->used += (floats * sizeof(float) + 63) / 64 * 64;
    return p;
}

static void carve(Model *m, Arena *a) {
    const Config *c = &m->c;
    size_t T = c->seq, C = c->dim, CKV = C / c->heads * c->kv_heads, F = c->ffn, NH = c->heads;
    m->mixer_bytes = 0;
    for (int l = 0; l < c->layers; l++) {
        Layer *L = &m->layer[l];
        size_t R = rows_in(m, c->batch, l + 1), M = L->anchor < 0 ? R : 1;
        L->h = take(a, rows_in(m, c->batch, l) * T * C);
        L->mid = take(a, R * T * C);
        L->gate = take(a, R * T * F), L->up = take(a, R * T * F);
        size_t before = a->used;
        L->q.out = take(a, M * T * C);
        L->k.out = take(a, M * T * CKV);
        L->q.raw = L->q.gain ? take(a, M * T * C) : L->q.out;
        L->k.raw = L->k.gain ? take(a, M * T * CKV) : L->k.out;
        L->v = L->u = take(a, R * T * CKV);
        L->o = take(a, R * T * C);
        L->stat = take(a, c->kind[l] == MLP ? 0 : M * NH * T * 2);
        m->mixer_bytes += a->used - before;
    }
    m->final = m->layer[c->layers].h = take(a, c->batch * T * C);
    m->kept_bytes = a->used;
    size_t most = rows_in(m, c->batch, 0), wide = most * T * C, hidden = most * T * F;
    size_t if_static = uses(c, QK_STATIC) ? wide : 0;
    m->n = take(a, wide), m->dn = take(a, wide), m->dres = take(a, wide);
    m->ne = take(a, if_static), m->dne = take(a, if_static), m->de = take(a, if_static);
    m->dq = take(a, wide), m->dk = take(a, wide), m->g = take(a, wide);
    m->dv = m->du = take(a, wide);
    m->dprenorm = take(a, c->qk_norm ? wide : 0);
    m->act = take(a, hidden), m->dact = take(a, hidden);
    m->dgate = take(a, hidden), m->dup = take(a, hidden);
    m->logits = m->act;                 // in the memory of these four, which the head does not use
    size_t logits = (size_t)m->chunk * c->vocab;
    take(a, logits > 4 * hidden ? logits - 4 * hidden : 0);
    m->r = take(a, most * T * NH);
    m->cos_sin = take(a, T * C / NH);
    m->losses = take(a, c->batch * T);
    m->anchor_input = take(a, uses(c, QK_RANDOM_ANCHOR) ? T * C : 0);
}

// The scratch of sections 2 and 4 for a configuration's batch and length, the largest that occur.
typedef struct {
    size_t threads, panels, heads;      // how many; floats of all panels, of one array of heads
    size_t map, packed;         // floats of each thread; map has room for nonapprox's vector (dh)
} Scratch;

static Scratch scratch_floats(const Config *c) {
    int dh = c->dim / c->heads, most_rows = c->batch + 2;       // at most two anchors
    size_t map = (size_t)QB * padded(c->seq), nt = omp_get_max_threads();
    return (Scratch){nt, 2 * BLOCK + nt * GROUP * MR * KC,
                     (size_t)most_rows * c->kv_heads * head_floats(c->seq, dh),
                     map > (size_t)dh ? map : (size_t)dh, (size_t)QB * padded(dh)};
}

static size_t work_bytes(const Config *c) {
    Scratch s = scratch_floats(c);
    return (s.panels + HEADS * s.heads + s.threads * (2 * s.map + s.packed)) * sizeof(float);
}

static void make_work(const Config *c) {
    Scratch s = scratch_floats(c);
    panels = allocate(s.panels * sizeof(float), "packed panels");
    for (int i = 0; i < HEADS; i++)
        packed_heads[i] = allocate(s.heads * sizeof(float), "packed heads");
    work = allocate(s.threads * sizeof *work, "the threads");
    for (size_t t = 0; t < s.threads; t++) {
        work[t].map = allocate(s.map * sizeof(float), "a block of the map");
        work[t].dmap = allocate(s.map * sizeof(float), "a block of its gradient");
        work[t].packed = allocate(s.packed * sizeof(float), "rows of a block");
    }
}

static void free_work(int nt) {
    for (int t = 0; t < nt; t++) free(work[t].map), free(work[t].dmap), free(work[t].packed);
    for (int i = 0; i < HEADS; i++) free(packed_heads[i]);
    free(panels), free(work);
    work = NULL;
}

// Plans the model and counts its memory, so that the program can report it before it is reserved.
static void model_plan(Model *m, const Config *c) {
    *m = (Model){.c = *c};
    m->layer = allocate(((size_t)c->layers + 1) * sizeof *m->layer, "the layers");
    declare_tensors(m);
    find_anchors(m);
    // about 16 MB of logits at a time, but at least 512 positions: each chunk reads the whole head
    size_t fit = ((size_t)4 << 20) / c->vocab, all = (size_t)c->batch * c->seq;
    if (fit < 512) fit = 512;
    m->chunk = (int)(fit < all ? fit : all);
    Arena count = {0};
    carve(m, &count);
    m->activation_bytes = count.used;
}

static void model_allocate(Model *m, uint64_t seed) {
    const Config *c = &m->c;
    size_t copies = m->frozen ? 1 : 4;
    size_t need = copies * m->parameters * sizeof(float) + m->activation_bytes + work_bytes(c);
    double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (have > 0 && (double)need > have)
        fail("the model needs %.0f MB of memory and this machine has %.0f: choose a smaller "
             "--batch, --seq or --size", (double)need / 1e6, have / 1e6);
    m->store = allocate(copies * m->parameters * sizeof(float), "weights, gradients and moments");
    m->activations = allocate(m->activation_bytes, "activations");
    carve(m, &(Arena){(char *)m->activations, 0});
    m->tokens = allocate((size_t)c->batch * c->seq * sizeof(int), "tokens");
    m->right = allocate((size_t)c->batch * c->seq, "the right positions");
    m->anchor_tokens = allocate((size_t)c->seq * sizeof(int), "the anchor's tokens");
    uint64_t rng = random_stream(seed, STREAM_INIT);
    float *next = m->store;
    for (int i = 0; i < m->ntensors; i++) {
        Tensor *t = &m->tensors[i];
        t->w = next;
        next += t->size;
        if (m->frozen) continue;                    // its values come from a checkpoint
        t->g = t->w + m->parameters, t->m = t->g + m->parameters, t->v = t->m + m->parameters;
        for (size_t e = 0; e < t->size && t->role != BIAS; e++)     // a bias stays 0
            t->w[e] = t->role == GAIN ? 1 : (float)(0.02 * random_normal(&rng));
    }
    rng = random_stream(seed, STREAM_ANCHOR);
    if (uses(c, QK_RANDOM_ANCHOR))
        for (size_t e = 0; e < (size_t)c->seq * c->dim; e++)
            m->anchor_input[e] = (float)(0.02 * random_normal(&rng));
    int dh = c->dim / c->heads;
    for (int t = 0; t < c->seq; t++)
        for (int a = 0; a < dh / 2; a++) {
            double angle = t * pow(c->rope_base, -2.0 * a / dh);
            m->cos_sin[(size_t)t * dh + 2 * a] = (float)cos(angle);
            m->cos_sin[(size_t)t * dh + 2 * a + 1] = (float)sin(angle);
        }
}

static void model_free(Model *m) {
    free(m->tensors), free(m->layer), free(m->store), free(m->activations);
    free(m->tokens), free(m->right), free(m->anchor_tokens);
}

// ------------------------------------------------------------------------------------------------
// 6  The model forward and backward
// ------------------------------------------------------------------------------------------------

static Mix mix_shape(const Model *m, int l) {
    int R = rows_in(m, m->b, l + 1), NH = m->c.heads;
    const Variant *variant = &variants[m->c.kind[l]];
    return (Mix){R, m->layer[l].anchor < 0 ? R : 1, m->T, NH, m->c.kv_heads, m->c.dim / NH,
                 variant->weigh, variant->weigh_backward};
}

// The linear layer of section 3 with a tensor's weights.   w (O,I), b (O) or NULL
static void project_forward(float *y, const float *x, const Tensor *w, const Tensor *b, size_t N) {
    linear_forward(y, x, w->w, b ? b->w : NULL, N, w->cols, w->rows);
}

static void project_backward(float *dx, Tensor *w, Tensor *b, const float *dy, const float *x,
                             size_t N, bool add) {
    linear_backward(dx, w->g, b ? b->g : NULL, dy, x, w->w, N, w->cols, w->rows, add);
}

// The rows (M,T,C) that layer l's Wq and Wk project: in staticembqk those of ne, else those of n,
// all or only the anchor's. Called with dn and dne, it returns the place of their gradient.
static float *qk_rows(const Model *m, int l, float *n, float *ne) {
    int a = m->layer[l].anchor;
    if (variants[m->c.kind[l]].source == QK_STATIC) return ne;
    return a < 0 ? n : n + ((size_t)m->b + a) * m->T * m->c.dim;
}

// Computes layer l's q, or k: project n (staticembqk: ne), then QK-norm, then RoPE.
static void qk_forward(const Model *m, int l, const Projection *p) {
    Mix mix = mix_shape(m, l);
    int H = p->w->rows / mix.dh;
    size_t N = (size_t)mix.M * mix.T;
    project_forward(p->raw, qk_rows(m, l, m->n, m->ne), p->w, p->b, N);
    if (p->gain) rmsnorm_forward(p->out, p->raw, p->gain->w, N * H, mix.dh);    // head by head
    if (variants[m->c.kind[l]].rotates) rope(p->out, m->cos_sin, 1, mix.M, mix.T, H, mix.dh);
}

// d, the gradient of p->out, is overwritten. add: the gradient of the rows is increased, not set.
static void qk_backward(const Model *m, int l, const Projection *p, float *d, bool add) {
    Mix mix = mix_shape(m, l);
    int H = p->w->rows / mix.dh;
    size_t N = (size_t)mix.M * mix.T;
    if (variants[m->c.kind[l]].rotates) rope(d, m->cos_sin, -1, mix.M, mix.T, H, mix.dh);
    if (p->gain) {
        memset(m->dprenorm, 0, N * p->w->rows * sizeof(float));
        rmsnorm_backward(m->dprenorm, p->gain->g, d, p->raw, p->gain->w, m->r, N * H, mix.dh);
        d = m->dprenorm;
    }
    float *x = qk_rows(m, l, m->n, m->ne), *dx = qk_rows(m, l, m->dn, m->dne);
    project_backward(dx, p->w, p->b, d, x, N, add);
}

// The block, forwards. Its output is the next block's h.
static void block_forward(Model *m, int l) {
    const Layer *L = &m->layer[l];
    int kind = m->c.kind[l], C = m->c.dim, F = m->c.ffn;
    const Variant *variant = &variants[kind];
    Mix mix = mix_shape(m, l);
    size_t Nin = (size_t)rows_in(m, m->b, l) * m->T, N = (size_t)mix.R * m->T;
    float *out = m->layer[l + 1].h;
    Skip skip = kind == STANDARD ? SKIP_NONE : m->skip;
    if (skip == SKIP_BLOCKS) {
        memcpy(out, L->h, N * C * sizeof(float));
        return;
    }
    if (skip == SKIP_MIXERS) {
        memcpy(L->mid, L->h, N * C * sizeof(float));
    } else {
        // n = RMSNorm(h);  q = n Wq, k = n Wk; in staticembqk from ne = RMSNorm(e) instead of n
        rmsnorm_forward(m->n, L->h, L->norm1->w, Nin, C);
        if (variant->source == QK_STATIC)
            rmsnorm_forward(m->ne, m->layer[0].h, L->norm1->w, N, C);
        qk_forward(m, l, &L->q);
        qk_forward(m, l, &L->k);
        // v = n Wv, o = mix(q, k, v);  mlp: u = SiLU(q) * k, o = u Wv
        if (kind == MLP) {
            swiglu_forward(L->u, L->q.out, L->k.out, N, C);
            project_forward(L->o, L->u, L->wv, L->bv, N);
        } else {
            project_forward(L->v, m->n, L->wv, L->bv, N);
            variant->forward(L->o, L->stat, L->q.out, L->k.out, L->v, mix);
        }
        // mid = h + o Wo
        matmul(L->mid, C, L->h, C, rows(L->o, C), transposed(rows(L->wo->w, C)), (int)N, C, C);
    }
    // out = mid + (SiLU(n Wgate) * n Wup) Wdown,  n = RMSNorm(mid)
    rmsnorm_forward(m->n, L->mid, L->norm2->w, N, C);
    project_forward(L->gate, m->n, L->wgate, NULL, N);
    project_forward(L->up, m->n, L->wup, NULL, N);
    swiglu_forward(m->act, L->gate, L->up, N, F);
    matmul(out, C, L->mid, C, rows(m->act, F), transposed(rows(L->wdown->w, F)), (int)N, C, F);
}

// The block, backwards: the forward lines, repeated in the comments, from the last to the first.
// dres (R,T,C), the gradient of the block's output, becomes dres (Rin,T,C), that of its input: the
// residual stream passes it on unchanged, and each branch adds to it. n, ne, act are recomputed.
static void block_backward(Model *m, int l) {
    const Layer *L = &m->layer[l];
    int kind = m->c.kind[l], C = m->c.dim, F = m->c.ffn;
    const Variant *variant = &variants[kind];
    Mix mix = mix_shape(m, l);
    size_t Nin = (size_t)rows_in(m, m->b, l) * m->T, N = (size_t)mix.R * m->T;
    bool is_static = variant->source == QK_STATIC;
    // forward: out = mid + act Wdown, act = SiLU(gate) * up; backward:
    swiglu_forward(m->act, L->gate, L->up, N, F);
    project_backward(m->dact, L->wdown, NULL, m->dres, m->act, N, false);
    swiglu_backward(m->dgate, m->dup, m->dact, L->gate, L->up, N, F);
    // gate = n Wgate, up = n Wup, n = RMSNorm(mid)
    rmsnorm_forward(m->n, L->mid, L->norm2->w, N, C);
    project_backward(m->dn, L->wgate, NULL, m->dgate, m->n, N, false);
    project_backward(m->dn, L->wup, NULL, m->dup, m->n, N, true);
    rmsnorm_backward(m->dres, L->norm2->g, m->dn, L->mid, L->norm2->w, m->r, N, C);
    // mid = h + o Wo
    project_backward(m->g, L->wo, NULL, m->dres, L->o, N, false);
    // An anchor used here for the last time gave only q and k: its gradient begins here, at 0.
    memset(m->dres + N * C, 0, (Nin - N) * C * sizeof(float));
    memset(m->dn + N * C, 0, (Nin - N) * C * sizeof(float));
    // v = n Wv, o = mix(q, k, v);  mlp: u = SiLU(q) * k, o = u Wv
    rmsnorm_forward(m->n, L->h, L->norm1->w, Nin, C);
    if (kind == MLP) {
        project_backward(m->du, L->wv, L->bv, m->g, L->u, N, false);
        swiglu_backward(m->dq, m->dk, m->du, L->q.out, L->k.out, N, C);
    } else {
        variant->backward(m->dq, m->dk, m->dv, m->g, L->o, L->stat, L->q.out, L->k.out, L->v, mix);
        project_backward(m->dn, L->wv, L->bv, m->dv, m->n, N, false);
    }
    // q = n Wq, k = n Wk; in staticembqk from ne instead of n. dn may hold v's part already
    if (is_static) rmsnorm_forward(m->ne, m->layer[0].h, L->norm1->w, N, C);
    qk_backward(m, l, &L->q, m->dq, !is_static && kind != MLP);
    qk_backward(m, l, &L->k, m->dk, true);
    // n = RMSNorm(h), ne = RMSNorm(e): one gain, used twice
    if (is_static)
        rmsnorm_backward(m->de, L->norm1->g, m->dne, m->layer[0].h, L->norm1->w, m->r, N, C);
    rmsnorm_backward(m->dres, L->norm1->g, m->dn, L->h, L->norm1->w, m->r, Nin, C);
}

// Runs tokens (b,T), b <= batch and T <= seq, through all blocks. The anchors are the rows after
// the batch; a shorter T uses their first T positions, which is exact: everything is causal.
static void model_forward(Model *m, const int *tokens, int b, int T) {
    const Config *c = &m->c;
    size_t N = (size_t)b * T, row_floats = (size_t)T * c->dim;
    float *h = m->layer[0].h;
    m->b = b, m->T = T;
    memcpy(m->tokens, tokens, N * sizeof(int));
    embedding_forward(h, tokens, m->embed->w, N, c->dim);
    for (int a = 0; a < rows_in(m, b, 0) - b; a++) {
        float *to = h + (b + a) * row_floats;
        if (m->anchor_kind[a] == QK_TEXT_ANCHOR)
            embedding_forward(to, m->anchor_tokens, m->embed->w, T, c->dim);
        else memcpy(to, m->anchor_input, row_floats * sizeof(float));
    }
    for (int l = 0; l < c->layers; l++) block_forward(m, l);
}

// The head: final norm, logits, cross-entropy with targets (b,T), -1 where nothing is scored.
// Returns the mean loss over the scored positions, in nats; m->losses holds each position's loss.
// Forward and backward share this function, because the logits (N,V) are large: they are computed
// and used one chunk of positions at a time. If `backward`, dres becomes the gradient of final.
static double head_pass(Model *m, const int *targets, bool backward) {
    int C = m->c.dim, V = m->c.vocab;
    size_t N = (size_t)m->b * m->T;
    m->scored = m->correct = 0;
    for (size_t n = 0; n < N; n++) m->scored += targets[n] >= 0;
    rmsnorm_forward(m->n, m->final, m->norm->w, N, C);
    for (size_t n0 = 0; n0 < N; n0 += m->chunk) {
        size_t count = N - n0 < (size_t)m->chunk ? N - n0 : (size_t)m->chunk;
        project_forward(m->logits, m->n + n0 * C, m->head, NULL, count);
        crossentropy_forward(m->losses + n0, m->right + n0, m->logits, targets + n0, count, V);
        if (!backward) continue;
        crossentropy_backward(m->logits, targets + n0, m->scored, count, V);
        project_backward(m->dn + n0 * C, m->head, NULL, m->logits, m->n + n0 * C, count, false);
    }
    if (backward) {
        memset(m->dres, 0, N * C * sizeof(float));
        rmsnorm_backward(m->dres, m->norm->g, m->dn, m->final, m->norm->w, m->r, N, C);
    }
    double sum = 0;
    for (size_t n = 0; n < N; n++) sum += (double)m->losses[n], m->correct += m->right[n];
    return sum / m->scored;
}

static double model_loss(Model *m, const int *targets) { return head_pass(m, targets, false); }

// Adds the gradient of the mean loss to every tensor's g; returns the loss. Needs model_forward().
static double model_backward(Model *m, const int *targets) {
    int C = m->c.dim, R = rows_in(m, m->b, 0);
    size_t row_floats = (size_t)m->T * C;
    size_t static_floats = uses(&m->c, QK_STATIC) ? R * row_floats : 0;
    double loss = head_pass(m, targets, true);
    memset(m->de, 0, static_floats * sizeof(float));
    for (int l = m->c.layers - 1; l >= 0; l--) block_backward(m, l);
    for (size_t e = 0; e < static_floats; e++) m->dres[e] += m->de[e];
    embedding_backward(m->embed->g, m->dres, m->tokens, (size_t)m->b * m->T, C);
    for (int a = 0; a < R - m->b; a++)
        if (m->anchor_kind[a] == QK_TEXT_ANCHOR)
            embedding_backward(m->embed->g, m->dres + (m->b + a) * row_floats, m->anchor_tokens,
                               m->T, C);
    return loss;
}

// ------------------------------------------------------------------------------------------------
// 7  AdamW
// ------------------------------------------------------------------------------------------------

// Linear warm-up, then half a cosine from lr to min_lr at step = steps. Step 0 is adamw's t = 1.
static double learning_rate(int step, int steps, int warmup, double lr, double min_lr) {
    if (step < warmup) return lr * (step + 1) / warmup;
    double done = (double)(step - warmup) / (steps > warmup ? steps - warmup : 1);
    return min_lr + 0.5 * (lr - min_lr) * (1 + cos(3.141592653589793 * done));
}

enum { SLICE = 1 << 14 };       // elements that one thread takes at a time

// sum_e x_e^2 in double, the same for any number of threads: each SLICE is summed, then their sums.
static double sum_of_squares(const float *x, size_t n) {
    size_t slices = (n + SLICE - 1) / SLICE;
    double *part = allocate(slices * sizeof *part, "partial sums"), sum = 0;
#pragma omp parallel for
    for (size_t p = 0; p < slices; p++) {
        size_t end = (p + 1) * SLICE < n ? (p + 1) * SLICE : n, e = p * SLICE;
        double lane[LANES] = {0};
        for (; e + LANES <= end; e += LANES)
            for (int l = 0; l < LANES; l++) lane[l] += (double)x[e + l] * (double)x[e + l];
        for (; e < end; e++) lane[0] += (double)x[e] * (double)x[e];
        for (int l = 0; l < LANES; l++) part[p] += lane[l];
    }
    for (size_t p = 0; p < slices; p++) sum += part[p];
    free(part);
    return sum;
}

// The norm of the whole gradient; the tensors' g lie one after another, from tensors[0].g on. If it
// is not finite the run ends, because the update would ruin every weight.
static double gradient_norm(const Model *m, int step, double loss) {
    double sum = sum_of_squares(m->tensors[0].g, m->parameters);
    if (isfinite(sum) && isfinite(loss)) return sqrt(sum);
    const Tensor *t = m->tensors, *end = t + m->ntensors;
    while (t < end && isfinite(sum_of_squares(t->g, t->size))) t++;
    fail("step %d: the loss is %g and the gradient of %s is not finite; try a lower --lr or a "
         "longer --warmup", step, fabs(loss), t < end ? t->name : "no tensor");
}

typedef struct { double beta1, beta2, eps, decay, clip; } AdamW;

// Step t = 1, 2, .. (Loshchilov and Hutter 2019). If the norm of the gradient g exceeds clip, g is
// first multiplied by clip / norm (clip 0: never). Then
//   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
//   w -= lr (m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps) + decay w)       decay on matrices only
static void adamw(Model *m, const AdamW *a, int t, double lr, double norm) {
    float scale = a->clip > 0 && norm > a->clip ? (float)(a->clip / norm) : 1;
    float b1 = (float)a->beta1, b2 = (float)a->beta2, eps = (float)a->eps;
    float c1 = (float)(1 - a->beta1), c2 = (float)(1 - a->beta2);
    float rate = (float)(lr / (1 - pow(a->beta1, t)));
    float unbias = (float)(1 / sqrt(1 - pow(a->beta2, t)));
#pragma omp parallel
    for (int i = 0; i < m->ntensors; i++) {
        Tensor *p = &m->tensors[i];
        float shrink = p->role == MATRIX ? (float)(1 - lr * a->decay) : 1;
        float *restrict w = p->w, *restrict m1 = p->m, *restrict m2 = p->v;
        const float *restrict grad = p->g;
#pragma omp for schedule(dynamic) nowait
        for (size_t c = 0; c < (p->size + SLICE - 1) / SLICE; c++) {
            size_t end = (c + 1) * SLICE < p->size ? (c + 1) * SLICE : p->size;
            for (size_t e = c * SLICE; e < end; e++) {
                float g = grad[e] * scale;
                m1[e] = b1 * m1[e] + c1 * g;
                m2[e] = b2 * m2[e] + c2 * g * g;
                float root_v = (float)sqrt((double)m2[e]);
                w[e] = shrink * w[e] - rate * m1[e] / (root_v * unbias + eps);
            }
        }
    }
}

static void zero_gradients(Model *m) {
#pragma omp parallel for
    for (size_t e = 0; e < m->parameters; e++) m->tensors[0].g[e] = 0;
}

// ------------------------------------------------------------------------------------------------
// 8  Data
//
// --data is one of these:
//   - shards of tokens as llm.c writes them: a header of 256 int32 (magic, version, count, zeros),
//     then the tokens. Magic 20240520, version 1: uint16; magic 20240801, version 7: uint32;
//   - any other file, a text: its bytes, vocabulary 256, so that no tokenizer is needed;
//   - the word recall: no file but a task, made up as it is read (see recall_sequence).
// Several files form one stream. They stay on disk: a window is read when it is needed, and every
// token is checked whenever it is read.
// ------------------------------------------------------------------------------------------------

enum { MAX_FILES = 256, MAX_PAIRS = 256, HEADER_BYTES = 1024 };
enum { MAGIC_16 = 20240520, MAGIC_32 = 20240801, MAGIC_CHOICES = 20240522 };
enum { PIECE = 4096 };          // tokens that are read at a time
enum { FLOORS_VOCAB = 1024 };   // pairs of tokens below it are counted; V above it: no floors
enum { RECALL_WINDOWS = 1024 }; // stand for all of recall's endless validation data

typedef struct {
    const char *path, *kind;    // kind: "bytes" or "tokens"
    FILE *file;
    int width;                  // bytes a token: 1, 2 or 4
    size_t n;                   // tokens
} Shard;

typedef struct {
    Shard shard[MAX_FILES];
    int shards;
    size_t first, n;            // the data are tokens first .. first+n-1 of the stream
    int pairs;                  // recall: key-value pairs in a sequence, else 0
    int vocab;                  // every token is less; 0: not known yet
    int largest;                // the largest token; survey() finds it and the next two
    uint32_t checksum;          // of all tokens
    size_t *follows;            // (FLOORS_VOCAB,FLOORS_VOCAB) [a][b]: how often b follows a
} Data;

typedef struct { char *s; size_t n, room; } Text;       // a text that grows

static void text_add(Text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    size_t need = (size_t)vsnprintf(NULL, 0, format, args) + 1;
    va_end(args);
    if (t->n + need > t->room) t->s = realloc(t->s, t->room = 2 * (t->n + need));
    if (!t->s) fail("no memory for a text of %zu bytes", t->room);
    va_start(args, format);
    t->n += (size_t)vsnprintf(t->s + t->n, need, format, args);
    va_end(args);
}

// A path as a shell takes it, for the commands in messages.
static const char *quoted(const char *path) {
    Text t = {0};
    if (*path != '-' && !strpbrk(path, " \t\n\"'\\`$&|;<>()*?[]{}~#!")) return path;
    text_add(&t, *path == '-' ? "'./" : "'");           // lest it be taken for an option
    for (; *path; path++) text_add(&t, *path == '\'' ? "'\\''" : "%c", *path);
    text_add(&t, "'");
    return t.s;
}

// Do the first n bytes of a file show that it is no text? Text has hardly any control characters;
// UTF-16, compressed files, arrays of numbers and programs have many, most of them in front.
static bool is_binary(const unsigned char *head, size_t n) {
    static const char *const fronts[] = {"\xff\xfe", "\xfe\xff", "%PDF-", "BZh", "\x28\xb5/\xfd"};
    size_t controls = 0;
    for (size_t i = 0; i < n; i++) {
        bool control = head[i] < '\t' || (head[i] > '\r' && head[i] < ' ' && head[i] != 27);
        if (control && i < 8) return true;
        controls += control;
    }
    for (size_t i = 0; i < sizeof fronts / sizeof *fronts && n > 4; i++)
        if (memcmp(head, fronts[i], strlen(fronts[i])) == 0) return true;
    return controls > n / 20;
}

// Opens a file; `option` is the one that names it, for errors.
static void shard_open(Shard *s, const char *path, const char *option) {
    unsigned char head[512];
    int32_t header[3] = {0};                    // magic, version, count
    const char *why, *wrong = NULL, *ending = strrchr(path, '.');
    struct stat info;
    *s = (Shard){path, "bytes", open_file(path, &why), 1, 0};
    size_t got = s->file ? fread(head, 1, sizeof head, s->file) : 0, size;
    if (!s->file || ferror(s->file) || fstat(fileno(s->file), &info) != 0)
        fail("%s: %s: expected %s FILE (the default data are in dev/data of the project's "
             "folder: run it there)", path, s->file ? strerror(errno) : why, option);
    memcpy(header, head, got < sizeof header ? got : sizeof header);
    s->n = size = (size_t)info.st_size;
    bool narrow = header[0] == MAGIC_16, tokens = narrow || header[0] == MAGIC_32;
    if (got > 0 && !tokens && header[0] != MAGIC_CHOICES && ending && !strcmp(ending, ".bin"))
        fail("%s: a .bin file without llm.c's header (magic %d or %d, found %d): if it holds "
             "nanoGPT's uint16, run: python3 prepro_data.py tokens %s --from nanogpt --out DIR; "
             "else --from uint32 or int64", path, MAGIC_16, MAGIC_32, header[0], quoted(path));
    if (got == 0) wrong = "the file is empty";
    else if (header[0] == MAGIC_CHOICES) wrong = "is a multiple-choice file, for evaluation";
    else if (tokens && header[1] != (narrow ? 1 : 7)) wrong = "has another version of its header";
    else if (!tokens && is_binary(head, got)) wrong = "is no text";
    else if ((off_t)size != info.st_size) wrong = strerror(EFBIG);
    if (wrong)
        fail("%s: %s: expected UTF-8, or tokens with llm.c's header; to learn what a file is and "
             "what converts it: python3 prepro_data.py show %s", path, wrong, quoted(path));
    if (!tokens) return;
    s->kind = "tokens", s->width = narrow ? 2 : 4, s->n = header[2] < 0 ? 0 : (size_t)header[2];
    size_t expected = HEADER_BYTES + s->n * s->width;
    if (s->n == 0 || size != expected)
        fail("%s: its header counts %d tokens of %d bytes, so %zu bytes in all, but the file has "
             "%zu: it is damaged or cut short", path, header[2], s->width, expected, size);
}

static void expect_one_kind(const Shard *a, const Shard *b) {
    if (strcmp(a->kind, b->kind) != 0)
        fail("%s holds %s and %s holds %s: expected one kind", a->path, a->kind, b->path, b->kind);
}

// Opens the files whose names are the lines of `files`, the value of the option.
static void data_open(Data *d, const char *files, const char *option) {
    char *line = strcpy(allocate(strlen(files) + 1, "names"), files);
    *d = (Data){0};
    for (char *next; line; line = next) {
        if (d->shards == MAX_FILES)
            fail("%s: more than %d files: join some of them", option, MAX_FILES);
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        Shard *s = &d->shard[d->shards++];
        shard_open(s, line, option);
        expect_one_kind(&d->shard[0], s);
        d->n += s->n;
    }
}

static void data_close(Data *d) {
    for (int i = 0; i < d->shards; i++) fclose(d->shard[i].file);
    free((char *)d->shard[0].path);             // all names are in one block
    free(d->follows);
}

static bool data_is_bytes(const Data *d) { return d->pairs == 0 && d->shard[0].width == 1; }

// Tokens at .. at+n-1 of the data, which may begin in one shard and end in another.
static void read_tokens(const Data *d, size_t at, int n, int *tokens) {
    unsigned char bytes[4 * PIECE];
    for (int got; n > 0; at += got, tokens += got, n -= got) {
        const Shard *s = d->shard;
        size_t place = at + d->first;
        for (; place >= s->n; s++) place -= s->n;
        got = min_int(n, s->n - place < PIECE ? (int)(s->n - place) : PIECE);
        size_t byte = (s->width == 1 ? 0 : HEADER_BYTES) + place * s->width;
        if (fseeko(s->file, (off_t)byte, SEEK_SET) != 0 ||
            fread(bytes, s->width, got, s->file) != (size_t)got)
            fail("%s: cannot read tokens %zu to %zu: was the file shortened while in use?",
                 s->path, place, place + got - 1);
        for (int k = 0; k < got; k++) {
            uint32_t token = 0;
            memcpy(&token, bytes + k * s->width, s->width);
            tokens[k] = token > INT_MAX ? INT_MAX : (int)token;
            if (d->vocab && tokens[k] >= d->vocab)
                fail("%s: token %zu is %u, expected less than the vocabulary of %d (--vocab, or "
                     "the checkpoint's)",
                     s->path, place + k, (unsigned)token, d->vocab);
        }
    }
}

// CRC-32 as in zlib, gzip and PNG, going on from crc, at first 0. It notices all accidents within
// 32 bits and misses one in 4e9 of the others. Forging it would be easy, and pointless here.
static uint32_t checksum(uint32_t crc, const void *bytes, size_t n) {
    static uint32_t table[256];                 // the last entry is not 0 once it is filled
    for (uint32_t i = 0; i < 256 && table[255] == 0; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) table[i] = table[i] >> 1 ^ (table[i] & 1) * 0xedb88320u;
    }
    crc = ~crc;
    for (const unsigned char *b = bytes; n > 0; b++, n--) crc = crc >> 8 ^ table[(crc ^ *b) & 255];
    return ~crc;
}

// One pass over all tokens: finds the largest, the counts of pairs, and the checksum (of a text's
// bytes; of tokens as 4 bytes each, so that neither their width nor the cuts of files matter).
static void survey(Data *d) {
    int tokens[PIECE], before = FLOORS_VOCAB;   // the first token follows none
    d->follows = allocate(sizeof *d->follows * FLOORS_VOCAB * FLOORS_VOCAB, "counts of pairs");
    for (size_t at = 0, n; at < d->n; at += n) {
        n = d->n - at < PIECE ? d->n - at : PIECE;
        read_tokens(d, at, (int)n, tokens);
        for (size_t i = 0; i < n; i++) {
            int token = tokens[i];
            if (token > d->largest) d->largest = token;
            d->checksum = checksum(d->checksum, &token, data_is_bytes(d) ? 1 : 4);
            if (before < FLOORS_VOCAB && token < FLOORS_VOCAB)
                d->follows[(size_t)before * FLOORS_VOCAB + token]++;
            before = token;
        }
    }
}

static void data_expect(const Data *d, int T, const char *role) {
    if (d->n < (size_t)T + 1)
        fail("%s: %zu tokens for %s, fewer than one window of --seq %d + 1: give a longer file or "
             "a smaller --seq", d->shard[0].path, d->n, role, T);
}

static int random_below(uint64_t *rng, int n) { return (int)(random_u64(rng) % (uint64_t)n); }

// Associative recall. A sequence first lists pairs of a key and its value, then asks for each key
// again, in a random order at random even positions, with filler (0) between; the target stands at
// the query's own position, and nothing else is scored:
//     inputs   3 41  9 57  ..  0 0  9 0  0 0  3 0        keys 1 .. V/2-1, all different,
//     targets  .  .  .  .  ..  . . 57 .  . . 41 .        values V/2 .. V-1, which may repeat
static void recall_sequence(const Data *d, uint64_t *rng, int T, int *inputs, int *targets) {
    int P = d->pairs, half = d->vocab / 2, slots = (T - 2 * P) / 2, asked = 0, order[MAX_PAIRS];
    for (int t = 0; t < T; t++) inputs[t] = 0, targets[t] = -1;
    for (int p = 0, same; p < P; p++) {
        do {
            inputs[2 * p] = 1 + random_below(rng, half - 1);
            for (same = 0; inputs[2 * same] != inputs[2 * p]; ) same++;
        } while (same < p);                                         // an earlier key is the same
        inputs[2 * p + 1] = half + random_below(rng, d->vocab - half);
        order[p] = p;
    }
    for (int p = P - 1; p > 0; p--) {                               // ask in a random order
        int other = random_below(rng, p + 1), moved = order[p];
        order[p] = order[other], order[other] = moved;
    }
    for (int slot = 0; slot < slots; slot++) {                      // at P of the even places left
        if (random_below(rng, slots - slot) >= P - asked) continue;
        int pair = 2 * order[asked++], t = 2 * P + 2 * slot;
        inputs[t] = inputs[pair], targets[t] = inputs[pair + 1];
    }
}

static void recall_open(Data *d, int pairs, int V, int T) {
    *d = (Data){.pairs = pairs, .vocab = V};
    if (pairs > V / 2 - 1 || T < 4 * pairs)
        fail("recall: --pairs %d, --vocab %d, --seq %d: expected --vocab %d and --seq %d, or more",
             pairs, V, T, 2 * pairs + 2, 4 * pairs);
}

// A window: T inputs from position `at` on, and for each the token that follows it.
static void read_window(const Data *d, size_t at, int T, int *inputs, int *targets) {
    read_tokens(d, at, T, inputs);
    read_tokens(d, at + 1, T, targets);
}

// Training windows start anywhere.
static void read_training_batch(const Data *d, uint64_t *rng, int B, int T,
                                int *inputs, int *targets) {
    for (int b = 0; b < B; b++, inputs += T, targets += T)
        if (d->pairs) recall_sequence(d, rng, T, inputs, targets);
        else read_window(d, (size_t)(random_u64(rng) % (d->n - (size_t)T)), T, inputs, targets);
}

// Validation windows follow each other at stride T; this is window w. Recall draws it from the seed
// 2^62 - 1 - w, so that it is the same in every run.
static void read_validation_window(const Data *d, size_t w, int T, int *inputs, int *targets) {
    uint64_t rng = random_stream(UINT64_MAX / STREAMS - w, STREAM_DATA);
    if (d->pairs) recall_sequence(d, &rng, T, inputs, targets);
    else read_window(d, w * (size_t)T, T, inputs, targets);
}

// The number of windows that a validation scores: this many batches, or all (0).
static size_t validation_windows(const Data *d, int B, int T, int batches) {
    size_t all = d->pairs ? RECALL_WINDOWS : (d->n - 1) / (size_t)T;
    size_t some = (size_t)batches * (size_t)B;
    return batches == 0 || (all < some && !d->pairs) ? all : some;
}

// Roughly the final loss of a model that knows only token frequencies (unigram) or the previous
// token (bigram): the mean of -ln p over the scored validation tokens, p counted in the training
// data. Unigrams add one to each count; bigrams back off to them (Witten and Bell 1991): if a is
// followed n times, by k different tokens, p(b|a) = (count(a b) + k p(b)) / (n + k).
static void floors(const Data *train, const Data *val, size_t windows, int T, int V,
                   double *unigram, double *bigram) {
    double *p = allocate(3 * (size_t)V * sizeof *p, "counts"), *n = p + V, *k = n + V;
    int *inputs = allocate(2 * (size_t)T * sizeof *inputs, "a window"), *targets = inputs + T, last;
    double scored = (double)windows * T;
    read_tokens(train, train->n - 1, 1, &last);         // nothing follows it: n lacks it
    for (int a = 0; a < V; a++) {
        const size_t *follows = train->follows + (size_t)a * FLOORS_VOCAB;
        for (int b = 0; b < V; b++) n[a] += (double)follows[b], k[a] += follows[b] > 0;
        p[a] = (n[a] + (a == last) + 1) / ((double)train->n + V);
    }
    *unigram = *bigram = 0;
    for (size_t w = 0; w < windows; w++) {
        read_validation_window(val, w, T, inputs, targets);
        for (int t = 0; t < T; t++) {
            int a = inputs[t], b = targets[t];
            double both = (double)train->follows[(size_t)a * FLOORS_VOCAB + b];
            *unigram -= log(p[b]) / scored;
            *bigram -= log(n[a] > 0 ? (both + k[a] * p[b]) / (n[a] + k[a]) : p[b]) / scored;
        }
    }
    free(p), free(inputs);
}

// ------------------------------------------------------------------------------------------------
// 9  Options
//
// One table, from which everything about the options follows: --help, what may be given, what a
// checkpoint keeps. settings(), in section 11, puts their values together.
// ------------------------------------------------------------------------------------------------

// Row 0 names the options to which a size gives values. The last four have the paper's dimensions,
// but not its recipe (256 sequences a step for 15e9 tokens, beta2 0.9999, 2000 steps of warm-up, a
// minimum rate of 0), and its 1.7b has QK-norm and no biases.
enum { SIZES = 8, COLUMNS = 10 };
static const char *const sizes[1 + SIZES][COLUMNS] = {
    {"size",   "dim", "layers", "heads", "ffn", "seq", "batch", "steps", "lr", "beta2"},
    {"tiny",    "64",  "4",  "4",  "192",  "128", "16",   "1200",  "0.003",  "0.99"},
    {"recall",  "64",  "2",  "1",  "192",   "48", "64",    "800",  "0.003",  "0.99"},
    {"small",  "128",  "6",  "4",  "384",  "256", "16",   "2000",  "0.002",  "0.99"},
    {"10m",    "384",  "6",  "6", "1024",  "256",  "8",   "2000",  "0.001",  "0.99"},
    {"70m",    "512",  "6",  "8", "2048", "2048",  "4", "100000", "0.0004", "0.999"},
    {"160m",   "768", "12", "12", "3072", "2048",  "4", "100000", "0.0004", "0.999"},
    {"500m",   "896", "24", "14", "4864", "2048",  "4", "100000", "0.0004", "0.999"},
    {"1.7b",  "2048", "28", "16", "6144", "2048",  "4", "100000", "0.0004", "0.999"},
};

typedef struct {
    Config c;
    AdamW adamw;
    double lr, min_lr;          // -1 in min_lr, warmup, sample, 0 in kv_heads, vocab: not given
    int warmup, sample;
    const char *attn, *layout, *size, *anchor, *out, *init;
    const char *data, *val;     // a file a line; val NULL: the last tenth of data
    int accumulate, steps, eval_every, eval_batches, log_every, save_every, threads, pairs;
    int resume, force;
    uint64_t seed;
    struct Checkpoint *from;    // of --resume or --init, open
    const char *changes;        // --resume: what is not as in the checkpoint, or NULL
} Settings;

typedef enum { FLAG, INT, REAL, SEED, TEXT, LIST } OptionType;      // LIST: texts, a line each

// How a checkpoint keeps an option. --resume takes all that is kept; --init the MODEL options, also
// --seq unless it is given, and --layout unless it or --attn is given.
//   MODEL  the tensors' shapes: --resume and --init refuse another value
//   RUN    --resume refuses another value
//   PLAN   --resume takes another value, from the next step on
//   NAME   --resume takes another name of the same content
//   FREE   not kept
typedef enum { MODEL, RUN, PLAN, NAME, FREE } Keeper;

typedef struct {
    const char *name;
    OptionType type;
    Keeper keeper;
    size_t offset;              // of the value in Settings
    double low, high;           // INT and REAL: the range allowed
    const char *help;           // in brackets: a default that print_help() cannot look up
} Option;

#define AT(field) offsetof(Settings, field)
static const Option options[] = {
    {"attn", TEXT, FREE, AT(attn), 0, 0, "variant of the layers that are not standard [standard]"},
    {"layout", TEXT, RUN, AT(layout), 0, 0, "which layers stay standard; or letters [uniform]"},
    {"size", TEXT, RUN, AT(size), 0, 0, "dimensions and recipe; other options override it [tiny]"},
    {"layers", INT, MODEL, AT(c.layers), 1, MAX_LAYERS, "blocks"},
    {"heads", INT, MODEL, AT(c.heads), 1, 1024, "query heads; must divide --dim"},
    {"kv-heads", INT, MODEL, AT(c.kv_heads), 1, 1024, "key/value heads, divide --heads [--heads]"},
    {"dim", INT, MODEL, AT(c.dim), 1, 65536, "channels"},
    {"ffn", INT, MODEL, AT(c.ffn), 1, 262144, "hidden channels of the block's MLP"},
    {"vocab", INT, MODEL, AT(c.vocab), 2, 1 << 22, "vocabulary [what the data needs]"},
    {"seq", INT, RUN, AT(c.seq), 1, 1 << 20, "positions in a sequence"},
    {"batch", INT, RUN, AT(c.batch), 1, 65536, "sequences in a batch"},
    {"accumulate", INT, RUN, AT(accumulate), 1, 65536, "batches a step; gradients are averaged"},
    {"qk-norm", FLAG, MODEL, AT(c.qk_norm), 0, 1, "RMSNorm on each head's q and k, as in Qwen3"},
    {"untied", FLAG, MODEL, AT(c.untied), 0, 1, "a head of its own instead of the embedding table"},
    {"rope-base", REAL, MODEL, AT(c.rope_base), 1, 1e9, "RoPE's base; Qwen2.5 has 1e6"},
    {"steps", INT, PLAN, AT(steps), 0, 1e9, "training steps"},
    {"lr", REAL, PLAN, AT(lr), 0, 1e3, "peak learning rate"},
    {"min-lr", REAL, PLAN, AT(min_lr), 0, 1e3, "learning rate at the end [a tenth of --lr]"},
    {"warmup", INT, PLAN, AT(warmup), 0, 1e9, "steps of linear warm-up [a twentieth of --steps]"},
    {"beta1", REAL, PLAN, AT(adamw.beta1), 0, 0.999999, "AdamW: decay of the first moment"},
    {"beta2", REAL, PLAN, AT(adamw.beta2), 0, 0.999999, "AdamW: decay of the second moment"},
    {"decay", REAL, PLAN, AT(adamw.decay), 0, 1e3, "weight decay, matrices only"},
    {"clip", REAL, PLAN, AT(adamw.clip), 0, 1e9, "maximum gradient norm; 0 disables clipping"},
    {"seed", SEED, RUN, AT(seed), 0, 0, "of the weights, the windows, the anchor and the sample"},
    {"data", LIST, NAME, AT(data), 0, 0, "training files, or recall [dev/data/austen_train.txt]"},
    {"val", LIST, NAME, AT(val), 0, 0, "validation data, likewise [with --data: its last tenth]"},
    {"pairs", INT, RUN, AT(pairs), 1, MAX_PAIRS, "recall: key-value pairs in a sequence"},
    {"anchor", TEXT, NAME, AT(anchor), 0, 0, "fixedseqqk's text [the start of the training data]"},
    {"eval-every", INT, PLAN, AT(eval_every), 0, 1e9, "steps between validations; 0: at the end"},
    {"eval-batches", INT, PLAN, AT(eval_batches), 0, 1e6, "batches in a validation; 0: all"},
    {"log-every", INT, FREE, AT(log_every), 1, 1e9, "steps between lines of progress"},
    {"sample", INT, FREE, AT(sample), 0, 1e6, "tokens to generate at the end [bytes: 300, else 0]"},
    {"out", TEXT, FREE, AT(out), 0, 0, "folder for checkpoint and log [none]"},
    {"save-every", INT, FREE, AT(save_every), 0, 1e9, "steps between checkpoints; 0: at the end"},
    {"resume", FLAG, FREE, AT(resume), 0, 1, "go on with the run in --out"},
    {"force", FLAG, FREE, AT(force), 0, 1, "overwrite the run in --out"},
    {"init", TEXT, FREE, AT(init), 0, 0, "folder of the first weights, any layout [random]"},
    {"threads", INT, FREE, AT(threads), 1, 1024, "threads [OMP_NUM_THREADS, or all cores]"},
};
enum { OPTIONS = sizeof options / sizeof *options };

// An option's value as text, equal texts for equal values; empty: not given. A number is written
// into `number`, with the fewest digits that mean this very number.
static const char *option_text(const Settings *s, const Option *o, char number[32]) {
    const void *at = (const char *)s + o->offset;
    const char *text = o->type >= TEXT ? *(const char *const *)at : NULL;
    if (o->type >= TEXT) return text ? text : "";
    snprintf(number, 32, "%llu", (unsigned long long)s->seed);
    if (o->type == SEED) return number;
    double x = o->type == REAL ? *(const double *)at : *(const int *)at;
    if (x < o->low) return "";
    for (int digits = o->type == REAL ? 6 : 10; digits <= 17; digits++) {
        snprintf(number, 32, "%.*g", digits, x);
        if (strtod(number, NULL) == x) break;
    }
    return number;
}

// Sets an option from text. `where`, the text's source or empty, begins the error message.
static void set_option(Settings *s, const Option *o, const char *text, const char *where) {
    void *at = (char *)s + o->offset;
    char *end;
    double x = strtod(text, &end);
    bool ok = end != text && !*end && !strpbrk(text, "xX") && x >= o->low && x <= o->high;
    if (o->type >= TEXT) *(const char **)at = text;
    else if (o->type == SEED) {
        s->seed = strtoull(text, &end, 10);
        if (!isdigit((unsigned char)*text) || *end || s->seed >> 62)
            fail("%s--%s '%s': expected a whole number from 0 to 2^62 - 1", where, o->name, text);
    } else if (!ok || (o->type != REAL && x != floor(x)))
        fail("%s--%s '%s': expected a %s from %.10g to %.10g", where, o->name, text,
             o->type == REAL ? "number" : "whole number", o->low, o->high);
    else if (o->type == REAL) *(double *)at = x;
    else *(int *)at = (int)x;
}

// The row of a table whose first field is this name of n characters. If no row's is: -1, or, if
// `called` is the word for a row in a message, an error that lists all rows.
#define FIND(table, name, n, called) \
    find_name(table, sizeof *(table), sizeof(table) / sizeof *(table), name, n, called)
static int find_name(const void *table, size_t row, size_t rows, const char *name, size_t n,
                     const char *called) {
    Text known = {0};
    for (size_t i = 0; i < rows; i++) {
        const char *entry = *(const char *const *)((const char *)table + i * row);
        if (strlen(entry) == n && strncmp(entry, name, n) == 0) return free(known.s), (int)i;
        if (called) text_add(&known, i ? ", %s" : "%s", entry);
    }
    if (called) fail("unknown %s '%s': expected one of %s", called, name, known.s);
    return -1;
}

static void apply_size(Settings *s, const char *name) {
    int row = 1 + find_name(sizes[1], sizeof *sizes, SIZES, name, strlen(name), "size");
    for (int i = 0; i < COLUMNS; i++) {
        int which = FIND(options, sizes[0][i], strlen(sizes[0][i]), NULL);
        set_option(s, &options[which], sizes[row][i], "");
    }
}

static Settings defaults(void) {
    return (Settings){
        .c = {.rope_base = 10000}, .min_lr = -1, .warmup = -1, .sample = -1, .pairs = 8,
        .accumulate = 1, .eval_every = 200, .eval_batches = 4, .log_every = 50, .save_every = 200,
        .adamw = {.beta1 = 0.9, .eps = 1e-8, .decay = 0.1, .clip = 1}, .seed = 1,
        .threads = min_int(omp_get_max_threads(), 1024),
    };
}

// Before the program ends: output that could not be written is an error.
static void finish_output(void) {
    if (fflush(stdout) != 0 || ferror(stdout)) fail("cannot write the output: %s", strerror(errno));
}

static _Noreturn void print_help(void) {
    Settings s = defaults();
    char number[32];
    apply_size(&s, "tiny");
    printf("usage: ./train_attnvar [--option value]...\n\n");
    for (const Option *o = options; o < options + OPTIONS; o++) {
        printf("  --%-13s %s", o->name, o->help);
        if (o->type != FLAG && !strchr(o->help, '[')) printf(" [%s]", option_text(&s, o, number));
        printf("\n");
    }
    printf("\n--attn NAME\n");
    for (const Variant *v = variants; v < variants + VARIANTS; v++)
        printf("  %c  %-12s relaxes %s\n", v->letter, v->name, v->relaxes);
    printf("\n--layout NAME, or a letter a layer such as NSNS, or names: nonapprox,standard,...\n");
    for (int i = 0; i < LAYOUTS; i++)
        printf("  %-10s standard: %s\n", layouts[i].name, layouts[i].stays);
    printf("\n--size NAME");
    for (int row = 0; row <= SIZES; row++)
        for (int i = 0; i < COLUMNS; i++) printf(i ? " %6s" : "\n  %-8s", sizes[row][i]);
    printf("\n");
    finish_output();
    exit(0);
}

static Text command_line[OPTIONS];      // each option's text there; of a LIST, a line a file
static const char *program;             // its first word, as a shell takes it

// What the command line gives to an option, or NULL.
static const char *given(const char *name) {
    return command_line[FIND(options, name, strlen(name), NULL)].s;
}

// Reads options, given as --name value or --name=value; the last value of a name counts, but
// each --data and --val adds files, and more files may follow the first.
static void parse(int argc, char **argv) {
    for (int i = 0; i < OPTIONS; i++) free(command_line[i].s), command_line[i] = (Text){0};
    program = argc > 0 ? quoted(argv[0]) : "./train_attnvar";
    for (int i = 1; i < argc; i++) {
        char *word = argv[i], *value = strchr(word, '=');
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) print_help();
        int which = strncmp(word, "--", 2) == 0
                  ? FIND(options, word + 2, strcspn(word + 2, "="), NULL) : -1;
        if (which < 0) fail("unknown option '%s': %s --help lists them all", word, program);
        const Option *o = &options[which];
        Text *t = &command_line[which];
        if (o->type == FLAG && value) fail("--%s takes no value, found '%s'", o->name, value + 1);
        if (o->type == FLAG) value = "1";
        else if (value) value++;
        else if (++i < argc && strncmp(argv[i], "--", 2) != 0) value = argv[i];
        if (o->type != LIST) t->n = 0;
        do {
            if (!value || (o->type >= TEXT && !*value))
                fail("--%s wants a value: run %s --help", o->name, program);
            if (o->type == LIST && strchr(value, '\n'))
                fail("--%s: found a file's name with a line break: rename the file", o->name);
            text_add(t, t->n ? "\n%s" : "%s", value);
            value = o->type == LIST && i + 1 < argc && *argv[i + 1] != '-' ? argv[++i] : NULL;
        } while (value);
    }
}

// The variant of every layer, from --attn (NULL: not given) and --layout.
static void set_layers(Config *c, const char *attn, const char *layout) {
    int variant = attn ? FIND(variants, attn, strlen(attn), "variant") : STANDARD, count = 0;
    int named = FIND(layouts, layout, strlen(layout), NULL);
    bool names = strchr(layout, ',') || islower((unsigned char)*layout);
    if (named < 0 && attn)
        fail("--layout %s names every layer's variant, or is no layout: leave out --attn %s, or "
             "name a layout (--help lists them)", layout, attn);
    if (named > UNIFORM && !attn)
        fail("--layout %s names the layers that stay standard: name the others' variant by --attn "
             "(--help lists them)", layout);
    for (; named >= 0 && count < c->layers; count++)
        c->kind[count] = stays_standard(named, count + 1, c->layers) ? STANDARD : variant;
    for (const char *p = named < 0 ? layout : ""; *p; count++) {
        int length = names ? (int)strcspn(p, ",") : 1;
        int kind = names ? FIND(variants, p, length, NULL) : VARIANTS - 1;
        while (!names && kind >= 0 && variants[kind].letter != *p) kind--;
        if (kind < 0)
            fail("--layout %s: '%.*s' is no layout and no variant: expected a layout, a letter a "
                 "layer, or names with commas: --help lists them all", layout, length, p);
        if (count < MAX_LAYERS) c->kind[count] = kind;
        p += length + (p[length] == ',');
    }
    if (count != c->layers)
        fail("--layout %s names %d layers, the model has %d: give one for each, or --layers %d",
             layout, count, c->layers, count);
    for (int l = 0; l < count; l++) c->letters[l] = variants[c->kind[l]].letter;
    c->letters[count] = 0;
}

static void check_config(const Config *c) {
    int dh = c->dim / c->heads;
    if (c->dim % c->heads != 0) fail("--dim %d is not a multiple of --heads %d", c->dim, c->heads);
    if (c->heads % c->kv_heads != 0)
        fail("--heads %d is not a multiple of --kv-heads %d", c->heads, c->kv_heads);
    if (((double)c->batch + 2) * c->seq > 1 << 30)
        fail("--batch %d times --seq %d is more than 2^30 positions", c->batch, c->seq);
    for (int l = 0; l < c->layers; l++) {
        const Variant *v = &variants[c->kind[l]];
        if (v->rotates && dh % 2 != 0)
            fail("head size %d (--dim %d / --heads %d) is odd: RoPE turns pairs of channels, so %s "
                 "needs an even one", dh, c->dim, c->heads, v->name);
        if (c->kind[l] == MLP && c->kv_heads != c->heads)
            fail("mlp with --kv-heads %d and --heads %d: its gate, in place of q, and its up, in "
                 "place of k, must be equally wide: expected --kv-heads %d",
                 c->kv_heads, c->heads, c->heads);
    }
}

// ------------------------------------------------------------------------------------------------
// 10  Checkpoint
//
// A folder with model.safetensors (weights, anchors, and as metadata the settings of the run),
// optim.safetensors (AdamW's moments), config.json (the model in Hugging Face's terms), log.csv,
// and the empty file `lock`, which the process that writes there holds locked. A header must be
// exactly the text that this program writes for its metadata (every byte: dev/notes/porting.md).
//
// A save is complete under temporary names before the first file is renamed. Renaming the model
// commits it: until then the save before it stands, and from then on --resume finishes the rest.
// ------------------------------------------------------------------------------------------------

enum { WEIGHTS, LOG, CONFIG, OPTIM, LOCK, RUN_FILES = LOCK };       // in the order of renaming
static const char *const run_files[] = {"model.safetensors", "log.csv", "config.json",
                                        "optim.safetensors", "lock"};

// The buffer exceeds any valid path, so the system refuses one that is cut off here.
typedef struct { char s[PATH_MAX + 32]; } Path;

static Path path_in(const char *dir, int file, bool temporary) {
    Path p;
    snprintf(p.s, sizeof p.s, "%s/%s%s", dir, run_files[file], temporary ? ".tmp" : "");
    return p;
}

// Only a file that is surely not there counts as missing.
static bool is_missing(const char *path) { return access(path, F_OK) != 0 && errno == ENOENT; }

// The bytes of the UTF-8 character at s, at most n; 0 if there is none, or if it is a control
// character other than newline and tab.
static size_t utf8_length(const char *s, size_t n) {
    static const int front[] = {0, 0, 0xc0, 0xe0, 0xf0}, least[] = {0, ' ', 0xa0, 0x800, 0x10000};
    int first = (unsigned char)*s;
    size_t length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    int code = first - front[length];           // then six bits from each further byte, 10xxxxxx
    for (size_t i = 1; i < length; i++) {
        if (i == n || (s[i] & 0xc0) != 0x80) return 0;
        code = code * 64 + (s[i] & 0x3f);
    }
    bool wrong = code < least[length] || code == 0x7f || (code >= 0xd800 && code <= 0xdfff);
    bool blank = length == 1 && (code == '\n' || code == '\t');
    return blank || (!wrong && code <= 0x10ffff) ? length : 0;
}

// Appends n bytes as UTF-8: U+FFFD for each byte outside a character. json: escaped as JSON wants.
static void text_utf8(Text *t, const char *s, size_t n, bool json) {
    for (size_t i = 0, length; i < n; i += length) {
        length = utf8_length(s + i, n - i);
        if (length == 0) text_add(t, "\xef\xbf\xbd"), length = 1;
        else if (json && strchr("\n\t\"\\", s[i]))
            text_add(t, "\\%c", s[i] == '\n' ? 'n' : s[i] == '\t' ? 't' : s[i]);
        else text_add(t, "%.*s", (int)length, s + i);
    }
}

// An entry of a file. The model's file holds its tensors, then its anchors; the optimizer's file
// holds the moments. An entry of 0 bytes ends the list.
typedef struct {
    const char *prefix, *name;  // its name is both
    const char *type;           // of the elements, 4 bytes each; 8 in the tests' double build
    int rows, cols;             // rows 0: a vector
    size_t bytes;
    void *data;                 // NULL in a model that is only planned
} Entry;

static Entry entry(const Model *m, bool optimizer, int i) {
    static const char *const prefix[] = {"", "exp_avg.", "exp_avg_sq."};
    const char *number = sizeof(float) == 4 ? "F32" : "F64";
    int n = m->ntensors, T = m->c.seq, C = m->c.dim;
    bool random = uses(&m->c, QK_RANDOM_ANCHOR), text = uses(&m->c, QK_TEXT_ANCHOR);
    if (i < (optimizer ? 2 : 1) * n) {
        const Tensor *t = &m->tensors[i % n];
        int which = optimizer ? 1 + i / n : 0;
        return (Entry){prefix[which], t->name, number, t->role == MATRIX ? t->rows : 0, t->cols,
                       t->size * sizeof(float), (float *[]){t->w, t->m, t->v}[which]};
    }
    if (!optimizer && i == n && random)
        return (Entry){"", "anchor.embeds", number, T, C, (size_t)T * C * sizeof(float),
                       m->anchor_input};
    if (!optimizer && i == n + random && text)
        return (Entry){"", "anchor.tokens", "I32", 0, T, T * sizeof(int), m->anchor_tokens};
    return (Entry){.bytes = 0};
}

// The state of a run, which a checkpoint keeps besides settings and tensors.
typedef struct {
    int step;                   // done
    uint64_t rng;               // of the training windows
    char content[2][32];        // of training and validation data: how many tokens, their checksum
    unsigned weights, moments;  // checksums of the two files' tensors
} State;

// The header of one of the two files. Its metadata are the settings and the state, the same in
// both, and at last a checksum of the text so far. The format's number is raised when anything
// about a checkpoint changes.
#define FORMAT "{\"__metadata__\":{\"format\":\"pt\",\"attnvar\":\"3\""
static Text header_text(const Model *m, bool optimizer, const Settings *s, const State *now) {
    Text t = {0};
    char number[32];
    size_t offset = 0;
    Entry e;
    text_add(&t, FORMAT ",\"step\":\"%d\",\"rng\":\"%llu\"", now->step,
             (unsigned long long)now->rng);
    for (const Option *o = options; o < options + OPTIONS; o++) {
        if (o->keeper == FREE) continue;
        const char *text = option_text(s, o, number);
        text_add(&t, ",\"%s\":\"", o->name);
        text_utf8(&t, text, strlen(text), true);
        text_add(&t, "\"");
    }
    text_add(&t, ",\"train-content\":\"%s\",\"val-content\":\"%s\",\"weights\":\"%08x\","
             "\"moments\":\"%08x\"", now->content[0], now->content[1], now->weights, now->moments);
    text_add(&t, ",\"metadata\":\"%08x\"}", (unsigned)checksum(0, t.s, t.n));
    for (int i = 0; (e = entry(m, optimizer, i)).bytes; i++, offset += e.bytes) {
        text_add(&t, ",\"%s%s\":{\"dtype\":\"%s\",\"shape\":[", e.prefix, e.name, e.type);
        if (e.rows) text_add(&t, "%d,", e.rows);
        text_add(&t, "%d],\"data_offsets\":[%zu,%zu]}", e.cols, offset, offset + e.bytes);
    }
    text_add(&t, "}%*s", (int)(-(t.n + 1) % 8), "");            // to a multiple of 8
    return t;
}

static uint32_t tensors_checksum(const Model *m, bool optimizer) {
    uint32_t crc = 0;
    Entry e;
    for (int i = 0; (e = entry(m, optimizer, i)).bytes; i++) crc = checksum(crc, e.data, e.bytes);
    return crc;
}

static void write_tensors(FILE *f, const Model *m, bool optimizer, const Settings *s,
                          const State *now) {
    Text header = header_text(m, optimizer, s, now);
    Entry e;
    fwrite(&(uint64_t){header.n}, 8, 1, f);
    fwrite(header.s, 1, header.n, f);
    for (int i = 0; (e = entry(m, optimizer, i)).bytes; i++) fwrite(e.data, 1, e.bytes, f);
    free(header.s);
}

// config.json in Hugging Face's terms. A model calls itself qwen2 only if other software would
// compute it rightly: all layers standard, no QK-norm.
static void write_config(FILE *f, const Config *c) {
    bool qwen2 = !c->qk_norm && strspn(c->letters, "S") == strlen(c->letters);
    fprintf(f, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n"
            "  \"vocab_size\": %d,\n  \"hidden_size\": %d,\n  \"intermediate_size\": %d,\n"
            "  \"num_hidden_layers\": %d,\n  \"num_attention_heads\": %d,\n"
            "  \"num_key_value_heads\": %d,\n  \"max_position_embeddings\": %d,\n"
            "  \"rope_theta\": %.17g,\n  \"rms_norm_eps\": 1e-06,\n  \"hidden_act\": \"silu\",\n"
            "  \"initializer_range\": 0.02,\n  \"attention_dropout\": 0.0,\n"
            "  \"use_sliding_window\": false,\n  \"tie_word_embeddings\": %s,\n"
            "  \"torch_dtype\": \"float32\"",
            qwen2 ? "Qwen2ForCausalLM" : "AttnvarForCausalLM", qwen2 ? "qwen2" : "attnvar",
            c->vocab, c->dim, c->ffn, c->layers, c->heads, c->kv_heads, c->seq, c->rope_base,
            c->untied ? "false" : "true");
    if (!qwen2)
        fprintf(f, ",\n  \"attnvar_layers\": \"%s\",\n  \"attnvar_qk_norm\": %s", c->letters,
                c->qk_norm ? "true" : "false");
    fprintf(f, "\n}\n");
}

// Renames what a committed save has left under temporary names.
static void finish_save(const char *dir) {
    bool ok = true;
    for (int i = WEIGHTS + 1; i < RUN_FILES && ok; i++) {
        Path from = path_in(dir, i, true), to = path_in(dir, i, false);
        ok = rename(from.s, to.s) == 0 || is_missing(from.s);
    }
    if (!ok || !flush_folder(dir))
        fail("%s: saved, but a file may keep its temporary name: %s; --resume renames it", dir,
             strerror(errno));
}

// The model goes last: if it alone is missing, the save is committed, see open_out().
static void remove_temporary(const char *dir) {
    for (int i = OPTIM; i >= WEIGHTS; i--)
        if (i != LOG) remove(path_in(dir, i, true).s);
}

static _Noreturn void fail_write(const char *dir, int file) {
    int error = errno;
    if (file != LOG) remove_temporary(dir);
    fail("%s/%s: cannot be written: %s; any earlier save is untouched", dir,
         run_files[file], strerror(error));
}

#define LOST "the model is lost; any earlier save stays; try a lower --lr or a longer --warmup"

// Saves the run. If a value is not finite or a file cannot be written, the save before stays.
static void save(const Model *m, const Settings *s, const char *dir, State *now) {
    if (!isfinite(sum_of_squares(m->store, 4 * m->parameters)))
        fail("weights or moments are not finite: " LOST);
    now->weights = tensors_checksum(m, false);
    now->moments = tensors_checksum(m, true);
    remove_temporary(dir);                              // lest a link or a pipe be written to
    for (int i = 0; i < RUN_FILES; i++) {
        if (i == LOG) continue;                         // it is written step by step
        FILE *f = fopen(path_in(dir, i, true).s, "wb");
        if (f && i == CONFIG) write_config(f, &m->c);
        else if (f) write_tensors(f, m, i == OPTIM, s, now);
        bool ok = f && !ferror(f) && flush_file(f);
        if ((f && fclose(f) != 0) || !ok) fail_write(dir, i);
    }
    Path from = path_in(dir, WEIGHTS, true), to = path_in(dir, WEIGHTS, false);
    if (!flush_folder(dir) || rename(from.s, to.s) != 0) fail_write(dir, WEIGHTS);
    finish_save(dir);
}

// A checkpoint that is read: first its model, then, to resume, its moments.
typedef struct Checkpoint {
    Path path;                  // of the file that is read
    FILE *file;
    Text header, value;         // its header; the value last taken from it
    Settings s;
    State state;
    Model plan;                 // its tensors, without memory
} Checkpoint;

// Opens one of the files and reads its header. Returns NULL, or the error.
static const char *open_tensors(Checkpoint *k, Path path) {
    uint64_t length = 0;
    const char *why;
    k->path = path;
    k->header.n = 0;
    if (k->file) fclose(k->file);
    if (!(k->file = open_file(path.s, &why))) return why;
    if (fread(&length, 8, 1, k->file) != 1 || length > 1 << 24) return "not a safetensors file";
    free(k->header.s);
    k->header = (Text){allocate((size_t)length + 1, "a header"), (size_t)length, 0};
    bool whole = fread(k->header.s, 1, k->header.n, k->file) == k->header.n;
    return whole ? NULL : "cut short in its header";
}

// The value of a name in the metadata, decoded; it lasts until the next one.
static const char *header_value(Checkpoint *k, const char *name) {
    k->value.n = 0;
    text_add(&k->value, ",\"%s\":\"", name);
    const char *at = strstr(k->header.s, k->value.s);
    if (!at) fail("%s: damaged header: no %s in its metadata", k->path.s, name);
    at += k->value.n;
    k->value.n = 0;
    for (text_add(&k->value, ""); *at && *at != '"'; at++) {
        char c = *at;
        if (c == '\\' && at[1]) c = *++at, c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        text_add(&k->value, "%c", c);
    }
    return k->value.s;
}

static void read_metadata(Checkpoint *k) {
    State *now = &k->state;
    k->s = defaults();
    for (const Option *o = options; o < options + OPTIONS; o++) {
        const char *value = o->keeper == FREE ? "" : header_value(k, o->name);
        if (!*value && o->keeper >= PLAN) continue;                 // was not given
        if (o->type >= TEXT) value = strcpy(allocate(strlen(value) + 1, "a setting"), value);
        set_option(&k->s, o, value, "damaged checkpoint: ");
    }
    now->step = (int)strtol(header_value(k, "step"), NULL, 10);
    now->rng = strtoull(header_value(k, "rng"), NULL, 10);
    snprintf(now->content[0], 32, "%s", header_value(k, "train-content"));
    snprintf(now->content[1], 32, "%s", header_value(k, "val-content"));
    now->weights = (unsigned)strtoul(header_value(k, "weights"), NULL, 16);
    now->moments = (unsigned)strtoul(header_value(k, "moments"), NULL, 16);
}

// Opens a checkpoint's model, whose header must be the text that its own metadata lead to.
static Checkpoint *checkpoint_open(const char *dir) {
    Checkpoint *k = allocate(sizeof *k, "a checkpoint");
    const char *wrong = open_tensors(k, path_in(dir, WEIGHTS, false));
    if (wrong && is_missing(k->path.s) && !is_missing(path_in(dir, LOG, false).s))
        fail("%s: its run has saved no model yet, or the model was removed: wait for it, or start "
             "again by --force", dir);
    if (wrong) fail("%s: %s: expected a folder that a run with --out wrote", k->path.s, wrong);
    if (strncmp(k->header.s, FORMAT, strlen(FORMAT)) != 0)
        fail("%s: is not of format 3, which this program writes; go on with the version that wrote "
             "it; a standard model's weights, such as Hugging Face's Qwen2, can be converted: "
             "python3 dev/tools/from_hf.py %s --out NEW; --init and dev/tools take NEW", k->path.s,
             quoted(dir));
    read_metadata(k);
    set_layers(&k->s.c, NULL, k->s.layout);
    check_config(&k->s.c);
    model_plan(&k->plan, &k->s.c);
    Text own = header_text(&k->plan, false, &k->s, &k->state);
    size_t at = 0;
    while (at < own.n && own.s[at] == k->header.s[at]) at++;
    if (at < own.n || at < k->header.n)
        fail("%s: damaged header: at byte %zu expected %.60s, found %.60s", k->path.s, at + 8,
             own.s + (at < 30 ? 0 : at - 30), k->header.s + (at < 30 ? 0 : at - 30));
    free(own.s);
    return k;
}

// Opens the moments that were saved with the model. Returns whether the save was cut off between
// two renames, so that they still have their temporary name.
static bool open_moments(Checkpoint *k, const char *dir) {
    Text own = header_text(&k->plan, true, &k->s, &k->state);
    const char *wrong[2];
    for (int cut = 0; cut < 2; cut++) {
        wrong[cut] = open_tensors(k, path_in(dir, OPTIM, cut));
        if (!wrong[cut] && k->header.n == own.n && memcmp(k->header.s, own.s, own.n) == 0)
            return free(own.s), cut;
    }
    fail("%s/optim.safetensors: %s: expected that of the same save as model.safetensors (step %d); "
         "without it, start another run with --init %s", dir,
         wrong[0] ? wrong[0] : "is of another save", k->state.step, quoted(dir));
}

// Fills the tensors of m from the file that is open, but for those that only one of the two has.
static void read_tensors(Checkpoint *k, const Model *m, bool optimizer) {
    uint32_t crc = 0, expected = optimizer ? k->state.moments : k->state.weights;
    Entry e, own;
    for (int i = 0; (e = entry(&k->plan, optimizer, i)).bytes; i++) {
        for (int j = 0; (own = entry(m, optimizer, j)).bytes; j++)
            if (strcmp(own.prefix, e.prefix) == 0 && strcmp(own.name, e.name) == 0) break;
        if (own.bytes && own.bytes != e.bytes)
            fail("%s: %s is made for --seq %d: leave --seq out", k->path.s, e.name, k->plan.c.seq);
        void *data = own.bytes ? own.data : allocate(e.bytes, "a tensor");
        crc = checksum(crc, data, fread(data, 1, e.bytes, k->file));
        if (!own.bytes) free(data);
    }
    if (crc != expected || fgetc(k->file) != EOF)
        fail("%s: damaged or cut short: its tensors' checksum is %08x, expected %08x%s", k->path.s,
             (unsigned)crc, (unsigned)expected, crc == expected ? "; more bytes follow them" : "");
    for (int t = 0; t < m->c.seq; t++)
        if (m->anchor_tokens[t] < 0 || m->anchor_tokens[t] >= m->c.vocab)
            fail("%s: anchor token %d is %d, expected less than %d", k->path.s, t,
                 m->anchor_tokens[t], m->c.vocab);
    fclose(k->file);
    k->file = NULL;
}

// The anchor's tokens: the start of --anchor FILE, or of the training data; of recall, its first
// training sequence.
static void read_anchor(const Settings *s, const Data *train, int *tokens) {
    int T = s->c.seq;
    if (s->anchor) {
        Data own;
        data_open(&own, s->anchor, "--anchor");
        own.vocab = s->c.vocab;
        if (!train->pairs) expect_one_kind(&train->shard[0], &own.shard[0]);
        if (own.n < (size_t)T) fail("%s: %zu tokens, --seq needs %d", s->anchor, own.n, T);
        read_tokens(&own, 0, T, tokens);
        data_close(&own);
    } else if (train->pairs) {
        uint64_t rng = random_stream(s->seed, STREAM_DATA);
        int *ignored = allocate((size_t)T * sizeof(int), "targets");
        recall_sequence(train, &rng, T, tokens, ignored);
        free(ignored);
    } else read_tokens(train, 0, T, tokens);
}

// Several processes can divide the rows of a batch among them (dev/scale/mpi_attnvar.c): each is
// one RANK of RANKS, of which the first alone writes; the macros add up their gradients and make
// them stop together.
#ifndef RANK
#define RANK 0
#define RANKS 1
#define ADD_OVER_RANKS(m, loss) ((void)0)
#define AGREE(signal) (signal)
#endif

// Fills the model before the run begins or goes on: the anchor's tokens, and what a checkpoint has.
// To resume, the data must be the run's, wherever they are now, as must an anchor that is given.
static State restore(Model *m, const Settings *s, const Data *train, const Data *val) {
    Checkpoint *k = s->from;
    State now = {.rng = random_stream(s->seed, STREAM_DATA)};
    snprintf(now.content[0], 32, "%zu %08x", train->n, (unsigned)train->checksum);
    snprintf(now.content[1], 32, "%zu %08x", val->n, (unsigned)val->checksum);
    if (k) read_tensors(k, m, false);
    size_t bytes = (size_t)m->c.seq * sizeof(int);
    uint32_t kept = checksum(0, m->anchor_tokens, bytes);
    if (s->resume ? given("anchor") != NULL : s->anchor || !k || !uses(&k->s.c, QK_TEXT_ANCHOR))
        read_anchor(s, train, m->anchor_tokens);
    if (!s->resume) return now;
    if (!k->s.data)
        fail("%s: holds a converted model and no run: start one with --init %s", s->out,
             quoted(s->out));
    if (checksum(0, m->anchor_tokens, bytes) != kept)
        fail("--anchor %s: is not the run's anchor: leave it out", s->anchor);
    for (int i = 0; i < 2; i++)
        if (strcmp(now.content[i], k->state.content[i]) != 0)
            fail("%s: its %s data are %s (tokens, checksum), these are %s: give its own, wherever "
                 "they are: %s FILE", s->out, i ? "validation" : "training", k->state.content[i],
                 now.content[i], i ? "--val" : "--data");
    if (k->state.step > s->steps)
        fail("%s: step %d is done, --steps %d is less: give more", s->out, k->state.step, s->steps);
    bool cut_off = open_moments(k, s->out);
    read_tensors(k, m, true);
    if (cut_off && RANK == 0) finish_save(s->out);
    now = k->state;
    if (now.step > 0) printf("resumed after step %d%s\n", now.step, s->changes ? s->changes : "");
    if (now.step > 0 && now.step == s->steps)
        printf("nothing left to do: all %d steps are done; more: --steps M\n", now.step);
    return now;
}

// Locks --out. When resuming, a lock that is there is taken before the checkpoint is read, lest a
// process that still writes change it. A folder without a lock may hold no run: no lock is made.
static void lock_out(const char *out, bool create) {
    static int locked = -1;
    if (locked < 0) locked = lock_file(path_in(out, LOCK, false).s, create);
    if (locked == 0)
        fail("--out %s: another process writes there: wait, or choose another folder", out);
    if (locked < 0 && create)
        printf("note: %s cannot be locked (%s): see to it that no other process writes there\n",
               out, strerror(errno));
}

// --out: makes the folder and locks it; refuses to touch a run that is there. A log alone is left
// by a run that ended before it saved.
static void open_out(const Settings *s) {
    const char *slash = strrchr(s->out, '/');
    bool made = make_folder(s->out);
    if (!made && errno == ENOENT && slash)
        fail("--out %s: cannot make the folder: %.*s is missing: mkdir -p %s", s->out,
             (int)(slash - s->out), s->out, quoted(s->out));
    if (!made) fail("--out %s: cannot make the folder: %s", s->out, strerror(errno));
    lock_out(s->out, true);
    if (s->force && !is_missing(path_in(s->out, OPTIM, true).s)
        && is_missing(path_in(s->out, WEIGHTS, true).s)) finish_save(s->out);
    for (int i = 0; i < RUN_FILES && !s->resume && !s->force; i++)
        if (i != LOG && !is_missing(path_in(s->out, i, false).s))
            fail("--out %s: holds a run already (%s): go on with it by --resume, or overwrite it "
                 "by --force", s->out, path_in(s->out, i, false).s);
}

// Opens log.csv to append to it, without the steps beyond the checkpoint, which come again. Over
// another run (--force) the log is temporary until the first save.
static FILE *open_log(const Settings *s, int step, bool temporary) {
    const char *columns = "step,loss,lr,gradient_norm,tokens_per_second,val_loss,val_accuracy\n";
    Path path = path_in(s->out, LOG, temporary);
    char line[512];
    off_t end = 0;
    remove(path_in(s->out, LOG, true).s);           // of a run by --force that never saved
    FILE *log = fopen(path.s, "a+b");
    if (!log || ftello(log) < 0) fail_write(s->out, LOG);
    for (rewind(log); fgets(line, sizeof line, log); end = ftello(log)) {
        if (end == 0 && (!*line || strncmp(line, columns, strlen(line)) != 0))
            fail("%s: is not a log of this program: move it away or choose another folder", path.s);
        if (!strchr(line, '\n') || (end > 0 && atoi(line) > step)) break;
    }
    if (fseeko(log, end, SEEK_SET) || ftruncate(fileno(log), end)) fail_write(s->out, LOG);
    if (end == 0) fputs(columns, log);
    return log;
}

// ------------------------------------------------------------------------------------------------
// 11  Training and main
// ------------------------------------------------------------------------------------------------

// Of the scored tokens: the mean loss, in nats; the share whose target no token exceeds.
typedef struct { double loss, accuracy; } Score;

// Scores the first windows of the validation data.
static Score evaluate(Model *m, const Data *val, size_t windows) {
    int B = m->c.batch, T = m->c.seq;
    int *inputs = allocate(2 * (size_t)B * T * sizeof(int), "a batch"), *targets = inputs + B * T;
    double loss = 0, correct = 0, scored = 0;
    for (size_t w = 0; w < windows; w += B) {
        int b = windows - w < (size_t)B ? (int)(windows - w) : B;
        for (int i = 0; i < b; i++)
            read_validation_window(val, w + i, T, inputs + (size_t)i * T, targets + (size_t)i * T);
        model_forward(m, inputs, b, T);
        loss += model_loss(m, targets) * m->scored;
        correct += m->correct, scored += m->scored;
    }
    if (!isfinite(loss)) fail("the validation loss is %g: " LOST, fabs(loss));
    free(inputs);
    return (Score){loss / scored, correct / scored};
}

// Evaluates and prints the loss in nats, then in the data's own terms.
static Score validate(const char *what, Model *m, const Data *val, size_t windows) {
    Score score = evaluate(m, val, windows);
    printf("%s  val loss %.4f", what, score.loss);
    if (val->pairs) printf("  accuracy %.4f\n", score.accuracy);
    else if (data_is_bytes(val)) printf("  (%.4f bits a byte)\n", score.loss / log(2));
    else printf("  (perplexity %.2f)\n", exp(score.loss));
    return score;
}

// The logits (V) of the next token; only after a forward pass with b = 1.
static float *next_logits(Model *m) {
    int C = m->c.dim;
    rmsnorm_forward(m->n, m->final + (size_t)(m->T - 1) * C, m->norm->w, 1, C);
    linear_forward(m->logits, m->n, m->head->w, NULL, 1, C, m->c.vocab);
    return m->logits;
}

// Draws from softmax(logits / temperature); overwrites the logits.
static int draw(float *logits, int V, double temperature, uint64_t *rng) {
    float s = (float)fmin(1 / temperature, 1e30), max = row_max(logits, V);
    float z = row_exp(logits, s, max, V);
    double left = random_uniform(rng) * (double)z;
    for (int v = 0; v < V; v++)
        if ((left -= (double)logits[v]) < 0) return v;
    return V - 1;
}

// Prints the prompt and n drawn tokens, each computed from scratch from at most the last T tokens.
// Bytes print as UTF-8, other tokens as numbers.
static void sample(Model *m, const int *prompt, int prompted, int n, bool bytes, uint64_t seed) {
    const double temperature = 0.8;
    int T = m->c.seq, total = prompted;
    uint64_t rng = random_stream(seed, STREAM_SAMPLE);
    int *tokens = allocate((size_t)(prompted + n) * sizeof *tokens, "the sample");
    Text drawn = {0}, shown = {0};
    memcpy(tokens, prompt, (size_t)prompted * sizeof *tokens);
    for (; total < prompted + n && !interrupted; total++) {
        int seen = min_int(total, T);
        model_forward(m, tokens + total - seen, 1, seen);
        tokens[total] = draw(next_logits(m), m->c.vocab, temperature, &rng);
    }
    for (int i = 0; i < total; i++)                 // 0xff is in no UTF-8, so it shows as U+FFFD
        text_add(&drawn, bytes ? "%c" : "%d ", bytes && tokens[i] > 255 ? 0xff : tokens[i]);
    text_utf8(&shown, drawn.s, drawn.n, false);
    printf("\nsample, temperature %.1f; its first %d tokens are the validation data's:\n%s\n",
           temperature, prompted, shown.s);
    free(tokens), free(drawn.s), free(shown.s);
}

// The differences from the checkpoint's settings as text, or NULL. A forbidden one ends the run.
static const char *changes(const Settings *s) {
    char number[2][32];
    Text t = {0};
    for (const Option *o = options; o < options + OPTIONS; o++) {
        const char *now = option_text(s, o, number[0]), *name = o->name;
        const char *kept = option_text(&s->from->s, o, number[1]);
        bool run = o->keeper == RUN && s->resume;
        if (strcmp(now, kept) == 0) continue;
        if (s->attn && strcmp(name, "layout") == 0) name = "attn", now = s->attn;
        if (o->type == FLAG) now = "", kept = "it off";
        if (o->keeper == MODEL || run)
            fail("--%s%s%s contradicts the checkpoint in %s, which has %s: leave it out, or start "
                 "another run%s%s", name, *now ? " " : "", now, s->resume ? s->out : s->init,
                 kept, run ? " with --init " : "", run ? quoted(s->out) : "");
        if (o->keeper == PLAN && s->resume)
            text_add(&t, "; --%s %s, was %s", name, now, *kept ? kept : "not given");
    }
    return t.s;
}

// All options: the defaults, over them those of the size, then what a checkpoint keeps, then what
// the parsed command line gives, then what follows from these.
static void settings(Settings *s) {
    const char *size = given("size"), *data = given("data"), *init = given("init");
    bool resume = given("resume"), recall = data && strcmp(data, "recall") == 0;
    if (resume && (!given("out") || given("force") || init))
        fail("--resume needs --out DIR, and neither --force nor --init, which start another run");
    Checkpoint *from = resume || init ? checkpoint_open(resume ? given("out") : init) : NULL;
    *s = resume ? from->s : defaults();
    if (!resume) {
        apply_size(s, size ? size : recall ? "recall" : "tiny");
        s->data = "dev/data/austen_train.txt";
        s->val = data ? NULL : "dev/data/austen_val.txt";
    }
    int batch = s->c.batch;
    const Config *c = &s->c, *kept = from ? &from->s.c : c;
    if (init && size && (c->dim != kept->dim || c->layers != kept->layers
                         || c->heads != kept->heads || c->ffn != kept->ffn))
        fail("--size %s contradicts the checkpoint in %s, with --dim %d --layers %d --heads %d "
             "--ffn %d: leave it out", size, init, kept->dim, kept->layers, kept->heads, kept->ffn);
    if (init) s->c = from->s.c, s->c.batch = batch;
    s->from = from;
    s->layout = from && !given("attn") ? from->s.layout : "uniform";
    for (int i = 0; i < OPTIONS; i++)
        if (command_line[i].s) set_option(s, &options[i], command_line[i].s, "");
    if (!s->c.kv_heads) s->c.kv_heads = s->c.heads;
    set_layers(&s->c, s->attn, s->layout);
    s->layout = s->c.letters;
    check_config(&s->c);
    if (from) s->changes = changes(s);
    if (recall && s->sample > 0) fail("--sample %d: recall has no text to go on with", s->sample);
    if (!s->out && (given("save-every") || given("force")))
        fail("--%s needs --out DIR, the run's folder", given("force") ? "force" : "save-every");
    if (resume && s->val && !from->s.val)
        fail("--val %s: the run validates on the last tenth of --data: leave it out", s->val);
    if (given("pairs") && (!s->data || strcmp(s->data, "recall") != 0))
        fail("--pairs %d: the data are not recall: leave it out, or --data recall", s->pairs);
    if (s->anchor && !uses(&s->c, QK_TEXT_ANCHOR))
        fail("--anchor %s: no layer is fixedseqqk: leave it out", s->anchor);
    omp_set_num_threads(s->threads);
    if (omp_get_max_threads() != s->threads)
        fail("--threads %d: this program was built without OpenMP and has one", s->threads);
#pragma omp parallel
    if (omp_get_thread_num() == 0) s->threads = omp_get_num_threads();  // OMP_THREAD_LIMIT: fewer
    omp_set_num_threads(s->threads);
}

// Opens the data and finds the vocabulary, which depends on it.
static void open_data(Settings *s, Data *train, Data *val) {
    int *V = &s->c.vocab;
    if (!s->data) fail("%s names no data: --data FILE", s->out);
    if (strcmp(s->data, "recall") == 0) {
        if (s->val) fail("--val %s: recall makes its own validation data: leave it out", s->val);
        if (!*V) *V = 64;
        recall_open(train, s->pairs, *V, s->c.seq);
        *val = *train;
        return;
    }
    data_open(train, s->data, "--data");
    data_open(val, s->val ? s->val : s->data, s->val ? "--val" : "--data");
    expect_one_kind(&train->shard[0], &val->shard[0]);
    if (!s->val) {                                              // the last tenth
        val->n = train->n / 10, train->n -= val->n;
        val->first = train->n;
    }
    bool bytes = data_is_bytes(train);
    if (bytes && *V && *V < 256)
        fail("a vocabulary of %d (--vocab, or the checkpoint's): bytes need 256", *V);
    data_expect(train, s->c.seq, "training");
    data_expect(val, s->c.seq, s->val ? "validation" : "validation (the last tenth)");
    train->vocab = val->vocab = *V ? *V : 1 << 22;
    train->largest = bytes ? 255 : 0;
    survey(train);
    if (s->out || !bytes) survey(val);
    int largest = train->largest > val->largest ? train->largest : val->largest;
    if (!*V) *V = (largest / 64 + 1) * 64;
    train->vocab = val->vocab = *V;
}

// Prints what the model is, before its memory is allocated.
static void print_model(const Settings *s, const Model *m) {
    const Config *c = &m->c;
    size_t mixing = 0, mlp = 0, norms = 0, tables = 0, table = m->embed->size;
    for (const Tensor *t = m->tensors; t < m->tensors + m->ntensors; t++)
        *(t->role == GAIN ? &norms : strstr(t->name, "attn") ? &mixing
          : strstr(t->name, "mlp") ? &mlp : &tables) += t->size;
    printf("layers      %s", c->letters);
    for (int v = 0, before = 0; v < VARIANTS; v++) {
        int n = 0;
        for (int l = 0; l < c->layers; l++) n += c->kind[l] == v;
        if (n > 0) printf("%s%d %s", before++ ? ", " : "  (", n, variants[v].name);
    }
    printf("), %d thread%s, seed %llu\nshape       dim %d, heads %d, kv-heads %d, ffn %d, seq %d, "
           "batch %d%s%s\n", s->threads, s->threads > 1 ? "s" : "", (unsigned long long)s->seed,
           c->dim, c->heads, c->kv_heads, c->ffn, c->seq, c->batch, c->qk_norm ? ", qk-norm" : "",
           c->untied ? ", untied" : "");
    printf("parameters  %zu: embedding %zu, mixing %zu, mlp %zu, norms %zu, head %zu\n",
           m->parameters, table, mixing, mlp, norms, tables - table);
    double w = (double)(m->parameters * sizeof(float)) / 1e6, kept = (double)m->kept_bytes / 1e6;
    double scratch = (double)(m->activation_bytes + work_bytes(c)) / 1e6 - kept;
    printf("memory      %.1f MB: weights %.1f, gradients %.1f, moments %.1f, kept for backward "
           "%.1f (mixers %.1f), scratch %.1f\n", 4 * w + kept + scratch, w, w, 2 * w, kept,
           (double)m->mixer_bytes / 1e6, scratch);
}

// Prints the data, and the floors: the losses of models that know little.
static void print_data(const Settings *s, const Data *train, const Data *val, size_t windows) {
    int V = s->c.vocab, T = s->c.seq;
    long long B = (long long)s->c.batch * s->accumulate;
    const Shard *a = &train->shard[0], *b = &val->shard[0];
    if (train->pairs) {
        printf("task        recall: %d pairs, keys 1 to %d, values %d to %d; %d steps of %lld x %d "
               "tokens\nvalidation  %zu fixed sequences\nchance      accuracy %.4f for any value "
               "(1/values), %.4f for those in the sequence (1/pairs)\n\n", train->pairs, V / 2 - 1,
               V / 2, V - 1, s->steps, B, T, windows, 1.0 / (V - V / 2), 1.0 / train->pairs);
        return;
    }
    const char *from = !s->val ? " (last tenth)" : val->shards > 1 ? " and more" : "";
    printf("training    %s%s: %zu %s, vocabulary %d; %d steps of %lld x %d tokens\n", a->path,
           train->shards > 1 ? " and more" : "", train->n, a->kind, V, s->steps, B, T);
    printf("validation  %s%s: %zu %s, the first %zu scored\nfloors      chance ln V %.4f", b->path,
           from, val->n, b->kind, windows * (size_t)T, log((double)V));
    if (V <= FLOORS_VOCAB) {
        double unigram, bigram;
        floors(train, val, windows, T, V, &unigram, &bigram);
        printf(", unigram %.4f, bigram %.4f nats: about the loss of\n            a model that "
               "knows nothing, token frequencies, the previous token", unigram, bigram);
    }
    printf("\n\n");
}

// The learning rate of step 0, 1, .. Defaults: --min-lr lr/10, --warmup steps/20.
static double rate_of(const Settings *s, int step) {
    return learning_rate(step, s->steps, s->warmup < 0 ? s->steps / 20 : s->warmup, s->lr,
                         s->min_lr < 0 ? s->lr / 10 : s->min_lr);
}

// A step's gradient is the mean over --accumulate batches; returns the loss, a mean as well.
static double accumulate(Model *m, const Settings *s, const Data *data, uint64_t *rng) {
    int B = m->c.batch, T = m->c.seq, N = s->accumulate;
    int first = share(B, RANK, RANKS), mine = share(B, RANK + 1, RANKS) - first;
    int *inputs = allocate(2 * (size_t)B * T * sizeof(int), "a batch"), *targets = inputs + B * T;
    double loss = 0;
    zero_gradients(m);
    for (int i = 0; i < N; i++) {
        read_training_batch(data, rng, B, T, inputs, targets);
        model_forward(m, inputs + (size_t)first * T, mine, T);
        loss += model_backward(m, targets + (size_t)first * T) / N;
    }
    ADD_OVER_RANKS(m, &loss);
    float *g = m->tensors[0].g;
    if (N > 1) for (size_t e = 0; e < m->parameters; e++) g[e] /= (float)N;
    free(inputs);
    return loss;
}

// Saves the run; flushes the log before, and opens it again after save(), which may rename it.
static FILE *save_with_log(FILE *log, Model *m, const Settings *s, const Data *val, State *now) {
    evaluate(m, val, 1);                                // fails if the model is lost
    bool ok = flush_file(log);
    if (fclose(log) != 0 || !ok) fail_write(s->out, LOG);
    save(m, s, s->out, now);
    return open_log(s, now->step, false);
}

static void say_interrupted(const Settings *s, int step, int signal) {
    interrupted = signal;                               // for the exit code of every rank
    printf("\ninterrupted after step %d", step);
    if (!s->out) printf("; without --out nothing is saved\n");
    else printf(", saved in %s; to go on: %s --out %s --resume\n", s->out, program,
                quoted(s->out));
}

// At the end: what a hybrid's layers that are not standard are worth, and a sample.
static void show_model(Model *m, const Settings *s, const Data *val, size_t windows) {
    const char *letters = m->c.letters;
    if (strchr(letters, 'S') && strspn(letters, "S") < strlen(letters)) {
        m->skip = SKIP_BLOCKS, validate("skip blocks", m, val, windows);
        m->skip = SKIP_MIXERS, validate("skip mixers", m, val, windows);
        m->skip = SKIP_NONE;
    }
    int drawn = s->sample < 0 && data_is_bytes(val) ? 300 : s->sample;
    if (drawn > 0 && !val->pairs) {
        int prompt[32], prompted = min_int(32, m->c.seq);
        read_tokens(val, 0, prompted, prompt);
        sample(m, prompt, prompted, drawn, data_is_bytes(val), s->seed);
    }
}

static void train(Model *m, const Settings *s, const Data *data, const Data *val, size_t windows) {
    FILE *log = NULL;
    if (s->out && RANK == 0) open_out(s);
    State now = restore(m, s, data, val);
    if (s->out && RANK == 0)
        log = open_log(s, now.step, s->force && !is_missing(path_in(s->out, WEIGHTS, false).s));
    double tokens = (double)m->c.batch * m->c.seq * s->accumulate, start = seconds(), busy = 0;
    int first = now.step, stopped = 0, since = 0;       // since, busy: steps, time since a line
    char what[32];
    snprintf(what, sizeof what, "step %5d", first);
    if (first == s->steps) validate(what, m, val, windows);
    if (log && s->steps == 0) log = save_with_log(log, m, s, val, &now);
    while (now.step < s->steps && !stopped) {
        int step = ++now.step;
        double began = seconds(), lr = rate_of(s, step - 1);
        double loss = accumulate(m, s, data, &now.rng);
        double norm = gradient_norm(m, step, loss);
        adamw(m, &s->adamw, step, lr, norm);
        double end = seconds(), speed = tokens / (end - began);
        bool done = step == s->steps;
        stopped = AGREE(interrupted);                       // read once: it may change at any time
        snprintf(what, sizeof what, "step %5d", step);
        since++, busy += end - began;
        if (step % s->log_every == 0 || done || step == first + 1) {
            long long left = (long long)((end - start) / (step - first) * (s->steps - step));
            printf("%s  loss %.4f  lr %.2e  norm %6.3f  %7.0f tokens/s  %lld:%02lld:%02lld left\n",
                   what, loss, lr, norm, since * tokens / busy, left / 3600, left / 60 % 60,
                   left % 60);
            since = 0, busy = 0;
        }
        char measured[64] = ",";
        if (done || (s->eval_every && step % s->eval_every == 0)) {
            Score score = validate(what, m, val, windows);
            snprintf(measured, sizeof measured, "%.6f,%.6f", score.loss, score.accuracy);
        }
        if (log) fprintf(log, "%d,%.6f,%.6e,%.6f,%.0f,%s\n", step, loss, lr, norm, speed, measured);
        if (log && fflush(log) != 0) fail_write(s->out, LOG);
        if (log && (done || stopped || (s->save_every && step % s->save_every == 0)))
            log = save_with_log(log, m, s, val, &now);
        fflush(stdout);
    }
    if (stopped) say_interrupted(s, now.step, stopped);
    else show_model(m, s, val, windows);
    if (interrupted && !stopped) printf("\ninterrupted after the last step\n");
    if (log) fclose(log);
}

#ifndef ATTNVAR_NO_MAIN
int main(int argc, char **argv) {
    static Data data, val;
    static Settings s;
    Model m;
    fill_closed();
    parse(argc, argv);
    if (given("resume") && given("out") && RANK == 0) lock_out(given("out"), false);
    settings(&s);
    open_data(&s, &data, &val);
    size_t windows = validation_windows(&val, s.c.batch, s.c.seq, s.eval_batches);
    model_plan(&m, &s.c);
    print_model(&s, &m);
    print_data(&s, &data, &val, windows);
    fflush(stdout);
    model_allocate(&m, s.seed);
    make_work(&s.c);
    catch_signals();
    train(&m, &s, &data, &val, windows);
    free_work(s.threads);
    model_free(&m);
    data_close(&data), data_close(&val);
    finish_output();
    return interrupted ? 128 + interrupted : 0;
}
#endif
