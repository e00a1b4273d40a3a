"""The paper's findings as rules over a results folder. A finding is a list of checks: a number that
was measured, and the bar that it must pass. What is said follows from the numbers alone."""
from typing import Callable, NamedTuple

import paper
from paper import SIMPLE, VARIANTS
from results import Mean, combine, exact, mean

# Of one seed no error is known. A margin then has to exceed this to count, in the check's unit.
ONE_SEED = {"nats": 0.05, "share": 0.05, "accuracy": 0.05, "weight": 0.01, "rank": 0.0,
            "score": 0.0, "times": 0.2}
KEPT_ALONE, KEPT_HYBRID, KEPT_BEST, KEPT_NOTHING = 0.5, 0.75, 0.95, 0.1
# With probability 0.05 a random order of seven agrees better than this (Spearman, one-sided).
RANK_BAR = 0.714
YES, NO, OPEN = "reproduced", "not reproduced", "not testable at this scale"


class Check(NamedTuple):
    """value must be above its bar, or below it."""
    label: str
    value: Mean
    bar: float
    unit: str
    above: bool = True

    def margin(self):
        """How far on the right side of the bar; negative on the wrong side."""
        return (self.value.value - self.bar) * (1 if self.above else -1)

    def noise(self):
        """What a margin has to exceed: two standard errors, or a fixed bound for one seed."""
        return ONE_SEED[self.unit] if self.value.error is None else 2 * self.value.error

    def verdict(self):
        """YES, NO, or OPEN if the margin is within the noise."""
        if abs(self.margin()) <= self.noise():
            return OPEN
        return YES if self.margin() > 0 else NO


class Missing(Exception):
    """What a finding would need and the folder does not have."""


class Finding(NamedTuple):
    """claim: the paper's, in our words; printed: the paper's own numbers for it; rule: of what is
    asked here; checks: a function of Results that returns checks or raises Missing."""
    key: str
    claim: str
    printed: str
    rule: str
    checks: Callable


class Judged(NamedTuple):
    """A finding with what the data say."""
    finding: Finding
    verdict: str
    reason: str
    checks: list


def kept(loss, attn, layout):
    """The share of what mixing gains that a model keeps: 1 is standard, 0 is uniform mlp."""
    none, full = loss("mlp", "uniform"), loss("standard", "uniform")
    if none is None or full is None or none.value - full.value < ONE_SEED["nats"]:
        return None
    return combine(lambda n, f, x: (n - x) / (n - f), none, full, loss(attn, layout))


def paper_kept(attn, layout):
    """The same of the paper's own perplexities."""
    def loss(a, l):
        return exact(paper.loss(a, l))
    share = kept(loss, attn, layout)
    return share.value if share else None


def need(what, value):
    """value, unless it is missing."""
    if value is None or value == []:
        raise Missing(what)
    return value


def kept_here(results, attn, layout):
    """kept() of the main text models; Missing names what is not there."""
    group = results.text
    for model in (("standard", "uniform"), ("mlp", "uniform"), (attn, layout)):
        need(f"the text model {model[0]}, {model[1]}", group.mean(*model))
    return need("a standard model that is better than uniform mlp",
                kept(group.mean, attn, layout))


def kept_checks(variants, layout, bar):
    """A check a variant: it keeps more than the bar."""
    def checks(results):
        return [Check(f"{v}, {layout}: kept", kept_here(results, v, layout), bar, "share")
                for v in variants]
    return checks


def below_floor(group):
    """How much of standard's way below the bigram floor uniform mlp goes."""
    floor = need("the bigram floor", group.floor("bigram_floor"))
    full = need("the text model standard", group.mean("standard", "uniform"))
    none = need("the text model mlp, uniform", group.mean("mlp", "uniform"))
    if floor.value - full.value < ONE_SEED["nats"]:
        raise Missing("a standard model below the bigram floor: longer training")
    return combine(lambda f, s, m: (f - m) / (f - s), floor, full, none)


