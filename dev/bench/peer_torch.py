#!/usr/bin/env python3
"""How fast does PyTorch train the same model? Standard attention, float32, on the CPU.

    python3 dev/bench/peer_torch.py --size 10m --threads 16 --steps 20              eager
    python3 dev/bench/peer_torch.py --size 10m --threads 16 --steps 20 --compile    torch.compile

The model is train_attnvar.c's: pre-norm blocks, RMSNorm, rotate-half RoPE, biases on q, k and v,
SwiGLU, tied head; AdamW with decay on the matrices, clipping at 1. It is written as a PyTorch user
would write it, with scaled_dot_product_attention where PyTorch has it (2.0 and later). Data are
random tokens. Needs Python 3.8 and torch 1.12 or later; --compile needs torch 2 and a C++ compiler.
The time to compile is not counted.
Prints facts, one a line; the last is `tokens/s NUMBER`, the median over the steps.
"""
import argparse
import math
import os
import statistics
import sys
import time

#        C    layers heads  F     T     B   V
SIZES = {
    "tiny":  (64,  4,  4,  192,  128, 16, 256),
    "small": (128, 6,  4,  384,  256, 16, 256),
    "10m":   (384, 6,  6,  1024, 256,  8, 256),
    "70m":   (512, 6,  8,  2048, 1024, 2, 50304),
    "160m":  (768, 12, 12, 3072, 1024, 2, 50304),
}


def positive(text):
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError("expected a positive number, found %s" % text)
    return n


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="10m")
    parser.add_argument("--threads", type=positive, default=os.cpu_count())
    parser.add_argument("--steps", type=positive, default=10, help="steps that count")
    parser.add_argument("--warmup", type=positive, default=2, help="steps before them")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model and its loss")
    parser.add_argument("--seq", type=positive, help="T instead of the size's own")
    parser.add_argument("--batch", type=positive, help="B instead of the size's own")
    return parser.parse_args()


args = arguments()
# Read by the libraries when they are loaded, so set before. OpenBLAS's idle threads would spin for
# a tenth of a second on the cores that PyTorch's own threads need.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(args.threads)
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
# The libraries choose their kernels themselves.
for name in ("ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "MKL_ENABLE_INSTRUCTIONS",
             "MKL_DEBUG_CPU_TYPE", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
    os.environ.pop(name, None)
try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    sys.exit("peer_torch.py: error: this Python cannot import torch (%s): install PyTorch or try "
             "another Python" % error)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):                                       # (B,T,C)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Block(nn.Module):
    def __init__(self, C, heads, hidden):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = RMSNorm(C), RMSNorm(C)
        self.q, self.k, self.v = nn.Linear(C, C), nn.Linear(C, C), nn.Linear(C, C)
        self.o = nn.Linear(C, C, bias=False)
        self.gate, self.up = nn.Linear(C, hidden, bias=False), nn.Linear(C, hidden, bias=False)
        self.down = nn.Linear(hidden, C, bias=False)

    def rotate(self, x, cos, sin):                              # (B,heads,T,dh)
        lo, hi = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-hi, lo), dim=-1) * sin

    def attend(self, q, k, v, future):
        if hasattr(F, "scaled_dot_product_attention"):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.size(-1)))
        return torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1) @ v

    def forward(self, h, cos, sin, future):                     # (B,T,C)
        B, T, C = h.shape
        n = self.norm1(h)
        q, k, v = (f(n).view(B, T, self.heads, C // self.heads).transpose(1, 2)
                   for f in (self.q, self.k, self.v))
        o = self.attend(self.rotate(q, cos, sin), self.rotate(k, cos, sin), v, future)
        h = h + self.o(o.transpose(1, 2).reshape(B, T, C))
        n = self.norm2(h)
        return h + self.down(F.silu(self.gate(n)) * self.up(n))


class Model(nn.Module):
    def __init__(self, C, layers, heads, hidden, T, V, base=10000.0):
        super().__init__()
        self.embed = nn.Embedding(V, C)
        self.blocks = nn.ModuleList(Block(C, heads, hidden) for _ in range(layers))
        self.norm = RMSNorm(C)
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02)
        for block in self.blocks:
            for linear in (block.q, block.k, block.v):
                nn.init.zeros_(linear.bias)
        dh = C // heads
        angle = torch.outer(torch.arange(T).float(), base ** (-torch.arange(0, dh, 2).float() / dh))
        self.register_buffer("cos", torch.cat((angle, angle), dim=-1).cos())
        self.register_buffer("sin", torch.cat((angle, angle), dim=-1).sin())
        self.register_buffer("future", torch.ones(T, T, dtype=torch.bool).triu(1))

    def forward(self, tokens, targets):                         # (B,T)
        h = self.embed(tokens)
        for block in self.blocks:
            h = block(h, self.cos, self.sin, self.future)
        logits = F.linear(self.norm(h), self.embed.weight)      # tied
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def kernels():
    """What the products and the other loops run: the library, and the widest instructions used."""
    shown = torch.__config__.show()
    library = next((name for name in ("MKL", "OpenBLAS", "Accelerate", "Eigen")
                    if "BLAS_INFO=" + name.lower() in shown.lower()), "unknown library")
    found = [line.split(":")[1].strip() for line in shown.splitlines() if "CPU capability" in line]
    return "%s, %s" % (library, found[0] if found else "capability unknown")


def main():
    C, layers, heads, hidden, T, B, V = SIZES[args.size]
    T, B = args.seq or T, args.batch or B
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = Model(C, layers, heads, hidden, T, V)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=1e-4, betas=(0.9, 0.99), eps=1e-8)
    tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    if args.compile and not hasattr(torch, "compile"):
        sys.exit("peer_torch.py: error: PyTorch %s has no torch.compile: install PyTorch 2 or later, "
                 "or leave out --compile" % torch.__version__)
    run = torch.compile(model) if args.compile else model
    took, first = [], None
    for step in range(args.warmup + args.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = run(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
        if step >= args.warmup:
            took.append(time.perf_counter() - start)
        first = value if first is None else first
    print("torch %s, %s, %d threads, %s" % (torch.__version__, kernels(), torch.get_num_threads(),
                                            "compiled" if args.compile else "eager"))
    print("size %s, T %d, B %d" % (args.size, T, B))
    print("parameters %d" % sum(p.numel() for p in model.parameters()))
    print("first loss %.4f" % first)
    print("tokens/s %.1f" % (B * T / statistics.median(took)))


if __name__ == "__main__":
    main()
