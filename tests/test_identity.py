"""The probe that tells A, B and neither apart: on made embeddings."""

import numpy as np

from faceswap_pipeline.identity import PERSONS, fit_probe


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
