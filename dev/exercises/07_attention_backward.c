/* Exercise 7: attention backward (40 minutes)

   The gradient of exercise 6: given g_i = dLoss/do_i, write dq, dk and dv, all (T,dh).

       x_ij = s q_i.k_j,   A_ij = exp(x_ij) / sum_{l<=i} exp(x_il),   o_i = sum_{j<=i} A_ij v_j

   The code below recomputes row i of the map A. Write the rest after it.

   Hint. In this order: dA_ij = g_i.v_j, because o_i is linear in A. The softmax of a row has
   dA_il/dx_ij = A_il ([l = j] - A_ij): sum over l. The same sum stands in every dx_ij of the
   row, so compute it once. dq_i comes from row i alone, while dk_j and dv_j collect from all
   rows i >= j: set them to zero first, then add. Do not lose s. Section 4.1 has the algebra. */

#include "exercise.h"

void my_attention_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                           const float *k, const float *v, int T, int dh) {
    float s = 1 / sqrtf((float)dh), *A = malloc((size_t)T * sizeof *A);
    for (int i = 0; i < T; i++) {
        float max = -INFINITY, z = 0;
        for (int j = 0; j <= i; j++) {
            A[j] = 0;
            for (int c = 0; c < dh; c++) A[j] += s * q[i * dh + c] * k[j * dh + c];
            max = fmaxf(max, A[j]);
        }
        for (int j = 0; j <= i; j++) z += A[j] = expf(A[j] - max);
        for (int j = 0; j <= i; j++) A[j] /= z;
        // your code
    }
    free(A);
}
