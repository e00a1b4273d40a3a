"""attnvar_files.py: the files of attnvar_torch.py: chapters 1, 8, 9 and 11 of train_attnvar.c.

Random numbers, data, checkpoint, options: nothing in here depends on how the model is computed.
"""
import ctypes
import json
import math
import os
import re
import shlex
import struct
import sys
import zlib
from types import SimpleNamespace

try:
    import torch
except ImportError:
    sys.exit(f"{os.path.basename(sys.argv[0])}: error: {sys.executable} has no PyTorch: another "
             "Python may have it, or install it: see dev/scale/README.md")

# ------------------------------------------------------------------------------------------------
# 1  Utilities
# ------------------------------------------------------------------------------------------------

RANK, RANKS = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))   # torchrun's


def fail(message):
    """Every error of the user's ends here: what was found, what is expected, what to run."""
    sys.stdout.flush()
    rank = f"process {RANK}: " if RANK else ""
    print(f"attnvar_torch.py: error: {rank}{message}", file=sys.stderr, flush=True)
    sys.exit(1)


def say(text=""):
    if RANK == 0:
        print(text, flush=True)


# splitmix64. Its state is a counter, so n draws are computed at once: draw i mixes
# state + (i+1) gamma. int64 wraps around like uint64; a shift to the right must clear the sign.
MASK, GAMMA = (1 << 64) - 1, 0x9E3779B97F4A7C15
STREAM_INIT, STREAM_DATA, STREAM_ANCHOR, STREAM_SAMPLE, STREAMS = range(5)


def signed(x):
    return x - (1 << 64) if x >> 63 else x


def shift(z, n):
    return (z >> n) & ((1 << (64 - n)) - 1)


class RNG:
    def __init__(self, state):
        self.state = state

    def u64(self, n):
        """(n) the next n outputs, as int64 of the same bits."""
        z = torch.arange(1, n + 1, dtype=torch.int64) * signed(GAMMA) + signed(self.state)
        self.state = (self.state + n * GAMMA) & MASK
        z = (z ^ shift(z, 30)) * signed(0xBF58476D1CE4E5B9)
        z = (z ^ shift(z, 27)) * signed(0x94D049BB133111EB)
        return z ^ shift(z, 31)

    def draw(self):
        """The next output, as a Python int."""
        self.state = z = (self.state + GAMMA) & MASK
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
        return z ^ z >> 31

    def below(self, m, n):
        """(n) outputs modulo m."""
        z = self.u64(n)
        return (shift(z, 1) % m * 2 + (z & 1)) % m

    def uniform(self, n):
        return shift(self.u64(n), 11).double() * 2.0 ** -53

    def normal(self, n):
        """(n) Box and Muller, the cosine half; two uniforms a draw."""
        u = self.uniform(2 * n)
        return torch.sqrt(-2 * torch.log(1 - u[0::2])) * torch.cos(2 * math.pi * u[1::2])


def stream(seed, number):
    return RNG(RNG((seed * STREAMS + number) & MASK).draw())


# ------------------------------------------------------------------------------------------------
# 5  Variants, layouts, tensors by name
# ------------------------------------------------------------------------------------------------

NAMES = {"S": "standard", "M": "mlp", "A": "approx", "N": "nonapprox", "R": "rndembqk",
         "F": "fixedseqqk", "E": "staticembqk"}
LETTER = {name: letter for letter, name in NAMES.items()}
LAYOUTS = {     # which layers l = 1 .. n stay standard
    "uniform": lambda l, n: False,
    "even": lambda l, n: l % 2 == 0,
    "odd": lambda l, n: l % 2 == 1,
    "top": lambda l, n: 2 * l <= n,
    "middle": lambda l, n: 4 * l <= n or 4 * l > 3 * n,
    "bottom": lambda l, n: 2 * l > n,
    "25": lambda l, n: l % 4 == 0,
    "first": lambda l, n: l == 1,
    "last": lambda l, n: l == n,
    "bilateral": lambda l, n: l in (1, n),
}


