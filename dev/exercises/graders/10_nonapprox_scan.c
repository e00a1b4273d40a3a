// Grades exercise 10 by the definition, for each row its own softmax; and, where that would take
// too long, against nonapprox_forward().
#include "grade.h"

enum { DH = 8 };

static void definition(double *o, double *a, double *b, const double *q, const double *k,
                       const double *v, int T) {
    double *x = zeros((size_t)T);
    for (int j = 0; j < T; j++)
        for (int c = 0; c < DH; c++)
            x[j] += q[j * DH + c] * sigmoid(q[j * DH + c]) * k[j * DH + c] / sqrt((double)DH);
    for (int i = 0; i < T; i++) {
        double max = row_max(x, i + 1), z = 0;
        for (int j = 0; j <= i; j++) z += exp(x[j] - max);
        a[i] = exp(x[i] - max) / z, b[i] = (z - exp(x[i] - max)) / z;
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < DH; c++) o[i * DH + c] += exp(x[j] - max) / z * v[j * DH + c];
    }
    free(x);
}

static void compare(uint64_t seed, int T, double std) {
    size_t n = (size_t)T * DH;
    in_case("T %d, dh %d, q and k ~ N(0, %g^2)", T, DH, std);
    double *q = normal(&seed, n, std), *k = normal(&seed, n, std), *v = normal(&seed, n, 1);
    double *expected = zeros(n), *ea = zeros((size_t)T), *eb = zeros((size_t)T);
    float32 *o = output("o", n), *a = output("a", (size_t)T), *b = output("b", (size_t)T);
    my_nonapprox(o, a, b, input("q", n, q), input("k", n, k), input("v", n, v), T, DH);
    check_bounds();
    if (T <= 1000) definition(expected, ea, eb, q, k, v, T);
    else {
        double *stat = zeros((size_t)T * 2);
        nonapprox_forward(expected, stat, q, k, v, (Mix){1, 1, T, 1, 1, DH, NULL, NULL});
        for (int i = 0; i < T; i++) ea[i] = stat[2 * i], eb[i] = stat[2 * i + 1];
    }
    double tolerance = std > 1 ? 1e-3 : 1e-4;       // float rounds a score of 1000 to 6e-5
    same_within(tolerance, "a", a, ea, SHAPE(T));
    same_within(tolerance, "b", b, eb, SHAPE(T));
    same_within(tolerance, "o", o, expected, SHAPE(T, DH));
    give_back();
}

static void grade(void) {
    open_mixers(1, 64, 1, 1, DH);
    compare(1, 1, 1);
    compare(2, 50, 1);
    compare(3, 50, 25);         // scores beyond 1000
    compare(4, 500000, 1);      // linear work takes a moment, quadratic work hours
}
