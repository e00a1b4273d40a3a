/* Exercise 1: SwiGLU backward (10 minutes)

   The block's MLP multiplies two projections of the same row (train_attnvar.c, section 3):

       y = SiLU(gate) up        SiLU(x) = x sg,  sg = sigmoid(x) = 1 / (1 + exp(-x))

   element by element. Given dy = dLoss/dy, write dgate and dup. All arrays have n elements.

   Hint. The product rule gives each factor the other one times dy. For SiLU' you need
   sigmoid'(x) = sg (1 - sg); keep sg, and it costs one exp. */

#include "exercise.h"

void my_swiglu_backward(float *dgate, float *dup, const float *dy, const float *gate,
                        const float *up, int n) {
    // your code
}
