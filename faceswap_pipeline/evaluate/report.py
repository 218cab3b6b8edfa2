"""evaluation.html: what the figures of a film come to, in plain words, plots and pictures.

In: the record that evaluation.json holds, and the films it speaks of. Out: the page as text.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from faceswap_pipeline import report
from faceswap_pipeline.evaluate.definitions import METRICS
from faceswap_pipeline.evaluate.inputs import Inputs
from faceswap_pipeline.geometry import compose_matrices, invert_matrix, resize_matrix
from faceswap_pipeline.imaging import Image, resize, warp
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.report import Block, Heading, Level, Pictures, Plot, Table, Verdicts, Words
from faceswap_pipeline.video.reader import Frame, read_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRIP, STRIP_SIDE = 5, 300
"""Frames in the strip, and the longer side of each of their three pictures, px."""
WORST_SIDE = 180
"""Side of each of the two crops of a frame that stands out, px."""
DRAWN = 1500
"""Points of a plot."""
GROUP_TITLES = {
    "coverage": "Which faces were replaced",
    "identity": "Who it is",
    "performance": "The actor's performance",
    "opening": "Mouth and eyes opening",
    "steadiness": "Steadiness",
    "blending": "Blending",
    "untouched": "Everything else left alone",
    "truth": "Against the true swap",
    "detectability": "Can it be detected",
}
PLOTTED = {
    "identity": ("identity", "old_identity"),
    "performance": ("landmark_motion", "pose_difference"),
    "steadiness": ("jitter", "flicker", "scale_wobble"),
    "blending": ("seam_colour", "seam_gradient", "face_sharpness"),
    "untouched": ("outside_psnr",),
    "truth": ("registered_psnr", "registered_ssim"),
}
"""Which figures are drawn over time."""


def film_page(record: Mapping[str, Any], inputs: Inputs, progress: Progress) -> str:
    """The whole page."""
    pictures, strip = _read_pictures(record, inputs, progress)
    frames = record["frames"]
    blocks: list[Block] = [
        Verdicts(verdicts(record)),
        *([Words("Note: " + "; ".join(record["notes"]))] if record["notes"] else []),
        Heading("Source, result and mask"),
        Pictures(
            strip,
            "The same frames of source and result, and where the dataset says the face is.",
            strip[0][0].shape[1] if strip else STRIP_SIDE,
        ),
    ]
    for group, title in GROUP_TITLES.items():
        if not any(entry["group"] == group for entry in record["metrics"].values()):
            continue
        table = _truth_table(record) if group == "truth" else _figures_table(record, group)
        blocks += [Heading(title), table]
        if group == "coverage":
            blocks.append(_coverage_table(record))
        if group == "identity":
            blocks.append(Words(_agreement(record)))
        drawn = [name for name in PLOTTED.get(group, ()) if name in record["series"]]
        if drawn:
            words = "; ".join(METRICS[name].title for name in drawn)
            caption = f"Over time: {words}. Good ends at the dashed line, poor begins at the dotted one."
            blocks.append(
                Plot(report.plot(lambda figure, d=drawn: _draw(figure, record, d), height=1.5 * len(drawn)), caption)
            )
    blocks += [
        Heading("Frames that stand out"),
        _standing_out(record, pictures),
        Heading("How it was measured"),
        Words(
            f"{frames['looked_at']} of {frames['film']} frames were looked at"
            + (f" (three neighbours out of every {frames['every']})" if frames["every"] > 3 else "")
            + ". Every figure is defined in docs/evaluation.md."
        ),
        Table(["what", "where it was", "SHA-256"], _inputs_rows(record)),
    ]
    name = inputs.film.name
    run = record["run"]
    return report.render(
        f"How good is {name}", blocks, f"{run.get('recipe')}, step {run.get('step')}; {record['made']}"
    )


def _standing_out(record: Mapping[str, Any], pictures: Mapping[int, Image]) -> Block:
    shown = [(pictures[entry["frame"]], _reason(entry)) for entry in record["worst"] if entry["frame"] in pictures]
    if not shown:
        return Words("None: every figure is good in every frame.")
    words = "Source on the left, result on the right; of each kind of figure in turn the worst frame that is not good."
    return Pictures(shown, words, 2 * WORST_SIDE)


def verdicts(record: Mapping[str, Any]) -> list[tuple[Level, str]]:
    """One line for all figures that are good; then one for each that is not, the worst first, with what would help."""
    lines: list[tuple[float, Level, str]] = []
    good = []
    for name, entry in record["metrics"].items():
        metric, value = METRICS[name], entry["value"]
        means, helps = metric.words(value)
        if entry["level"] == "good":
            good.append(metric.title)
        elif means:
            shows = _sentence(means) if entry["level"] == "poor" else f"To a degree: {means}"
            text = f"{shows} ({metric.title}: {_value(name, value)}). What would help: {helps}."
            lines.append((metric.badness(value), entry["level"], text))
    told: list[tuple[Level, str]] = [(level, text) for _, level, text in sorted(lines, key=lambda line: -line[0])]
    if good:
        told.insert(0, ("good", f"Good: {'; '.join(good)}."))
    for name, why in _reasons(record):
        told.append(("note", f"Not measured: {METRICS[name].title} ({why})."))
    return told


def _reasons(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was not measured and why; of the true swap, which few films have, one line is enough."""
    missing = list(record["not_measured"].items())
    of_truth = [name for name, _ in missing if METRICS[name].group == "truth"]
    return [(name, why) for name, why in missing if name not in of_truth[1:]]


