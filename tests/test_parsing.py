"""Masks from what the parser says, on made chances: what is in each kind, what is left out, and how sure that is."""

from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline import parsing, resources
from faceswap_pipeline.array_folder import write_arrays
from faceswap_pipeline.networks.parser import CLASSES, LANDMARKS, SIDE, build_parser
from faceswap_pipeline.networks.weights import get_arrays
from faceswap_pipeline.parsing import KINDS, FaceParser, Parsed, parsed_mask

SIZE = 2 * SIDE


def parsed(sure: float = 0.98, **places: tuple[slice, slice]) -> Parsed:
    """One crop whose classes fill rectangles (rows, columns) in the order given, over background."""
    label = np.zeros((SIDE, SIDE), int)
    for name, place in places.items():
        label[place] = CLASSES.index(name)
    chances = np.full((SIDE, SIDE, len(CLASSES)), (1 - sure) / (len(CLASSES) - 1), np.float32)
    np.put_along_axis(chances, label[..., None], sure, axis=2)
    landmarks = np.zeros((LANDMARKS, 2), np.float32)
    angle = np.linspace(0, np.pi, 17)
    landmarks[:17] = np.stack([-0.25 * np.cos(angle), 0.05 + 0.25 * np.sin(angle)], 1)
    for points, x in ((slice(36, 42), -0.1), (slice(42, 48), 0.1)):
        turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
        landmarks[points] = np.stack([x + 0.05 * np.cos(turn), -0.1 + 0.025 * np.sin(turn)], 1)
    return Parsed(chances[None], landmarks[None], np.ones((1, LANDMARKS), np.float32))


FACE = {"skin": np.s_[20:, 25:87], "face": np.s_[25:85, 30:82], "lips": np.s_[65:72, 45:67]}


