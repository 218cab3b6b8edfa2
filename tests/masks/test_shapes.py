"""Mask shapes: symmetry, scale, nesting and what a turn, a smile and a padding do to them.

In: the shipped mean face and poses. Out: nothing.
"""

from typing import get_args

import numpy as np
import pytest

from faceswap_pipeline.detection.alignment import crop_matrix
from faceswap_pipeline.detection.meanface import MeanFace, Pose, load_mean_face, project
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.geometry import transform_points
from faceswap_pipeline.imaging import resize
from faceswap_pipeline.masks import shapes
from faceswap_pipeline.masks.options import KINDS, PARSED_KINDS, Kind, MaskOptions
from faceswap_pipeline.resources import weight_file

COVERAGE = 1.56
FIVE_MIRROR = [1, 0, 2, 4, 3]


@pytest.fixture(scope="module")
def face() -> MeanFace:
    return load_mean_face(weight_file("mean_face"))


def make(face: MeanFace, kind: Kind, yaw: float = 0, pitch: float = 0, size: int = 128, **changes) -> np.ndarray:
    """A mask as bool; `move` shifts the measured mouth corners by px, `padding` as in `shapes.mask`."""
    pose = shapes.crop_pose(yaw, pitch, size, COVERAGE)
    five = project(face.five, pose)
    five[3:] += changes.get("move", 0)
    generous = 0.02 + (shapes.FACE_INSET if kind == "face" else 0)
    return shapes.mask(kind, face, pose, five, size, changes.get("padding", generous)) > 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [64, 255, 256])
def test_masks_are_binary_bytes_of_the_crop_size(face: MeanFace, kind: Kind, size: int) -> None:
    pose = shapes.crop_pose(10, -5, size, COVERAGE)
    mask = shapes.mask(kind, face, pose, project(face.five, pose), size, 0.02)
    assert mask.shape == (size, size) and mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 10), (-50, -15)])
def test_a_mirrored_pose_mirrors_the_mask(face: MeanFace, kind: Kind, yaw: float, pitch: float) -> None:
    mirrored = make(face, kind, -yaw, pitch)[:, ::-1]
    assert overlap(make(face, kind, yaw, pitch), mirrored) > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_scales_with_the_crop(face: MeanFace, kind: Kind) -> None:
    small, large = make(face, kind, 20, 8, size=96), make(face, kind, 20, 8, size=384)
    shrunk = resize(large.astype(np.uint8) * 255, (96, 96)) >= 128
    assert overlap(small, shrunk) > 0.97


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (-25, 12), (0, -18)])
def test_eyes_and_mouth_are_apart_and_inside_the_face(face: MeanFace, yaw: float, pitch: float) -> None:
    whole, eyes, mouth = (make(face, kind, yaw, pitch) for kind in KINDS)
    assert (eyes & whole).sum() > 0.95 * eyes.sum()
    assert (mouth & whole).sum() > 0.95 * mouth.sum()
    assert not (eyes & mouth).any()
    rows = np.arange(128)[:, None]
    assert rows[eyes.any(1)].mean() < 64 < rows[mouth.any(1)].mean(), "eyes above the middle, the mouth below"
    assert 0.02 < mouth.mean() / whole.mean() < eyes.mean() / whole.mean() + mouth.mean() / whole.mean() < 0.4


def test_the_face_is_as_high_as_the_crop_over_its_coverage_and_in_the_middle(face: MeanFace) -> None:
    rows, columns = np.nonzero(make(face, "face", size=256, padding=shapes.FACE_INSET))
    assert np.ptp(rows) + 1 == pytest.approx(256 / COVERAGE, abs=2)
    assert rows.min() + rows.max() == pytest.approx(255, abs=2)
    assert columns.min() + columns.max() == pytest.approx(255, abs=2)


