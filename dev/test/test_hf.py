#!/usr/bin/env python3
"""test_hf.py: dev/tools/from_hf.py on models that transformers wrote (dev/test/hf).

    python3 -I dev/test/test_hf.py [PROGRAM [TOOLS]]     after make train_attnvar tools

Each model is converted, and its loss in eval_attnvar must be the one that transformers computed, to
1e-4. A converted model is trained from by --init, looked into and sampled from. The same model in
other ways of writing it (order of keys, order of bytes, metadata, shards) must give the same file.
Whatever the converter cannot express, and every damage, must end in one line on standard error and
exit code 1, with no file made or changed. The last line is "N passed, N failed".
"""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

TEST = Path(__file__).resolve().parent
HF, ROOT = TEST / "hf", TEST.parent.parent
SCRIPT = ROOT / "dev" / "tools" / "from_hf.py"
PROGRAM, TOOLS = ROOT / "train_attnvar", ROOT / "dev" / "tools"
LOSSES = json.loads((HF / "losses.json").read_text("ascii"))
QUICK = ["--threads", "1"]


def read_model(path):
    """(header, bytes of the data) of a .safetensors file."""
    raw = Path(path).read_bytes()
    length, = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8:8 + length]), raw[8 + length:]


def write_model(path, header, data):
    """Writes such a file; header may be text."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


class Case(unittest.TestCase):
    """A test in a folder of its own, in which m is a copy of a model."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hf"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.model("f32")

    def model(self, name):
        """A fresh copy of a model of dev/test/hf, called m."""
        shutil.rmtree("m", ignore_errors=True)
        shutil.copytree(HF / name, "m")

    def call(self, command, *words, **more):
        """(exit code, stdout, stderr) of a program."""
        done = subprocess.run([str(command), *map(str, words)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120, check=False, **more)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def convert(self, *words):
        """from_hf.py, which may import the standard library alone."""
        return self.call(sys.executable, "-I", "-S", "-B", SCRIPT, *words)

    def ok(self, result):
        """It must have succeeded without a word on stderr."""
        self.assertEqual((result[0], result[2]), (0, ""), result[1])
        return result[1]

    def refused(self, *parts, words=("m", "--out", "o")):
        """The conversion must fail in the one right way and change nothing."""
        def snapshot():
            return {str(path): path.read_bytes() if path.is_file() else None
                    for path in self.folder.rglob("*")}
        before = snapshot()
        with self.subTest(parts):
            status, said, message = self.convert(*words)
            self.assertEqual((status, said), (1, ""), message)
            self.assertRegex(message, r"\Afrom_hf\.py: error: [^\n]+\n\Z")
            self.assertNotRegex(message, "(Type|Name|Attribute|Index|Key|Value|Unbound\\w+|OS)Error")
            for part in parts:
                self.assertIn(part, message)
            self.assertEqual(snapshot(), before)

    def loss(self, folder):
        """eval_attnvar's loss on the tokens."""
        said = self.ok(self.call(TOOLS / "eval_attnvar", folder, "--data", HF / "tokens.bin",
                                 "--json", *QUICK))
        return json.loads(said)["results"][0]["loss"]


class Models(Case):
    """What transformers wrote, converted."""

    def test_losses(self):
        self.assertEqual(sorted(LOSSES), ["bf16", "f16_untied", "f32", "sharded"])
        for name, expected in LOSSES.items():
            with self.subTest(name):
                self.ok(self.convert(HF / name, "--out", name))
                self.assertLess(abs(self.loss(name) - expected), 1e-4)
                self.assertGreater(abs(expected - 4.1589), 0.5)         # far from ln V, which a model of zeros has
                self.assertEqual(sorted(os.listdir(name)), ["config.json", "model.safetensors"])
        self.assertGreater(len(list((HF / "sharded").glob("model-*.safetensors"))), 2)
        kinds = {name: {entry["dtype"] for path in (HF / name).glob("*.safetensors")
                        for key, entry in read_model(path)[0].items() if key != "__metadata__"}
                 for name in LOSSES}
        self.assertEqual(kinds, {"f32": {"F32"}, "bf16": {"BF16"}, "f16_untied": {"F16"},
                                 "sharded": {"F32"}})

    def test_every_value_is_exact(self):
        for name in LOSSES:
            self.ok(self.convert(HF / name, "--out", name))
            header, data = read_model(Path(name) / "model.safetensors")
            for path in (HF / name).glob("*.safetensors"):
                theirs, raw = read_model(path)
                for tensor, entry in theirs.items():
                    if tensor == "__metadata__":
                        continue
                    begin, end = entry["data_offsets"]
                    bits = raw[begin:end]
                    if entry["dtype"] == "BF16":
                        values = struct.unpack(f"<{len(bits) // 2}f", b"".join(
                            b"\0\0" + bits[i:i + 2] for i in range(0, len(bits), 2)))
                    else:
                        code, width = ("f", 4) if entry["dtype"] == "F32" else ("e", 2)
                        values = struct.unpack(f"<{len(bits) // width}{code}", bits)
                    begin, end = header[tensor]["data_offsets"]
                    self.assertEqual(struct.unpack(f"<{(end - begin) // 4}f", data[begin:end]), values)
                    self.assertEqual(header[tensor]["shape"], entry["shape"])

    def test_the_other_programs_take_it(self):
        data = ["--data", HF / "tokens.bin", "--val", HF / "tokens.bin"]
        for name in "f32", "sharded":
            self.ok(self.convert(HF / name, "--out", name))
            said = self.ok(self.call(TOOLS / "inspect_attnvar", name, "--data", HF / "tokens.bin",
                                     "--json", *QUICK))
            self.assertEqual(json.loads(said)["layers"], "SS")
            said = self.ok(self.call(TOOLS / "generate_attnvar", name, "--prompt-ids", "1,2",
                                     "--tokens", "5", "--check", "--json", *QUICK))
            self.assertEqual(len(json.loads(said)["tokens"]), 5)
            said = self.ok(self.call(PROGRAM, "--init", name, *data, "--steps", "20", "--lr", "1e-2",
                                     "--warmup", "0", "--log-every", "1", "--batch", "32", *QUICK))
            losses = [float(line.split()[3]) for line in said.splitlines()
                      if line.startswith("step") and "val loss" not in line]
            self.assertEqual(len(losses), 20)
            self.assertLess(abs(losses[0] - LOSSES[name]), 1)
            self.assertLess(losses[-1], losses[0] - 0.5)
            said = self.ok(self.call(PROGRAM, "--init", name, *data, "--steps", "1", "--layout", "NS",
                                     *QUICK))
            self.assertIn("skip mixers", said)

    def test_there_and_back(self):
        """A checkpoint of train_attnvar is a Qwen2 folder, and converting it changes no weight."""
        for options in [], ["--untied", "--kv-heads", "1", "--rope-base", "1e6"]:
            shutil.rmtree("run", ignore_errors=True)
            self.ok(self.call(PROGRAM, "--data", HF / "tokens.bin", "--val", HF / "tokens.bin", "--vocab",
                              "64", "--layers", "2", "--dim", "16", "--heads", "2", "--ffn", "24",
                              "--seq", "16", "--steps", "3", "--out", "run", *QUICK, *options))
            self.ok(self.convert("run", "--out", "o", "--force"))
            ours, theirs = (read_model(f"{name}/model.safetensors") for name in ("run", "o"))
            self.assertEqual(ours[1], theirs[1])
            self.assertEqual([list(ours[0]), list(ours[0]["__metadata__"])],
                             [list(theirs[0]), list(theirs[0]["__metadata__"])])
            changed = {key for key, value in ours[0]["__metadata__"].items()
                       if theirs[0]["__metadata__"][key] != value}
            self.assertLessEqual(changed, self.RUN)
            self.assertEqual(Path("run/config.json").read_bytes(), Path("o/config.json").read_bytes())
            self.assertEqual(self.loss("run"), self.loss("o"))

    # what a converted model cannot know of a run
    RUN = {"metadata", "step", "rng", "steps", "data", "val", "train-content", "val-content", "moments"}


class Writing(Case):
    """The same model, written otherwise, and what the converter writes."""

    def setUp(self):
        super().setUp()
        self.ok(self.convert("m", "--out", "expected"))
        self.expected = Path("expected/model.safetensors").read_bytes()

    def same(self, what):
        """m must be converted to the same file as before."""
        with self.subTest(what):
            self.ok(self.convert("m", "--out", "o", "--force"))
            self.assertEqual(Path("o/model.safetensors").read_bytes(), self.expected)

    def test_orders_and_metadata(self):
        path, (header, data) = "m/model.safetensors", read_model("m/model.safetensors")
        rand = random.Random(3)
        for _ in range(5):
            names = sorted(header)
            rand.shuffle(names)
            write_model(path, {name: header[name] for name in names}, data)
            self.same("the header's names in another order")
        for metadata in ({"total_size": 20000, "format": None}, {}, {"a": [1, {"b": 2.5}]}, None, 7):
            write_model(path, {**header, "__metadata__": metadata}, data)
            self.same(f"metadata {metadata}")
        del header["__metadata__"]
        write_model(path, header, data)
        self.same("no metadata")
        text = json.dumps({name: dict(reversed(list(entry.items())))
                           for name, entry in header.items()}, indent=2).replace("model", "\\u006dodel")
        write_model(path, "\n" + text + " \n\t ", data)
        self.same("white space, escapes, members in another order")
        moved, pieces, at = {}, [], 0
        for name in sorted(header, reverse=True):
            begin, end = header[name]["data_offsets"]
            moved[name] = {**header[name], "data_offsets": [at, at + end - begin]}
            pieces.append(data[begin:end])
            at += end - begin
        write_model(path, moved, b"".join(pieces))
        self.same("the tensors in another order")
        moved["model.layers.0.self_attn.rotary_emb.inv_freq"] = {
            "dtype": "F32", "shape": [2], "data_offsets": [at, at + 8]}
        write_model(path, moved, b"".join(pieces) + bytes(8))
        self.same("a constant that old software saved")
        del moved["model.layers.0.self_attn.rotary_emb.inv_freq"]
        begin, end = header["model.embed_tokens.weight"]["data_offsets"]
        moved["lm_head.weight"] = {**moved["model.embed_tokens.weight"],
                                   "data_offsets": [at, at + end - begin]}
        write_model(path, moved, b"".join(pieces) + data[begin:end])
        self.same("a tied model that holds its table twice")

    def test_configurations(self):
        path = Path("m/config.json")
        config = json.loads(path.read_text("utf-8"))
        for key in "rope_parameters", "rope_theta", "layer_types", "dtype", "torch_dtype":
            config.pop(key, None)
        for changes in ({"rope_theta": 10000}, {"rope_theta": 10000.0, "rope_scaling": None},
                        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
                        {"rope_scaling": {"type": "default"}}, {"head_dim": 4},
                        {"layer_types": ["full_attention"] * 2}, {"architectures": None},
                        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2},
                        {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
                        {"use_sliding_window": False, "sliding_window": 4, "max_window_layers": 0},
                        {"rms_norm_eps": 0.000001, "torch_dtype": "bfloat16"},
                        {"quantization_config": None}):
            path.write_text(json.dumps({**config, **changes}), "utf-8")
            self.same(changes)

    def test_long_sequences_and_force(self):
        path = Path("m/config.json")
        config = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps({**config, "max_position_embeddings": 32768}), "utf-8")
        self.assertIn("seq 2048 of 32768", self.ok(self.convert("m", "--out", "long")))
        self.assertIn("seq 16 of", self.ok(self.convert("m", "--out", "short", "--seq", "16")))
        self.assertEqual(self.loss("short"), self.loss("expected"))
        self.assertEqual(json.loads(Path("long/config.json").read_text("ascii"))
                         ["max_position_embeddings"], 2048)
        Path("short/optim.safetensors").write_bytes(b"old")
        Path("short/log.csv").write_bytes(b"old")
        Path("short/model.safetensors.tmp").write_bytes(b"old")
        self.refused("short holds a run already", "--force", words=("m", "--out", "short"))
        self.ok(self.convert("m", "--out", "short", "--force"))
        self.assertEqual(sorted(os.listdir("short")), ["config.json", "model.safetensors"])
        for words, *parts in (
                (("m",), "--out"), ((), "MODEL"), (("m", "--out", "o", "--colour"), "--colour", "--help"),
                (("m", "--out", "o", "--seq", "0"), "--seq"), (("m", "--out", "o", "--seq", "x"), "'x'"),
                (("m", "--out", "m"), "own folder"),
                (("none", "--out", "o"), "none: expected the folder"),
                (("m/config.json", "--out", "o"), "expected the folder"),
                (("m", "--out", "m/config.json"), "m/config.json")):
            self.refused(*parts, words=words)

    @unittest.skipUnless(hasattr(os, "fork"), "needs locks of POSIX")
    def test_a_folder_in_use(self):
        command = [PROGRAM, "--data", HF / "tokens.bin", "--val", HF / "tokens.bin", "--layers", "1",
                   "--dim", "8", "--heads", "1", "--ffn", "8", "--seq", "16", "--steps", "1000000",
                   "--log-every", "1", "--save-every", "1", "--out", "expected", "--force", *QUICK]
        with open("progress", "wb") as progress, subprocess.Popen(
                [str(word) for word in command], stdout=progress, stderr=progress) as run:
            try:
                while b"step     3" not in Path("progress").read_bytes() and run.poll() is None:
                    time.sleep(0.05)
                status, said, message = self.convert("m", "--out", "expected", "--force")
                self.assertIsNone(run.poll(), Path("progress").read_bytes()[-300:])
            finally:
                run.kill()
        self.assertEqual((status, said), (1, ""))
        self.assertRegex(message, r"\Afrom_hf\.py: error: [^\n]*another process is training there")
        self.ok(self.convert("m", "--out", "expected", "--force"))
        self.assertEqual(Path("expected/model.safetensors").read_bytes(), self.expected)
        self.assertFalse(list(Path("expected").glob("*.tmp")))

    @unittest.skipUnless(os.path.exists("/dev/full"), "needs /dev/full")
    def test_full_disk(self):
        import resource

        def limit():
            """No file may grow beyond this."""
            resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
        command = [sys.executable, "-I", "-S", "-B", SCRIPT, "m", "--out"]
        status, said, message = self.call(*command, "expected", "--force", preexec_fn=limit)
        self.assertEqual((status, said), (1, ""))
        self.assertRegex(message, r"\Afrom_hf\.py: error: [^\n]*File too large[^\n]*\n\Z")
        self.assertEqual(Path("expected/model.safetensors").read_bytes(), self.expected)
        self.assertEqual(sorted(os.listdir("expected")), ["config.json", "model.safetensors"])
        with open("/dev/full", "w") as full:
            done = subprocess.run([*map(str, command), "o"], stdout=full, stderr=subprocess.PIPE,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"\Afrom_hf\.py: error: [^\n]*No space left[^\n]*\n\Z")


