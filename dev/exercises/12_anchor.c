/* Exercise 12: the anchor's map, computed once and shared by the batch, and its gradient
   (40 minutes)

   In rndembqk and fixedseqqk (sections 4.5 and 4.6) queries and keys come from one extra row, the
   anchor, so there is one map for all rows (RndEmbQK, FixedSeqQK in arXiv 2510.11602):

       A = softmax(s q k'), causal       q, k (T,dh): the anchor's, one head
       o_r = A v_r                       v, o (R,T,dh): of R rows

   Write the forward pass, then the backward pass: given g (R,T,dh) = dLoss/do, write dq, dk (T,dh)
   and dv (R,T,dh).

   softmax_map(A, q, k, T, dh), declared in exercise.h, makes the map (T,T); each pass may call it
   once. Hint: exercise 7, with a sum: A serves R rows, so which of dA_ij, sum_j A_ij dA_ij and dv
   sum over rows? */

#include "exercise.h"

void my_anchor_forward(float *o, const float *q, const float *k, const float *v, int R, int T,
                       int dh) {
    // your code
}

void my_anchor_backward(float *dq, float *dk, float *dv, const float *g, const float *q,
                        const float *k, const float *v, int R, int T, int dh) {
    // your code
}
