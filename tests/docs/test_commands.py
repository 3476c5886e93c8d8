"""Commands in the documents: every one parses, and the tutorial's are run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from docs.commands import (
    DOCUMENTS,
    ROOT,
    blocks,
    options_of,
    parse,
    shell_blocks,
    shell_commands,
    spans,
)

from busaug.cli import app as program
from busaug.config import load_config
from busaug.data.phantom import write_phantoms

DOCUMENT = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
TUTORIAL = ROOT / "docs/tutorial.md"


@DOCUMENT
def test_every_command_of_a_block_parses(document: Path) -> None:
    for command in shell_commands(document):
        if command.arguments is None:
            assert command.words[0] != "busaug"
            continue
        try:
            _, given = parse(command.arguments)
            if "$" not in f"{given.get('preset')}{given.get('overrides')}":
                load_config(preset=given.get("preset") or "default", overrides=_set(given))
        except Exception as error:
            pytest.fail(f"{command}\n{error}")


@DOCUMENT
def test_every_command_within_a_sentence_names_options_that_exist(document: Path) -> None:
    for words in spans(document):
        if not words or words[0].startswith("-"):
            words = ["augment", *words]  # "busaug --set ...": an option that commands share
        found = options_of(words)
        used = {word.split("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
        if found is not None:
            assert used <= found[1], f"busaug {' '.join(words)}"


@DOCUMENT
def test_torchrun_is_given_options_that_it_has(document: Path) -> None:
    from torch.distributed.run import get_args_parser

    known = get_args_parser()
    for command in shell_commands(document):
        if "torchrun" not in command.words or command.arguments is None:
            continue
        words = command.words[command.words.index("torchrun") + 1 :]
        try:
            parsed = known.parse_args(words)
        except SystemExit:
            pytest.fail(f"{command}: torchrun refuses it")
        assert (parsed.module, parsed.training_script) == (True, "busaug"), command


@DOCUMENT
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash checks the blocks' syntax")
def test_bash_can_read_the_blocks(document: Path) -> None:
    for block in shell_blocks(document):
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert checked.returncode == 0, f"{block}\n{checked.stderr}"


@DOCUMENT
def test_settings_files_are_accepted(document: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(document, "yaml")):
        if block.startswith("# settings.yaml"):
            file = tmp_path / f"{number}.yaml"
            file.write_text(block)
            load_config(file)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("busaug augment a b --dry-runs", "No such option"),
        ("torchrun --nproc-per-node 2 -m busaug augment a b --wait 3", "No such option"),
        ("cd x && busaug explain a b", "Missing"),
        ("busaug augment a", "Missing"),
        ("busaug augment a b c", "unexpected extra argument"),
        ("busaug report r --rows many", "valid int"),
        ("busaug ingest a b", "no command 'ingest'"),
        ("busaug experiment walk a b", "no command 'walk'"),
    ],
)
def test_a_wrong_command_is_noticed(line: str, match: str, tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"Text.\n\n```\nexport A=1\n{line}  # comment\n```\n")
    last = list(shell_commands(document))[-1]
    assert last.arguments is not None
    with pytest.raises(Exception, match=match):
        parse(last.arguments)


def test_the_documents_show_the_commands_that_there_are() -> None:
    shown = {
        parse(command.arguments)[0]
        for document in DOCUMENTS
        for command in shell_commands(document)
        if command.arguments is not None
    }
    assert {"prepare", "augment", "verify", "train", "evaluate", "explain", "report"} <= shown


@pytest.mark.slow
def test_the_tutorial_runs_from_folder_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantoms(Path("Dataset_BUSI_with_GT"), 8, 64, seed=0)
    (text,) = blocks(TUTORIAL, "yaml")
    settings = yaml.safe_load(text)
    settings["seed"] = 0
    settings["style"] |= {"size": 32, "iterations": 4, "calibration_pairs": 2}
    settings["plan"] |= {"contents": 4}
    settings["train"] |= {"size": 32, "epochs": 1, "batch": 4}
    settings["gate"] = {"ssim_max": 1.0, "lesion_ssim_min": 0.0}  # a few evaluations change little
    settings["compute"] = {"threads": 1}
    Path("settings.yaml").write_text(yaml.safe_dump(settings))
    for command in shell_commands(TUTORIAL):
        assert command.arguments is not None
        arguments = ["random" if word == "imagenet" else word for word in command.arguments]
        assert _run(*arguments) == 0, command
    assert len(list(Path("variants/images").rglob("*.png"))) == 4
    page = Path("report.html").read_text(encoding="utf-8")
    for part in ("data", "augmented", "classifier", "relevance"):
        assert f'id="{part}"' in page


def _set(given: dict[str, object]) -> list[str]:
    """The --set options, those left out that stand for any (``KEY=VALUE``)."""
    found = given.get("overrides") or ()
    assert isinstance(found, (list, tuple))
    return [str(setting) for setting in found]


def _run(*arguments: str) -> int:
    """The exit code of the program, as a shell sees it."""
    with patch.object(sys, "argv", ["busaug", *arguments]):
        try:
            program.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
