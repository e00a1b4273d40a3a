"""One run of a sweep: train, measure, and leave the results in FOLDER/runs/NAME.

do() continues wherever the last call stopped, and does nothing to a run that is done. Whatever
kills it, a later call ends in the same results: training resumes from its checkpoint bit for bit,
and every other file is complete or absent.
"""

import contextlib
import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

from common import Refused, line, reason as why, write
from presets import ROOT, SETTINGS, WHOLE

SOLVED = 0.995          # the accuracy at which recall counts as solved: it rounds to 1.00
ENDED = (0, 130, 143, -signal.SIGTERM)      # the codes of a program that was not in error
POLL = 0.1              # seconds between looks at a child
PARENT = "ATTNVAR_SWEEP_PID"    # the sweep that must live as long as the run, if there is one
# What trains: both take the same options and leave the same files.
ENGINES = {"c": [os.path.join(ROOT, "train_attnvar")],
           "torch": [os.environ.get("ATTNVAR_PYTHON", sys.executable),
                     os.path.join(ROOT, "dev", "scale", "attnvar_torch.py"), "--bf16", "--compile"]}


class Stopped(Exception):
    """By a signal, or because the sweep that started this run is gone."""


class Failed(Exception):
    """What the program said."""


def path_of(folder, name, *more):
    return os.path.join(os.path.abspath(folder), "runs", name, *more)


def write_json(path, value, indent=None):
    write(path, json.dumps(value, indent=indent) + "\n")


