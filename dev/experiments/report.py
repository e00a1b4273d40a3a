#!/usr/bin/env python3
"""Draws the report of a sweep: FOLDER/report.html, one self-contained page, and
FOLDER/figures/*.svg.

    python3 dev/experiments/report.py FOLDER

Reads FOLDER/results.csv and FOLDER/details.json, as deconstruct.py writes them (README.md
beside this file names the columns). Everything that the page says about the paper's findings is
computed from them. Python 3.9 or later, standard library only.

    paper.py      the paper's numbers      results.py    reading, checking, averaging
    findings.py   the verdicts             svg.py        marks, axes
    figures.py    the figures
"""
import common           # the first: Ctrl-C from here on is one line

import os
import sys

import figures
import paper
from findings import (DIFFERS, KEPT_HYBRID, NO, ONE_SEED, OPEN, UNMEASURED, YES, context_losses,
                      judge_all, kept, order_by_seed, paper_kept)
from paper import SIMPLE, VARIANTS
from results import BadInput, Group, Results
from svg import FONT, STYLE, Plot, escape, swatch

PAGE_STYLE = """
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--line:#d0d7de;--ground:#fff;
--card:#f6f8fa;--link:#0a5ea8;--yes:#00664b;--no:#a84600;--open:#59636e}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9ea7b3;--line:#3d444d;
--ground:#0d1117;--card:#161b22;--link:#6cb6ff;--yes:#3fc79a;--no:#ff9350;--open:#9ea7b3}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 FONT}
main{max-width:1130px;margin:0 auto;padding:12px 18px 48px;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:.6em 0 .4em}
h2{font-size:1.25rem;margin:2.2em 0 .5em;padding-top:.4em;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.4em 0 .4em}
p,ul{max-width:46rem;margin:.5em 0}
a{color:var(--link)}
nav ul{columns:17rem;padding-left:1.1rem;font-size:.93rem}
.lead{font-size:1.06rem;max-width:none}
.note,.missing{color:var(--soft);font-size:.92rem}
.missing{border-left:3px solid var(--line);padding-left:.7rem}
.panels{display:flex;flex-wrap:wrap;align-items:flex-start;gap:14px;margin:.8em 0}
.panels svg.figure{display:block;max-width:100%;height:auto}
.panels svg.broad{display:none}
@media(min-width:880px){.panels svg.broad{display:block}.panels svg.narrow{display:none}}
.legend{display:flex;flex-wrap:wrap;gap:3px 16px;list-style:none;padding:0;margin:.5em 0;
font-size:.87rem;max-width:none}
.legend button{all:unset;cursor:pointer;border-radius:4px}
.legend button,.legend [data-variant]{display:flex;align-items:center;gap:6px;padding:0 4px}
.legend button:focus-visible{outline:2px solid var(--link)}
.legend button[aria-pressed=true]{background:var(--card);box-shadow:0 0 0 1px var(--soft)}
ONLY
.swatch{flex:none}
figure{margin:0}
.table{overflow-x:auto;margin:.8em 0;max-width:100%}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding-bottom:.3em;position:sticky;left:0;
max-width:min(42em,calc(100vw - 3em))}
th,td{padding:4px 9px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
td{white-space:nowrap}.words td{white-space:normal}
th:first-child,td:first-child,.words td,.words th{text-align:left}
th{font-weight:600;vertical-align:bottom}
th button{all:unset;cursor:pointer}
th button:focus-visible{outline:2px solid var(--link)}
th button::after{content:" \\2195";color:var(--soft);font-weight:400}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
.principles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,350px),1fr));
gap:6px 26px;margin:.8em 0}
.principles h2{font-size:1.08rem;margin:.5em 0 .1em;border:0;padding:0}
.principles p{margin:.1em 0 .3em;font-size:.93rem}
@media(min-width:1080px){.principles{grid-template-columns:1fr 1fr}
.principles>div{display:grid;grid-template-columns:1fr 350px;gap:0 10px;align-content:start}
.principles h2{grid-column:1/3}.principles p{max-width:none}}
.principles svg{display:block;max-width:100%;height:auto}
.findings{columns:330px;column-gap:14px}
.finding{background:var(--card);border:1px solid var(--line);border-left:5px solid var(--open);
border-radius:6px;padding:10px 13px;font-size:.9rem;break-inside:avoid;margin:0 0 14px}
.finding p{margin:.35em 0}.finding h3{margin:.1em 0 .3em;font-size:1rem}
.finding ul{padding-left:1.1rem;margin:.3em 0}
.badge{font-weight:700;font-size:.84rem;color:var(--open)}
.parts{display:flex;flex-wrap:wrap;gap:2px 12px;list-style:none;color:var(--soft)}
.finding ul.parts{padding:0}
.yes{border-left-color:var(--yes)}.yes .badge{color:var(--yes)}
.no{border-left-color:var(--no)}.no .badge{color:var(--no)}
.both{border-left-color:var(--link)}.both .badge{color:var(--link)}
.samples{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:14px}
blockquote{margin:0;background:var(--card);border:1px solid var(--line);border-radius:6px;
padding:8px 12px;min-width:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3em 0;
font:.86rem/1.45 ui-monospace,'DejaVu Sans Mono',monospace}
.map{image-rendering:pixelated}
@media screen and (prefers-color-scheme:dark){.invert{filter:invert(1)}}
@media print{
body{font-size:10.5pt}main{max-width:none;padding:0}nav ul{columns:2}
.panels svg,.finding,blockquote,tr,figure svg{break-inside:avoid}h2,h3{break-after:avoid}
.table{overflow:visible}table{font-size:8pt}th,td{padding:2px 5px}
.wide table{font-size:5.8pt}.wide th,.wide td{padding:1px 2px}
th button::after{content:""!important}a{color:inherit;text-decoration:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
""".replace("FONT", FONT).replace("ONLY\n", "".join(
    f'figure[data-only="{v}"] svg.figure [class*="-s"]:not([class~="{v}-s"]){{opacity:.07}}\n'
    for v in VARIANTS))

