/* eval_attnvar.c: measures a trained model: validation loss, loss by position and by length of the
   context, multiple choice, last words, recall; whole, or with its simple layers skipped.

    make tools
    dev/tools/eval_attnvar FOLDER                              loss over the run's validation data
    dev/tools/eval_attnvar FOLDER --data my.txt --positions
    dev/tools/eval_attnvar FOLDER --context 1,2,4,8,16,32,64,128
    dev/tools/eval_attnvar FOLDER --choices quiz.bin           made by quiz.py or llm.c
    dev/tools/eval_attnvar FOLDER --skip both                  also skipping the simple layers

All losses are nats a token; bits a byte are nats / ln 2 over the bytes of the scored tokens. */

#define PROGRAM "eval_attnvar"
#define SMALLER "choose a smaller --batch or --context"
#include "tools.h"

// A mean and its standard error, from sums.
typedef struct {
    double n, sum, squares;
} Mean;

static void mean_add(Mean *m, double x) {
    expect_finite(x);
    m->n++, m->sum += x, m->squares += x * x;
}
static double mean_of(const Mean *m) { return m->sum / m->n; }

// sqrt(variance / n), the variance with n - 1; NaN for n < 2. For 0s and 1s it is the usual
// sqrt(p (1-p) / (n-1)).
static double mean_error(const Mean *m) {
    double mean = mean_of(m), variance = (m->squares - m->n * mean * mean) / (m->n - 1);
    return m->n < 2 ? NAN : sqrt(variance > 0 ? variance / m->n : 0);
}

static void add_mean(Text *t, const char *name, const Mean *m) {
    char error[64];
    snprintf(error, sizeof error, "%s_stderr", name);
    add_member(t, name, m->n > 0 ? mean_of(m) : NAN);
    add_member(t, error, m->n > 0 ? mean_error(m) : NAN);
}

// ---- the length of tokens ----------------------------------------------------------------------

// Bytes of every token (V): 1 where tokens are bytes, else by the table; without one NULL.
static int *token_lengths(const TokenTable *table, int V, bool bytes) {
    if (!table->n && !bytes) return NULL;
    int *length = allocate(V * sizeof *length, "the tokens' lengths");
    for (int v = 0; v < V; v++) length[v] = token_length(table, v);
    return length;
}

// ---- validation loss ---------------------------------------------------------------------------

// Over the first windows of the data, consecutive and T long, as in training.
typedef struct {
    Mean loss;                  // over the scored tokens
    double correct, bytes;      // the likeliest token is the target; bytes of all targets
    double *sum, *scored;       // (T) loss and scored targets by position
} Validation;

static void validate_windows(Validation *of, Model *m, const Data *d, size_t windows,
                             const int *length) {
    int B = m->c.batch, T = m->c.seq;
    int *inputs = allocate((size_t)B * T * sizeof(int), "a batch");
    int *targets = allocate((size_t)B * T * sizeof(int), "a batch");
    *of = (Validation){0};
    of->sum = allocate(T * sizeof(double), "losses by position");
    of->scored = allocate(T * sizeof(double), "targets by position");
    for (size_t w = 0; w < windows; w += B) {
        int b = windows - w < (size_t)B ? (int)(windows - w) : B;
        progress("window", w, windows);
        for (int i = 0; i < b; i++)
            read_validation_window(d, w + i, T, inputs + (size_t)i * T, targets + (size_t)i * T);
        model_forward(m, inputs, b, T);
        model_loss(m, targets);
        of->correct += m->correct;
        for (size_t n = 0; n < (size_t)b * T; n++) {
            if (targets[n] < 0) continue;
            mean_add(&of->loss, (double)m->losses[n]);
            of->sum[n % T] += (double)m->losses[n], of->scored[n % T]++;
            if (length) of->bytes += length[targets[n]];
        }
    }
    progress("window", windows, windows);
    free(inputs), free(targets);
}

