"""Draws figures as SVG without any library: scales, axes, marks. A variant has the same colour,
mark and dash everywhere; colours are Okabe and Ito's, which most colour-blind readers can tell
apart."""
import math
import re
import struct
import zlib
from base64 import b64encode

from paper import VARIANTS

COLOUR = {"standard": "#555555", "mlp": "#D55E00", "approx": "#E69F00", "nonapprox": "#CC79A7",
          "rndembqk": "#0072B2", "fixedseqqk": "#56B4E9", "staticembqk": "#009E73"}
DASH = {"standard": "", "mlp": "7 3", "approx": "2 2", "nonapprox": "9 3 2 3", "rndembqk": "5 2",
        "fixedseqqk": "1 2", "staticembqk": "12 3"}
# Marks as polygons in a circle of radius 1; None: the circle itself.
MARK = {
    "standard": None, "mlp": [(-.85, -.85), (.85, -.85), (.85, .85), (-.85, .85)],
    "approx": [(0, -1.1), (1, .75), (-1, .75)], "nonapprox": [(0, 1.1), (1, -.75), (-1, -.75)],
    "rndembqk": [(0, -1.2), (1.1, 0), (0, 1.2), (-1.1, 0)],
    "fixedseqqk": [(-.35, -1.1), (.35, -1.1), (.35, -.35), (1.1, -.35), (1.1, .35), (.35, .35),
                   (.35, 1.1), (-.35, 1.1), (-.35, .35), (-1.1, .35), (-1.1, -.35), (-.35, -.35)],
    "staticembqk": [(math.sin(a) * (1.3 if i % 2 == 0 else .6),
                     -math.cos(a) * (1.3 if i % 2 == 0 else .6))
                    for i, a in ((i, i * math.pi / 5) for i in range(10))],
}
# Ink, lines and ground, light then dark; figures alone carry this themselves.
STYLE = """
.ink{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d9dee3}.axis{stroke:#59636e}.ground{fill:#fff}
.standard-f{fill:#1f2328}.standard-s{stroke:#1f2328}.edge{stroke:#d0d7de}
@media screen and (prefers-color-scheme:dark){
.ink{fill:#e6edf3}.soft{fill:#9ea7b3}.grid{stroke:#30363d}.axis{stroke:#9ea7b3}
.ground{fill:#0d1117}.standard-f{fill:#e6edf3}.standard-s{stroke:#e6edf3}.edge{stroke:#3d444d}}
"""
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"

# What XML does not allow, other control characters, and those that turn the direction of writing.
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
                       "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def escape(text):
    """Any text as XML text or attribute."""
    text = FORBIDDEN.sub("\ufffd", str(text))
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"),
                              ("'", "&#39;")):
        text = text.replace(character, entity)
    return text


def short(x):
    """A number for an axis or a label."""
    if x == 0:
        return "0"
    if abs(x) >= 1e6 or abs(x) < 1e-3:
        return f"{x:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"


def ticks(low, high, wanted=5):
    """Round numbers from low to high."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, int(math.floor(high / step + 1e-9)) + 1)]


def log_ticks(low, high, base=10, wanted=6):
    """Powers of base within low to high, thinned out; for a short range 1, 2, 5 of each decade."""
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    found = [base ** i for i in range(first, last + 1)]
    if base == 10 and len(found) < 3:
        found = [m * 10.0 ** i for i in range(first - 1, last + 1) for m in (1, 2, 5)
                 if low <= m * 10.0 ** i <= high]
    return found[::max(1, math.ceil(len(found) / wanted))]


def text_width(text, size):
    """About how wide a text is drawn, in pixels."""
    return 0.56 * size * len(text)


class Scale:
    """Maps numbers low to high to pixels a to b, linearly or by the logarithm."""

    def __init__(self, low, high, a, b, log=0):
        if not high > low:
            low, high = (low / 1.5, high * 1.5) if log else (low - 0.5, high + 0.5)
        self.low, self.high, self.a, self.b, self.log = low, high, a, b, log

    def __call__(self, x):
        if self.log:
            part = math.log(x / self.low) / math.log(self.high / self.low)
        else:
            part = (x - self.low) / (self.high - self.low)
        return self.a + (self.b - self.a) * part

    def ticks(self, wanted=5):
        """Where to put ticks."""
        if self.log:
            return log_ticks(self.low, self.high, self.log, wanted + 1)
        return ticks(self.low, self.high, wanted)


def padded(values, share=0.06):
    """The range of the values with some room."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) * share or 1
    return low - room, high + room


