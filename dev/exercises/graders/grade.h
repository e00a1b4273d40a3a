/* grade.h: what the graders share. A grader knows how to compute the right result, from the
   functions of train_attnvar.c, here in double (as its tests do) or by central differences of them,
   hands the same numbers to an answer in float, and compares.

   A grader defines grade(), and with GRADE_SECONDS how long it may take. The answer runs in a child
   process, so that one that crashes or never ends is a FAIL, too. Exit code: 0 PASS, 1 FAIL. */

#define _POSIX_C_SOURCE 200809L
#include "../exercise.h"        // first: the answer's floats are floats
#include <sys/wait.h>
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"      // a grader uses what it needs
#endif
#ifdef __clang__
#pragma clang diagnostic ignored "-Wkeyword-macro"      // float as double
#endif
typedef float float32;          // of answers; below, every float of the program is a double
#define PROGRAM "exercise"
#define ATTNVAR_NO_MAIN
#define ATTNVAR_DOUBLE
#include "../../../train_attnvar.c"
// From here on: float32 is the answer's type, double the program's.

#ifndef GRADE_SECONDS
#define GRADE_SECONDS 10
#endif

enum { PASSED = 42, FAILED };   // the child's exit codes: not those of an answer that calls exit()

static char grade_case[128];    // what is being compared, for the message
static int grade_compared;      // numbers found right

static void in_case(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(grade_case, sizeof grade_case, format, args);
    va_end(args);
}

static _Noreturn void wrong(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("FAIL  ");
    vprintf(format, args);
    printf("\n");
    if (*grade_case) printf("      case: %s\n", grade_case);
    va_end(args);
    fflush(stdout);
    _exit(FAILED);
}

// ---- arrays for the answer ---------------------------------------------------------------------

enum { GUARD = 32 };            // floats behind each array that nobody may touch
static const float32 guard_value = 1234.5;

static struct {
    const char *name;
    float32 *x;
    const double *from;         // what an input was made from: it must stay so
    size_t n;
} handed[64];
static int handed_count;

static float32 *hand(const char *name, size_t n, const double *from) {
    float32 *x = allocate((n + GUARD) * sizeof *x, name);
    for (size_t e = 0; e < n; e++) x[e] = from ? (float32)from[e] : (float32)NAN;
    for (size_t e = n; e < n + GUARD; e++) x[e] = guard_value;
    if (handed_count == sizeof handed / sizeof *handed) fail("too many arrays in a grader");
    handed[handed_count].name = name, handed[handed_count].x = x;
    handed[handed_count].from = NULL, handed[handed_count++].n = n;
    return x;
}

static float32 *output(const char *name, size_t n) { return hand(name, n, NULL); }  // all NaN
static float32 *begun(const char *name, size_t n, const double *from) {     // to be changed
    return hand(name, n, from);
}
static const float32 *input(const char *name, size_t n, const double *from) {
    float32 *x = hand(name, n, from);
    handed[handed_count - 1].from = from;
    return x;
}

// After a call of the answer: was anything written that is not the answer's?
static void check_bounds(void) {
    for (int i = 0; i < handed_count; i++) {
        size_t n = handed[i].n;
        for (size_t e = n; e < n + GUARD; e++)
            if (handed[i].x[e] != guard_value)
                wrong("%s has %zu elements, and element %zu was written", handed[i].name, n, e);
        for (size_t e = 0; e < n && handed[i].from; e++)
            if (handed[i].x[e] != (float32)handed[i].from[e])
                wrong("%s is an input, and element %zu was changed", handed[i].name, e);
    }
}

static void give_back(void) {           // at the end of a case
    for (int i = 0; i < handed_count; i++) free(handed[i].x);
    handed_count = 0;
}

// N(0, std^2), rounded to float, so that the answer gets the very numbers that the grader uses
static double *normal(uint64_t *rng, size_t n, double std) {
    double *x = allocate(n * sizeof *x, "numbers");
    for (size_t e = 0; e < n; e++) x[e] = (double)(float32)(std * random_normal(rng));
    return x;
}

static double *zeros(size_t n) { return allocate(n * sizeof(double), "numbers"); }

// ---- comparing ---------------------------------------------------------------------------------

typedef struct {
    int dims, dim[4];
} Shape;
#define SHAPE(...) \
    (Shape){sizeof (int[]){__VA_ARGS__} / sizeof(int), {__VA_ARGS__}}

// Element e of an array as [i][j][k].
static void print_index(char *text, size_t room, Shape shape, size_t e) {
    int index[4];
    for (int d = shape.dims - 1; d >= 0; d--)
        index[d] = (int)(e % (size_t)shape.dim[d]), e /= (size_t)shape.dim[d];
    for (int d = 0, used = 0; d < shape.dims; d++)
        used += snprintf(text + used, room - (size_t)used, "[%d]", index[d]);
}

