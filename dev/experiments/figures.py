"""The report's figures. Each function takes Results and returns a list of figures (Svg), empty if
what it would draw was not measured. They are narrow, so that a phone shows them at full size and a
wider page sets them side by side."""
import math

import paper
from findings import context_losses, kept, paper_kept
from paper import SIMPLE, VARIANTS
from results import COSTS, INDICATORS, mean
from svg import COLOUR, MARK, Plot, Scale, Svg, padded, png, short

FLOORS = (("chance", "chance_loss"), ("unigram", "unigram_floor"), ("bigram", "bigram_floor"))
LAYOUT_ORDER = ("uniform", "even")


def told(m, digits=3):
    """A mean with its error: 1.607 ± 0.012."""
    if m is None:
        return ""
    return f"{m.value:.{digits}f}" + ("" if m.error is None else f" ± {m.error:.{digits}f}")


def floors(group):
    """(name, loss) of the floors that are known."""
    found = [(name, group.floor(column)) for name, column in FLOORS]
    return [(name, m.value) for name, m in found if m]


# Of each principle: its number and name as in train_attnvar.c, and the variants that relax it.
PRINCIPLES = (("1 Mixing", ("mlp",)), ("2 The form", ("approx", "nonapprox")),
              ("3 Dependence on the sequence", ("rndembqk", "fixedseqqk")),
              ("4 Queries and keys of the current layer", ("staticembqk",)))


def principle(results, title, variants):
    """What the variants of one principle keep, alone and between standard layers: a row each of
    bytes and tokens."""
    rows = [(v, group) for v in variants for group in results.mains
            if any(kept(group.mean, v, layout) for layout in LAYOUT_ORDER)]
    if not rows:
        return []
    shares = {(v, group.label, layout): kept(group.mean, v, layout)
              for v, group in rows for layout in LAYOUT_ORDER}
    ends = [m.value for m in shares.values() if m] + [0, 1]
    svg = Svg(350, 66 + 26 * len(rows), f"{title}: the share of what mixing gains that is kept")
    svg.x = Scale(*padded(ends, 0.06), 142, 336)
    bottom = 30 + 26 * len(rows)
    for value in (0, 0.5, 1):
        svg.line(svg.x(value), 24, svg.x(value), bottom, "axis" if value != 0.5 else "grid")
        svg.text(svg.x(value), bottom + 15, f"{value:.0%}", "middle", 11, "soft")
    svg.text(svg.x(0), 18, "no mixing", "middle", 11, "soft")
    svg.text(min(svg.x(1), 322), 18, "standard", "middle", 11, "soft")
    svg.text((142 + 336) / 2, bottom + 31, "kept of what mixing gains", "middle", 11.5)
    for i, (v, group) in enumerate(rows):
        y = 42 + 26 * i
        svg.text(84, y + 4, v, "end", 12)
        svg.text(90, y + 4, "bytes" if group.unit == "byte" else "tokens", size=11, class_="soft")
        svg.line(142, y, 336, y)
        for layout, place in (("uniform", y - 4), ("even", y + 4)):
            m = shares[v, group.label, layout]
            if not m:
                continue
            if m.error:
                svg.bar_x(svg.x(m.value - m.error), svg.x(m.value + m.error), place, v)
            svg.mark(svg.x(m.value), place, v, f"{v}, {layout}, {group.kind}: keeps "
                     f"{m.value:.0%}", layout == "uniform")
    return [svg]


