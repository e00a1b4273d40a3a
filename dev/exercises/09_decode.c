/* Exercise 9: decode one token from a cache (30 minutes)

   A decoder that writes text sees one token at a time. It needs the keys and the values of all
   earlier positions, but never their queries again. Write the standard mixer (section 4.1) for
   the one position t: you get its q, k and v, all (NH,dh), before RoPE, and write o (NH,dh):

       o = sum_j A_j v_j,   A = softmax_j(q . k_j / sqrt(dh)),   j = 0 .. t,   for each head

   keys and values, (T,NH,dh), are your cache: keys[(j*NH + h)*dh + c] is channel c of head h's key
   at position j. At positions 0 .. t-1 they hold what you stored
   there, elsewhere NaN. Positions come in order, from 0, without a gap. The cache is long enough:
   T, which you do not get, is larger than t. A head's t + 1 scores need memory of your own
   (malloc).

   RoPE as in exercise 4: the pair (x_a, x_{a+dh/2}) of q and of k, but not of v, turns by the
   angle t * base^(-2a/dh), that is to (x_a cos - x_{a+dh/2} sin, x_{a+dh/2} cos + x_a sin).

   Hint. Turn k before it goes into the cache: its angle belongs to its own position and never
   changes. Two texts are decoded at the same time, each with a cache of its own, so between two
   calls keep nothing outside the cache. */

#include "exercise.h"

void my_decode(float *o, float *keys, float *values, const float *q, const float *k,
               const float *v, int t, int NH, int dh, float base) {
    // your code
}
