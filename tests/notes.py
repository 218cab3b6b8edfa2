"""A reporter that keeps what it is told; no test."""

from faceswap_pipeline.progress import Progress


class Notes(Progress):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note
