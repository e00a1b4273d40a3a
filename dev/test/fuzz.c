/* fuzz.c: libFuzzer targets for what reads hostile input. -DTARGET=1: the checkpoint reader (a whole
   safetensors file, matched against a small model); 2: the data reader (a whole shard or text);
   3: the options (one word a line). See the Makefile of the root: make fuzz. An error message is a
   right answer, so exit() jumps back here; anything else that ends the program is a finding. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static jmp_buf back;
static _Noreturn void leave(int code) { longjmp(back, code + 1); }
#define exit leave

// An error leaves files open, too: they are closed after each input.
static FILE *opened[300];
static FILE *recorded_open(const char *path, const char *mode) {
    for (int i = 0; i < 300; i++)
        if (!opened[i]) return opened[i] = fopen(path, mode);
    abort();
}
static int recorded_close(FILE *f) {
    for (int i = 0; i < 300; i++)
        if (opened[i] == f) opened[i] = NULL;
    return fclose(f);
}
// An error leaves memory allocated, too: what an input allocated is freed after it.
static void *allocated[1 << 16];
static int allocations, recording;
static void *recorded(void *p) {
    if (recording && p && allocations == 1 << 16) abort();
    if (recording && p) allocated[allocations++] = p;
    return p;
}
static void recorded_free(void *p) {
    for (int i = allocations - 1; p && i >= 0; i--)
        if (allocated[i] == p) { allocated[i] = allocated[--allocations]; break; }
    free(p);
}
static void *recorded_realloc(void *old, size_t n) {
    void *p = realloc(old, n);
    for (int i = allocations - 1; old && i >= 0; i--)
        if (allocated[i] == old) { allocated[i] = p; return p; }
    return recorded(p);
}
#define aligned_alloc(to, n) recorded(aligned_alloc(to, n))
#define realloc recorded_realloc
#define free recorded_free
#define fopen recorded_open
#define fclose recorded_close
#define ATTNVAR_NO_MAIN
#pragma GCC diagnostic ignored "-Wunused-function"
#include "../../train_attnvar.c"

static char folder[] = "/tmp/attnvar_fuzz_XXXXXX", path[64];

static void save_bytes(const uint8_t *bytes, size_t n) {
    if (!*path) {
        if (!mkdtemp(folder)) abort();
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
    }
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    recording = 0;
#if TARGET == 1
    static Model m;
    if (!m.store) {
        Config c = {.layers = 1, .heads = 1, .kv_heads = 1, .dim = 2, .ffn = 2, .vocab = 4, .seq = 2,
                    .batch = 1, .rope_base = 10000, .kind = {FIXEDSEQQK}};
        model_plan(&m, &c);
        model_allocate(&m, 1);
    }
    save_bytes(bytes, n);
    recording = 1;
    if (setjmp(back) == 0) {
        Checkpoint *k = checkpoint_open(folder);
        read_tensors(k, &m, false);
    }
#elif TARGET == 2
    static Data d;
    save_bytes(bytes, n);
    memset(&d, 0, sizeof d);
    recording = 1;
    if (setjmp(back) == 0) {
        int window[40];
        data_open(&d, path, "--data");
        d.vocab = n & 1 ? 0 : 300;
        survey(&d);
        data_expect(&d, 8, "training");
        read_tokens(&d, d.n - 9, 9, window);
        double u, b;
        if (data_is_bytes(&d)) floors(&d, &d, validation_windows(&d, 2, 8, 2), 8, 256, &u, &b);
    }
#else
    char *text = malloc(n + 1), *words[64] = {"train_attnvar"};
    int count = 1;
    memcpy(text, bytes, n);
    text[n] = 0;
    recording = 1;
    for (char *w = text; count < 63 && w; count++) {
        words[count] = w;
        if ((w = strchr(w, '\n'))) *w++ = 0;
    }
    if (setjmp(back) == 0) {
        Settings s;
        parse(count, words);
        settings(&s);
        Model m;
        if (s.c.vocab == 0) s.c.vocab = 256;
        if (s.c.layers < 40) {
            model_plan(&m, &s.c);
            free(m.tensors), free(m.layer);
        }
    }
    free(text);
    memset(command_line, 0, sizeof command_line);
#endif
    for (int i = 0; i < 300; i++)
        if (opened[i]) fclose(opened[i]);
    while (allocations > 0) recorded_free(allocated[0]);
    return 0;
}
