"""The API reference, made from the docstrings: writes docs/api.md.

python docs/api_reference.py
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/api.md"

PUBLIC: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Despeckling": {
        "busaug": ("srad",),
        "busaug.ops.srad": ("quiet_window", "rodinia_v1", "uva"),
    },
    "Relevance": {
        "busaug": ("relevance", "register_rule"),
        "busaug.explain.relevance": ("RelevanceModel", "Relevance", "Record"),
    },
    "Style loss": {
        "busaug": ("style_loss", "GramTarget", "FeatureTarget"),
    },
    "In a training loop": {
        "busaug.training": ("StyledVariants", "RandomSrad"),
        "busaug.training.torchvision": ("RandomSrad",),
        "busaug.training.monai": ("RandSradd",),
        "busaug.training.albumentations": ("RandomSrad",),
    },
    "Catalogs and settings": {
        "busaug.data.catalog": ("Catalog", "Record"),
        "busaug.config": ("load_config",),
    },
    "Overlays": {
        "busaug.data.overlays": ("detect_overlays",),
    },
    "Errors": {
        "busaug.errors": ("BusaugError", "InputError", "OutputError"),
    },
}
"""What is promised: heading, the module to import from, names."""

_HEAD = """\
# API reference

Made from the docstrings by `docs/api_reference.py`. Everything else in the package may change
between releases. In shapes B is the batch, C or N channels, M positions, H and W height and width.
Formulas are in [method.md](method.md), with their sources.
"""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public function or class where it is written."""

    module: str
    name: str
    node: ast.FunctionDef | ast.ClassDef

    def lines(self) -> Iterator[str]:
        yield f"### `{self.module}.{self.name}`"
        yield ""
        if isinstance(self.node, ast.FunctionDef):
            yield from _function(self.node, self.name)
        else:
            yield from self._class(self.node)

    def _class(self, node: ast.ClassDef) -> Iterator[str]:
        methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
        if "__init__" in methods:
            yield from _code(_signature(methods["__init__"], self.name, bound=True))
        yield from _prose(node)
        if "__init__" in methods and ast.get_docstring(methods["__init__"]):
            yield from _prose(methods["__init__"])
        fields = list(_fields(node))
        if fields:
            yield "| field | type | |"
            yield "| --- | --- | --- |"
            for name, kind, text in fields:
                yield "| {} | {} | {} |".format(*map(_cell, (f"`{name}`", f"`{kind}`", text)))
            yield ""
        for name, method in methods.items():
            if (name == "__call__" or not name.startswith("_")) and ast.get_docstring(method):
                shown = f"{self.name}.{name}" if _is(method, "classmethod") else name
                yield from _code(_signature(method, shown, bound=True))
                yield from _prose(method)


def entries() -> Iterator[tuple[str, Entry]]:
    """(heading, entry) of everything public, in the order of the page."""
    for heading, modules in PUBLIC.items():
        for module, names in modules.items():
            for name in names:
                yield heading, Entry(module, name, _find(module, name))


def render() -> str:
    lines, last = [_HEAD], ""
    for heading, entry in entries():
        if heading != last:
            lines += [f"## {heading}", ""]
            last = heading
        lines += entry.lines()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _find(module: str, name: str) -> ast.FunctionDef | ast.ClassDef:
    """The definition, followed through the modules that import it."""
    base = ROOT / Path(*module.split("."))
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and name in (alias.name for alias in node.names):
            assert node.module is not None
            return _find(node.module, name)
    raise LookupError(f"{module} has no {name}")


def _function(node: ast.FunctionDef, name: str) -> Iterator[str]:
    yield from _code(_signature(node, name))
    yield from _prose(node)


def _is(node: ast.FunctionDef, decorator: str) -> bool:
    return any(ast.unparse(found).endswith(decorator) for found in node.decorator_list)


def _signature(node: ast.FunctionDef, name: str, *, bound: bool = False) -> str:
    """As one would call it: without ``self``; one parameter a line where a line is too short."""
    returns = ast.unparse(node.returns) if node.returns else ""
    if _is(node, "property"):
        return f"{name}: {returns}"
    tail = f" -> {returns}" if returns and node.name != "__init__" else ""
    parts = list(_parameters(node.args, skip=int(bound)))
    line = f"{name}({', '.join(parts)}){tail}"
    if len(line) <= 88:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){tail}"


def _parameters(found: ast.arguments, skip: int) -> Iterator[str]:
    """``name: type = default`` of each but the first ``skip``, stars between."""
    plain = [*found.posonlyargs, *found.args]
    absent: list[ast.expr | None] = [None] * (len(plain) - len(found.defaults))
    for argument, default in list(zip(plain, [*absent, *found.defaults], strict=True))[skip:]:
        yield _parameter(argument, default)
    if found.vararg or found.kwonlyargs:
        yield f"*{_parameter(found.vararg, None)}" if found.vararg else "*"
    for argument, default in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        yield _parameter(argument, default)
    if found.kwarg:
        yield f"**{_parameter(found.kwarg, None)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    equals = " = " if kind else "="
    return f"{argument.arg}{kind}" + (f"{equals}{ast.unparse(default)}" if default else "")


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """(name, type, docstring) of a dataclass's fields."""
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = " ".join(inspect.cleandoc(str(after.value.value)).split())
        yield field.target.id, ast.unparse(field.annotation), _marked(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> Iterator[str]:
    yield from ("```python", text, "```", "")


_TITLES = ("Args:", "Returns:", "Raises:", "Yields:")


def _prose(node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """The docstring as Markdown: sections in bold, their items as lists."""
    text = ast.get_docstring(node)
    if text is None:
        raise LookupError(f"{node.name} has no docstring")
    lines = _marked(text).splitlines()
    index = 0
    while index < len(lines):
        if lines[index] in _TITLES:
            title = lines[index]
            body = []
            index += 1
            while index < len(lines) and (not lines[index] or lines[index].startswith(" ")):
                body.append(lines[index])
                index += 1
            yield f"**{title[:-1]}**"
            yield ""
            yield from _items(textwrap.dedent("\n".join(body)).strip())
            yield ""
        else:
            yield lines[index]
            index += 1
    yield ""


def _items(body: str) -> Iterator[str]:
    """``name: text`` with its continuation lines as list items, all else as it is."""
    for line in body.splitlines():
        name, colon, text = line.partition(": ")
        if colon and name.replace("_", "").isalnum():
            yield f"- `{name}`: {text}"
        else:
            yield f"  {line.strip()}" if line.startswith(" ") else line


def _marked(text: str) -> str:
    """Names in single backquotes, as Markdown has them."""
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
