// Grades exercise 11: step by step against attend_forward(), which forms the map. Two sequences
// take turns, so what is remembered must be in the state, whose size does not depend on T.
#include "grade.h"

static void compare(uint64_t seed, int T, int dh) {
    size_t n = (size_t)T * dh, size = (1 + (size_t)dh + (size_t)dh * (dh + 1) / 2) * (dh + 1);
    double *q[2], *k[2], *v[2], *expected[2], *stat = zeros((size_t)T * 2), *nothing = zeros(size);
    float32 *state[2];
    for (int s = 0; s < 2; s++) {
        q[s] = normal(&seed, n, 1), k[s] = normal(&seed, n, 1), v[s] = normal(&seed, n, 1);
        expected[s] = zeros(n), state[s] = begun("state", size, nothing);
        attend_forward(expected[s], stat, q[s], k[s], v[s],
                       (Mix){1, 1, T, 1, 1, dh, taylor_row, taylor_row_backward});
    }
    for (int t = 0; t < T; t++) {
        for (int s = 0; s < 2; s++) {
            int first = handed_count, at = t * dh;
            in_case("step %d of T %d, dh %d, the %s of two sequences that take turns", t, T, dh,
                    s ? "second" : "first");
            float32 *o = output("o", (size_t)dh);
            my_approx_step(o, state[s], input("q", (size_t)dh, q[s] + at),
                           input("k", (size_t)dh, k[s] + at), input("v", (size_t)dh, v[s] + at),
                           dh);
            check_bounds();
            same("o", o, expected[s] + at, SHAPE(dh));
            while (handed_count > first) free(handed[--handed_count].x);
        }
    }
    give_back();
}

static void grade(void) {
    open_mixers(1, 64, 1, 1, 16);
    compare(1, 5, 2);
    compare(2, 60, 8);
    compare(3, 60, 16);
}
