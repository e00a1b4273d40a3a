// Grades exercise 2: the loss by its definition, the gradient by central differences of it.
#include "grade.h"

enum { N = 6, V = 11 };
static double *logits;
static const int target[N] = {3, -1, 10, 0, -1, 7};

static double loss(void) {
    double sum = 0;
    for (int i = 0; i < N; i++) {
        const double *x = logits + i * V;
        double max = row_max(x, V), z = 0;
        for (int v = 0; v < V; v++) z += exp(x[v] - max);
        if (target[i] >= 0) sum += log(z) + max - x[target[i]];
    }
    return sum / 4;             // positions with a target
}

static void compare(uint64_t seed, double std, double shift) {
    logits = normal(&seed, N * V, std);
    for (int e = 0; e < N * V; e++) logits[e] = (double)(float32)(logits[e] + shift);
    in_case("N %d, V %d, targets 3 -1 10 0 -1 7, logits about %g", N, V, shift);
    float32 *dlogits = output("dlogits", N * V);
    float32 found = my_crossentropy(dlogits, input("logits", N * V, logits), target, N, V);
    double expected = loss();
    check_bounds();
    same("loss", &found, &expected, SHAPE(1));
    same("dlogits", dlogits, differences(loss, logits, N * V), SHAPE(N, V));
    give_back();
}

static void grade(void) {
    compare(1, 1, 0);
    compare(2, 3, 200);         // exp(200) is no float
    compare(3, 3, -200);        // and exp(-200) is 0
}
