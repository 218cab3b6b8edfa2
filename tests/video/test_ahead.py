"""Running ahead: bounded, in order, and never left behind."""

import threading
import time

import pytest

from faceswap_pipeline.video.ahead import ahead


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_order_and_bound():
    made: list[int] = []

    def numbers():
        for number in range(40):
            made.append(number)
            yield number

    items = ahead(numbers(), depth=3)
    assert next(items) == 0
    time.sleep(0.1)
    # One in the reader's hand, three waiting, one that waits for room.
    assert len(made) <= 5
    assert list(items) == list(range(1, 40))
    assert not _threads()


def test_exception_comes_after_the_items_before_it():
    def failing():
        yield 1
        yield 2
        raise RuntimeError("broken")

    items = ahead(failing(), depth=8)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(RuntimeError, match="broken"):
        next(items)
    assert not _threads()


def test_stopping_early_closes_the_source_and_joins():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield bytes(10)
        finally:
            closed.set()

    items = ahead(endless(), depth=2)
    next(items)
    items.close()
    assert closed.is_set() and not _threads()


def test_interrupt_in_the_reader_leaves_no_thread():
    with pytest.raises(KeyboardInterrupt):
        for _ in ahead(iter(range(10**9)), depth=2):
            raise KeyboardInterrupt
    assert not _threads()
