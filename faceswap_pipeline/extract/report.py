"""report.html of a dataset: what was found, what was left out and why, and what more footage would help.

In: a dataset whose records are final, and its lines of frames.csv. Out: the page as text.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import report
from faceswap_pipeline.dataset import FaceDataset, FaceRecord, FrameRow
from faceswap_pipeline.imaging import Image, resize
from faceswap_pipeline.report import Heading, Level, Pictures, Plot, Table, Verdicts, Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANINGS = {
    "duplicate": "hardly differs from the face kept before it",
    "filled": "the tracker bridged a gap: the detector saw nothing",
    "low_score": "the detector is not sure of it",
    "blurred": "far less sharp than is usual for the person",
    "clipped": "partly outside the picture",
    "tiny": "too few pixels for its crop",
}
"""What each mark says."""
SIDE = 15.0
"""Degrees of yaw from which a head counts as turned."""
FEW, PLENTY = 32, 300
"""Faces below which nothing can be learnt, and from which it goes well."""
SHOWN, SHOWN_LEFT_OUT, SHOWN_SIDE = 40, 6, 128
"""Crops on the contact sheet, of each mark, and their side in px."""
POSE_BIN = 2.5
"""Side of the bins of the coverage plot, degrees."""
LANES = 8
"""Sources in the timeline."""


def dataset_page(
    dataset: FaceDataset, rows: Sequence[FrameRow], sheet: bytes | None, notes: Sequence[tuple[Level, str]] = ()
) -> str:
    """The whole page of a dataset that holds at least one face.

    `sheet`: people.jpg; `notes`: verdicts of the caller, such as how surely persons were told apart.
    """
    records = dataset.records
    names = ", ".join(Path(source.path).name for source in dataset.sources)
    blocks: list[report.Block] = [
        Verdicts([*advice(records, rows, dataset.crop_size / dataset.coverage), *notes]),
        Heading("What was found"),
        _sources_table(dataset, rows),
        _frames_table(rows),
        _marks_table(records),
        Heading("The faces"),
        Pictures(
            _crops(dataset, [record for record in records if record.use_for_training], SHOWN),
            "Faces to learn from, evenly spread over the film, with frame and yaw.",
            width=96,
        ),
        *_left_out(dataset),
        Heading("People"),
        *([Pictures([(sheet, "")], "Everyone found; the same as people.jpg.", width=768)] if sheet else []),
        Heading("How the head turns"),
        Plot(
            report.plot(lambda figure: _draw_pose(figure, records), height=3.4),
            f"Each dot is a bin of {POSE_BIN:g} degrees, its area the number of faces. What no face shows cannot be "
            "learnt. Pitch is known roughly: five points hardly show it.",
        ),
        Heading("Sharpness and size"),
        Plot(
            report.plot(lambda figure: _draw_quality(figure, records, _heights(records, dataset))),
            "Sharpness of the crops (variance of the Laplacian), and the height of the face in the film.",
        ),
        Heading("Over time"),
        *_timeline(dataset, rows),
    ]
    return report.render(f"Faces of {names}", blocks, f"{len(records)} faces, crops of {dataset.crop_size} px")


def advice(records: Sequence[FaceRecord], rows: Sequence[FrameRow], crop_face: float) -> list[tuple[Level, str]]:
    """What to make of it, in plain words; `crop_face` is the height of a face in its crop, px."""
    used = [record for record in records if record.use_for_training]
    lines = [_count_advice(len(used))]
    looked_at = [row for row in rows if "--" not in row.reason]
    with_face = sum(row.faces > 0 for row in looked_at)
    if looked_at:
        share = with_face / len(looked_at)
        why = Counter(row.reason for row in looked_at if row.faces == 0).most_common(1)
        rest = f"; most of the others: {why[0][0]}" if why else ""
        lines.append(("good" if share > 0.8 else "note", f"{share:.0%} of the frames show a chosen face{rest}."))
    if used:
        lines += _turn_advice(np.array([record.yaw for record in used]))
        height = float(np.median([crop_face / _scale(record) for record in used]))
        if height < 0.6 * crop_face:
            lines.append(
                (
                    "fair",
                    f"The face is {height:.0f} px high (median) and is enlarged to {crop_face:.0f} px: detail is "
                    "missing. Film from nearer or in a higher resolution.",
                )
            )
    marks = Counter(mark for record in records for mark in record.marks)
    if marks["duplicate"] > 0.6 * len(records):
        share = marks["duplicate"] / len(records)
        lines.append(("note", f"{share:.0%} of the faces are duplicates: more talking and turning teaches more."))
    for mark, mend in (
        ("blurred", "use more light or a shorter exposure"),
        ("clipped", "keep the whole head in the picture"),
        ("filled", "hands or hair cover the face, or it turns away"),
        ("low_score", "the face is covered, dark or turned away"),
    ):
        if marks[mark] > 0.15 * len(records):
            lines.append(("fair", f"{marks[mark] / len(records):.0%} of the faces are marked {mark}: {mend}."))
    return lines


def _count_advice(count: int) -> tuple[Level, str]:
    if count < FEW:
        return (
            "poor",
            f"Only {count} faces to learn from: at least {FEW} are needed, some hundreds are good. Film more.",
        )
    if count < PLENTY:
        return "fair", f"{count} faces to learn from: it will do, but some hundreds are better."
    return "good", f"{count} faces to learn from."


def _turn_advice(yaw: NDArray[np.float64]) -> list[tuple[Level, str]]:
    lines: list[tuple[Level, str]] = []
    sides = {
        f"look left (over {SIDE:g} degrees)": yaw < -SIDE,
        f"look ahead (within {SIDE:g} degrees)": abs(yaw) <= SIDE,
        f"look right (over {SIDE:g} degrees)": yaw > SIDE,
    }
    for words, there in sides.items():
        share = float(there.mean())
        if share < 0.05:
            few = "None" if not there.any() else f"Only {share:.1%}" if share < 0.01 else f"Only {share:.0%}"
            lines.append(("fair", f"{few} of the faces {words}: such views will be guessed."))
    low, high = np.percentile(yaw, [1, 99])
    return lines or [("good", f"The head turns from {low:.0f} to {high:.0f} degrees, both sides well seen.")]


def _scale(record: FaceRecord) -> float:
    """Crop px per frame px."""
    return float(np.sqrt(abs(np.linalg.det(record.matrix[:, :2]))))


def _heights(records: Sequence[FaceRecord], dataset: FaceDataset) -> NDArray[np.float64]:
    """Height of each face in the film, px."""
    return np.array([dataset.crop_size / dataset.coverage / _scale(record) for record in records])


def _sources_table(dataset: FaceDataset, rows: Sequence[FrameRow]) -> Table:
    frames = Counter(row.source for row in rows)
    lines = []
    for index, source in enumerate(dataset.sources):
        own = [record for record in dataset.records if record.source == index]
        size = f"{source.info.width} x {source.info.height}"
        tracks = len({record.track for record in own})
        lines.append([Path(source.path).name, size, float(source.info.duration), frames[index], len(own), tracks])
    return Table(["input", "size, px", "length, s", "frames", "faces", "tracks"], lines)


def _frames_table(rows: Sequence[FrameRow]) -> Table:
    reasons = Counter(row.reason or "a face to learn from" for row in rows)
    lines = [[reason, count, f"{count / max(len(rows), 1):.1%}"] for reason, count in reasons.most_common()]
    return Table(["frames", "count", "share"], lines, "Each frame of the inputs is in frames.csv.")


def _marks_table(records: Sequence[FaceRecord]) -> Table:
    marks = Counter(mark for record in records for mark in record.marks)
    lines = [
        [mark, count, f"{count / len(records):.1%}", MEANINGS.get(mark, "")] for mark, count in marks.most_common()
    ]
    used = sum(record.use_for_training for record in records)
    return Table(
        ["faces marked", "count", "share", "meaning"],
        lines or [["none", 0, "", ""]],
        f"{used} of {len(records)} faces are learnt from. Marked ones are not, but they are converted all the same.",
    )


def _crops(dataset: FaceDataset, records: Sequence[FaceRecord], most: int) -> list[tuple[Image, str]]:
    """At most `most` crops, evenly spread, each with its frame and yaw."""
    there = [record for record in records if dataset.has_crop(record)]
    picks = np.unique(np.linspace(0, len(there) - 1, most).astype(int)) if there else []
    side = min(SHOWN_SIDE, dataset.crop_size)
    return [
        (resize(dataset.crop(there[pick]), (side, side)), f"{there[pick].frame}, {there[pick].yaw:+.0f}°")
        for pick in picks
    ]


def _left_out(dataset: FaceDataset) -> list[report.Block]:
    items = []
    for mark in MEANINGS:
        marked = [record for record in dataset.records if mark in record.marks]
        items += [(crop, f"{mark}, {words}") for crop, words in _crops(dataset, marked, SHOWN_LEFT_OUT)]
    return [Pictures(items, "Some that are left out of training, with why.", width=96)] if items else []


def _draw_pose(figure: "Figure", records: Sequence[FaceRecord]) -> None:
    axes = figure.subplots()
    for used, label in ((False, "left out"), (True, "to learn from")):
        angles = np.array([[r.yaw, r.pitch] for r in records if r.use_for_training == used]).reshape(-1, 2)
        bins, counts = np.unique(np.round(angles / POSE_BIN).astype(int), axis=0, return_counts=True)
        area = 300 * counts / max(len(records), 1) + 4
        axes.scatter(
            *(bins.T * POSE_BIN), s=area, label=label, color=report.COLOURS[0] if used else "#9a9a9a", alpha=0.7
        )
    axes.axvspan(-SIDE, SIDE, color="#9a9a9a", alpha=0.1, linewidth=0)
    across = max(45.0, *(abs(record.yaw) + POSE_BIN for record in records))
    down = max(20.0, *(abs(record.pitch) + POSE_BIN for record in records))
    axes.set_xlim(-across, across)
    axes.set_ylim(down, -down)
    axes.set_xlabel("yaw, degrees: left | right")
    axes.set_ylabel("pitch, degrees: down | up")
    for handle in axes.legend(loc="upper right").legend_handles:
        handle.set_sizes([30])  # type: ignore[union-attr]


def _draw_quality(figure: "Figure", records: Sequence[FaceRecord], heights: NDArray[np.float64]) -> None:
    left, right = figure.subplots(1, 2)
    used = np.array([record.use_for_training for record in records])
    for axes, values, words in (
        (left, np.array([record.sharpness for record in records]), "sharpness"),
        (right, heights, "height of the face, px"),
    ):
        edges = np.linspace(0, max(float(values.max()) * 1.02, 1e-6), 31)
        labels, colours = ["to learn from", "left out"], [report.COLOURS[0], "#9a9a9a"]
        # One outline for each group: as single bars they take five times as long to draw.
        axes.hist(
            [values[used], values[~used]],
            edges.tolist(),
            histtype="stepfilled",
            stacked=True,
            label=labels,
            color=colours,
        )
        axes.set_xlabel(words)
        axes.set_ylabel("faces")
    left.legend()


def _timeline(dataset: FaceDataset, rows: Sequence[FrameRow]) -> list[report.Block]:
    """A lane for each film; single pictures have no time."""
    lanes = [
        index
        for index in range(len(dataset.sources))
        if len({r.track for r in dataset.records if r.source == index})
        < sum(r.source == index for r in dataset.records)
    ]
    if not lanes:
        return [Words("The inputs are single pictures.")]
    more = f" {len(lanes) - LANES} more inputs are not shown." if len(lanes) > LANES else ""
    lanes = lanes[:LANES]
    drawing = report.plot(lambda figure: _draw_timeline(figure, dataset, rows, lanes), height=1.3 + 0.7 * len(lanes))
    return [Plot(drawing, f"Above the line the tracks of each input, below it why frames hold no face.{more}")]


def _draw_timeline(figure: "Figure", dataset: FaceDataset, rows: Sequence[FrameRow], lanes: Sequence[int]) -> None:
    axes = figure.subplots()
    reasons = sorted({row.reason for row in rows if row.faces == 0 and row.reason})
    shades = {reason: report.COLOURS[1 + number % 5] for number, reason in enumerate(reasons)}
    for place, source in enumerate(lanes):
        length = float(1 / dataset.sources[source].info.rate)
        tracks: dict[int, list[float]] = {}
        for record in dataset.records:
            if record.source == source:
                tracks.setdefault(record.track, []).append(float(record.pts))
        for number, times in enumerate(tracks.values()):
            bar = [(min(times), max(times) + length - min(times))]
            axes.broken_barh(bar, (place - 0.38, 0.34), color=report.COLOURS[0], alpha=1 if number % 2 == 0 else 0.6)
        for reason, bars in _runs(rows, source, length).items():
            axes.broken_barh(bars, (place + 0.02, 0.2), color=shades[reason])
    for reason, shade in shades.items():
        axes.plot([], [], color=shade, linewidth=5, label=reason)
    axes.set_yticks(range(len(lanes)), [Path(dataset.sources[source].path).name for source in lanes])
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_xlabel("seconds")
    if reasons:
        figure.legend(loc="outside upper right", ncols=4)


def _runs(rows: Sequence[FrameRow], source: int, length: float) -> dict[str, list[tuple[float, float]]]:
    """Stretches (start, duration in s) of one source's frames without a face, by reason."""
    runs: dict[str, list[tuple[float, float]]] = {}
    last: FrameRow | None = None
    for row in (row for row in rows if row.source == source):
        if row.faces == 0 and row.reason:
            bars = runs.setdefault(row.reason, [])
            if bars and last is not None and last.reason == row.reason and last.faces == 0:
                start = bars.pop()[0]
            else:
                start = float(row.pts)
            bars.append((start, float(row.pts) + length - start))
        last = row
    return runs
