"""Reports for people: one HTML file that holds its tables, plots and pictures itself and asks nothing of any network.

In: blocks in the order in which they are read. Out: the text of the file, readable on a phone, in the dark, in print.

    page = render("Faces of video_a.mp4", [
        Verdicts([("good", "486 faces to learn from")]),
        Heading("How the head turns"),
        Table(["mark", "faces"], [["duplicate", 12], ["blurred", 3]]),
        Plot(plot(draw), "Yaw over time"),
        Pictures([(crop, "frame 12")], caption="Every 40th face"),
    ])

`draw` is a function that is handed a matplotlib Figure; no state of matplotlib is touched or shared.
"""

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from faceswap_pipeline import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#3d85c6", "#e0793c", "#4f9f62", "#9b6fc4", "#c9a227", "#cf5b5b")
"""Of lines and bars, in this order; each is legible on white and on near-black."""
JPEG_QUALITY = 85
_INK = "#010203"
"""Stands for the page's own text colour while a plot is drawn."""

Level = Literal["good", "fair", "poor", "note"]


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Words:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Verdicts:
    """What it comes to: lines, each with how good the news is."""

    lines: Sequence[tuple[Level, str]]


@dataclass(frozen=True)
class Table:
    """Rows under a head; columns of numbers are set flush right."""

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Text, or numbers, which are written as `f"{value:,}"` (floats to four digits); None is a dash."""
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing made by `plot`."""

    svg: str
    caption: str = ""


@dataclass(frozen=True)
class Pictures:
    """Pictures in a row that wraps, each over its own words."""

    items: Sequence[tuple[NDArray[np.uint8] | bytes, str]]
    """A picture as `data_uri` takes it, and the words below it (may be empty)."""
    caption: str = ""
    width: int = 128
    """Of each picture on the page, px; none is ever wider than the page."""
    lossless: bool = field(default=False, kw_only=True)


Block = Heading | Words | Verdicts | Table | Plot | Pictures


def render(title: str, blocks: Sequence[Block], about: str = "") -> str:
    """The whole page as text: `title`, the line `about` below it, then the blocks. All text is escaped."""
    shown = []
    for number, block in enumerate(blocks):
        values: dict[str, Any] = {"kind": type(block).__name__, "block": block}
        if isinstance(block, Table):
            values["right"] = [_is_numeric([row[i] for row in block.rows]) for i in range(len(block.head))]
            values["rows"] = [[_cell(value) for value in row] for row in block.rows]
        elif isinstance(block, Plot):
            # Names inside a drawing are unique in that drawing only.
            values["svg"] = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>d{number}-", block.svg)
        elif isinstance(block, Pictures):
            values["uris"] = [(data_uri(image, lossless=block.lossless), words) for image, words in block.items]
        shown.append(values)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_PAGE).render(title=title, about=about, blocks=shown, version=__version__)


def plot(draw: Callable[["Figure"], None], width: float = 7.2, height: float = 2.8) -> str:
    """What `draw` draws into the figure it is handed, as SVG text that takes the page's colours.

    `width`, `height`: inches at the page's full width; the drawing shrinks with the page. The same drawing gives the
    same text.
    """
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = {
        **dict.fromkeys((*ink, "grid.color", "legend.labelcolor"), _INK),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.15,
        "font.size": 9,
        "font.family": "sans-serif",
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "axes.prop_cycle": cycler(color=COLOURS),
    }
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        # Laid out once: left to itself, saving draws everything a second time to do so.
        layout = figure.get_layout_engine()
        assert layout is not None
        layout.execute(figure)
        figure.set_layout_engine(None)
        target = io.BytesIO()
        figure.savefig(target, format="svg", metadata={"Date": None})
    svg = target.getvalue().decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    return re.sub(r"font: ([^;\"']*)'[^;\"]*", r"font: \1sans-serif", svg).replace(_INK, "currentColor")


def data_uri(picture: NDArray[np.uint8] | bytes, *, lossless: bool = False) -> str:
    """A picture as a `data:` address: uint8 (H, W, 3) RGB or (H, W) grey as JPEG (`lossless`: PNG), or the bytes of a
    JPEG, PNG or SVG file as they are. Raises ValueError for anything else."""
    if isinstance(picture, bytes):
        kinds = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"<svg": "svg+xml", b"<?xml": "svg+xml"}
        kind = next((kind for start, kind in kinds.items() if picture.startswith(start)), None)
        if kind is None:
            raise ValueError(f"expected the bytes of a JPEG, PNG or SVG picture, got {picture[:8]!r}")
        data = picture
    else:
        if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)) or picture.ndim < 2:
            raise ValueError(f"expected a picture uint8 (H, W, 3) or (H, W), got {picture.dtype} {picture.shape}")
        kind = "png" if lossless else "jpeg"
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
        options = [] if lossless else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        data = cv2.imencode(f".{kind}", bgr, options)[1].tobytes()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return str(value)
    return f"{value:,}" if isinstance(value, int | np.integer) else f"{value:,.4g}"


