/* tools.h: what the instruments in this folder share: they include train_attnvar.c through this
   file, parse their options, open a checkpoint and its data, and write JSON the same way.

   A tool defines PROGRAM, its name in messages, and SMALLER, its advice where memory is short, and
   includes this file; everything is static. */

#if !defined PROGRAM || !defined SMALLER
#error define PROGRAM and SMALLER before including tools.h
#endif
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"      // a tool uses what it needs
#endif
#ifdef __clang__
#pragma clang diagnostic ignored "-Wkeyword-macro"      // the double build of the tests
#endif
#define ATTNVAR_NO_MAIN
#include "../../train_attnvar.c"

// ---- options -----------------------------------------------------------------------------------

typedef enum { SWITCH, WHOLE, NUMBER, WORD, WORDS, WHOLES } ArgType;

typedef struct {
    int n, value[64];
} Wholes;                       // a list such as 16,32,64

typedef struct {
    const char *name;
    ArgType type;
    void *value;                // int, int, double, const char *, char * (a line each time), Wholes
    double low, high;           // WHOLE, WHOLES, NUMBER: the range allowed
    const char *help;           // in brackets: a default that follows from other things
} Arg;

static void print_args(const char *usage, const Arg *args, int count) {
    printf("%s\n", usage);
    for (const Arg *a = args; a < args + count; a++) {
        printf("  --%-12s %s", a->name, a->help);
        if (strchr(a->help, '[')) printf("\n");
        else if (a->type == WHOLE) printf(" [%d]\n", *(int *)a->value);
        else if (a->type == NUMBER) printf(" [%g]\n", *(double *)a->value);
        else if (a->type == WORD && *(const char **)a->value)
            printf(" [%s]\n", *(const char **)a->value);
        else printf("\n");
    }
}

static int whole_arg(const Arg *a, const char *text, size_t length) {
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end != text + length || length == 0 || errno || (double)n < a->low || (double)n > a->high)
        fail("--%s '%.*s': expected a whole number from %.0f to %.0f", a->name, (int)length, text,
             a->low, a->high);
    return (int)n;
}

static void set_arg(const Arg *a, const char *text) {
    if (a->type == SWITCH) *(int *)a->value = 1;
    if (a->type == WHOLE) *(int *)a->value = whole_arg(a, text, strlen(text));
    if (a->type == WORD) *(const char **)a->value = text;
    if (a->type == WORDS) {
        Text lines = {0};
        const char *before = *(char **)a->value;
        if (strchr(text, '\n'))
            fail("--%s: found a file's name with a line break: rename the file", a->name);
        text_add(&lines, "%s%s%s", before ? before : "", before ? "\n" : "", text);
        *(char **)a->value = lines.s;
    }
    if (a->type == NUMBER) {
        char *end;
        double x = strtod(text, &end);
        if (end == text || *end || strpbrk(text, "xX") || !(x >= a->low && x <= a->high))
            fail("--%s '%s': expected a number from %g to %g", a->name, text, a->low, a->high);
        *(double *)a->value = x;
    }
    if (a->type == WHOLES) {
        Wholes *list = a->value;
        for (list->n = 0;; text++) {
            size_t length = strcspn(text, ",");
            if (list->n == 64) fail("--%s: more than 64 numbers", a->name);
            list->value[list->n++] = whole_arg(a, text, length);
            text += length;
            if (!*text) break;
        }
    }
}

static const char *asked_for[64];       // the options on the command line, each once

static bool asked(const char *name) {
    for (int i = 0; i < 64 && asked_for[i]; i++)
        if (strcmp(asked_for[i], name) == 0) return true;
    return false;
}

// Refuses an option that is given and has no effect; `why` names what it needs or excludes.
static void expect_use(bool used, const char *name, const char *why) {
    if (!used && asked(name)) fail("--%s %s", name, why);
}

