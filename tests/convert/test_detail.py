"""A swap gets what is finer than the network draws from the wanted person's own pictures."""

import dataclasses
from fractions import Fraction

import cv2
import numpy as np
import pytest

from faceswap_pipeline.convert import detail
from faceswap_pipeline.convert.faces import Cut, FaceMixer
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.dataset import FaceDataset, FrameRow, Source
from faceswap_pipeline.imaging import blur, network_view, to_float
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.video.info import file_sha256, probe
from tests.convert.conftest import RATE, StandIn, make_record, write_clip

CROP, MOUTHS = 192, 12
POSE = (0.0, 0.0)
"""Yaw and pitch of all that is drawn here."""


def draw_face(mouth: float, lashes: int = 230) -> np.ndarray:
    """A crop (S, S, 3) whose mouth is open by 0..1, with lines of one pixel beside eyes and mouth."""
    image = np.full((CROP, CROP, 3), (200, 150, 120), np.uint8)
    for x in (72, 120):
        cv2.ellipse(image, (x, 80), (14, 7), 0, 0, 360, (60, 40, 40), -1)
        for line in range(-12, 13, 4):
            cv2.line(image, (x + line, 66), (x + line, 72), (lashes, lashes, lashes), 1)
    cv2.ellipse(image, (96, 126), (22, round(3 + 12 * mouth)), 0, 0, 360, (70, 30, 40), -1)
    for line in range(-18, 19, 6):
        cv2.line(image, (96 + line, 121), (96 + line, 131), (240, 240, 240), 1)
    return image


