"""Reads what finished runs left and writes results.csv and details.json. It only reads runs, so it
may be called at any time, also while others are still at work.

    python3 dev/experiments/gather.py INTO FOLDER...

puts the two files of several folders together, for one report: of a run that several have, the last
folder's row counts.
"""

import common           # the first: Ctrl-C from here on is one line

import csv
import datetime
import functools
import io
import json
import math
import os
import platform
import re
import subprocess
import sys
from array import array
from collections import Counter

import onerun
import results
from common import Refused, write
from presets import ROOT, WHOLE

COLUMNS = ("run,preset,task,size,attn,layout,layers,dim,heads,kv_heads,ffn,seq,batch,steps,lr,"
           "min_lr,warmup,seed,qk_norm,pairs,data,vocab,engine,parameters,status,error,last_step,"
           "train_loss,val_loss,bits_per_byte,perplexity,skip_mixers,skip_blocks,recall_accuracy,"
           "solved_step,chance_loss,unigram_floor,bigram_floor,seconds,tokens_per_second,threads").split(",")
POINTS = 100            # of a training curve


# ---- floors --------------------------------------------------------------------------------------

def tokens_of(path, most=None):
    """The tokens of a file, the first `most` of them: a text's bytes, or a shard's numbers."""
    with open(os.path.join(ROOT, path), "rb") as file:
        head = array("i", file.read(12))
        if head[:2].tolist() not in ([20240520, 1], [20240801, 7]):
            file.seek(0)
            return file.read(-1 if most is None else most)
        tokens = array("H" if head[1] == 1 else "I")
        file.seek(1024)
        tokens.frombytes(file.read(-1 if most is None else most * tokens.itemsize))
        return tokens


@functools.lru_cache(maxsize=None)
def counts(path):
    """How often each token occurs, each pair; how many kinds of tokens follow each; all of them."""
    data = tokens_of(path)
    pairs = Counter(zip(data, data[1:]))
    return Counter(data), pairs, Counter(a for a, _ in pairs), len(data), data[-1]


@functools.lru_cache(maxsize=None)
def floors(data, val, tokens, vocab):
    """Mean of -ln p over the tokens that a validation scores, for a model that knows how often each
    token occurs in the training data, and for one that knows how often it follows the token before.
    As in train_attnvar, one is added to the counts of single tokens, and pairs back off to them by
    the number of different successors (Witten and Bell)."""
    single, pair, kinds, n, last = counts(data)
    scored = tokens_of(val, tokens + 1)
    p = {b: (single[b] + 1) / (n + vocab) for b in set(scored)}
    unigram = sum(k * -math.log(p[b]) for b, k in Counter(scored[1:]).items())
    def after(a, b):
        followed = single[a] - (a == last)
        return (pair[a, b] + kinds[a] * p[b]) / (followed + kinds[a]) if followed else p[b]
    bigram = sum(k * -math.log(after(a, b))
                 for (a, b), k in Counter(zip(scored, scored[1:])).items())
    return unigram / (len(scored) - 1), bigram / (len(scored) - 1)


