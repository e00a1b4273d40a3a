// dA_ij = sum_r g_ri.v_rj; from there on one softmax, as in exercise 7. dv_r is each row's own.

#include "../exercise.h"

void my_anchor_forward(float *o, const float *q, const float *k, const float *v, int R, int T,
                       int dh) {
    float *A = malloc((size_t)T * (size_t)T * sizeof *A);
    softmax_map(A, q, k, T, dh);
    for (int r = 0; r < R; r++, o += T * dh, v += T * dh)
        for (int i = 0; i < T; i++)
            for (int c = 0; c < dh; c++) {
                o[i * dh + c] = 0;
                for (int j = 0; j <= i; j++) o[i * dh + c] += A[i * T + j] * v[j * dh + c];
            }
    free(A);
}

// dA (T,T) += g v',  dv = A' g, of one row
static void row_backward(float *dA, float *dv, const float *g, const float *v, const float *A,
                         int T, int dh) {
    for (int e = 0; e < T * dh; e++) dv[e] = 0;
    for (int i = 0; i < T; i++)
        for (int j = 0; j <= i; j++)
            for (int c = 0; c < dh; c++) {
                dA[i * T + j] += g[i * dh + c] * v[j * dh + c];
                dv[j * dh + c] += A[i * T + j] * g[i * dh + c];
            }
}

void my_anchor_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                        const float *k, const float *v, int R, int T, int dh) {
    size_t size = (size_t)T * (size_t)T;
    float *A = malloc(size * sizeof *A), *dA = calloc(size, sizeof *dA), s = 1 / sqrtf((float)dh);
    softmax_map(A, q, k, T, dh);
    for (int r = 0; r < R; r++)
        row_backward(dA, dv + r * T * dh, g + r * T * dh, v + r * T * dh, A, T, dh);
    for (int e = 0; e < T * dh; e++) dq[e] = dk[e] = 0;
    for (int i = 0; i < T; i++) {
        const float *Ai = A + i * T, *dAi = dA + i * T;
        float sum = 0;
        for (int j = 0; j <= i; j++) sum += Ai[j] * dAi[j];
        for (int j = 0; j <= i; j++) {
            float dx = Ai[j] * (dAi[j] - sum);
            for (int c = 0; c < dh; c++) {
                dq[i * dh + c] += s * dx * k[j * dh + c];
                dk[j * dh + c] += s * dx * q[i * dh + c];
            }
        }
    }
    free(A), free(dA);
}
