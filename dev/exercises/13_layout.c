/* Exercise 13: your own layout that beats `even` at the same number of standard layers (open)

   A hybrid keeps some layers standard (S) and makes the others simple, here nonapprox (N). With
   four layers the layout `even` is NSNS: two standard layers, and the first layer is simple. Is
   that the best place for the two? Return your four letters, two of them S.

   The grader trains both layouts with ./train_attnvar on the novels: 4 layers, 32 channels, 2
   heads, 64 positions, 300 steps, with seeds 1 and 2, and compares the means of the validation
   loss. Yours must be lower by 0.027 nats or more: seeds alone move a single run by several
   times as much. The commands are printed; run them yourself, with other seeds, too.

   Hint. What can a nonapprox layer not know of the order of what it saw (section 4.4)? What can
   a layer above it know then? Think before you try, because there are only five other layouts. */

#include "exercise.h"

const char *my_layout(void) { return "NSNS"; }