def deconstruction(group, width=350):
    """Loss by variant: uniform (filled), even (open), skipped (cross), floors as lines."""
    wide = width > 500
    models = [(v, layout) for v in VARIANTS for layout in LAYOUT_ORDER
              if group.mean(v, layout) and (v, layout) != ("standard", "even")]
    if not models:
        return []
    skips = {v: group.mean(v, "even", "skip_blocks") for v in SIMPLE}
    losses = [loss for _, loss in floors(group)]
    for m in [group.mean(*model) for model in models] + [m for m in skips.values() if m]:
        losses += [m.value - (m.error or 0), m.value + (m.error or 0)]
    seeds = len(group.seeds())
    top, row, left = 86 if wide else 108, 34 if wide else 32, 112 if wide else 88
    right = width - (132 if wide else 14)
    svg = Svg(width, top + row * len(VARIANTS) + 44, "Validation loss of each attention variant, "
              "uniform, hybrid and with its simple blocks skipped, beside chance, unigram and "
              "bigram floors")
    svg.text(14, 24, ("Deconstructed attention: loss by variant" if wide else "Loss by variant")
             + f", {group.kind}", size=15, font_weight="600")
    svg.x = Scale(*padded(losses, 0.05), left, right)
    frame(svg, group, top, top + row * len(VARIANTS), left, right)
    for i, v in enumerate(VARIANTS):
        dot_row(svg, group, v, top + row * (i + 0.5), skips.get(v), left)
        if wide:
            numbers(svg, group, v, top + row * (i + 0.5) + 4, right)
    explain(svg, seeds, wide)
    svg.text((left + right) / 2, svg.height - 8, f"{'validation ' if wide else ''}loss, nats a "
             f"{group.unit} (left is better)", "middle", 12)
    return [svg]


def frame(svg, group, top, bottom, left, right):
    """Grid, ticks and floors of the deconstruction; labels of close floors on two levels."""
    for value in svg.x.ticks(6):
        svg.line(svg.x(value), top, svg.x(value), bottom)
        svg.text(svg.x(value), bottom + 16, short(value), "middle", 11, "soft")
    level, last = 0, None
    known = sorted(floors(group), key=lambda floor: floor[1])
    for i, (name, loss) in enumerate(known):
        x = svg.x(loss)
        level = 1 - level if last is not None and x - last < 84 else 0
        last = x
        y = top - 8 - 13 * level
        svg.line(x, y + 3, x, bottom, "axis", stroke_dasharray="4 3", stroke_width=1.4)
        anchor = "end" if x + 36 > right + 10 else "start" if x < left + 36 else "middle"
        if i + 1 < len(known) and svg.x(known[i + 1][1]) < x + 36:      # clear of the next line
            anchor, x = "end", x + 8
        svg.text(x, y, f"{name} {loss:.2f}", anchor, 11, "soft")


def dot_row(svg, group, v, y, skip, left):
    """One variant's marks: uniform above its line, the hybrid below it, so that none is hidden."""
    svg.line(left, y, svg.x.b, y)
    svg.text(left - 8, y + 4, v, "end", 12.5)
    for layout, filled, place in (("uniform", True, y - 4), ("even", False, y + 4)):
        m = group.mean(v, layout)
        if not m or (v == "standard" and not filled):
            continue
        place = y if v == "standard" else place
        if m.error:
            svg.bar_x(svg.x(m.value - m.error), svg.x(m.value + m.error), place, v)
        svg.mark(svg.x(m.value), place, v, f"{v}, {layout}: {told(m)}", filled)
    if skip:
        x, size = svg.x(skip.value), 4
        if skip.error:
            svg.bar_x(svg.x(skip.value - skip.error), svg.x(skip.value + skip.error), y, v)
        svg.add("path", f"{v}, even, simple blocks skipped: {told(skip)}", stroke=COLOUR[v],
                d=f"M{x - size:.1f} {y - size:.1f}l8 8m0 -8l-8 8", stroke_width=2, fill="none",
                class_=f"{v}-s")


def numbers(svg, group, v, y, right):
    """Uniform, even, skip as columns of numbers."""
    for i, (head, model) in enumerate((("uniform", ("uniform", "val_loss")), ("even", (
            "even", "val_loss")), ("skip", ("even", "skip_blocks")))):
        m = group.mean(v, *model) if v != "standard" or i == 0 else None
        svg.text(right + 46 + 40 * i, y, f"{m.value:.2f}" if m else "–", "end", 12)
        if v == "standard":
            svg.text(right + 46 + 40 * i, y - 30, head, "end", 11, "soft")