def check_mixing(results):
    """Uniform mlp stays at the bigram floor."""
    return [Check("mlp, uniform: share of standard's way below the bigram floor",
                  below_floor(results.text), KEPT_NOTHING, "share", above=False)]


def check_worst_mixer(results):
    """Uniform nonapprox is worse than every other variant that mixes."""
    loss, worst = results.text.mean, need("the text model nonapprox, uniform",
                                          results.text.mean("nonapprox", "uniform"))
    return [Check(f"nonapprox's loss less {v}'s", combine(lambda w, o: w - o, worst, need(
        f"the text model {v}, uniform", loss(v, "uniform"))), 0, "nats")
            for v in VARIANTS if v not in ("mlp", "nonapprox")]


def check_nonapprox_alone(results):
    """Uniform nonapprox keeps nothing of what mixing gains."""
    return [Check("nonapprox, uniform: kept", kept_here(results, "nonapprox", "uniform"),
                  KEPT_NOTHING, "share", above=False)]


def check_hybrid_gain(results):
    """Each variant loses less between standard layers than alone."""
    loss = results.text.mean
    return [Check(f"{v}: uniform's loss less the hybrid's", combine(
        lambda u, h: u - h, need(f"the text model {v}, uniform", loss(v, "uniform")),
        need(f"the text model {v}, even", loss(v, "even"))), 0, "nats") for v in SIMPLE]


def check_best_hybrid(results):
    """The best hybrid is about as good as standard."""
    shares = [(kept_here(results, v, "even"), v) for v in SIMPLE]
    best, name = max(shares, key=lambda pair: pair[0].value)
    return [Check(f"{name}, even, the best hybrid: kept", best, KEPT_BEST, "share")]


def check_skip(results):
    """Without its simple blocks a hybrid knows less than the frequencies of the tokens."""
    floor = need("the unigram floor", results.text.floor("unigram_floor"))
    return [Check(f"{v}, even, blocks skipped: its loss less the unigram floor", combine(
        lambda s, f: s - f, need(f"the skipped loss of {v}, even", results.text.mean(
            v, "even", "skip_blocks")), floor), 0, "nats") for v in SIMPLE]


def ranks(values):
    """The rank of each, 1 for the least; ties share the mean of theirs."""
    return [sum(y < x for y in values) + (1 + sum(y == x for y in values)) / 2 for x in values]


def spearman(a, b):
    """The rank correlation, or None where one of both is all ties."""
    a, b = ranks(a), ranks(b)
    middle = (len(a) + 1) / 2
    spread = [sum((x - middle) ** 2 for x in side) for side in (a, b)]
    if not all(spread):
        return None
    return sum((x - middle) * (y - middle) for x, y in zip(a, b)) / (spread[0] * spread[1]) ** 0.5


def order_by_seed(group):
    """Spearman's correlation of the uniform models' order with the paper's, a number a seed."""
    found = []
    for seed in group.seeds():
        losses = [mean(row["val_loss"] for row in group.runs(v, "uniform") if row["seed"] == seed)
                  for v in VARIANTS]
        if None not in losses:
            found.append(spearman([m.value for m in losses],
                                  [paper.loss(v, "uniform") for v in VARIANTS]))
    return mean(found)


def check_order(results):
    """The order of the seven uniform models."""
    return [Check("rank correlation with the paper's order", need(
        "all seven uniform text models with one seed", order_by_seed(results.text)), RANK_BAR,
        "rank")]


def recalled(results, attn, layout):
    """Accuracy on the recall task; Missing if there is none."""
    return need(f"the recall model {attn}, {layout}",
                results.recall.mean(attn, layout, "recall_accuracy"))


def check_recall_alone(results):
    """Alone only standard and approx look things up."""
    checks = [Check(f"{v}, uniform: accuracy", recalled(results, v, "uniform"), 0.5, "accuracy",
                    above=v in ("standard", "approx")) for v in VARIANTS]
    return checks


def check_recall_hybrid(results):
    """As a hybrid every variant looks things up."""
    return [Check(f"{v}, even: accuracy", recalled(results, v, "even"), 0.5, "accuracy")
            for v in SIMPLE]