# Clicking a head sorts its table, clicking a name in a legend leaves that variant alone in the
# figures below it. Without scripts all is there as it was written.
SCRIPT = """
document.querySelectorAll('figure .legend span[data-variant]').forEach(function (name) {
  var button = document.createElement('button');
  button.type = 'button';
  button.setAttribute('aria-pressed', 'false');
  button.setAttribute('data-variant', name.getAttribute('data-variant'));
  while (name.firstChild) button.appendChild(name.firstChild);
  name.replaceWith(button);
  button.addEventListener('click', function () {
    var figure = button.closest('figure'), off = button.getAttribute('aria-pressed') === 'true';
    figure.querySelectorAll('.legend button').forEach(function (other) {
      other.setAttribute('aria-pressed', 'false');
    });
    button.setAttribute('aria-pressed', off ? 'false' : 'true');
    if (off) figure.removeAttribute('data-only');
    else figure.setAttribute('data-only', button.getAttribute('data-variant'));
  });
});
document.querySelectorAll('table.sortable').forEach(function (table) {
  var body = table.tBodies[0], heads = table.tHead.rows[0].cells;
  Array.prototype.forEach.call(heads, function (head, column) {
    var button = document.createElement('button');
    button.type = 'button';
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    button.addEventListener('click', function () {
      var up = head.getAttribute('aria-sort') !== 'ascending', rows = Array.from(body.rows);
      Array.prototype.forEach.call(heads, function (other) { other.removeAttribute('aria-sort'); });
      head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      var key = function (row) { return row.cells[column].getAttribute('data-v'); };
      rows.sort(function (a, b) {
        var x = key(a), y = key(b);
        if (x === '' || y === '') return (x === '') - (y === '');
        var less = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return up ? less : -less;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""

GLYPH = {YES: ("yes", "✓"), NO: ("no", "✗"), OPEN: ("open", "–"), DIFFERS: ("both", "±"),
         UNMEASURED: ("open", "·")}
NOT_HERE = "Not measured here"


def paragraph(text, kind=None):
    """A paragraph of plain text."""
    return f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escape(text)}</p>"


def panels(drawn):
    """Figures side by side."""
    return '<div class="panels">' + "".join(svg.inline() for svg in drawn) + "</div>"


def legend(drawn):
    """Which mark and dash is which variant, of those that the figures show; a click isolates."""
    text = "".join(svg.inner() for svg in drawn)
    items = "".join(f'<li><span data-variant="{v}">{swatch(v)}{v}</span></li>' for v in VARIANTS
                    if f'"{v}-s' in text or f" {v}-s" in text)
    return f'<ul class="legend">{items}</ul>'


def figure(drawn, caption, key=False):
    """Figures with legend and caption, or nothing if there are none; caption: what is drawn, what
    to look at."""
    if not drawn:
        return ""
    return (f"<figure>{legend(drawn) if key else ''}{panels(drawn)}<figcaption>"
            f"{paragraph(caption, 'note')}</figcaption></figure>")


def table(heads, rows, caption, kind=""):
    """A table that the script makes sortable. A cell is a text, or (text, key to sort by)."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = ""
    for row in rows:
        cells = [cell if isinstance(cell, tuple) else (cell, cell) for cell in row]
        body += "<tr>" + "".join(
            f'<td data-v="{escape("" if key in (None, "–") else key)}">{escape(text)}</td>'
            for text, key in cells) + "</tr>"
    return (f'<div class="table {kind}" tabindex="0"><table class="sortable {kind}"><caption>'
            f"{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
            "</table></div>")


def cell(m, digits=3, percent=False):
    """A Mean as a cell: sorted by its value."""
    if m is None:
        return "–", None
    if percent:
        error = "" if m.error is None else f" ± {100 * m.error:.0f}"
        return f"{100 * m.value:.0f}{error} %", m.value
    return figures.told(m, digits), m.value