static void report_validation(Text *t, const Validation *v, const Data *d, bool json) {
    double loss = mean_of(&v->loss), bits = v->bytes > 0 ? v->loss.sum / v->bytes / log(2) : NAN;
    if (!json) {
        text_add(t, "loss        %.6f nats a token over %.0f tokens (standard error %.4f)\n", loss,
                 v->loss.n, mean_error(&v->loss));
        if (d->pairs == 0) {
            text_add(t, "perplexity  %.4f a token", exp(loss));
            if (isfinite(bits)) text_add(t, ", %.4f bits a byte", bits);
            text_add(t, "\n");
        }
        text_add(t, "accuracy    %.4f: the likeliest token is the right one\n",
                 v->correct / v->loss.n);
        return;
    }
    text_add(t, ",\"tokens\":%.0f", v->loss.n);
    add_mean(t, "loss", &v->loss);
    add_member(t, "perplexity", exp(loss));
    add_member(t, "bits_per_byte", bits);
    add_member(t, "accuracy", v->correct / v->loss.n);
}

// Loss by position: in JSON of each, as text of positions 1, 2, 3-4, 5-8, ..
static void report_positions(Text *t, const Validation *v, int T, bool json) {
    if (json) {
        text_add(t, ",\"loss_by_position\":[");
        for (int p = 0; p < T; p++) {
            text_add(t, p ? "," : "");
            add_number(t, v->scored[p] > 0 ? v->sum[p] / v->scored[p] : NAN);
        }
        text_add(t, "]");
        return;
    }
    text_add(t, "\nposition      loss (tokens the model sees, the position's own among them)\n");
    for (int from = 0, end = 1; from < T; from = end, end = min_int(2 * end, T)) {
        double sum = 0, n = 0;
        for (int p = from; p < end; p++) sum += v->sum[p], n += v->scored[p];
        char range[32];
        snprintf(range, sizeof range, end > from + 1 ? "%d-%d" : "%d", from + 1, end);
        if (n > 0) text_add(t, "%-11s %7.4f\n", range, sum / n);
    }
}

// ---- loss against the length of the context ----------------------------------------------------

// -ln p of the target that follows each of b sequences of T tokens: the last position only.
static void last_losses(double *loss, Model *m, const int *tokens, const int *targets, int b,
                        int T) {
    int C = m->c.dim, V = m->c.vocab;
    model_forward(m, tokens, b, T);
    for (int i = 0; i < b; i++)
        rmsnorm_forward(m->n + (size_t)i * C, m->final + ((size_t)i * T + T - 1) * C, m->norm->w,
                        1, C);
    for (int i = 0; i < b; i += m->chunk) {
        int n = min_int(b - i, m->chunk);
        linear_forward(m->logits, m->n + (size_t)i * C, m->head->w, NULL, n, C, V);
        crossentropy_forward(m->losses + i, m->right + i, m->logits, targets + i, n, V);
    }
    for (int i = 0; i < b; i++) loss[i] = (double)m->losses[i];
}

// The same targets for every length: `count` of them, evenly spread over the data, each far enough
// from its start to have the longest context.
static void context_loss(Mean *of, Model *m, const Data *d, int context, int longest, int count) {
    int B = m->c.batch;
    int *tokens = allocate((size_t)B * context * sizeof(int), "a batch");
    int *targets = allocate(B * sizeof(int), "a batch");
    double *loss = allocate(B * sizeof *loss, "losses");
    size_t room = d->n - (size_t)longest;           // places a target may have
    char what[64];
    snprintf(what, sizeof what, "context %d: target", context);
    *of = (Mean){0};
    for (int first = 0; first < count; first += B) {
        int b = min_int(B, count - first);
        progress(what, (size_t)first, (size_t)count);
        for (int i = 0; i < b; i++) {
            size_t place = (size_t)longest + (size_t)((double)room * (first + i) / count);
            read_tokens(d, place - (size_t)context, context, tokens + (size_t)i * context);
            read_tokens(d, place, 1, targets + i);
        }
        last_losses(loss, m, tokens, targets, b, context);
        for (int i = 0; i < b; i++) mean_add(of, loss[i]);
    }
    progress(what, (size_t)count, (size_t)count);
    free(tokens), free(targets), free(loss);
}

