/* Exercise 5: AdamW with clipping (20 minutes)

   One step, t = 1, 2, .. (section 7). If the norm of the whole gradient, sqrt(sum_e g_e^2), is
   above clip (clip > 0), the gradient is first scaled down so that its norm is clip. Then for each
   element

       m = b1 m + (1 - b1) g
       v = b2 v + (1 - b2) g^2
       w = w - lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay w)

   The term decay w applies only where decayed[e] is set (matrices). The w on the right is the
   old w. On entry w, m and v hold the values of the previous step; m = v = 0 before t = 1. The
   numbers are in `recipe`: recipe.lr, .beta1, .beta2, .eps, .decay, .clip.

   Hint. Dividing by 1 - b^t makes m and v averages with weights that sum to 1, from the first
   step on. Where does eps stand, under the root or beside it? */

#include "exercise.h"

void my_adamw(float *w, float *m, float *v, const float *g, const bool *decayed, int n, int t,
              Recipe recipe) {
    // your code
}
