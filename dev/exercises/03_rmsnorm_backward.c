/* Exercise 3: RMSNorm backward (20 minutes)

   Each of N rows of C channels is divided by its root mean square and scaled by a gain (section
   3):

       y_c = x_c r g_c,   r = 1 / sqrt(mean_c x_c^2 + 1e-6)

   Given dy, write dx (with =) and add to dgain (with +=). The gain is a parameter, and the
   gradient of a parameter is a sum over all its uses, here over all rows.

   Hint. With u_c = dy_c g_c, dx_c = r u_c + (dr/dx_c) sum_k u_k x_k; now find dr/dx_c. */

#include "exercise.h"

void my_rmsnorm_backward(float *dx, float *dgain, const float *dy, const float *x,
                         const float *gain, int N, int C) {
    // your code
}
