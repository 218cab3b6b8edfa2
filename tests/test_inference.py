"""Which backend runs networks where nothing is trained, and that OpenVINO makes the same of pictures as TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from faceswap_pipeline import backend
from faceswap_pipeline.errors import OptionError
from tests.inferred import inferred

ROOT = Path(__file__).parents[1]


def run_at(code: str, home: Path, backend: str = "", card: bool = False) -> str:
    """What `code` prints in a process of its own, for a user at `home`; `loading` is imported."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "KERAS_HOME": str(home)}
    environment |= {"KERAS_BACKEND": backend} if backend else {}
    code = f"{LOADING}; loading.has_nvidia_card = lambda: {card}; {code}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


LOADING = "import os, sys; from faceswap_pipeline import keras_loading as loading"
CHOSEN = "loading.choose_for_inference(); print(os.environ.get('KERAS_BACKEND'))"


def test_every_network_says_the_same_under_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    environment = {**os.environ, "KERAS_BACKEND": "openvino", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.inferred", str(tmp_path / "found.npz")]
    subprocess.run(command, check=True, env=environment, cwd=ROOT)
    with np.load(tmp_path / "found.npz") as found:
        for name, expected in inferred().items():
            assert expected.std() > 0.05, f"{name} would be the same whatever was computed"
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=2e-4, err_msg=name)


@pytest.mark.parametrize(
    ("chosen", "configured", "card", "expected"),
    [
        ("", "", False, "openvino"),
        ("", "tensorflow", False, "openvino"),  # Keras writes that by itself
        ("", "jax", False, None),
        ("", "", True, None),
        ("tensorflow", "", False, "tensorflow"),
        ("jax", "", False, "jax"),
    ],
)
def test_networks_run_on_openvino_unless_the_user_or_a_card_says_otherwise(
    chosen: str, configured: str, card: bool, expected: str | None, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    if configured:
        (tmp_path / "keras.json").write_text(f'{{"backend": "{configured}"}}')
    assert run_at(CHOSEN, tmp_path, chosen, card) == str(expected)


def test_openvino_reports_to_nobody_and_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = (
        "import socket; refused = []; socket.getaddrinfo = lambda *words, **named: refused.append(words); "
        "loading.choose_for_inference(); loading.import_keras(); import keras, scipy.signal, matplotlib.figure; "
        "assert keras.backend.backend() == 'openvino' and 'tensorflow' not in sys.modules; "
        "assert hasattr(scipy.signal, 'stft') and 'openvino_telemetry' not in sys.modules and not refused"
    )
    run_at(code, tmp_path)
    assert not (tmp_path / "intel").exists()


def test_without_openvino_networks_run_as_before(tmp_path: Path) -> None:
    assert run_at(f"sys.modules['openvino'] = None; {CHOSEN}", tmp_path) == "None"


def test_nothing_is_trained_under_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "backend_name", lambda: "openvino")
    with pytest.raises(OptionError, match="cannot train.*tensorflow or jax"):
        backend.compile_step(lambda: None, [])