def _is_numeric(values: Sequence[Any]) -> bool:
    """Whether a column reads as numbers, with signs and units or without."""
    there = [_cell(value) for value in values if value is not None]
    return bool(there) and all(re.match(r"[-+−±]?\s?\d", text) for text in there)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c1e21; --quiet: #62676e; --line: #d9dce0; --page: #ffffff; --raised: #f4f5f7;
  --good: #23803f; --fair: #9a6700; --poor: #c0392b; --note: #3d6ea5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --quiet: #a0a6ae; --line: #3a3f46; --page: #16181b;
  --raised: #212428; --good: #5ec27d; --fair: #e0b04a; --poor: #f0857a; --note: #86b6ea; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 60rem; color: var(--ink); background: var(--page);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 46rem; }
.about, figcaption, caption, footer { color: var(--quiet); font-size: .88rem; }
ul.verdicts { list-style: none; margin: 1rem 0; padding: .5rem .9rem; background: var(--raised); border-radius: .5rem; }
ul.verdicts li { display: flex; gap: .6rem; padding: .25rem 0; }
ul.verdicts b { flex: none; width: 1.2em; text-align: center; }
{% for level in ("good", "fair", "poor", "note") %}
.{{ level }} b { color: var(--{{ level }}); }
{% endfor %}
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { caption-side: bottom; text-align: left; padding-top: .4rem; }
th, td { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
.right { text-align: right; }
figure { margin: 1rem 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 52rem; }
.strip { display: flex; flex-wrap: wrap; gap: .5rem; }
.strip div { max-width: 100%; font-size: .75rem; color: var(--quiet); line-height: 1.3; }
.strip img { display: block; max-width: 100%; height: auto; border-radius: .2rem; }
figcaption { margin-top: .4rem; max-width: 46rem; }
footer { margin-top: 3rem; }
@media print {
  :root { --ink: #000; --quiet: #444; --line: #bbb; --page: #fff; --raised: #fff;
    --good: #23803f; --fair: #9a6700; --poor: #c0392b; --note: #3d6ea5; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  figure, tr, ul.verdicts { break-inside: avoid; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
}
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if about %}
<p class="about">{{ about }}</p>
{% endif %}
{% for item in blocks %}
{% set block = item.block %}
{% if item.kind == "Heading" %}
<h2>{{ block.text }}</h2>
{% elif item.kind == "Words" %}
<p>{{ block.text }}</p>
{% elif item.kind == "Verdicts" %}
<ul class="verdicts">
{% for level, text in block.lines %}
<li class="{{ level }}"><b title="{{ level }}">{{ {"good": "✓", "fair": "!", "poor": "✗", "note": "·"}[level] }}</b>
<span>{{ text }}</span></li>
{% endfor %}
</ul>
{% elif item.kind == "Table" %}
<div class="scroll"><table>
{% if block.caption %}
<caption>{{ block.caption }}</caption>
{% endif %}
<thead><tr>
{% for name in block.head %}
<th{% if item.right[loop.index0] %} class="right"{% endif %}>{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in item.rows %}
<tr>
{% for text in row %}
<td{% if item.right[loop.index0] %} class="right"{% endif %}>{{ text }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
{% elif item.kind == "Plot" %}
<figure role="img" aria-label="{{ block.caption }}">{{ item.svg | safe }}
{% if block.caption %}
<figcaption>{{ block.caption }}</figcaption>
{% endif %}
</figure>
{% elif item.kind == "Pictures" %}
<figure><div class="strip">
{% for uri, words in item.uris %}
<div style="width: {{ block.width }}px"><img src="{{ uri }}" width="{{ block.width }}" alt="{{ words }}">
{{ words }}</div>
{% endfor %}
</div>
{% if block.caption %}
<figcaption>{{ block.caption }}</figcaption>
{% endif %}
</figure>
{% endif %}
{% endfor %}
<footer>Written by swap {{ version }}. This file holds everything it shows and loads nothing.</footer>
</body>
</html>
"""