def declare_tensors(c):
    """[(name, shape, role)] in the order of the initial values and of the checkpoint."""
    C, G, V, dh = c.dim, c.ffn, c.vocab, c.dim // c.heads
    CKV, layer = c.kv_heads * dh, []
    for name, rows, bias in (("q", C, True), ("k", CKV, True), ("v", CKV, True), ("o", C, False)):
        layer.append((f"self_attn.{name}_proj.weight", (rows, C), "matrix"))
        layer += [(f"self_attn.{name}_proj.bias", (rows,), "bias")] if bias else []
    layer += [(f"self_attn.{x}_norm.weight", (dh,), "gain") for x in "qk" if c.qk_norm]
    layer = [("input_layernorm.weight", (C,), "gain"), *layer,
             ("post_attention_layernorm.weight", (C,), "gain"),
             ("mlp.gate_proj.weight", (G, C), "matrix"), ("mlp.up_proj.weight", (G, C), "matrix"),
             ("mlp.down_proj.weight", (C, G), "matrix")]
    tensors = [("model.embed_tokens.weight", (V, C), "matrix")]
    for l in range(c.layers):
        tensors += [(f"model.layers.{l}.{name}", *rest) for name, *rest in layer]
    tensors.append(("model.norm.weight", (C,), "gain"))
    return tensors + ([("lm_head.weight", (V, C), "matrix")] if c.untied else [])


# ------------------------------------------------------------------------------------------------
# 8  Data
# ------------------------------------------------------------------------------------------------

KINDS = {20240520: (1, 2, torch.int16), 20240801: (7, 4, torch.int32)}     # magic: version, width
RECALL_WINDOWS = 1024


