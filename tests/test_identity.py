"""The probe that tells A, B and neither apart: on made embeddings."""

import numpy as np

from faceswap_pipeline.identity import PERSONS, Faces, Probe, cut_to, fit_probe, probe_between, relit


def person(spread: float, count: int = 200, size: int = 32, seed: int = 0) -> np.ndarray:
    """Embeddings of one made person: a direction, and how far each face is from it."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=size) / np.sqrt(size) + spread * random.normal(size=(count, size)) / np.sqrt(size)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def everybody(count: int = 400, size: int = 32) -> np.ndarray:
    vectors = np.random.default_rng(99).normal(size=(count, size))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_two_persons_and_strangers_are_named() -> None:
    probe = fit_probe(person(0.5, seed=1), person(0.5, seed=2), everybody())
    assert probe.trustworthy and min(probe.agreement.values()) > 0.95
    for name, seed in (("a", 1), ("b", 2)):
        chances = probe.chances(person(0.5, seed=seed))
        np.testing.assert_allclose(chances.sum(1), 1, atol=1e-9)
        assert (chances.argmax(1) == PERSONS.index(name)).mean() > 0.95
    assert (probe.chances(person(0.5, seed=3)).argmax(1) == PERSONS.index("neither")).mean() > 0.9


def test_what_lies_between_the_persons_is_named_with_less_certainty() -> None:
    a, b = person(0.5, seed=1), person(0.5, seed=2)
    probe = fit_probe(a, b, everybody())
    between = (a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)
    assert probe.chances(between)[:, :2].max(1).mean() < probe.chances(a)[:, 0].mean()


def test_a_person_who_changes_over_the_clip_makes_an_untrustworthy_probe() -> None:
    a = person(0.4, seed=1)
    a[80:120] = person(0.4, count=40, seed=2)
    probe = fit_probe(a, person(0.4, seed=2), everybody())
    assert not probe.trustworthy and probe.agreement["a"] < 0.5 < probe.agreement["b"]


def test_overconfidence_is_taken_back_on_held_out_faces() -> None:
    a, b = person(2.5, seed=1), person(2.5, seed=2)
    probe = fit_probe(a, b, everybody())
    middle = slice(80, 120)
    chances = probe.chances(np.concatenate([a[middle], b[middle]]))
    truth = np.repeat([0, 1], 40)
    named, right = chances.max(1), chances.argmax(1) == truth
    assert named.mean() < right.mean() + 0.15


def test_few_faces_do_not_break_it() -> None:
    probe = fit_probe(person(0.5, count=1, seed=1), person(0.5, count=3, seed=2), everybody(5))
    assert np.isfinite(probe.weights).all() and not probe.trustworthy


def lit_face(features: int, light: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A made face: stripes across or along it in a light that comes from one side, and its mask."""
    size = 64
    rows, columns = np.mgrid[:size, :size]
    stripes = 0.25 * np.sin(2 * np.pi * (rows, columns)[features] / 4)
    noise = np.random.default_rng(seed).normal(0, 0.02, (size, size))
    level = np.clip((0.6 + stripes + noise) * light, 0, 1)
    mask = np.where((rows - 32) ** 2 + (columns - 32) ** 2 < 24**2, 255, 0).astype(np.uint8)
    return (255 * np.repeat(level[..., None], 3, -1)).astype(np.uint8), mask


LEFT, RIGHT = np.linspace(1, 0.3, 64), np.linspace(0.3, 1, 64)


class ByPixels:
    """Takes a face for what its pixels are, light and all."""

    def embed(self, crops, masks) -> np.ndarray:
        vectors = np.array([np.where(m > 127, c[..., 0] - 127.0, 0).ravel() for c, m in zip(crops, masks, strict=True)])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def strangers(self) -> np.ndarray:
        vectors = np.random.default_rng(9).normal(size=(100, 64 * 64))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_relit_face_has_the_others_light_and_its_own_features() -> None:
    (crop, mask), (other, its_mask) = lit_face(0, LEFT, 1), lit_face(1, RIGHT, 2)
    made = relit(crop, mask, other, its_mask).astype(float)[..., 0]
    assert made[24:40, 14:20].mean() < 0.75 * made[24:40, 44:50].mean(), "dark on the left, as the other"
    assert made[20:44, 20:44].std(0).mean() > 2 * np.diff(made[20:44, 20:44], axis=1).std(), "its stripes lie across"


def test_the_light_of_a_clip_does_not_tell_the_probe_who_it_is() -> None:
    """A is always lit from the left and B from the right; B's face in A's light is B."""
    a, b = ([lit_face(who, light, 100 * who + i) for i in range(40)] for who, light in ((0, LEFT), (1, RIGHT)))
    swap = [lit_face(1, LEFT, 500 + i) for i in range(20)]
    crops, masks = [crop for crop, _ in swap], [mask for _, mask in swap]
    embedder = ByPixels()
    fooled = fit_probe(
        *(embedder.embed(*map(list, zip(*faces, strict=True))) for faces in (a, b)), embedder.strangers()
    )
    chances = [
        probe.chances(embedder.embed(crops, masks))[:, 1].mean() for probe in (fooled, probe_between(embedder, a, b))
    ]
    assert chances[1] > 0.9 and chances[1] > chances[0]


def test_the_outline_of_a_head_does_not_tell_the_probe_who_it_is() -> None:
    """A's mask ends at the mouth and B's begins at the brows; B's face in A's outline is B."""

    def outlined(who: int, rows: slice, seed: int) -> tuple[np.ndarray, np.ndarray]:
        crop, mask = lit_face(who, LEFT, seed)
        outline = np.zeros_like(mask)
        outline[rows] = mask[rows]
        return crop, outline

    upper, lower = slice(0, 40), slice(24, 64)
    a, b = ([outlined(who, rows, 100 * who + i) for i in range(40)] for who, rows in ((0, upper), (1, lower)))
    swap = [outlined(1, upper, 500 + i) for i in range(20)]
    embedder = ByPixels()

    def share_of_b(probe: Probe, faces: Faces) -> float:
        return float(probe.chances(embedder.embed(*map(list, zip(*faces, strict=True))))[:, 1].mean())

    known = [embedder.embed(*map(list, zip(*faces, strict=True))) for faces in (a, b)]
    fooled = share_of_b(fit_probe(*known, embedder.strangers()), swap)
    assert share_of_b(probe_between(embedder, a, b), cut_to(swap, b)) > 0.9 > fooled
    assert all((cut <= mask).all() for (_, cut), (_, mask) in zip(cut_to(swap, b), swap, strict=True))