static void report_contexts(Text *t, Model *m, const Data *d, const Wholes *contexts, int count,
                            int trained, bool json) {
    int longest = 0;
    for (int i = 0; i < contexts->n; i++)
        if (contexts->value[i] > longest) longest = contexts->value[i];
    if (d->n - (size_t)longest < (size_t)count) count = (int)(d->n - (size_t)longest);
    if (json) text_add(t, ",\"context\":[");
    else text_add(t, "\ncontext     loss  standard error  perplexity  (the same %d targets each)\n",
                  count);
    for (int i = 0; i < contexts->n; i++) {
        Mean loss;
        int c = contexts->value[i];
        context_loss(&loss, m, d, c, longest, count);
        if (!json) {
            text_add(t, "%7d  %7.4f  %14.4f  %10.3f%s\n", c, mean_of(&loss), mean_error(&loss),
                     exp(mean_of(&loss)), c > trained ? "  (longer than trained)" : "");
            continue;
        }
        text_add(t, "%s{\"context\":%d,\"targets\":%d", i ? "," : "", c, count);
        add_mean(t, "loss", &loss);
        add_member(t, "perplexity", exp(mean_of(&loss)));
        text_add(t, "}");
    }
    if (json) text_add(t, "]");
}

// ---- multiple choice ---------------------------------------------------------------------------

enum { MAX_CHOICES = 8 };

typedef struct {
    int label, choices;
    int context;                        // tokens of the context
    int length[MAX_CHOICES];            // of each choice
    const int *tokens;                  // the context's, then the choices'
} Example;

typedef struct {
    Example *example;
    int count, longest;                 // examples; context and longest choice, in tokens
    int *tokens;
} Quiz;

// Reads a choices file: header int32[256] {20240522, version, examples, longest example in bytes},
// then rows of uint16: 65535, bytes of the row, index, label, choices, the context's length and
// tokens, each choice's length and tokens. Version 1: 4 choices; 2: 1 to 8.
static void quiz_read(Quiz *quiz, const char *path, int V) {
    struct stat info;
    const char *why;
    FILE *f = open_file(path, &why);
    const char *hint = "expected a choices file: python3 dev/tools/quiz.py cloze TEXT --out FILE";
    if (!f) fail("--choices %s: %s; %s", path, why, hint);
    int32_t header[256];
    if (fstat(fileno(f), &info) != 0 || info.st_size < HEADER_BYTES || info.st_size % 2 != 0 ||
        fread(header, sizeof header, 1, f) != 1 || header[0] != MAGIC_CHOICES)
        fail("--choices %s: does not begin with %d; %s", path, MAGIC_CHOICES, hint);
    if (header[1] != 1 && header[1] != 2)
        fail("--choices %s: version %d, expected 1 or 2", path, header[1]);
    size_t n = ((size_t)info.st_size - HEADER_BYTES) / 2, place = 0;
    if (header[2] < 1 || (size_t)header[2] > n / 8)
        fail("--choices %s: its header counts %d examples, its %lld bytes cannot hold them", path,
             header[2], (long long)info.st_size);
    uint16_t *raw = allocate(n * sizeof *raw, "the choices");
    if (fread(raw, sizeof *raw, n, f) != n) fail("--choices %s: cannot be read", path);
    fclose(f);
    quiz->count = header[2];
    quiz->example = allocate(quiz->count * sizeof *quiz->example, "the examples");
    quiz->tokens = allocate(n * sizeof *quiz->tokens, "the examples' tokens");
    int *next = quiz->tokens;
    for (int e = 0; e < quiz->count; e++) {
        Example *x = &quiz->example[e];
        size_t at = place + 5;
        bool right = n - place >= 8 && raw[place] == 65535 && raw[place + 1] % 2 == 0 &&
                     raw[place + 2] == e % 65536 && raw[place + 1] / 2u <= n - place;
        size_t end = right ? place + raw[place + 1] / 2u : place;
        if (right) x->label = raw[place + 3], x->choices = raw[place + 4];
        right = right && x->choices >= 1 && x->choices <= MAX_CHOICES && x->label < x->choices &&
                (header[1] == 2 || x->choices == 4);
        x->tokens = next;
        int most = 0;
        for (int part = 0; right && part <= x->choices; part++) {
            int length = at < end ? raw[at++] : 0;
            right = length >= 1 && (size_t)length <= end - at;
            for (int i = 0; right && i < length; i++) {
                if (raw[at] >= V)
                    fail("--choices %s: example %d has token %d, the model's vocabulary is %d: "
                         "made for another one", path, e, raw[at], V);
                *next++ = raw[at++];
            }
            if (part == 0) x->context = length;
            else x->length[part - 1] = length, most = length > most ? length : most;
        }
        if (!right || at != end)
            fail("--choices %s: example %d is damaged: expected 65535, its size, its index, a "
                 "label, the number of choices, and lengths that fit", path, e);
        if (x->context + most > quiz->longest) quiz->longest = x->context + most;
        place = end;
    }
    if (place != n)
        fail("--choices %s: %zu bytes follow the last of its %d examples", path, 2 * (n - place),
             quiz->count);
    free(raw);
}