class Svg:
    """A figure under construction. Texts are escaped here."""

    def __init__(self, width, height, label):
        self.width, self.height, self.label, self.parts = width, height, label, []
        self.where = ""         # " broad" or " narrow": the screens that show it; else all do

    def add(self, tag, title=None, content="", **attributes):
        """One element; title is what hovering shows. class_ and stroke_width name attributes."""
        text = "".join(f' {name.rstrip("_").replace("_", "-")}="{self.number(value)}"'
                       for name, value in attributes.items() if value not in (None, ""))
        inner = (f"<title>{escape(title)}</title>" if title else "") + content
        self.parts.append(f"<{tag}{text}>{inner}</{tag}>" if inner else f"<{tag}{text}/>")

    @staticmethod
    def number(value):
        """Pixels with one decimal; texts escaped."""
        if isinstance(value, float):
            return f"{value:.1f}".replace(".0", "") if abs(value) >= 1 else f"{value:.2g}"
        return escape(value)

    def text(self, x, y, text, anchor="start", size=12, class_="ink", title=None, **more):
        """A line of text; anchor: start, middle or end."""
        self.add("text", title, escape(text), x=float(x), y=float(y), font_size=size,
                 class_=class_, text_anchor=None if anchor == "start" else anchor, **more)

    def line(self, x1, y1, x2, y2, class_="grid", **more):
        """A straight line."""
        self.add("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_,
                 **more)

    def curve(self, points, variant, title=None, width=1.8, **more):
        """A line through points in a variant's colour and dash."""
        data = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.add("path", title, d=data, fill="none", stroke=COLOUR[variant], stroke_width=width,
                 class_=f"{variant}-s", stroke_dasharray=DASH[variant],
                 stroke_linejoin="round", **more)

    def mark(self, x, y, variant, title=None, filled=True, size=5):
        """A variant's mark: filled, or open for a hybrid."""
        look = {"class_": f"{variant}-s" + (f" {variant}-f" if filled else " ground"),
                "stroke": COLOUR[variant], "stroke_width": 1.6,
                "fill": COLOUR[variant] if filled else None}
        if MARK[variant] is None:
            self.add("circle", title, cx=float(x), cy=float(y), r=float(size) * 0.95, **look)
            return
        points = " ".join(f"{x + size * a:.1f},{y + size * b:.1f}" for a, b in MARK[variant])
        self.add("polygon", title, points=points, stroke_linejoin="round", **look)

    def bar_x(self, x1, x2, y, variant):
        """A horizontal error bar."""
        for a, b, c, d in ((x1, y, x2, y), (x1, y - 3, x1, y + 3), (x2, y - 3, x2, y + 3)):
            self.line(a, b, c, d, f"{variant}-s", stroke=COLOUR[variant], stroke_width=1.3)

    def inner(self):
        """All elements."""
        return "".join(self.parts)

    def inline(self):
        """For a page that has STYLE."""
        return (f'<svg xmlns="http://www.w3.org/2000/svg" class="figure{self.where}" role="img" '
                f'aria-label="{escape(self.label)}" width="{self.width}" height="{self.height}" '
                f'viewBox="0 0 {self.width} {self.height}">{self.inner()}</svg>')

    def alone(self):
        """A file of its own, with its ground, legible in light and in dark surroundings."""
        return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{self.width}" '
                f'height="{self.height}" viewBox="0 0 {self.width} {self.height}" '
                f'font-family="{escape(FONT)}"><title>{escape(self.label)}</title>'
                f'<style>{STYLE}</style><rect x="0.5" y="0.5" width="{self.width - 1}" '
                f'height="{self.height - 1}" rx="6" class="ground edge"/>{self.inner()}</svg>\n')


