"""What is made beside a film, the comparison and the layers, and the notice that is burnt in."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceswap_pipeline.convert.blend import Region
from faceswap_pipeline.convert.compare import NAMES, Comparison, Composition
from faceswap_pipeline.convert.faces import Patch
from faceswap_pipeline.convert.layers import draw_layer
from faceswap_pipeline.convert.notice import Notice
from faceswap_pipeline.convert.segments import Painted
from faceswap_pipeline.convert.stage import convert_video
from faceswap_pipeline.convert.text import check_text, draw_text, moviepy
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.provenance import watermark
from faceswap_pipeline.provenance.credentials import read_manifest
from faceswap_pipeline.provenance.marking import Marker, luma_of, payload_of
from faceswap_pipeline.provenance.verify import verify_file
from faceswap_pipeline.video.images import read_image, write_png
from faceswap_pipeline.video.info import probe
from faceswap_pipeline.video.reader import picture_frame, read_frames
from tests.convert.conftest import FRAMES, HEIGHT, NO_FACE, WIDTH, draw_frame, face_matrix, make_record
from tests.convert.test_stage import FAST, Stop, packets, rgb

WITH_FACE = [frame for frame in range(FRAMES) if frame not in NO_FACE]


def shown(image: np.ndarray, index: int = 0, pts: Fraction = Fraction(0)):
    return picture_frame(image, index, pts, Fraction(1, 25))


def rgba(path: Path) -> np.ndarray:
    """(H, W, 4), as the file has it."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.shape[2] == 4
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def test_the_comparison_runs_like_the_film_and_is_marked_like_it(studio):
    film = convert_video(studio.run, studio.folder, replace(FAST, compare=True)).films[0]
    compare = studio.folder / "video_a_swapped_compare.mp4"
    assert packets(compare, "audio") == packets(film, "audio") != []
    assert [time for time, _ in packets(compare, "video")] == [time for time, _ in packets(film, "video")]
    assert probe(compare).duration == probe(film).duration
    made, swap, source = rgb(compare).astype(int), rgb(film).astype(int), rgb(studio.video).astype(int)
    top = made.shape[1] - HEIGHT
    columns = [made[:, top:, number * WIDTH : (number + 1) * WIDTH] for number in range(3)]
    assert made.shape[2] == 3 * WIDTH and 8 <= top < HEIGHT / 4
    assert np.abs(columns[0] - source).mean() < 4 and np.abs(columns[1] - swap).mean() < 4
    assert np.abs(columns[0] - swap)[WITH_FACE][:, 66:76, 86:106].mean() > 8, "the first column is the source"
    assert columns[2][WITH_FACE][:, 66:76, 86:106].mean() > 200 and columns[2][:, :20].mean() < 10
    assert columns[2][list(NO_FACE)].mean() < 3
    for number in range(3):
        assert np.ptp(made[:, :top, number * WIDTH : (number + 1) * WIDTH]) > 150, "each has a name above"
    found = read_manifest(compare)
    assert found.state == "matches" and found.ours and found.statement["run"] == "c" * 64
    reading = watermark.read(luma_of(frame) for frame in read_frames(compare) if frame.index not in NO_FACE)
    assert reading.present and reading.payload == payload_of("c" * 64)


def test_the_comparison_is_kept_with_the_old_film(studio):
    options = replace(FAST, compare=True)
    first = convert_video(studio.run, studio.folder, options)
    old = (studio.folder / "video_a_swapped_compare.mp4").read_bytes()
    studio.swapper.batches.clear()
    assert convert_video(studio.run, studio.folder, options) == first and studio.swapper.batches == []
    convert_video(studio.run, studio.folder, replace(options, blend=0.5))
    assert (studio.folder / "video_a_swapped.1_compare.mp4").read_bytes() == old
    (studio.folder / "video_a_swapped_compare.mp4").unlink()
    convert_video(studio.run, studio.folder, replace(options, blend=0.5))
    assert (studio.folder / "video_a_swapped_compare.mp4").exists(), "made again when it is missing"


def test_a_stopped_comparison_is_taken_up(studio):
    options = replace(FAST, compare=True)
    convert_video(studio.run, studio.folder / "whole", options, frames=studio.folder / "whole_layers")
    layers = studio.folder / "layers"
    with pytest.raises(KeyboardInterrupt):
        convert_video(studio.run, studio.folder / "part", options, frames=layers, progress=Stop(33))
    assert not layers.exists()
    studio.swapper.batches.clear()
    convert_video(studio.run, studio.folder / "part", options, frames=layers)
    assert sum(studio.swapper.batches) < 50, "what was finished is not made again"
    whole, part = (rgb(studio.folder / name / "video_a_swapped_compare.mp4") for name in ("whole", "part"))
    np.testing.assert_array_equal(whole, part)
    names = sorted(item.name for item in layers.iterdir())
    assert names == sorted(item.name for item in (studio.folder / "whole_layers").iterdir())
    assert (layers / "frames.jsonl").read_bytes() == (studio.folder / "whole_layers" / "frames.jsonl").read_bytes()
    for name in names[:-1:7]:
        np.testing.assert_array_equal(rgba(layers / name), rgba(studio.folder / "whole_layers" / name))
    assert not list(studio.folder.glob(".*")) and not list((studio.folder / "part").glob(".*")), "no work is left"