// Replaces the bytes of a quiz by the table's tokens, each part by itself. A quiz that has a token
// above 255 holds tokens already and stays, as does every quiz where bytes would be too many.
static void quiz_encode(Quiz *quiz, const TokenTable *table, const Settings *s, const char *path) {
    int n = 0, *next = quiz->tokens;
    bool text = s->c.vocab >= 256;
    char part[65536];
    Text what = {0};
    for (int e = 0; e < quiz->count; e++) {
        const Example *x = &quiz->example[e];
        for (int p = 0; p <= x->choices; p++) n += p ? x->length[p - 1] : x->context;
    }
    for (int i = 0; i < n; i++) text = text && quiz->tokens[i] < 256;
    text_add(&what, "--choices %s", path);
    if (text && !takes_text(table, s))
        refuse_text(what.s, s, "give --tokenizer FILE with the tokens that each token joins, or a "
                    "file of token ids: python3 dev/tools/quiz.py choices FILE --ids --out FILE");
    expect_lines(table, quiz->tokens, n, what.s);
    free(what.s);
    if (!text || !table->joins) return;
    quiz->longest = 0;
    for (int e = 0; e < quiz->count; e++) {
        Example *x = &quiz->example[e];
        const int *byte = x->tokens;
        int most = 0;
        x->tokens = next;
        for (int p = 0; p <= x->choices; p++) {
            int *length = p ? &x->length[p - 1] : &x->context;
            for (int i = 0; i < *length; i++) part[i] = (char)byte[i];
            byte += *length;
            next += *length = table_encode(table, part, (size_t)*length, next);
            if (p && *length > most) most = *length;
        }
        if (x->context + most > quiz->longest) quiz->longest = x->context + most;
    }
}

// One row of a batch: context and choice, all but the last token as input.
typedef struct {
    int example, choice, T, first;      // T inputs; the choice's first token is the target at first
    double sum;                         // sum of ln p over the choice's tokens
    bool right;                         // each of them the likeliest
} QuizRow;

// Fills a row; a context that is too long for `room` inputs loses its beginning. Returns how many
// tokens it lost.
static int fill_row(QuizRow *row, int *inputs, int *targets, const Example *x, int room) {
    const int *choice = x->tokens + x->context;
    for (int c = 0; c < row->choice; c++) choice += x->length[c];
    int length = x->length[row->choice], cut = x->context + length - 1 - room;
    if (cut < 0) cut = 0;
    int context = x->context - cut;
    row->T = context + length - 1, row->first = context - 1;
    memcpy(inputs, x->tokens + cut, context * sizeof(int));
    memcpy(inputs + context, choice, (length - 1) * sizeof(int));
    for (int t = 0; t < row->T; t++) targets[t] = t < row->first ? -1 : choice[t - row->first];
    return cut;
}

