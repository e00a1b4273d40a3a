#!/usr/bin/env python3
"""Tests of dev/experiments: python3 dev/test/test_experiments.py [--long]. Sweeps of tiny runs are
killed at random and repeated, made to fail, run side by side; what they leave is compared with an
undisturbed sweep. Needs the built programs (make train_attnvar tools). --long kills more often."""

import csv
import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXPERIMENTS = os.path.join(ROOT, "dev", "experiments")
PROGRAM = os.path.join(EXPERIMENTS, "deconstruct.py")
sys.path.insert(0, EXPERIMENTS)
os.environ["OMP_WAIT_POLICY"] = "passive"

import display
import gather
import onerun
import presets
import slurm

TIMES = ("seconds", "tokens_per_second")
ONLY = ["--only", "standard-uniform", "--only", "mlp-even", "--only", "nonapprox-even"]
LONG = "--long" in sys.argv[1:]


def command(folder, *more, preset="quick", steps=6):
    return [sys.executable, PROGRAM, preset, "--folder", folder, "--steps", str(steps), "--data",
            "in.txt", "--val", "val.txt", *more]


def sweep(folder, *more, **how):
    done = subprocess.run(command(folder, *ONLY, *more, **how), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    return done.returncode, done.stdout


def table(folder, without=TIMES):
    with open(os.path.join(folder, "results.csv"), newline="") as file:
        return [{key: value for key, value in row.items() if key not in without}
                for row in csv.DictReader(file)]


def details(folder):
    with open(os.path.join(folder, "details.json"), encoding="utf-8") as file:
        return json.load(file)["runs"]


def same(a, b, without=TIMES):
    assert table(a, without) == table(b, without), (table(a, without), table(b, without))
    assert details(a) == details(b), "details.json differs"


def metadata(folder, run):
    """What the program itself wrote down about a run."""
    with open(os.path.join(folder, "runs", run, "model.safetensors"), "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))["__metadata__"]


def children(pid):
    """The ids of a process's descendants."""
    out = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, check=True,
                         universal_newlines=True).stdout
    pairs = [tuple(map(int, line.split())) for line in out.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in pairs if of == parent]
    return found[1:]


def end_by_itself():
    code, said = sweep("plain")
    assert code == 0, said
    rows = table("plain")
    assert [row["status"] for row in rows] == ["done"] * 3, rows
    assert said.count("[3/3]") == 1 and "results     plain/results.csv" in said, said
    for row in rows:
        assert row["last_step"] == "6" and 2 < float(row["val_loss"]) < 6, row
        assert (row["skip_blocks"] != "") == (row["layout"] == "even"), row
    inspect = details("plain")[rows[0]["run"]]
    assert len(inspect["maps"]) == 16 and len(inspect["inspect"]["indicators"]) == 4
    for i, weights in enumerate(inspect["maps"][0]["rows"]):
        assert abs(sum(weights) - 1) < 0.02 and not any(weights[i + 1:]), weights


def settings_are_right():
    """Every setting in the table is the one that the program kept with the model."""
    for row in table("plain"):
        kept = metadata("plain", row["run"])
        for name in ("layers", "dim", "heads", "kv-heads", "ffn", "seq", "batch", "steps", "lr",
                     "min-lr", "warmup", "seed", "qk-norm"):
            mine = row[name.replace("-", "_")]
            assert float(mine) == float(kept[name]), (row["run"], name, mine, kept[name])
        letters = {"standard": "SSSS", "mlp": "MSMS", "nonapprox": "NSNS"}[row["attn"]]
        assert kept["layout"] == letters and kept["size"] == row["size"]


def sizes_are_the_programs():
    table_of = presets.sizes()
    assert table_of["tiny"]["layers"] == 4 and table_of["10m"]["dim"] == 384
    names = [run["name"] for preset in presets.PRESETS if not preset.startswith("scale")
             for run in presets.plan(preset)]
    assert len(presets.plan("quick")) == 26 and len(presets.plan("paper")) == len(
        {run["name"] for run in presets.plan("paper")}), names


def floors_are_the_programs():
    said = subprocess.run([os.path.join(ROOT, "train_attnvar"), "--data", "in.txt", "--val",
                           "val.txt", "--steps", "0", "--sample", "0", "--eval-batches", "1"],
                          stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    theirs = re.search(r"unigram ([\d.]+), bigram ([\d.]+)", said).groups()
    path = os.path.abspath
    mine = gather.floors(path("in.txt"), path("val.txt"), 16 * 128, 256)
    assert [f"{x:.4f}" for x in mine] == list(theirs), (mine, theirs)


def nothing_is_repeated():
    def stamps():
        return {path: os.stat(path).st_mtime_ns for at, _, files in os.walk("plain/runs")
                for path in (os.path.join(at, file) for file in files)}
    before, csv_before = stamps(), table("plain", ())
    code, said = sweep("plain")
    assert code == 0 and "3 of 3 runs were done before" in said, said
    assert stamps() == before and table("plain", ()) == csv_before


def changes_are_other_runs():
    def listed(*more, **how):
        out = subprocess.run(command("plain", "--list", *more, **how), stdout=subprocess.PIPE,
                             check=True, universal_newlines=True).stdout
        return [line.split()[0] for line in out.splitlines()].count("done")
    assert listed() == 3 and listed(steps=7) == 0
    os.rename("in.txt", "kept.txt")
    with open("kept.txt", "rb") as old, open("in.txt", "wb") as new:
        new.write(old.read()[:-1] + b"!")
    try:
        assert listed() == 0, "other data, the same run"
    finally:
        os.replace("kept.txt", "in.txt")


def jobs_change_nothing():
    code, said = sweep("jobs", "--jobs", "1", "--threads", "2")
    assert code == 0, said
    same("plain", "jobs", TIMES + ("threads",))


def kill_once(folder, rng, seconds):
    """Starts the sweep and ends it, or a process of its, in some way after some time."""
    p = subprocess.Popen(command(folder, *ONLY), stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    try:
        p.wait(seconds * rng.random())
        return
    except subprocess.TimeoutExpired:
        pass
    victims = children(p.pid)
    way = rng.choice(["kill", "interrupt", "terminate", "below"])
    if way == "below" and victims:
        try:
            os.kill(rng.choice(victims), signal.SIGKILL)
        except ProcessLookupError:
            pass
        p.wait()
        return
    p.send_signal({"kill": signal.SIGKILL, "interrupt": signal.SIGINT}.get(way, signal.SIGTERM))
    p.wait()


def killing_changes_nothing():
    rng = random.Random(time.time_ns() if LONG else 5)
    for sweeps in range(6 if LONG else 1):
        folder = f"killed{sweeps}"
        for _ in range(10 if LONG else 4):
            kill_once(folder, rng, 2.5)
        code, said = sweep(folder)
        assert code == 0, said
        same("plain", folder)
        left = [file for at, _, files in os.walk(folder) for file in files if ".tmp" in file]
        assert not [f for f in left if not re.search(r"\.\d+\.tmp$", f)], left


def failure_is_shown_and_the_rest_goes_on():
    name = table("plain")[1]["run"]
    obstacle = os.path.join("fails", "runs", name, "log.csv")
    os.makedirs(obstacle)
    open(os.path.join(obstacle, "x"), "w").close()
    code, said = sweep("fails")
    rows = table("fails")
    assert code == 1 and f"failed      {name}: " in said, said
    assert [row["status"] for row in rows] == ["done", "failed", "done"], rows
    assert "log.csv" in rows[1]["error"] and rows[1]["val_loss"] == "", rows[1]
    shutil.rmtree(obstacle)
    code, said = sweep("fails")
    assert code == 0 and "2 of 3 runs were done before" in said, said
    same("plain", "fails")


def recall_ends_when_solved():
    """One pair and one query: solved at once; the same however often the run is stopped."""
    grid = presets.Grid()
    grid.add("standard", "uniform", "recall", task="recall", pairs=1, seq=8, steps=3000, patience=3,
             eval_every=10, lr=1e-2, batch=32)
    run, = grid.runs.values()
    ends = []
    for folder, kills in (("once", 0), ("often", 3)):
        onerun.prepare(folder, run)
        one = [sys.executable, PROGRAM, "--folder", folder, "--threads", "1", "--one", run["name"]]
        for _ in range(kills):
            p = subprocess.Popen(one, stdout=subprocess.DEVNULL)
            time.sleep(0.3)
            p.terminate()
            p.wait()
        assert subprocess.run(one, stdout=subprocess.DEVNULL).returncode == 0
        row, = gather.gather(folder, "recall", [run], "")
        ends.append({key: value for key, value in row.items() if key not in TIMES})
    assert ends[0] == ends[1], ends
    assert float(ends[0]["recall_accuracy"]) == 1 and ends[0]["last_step"] < 3000, ends
    assert ends[0]["last_step"] - ends[0]["solved_step"] == 20, ends


def the_rule_that_ends_recall():
    def rows(*accuracies):
        return [{"step": 10.0 * (i + 1), "val_accuracy": a} for i, a in enumerate(accuracies)]
    s = {"steps": 70, "patience": 2}
    assert onerun.recorded(rows(0.5, 1, 0.9, 1, 1, 1, 1), s) == (rows(0.5, 1, 0.9, 1, 1), True)
    assert onerun.recorded(rows(0.5, None, 1, 0.9), s) == (rows(0.5, None, 1, 0.9), False)
    assert onerun.recorded(rows(1, 0, 1, 0, 1, 0, 1, 1), s)[1]
    assert len(onerun.recorded(rows(1, 0, 1, 0, 1, 0, 1, 1), s)[0]) == 7
    assert not onerun.recorded(rows(1, 1, 1), {"steps": 70, "patience": 0})[1]
    assert onerun.solved_step(rows(0.5, 1, 0.9, 1, 1)) == 40
    assert onerun.solved_step(rows(1, 1, 0.9)) is None


def the_paragraph_follows_the_data():
    def row(attn, layout, loss, skip=""):
        return {"task": "text", "size": "tiny", "attn": attn, "layout": layout, "val_loss": loss,
                "skip_blocks": skip, "qk_norm": 0, "kv_heads": 4, "heads": 4, "status": "done",
                "layers": 4, "bigram_floor": "2.5", "vocab": "", "chance_loss": "5.545177"}
    rows = [row("standard", "uniform", "1.9"), row("mlp", "uniform", "2.52"),
            row("nonapprox", "uniform", "2.4"), row("approx", "uniform", "2.1"),
            row("mlp", "even", "1.95", "6.0"), row("nonapprox", "even", "2.45", "5.0")]
    said = display.summary(rows)
    assert "nonapprox is the worst alone (2.400)" in said and "and no more" in said, said
    assert "1 of 2 improve (mlp)" in said and "passed by 1 of 2" in said, said
    rows[2]["val_loss"], rows[1]["val_loss"] = "2.0", "2.3"
    said = display.summary(rows)
    assert "approx is the worst alone (2.100)" in said and "no more" not in said, said


def bad_input_is_refused():
    for words, parts in [
            (["quik"], ["'quik'", "quick, recall, table, paper"]),
            ([], ["no preset"]),
            (["quick", "--jobs", "0"], ["--jobs", "'0'", "1 or more"]),
            (["quick", "--jbos", "2"], ["--jbos", "--help"]),
            (["quick", "--only", "nothing"], ["nothing", "--list"]),
            (["quick", "--data", "none.txt"], ["none.txt"]),
            (["quick", "--folder", "in.txt"], ["in.txt"]),
            (["quick", "--list", "--folder", "in.txt"], ["in.txt", "no folder"]),
            (["quick", "--seeds", "1000000000", "--list"], ["--seeds", "1,000"]),
            (["quick", "--only", "mlp", "--only", "nothing", "--list"], ["nothing"]),
            (["quick", "--slurm-options", "--x=1"], ["--slurm-options without --slurm"]),
            (["recall", "--data", "in.txt", "--list"], ["--data", "recall", "quick, table"]),
            (["scale-tiny", "--val", "val.txt", "--list"], ["--val", "scale-tiny"]),
            (["quick", "--list", "--gather"], ["--list", "--gather"]),
            (["quick", "--gather", "--slurm"], ["--gather", "--slurm"]),
            (["quick", "--list", "--jobs", "2"], ["--list", "--jobs"]),
            (["--one", "x", "--folder", "plain", "--seeds", "2"], ["--one", "--seeds"]),
            (["--one", "x", "--folder", "in.txt"], ["in.txt", "no folder"]),
            (["--one", "x"], ["--folder"]),
            (["--one", "x", "--folder", "plain"], ["run.json", "--list"])]:
        done = subprocess.run([sys.executable, PROGRAM, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, universal_newlines=True)
        said = done.stderr.strip()
        assert done.returncode == 1 and len(said.splitlines()) == 1, (words, said)
        assert all(part in said for part in parts), (words, said)


def tokens_are_read():
    """A sweep on tokens: the program's own losses and floors, bits a byte, tokens of the maps."""
    words = ["--only", "1024-standard-uniform", "--only", "1024-mlp-even"]
    done = subprocess.run([sys.executable, PROGRAM, "quick", "--folder", "tokens", "--steps", "4",
                           *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True)
    assert done.returncode == 0 and "nats a token" in done.stdout, done.stdout
    rows = table("tokens")
    assert [row["vocab"] for row in rows] == ["1024"] * 2 and rows[1]["skip_blocks"], rows
    bytes_each = float(rows[0]["val_loss"]) / 0.693147 / float(rows[0]["bits_per_byte"])
    assert 2.4 < bytes_each < 3, rows
    run = details("tokens")[rows[0]["run"]]
    assert "".join(run["maps"][0]["tokens"]) == presets.SENTENCE and run["sample"], run
    data, val = (os.path.join(ROOT, presets.CORPORA["tokens"][name]) for name in ("data", "val"))
    said = subprocess.run([os.path.join(ROOT, "train_attnvar"), "--data", data, "--val", val,
                           "--vocab", "1024", "--steps", "0", "--sample", "0", "--eval-batches",
                           "1"], stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    theirs = re.search(r"unigram ([\d.]+), bigram ([\d.]+)", said).groups()
    mine = gather.floors(data, val, 16 * 128, 1024)
    assert [f"{x:.4f}" for x in mine] == list(theirs), (mine, theirs)


def folders_go_together():
    """gather.py puts the results of several sweeps into one folder, for one report."""
    words = [sys.executable, os.path.join(EXPERIMENTS, "gather.py"), "merged"]
    done = subprocess.run(words + ["plain", "tokens", "plain"], stdout=subprocess.PIPE,
                          universal_newlines=True)
    assert done.returncode == 0 and done.stdout.startswith("5 runs"), done.stdout
    assert table("merged", ()) == table("plain", ()) + table("tokens", ())
    assert details("merged") == {**details("plain"), **details("tokens")}
    page = subprocess.run([sys.executable, os.path.join(EXPERIMENTS, "report.py"), "merged"],
                          stdout=subprocess.DEVNULL)
    assert page.returncode == 0
    for wrong in (["no folder"], []):
        done = subprocess.run(words + wrong, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr


def the_corpus_at_scale():
    """eltec.py's rule on a small file; what is not the checkout is refused."""
    import eltec
    body = ("<head> One </head><div><p>a  b\n c<note><p>n &amp; m</p></note>d</p><l>l1</l><p> </p>"
            "</div><p>caf\u00e9 <hi>x</hi></p>")
    os.makedirs("novels/level1")
    with open("novels/level1/n.xml", "w", encoding="utf-8") as file:
        file.write(f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><p>no</p></teiHeader><text>'
                   f"<front><p>no</p></front><body>{body}</body><back><p>no</p></back></text></TEI>")
    text = eltec.text_of("novels/level1/n.xml")
    assert text == "One\na b cn & md\nn & m\nl1\ncaf\u00e9 x\n\n", text
    shutil.copytree("novels", "wrong")
    for name in eltec.VALIDATION:
        shutil.copy("novels/level1/n.xml", f"wrong/level1/{name}.xml")
    for folder, part in (("none", "no such folder"), ("novels", "ENG18610_Eliot"),
                         ("wrong", "checksum")):
        done = subprocess.run([sys.executable, os.path.join(EXPERIMENTS, "eltec.py"), folder,
                               "--out", "made"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)
        assert done.returncode == 1 and part in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and not os.path.exists("made"), done.stderr


def another_engine():
    """A run trained by PyTorch's program: asked for with the same options, beside its own."""
    grid = presets.Grid()
    grid.add("standard", engine="torch", steps=3)
    run, = grid.runs.values()
    onerun.prepare("engine", run)
    worker = onerun.Worker("engine", run["name"], 1)
    words = onerun.ENGINES["torch"] + worker.train_command()
    assert words[1].endswith("attnvar_torch.py") and words[words.index("--steps") + 1] == "3", words
    there = os.path.exists(os.path.join(ROOT, presets.ELTEC))
    try:
        assert len(presets.plan("scale-10m")) == 39
    except presets.Refused as refused:
        assert "eltec.py" in str(refused) and not there, refused


MLP = ("--only", "text-tiny-mlp-u")


def one_line(words, *parts, code=1, limit=None, **how):
    """Starts a program that must end with one line on stderr, which names these parts."""
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          preexec_fn=small if limit else None, encoding="utf-8", **how)
    said = done.stderr.strip()
    assert done.returncode == code and len(said.splitlines()) == 1, (words, done)
    assert len(said) < 400 and all(part in said for part in parts), (parts, said)


def copied(folder):
    """A copy of a sweep of one run that ended well, and the folder of its run."""
    if not os.path.exists("single"):
        done = subprocess.run(command("single", *MLP, steps=2), stdout=subprocess.PIPE)
        assert done.returncode == 0, done
    shutil.copytree("single", folder)
    run, = os.listdir(os.path.join(folder, "runs"))
    return os.path.join(folder, "runs", run)


def gathering(folder):
    return command(folder, *MLP, "--gather", steps=2)


def left_over(folder):
    return [name for _, _, files in os.walk(folder) for name in files if ".tmp" in name]


def what_cannot_be_read_or_written_is_named():
    os.mkdir("blocked")
    open("blocked/runs", "w").close()           # root may write everywhere, but not below a file
    one_line(command("blocked", *MLP), "blocked/runs")
    one_line(command("blocked", *MLP, "--list"), "blocked/runs")
    one_line(command("blocked", *MLP, "--gather"), "blocked/runs")
    one_line([sys.executable, PROGRAM, "--folder", "blocked", "--one", "x"], "blocked/runs")
    copied("taken")
    os.remove("taken/results.csv")
    os.makedirs("taken/results.csv/x")
    one_line(gathering("taken"), "taken/results.csv: Is a directory")
    assert not left_over("taken")


def a_full_disk_leaves_no_temporary_file():
    """The limit of a file's size stands for the disk."""
    copied("full")
    before = table("full")
    one_line(gathering("full"), "full/results.csv: ", limit=100)
    one_line(gathering("full"), "full/details.json: ", limit=900)
    assert not left_over("full") and table("full") == before
    one_line(command("fuller", *MLP), "run.json: ", limit=100)
    assert not left_over("fuller")
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("full", "--list"), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"standard output: No space" in done.stderr, done
    assert len(done.stderr.splitlines()) == 1, done


def ctrl_c_is_one_line():
    """While a program loads its modules, and while it gathers."""
    os.mkdir("slow")
    with open("slow/csv.py", "w") as file:
        file.write("print('here', flush=True)\nimport time\ntime.sleep(60)\n")
    train = os.path.join(copied("stuck"), "train.txt")
    os.remove(train)
    os.mkfifo(train)
    one = os.path.join(EXPERIMENTS, "gather.py")
    for words, where in ((gathering("stuck"), "slow"), ([sys.executable, one], "slow"),
                         (gathering("stuck"), "")):
        p = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env=dict(os.environ, PYTHONPATH=where))
        if where:
            assert p.stdout.readline() == b"here\n"
        else:
            held = open(train, "wb")            # waits until it is read
        p.send_signal(signal.SIGINT)
        _, said = p.communicate(timeout=20)
        if not where:
            held.close()
        assert (p.returncode, said) == (130, b"interrupted\n"), (p.returncode, said)
    assert not left_over("stuck")


def several_gather_at_once():
    """The temporary file of one process is not another's."""
    copied("twice")
    for name in ("results.csv", "details.json", "report.html"):
        os.mkdir(f"twice/{name}.tmp")
    done = subprocess.run(gathering("twice"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0 and b"no report" not in done.stdout, done


def any_name_is_taken():
    """A byte that is not UTF-8 in a name; a locale, or an output, that knows only ASCII."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name, more in ((b"d\xff", {}), (b"d\xff", {"PYTHONIOENCODING": "ascii"}),
                       ("d\u00e9".encode(), {"PYTHONIOENCODING": "ascii"}),
                       ("e\u00e9".encode(), ascii_only)):
        shutil.copy("in.txt", name + b".txt")
        words = command(name, *MLP, steps=2)
        words[words.index("in.txt")] = name + b".txt"
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=dict(os.environ, **more))
        assert done.returncode == 0 and b"no report" not in done.stdout, (name, more, done)
        row, = table(name.decode(errors="surrogateescape"))
        assert row["parameters"] == "230720" and row["data"].endswith(".txt"), row
        merged = [sys.executable, os.path.join(EXPERIMENTS, "gather.py"), name + b"2", name]
        done = subprocess.run(merged, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=dict(os.environ, **more))
        assert done.returncode == 0, done


def files_of_a_run_that_are_gone():
    for name in ("train.txt", "trained.json", "eval.json", "log.csv"):
        os.remove(os.path.join(copied("gone"), name))
        done = subprocess.run(gathering("gone"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, b""), (name, done)
        row, = table("gone")
        assert row["status"] == "done" and (name != "train.txt" or row["parameters"] == ""), row
        shutil.rmtree("gone")


def files_of_a_wrong_shape():
    for name, texts in (("done.json", ("[1]", '{"measures": 1}', "[" * 99999)),
                        ("trained.json", ("[1]", '"x"')), ("eval.json", ("[]", "{}", "3")),
                        ("generate.json", ("{}",)), ("inspect-cost.json", ("{}",)),
                        ("log.csv", ("step,loss\n1,x\n", "a,b\n1,2\n", "step\n\xff\n"))):
        path = os.path.join(copied("shape"), name)
        listed = presets.plan("quick", 1, 2, os.path.abspath("in.txt"), os.path.abspath("val.txt"))
        run, = (one for one in listed if one["name"] in path)
        for text in texts:
            with open(path, "w") as file:
                file.write(text)
            try:
                gather.gather("shape", "quick", [run], "")
                raise AssertionError((name, text))
            except presets.Refused as refused:
                assert path in str(refused) and "damaged" in str(refused), refused
        if name in ("done.json", "eval.json"):
            one_line(gathering("shape"), name, "damaged")
        shutil.rmtree("shape")
    path = copied("shape")
    for text in ("[]", "{}", '{"name": "x", "settings": {}, "measures": {}}'):
        with open(os.path.join(path, "run.json"), "w") as file:
            file.write(text)
        one_line([sys.executable, PROGRAM, "--folder", "shape", "--one", os.path.basename(path)],
                 "run.json", "damaged")
    with open("shape/jobs.json", "w") as file:
        file.write('[{"name": "a", "job": 1, "runs": 3}]')
    try:
        slurm.read_jobs("shape")
        raise AssertionError("jobs.json")
    except presets.Refused as refused:
        assert "jobs.json" in str(refused)


def merging_keeps_and_checks():
    """gather.py overwrites no other results, and takes no table that is none."""
    words = [sys.executable, os.path.join(EXPERIMENTS, "gather.py")]
    copied("source")
    before = table("merged", ())
    assert len(before) == 5
    one_line(words + ["merged", "source"], "merged", "5, such as " + before[0]["run"])
    assert table("merged", ()) == before
    for _ in range(2):                          # a part of it, again
        subprocess.run(words + ["merged", "source", "merged"], stdout=subprocess.PIPE, check=True)
    assert len(table("merged")) == 6
    with open("source/details.json") as file:
        good = file.read()
    for text in ("[]", '{"runs": []}', '{"runs": {}, "machine": 3}', "3", '{"preset": []}'):
        with open("source/details.json", "w") as file:
            file.write(text)
        one_line(words + ["new", "source"], "source/details.json", "expected")
    with open("source/details.json", "w") as file:
        file.write(good)
    for content in (b"\x00\xff" * 9999, b"a,b\n1,2\n", b"", b"run,x\n"):
        with open("source/results.csv", "wb") as file:
            file.write(content)
        one_line(words + ["new", "source"], "source/results.csv")
    copied("strange")
    with open("strange/results.csv") as file:
        lines = file.read().splitlines()
    with open("strange/results.csv", "w") as file:
        file.write(f"{lines[0]},mine\n{lines[1]},1\n")
    one_line(words + ["new", "strange"], "'mine'")
    assert not os.path.exists("new") and len(table("merged")) == 6
    with open("merged/results.csv", "wb") as file:
        file.write(b"\xff\x00")
    copied("fine")
    one_line(words + ["merged", "fine"], "merged/results.csv")


def a_sweep_keeps_merged_results():
    """A folder with results whose runs are elsewhere."""
    os.mkdir("only")
    for name in ("results.csv", "details.json"):
        shutil.copy(os.path.join("plain", name), "only")
    one_line(command("only", *MLP), "only/results.csv", "would be lost", "--folder")
    one_line(gathering("only"), "only/results.csv", "would be lost")
    os.mkdir("only/runs")
    one_line(command("only", *MLP, steps=7), "only/results.csv", "would be lost")
    assert len(table("only")) == 3 and not os.listdir("only/runs")


def an_interrupted_sweep_counts_its_runs():
    p = subprocess.Popen(command("counted", *MLP, steps=10 ** 6), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, encoding="utf-8")
    until = time.time() + 20
    while time.time() < until and not any("log.csv" in files for _, _, files in os.walk("counted")):
        time.sleep(0.05)
    p.send_signal(signal.SIGINT)
    said, _ = p.communicate(timeout=60)
    assert p.returncode == 130 and "interrupted: 0 of 1 runs" in said, said


TESTS = [end_by_itself, settings_are_right, sizes_are_the_programs, floors_are_the_programs,
         nothing_is_repeated, changes_are_other_runs, jobs_change_nothing, killing_changes_nothing,
         failure_is_shown_and_the_rest_goes_on, recall_ends_when_solved,
         tokens_are_read, folders_go_together, the_corpus_at_scale, another_engine,
         what_cannot_be_read_or_written_is_named, a_full_disk_leaves_no_temporary_file,
         ctrl_c_is_one_line, several_gather_at_once, any_name_is_taken,
         files_of_a_run_that_are_gone, files_of_a_wrong_shape, merging_keeps_and_checks,
         a_sweep_keeps_merged_results, an_interrupted_sweep_counts_its_runs,
         the_rule_that_ends_recall, the_paragraph_follows_the_data, bad_input_is_refused]


def main():
    here, failed = os.getcwd(), 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, of, count in (("in.txt", "train", 20000), ("val.txt", "val", 4000)):
            with open(os.path.join(ROOT, "dev", "data", f"austen_{of}.txt"), "rb") as file:
                text = file.read(count)
            with open(name, "wb") as file:
                file.write(text)
        for test in TESTS:
            began = time.time()
            try:
                test()
            except Exception:                   # a failed test must not hide the others
                failed += 1
                print(f"FAIL  {test.__name__}")
                traceback.print_exc(limit=-2, file=sys.stdout)
            if LONG:
                print(f"{time.time() - began:6.1f} s  {test.__name__}", flush=True)
        os.chdir(here)
    print(f"experiments: {len(TESTS) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
