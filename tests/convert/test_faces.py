"""What is measured of a face and how its neighbours steady it."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from faceswap_pipeline.convert.faces import FaceMixer, draw_oval
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.segments import FacePlan
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.geometry import similarity_matrix
from faceswap_pipeline.video.reader import Frame, picture_frame
from tests.convert.conftest import NO_FACE, StandIn, draw_frame, make_record, write_clip, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_clip(folder / "video_a.mp4")
    write_dataset(folder / "faces_a", folder / "video_a.mp4")
    return FaceDataset.open(folder / "faces_a")


def shown(index: int) -> Frame:
    return picture_frame(draw_frame(index), index, Fraction(index, 25), Fraction(1, 25))


def looked_at(dataset, mixer, frames):
    records = [record for record in dataset.records if record.frame in frames]
    return records, mixer.look(records, [mixer.cut(shown(record.frame), record) for record in records])


def test_the_window_ends_at_a_cut_and_is_finite(dataset):
    """Looks far away, or of another track, must not matter."""
    options = ConvertOptions(smooth_mask=0.12, smooth_color=0.2)
    mixer = FaceMixer(dataset, StandIn(change=0.2), options, Fraction(25))
    assert mixer.reach == 5
    records, looks = looked_at(dataset, mixer, range(40))
    for frame in (10, 19, 31):
        record = next(record for record in records if record.frame == frame)
        near = {k: v for k, v in looks.items() if abs(k[1] - frame) <= 5 and k[0] == record.track}
        whole, alone = (mixer.paint(shown(frame), [record], known)[0].rgb for known in (looks, near))
        np.testing.assert_array_equal(whole, alone)
        assert not np.array_equal(whole, draw_frame(frame))


def test_a_flickering_tone_is_steadied(dataset):
    """A swap whose tone jumps by frame: matching it frame by frame, or over a window, must not leave the jumps in."""

    class Flicker(StandIn):
        def swap(self, crops, masks, steps=None):
            made = super().swap(crops, masks)
            jumps = np.random.default_rng(1).normal(0, 0.1, (len(crops), 1, 1, 1)).astype(np.float32)
            return replace(made, image=np.clip(made.image + jumps, -1, 1))

    means = {}
    for color, seconds in (("none", 0.0), ("reinhard", 0.0)):
        options = ConvertOptions(color=color, smooth_color=seconds, sharpen=0, grain=0)  # pyright: ignore[reportArgumentType]
        mixer = FaceMixer(dataset, Flicker(), options, Fraction(25))
        records, looks = looked_at(dataset, mixer, range(20))
        painted = [mixer.paint(shown(r.frame), [r], looks)[0].rgb[60:84, 86:106].mean() for r in records]
        means[color] = np.std(np.diff(painted))
    assert means["reinhard"] < means["none"] / 4


def test_a_missing_neighbour_is_no_black_hole(dataset):
    mixer = FaceMixer(dataset, StandIn(), ConvertOptions(color="none", sharpen=0, grain=0), Fraction(25))
    records, looks = looked_at(dataset, mixer, [30])
    painted = mixer.paint(shown(30), records, looks)[0].rgb
    assert np.abs(painted.astype(int) - draw_frame(30)).mean() < 2


def test_the_edges_of_a_hand_are_no_grain_of_the_skin(dataset, monkeypatch):
    whole = dataset.mask

    def mask(record, kind):
        seen = whole(record, kind).copy()
        if record.frame == 6:
            seen[len(seen) // 2 :] = 0
        return seen

    monkeypatch.setattr(dataset, "mask", mask)
    _, looks = looked_at(dataset, FaceMixer(dataset, StandIn(), ConvertOptions(), Fraction(25)), (5, 6, 7))
    assert [looks[0, frame].grain is None for frame in (5, 6, 7)] == [False, True, False]


@pytest.mark.parametrize("cover", ["both", "learned", "dataset"])
def test_what_bounds_the_swap(dataset, cover):
    """The network takes the upper half alone for face rather than not; the dataset the oval."""

    class Half(StandIn):
        def swap(self, crops, masks, steps=None):
            made = super().swap(crops, masks)
            made.alpha[:, 32:] = 0.45
            return made

    options = ConvertOptions(cover=cover, color="none", sharpen=0, grain=0)  # pyright: ignore[reportArgumentType]
    mixer = FaceMixer(dataset, Half(change=0.5), options, Fraction(25))
    records, looks = looked_at(dataset, mixer, [5])
    changed = np.abs(mixer.paint(shown(5), records, looks)[0].rgb.astype(int) - draw_frame(5)).mean(2) > 10
    x, y = records[0].box[:2].round().astype(int) + [23, 31]
    assert changed[y - 12, x]
    assert changed[y + 18, x] == (cover == "dataset")
    assert changed[y - 12, x - 27] == (cover == "learned"), "outside the oval, inside the view"


def test_a_larger_face_covers_the_same_mask(dataset):
    painted = []
    for scale in (1.0, 1.2):
        options = ConvertOptions(face_scale=scale, color="none", sharpen=0, grain=0)
        mixer = FaceMixer(dataset, StandIn(), options, Fraction(25))
        records, looks = looked_at(dataset, mixer, [5])
        painted.append(mixer.paint(shown(5), records, looks)[0].rgb)
    x, y = records[0].box[:2].round().astype(int) + [23, 31]
    dark = [np.flatnonzero(image[y - 8, x - 22 : x + 22].mean(1) < 90) for image in painted]
    assert np.ptp(dark[1]) > np.ptp(dark[0]) + 2, "the eyes are further apart"


def test_oval_is_drawn_where_the_points_lie():
    turns = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    oval = np.stack([100 + 20 * np.cos(turns), 80 + 30 * np.sin(turns)], -1)
    mask = draw_oval(oval, similarity_matrix(0.5, 0, 0, 0), 64)
    assert mask[40, 50] == 255 and mask[40, 35] == 0 and set(np.unique(mask)) == {0, 255}
    assert abs((mask > 0).sum() / (np.pi * 10 * 15) - 1) < 0.1


def test_plan_counts_batches_from_the_first_face():
    records = [make_record(frame, 0) for frame in range(100) if frame not in NO_FACE]
    plan = FacePlan(records, 8, 5)
    for start in (0, 7, 25, 33, 64, 99, 500):
        face = plan.first_face(start)
        assert face % 8 == 0
        needed = [index for index, record in enumerate(records) if record.frame >= start - 5]
        assert not needed or face <= needed[0] < face + 8
        assert plan.first_frame(start) <= start
    assert list(plan.of_frame(25)) == [] and list(plan.of_frame(30)) == [20]