def test_layers_over_the_source_are_the_film(studio):
    options, layers = replace(FAST, quality=0), studio.folder / "layers"
    film = convert_video(studio.run, studio.folder, options, frames=layers).films[0]
    made = rgb(film).astype(int)
    lines = [json.loads(line) for line in (layers / "frames.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(FRAMES))
    assert [Fraction(line["pts"]) for line in lines] == [frame.pts for frame in read_frames(studio.video)]
    for frame in (0, 19, 25, 44):
        layer, line = rgba(layers / lines[frame]["file"]), lines[frame]
        alpha = layer[..., 3:] / 255
        assert (alpha.max() == 0) == (frame in NO_FACE) == (not line["faces"])
        composed = rgb(studio.video)[frame] * (1 - alpha) + layer[..., :3] * alpha
        assert np.abs(composed - made[frame]).mean() < 2.5, "the watermark is the difference outside the face"
        for face in line["faces"]:
            np.testing.assert_allclose(face["matrix"], face_matrix(frame))
            x, y, width, height = face["region"]
            alpha[y : y + height, x : x + width] = 0
            assert alpha.max() == 0 and face["crop_size"] == 96


def test_layers_are_signed_and_hold_the_watermark(studio):
    layers = studio.folder / "layers"
    convert_video(studio.run, studio.folder, FAST, frames=layers)
    for frame in (3, 25):
        found = read_manifest(layers / f"{frame:06d}.png")
        assert found.state == "matches" and found.ours
    assert b"video_a.mp4" in (layers / "000003.png").read_bytes(), "the source is the parent"
    assert verify_file(layers / "000003.png").status == 0
    stripped = studio.folder / "stripped.png"
    write_png(stripped, read_image(layers / "000003.png"))
    found = verify_file(stripped)
    assert found.manifest.state == "none" and found.mark.reading.present


def test_layers_go_into_a_folder_of_their_own(studio):
    taken = studio.folder / "taken"
    taken.mkdir()
    (taken / "holiday.jpg").touch()
    with pytest.raises(OptionError, match="holds other things"):
        convert_video(studio.run, studio.folder, FAST, frames=taken)
    layers = studio.folder / "layers"
    convert_video(studio.run, studio.folder, FAST, frames=layers)
    studio.swapper.batches.clear()
    convert_video(studio.run, studio.folder, FAST, frames=layers)
    assert studio.swapper.batches == [], "made already"
    convert_video(studio.run, studio.folder, replace(FAST, blend=0.5), frames=layers)
    assert rgba(layers / "000000.png")[..., 3].max() < 140
    assert rgba(studio.folder / "layers.1" / "000000.png")[..., 3].max() == 255


def test_two_faces_that_overlap_make_one_layer():
    """Laid over any ground, the one picture gives what the two faces gave one after the other."""
    random = np.random.default_rng(1)
    patches = []
    for x, y in ((4, 6), (20, 12)):
        face = random.uniform(-1, 1, (30, 40, 3)).astype(np.float32)
        covered = random.uniform(0, 1, (30, 40)).astype(np.float32)
        there = np.array([[1.0, 0, -x], [0, 1, -y]])
        patches.append(Patch(make_record(0, 0), Region(x, y, 40, 30), covered, face, there, None))
    ground = random.uniform(0, 255, (60, 80, 3))
    expected = ground.copy()
    for patch in patches:
        part = patch.region.of(expected)
        part += patch.covered[..., None] * ((patch.face + 1) * 127.5 - part)
    plain = shown(np.zeros((60, 80, 3), np.uint8))
    layer = draw_layer(Painted(plain, plain, patches, 2), lambda frame: frame)
    alpha = layer[..., 3:] / 255
    assert np.abs(ground * (1 - alpha) + layer[..., :3] * alpha - expected).max() < 2


def test_a_comparison_keeps_variable_times(studio):
    """Written by the video layer at the frames' own times; moviepy alone would make them even."""
    info = replace(probe(studio.video), time_base=Fraction(1, 600))
    times = [Fraction(ticks, 600) for ticks in (0, 20, 60, 70, 150)]
    comparison = Comparison(studio.folder, info, FAST, lambda frame: frame)
    with comparison.segment(0) as take:
        for index, (time, after) in enumerate(zip(times, [*times[1:], Fraction(170, 600)], strict=True)):
            frame = picture_frame(draw_frame(index), index, time, after - time)
            take(Painted(frame, frame, [], 0))
    made = list(read_frames(comparison.path(0)))
    assert [frame.pts for frame in made] == times and made[-1].duration == Fraction(20, 600)


def test_a_comparison_of_odd_sizes_is_even():
    compose = Composition(399, 299)
    picture = np.full((299, 399, 3), 200, np.uint8)
    made = compose(picture, picture, np.zeros((299, 399), np.float32))
    assert compose.size[0] == 1200 and compose.size[1] % 2 == 0 and made.shape == (compose.size[1], 1200, 3)
    assert (made[-300:, :800] == 200).all() and not made[-300:, 800:].any()


def test_large_pictures_are_reduced_in_a_comparison():
    compose = Composition(3000, 1501)
    assert compose.size[0] == 3 * 960 and compose.size[1] % 2 == 0
    picture = np.full((1501, 3000, 3), 200, np.uint8)
    made = compose(picture, picture // 2, np.ones((1501, 3000), np.float32))
    assert made.shape == (compose.size[1], compose.size[0], 3)
    assert [round(made[-20:, 960 * n + 20 : 960 * n + 900].mean()) for n in range(len(NAMES))] == [200, 100, 255]


def test_pictures_have_no_comparison(studio, monkeypatch):
    folder = studio.folder / "stills"
    folder.mkdir()
    write_png(folder / "1.png", draw_frame(0))
    from tests.convert.test_stage import picture_dataset

    dataset = picture_dataset(studio.folder / "faces_stills", folder, [0])
    with pytest.raises(OptionError, match="--compare makes a film"):
        convert_video(studio.run, studio.folder, replace(FAST, compare=True), dataset=dataset)


def test_the_notice_is_burnt_in_at_the_start_and_at_intervals(studio):
    options = replace(FAST, label="changed: a face was swapped", label_seconds=1.0, label_every=1.6)
    film = rgb(convert_video(studio.run, studio.folder, options).films[0]).astype(int)
    source = rgb(studio.video).astype(int)
    changed = np.abs(film - source)[:, 6:14, 10:60].mean((1, 2, 3))
    due = [frame < 25 or 40 <= frame for frame in range(FRAMES)]
    assert ((changed > 20) == due).all()
    assert film[5, 4:24, 4:].max() > 200, "bright letters"
    once = Notice("changed", (WIDTH, HEIGHT), seconds=1.0)
    assert [once.is_due(Fraction(second)) for second in (0, 1, 60)] == [True, False, False]
    late = Notice("changed", (WIDTH, HEIGHT), seconds=1.0, every=10, start=Fraction(7))
    assert [late.is_due(Fraction(second)) for second in (7, 9, 17, 18)] == [True, False, True, False]


def test_a_frame_with_a_notice_and_a_face_is_marked_too(studio):
    options = replace(FAST, label="changed")
    film = convert_video(studio.run, studio.folder, options).films[0]
    reading = watermark.read(luma_of(frame) for frame in read_frames(film) if frame.index < NO_FACE[0])
    assert reading.present


def test_no_notice_changes_nothing_and_a_long_one_stays_inside():
    frame = shown(draw_frame(0))
    assert Notice("", (WIDTH, HEIGHT))(frame) is frame
    assert Notice("x", (WIDTH, HEIGHT), seconds=1)(shown(draw_frame(0), 0, Fraction(2))).pts == 2
    long = Notice("a face in this film was replaced by a trained model " * 9, (WIDTH, HEIGHT))
    assert long(frame).rgb.shape == frame.rgb.shape


def test_letters_that_the_font_lacks_are_refused_before_any_work(studio):
    with pytest.raises(OptionError, match="中.*--label-font"):
        convert_video(studio.run, studio.folder, replace(FAST, label="中文"))
    with pytest.raises(OptionError, match="--label-font is 'none.ttf'"):
        convert_video(studio.run, studio.folder, replace(FAST, label="x", label_font="none.ttf"))
    assert studio.swapper.batches == []
    check_text("Dieses Gesicht wurde künstlich erzeugt – visage modifié, cara cambiada, лицо заменено", "")


def test_text_fits_its_width():
    picture, covers = draw_text("a face in this film was replaced", 20, 160)
    assert picture.shape[1] <= 160 and picture.shape[:2] == covers.shape
    assert covers.max() == 1 and 0 < covers.min() < 1 and picture.max() > 200


def test_moviepy_takes_no_settings_from_the_surroundings(monkeypatch):
    monkeypatch.setenv("FFMPEG_BINARY", "/nowhere/ffmpeg")
    assert moviepy().VideoClip
    import os

    assert os.environ["FFMPEG_BINARY"] == "/nowhere/ffmpeg" and "PYTHON_DOTENV_DISABLED" not in os.environ


def test_the_marker_is_the_films(studio):
    """A layer's watermark is the pattern of its own size, with the run's number."""
    layers = studio.folder / "layers"
    convert_video(studio.run, studio.folder, FAST, frames=layers)
    grey = Marker(payload_of("c" * 64))(shown(np.full((HEIGHT, WIDTH, 3), 128, np.uint8))).rgb
    layer = rgba(layers / "000000.png")
    clear = layer[..., 3] == 0
    np.testing.assert_array_equal(layer[clear][:, :3], grey[clear])
