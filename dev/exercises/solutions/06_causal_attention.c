// What is not seen is not computed: no mask, and half the work.

#include "../exercise.h"

void my_causal_attention(float *o, const float *q, const float *k, const float *v, int T, int dh) {
    float s = 1 / sqrtf((float)dh), *x = malloc((size_t)T * sizeof *x);
    for (int i = 0; i < T; i++) {
        float max = -INFINITY, z = 0;
        for (int j = 0; j <= i; j++) {
            x[j] = 0;
            for (int c = 0; c < dh; c++) x[j] += s * q[i * dh + c] * k[j * dh + c];
            max = fmaxf(max, x[j]);
        }
        for (int j = 0; j <= i; j++) z += x[j] = expf(x[j] - max);
        for (int c = 0; c < dh; c++) o[i * dh + c] = 0;
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < dh; c++) o[i * dh + c] += x[j] / z * v[j * dh + c];
    }
    free(x);
}
