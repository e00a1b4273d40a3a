/* Exercise 9: decode one token from a cache (30 minutes)

   A decoder that writes text sees one token at a time. What it needs of the past are the keys and
   the values; queries of the past are never used again. Write the standard mixer (section 4.1) for
   the one position t: you get its q, k and v, all (NH,dh), before RoPE, and write o (NH,dh).
   keys and values, (T,NH,dh), are yours: they hold what you put there at positions 0 .. t-1, and
   NaN elsewhere. Position 0 comes first, and none is left out.

   RoPE as in exercise 4: the pair (a, a + dh/2) turns by t base^(-2a/dh), in q and in k, not in v.

   Hint. Turn k before it goes into the cache: its angle belongs to its own position and never
   changes. Two texts are decoded at the same time, so remember nothing outside of the cache. */

#include "exercise.h"

void my_decode(float *o, float *keys, float *values, const float *q, const float *k,
               const float *v, int t, int NH, int dh, float base) {
    // your code
}