def rectangle(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_the_face_is_all_that_lies_inside_it_without_what_covers_it() -> None:
    mask = parsed_mask("face", parsed(**FACE), 0, SIZE)
    assert mask.shape == (SIZE, SIZE) and set(np.unique(mask)) == {0, 255}
    assert np.abs(np.subtract(rectangle(mask), (50, 170, 60, 164))).max() <= 1
    assert mask[136, 112] == 255, "lips belong to it"
    covered = parsed_mask("face", parsed(**FACE, clothes=np.s_[50:60, :]), 0, SIZE)
    assert not covered[104:116].any() and covered[90].any() and covered[130].any()
    strand = parsed_mask("face", parsed(**FACE, hair=np.s_[25:45, 50:56]), 0, SIZE)
    assert not strand[60:80, 104:108].any()
    nostril = parsed_mask("face", parsed(**FACE, hair=np.s_[57:60, 52:57]), 0, SIZE)
    np.testing.assert_array_equal(nostril, mask, "a dark spot inside it is no hair")


def hidden(looked: Parsed, shown: float, *points: slice, x: float = 0.0) -> Parsed:
    """The same crop, of whose landmarks some lie below its middle, at `x`, and are seen with a chance of `shown`."""
    landmarks, visible = looked.landmarks.copy(), looked.visible.copy()
    for some in points:
        landmarks[0, some, 0] = x + np.linspace(-0.06, 0.06, len(landmarks[0, some]))
        landmarks[0, some, 1] = 0.05
        visible[0, some] = shown
    return Parsed(looked.chances, landmarks, visible)


def test_a_hand_that_the_classes_take_for_face_is_left_out_by_the_landmarks_behind_it() -> None:
    plain = parsed_mask("face", parsed(**FACE), 0, SIZE)
    lips = slice(48, 68)
    mask = parsed_mask("face", hidden(parsed(**FACE), 0.6, lips), 0, SIZE)
    assert not mask[118:128, 100:124].any(), "where the lips would be"
    assert 0.05 < 1 - (mask > 0).sum() / (plain > 0).sum() < 0.35, "and not much beyond"
    assert (mask <= plain).all() and mask[60:80, 70:150].all(), "the forehead is there"
    glimpse = parsed(**FACE, clothes=np.s_[50:58, 64:76])
    whole = parsed_mask("face", hidden(glimpse, 0.6, lips), 0, SIZE)
    assert not whole[104:112, 130:150].any() and parsed_mask("face", glimpse, 0, SIZE)[104:112, 130:150].all()
    for spared in (
        hidden(parsed(**FACE), 0.9, lips),  # all are seen well enough
        hidden(parsed(**FACE), 0.3, slice(60, 64)),  # a few that are not: no more than a shade
        hidden(parsed(**FACE), 0.6, lips, x=0.24),  # beside the face's border: what hides them is seen there
        hidden(parsed(**FACE), 0.6, slice(17, 27)),  # a fringe over the brows
    ):
        np.testing.assert_array_equal(parsed_mask("face", spared, 0, SIZE), plain)
    turned = hidden(parsed(**FACE), 0.6, lips)
    turned.landmarks[0, 30, 0] = 0.24
    np.testing.assert_array_equal(parsed_mask("face", turned, 0, SIZE), plain, "a turned head hides its own")


def test_the_mouth_is_lips_and_what_is_between_them() -> None:
    mask = parsed_mask("mouth", parsed(**FACE, inner_mouth=np.s_[67:70, 50:62]), 0, SIZE)
    assert np.abs(np.subtract(rectangle(mask), (130, 144, 90, 134))).max() <= 1


def test_eyes_are_there_also_when_they_are_shut_but_not_behind_hair() -> None:
    shut = parsed_mask("eyes", parsed(**FACE), 0, SIZE)
    assert shut.any() and np.abs(np.mean(np.nonzero(shut)[0]) - (0.5 - 0.1) * SIZE) < 4
    hidden = parsed_mask("eyes", parsed(**FACE, hair=np.s_[:60, :]), 0, SIZE)
    assert not hidden.any()


def test_the_head_ends_at_the_jaw_and_the_skin_does_not() -> None:
    looked = parsed(**FACE)
    head, skin = (parsed_mask(kind, looked, 0, SIZE) > 0 for kind in ("head", "skin"))
    chin = int((0.5 + 0.3) * SIZE)
    assert skin[-1].any() and not head[chin + 4 :].any()
    assert head[44:48].any(), "the forehead above the inner face"
    assert (parsed_mask("face", looked, 0, SIZE) > 0)[~head].sum() == 0


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_padding_widens_and_draws_in(kind: str) -> None:
    looked = parsed(**FACE, hair=np.s_[5:20, 30:82])
    plain, wide, narrow = (parsed_mask(kind, looked, 0, SIZE, padding) > 0 for padding in (0.0, 0.02, -0.01))
    assert plain.any() and (wide | plain == wide).all() and wide.sum() > plain.sum() > narrow.sum()


def test_confidence_is_the_overlap_to_be_expected() -> None:
    sure, unsure = parsed(1.0, **FACE), parsed(0.7, **FACE)
    assert sure.confidence[0] == pytest.approx(1) and unsure.confidence[0] < 0.85
    assert parsed(1.0).confidence[0] == 0, "no face at all"


def test_the_parser_gives_the_same_for_a_crop_alone_and_in_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_arrays(tmp_path / "parser.npz", get_arrays("parser", build_parser().variables))
    monkeypatch.setattr(resources, "weight_file", lambda name: tmp_path / f"{name}.npz")
    crops = np.random.default_rng(0).integers(0, 256, (18, 64, 64, 3), dtype=np.uint8)
    parser = FaceParser()
    together, alone = parser.parse(crops), parser.parse(crops[17:])
    assert together.chances.shape == (18, SIDE, SIDE, len(CLASSES)) and together.landmarks.shape == (18, LANDMARKS, 2)
    np.testing.assert_allclose(together.chances.sum(-1), 1, atol=1e-4)
    np.testing.assert_allclose(alone.chances[0], together.chances[17], atol=1e-4)
    np.testing.assert_allclose(alone.landmarks[0], together.landmarks[17], atol=1e-4)
    assert parser.parse(crops[:0]).confidence.shape == (0,)


def test_a_turned_head_is_seen_as_its_mirror_image_is(monkeypatch: pytest.MonkeyPatch) -> None:
    parser, random = FaceParser(), np.random.default_rng(0)
    crop = np.repeat(np.repeat(random.integers(0, 256, (8, 8, 3), np.uint8), 14, 0), 14, 1)

    def apart() -> tuple[float, float]:
        """How differently the crop and its mirror image are seen: the chances and the landmarks."""
        seen, other = parser.parse([crop]), parser.parse([crop[:, ::-1]])
        places = other.landmarks[:, parsing.MIRROR] * [-1, 1]
        return np.abs(seen.chances - other.chances[:, :, ::-1]).max(), np.abs(seen.landmarks - places).max()

    monkeypatch.setattr(parsing, "TURNED", np.inf)
    assert min(apart()) > 1e-2
    monkeypatch.setattr(parsing, "TURNED", -1)
    assert max(apart()) < 1e-4


def test_a_head_is_turned_when_the_nose_is_near_one_end_of_the_jaw() -> None:
    landmarks = np.zeros((3, LANDMARKS, 2), np.float32)
    landmarks[:, 0, 0], landmarks[:, 16, 0] = -0.2, 0.2
    landmarks[:, 30, 0] = [0, -0.1, 0.2]
    np.testing.assert_allclose(parsing._turn(landmarks), [0, 0.5, 1], atol=1e-6)
