"""Which backend Keras is imported on, and how: quickly, and without a word of the libraries beneath.

In: the environment. Out: Keras imported, or `KERAS_BACKEND` set for when it will be.
"""

import contextlib
import gc
import importlib
import json
import logging
import os
import sys
import tempfile
import types
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faceswap_pipeline.machine import has_nvidia_card

_KERAS_WITH_OPENVINO = (3, 14)
"""The first version whose OpenVINO backend has all that our networks use."""


def choose_for_inference() -> None:
    """Have Keras run on OpenVINO where `openvino_serves`, unless Keras is imported already.

    It loads in a quarter of TensorFlow's time and memory, and makes the same of a picture to a ten-thousandth.
    """
    if "keras" not in sys.modules and openvino_serves():
        os.environ["KERAS_BACKEND"] = "openvino"


def openvino_serves() -> bool:
    """Whether networks that only infer had best run on OpenVINO here.

    So it is unless the user chose a backend, there is an NVIDIA card, which OpenVINO does not use, or it is missing.
    """
    if "KERAS_BACKEND" in os.environ or has_nvidia_card():
        return False
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        chosen = json.loads((home / "keras.json").read_text("utf-8")).get("backend", "tensorflow")
    except (OSError, ValueError, AttributeError):
        chosen = "tensorflow"
    if chosen != "tensorflow" or tuple(map(int, version("keras").split(".")[:2])) < _KERAS_WITH_OPENVINO:
        return False
    try:
        with _hidden_modules():
            importlib.import_module("openvino")
    except (ImportError, OSError):
        return False
    return True


def import_quietly() -> None:
    """Import Keras and what it runs on; what their C++ parts write to standard error then is shown only on failure."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of compiling as many functions as we have
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            import_keras()
        except Exception:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def import_keras() -> None:
    """Import Keras, some of what it looks for hidden; the garbage collector never looks at what that brings.

    None of it becomes garbage, and the walks through its million objects cost a quarter of the import and a second at
    the end of every command. Nothing else is imported meanwhile.
    """
    gc.disable()
    try:
        with _hidden_modules():
            importlib.import_module("keras")
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _hidden_modules() -> Iterator[None]:
    """Nobody finds what costs an import and is of no use here, unless it is there already.

    Keras imports Matplotlib where it is installed, for pictures that nobody asks of it: a sixth of the import; and,
    under OpenVINO, SciPy's part for signals, for sounds: two fifths. OpenVINO's telemetry would leave a number for this
    user in the home folder and report the import to its makers.
    """
    missing: dict[str, Any] = {"matplotlib": None, "openvino_telemetry": None}
    empty = {"scipy.signal": types.ModuleType("scipy.signal")}
    hidden = {name: stand_in for name, stand_in in (missing | empty).items() if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
