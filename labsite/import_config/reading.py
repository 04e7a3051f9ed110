"""Reading the replaced programs' files: TOML, YAML, .env, and constants of a Python program, never run."""

import ast
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from labsite.import_config.given import CannotImport, Given, Leaf, flat

TOML_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
TOML_KEY = re.compile(r"\s*[\"']?([\w.-]+)[\"']?\s*=")
ENV_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")


def read(path: Path) -> Given:
    """Raises CannotImport for what cannot be read as what its name says."""
    reader = _reader(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CannotImport(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CannotImport(f"{path}: not UTF-8 at byte {error.start}") from None
    return reader(text, path.name)


def _reader(path: Path) -> Callable[[str, str], Given]:
    if path.suffix == ".env" or path.name.startswith(".env"):
        return env
    if reader := READERS.get(path.suffix.lower()):
        return reader
    raise CannotImport(f"{path}: {', '.join(READERS)} and .env are read; rename it if it is one of these")


# ---- TOML


def toml(text: str, name: str) -> Given:
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        raise CannotImport(f"{name}:{place[1] if place else 1}: this is not TOML") from None
    return flat(told, dict(_toml_lines(text)), name)


def _toml_lines(text: str) -> Iterator[tuple[str, int]]:
    """Where each key stands; the parser does not tell."""
    prefix, counts = "", dict[str, int]()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := TOML_HEADER.match(line):
            prefix = header[2].replace('"', "").replace(" ", "")
            if header[1] == "[[":
                place = counts[prefix] = counts.get(prefix, -1) + 1
                prefix = f"{prefix}[{place}]"
        elif key := TOML_KEY.match(line):
            yield f"{prefix}.{key[1]}" if prefix else key[1], number


# ---- YAML


def yml(text: str, name: str) -> Given:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        told = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        # Its message shows the line, in which a password may stand.
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise CannotImport(
            f"{where}: this is not YAML: {getattr(error, 'problem', None) or 'unreadable'}"
        ) from None
    finally:
        loader.dispose()
    if not isinstance(told, dict):
        raise CannotImport(f"{name}: a mapping of settings is needed at the top")
    return flat(told, dict(_yaml_lines(node, "")), name)


def _yaml_lines(node: Any, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{path}.{key.value}" if path else str(key.value)
            yield inner, key.start_mark.line + 1
            yield from _yaml_lines(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _yaml_lines(item, f"{path}[{number}]")


# ---- .env


def env(text: str, name: str) -> Given:
    """Variables, in quotes or not; what follows a blank and # is a comment."""
    given = Given()
    for number, line in enumerate(text.splitlines(), start=1):
        found = ENV_LINE.match(line)
        if found and not line.lstrip().startswith("#"):
            given.leaves[found[1]] = Leaf(_unquoted(found[2]), f"{name}:{number}")
    return given


def _unquoted(word: str) -> str:
    if quoted := re.match(r"(['\"])(.*?)\1", word):
        return quoted[2]
    return re.split(r"\s+#", word)[0].strip()


def environment(variables: Mapping[str, str], prefixes: tuple[str, ...]) -> Given:
    """Those of this process's variables that begin so; an empty one says nothing."""
    return Given(
        {
            name: Leaf(word, f"${name}")
            for name, word in variables.items()
            if name.startswith(prefixes) and word.strip()
        }
    )


# ---- Python


def python(text: str, name: str) -> Given:
    """Constants of a module, and where it has itself served. Nothing of it is run."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CannotImport(f"{name}:{getattr(error, 'lineno', None) or 1}: this is not Python") from None
    given = Given()
    for statement in module.body:
        for constant, expression in _assigned(statement):
            if constant.isupper():
                _note_constant(given, constant, expression, f"{name}:{statement.lineno}")
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "uvicorn.run":
            for word in call.keywords:
                if word.arg in ("host", "port"):
                    _note_constant(given, f"uvicorn.{word.arg}", word.value, f"{name}:{word.value.lineno}")
    return given


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(statement, ast.Assign):
        yield from ((each.id, statement.value) for each in statement.targets if isinstance(each, ast.Name))
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        yield statement.target.id, statement.value


def _note_constant(given: Given, path: str, expression: ast.expr, place: str) -> None:
    try:
        given.leaves[path] = Leaf(ast.literal_eval(_core(expression)), place)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        given.notes.append(f"{place}: {path} is computed: write it into the lab file yourself")


def _core(expression: ast.expr) -> ast.expr:
    """The constant in `Path("…")`, and the default in `os.getenv("HOST", "…")`."""
    if not isinstance(expression, ast.Call) or not expression.args:
        return expression
    called = ast.unparse(expression.func)
    if called in ("Path", "pathlib.Path", "float", "int", "str") and len(expression.args) == 1:
        return _core(expression.args[0])
    if called in ("os.getenv", "os.environ.get") and len(expression.args) == 2:
        return expression.args[1]
    return expression


READERS: Mapping[str, Callable[[str, str], Given]] = {".toml": toml, ".yaml": yml, ".yml": yml, ".py": python}
