#!/usr/bin/env python3
"""from_hf.py: turns a Hugging Face Qwen2 folder into a checkpoint of train_attnvar.

    python3 dev/tools/from_hf.py MODEL --out FOLDER [--seq N] [--force]

MODEL is a folder with config.json and model.safetensors, or several .safetensors files with their
index, as transformers writes them (save_pretrained) or as they are downloaded. Its tensors may be
F32, BF16 or F16, tied or not; they become F32, which holds each value exactly. FOLDER is then a
checkpoint for --init FOLDER, eval_attnvar, inspect_attnvar and generate_attnvar. The other
direction needs no program: transformers opens a uniform standard checkpoint as it is.

A model that train_attnvar would compute differently is refused, and so is a damaged file. Python's
standard library (3.8 or newer) suffices. One piece of a tensor is in memory at a time.
"""
import argparse
import json
import os
import struct
import sys
import zlib
from array import array

try:
    import fcntl
except ImportError:             # Windows
    fcntl = None

HEADER_MAX = 100_000_000        # the longest header that Hugging Face's own library reads
PIECE = 1 << 20                 # elements that are converted at a time
WIDTH = {"F32": 4, "BF16": 2, "F16": 2}         # bytes an element
RUN_FILES = ("model.safetensors", "config.json", "optim.safetensors", "log.csv")


def fail(message):
    """Reports an error of the user's: what was found, what was expected."""
    print("from_hf.py: error:", " ".join(str(message).split("\n")), file=sys.stderr)
    sys.exit(1)


def is_int(value, low, high):
    """Whether value is an integer (True and 1.0 are none) from low to high."""
    return type(value) is int and low <= value <= high


# ---- reading -------------------------------------------------------------------------------------

def read_json(raw, where):
    """An object; each of its names must occur once."""
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"{max(names, key=names.count)!r} occurs twice")
        return dict(pairs)
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except RecursionError:
        fail(f"{where}: damaged: brackets nested too deeply")
    except ValueError as error:
        fail(f"{where}: damaged: {error}; expected a JSON object")
    if not isinstance(value, dict):
        fail(f"{where}: damaged: found {value!r:.40}; expected a JSON object")
    return value


class Tensor:
    """A tensor in a file: its type, its shape, its first byte in the file."""

    def __init__(self, path, name, entry, data, size):
        where = f"{path}: damaged header: tensor {name}"
        if not isinstance(entry, dict):
            fail(f"{where} is {entry!r:.40}; expected its dtype, shape and data_offsets")
        self.path, self.dtype, self.shape = path, entry.get("dtype"), entry.get("shape")
        offsets = entry.get("data_offsets")
        if not isinstance(self.dtype, str):
            fail(f"{where} has the type {self.dtype!r:.40}; expected a name such as F32")
        if not isinstance(self.shape, list) or not all(is_int(n, 0, 1 << 48) for n in self.shape):
            fail(f"{where} has the shape {self.shape!r:.40}; expected a list of sizes")
        if (not isinstance(offsets, list) or len(offsets) != 2
                or not all(is_int(n, 0, size) for n in offsets) or offsets[0] > offsets[1]):
            fail(f"{where} has the data_offsets {offsets!r:.60}; expected its first byte and its "
                 f"end among the file's {size} bytes of data: damaged or cut short")
        self.begin, self.end = offsets
        self.place = data + self.begin
        self.elements = 1
        for n in self.shape:
            self.elements *= n
        wanted = self.elements * WIDTH.get(self.dtype, 0)
        if self.dtype in WIDTH and self.end - self.begin != wanted:
            fail(f"{where} takes {self.end - self.begin} bytes; its shape {self.shape} of "
                 f"{self.dtype} needs {wanted}")


