"""Measures the mean face (`weights/mean_face.npz`) on rendered faces whose head rotation is known.

In: the folder of rendered faces (images/, labels/, faces.jsonl). Out: the .npz with points, five, five_covariance and
oval in the head frame of `faceswap_pipeline.detection.meanface`, and figures on people that were held out (0480 to
0539).

    python examples/train_weights/mean_face.py FACES_FOLDER weights/mean_face.npz

About ten minutes on two cores, nearly all of it the detector.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.detection.alignment import pose_at
from faceswap_pipeline.detection.meanface import (
    MeanFace,
    Pose,
    fit_in_plane,
    fit_pose,
    load_mean_face,
    project,
)
from faceswap_pipeline.detection.reference import package_stages
from faceswap_pipeline.geometry import Array
from faceswap_pipeline.masks.shapes import draw, face_points
from faceswap_pipeline.networks.parser import CLASSES
from faceswap_pipeline.train.rendered import INNER_FACE, MIRROR, Faces, read_faces, split_by_person

OVAL_POINTS = 48
SKIN = CLASSES.index("skin")
FIVE_MIRROR = np.array([1, 0, 2, 4, 3])
FLIP = np.array([-1.0, 1.0, 1.0])


Indexes = NDArray[np.intp]


def turned(points: Array, rotations: Array) -> Array:
    """Points (P, 3) turned and seen without perspective: (N, P, 2)."""
    return np.einsum("nij,pj->npi", rotations[:, :2], points)


def fit_scale_and_place(measured: Array, seen: Array) -> tuple[Array, Array]:
    """Per picture, scale (N,) and place (N, 2) that take `seen` (N, P, 2) onto `measured` (N, P, 2)."""
    measured_mean, seen_mean = measured.mean(1, keepdims=True), seen.mean(1, keepdims=True)
    scale = ((measured - measured_mean) * (seen - seen_mean)).sum((1, 2)) / ((seen - seen_mean) ** 2).sum((1, 2))
    return scale, measured_mean[:, 0] - scale[:, None] * seen_mean[:, 0]


def fit_points(measured: Array, rotations: Array, scale: Array, place: Array) -> Array:
    """The points (P, 3) that seen in every picture's pose lie nearest to `measured` (N, P, 2)."""
    system = scale[:, None, None] * rotations[:, :2]
    normal = np.einsum("nij,nik->jk", system, system)
    right = np.einsum("nij,npi->jp", system, measured - place[:, None])
    return np.linalg.solve(normal, right).T


def fit_mean_points(pictures: Faces, rounds: int = 60) -> tuple[Array, Array, Array]:
    """The mean landmarks (68, 3), symmetric, at a root-mean-square radius of one; scale (N,) and place (N, 2) of
    every picture.
    """
    points = np.random.default_rng(0).normal(size=(68, 3))
    scale, place = np.ones(len(pictures.landmarks)), pictures.landmarks.mean(1)
    for _ in range(rounds):
        scale, place = (
            fit_scale_and_place(pictures.landmarks, turned(points, pictures.rotations)) if _ else (scale, place)
        )
        points = fit_points(pictures.landmarks, pictures.rotations, scale, place)
        points = (points + points[MIRROR] * FLIP) / 2
        points -= points.mean(0)
        points /= np.sqrt((points**2).sum(1).mean())
    return points, *fit_scale_and_place(pictures.landmarks, turned(points, pictures.rotations))


def border_points(pictures: Faces, every: int = 4) -> tuple[Array, Array, Indexes]:
    """Where inner face meets other skin: points (M, 2) px, outward directions (M, 2), picture index (M,).

    Borders to hair, clothes and background are no part of it: there something covers the oval or the face's outline
    does.
    """
    kind = np.zeros(256, np.uint8)
    kind[list(INNER_FACE)], kind[SKIN] = 1, 2
    points, outward, index = [], [], []
    for number in range(len(pictures)):
        label = kind[pictures.label(number)]
        for step in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            beside = np.roll(label, (-step[1], -step[0]), (0, 1))
            found = np.argwhere((label == 1) & (beside == 2))[number % every :: every, ::-1]
            points.append(found + np.array(step) / 2)
            outward.append(np.tile(np.array(step, float), (len(found), 1)))
            index.append(np.full(len(found), number))
    return np.concatenate(points), np.concatenate(outward), np.concatenate(index)


