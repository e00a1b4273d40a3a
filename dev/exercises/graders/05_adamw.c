// Grades exercise 5 against adamw(), step by step: a matrix (decayed) and a bias (not).
#include "grade.h"

enum { MATRIX_SIZE = 12, SIZE = 17 };
static const Recipe recipe = {0.01f, 0.9f, 0.95f, 1e-3f, 0.1f, 1.0f};

static void grade(void) {
    uint64_t rng = 1;
    double *w = normal(&rng, SIZE, 1), *m = zeros(SIZE), *v = zeros(SIZE);
    bool decayed[SIZE];
    for (int e = 0; e < SIZE; e++) decayed[e] = e < MATRIX_SIZE;
    float32 *mine = begun("w", SIZE, w), *m1 = begun("m", SIZE, m), *m2 = begun("v", SIZE, v);
    AdamW settings = {(double)recipe.beta1, (double)recipe.beta2, (double)recipe.eps,
                      (double)recipe.decay, (double)recipe.clip};
    for (int t = 1; t <= 5; t++) {
        double *g = normal(&rng, SIZE, t % 2 ? 1 : 0.05), norm = sqrt(inner(g, g, SIZE));
        in_case("step t = %d, the gradient's norm is %.3f, clip 1; elements below %d are decayed",
                t, norm, MATRIX_SIZE);
        Tensor tensors[] = {{.role = MATRIX, .size = MATRIX_SIZE, .w = w, .g = g, .m = m, .v = v},
                            {.role = BIAS, .size = SIZE - MATRIX_SIZE, .w = w + MATRIX_SIZE,
                             .g = g + MATRIX_SIZE, .m = m + MATRIX_SIZE, .v = v + MATRIX_SIZE}};
        Model model = {.tensors = tensors, .ntensors = 2};
        adamw(&model, &settings, t, (double)recipe.lr, norm);
        my_adamw(mine, m1, m2, input("g", SIZE, g), decayed, SIZE, t, recipe);
        check_bounds();
        same_within(1e-5, "m", m1, m, SHAPE(SIZE));
        same_within(1e-5, "v", m2, v, SHAPE(SIZE));
        same_within(1e-5, "w", mine, w, SHAPE(SIZE));
    }
}
