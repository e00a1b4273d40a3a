#!/usr/bin/env python3
"""make_hf.py: Qwen2 models as Hugging Face's transformers writes them, and checks both ways.

    python3 dev/test/make_hf.py write [FOLDER]      writes the models and losses of dev/test/hf
    python3 dev/test/make_hf.py check [FOLDER]      converts them; needs make train_attnvar tools

Needs torch and transformers; dev/test/test_hf.py does not: it works with the files that are
committed. Every parameter is random and large, gains and biases too, so that none can be left out
or exchanged without a change of the loss. `check` compares four losses of each model to 1e-4: the
recorded one, that of transformers, that of eval_attnvar on what from_hf.py writes, and that of
transformers on what from_hf.py writes; it then goes around in a circle from a checkpoint that
train_attnvar trained. The last line is "N passed, N failed".
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HF = os.path.join(ROOT, "dev", "test", "hf")
SEQ, WINDOWS, VOCAB = 16, 16, 64

# name: type, size of a shard, what differs from the configuration below
MODELS = {
    "f32": (torch.float32, "1GB", {}),
    "bf16": (torch.bfloat16, "1GB", {"num_key_value_heads": 1}),
    "f16_untied": (torch.float16, "1GB", {"tie_word_embeddings": False}),
    "sharded": (torch.float32, "9KB", {"tie_word_embeddings": False, "rope_theta": 1e6}),
}


def configuration(**changes):
    """A small model's configuration; its special tokens are within its vocabulary."""
    settings = {"vocab_size": VOCAB, "hidden_size": 16, "intermediate_size": 24,
                "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                "max_position_embeddings": SEQ, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
                "tie_word_embeddings": True, "use_sliding_window": False,
                "bos_token_id": 0, "eos_token_id": 0, **changes}
    base = settings.pop("rope_theta")
    if int(transformers.__version__.split(".")[0]) >= 5:        # its name since version 5
        settings["rope_parameters"] = {"rope_type": "default", "rope_theta": base}
    else:
        settings["rope_theta"] = base
    return Qwen2Config(**settings)


def tokens():
    """The tokens that the losses are of."""
    rand = random.Random(11)
    return [rand.randrange(VOCAB) for _ in range(WINDOWS * SEQ + 1)]


def loss(folder):
    """Mean loss of the folder's model over the windows, computed in float32."""
    model, info = Qwen2ForCausalLM.from_pretrained(folder, output_loading_info=True,
                                                   dtype=torch.float32)
    problems = {k: list(v) for k, v in info.items() if v}
    if problems:
        raise ValueError(f"loading was not clean: {problems}")
    model.eval()
    ids = torch.tensor(tokens())
    with torch.no_grad():
        logits = model(ids[:-1].view(WINDOWS, SEQ)).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), ids[1:]).item()


def write(folder):
    """Writes the models, the tokens as a shard, and losses.json."""
    os.makedirs(folder, exist_ok=True)
    ids, losses = tokens(), {}
    with open(os.path.join(folder, "tokens.bin"), "wb") as file:
        file.write(struct.pack(f"<3i1012x{len(ids)}H", 20240520, 1, len(ids), *ids))
    for number, (name, (dtype, shard, changes)) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        model = Qwen2ForCausalLM(configuration(**changes))
        with torch.no_grad():
            for parameter in dict.fromkeys(model.parameters()):
                parameter.copy_(torch.randn_like(parameter) * 0.4 + (
                    1 if parameter.dim() == 1 and parameter.mean() == 1 else 0))
        path = os.path.join(folder, name)
        model.to(dtype).save_pretrained(path, max_shard_size=shard)
        losses[name] = loss(path)
        print(f"{name}: loss {losses[name]:.6f}: {sorted(os.listdir(path))}")
    with open(os.path.join(folder, "losses.json"), "w", encoding="ascii") as file:
        json.dump(losses, file, indent=1)
        file.write("\n")


def run(*command):
    """What a command prints; it must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
                          check=False, universal_newlines=True)
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stdout}")
    return done.stdout


def own_loss(folder, data):
    """The loss of eval_attnvar."""
    printed = run("dev/tools/eval_attnvar", folder, "--data", data, "--json")
    return json.loads(printed)["results"][0]["loss"]


def converted(folder, out, data):
    """The loss of eval_attnvar on what from_hf.py makes of a folder."""
    run(sys.executable, "dev/tools/from_hf.py", folder, "--out", out)
    return own_loss(out, data)


def check(folder):
    """Compares the losses; returns the exit code."""
    data, results = os.path.join(folder, "tokens.bin"), []

    def compare(name, losses):
        """All of them must be equal to 1e-4."""
        right = max(losses) - min(losses) <= 1e-4
        results.append(right)
        print(f"{'ok  ' if right else 'FAIL'}  {name}: " + ", ".join(f"{x:.6f}" for x in losses))
    with open(os.path.join(folder, "losses.json"), encoding="ascii") as file:
        recorded = json.load(file)
    with tempfile.TemporaryDirectory() as work:
        for name in MODELS:
            out = os.path.join(work, name)
            compare(f"{name}: recorded, transformers, eval_attnvar, transformers on the checkpoint",
                    [recorded[name], loss(os.path.join(folder, name)),
                     converted(os.path.join(folder, name), out, data), loss(out)])
        for options in ([], ["--untied", "--kv-heads", "1"]):
            ours, theirs = os.path.join(work, f"ours{options}"), os.path.join(work, f"hf{options}")
            run("./train_attnvar", "--data", data, "--val", data, "--vocab", str(VOCAB), "--layers",
                "2", "--dim", "16", "--heads", "2", "--ffn", "24", "--seq", str(SEQ), "--steps",
                "40", "--sample", "0", "--threads", "1", "--out", ours, *options)
            Qwen2ForCausalLM.from_pretrained(ours, dtype=torch.float32).save_pretrained(theirs)
            back = os.path.join(work, f"back{options}")
            compare(f"trained here {options}: eval_attnvar, transformers, saved by it, converted",
                    [own_loss(ours, data), loss(ours), converted(theirs, back, data)])
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


def main():
    """The command line."""
    command, *rest = sys.argv[1:] or ["--help"]
    folder = os.path.abspath(rest[0] if rest else HF)
    if command not in ("write", "check") or len(rest) > 1:
        print(__doc__)
        return 1
    print("transformers", transformers.__version__, "torch", torch.__version__)
    return check(folder) if command == "check" else write(folder)


if __name__ == "__main__":
    sys.exit(main())