class Plot(Svg):
    """A figure with two axes. x and y are Scales, in a frame with margins."""

    def __init__(self, label, x, y, x_label, y_label, size=(350, 250), logs=(0, 0), percent=False):
        super().__init__(size[0], size[1], label)
        self.y = Scale(*y, size[1] - 40, 24, logs[1])
        names = [f"{value:.0%}" if percent else short(value) for value in self.y.ticks()]
        left = max([44] + [12 + text_width(name, 11) for name in names])     # so that none is cut
        self.box = left, 24, size[0] - 12, size[1] - 40
        self.x = Scale(*x, self.box[0], self.box[2], logs[0])
        for value, name in zip(self.y.ticks(), names):
            self.line(self.box[0], self.y(value), self.box[2], self.y(value))
            self.text(self.box[0] - 5, self.y(value) + 4, name, "end", 11, "soft")
        for value in self.x.ticks():
            half = text_width(short(value), 11) / 2
            self.line(self.x(value), self.box[3], self.x(value), self.box[3] + 4, "axis")
            self.text(min(self.x(value), size[0] - 2 - half), self.box[3] + 16, short(value),
                      "middle", 11, "soft")
        self.line(self.box[0], self.box[3], self.box[2], self.box[3], "axis")
        self.text((self.box[0] + self.box[2]) / 2, size[1] - 6, x_label, "middle", 11.5)
        self.text(4, 14, y_label, size=11.5)

    def series(self, points, variant, name, filled=True, marks=True, every=1, error=None):
        """A curve with marks; hovering a mark shows its numbers. points: (x, y)."""
        places = [(self.x(x), self.y(y)) for x, y in points]
        if len(places) > 1:
            self.curve(places, variant, name, opacity=0.9)
        for i, (x, y) in enumerate(points):
            if marks and (i % every == 0 or i == len(points) - 1):
                self.mark(*places[i], variant, f"{name}: {short(x)}, {y:.4g}"
                          + (f" ± {error[i]:.2g}" if error and error[i] is not None else ""),
                          filled, 4)

    def level(self, y, text, side="end"):
        """A labelled horizontal line, if it lies within the plot."""
        if self.y.low <= y <= self.y.high:
            self.line(self.box[0], self.y(y), self.box[2], self.y(y), "axis",
                      stroke_dasharray="3 3")
            place = self.box[2] - 2 if side == "end" else self.box[0] + 3
            self.text(place, self.y(y) - 3, text, side, 10.5, "soft")


def swatch(variant, filled=True):
    """A variant's line and mark, for legends."""
    svg = Svg(30, 14, variant)
    svg.curve([(1, 7), (29, 7)], variant)
    svg.mark(15, 7, variant, filled=filled, size=4.2)
    return svg.inline().replace('class="figure"', 'class="swatch"').replace(
        ' role="img"', ' aria-hidden="true"')


def png(colour, rows):
    """A picture of one colour whose opacity is rows of numbers 0 to 1, as a data: address."""
    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data
                + struct.pack(">I", zlib.crc32(kind + data)))
    width = max(len(row) for row in rows)
    lines = b"".join(b"\0" + bytes(min(255, max(0, round(255 * (x or 0)))) for x in row)
                     + bytes(width - len(row)) for row in rows)
    head = struct.pack(">IIBBBBB", width, len(rows), 8, 3, 0, 0, 0)
    data = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
            + chunk(b"PLTE", bytes.fromhex(colour[1:]) * 256) + chunk(b"tRNS", bytes(range(256)))
            + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))
    return "data:image/png;base64," + b64encode(data).decode()


assert set(COLOUR) == set(DASH) == set(MARK) == set(VARIANTS)
