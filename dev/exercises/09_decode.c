/* Exercise 9: decode one token from a cache (30 minutes)

   A decoder that writes text sees one token at a time. Of the past it needs the keys and the
   values; past queries are never used again. Write the standard mixer (section 4.1) for the one
   position t: you get its q, k and v, all (NH,dh), before RoPE, and write o (NH,dh). keys and
   values, (T,NH,dh), are your cache: at positions 0 .. t-1 they hold what you stored, elsewhere
   NaN. Positions come in order, from 0, without a gap.

   RoPE as in exercise 4: the pair (a, a + dh/2) turns by t base^(-2a/dh), in q and in k, not in
   v.

   Hint. Turn k before it goes into the cache: its angle belongs to its own position and never
   changes. Two texts are decoded at the same time, so store nothing outside the cache. */

#include "exercise.h"

void my_decode(float *o, float *keys, float *values, const float *q, const float *k,
               const float *v, int t, int NH, int dh, float base) {
    // your code
}
