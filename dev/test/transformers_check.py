#!/usr/bin/env python3
"""Opens checkpoints in Hugging Face transformers: dev/test/transformers_check.py [PROGRAM]

Trains a few small standard models with --out, loads each folder unchanged with Qwen2ForCausalLM and
compares the validation loss over the same windows (log.csv has ours): they must agree to 1e-4. A
folder with another variant must be refused. Needs torch, transformers and safetensors; not part of
make check. The last line is "N passed, N failed".
"""
import csv
import os
import subprocess
import sys
import tempfile

import torch
from transformers import AutoConfig, Qwen2ForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "train_attnvar"))
VAL = os.path.join(ROOT, "dev", "data", "austen_val.txt")


def train(folder, *options):
    """Trains with --out; returns the validation loss that log.csv ends with."""
    subprocess.run([PROGRAM, "--out", folder, "--sample", "0", *options], check=True, cwd=ROOT,
                   stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "log.csv"), encoding="ascii") as file:
        return float(list(csv.DictReader(file))[-1]["val_loss"])


def loss_in_transformers(folder, windows):
    """Mean loss over the first windows of the validation text, at stride T, in float32."""
    model, info = Qwen2ForCausalLM.from_pretrained(folder, output_loading_info=True,
                                                   dtype=torch.float32)
    problems = {k: list(v) for k, v in info.items() if v}
    if problems:
        raise ValueError(f"loading was not clean: {problems}")
    model.eval()
    length = model.config.max_position_embeddings
    with open(VAL, "rb") as file:
        text = torch.tensor(list(file.read(windows * length + 1)))
    with torch.no_grad():
        logits = model(text[:-1].view(windows, length)).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), text[1:]).item()


def main():
    """Runs the checks; returns the exit code."""
    passed = failed = 0
    small = ["--steps", "60", "--seq", "128", "--batch", "8", "--eval-batches", "2"]
    cases = {"tied": [], "untied": ["--untied"], "grouped heads": ["--kv-heads", "2"],
             "RoPE base 1e6": ["--rope-base", "1e6"],
             "odd sizes": ["--layers", "2", "--dim", "40", "--heads", "2", "--ffn", "50"]}
    for name, options in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            ours = train(folder, *small, *options)
            try:
                theirs = loss_in_transformers(folder, 16)
            except (ValueError, RuntimeError, OSError) as error:
                theirs, name = float("nan"), f"{name}: {error}"
            right = abs(ours - theirs) <= 1e-4
            print(f"{'ok  ' if right else 'FAIL'}  {name}: {ours:.6f}, transformers {theirs:.6f}")
            passed, failed = passed + right, failed + (not right)
    with tempfile.TemporaryDirectory() as folder:
        train(folder, *small, "--attn", "nonapprox", "--layout", "even")
        try:
            AutoConfig.from_pretrained(folder)
            right = False
        except (ValueError, KeyError) as error:
            right = "attnvar" in str(error)
        print(f"{'ok  ' if right else 'FAIL'}  a hybrid is refused")
        passed, failed = passed + right, failed + (not right)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