// Reads FOLDER and options (--name value or --name=value) in any order; returns the folder.
static const char *parse_args(int argc, char **argv, const char *usage, const Arg *args,
                              int count) {
    const char *folder = NULL;
    int many = 0;
    fill_closed();
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN);       // a file that grows too large is a failed write, not a crash
#endif
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *equals = strchr(word, '=');
        const char *value = equals ? equals + 1 : NULL;
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_args(usage, args, count);
            finish_output();
            exit(0);
        }
        if (*word != '-') {
            if (folder) fail("two folders, %s and %s: expected one; see --help", folder, word);
            folder = word;
            continue;
        }
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        int which = strncmp(word, "--", 2) == 0
                  ? find_name(args, sizeof *args, count, word + 2, length - 2, NULL) : -1;
        if (which < 0) fail("unknown option '%s': --help lists them all", word);
        const Arg *a = args + which;
        if (a->type == SWITCH && value) fail("--%s takes no value, found '%s'", a->name, value);
        if (a->type != SWITCH && !value) {
            if (i + 1 == argc) fail("--%s wants a value: see --help", a->name);
            value = argv[++i];
        }
        if ((a->type == WORD || a->type == WORDS) && !*value)
            fail("--%s wants a value: see --help", a->name);
        set_arg(a, value);
        if (!asked(a->name)) asked_for[many++] = a->name;
    }
    if (!folder || !*folder)
        fail("no checkpoint: expected a folder that ./train_attnvar --out wrote; see --help");
    return folder;
}

// ---- checkpoint and data -----------------------------------------------------------------------

// The settings that the checkpoint in a folder keeps, read by the main file's own reader.
// threads 0: as many as there are.
static void checkpoint_settings(Settings *s, const char *folder, int threads) {
    char number[16];
    snprintf(number, sizeof number, "%d", threads);
    const char *words[] = {PROGRAM, "--out", folder, "--resume", "--threads", number};
    parse(threads > 0 ? 6 : 4, (char **)words);
    settings(s);
}

static bool slow;               // one batch takes seconds

// Lays out and fills the model of the checkpoint, whose values must be finite. s->c may differ from
// it in batch, and in seq where no anchor has that length. The two checks are those of the main
// file, whose messages name options that the tools lack.
static void model_open(Model *m, const Settings *s) {
    if (((double)s->c.batch + 2) * s->c.seq > 1 << 30)
        fail("%d sequences of %d positions: expected at most 2^30 positions: " SMALLER, s->c.batch,
             s->c.seq);
    model_plan(m, &s->c);
    m->frozen = true;
    double need = (double)(m->parameters * sizeof(float) + m->activation_bytes);
    double have = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    need += (double)work_bytes(&s->c);
    if (have > 0 && need > have)
        fail("the model needs %.0f MB of memory and this machine has %.0f: " SMALLER, need / 1e6,
             have / 1e6);
    slow = (double)m->parameters * s->c.batch * s->c.seq > 1e11;
    model_allocate(m, 0);
    make_work(&s->c);
    read_tensors(s->from, m, false);
    if (!isfinite(sum_of_squares(m->store, m->parameters)))
        fail("%s: its weights are not all finite: the model was lost in training; expected one that "
             "./train_attnvar saved: it keeps the last good one", s->out);
}

// Weights that are finite can still be so large that no result is.
static void expect_finite(double x) {
    if (!isfinite(x))
        fail("the model computes %g: its weights are too large, it was lost in training; expected "
             "one that ./train_attnvar saved: it keeps the last good one", fabs(x));
}

static bool has_anchor(const Config *c) {
    return uses(c, QK_RANDOM_ANCHOR) || uses(c, QK_TEXT_ANCHOR);
}

static bool uses_kind(const Config *c, int kind) {
    for (int l = 0; l < c->layers; l++)
        if (c->kind[l] == kind) return true;
    return false;
}

// Are the model's tokens bytes? A vocabulary of 256 says so. A larger one may hold bytes, too: then
// the run's own data tell, if they are where they were.
static bool tokens_are_bytes(const Settings *s) {
    if (s->data && strcmp(s->data, "recall") == 0) return false;
    if (!s->data || s->c.vocab <= 256) return s->c.vocab == 256;
    Text first = {0};
    const char *why;
    int32_t magic;
    text_add(&first, "%.*s", (int)strcspn(s->data, "\n"), s->data);
    FILE *f = open_file(first.s, &why);
    bool text = f && fread(&magic, sizeof magic, 1, f) == 1 && magic != MAGIC_16 &&
                magic != MAGIC_32;
    if (f) fclose(f);
    free(first.s);
    return text;
}