def _figures_table(record: Mapping[str, Any], group: str) -> Table:
    rows = []
    for name, entry in record["metrics"].items():
        if entry["group"] == group:
            metric = METRICS[name]
            sign = {"more": "at least", "less": "at most", "one": "near 1, from"}[metric.better]
            rows.append(
                [name, metric.title, _number(entry["value"]), metric.unit, entry["level"], f"{sign} {metric.good:g}"]
            )
    return Table(["figure", "what", "value", "unit", "verdict", "good"], rows)


def _coverage_table(record: Mapping[str, Any]) -> Table:
    details = record["details"]["coverage"]
    left = details["frames_with_the_old_face"]
    rows = [["replaced", details["frames_swapped"], ""]]
    rows += [["passed through", count, reason] for reason, count in details["frames_passed_through"].items()]
    if left:
        rows.append(
            [
                "old face still there",
                len(left),
                "frames " + ", ".join(map(str, left[:20])) + (" ..." if left[20:] else ""),
            ]
        )
    declared = details["declared_by_sidecar"]
    reasons = "".join(f", {count} {reason}" for reason, count in declared["untouched"].items())
    caption = f"The film's sidecar says: {declared['swapped']} of {declared['frames']} frames swapped{reasons}."
    return Table(["frames looked at closely", "count", "why"], rows, caption)


def _agreement(record: Mapping[str, Any]) -> str:
    """How far the figures on identity can be trusted."""
    agreement = record["details"]["identity"]["agreement"]
    return (
        f"The probe behind these figures was tried on real faces that it had not learnt from: it named "
        f"{agreement['a']:.0%} of the old person's and {agreement['b']:.0%} of the new person's rightly."
    )


def _truth_table(record: Mapping[str, Any]) -> Table:
    """The figures against the true swap, between the two rows that make their scale readable."""
    scale = record["details"]["truth"]["scale"]
    rows = []
    for name, entry in record["metrics"].items():
        if entry["group"] == "truth":
            shown = [_number(values.get(name)) for values in scale.values()]
            rows.append([name, entry["title"], *shown, entry["unit"], entry["level"]])
    caption = (
        "A swap lies between no swap at all and the true swap, encoded again. Registered figures judge the network: "
        "place and tone of the face are taken out."
    )
    return Table(["figure", "what", *scale, "unit", "verdict"], rows, caption)


def _inputs_rows(record: Mapping[str, Any]) -> list[list[str]]:
    paths = record["paths"]
    return [[name, paths.get(name, ""), digest] for name, digest in record["sha256"].items()]


