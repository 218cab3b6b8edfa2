"""Do the landmarks of `swap extract` tremble less than the mtcnn package's, without lagging behind?

    python examples/measure_steadiness.py CLIP ... --frames 250
    python examples/measure_steadiness.py A.mp4 --truth A_truth.jsonl

The package looks at every full frame, and of what it finds the face nearest to ours counts: in whole pixels, as
`detect_faces` gives it, and to their fractions. Prints one table row a clip, those two / ours:

error    root mean square distance from the true landmarks, less each landmark's mean offset, which is definition.
tremble  root mean square second difference over time of eyes and nose in the stillest quarter of the frames: of that
         error where the truth is known, else of the landmarks themselves. The mouth's corners follow apart: who speaks
         moves them.
lag      how many frames late the landmarks are in the quickest tenth of the frames: the slope of the error (where there
         is no truth, of what they are beside the package's fractions) over the velocity. What smooths the past alone
         lags.
reach    the slope of their velocity over the true one (over ours) there: below 1 a quick turn is cut short.

Distances are percent of the distance between the eyes.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(N, 5, 2) px of consecutive frames, in the order of a Detection."""
QUICK, STILL = 0.1, 0.25
"""Shares of the frames that count as quick and as still."""


def main() -> None:
    """Compare the clips that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=250, help="frames that are compared, from the first on")
    parser.add_argument("--truth", type=Path, help="true landmarks of the one clip, a JSON line a frame")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print("| clip | frames | error | tremble, eyes and nose | times less | tremble, mouth | lag | reach |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for clip in arguments.clips:
        theirs, ours, frames = both(clip, arguments.frames)
        true = None if arguments.truth is None else truth(arguments.truth)[frames]
        print(row(clip.stem, theirs, ours, true), flush=True)


def both(clip: Path, count: int) -> tuple[Points, Points, NDArray[np.int64]]:
    """The package's landmarks and ours of the main person in the longest run of frames in which both have the face,
    and those frames."""
    from faceswap_pipeline.detection.reference import SMALLEST, PackageDetector
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.extract.stage import extract_faces
    from faceswap_pipeline.geometry import box_iou
    from faceswap_pipeline.video.reader import read_frames

    with tempfile.TemporaryDirectory() as folder:
        dataset = extract_faces([clip], Path(folder) / "faces", ExtractOptions(size=64))
        ours = {record.frame: record for record in dataset.records if not record.filled}
    info = dataset.sources[0].info
    package = PackageDetector(SMALLEST / min(info.width, info.height))  # of the frame as it is
    found: dict[int, tuple[NDArray, NDArray]] = {}
    for frame in read_frames(clip, stop=count):
        faces = package.detect([frame.rgb]) if frame.index in ours else [[]]
        if faces[0]:
            near = box_iou(ours[frame.index].box, np.array([face.box for face in faces[0]]))[0]
            if near.max() > 0.4:
                record = ours[frame.index]
                found[frame.index] = faces[0][int(near.argmax())].landmarks, record.landmarks
    runs = np.split(np.array(sorted(found)), np.flatnonzero(np.diff(sorted(found)) != 1) + 1)
    frames = max(runs, key=len)
    theirs, own = (np.array([found[frame][side] for frame in frames.tolist()], np.float64) for side in (0, 1))
    return theirs, own, frames


def truth(path: Path) -> Points:
    """True landmarks of every frame; a file names left and right as the person does, and a pixel's centre is at .5."""
    names = ("eye_right", "eye_left", "nose_tip", "mouth_right", "mouth_left")
    rows = [json.loads(line)["landmarks"] for line in path.read_text().splitlines()]
    return np.array([[row[name] for name in names] for row in rows], np.float64) - 0.5


def row(name: str, theirs: Points, ours: Points, true: Points | None) -> str:
    """The table row of one clip."""
    guide = ours if true is None else true
    scale = 100 / np.linalg.norm(ours[:, 1] - ours[:, 0], axis=-1).mean()
    velocity = np.gradient(guide, axis=0)
    speed = np.linalg.norm(velocity, axis=-1).mean(1)
    quick, still = speed >= np.quantile(speed, 1 - QUICK), (speed <= np.quantile(speed, STILL))[1:-1]

    def slope(values: Points) -> float:
        return float((values * velocity)[quick].sum() / (velocity[quick] ** 2).sum())

    errors, trembles, lags, reaches = [], [], [], []
    for points in (np.rint(theirs), theirs, ours):
        error = points - (theirs if true is None else true)
        error = error - error.mean(0)
        bent = np.diff(points if true is None else error, 2, axis=0)[still]
        errors.append("-" if true is None else f"{scale * np.sqrt((error**2).sum(-1).mean()):.2f}")
        trembles.append([scale * np.sqrt((part**2).sum(-1).mean()) for part in (bent[:, :3], bent[:, 3:])])
        lags.append(f"{-slope(error):+.2f}")
        reaches.append(f"{slope(np.gradient(points, axis=0)):.2f}")
    less = [f"{each[0] / trembles[2][0]:.1f}" for each in trembles[:2]]
    rigid, mouth = ([f"{each:.2f}" for each in part] for part in zip(*trembles, strict=True))
    columns = (errors, rigid, less, mouth, lags, reaches)
    return f"| {name} | {len(ours)} | {' | '.join(' / '.join(column) for column in columns)} |"


if __name__ == "__main__":
    main()