def fit_oval(pictures: Faces, scale: Array, place: Array, rounds: int = 30) -> Array:
    """The closed curve (K, 3) whose projections lie on the label's border: nearest segment, then point-to-line least
    squares.

    A border pixel is matched only to a segment that faces its way, so that the hidden side of the curve attracts
    none.
    """
    angle = 2 * np.pi * np.arange(OVAL_POINTS) / OVAL_POINTS
    oval = np.stack([1.05 * np.sin(angle), -1.45 * np.cos(angle), 0.1 + 0.5 * np.abs(np.sin(angle))], 1)
    pixels, outward, index = border_points(pictures)
    pixels = (pixels - place[index]) / scale[index, None]
    differences = np.roll(np.eye(OVAL_POINTS), 1, 1) + np.roll(np.eye(OVAL_POINTS), -1, 1) - 2 * np.eye(OVAL_POINTS)
    smooth = np.kron(differences.T @ differences, np.eye(3))
    for number in range(rounds):
        reach = max(0.4 - 0.02 * number, 0.12)
        normal, right, count = _oval_system(oval, pictures.rotations, pixels, outward, index, reach)
        weight = count / OVAL_POINTS
        step = np.linalg.solve(
            normal + weight * (2 * smooth + 1e-3 * np.eye(len(smooth))), right - 2 * weight * smooth @ oval.ravel()
        )
        oval = oval + step.reshape(oval.shape)
        oval = (oval + oval[-np.arange(OVAL_POINTS) % OVAL_POINTS] * FLIP) / 2
    return oval


