"""What the paper printed, and what this project calls its variants. The report sets these numbers
beside ours. Source: "Deconstructing Attention", arXiv 2510.11602 v1; the tables are named below."""
import math

# In the paper's order. The principle is the one that the variant relaxes.
VARIANTS = ("standard", "mlp", "approx", "nonapprox", "rndembqk", "fixedseqqk", "staticembqk")
SIMPLE = VARIANTS[1:]
PRINCIPLE = {
    "standard": "nothing",
    "mlp": "1, mixing: positions do not see each other",
    "approx": "2, the form: a second-order Taylor polynomial",
    "nonapprox": "2, the form: one score a key",
    "rndembqk": "3, dependence on the sequence: one random map for all texts",
    "fixedseqqk": "3, dependence on the sequence: one text's map for all texts",
    "staticembqk": "4, queries and keys of the current layer: from the embeddings",
}
PAPER_NAME = {
    "standard": "Standard", "mlp": "MLP", "approx": "Approximate", "nonapprox": "Non-approximate",
    "rndembqk": "RndEmbQK", "fixedseqqk": "FixedSeqQK", "staticembqk": "StaticEmbQK",
}
INITIAL = {"S": "standard", "M": "mlp", "A": "approx", "N": "nonapprox", "R": "rndembqk",
           "F": "fixedseqqk", "E": "staticembqk"}

# Table 1, 500M parameters: average accuracy over seven language understanding tasks (%), word
# perplexity on WikiText, accuracy on LAMBADA (%). "even" is the paper's hybrid; "skip" is the same
# model without its simple blocks.
TABLE1 = {
    ("standard", "uniform"): (51.9, 38.1, 22.9),
    ("mlp", "uniform"): (40.0, 993.5, 0.0),
    ("approx", "uniform"): (50.2, 47.9, 18.5),
    ("nonapprox", "uniform"): (39.3, 9e4, 0.0),
    ("rndembqk", "uniform"): (48.0, 84.8, 1.3),
    ("fixedseqqk", "uniform"): (50.0, 79.1, 1.4),
    ("staticembqk", "uniform"): (49.4, 79.9, 3.3),
    ("mlp", "even"): (48.7, 45.8, 20.8),
    ("approx", "even"): (51.6, 39.4, 23.7),
    ("nonapprox", "even"): (52.9, 39.4, 23.8),
    ("rndembqk", "even"): (49.8, 39.3, 22.0),
    ("fixedseqqk", "even"): (52.6, 38.5, 20.3),
    ("staticembqk", "even"): (51.8, 38.7, 23.8),
    ("mlp", "skip"): (37.8, 2e5, 0.0),
    ("approx", "skip"): (39.8, 2e6, 0.0),
    ("nonapprox", "skip"): (37.5, 5e5, 0.0),
    ("rndembqk", "skip"): (39.5, 2e4, 0.0),
    ("fixedseqqk", "skip"): (39.2, 2e5, 0.0),
    ("staticembqk", "skip"): (39.7, 7e4, 0.0),
}
CHANCE = 39.9           # of the seven tasks together


def loss(attn, layout):
    """The paper's loss in nats a word: the logarithm of the perplexity that it printed."""
    cell = TABLE1.get((attn, layout))
    return math.log(cell[1]) if cell else None


# The layers that stay standard, numbered from 1 to n.
LAYOUTS = {
    "uniform": lambda l, n: False,
    "first": lambda l, n: l == 1,
    "last": lambda l, n: l == n,
    "bilateral": lambda l, n: l in (1, n),
    "25": lambda l, n: l % 4 == 0,
    "even": lambda l, n: l % 2 == 0,
    "odd": lambda l, n: l % 2 == 1,
    "top": lambda l, n: 2 * l <= n,
    "middle": lambda l, n: 4 * l <= n or 4 * l > 3 * n,
    "bottom": lambda l, n: 2 * l > n,
}


def layer_kinds(attn, layout, layers):
    """The variant of each layer, or None for a layout that is neither a name nor a list."""
    if layout in LAYOUTS:
        stays = LAYOUTS[layout]
        return ["standard" if stays(l, layers) else attn for l in range(1, layers + 1)]
    kinds = [INITIAL.get(letter) for letter in layout]
    return kinds if len(kinds) == layers and None not in kinds else None
