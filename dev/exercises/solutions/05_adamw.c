// The decay is taken from the weight itself: it does not pass through m and v.

#include "../exercise.h"

void my_adamw(float *w, float *m, float *v, const float *g, const bool *decayed, int n, int t,
              Recipe recipe) {
    float square = 0;
    for (int e = 0; e < n; e++) square += g[e] * g[e];
    float norm = sqrtf(square), scale = norm > recipe.clip ? recipe.clip / norm : 1;
    float c1 = 1 - powf(recipe.beta1, (float)t), c2 = 1 - powf(recipe.beta2, (float)t);
    for (int e = 0; e < n; e++) {
        float d = g[e] * scale;
        m[e] = recipe.beta1 * m[e] + (1 - recipe.beta1) * d;
        v[e] = recipe.beta2 * v[e] + (1 - recipe.beta2) * d * d;
        float step = m[e] / c1 / (sqrtf(v[e] / c2) + recipe.eps);
        w[e] -= recipe.lr * (step + (decayed[e] ? recipe.decay * w[e] : 0));
    }
}
