// The transpose of a rotation is its inverse. It is linear, so its gradient does not depend on x.

#include "../exercise.h"

void my_rope_backward(float *dx, const float *dy, int T, int dh, float base) {
    for (int t = 0; t < T; t++, dx += dh, dy += dh) {
        for (int a = 0; a < dh / 2; a++) {
            float angle = (float)t * powf(base, -2 * (float)a / (float)dh);
            float cosine = cosf(angle), sine = -sinf(angle);
            dx[a] = dy[a] * cosine - dy[a + dh / 2] * sine;
            dx[a + dh / 2] = dy[a + dh / 2] * cosine + dy[a] * sine;
        }
    }
}