class Data:
    """Tokens of files, mapped into memory; or recall, made up as it is read."""

    def __init__(self, lines, option, device="cpu"):
        self.pairs, self.paths, shards = 0, lines.split("\n"), []
        for path in self.paths:
            shards.append(self.open(path))
            if shards[-1][1] != shards[0][1]:
                fail(f"{option}: {self.paths[0]} holds {shards[0][1]} and {path} holds "
                     f"{shards[-1][1]}: expected files of one kind")
        self.kind, self.shards = shards[0][1], shards
        parts = [part.to(torch.int32) & 0xFFFF if part.dtype == torch.int16 and len(
            {x[0].dtype for x in shards}) > 1 else part for part, _, _ in shards]
        self.stream = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.first, self.n, self.device = 0, len(self.stream), device
        if self.stream.element_size() * self.n < 1 << 32:
            self.stream = self.stream.to(device)

    @staticmethod
    def is_binary(head):
        """Do the first bytes of a file show that it is no text? The rule is the C program's."""
        controls = [i for i, c in enumerate(head) if c < 9 or 13 < c < 32 and c != 27]
        fronts = (b"\xff\xfe", b"\xfe\xff", b"%PDF-", b"BZh", b"\x28\xb5/\xfd")
        return bool(controls and controls[0] < 8 or len(head) > 4 and head.startswith(fronts)
                    or len(controls) > len(head) // 20)

    @staticmethod
    def open(path):
        """(tokens as stored in the file, "bytes" or "tokens", the offset of the first)"""
        if os.path.exists(path) and not os.path.isfile(path):
            fail(f"{path}: is no regular file; expected a text or a file of tokens")
        try:
            with open(path, "rb") as file:
                head, size = file.read(512), os.path.getsize(path)
        except OSError as error:
            fail(f"{path}: {error.strerror}; expected a text file, such as "
                 "dev/data/austen_train.txt: --data FILE")
        if size == 0:
            fail(f"{path}: the file is empty; expected a text or a file of tokens")
        magic, version, count = struct.unpack("<3i", head[:12].ljust(12, b"\0"))
        if magic not in KINDS:
            if path.endswith(".bin"):
                fail(f"{path}: a .bin file without llm.c's header (found {magic}); see: "
                     "python3 prepro_data.py --help")
            if Data.is_binary(head):
                fail(f"{path}: is no text: expected UTF-8, or tokens with llm.c's header; to learn what "
                     f"it is: python3 prepro_data.py show {shlex.quote(path)}")
            return torch.from_file(path, size=size, dtype=torch.uint8), "bytes", 0
        expected, width, dtype = KINDS[magic]
        if version != expected:
            fail(f"{path}: version {version} of the shard format, expected {expected}")
        if count <= 0 or size != 1024 + count * width:
            fail(f"{path}: its header counts {count} tokens of {width} bytes, so "
                 f"{1024 + count * width} bytes in all, but the file has {size}: damaged or cut short")
        tokens = torch.from_file(path, size=size // width, dtype=dtype)[1024 // width:]
        return tokens, "tokens", 1024

    def tokens(self, at):
        """The tokens at these places, int64."""
        found = self.stream[(at + self.first).to(self.stream.device)].to(self.device).long()
        return found & 0xFFFF if self.stream.dtype == torch.int16 else found

    def survey(self, limit):
        """The largest token; a token that is not below the limit (0: no limit) ends the run."""
        largest, piece = 0, 1 << 22
        for at in range(0, self.n, piece):
            tokens = self.tokens(torch.arange(at, min(at + piece, self.n)))
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or (limit and high >= limit):
                fail(f"{self.paths[0]}: has a token {high if low >= 0 else low % (1 << 32)}, expected "
                     f"less than the vocabulary of {limit or 1 << 22}: see --vocab")
            largest = max(largest, high)
        return largest

    def content(self):
        """The number of tokens and the checksum of their bytes, for the checkpoint."""
        if self.pairs:
            return "0 00000000"
        crc, skip, left = 0, self.first, self.n
        for path, (tokens, _, start) in zip(self.paths, self.shards):
            n = min(max(len(tokens) - skip, 0), left)
            with open(path, "rb") as file:
                file.seek(start + min(skip, len(tokens)) * tokens.element_size())
                for at in range(0, n, 1 << 22):
                    crc = zlib.crc32(file.read(min(1 << 22, n - at) * tokens.element_size()), crc)
            skip, left = max(skip - len(tokens), 0), left - n
        return f"{self.n} {crc:08x}"

    def windows(self, starts, T):
        """inputs and targets (len(starts),T)"""
        starts = starts.to(self.stream.device)
        found = self.tokens(starts[:, None] + torch.arange(T + 1, device=starts.device))
        return found[:, :-1], found[:, 1:]

    def training_batch(self, rng, B, T):
        if self.pairs:
            return self.stack([self.recall(rng, T) for _ in range(B)])
        return self.windows(rng.below(self.n - T, B), T)

    def validation_batch(self, first, B, T):
        """Windows first .. first+B-1: they follow each other at stride T; recall's come from seeds
        counted down from the last one."""
        if not self.pairs:
            return self.windows(torch.arange(first, first + B) * T, T)
        return self.stack([self.recall(stream(MASK // STREAMS - w, STREAM_DATA), T)
                           for w in range(first, first + B)])

    def stack(self, rows):
        return torch.tensor(rows, device=self.device).unbind(1)

    def recall(self, rng, T):
        """[inputs, targets]: pairs of a key and its value, then each key again, in random order at
        random even positions; the target stands at the query."""
        P, half, values = self.pairs, self.vocab // 2, self.vocab - self.vocab // 2
        inputs, targets, order = [0] * T, [-1] * T, list(range(P))

        def below(m):
            return rng.draw() % m

        for p in range(P):
            key = 1 + below(half - 1)
            while key in inputs[0:2 * p:2]:
                key = 1 + below(half - 1)
            inputs[2 * p:2 * p + 2] = key, half + below(values)
        for p in range(P - 1, 0, -1):
            other = below(p + 1)
            order[p], order[other] = order[other], order[p]
        slots, asked = (T - 2 * P) // 2, 0
        for slot in range(slots):
            if below(slots - slot) < P - asked:
                pair, t, asked = 2 * order[asked], 2 * P + 2 * slot, asked + 1
                inputs[t], targets[t] = inputs[pair:pair + 2]
        return [inputs, targets]


def open_data(s, device):
    """(training data, validation data). Also sets the vocabulary and the sample's length."""
    if s.data == "recall":
        if s.val:
            fail(f"--val {s.val}: recall makes its own validation data: leave it out")
        if s.sample:
            fail(f"--sample {s.sample}: recall has no text to go on with")
        train = Data.__new__(Data)
        s.vocab, s.sample, train.device = s.vocab or 64, 0, device
        train.pairs, train.vocab, train.n = s.pairs, s.vocab, 0
        if s.pairs > s.vocab // 2 - 1 or s.seq < 4 * s.pairs:
            fail(f"recall: --pairs {s.pairs} need --vocab {2 * s.pairs + 2} and --seq {4 * s.pairs} or "
                 f"more, found --vocab {s.vocab} and --seq {s.seq}")
        return train, train
    if "pairs" in s.given:
        fail(f"--pairs {s.pairs}: the data are not recall: leave it out, or --data recall")
    train = Data(s.data, "--data", device)
    val = Data(s.val or s.data, "--val", device)
    if train.kind != val.kind:
        fail(f"{train.paths[0]} holds {train.kind} and {val.paths[0]} holds {val.kind}: expected "
             "files of one kind")
    if not s.val:                                                       # the last tenth
        val.n = train.n // 10
        train.n -= val.n
        val.first = train.n
    for data, role in ((train, "training"), (val, "validation")):
        if data.n < s.seq + 1:
            fail(f"{data.paths[0]}: {data.n} tokens for {role}, fewer than one window of --seq {s.seq} "
                 "+ 1: give a longer file or a smaller --seq")
    if train.kind == "bytes" and s.vocab and s.vocab < 256:
        fail(f"--vocab {s.vocab}: bytes need 256")
    largest = 255 if train.kind == "bytes" else max(train.survey(s.vocab), val.survey(s.vocab))
    s.vocab = s.vocab or (largest // 64 + 1) * 64
    s.sample = s.sample if s.sample is not None else 300 if train.kind == "bytes" else 0
    return train, val


def read_anchor(s, train):
    """(T) fixedseqqk's text."""
    if train.pairs and not s.anchor:
        return torch.tensor(train.recall(stream(s.seed, STREAM_DATA), s.seq)[0])
    data = Data(s.anchor, "--anchor") if s.anchor else train
    if data.n < s.seq:
        fail(f"{s.anchor}: {data.n} tokens, the anchor needs --seq {s.seq}")
    tokens = data.tokens(torch.arange(s.seq))
    if int(tokens.max()) >= s.vocab:
        fail(f"{s.anchor}: has a token {int(tokens.max())}, expected less than {s.vocab}")
    return tokens


# ------------------------------------------------------------------------------------------------
# 10  Checkpoint: dev/notes/porting.md describes it byte for byte
# ------------------------------------------------------------------------------------------------

RUN_FILES = ["model.safetensors", "log.csv", "config.json", "optim.safetensors"]  # renamed in order
BEGIN = '{"__metadata__":{'       # of every header


def entries(c, optimizer):
    """[(name, shape, type)] of a file."""
    tensors = [(name, shape, "F32") for name, shape, _ in declare_tensors(c)]
    if optimizer:
        return [(moment + name, *rest) for moment in ("exp_avg.", "exp_avg_sq.")
                for name, *rest in tensors]
    anchors = [("anchor.embeds", (c.seq, c.dim), "F32")] if "R" in c.layout else []
    return tensors + anchors + [("anchor.tokens", (c.seq,), "I32")] * ("F" in c.layout)


def header_text(c, optimizer, metadata):
    parts, at = [], 0
    for name, shape, kind in entries(c, optimizer):
        end = at + 4 * math.prod(shape)
        parts.append(f',"{name}":{{"dtype":"{kind}","shape":[{",".join(map(str, shape))}],'
                     f'"data_offsets":[{at},{end}]}}')
        at = end
    text = (BEGIN + metadata + "}" + "".join(parts) + "}").encode()
    return text + b" " * (-len(text) % 8)


def tensor_bytes(t):
    t = t.detach().to("cpu", torch.float32 if t.is_floating_point() else torch.int32).contiguous()
    return ctypes.string_at(t.data_ptr(), 4 * t.numel())


def number_text(x):
    """The fewest digits, but at least six, that mean this very number."""
    return str(x) if isinstance(x, int) else next(
        t for t in ("%.*g" % (digits, x) for digits in range(6, 18)) if float(t) == x)


def option_text(s, option):
    value = getattr(s, option.key)
    return "" if value is None else value if isinstance(value, str) else number_text(value)


def metadata(s, state):
    shown = {"format": "pt", "attnvar": "3", "step": str(state.step), "rng": str(state.rng)}
    shown.update((o.name, option_text(s, o)) for o in OPTIONS if o.keeper != "free")
    shown.update({"train-content": state.train, "val-content": state.val,
                  "weights": state.weights, "moments": state.moments})

    def text(value):    # U+FFFD for bytes that are not UTF-8 and most control characters
        value = re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", value)
        return json.dumps(value, ensure_ascii=False)
    kept = ",".join(f"{text(name)}:{text(value)}" for name, value in shown.items())
    return f'{kept},"metadata":"{zlib.crc32((BEGIN + kept).encode()):08x}"'


def config_text(c):
    """config.json in Hugging Face's terms; only a standard model without QK-norm is qwen2."""
    qwen2 = not c.qk_norm and set(c.layout) == {"S"}
    rows = {"architectures": ["Qwen2ForCausalLM" if qwen2 else "AttnvarForCausalLM"],
            "model_type": "qwen2" if qwen2 else "attnvar", "vocab_size": c.vocab,
            "hidden_size": c.dim, "intermediate_size": c.ffn, "num_hidden_layers": c.layers,
            "num_attention_heads": c.heads, "num_key_value_heads": c.kv_heads,
            "max_position_embeddings": c.seq, "rope_theta": None, "rms_norm_eps": 1e-06,
            "hidden_act": "silu", "initializer_range": 0.02, "attention_dropout": 0.0,
            "use_sliding_window": False, "tie_word_embeddings": not c.untied,
            "torch_dtype": "float32"}
    if not qwen2:
        rows.update(attnvar_layers=c.layout, attnvar_qk_norm=bool(c.qk_norm))
    lines = [f"  {json.dumps(key)}: " + (f"{c.rope_base:.17g}" if value is None else json.dumps(value))
             for key, value in rows.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_file(path, pieces):
    """Writes a file to the disk, not only to the system's cache."""
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def remove_temporary(folder):
    """The model goes last: if it alone is missing, the save is committed, see open_out()."""
    for name in RUN_FILES[:1:-1] + RUN_FILES[:1]:
        path = os.path.join(folder, name + ".tmp")
        if os.path.lexists(path):
            os.remove(path)


def finish_save(folder):
    for name in RUN_FILES[1:]:
        if os.path.exists(os.path.join(folder, name + ".tmp")):
            os.replace(os.path.join(folder, name + ".tmp"), os.path.join(folder, name))


def checkpoint_save(model, s, state):
    """All files are complete under temporary names before the first is renamed. Renaming the model
    commits the save: before it the folder is as it was, after it --resume renames the rest."""
    crc = {}
    for optimizer in (False, True):
        crc[optimizer] = 0
        for name, _, _ in entries(model.c, optimizer):
            crc[optimizer] = zlib.crc32(tensor_bytes(model.tensor(name)), crc[optimizer])
    state.weights, state.moments = f"{crc[False]:08x}", f"{crc[True]:08x}"

    def pieces(optimizer):
        header = header_text(model.c, optimizer, metadata(s, state))
        yield struct.pack("<Q", len(header)) + header
        for name, _, _ in entries(model.c, optimizer):
            yield tensor_bytes(model.tensor(name))

    name = "model.safetensors"
    path = os.path.join(s.out, name)
    try:
        remove_temporary(s.out)         # lest a link or a pipe be written to
        for name, parts in (("model.safetensors", pieces(False)), ("optim.safetensors", pieces(True)),
                            ("config.json", [config_text(model.c).encode()])):
            write_file(os.path.join(s.out, name + ".tmp"), parts)
        os.replace(path + ".tmp", path)
    except OSError as error:
        remove_temporary(s.out)
        fail(f"{s.out}/{name}: cannot be written: {error.strerror}; the save before is there, "
             "unchanged")
    finish_save(s.out)


def read_header(path):
    """(text, where the tensors begin), or None if it is no safetensors file."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            length, = struct.unpack("<Q", file.read(8))
            if length > os.path.getsize(path) - 8:
                return None
            return file.read(length), 8 + length
    except (OSError, struct.error):
        return None


def checkpoint_open(folder):
    """(settings, state) from the metadata. The rest of the header must follow from them."""
    path = os.path.join(folder, "model.safetensors")
    header = read_header(path)
    if not header:
        fail(f"{path}: not there or damaged; expected a folder that a run with --out wrote")
    try:
        kept = json.loads(header[0])["__metadata__"]
        if kept.get("attnvar") != "3":
            fail(f"{path}: has format {kept.get('attnvar', 'of another program, or 1')}, expected 3; see "
                 "python3 dev/tools/from_hf.py --help")
        s = SimpleNamespace(**{o.key: o.parse(kept[o.name]) if kept[o.name] else None
                               for o in OPTIONS if o.keeper != "free"})
        state = SimpleNamespace(step=int(kept["step"]), rng=int(kept["rng"]),
                                train=kept["train-content"], val=kept["val-content"],
                                weights=kept["weights"], moments=kept["moments"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fail(f"{path}: damaged header: {error}")
    try:
        s.layout = layers_of("standard", s.layout, s.layers, False)
        expected = header_text(s, False, metadata(s, state))
    except TypeError:
        expected = None
    if header[0] != expected:
        fail(f"{path}: damaged header: its tensors or its checksum are not those of its settings")
    return s, state


def checkpoint_read(model, folder, kept, state, optimizer):
    """Fills the weights and anchors, or the moments, from the file with the expected header. Skips
    anchors that this model lacks."""
    name = "optim.safetensors" if optimizer else "model.safetensors"
    expected = header_text(kept, optimizer, metadata(kept, state))
    for suffix in ("", ".tmp"):
        path = os.path.join(folder, name + suffix)
        header = read_header(path)
        if header and header[0] == expected:
            break
    else:
        fail(f"{folder}/{name}: damaged, or not of the same save as the folder's other files (step "
             f"{state.step}): start another run with --init {folder}")
    crc, size = 0, os.path.getsize(path) - header[1]
    with open(path, "rb") as file, torch.no_grad():
        file.seek(header[1])
        for name, shape, kind in entries(kept, optimizer):
            data = bytearray(file.read(4 * math.prod(shape)))
            crc, size, t = zlib.crc32(data, crc), size - len(data), model.tensor(name)
            if len(data) != 4 * math.prod(shape):
                fail(f"{path}: cut short at tensor {name}")
            if t is None:
                continue
            if t.shape != shape:
                fail(f"{path}: {name} belongs to --seq {kept.seq}, not to {model.c.seq}")
            values = torch.frombuffer(data, dtype=torch.float32 if kind == "F32" else torch.int32)
            if kind == "I32" and not 0 <= int(values.min()) <= int(values.max()) < model.c.vocab:
                fail(f"{path}: an anchor token is not in 0 to {model.c.vocab - 1}")
            t.copy_(values.view(shape))
    wanted = state.moments if optimizer else state.weights
    if f"{crc:08x}" != wanted or size:
        fail(f"{path}: damaged: its tensors have the checksum {crc:08x}, expected {wanted}")
    if suffix and RANK == 0:
        finish_save(folder)                             # it was killed between two renames


# ------------------------------------------------------------------------------------------------
# 9  Options
# ------------------------------------------------------------------------------------------------

SIZES = {   # dim, layers, heads, ffn, seq, batch, steps, lr, beta2
    "tiny": (64, 4, 4, 192, 128, 16, 1200, 3e-3, 0.99),
    "recall": (64, 2, 1, 192, 48, 64, 800, 3e-3, 0.99),
    "small": (128, 6, 4, 384, 256, 16, 2000, 2e-3, 0.99),
    "10m": (384, 6, 6, 1024, 256, 8, 2000, 1e-3, 0.99),
    "70m": (512, 6, 8, 2048, 2048, 4, 100000, 4e-4, 0.999),
    "160m": (768, 12, 12, 3072, 2048, 4, 100000, 4e-4, 0.999),
    "500m": (896, 24, 14, 4864, 2048, 4, 100000, 4e-4, 0.999),
    "1.7b": (2048, 28, 16, 6144, 2048, 4, 100000, 4e-4, 0.999),
}


MODEL_KEYS = ["layers", "heads", "kv_heads", "dim", "ffn", "vocab", "seq", "batch", "qk_norm",
              "untied", "rope_base", "layout"]


class Option:
    """keeper: "model": kept in a checkpoint and taken by --init and --resume; "run": kept, taken by
    --resume; "path": kept, but only the file's content counts; "plan": kept, may change when
    resuming; "free": not kept."""

    def __init__(self, name, kind, keeper, low=0, high=0, default=None):
        self.name, self.kind, self.keeper, self.default = name, kind, keeper, default
        self.low, self.high, self.key = low, high, name.replace("-", "_")

    def parse(self, text):
        if self.kind in ("text", "list"):
            return text
        try:
            value = float(text) if self.kind == "real" else int(text)
            if self.low <= value <= self.high and "_" not in text:      # Python's 1_000 is no number in C
                return value
        except ValueError:
            pass
        whole = "a" if self.kind == "real" else "a whole"
        fail(f"--{self.name} '{text}': expected {whole} number from {self.low:g} to {self.high:g}")


OPTIONS = [Option(*row) for row in (
    ("attn", "text", "free", 0, 0, "standard"), ("layout", "text", "run", 0, 0, "uniform"),
    ("size", "text", "run"), ("layers", "int", "model", 1, 256), ("heads", "int", "model", 1, 1024),
    ("kv-heads", "int", "model", 1, 1024), ("dim", "int", "model", 1, 65536),
    ("ffn", "int", "model", 1, 262144), ("vocab", "int", "model", 2, 1 << 22),
    ("seq", "int", "run", 1, 1 << 20), ("batch", "int", "run", 1, 65536),
    ("accumulate", "int", "run", 1, 65536, 1), ("qk-norm", "flag", "model", 0, 1, 0),
    ("untied", "flag", "model", 0, 1, 0), ("rope-base", "real", "model", 1, 1e9, 10000.0),
    ("steps", "int", "plan", 0, 1e9), ("lr", "real", "plan", 0, 1e3),
    ("min-lr", "real", "plan", 0, 1e3), ("warmup", "int", "plan", 0, 1e9),
    ("beta1", "real", "plan", 0, 0.999999, 0.9), ("beta2", "real", "plan", 0, 0.999999),
    ("decay", "real", "plan", 0, 1e3, 0.1), ("clip", "real", "plan", 0, 1e9, 1.0),
    ("seed", "int", "run", 0, (1 << 62) - 1, 1),
    ("data", "list", "path", 0, 0, "dev/data/austen_train.txt"),
    ("val", "list", "path", 0, 0, "dev/data/austen_val.txt"), ("pairs", "int", "run", 1, 256, 8),
    ("anchor", "text", "path"), ("eval-every", "int", "plan", 0, 1e9, 200),
    ("eval-batches", "int", "plan", 0, 1e6, 4), ("log-every", "int", "free", 1, 1e9, 50),
    ("sample", "int", "free", 0, 1e6), ("out", "text", "free"),
    ("save-every", "int", "free", 0, 1e9, 200), ("resume", "flag", "free", 0, 1, 0),
    ("force", "flag", "free", 0, 1, 0), ("init", "text", "free"),
    ("threads", "int", "free", 1, 1024), ("device", "text", "free"), ("runs", "text", "free"),
    ("explicit", "flag", "free", 0, 1, 0), ("bf16", "flag", "free", 0, 1, 0),
    ("compile", "flag", "free", 0, 1, 0))]


def parse(words):
    """{option: value given} from --name value, --name=value and, for data, --name value value"""
    known, given, at = {o.name: o for o in OPTIONS}, {}, 0
    while at < len(words):
        name, equals, value = words[at][2:].partition("=")
        if not words[at].startswith("--") or name not in known:
            fail(f"unknown option '{words[at]}': expected one of --{', --'.join(known)}")
        option, at = known[name], at + 1
        if option.kind == "flag":
            if equals:
                fail(f"--{name} takes no value, found '{value}'")
            given[name] = 1
            continue
        values = [value] if equals else words[at:at + 1]
        at += not equals
        while option.kind == "list" and at < len(words) and not words[at].startswith("-"):
            values.append(words[at])
            at += 1
        if not values or option.kind in ("text", "list") and "" in values:
            fail(f"--{name} wants a value: attnvar_torch.py --help lists its own options, "
                 "./train_attnvar --help all others")
        before = [given[name]] if option.kind == "list" and name in given else []
        given[name] = option.parse("\n".join(before + values))
    return given


def layers_of(attn, layout, n, attn_given):
    """A letter a layer."""
    if attn not in LETTER:
        fail(f"unknown variant '{attn}': expected one of {', '.join(LETTER)}")
    if layout in LAYOUTS:
        return "".join("S" if LAYOUTS[layout](l, n) else LETTER[attn] for l in range(1, n + 1))
    if attn_given:
        fail(f"--layout {layout} names every layer's variant, or is no layout: leave out --attn {attn}, "
             f"or name one of {', '.join(LAYOUTS)}")
    names = layout.split(",") if "," in layout or layout[:1].islower() else list(layout)
    letters = "".join(LETTER.get(x, x) for x in names)
    wrong = [x for x, letter in zip(names, letters) if letter not in NAMES]
    if wrong or len(letters) != len(names):
        fail(f"--layout {layout}: '{wrong[0] if wrong else layout}' is no layout and no variant: expected "
             f"one of {', '.join(LAYOUTS)}, a letter a layer of {''.join(NAMES)}, or names with commas")
    if len(letters) != n:
        fail(f"--layout {layout} names {len(letters)} layers, the model has {n}: give one for each, or "
             f"--layers {len(letters)}")
    return letters


def check_config(s):
    if s.dim % s.heads:
        fail(f"--dim {s.dim} is not a multiple of --heads {s.heads}")
    if s.heads % s.kv_heads:
        fail(f"--heads {s.heads} is not a multiple of --kv-heads {s.kv_heads}")
    for letter in s.layout:
        if letter not in "MN" and s.dim // s.heads % 2:
            fail(f"head size {s.dim // s.heads} (--dim {s.dim} / --heads {s.heads}) is odd: RoPE turns "
                 f"pairs of channels, so {NAMES[letter]} needs an even one")
        if letter == "M" and s.kv_heads != s.heads:
            fail(f"mlp with --kv-heads {s.kv_heads} and --heads {s.heads}: its gate and its up must be "
                 f"equally wide: expected --kv-heads {s.heads}")
    if s.anchor and "F" not in s.layout:
        fail(f"--anchor {s.anchor}: no layer is fixedseqqk: leave it out")
    if RANKS > s.batch:
        fail(f"{RANKS} processes and --batch {s.batch}: each takes at least one row of a batch; start "
             f"at most {s.batch}, or choose a larger --batch")


def settings(words):
    """The defaults, replaced by those of the size, then by a checkpoint's and the given options."""
    given = parse(words)
    size = given.get("size") or ("recall" if given.get("data") == "recall" else None)
    if size and size not in SIZES:
        fail(f"unknown size '{size}': expected one of {', '.join(SIZES)}")
    s = SimpleNamespace(**{o.key: o.default for o in OPTIONS})
    s.size = size or "tiny"
    s.dim, s.layers, s.heads, s.ffn, s.seq, s.batch, s.steps, s.lr, s.beta2 = SIZES[s.size]
    if "data" in given:
        s.val = None
    for name, value in given.items():
        setattr(s, name.replace("-", "_"), value)
    if s.resume and (not s.out or s.force or s.init):
        fail("--resume needs --out DIR, and neither --force nor --init, which start another run")
    for name in ("save-every", "force"):
        if name in given and not s.out:
            fail(f"--{name} needs --out DIR, the run's folder")
    s.given, s.kept, s.state, s.changes = given, None, None, []
    own = "attn" in given or "layout" in given
    if s.resume or s.init:
        take_settings(s, given, own)
    s.kv_heads = s.kv_heads or s.heads
    s.layout = layers_of(s.attn, s.layout, s.layers, "attn" in given)
    if s.resume and "val" in given and not s.kept.val:
        fail(f"--val {s.val}: the run validates on the last tenth of --data: leave it out")
    if s.resume and s.layout != s.kept.layout:
        fail(f"the layers {s.layout} are not those of the checkpoint in {s.out}, {s.kept.layout}: leave "
             f"out --attn and --layout, or start another run with --init {s.out}")
    check_config(s)
    return s


def take_settings(s, given, own_layers):
    """Takes from a checkpoint the options that were not given. --init takes --seq, too."""
    folder = s.out if s.resume else s.init
    s.kept, s.state = checkpoint_open(folder)
    if s.init and "size" in given and tuple(SIZES[s.size][:2]) != (s.kept.dim, s.kept.layers):
        fail(f"--size {s.size} contradicts the checkpoint in {folder}, which has --dim {s.kept.dim} "
             f"--layers {s.kept.layers}: leave it out")
    for o in OPTIONS:
        taken = o.keeper != "free" if s.resume else o.keeper == "model" or o.key in ("layout", "seq")
        if not taken or o.key == "layout" and own_layers:
            continue
        mine, theirs = getattr(s, o.key), getattr(s.kept, o.key)
        if o.name not in given:
            setattr(s, o.key, theirs)
        elif mine != theirs and o.keeper == "plan":
            s.changes.append(f"--{o.name} {mine} (was {theirs})")
        elif mine != theirs and (o.keeper == "model" or o.keeper == "run" and s.resume):
            fail(f"--{o.name} {mine} contradicts the checkpoint in {folder}, which has {theirs}: leave "
                 "it out, or start another run")


# ---- the run's folder and its log ----------------------------------------------------------------

COLUMNS = "step,loss,lr,gradient_norm,tokens_per_second,val_loss,val_accuracy\n"


def open_out(s):
    """Makes the folder and locks it; refuses to touch an existing run. Returns the lock."""
    try:
        os.makedirs(s.out, exist_ok=True)
        lock = open(os.path.join(s.out, "lock"), "a")
    except OSError as error:
        fail(f"--out {s.out}: cannot make the folder: {error.strerror}")
    try:
        import fcntl
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"--out {s.out}: another process is training there: wait for it, or choose another "
             "folder")
    except (ImportError, OSError):
        say(f"note: {s.out} cannot be locked: make sure that no other process writes there")
    temporary = [os.path.exists(os.path.join(s.out, f"{name}.safetensors.tmp"))
                 for name in ("model", "optim")]
    if s.force and temporary == [False, True]:          # a committed save that was cut off
        finish_save(s.out)
    for name in RUN_FILES:
        path = os.path.join(s.out, name)
        if name != "log.csv" and os.path.exists(path) and not s.resume and not s.force:
            fail(f"--out {s.out}: holds a run already ({path}): go on with it by --resume, or overwrite "
                 "it by --force")
    return lock


def open_log(s, step):
    """Opens log.csv for appending, without lines that a killed run logged after its checkpoint. Over
    another run (--force) the log is temporary until the first save."""
    path, lines = os.path.join(s.out, "log.csv"), [COLUMNS]
    if os.path.exists(path):
        with open(path, errors="replace") as file:
            if not COLUMNS.startswith(file.readline(len(COLUMNS))):
                fail(f"{path}: is not a log of this program: move it away or choose another folder")
            lines += [line for line in file if re.fullmatch("[0-9]{1,10},.*\n", line)
                      and int(line.split(",")[0]) <= step]
    later = s.force and os.path.exists(os.path.join(s.out, "model.safetensors"))
    write_file(path + ".tmp", ["".join(lines).encode()])
    if not later:
        os.replace(path + ".tmp", path)
    return open(path + ".tmp" * later, "a")
