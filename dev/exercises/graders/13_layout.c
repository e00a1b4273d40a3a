// Grades exercise 13: trains `even` and the answer's layout with ./train_attnvar, with two seeds
// each, and compares the means of the validation loss. All runs see the same windows.
#define GRADE_SECONDS 300
#include "grade.h"

static const char *const even = "NSNS";
static const double margin = 0.027;     // nats: less is noise, see the text of the exercise
enum { SEEDS = 2 };

static FILE *start(const char *layout, int seed) {
    char command[256];
    snprintf(command, sizeof command, "./train_attnvar --layout %s --seed %d --dim 32 --heads 2 "
             "--ffn 96 --seq 64 --batch 16 --steps 300 --lr 5e-3 --sample 0 --threads 1", layout,
             seed);
    if (seed == 1) printf("      %s\n", command);
    FILE *run = popen(command, "r");
    if (!run) fail("cannot start ./train_attnvar: %s", strerror(errno));
    return run;
}

static double validation_loss(FILE *run) {
    char line[512];
    double loss = -1;
    while (fgets(line, sizeof line, run)) {
        const char *found = strncmp(line, "step", 4) == 0 ? strstr(line, "val loss ") : NULL;
        if (found) loss = atof(found + 9);
    }
    if (pclose(run) != 0 || loss < 0) fail("./train_attnvar failed: run make, then the command");
    return loss;
}

static double mean_loss(const char *layout) {
    FILE *run[SEEDS];
    double sum = 0, loss;
    for (int s = 0; s < SEEDS; s++) run[s] = start(layout, s + 1);     // side by side
    printf("      %s: val loss", layout);
    for (int s = 0; s < SEEDS; s++) {
        sum += loss = validation_loss(run[s]);
        printf(" %.4f", loss);
    }
    printf(", mean %.4f\n", sum / SEEDS);
    return sum / SEEDS;
}

static void grade(void) {
    const char *mine = my_layout();
    if (!mine || strlen(mine) != 4 || strspn(mine, "NS") != 4)
        wrong("found the layout '%s', expected 4 letters, each S or N", mine ? mine : "NULL");
    int standard = 0;
    for (int l = 0; l < 4; l++) standard += mine[l] == 'S';
    if (standard != 2)
        wrong("found %d standard layers in %s, expected 2, as many as in %s", standard, mine, even);
    if (strcmp(mine, even) == 0) wrong("%s is `even` itself: it cannot beat itself", mine);
    double theirs = mean_loss(even), ours = mean_loss(mine);
    if (!(ours <= theirs - margin))
        wrong("%s: found a mean loss of %.4f, expected %.4f or less (%s, less %.3f)", mine, ours,
              theirs - margin, even, margin);
}
