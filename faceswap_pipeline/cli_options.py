"""From an options dataclass to flags, help and error lines; imported by `cli.py` only.

In: a function with a keyword-only argument annotated with an `Options` class. Out: the same function with one flag per
field, whose help is the docstring under the field, its range, choices and default.
"""

import ast
import difflib
import functools
import inspect
import shlex
import textwrap
import tomllib
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    Token,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.config import Toml

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.options import Between, Options, flag


@dataclass(frozen=True)
class CommonOptions(Options):
    """What every verb takes."""

    config: Path | None = None
    """TOML file with a table per verb, such as [train] time = '20m'; flags win over it."""
    json: bool = False
    """Print the outcome, or the error, as one JSON object on standard output, and nothing else there."""
    quiet: bool = False
    """Say nothing on the way; warnings and errors are still printed."""
    verbose: bool = False
    """Also print versions and options, what TensorFlow and others say, and where an error was raised."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quiet and self.verbose:
            raise OptionError("--quiet and --verbose contradict each other: leave one out")


def with_option_flags(verb: Callable[..., Any]) -> Callable[..., Any]:
    """`verb` with its argument of an `Options` class replaced by one flag per field; the options are built when called.

    Building them raises OptionError where a value breaks its field's range or choice.
    """
    signature = inspect.signature(verb)
    wanted = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, Options)
    }
    parameters = [parameter for name, parameter in signature.parameters.items() if name not in wanted]
    for options_class in wanted.values():
        parameters += option_parameters(options_class)

    @functools.wraps(verb)
    def run(*positional: Any, **given: Any) -> Any:
        for name, options_class in wanted.items():
            own = {field.name: given.pop(field.name) for field in fields(options_class) if field.name in given}
            given[name] = options_class(**own)
        return verb(*positional, **given)

    run.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # pyright: ignore[reportAttributeAccessIssue]
    return run


@functools.cache  # some classes belong to many verbs
def option_parameters(options_class: type[Options]) -> tuple[inspect.Parameter, ...]:
    """One keyword-only parameter per field of an options class, with its default and its help."""
    hints = typing.get_type_hints(options_class, include_extras=True)
    texts = field_docstrings(options_class)
    parameters = []
    for field in fields(options_class):
        hint = _without_metadata(hints[field.name])
        kinds = set(typing.get_args(hint)) | {hint}
        limits = range_text(hints[field.name])
        several = typing.get_origin(hint) is tuple
        shown = field.default not in (None, (), "") and field.default is not False
        style = Parameter(
            name=flag(field.name),
            help=texts.get(field.name, "")
            + (f" [range: {limits}]" if limits else "")
            + (" [several: repeat the flag]" if several else ""),
            negative="--no-" + flag(field.name)[2:] if field.default is True else (),
            show_default=", ".join if shown and several else shown,
            converter=_whole_number if int in kinds and not several else None,
        )
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(field.name, kind, default=field.default, annotation=Annotated[hint, style]))
    return tuple(parameters)


def field_docstrings(options_class: type[Options]) -> dict[str, str]:
    """The string literal under each field of the class and its bases, on one line, by field name."""
    texts: dict[str, str] = {}
    for base in reversed(options_class.__mro__):
        if not issubclass(base, Options) or base is Options:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                    texts[statement.target.id] = " ".join(str(following.value.value).split())
    return texts


def range_text(hint: Any) -> str:
    """`0 to 1` or `at least 0` from an annotation; nothing when it states no range."""
    return next((str(extra) for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Between)), "")


def read_config(app: App, arguments: Iterable[str]) -> Toml | None:
    """The file that `--config` names among the arguments, ready for `app.config`.

    Raises OptionError when it is missing, no TOML, or has a table for no verb.
    """
    tokens = list(arguments)
    path = None
    for token, following in zip(tokens, [*tokens[1:], ""], strict=False):
        if token == "--":
            break
        if token == "--config" and following:
            path = Path(following)
        elif token.startswith("--config="):
            path = Path(token.removeprefix("--config="))
    if path is None:
        return None
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"--config is '{path}': {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"--config is '{path}', which is no TOML: {error}") from error
    verbs = [name for name in app if not name.startswith("-")]
    unknown = sorted(set(tables) - set(verbs))
    if unknown:
        raise OptionError(f"{path}: '{unknown[0]}' is no verb: expected tables named {', '.join(verbs)}")
    return Toml(path)


def usage_line(error: CycloptsError) -> str:
    """One line that names the option, the value and what was expected."""
    error.verbose = False
    if isinstance(error, CoercionError) and error.token is not None and error.argument is not None:
        return f"{error.argument.name} is '{error.token.value}': expected {_expected(error)}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        verb = " ".join(error.command_chain or ())
        if error.argument.tokens or any(token.endswith(name) for token in error.root_input_tokens or ()):
            return f"{name} needs a value: {error.argument.parameter.help or ''}".strip()
        return f"`swap {verb}` needs {name}: {error.argument.parameter.help or ''} `swap {verb} --help` shows all"
    line = " ".join(("swap", *(error.command_chain or ()), "--help"))
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return f"{_no_verb(error.unused_tokens[0], error.app)}; `{line}` lists them all"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        extra = " ".join(error.unused_tokens)
        return f"'{extra}' is more than can be used here: put what contains blanks in quotes; `{line}` shows what can"
    text = " ".join(str(error).replace('"', "'").split())
    return f"{text} `{line}` lists them all" if isinstance(error, UnknownOptionError) else text


def _no_verb(word: str, app: App | None) -> str:
    """What is said of a first word that is no verb."""
    if Path(word).exists():
        return f"'{word}' is no verb: to find the faces in it, `swap extract {shlex.quote(word)}`"
    near = difflib.get_close_matches(word, [name for name in app or () if not name.startswith("-")], n=1)
    return f"'{word}' is no verb" + (f": did you mean {near[0]}?" if near else "")


def _expected(error: CoercionError) -> str:
    assert error.argument is not None
    kinds = typing.get_args(error.argument.hint) or (error.argument.hint,)
    if typing.get_origin(error.target_type) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(error.target_type)))
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    noun = next((name for kind, name in names.items() if kind in kinds), "another kind of value")
    limits = str(error.argument.parameter.help or "").partition("[range: ")[2].rstrip("]")
    return f"{noun} from {limits}" if " to " in limits else f"{noun} {limits}".strip()


def _whole_number(kind: Any, tokens: Sequence[Token]) -> int:
    """Only whole numbers: `2.5` is an error, not 2."""
    return int(tokens[0].value)


def _without_metadata(hint: Any) -> Any:
    return hint.__origin__ if typing.get_origin(hint) is Annotated else hint