class Blurring(StandIn):
    """A network that draws what it is given, soft."""

    def redraw(self, crops, masks):
        return np.stack([self.draw(crop) for crop in crops])

    def draw(self, crop):
        return blur(to_float(network_view(crop, self.resolution, self.view)), 1.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of one person whose mouth is open by 0, 1/11, ... 1."""
    folder = tmp_path_factory.mktemp("album")
    write_clip(folder / "video.mp4")
    source = Source("video.mp4", file_sha256(folder / "video.mp4"), probe(folder / "video.mp4"))
    oval = np.zeros((CROP, CROP), np.uint8)
    cv2.ellipse(oval, (96, 96), (56, 66), 0, 0, 360, 255, -1)
    with FaceDataset.create(folder / "faces", [source], CROP, "t-1", 1.56, {}) as made:
        for frame in range(MOUTHS):
            record = make_record(frame, 0, CROP)
            made.append(record, draw_face(frame / (MOUTHS - 1)))
            made.write_mask("face", record, oval, "landmarks", 1.0)
        made.finish(FrameRow(0, frame, Fraction(frame, RATE), 1, "") for frame in range(MOUTHS))
    return folder / "faces"


@pytest.fixture(scope="module")
def album(folder):
    with FaceDataset.open(folder) as dataset:
        made = detail.make_album(dataset, Blurring(), Progress())
    assert made is not None
    return made


def seen(crop, album):
    """What of a crop lies where the album's pictures lie."""
    return cv2.warpAffine(to_float(crop), album.matrix(CROP, Blurring().view), (album.side, album.side))


def error(image, truth):
    """Inside the face."""
    side = len(truth)
    middle = slice(side // 4, 3 * side // 4)
    return float(np.abs(image - truth)[middle, middle].mean())


@pytest.mark.parametrize("mouth", [0.0, 0.48, 1.0])
def test_what_the_network_smears_comes_back(album, mouth):
    crop = draw_face(mouth)
    drawn, truth = Blurring().draw(crop), seen(crop, album)
    plain, half, whole = (album.add_detail(drawn, strength, POSE)[0] for strength in (0.0, 0.5, 1.0))
    assert whole.shape == (album.side, album.side, 3) and whole.dtype == np.float32 and album.side == 2 * 64
    assert error(whole, truth) < 0.6 * error(plain, truth)
    assert error(whole, truth) < error(half, truth) < error(plain, truth)
    np.testing.assert_allclose(plain, cv2.resize(drawn, (album.side, album.side), interpolation=cv2.INTER_CUBIC))


def test_a_face_that_has_moved_gets_its_detail_where_it_is(album):
    crop = np.roll(draw_face(0.5), (3, 4), (0, 1))
    drawn, truth = Blurring().draw(crop), seen(crop, album)
    assert error(album.add_detail(drawn, 1.0, POSE)[0], truth) < 0.75 * error(
        album.add_detail(drawn, 0.0, POSE)[0], truth
    )


@pytest.mark.parametrize("side", [0, 1])
def test_a_light_from_one_side_changes_neither_the_mouth_nor_where_things_are(album, side):
    """The album's pictures are lit evenly; of this face one half lies in the shade."""
    shade = np.linspace(0.45, 1.0, CROP)[:: 1 - 2 * side, None]
    crop = np.uint8(draw_face(0.48) * shade)
    drawn, truth = Blurring().draw(crop), seen(crop, album)
    shares = album._shares(drawn, POSE)
    assert max(shares, key=lambda index: shares[index][1]) in (5, 6), "mouths open by 0.45 and 0.55"
    assert error(album.add_detail(drawn, 1.0, POSE)[0], truth) < 0.6 * error(
        album.add_detail(drawn, 0.0, POSE)[0], truth
    )


def test_hair_beside_the_jaw_draws_no_line(folder):
    """A face's mask is never exact: some of what lies behind the jaw is in it."""
    with FaceDataset.open(folder) as dataset:
        clean = dataset.crop

        def with_strand(record):
            crop = clean(record).copy()
            cv2.ellipse(crop, (96, 96), (54, 64), 0, 20, 160, (30, 20, 20), 2)
            return crop

        dataset.crop = with_strand
        made = detail.make_album(dataset, Blurring(), Progress())
    assert made is not None
    plain = draw_face(0.44)
    got = made.add_detail(Blurring().draw(plain), 1.0, POSE)[0]
    jaw = np.zeros((CROP, CROP), np.uint8)
    cv2.ellipse(jaw, (96, 96), (46, 56), 0, 20, 160, 255, 10)
    near_jaw = cv2.warpAffine(jaw, made.matrix(CROP, Blurring().view), got.shape[:2]) > 0
    assert np.abs(got - seen(plain, made))[near_jaw].max() < 0.06


def test_a_fringe_and_a_backdrop_are_not_drawn_onto_another_face(folder):
    """This person has hair over a corner of the brow and a blue wall beside the cheek; the one replaced has neither."""

    def dressed(crop):
        hairy = crop.copy()
        cv2.fillPoly(hairy, [np.array([[40, 30], [90, 30], [60, 62], [40, 62]])], (60, 40, 30))
        hairy[100:150, 128:] = (30, 90, 160)
        return hairy

    with FaceDataset.open(folder) as dataset:
        clean, masks = dataset.crop, dataset.mask

        def mask(record, kind):
            cut = masks(record, kind).copy()
            cv2.fillPoly(cut, [np.array([[40, 30], [90, 30], [60, 62], [40, 62]])], 0)
            cut[100:150, 128:] = 0
            return cut

        dataset.crop, dataset.mask = lambda record: dressed(clean(record)), mask
        made = detail.make_album(dataset, Blurring(), Progress())
    assert made is not None
    bare = draw_face(0.5)
    got, skin = made.add_detail(Blurring().draw(dressed(bare)), 1.0, POSE)
    plain = made.add_detail(Blurring().draw(dressed(bare)), 0.0, POSE)[0]
    wanted = seen(bare, made)
    region = {"hair": (slice(40, 56), slice(52, 66)), "wall": (slice(106, 144), slice(134, 144))}
    for rows, columns in region.values():
        there = np.zeros((CROP, CROP), np.uint8)
        there[rows, columns] = 255
        inside = cv2.warpAffine(there, made.matrix(CROP, Blurring().view), got.shape[:2]) > 0
        assert inside.sum() > 100 and np.abs(plain - wanted)[inside].mean() > 0.5
        assert np.abs(got - wanted)[inside].mean() < 0.13
    features = np.zeros((CROP, CROP), np.uint8)
    features[70:92, 60:134] = features[116:138, 76:116] = 255
    inside = cv2.warpAffine(features, made.matrix(CROP, Blurring().view), got.shape[:2]) > 0
    assert np.abs(got - wanted)[inside].mean() < np.abs(plain - wanted)[inside].mean(), "eyes and mouth are no hair"
    assert skin.shape == (64, 64, 3)


def with_mouths(dataset):
    """The dataset with masks of its mouths, as high as they are open."""

    def mask(record, kind):
        if kind == "mouth":
            drawn = np.zeros((CROP, CROP), np.uint8)
            cv2.ellipse(drawn, (96, 126), (22, round(6 + 12 * record.frame / (MOUTHS - 1))), 0, 0, 360, 255, -1)
            return drawn
        return faces(record, kind)

    faces, dataset.mask = dataset.mask, mask
    dataset.has_mask = lambda record, kind: kind in ("face", "mouth")
    return dataset


def test_a_mouth_that_is_drawn_too_shut_gets_the_detail_of_an_open_one(folder, album):
    with FaceDataset.open(folder) as dataset:
        made = detail.make_album(with_mouths(dataset), Blurring(), Progress())
        shut = detail.shut_mouth(dataset)
    assert made is not None and made.opened is not None and album.opened is None, "it has masks of the face alone"
    assert np.all(np.diff(made.opened) >= 0) and made.opened[2] < 0.01 < 0.05 < made.opened[-1]
    assert shut == pytest.approx((20.5 / 1.4) / 133, rel=0.25), "about as high as the second of twelve"
    drawn = sum(Blurring().draw(draw_face(mouth / 11)) for mouth in (2, 10)) / np.float32(2)

    def chosen(opened):
        """Of what the network could not make up its mind about: the mean number of the eyes and of the mouths."""
        shares = np.array(
            [[index * share for share in both] for index, both in made._shares(drawn, POSE, opened).items()]
        )
        return shares.sum(0)

    plain, shut, wide = (chosen(opened) for opened in (None, float(made.opened[0]), float(made.opened[-1])))
    assert shut[1] < plain[1] - 0.8 and plain[1] + 0.8 < wide[1]
    assert plain[0] == shut[0] == wide[0], "eyes have nothing to do with it"


def test_how_far_the_replaced_mouth_is_open_is_told_to_the_album(folder, monkeypatch):
    """As its neighbours in time have it too: masks tremble."""
    told = []
    add_detail = detail.Album.add_detail
    monkeypatch.setattr(
        detail.Album, "add_detail", lambda self, *rest: told.append(rest[-1]) or add_detail(self, *rest)
    )
    with FaceDataset.open(folder) as dataset:
        made = detail.make_album(with_mouths(dataset), Blurring(), Progress())
        even = dataset.mask

        def trembling(record, kind):
            mask = even(record, kind)
            return cv2.dilate(mask, np.ones((5, 1), np.uint8)) if kind == "mouth" and record.frame % 2 else mask

        dataset.mask = trembling
        mixer = FaceMixer(dataset, Blurring(), ConvertOptions(), Fraction(RATE), album=made)
        for record in dataset.records:
            mixer.look([record], [Cut(dataset.crop(record), None)])
        seen = np.array([detail.measure_mouth(dataset, record, dataset.mask) for record in dataset.records])
    assert made is not None and made.opened is not None
    np.testing.assert_allclose(told, made.opened, atol=0.025)
    assert np.abs(np.diff(told, 2)).max() < 0.35 * np.abs(np.diff(seen, 2)).max()


def test_the_step_is_what_goes_with_an_open_mouth_and_not_with_the_pose():
    random = np.random.default_rng(0)
    opened, poses = np.abs(random.normal(0, 0.03, 120)), random.normal(0, 15, (120, 2)).astype(np.float32)
    poses[:, 1] += 300 * opened  # who opens the mouth wide looks down
    way, turned = random.normal(0, 10, 32), random.normal(0, 0.05, (2, 32))
    codes = (3 + np.outer(opened, way) + poses @ turned + random.normal(0, 0.02, (120, 32))).astype(np.float32)
    found = detail.opening_step(codes, opened, poses)
    assert np.linalg.norm(found - way) < 0.15 * np.linalg.norm(way)
    still = detail.opening_step(codes, np.full(120, 0.01) + random.normal(0, 1e-4, 120), poses)
    assert np.linalg.norm(still) < 0.1 * np.linalg.norm(way), "who never opens it says nothing of it"


def test_mouths_are_drawn_as_much_further_open_as_the_replaced_ones_are(folder, album):
    class Asked(Blurring):
        def swap(self, crops, masks, steps=None):
            asked.append(steps)
            return super().swap(crops, masks)

    with FaceDataset.open(folder) as dataset:
        made = detail.make_album(with_mouths(dataset), Blurring(), Progress())
        assert made is not None and made.opening is not None and made.opened is not None and album.opening is None
        for strength, of in ((0.5, made), (0.0, made), (0.5, album)):
            asked: list = []
            options = ConvertOptions(open_mouth=strength, smooth_mask=0)
            mixer = FaceMixer(dataset, Asked(), options, Fraction(RATE), album=of)
            mixer.look(dataset.records, [Cut(dataset.crop(record), None) for record in dataset.records])
            if of is album or not strength:
                assert asked == [None]
                continue
            expected = 0.5 * np.outer(np.maximum(made.opened, 0), made.opening)
            np.testing.assert_allclose(asked[0], expected, atol=1e-6)
            assert np.abs(expected[-1]).max() > 10 * np.abs(expected[1]).max() > 0 or not expected[1].any()


def test_what_no_picture_is_like_stays_as_it_is_drawn(album):
    crop = draw_face(0.5)
    cv2.rectangle(crop, (60, 105), (135, 150), (20, 20, 220), -1)
    drawn = Blurring().draw(crop)
    change = np.abs(album.add_detail(drawn, 1.0, POSE)[0] - album.add_detail(drawn, 0.0, POSE)[0])
    inside = album.matrix(CROP, Blurring().view) @ [96, 128, 1]
    x, y = np.rint(inside).astype(int)
    assert change[y - 8 : y + 8, x - 20 : x + 20].max() < 0.05 < 0.2 < change[: y - 30].max()


def test_no_picture_comes_or_goes_at_once(album):
    first, second = (Blurring().draw(draw_face(mouth)) for mouth in (4 / 11, 5 / 11))
    pieces = []
    for part in np.linspace(0, 1, 41):
        shares = album._shares(np.float32(1 - part) * first + np.float32(part) * second, POSE)
        assert np.allclose(np.sum(list(shares.values()), 0), 1)
        pieces.append([shares.get(index, (0.0, 0.0)) for index in range(MOUTHS)])
    assert pieces[0][4][1] > 0.99 < pieces[-1][5][1]
    steps = np.abs(np.diff(np.array(pieces)[:, :, 1], axis=0))
    assert steps.max() < 0.25, "of one fortieth of the way from picture to picture"


def test_pictures_that_are_all_alike_share(folder):
    with FaceDataset.open(folder) as dataset:
        dataset.records[:] = dataset.records[:1] * MOUTHS
        made = detail.make_album(dataset, Blurring(), Progress())
    assert made is not None
    shares = made._shares(Blurring().draw(draw_face(0.0)), POSE)
    assert np.allclose(np.sum(list(shares.values()), 0), 1)
    assert np.isfinite(made.add_detail(Blurring().draw(draw_face(0.3)), 1.0, POSE)[0]).all()


def test_pictures_of_a_head_turned_the_other_way_are_left_alone(folder):
    """However alike they look: an eye in the shade is like the other one in the shade."""
    with FaceDataset.open(folder) as dataset:
        turned = [[dataclasses.replace(each, yaw=yaw) for each in dataset.records] for yaw in (35.0, -35.0)]
        dataset.records[:] = turned[0] + turned[1]
        made = detail.make_album(dataset, Blurring(), Progress())
    assert made is not None
    drawn = Blurring().draw(np.roll(draw_face(0.44), (2, 2), (0, 1)))
    for yaw, own in ((-30.0, range(MOUTHS, 2 * MOUTHS)), (28.0, range(MOUTHS))):
        assert set(made._shares(drawn, (yaw, 0.0))) <= set(own)


def test_of_each_stretch_the_sharpest_is_kept():
    records = [dataclasses.replace(make_record(frame, 0), sharpness=float(frame % 4)) for frame in range(12)]
    assert [record.frame for record in detail.choose_pictures(records, 3)] == [3, 7, 11]
    assert detail.choose_pictures(records, 50) == records


def test_a_handful_of_pictures_is_no_album(folder):
    with FaceDataset.open(folder) as dataset:
        dataset.records[detail.FEWEST_PICTURES - 1 :] = []
        assert detail.make_album(dataset, Blurring(), Progress()) is None
