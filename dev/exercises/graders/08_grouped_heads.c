// Grades exercise 8: the forward pass against attend_forward(), the backward pass by central
// differences of it. head_forward() and head_backward() are the program's, with one head.
#include "grade.h"

static Mix mix;
static double *q, *k, *v, *g;

static double loss(void) {
    size_t n = (size_t)mix.T * mix.NH * mix.dh;
    double *o = zeros(n), *stat = zeros((size_t)mix.NH * mix.T * 2);
    attend_forward(o, stat, q, k, v, mix);
    double sum = inner(g, o, n);
    free(o), free(stat);
    return sum;
}

// One head, out of or into rows that are `step` floats apart.
static void gather(double *to, const float32 *from, int step) {
    for (int t = 0; t < mix.T; t++)
        for (int c = 0; c < mix.dh; c++) to[t * mix.dh + c] = (double)from[(size_t)t * step + c];
}

static void scatter(float32 *to, const double *from, int step) {
    for (int t = 0; t < mix.T; t++)
        for (int c = 0; c < mix.dh; c++) to[(size_t)t * step + c] = (float32)from[t * mix.dh + c];
}

static void expect_shape(int T, int dh) {
    if (T != mix.T || dh != mix.dh)
        wrong("a head was called with T %d and dh %d, expected %d and %d", T, dh, mix.T, mix.dh);
}

enum { MOST = 128 };            // T dh of a head

void head_forward(float32 *o, const float32 *hq, const float32 *hk, const float32 *hv, int T,
                  int dh, int step_q, int step_kv) {
    double x[4][MOST], stat[MOST];
    expect_shape(T, dh);
    gather(x[1], hq, step_q), gather(x[2], hk, step_kv), gather(x[3], hv, step_kv);
    attend_forward(x[0], stat, x[1], x[2], x[3],
                   (Mix){1, 1, T, 1, 1, dh, softmax_row, softmax_row_backward});
    scatter(o, x[0], step_q);
}

void head_backward(float32 *dq, float32 *dk, float32 *dv, const float32 *hg, const float32 *hq,
                   const float32 *hk, const float32 *hv, int T, int dh, int step_q, int step_kv) {
    double d[3][MOST], x[5][MOST], stat[MOST];
    expect_shape(T, dh);
    gather(x[0], hg, step_q), gather(x[2], hq, step_q);
    gather(x[3], hk, step_kv), gather(x[4], hv, step_kv);
    Mix one = {1, 1, T, 1, 1, dh, softmax_row, softmax_row_backward};
    attend_forward(x[1], stat, x[2], x[3], x[4], one);
    attend_backward(d[0], d[1], d[2], x[0], x[1], stat, x[2], x[3], x[4], one);
    scatter(dq, d[0], step_q), scatter(dk, d[1], step_kv), scatter(dv, d[2], step_kv);
}

static void compare(uint64_t seed, int T, int NH, int NKV, int dh) {
    size_t n = (size_t)T * NH * dh, nkv = (size_t)T * NKV * dh;
    in_case("T %d, NH %d, NKV %d, dh %d", T, NH, NKV, dh);
    mix = (Mix){1, 1, T, NH, NKV, dh, softmax_row, softmax_row_backward};
    q = normal(&seed, n, 1), k = normal(&seed, nkv, 1), v = normal(&seed, nkv, 1);
    g = normal(&seed, n, 1);
    const float32 *fq = input("q", n, q), *fk = input("k", nkv, k), *fv = input("v", nkv, v);
    float32 *o = output("o", n);
    double *expected = zeros(n), *stat = zeros((size_t)NH * T * 2);
    my_grouped_forward(o, fq, fk, fv, T, NH, NKV, dh);
    check_bounds();
    attend_forward(expected, stat, q, k, v, mix);
    same("o", o, expected, SHAPE(T, NH, dh));
    float32 *dq = output("dq", n), *dk = output("dk", nkv), *dv = output("dv", nkv);
    my_grouped_backward(dq, dk, dv, input("g", n, g), fq, fk, fv, T, NH, NKV, dh);
    check_bounds();
    same("dq", dq, differences(loss, q, n), SHAPE(T, NH, dh));
    same("dk", dk, differences(loss, k, nkv), SHAPE(T, NKV, dh));
    same("dv", dv, differences(loss, v, nkv), SHAPE(T, NKV, dh));
    give_back();
}

static void grade(void) {
    open_mixers(1, 8, 6, 6, 4);
    compare(1, 5, 3, 3, 4);     // no groups
    compare(2, 6, 6, 2, 4);     // three query heads share one of the keys and values
    compare(3, 4, 4, 1, 4);     // all share one
}