def check_layouts(results):
    """Wherever nonapprox or rndembqk leaves some layers standard, it gains."""
    checks = []
    for group, attn in results.layouts():
        alone = group.mean(attn, "uniform")
        checks += [Check(f"{attn}, {group.layers} layers: uniform's loss less {layout}'s",
                         combine(lambda u, h: u - h, alone, group.mean(attn, layout)), 0, "nats")
                   for a, layout in group.models() if a == attn and layout != "uniform" and alone]
    return need("three layouts or more of one variant", checks)


def check_sizes(results):
    """At every size mlp stays at the floor and the hybrids stay near standard."""
    groups = results.sizes()
    if len(groups) < 2:
        raise Missing("text models of two sizes or more")
    checks = []
    for group in groups:
        checks.append(Check(f"{group.size}: mlp's share of standard's way below the bigram floor",
                            below_floor(group), KEPT_NOTHING, "share", above=False))
        for v in SIMPLE:
            share = kept(group.mean, v, "even")
            checks.append(Check(f"{group.size}: {v}, even: kept", need(
                f"the text model {v}, even, at size {group.size}", share), KEPT_HYBRID, "share"))
    return checks


def over_layers(results, attn, pick):
    """The mean over layers of a number from inspect's record of a layer, then over seeds."""
    values = []
    for inspect in results.parts(results.text, attn, "uniform", "inspect"):
        found = [pick(layer) for layer in inspect.get("indicators") or [] if layer.get("raw")]
        if found and None not in found:
            values.append(sum(found) / len(found))
    return need(f"the indicators of {attn}, uniform", mean(values))


def check_sink(results):
    """Standard attention looks at the first token more than an even map would."""
    lengths = [inspect.get("positions") for inspect in
               results.parts(results.text, "standard", "uniform", "inspect")]
    T = need("the indicators of standard", lengths)[0] or 1
    even = sum(1 / t for t in range(1, T + 1)) / T
    value = over_layers(results, "standard", lambda layer: layer["raw"].get("sink"))
    return [Check("standard: sink, mean over layers; the bar is an even map's", value, even,
                  "weight")]


def check_focus(results):
    """nonapprox is less local, and more even, than standard."""
    def less(name, part, order):
        sides = [over_layers(results, v, lambda layer: (layer.get(part) or {}).get(name))
                 for v in order]
        return combine(lambda a, b: a - b, *sides)
    pair = ("standard", "nonapprox")
    return [Check("locfoc1: standard's less nonapprox's", less("locfoc1", "raw", pair), 0,
                  "weight"),
            Check("entropy, place in its range: nonapprox's less standard's",
                  less("entropy", "normalised", pair[::-1]), 0, "weight")]


def check_scores(results):
    """Scores beyond 1000."""
    largest = []
    for inspect in results.parts(results.text, "nonapprox", "uniform", "inspect"):
        ends = [abs(layer["scores"].get(end) or 0) for layer in inspect.get("indicators") or []
                if layer.get("scores") for end in ("min", "max")]
        largest += [max(ends)] if ends else []
    return [Check("nonapprox, uniform: largest |score|", need(
        "the scores of nonapprox, uniform", mean(largest)), 1000, "score")]


def context_losses(results, attn, layout):
    """Mean loss by context length."""
    found = {}
    for pairs in results.parts(results.text, attn, layout, "context"):
        for pair in pairs:
            if len(pair) == 2 and None not in pair:
                found.setdefault(pair[0], []).append(pair[1])
    return {length: mean(found[length]) for length in sorted(found)}


def check_context(results):
    """standard goes on gaining from a longer context, up to all of it."""
    losses = context_losses(results, "standard", "uniform")
    if len(losses) < 3:
        raise Missing("standard's loss at three context lengths or more")
    longest = max(losses)
    shorter = max((c for c in losses if c * 4 <= longest), default=min(losses))
    return [Check(f"standard: loss at {shorter:g} tokens less that at {longest:g}", combine(
        lambda a, b: a - b, losses[shorter], losses[longest]), 0, "nats")]