def test_a_turned_head_keeps_its_profile_inside(face: MeanFace) -> None:
    for yaw in (-60, -30, 0, 30, 60):
        pose = shapes.crop_pose(yaw, 0, 256, COVERAGE)
        whole = make(face, "face", yaw, size=256)
        seen = np.rint(project(face.points[17:], pose)).astype(int)
        assert whole[seen[:, 1], seen[:, 0]].all(), "brows, nose and lips lie inside"
    front, turned = make(face, "face"), make(face, "face", 45)
    assert turned.sum() < front.sum()


def test_padding_moves_the_border_by_a_share_of_the_face_height(face: MeanFace) -> None:
    heights = [np.ptp(np.nonzero(make(face, "face", size=390, padding=padding))[0]) for padding in (-0.04, 0, 0.04)]
    assert np.diff(heights) == pytest.approx([0.08 * 250] * 2, abs=2)
    for kind in KINDS:
        assert make(face, kind, padding=0.05).sum() > make(face, kind, padding=0.01).sum()


def test_the_mouth_follows_its_measured_corners_and_nothing_else_does(face: MeanFace) -> None:
    moved = {kind: make(face, kind, size=256, move=(9, 6)) for kind in KINDS}
    still = {kind: make(face, kind, size=256) for kind in KINDS}
    shift = [np.mean(np.argwhere(m), 0) for m in (moved["mouth"], still["mouth"])]
    assert shift[0] - shift[1] == pytest.approx([6, 9], abs=1.5)
    assert overlap(moved["face"], still["face"]) == overlap(moved["eyes"], still["eyes"]) == 1


def test_a_wide_smile_widens_the_mouth_and_touching_corners_do_not_turn_it_over(face: MeanFace) -> None:
    pose = shapes.crop_pose(0, 0, 256, COVERAGE)
    plain, smile, crossed = (project(face.five, pose) for _ in range(3))
    smile[3:, 0] += [-10, 10]
    crossed[3:] = crossed[3:].mean(0)
    masks = [shapes.mask("mouth", face, pose, five, 256, 0.02) > 0 for five in (plain, smile, crossed)]
    widths = [np.ptp(np.nonzero(mask)[1]) for mask in masks]
    assert widths[1] > widths[0] + 10
    assert widths[2] > 10 and np.argwhere(masks[2]).mean(0)[0] > 128


def test_an_open_mouth_stays_inside(face: MeanFace) -> None:
    pose = shapes.crop_pose(0, 0, 256, COVERAGE)
    lower_lip = face.points[57:58] + [0, 0.06, 0]
    x, y = np.rint(project(lower_lip, pose)[0]).astype(int)
    assert make(face, "mouth", size=256, padding=MaskOptions().mouth_padding)[y, x]


def test_the_crop_pose_is_where_alignment_puts_every_face(face: MeanFace) -> None:
    pose = Pose(20, -7, 33, 211.5, 640, 361)
    in_crop = transform_points(crop_matrix(pose, 256, COVERAGE), project(face.points, pose))
    np.testing.assert_allclose(in_crop, project(face.points, shapes.crop_pose(20, -7, 256, COVERAGE)), atol=1e-9)


def test_unknown_kinds_and_wild_paddings_are_refused(face: MeanFace) -> None:
    pose = shapes.crop_pose(0, 0, 64, COVERAGE)
    with pytest.raises(ValueError, match="no mask kind 'nose'"):
        shapes.mask("nose", face, pose, project(face.five, pose), 64)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="--kind is 'nose'"):
        MaskOptions(kind=("nose",))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="--kind"):
        MaskOptions(kind=())
    with pytest.raises(OptionError, match="--kind is 'hair' with --method landmarks"):
        MaskOptions(kind=("face", "hair"), method="landmarks")
    with pytest.raises(OptionError, match="--face-padding"):
        MaskOptions(face_padding=0.5)


def test_every_kind_has_a_padding_and_survives_json() -> None:
    assert get_args(Kind) == (*KINDS, *PARSED_KINDS)
    options = MaskOptions(kind=("eyes",), eye_padding=0.05)
    assert [options.padding(kind) for kind in KINDS] == [options.face_padding, 0.05, options.mouth_padding]
    assert MaskOptions.from_json(options.to_json()) == options