// Scores rows 0 .. b-1 in one pass. Short rows are filled up behind with token 0, whose targets are
// not scored; since everything is causal, nothing before can see it.
static void score_rows(QuizRow *row, Model *m, const Quiz *quiz, int b, int *inputs, int *targets,
                       int *piece, int room, int *cut_examples, int *cut_tokens) {
    int T = 0, *x = piece, *y = piece + m->c.seq;
    for (int pass = 0; pass < 2; pass++) {          // first the longest row
        for (int i = 0; i < b; i++) {
            int cut = fill_row(&row[i], x, y, &quiz->example[row[i].example], room);
            if (row[i].T > T) T = row[i].T;
            if (!pass) {
                *cut_examples += cut > 0;
                *cut_tokens += cut;
                continue;
            }
            for (int t = 0; t < T; t++) {
                inputs[(size_t)i * T + t] = t < row[i].T ? x[t] : 0;
                targets[(size_t)i * T + t] = t < row[i].T ? y[t] : -1;
            }
        }
    }
    model_forward(m, inputs, b, T);
    model_loss(m, targets);
    for (int i = 0; i < b; i++) {
        row[i].sum = 0, row[i].right = true;
        for (int t = row[i].first; t < row[i].T; t++) {
            row[i].sum -= (double)m->losses[(size_t)i * T + t];
            row[i].right = row[i].right && m->right[(size_t)i * T + t];
        }
    }
}

typedef struct {
    Mean acc, by_tokens, by_bytes;      // of the examples with two choices or more
    Mean word, word_loss, token_loss;   // of those with one: right?, -ln p of the word, of a token
    int cut_rows, cut_tokens;
    QuizRow *row;                       // (rows) every choice's score
    int rows;
} QuizScore;

static int best_choice(const double *score, int n) {
    int best = 0;
    for (int c = 1; c < n; c++)
        if (score[c] > score[best]) best = c;
    return best;
}

static void score_quiz(QuizScore *of, Model *m, const Quiz *quiz, const int *length, int room) {
    int B = m->c.batch, T = m->c.seq;
    int *inputs = allocate((size_t)B * T * sizeof(int), "a batch");
    int *targets = allocate((size_t)B * T * sizeof(int), "a batch");
    int *piece = allocate((size_t)2 * T * sizeof(int), "a row");
    *of = (QuizScore){0};
    of->row = allocate((size_t)quiz->count * MAX_CHOICES * sizeof *of->row, "scores");
    for (int e = 0; e < quiz->count; e++)
        for (int c = 0; c < quiz->example[e].choices; c++)
            of->row[of->rows++] = (QuizRow){.example = e, .choice = c};
    for (int r = 0; r < of->rows; r += B) {
        progress("choice", (size_t)r, (size_t)of->rows);
        score_rows(of->row + r, m, quiz, min_int(B, of->rows - r), inputs, targets, piece, room,
                   &of->cut_rows, &of->cut_tokens);
    }
    progress("choice", (size_t)of->rows, (size_t)of->rows);
    const QuizRow *row = of->row;
    for (int e = 0; e < quiz->count; row += quiz->example[e++].choices) {
        const Example *x = &quiz->example[e];
        double raw[MAX_CHOICES], tokens[MAX_CHOICES], bytes[MAX_CHOICES];
        const int *token = x->tokens + x->context;
        if (x->choices == 1) {
            mean_add(&of->word, row->right);
            mean_add(&of->word_loss, -row->sum);
            of->token_loss.n += x->length[0], of->token_loss.sum -= row->sum;
            continue;
        }
        for (int c = 0; c < x->choices; c++) {
            double size = 0;
            for (int i = 0; i < x->length[c]; i++, token++) size += length ? length[*token] : 1;
            raw[c] = row[c].sum, tokens[c] = row[c].sum / x->length[c];
            bytes[c] = row[c].sum / (size > 0 ? size : 1);
        }
        mean_add(&of->acc, best_choice(raw, x->choices) == x->label);
        mean_add(&of->by_tokens, best_choice(tokens, x->choices) == x->label);
        if (length) mean_add(&of->by_bytes, best_choice(bytes, x->choices) == x->label);
    }
    free(inputs), free(targets), free(piece);
}