@contextlib.contextmanager
def sound(path):
    """Where a run's file is not as it was written, its reader fails in one of these ways."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError,
            csv.Error):
        raise Refused(f"{path}: damaged: delete this run's folder and repeat the command"
                      ) from None


def read_json(path, **members):
    """An object with at least these members, each of its type; None if there is no file."""
    with sound(path):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                value = json.load(file)
        except FileNotFoundError:
            return None
        if not isinstance(value, dict) or \
                not all(isinstance(value[name], kind) for name, kind in members.items()):
            raise ValueError
        return value


def prepare(folder, run):
    """Writes run.json, which is all that do() needs to know."""
    os.makedirs(path_of(folder, run["name"]), exist_ok=True)
    path = path_of(folder, run["name"], "run.json")
    if read_json(path) != run:
        write_json(path, run, indent=1)


def outcome(folder, run):
    """("done", ""), ("failed", why) or (None, ""): never begun, or not finished."""
    done = read_json(path_of(folder, run["name"], "done.json"), measures=dict)
    if done and all(done["measures"].get(name) == args for name, args in run["measures"].items()):
        return "done", ""
    failed = read_json(path_of(folder, run["name"], "failed.json"), error=str)
    return ("failed", failed["error"]) if failed else (None, "")


# ---- what log.csv says ---------------------------------------------------------------------------

def read_log(folder, name):
    """Its complete rows as dictionaries of numbers; a missing value is None."""
    path = path_of(folder, name, "log.csv")
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            lines = file.read().split("\n")[:-1]        # a line still being written has no end
    except OSError:
        return []
    with sound(path):
        rows = [{key: float(value) if value else None for key, value in row.items()}
                for row in csv.DictReader(lines)]
        for row in rows:
            known = {"tokens_per_second", "val_loss", "val_accuracy"} <= row.keys()
            if not known or int(row["step"]) < 0 or row["loss"] is None:
                raise ValueError
        return rows


def solved_step(rows):
    """The first step from which every validation was solved, or None."""
    first = None
    for row in rows:
        if row["val_accuracy"] is not None:
            if row["val_accuracy"] < SOLVED:
                first = None
            elif first is None:
                first = int(row["step"])
    return first


def recorded(rows, settings):
    """(the rows that count, whether the run is over). It is over at its last step, or after
    `patience` solved validations in a row. This depends on the rows alone, not on when
    the program was stopped, so the results are the same however that went."""
    streak = 0
    for i, row in enumerate(rows):
        if row["val_accuracy"] is not None:
            streak = streak + 1 if row["val_accuracy"] >= SOLVED else 0
        if row["step"] == settings["steps"] or 0 < settings["patience"] == streak:
            return rows[:i + 1], True
    return rows, False


# ---- children ------------------------------------------------------------------------------------

class Worker:
    def __init__(self, folder, name, threads):
        self.folder, self.name, self.threads = folder, name, threads
        self.stop = False
        path = path_of(folder, name, "run.json")
        self.run = read_json(path, name=str, settings=dict, measures=dict)
        if self.run is None:
            raise Refused(f"{path}: not there: expected the name of a run that a sweep prepared; "
                          "deconstruct.py --list shows them")
        with sound(path):
            for setting in SETTINGS:
                self.run["settings"][setting]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)

    def on_signal(self, number, frame):
        self.stop = True

    def at(self, *names):
        return path_of(self.folder, self.name, *names)

    def stopped(self):
        parent = os.environ.get(PARENT)
        return self.stop or bool(parent and os.getppid() != int(parent))

    def lock(self):
        """The children hold it, too: a run that outlived its sweep is not disturbed."""
        self.held = open(self.at("run.lock"), "w")   # `lock` is the training program's
        while not self.stopped():
            try:
                fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(POLL)
            except OSError:             # a file system without locks
                return
        raise Stopped

    def call(self, arguments, output, over=lambda: False, threads=True):
        """Runs a program to its end, or until over(). Returns its exit code and what it said."""
        arguments = arguments + ["--threads", str(self.threads)] * threads
        environment = dict(os.environ, OMP_NUM_THREADS=str(self.threads))
        with open(self.at("stderr.txt"), "w+", encoding="utf-8", errors="replace") as errors:
            child = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=output,
                                     stderr=errors, stdin=subprocess.DEVNULL,
                                     pass_fds=[self.held.fileno()])
            asked = False
            while True:
                try:
                    code = child.wait(POLL)
                    break
                except subprocess.TimeoutExpired:
                    if not asked and (self.stopped() or over()):
                        child.send_signal(signal.SIGTERM)
                        asked = True
            errors.seek(0)
            said = [line.strip() for line in errors if line.strip()]
        os.remove(self.at("stderr.txt"))
        if self.stopped():
            raise Stopped
        return code, said[-1] if said else reason(code)

    # ---- training --------------------------------------------------------------------------------

    def train_command(self):
        s = self.run["settings"]
        names = ["attn", "layout", "size", "layers", "dim", "heads", "kv_heads", "ffn", "seq",
                 "batch", "steps", "lr", "min_lr", "warmup", "beta2", "seed", "data", "val",
                 "pairs", "vocab", "eval_every", "eval_batches"]
        command = []
        for name in names:
            if s[name] is not None:
                value = str(int(s[name])) if name in WHOLE else str(s[name])
                command += ["--" + name.replace("_", "-"), value]
        return command + (["--qk-norm"] if s["qk_norm"] else [])

    def train(self):
        s = self.run["settings"]
        common = ENGINES[s["engine"]] + ["--out", self.at(), "--sample", "0", "--save-every", "100"]
        last_size = [-1]

        def over():
            size = os.path.getsize(self.at("log.csv")) if os.path.exists(self.at("log.csv")) else 0
            if not s["patience"] or size == last_size[0]:
                return False
            last_size[0] = size
            return recorded(read_log(self.folder, self.name), s)[1]

        tries = [self.train_command() + ["--force"]]
        if all(os.path.exists(self.at(f)) for f in ("model.safetensors", "optim.safetensors")):
            tries.insert(0, ["--resume"])       # a checkpoint that is damaged: from the beginning
        for more in tries:
            with open(self.at("train.txt"), "w") as output:
                code, said = self.call(common + more, output, over)
            if code in ENDED and recorded(read_log(self.folder, self.name), s)[1]:
                write_json(self.at("trained.json"), {"threads": self.threads})
                return
        raise Failed(said if code not in ENDED else "the training was stopped before its last step")

    # ---- measuring -------------------------------------------------------------------------------

    def measure_on_gpu(self, args):
        """It leaves its files in the run's folder by itself."""
        program = os.path.join(ROOT, "dev", "scale", args[0] + ".py")
        with open(os.devnull, "w") as output:
            code, said = self.call(ENGINES["torch"][:1] + [program, self.at()] + args[1:], output,
                                   threads=False)
        if code:
            raise Failed(f"{args[0]}: {said}")

    def measure(self, name, args):
        if args[0] == "measure_torch":
            self.measure_on_gpu(args)
            return
        words = [os.path.join(ROOT, "dev", "tools", args[0]), self.at()] + args[1:] + ["--json"]
        words = [self.at("maps") if word == "maps" else word for word in words]
        with open(self.at("stdout.txt"), "w+", encoding="utf-8", errors="replace") as output:
            code, said = self.call(words, output)
            output.seek(0)
            text = output.read()
        os.remove(self.at("stdout.txt"))
        if code:
            raise Failed(f"{args[0]}: {said}")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Failed(f"{args[0]}: printed no JSON object")
        if name == "inspect-maps.json":
            value["maps"] = self.read_maps()
        write_json(self.at(name), value)

    def read_maps(self):
        maps = []
        for file in os.listdir(self.at("maps")):
            layer, head, kind = file.split(".", 2)
            if kind != "csv":               # half-written when somebody was killed
                continue
            with open(self.at("maps", file)) as lines:
                rows = [[float(x) for x in line.split(",")] for line in lines]
            maps.append({"layer": int(layer[5:]), "head": int(head[4:]), "rows": rows})
        return sorted(maps, key=lambda m: (m["layer"], m["head"]))

    def do(self):
        self.lock()
        if outcome(self.folder, self.run)[0] == "done":
            return
        if os.path.exists(self.at("failed.json")):
            os.remove(self.at("failed.json"))
        if not os.path.exists(self.at("trained.json")):
            self.train()
        done = read_json(self.at("done.json"), measures=dict) or {"measures": {}}
        done = done["measures"]
        for name, args in self.run["measures"].items():
            if done.get(name) != args:
                self.measure(name, args)
        write_json(self.at("done.json"), {"measures": {**done, **self.run["measures"]}}, indent=1)


def reason(code):
    if code >= 0:
        return f"exit code {code}"
    return f"killed by signal {-code} ({signal.Signals(-code).name})"


def do(folder, name, threads):
    """What --one does. Returns the exit code: 0 done, 1 failed, 130 stopped."""
    worker = Worker(folder, name, threads)
    try:
        worker.do()
        print(f"done {name}")
        return 0
    except Stopped:
        print(f"stopped {name}")
        return 130
    except Exception as error:          # whatever it is, the sweep shows it and goes on
        known = isinstance(error, (Failed, Refused))
        said = why(error) if isinstance(error, OSError) else str(error) if known else repr(error)
        with contextlib.suppress(OSError):      # a full disk: the sweep says so
            write_json(worker.at("failed.json"), {"error": said})
        print(line(f"failed {name}: {said}"))
        return 1
