"""The figures against a true swap are those of their published definitions."""

from itertools import islice

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from faceswap_pipeline import resources
from faceswap_pipeline.evaluate.truth import against_truth, gradient_error, multi_scale, psnr, ssim_scales
from faceswap_pipeline.imaging import Image, blur, warp
from faceswap_pipeline.video.reader import read_frames

STEP, COUNT = 100, 5
KNOWN = {"truth_psnr": 20.49, "truth_ssim": 0.7770, "registered_psnr": 22.52, "registered_ssim": 0.8011}
"""What the tool that defines these figures says of the rendered pair with no swap at all, frames 0, 100, ... 400."""


@pytest.fixture(scope="module")
def frames() -> list[tuple[Image, Image, np.ndarray]]:
    """Source, true swap and where the true face is, of five frames of the rendered pair."""
    clips = [read_frames(resources.examples_pair() / name) for name in ("video_a.mp4", "truth.mp4", "truth_mask.mp4")]
    chosen = islice(zip(*clips, strict=True), 0, STEP * COUNT, STEP)
    return [(source.rgb, truth.rgb, mask.rgb[..., 1] > 127) for source, truth, mask in chosen]


@pytest.fixture(scope="module")
def truth(frames) -> Image:
    return frames[1][1]


@pytest.fixture(scope="module")
def inside(frames) -> np.ndarray:
    return frames[1][2]


def test_figures_are_those_of_the_tool_that_defines_them(frames):
    found = [against_truth(*each) for each in frames]
    means = {name: float(np.mean([figures[name] for figures in found])) for name in KNOWN}
    assert means == pytest.approx(KNOWN, rel=2e-3)


def test_ssim_is_that_of_another_library(frames, truth, inside):
    source = frames[1][0]
    a, b = (image.astype(np.float64).mean(2) for image in (source, truth))
    _, known = structural_similarity(
        a, b, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert ssim_scales(source, truth, inside)[0][0] == pytest.approx(known[inside].mean(), abs=2e-3)


def test_equal_pictures_are_perfect(truth, inside):
    figures = against_truth(truth, truth, inside)
    assert figures["truth_psnr"] > 100 and figures["truth_gradient"] == 0
    assert figures["truth_ssim"] == figures["truth_ms_ssim"] == 1
    assert figures["registered_ssim"] > 0.999


def test_registration_takes_out_place_and_tone_but_not_blur(truth, inside):
    moved = warp(truth, [[1.01, 0.01, 2], [-0.01, 1.01, -1]], truth.shape[1::-1])
    toned = np.clip(moved * 0.9 + [20, 0, 5], 0, 255).astype(np.uint8)
    figures = against_truth(toned, truth, inside)
    assert figures["truth_psnr"] < 27 < 36 < figures["registered_psnr"]
    soft = against_truth(np.asarray(blur(truth, 3)), truth, inside)
    assert soft["registered_psnr"] < soft["truth_psnr"] + 1
    assert soft["registered_ssim"] < 0.93 < figures["registered_ssim"]


def test_only_the_inside_of_the_mask_counts(truth, inside):
    spoilt = np.where(blur(inside.astype(np.float32), 8)[..., None] > 1e-3, truth, 255 - truth)
    assert psnr(spoilt, truth, inside) > 100
    assert gradient_error(spoilt, truth, inside) == 0


def test_multi_scale_ssim_forgives_fine_noise_more_than_blur(truth, inside):
    noisy = np.clip(truth + np.random.default_rng(0).normal(0, 8, truth.shape), 0, 255).astype(np.uint8)
    soft = np.asarray(blur(truth, 4))
    single = [ssim_scales(image, truth, inside)[0][0] for image in (noisy, soft)]
    several = [multi_scale(ssim_scales(image, truth, inside)) for image in (noisy, soft)]
    assert several[0] - single[0] > several[1] - single[1]
    assert all(0 < value < 1 for value in single + several)


def test_a_picture_with_no_common_structure_stays_where_it_is(truth, inside):
    flat = np.full_like(truth, 127)
    assert np.isfinite(list(against_truth(flat, truth, inside).values())).all()
