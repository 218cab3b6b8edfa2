"""Pictures on disk: colours in order, orientation, whole files."""

import cv2
import numpy as np
import pytest

from faceswap_pipeline.errors import StorageError, VideoError
from faceswap_pipeline.video.images import is_image, list_images, read_image, write_jpeg, write_png

IMAGE = np.dstack([np.full((6, 8), level, np.uint8) for level in (200, 100, 30)])


def test_png_keeps_rgb_rgba_and_masks(tmp_path):
    write_png(tmp_path / "a.png", IMAGE)
    assert (read_image(tmp_path / "a.png") == IMAGE).all()
    write_png(tmp_path / "b.png", np.dstack([IMAGE, np.full((6, 8), 77, np.uint8)]))
    stored = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert stored[0, 0].tolist() == [30, 100, 200, 77]
    write_png(tmp_path / "c.png", IMAGE[..., 0])
    assert cv2.imread(str(tmp_path / "c.png"), cv2.IMREAD_UNCHANGED).shape == (6, 8)


def test_exif_orientation_is_applied(tmp_path):
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, :8] = 255
    write_jpeg(tmp_path / "a.jpg", wide, 100)
    data = (tmp_path / "a.jpg").read_bytes()
    # An EXIF block with one entry: orientation (0x0112) = 6, turn by 90 degrees clockwise.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    upright = read_image(tmp_path / "a.jpg")
    assert upright.shape == (32, 16, 3)
    assert upright[:6].min() > 200 and upright[12:].max() < 50


def test_gray_and_16_bit_pictures_become_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 5), 40000, np.uint16))
    image = read_image(tmp_path / "deep.png")
    assert image.shape == (4, 5, 3) and image.dtype == np.uint8 and abs(int(image[0, 0, 0]) - 156) <= 1


def test_errors_name_the_file(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"bad\.png is not a picture"):
        read_image(tmp_path / "bad.png")
    with pytest.raises(VideoError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="float"):
        write_png(tmp_path / "x.png", IMAGE.astype(np.float32))  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_png(tmp_path / "file" / "x.png", IMAGE)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.png", "file"]


def test_list_counts_numbers_and_skips_the_rest(tmp_path):
    for name in ("f10.png", "f9.JPG", "f1.webp", ".f0.png", "notes.txt"):
        (tmp_path / name).touch()
    listed = list_images(tmp_path)
    assert listed is not None and [item.name for item in listed] == ["f1.webp", "f9.JPG", "f10.png"]
    assert list_images(tmp_path / "notes.txt") is None
    assert not is_image(tmp_path / "film.mp4")
