// Grades exercise 6 against attend_forward(), and by a look into the future.
#include "grade.h"

enum { DH = 8 };

static void compare(uint64_t seed, int T, double std) {
    size_t n = (size_t)T * DH;
    in_case("T %d, dh %d, q and k ~ N(0, %g^2)", T, DH, std);
    double *q = normal(&seed, n, std), *k = normal(&seed, n, std), *v = normal(&seed, n, 1);
    double *expected = zeros(n), *stat = zeros((size_t)T * 2);
    attend_forward(expected, stat, q, k, v,
                   (Mix){1, 1, T, 1, 1, DH, softmax_row, softmax_row_backward});
    float32 *o = output("o", n), *again = output("o", n);
    my_causal_attention(o, input("q", n, q), input("k", n, k), input("v", n, v), T, DH);
    check_bounds();
    same("o", o, expected, SHAPE(T, DH));
    // the last token changes: every position before it must give the same, bit for bit
    double *q2 = normal(&seed, n, std), *k2 = normal(&seed, n, std), *v2 = normal(&seed, n, 1);
    memcpy(q2, q, (n - DH) * sizeof *q), memcpy(k2, k, (n - DH) * sizeof *k);
    memcpy(v2, v, (n - DH) * sizeof *v);
    my_causal_attention(again, input("q", n, q2), input("k", n, k2), input("v", n, v2), T, DH);
    for (size_t e = 0; e < n - DH; e++)
        if (o[e] != again[e])
            wrong("o[%d][%d] changes from %.9g to %.9g with a token behind it: not causal",
                  (int)e / DH, (int)e % DH, (double)o[e], (double)again[e]);
    give_back();
}

static void grade(void) {
    open_mixers(1, 64, 1, 1, DH);
    compare(1, 1, 1);
    compare(2, 9, 1);
    compare(3, 40, 12);         // scores beyond 100: exp() of them is no float
}
