"""Two seconds of the rendered pair as luma planes, marked and not, and a small clip to sign."""

from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from faceswap_pipeline.provenance import watermark
from faceswap_pipeline.resources import examples_pair
from faceswap_pipeline.video.planes import plane_views
from faceswap_pipeline.video.reader import read_frames

PAYLOAD = 0xC0DE5
Planes = list[NDArray[np.uint8]]


def coded(planes: Planes, quality: int, path: Path | None = None) -> Planes:
    """Luma planes through H.264 and back; the film is kept at `path` when given."""
    film = BytesIO()
    with av.open(film, "w", format="mp4") as container:
        height, width = planes[0].shape
        stream = container.add_stream("libx264", rate=25, options={"crf": str(quality), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        for index, plane in enumerate(planes):
            frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
            for view in plane_views(frame):
                view[:] = 128
            plane_views(frame)[0][:] = plane[: stream.height, : stream.width]
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if path is not None:
        path.write_bytes(film.getvalue())
    film.seek(0)
    with av.open(film, "r") as written:
        return [plane_views(frame)[0].copy() for frame in written.decode(video=0)]


def as_still(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A plane through JPEG of quality 75."""
    return cv2.imdecode(cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_GRAYSCALE)


@pytest.fixture(scope="session")
def clean() -> Planes:
    """Luma of the first 50 frames of the rendered performance."""
    path = examples_pair() / "video_a.mp4"
    return [plane_views(frame.planes)[0].copy() for frame in islice(read_frames(path), 50)]


@pytest.fixture(scope="session")
def marked(clean: Planes) -> Planes:
    """The same with the watermark."""
    height, width = clean[0].shape
    mark = watermark.pattern(height, width, PAYLOAD)
    return [watermark.embed(plane, mark) for plane in clean]