# ---- the sections: each returns (id, title, body); without a body it is left out ---------------

def spelled(judged):
    """How many findings got which verdict."""
    counts = {kind: sum(j.verdict == kind for j in judged)
              for kind in (YES, NO, DIFFERS, OPEN, UNMEASURED)}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()
                     if count or kind in (YES, NO))


def said(unit, x, error=None):
    """A number in the unit of a check."""
    scale, digits, end = (100, 0, " %") if unit == "share" else (1, {
        "score": 0, "times": 2, "rank": 2, "accuracy": 2}.get(unit, 3), "")
    end = {"nats": " nats", "times": " times"}.get(unit, end)
    more = "" if error is None else f" ± {scale * error:.{digits}f}"
    shown = f"{scale * x:.{digits}f}"
    return (shown if float(shown) else shown.lstrip("-")) + more + end      # no -0


def check_line(check):
    """A check with its value, bar, margin and error."""
    side = "above" if check.above else "below"
    margin = f"; margin {said(check.unit, check.margin())}" if check.bar else ""
    return (f"{check.label}: {said(check.unit, check.value.value, check.value.error)} (expected "
            f"{side} {said(check.unit, check.bar) if check.bar else 0}{margin})")


def part_checks(part, most):
    """A part's checks, those with the smallest margins first."""
    worst = sorted(part.checks, key=lambda check: check.margin())
    lines = "".join(f"<li>{escape(check_line(check))}</li>" for check in worst[:most])
    if len(worst) > most:
        lines += f"<li>and {len(worst) - most} more with larger margins</li>"
    return lines


def finding_card(judged):
    """One finding, its verdict and why, by size and vocabulary where it was asked of several."""
    kind, glyph = GLYPH[judged.verdict]
    parts = [part for part in judged.parts if part.verdict != UNMEASURED]
    body, many = "", len(parts) > 1
    if many:
        body += '<ul class="parts">' + "".join(
            f"<li>{GLYPH[part.verdict][1]} {escape(part.label)}</li>" for part in parts) + "</ul>"
    told = {part.verdict: part for part in parts[::-1]}             # the first of each verdict
    for part in [part for part in parts if part in told.values()]:
        name = f" ({escape(part.label)})" if many and part.label else ""
        why = f": {escape(part.reason)}" if part.reason else ""
        head = f"<p>{part.verdict.capitalize()}{name}{why}</p>" if many else ""
        body += f"{head}<ul>{part_checks(part, 3 if many else 7)}</ul>"
        if any(check.value.error is None for check in part.checks):
            body += "<p>One seed: no error is known.</p>"
    why = judged.reason if not many else ""
    why = f" ({escape(why)})" if why else ""
    if judged.verdict == OPEN:
        body += f"<p>What would decide it: {escape(judged.finding.wants)}.</p>"
    return (f'<article class="finding {kind}" id="finding-{judged.finding.key}"><h3>'
            f'{escape(judged.finding.claim)}</h3><p><span class="badge">{glyph} {judged.verdict}'
            f"</span>{why}</p><p>Asked here: {escape(judged.finding.rule)}.</p>{body}"
            f'<p class="note">The paper: {escape(judged.finding.printed)}</p></article>')


def section_findings(results, judged):
    """Every finding's card."""
    intro = (f"Of {len(judged)} findings: {spelled(judged)}. Each verdict is computed, separately "
             "for every size and vocabulary: a number must pass a bar, and the margin must exceed "
             "two standard errors over seeds. Where there is one seed, no error is known, and the "
             f"margin must exceed {ONE_SEED['nats']} nats, {ONE_SEED['share']:.0%} of a share, or "
             f"{ONE_SEED['accuracy']} of an accuracy. With a smaller margin the finding is not "
             f"testable. A finding that “{DIFFERS}” holds in some of them and fails in others.")
    cards = "".join(finding_card(j) for j in judged)
    return "findings", "The paper's findings, tested here", (
        paragraph(intro) + f'<div class="findings">{cards}</div>')


def section_deconstruction(results, judged):
    """The main figure, the table of Table 1, the order, of bytes and of tokens."""
    body = paragraph(summary(results, judged)) if results.mains else ""
    for group in results.mains:
        drawn = []
        for where, width in (("broad", 820), ("narrow", 350)):
            for svg in figures.deconstruction(group, width):
                svg.where = " " + where
                drawn.append(svg)
        body += figure(drawn, "Each row is a variant. Filled: all layers are the variant; open "
                       "(even): every other layer stays standard; cross: that model without its "
                       "simple blocks. Dashed lines: the loss of a model that knows nothing "
                       f"(chance), the {group.unit} frequencies (unigram), the previous "
                       f"{group.unit} (bigram). Look at which filled marks stay at the "
                       "bigram line, at how the open marks gather near standard, and at where "
                       "the crosses are.")
        if drawn:
            body += tables_of_losses(group)
    orders = [svg for group in results.mains for svg in figures.order(group)]
    body += figure(orders, "Each line joins a variant's place here, by validation loss, to its "
                   "place in the paper, by perplexity, best on top. A flat line: the same place. "
                   "The paper's hybrids lie within 18 % of each other's perplexity, so their order "
                   "says little. " + rank_correlations(results))
    return "table1", "Loss by variant, and the paper's Table 1", body


