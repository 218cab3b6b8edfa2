"""The report page: whole in itself, escaped, the same each time."""

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from faceswap_pipeline.report import Heading, Pictures, Plot, Table, Verdicts, Words, data_uri, plot, render

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags nest, and keeps ids, addresses and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.classes: dict[str, str] = {}
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        self._last = dict(attrs).get("class") or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())
            self.classes[data.strip()] = self._last


def draw(figure):
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], label="yaw", marker="o")
    axes.hist([1, 1, 2])
    axes.set_xlabel("seconds")
    axes.legend()


def test_a_page_holds_every_block_and_nests():
    image = np.full((8, 8, 3), 90, np.uint8)
    page = Reader(
        render(
            "Faces <of> A & B",
            [
                Verdicts([("good", "enough"), ("poor", "only 3 % look left")]),
                Heading("Marks"),
                Words("plain"),
                Table(["mark", "faces", "share"], [["blurred", 1234, "3 %"], ["none", None, "0.5 %"]], "why"),
                Plot(plot(draw), "curves"),
                Plot(plot(draw), "again"),
                Pictures([(image, "frame 1"), (image[..., 0], "")], caption="some"),
            ],
            about="made today",
        )
    )
    for text in (
        "Faces <of> A & B",
        "made today",
        "only 3 % look left",
        "plain",
        "1,234",
        "–",
        "yaw",
        "frame 1",
        "some",
    ):
        assert text in page.words, text
    assert page.classes["1,234"] == page.classes["3 %"] == "right" and page.classes["blurred"] == ""
    assert len(page.ids) == len(set(page.ids)), "names in two drawings do not clash"
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_a_page_asks_nothing_of_any_network():
    page = render("x", [Plot(plot(draw)), Pictures([(np.zeros((4, 4, 3), np.uint8), "<script>alert(1)</script>")])])
    assert "<script" not in page
    outside = re.findall(r"\w+://[^\s\"'<>]+", page)
    assert {address for address in outside if "www.w3.org" not in address} == set(), "namespaces are not fetched"
    assert not [a for a in Reader(page).addresses if not a.startswith(("data:", "#"))]


def test_plots_take_the_page_s_colours_leave_no_state_and_repeat():
    import matplotlib

    before = dict(matplotlib.rcParams)
    first = plot(draw)
    assert "currentColor" in first and "#010203" not in first and "<text" in first
    assert "DejaVu" not in first, "letters are the page's"
    assert first == plot(draw) and dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_pictures_become_addresses_that_read_back():
    image = np.zeros((6, 5, 3), np.uint8)
    image[..., 0] = 200
    uri = data_uri(image, lossless=True)
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), image)
    assert data_uri(image).startswith("data:image/jpeg;base64,")
    assert data_uri(b"<svg/>").startswith("data:image/svg+xml;base64,") and data_uri(data) == uri
    with pytest.raises(ValueError, match="float64"):
        data_uri(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="JPEG, PNG or SVG"):
        data_uri(b"GIF89a")


def test_matplotlib_is_loaded_by_the_first_plot_only():
    program = "import sys, faceswap_pipeline.report; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"
