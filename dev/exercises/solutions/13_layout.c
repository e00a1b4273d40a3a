// In front, a standard layer can tell the token before from those before that, for all others.

#include "../exercise.h"

const char *my_layout(void) { return "SNSN"; }
