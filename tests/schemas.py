"""The JSON schemas of docs/schema, for tests that check what stages really write."""

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parent.parent / "docs" / "schema"


def problems(name: str, value: Any) -> list[str]:
    """What of `value` the schema `name` does not allow, and keys that it does not describe, one line each."""
    schema = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    found = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]
    return found + [f"$.{key}: not described" for key in value if key not in schema["properties"]]


def file_problems(name: str, path: Path) -> list[str]:
    """The same of a JSON file, or of every line of a .jsonl file."""
    texts = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    assert texts
    return [problem for text in texts for problem in problems(name, json.loads(text))]