// The one message for text that cannot become the model's tokens; `advice` says what can be done.
static _Noreturn void refuse_text(const char *what, const Settings *s, const char *advice) {
    fail("%s is text, this model's tokens are not bytes (its vocabulary is %d): %s", what,
         s->c.vocab, advice);
}

static Text changed;            // a note if the run's own validation data are not what they were

// Compares these data, which were surveyed, with what the checkpoint says of the run's.
static void note_change(const Data *d, const Settings *s) {
    const char *was = s->from->state.content[1];
    char is[32];
    int n = (int)strcspn(was, " ");
    snprintf(is, sizeof is, "%zu %08x", d->n, (unsigned)d->checksum);
    if (strcmp(is, was) == 0) return;
    text_add(&changed, "note: %s%s%s is not the data that the run validated on: %zu tokens, checksum "
             "%08x; the run's were %.*s tokens, checksum%s\n", s->val ? "" : "the last tenth of ",
             d->shard[0].path, d->shards > 1 ? " and what follows it" : "", d->n,
             (unsigned)d->checksum, n, was, was + n);
}

// Prints the note. Call it when no input can be wrong any more: an error is one line alone.
static void print_change(void) {
    if (changed.n) fputs(changed.s, stderr);
}

// Opens the data to evaluate: the files given (a line each), else, if given is NULL, the run's own
// validation data.
static void open_evaluation(Data *d, const Settings *s, const char *given, int T) {
    const char *files = given ? given : s->val ? s->val : s->data;
    if (!files) fail("the checkpoint names no data to evaluate: --data FILE");
    if (strcmp(files, "recall") == 0) {
        if (s->pairs > s->c.vocab / 2 - 1 || T < 4 * s->pairs)
            fail("recall with %d pairs needs a vocabulary of %d and %d positions, the model has %d "
                 "and %d: expected a model trained with --data recall", s->pairs,
                 2 * s->pairs + 2, 4 * s->pairs, s->c.vocab, T);
        recall_open(d, s->pairs, s->c.vocab, T);
        return;
    }
    data_open(d, files, "--data");
    if (!given && !s->val) {                                     // the last tenth, as in training
        d->first = d->n - d->n / 10;
        d->n /= 10;
    }
    if (data_is_bytes(d) && s->c.vocab < 256)
        fail("%s holds bytes, the model's vocabulary is %d: expected tokens below it",
             d->shard[0].path, s->c.vocab);
    if (given && data_is_bytes(d) && !tokens_are_bytes(s)) {
        Text advice = {0};
        text_add(&advice, "encode it: python3 dev/scale/bpe.py --tokenizer tokenizer.json --out DIR "
                 "%s", quoted(d->shard[0].path));
        refuse_text(d->shard[0].path, s, advice.s);
    }
    if (!given || !data_is_bytes(d)) survey(d);
    if (d->largest >= s->c.vocab)
        fail("%s: the largest token is %d, the model's vocabulary %d: expected tokens of the "
             "tokenizer that the model was trained with", d->shard[0].path, d->largest, s->c.vocab);
    d->vocab = s->c.vocab;
    if (d->n < (size_t)T + 1)
        fail("%s: %zu tokens, fewer than one window of %d, the trained length, and the token after "
             "it: expected a longer file: --data FILE", d->shard[0].path, d->n, T);
    if (!given) note_change(d, s);
}

