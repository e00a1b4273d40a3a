/* exercise.h: what an answer has to define, and what it may use. Every answer includes it.

   An answer stands alone: it sees nothing of train_attnvar.c. Notation, names and the order of
   arguments are the main file's (its first page): T positions, C channels, V vocabulary, NH heads,
   dh channels of a head, s = 1/sqrt(dh); arrays are row-major; an array dx is the gradient of x.
   Arrays to be written hold NaN when you get them, so that what you forget shows, unless the
   exercise says that you add to them. */

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// 1   all (n)
void my_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate,
                        const float *up, int n);

// 2   dlogits, logits (N,V), target (N); returns the mean loss
float my_crossentropy(float *dlogits, const float *logits, const int *target, int N, int V);

// 3   dx, dy, x (N,C), dgain, gain (C)
void my_rmsnorm_backward(float *dx, float *dgain, const float *dy, const float *x,
                         const float *gain, int N, int C);

// 4   dx, dy (T,dh)
void my_rope_backward(float *dx, const float *dy, int T, int dh, float base);

// 5   w, m, v, g, decayed (n)
typedef struct {
    float lr, beta1, beta2, eps, decay, clip;
} Recipe;
void my_adamw(float *w, float *m, float *v, const float *g, const bool *decayed, int n, int t,
              Recipe recipe);

// 6   all (T,dh)
void my_causal_attention(float *o, const float *q, const float *k, const float *v, int T, int dh);

// 7   all (T,dh)
void my_attention_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                           const float *k, const float *v, int T, int dh);

// 8   dq, g, o, q (T,NH,dh); dk, dv, k, v (T,NKV,dh)
void my_grouped_forward(float *o, const float *q, const float *k, const float *v, int T, int NH,
                        int NKV, int dh);
void my_grouped_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                         const float *k, const float *v, int T, int NH, int NKV, int dh);
// Given: the attention of one head. q[t*step_q + c] is channel c of its query at position t; o, g
// and dq lie as q does; likewise k, v, dk, dv with step_kv. Everything is written with =.
void head_forward(float *o, const float *q, const float *k, const float *v, int T, int dh,
                  int step_q, int step_kv);
void head_backward(float *dq, float *dk, float *dv, const float *g, const float *q, const float *k,
                   const float *v, int T, int dh, int step_q, int step_kv);

// 9   o, q, k, v (NH,dh), keys and values (T,NH,dh)
void my_decode(float *o, float *keys, float *values, const float *q, const float *k,
               const float *v, int t, int NH, int dh, float base);

// 10  o, q, k, v (T,dh), a, b (T)
void my_nonapprox(float *o, float *a, float *b, const float *q, const float *k, const float *v,
                  int T, int dh);

// 11  o, q, k, v (dh), state (D,dh+1) with D = 1 + dh + dh(dh+1)/2
void my_approx_step(float *o, float *state, const float *q, const float *k, const float *v, int dh);

// 12  q, k, dq, dk (T,dh), o, v, g, dv (R,T,dh)
void my_anchor_forward(float *o, const float *q, const float *k, const float *v, int R, int T,
                       int dh);
void my_anchor_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                        const float *k, const float *v, int R, int T, int dh);
// Given: A (T,T), the causal softmax map of q and k, zero above the diagonal. Calls are counted.
void softmax_map(float *A, const float *q, const float *k, int T, int dh);

// 13  four letters, one for each layer
const char *my_layout(void);