def place(group, v, layout, loss_of):
    """The rank of a model among its layout's, 1 the best; None if it or another is missing."""
    losses = {u: loss_of(u, layout) for u in VARIANTS if (u, layout) in paper.TABLE1}
    if any(loss is None for loss in losses.values()) or v not in losses:
        return None
    return 1 + sum(loss < losses[v] for loss in losses.values())


def tables_of_losses(group):
    """Ours and the paper's, uniform, even, skipped."""
    def ours(v, layout):
        m = group.mean(v, layout)
        return m.value if m else None
    text = ""
    for layout, name in (("uniform", "Uniform: every layer the variant"),
                         ("even", "Hybrid: every other layer standard")):
        rows = []
        for v in VARIANTS if layout == "uniform" else SIMPLE:
            share = kept(group.mean, v, layout) if (v, layout) not in (
                ("standard", "uniform"), ("mlp", "uniform")) else None
            theirs = paper_kept(v, layout)
            rows.append([v, cell(group.mean(v, layout)), str(place(group, v, layout, ours) or "–"),
                         str(place(group, v, layout, paper.loss)), cell(share, percent=True),
                         (f"{theirs:.0%}", theirs), f"{paper.TABLE1[v, layout][0]:g}",
                         f"{paper.TABLE1[v, layout][1]:g}", f"{paper.TABLE1[v, layout][2]:g}"])
        text += table(["variant", "loss", "place", "paper's place", "kept", "paper's kept",
                       "paper: NLU", "ppl", "LAMBADA"], rows, f"{name}; {group.label}. Loss: "
                      f"nats a {group.unit}" + seeds_text(group)
                      + "; place: 1 is best, by loss and by perplexity.")
    rows = [[v, cell(group.mean(v, "even")), cell(group.mean(v, "even", "skip_mixers")),
             cell(group.mean(v, "even", "skip_blocks")), f"{paper.TABLE1[v, 'skip'][0]:g}",
             (f"{paper.TABLE1[v, 'skip'][1]:,.0f}", paper.TABLE1[v, 'skip'][1])] for v in SIMPLE]
    text += table(["variant", "even", "mixers skipped", "blocks skipped", "paper: NLU", "ppl"],
                  rows, f"{group.label}: the hybrids, evaluated without the mixers of their simple "
                  "layers, or without these whole blocks; the paper's columns are of skipped "
                  "blocks.")
    return text + paragraph(
        f"The paper's columns: 500M parameters; NLU is the average of seven language understanding "
        f"tasks in % (chance {paper.CHANCE}), ppl the word perplexity on WikiText, LAMBADA an "
        "accuracy in %. Models of this size cannot take those tests; the loss replaces them.",
        "note")


def rank_correlations(results):
    """The mean over seeds of the rank correlation with the paper's order, as a sentence."""
    found = [f"{group.kind}, {layout} {figures.told(order_by_seed(group, layout), 2)}"
             for group in results.mains for layout in figures.LAYOUT_ORDER
             if order_by_seed(group, layout)]
    return (f"Rank correlation with the paper's order, the mean over seeds: {'; '.join(found)}."
            if found else "")


def seeds_text(group):
    """How many seeds the means are of."""
    n = len(group.seeds())
    return f", mean ± standard error of {n} seeds" if n > 1 else ", one seed"


def section_curves(results, judged):
    """Fig. 5."""
    drawn = [plot for group in results.texts for plot in figures.curves(results, group)]
    body = figure(drawn, "Training loss of the first seed against the step, averaged over "
                  "neighbouring steps; the highest losses, at the start, are cut off. Look at when "
                  "a curve falls below the bigram line: before that, a model knows no more than "
                  "pairs of neighbours.", True)
    return "curves", "Training curves (Fig. 5)", body


def section_recall(results, judged):
    """The recall task."""
    body = figure(figures.matrix(results), "Accuracy at the queries of the recall task: key-value "
                  "pairs, then keys whose values are asked for; even: the first layer simple, the "
                  "second standard, and so on. Solved: how many seeds reached an accuracy of 1 "
                  "and stayed there. Look at the left column: each missing principle fails by "
                  "itself, the Taylor form does not; then at which variants one standard "
                  "layer repairs. The findings go by the first picture. A size at which "
                  "standard itself fails was trained too briefly to say what a variant lacks.")
    learned = [plot for group in results.recalls for plot in figures.curves(results, group)]
    body += figure(learned, "Training loss on the recall task: solving it is a sudden drop, not a "
                   "slow descent.", True)
    return "recall", "Recall from the context", body


