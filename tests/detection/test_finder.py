"""Key frames and cuts, with a made-up detector that counts how often it is asked."""

import numpy as np
import pytest

from faceswap_pipeline.detection.cascade import Detection, Examined, Pyramid
from faceswap_pipeline.detection.finder import FaceFinder, chains, steady_boxes, with_cuts


def room(seed: int, shift: int = 0) -> np.ndarray:
    """A mottled picture (72, 128, 3), shifted sideways."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (9, 20, 3), np.uint8)
    return np.roll(np.kron(coarse, np.ones((8, 8, 1), np.uint8)), shift, 1)[:, :128]


class Numbered(Pyramid):
    """A picture that knows its number and how it was turned."""

    def __init__(self, number: int, quarters: int = 0) -> None:
        super().__init__(np.zeros((4, 4, 3), np.uint8))
        self.number, self.quarters = number, quarters

    def turned(self, quarters: int) -> "Numbered":
        return Numbered(self.number, quarters)


def face(x: float, score: float = 0.99) -> Detection:
    box = np.array([x, 0, x + 20, 20], np.float32)
    return Detection(box, np.full((5, 2), x, np.float32), score)


class World:
    """One face, at `place(number)`; None where there is none."""

    def __init__(self, place, unsure=()):
        self.place, self.unsure, self.detected = place, set(unsure), []

    def detect(self, pictures):
        self.detected += [picture.number for picture in pictures]
        places = [None if picture.quarters else self.place(picture.number) for picture in pictures]
        return [[face(place)] if place is not None else [] for place in places]

    def refine(self, pictures, boxes):
        result = []
        for picture in pictures:
            x = self.place(picture.number)
            lost = x is None or picture.number in self.unsure
            result.append([face(0.0 if x is None else x, 0.1 if lost else 0.99)])
        return result

    def examine(self, pictures, boxes):
        return [Examined(np.full((len(b), 5, 2), -1.0), np.full(len(b), 0.99), np.full(len(b), 0.01)) for b in boxes]


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


def test_boxes_move_smoothly_also_in_the_last_two_frames_of_a_shot():
    class Trembling(World):
        def examine(self, pictures, boxes):
            self.looked.update({p.number: float(b[0, 0]) for p, b in zip(pictures, boxes, strict=True)})
            return super().examine(pictures, boxes)

    world = Trembling(lambda number: 10 + 0.3 * (-1) ** number)
    world.looked = {}
    find(world, 12, cuts=[6])
    assert sorted(world.looked) == list(range(12))
    assert max(abs(world.looked[number] - 10) for number in (4, 5, 10, 11)) < 0.2


def test_without_a_follower_every_frame_is_a_key_frame():
    world = World(lambda number: 10.0)
    pictures = [(Numbered(number), False) for number in range(10)]
    assert all(item.key for item in FaceFinder(world, None).find(pictures))
    assert world.detected == list(range(10))


class TurningWorld(World):
    """A face that is seen only when the picture is turned by `way(number)` quarters; None: nobody."""

    def __init__(self, way, score=0.99, spread=0.01):
        self.way, self.score, self.spread, self.detected, self.looks = way, score, spread, [], []

    def detect(self, pictures):
        self.detected += [picture.number for picture in pictures]
        self.looks += [(picture.number, picture.quarters) for picture in pictures]
        return [[face(1.0, self.score)] if self.way(p.number) == p.quarters else [] for p in pictures]

    def refine(self, pictures, boxes):
        score = {True: self.score, False: 0.1}
        return [
            [face(1.0, score[self.way(p.number) == p.quarters])] * len(b) for p, b in zip(pictures, boxes, strict=True)
        ]

    def examine(self, pictures, boxes):
        return [
            Examined(np.full((len(b), 5, 2), 1.0), np.full(len(b), self.score), np.full(len(b), self.spread))
            for b in boxes
        ]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_film_is_seen_from_its_first_frame(quarters):
    world = TurningWorld(lambda number: quarters)
    found = find(world, 100)
    assert all(len(item.faces) == 1 for item in found)
    assert sum(way != quarters for _, way in world.looks) < 8, "the turn is kept"
    assert len(world.looks) < 25


def test_turns_are_tried_at_times_only_where_nobody_is():
    world = TurningWorld(lambda number: None)
    assert not any(item.faces for item in find(world, 400))
    upright = sum(way == 0 for _, way in world.looks)
    assert 0 < len(world.looks) - upright < 2.5 * upright
    lit = TurningWorld(lambda number: 0)
    find(lit, 400)
    assert all(way == 0 for _, way in lit.looks), "with a face in sight nothing is turned"


def test_a_turned_face_that_does_not_stay_is_not_believed():
    flash = TurningWorld(lambda number: 1 if number % 4 == 0 and number % 8 else None)
    assert not any(item.faces for item in find(flash, 60))
    for unclear in (TurningWorld(lambda number: 2, score=0.95), TurningWorld(lambda number: 2, spread=0.03)):
        assert not any(item.faces for item in find(unclear, 60))
    assert all(item.faces for item in find(TurningWorld(lambda number: 1), 6, cuts=range(6))), "single pictures"


def test_an_unclear_upright_face_gives_way_to_a_clear_turned_one_only():
    class Doubtful(TurningWorld):
        """Something at place 50 is seen upright, and a face at place 1 turned by one quarter when `clear`."""

        def __init__(self, clear):
            super().__init__(lambda number: 1 if clear else None)

        def detect(self, pictures):
            return [
                [face(50.0, 0.9)] if p.quarters == 0 else f
                for p, f in zip(pictures, super().detect(pictures), strict=True)
            ]

        def refine(self, pictures, boxes):
            return [[face(50.0, 0.9)] if p.quarters == 0 else [face(1.0)] for p in pictures]

        def examine(self, pictures, boxes):
            seen = super().examine(pictures, boxes)
            return [
                s._replace(scores=s.scores * 0 + 0.9) if p.quarters == 0 else s
                for p, s in zip(pictures, seen, strict=True)
            ]

    assert all(item.faces[0].score == 0.99 for item in find(Doubtful(True), 40))
    assert all(item.faces[0].score == 0.9 for item in find(Doubtful(False), 40)), "it stays where nothing is better"


def test_a_person_who_lies_down_and_gets_up_is_followed():
    world = TurningWorld(lambda number: 1 if 60 <= number < 160 else 0)
    counts = [len(item.faces) for item in find(world, 240)]
    assert counts[:60] == [1] * 60 and counts[176:] == [1] * 64
    assert sum(counts[60:160]) > 80 and sum(counts) > 215


def test_turned_back_is_where_the_picture_showed_it():
    picture = Pyramid(np.zeros((30, 50, 3), np.uint8))
    picture.picture[7, 11] = 255
    for quarters in range(4):
        seen = picture.turned(quarters).picture
        y, x = np.argwhere(seen[..., 0])[0].tolist()
        box = np.array([x, y, x + 3, y + 2], np.float32)
        back = Detection(box, np.full((5, 2), (x, y), np.float32), 0.9).turned_back(quarters, 50, 30)
        assert back.landmarks.tolist() == [[11, 7]] * 5
        assert (back.box[:2] <= back.box[2:]).all() and (back.box[2:] - back.box[:2]).sum() == 5


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
