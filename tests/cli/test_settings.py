"""One table of settings: defaults, flags, file, and the sentences about wrong values."""

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.processes import Cli

from backpass.cli.config_file import config_text, read_config
from backpass.cli.flags import flag
from backpass.cli.settings import RunConfig, Setting, settings
from backpass.errors import ConfigError

EACH = pytest.mark.parametrize("name", [field.name for field in fields(RunConfig)])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@EACH
def test_a_default_is_what_the_setting_allows(name: str) -> None:
    default = getattr(RunConfig(), name)
    if default != "":
        assert settings()[name].checked(default, name) == default


@EACH
def test_a_setting_has_a_flag_and_a_sentence(name: str, cli: Cli) -> None:
    setting = settings()[name]
    assert setting.help.endswith(".")
    shown = cli("train", "--help").out
    assert (flag(name) in shown) == (name != "source" and not setting.hidden)


@given(
    st.builds(
        RunConfig,
        source=TEXTS,
        target=TEXTS,
        ignore=st.lists(TEXTS).map(tuple),
        hidden=st.lists(st.integers(1, 65536)).map(tuple),
        lr=st.floats(1e-300, 1e300),
        swa=st.booleans(),
        seed=st.integers(0, 2**64 - 1),
        dropout=st.floats(0, 1, exclude_max=True),
    )
)
def test_the_file_is_read_back_as_the_same_config(config: RunConfig) -> None:
    text = config_text(config)
    assert tomllib.loads(text)
    path = Path("config.toml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda self: text.encode())
        patch.setattr(Path, "stat", lambda self: type("Stat", (), {"st_size": len(text)})())
        assert RunConfig.of(read_config(path)) == config


WRONG_FILES = {
    "[training]\nepoch = 3": "[training] has no setting 'epoch'. Did you mean 'epochs'?",
    "[model]\nlr = 0.1": "lr belongs to the section [optimizer].",
    "epochs = 3": "epochs belongs to the section [training].",
    "[trainig]\nepochs = 3": "there is no section 'trainig'. Did you mean 'training'?",
    "training = 3": "training is a section; write [training] on its own line.",
    "[training]\nepochs = '3'": "epochs is '3'; it must be a whole number.",
    "[training]\nepochs = 3.5": "epochs is 3.5; it must be a whole number.",
    "[training]\nepochs = true": "epochs is true; it must be a whole number.",
    "[training]\nswa = 1": "swa is 1; it must be true or false.",
    "[training]\nepochs = 0": "epochs is 0; it must be at least 1.",
    "[optimizer]\nlr = -0.1": "lr is -0.1; it must be above 0.",
    "[optimizer]\nlr = nan": "lr is nan; it must be a number.",
    "[optimizer]\noptimizer = 'adamW'": "optimizer is 'adamW'. Did you mean 'adamw'?",
    "[model]\nhidden = [64, '64x']": "hidden is [64, '64x']; it must be a list of whole numbers",
    "[model]\ndropout = 1": "dropout is 1.0; it must be below 1.",
    "[data]\nignore = 'a'\nsource = 3": "source is 3; it must be a text.",
    "[data": "is no TOML",
    "\x00": "is no TOML",
}


@pytest.mark.parametrize("text", WRONG_FILES, ids=lambda text: text.replace("\n", " ")[:40])
def test_a_wrong_file_gets_one_sentence(text: str, cli: Cli) -> None:
    Path("run.toml").write_text(text)
    ended = cli("train", "iris", "--config", "run.toml")
    assert ended.status == 2 and WRONG_FILES[text] in ended.err
    assert ended.err.startswith("backpass: ") and ended.err.count("\n") == 1
    assert "run.toml" in ended.err


WRONG_FLAGS = {
    ("--lr", "0"): "--lr is 0.0; it must be above 0.",
    ("--hidden", "64,x"): "--hidden is '64,x'; it must be a list of whole numbers",
    ("--hidden", "0"): "--hidden is 0; it must be at least 1.",
    ("--activation", "rleu"): "--activation is 'rleu'. Did you mean 'relu'?",
    ("--validation", "0.5", "--test", "0.5"): "together leave no rows for training",
    ("--swa", "--ema", "0.9"): "swa and ema are both set",
    ("--metrics", "acuracy"): "no metric is called 'acuracy'. Did you mean 'accuracy'?",
    ("--batch-size", "1"): "batch_norm needs at least two samples in a batch",
    ("--seed", "-1"): "--seed is -1; it must be at least 0.",
    ("--epochs", "many"): "Invalid value for '--epochs'",
    ("--epoch", "3"): "No such option: --epoch",
    ("--config", "absent.toml"): "There is no file 'absent.toml'.",
}


@pytest.mark.parametrize("flags", WRONG_FLAGS, ids=" ".join)
def test_a_wrong_flag_gets_one_sentence(flags: tuple[str, ...], cli: Cli) -> None:
    ended = cli("train", "iris", *flags)
    assert ended.status == 2 and WRONG_FLAGS[flags] in ended.err
    assert "Traceback" not in ended.err and not Path("runs").exists()


def test_flags_override_the_file(cli: Cli) -> None:
    Path("run.toml").write_text(
        "[data]\nsource = 'wine'\n[training]\nepochs = 3\nseed = 7\n[model]\nhidden = [4]"
    )
    ended = cli("train", "-c", "run.toml", "--epochs", 1, "--no-batch-norm", "-q", "-o", "run")
    assert ended.status == 0, ended.err
    written = RunConfig.of(read_config(Path("run/config.toml")))
    assert (written.source, written.epochs, written.seed) == ("wine", 1, 7)
    assert written.hidden == (4,) and not written.batch_norm


def test_a_whole_number_is_a_number_too() -> None:
    assert Setting("s", "number", "h").checked(1, "lr") == 1.0
    with pytest.raises(ConfigError, match="lr is true"):
        Setting("s", "number", "h").checked(True, "lr")