def section_layouts(results, judged):
    """Fig. 3."""
    body = figure(figures.layouts(results), "Best layouts on top. Squares are the layers from "
                  "first to last: open ones are standard, filled ones the variant. Look at whether "
                  "the number of standard layers or their place decides.")
    return "layouts", "Which layers stay standard (Fig. 3)", body


def section_sizes(results, judged):
    """Fig. 4."""
    body = figure(figures.sizes(results), "Kept: the share of what mixing gains (standard's is "
                  "100 %, uniform mlp's 0 %), against the number of parameters. The small marks at "
                  "the right are the paper's 500M, from its perplexities; a mark at the lower edge "
                  "lies below it. Look at whether a variant's line rises, stays or falls towards "
                  "the paper's mark. Sizes differ in training, too: batch, steps and window are "
                  "those of the size.", True)
    rows = []
    for kind, groups in results.sizes() if body else ():
        for group in groups:
            rows += [[group.size, kind, f"{group.parameters:,}" if group.parameters else "–", v,
                      *(cell(kept(group.mean, v, layout), percent=True) for layout in
                        figures.LAYOUT_ORDER), cell(group.mean(v, "uniform")),
                      cell(group.mean(v, "even")) if v != "standard" else "–",
                      cell(group.mean(v, "even", "skip_blocks"))] for v in VARIANTS]
    if rows:
        body += table(["size", "cut into", "parameters", "variant", "kept, uniform", "kept, even",
                       "loss, uniform", "even", "even, skipped"], rows, "All sizes; losses in nats "
                      "a byte or token.")
    return "sizes", "Model size (Fig. 4)", body


def section_indicators(results, judged):
    """Fig. 1 and its numbers."""
    drawn = [svg for group in results.mains for layout in figures.LAYOUT_ORDER
             for svg in figures.heat(results, group, layout)]
    body = figure(drawn, "Each row is a layer (of hybrids, only the layers that are not standard); "
                  "the darker a cell, the larger its value relative to the column's largest. "
                  "entropy: how widely attention is spread; concentration: how peaked it is; "
                  "diversity: how much the heads differ (all three normalised to 0 to 1); sink: "
                  "the weight on the first token; self, 1 back and so on: the weight on the token "
                  "itself, on the previous token (the paper's locfoc). mlp has no map. Look at "
                  "1 back and entropy: which variants look at near tokens, and which "
                  "everywhere.")
    return "indicators", "Indicators of attention maps (Fig. 1)", body


def section_scores(results, judged):
    """Fig. 2."""
    body = ""
    for group in results.mains:
        drawn = figures.scores(results, group)
        body += f"<h3>{escape(group.label)}</h3>" if drawn else ""
        body += figure(drawn, "Uniform models: the scores that the softmax, or approx's "
                       "polynomial, turns into weights. Box: the middle half, with its median; "
                       "line: 1 % to 99 %; dots: least and largest. Look at which variants have "
                       "large scores: the softmax of a large score leaves only one key.")
    return "scores", "Scores before the softmax (Fig. 2)", body


def section_context(results, judged):
    """Table 4."""
    rows, lengths = [], set()
    drawn = [plot for group in results.texts for plot in figures.context(results, group)]
    body = figure(drawn, "Loss of the same targets, each predicted from exactly the given number "
                  "of tokens, and loss by position in the window. Look at where a curve becomes "
                  "flat: from there on, more context does not help. mlp is flat throughout.", True)
    for group in results.texts:
        for v in VARIANTS:
            for layout in figures.LAYOUT_ORDER:
                found = context_losses(results, group, v, layout)
                if found and (v, layout) != ("standard", "even"):
                    rows.append((group.label, v, layout, found))
                    lengths |= set(found)
    if rows:
        lengths = sorted(lengths)
        body += table(["trained", "variant", "layout", *(f"{c:g}" for c in lengths)],
                      [[label, v, layout, *(cell(found.get(c)) for c in lengths)]
                       for label, v, layout, found in rows], "Loss in nats by context length, in "
                      "bytes or tokens.")
    return "context", "Context length (Table 4)", body