// Shows on a terminal, once a second, how far a measurement is that takes more than two seconds.
// Call it before the first part (done 0), between parts, and at the end (done == all), when it
// removes its line.
static void progress(const char *what, size_t done, size_t all) {
    static double start, next;
    static bool shown;
    double now = seconds();
    char left[40] = "";
    if (done == 0) start = now, next = now + (slow ? 0 : 2);
    if (done == all && shown) fprintf(stderr, "%70s\r", ""), shown = false;
    if (done == all || now < next || !isatty(fileno(stderr))) return;
    next = now + 1, shown = true;
    if (done > 0) {
        double rest = (now - start) / (double)done * (double)(all - done);
        snprintf(left, sizeof left, ", about %.0f s left", rest);
    }
    fprintf(stderr, PROGRAM ": %s %zu of %zu%-24s\r", what, done, all, left);
}

// Keeps the larger of two errors; a NaN stays.
static void keep_worst(double *worst, double error) {
    if (!isnan(*worst) && !(error <= *worst)) *worst = error;
}

// ---- text --------------------------------------------------------------------------------------

// A stream of bytes as UTF-8 that can be shown: a byte that fits no character, and a control
// character other than tab and newline, becomes U+FFFD.
typedef struct {
    char part[4];               // the character that has begun
    int n, wanted;              // its bytes so far, and in all
} Utf8;

static void utf8_end(Utf8 *u, Text *out) {                  // a character that was cut short
    if (u->n) text_add(out, "\xef\xbf\xbd");
    u->n = 0;
}

static void utf8_put(Utf8 *u, int byte, Text *out) {
    int first = u->n == 1 ? (unsigned char)u->part[0] : 0;  // some narrow what may come second
    int low = first == 0xe0 || first == 0xc2 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    int high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (u->n == 0 || byte < low || byte > high) {           // begins a character
        bool shown = byte == '\n' || byte == '\t' || (byte >= ' ' && byte < 0x7f);
        utf8_end(u, out);
        u->wanted = byte < 0x80 ? shown : byte < 0xc2 || byte > 0xf4 ? 0
                  : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    }
    u->part[u->n++] = (char)byte;
    if (u->wanted == 0) utf8_end(u, out);
    if (u->n && u->n == u->wanted) text_add(out, "%.*s", u->n, u->part), u->n = 0;
}

// ---- tokens and their bytes --------------------------------------------------------------------

// What dev/scale/bpe.py writes as tokens.txt: a line a token, its bytes in hexadecimal, then, if it
// joins two tokens, those. Tokens 0 to 255 are the bytes. Without a table a token is its own byte.
typedef struct {
    const char *path;
    int n;                      // tokens in the table; 0: there is no table
    unsigned char *text;        // the bytes of all tokens, one after the other
    int *start;                 // (n + 1) where those of a token begin
    int *left, *right;          // (n) the tokens that it joins; -1: none
    bool joins;                 // some token joins two: text can be encoded
} TokenTable;

// Are the bytes from `at` to `end` those of both tokens, one after the other?
static bool is_joined(const TokenTable *t, int left, int right, int at, int end) {
    int l = t->start[left + 1] - t->start[left], r = t->start[right + 1] - t->start[right];
    return l + r == end - at && memcmp(t->text + at, t->text + t->start[left], l) == 0 &&
           memcmp(t->text + at + l, t->text + t->start[right], r) == 0;
}