def explain(svg, seeds, wide):
    """The legend: what filled, open and crossed marks are."""
    x, y = 14, 44
    entries = (("uniform: every layer", True), ("even: every other layer standard", False),
               ("even, simple blocks skipped", None))
    for text, filled in entries:
        if filled is None:
            svg.add("path", d=f"M{x + 1} {y - 8}l8 8m0 -8l-8 8", stroke_width=2, fill="none",
                    class_="standard-s", stroke=COLOUR["standard"])
        else:
            svg.mark(x + 5, y - 4, "standard", filled=filled, size=4.5)
        note = f"; bars: ±1 standard error, {seeds} seeds" if filled is None and seeds > 1 else ""
        svg.text(x + 15, y, text + (note if wide else ""), size=11.5, class_="soft")
        if wide:
            x += 40 + 6.1 * len(text)
        else:
            y += 14


def order(group):
    """Our order beside the paper's, for the uniform models and the hybrids."""
    found = []
    for layout in LAYOUT_ORDER:
        models = [v for v in VARIANTS if group.mean(v, layout) and (v, layout) in paper.TABLE1]
        if len(models) < 3:
            continue
        ours = sorted(models, key=lambda v: group.mean(v, layout).value)
        theirs = sorted(models, key=lambda v: paper.loss(v, layout))
        svg = Svg(350, 44 + 26 * len(models), f"Order of the {layout} models, ours and the paper's")
        svg.text(118, 20, "ours", "end", 12, "soft")
        svg.text(232, 20, "the paper's", size=12, class_="soft")
        svg.text(175, 20, layout, "middle", 12.5, font_weight="600")
        svg.text(6, 20, group.kind, size=11, class_="soft")
        for v in models:
            y1, y2 = (46 + 26 * place.index(v) for place in (ours, theirs))
            title = (f"{v}, {layout}: place {ours.index(v) + 1} here, {theirs.index(v) + 1} in "
                     f"the paper; loss {told(group.mean(v, layout))}")
            svg.curve([(128, y1), (222, y2)], v, title)
            svg.mark(128, y1, v, title, layout == "uniform")
            svg.mark(222, y2, v, title, layout == "uniform")
            svg.text(116, y1 + 4, f"{ours.index(v) + 1}  {v}", "end")
            svg.text(234, y2 + 4, f"{theirs.index(v) + 1}  {v}")
        found.append(svg)
    return found


def smoothed(curve, buckets=60):
    """(step, training loss) averaged over as many buckets at most."""
    points = [(p[0], p[1]) for p in curve if len(p) > 1 and None not in p[:2]]
    size = max(1, math.ceil(len(points) / buckets))
    parts = [points[i:i + size] for i in range(0, len(points), size)]
    return [(sum(p[0] for p in part) / len(part), sum(p[1] for p in part) / len(part))
            for part in parts]