def section_cost(results, judged):
    """Tables 5 to 8."""
    drawn, body = figures.costs(results), ""
    body += "<h3>Formula against measured</h3>" if drawn else ""
    body += figure(drawn, "Open: the paper's formula, at 4 bytes a number. Filled: FLOPs counted "
                   "during a run, bytes as allocated. Where both agree, the filled mark lies in "
                   "the open one. standard computes only the causal half of the formula's map and "
                   "keeps no map for the backward pass; approx computes a prefill by its map, "
                   "while the formula is that of the recurrent form.")
    rows = []
    for v in VARIANTS:
        cost = figures.cost_of(results, v)
        if cost:
            rows.append([v] + [(f"{cost[n]:,.0f}", cost[n]) if n in cost else ("–", None)
                               for name in figures.COSTS for n in (name + "_formula", name)])
    if rows:
        body += table(["variant", "prefill: formula", "measured", "decode: formula", "measured",
                       "kept: formula", "measured", "cache: formula", "measured"], rows,
                      "FLOPs and bytes of one layer's mixer, without its output projection.")
    drawn = figures.times(results)
    body += "<h3>Time a token against T</h3>" if drawn else ""
    body += figure(drawn, "Time of the mixer alone for each token, as dev/bench measures it; both "
                   "axes are logarithmic. Where a line is flat, a token costs the same at any "
                   "length; where it rises one to one, in proportion to the length.", True)
    return "cost", "Cost (Tables 5 to 8)", body


def section_maps(results, judged):
    """Maps of one sentence: of tokens if they were measured, else of bytes."""
    for group in results.mains[::-1]:
        drawn = [svg for layout in figures.LAYOUT_ORDER
                 for svg in figures.maps(results, group, layout)]
        if drawn:
            tokens = next((m["tokens"] for row in group.rows for m in results.detail(row, "maps")
                           or [] if m.get("tokens")), [])
            return "maps", "Attention maps of one sentence", (
                f"<p>The sentence, in {escape(group.kind)}: <q>{escape(''.join(tokens))}</q></p>"
                + figure(drawn, "Up to four layers, of each the sharpest head: the one whose rows "
                         "are most peaked. A row of a map is a token that looks, a column a token "
                         "that is looked at; the darker, the more weight (its square root is "
                         "drawn); \u00b7 is a space. A diagonal: heads look at a fixed distance; "
                         "a column: all tokens look at the same one. Grey maps are those of a "
                         "hybrid's standard layers. rndembqk's and fixedseqqk's maps are the "
                         "same for every text; mlp has none."))
    return "maps", "Attention maps of one sentence", ""


def section_samples(results, judged):
    """Generated texts."""
    cards = ""
    for group in results.mains:
        for v, layout in group.models():
            texts = results.parts(group, v, layout, "sample")
            if texts and layout in figures.LAYOUT_ORDER:
                text = texts[0] if len(texts[0]) <= 600 else texts[0][:600] + "…"
                m = figures.told(group.mean(v, layout))
                cards += (f'<blockquote><p class="legend">{swatch(v, layout == "uniform")} {v}, '
                          f"{layout}, {escape(group.kind)}: loss {m}</p><pre>{escape(text)}</pre>"
                          "</blockquote>")
    body = f'<div class="samples">{cards}</div>' if cards else ""
    note = paragraph("The same prompt for all models. Look at how far words, and the order of "
                     "words, are English: on bytes mlp gets only pairs of letters right.",
                     "note") if cards else ""
    return "samples", "Samples of generated text", body + note


def section_ablations(results, judged):
    """QK-norm, grouped heads."""
    rows = []
    for group in results.groups:
        if group.task != "text" or results.plain(group):
            continue
        parts = ["QK-norm"] if group.qk_norm else []
        if group.kv_heads != group.heads:
            parts.append(f"{group.kv_heads} KV heads for {group.heads}")
        base = next((other for other in results.groups if results.plain(other) and all(
            getattr(group, n) == getattr(other, n) for n in (
                "task", "size", "layers", "dim", "steps", "batch", "seq", "data", "lr"))), None)
        for v, layout in group.models():
            rows.append([" and ".join(parts), group.label, v, layout, cell(group.mean(v, layout)),
                         cell(base.mean(v, layout) if base else None)])
    body = table(["option", "trained", "variant", "layout", "loss", "without the option"], rows,
                 "Options that the paper tests, too.") if rows else ""
    return "ablations", "QK-norm and grouped heads (Appendix B)", body


def section_runs(results, judged):
    """Every run, and what failed."""
    failed = [row for row in results.all_rows if row["status"] == "failed"]
    body = ""
    if failed:
        body += table(["run", "variant", "layout", "seed", "error"], [
            [row["run"], row["attn"], row["layout"], str(row["seed"]), row["error"]]
            for row in failed], f"{len(failed)} runs failed; nothing above counts them.", "words")
    rows = [[row["task"], row["size"], "–" if row["task"] == "recall" else str(
        row["vocab"] or Group([row]).kind), row["attn"], row["layout"]] + [
        (str(row[n] if row[n] is not None else "–"), row[n]) for n in (
            "layers", "seed", "last_step", "parameters", "val_loss", "recall_accuracy",
            "seconds")] for row in results.rows]
    body += table(["task", "size", "vocabulary", "variant", "layout", "layers", "seed", "step",
                   "parameters",
                   "loss", "accuracy", "seconds"], rows,
                  "All runs that finished; results.csv has every setting.", "wide")
    return "runs", "All runs", body


