// Grades exercise 12: the forward pass against rndembqk's, the backward pass by central differences
// of it. softmax_map() counts its calls: the map of one anchor is one map.
#include "grade.h"

enum { R = 4, T = 7, DH = 6, SIZE = R * T * DH, ONE = T * DH };
static double *q, *k, *v, *g;
static int maps;

static void anchor(double *o) {
    double stat[T * 2];
    variants[RNDEMBQK].forward(o, stat, q, k, v,
                               (Mix){R, 1, T, 1, 1, DH, softmax_row, softmax_row_backward});
}

static double loss(void) {
    double o[SIZE];
    anchor(o);
    return inner(g, o, SIZE);
}

void softmax_map(float32 *A, const float32 *fq, const float32 *fk, int rows_, int dh) {
    maps++;
    if (rows_ != T || dh != DH)
        wrong("softmax_map was called with T %d and dh %d, expected %d and %d", rows_, dh, T, DH);
    for (int i = 0; i < T; i++) {
        double x[T] = {0}, z;
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < DH; c++) x[j] += (double)fq[i * DH + c] * (double)fk[j * DH + c];
        z = row_exp(x, 1 / sqrt((double)DH), row_max(x, i + 1), i + 1);
        for (int j = 0; j < T; j++) A[i * T + j] = j <= i ? (float32)(x[j] / z) : 0;
    }
}

static void expect_one_map(const char *pass) {
    check_bounds();
    if (maps != 1)
        wrong("the %s pass called softmax_map %d times, expected 1: all %d rows share one map",
              pass, maps, R);
    maps = 0;
}

static void grade(void) {
    uint64_t rng = 1;
    double expected[SIZE];
    open_mixers(R, T, 1, 1, DH);
    in_case("R %d, T %d, dh %d", R, T, DH);
    q = normal(&rng, ONE, 1), k = normal(&rng, ONE, 1), v = normal(&rng, SIZE, 1);
    g = normal(&rng, SIZE, 1);
    const float32 *fq = input("q", ONE, q), *fk = input("k", ONE, k), *fv = input("v", SIZE, v);
    float32 *o = output("o", SIZE);
    my_anchor_forward(o, fq, fk, fv, R, T, DH);
    anchor(expected);
    expect_one_map("forward");
    same("o", o, expected, SHAPE(R, T, DH));
    float32 *dq = output("dq", ONE), *dk = output("dk", ONE), *dv = output("dv", SIZE);
    my_anchor_backward(dq, dk, dv, input("g", SIZE, g), fq, fk, fv, R, T, DH);
    expect_one_map("backward");
    same("dv", dv, differences(loss, v, SIZE), SHAPE(R, T, DH));
    same("dq", dq, differences(loss, q, ONE), SHAPE(T, DH));
    same("dk", dk, differences(loss, k, ONE), SHAPE(T, DH));
}