def read_header(path):
    """{name: Tensor} of a .safetensors file. The tensors must fill the file without an overlap."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, HEADER_MAX):
            fail(f"{path}: not a safetensors file: its {size} bytes do not hold the header of "
                 f"{length} bytes that its first 8 announce")
        header = read_json(file.read(length), path)
    header.pop("__metadata__", None)            # may hold anything
    data = size - 8 - length
    tensors = {name: Tensor(path, name, entry, 8 + length, data) for name, entry in header.items()}
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            fail(f"{path}: damaged header: tensor {name} begins at byte {tensor.begin} of the "
                 f"data; expected {at}: " + ("an overlap" if tensor.begin < at else "a gap"))
        at = tensor.end
    if at != data:
        fail(f"{path}: its tensors take {at} bytes, the file holds {data}: damaged or cut short")
    return tensors


def read_tensors(folder):
    """{name: Tensor} of all weights in the folder."""
    single = os.path.join(folder, "model.safetensors")
    index = single + ".index.json"
    if os.path.isfile(single):
        return read_header(single)
    if not os.path.isfile(index):
        found = sorted(os.listdir(folder))
        others = [name for name in found if name.endswith((".bin", ".gguf", ".pt", ".pth", ".npz"))
                  or name.startswith("adapter_")]
        advice = f", found {others[0]}" if others else ""
        if any(name.startswith("adapter_") for name in others):
            advice += ": merge the adapter into its model first"
        elif others:
            advice += ("; open it with transformers and save_pretrained(FOLDER), which writes "
                       "safetensors")
        fail(f"{folder}: expected model.safetensors or model.safetensors.index.json{advice}")
    with open(index, "rb") as file:
        places = read_json(file.read(), index).get("weight_map")
    if not isinstance(places, dict) or not places:
        fail(f"{index}: has no weight_map; expected the file of each tensor")
    tensors, headers = {}, {}
    for name, shard in places.items():
        if (not isinstance(shard, str) or os.path.basename(shard) != shard
                or not shard.endswith(".safetensors") or "\0" in shard):
            fail(f"{index}: tensor {name} lies in {shard!r:.60}; expected a .safetensors file of "
                 "the same folder")
        if shard not in headers:
            headers[shard] = read_header(os.path.join(folder, shard))
        if name not in headers[shard]:
            fail(f"{index}: tensor {name} should lie in {shard}, which does not have it: the files "
                 "are not of one model")
        tensors[name] = headers[shard][name]
    for shard, header in headers.items():
        for name in header:
            if places.get(name) != shard:
                fail(f"{index}: does not mention tensor {name} of {shard}: the files are not of "
                     "one model")
    return tensors


# ---- the model -----------------------------------------------------------------------------------

def read_config(folder):
    """The configuration, after everything in it that train_attnvar has otherwise is refused."""
    path = os.path.join(folder, "config.json")
    with open(path, "rb") as file:
        c = read_json(file.read(), path)

    def refuse(key, found, expected):
        fail(f"{path}: {key} is {json.dumps(found)[:60]}; train_attnvar has {expected}")

    def only(key, default, expected, accepted):
        found = c.get(key, default)
        if not any(found is value or (found == value and type(found) is not bool)
                   for value in accepted):
            refuse(key, found, expected)

    def number(key, default, low, high):
        found = c.get(key, default)
        if not is_int(found, low, high):
            fail(f"{path}: {key} is {json.dumps(found)[:60]}; expected a whole number from {low} "
                 f"to {high}")
        return found
    # the second argument of only() and number() is what transformers takes for a missing value
    if c.get("model_type") != "qwen2":
        refuse("model_type", c.get("model_type"), "Qwen2's blocks alone (qwen2)")
    if c.get("architectures") not in (None, ["Qwen2ForCausalLM"]):
        refuse("architectures", c["architectures"], "a language model's head (Qwen2ForCausalLM)")
    only("quantization_config", None, "weights of F32: save the model unquantised", [None])
    only("hidden_act", "silu", "silu", ["silu", "swish"])
    only("rms_norm_eps", 1e-6, "1e-06", [1e-6])
    only("attention_dropout", 0.0, "no dropout", [0, None])
    c["layers"] = number("num_hidden_layers", 32, 1, 256)
    c["heads"] = number("num_attention_heads", 32, 1, 1024)
    if c.get("num_key_value_heads", 32) is None:
        c["num_key_value_heads"] = c["heads"]
    c["kv"] = number("num_key_value_heads", 32, 1, 1024)
    c["dim"] = number("hidden_size", 4096, 1, 65536)
    c["ffn"] = number("intermediate_size", 22016, 1, 262144)
    c["vocab"] = number("vocab_size", 151936, 2, 1 << 22)
    c["positions"] = number("max_position_embeddings", 32768, 1, 1 << 30)
    if c["dim"] % c["heads"] or c["heads"] % c["kv"] or c["dim"] // c["heads"] % 2:
        fail(f"{path}: hidden_size {c['dim']}, num_attention_heads {c['heads']} and "
             f"num_key_value_heads {c['kv']} do not fit; expected heads of one even size, and as "
             "many of them for each key/value head")
    only("head_dim", None, f"hidden_size / num_attention_heads = {c['dim'] // c['heads']}",
         [None, c["dim"] // c["heads"]])
    tied = c.get("tie_word_embeddings", False)
    if type(tied) is not bool:
        refuse("tie_word_embeddings", tied, "true or false")
    c["tied"] = tied
    check_windows(c, refuse, number)
    rope = c.get("rope_parameters") or c.get("rope_scaling") or {}
    if (not isinstance(rope, dict)
            or rope.get("rope_type", rope.get("type", "default")) != "default"):
        refuse("rope_scaling", rope, "plain RoPE")
    for where in (rope, c):
        if where.get("partial_rotary_factor", 1) not in (None, 1):
            refuse("partial_rotary_factor", where["partial_rotary_factor"], "RoPE on whole heads")
    base = rope.get("rope_theta", c.get("rope_theta", 10000))
    if type(base) not in (int, float) or not 1 <= base <= 1e9:
        fail(f"{path}: rope_theta is {json.dumps(base)[:60]}; expected a number from 1 to 1e9")
    c["base"] = float(base)
    return c


def check_windows(c, refuse, number):
    """Refuses a sliding window in any layer, by the rule that transformers has."""
    kinds = c.get("layer_types")
    if kinds is not None and kinds != ["full_attention"] * c["layers"]:
        refuse("layer_types", kinds, "full attention in every layer")
    used = c.get("use_sliding_window", False)
    if type(used) is not bool:
        refuse("use_sliding_window", used, "true or false")
    if (used and kinds is None and c.get("sliding_window", 4096) is not None
            and number("max_window_layers", 28, 0, 1 << 20) < c["layers"]):
        refuse("use_sliding_window", used, "no window: every position sees all before it")


def wanted_tensors(c):
    """(name, shape) of every tensor, in the order of a checkpoint."""
    dim, kv, ffn = c["dim"], c["dim"] // c["heads"] * c["kv"], c["ffn"]
    yield "model.embed_tokens.weight", [c["vocab"], dim]
    for layer in range(c["layers"]):
        for name, shape in (
                ("input_layernorm.weight", [dim]),
                ("self_attn.q_proj.weight", [dim, dim]), ("self_attn.q_proj.bias", [dim]),
                ("self_attn.k_proj.weight", [kv, dim]), ("self_attn.k_proj.bias", [kv]),
                ("self_attn.v_proj.weight", [kv, dim]), ("self_attn.v_proj.bias", [kv]),
                ("self_attn.o_proj.weight", [dim, dim]), ("post_attention_layernorm.weight", [dim]),
                ("mlp.gate_proj.weight", [ffn, dim]), ("mlp.up_proj.weight", [ffn, dim]),
                ("mlp.down_proj.weight", [dim, ffn])):
            yield f"model.layers.{layer}.{name}", shape
    yield "model.norm.weight", [dim]
    if not c["tied"]:
        yield "lm_head.weight", [c["vocab"], dim]


def check_tensors(c, tensors, folder):
    """Every tensor must be there in its shape and in a type that is known, and no other."""
    left = dict(tensors)
    for name, shape in wanted_tensors(c):
        if name not in left:
            reason = ("; a Qwen2 model has biases on q, k and v" if name.endswith(".bias") else
                      "; config.json says that it is not tied" if name == "lm_head.weight" else "")
            fail(f"{folder}: has no tensor {name}, which the model needs{reason}")
        tensor = left.pop(name)
        if tensor.dtype not in WIDTH:
            fail(f"{tensor.path}: tensor {name} is of type {tensor.dtype}; expected F32, BF16 or "
                 "F16 (a quantised model must be saved unquantised first)")
        if tensor.shape != shape:
            fail(f"{tensor.path}: tensor {name} has shape {tensor.shape}; config.json says {shape}")
    head, table = left.pop("lm_head.weight", None), tensors["model.embed_tokens.weight"]
    if head and (head.dtype not in WIDTH or head.shape != table.shape or any(
            one != other for one, other in zip(values(head, ""), values(table, "")))):
        fail(f"{head.path}: tensor lm_head.weight differs from the embedding table, to which "
             "config.json ties it: which of the two is meant?")
    for name, tensor in left.items():
        if not name.endswith(".rotary_emb.inv_freq"):           # old software saved this constant
            fail(f"{tensor.path}: has a tensor {name}, for which train_attnvar has no place")


# ---- converting ----------------------------------------------------------------------------------

def half_table():
    """The bytes, as F32, of each of the 65,536 numbers of F16."""
    numbers = struct.unpack("<65536e", struct.pack("<65536H", *range(65536)))
    return array("I", struct.unpack("<65536I", struct.pack("<65536f", *numbers)))


HALF = []


def values(tensor, name):
    """The tensor's elements as little-endian F32, in pieces. Each must be a finite number."""
    width = WIDTH[tensor.dtype]
    with open(tensor.path, "rb") as file:
        file.seek(tensor.place)
        for at in range(0, tensor.elements, PIECE):
            count = min(PIECE, tensor.elements - at)
            raw = file.read(count * width)
            if len(raw) != count * width:
                fail(f"{tensor.path}: tensor {name} cannot be read to its end")
            if tensor.dtype == "BF16":                          # the upper half of an F32
                piece = bytearray(4 * count)
                piece[2::4], piece[3::4] = raw[0::2], raw[1::2]
            elif tensor.dtype == "F16":
                if not HALF:
                    HALF.append(half_table())
                halves = array("H", raw)
                if sys.byteorder == "big":
                    halves.byteswap()
                whole = array("I", map(HALF[0].__getitem__, halves))
                if sys.byteorder == "big":
                    whole.byteswap()
                piece = whole.tobytes()
            else:
                piece = raw
            high = piece[3::4]                                  # infinite, NaN: all exponent bits
            if 0x7f in high or 0xff in high:
                for place, (low, top) in enumerate(zip(piece[2::4], high)):
                    if top & 0x7f == 0x7f and low >= 0x80:
                        fail(f"{tensor.path}: element {at + place} of tensor {name} is infinite or "
                             "not a number: the model is damaged")
            yield bytes(piece)


