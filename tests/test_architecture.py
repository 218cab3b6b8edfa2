"""The house's plan holds: imports point downward, stages meet only in folders, light files stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "faceswap_pipeline"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)

STAGES = ("extract", "masks", "train", "convert", "evaluate")
LEVELS = [
    {"errors", "options", "progress", "geometry", "imaging", "storage", "resources", "machine", "keras_loading"},
    {"dataset", "records", "run", "array_folder"},
    {"video", "detection", "backend", "parsing", "identity", "networks", "provenance", "report", "sync"},
    set(STAGES),
    {"workflows", "doctor", "demo", "outcome"},
    {"cli", "cli_options", "cli_progress"},
]
PURE = ("errors.py", "options.py", "progress.py", "geometry.py", "imaging.py")
HEAVY = {"tensorflow", "keras", "jax", "av", "mtcnn", "moviepy"}
KNOW_THE_BACKEND = {"backend.py", "train/gradients.py"}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(path: Path) -> set[tuple[str, str]]:
    """(room, module) of everything of ours that a file imports."""
    ours = [name.split(".") for name in imports(path) if name.startswith("faceswap_pipeline.")]
    known = set().union(*LEVELS)
    return {(parts[1], ".".join(parts[1:3])) for parts in ours if parts[1] in known}


def level(room: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if room in names)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_file_has_its_place_in_the_plan() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} <= set().union(*LEVELS)


@pytest.mark.parametrize("path", [path for path in FILES if path != PACKAGE / "__init__.py"], ids=name_of)
def test_imports_point_downward(path: Path) -> None:
    own = room_of(path)
    for room, module in rooms(path):
        if room == own or module == "video.info":  # the contracts speak of videos in the video layer's types
            continue
        assert level(room) <= level(own), f"{name_of(path)} imports {module} from above"
        assert not (room in STAGES and own in STAGES), f"{name_of(path)}: stages meet in folders, not in {module}"


def test_nobody_imports_the_command_line() -> None:
    for path in FILES:
        if not room_of(path).startswith("cli"):
            assert not any(room.startswith("cli") for room, _ in rooms(path)), name_of(path)


@pytest.mark.parametrize("name", PURE)
def test_pure_files_need_no_framework(name: str) -> None:
    assert not {module.split(".")[0] for module in imports(PACKAGE / name)} & HEAVY
    assert not {room for room, _ in rooms(PACKAGE / name)} & (LEVELS[1] | LEVELS[2])


def test_only_two_files_know_the_backend() -> None:
    knowing = {name_of(path) for path in FILES for name in imports(path) if name.split(".")[0] in ("tensorflow", "jax")}
    assert knowing <= KNOW_THE_BACKEND


def test_subpackages_are_empty_at_the_top() -> None:
    for path in FILES:
        if path.name == "__init__.py" and path.parent != PACKAGE:
            assert path.read_text().strip() == "", name_of(path)


def test_every_folder_of_code_is_a_package() -> None:
    for folder in {path.parent for path in FILES}:
        assert (folder / "__init__.py").is_file(), folder


@pytest.mark.parametrize("folder", ["models", "weights"])
def test_data_folders_hold_no_code(folder: str) -> None:
    assert not list((ROOT / folder).rglob("*.py"))


def test_options_and_the_bare_package_import_nothing_heavy() -> None:
    names = [f"faceswap_pipeline.{stage}.options" for stage in STAGES if (PACKAGE / stage / "options.py").is_file()]
    assert len(names) >= 4
    program = f"import sys, faceswap_pipeline, {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & (HEAVY | {"numpy", "cv2", "cyclopts", "rich"})


def test_library_code_neither_prints_nor_exits() -> None:
    for path in FILES:
        if room_of(path).startswith("cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in ("print", "exit", "quit", "input", "sys.exit"), f"{name_of(path)} calls {called}"


def test_files_open_by_saying_what_they_are() -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), name_of(path)
