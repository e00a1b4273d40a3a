/* Exercise 11: approx as a recurrence, constant memory in T (45 minutes)

   With f(x) = 1 + x + x^2/2 in place of exp (section 4.3; Approximate in arXiv 2510.11602)

       o_i = sum_{j<=i} f(s q_i.k_j) v_j / sum_{j<=i} f(s q_i.k_j)

   f is a polynomial of q_i.k_j, so there are features phi with phi(q).phi(k) = f(s q.k): 1,
   then dh multiples of x_a, then dh(dh+1)/2 multiples of the products x_a x_b, a <= b. That is
   D = 1 + dh + dh(dh+1)/2 numbers. The sums over j then do not depend on i:

       S_i = sum_{j<=i} phi(k_j) v_j'  (D,dh)      Z_i = sum_{j<=i} phi(k_j)  (D)
       o_i = S_i' phi(q_i) / (Z_i.phi(q_i))

   Write one step: you get q, k, v and write o, all (dh), of one head at one position, after the
   positions before it. `state` has D (dh + 1) floats, zero before the first step; arrange S and
   Z in it as you like. Store nothing elsewhere: two sequences take turns.

   Hint. (sum_a y_a)^2 = sum_a y_a^2 + 2 sum_{a<b} y_a y_b, with y_a = q_a k_a. Give phi(q) and
   phi(k) the same square root of each coefficient. Add the key to the state before the query
   reads it. */

#include "exercise.h"

void my_approx_step(float *o, float *state, const float *q, const float *k, const float *v,
                    int dh) {
    // your code
}
