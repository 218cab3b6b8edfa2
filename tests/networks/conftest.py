"""What every test of networks gets: the same starting weights each time, so that a verdict never depends on luck."""

import keras
import pytest


@pytest.fixture(autouse=True)
def seed() -> None:
    keras.utils.set_random_seed(0)