static void report_quiz(Text *t, const QuizScore *q, const Quiz *quiz, bool json, bool scores) {
    double chance = 0;
    for (int e = 0; e < quiz->count; e++)
        if (quiz->example[e].choices > 1) chance += 1 / (quiz->example[e].choices * q->acc.n);
    if (json) {
        text_add(t, ",\"choices\":{\"examples\":%d,\"contexts_cut\":%d,\"tokens_cut\":%d",
                 quiz->count, q->cut_rows, q->cut_tokens);
        if (q->acc.n > 0) {
            add_member(t, "questions", q->acc.n);
            add_member(t, "chance", chance);
            add_mean(t, "acc", &q->acc);
            add_mean(t, "acc_by_tokens", &q->by_tokens);
            add_mean(t, "acc_by_bytes", &q->by_bytes);
        }
        if (q->word.n > 0) {
            add_member(t, "last_words", q->word.n);
            add_mean(t, "last_word_accuracy", &q->word);
            add_mean(t, "last_word_loss", &q->word_loss);
            add_member(t, "last_word_perplexity", exp(mean_of(&q->word_loss)));
            add_member(t, "last_word_token_perplexity", exp(mean_of(&q->token_loss)));
        }
        if (scores) {
            text_add(t, ",\"scores\":[");
            for (int r = 0; r < q->rows; r++)
                text_add(t, "%s%s%.17g", r ? "," : "", q->row[r].choice ? "" : r ? "\n" : "",
                         q->row[r].sum);
            text_add(t, "]");
        }
        text_add(t, "}");
        return;
    }
    text_add(t, "\n");
    if (q->acc.n > 0) {
        text_add(t, "choices     %.0f questions, chance %.4f\n", q->acc.n, chance);
        text_add(t, "acc         %.4f +- %.4f by the sum of ln p\n", mean_of(&q->acc),
                 mean_error(&q->acc));
        text_add(t, "            %.4f +- %.4f by the mean over tokens\n", mean_of(&q->by_tokens),
                 mean_error(&q->by_tokens));
        if (q->by_bytes.n > 0)
            text_add(t, "            %.4f +- %.4f by the mean over bytes\n", mean_of(&q->by_bytes),
                     mean_error(&q->by_bytes));
        else text_add(t, "            n/a by the mean over bytes: give --tokenizer FILE\n");
    }
    if (q->word.n > 0)
        text_add(t, "last words  %.0f: accuracy %.4f +- %.4f, perplexity %.2f a word, %.3f a "
                 "token\n", q->word.n, mean_of(&q->word), mean_error(&q->word),
                 exp(mean_of(&q->word_loss)), exp(mean_of(&q->token_loss)));
    if (q->cut_rows)
        text_add(t, "note        %d of %d contexts were too long and lost their beginning, %d "
                 "tokens in all\n", q->cut_rows, q->rows, q->cut_tokens);
}

// ---- the program -------------------------------------------------------------------------------

typedef struct {
    char *data;                 // a file a line
    Wholes contexts;
    const char *choices, *skip, *tokenizer;
    int windows, targets, batch, threads, positions, scores, no_loss, json;
} Options;

