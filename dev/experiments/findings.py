"""The paper's findings as rules over a results folder. A finding is a list of checks: a number that
was measured, and the bar that it must pass. It is asked once of each size and vocabulary that was
trained. What is said follows from the numbers alone."""
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
MODELS = [(v, "uniform") for v in VARIANTS] + [(v, "even") for v in SIMPLE]    # Table 1 has these
YES, NO, OPEN = "reproduced", "not reproduced", "not testable at this scale"
DIFFERS, UNMEASURED = "differs by size or vocabulary", "not measured"


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


class Unclear(Exception):
    """Why what was measured cannot decide a finding."""


class Finding(NamedTuple):
    """claim: the paper's, in our words; printed: the paper's own numbers for it; rule: of what is
    asked here; checks: a function of Results and a scope that returns checks or raises Missing;
    over: its scopes, by name in SCOPES; wants: what would decide it; readings: of a claim that can
    be read in more ways than one, (name, checks) each, of which one must hold."""
    key: str
    claim: str
    printed: str
    rule: str
    checks: Callable
    over: str = "texts"
    wants: str = "more seeds"
    readings: tuple = ()


class Part(NamedTuple):
    """What one scope says: a size and a vocabulary, say."""
    label: str
    verdict: str
    reason: str
    checks: list


class Judged(NamedTuple):
    """A finding with what the data say, over all and by part."""
    finding: Finding
    verdict: str
    reason: str
    parts: list

    @property
    def checks(self):
        """Those of the first part that has some."""
        return next((part.checks for part in self.parts if part.checks), [])


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


def kept_here(group, attn, layout):
    """kept() of a group's models; Missing names what is not there."""
    for model in (("standard", "uniform"), ("mlp", "uniform"), (attn, layout)):
        need(f"the text model {model[0]}, {model[1]}", group.mean(*model))
    share = kept(group.mean, attn, layout)
    if share is None:
        raise Unclear("standard is not better than uniform mlp: longer training")
    return share


def kept_checks(variants, layout, bar):
    """A check a variant: it keeps more than the bar."""
    def checks(results, group):
        return [Check(f"{v}, {layout}: kept", kept_here(group, v, layout), bar, "share")
                for v in variants]
    return checks


def below_floor(group):
    """How much of standard's way below the bigram floor uniform mlp goes."""
    floor = need("the bigram floor", group.floor("bigram_floor"))
    full = need("the text model standard", group.mean("standard", "uniform"))
    none = need("the text model mlp, uniform", group.mean("mlp", "uniform"))
    if floor.value - full.value < ONE_SEED["nats"]:
        raise Unclear("standard is not below the bigram floor: longer training")
    return combine(lambda f, s, m: (f - m) / (f - s), floor, full, none)


def check_mixing(results, group):
    """Uniform mlp stays at the bigram floor."""
    return [Check("mlp, uniform: share of standard's way below the bigram floor",
                  below_floor(group), KEPT_NOTHING, "share", above=False)]


def check_worst_mixer(results, group):
    """Uniform nonapprox is worse than every other variant that mixes."""
    loss, worst = group.mean, need("the text model nonapprox, uniform",
                                   group.mean("nonapprox", "uniform"))
    return [Check(f"nonapprox's loss less {v}'s", combine(lambda w, o: w - o, worst, need(
        f"the text model {v}, uniform", loss(v, "uniform"))), 0, "nats")
            for v in VARIANTS if v not in ("mlp", "nonapprox")]


def check_nonapprox_alone(results, group):
    """Uniform nonapprox keeps nothing of what mixing gains."""
    return [Check("nonapprox, uniform: kept", kept_here(group, "nonapprox", "uniform"),
                  KEPT_NOTHING, "share", above=False)]


def check_hybrid_gain(results, group):
    """Each variant loses less between standard layers than alone."""
    loss = group.mean
    return [Check(f"{v}: uniform's loss less the hybrid's", combine(
        lambda u, h: u - h, need(f"the text model {v}, uniform", loss(v, "uniform")),
        need(f"the text model {v}, even", loss(v, "even"))), 0, "nats") for v in SIMPLE]


def check_best_hybrid(results, group):
    """The best hybrid is about as good as standard."""
    shares = [(kept_here(group, v, "even"), v) for v in SIMPLE]
    best, name = max(shares, key=lambda pair: pair[0].value)
    return [Check(f"{name}, even, the best hybrid: kept", best, KEPT_BEST, "share")]