static void table_read(TokenTable *t, const char *path, int V) {
    enum { LONGEST = 1 << 16 };
    const char *why;
    FILE *f = open_file(path, &why);
    size_t bytes = 0, room = 0;
    char *line = allocate(LONGEST, "a line of the table");
    if (!f) fail("--tokenizer %s: %s; expected the tokens.txt of dev/scale/bpe.py", path, why);
    *t = (TokenTable){.path = path};
    t->start = allocate((V + 1) * sizeof *t->start, "the tokens' bytes");
    t->left = allocate(V * sizeof *t->left, "the tokens' parts");
    t->right = allocate(V * sizeof *t->right, "the tokens' parts");
    for (; fgets(line, LONGEST, f); t->n++) {
        size_t digits = strspn(line, "0123456789abcdef");
        int left = -1, right = -1, end = 0, last = 0;
        sscanf(line + digits, " %n%7d %7d %n", &end, &left, &right, &last);
        bool joins = left >= 0 || right >= 0;
        if (t->n == V || digits % 2 || line[digits + (joins ? last : end)] ||
            (joins && (left < 0 || right < 0 || left >= t->n || right >= t->n || t->n < 256)))
            fail("--tokenizer %s: line %d is '%.*s': expected at most %d lines (the vocabulary), "
                 "each a token's bytes in hexadecimal and, from line 257 on, two tokens before it",
                 path, t->n + 1, (int)min_int(60, (int)strcspn(line, "\r\n")), line, V);
        if (bytes + digits / 2 > room) {
            room = 2 * (bytes + digits / 2);
            if (!(t->text = realloc(t->text, room))) fail("no memory for %zu bytes", room);
        }
        for (size_t i = 0; i < digits; i += 2) {
            const char hex[3] = {line[i], line[i + 1], 0};
            t->text[bytes++] = (unsigned char)strtol(hex, NULL, 16);
        }
        if (t->n < 256 && (digits != 2 || t->text[bytes - 1] != t->n))
            fail("--tokenizer %s: line %d is not the byte %02x: expected the tokens.txt of "
                 "dev/scale/bpe.py", path, t->n + 1, t->n);
        int at = (int)bytes - (int)digits / 2;
        if (joins && !is_joined(t, left, right, at, (int)bytes))
            fail("--tokenizer %s: line %d: its bytes are not those of tokens %d and %d: expected "
                 "the tokens.txt of dev/scale/bpe.py", path, t->n + 1, left, right);
        t->start[t->n + 1] = (int)bytes;
        t->left[t->n] = left, t->right[t->n] = right;
        t->joins |= joins;
    }
    if (t->n == 0) fail("--tokenizer %s: is empty; expected a token's bytes on each line", path);
    if (t->n < min_int(V, 256) || t->n <= V - 64)       // training rounds up to a multiple of 64
        fail("--tokenizer %s: has %d lines, none for token %d of a vocabulary of %d: expected the "
             "whole table; a token that stands for nothing has an empty line", path, t->n, t->n, V);
    for (int v = t->n; v < V; v++) t->start[v + 1] = (int)bytes;    // padding of the vocabulary
    free(line);
    fclose(f);
}

// Reads the table that --tokenizer names, if there is one. It must be the model's.
static void table_open(TokenTable *t, const char *path, const Settings *s) {
    if (!path) return;
    table_read(t, path, s->c.vocab);
    if (t->joins && tokens_are_bytes(s))
        fail("--tokenizer %s: joins bytes, this model's tokens are bytes: leave it out", path);
}

// If there is a table, each of n tokens must have a line in it.
static void expect_lines(const TokenTable *t, const int *tokens, int n, const char *whose) {
    for (int i = 0; i < n && t->n; i++)
        if (tokens[i] >= t->n)
            fail("--tokenizer %s: has %d lines, none for token %d of %s: expected the table of the "
                 "tokenizer that the model was trained with", t->path, t->n, tokens[i], whose);
}

static void table_free(TokenTable *t) {
    free(t->text), free(t->start), free(t->left), free(t->right);
    *t = (TokenTable){0};
}

