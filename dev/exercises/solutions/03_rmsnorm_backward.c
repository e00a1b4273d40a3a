// dr/dx_c = -r^3 x_c / C, so dx_c = r (u_c - x_c r^2 mean_k(u_k x_k))

#include "../exercise.h"

void my_rmsnorm_backward(float *dx, float *dgain, const float *dy, const float *x,
                         const float *gain, int N, int C) {
    for (int n = 0; n < N; n++, dx += C, dy += C, x += C) {
        float square = 0, sum = 0;
        for (int c = 0; c < C; c++) {
            square += x[c] * x[c];
            sum += dy[c] * gain[c] * x[c];
        }
        float r = 1 / sqrtf(square / (float)C + 1e-6f), mean = r * r * sum / (float)C;
        for (int c = 0; c < C; c++) {
            dx[c] = r * (dy[c] * gain[c] - x[c] * mean);
            dgain[c] += dy[c] * x[c] * r;
        }
    }
}
