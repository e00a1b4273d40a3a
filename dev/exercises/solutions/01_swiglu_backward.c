// SiLU'(x) = sg + x sg (1 - sg) = sg (1 + x (1 - sg))

#include "../exercise.h"

void my_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate,
                        const float *up, int n) {
    for (int i = 0; i < n; i++) {
        float x = gate[i], sg = 1 / (1 + expf(-x));
        dgate[i] = dy[i] * up[i] * sg * (1 + x * (1 - sg));
        dup[i] = dy[i] * x * sg;
    }
}
