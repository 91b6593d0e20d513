"""run.toml and config.toml: settings in the sections [data], [model], [optimizer] and [training].

`read_config` names the closest key for one that is unknown and the key's own type for a value of
another; `config_text` writes what it reads back: the same config, whatever the texts hold.
"""

import tomllib
from pathlib import Path
from typing import Any

from backpass.cli.settings import RunConfig, Setting, Value, settings
from backpass.errors import ConfigError
from backpass.wording import did_you_mean, quote, quote_path

_MOST_BYTES = 1 << 20
_HEADER = "# The settings of this run. `backpass train --config` with this file repeats it.\n"


def read_config(path: Path) -> dict[str, Any]:
    """The settings that a file sets, by name, in their own types.

    Raises:
        ConfigError: the file cannot be read or parsed, or a key or value does not fit.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{quote_path(path)} has more than 1 MiB; it is no file of settings.")
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {quote_path(path)}.") from error
    except OSError as error:
        raise ConfigError(f"{quote_path(path)} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{quote_path(path)} is no TOML: {error or 'too deep'}.") from error
    return _settings_of(document, str(path))


def _settings_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    known = settings()
    sections = tuple(dict.fromkeys(setting.section for setting in known.values()))
    found: dict[str, Any] = {}
    for section, table in document.items():
        if section not in sections and section in known:
            wanted = known[section].section
            raise ConfigError(f"{name}: {section} belongs to the section [{wanted}].")
        if section not in sections:
            hint = did_you_mean(section, sections)
            raise ConfigError(f"{name}: there is no section {quote(section)}.{hint}")
        if not isinstance(table, dict):
            raise ConfigError(f"{name}: {section} is a section; write [{section}] on its own line.")
        for key, value in table.items():
            found[key] = _value(name, section, key, value, known)
    return found


def _value(name: str, section: str, key: str, value: Any, known: dict[str, Setting]) -> Value:
    setting = known.get(key)
    if setting is None:
        every = [k for k, s in known.items() if s.section == section]
        near = did_you_mean(key, [*every, *(k for k in known if k not in every)])
        raise ConfigError(f"{name}: [{section}] has no setting {quote(key)}.{near}")
    if setting.section != section:
        raise ConfigError(f"{name}: {key} belongs to the section [{setting.section}].")
    return setting.checked(value, f"{name}: {key}")


def config_text(config: RunConfig) -> str:
    """The file that `read_config` reads back as the same settings."""
    parts = [_HEADER]
    for section, values in config.by_section().items():
        lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value != ""]
        parts.append("\n".join([f"[{section}]", *lines]) + "\n")
    return "\n".join(parts)


def _toml(value: Value) -> str:
    """A value as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(map(_toml_character, value)) + '"'
        case tuple():
            return "[" + ", ".join(_toml(part) for part in value) + "]"


def _toml_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character < " " or character == "\x7f":
        return f"\\u{ord(character):04x}"
    return character
