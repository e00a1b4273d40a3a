/* Exercise 8: grouped heads (20 minutes)

   With NKV < NH key/value heads (section 4, the contract), query head h reads key/value head
   h / (NH/NKV): NH/NKV neighbours share one, and the cache of a decoder shrinks by that factor.
   NKV divides NH.

   head_forward() and head_backward(), declared in exercise.h, are the attention of one head; they
   take a pointer to the head at position 0 and the floats from there to the next position: step_q
   in arrays of (T,NH,dh), step_kv in arrays of (T,NKV,dh). Write the loops over heads.

   The stub is right for NKV = NH. Hint: in the backward pass a key/value head has several readers,
   so its gradient is a sum, and head_backward() writes with =. */

#include "exercise.h"

void my_grouped_forward(float *o, const float *q, const float *k, const float *v, int T, int NH,
                        int NKV, int dh) {
    for (int h = 0; h < NKV; h++)
        head_forward(o + h * dh, q + h * dh, k + h * dh, v + h * dh, T, dh, NH * dh, NKV * dh);
}

void my_grouped_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                         const float *k, const float *v, int T, int NH, int NKV, int dh) {
    for (int h = 0; h < NKV; h++)
        head_backward(dq + h * dh, dk + h * dh, dv + h * dh, g + h * dh, q + h * dh, k + h * dh,
                      v + h * dh, T, dh, NH * dh, NKV * dh);
}
