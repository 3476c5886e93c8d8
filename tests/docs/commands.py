"""The commands that documents show, as a shell would read them."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from busaug.cli.app import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(busaug(?: [^`\n]+)?)`")
_STARTERS = frozenset({"busaug", "torchrun", "horovodrun", "srun", "python", "mpirun"})
"""Programs that ``busaug`` may be, or be started by."""
_ASSIGNMENT = re.compile(r"\w+=\S*")


@dataclasses.dataclass(frozen=True)
class Command:
    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join(self.words)}"

    @property
    def arguments(self) -> list[str] | None:
        """What ``busaug`` is given, or None where this starts something else."""
        if self.words[0] not in _STARTERS or "busaug" not in self.words:
            return None
        return list(self.words[self.words.index("busaug") + 1 :])


def blocks(document: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages ("": none told)."""
    found = _BLOCK.findall(document.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def shell_blocks(document: Path) -> list[str]:
    return blocks(document, "", "sh", "bash", "shell")


def shell_commands(document: Path) -> Iterator[Command]:
    """The simple commands of all shell blocks, in order."""
    for block in shell_blocks(document):
        for line in block.replace("\\\n", " ").splitlines():
            for words in _simple(line):
                yield Command(document.name, words)


def spans(document: Path) -> Iterator[list[str]]:
    """The words after ``busaug`` of commands within sentences."""
    prose = _BLOCK.sub("", document.read_text(encoding="utf-8"))
    for span in _SPAN.findall(prose):
        yield shlex.split(span)[1:]


def _simple(line: str) -> Iterator[tuple[str, ...]]:
    """The simple commands of a line, without assignments, redirections and keywords."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.wordchars += "${},:[]@%+^"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set(";|&()"):
            while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] in ("do", "then", "time")):
                del words[0]
            if words:
                yield tuple(words)
            words = []
        elif words and set(words[-1]) <= set("<>"):
            words[-1:] = []  # a redirection and its file
        else:
            words.append(word)


def parse(arguments: Sequence[str], command: Any = None) -> tuple[str, dict[str, Any]]:
    """The command's name and parameters, as the program parses them; nothing is run.

    Raises the parser's usage error for an unknown command or option, a missing or surplus argument,
    or a value of the wrong type.
    """
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        return command.name, command.make_context(command.name, list(arguments)).params
    parser = command.make_parser(command.context_class(command))
    _, rest, _ = parser.parse_args(list(arguments))
    if not rest or rest[0] not in command.commands:
        raise ValueError(f"no command {' '.join(rest[:1])!r} of {command.name}")
    return parse(rest[1:], command.commands[rest[0]])


def options_of(words: Sequence[str]) -> tuple[str, set[str]] | None:
    """The command that the first words name and its options; None where they name a group.

    Raises ValueError for an unknown command.
    """
    command: Any = typer.main.get_command(app)
    name = "busaug"
    for word in words:
        if not hasattr(command, "commands"):
            break
        if word not in command.commands:
            raise ValueError(f"no command {word!r} of {name}")
        command, name = command.commands[word], word
    if hasattr(command, "commands"):
        return None
    own = {text for option in command.params for text in (*option.opts, *option.secondary_opts)}
    return name, {*own, "--help", "-h"}
