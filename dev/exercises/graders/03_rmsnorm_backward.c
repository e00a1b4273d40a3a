// Grades exercise 3 by central differences of rmsnorm_forward().
#include "grade.h"

enum { N = 5, C = 24 };
static double *x, *gain, *dy;

static double loss(void) {
    double y[N * C];
    rmsnorm_forward(y, x, gain, N, C);
    return inner(dy, y, N * C);
}

static void compare(uint64_t seed, double std) {
    in_case("N %d, C %d, x ~ N(0, %g^2), dgain not 0 at the start", N, C, std);
    x = normal(&seed, N * C, std), gain = normal(&seed, C, 1), dy = normal(&seed, N * C, 1);
    double *before = normal(&seed, C, 1);
    float32 *dx = output("dx", N * C), *dgain = begun("dgain", C, before);
    my_rmsnorm_backward(dx, dgain, input("dy", N * C, dy), input("x", N * C, x),
                        input("gain", C, gain), N, C);
    check_bounds();
    same("dx", dx, differences(loss, x, N * C), SHAPE(N, C));
    double *expected = differences(loss, gain, C);
    for (int c = 0; c < C; c++) expected[c] += before[c];
    same("dgain", dgain, expected, SHAPE(C));
    give_back();
}

static void grade(void) {
    compare(1, 1);
    compare(2, 3e-3);           // as small as sqrt(1e-6): here the epsilon matters
}
