"""The options of `backpass train`: made from the table of settings, one flag each.

typer reads a function's signature; `with_setting_flags` gives it one that has every setting, so the
command line never knows a setting by name. A flag that is not given is None and leaves the file's
value, or the default.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from backpass.cli.settings import RunConfig, Setting, settings

_TYPES: Mapping[str, Any] = {
    "text": str | None,
    "whole": int | None,
    "number": float | None,
    "switch": bool | None,
    "wholes": str | None,
    "texts": list[str] | None,
}
_METAVARS = {"text": "TEXT", "whole": "N", "number": "X", "wholes": "N,N,...", "texts": "NAME"}
_COMMA_LISTS = ("metrics",)  # names that hold no comma; column names may


def flag(name: str) -> str:
    """How the command line calls a setting: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")


def metavar(setting: Setting) -> str:
    """What stands for the value of a setting in its help; "" for a switch."""
    return "|".join(setting.choices) or _METAVARS.get(setting.kind, "")


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the command line gave, checked; errors name the flag."""
    known = settings()
    found: dict[str, Any] = {}
    for name, value in flags.items():
        if name in known and value is not None and value != []:
            if name in _COMMA_LISTS:
                value = [part.strip() for text in value for part in text.split(",")]
            found[name] = known[name].checked(value, flag(name))
    return found


def with_setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each setting but `source`, which is its argument."""
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    defaults = RunConfig()
    added = [
        _parameter(name, setting, getattr(defaults, name))
        for name, setting in settings().items()
        if name != "source" and not setting.hidden
    ]

    def with_flags(**arguments: Any) -> None:
        command(**arguments)

    with_flags.__doc__ = command.__doc__
    with_flags.__signature__ = signature.replace(parameters=[*own, *added])
    return with_flags


def _parameter(name: str, setting: Setting, default: Any) -> inspect.Parameter:
    names = [flag(name)]
    if setting.kind == "switch":
        names = [f"{names[0]}/--no-{names[0][2:]}"]
    option = typer.Option(
        *names,
        help=f"{setting.help}{_default_words(setting, default)}",
        metavar=metavar(setting) or None,
        show_default=False,
        rich_help_panel=setting.section.capitalize(),
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    annotation = Annotated[_TYPES[setting.kind], option]
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _default_words(setting: Setting, default: Any) -> str:
    if default in ("", ()):
        return ""
    if setting.kind == "switch":
        return f" [default: {'on' if default else 'off'}]"
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f" [default: {shown}]"
