/* mpi_attnvar.c: train_attnvar on several machines, or several times on one, by MPI.

   build   make mpi                  (needs mpicc; Debian: openmpi-bin, libopenmpi-dev)
   run     mpirun -n 4 dev/scale/mpi_attnvar --size small --batch 16 --threads 4 --out run
           srun -n 4 dev/scale/mpi_attnvar ...          if `srun --mpi=list` names a PMI of your MPI

   Every process (rank) trains the whole model on its share of the rows of each batch. Before the
   optimizer's step the ranks add up their gradients, so all of them make the same step. The sum is
   taken in the order of the ranks, so a run repeats bit for bit with the same number of ranks; with
   another number its losses differ in the last digits only, and it can be resumed.

   The options are train_attnvar's. --batch is the number of rows of all ranks together, at least
   one for each; --threads is the number of threads of each rank. Rank 0 prints and saves; every
   rank reads the data, and for --resume and --init the checkpoint, so all machines must see the
   same files. Every rank validates for itself, and has memory for the whole batch. */

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>

// The hooks of the main file, section 10.
static int rank, ranks;
static void add_over_ranks(float *gradient, size_t n, double *loss, int batch);
static int agree(int signal);
#define RANK rank
#define RANKS ranks
#define ADD_OVER_RANKS(m, loss) add_over_ranks((m)->tensors[0].g, (m)->parameters, loss, (m)->c.batch)
#define AGREE(signal) agree(signal)
#define PROGRAM "mpi_attnvar"
#define ATTNVAR_NO_MAIN
#include "../../train_attnvar.c"

static float *received;                 // one slice of the gradient from every rank

// gradient (n) and loss are means over this rank's rows; they become the means over the batch. Rank
// r adds up slice r of all ranks, in their order, then everyone gets the sums of all slices.
static void add_over_ranks(float *gradient, size_t n, double *loss, int batch) {
    size_t slice = (n + (size_t)ranks - 1) / (size_t)ranks;
    float share_of_batch = (float)(share(batch, rank + 1, ranks) - share(batch, rank, ranks))
                         / (float)batch;
    if (!received) received = allocate(2 * slice * ranks * sizeof *received, "the ranks' gradients");
    float *sent = received + slice * ranks, *sum = sent;
    for (size_t e = 0; e < slice * ranks; e++) sent[e] = e < n ? gradient[e] * share_of_batch : 0;
    MPI_Alltoall(sent, (int)slice, MPI_FLOAT, received, (int)slice, MPI_FLOAT, MPI_COMM_WORLD);
#pragma omp parallel for
    for (size_t e = 0; e < slice; e++) {
        sum[e] = received[e];
        for (int r = 1; r < ranks; r++) sum[e] += received[r * slice + e];
    }
    MPI_Allgather(sum, (int)slice, MPI_FLOAT, received, (int)slice, MPI_FLOAT, MPI_COMM_WORLD);
    memcpy(gradient, received, n * sizeof *gradient);

    double part = *loss * (double)share_of_batch, *parts = allocate(ranks * sizeof *parts, "losses");
    MPI_Allgather(&part, 1, MPI_DOUBLE, parts, 1, MPI_DOUBLE, MPI_COMM_WORLD);
    *loss = 0;
    for (int r = 0; r < ranks; r++) *loss += parts[r];
    free(parts);
}

// A signal may reach the ranks at different steps; they stop together, after the first step in
// which any of them has received it.
static int stopping;
static int agree(int signal) {
    MPI_Allreduce(&signal, &stopping, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return stopping;
}

// Before a process ends. Most errors are found by every rank at once: rank 0 reports, and mpirun
// ends the others while they wait; an error of one rank alone is reported after the wait.
static void leave(void) {
    int finalized;
    MPI_Finalized(&finalized);
    if (!finalized && stopping) MPI_Finalize();
    else if (!finalized && rank > 0) sleep(2);
}

int main(int argc, char **argv) {
    static Data data, val;
    static Settings s;
    Model m;
    fill_closed();
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (rank > 0) {
        if (!freopen("/dev/null", "w", stdout)) return 1;
        setvbuf(stderr, NULL, _IOFBF, 1 << 16);         // so messages appear after leave()
    }
    atexit(leave);
    parse(argc, argv);
    if (given("resume") && given("out") && rank == 0) lock_out(given("out"), false);
    settings(&s);
    if (ranks > s.c.batch)
        fail("%d processes and --batch %d: expected at least one row for each: mpirun -n %d, or a "
             "larger --batch", ranks, s.c.batch, s.c.batch);
    open_data(&s, &data, &val);
    model_plan(&m, &s.c);
    print_model(&s, &m);
    size_t windows = validation_windows(&val, s.c.batch, s.c.seq, s.eval_batches);
    print_data(&s, &data, &val, windows);
    printf("processes   %d with at most %d rows and %d thread%s each\n\n", ranks,
           (s.c.batch + ranks - 1) / ranks, s.threads, s.threads > 1 ? "s" : "");
    model_allocate(&m, s.seed);
    make_work(&s.c);
    catch_signals();
    train(&m, &s, &data, &val, windows);
    free_work(s.threads);
    model_free(&m);
    data_close(&data), data_close(&val);
    finish_output();
    MPI_Finalize();
    return interrupted ? 128 + interrupted : 0;
}