def _draw(figure: "Figure", record: Mapping[str, Any], names: Sequence[str]) -> None:
    """Figures over time, one below the other; where frames were left out, dots instead of a line."""
    seconds = {int(frame): time for frame, time in record["seconds"].items()}
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    sparse = record["frames"]["every"] > 3
    for number, (axis, name) in enumerate(zip(axes, names, strict=True)):
        metric, one = METRICS[name], record["series"][name]
        frames, values = _worst_of_bins(name, one["frames"], one["values"])
        time = [seconds.get(frame, np.nan) for frame in frames]
        axis.plot(time, values, "." if sparse else "-", color=report.COLOURS[number], linewidth=1, markersize=4)
        axis.axhline(metric.good, linestyle="--", linewidth=0.8, color=report.COLOURS[2])
        axis.axhline(metric.fair, linestyle=":", linewidth=0.8, color=report.COLOURS[5])
        axis.set_ylabel(f"{name}\n{metric.unit}" if metric.unit else name, fontsize=7)
        if metric.better == "less":
            axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("seconds")


def _worst_of_bins(name: str, frames: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """A long series in at most `DRAWN` points, the worst of each stretch: bad moments stay to be seen."""
    step = -(-len(frames) // DRAWN) or 1
    stretches = [range(start, min(start + step, len(frames))) for start in range(0, len(frames), step)]
    kept = [max(stretch, key=lambda i: METRICS[name].badness(values[i])) for stretch in stretches]
    return [frames[i] for i in kept], [values[i] for i in kept]


def _read_pictures(
    record: Mapping[str, Any], inputs: Inputs, progress: Progress
) -> tuple[dict[int, Image], list[tuple[Image, str]]]:
    """Source and result of the frames that stand out, by frame, and the strip; one more pass over both films."""
    records = inputs.faces.by_frame(inputs.index)
    seen = [int(frame) for frame in record["seconds"]]
    with_face = [frame for frame in seen if frame in records] or seen
    chosen = [with_face[round(i)] for i in np.linspace(0, len(with_face) - 1, min(STRIP, len(with_face)))]
    wanted = {entry["frame"] for entry in record["worst"]} | set(chosen)
    pictures: dict[int, Image] = {}
    strip: list[tuple[Image, str]] = []
    if not wanted:
        return pictures, strip
    stop = max(wanted) + 1
    with progress.phase("taking pictures", len(wanted), "frames") as advance:
        for source, result in zip(
            read_frames(inputs.source, stop=stop), read_frames(inputs.film, stop=stop), strict=False
        ):
            if source.index not in wanted:
                continue
            found = records.get(source.index, [])
            pictures[source.index] = _side_by_side(source, result, found, inputs.faces.crop_size)
            if source.index in chosen:
                strip.append((_strip_row(source, result, found, inputs), f"{float(source.pts):.2f} s"))
            advance(1)
    return pictures, strip


def _side_by_side(source: Frame, result: Frame, records: Sequence[FaceRecord], crop_size: int) -> Image:
    """The first face of both, or the whole frames where there is none."""
    shown = []
    for frame in (source, result):
        if records:
            matrix = compose_matrices(resize_matrix(2 * WORST_SIDE / crop_size), records[0].matrix)
            shown.append(warp(frame.rgb, matrix, (2 * WORST_SIDE, 2 * WORST_SIDE)))
        else:
            shown.append(resize(frame.rgb, (WORST_SIDE, max(1, round(WORST_SIDE * frame.height / frame.width)))))
    return np.hstack(shown)


def _strip_row(source: Frame, result: Frame, records: Sequence[FaceRecord], inputs: Inputs) -> Image:
    """Source, result and mask of one frame side by side."""
    mask, whole = np.zeros((source.height, source.width), np.uint8), (source.width, source.height)
    for record in records:
        if inputs.faces.has_mask(record, "face"):
            back = invert_matrix(record.matrix)
            mask = np.maximum(mask, warp(inputs.faces.mask(record, "face"), back, whole, "linear", "zero"))
    shrink = min(STRIP_SIDE / source.width, STRIP_SIDE / source.height)
    size = (max(1, round(shrink * source.width)), max(1, round(shrink * source.height)))
    return np.hstack([resize(image, size) for image in (source.rgb, result.rgb, np.repeat(mask[..., None], 3, 2))])


def _reason(entry: Mapping[str, Any]) -> str:
    metric = METRICS[entry["metric"]]
    words = f"{metric.title} {_value(entry['metric'], entry['value'])} ({entry['level']})"
    return f"{entry['seconds']:.2f} s, frame {entry['frame']}: {words}"


def _value(name: str, value: float) -> str:
    return f"{_number(value)} {METRICS[name].unit}".strip()


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