class Refusals(Case):
    """Models that train_attnvar would compute differently, and damage."""

    def test_configuration(self):
        path = Path("m/config.json")
        config = json.loads(path.read_text("utf-8"))
        plain = {key: value for key, value in config.items() if key != "rope_parameters"}
        for changes, *parts in (
                ({"model_type": "llama"}, "model_type", "llama"), ({"model_type": None}, "model_type"),
                ({"model_type": "qwen3"}, "qwen3"), ({"model_type": "attnvar"}, "attnvar"),
                ({"architectures": ["Qwen2ForSequenceClassification"]}, "SequenceClassification"),
                ({"hidden_act": "gelu"}, "hidden_act", "gelu", "silu"),
                ({"rms_norm_eps": 1e-5}, "rms_norm_eps", "1e-05"), ({"rms_norm_eps": "1e-6"}, "eps"),
                ({"head_dim": 8}, "head_dim is 8", "= 4"), ({"head_dim": True}, "head_dim"),
                ({"attention_dropout": 0.1}, "attention_dropout"),
                ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config", "gptq"),
                ({"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1,
                  "layer_types": None}, "use_sliding_window"),
                ({"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 0,
                  "layer_types": None}, "config.json", "use_sliding_window"),
                ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types", "sliding"),
                ({"use_sliding_window": 1}, "use_sliding_window is 1"),
                ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_scaling", "yarn"),
                ({"rope_scaling": {"rope_type": "dynamic"}}, "rope_scaling", "dynamic"),
                ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "linear"),
                ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial"),
                ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
                ({"rope_scaling": "yarn"}, "rope_scaling"), ({"rope_theta": 0.5}, "rope_theta is 0.5"),
                ({"rope_theta": "1e4"}, "rope_theta"), ({"rope_theta": float("nan")}, "rope_theta"),
                ({"rope_theta": 1e10}, "rope_theta"), ({"hidden_size": 18}, "do not fit"),
                ({"hidden_size": 12}, "do not fit"), ({"num_key_value_heads": 3}, "do not fit"),
                ({"hidden_size": "16"}, "hidden_size"), ({"num_hidden_layers": 0}, "num_hidden_layers"),
                ({"num_hidden_layers": 257}, "257", "256"), ({"num_hidden_layers": 2.0}, "2.0"),
                ({"vocab_size": True}, "vocab_size is true"), ({"vocab_size": 1 << 23}, "vocab_size"),
                ({"max_position_embeddings": -1}, "max_position_embeddings is -1"),
                ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
                ({"num_hidden_layers": 3, "layer_types": None}, "no tensor model.layers.2.input_layernorm.weight"),
                ({"num_hidden_layers": 1, "layer_types": None}, "model.layers.1", "no place"),
                ({"vocab_size": 65}, "embed_tokens.weight has shape [64, 16]", "[65, 16]"),
                ({"intermediate_size": 25}, "gate_proj", "[24, 16]", "[25, 16]"),
                ({"tie_word_embeddings": False}, "lm_head.weight", "not tied")):
            base = plain if changes.keys() & {"rope_scaling", "rope_theta"} else config
            path.write_text(json.dumps({**base, **changes}), "utf-8")
            self.refused(*parts)
        for text, part in (("", "JSON"), ("[]", "expected a JSON object"), ("{", "config.json: damaged"),
                           ("[" * 200000, "nested"), ('{"a": 1, "a": 2}', "'a' occurs twice")):
            path.write_text(text, "utf-8")
            self.refused("config.json", part)
        path.write_bytes(b'{"model_type": "\xff"}')
        self.refused("config.json", "damaged")
        path.unlink()
        self.refused("config.json", "No such file")

    def test_tensors(self):
        path, (header, data) = "m/model.safetensors", read_model("m/model.safetensors")
        last = max((name for name in header if name != "__metadata__"),
                   key=lambda name: header[name]["data_offsets"])
        end = len(data)

        def without(name):
            """The header and data of a model that lacks a tensor."""
            begin, stop = header[name]["data_offsets"]
            size = stop - begin
            left = {key: {**entry, "data_offsets": [at - size * (at >= stop)
                                                    for at in entry["data_offsets"]]}
                    for key, entry in header.items() if key not in (name, "__metadata__")}
            return left, data[:begin] + data[stop:]
        bias = "model.layers.1.self_attn.k_proj.bias"
        for name, *parts in (
                (bias, "no tensor " + bias, "biases on q, k and v"),
                ("model.norm.weight", "no tensor model.norm.weight")):
            write_model(path, *without(name))
            self.refused("m: has", *parts)
        for name in ("model.layers.0.self_attn.o_proj.bias", "model.layers.0.self_attn.q_norm.weight",
                     "score.weight", "lm_head.bias"):
            write_model(path, {**header, name: {"dtype": "F32", "shape": [16],
                                                "data_offsets": [end, end + 64]}}, data + bytes(64))
            self.refused(name, "no place")
        table = header["model.embed_tokens.weight"]
        write_model(path, {**header, "lm_head.weight": {**table, "data_offsets": [end, end + 4096]}},
                    data + bytes(4096))
        self.refused("lm_head.weight differs", "ties")
        for dtype, size in ("I8", 1), ("F8_E4M3", 1), ("F64", 8), ("U8", 1):
            change = {**header[last], "dtype": dtype}
            begin = change["data_offsets"][0]
            count = (end - begin) // 4
            change["data_offsets"] = [begin, begin + count * size]
            write_model(path, {**header, last: change}, data[:begin] + bytes(count * size))
            self.refused(last, f"type {dtype}", "quantised")

    def test_values(self):
        path, (header, data) = "m/model.safetensors", read_model("m/model.safetensors")
        begin, _ = header["model.norm.weight"]["data_offsets"]
        for value in float("nan"), float("inf"), float("-inf"):
            write_model(path, header, data[:begin + 20] + struct.pack("<f", value) + data[begin + 24:])
            self.refused("element 5 of tensor model.norm.weight", "infinite or not a number")
        write_model(path, header, data[:begin] + struct.pack("<f", -3.4e38) + data[begin + 4:])
        self.ok(self.convert("m", "--out", "large"))
        for name, bits in ("bf16", 0x7f80), ("f16_untied", 0xfc00):
            self.model(name)
            header, data = read_model(path)
            begin, _ = header["model.norm.weight"]["data_offsets"]
            write_model(path, header, data[:begin] + struct.pack("<H", bits) + data[begin + 2:])
            self.refused("element 0 of tensor model.norm.weight")

    def test_damaged_headers(self):
        path = Path("m/model.safetensors")
        header, data = read_model(path)
        good = path.read_bytes()
        for raw, part in ((b"", "not a safetensors file"), (good[:7], "not a safetensors file"),
                          (good[:500], "not a safetensors file"), (good[:-1], "cut short"),
                          (good + b"x", "cut short"), (b"\xff" * 8 + good[8:], "not a safetensors file"),
                          (bytes(8) + good[8:], "not a safetensors file"),
                          (struct.pack("<Q", 1) + good[8:], "not a safetensors"),
                          (good[:8] + b"x" + good[9:], "damaged"), (good[:8] + b"\xff" + good[9:], "dam"),
                          (struct.pack("<Q", 99) + good[8:], "damaged")):
            path.write_bytes(raw)
            self.refused("model.safetensors", part)
        name = "model.norm.weight"
        entry = header[name]
        begin, end = entry["data_offsets"]
        for change in (7, None, [], {}, {**entry, "dtype": 3}, {**entry, "dtype": None},
                       {**entry, "shape": 16}, {**entry, "shape": [-16]}, {**entry, "shape": [16.0]},
                       {**entry, "shape": [True]}, {**entry, "shape": [17]}, {**entry, "shape": [4, 4]},
                       {**entry, "shape": [1 << 40, 1 << 40]}, {**entry, "shape": None},
                       {**entry, "data_offsets": [begin]}, {**entry, "data_offsets": [end, begin]},
                       {**entry, "data_offsets": [begin, end + 4]}, {**entry, "data_offsets": "ab"},
                       {**entry, "data_offsets": [begin - 4, end - 4]}, {**entry, "data_offsets": None},
                       {**entry, "data_offsets": [0, 1 << 70]}, {**entry, "data_offsets": [-1, end]},
                       {**entry, "data_offsets": [begin, float(end)]},
                       {**entry, "data_offsets": [begin, begin]}, {**entry, "dtype": "BF16"}):
            write_model(path, {**header, name: change}, data)
            self.refused("model.safetensors")
        text = json.dumps(header)
        write_model(path, text[:-1] + f', "{name}": {json.dumps(entry)}}}', data)
        self.refused("occurs twice", name)
        write_model(path, '{"a":' * 100000, data)
        self.refused("nested")
        rand, outcomes = random.Random(4), [0, 0]
        for _ in range(60):
            raw = bytearray(good)
            for _ in range(rand.choice((1, 1, 2, 4))):
                raw[rand.randrange(len(good) - len(data))] = rand.choice((0, 32, 34, 48, 57, 91, 125, 255))
            path.write_bytes(raw)
            status, said, message = self.convert("m", "--out", "o", "--force")
            outcomes[status] += 1
            if status:
                self.assertEqual(said, "")
                self.assertRegex(message, r"\Afrom_hf\.py: error: [^\n]+\n\Z")
                self.assertNotRegex(message, "(Type|Name|Attribute|Index|Key|Value)Error")
        self.assertGreater(outcomes[1], 40)

    def test_indices(self):
        index = Path("m/model.safetensors.index.json")
        self.model("sharded")
        text = json.loads(index.read_text("utf-8"))
        places = text["weight_map"]
        shards = sorted(set(places.values()))
        name = "model.norm.weight"
        other = next(shard for shard in shards if shard != places[name])
        for changed, *parts in (
                ({}, "weight_map"), ({"weight_map": []}, "weight_map"), ({"weight_map": {}}, "weight_map"),
                ({"weight_map": {**places, name: other}}, name, other),
                ({"weight_map": {**places, name: "../" + other}}, "same folder"),
                ({"weight_map": {**places, name: 5}}, "lies in 5"),
                ({"weight_map": {**places, name: "x.bin"}}, "x.bin"),
                ({"weight_map": {**places, name: "gone.safetensors"}}, "gone.safetensors", "No such"),
                ({"weight_map": {key: value for key, value in places.items() if key != name}}, name),
                ({"weight_map": {**places, "extra": other}}, "extra")):
            index.write_text(json.dumps(changed), "utf-8")
            self.refused(*parts)
        index.write_text(json.dumps({"metadata": {"total_size": None, "x": 1.5}, **{
            "weight_map": places}}), "utf-8")
        self.ok(self.convert("m", "--out", "good"))
        for content, part in ((b"", "damaged"), (b"[1]", "JSON object"), (b'{"weight_map": \xff}', "dam")):
            index.write_bytes(content)
            self.refused("index.json", part)
        index.write_text(json.dumps(text), "utf-8")
        os.unlink(f"m/{shards[0]}")
        self.refused(shards[0], "No such file")

    def test_other_weights(self):
        weights = Path("m/model.safetensors")
        weights.unlink()
        self.refused("expected model.safetensors")
        for other, *parts in (("pytorch_model.bin", "save_pretrained"), ("model.gguf", "gguf"),
                              ("adapter_model.safetensors", "merge")):
            Path("m", other).write_bytes(b"x")
            self.refused("expected model.safetensors", *parts)
            Path("m", other).unlink()
        weights.mkdir()
        self.refused("model.safetensors")


def main():
    """Runs all tests; the last line counts them."""
    global PROGRAM, TOOLS
    if sys.argv[1:]:
        PROGRAM = Path(sys.argv[1]).resolve()
    if sys.argv[2:]:
        TOOLS = Path(sys.argv[2]).resolve()
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    count = suite.countTestCases()
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    failed = {getattr(test, "test_case", test).id() for test, _ in result.failures + result.errors}
    print(f"{count - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