def section_machine(results, judged):
    """Machine, command, date."""
    details = results.details
    machine = details.get("machine")
    if isinstance(machine, dict):
        machine = "; ".join(f"{name}: {value}" for name, value in machine.items())
    rows = [[name, str(value) if value else "not recorded"] for name, value in (
        ("preset", details.get("preset")), ("command", details.get("command")),
        ("machine", machine), ("date", details.get("date")))]
    seconds = sum(row["seconds"] or 0 for row in results.rows)
    rows.append(["training time", f"{seconds / 60:.1f} minutes over {len(results.rows)} runs"])
    body = "".join(f"<tr><th scope=\"row\">{name}</th><td>{escape(value)}</td></tr>"
                   for name, value in rows)
    return "machine", "Machine, command, date", (
        f'<div class="table words"><table class="words"><tbody>{body}</tbody></table></div>')


SECTIONS = (section_deconstruction, section_maps, section_findings, section_recall, section_sizes,
            section_layouts, section_curves, section_indicators, section_scores, section_context,
            section_cost, section_samples, section_ablations, section_runs, section_machine)
# What fills a section that has nothing to show.
FILLS = {"recall": "make recall", "sizes": "make paper", "layouts": "make paper",
         "context": "make table", "cost": "make paper", "ablations": "make paper"}


# ---- the summary --------------------------------------------------------------------------------

def join(names):
    """a, b and c"""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def span(shares):
    """From the least to the most of some shares: 92 to 126 %."""
    low, high = (f"{100 * pick(m.value for m in shares):.0f}" for pick in (min, max))
    return f"{low}\u00a0%" if low == high else f"{low} to {high}\u00a0%"


def keeps(results, variants, layout):
    """92 % on bytes and 120 % on tokens; empty if nothing is known."""
    parts = []
    for g in results.mains:
        shares = [m for v in variants for m in [kept(g.mean, v, layout)] if m]
        parts += [f"{span(shares)} on {g.unit}s"] if shares else []
    return " and ".join(parts)


def sentence(results, variants):
    """What the variants of a principle keep, in one sentence."""
    alone = "" if variants == ("mlp",) else keeps(results, variants, "uniform")
    hybrid = keeps(results, variants, "even")
    name = " and ".join(variants)
    parts = [f"alone, {name} keep{'s' * (len(variants) == 1)} {alone} of what mixing gains"] \
        if alone else []
    parts += [f"between standard layers {'' if alone else name + ' keeps '}{hybrid}"] \
        if hybrid else []
    said = "; ".join(parts)
    return said[:1].upper() + said[1:] + "." if said else ""


def mlp_sentence(results):
    """What a model without mixing reaches, in one sentence."""
    parts = []
    for g in results.mains:
        m, floor = g.mean("mlp", "uniform"), g.floor("bigram_floor")
        if m and floor:
            parts.append(f"{m.value:.2f} nats a {g.unit} (the previous {g.unit} alone gives "
                         f"{floor.value:.2f})")
    said = sentence(results, ("mlp",))
    if not parts:
        return said
    return (f"Without it (mlp) a model ends at {', and at '.join(parts)}"
            + (f"; {said[0].lower()}{said[1:]}" if said else "."))


def opening(results):
    """The first screen: a figure and a sentence a principle."""
    cards = ""
    for title, variants in figures.PRINCIPLES:
        drawn = figures.principle(results, title, variants)
        said = mlp_sentence(results) if "mlp" in variants else sentence(results, variants)
        if drawn:
            cards += f"<div><h2>{title}</h2>{paragraph(said)}{drawn[0].inline()}</div>"
    return f'<div class="principles">{cards}</div>' if cards else ""


def text_summary(group):
    """What the text models show, in a few sentences."""
    full, none = group.mean("standard", "uniform"), group.mean("mlp", "uniform")
    if not full or not none:
        return []
    floor = group.floor("bigram_floor")
    found = [f"On {group.kind}, standard attention ends at a loss of {figures.told(full)} nats a "
             f"{group.unit} and mlp, which does not mix positions, at {figures.told(none)}"
             + (f"; the bigram floor is {floor.value:.3f}." if floor else ".")]
    hybrid = [(v, m.value) for v in SIMPLE for m in [kept(group.mean, v, "even")] if m]
    if hybrid:
        worst = min(hybrid, key=lambda pair: pair[1])
        near = sum(x > KEPT_HYBRID for _, x in hybrid)
        found.append(f"With every other layer standard {near} of {len(hybrid)} variants keep more "
                     f"than {KEPT_HYBRID:.0%} of what mixing gains (the least: {worst[0]}, "
                     f"{worst[1]:.0%}).")
    skips = [m.value for m in (group.mean(v, "even", "skip_blocks") for v in SIMPLE) if m]
    chance = group.floor("chance_loss")
    if skips:
        found.append(f"Without their simple blocks the hybrids' losses are {min(skips):.2f} to "
                     f"{max(skips):.2f}" + (f"; chance is {chance.value:.2f}." if chance else "."))
    return found


