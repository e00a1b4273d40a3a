// Grades exercise 4 by central differences of rope().
#include "grade.h"

enum { T = 7, DH = 8 };
static double *x, *dy, angles[T * DH];

static double loss(void) {
    double y[T * DH];
    memcpy(y, x, sizeof y);
    rope(y, angles, 1, 1, T, 1, DH);
    return inner(dy, y, T * DH);
}

static void compare(double base) {
    uint64_t rng = 1;
    in_case("T %d, dh %d, base %g", T, DH, base);
    for (int t = 0; t < T; t++) {
        for (int a = 0; a < DH / 2; a++) {
            double angle = t * pow(base, -2.0 * a / DH);
            angles[t * DH + 2 * a] = cos(angle), angles[t * DH + 2 * a + 1] = sin(angle);
        }
    }
    x = normal(&rng, T * DH, 1), dy = normal(&rng, T * DH, 1);
    float32 *dx = output("dx", T * DH);
    my_rope_backward(dx, input("dy", T * DH, dy), T, DH, (float32)base);
    check_bounds();
    same("dx", dx, differences(loss, x, T * DH), SHAPE(T, DH));
    give_back();
}

static void grade(void) {
    compare(100);
    compare(10000);
}
