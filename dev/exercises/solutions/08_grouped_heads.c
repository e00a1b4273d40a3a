// Each query head's share of dk and dv goes into an array of its own first, then is added.

#include "../exercise.h"

void my_grouped_forward(float *o, const float *q, const float *k, const float *v, int T, int NH,
                        int NKV, int dh) {
    for (int h = 0; h < NH; h++) {
        int kv = h / (NH / NKV) * dh;
        head_forward(o + h * dh, q + h * dh, k + kv, v + kv, T, dh, NH * dh, NKV * dh);
    }
}

void my_grouped_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                         const float *k, const float *v, int T, int NH, int NKV, int dh) {
    int n = T * NKV * dh;
    float *dk1 = calloc((size_t)n, sizeof *dk1), *dv1 = calloc((size_t)n, sizeof *dv1);
    for (int e = 0; e < n; e++) dk[e] = dv[e] = 0;
    for (int h = 0; h < NH; h++) {
        int kv = h / (NH / NKV) * dh;
        head_backward(dq + h * dh, dk1 + kv, dv1 + kv, g + h * dh, q + h * dh, k + kv, v + kv, T,
                      dh, NH * dh, NKV * dh);
        for (int t = 0; t < T; t++) {
            for (int c = 0; c < dh; c++) {
                int e = t * NKV * dh + kv + c;
                dk[e] += dk1[e];
                dv[e] += dv1[e];
            }
        }
    }
    free(dk1), free(dv1);
}