def check_skip(results, group):
    """Without its simple blocks a hybrid knows less than the frequencies of the tokens."""
    floor = need("the unigram floor", group.floor("unigram_floor"))
    return [Check(f"{v}, even, blocks skipped: its loss less the unigram floor", combine(
        lambda s, f: s - f, need(f"the skipped loss of {v}, even", group.mean(
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


def order_by_seed(group, layout):
    """Spearman's correlation of a layout's order with the paper's: the mean of a number a seed."""
    found, models = [], [v for v in VARIANTS if (v, layout) in paper.TABLE1]
    for seed in group.seeds():
        losses = [mean(row["val_loss"] for row in group.runs(v, layout) if row["seed"] == seed)
                  for v in models]
        if None not in losses:
            found.append(spearman([m.value for m in losses],
                                  [paper.loss(v, layout) for v in models]))
    return mean(found)


def check_order(results, group):
    """The order of the seven uniform models."""
    return [Check("rank correlation with the paper's order", need(
        "all seven uniform text models with one seed", order_by_seed(group, "uniform")), RANK_BAR,
        "rank")]


def recalled(results, attn, layout):
    """Accuracy on the recall task; Missing if there is none."""
    return need(f"the recall model {attn}, {layout}",
                results.recall.mean(attn, layout, "recall_accuracy"))


def check_recall_alone(results, scope):
    """Alone only standard and approx look things up."""
    checks = [Check(f"{v}, uniform: accuracy", recalled(results, v, "uniform"), 0.5, "accuracy",
                    above=v in ("standard", "approx")) for v in VARIANTS]
    return checks


def check_recall_hybrid(results, scope):
    """As a hybrid every variant looks things up."""
    return [Check(f"{v}, even: accuracy", recalled(results, v, "even"), 0.5, "accuracy")
            for v in SIMPLE]


def check_layouts(results, pairs):
    """Wherever nonapprox or rndembqk leaves some layers standard, it gains."""
    checks = []
    for group, attn in pairs:
        alone = group.mean(attn, "uniform")
        checks += [Check(f"{attn}, {group.layers} layers: uniform's loss less {layout}'s",
                         combine(lambda u, h: u - h, alone, group.mean(attn, layout)), 0, "nats")
                   for a, layout in group.models() if a == attn and layout != "uniform" and alone]
    return need("uniform models beside the layouts", checks)


def check_sizes(results, groups):
    """At every size mlp stays at the floor and the hybrids stay near standard. A size of which
    models are missing is left out."""
    checks = []
    groups = [group for group in groups if all(group.mean(v, layout) for v, layout in MODELS)]
    if len(groups) < 2:
        raise Missing("all 13 models at two sizes or more")
    for group in groups:
        checks.append(Check(f"{group.size}: mlp's share of standard's way below the bigram floor",
                            below_floor(group), KEPT_NOTHING, "share", above=False))
        for v in SIMPLE:
            checks.append(Check(f"{group.size}: {v}, even: kept", kept_here(group, v, "even"),
                                KEPT_HYBRID, "share"))
    return checks


def over_layers(results, group, attn, pick):
    """The mean over layers of a number from inspect's record of a layer, then over seeds."""
    values = []
    for inspect in results.parts(group, attn, "uniform", "inspect"):
        found = [pick(layer) for layer in inspect.get("indicators") or [] if layer.get("raw")]
        if found and None not in found:
            values.append(sum(found) / len(found))
    return need(f"the indicators of {attn}, uniform", mean(values))


def check_sink(results, group):
    """Standard attention looks at the first token more than an even map would."""
    lengths = [inspect.get("positions") for inspect in
               results.parts(group, "standard", "uniform", "inspect")]
    T = need("the indicators of standard", lengths)[0] or 1
    even = sum(1 / t for t in range(1, T + 1)) / T
    value = over_layers(results, group, "standard", lambda layer: layer["raw"].get("sink"))
    return [Check("standard: sink, mean over layers; the bar is an even map's", value, even,
                  "weight")]


def check_focus(results, group):
    """nonapprox is less local, and more even, than standard."""
    def less(name, part, order):
        sides = [over_layers(results, group, v, lambda layer: (layer.get(part) or {}).get(name))
                 for v in order]
        return combine(lambda a, b: a - b, *sides)
    pair = ("standard", "nonapprox")
    return [Check("locfoc1: standard's less nonapprox's", less("locfoc1", "raw", pair), 0,
                  "weight"),
            Check("entropy, place in its range: nonapprox's less standard's",
                  less("entropy", "normalised", pair[::-1]), 0, "weight")]


def check_scores(results, group):
    """Scores beyond 1000."""
    largest = []
    for inspect in results.parts(group, "nonapprox", "uniform", "inspect"):
        ends = [abs(layer["scores"].get(end) or 0) for layer in inspect.get("indicators") or []
                if layer.get("scores") for end in ("min", "max")]
        largest += [max(ends)] if ends else []
    return [Check("nonapprox, uniform: largest |score|", need(
        "the scores of nonapprox, uniform", mean(largest)), 1000, "score")]


def context_losses(results, group, attn, layout):
    """Mean loss by context length."""
    found = {}
    for pairs in results.parts(group, attn, layout, "context"):
        for pair in pairs:
            if len(pair) == 2 and None not in pair:
                found.setdefault(pair[0], []).append(pair[1])
    return {length: mean(found[length]) for length in sorted(found)}


def context_gains(results, group, attn, layout):
    """Of each run: the loss with a quarter of the longest context less the loss with all of it, on
    the same targets; and both lengths."""
    losses, gains = context_losses(results, group, attn, layout), []
    if len(losses) < 3:
        return [], (None, None)
    longest = max(losses)
    shorter = max((c for c in losses if c * 4 <= longest), default=min(losses))
    for pairs in results.parts(group, attn, layout, "context"):
        of = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
        if None not in (of.get(shorter), of.get(longest)):
            gains.append(of[shorter] - of[longest])
    return gains, (shorter, longest)


def position_gains(results, group, attn, layout):
    """Of each run: the mean loss around a quarter of the window less that in its last quarter. The
    targets differ, so only differences between models say something."""
    gains = []
    for line in results.parts(group, attn, layout, "loss_by_position"):
        T = len(line)
        sides = [mean(line[T // 8:3 * T // 8]), mean(line[3 * T // 4:])]
        gains += [sides[0].value - sides[1].value] if T >= 8 and None not in sides else []
    return gains


def check_context(results, group):
    """standard goes on gaining from a longer context, up to all of it."""
    gains, (shorter, longest) = context_gains(results, group, "standard", "uniform")
    return [Check(f"standard: loss at {shorter} tokens less that at {longest}", need(
        "standard's loss at three context lengths or more", mean(gains)), 0, "nats")]


def check_range(layout):
    """Each variant gains more from the far context than standard does: by context, or by position
    where more seeds have that."""
    def checks(results, group):
        gains = {}
        for v in VARIANTS:
            model = (v, "uniform" if v == "standard" else layout)
            gains[v] = (context_gains(results, group, *model)[0],
                        position_gains(results, group, *model))
        which = max((0, 1), key=lambda i: min(len(gains[v][i]) for v in VARIANTS))
        of = {v: need(f"the loss of {v}, {layout}, by context or position", mean(gains[v][which]))
              for v in VARIANTS}
        return [Check(f"{v}, {layout}: gain from the last three quarters of the context, less "
                      "standard's", combine(lambda a, b: a - b, of[v], of["standard"]), 0, "nats")
                for v in SIMPLE]
    return checks


def late_loss(results, group, attn, layout):
    """The training loss over the last tenth of the steps, from the curves."""
    values = []
    for curve in results.parts(group, attn, layout, "curve"):
        points = [p for p in curve if len(p) > 1 and None not in p[:2]]
        late = [p[1] for p in points if p[0] > 0.9 * points[-1][0]]
        values += [sum(late) / len(late)] if late else []
    return need(f"the training curve of {attn}, {layout}", mean(values))


def check_training(layout):
    """nonapprox has the lowest training loss."""
    def checks(results, group):
        mine = late_loss(results, group, "nonapprox", layout)
        return [Check(f"{v}'s training loss less that of nonapprox, {layout}", combine(
            lambda a, b: a - b, late_loss(results, group, v, layout), mine), 0, "nats")
                for v in VARIANTS if v != "nonapprox"]
    return checks


def check_cost(results, scope):
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
    Finding("mixing", "Mixing is indispensable.",
            f"Uniform mlp: {paper.TABLE1['mlp', 'uniform'][0]} on the seven tasks, where chance is "
            f"{paper.CHANCE}; perplexity {paper.TABLE1['mlp', 'uniform'][1]} against "
            f"{paper.TABLE1['standard', 'uniform'][1]} of standard.",
            f"uniform mlp goes less than {KEPT_NOTHING:.0%} of standard's way below the bigram "
            "floor", check_mixing),
    Finding("form", "The form can be relaxed: a Taylor polynomial can replace "
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
    Finding("gain", "Each variant is better as a hybrid than alone.", "True of all six, by "
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
            "time, the other five are not", check_recall_alone, "once"),
    Finding("recall-hybrid", "As hybrids all six recall from the context.",
            "LAMBADA accuracy of the hybrids: 20.3 to 23.8.",
            "in the recall task all six hybrids are right more than half of the time",
            check_recall_hybrid, "once"),
    Finding("layouts", "Leaving any layers standard helps (Fig. 3).",
            "Nine layouts of rndembqk and nonapprox, drawn in Fig. 3.",
            "in every layout measured, the loss is below uniform's", check_layouts, "layouts"),
    Finding("sizes", "The picture is the same at all sizes (Fig. 4).", "70M to 500M parameters.",
            f"at every size, mlp goes less than {KEPT_NOTHING:.0%} below the bigram floor and all "
            f"hybrids keep more than {KEPT_HYBRID:.0%}", check_sizes, "sizes"),
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
            "standard's time more", check_cost, "once"),
    Finding("training", "Non-approximate attention has the lowest training loss at every size (a "
            "published summary of the paper).", "Drawn in Fig. 5; in Table 1, uniform nonapprox is "
            "last by perplexity.", "over the last tenth of the steps, nonapprox's training loss is "
            "below all the others': read of uniform models, or of hybrids", check_training("even"),
            readings=(("uniform", check_training("uniform")), ("hybrid", check_training("even")))),
    Finding("range", "The variants handle long ranges better than standard (a published summary of "
            "the paper).", "Table 4: perplexity against 128 to 2048 tokens of context.",
            "each variant gains more than standard from the last three quarters of its context: "
            "read of uniform models, or of hybrids", check_range("even"),
            wants="longer windows, and a corpus in which far words matter",
            readings=(("uniform", check_range("uniform")), ("hybrid", check_range("even")))),
]

# The scopes of a finding: (label, what its checks are given).
SCOPES = {
    "texts": lambda results: [(group.label, group) for group in results.texts],
    "once": lambda results: [("", None)],
    "sizes": lambda results: results.sizes(),
    "layouts": lambda results: [
        (label, [pair for pair in results.layouts() if pair[0].label == label])
        for label in dict.fromkeys(pair[0].label for pair in results.layouts())],
}

WANTED = {"texts": "models of a text", "sizes": "models of two sizes or more",
          "layouts": "three layouts or more of one variant"}       # where there is no scope


def weigh(checks):
    """(verdict, reason) of checks."""
    verdicts = [check.verdict() for check in checks]
    if NO in verdicts:
        return NO, f"{verdicts.count(NO)} of {len(checks)} on the wrong side"
    if OPEN in verdicts:
        one = any(check.value.error is None for check in checks)
        bound = "what one seed can tell" if one else "two standard errors"
        return OPEN, f"{verdicts.count(OPEN)} of {len(checks)} margins within {bound}"
    return YES, ""


def judge_part(finding, results, label, scope):
    """What one scope says."""
    found = []
    for name, checks in finding.readings or (("", finding.checks),):
        try:
            made = checks(results, scope)
            found.append((name, *weigh(made), made))
        except Missing as missing:
            found.append((name, UNMEASURED, str(missing), []))
        except Unclear as unclear:
            found.append((name, OPEN, str(unclear), []))
    if len(found) == 1:
        return Part(label, *found[0][1:])
    order = (YES, OPEN, UNMEASURED, NO)             # one reading must hold
    best = min(found, key=lambda part: order.index(part[1]))
    reason = "; ".join(f"{name}: {verdict}{f' ({why})' if why else ''}"
                       for name, verdict, why, _ in found)
    return Part(label, best[1], reason, best[3])


def judge(finding, results):
    """The verdict that the data give, over all scopes: YES or NO where those that decide agree."""
    parts = [judge_part(finding, results, label, scope)
             for label, scope in SCOPES[finding.over](results)]
    if not parts:
        return Judged(finding, UNMEASURED, WANTED[finding.over], [])
    seen = [part for part in parts if part.verdict != UNMEASURED]
    if not seen:
        return Judged(finding, UNMEASURED, parts[0].reason, parts)
    decided = {part.verdict for part in seen} - {OPEN}
    if len(decided) == 2:
        return Judged(finding, DIFFERS, "", seen)
    verdict = decided.pop() if decided else OPEN
    first = next(part for part in seen if part.verdict == verdict)
    return Judged(finding, verdict, first.reason, seen)


def judge_all(results):
    """Every finding's verdict, in the paper's order."""
    return [judge(finding, results) for finding in FINDINGS]
