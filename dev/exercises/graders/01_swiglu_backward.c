// Grades exercise 1 by central differences of swiglu_forward().
#include "grade.h"

enum { n = 40 };
static double *gate, *up, *dy;

static double loss(void) {
    double y[n];
    swiglu_forward(y, gate, up, 1, n);
    return inner(dy, y, n);
}

static void grade(void) {
    uint64_t rng = 1;
    gate = normal(&rng, n, 2), up = normal(&rng, n, 1), dy = normal(&rng, n, 1);
    gate[0] = -30, gate[1] = 0, gate[2] = 30;       // closed, in between, open
    float32 *dgate = output("dgate", n), *dup = output("dup", n);
    my_swiglu_backward(dgate, dup, input("dy", n, dy), input("gate", n, gate),
                       input("up", n, up), n);
    check_bounds();
    same("dgate", dgate, differences(loss, gate, n), SHAPE(n));
    same("dup", dup, differences(loss, up, n), SHAPE(n));
}