@functools.lru_cache(maxsize=None)
def bytes_each(val, tokenizer, tokens):
    """The mean length in bytes of the tokens that a validation scores."""
    if not tokenizer:
        return 1
    with open(os.path.join(ROOT, tokenizer), encoding="utf-8", errors="replace") as file:
        length = [len(line.split()[0]) // 2 for line in file]
    scored = tokens_of(val, tokens + 1)[1:]
    return sum(length[token] for token in scored) / len(scored)


# ---- one run -------------------------------------------------------------------------------------

def number(value, digits=6):
    return "" if value is None else f"{value:.{digits}f}"


def parameters(folder, name):
    """What the training printed, or None."""
    try:
        with open(onerun.path_of(folder, name, "train.txt"), "rb") as file:
            found = re.search(rb"^parameters\s+(\d{1,18})\b", file.read(), re.M)
    except FileNotFoundError:
        return None
    return int(found.group(1)) if found else None


def speed(rows, settings):
    """Seconds of training alone and tokens a second, from each step's rate: also of a run that was
    interrupted. A step too short for the clock counts nothing."""
    tokens = settings["batch"] * settings["seq"]
    spent = sum(tokens / row["tokens_per_second"] for row in rows if row["tokens_per_second"])
    return spent, tokens * len(rows) / spent if spent else None


def trained_cells(folder, run):
    s, name = run["settings"], run["name"]
    rows, over = onerun.recorded(onerun.read_log(folder, name), s)
    if not rows:
        return {}
    last, (spent, rate) = rows[-1], speed(rows, s)
    cells = {"last_step": int(last["step"]), "train_loss": number(last["loss"]),
             "seconds": number(spent, 2), "tokens_per_second": number(rate, 0),
             "parameters": parameters(folder, name)}
    if over:
        cells["val_loss"] = number(last["val_loss"])
    if over and s["task"] == "recall":
        cells["recall_accuracy"] = number(last["val_accuracy"])
        cells["solved_step"] = onerun.solved_step(rows)
    trained = onerun.read_json(onerun.path_of(folder, name, "trained.json"))
    if trained:
        cells["threads"] = trained.get("threads")
    return cells


def measured(folder, run, name):
    """What an instrument printed, if this run wants it and it was measured. measure_torch.py leaves
    inspect.json beside eval.json."""
    beside = name == "inspect.json" and "--inspect" in run["measures"].get("eval.json", [])
    return onerun.read_json(onerun.path_of(folder, run["name"], name)) \
        if name in run["measures"] or beside else None


def evaluated_cells(folder, run):
    s = run["settings"]
    evaluation = measured(folder, run, "eval.json")
    if evaluation is None:
        return {}
    with onerun.sound(onerun.path_of(folder, run["name"], "eval.json")):
        by_skip = {result["skip"]: result for result in evaluation["results"]}
        whole = by_skip["none"]
        unigram, bigram = floors(s["data"], s["val"], whole["tokens"], s["vocab"] or 256)
        bits = whole.get("bits_per_byte")
        if bits is None:
            each = bytes_each(s["val"], s["tokenizer"], whole["tokens"])
            bits = whole["loss"] / math.log(2) / each
        return {"val_loss": number(whole["loss"]), "bits_per_byte": number(bits),
                "perplexity": number(whole["perplexity"]),
                "skip_mixers": number(by_skip.get("mixers", {}).get("loss")),
                "skip_blocks": number(by_skip.get("blocks", {}).get("loss")),
                "unigram_floor": number(unigram), "bigram_floor": number(bigram)}


def row_of(folder, preset, run):
    """A run's row of results.csv, or None if it has no result."""
    s = run["settings"]
    status, error = onerun.outcome(folder, run)
    if not status:
        return None
    row = {name: s.get(name) for name in COLUMNS}
    for name in WHOLE:
        if name in row and row[name] is not None:
            row[name] = int(row[name])
    row.update(run=run["name"], preset=preset, status=status, error=error,
               chance_loss=number(math.log(s["vocab"] or 256)))
    row.update(trained_cells(folder, run))
    if status == "done":
        row.update(evaluated_cells(folder, run))
    return {name: "" if value is None else value for name, value in row.items()}


def curve(rows):
    """[step, mean training loss since the last point, validation loss or None], so many points."""
    every, points, losses = max(1, len(rows) // POINTS), [], []
    for i, row in enumerate(rows):
        losses.append(row["loss"])
        if row["step"] % every == 0 or row["val_loss"] is not None or i == len(rows) - 1:
            points.append([int(row["step"]), round(sum(losses) / len(losses), 5), row["val_loss"]])
            losses = []
    return points


def details_of(folder, run):
    rows, _ = onerun.recorded(onerun.read_log(folder, run["name"]), run["settings"])
    details = {"curve": curve(rows)} if rows else {}
    if onerun.outcome(folder, run)[0] != "done":
        return details
    for name, part in (("eval.json", evaluated), ("eval-context.json", evaluated),
                       ("inspect.json", inspected), ("inspect-cost.json", costs),
                       ("inspect-maps.json", maps), ("generate.json", sampled)):
        value = measured(folder, run, name)
        if value is not None:
            with onerun.sound(onerun.path_of(folder, run["name"], name)):
                part(details, value)
    return details


# ---- parts of details.json, each from what one instrument printed --------------------------------

def evaluated(details, value):
    first = value["results"][0]
    if "loss_by_position" in first:
        details["loss_by_position"] = [round(x, 5) for x in first["loss_by_position"]]
    if "context" in first:
        details["context"] = [[c["context"], c["loss"]] for c in first["context"]]


def inspected(details, value):
    details["inspect"] = {name: x for name, x in value.items() if name != "checkpoint"}


def costs(details, value):
    if "inspect" in details:
        details["inspect"].update(batch=value["batch"], cost=value["cost"])


def maps(details, value):
    details["maps"] = [dict(m, tokens=value["tokens"],
                            rows=[[float(f"{x:.3g}") for x in r] for r in m["rows"]])
                       for m in value["maps"]]


def sampled(details, value):
    details["sample"] = value["text"]


# ---- the machine, and dev/bench ------------------------------------------------------------------

def machine():
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        pass
    try:
        compiler = subprocess.run(os.environ.get("CC", "cc").split() + ["--version"], check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  encoding="utf-8", errors="replace").stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        compiler = "unknown"
    return {"cpu": cpu, "cores": os.cpu_count(), "compiler": compiler,
            "system": f"{platform.system()} {platform.release()}"}


def time_per_token(folder):
    """The first table of `bench --mixers`: variant, T, B, then ns a token forward and backward."""
    try:
        with open(os.path.join(folder, "bench.txt"), encoding="utf-8", errors="replace") as file:
            lines = file.read().split("\n\n")
    except FileNotFoundError:
        return []
    table = next((part for part in lines if part.startswith("The mixers alone")), "")
    rows = [line.split() for line in table.splitlines()[2:]]
    try:
        return [{"attn": r[0], "T": int(r[1]), "forward_ns": float(r[3]),
                 "backward_ns": float(r[4])} for r in rows if len(r) >= 5 and r[1].isdigit()]
    except ValueError:
        raise Refused(f"{os.path.join(folder, 'bench.txt')}: damaged: delete it; the preset paper "
                      "measures it again") from None


# ---- the files -----------------------------------------------------------------------------------

def write_rows(folder, rows):
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="", extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    write(os.path.join(folder, "results.csv"), text.getvalue())


def write_details(folder, details):
    write(os.path.join(folder, "details.json"),
          json.dumps(details, separators=(",", ":"), ensure_ascii=False) + "\n")


def rows_of(folder):
    """{run: its row} of a results.csv that the report could draw."""
    path = os.path.join(folder, "results.csv")
    results.read_rows(path)
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictReader(file)
        strange = [name for name in table.fieldnames if name not in COLUMNS]
        if strange:
            raise Refused(f"{path}: found a column '{common.brief(strange[0])}'; expected the "
                          "columns that deconstruct.py writes")
        return {row["run"]: row for row in table}


def keep(folder, names):
    """A sweep writes the tables again, from the folders of its runs: refuses to where results.csv
    has runs without a folder, such as merged ones. Its own may lack theirs, but not all."""
    path = os.path.join(folder, "results.csv")
    if not os.path.isdir(os.path.join(folder, "runs")):
        names = ()
    try:
        lost = [name for name in rows_of(folder) if name not in names and
                not os.path.isdir(onerun.path_of(folder, name))]
    except Refused:                     # none, or damaged: it is written again
        return
    if lost:
        raise Refused(f"{path}: holds runs that are not in {os.path.join(folder, 'runs')} and "
                      f"would be lost ({len(lost)}, such as {common.brief(lost[0], 80)}): choose "
                      "another --folder, or delete the file")


def gather(folder, preset, runs, command):
    """Writes both files; returns the rows, which have the order of the preset."""
    rows = [row for row in (row_of(folder, preset, run) for run in runs) if row]
    write_rows(folder, rows)
    names = {row["run"] for row in rows}
    details = {"preset": preset, "command": command, "machine": machine(),
               "date": datetime.date.today().isoformat(),
               "runs": {run["name"]: details_of(folder, run) for run in runs
                        if run["name"] in names}}
    if time_per_token(folder):
        details["time_per_token"] = time_per_token(folder)
    write_details(folder, details)
    return rows


def details_in(folder):
    """details.json as it is, if the report could read it."""
    path = os.path.join(folder, "details.json")
    results.read_details(path)
    with open(path, encoding="utf-8", errors="replace") as file:
        details = json.load(file)
    if not isinstance(details.get("machine") or {}, (str, dict)):
        raise Refused(f"{path}: found {common.brief(json.dumps(details['machine']))} as machine; "
                      "expected an object")
    return details


def merge(into, folders):
    """Puts the results of several folders into one; returns how many rows there are."""
    rows, runs, whole = {}, {}, {"preset": [], "command": [], "machine": [], "date": []}
    times = None
    for folder in folders:
        rows.update(rows_of(folder))
        details = details_in(folder)
        runs.update(details.get("runs") or {})
        times = details.get("time_per_token") or times
        for name, values in whole.items():
            value = details.get(name) or ""
            if isinstance(value, dict):
                value = ", ".join(f"{key} {x}" for key, x in value.items())
            values += [value] if value not in values else []
    present = [name for name in ("results.csv", "details.json")
               if os.path.lexists(os.path.join(into, name))]
    lost = [name for name in (rows_of(into) if present else ()) if name not in rows]
    if lost:
        raise Refused(f"{into}: holds runs that are in none of the other folders and would be lost "
                      f"({len(lost)}, such as {common.brief(lost[0], 80)}): choose a new folder, "
                      f"or name {into} also among the others")
    os.makedirs(into, exist_ok=True)
    write_rows(into, rows.values())
    details = {**{name: "; ".join(filter(None, values)) for name, values in whole.items()},
               "runs": {name: runs[name] for name in rows if name in runs}}
    write_details(into, {**details, **({"time_per_token": times} if times else {})})
    return len(rows)


def main(words):
    if words in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if len(words) < 2 or any(word.startswith("-") for word in words):
        raise Refused("usage: python3 dev/experiments/gather.py INTO FOLDER...")
    print(f"{merge(words[0], words[1:])} runs in {words[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(common.ended("gather.py", main))
