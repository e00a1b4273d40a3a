"""What the user sees: the live table while runs go on, the tables and the paragraph at the end."""

import math
import os
import shutil
import sys
import time

import onerun
from presets import SIMPLE

WIDTH = 24              # of the progress bar


def clock(seconds):
    seconds = int(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def work(settings):
    """About how long a run takes, in arbitrary units: its multiply-adds."""
    s = settings
    block = 4 * s["dim"] ** 2 + 3 * s["dim"] * s["ffn"] + s["dim"] * s["seq"]
    a_token = s["layers"] * block + (s["vocab"] or 256) * s["dim"] + 20000
    return s["steps"] * s["batch"] * s["seq"] * a_token


def label(settings):
    s = settings
    extra = [s["size"]] if s["size"] not in ("tiny", "recall") else []
    extra += [f"{s['layers']} layers"] if s["layers"] == 8 else []
    extra += ["qk-norm"] if s["qk_norm"] and s["task"] == "text" else []
    extra += [f"kv {s['kv_heads']}"] if s["kv_heads"] != s["heads"] else []
    return " ".join(["tokens" if s["tokenizer"] else s["task"], *extra])


# 79 columns, for the narrowest of terminals
HEAD = (f"{'attn':<12}{'layout':<10}{'task':<14}{'seed':>4}{'step':>6}{'train':>6}{'val':>6}"
        f"{'skip':>7}{'acc':>6}{'time':>8}")


def cells(settings, step="", train="", val="", skip="", accuracy="", spent=""):
    def short(value):
        return f"{float(value):.3f}" if value != "" else ""
    s = settings
    return (f"{s['attn']:<12}{s['layout']:<10}{label(s):<14}{s['seed']:>4}{step:>6}"
            f"{short(train):>6}{short(val):>6}{short(skip):>7}{short(accuracy):>6}"
            f"{clock(float(spent)) if spent != '' else '':>8}")


def finished_line(settings, row):
    if row["status"] == "failed":
        return cells(settings).rstrip() + "  failed: " + row["error"]
    return cells(settings, row["last_step"], row["train_loss"], row["val_loss"],
                 row["skip_blocks"], row["recall_accuracy"], row["seconds"]).rstrip()


def last_row(folder, name):
    """The last complete line of log.csv: (step, loss), or (0, "")."""
    try:
        with open(onerun.path_of(folder, name, "log.csv"), "rb") as file:
            file.seek(max(0, os.path.getsize(file.name) - 400))
            lines = file.read().decode(errors="replace").split("\n")[:-1]
        step, loss = lines[-1].split(",")[:2]
        return int(step), float(loss)
    except (OSError, ValueError, IndexError):
        return 0, ""


class Display:
    """On a terminal a table that is redrawn again and again; elsewhere a line for each run that
    ends."""

    def __init__(self, folder, runs, out=None):
        self.folder, self.runs, self.out = folder, runs, out or sys.stdout
        self.live = self.out.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.rows, self.running = {}, {}        # name -> row, name -> when it began
        self.total = sum(work(run["settings"]) for run in runs)
        self.start, self.drawn, self.last_draw = time.time(), 0, 0.0
        self.had = 0                            # work that was done before
        self.next_line = self.start + 3         # without a terminal: a line now and then

    def begin(self, rows):
        self.rows = dict(rows)
        self.had = sum(work(run["settings"]) for run in self.runs if run["name"] in rows)
        if rows:
            self.say(f"{len(rows)} of {len(self.runs)} runs were done before")
        if not self.live:
            self.say("            " + HEAD)

    def say(self, line):
        self.erase()
        print(line, file=self.out, flush=True)

    def started(self, name):
        self.running[name] = time.time()

    def stopped(self, name):
        self.running.pop(name, None)

    def finished(self, run, row):
        self.running.pop(run["name"], None)
        self.rows[run["name"]] = row
        if not self.live:
            self.say(f"{self.count():<12}{finished_line(run['settings'], row)}")

    def count(self):
        return f"[{len(self.rows)}/{len(self.runs)}]"

    def share(self):
        done = 0.0
        for run in self.runs:
            if run["name"] in self.rows:
                done += work(run["settings"])
            elif run["name"] in self.running:
                step, _ = last_row(self.folder, run["name"])
                done += work(run["settings"]) * step / run["settings"]["steps"]
        return done

    def bar(self):
        done, spent = self.share(), time.time() - self.start
        share = done / self.total if self.total else 1.0
        filled = int(WIDTH * share)
        new = done - self.had
        left = clock(spent * (self.total - done) / new) + " left" if new > 0 and spent > 3 else ""
        return (f"[{'#' * filled}{'.' * (WIDTH - filled)}] {100 * share:3.0f} %  "
                f"{len(self.rows)} of {len(self.runs)} runs  {clock(spent)} spent  {left}")

    def row_line(self, run):
        name = run["name"]
        if name in self.rows:
            return finished_line(run["settings"], self.rows[name])
        if name in self.running:
            step, loss = last_row(self.folder, name)
            over = step == run["settings"]["steps"]
            text = cells(run["settings"], step, loss).rstrip()
            return text + ("  measuring" if over else "  running")
        return cells(run["settings"]).rstrip()

    def fitting(self, height):
        """The runs to show: all, or the running ones and those around them."""
        if len(self.runs) <= height:
            return self.runs
        places = [i for i, run in enumerate(self.runs) if run["name"] in self.running]
        first = min(places) if places else sum(r["name"] in self.rows for r in self.runs)
        start = max(0, min(first - height // 2, len(self.runs) - height))
        return self.runs[start:start + height]

    def erase(self):
        if self.drawn:
            print(f"\033[{self.drawn}F\033[J", end="", file=self.out)
            self.drawn = 0

    def draw(self):
        if not self.live:
            return self.plain_line()
        if time.time() - self.last_draw < 0.5:
            return
        columns, height = shutil.get_terminal_size()
        lines = [HEAD] + [self.row_line(run) for run in self.fitting(max(3, height - 4))]
        lines = [line[:columns - 1] for line in lines + ["", self.bar()]]
        move = f"\033[{self.drawn}F" if self.drawn else ""
        print(move + "".join(line + "\033[K\n" for line in lines) + "\033[J", end="",
              file=self.out, flush=True)
        self.drawn, self.last_draw = len(lines), time.time()

    def plain_line(self):
        """Prints where the running runs are, after three seconds and then every minute."""
        if time.time() < self.next_line:
            return
        self.next_line = time.time() + 60
        for run in self.runs:
            if run["name"] in self.running:
                self.say(f"{'running':<12}{self.row_line(run)}")
        self.say(self.bar())

    def end(self):
        """Leaves the whole table on the screen, also the rows that did not fit."""
        if self.live:
            self.erase()
            print("\n".join([HEAD] + [self.row_line(run) for run in self.runs]), file=self.out,
                  flush=True)


# ---- what it shows -------------------------------------------------------------------------------

def mean(values):
    return sum(values) / len(values)


def error(values):
    """Standard error of the mean, or None of a single value."""
    if len(values) < 2:
        return None
    m = mean(values)
    return math.sqrt(sum((x - m) ** 2 for x in values) / (len(values) - 1) / len(values))


def kind(row):
    """bytes, or how many tokens the vocabulary has."""
    return f"{row['vocab']} tokens" if row["vocab"] and row["task"] == "text" else "bytes"


def grouped(rows, column, task, size, of_kind="bytes"):
    """{(attn, layout): values over seeds} of the plain models of one task, size and vocabulary."""
    of = {}
    for row in rows:
        plain = (row["task"] == task and row["size"] == size and row["status"] == "done" and
                 kind(row) == of_kind and
                 row["kv_heads"] == row["heads"] and (task == "recall" or not row["qk_norm"]))
        if plain and row["layers"] != 8 and row[column] != "":
            of.setdefault((row["attn"], row["layout"]), []).append(float(row[column]))
    return of


def cell(values):
    if not values:
        return "-"
    spread = error(values)
    return f"{mean(values):.3f}" + (f" +-{spread:.3f}" if spread is not None else "")


def matrix(title, columns):
    """A line a variant; columns: [(name, {(attn): text})]"""
    lines = [title, f"{'':<12}" + "".join(f"{name:>18}" for name, _ in columns)]
    for attn in ["standard"] + SIMPLE:
        texts = [of.get(attn, "-") for _, of in columns]
        if set(texts) != {"-"}:
            lines.append(f"{attn:<12}" + "".join(f"{text:>18}" for text in texts))
    return "\n".join(lines)


def column(of, layout):
    return {attn: cell(values) for (attn, where), values in of.items() if where == layout}


def text_table(rows, size, of_kind):
    loss = grouped(rows, "val_loss", "text", size, of_kind)
    skip = grouped(rows, "skip_blocks", "text", size, of_kind)
    if not loss:
        return ""
    unit = "byte" if of_kind == "bytes" else "token"
    return matrix(f"validation loss on {of_kind}, nats a {unit} ({size}):",
                  [("uniform", column(loss, "uniform")), ("even", column(loss, "even")),
                   ("even, skipped", column(skip, "even"))])


def solved_cells(rows, size, layout):
    accuracy = grouped(rows, "recall_accuracy", "recall", size)
    steps = grouped(rows, "solved_step", "recall", size)
    of = {}
    for (attn, where), values in accuracy.items():
        if where == layout:
            of[attn] = f"{mean(values):.2f}, {len(steps.get((attn, where), []))} of {len(values)}"
    return of


def recall_table(rows, size):
    named = "" if size == "recall" else f" ({size})"
    return matrix(f"recall{named}: accuracy, seeds solved:",
                  [(layout, solved_cells(rows, size, layout)) for layout in ("uniform", "even")])


def names(list_of):
    return ", ".join(list_of[:-1]) + " and " + list_of[-1] if len(list_of) > 1 else \
        (list_of[0] if list_of else "none")


def text_paragraph(rows, size, of_kind):
    """The findings on text; each sentence is computed, and left out if its runs are missing."""
    loss = {key: mean(v) for key, v in grouped(rows, "val_loss", "text", size, of_kind).items()}
    skip = {key: mean(v) for key, v in grouped(rows, "skip_blocks", "text", size, of_kind).items()}
    uniform = {attn: x for (attn, layout), x in loss.items() if layout == "uniform"}
    even = {attn: x for (attn, layout), x in loss.items() if layout == "even"}
    if "standard" not in uniform or len(uniform) < 3:
        return ""
    some = next(r for r in rows if r["task"] == "text" and r["size"] == size and
                r["bigram_floor"] and kind(r) == of_kind)
    floor, standard = float(some["bigram_floor"]), uniform["standard"]
    unit = "byte" if of_kind == "bytes" else "token"
    said = [f"On {of_kind}, standard attention ends at {standard:.3f} nats a {unit}."]
    if "mlp" in uniform:
        gap = uniform["mlp"] - floor
        said.append(f"Without mixing, mlp ends at {uniform['mlp']:.3f}, "
                    f"{abs(gap):.3f} {'above' if gap >= 0 else 'below'} the bigram floor of "
                    f"{floor:.3f}: it knows the previous {unit} and no more."
                    if abs(gap) < 0.1 else
                    f"Without mixing, mlp ends at {uniform['mlp']:.3f}, {abs(gap):.3f} "
                    f"{'above' if gap >= 0 else 'below'} the bigram floor of {floor:.3f}.")
    mixers = {attn: x for attn, x in uniform.items() if attn != "mlp"}
    worst = max(mixers, key=mixers.get)
    said.append(f"Of the variants that mix, {worst} is the worst alone "
                f"({mixers[worst]:.3f}), {min(mixers, key=mixers.get)} the best "
                f"({min(mixers.values()):.3f}).")
    both = [attn for attn in SIMPLE if attn in uniform and attn in even]
    if both:
        gained = [attn for attn in both if even[attn] < uniform[attn]]
        far = max(even[attn] - standard for attn in both)
        near = min(even[attn] - standard for attn in both)
        said.append(f"With every other layer standard, {len(gained)} of {len(both)} improve "
                    f"({names(gained)}), and all are {near:+.3f} to {far:+.3f} from standard.")
    if skip:
        values = [x for (_, layout), x in skip.items() if layout == "even"]
        chance = float(some["chance_loss"])
        above = sum(x >= chance for x in values)
        said.append(f"When the simple blocks of these hybrids are skipped the loss is "
                    f"{min(values):.2f} to {max(values):.2f} (chance {chance:.2f}, reached or "
                    f"passed by {above} of {len(values)}).")
    return " ".join(said)


def recall_paragraph(rows, size):
    accuracy = grouped(rows, "recall_accuracy", "recall", size)
    steps = grouped(rows, "solved_step", "recall", size)
    if not accuracy:
        return ""

    def full(attn, layout):
        return attn if layout == "uniform" else f"{attn} (even)"
    always, never, some = [], [], []
    for key, values in accuracy.items():
        share = len(steps.get(key, [])) / len(values)
        (always if share == 1 else some if share else never).append(full(*key))
    said = [f"Recall was solved by {names(always)}"]
    if some:
        said.append(f", with some seeds only by {names(some)}")
    said.append(f"; by no seed of {names(never)}." if never else ".")
    return "".join(said)


def summary(rows):
    """The tables over seeds, then one paragraph."""
    found = {(r["size"], kind(r)) for r in rows if r["task"] == "text"}
    sizes = ("tiny", "small", "10m", "70m")
    groups = [(size, of_kind) for size in sizes for of_kind in sorted({k for _, k in found},
                                                                     key=lambda k: k != "bytes")
              if (size, of_kind) in found]
    tables = [text_table(rows, *group) for group in groups]
    recalls = sorted({r["size"] for r in rows if r["task"] == "recall"})
    tables += [recall_table(rows, size) for size in recalls]
    first = [group for group in groups if group[0] == groups[0][0]]
    paragraphs = [text_paragraph(rows, *group) for group in first]
    paragraphs += [recall_paragraph(rows, size) for size in recalls[:1]]
    return "\n\n".join(part for part in tables + paragraphs if part)
