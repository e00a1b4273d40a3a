// Grades exercise 9: token by token against rope() and attend_forward() over the whole text. Two
// texts take turns, so what is remembered must be in the caches.
#include "grade.h"

enum { T = 12, NH = 3, DH = 8, C = NH * DH, SIZE = T * C };
static const double base = 100;

static void grade(void) {
    uint64_t rng = 1;
    double *q[2], *k[2], *v[2], *expected[2], angles[T * DH], stat[NH * T * 2];
    float32 *keys[2], *values[2];
    open_mixers(1, T, NH, NH, DH);
    for (int t = 0; t < T; t++) {
        for (int a = 0; a < DH / 2; a++) {
            double angle = t * pow(base, -2.0 * a / DH);
            angles[t * DH + 2 * a] = cos(angle), angles[t * DH + 2 * a + 1] = sin(angle);
        }
    }
    for (int text = 0; text < 2; text++) {
        q[text] = normal(&rng, SIZE, 1), k[text] = normal(&rng, SIZE, 1);
        v[text] = normal(&rng, SIZE, 1), expected[text] = zeros(SIZE);
        double *qr = zeros(SIZE), *kr = zeros(SIZE);
        memcpy(qr, q[text], SIZE * sizeof *qr), memcpy(kr, k[text], SIZE * sizeof *kr);
        rope(qr, angles, 1, 1, T, NH, DH), rope(kr, angles, 1, 1, T, NH, DH);
        attend_forward(expected[text], stat, qr, kr, v[text],
                       (Mix){1, 1, T, NH, NH, DH, softmax_row, softmax_row_backward});
        keys[text] = output("keys", SIZE), values[text] = output("values", SIZE);
    }
    for (int t = 0; t < T; t++) {
        for (int text = 0; text < 2; text++) {
            int first = handed_count, at = t * C;
            in_case("position t = %d of T %d, NH %d, dh %d, base %g, the %s of two texts that "
                    "take turns", t, T, NH, DH, base, text ? "second" : "first");
            float32 *o = output("o", C);
            my_decode(o, keys[text], values[text], input("q", C, q[text] + at),
                      input("k", C, k[text] + at), input("v", C, v[text] + at), t, NH, DH,
                      (float32)base);
            check_bounds();
            same("o", o, expected[text] + at, SHAPE(NH, DH));
            while (handed_count > first) free(handed[--handed_count].x);
        }
    }
}