def recall_summary(group):
    """Who solves recall."""
    if not group.rows:
        return []
    solved = {layout: [v for a, l in group.models() for v in [a] if l == layout
                       and all(row["solved_step"] is not None for row in group.runs(a, l))]
              for layout in figures.LAYOUT_ORDER}
    return ["With all seeds the recall task is solved alone by "
            f"{join(solved['uniform']) or 'none'}; as hybrids by {join(solved['even']) or 'none'}."]


def summary(results, judged=None):
    """The paragraph of what was found."""
    judged = judged or judge_all(results)
    n = len(results.rows)
    failed = len(results.all_rows) - n
    seeds = sorted({row["seed"] for row in results.rows if row["seed"] is not None})
    first = (f"{n} run{'s' * (n != 1)} of {len({(r['attn'], r['layout']) for r in results.rows})} "
             f"models, {len(seeds)} seed{'s' * (len(seeds) != 1)}"
             + (f"; {failed} failed." if failed else "."))
    parts = [first, *(said for group in results.mains for said in text_summary(group)),
             *recall_summary(results.recall)]
    parts.append(f"Of the paper's findings, {spelled(judged)}.")
    if len(seeds) == 1:
        parts.append("With one seed no error is known; small differences mean nothing.")
    return " ".join(parts)


# ---- the page -----------------------------------------------------------------------------------

TERMS = ("Marks: filled, every layer is the variant (uniform); open, every other layer stays "
         "standard (even, a hybrid). Kept: the share of what mixing gains; standard's is 100 %; "
         "uniform mlp's, which does not mix, 0 %. Losses are in nats, natural logarithms: a loss "
         "of x means that the right byte or token had, in the geometric mean, a probability of e "
         "to the power of -x. Bars: one standard error over seeds. Hovering a mark shows its "
         "numbers.")


def page(results, judged):
    """report.html as text."""
    sections = [section(results, judged) for section in SECTIONS]
    absent = [(title, key) for key, title, text in sections if not text]
    sections = [part for part in sections if part[2]]
    contents = "".join(f'<li><a href="#{key}">{escape(title)}</a></li>'
                       for key, title, _ in sections)
    body = "".join(f'<section id="{key}"><h2>{escape(title)}</h2>{text}</section>'
                   for key, title, text in sections)
    if absent:
        named = "; ".join(f"{title[0].lower() + title[1:]} ({FILLS.get(key, 'make table')})"
                          for title, key in absent)
        body += paragraph(f"{NOT_HERE}, and the command that measures it: {named}.", "note")
    title = "Deconstructing attention, on a small scale"
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"/><title>{title}</title><style>{STYLE}'
            f'{PAGE_STYLE}</style></head><body><main><h1>{title}</h1>'
            + paragraph("Standard attention ties four principles together. Each of six variants "
                        "relaxes one; all were trained alike, and the results are compared "
                        "with those of “Deconstructing Attention” (arXiv 2510.11602) at 500M "
                        f"parameters. Of its findings, {spelled(judged)}.", "lead")
            + opening(results) + paragraph(TERMS, "note")
            + f'<nav aria-label="Contents"><ul>{contents}</ul></nav>{body}</main>'
            f"<script>{SCRIPT}</script></body></html>\n")


def svg_files(results):
    """Name -> text of the figures that stand alone."""
    found = {}
    drawn_of = [("deconstruction" + ("-tokens" if group.unit == "token" else ""),
                 figures.deconstruction(group, 820)) for group in results.mains]
    drawn_of += [("order", [svg for group in results.mains for svg in figures.order(group)])]
    for name, drawn in (*drawn_of, ("recall", figures.matrix(results)),
                        ("layouts", figures.layouts(results))):
        for i, svg in enumerate(drawn):
            if not isinstance(svg, Plot):           # those lean on the page's legend
                found[name + (f"-{i + 1}" if len(drawn) > 1 else "") + ".svg"] = svg.alone()
    return found


def write(folder):
    """Draws everything; returns the page's path and the paragraph of what was found."""
    results = Results(folder)
    judged = judge_all(results)
    path, into = os.path.join(folder, "report.html"), os.path.join(folder, "figures")
    text, files = page(results, judged), svg_files(results)
    try:
        os.makedirs(into, exist_ok=True)
        for name, svg in files.items():
            common.write(os.path.join(into, name), svg)
        for name in set(os.listdir(into)) - set(files):         # of an earlier drawing
            if name.endswith(".svg"):
                os.remove(os.path.join(into, name))
        common.write(path, text)
    except OSError as error:
        raise BadInput(f"{error.filename or path}: cannot be written: {error.strerror}") from None
    return path, summary(results, judged)


def main(arguments):
    """The command line."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stdout if arguments in (["-h"], ["--help"]) else sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 1
    path, found = write(arguments[0])
    print(f"{found}\n\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(common.ended("report.py", main))
