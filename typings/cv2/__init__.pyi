# OpenCV's own types forget the dtype of every array they return; any is closer to the truth for a checker.
from typing import Any

def __getattr__(name: str) -> Any: ...
