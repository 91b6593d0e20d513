"""The commands, as typer reads them: each says what it takes and hands on to the room's modules.

Exit statuses and sentences are `failures`'; the flags of `train` come from the table in `settings`.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import backpass
from backpass.cli.config_file import read_config
from backpass.cli.evaluation import titles
from backpass.cli.failures import in_flags, status_of
from backpass.cli.flags import given, with_setting_flags
from backpass.cli.information import clear_cache, show_cache, show_machine, show_run
from backpass.cli.prediction import predict_to, refuse_same_file
from backpass.cli.run_model import RunModel
from backpass.cli.running import Display, resume, train
from backpass.cli.settings import RunConfig
from backpass.cli.terminal import console, metrics_table, note, without_nan
from backpass.data.wording import count

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="A file, or an embedded data set.", show_default=False),
]
_PROGRESS = {True: "none", False: "auto"}


def application() -> typer.Typer:
    """The commands as one typer application."""
    app = typer.Typer(
        name="backpass",
        help="Train, evaluate and use neural networks on tables; every gradient is exact.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    short = "Train a network on a table."
    app.command("train", short_help=short)(with_setting_flags(train_command))
    app.command("resume", short_help="Go on with a run that was interrupted.")(resume_command)
    app.command("evaluate", short_help="Measure a model on data.")(evaluate_command)
    app.command("predict", short_help="Predict the target for each row of data.")(predict_command)
    app.command("info", short_help="Show versions, or the settings of a run.")(info_command)
    cache = typer.Typer(no_args_is_help=True, help="The compiled code that is kept on disk.")
    cache.command("info", short_help="Show where it is and how much.")(cache_info_command)
    cache.command("clear", short_help="Delete it.")(cache_clear_command)
    app.add_typer(cache, name="cache")
    return app


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"backpass {backpass.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def train_command(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="digits, breast-cancer, wine, iris, diabetes, or a .csv, .tsv, .parquet, .npy or "
            ".npz file.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A TOML file of settings; flags override it."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The run folder. A finished run there is replaced when the new one has finished. "
            "[default: runs/NAME-NUMBER]",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew where a run has not finished.")
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
    **flags: Any,
) -> None:
    """Train a network on a table; write the run folder with model, metrics and report."""

    def run() -> None:
        found = {} if config is None else read_config(config)
        if source is not None:
            found["source"] = source
            found.pop("data_sha256", None)
        settings = RunConfig.of({**found, **given(flags)})
        train(settings, output, overwrite, Display(console(quiet), _PROGRESS[quiet]))

    raise typer.Exit(status_of(run, debug=debug))


def resume_command(run: Run, quiet: Quiet = False, debug: Debug = False) -> None:
    """Go on with a run that was interrupted; it ends as if it had not been."""

    def go_on() -> None:
        resume(run, Display(console(quiet), _PROGRESS[quiet]))

    raise typer.Exit(status_of(go_on, debug=debug))


def evaluate_command(
    run: Run,
    data: Data,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object of JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Measure a trained model on data that have the target column."""

    def measure() -> None:
        model = RunModel.read(run)
        table, messages = model.table(data)
        found, rows = model.evaluate(table)
        if as_json:
            typer.echo(json.dumps({**without_nan(found), "rows": rows}))
        else:
            names = model.saved.metrics
            metrics_table(console(), {count(rows, "row"): found}, titles(names))
        for message in messages:
            note(in_flags(message))

    raise typer.Exit(status_of(measure, debug=debug, trained=True))


def predict_command(
    run: Run,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The CSV to write; standard output if not given."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Predict the target for each row of data, as CSV in the order of the rows."""

    def write() -> None:
        refuse_same_file(data, output)
        model = RunModel.read(run)
        table, messages = model.table(data)
        rows = predict_to(model, table, output)
        for message in messages:
            note(in_flags(message))
        if output is not None:
            note(f"{count(rows, 'prediction')} in {output}", label="")

    raise typer.Exit(status_of(write, debug=debug, trained=True))


def info_command(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Show versions, processor, threads and caches; or the settings and metrics of a run."""

    def show() -> None:
        if run is None:
            show_machine(console())
        else:
            show_run(console(), run)

    raise typer.Exit(status_of(show, debug=debug))


def cache_info_command(debug: Debug = False) -> None:
    """Show the folder of the compiled code, and how many files and bytes are in it."""
    raise typer.Exit(status_of(lambda: show_cache(console()), debug=debug))


def cache_clear_command(debug: Debug = False) -> None:
    """Delete the compiled code; what is needed again is compiled again."""
    raise typer.Exit(status_of(lambda: clear_cache(console()), debug=debug))
