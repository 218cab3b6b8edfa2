"""Run an iterator ahead of its reader on a thread.

In: any iterator. Out: the same items in the same order, at most `depth` of them waiting.
"""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield `items`, made on a thread up to `depth` items before they are asked for.

    An exception of the iterator is raised here after the items before it. When the reader stops early (closes this
    generator, raises, Ctrl-C) the thread is told, closes its iterator itself, and is waited for.
    """
    waiting: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=max(1, depth))
    stopped = threading.Event()

    def produce() -> None:
        last: tuple[str, object] = ("end", None)
        iterator = iter(items)
        try:
            for item in iterator:
                waiting.put(("item", item))
                if stopped.is_set():
                    break
        except BaseException as error:  # carried to the reader
            last = ("error", error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            waiting.put(last)

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "error":
                assert isinstance(value, BaseException)
                raise value
            if kind == "end":
                return
            yield value  # type: ignore[misc]
            del value  # so that it can be freed while the next one is awaited
    finally:
        stopped.set()
        # The thread may wait for room: make some until it has ended.
        while thread.is_alive():
            try:
                waiting.get(timeout=0.02)
            except queue.Empty:
                thread.join(timeout=0.02)
