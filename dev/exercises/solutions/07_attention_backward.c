// dx_ij = A_ij (dA_ij - sum_l A_il dA_il); the sum is also g_i.o_i.

#include "../exercise.h"

void my_attention_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                           const float *k, const float *v, int T, int dh) {
    float s = 1 / sqrtf((float)dh), *A = malloc((size_t)T * sizeof *A);
    float *dA = malloc((size_t)T * sizeof *dA);
    for (int e = 0; e < T * dh; e++) dq[e] = dk[e] = dv[e] = 0;
    for (int i = 0; i < T; i++) {
        float max = -INFINITY, z = 0;
        for (int j = 0; j <= i; j++) {
            A[j] = 0;
            for (int c = 0; c < dh; c++) A[j] += s * q[i * dh + c] * k[j * dh + c];
            max = fmaxf(max, A[j]);
        }
        for (int j = 0; j <= i; j++) z += A[j] = expf(A[j] - max);
        for (int j = 0; j <= i; j++) A[j] /= z;
        float sum = 0;
        for (int j = 0; j <= i; j++) {
            dA[j] = 0;
            for (int c = 0; c < dh; c++) dA[j] += g[i * dh + c] * v[j * dh + c];
            sum += A[j] * dA[j];
        }
        for (int j = 0; j <= i; j++) {
            float dx = A[j] * (dA[j] - sum);
            for (int c = 0; c < dh; c++) {
                dq[i * dh + c] += s * dx * k[j * dh + c];
                dk[j * dh + c] += s * dx * q[i * dh + c];
                dv[j * dh + c] += A[j] * g[i * dh + c];
            }
        }
    }
    free(A), free(dA);
}
