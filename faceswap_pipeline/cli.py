"""The command line: flags -> options -> one function -> exit status. Nothing imports this file.

In: the arguments after `swap`. Out: 0 done, 1 and 3 the negative answers of `verify` and `evaluate`, 2 something the
user can mend (one line), 70 a bug of ours (traceback), 130 interrupted; with `--json` one JSON object on standard
output, whatever happened. Everything heavy is imported inside the verbs, so that `swap --help` answers at once.
"""

import contextlib
import itertools
import json
import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from faceswap_pipeline import __version__
from faceswap_pipeline.errors import OptionError, SwapError

if TYPE_CHECKING:
    from cyclopts import App

    from faceswap_pipeline.cli_options import CommonOptions

_USAGE = 2
_BUG = 70
_INTERRUPTED = 130
VERBS = (
    *("demo", "extract", "masks", "pack", "train", "pretrain", "convert"),
    *("evaluate", "verify", "info", "doctor", "push", "pull", "completion"),
)
"""In the order of the help."""
_HELP = """Two videos in, one video out: person A's performance with person B's face.

To see it work on two rendered people: swap demo

The four lines that make a film:

    swap extract video_a.mp4
    swap extract video_b.mp4
    swap train --a faces_a --b faces_b
    swap convert"""


def run() -> NoReturn:
    """What the command `swap` is: `main`, and out at once.

    By then all files are whole and closed; to take Python and TensorFlow down in order would cost half a second.
    """
    status = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (default: this process's) and return the exit status."""
    tokens = sys.argv[1:] if arguments is None else list(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if "--verbose" in tokens else "3")
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = _run(tokens)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        again = ["swap", *(token for token in tokens if token not in ("--redo", "--no-redo"))]
        _say("\nstopped; everything finished is kept. This line goes on from there:\n    " + shlex.join(again))
        return _failed(tokens, _INTERRUPTED, "Interrupted", "stopped; everything finished is kept")
    except SwapError as error:
        return _report_mendable(tokens, error)
    except BrokenPipeError:
        # The reader of our output has gone (`swap info ... | head`); what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _report_storage(tokens, error)
    except Exception as error:
        return _report_bug(tokens, error)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(tokens: list[str]) -> int:
    from cyclopts import CycloptsError

    from faceswap_pipeline.cli_options import read_config, usage_line

    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    app = build_app()
    config = read_config(app, tokens)
    if config is not None:
        app.config = (config,)
    try:
        verb, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise OptionError(usage_line(error)) from error
    return verb(*bound.args, **bound.kwargs) or 0


def build_app() -> "App":
    """All verbs with their flags; imports only the light options of the stages."""
    from cyclopts import App, Parameter

    from faceswap_pipeline.cli_options import CommonOptions, with_option_flags
    from faceswap_pipeline.convert.options import ConvertOptions
    from faceswap_pipeline.extract.options import ExtractOptions
    from faceswap_pipeline.masks.options import MaskOptions
    from faceswap_pipeline.train.options import PretrainOptions, TrainOptions

    app = App(
        name="swap",
        help=_HELP,
        help_format="plaintext",
        version=f"swap {__version__}",
        default_parameter=Parameter(negative=()),
    )

    @app.command
    @with_option_flags
    def extract(
        *inputs: Annotated[Path, Parameter(help="Videos, pictures or folders of pictures of one person.")],
        out: Annotated[Path | None, Parameter(help="Dataset folder. [default: faces_X for video_X.mp4]")] = None,
        redo: Annotated[bool, Parameter(help="Start anew; the old folder is kept.", show_default=False)] = False,
        options: ExtractOptions,
        common: CommonOptions,
    ) -> None:
        """Find the faces of a video and their masks; writes a dataset folder."""
        from faceswap_pipeline import outcome, workflows

        if not inputs:
            raise OptionError("extract needs at least one video, picture or folder of pictures")
        workflows.check_inputs(inputs, out)
        progress = _begin(common, inputs, options, trains=False)
        made = workflows.extract(inputs, out, options, redo=redo, progress=progress)
        _end(common, outcome.dataset_outcome(made))

    @app.command
    @with_option_flags
    def masks(
        dataset: Annotated[Path, Parameter(help="Dataset folder.")],
        /,
        *,
        redo: Annotated[bool, Parameter(help="Make those again that are there.", show_default=False)] = False,
        options: MaskOptions,
        common: CommonOptions,
    ) -> None:
        """Make the masks of a dataset again, with other options."""
        from faceswap_pipeline import outcome, workflows

        workflows.check_datasets([dataset])
        progress = _begin(common, options, trains=False)
        from faceswap_pipeline.masks.stage import make_masks

        _end(common, outcome.dataset_outcome(make_masks(dataset, options, redo=redo, progress=progress)))

    @app.command
    @with_option_flags
    def train(
        *,
        a: Annotated[Path, Parameter(help="Dataset of the person whose performance stays.")],
        b: Annotated[Path, Parameter(help="Dataset of the person whose face is wanted.")],
        out: Annotated[Path | None, Parameter(help="Run folder. [default: runs/a-b for faces_a and faces_b]")] = None,
        consent: Annotated[Path | None, Parameter(help="TOML file: who agreed, to what, when, the evidence.")] = None,
        storage: Annotated[
            Path | None, Parameter(help="Folder that outlives this machine: the run is copied there at each save.")
        ] = None,
        options: TrainOptions,
        common: CommonOptions,
    ) -> None:
        """Learn the two faces, or go on learning; writes a run folder."""
        from faceswap_pipeline import outcome, workflows

        workflows.check_datasets([a, b])
        progress = _begin(common, options)
        given = {"consent": consent, "storage": storage}
        _end(common, outcome.run_outcome(workflows.train(a, b, out, options, **given, progress=progress)))

    @app.command
    @with_option_flags
    def pretrain(
        *,
        faces: Annotated[
            tuple[Path, ...],
            Parameter(help="Folders of rendered people, or datasets of one person each.", consume_multiple=True),
        ],
        out: Annotated[Path, Parameter(help="The file to write; the work lies in a run folder beside it.")],
        options: PretrainOptions,
        common: CommonOptions,
    ) -> None:
        """Make base weights from many people, for swaps to start from; writes a file."""
        from faceswap_pipeline import workflows

        made = workflows.pretrain(faces, out, options, progress=_begin(common, options))
        _end(common, {"file": str(made)})

    @app.command
    @with_option_flags
    def convert(
        video: Annotated[
            Path | None, Parameter(help="The video to change. [default: every video of the run's dataset A]")
        ] = None,
        /,
        *,
        run: Annotated[Path | None, Parameter(help="Run folder. [default: the newest in ./runs]")] = None,
        out: Annotated[
            Path | None, Parameter(help="Film to write, or a folder. [default: video_a_swapped.mp4 for video_a.mp4]")
        ] = None,
        frames: Annotated[
            Path | None, Parameter(help="New folder for the swapped faces as PNGs with alpha, and their matrices.")
        ] = None,
        identity: Annotated[
            Path | None, Parameter(help="Folder with key.pem and certificate.pem to sign with. [default: own]")
        ] = None,
        time_authority: Annotated[
            str, Parameter(help="Address of a time-stamp server for the signature.", show_default=False)
        ] = "",
        options: ConvertOptions,
        common: CommonOptions,
    ) -> None:
        """Put B's face into A's video; writes a film."""
        from faceswap_pipeline import outcome, workflows

        if video is not None:
            workflows.check_inputs([video])
        run = workflows.find_run(run).path
        progress = _begin(common, options, trains=False)
        paths = {"frames": frames, "identity": identity, "time_authority": time_authority}
        _end(common, outcome.films_outcome(workflows.convert(video, run, out, options, **paths, progress=progress)))

    _add_judging_verbs(app)
    _add_other_verbs(app)
    for position, verb in enumerate(VERBS):
        app[verb].sort_key = position
    return app


def _add_judging_verbs(app: "App") -> None:
    """Those that look at what is there and say what it is worth."""
    from cyclopts import Parameter

    from faceswap_pipeline.cli_options import CommonOptions, with_option_flags
    from faceswap_pipeline.evaluate.options import EvaluateOptions

    @app.command
    @with_option_flags
    def evaluate(
        film: Annotated[Path, Parameter(help="A film that `swap convert` made, with its sidecar beside it.")],
        /,
        *,
        truth: Annotated[Path | None, Parameter(help="The true swap of a rendered pair, to compare with.")] = None,
        mask: Annotated[Path | None, Parameter(help="Clip that is white where the true face is.")] = None,
        source: Annotated[Path | None, Parameter(help="The film before the swap, where it has moved.")] = None,
        out: Annotated[Path | None, Parameter(help="Folder of the report. [default: the current one]")] = None,
        options: EvaluateOptions,
        common: CommonOptions,
    ) -> int:
        """Say in figures how good a swapped film is. Status 1: worse than a --fail-below."""
        from faceswap_pipeline import workflows

        workflows.check_inputs([film])
        progress = _begin(common, options, trains=False)
        found = workflows.evaluate(film, out, options, truth=truth, mask=mask, source=source, progress=progress)
        _end(common, found.record, *found.lines())
        return found.status

    @app.command
    @with_option_flags
    def verify(
        file: Annotated[Path, Parameter(help="A film or picture, whatever happened to it since.")],
        /,
        *,
        common: CommonOptions,
    ) -> int:
        """Say whether a film or picture was made with swap. Status 0: yes, 1: no sign, 3: altered since signed."""
        from faceswap_pipeline import workflows

        _begin(common, backend=False)
        found = workflows.verify(file)
        _end(common, found.to_json(), *found.words())
        return found.status

    @app.command
    @with_option_flags
    def info(
        folder: Annotated[Path, Parameter(help="Dataset folder, packed dataset or run folder.")],
        /,
        *,
        common: CommonOptions,
    ) -> None:
        """Say in ten lines what a dataset or run folder holds."""
        from faceswap_pipeline import outcome, workflows

        if common.json:
            _end(common, outcome.folder_outcome(workflows.open_folder(folder)))
        else:
            _end(common, None, *workflows.describe(folder))

    @app.command
    @with_option_flags
    def doctor(
        video: Annotated[
            Path | None, Parameter(help="A video to look at too: time, disk and memory it takes here.")
        ] = None,
        /,
        *,
        common: CommonOptions,
    ) -> int:
        """Say what this machine, this install and a video can do. Status 1: something is missing."""
        from faceswap_pipeline.doctor import examine, examine_video

        with contextlib.suppress(ImportError):  # which is one of the findings
            _begin(common)
        findings = []
        for finding in itertools.chain(examine(), examine_video(video) if video else ()):
            findings.append(finding)
            if not common.json and (finding.remedy or not common.quiet):
                print(finding.line(), flush=True)
        if common.json:
            _end(common, {"findings": [vars(finding) for finding in findings]})
        return int(any(finding.remedy for finding in findings))


def _add_other_verbs(app: "App") -> None:
    """Those that serve the others."""
    from cyclopts import Parameter

    from faceswap_pipeline.cli_options import CommonOptions, with_option_flags
    from faceswap_pipeline.demo import DemoOptions

    @app.command
    @with_option_flags
    def demo(
        *,
        out: Annotated[Path, Parameter(help="Folder in which all of it happens.")] = Path("demo"),
        options: DemoOptions,
        common: CommonOptions,
    ) -> None:
        """Swap the rendered pair that comes with the program, in some ten minutes; writes everything into ./demo."""
        from faceswap_pipeline.demo import run_demo

        made = run_demo(out, options, progress=_begin(common, options))
        _end(common, made.to_json(), "", *made.lines())

    @app.command
    @with_option_flags
    def pack(
        dataset: Annotated[Path, Parameter(help="Dataset folder.")],
        /,
        *,
        out: Annotated[Path | None, Parameter(help="The file to write. [default: DATASET.zip]")] = None,
        common: CommonOptions,
    ) -> None:
        """Put a dataset into one zip file, which every verb opens in the folder's place."""
        from faceswap_pipeline import workflows

        made = workflows.pack(dataset, out)
        _end(common, {"file": str(made)}, *(() if common.quiet else (f"packed: {made}",)))

    @app.command
    @with_option_flags
    def push(
        *paths: Annotated[Path, Parameter(help="Datasets, runs and files, as seen from the current folder.")],
        storage: Annotated[Path, Parameter(help="Folder that outlives this machine, such as a mounted drive.")],
        common: CommonOptions,
    ) -> None:
        """Copy datasets (as one zip each), runs and files to a storage folder; a kill at any moment does no harm."""
        from faceswap_pipeline import sync

        sync.push(paths, storage, _begin(common, backend=False))
        _end(common, {"storage": str(storage), "paths": [str(path) for path in paths]})

    @app.command
    @with_option_flags
    def pull(
        *paths: Annotated[Path, Parameter(help="Datasets, runs and files, as seen from the current folder.")],
        storage: Annotated[Path, Parameter(help="The folder that `swap push` copied them to.")],
        common: CommonOptions,
    ) -> None:
        """Bring back from a storage folder what is missing here, and runs that were trained further."""
        from faceswap_pipeline import sync

        sync.pull(paths, storage, _begin(common, backend=False))
        _end(common, {"storage": str(storage), "here": [str(path) for path in paths if path.exists()]})

    @app.command
    def completion(
        shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell that is to complete them.")], /
    ) -> None:
        """Print what teaches a shell to complete our words, as in: source <(swap completion bash)."""
        print(app.generate_completion(shell=shell))


def _begin(common: "CommonOptions", *asked: Any, backend: bool = True, trains: bool = True) -> Any:
    """Import what computes, and return the reporter for the way; `asked` is what `--verbose` repeats.

    A verb that `trains` nothing runs its networks on what is quickest to load for that.
    """
    from faceswap_pipeline.cli_progress import make_progress
    from faceswap_pipeline.keras_loading import choose_for_inference, import_keras, import_quietly

    progress = make_progress(quiet=common.quiet or common.json)
    if common.verbose:
        _say(f"swap {__version__}, Python {sys.version.split()[0]}, {sys.platform}; {', '.join(map(repr, asked))}")
    if not trains:
        choose_for_inference()
    if backend and common.verbose:
        import_keras()
    elif backend:
        import_quietly()
    return progress


def _end(common: "CommonOptions", values: Any, *lines: str) -> None:
    """Print the outcome: as JSON, or as lines."""
    for line in (_to_json(values),) if common.json else lines:
        print(line)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _report_mendable(tokens: list[str], error: SwapError) -> int:
    if "--verbose" in tokens:
        traceback.print_exception(error)
    _say(f"swap: {error}")
    return _failed(tokens, _USAGE, type(error).__name__, str(error))


def _report_storage(tokens: list[str], error: OSError) -> int:
    """The disk's troubles are the user's to mend wherever they show; any other OSError is a bug."""
    from faceswap_pipeline.storage import storage_errors

    try:
        with storage_errors(Path(error.filename or ".")):
            raise error
    except SwapError as plain:
        return _report_mendable(tokens, plain)
    except OSError:
        return _report_bug(tokens, error)


def _report_bug(tokens: list[str], error: Exception) -> int:
    traceback.print_exception(error)
    _say(
        f"swap: this is a bug of ours (swap {__version__}, Python {sys.version.split()[0]}, {sys.platform}). "
        "Please report it as an issue of the project, with the lines above and the command."
    )
    return _failed(tokens, _BUG, type(error).__name__, str(error))


def _failed(tokens: list[str], status: int, kind: str, message: str) -> int:
    """The exit status; with `--json` also what went wrong, for programs."""
    if "--json" in tokens:
        print(_to_json({"error": {"kind": kind, "message": message, "status": status}}), flush=True)
    return status


def _to_json(values: Any) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False, default=str)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run()
