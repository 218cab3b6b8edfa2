"""What the report advises, and that its page holds what it should."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from faceswap_pipeline.dataset import FaceDataset, FaceRecord, FrameRow, Source
from faceswap_pipeline.extract.report import advice, dataset_page
from faceswap_pipeline.geometry import similarity_matrix
from faceswap_pipeline.video.info import file_sha256, probe

from .conftest import wall, write_clip

CROP_FACE = 60.0


def record(frame: int, yaw: float = 0.0, *, marks: tuple[str, ...] = (), shrink: float = 1.0) -> FaceRecord:
    return FaceRecord(
        source=0,
        frame=frame,
        pts=Fraction(frame, 25),
        track=frame // 400,
        person=0,
        filled=False,
        box=np.array([0, 0, 9, 9]),
        landmarks_raw=np.zeros((5, 2)),
        landmarks=np.zeros((5, 2)),
        score=1.0,
        yaw=yaw,
        pitch=frame % 7 - 3.0,
        roll=0.0,
        sharpness=100.0 + frame % 13,
        marks=marks,
        use_for_training=not marks,
        matrix=similarity_matrix(1 / shrink, 20, 3, 4),
    )


def rows(count: int, empty: int = 0, reason: str = "no face") -> list[FrameRow]:
    return [FrameRow(0, i, Fraction(i, 25), int(i >= empty), "" if i >= empty else reason) for i in range(count)]


def said(records, frames=None) -> str:
    return "\n".join(f"{level}: {text}" for level, text in advice(records, frames or rows(len(records)), CROP_FACE))


def test_a_side_that_is_hardly_seen_is_named():
    yaw = [-30.0] * 12 + [0.0] * 200 + [30.0] * 188
    assert "fair: Only 3% of the faces look left" in said([record(i, value) for i, value in enumerate(yaw)])
    text = said([record(i, value) for i, value in enumerate([0.0] * 300 + [20.0] * 100)])
    assert "None of the faces look left" in text and "look right" not in text
    assert "good: The head turns from -30 to 30" in said([record(i, (-30.0, 0.0, 30.0)[i % 3]) for i in range(300)])


def test_views_count_only_where_they_are_learnt_from():
    records = [record(i, (-30.0, 0.0, 30.0)[i % 3], marks=("blurred",) if i % 3 == 0 else ()) for i in range(600)]
    assert "None of the faces look left" in said(records)
    assert "fair: 33% of the faces are marked blurred" in said(records)


@pytest.mark.parametrize(("count", "level"), [(5, "poor: Only 5 faces"), (100, "fair: 100 faces"), (400, "good: 400")])
def test_how_many_faces_there_are_is_judged(count, level):
    assert said([record(i) for i in range(count)]).startswith(level)


def test_small_faces_and_missing_ones_are_noticed():
    small = said([record(i, shrink=0.5) for i in range(40)])
    assert "30 px high (median) and is enlarged to 60 px" in small
    assert "enlarged" not in said([record(i, shrink=0.8) for i in range(40)])
    assert "note: 25% of the frames show a chosen face; most of the others: no face" in said(
        [record(i) for i in range(40)], rows(40, 30)
    )
    outside = rows(40, 30, "before --start")
    assert "good: 100% of the frames" in said([record(i) for i in range(40)], outside)


def test_the_page_shows_faces_marks_tracks_and_reasons(tmp_path):
    film = write_clip(tmp_path / "film & co.mp4", [wall(0)] * 3)
    source = Source(str(film), file_sha256(film), probe(film))
    random = np.random.default_rng(0)
    with FaceDataset.create(tmp_path / "faces", [source], 64, "t", 1.56, {}) as dataset:
        for frame in range(50):
            marks = (("duplicate",), ("clipped", "tiny"), (), ())[frame % 4]
            dataset.append(record(frame, marks=marks), random.integers(0, 255, (64, 64, 3), np.uint8))
        page = dataset_page(dataset, rows(60, 10), None, [("note", "persons are <far> apart")])
        again = dataset_page(dataset, rows(60, 10), None, [("note", "persons are <far> apart")])
    assert page == again
    assert page.count("data:image/jpeg") == 24 + 6 + 6 + 6, "all faces to learn from; six of each mark"
    for text in ("film &amp; co.mp4", "persons are &lt;far&gt; apart", "hardly differs", "no face", "yaw, degrees"):
        assert text in page, text
    assert page.count("<svg") == 3


def test_single_pictures_have_no_timeline(tmp_path):
    film = write_clip(tmp_path / "film.mp4", [wall(0)] * 3)
    source = Source(str(film), file_sha256(film), probe(film))
    with FaceDataset.create(tmp_path / "faces", [source], 64, "t", 1.56, {}) as dataset:
        dataset.append(replace(record(0, 50.0), marks=("odd",)), np.zeros((64, 64, 3), np.uint8))
        page = dataset_page(dataset, rows(1), b"\xff\xd8\xffpeople")
    assert "single pictures" in page and page.count("<svg") == 2 and "same as people.jpg" in page
