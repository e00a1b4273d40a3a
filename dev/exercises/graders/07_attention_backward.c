// Grades exercise 7 by central differences of attend_forward().
#include "grade.h"

enum { T = 9, DH = 6, SIZE = T * DH };
static double *q, *k, *v, *g;

static double loss(void) {
    double o[SIZE], stat[T * 2];
    attend_forward(o, stat, q, k, v, (Mix){1, 1, T, 1, 1, DH, softmax_row, softmax_row_backward});
    return inner(g, o, SIZE);
}

static void grade(void) {
    uint64_t rng = 1;
    open_mixers(1, T, 1, 1, DH);
    in_case("T %d, dh %d", T, DH);
    q = normal(&rng, SIZE, 1), k = normal(&rng, SIZE, 1), v = normal(&rng, SIZE, 1);
    g = normal(&rng, SIZE, 1);
    float32 *dq = output("dq", SIZE), *dk = output("dk", SIZE), *dv = output("dv", SIZE);
    my_attention_backward(dq, dk, dv, input("g", SIZE, g), input("q", SIZE, q),
                          input("k", SIZE, k), input("v", SIZE, v), T, DH);
    check_bounds();
    same("dv", dv, differences(loss, v, SIZE), SHAPE(T, DH));
    same("dq", dq, differences(loss, q, SIZE), SHAPE(T, DH));
    same("dk", dk, differences(loss, k, SIZE), SHAPE(T, DH));
}