static void read_options(Options *o, int argc, char **argv, const char **folder) {
    *o = (Options){.targets = 1024, .batch = 16, .skip = "none"};
    const Arg args[] = {
        {"data", WORDS, &o->data, 0, 0,
         "text or tokens, may be repeated [the run's validation data]"},
        {"windows", WHOLE, &o->windows, 0, 1 << 30, "windows of the data to score; 0: all"},
        {"no-loss", SWITCH, &o->no_loss, 0, 0, "leave out the loss over the data's windows"},
        {"positions", SWITCH, &o->positions, 0, 0, "show the loss by position, too"},
        {"context", WHOLES, &o->contexts, 1, 1 << 20,
         "lengths of context, such as 16,32,64 [none]"},
        {"targets", WHOLE, &o->targets, 1, 1 << 24, "tokens that --context scores for each length"},
        {"choices", WORD, &o->choices, 0, 0, "file of questions or last words [none]"},
        {"scores", SWITCH, &o->scores, 0, 0, "with --json: every choice's sum of ln p, too"},
        {"tokenizer", WORD, &o->tokenizer, 0, 0,
         "tokens.txt of dev/scale/bpe.py, for bits a byte and for choices [bytes]"},
        {"skip", WORD, &o->skip, 0, 0,
         "leave out the blocks or mixers of non-standard layers; both: whole, then each"},
        {"batch", WHOLE, &o->batch, 1, 65536, "sequences at a time; changes no result"},
        {"threads", WHOLE, &o->threads, 1, 1024, "threads [OMP_NUM_THREADS, or all cores]"},
        {"json", SWITCH, &o->json, 0, 0, "print one JSON object instead of text"},
    };
    *folder = parse_args(argc, argv,
        "usage: eval_attnvar FOLDER [--option value]...\n\n"
        "Measures the model that ./train_attnvar --out FOLDER saved.\n\n"
        "--context c: the token at place p of the data is predicted from tokens p-c .. p-1\n"
        "alone, fed as a sequence of their own at positions 0 .. c-1, and only this prediction\n"
        "is scored. All lengths score the same tokens p, evenly spread over the data. So no token\n"
        "sees more or less than c tokens, and losses differ by context alone. rndembqk and\n"
        "fixedseqqk use the front of their maps, and none beyond the trained length.\n"
        "--choices: a choice's score is the sum of ln p of its tokens after the context; acc\n"
        "takes the highest sum, mean over tokens, mean over bytes. Examples with one choice are\n"
        "last words: right if each of its tokens is the likeliest. A context too long for the\n"
        "trained length loses its beginning; a note counts these. With --tokenizer, a file of\n"
        "bytes (no token above 255) is encoded first, each part by itself.\n",
        args, sizeof args / sizeof *args);
    const char *skips[] = {"none", "blocks", "mixers", "both"};
    int known = 0;
    for (int i = 0; i < 4; i++) known |= strcmp(o->skip, skips[i]) == 0;
    if (!known) fail("--skip '%s': expected none, blocks, mixers or both", o->skip);
    if (o->no_loss && o->positions) fail("--no-loss leaves out what --positions shows: give one");
    if (o->no_loss && !o->choices && !o->contexts.n)
        fail("--no-loss leaves nothing to measure: add --choices FILE or --context 16,32");
    if (o->scores && !(o->json && o->choices)) fail("--scores is for --json with --choices FILE");
    expect_use(o->contexts.n, "targets", "is for --context 16,32: add it, or leave --targets out");
    expect_use(!o->no_loss, "windows", "limits the loss that --no-loss leaves out: give one");
    expect_use(!o->no_loss || o->contexts.n, "data",
               "is for the loss that --no-loss leaves out, or for --context: give one of the three");
}

// Everything that was asked for, of the model as it stands (m->skip).
static void measure(Text *t, Model *m, const Options *o, const Data *d, const Quiz *quiz,
                    const int *length, int trained) {
    Validation v;
    int capacity = m->c.seq;
    m->c.seq = trained;                 // windows of the trained length, whatever --context wants
    if (!o->no_loss) {
        validate_windows(&v, m, d, validation_windows(d, 1, trained, o->windows), length);
        report_validation(t, &v, d, o->json);
        if (o->positions) report_positions(t, &v, trained, o->json);
        free(v.sum), free(v.scored);
    }
    m->c.seq = capacity;
    if (o->contexts.n) report_contexts(t, m, d, &o->contexts, o->targets, trained, o->json);
    if (o->choices) {
        QuizScore score;
        score_quiz(&score, m, quiz, length, trained);
        report_quiz(t, &score, quiz, o->json, o->scores);
        free(score.row);
    }
}