def check_cost(results):
    """Time a token: standard's grows with T, nonapprox's and mlp's do not."""
    def growth(attn):
        found = {}
        for point in results.details.get("time_per_token") or []:
            if point.get("attn") == attn and None not in (point.get("T"), point.get("forward_ns")):
                found[point["T"]] = point["forward_ns"] + (point.get("backward_ns") or 0)
        if len(found) < 2 or not found[min(found)]:
            raise Missing(f"the time a token of {attn} at two lengths")
        return Mean(found[max(found)] / found[min(found)], None, 1), max(found) / min(found)
    fast, longer = growth("nonapprox")
    return [Check(f"nonapprox: time a token, {longer:g} times the length", fast, 2, "times",
                  above=False),
            Check("standard: the same", growth("standard")[0], 2, "times")]


def printed(variants, layout):
    """The paper's own kept shares as a sentence."""
    return "Kept, from its perplexities: " + ", ".join(
        f"{v} {paper_kept(v, layout):.0%}" for v in variants) + "."


FINDINGS = [
    Finding("mixing", "Token mixing is indispensable.",
            f"Uniform mlp: {paper.TABLE1['mlp', 'uniform'][0]} on the seven tasks, where chance is "
            f"{paper.CHANCE}; perplexity {paper.TABLE1['mlp', 'uniform'][1]} against "
            f"{paper.TABLE1['standard', 'uniform'][1]} of standard.",
            f"uniform mlp goes less than {KEPT_NOTHING:.0%} of standard's way below the bigram "
            "floor", check_mixing),
    Finding("form", "The mathematical form can be relaxed: a Taylor polynomial does instead of "
            "the exponential.", printed(["approx"], "uniform"),
            f"uniform approx keeps more than {KEPT_ALONE:.0%} of what mixing gains",
            kept_checks(["approx"], "uniform", KEPT_ALONE)),
    Finding("sequence", "The dependence of the map on the sequence can be relaxed.",
            printed(["rndembqk", "fixedseqqk"], "uniform"),
            f"both anchored variants, uniform, keep more than {KEPT_ALONE:.0%}",
            kept_checks(["rndembqk", "fixedseqqk"], "uniform", KEPT_ALONE)),
    Finding("current", "Queries and keys need not come from the layer's own hidden state.",
            printed(["staticembqk"], "uniform"),
            f"uniform staticembqk keeps more than {KEPT_ALONE:.0%}",
            kept_checks(["staticembqk"], "uniform", KEPT_ALONE)),
    Finding("worst", "Of the variants that mix, nonapprox alone is the worst.",
            printed([v for v in SIMPLE if v != "mlp"], "uniform"),
            "uniform nonapprox has a larger loss than each of the five others that mix",
            check_worst_mixer),
    Finding("nonapprox", "Alone, nonapprox is no better than no mixing at all.",
            printed(["nonapprox"], "uniform"),
            f"uniform nonapprox keeps less than {KEPT_NOTHING:.0%} of what mixing gains",
            check_nonapprox_alone),
    Finding("order", "The order of the seven uniform models.",
            "By perplexity: " + ", ".join(sorted(VARIANTS, key=lambda v: paper.loss(v, "uniform")))
            + ".", f"Spearman's correlation with it is above {RANK_BAR}, which a random order of "
            "seven exceeds once in twenty times", check_order),
    Finding("hybrid", "What fails alone works where some layers stay standard.",
            printed(SIMPLE, "even"),
            f"mlp and nonapprox, even, keep more than {KEPT_HYBRID:.0%}",
            kept_checks(["mlp", "nonapprox"], "even", KEPT_HYBRID)),
    Finding("all-hybrids", "Every principle can be relaxed in a hybrid.", printed(SIMPLE, "even"),
            f"all six hybrids keep more than {KEPT_HYBRID:.0%}",
            kept_checks(SIMPLE, "even", KEPT_HYBRID)),
    Finding("gain", "Each variant is better as a hybrid than alone.", "So it is for all six, by "
            "perplexity and by accuracy.", "for all six, uniform's loss is above the hybrid's",
            check_hybrid_gain),
    Finding("best", "Hybrids are on a par with standard.",
            f"Accuracy {paper.TABLE1['nonapprox', 'even'][0]} (nonapprox, even) against "
            f"{paper.TABLE1['standard', 'uniform'][0]}; perplexity "
            f"{paper.TABLE1['fixedseqqk', 'even'][1]} (fixedseqqk, even) against "
            f"{paper.TABLE1['standard', 'uniform'][1]}.",
            f"the best hybrid keeps more than {KEPT_BEST:.0%}", check_best_hybrid),
    Finding("skip", "Dropping the simple blocks of a trained hybrid destroys it.",
            "Perplexity 20,000 to 2,000,000; accuracy at chance.",
            "each skipped hybrid is worse than the unigram floor", check_skip),
    Finding("recall", "Alone, only standard and approx recall words from the context.",
            "LAMBADA accuracy of the uniform models: standard 22.9, approx 18.5, all others 3.3 or "
            "less.", "in the recall task, uniform, those two are right more than half of the "
            "time, the other five are not", check_recall_alone),
    Finding("recall-hybrid", "As hybrids all six recall from the context.",
            "LAMBADA accuracy of the hybrids: 20.3 to 23.8.",
            "in the recall task all six hybrids are right more than half of the time",
            check_recall_hybrid),
    Finding("layouts", "Leaving any layers standard helps (Fig. 3).",
            "Nine layouts of rndembqk and nonapprox, drawn in Fig. 3.",
            "in every layout measured, the loss is below uniform's", check_layouts),
    Finding("sizes", "The picture is the same at all sizes (Fig. 4).", "70M to 500M parameters.",
            f"at every size, mlp goes less than {KEPT_NOTHING:.0%} below the bigram floor and all "
            f"hybrids keep more than {KEPT_HYBRID:.0%}", check_sizes),
    Finding("focus", "nonapprox spreads its attention and has little local focus (Fig. 1).",
            "Drawn, not printed as numbers.",
            "uniform, mean over layers: its weight on the token before is below standard's, its "
            "entropy above", check_focus),
    Finding("sink", "Standard attention has a sink: the first token (Fig. 1).",
            "Drawn, not printed as numbers.",
            "standard's mean weight on the first token is above that of an even map", check_sink),
    Finding("scores", "nonapprox's scores before the softmax grow very large (Fig. 2).",
            "Above 1000.", "the largest |score| of uniform nonapprox exceeds 1000", check_scores),
    Finding("context", "A longer context goes on helping (Table 4).",
            "Perplexity against 128 to 2048 tokens of context.",
            "standard's loss with the longest context is below that with a quarter of it",
            check_context),
    Finding("cost", "mlp and nonapprox cost the same a token at any length; standard does not "
            "(Tables 5 to 8).", "Formulas; see the section on cost.",
            "over the lengths measured, nonapprox's time a token grows less than twofold, "
            "standard's more", check_cost),
]


def judge(finding, results):
    """The verdict that the data give."""
    try:
        checks = finding.checks(results)
    except Missing as missing:
        return Judged(finding, OPEN, f"not measured: {missing}", [])
    verdicts = [check.verdict() for check in checks]
    if NO in verdicts:
        failing = [check.label for check in checks if check.verdict() == NO]
        return Judged(finding, NO, f"{len(failing)} of {len(checks)} on the wrong side", checks)
    if OPEN in verdicts:
        one = any(check.value.error is None for check in checks)
        bound = "what one seed can tell" if one else "two standard errors"
        return Judged(finding, OPEN, f"{verdicts.count(OPEN)} of {len(checks)} margins within "
                      + bound, checks)
    return Judged(finding, YES, "", checks)


def judge_all(results):
    """Every finding's verdict, in the paper's order."""
    return [judge(finding, results) for finding in FINDINGS]