// The kind of the character at s, which has n bytes left, by bpe.py's classes, and its length. In
// UTF-8, U+0080 to U+00BF begin with C2, U+2000 to U+2BFF with E2 80 to E2 AF; every other byte
// beyond ASCII belongs to a letter, also one that is not UTF-8.
static int text_class(const unsigned char *s, size_t n, int *length) {
    *length = 1;
    if (*s == ' ' || (*s >= '\t' && *s <= '\r')) return ' ';
    if (*s >= '0' && *s <= '9') return '0';
    if ((*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z')) return 'a';
    if (*s < 0x80) return '.';
    if (*s == 0xc2 && n > 1 && s[1] >> 6 == 2) return *length = 2, '.';
    if (*s == 0xe2 && n > 2 && s[1] >= 0x80 && s[1] <= 0xaf && s[2] >> 6 == 2)
        return *length = 3, '.';
    return 'a';
}

// Bytes of the first word: letters, digits or others, each with at most one space in front; else
// white space, of which the last character is left to a word that follows.
static size_t word_length(const unsigned char *s, size_t n) {
    int length;
    size_t first = s[0] == ' ' && n > 1 && text_class(s + 1, n - 1, &length) != ' ', end = first;
    int class = text_class(s + first, n - first, &length);
    while (end < n && text_class(s + end, n - end, &length) == class) end += (size_t)length;
    return class == ' ' && end < n && end > 1 ? end - 1 : end;
}

// Turns n bytes into tokens (room for n of them); returns how many. In every word the pair that was
// learned first is joined wherever it occurs, then the next one.
static int table_encode(const TokenTable *t, const char *text, size_t n, int *tokens) {
    int count = 0;
    for (size_t at = 0, word; at < n; at += word) {
        const unsigned char *s = (const unsigned char *)text + at;
        int *mine = tokens + count, m = (int)(word = t->n ? word_length(s, n - at) : n);
        for (int i = 0; i < m; i++) mine[i] = s[i];
        for (int v = 256; v < t->n && m > 1; v++) {
            int kept = 0;
            for (int i = 0; i < m; i++, kept++) {
                bool pair = i + 1 < m && mine[i] == t->left[v] && mine[i + 1] == t->right[v];
                mine[kept] = pair ? v : mine[i];
                i += pair;
            }
            m = kept;
        }
        count += m;
    }
    return count;
}

// Can text become the model's tokens?
static bool takes_text(const TokenTable *t, const Settings *s) {
    return t->joins || tokens_are_bytes(s);
}

// Bytes of a token; without a table 1.
static int token_length(const TokenTable *t, int token) {
    return t->n ? t->start[token + 1] - t->start[token] : 1;
}

// Adds a token's bytes to a text; one without bytes that are known becomes U+FFFD.
static void token_put(const TokenTable *t, int token, Utf8 *u, Text *out) {
    if (!t->n || token >= t->n) utf8_put(u, token > 255 ? 256 : token, out);
    for (int i = 0; i < token_length(t, token) && t->n; i++)
        utf8_put(u, t->text[t->start[token] + i], out);
}

// ---- JSON --------------------------------------------------------------------------------------

// A number that comes back as it was, if 9 digits suffice; JSON has no infinity and no NaN.
static void add_number(Text *t, double x) {
    if (isfinite(x)) text_add(t, "%.9g", x);
    else text_add(t, "null");
}

// "name":x, with a comma in front unless it is the first member
static void add_member(Text *t, const char *name, double x) {
    text_add(t, "%s\"%s\":", t->n && !strchr("{[", t->s[t->n - 1]) ? "," : "", name);
    add_number(t, x);
}

// s as a JSON string, quotes and all. Bytes beyond ASCII pass as they are.
static void text_quote(Text *t, const char *s) {
    text_add(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') text_add(t, "\\%c", c);
        else if (c < ' ') text_add(t, "\\u%04x", c);
        else text_add(t, "%c", c);
    }
    text_add(t, "\"");
}

// A string of which JSON accepts every byte.
static void add_string(Text *t, const char *s) {
    Text clean = {0};
    Utf8 u = {0};
    for (text_add(&clean, "%s", ""); *s; s++) utf8_put(&u, (unsigned char)*s, &clean);
    utf8_end(&u, &clean);
    text_quote(t, clean.s);
    free(clean.s);
}

// "folder":..,"layers":.. and the shape: how every tool's JSON begins
static void add_model(Text *t, const char *folder, const Config *c, int trained) {
    text_add(t, "\"checkpoint\":");
    add_string(t, folder);
    text_add(t, ",\"layers\":\"%s\",\"dim\":%d,\"heads\":%d,\"kv_heads\":%d,\"ffn\":%d,"
             "\"vocab\":%d,\"trained_length\":%d", c->letters, c->dim, c->heads, c->kv_heads, c->ffn,
             c->vocab, trained);
}

// Prints the text and frees it; a disk that is full is an error here too.
static void print_text(Text *t) {
    if (t->s) fputs(t->s, stdout);
    finish_output();
    free(t->s);
    *t = (Text){0};
}