// What the options want must fit the model and the data.
static void check_options(const Options *o, const Config *c, const Data *d, const Quiz *quiz) {
    for (int i = 0; i < o->contexts.n; i++) {
        int context = o->contexts.value[i];
        if (d->pairs) fail("--context: recall has no running text: leave it out");
        if (context > c->seq && has_anchor(c))
            fail("--context %d: the maps of this model's anchor end at %d", context, c->seq);
        if ((size_t)context >= d->n)
            fail("--context %d: the data has %zu tokens only", context, d->n);
    }
    for (int e = 0; e < quiz->count; e++)
        for (int i = 0; i < quiz->example[e].choices; i++)
            if (quiz->example[e].length[i] > c->seq)
                fail("--choices %s: choice %d of example %d has %d tokens, the trained length is "
                     "%d: it cannot be scored after any context", o->choices, i, e,
                     quiz->example[e].length[i], c->seq);
}

int main(int argc, char **argv) {
    static Options o;
    static Data data;
    const char *folder;
    Model m;
    Quiz quiz = {0};
    TokenTable table = {0};
    Text t = {0};
    read_options(&o, argc, argv, &folder);
    static Settings s;              // its texts live as long as the program
    checkpoint_settings(&s, folder, o.threads);
    int trained = s.c.seq;
    s.c.batch = o.batch;
    bool needs_data = !o.no_loss || o.contexts.n > 0;
    if (needs_data) open_evaluation(&data, &s, o.data, trained);
    table_open(&table, o.tokenizer, &s);
    if (needs_data && !data_is_bytes(&data))
        expect_lines(&table, &data.largest, 1, data.pairs ? "recall" : data.shard[0].path);
    if (o.choices) quiz_read(&quiz, o.choices, s.c.vocab);
    if (o.choices) quiz_encode(&quiz, &table, &s, o.choices);
    check_options(&o, &s.c, &data, &quiz);
    bool bytes = needs_data ? data_is_bytes(&data) : tokens_are_bytes(&s);
    int *length = token_lengths(&table, s.c.vocab, bytes);
    for (int i = 0; i < o.contexts.n; i++)
        if (o.contexts.value[i] > s.c.seq) s.c.seq = o.contexts.value[i];
    model_open(&m, &s);
    print_change();
    text_add(&t, o.json ? "{" : "");
    if (o.json) add_model(&t, folder, &s.c, trained), text_add(&t, ",\"results\":[");
    const char *names[] = {"none", "blocks", "mixers"};
    Skip skips[] = {SKIP_NONE, SKIP_BLOCKS, SKIP_MIXERS};
    for (int i = 0, first = 1; i < 3; i++) {
        if (strcmp(o.skip, names[i]) != 0 && strcmp(o.skip, "both") != 0) continue;
        m.skip = skips[i];
        if (o.json) text_add(&t, "%s{\"skip\":\"%s\"", first ? "" : ",", names[i]);
        else if (i) text_add(&t, "%sskipped: the %s of the layers that are not standard\n",
                             first ? "" : "\n", names[i]);
        else if (strcmp(o.skip, "both") == 0) text_add(&t, "nothing skipped\n");
        measure(&t, &m, &o, &data, &quiz, length, trained);
        if (o.json) text_add(&t, "}");
        first = 0;
    }
    if (o.json) text_add(&t, "]}\n");
    print_text(&t);
    table_free(&table);
    free(length), free(quiz.example), free(quiz.tokens), free(o.data);
    data_close(&data);
    free_work(omp_get_max_threads());
    model_free(&m);
    return 0;
}
