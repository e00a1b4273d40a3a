// d loss_n / dx_v = p_v - [v = target], and the mean divides by the scored positions.

#include "../exercise.h"

float my_crossentropy(float *dlogits, const float *logits, const int *target, int N, int V) {
    int scored = 0;
    float sum = 0;
    for (int n = 0; n < N; n++) scored += target[n] >= 0;
    for (int n = 0; n < N; n++) {
        const float *x = logits + n * V;
        float *dx = dlogits + n * V, max = x[0], z = 0;
        for (int v = 1; v < V; v++) max = x[v] > max ? x[v] : max;
        for (int v = 0; v < V; v++) z += dx[v] = expf(x[v] - max);
        for (int v = 0; v < V; v++) {
            float p = dx[v] / z;
            dx[v] = target[n] < 0 ? 0 : (p - (v == target[n])) / (float)scored;
        }
        if (target[n] >= 0) sum += logf(z) - (x[target[n]] - max);
    }
    return sum / (float)scored;
}
