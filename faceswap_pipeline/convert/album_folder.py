"""A person's pictures as conversion uses them, kept in the run: made once for its weights, not once for each film.

In: a run with trained weights, and the dataset of the person whose face comes in. Out: an `Album`; from the folder
`album_a` or `album_b` of the run where that was made of the same weights and pictures, else a new one, which is kept.
"""

from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from faceswap_pipeline import __version__
from faceswap_pipeline.array_folder import Checkpoint, damage, read_folder, read_state, settled, write_folder
from faceswap_pipeline.convert.detail import Album, make_album
from faceswap_pipeline.convert.inputs import open_side
from faceswap_pipeline.convert.options import ConvertOptions
from faceswap_pipeline.convert.swapper import Swapper, load_swapper
from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.errors import StorageError, SwapError
from faceswap_pipeline.machine import return_free_memory
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.run import TrainingRun

VERSION = 2
"""Of what an album holds and how that is made: one of another version is made anew."""


@dataclass(frozen=True)
class AlbumFolder:
    """The place of one person's album in a run, for one checkpoint of it."""

    run: Path
    person: str
    """Whose pictures, `a` or `b`."""
    checkpoint: Checkpoint
    """Whose drawings lie beside the pictures."""

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        return self.run / f"album_{self.person}"

    @cached_property
    def pictures(self) -> str | None:
        """Fingerprint of the dataset that the album here was made of; None without a whole one of this checkpoint."""
        found = settled(self.path)
        if found is None or damage(found) is not None:
            return None
        made_of = read_state(found).get("made_of", {})
        pictures = made_of.get("pictures")
        return pictures if made_of == self._made_of(pictures) else None

    def read(self) -> Album:
        """The album that is here (`pictures` is not None)."""
        found = settled(self.path)
        assert found is not None
        kept = read_folder(found)
        return Album(**{"opened": None, "opening": None, **kept.arrays, **kept.state["album"]})

    def keep(self, album: Album, pictures: str) -> None:
        """Put an album made of a dataset with this fingerprint here, unless the run is in use or cannot be written."""
        values = {field.name: getattr(album, field.name) for field in fields(album)}
        arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        state = {"step": self.checkpoint.step, "made_of": self._made_of(pictures), "album": numbers}
        with suppress(StorageError), TrainingRun.open(self.run, write=True):
            write_folder(self.path, arrays, state)

    def _made_of(self, pictures: str | None) -> dict[str, Any]:
        weights = self.checkpoint.sha256
        return {"software": __version__, "version": VERSION, "checkpoint": weights, "pictures": pictures}


def find_album(
    folder: AlbumFolder, pictures: FaceDataset | None, fingerprint: str, swapper: Swapper, progress: Progress
) -> Album | None:
    """The album in `folder` where it was made of the dataset with this fingerprint; else a new one of `pictures`, which
    is then kept there. None where it must be made anew and there are no pictures, or too few.
    """
    if folder.pictures == fingerprint:
        return folder.read()
    made = None if pictures is None else make_album(pictures, swapper, progress)
    return_free_memory()  # what the pictures were made of
    if made is not None:
        folder.keep(made, fingerprint)
    return made


def prepare_album(run: TrainingRun, person: str, progress: Progress) -> None:
    """Make a person's album for a run's best weights and keep it in the run, unless it is there.

    Whatever stands in its way is only warned of: conversion makes the album itself where there is none.
    """
    try:
        weights = run.load_best()
        if weights is None:
            return
        pictures = open_side(run, person, None)
        swapper = load_swapper(run, weights, person, ConvertOptions().batch)
        folder = AlbumFolder(run.path, person, weights)
        find_album(folder, pictures, pictures.fingerprint(), swapper, progress)
    except SwapError as error:
        progress.warn(f"the pictures of {person} that films take detail from are not prepared: {error}")