// Are all elements the same multiple of what they should be? Then a sign or a factor is missing.
static void print_hint(const float32 *found, const double *expected, size_t n, double rms) {
    double fe = 0, ee = 0, worst = 0;
    for (size_t e = 0; e < n; e++) {
        fe += (double)found[e] * expected[e];
        ee += expected[e] * expected[e];
    }
    double ratio = fe / ee;
    for (size_t e = 0; e < n; e++) {
        double off = fabs((double)found[e] - ratio * expected[e]);
        if (!(off <= worst)) worst = off;
    }
    if (n > 1 && worst <= 1e-3 * rms * fabs(ratio) && fabs(ratio) > 1e-6 &&
        fabs(ratio - 1) > 0.01)
        printf("      every element is %.4g times what is expected: a sign or a factor?\n", ratio);
}

// found[e] = expected[e] within tolerance (|expected[e]| + their root mean square); NaN fails.
static void same_within(double tolerance, const char *name, const float32 *found,
                        const double *expected, Shape shape) {
    size_t n = 1, bad = 0, first = 0;
    double square = 0;
    char index[64];
    for (int d = 0; d < shape.dims; d++) n *= (size_t)shape.dim[d];
    for (size_t e = 0; e < n; e++) square += expected[e] * expected[e];
    double rms = sqrt(square / (double)n);
    for (size_t e = n; e-- > 0; )
        if (!(fabs((double)found[e] - expected[e]) <= tolerance * (fabs(expected[e]) + rms)))
            bad++, first = e;
    grade_compared += (int)n;
    if (bad == 0) return;
    print_index(index, sizeof index, shape, first);
    double error = fabs((double)found[first] - expected[first]);
    printf("FAIL  %s%s: found %.7g, expected %.7g, error %.2g, allowed %.2g\n", name, index,
           isnan(found[first]) ? (double)NAN : (double)found[first], expected[first], fabs(error),
           tolerance * (fabs(expected[first]) + rms));
    printf("      %zu of %zu elements of %s are wrong; this is the first\n", bad, n, name);
    if (isnan(found[first])) printf("      (NaN: was it never written, or computed from NaN?)\n");
    else print_hint(found, expected, n, rms);
    if (*grade_case) printf("      case: %s\n", grade_case);
    fflush(stdout);
    _exit(FAILED);
}

static void same(const char *name, const float32 *found, const double *expected, Shape shape) {
    same_within(1e-4, name, found, expected, shape);
}

// The gradient of a loss with respect to x (n), by central differences: the grader's oracle where
// it does not want to trust anyone's algebra. In double, with h = 1e-5, it is right to about 1e-9.
static double *differences(double (*loss)(void), double *x, size_t n) {
    double *grad = zeros(n);
    for (size_t e = 0; e < n; e++) {
        double kept = x[e], h = 1e-5;
        x[e] = kept + h;
        double above = loss();
        x[e] = kept - h;
        grad[e] = (above - loss()) / (2 * h);
        x[e] = kept;
    }
    return grad;
}

static double inner(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t e = 0; e < n; e++) sum += a[e] * b[e];
    return sum;
}

// The scratch that the program's mixers want.
static void open_mixers(int R, int T, int NH, int NKV, int dh) {
    Config c = {.layers = 1, .heads = NH, .kv_heads = NKV, .dim = NH * dh, .ffn = 8, .vocab = 8,
                .seq = T, .batch = R};
    omp_set_num_threads(1);
    make_work(&c);
}

// ---- main --------------------------------------------------------------------------------------

static void grade(void);

int main(void) {
    int status;
    setvbuf(stdout, NULL, _IOLBF, 0);
    pid_t child = fork();
    if (child < 0) fail("cannot start a process: %s", strerror(errno));
    if (child == 0) {
        alarm(GRADE_SECONDS);
        grade();
        if (grade_compared) printf("PASS  %d numbers compared\n", grade_compared);
        else printf("PASS\n");
        fflush(stdout);
        _exit(PASSED);
    }
    if (waitpid(child, &status, 0) < 0) fail("lost the answer: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) == PASSED) return 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        printf("FAIL  still running after %d seconds: a loop without end, or far too much work\n",
               GRADE_SECONDS);
    else if (WIFSIGNALED(status))
        printf("FAIL  the answer crashed (%s): an index out of range?\n",
               strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != FAILED)
        printf("FAIL  the answer ended the program (exit code %d)\n", WEXITSTATUS(status));
    return 1;
}