def curves(results, group):
    """Training loss against the step: the first seed that has a curve, uniform and even."""
    drawn = {}
    for layout in LAYOUT_ORDER:
        for v in VARIANTS:
            found = results.parts(group, v, layout, "curve")
            points = smoothed(found[0]) if found else []
            if points:
                drawn[layout, v] = points
    if not drawn:
        return []
    points = [p for part in drawn.values() for p in part]
    y = padded([loss for step, loss in points], 0.03)
    ends = [loss for step, loss in points if step > 0.02 * max(p[0] for p in points)]
    y = y[0], min(y[1], max(ends + [loss for _, loss in floors(group)][1:]) + 0.25)
    plots = []
    for layout in LAYOUT_ORDER:
        lines = {v: drawn[layout, v] for v in VARIANTS if (layout, v) in drawn}
        if not set(lines) - {"standard"}:
            continue
        name = f"training loss, {layout}, {group.label}"
        plot = Plot(name[0].upper() + name[1:], (0, max(p[0] for p in points)), y, "step", name)
        for name, loss in floors(group):
            plot.level(loss, name)
        for v, line in lines.items():
            inside = [p for p in line if p[1] <= y[1]]
            plot.series(inside, v, v, layout == "uniform", every=max(1, len(inside) // 6))
        plots.append(plot)
    return plots


def matrix(results):
    """Accuracy on the recall task, variants by layouts, and the share of seeds that solved it: a
    figure a size."""
    return [matrix_of(group) for group in results.recalls
            if any(row["recall_accuracy"] is not None for row in group.rows)]


def matrix_of(group):
    """The same of one group."""
    rows = [v for v in VARIANTS if any(group.mean(v, layout, "recall_accuracy")
                                       for layout in LAYOUT_ORDER)]
    svg = Svg(350, 58 + 40 * len(rows), f"Recall accuracy by variant and layout, {group.size}")
    layers = f"{group.layers} layers, " if group.layers else ""
    svg.text(175, 50 + 40 * len(rows), f"{layers}{group.pairs} pairs in {group.seq} positions",
             "middle", 11.5, "soft")
    for i, layout in enumerate(LAYOUT_ORDER):
        svg.text(160 + 124 * i, 20, layout, "middle", 12.5, font_weight="600")
    for r, v in enumerate(rows):
        svg.mark(12, 53 + 40 * r, v, size=5)
        svg.text(24, 57 + 40 * r, v)
        for i, layout in enumerate(LAYOUT_ORDER):
            if (v, layout) != ("standard", "even"):
                recall_cell(svg, group, v, layout, 100 + 124 * i, 34 + 40 * r)
    return svg


def recall_cell(svg, group, v, layout, x, y):
    """One cell: the darker, the more right answers."""
    m = group.mean(v, layout, "recall_accuracy")
    runs = group.runs(v, layout)
    solved = sum(row["solved_step"] is not None for row in runs)
    if m is None:
        svg.text(x + 60, y + 23, "not measured", "middle", 11.5, "soft")
        return
    svg.add("rect", f"{v}, {layout}: accuracy {told(m)}, solved by {solved} of {len(runs)} seeds",
            x=x, y=y, width=120, height=36, rx=4, fill="#0072B2", stroke="#0072B2",
            fill_opacity=f"{0.06 + 0.94 * min(1, max(0, m.value)):.2f}")
    look = {"class_": "ink"} if m.value < 0.5 else {"class_": None, "fill": "#ffffff"}
    svg.text(x + 60, y + 16, told(m, 2), "middle", 13, font_weight="600", **look)
    svg.text(x + 60, y + 30, f"solved: {solved} of {len(runs)}", "middle", 11, **look)


def layouts(results):
    """Loss by layout, a figure for each variant and depth; squares show the layers."""
    found = []
    for group, attn in results.layouts():
        names = [layout for a, layout in group.models() if a == attn]
        names.sort(key=lambda layout: group.mean(attn, layout).value)
        cell = min(11, 84 // (group.layers or 8))
        title = f"{attn}, {group.layers} layers; {group.label}"
        svg = Svg(350, 74 + 26 * len(names), f"Loss by layout of {title}")
        svg.text(12, 14, title, size=13, font_weight="600")
        full = group.mean("standard", "uniform")
        values = [group.mean(attn, layout).value for layout in names]
        svg.x = Scale(*padded(values + ([full.value] if full else []), 0.08), 170, 338)
        bottom = 40 + 26 * len(names)
        for value in svg.x.ticks(3):
            svg.line(svg.x(value), 34, svg.x(value), bottom)
            svg.text(svg.x(value), bottom + 14, short(value), "middle", 11, "soft")
        if full:
            svg.line(svg.x(full.value), 30, svg.x(full.value), bottom, "axis",
                     stroke_dasharray="4 3")
            right = svg.x(full.value) > 260
            svg.text(svg.x(full.value), 28, f"standard {full.value:.3f}",
                     "end" if right else "start", 11, "soft")
        svg.text(254, bottom + 30, "validation loss", "middle", 11.5)
        for i, layout in enumerate(names):
            layout_row(svg, group, attn, layout, 54 + 26 * i, cell)
        found.append(svg)
    return found


def layout_row(svg, group, attn, layout, y, cell):
    """A layout's name, its layers and its loss."""
    m = group.mean(attn, layout)
    svg.text(12, y + 4, layout)
    for l, kind in enumerate(paper.layer_kinds(attn, layout, group.layers or 0) or []):
        simple = kind != "standard"
        svg.add("rect", f"layer {l + 1}: {kind}", x=74 + cell * l, y=y - 5, width=cell - 2,
                height=10, fill=COLOUR[kind] if simple else None, stroke=COLOUR[kind],
                class_="standard-s ground" if not simple else None)
    svg.line(170, y, 338, y)
    if m.error:
        svg.bar_x(svg.x(m.value - m.error), svg.x(m.value + m.error), y, attn)
    svg.mark(svg.x(m.value), y, attn, f"{attn}, {layout}: {told(m)}", layout == "uniform")


PAPER_SIZE = 436e6          # parameters of the paper's 500m, heads tied


def sizes(results):
    """What a variant keeps against the number of parameters, bytes and tokens, uniform and even;
    the paper's 500M, from its perplexities, at the right."""
    plots = []
    for kind, groups in results.sizes():
        groups = [group for group in groups if group.parameters]
        for layout in LAYOUT_ORDER if len(groups) > 1 else ():
            lines = {v: [(g.parameters, kept(g.mean, v, layout)) for g in groups
                         if kept(g.mean, v, layout)]
                     for v in SIMPLE if (v, layout) != ("mlp", "uniform")}
            if not any(lines.values()):
                continue
            low = -0.2 if layout == "uniform" else 0.4
            values = [m.value for line in lines.values() for _, m in line if m.value > low]
            plot = Plot(f"Kept against size, {layout}, {kind}", (groups[0].parameters / 1.4,
                        PAPER_SIZE * 1.4), (low, max(values + [1]) + 0.05), "parameters",
                        f"kept, {layout}, {kind}", logs=(10, 0), percent=True)
            plot.level(1, "standard")
            plot.text(plot.box[2], 14, "paper: 500M", "end", 10.5, "soft")
            for v, line in lines.items():
                inside = [(n, m) for n, m in line if m.value >= low]
                plot.series([(n, m.value) for n, m in inside], v, f"{v}, {layout}",
                            layout == "uniform", error=[m.error for _, m in inside])
                theirs = paper_kept(v, layout)
                plot.mark(plot.x(PAPER_SIZE), plot.y(max(theirs, low)), v,
                          f"{v}, {layout}, the paper at 500M: {theirs:.0%}", layout == "uniform", 3)
            plots.append(plot)
    return plots


def layer_means(results, group, attn, part, layout="uniform"):
    """Of a model's layers, by number: the means over seeds of raw, normalised, scores."""
    found = {}
    for inspect in results.parts(group, attn, layout, "inspect"):
        for layer in inspect.get("indicators") or []:
            if layer.get(part) and layer.get("layer") is not None and (
                    layer.get("variant") in (None, attn)):
                found.setdefault(layer["layer"], []).append(layer[part])
    return {number: {name: mean(record.get(name) for record in records) for name in records[0]}
            for number, records in sorted(found.items())}


def heat(results, group, layout):
    """The eight indicators as a heatmap: a row a variant and layer, the darker, the larger beside
    the column's largest."""
    of = {v: layer_means(results, group, v, "normalised", layout) for v in VARIANTS
          if v != "mlp" and (v, layout) != ("standard", "even")}
    rows = [(v, l, record) for v, layers in of.items() for l, record in layers.items()
            if all(record.get(name) for name in INDICATORS)]
    if not rows:
        return []
    top = {name: max([record[name].value for _, _, record in rows] + [1e-9])
           for name in INDICATORS}
    names = ("entropy", "concentration", "diversity", "sink", "self", "1 back", "2 back", "3 back")
    svg = Svg(350, 104 + 17 * len(rows) + 5 * len({v for v, _, _ in rows}),
              f"Indicators of the attention maps, {layout}, {group.kind}")
    svg.text(12, 18, f"{layout}, {group.kind}", size=13, font_weight="600")
    for c, name in enumerate(names):
        x = 124 + 29 * c
        svg.text(x, 92, name, size=10.5, class_="soft", transform=f"rotate(-90 {x} 92)")
    y, last = 92, None
    for v, l, record in rows:
        y += 5 if v != last else 0
        if v != last:
            svg.text(84, y + 12, v, "end", 11.5)
        svg.text(101, y + 12, str(l), "end", 10, "soft")
        for c, name in enumerate(INDICATORS):
            share = max(0, min(1, record[name].value / top[name]))
            svg.add("rect", f"{v}, layer {l}: {name} {record[name].value:.3f}", x=106 + 29 * c,
                    y=y, width=28, height=16, fill="#0072B2", fill_opacity=f"{share:.2f}")
            look = {"class_": "ink"} if share < 0.55 else {"class_": None, "fill": "#ffffff"}
            svg.text(120 + 29 * c, y + 11.5, f"{record[name].value:.2f}".lstrip("0") or "0",
                     "middle", 9.5, **look)
        y, last = y + 17, v
    return [svg]


def scores(results, group):
    """The distribution of scores, a figure a variant, a box a layer."""
    of = {v: layer_means(results, group, v, "scores") for v in VARIANTS if v != "mlp"}
    keys = ("min", "p1", "p25", "p50", "p75", "p99", "max")
    ends = [r[key].value for layers in of.values() for r in layers.values() for key in keys
            if r.get(key)]
    if not ends:
        return []
    found = []
    for v, layers in of.items():
        layers = {l: r for l, r in layers.items() if all(r.get(key) for key in keys)}
        if not layers:
            continue
        svg = Svg(350, 72 + 26 * len(layers), f"Scores before the softmax, {v}")
        svg.mark(18, 14, v)
        svg.text(30, 18, v, size=13, font_weight="600")
        x, bottom = Scale(*padded(ends, 0.03), 62, 338), 34 + 26 * len(layers)
        for value in x.ticks():
            svg.line(x(value), 30, x(value), bottom)
            svg.text(x(value), bottom + 15, short(value), "middle", 11, "soft")
        svg.text(200, bottom + 32, "score", "middle", 11.5)
        for i, (l, record) in enumerate(layers.items()):
            box(svg, x, v, l, {key: record[key].value for key in keys}, 44 + 26 * i)
        found.append(svg)
    return found


def box(svg, x, v, l, at, y):
    """Whiskers to the 1st and 99th percentile, dots at the extremes."""
    title = f"{v}, layer {l}: " + ", ".join(f"{key} {value:.3g}" for key, value in at.items())
    svg.text(54, y + 4, f"layer {l}", "end", 11.5)
    svg.line(x(at["p1"]), y, x(at["p99"]), y, f"{v}-s", stroke=COLOUR[v], stroke_width=1.6)
    svg.add("rect", title, x=x(at["p25"]), y=y - 6, width=max(1.0, x(at["p75"]) - x(at["p25"])),
            height=12, fill=COLOUR[v], stroke=COLOUR[v], fill_opacity=0.35, class_=f"{v}-s")
    svg.line(x(at["p50"]), y - 6, x(at["p50"]), y + 6, "axis", stroke_width=2)
    for key in ("min", "max"):
        svg.add("circle", title, cx=x(at[key]), cy=y, r=2.5, fill=COLOUR[v], class_=f"{v}-f")


def context(results, group):
    """Loss against how many tokens are seen, uniform and even; loss by position beside it."""
    plots = []
    lines = {(layout, v): context_losses(results, group, v, layout)
             for layout in LAYOUT_ORDER for v in VARIANTS}
    values = [m.value for line in lines.values() for m in line.values()]
    lengths = [c for line in lines.values() for c in line if c > 0]
    for layout in LAYOUT_ORDER if values and lengths else ():
        if not any(lines[layout, v] for v in SIMPLE):
            continue
        plot = Plot(f"Loss against context length, {layout}, {group.kind}",
                    (min(lengths), max(lengths)), padded(values), f"{group.unit}s of context",
                    f"loss, {layout}, {group.label}", logs=(2, 0))
        for v in VARIANTS:
            line = [(c, m.value) for c, m in lines[layout, v].items() if c > 0]
            if line:
                plot.series(line, v, f"{v}, {layout}", layout == "uniform")
        plots.append(plot)
    return plots + [plot for layout in LAYOUT_ORDER for plot in positions(results, group, layout)]


def positions(results, group, layout):
    """Loss by position in the window, averaged over positions 1, 2, 3-4, 5-8 and so on."""
    lines = {}
    for v in VARIANTS:
        found = results.parts(group, v, layout, "loss_by_position")
        if found:
            parts, start = [], 0
            while start < len(found[0]):
                end = min(max(1, 2 * start), len(found[0]))
                seen = [m for m in (mean(line[start:end]) for line in found) if m]
                if seen:
                    parts.append((math.sqrt((start + 1) * end), mean(m.value for m in seen).value))
                start = end
            lines[v] = parts
    points = [p for line in lines.values() for p in line]
    if not points:
        return []
    plot = Plot(f"Loss by position in the window, {layout}, {group.kind}",
                (1, max(p[0] for p in points)), padded([p[1] for p in points]),
                "position in the window", f"loss by position, {layout}, {group.label}", logs=(2, 0))
    for v, line in lines.items():
        plot.series(line, v, v, layout == "uniform")
    return [plot]


COST_NAMES = dict(zip(COSTS, ("prefill, FLOPs a layer", "decode, FLOPs a token and layer",
                              "kept for backward, bytes a layer", "cache, bytes a layer")))


def cost_of(results, attn):
    """The mean over layers of the uniform model's costs, by name; {} if not measured."""
    for inspect in results.parts(results.text, attn, "uniform", "inspect"):
        layers = [layer for layer in inspect.get("cost") or [] if layer.get("variant") == attn]
        if layers:
            names = [name + end for name in COSTS for end in ("", "_formula")]
            found = {name: mean(layer.get(name) for layer in layers) for name in names}
            return {name: m.value for name, m in found.items() if m and m.value >= 0}
    return {}


def costs(results):
    """Formula (open) and measured (filled) by variant, one figure a kind of cost."""
    of = {v: cost_of(results, v) for v in VARIANTS}
    found = []
    for name in COSTS:
        values = [x for v in of for end in ("", "_formula") for x in [of[v].get(name + end)] if x]
        if not values:
            continue
        svg = Svg(350, 62 + 25 * len(VARIANTS), f"Cost of a mixer: {COST_NAMES[name]}")
        svg.text(12, 18, COST_NAMES[name], size=12.5, font_weight="600")
        x = Scale(min(values) / 1.6, max(values) * 1.6, 100, 336, 10)
        bottom = 30 + 25 * len(VARIANTS)
        for value in x.ticks(4):
            svg.line(x(value), 28, x(value), bottom)
            svg.text(x(value), bottom + 15, engineering(value), "middle", 11, "soft")
        for i, v in enumerate(VARIANTS):
            y = 44 + 25 * i
            svg.text(88, y + 4, v, "end", 12)
            ends = [(end, of[v].get(name + end)) for end in ("_formula", "")]
            for end, value in ends:
                what = "formula" if end else "measured"
                if value:
                    svg.mark(x(value), y, v, f"{v}, {what}: {value:,.0f}", not end,
                             6.5 if end else 3.6)
            if not any(value for _, value in ends):
                text = "none" if any(value == 0 for _, value in ends) else "not measured"
                svg.text(104, y + 4, text, size=11.5, class_="soft")
        found.append(svg)
    return found


def engineering(x):
    """1000 as 1 k, a million as 1 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= unit:
            return f"{x / unit:.3g} {name}"
    return f"{x:.3g}"


def times(results):
    """Time a token against T, forward and backward, both axes logarithmic."""
    points = [p for p in results.details.get("time_per_token") or [] if p.get("attn") in VARIANTS
              and (p.get("T") or 0) > 0]
    plots = []
    for key, name in (("forward_ns", "forward"), ("backward_ns", "backward")):
        of = {v: sorted((p["T"], p[key]) for p in points
                        if p["attn"] == v and (p.get(key) or 0) > 0) for v in VARIANTS}
        flat = [p for line in of.values() for p in line]
        if not flat:
            continue
        plot = Plot(f"Time a token, {name}", (min(p[0] for p in flat), max(p[0] for p in flat)),
                    (min(p[1] for p in flat) / 1.3, max(p[1] for p in flat) * 1.3),
                    "sequence length T", f"ns a token, {name}", logs=(2, 10))
        for v, line in of.items():
            if line:
                plot.series(line, v, v)
        plots.append(plot)
    return plots


def sharpest(found):
    """Of each layer the head whose rows are the most peaked: the largest sum of squares."""
    best = {}
    for m in found:
        size = sum((w or 0) ** 2 for row in m["rows"] for w in row)
        if size > best.get(m["layer"], (-1,))[0]:
            best[m["layer"]] = size, m
    return [m for _, (_, m) in sorted(best.items())]


def maps(results, group, layout, limit=4):
    """The maps of one sentence, a figure a variant: of up to four layers the sharpest head, with
    the tokens on both axes; of a long sentence one layer alone."""
    found = []
    for attn in VARIANTS:
        if (attn, layout) == ("standard", "even"):
            continue
        seen = results.parts(group, attn, layout, "maps")
        good = sharpest([m for m in seen[0] if any(m.get("rows") or []) and m.get("layer")
                         and m.get("head")] if seen else [])
        if not good:
            continue
        n = max(len(m["rows"]) for m in good)
        shown = spread(good, limit) if n <= 20 else [good[len(good) // 2]]
        columns = 2 if len(shown) > 1 else 1
        tokens = shown[0].get("tokens") or []
        room = min(44, 4 + max([6 * len(visible(t)) for t in tokens] + [10]))
        cell = (338 - columns * room) // columns
        lines = -(-len(shown) // columns)
        svg = Svg(350, 30 + (cell + room + 18) * lines,
                  f"Attention maps of one sentence, {attn}, {layout}")
        svg.mark(18, 14, attn, filled=layout == "uniform")
        svg.text(30, 18, f"{attn}, {layout}", size=13, font_weight="600")
        kinds = paper.layer_kinds(attn, layout, group.layers or 0) or []
        for i, m in enumerate(shown):
            x = room + (cell + room) * (i % columns) + 4
            y = 42 + room + (cell + room + 18) * (i // columns)
            kind = kinds[m["layer"] - 1] if m["layer"] <= len(kinds) else attn
            svg.text(x - room, y - room - 2, f"layer {m['layer']}, {kind}, head {m['head']}",
                     size=10.5, class_="soft")
            one_map(svg, kind, m, x, y, cell)
        found.append(svg)
    return found


def visible(token):
    """A token with its white space shown."""
    return token.replace(" ", "\u00b7").replace("\n", "\u21b5")


def spread(items, limit):
    """At most limit of the items, evenly, the first and the last among them."""
    if len(items) <= limit:
        return items
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def one_map(svg, attn, m, x, y, size):
    """A map as a picture, darker for more weight, its tokens beside the rows and above the columns;
    hovering a row tells where it looks."""
    rows = [row for row in m["rows"] if row]
    svg.add("rect", x=x, y=y, width=size, height=size, class_="grid", fill="none")
    svg.add("image", x=x, y=y, width=size, height=size, href=png(COLOUR[attn], [
        [math.sqrt(max(0, w or 0)) for w in row] for row in rows]), preserveAspectRatio="none",
        class_="map" + (" invert" if attn == "standard" else ""))
    tokens, high = m.get("tokens") or [], size / len(rows)
    for i, token in enumerate(tokens[:len(rows)]):
        middle = y + high * (i + 0.5)
        font = min(10, max(6, high * 0.9))
        svg.text(x - 3, middle + font / 3, visible(token)[:7], "end", font, "soft")
        across = x + high * (i + 0.5) + font / 3
        svg.text(across, y - 3, visible(token)[:7], "start", font, "soft",
                 transform=f"rotate(-90 {across:.1f} {y - 3:.1f})")
    for i, row in enumerate(rows if len(rows) <= 64 else []):
        weights = [w or 0 for w in row[:i + 1]]
        j = max(range(len(weights)), key=weights.__getitem__)
        names = [f"'{tokens[k]}' ({k + 1})" if k < len(tokens) else f"{k + 1}" for k in (i, j)]
        svg.add("rect", f"{names[0]} looks most at {names[1]}: {weights[j]:.2f}", x=x,
                y=y + high * i, width=size, height=high, fill_opacity=0)


assert set(MARK) == set(VARIANTS)
