"""Key frames and cuts, with a made-up detector that counts how often it is asked."""

import numpy as np

from faceswap_pipeline.detection.cascade import Detection, Pyramid
from faceswap_pipeline.detection.finder import FaceFinder, chains, steady_boxes, with_cuts


def room(seed: int, shift: int = 0) -> np.ndarray:
    """A mottled picture (72, 128, 3), shifted sideways."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (9, 20, 3), np.uint8)
    return np.roll(np.kron(coarse, np.ones((8, 8, 1), np.uint8)), shift, 1)[:, :128]


class Numbered(Pyramid):
    def __init__(self, number: int) -> None:
        super().__init__(np.zeros((4, 4, 3), np.uint8))
        self.number = number


def face(x: float, score: float = 0.99) -> Detection:
    box = np.array([x, 0, x + 20, 20], np.float32)
    return Detection(box, np.full((5, 2), x, np.float32), score)


class World:
    """One face, at `place(number)`; None where there is none."""

    def __init__(self, place, unsure=()):
        self.place, self.unsure, self.detected = place, set(unsure), []

    def detect(self, pictures):
        self.detected += [picture.number for picture in pictures]
        return [[face(x)] if (x := self.place(picture.number)) is not None else [] for picture in pictures]

    def refine(self, pictures, boxes):
        result = []
        for picture in pictures:
            x = self.place(picture.number)
            lost = x is None or picture.number in self.unsure
            result.append([face(0.0 if x is None else x, 0.1 if lost else 0.99)])
        return result

    def measure(self, pictures, boxes):
        return [np.full((len(group), 5, 2), -1.0) for group in boxes]


def find(world, frames, cuts=()):
    pictures = [(Numbered(number), number in cuts) for number in range(frames)]
    return list(FaceFinder(world, world).find(pictures))


def test_few_key_frames_while_all_is_well():
    world = World(lambda number: 0.5 * number)
    found = find(world, 200)
    assert [getattr(item.pyramid, "number", None) for item in found] == list(range(200))
    assert len(world.detected) == len(set(world.detected)) < 20
    assert all(len(item.faces) == 1 for item in found)
    assert found[100].faces[0].landmarks[0, 0] == -1, "landmarks are the measured ones"


def test_every_frame_around_a_loss_is_looked_at_whole():
    world = World(lambda number: 10.0, unsure=range(40, 44))
    found = find(world, 80)
    assert set(range(40, 44)) <= set(world.detected)
    assert all(len(item.faces) == 1 for item in found)
    assert len(world.detected) < 40


def test_a_face_that_comes_and_goes_is_found_to_the_frame():
    world = World(lambda number: 10.0 if 23 <= number < 60 else None)
    counts = [len(item.faces) for item in find(world, 90)]
    assert counts == [int(23 <= number < 60) for number in range(90)]


def test_a_cut_begins_anew_with_a_key_frame():
    world = World(lambda number: 10.0 if number < 33 else 300.0)
    found = find(world, 66, cuts=[33])
    assert found[33].cut and found[33].key and found[32].key
    assert [item.faces[0].box[0] for item in found] == [10.0] * 33 + [300.0] * 33


def test_without_a_follower_every_frame_is_a_key_frame():
    world = World(lambda number: 10.0)
    pictures = [(Numbered(number), False) for number in range(10)]
    assert all(item.key for item in FaceFinder(world, None).find(pictures))
    assert world.detected == list(range(10))


def cut_flags(pictures):
    return [index for index, (_, cut) in enumerate(with_cuts(Pyramid(picture) for picture in pictures)) if cut]


def test_cuts_are_told_from_motion():
    pan = [room(1, 2 * number) for number in range(20)]
    assert cut_flags(pan) == []
    assert cut_flags(pan + [room(2)] * 20 + [room(3, number) for number in range(12)]) == [20, 40]
    assert cut_flags([room(1)] * 5 + [room(2)] + [room(3)] * 8) == [5, 6], "a flash of one frame"
    dark = [(room(seed) // 12).astype(np.uint8) for seed in (4, 5)]
    assert cut_flags([dark[0]] * 9 + [dark[1]] * 9) == [9]


def test_cut_flags_do_not_depend_on_where_the_reading_began():
    pictures = [room(1, number) for number in range(15)] + [room(2, number) for number in range(30)]
    whole = [cut for _, cut in with_cuts(Pyramid(picture) for picture in pictures)]
    for start in (8, 20, 36):
        part = [cut for _, cut in with_cuts(Pyramid(picture) for picture in pictures[start - 7 :])]
        assert part[7:] == whole[start:]


def test_short_inputs_pass():
    assert cut_flags([]) == [] and cut_flags([room(1)]) == []
    assert find(World(lambda number: None), 0) == []
    assert len(find(World(lambda number: 1.0), 1)) == 1


def test_steady_boxes_follow_a_smooth_path_without_trembling():
    time = np.arange(17)
    true = np.stack([100 + 3 * time, 50 + 0.1 * time**2, 160 + 3 * time, 110 + 0.1 * time**2], 1)
    noisy = true + np.random.default_rng(0).normal(0, 0.6, true.shape)
    steady = steady_boxes(noisy)
    jitter = [np.abs(np.diff(boxes, 2, axis=0)).mean() for boxes in (noisy, steady)]
    assert jitter[1] < 0.35 * jitter[0]
    assert np.abs(steady - true).max() < 2


def test_chains_follow_each_face_and_end_where_it_does():
    frames = [[face(0), face(100)], [face(101), face(2)], [face(102)], [], [face(103)]]
    assert sorted(chains(frames)) == [[(0, 0), (1, 1)], [(0, 1), (1, 0), (2, 0)], [(4, 0)]]
    assert chains([]) == [] and chains([[], []]) == []
