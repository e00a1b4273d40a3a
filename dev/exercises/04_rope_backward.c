/* Exercise 4: RoPE backward is the rotation by minus the angle (15 minutes)

   RoPE turns each pair of channels (a, a + dh/2) of a head at position t by the angle
   t * base^(-2a/dh) (section 3):

       y_a        = x_a cos - x_{a+dh/2} sin
       y_{a+dh/2} = x_{a+dh/2} cos + x_a sin         a = 0 .. dh/2 - 1,  t = 0 .. T - 1

   Given dy (T,dh), write dx (T,dh). You do not need x. Why not?

   Hint. For a column vector x and a matrix W, the backward pass of y = W x is dx = W' dy, W' the
   transpose. What is the transpose of a rotation? */

#include "exercise.h"

void my_rope_backward(float *dx, const float *dy, int T, int dh, float base) {
    // your code
}