def number_text(x):
    """A number in the fewest digits, 6 to 17, that mean this very double, as C's %g prints it."""
    return next(text for text in (f"{x:.{digits}g}" for digits in range(6, 18)) if float(text) == x)


def metadata(c, seq, weights):
    """What a checkpoint of a model alone keeps: section 12 of dev/notes/porting.md. weights: the
    checksum of all tensors. What belongs to a run is as the C program has it by default."""
    settings = {
        "format": "pt", "attnvar": 3, "step": 0, "rng": 0, "layout": "S" * c["layers"],
        "size": "tiny", "layers": c["layers"], "heads": c["heads"], "kv-heads": c["kv"],
        "dim": c["dim"], "ffn": c["ffn"], "vocab": c["vocab"], "seq": seq,
        "batch": max(1, min(16, 2048 // seq)), "accumulate": 1, "qk-norm": 0,
        "untied": int(not c["tied"]), "rope-base": c["base"], "steps": 1200, "lr": 3e-3,
        "min-lr": "", "warmup": "", "beta1": 0.9, "beta2": 0.99, "decay": 0.1, "clip": 1,
        "seed": 1, "data": "", "val": "", "pairs": 8, "anchor": "", "eval-every": 200,
        "eval-batches": 4, "train-content": "0 00000000", "val-content": "0 00000000",
        "weights": f"{weights:08x}", "moments": "00000000"}
    return {key: number_text(value) if isinstance(value, float) else str(value)
            for key, value in settings.items()}


def write_model(file, c, seq, tensors):
    """model.safetensors, byte for byte as train_attnvar would write it."""
    header, at = {"__metadata__": {}}, 0
    for name, shape in wanted_tensors(c):
        size = 4 * tensors[name].elements
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    checksum = 0
    for turn in "before the tensors", "after them":         # the second time with their checksum
        file.seek(0)
        header["__metadata__"] = kept = metadata(c, seq, checksum)
        front = json.dumps({"__metadata__": kept}, separators=(",", ":"))[:-2]
        kept["metadata"] = f"{zlib.crc32(front.encode()):08x}"      # of the text before it
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(struct.pack("<Q", len(text)) + text)
        for name, _ in wanted_tensors(c) if turn.startswith("before") else ():
            for piece in values(tensors[name], name):
                file.write(piece)
                checksum = zlib.crc32(piece, checksum)


def write_config(file, c, seq):
    """config.json, as train_attnvar writes it."""
    lines = {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": c["vocab"],
        "hidden_size": c["dim"], "intermediate_size": c["ffn"], "num_hidden_layers": c["layers"],
        "num_attention_heads": c["heads"], "num_key_value_heads": c["kv"],
        "max_position_embeddings": seq, "rope_theta": None, "rms_norm_eps": 1e-06,
        "hidden_act": "silu", "initializer_range": 0.02, "attention_dropout": 0.0,
        "use_sliding_window": False, "tie_word_embeddings": c["tied"], "torch_dtype": "float32"}
    texts = [f'  "{key}": {json.dumps(value) if value is not None else format(c["base"], ".17g")}'
             for key, value in lines.items()]
    file.write(("{\n" + ",\n".join(texts) + "\n}\n").encode())


def expect_unlocked(out):
    """Fails if train_attnvar is training in the folder: it then holds a lock on the file `lock`."""
    path = os.path.join(out, "lock")
    if fcntl and os.path.exists(path):
        with open(path, "r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                fail(f"--out {out}: another process is training there: choose another folder")
            except OSError:             # a file system without locks
                pass


def write_checkpoint(out, force, c, seq, tensors):
    """Writes both files under temporary names. When both are complete, renames the model first and
    only then removes what belongs to the run that it replaces: at any moment one of them is whole."""
    for name in RUN_FILES:
        path = os.path.join(out, name)
        if os.path.exists(path) and not force:
            fail(f"{out} holds a run already ({name}): choose another --out, or replace it by "
                 "--force")
    new = not os.path.exists(out)
    os.makedirs(out, exist_ok=True)
    expect_unlocked(out)
    done = {"model.safetensors": lambda file, c, seq: write_model(file, c, seq, tensors),
            "config.json": write_config}
    paths = {name: os.path.join(out, f"{name}.{os.getpid()}.tmp") for name in done}
    try:
        for name, write in done.items():
            with open(paths[name], "wb") as file:
                write(file, c, seq)
                file.flush()
                os.fsync(file.fileno())
        for name in done:
            os.replace(paths[name], os.path.join(out, name))
        new = False
        for name in (*RUN_FILES[2:], *(name + ".tmp" for name in RUN_FILES)):
            if os.path.exists(os.path.join(out, name)):
                os.unlink(os.path.join(out, name))
    finally:
        for path in filter(os.path.exists, paths.values()):
            os.unlink(path)
        if new:
            os.rmdir(out)


def convert(args):
    """Reads MODEL, checks everything, writes FOLDER."""
    if not os.path.isdir(args.model):
        fail(f"{args.model}: expected the folder of a model, with config.json and "
             "model.safetensors")
    if os.path.exists(args.out) and os.path.exists(args.model) and os.path.samefile(
            args.model, args.out):
        fail(f"--out {args.out} is the model's own folder: choose another")
    c = read_config(args.model)
    seq = min(c["positions"], 2048) if args.seq is None else args.seq
    if not 1 <= seq <= 1 << 20:
        fail(f"--seq {seq}: expected a whole number from 1 to {1 << 20}")
    tensors = read_tensors(args.model)
    check_tensors(c, tensors, args.model)
    write_checkpoint(args.out, args.force, c, seq, tensors)
    count = sum(tensors[name].elements for name, _ in wanted_tensors(c))
    print(f"wrote {args.out}: {c['layers']} layers, dim {c['dim']}, heads {c['heads']}, kv-heads "
          f"{c['kv']}, ffn {c['ffn']}, vocab {c['vocab']}, seq {seq} of {c['positions']}, "
          f"{'tied' if c['tied'] else 'untied'}, {count} parameters")


def main():
    """Reads the command line; argparse's own error() would exit with 2."""
    argparse.ArgumentParser.error = lambda self, message: fail(f"{message}; see {self.prog} --help")
    parser = argparse.ArgumentParser(prog="from_hf.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="folder of a Qwen2 model")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="the checkpoint to write")
    parser.add_argument("--seq", metavar="N", type=int, default=None,
                        help="positions of a sequence (default: the model's, 2048 at most)")
    parser.add_argument("--force", action="store_true", help="replace the run in FOLDER")
    try:
        try:
            args = parser.parse_args()
            convert(args)
        finally:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:     # never a traceback
        sys.stdout = sys.stderr
        fail(f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename
             else f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