def _oval_system(oval, rotations, pixels, outward, index, reach):
    """Normal equations (3K, 3K), (3K,) of the point-to-line distances, and how many border pixels found a segment."""
    normal, right, count = np.zeros((OVAL_POINTS, 3, OVAL_POINTS, 3)), np.zeros((OVAL_POINTS, 3)), 0
    seen = turned(oval, rotations)
    for part in np.array_split(np.arange(len(pixels)), 1 + len(pixels) // 20_000):
        start = seen[index[part]]
        along = np.roll(start, -1, 1) - start
        share = np.clip(((pixels[part, None] - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
        gap = pixels[part, None] - start - share[..., None] * along
        across = (
            np.stack([along[..., 1], -along[..., 0]], -1)
            / np.maximum(np.hypot(*np.moveaxis(along, 2, 0)), 1e-9)[..., None]
        )
        distance = np.where((across * outward[part, None]).sum(-1) > 0.3, np.hypot(*np.moveaxis(gap, 2, 0)), np.inf)
        first = distance.argmin(1)
        rows = np.flatnonzero(distance.min(1) < reach)
        first, second, u = first[rows], (first[rows] + 1) % OVAL_POINTS, share[rows, first[rows]][:, None]
        direction = np.einsum("mi,mij->mj", across[rows, first], rotations[index[part[rows]], :2])
        miss = (across[rows, first] * gap[rows, first]).sum(-1)
        for one, of_one in ((first, 1 - u), (second, u)):
            np.add.at(right, one, of_one * miss[:, None] * direction)
            for other, of_other in ((first, 1 - u), (second, u)):
                block = (of_one * of_other)[..., None] * direction[:, :, None] * direction[:, None, :]
                np.add.at(normal.transpose(0, 2, 1, 3), (one, other), block)
        count += len(rows)
    return normal.reshape(3 * OVAL_POINTS, -1), right.ravel(), count


def detect_five(pictures: Faces, every: int) -> tuple[Array, Indexes]:
    """MTCNN's five sub-pixel landmarks (M, 5, 2) in every n-th picture, and the pictures' indexes (M,); misses are
    left out.
    """
    from mtcnn import MTCNN

    detector: Any = MTCNN(stages=package_stages())
    five, index = [], []
    for number in range(0, len(pictures.images), every):
        found = detector.detect_faces(pictures.picture(number), output_type="numpy", box_format="xyxy").reshape(-1, 16)
        found = found[found[:, 5] > 0.9]
        if len(found):
            centres = (found[:, 1:3] + found[:, 3:5]) / 2
            best = found[np.argmin(np.linalg.norm(centres - pictures.landmarks[number].mean(0), axis=1))]
            five.append(best[6:].reshape(2, 5).T)
            index.append(number)
    return np.array(five), np.array(index)


def fit_five(measured: Array, rotations: Array, scale: Array, place: Array) -> tuple[Array, Array]:
    """Positions (5, 3) of MTCNN's points and the covariance (10, 10) of what is left, both symmetric; gross misses
    left out.
    """
    keep = np.ones(len(measured), bool)
    points, left = np.zeros((5, 3)), np.zeros_like(measured)
    for _ in range(5):
        points = fit_points(measured[keep], rotations[keep], scale[keep], place[keep])
        points = (points + points[FIVE_MIRROR] * FLIP) / 2
        left = (measured - place[:, None]) / scale[:, None, None] - turned(points, rotations)
        size = np.linalg.norm(left, axis=2).max(1)
        keep = size < 4 * np.median(size)
    both = np.concatenate([left[keep], left[keep][:, FIVE_MIRROR] * FLIP[:2]]).reshape(-1, 10)
    return points, both.T @ both / len(both)


def face_centre_depth(pictures: Faces, scale: Array, place: Array) -> float:
    """The depth at which a point stays in the middle of the face's box while the head turns (least squares over
    x).
    """
    middle = ((pictures.boxes[:, 0] + pictures.boxes[:, 2]) / 2 - place[:, 0]) / scale
    slope = pictures.rotations[:, 0, 2]
    return float((slope * middle).sum() / (slope**2).sum())


def measure(training: Faces, every: int) -> MeanFace:
    """The mean face of the training pictures, in its final frame and unit."""
    points, scale, place = fit_mean_points(training)
    oval = fit_oval(training[::2], scale[::2], place[::2])
    measured, index = detect_five(training, every)
    five, covariance = fit_five(measured, training.rotations[index], scale[index], place[index])
    height = np.ptp(oval[:, 1])
    origin = np.array([0, (oval[:, 1].min() + oval[:, 1].max()) / 2, face_centre_depth(training, scale, place)])
    return MeanFace(
        (points - origin) / height, (five - origin) / height, covariance / height**2, (oval - origin) / height
    )


def report(face: MeanFace, validation: Faces, every: int) -> None:
    """Print what the mean face does on people it was not measured on."""
    measured, index = detect_five(validation, every)
    held = validation[index]
    fit = fit_pose(face, measured)
    error = np.stack([fit.yaw, fit.pitch], 1) - held.angles[:, :2]
    flat = np.abs(held.angles[:, 2]) < 5
    true = fit_in_plane(face, measured, held.angles[:, 0], held.angles[:, 1])
    eyes = np.linalg.norm(face.five[0] - face.five[1]) * np.asarray(true.scale)
    misses = np.linalg.norm(project(face.five, true) - measured, axis=2) / eyes[:, None]
    print(f"{len(index)} of {len(validation.images[::every])} validation pictures detected")
    print(f"five points at the true angles: median miss {100 * np.median(misses):.1f} % of the eye distance")
    overlap = [face_overlap(face, pose_at(fit, row), held.label(row)) for row in range(len(held))]
    print(
        "|yaw|   pictures   yaw error median, 90 %   pitch error median, 90 %   (roll under 5 degrees)  IoU, any roll"
    )
    for low, high in ((0, 15), (15, 30), (30, 45), (45, 90)):
        band = (np.abs(held.angles[:, 0]) >= low) & (np.abs(held.angles[:, 0]) < high)
        cells = [f"{np.median(np.abs(e)):6.1f} {np.quantile(np.abs(e), 0.9):6.1f}" for e in error[band & flat].T]
        share = np.array(overlap)[band].mean()
        print(f"{low:2d}-{high:2d} {(band & flat).sum():9d} {cells[0]:>25} {cells[1]:>25} {share:35.3f}")


def face_overlap(face: MeanFace, pose: Pose, label: NDArray[np.uint8]) -> float:
    """IoU of the posed inner face with the label's, which hair, hats and glasses cut into."""
    made = draw([face_points(face, pose)], len(label)) > 0
    true = np.isin(label, INNER_FACE)
    return float((made & true).sum() / (made | true).sum())


def main() -> None:
    """Measure, write, read back and report."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("faces", type=Path, help="folder of the rendered faces")
    parser.add_argument("out", type=Path, help="the .npz to write")
    parser.add_argument("--every", type=int, default=3, help="run the detector on every n-th picture")
    arguments = parser.parse_args()
    training, validation = split_by_person(read_faces(arguments.faces))
    face = measure(training, arguments.every)
    np.savez(arguments.out, **{name: getattr(face, name) for name in MeanFace.__dataclass_fields__})
    report(load_mean_face(arguments.out), validation, max(1, arguments.every // 2))


if __name__ == "__main__":
    main()
