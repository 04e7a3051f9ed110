"""How a simulated QuantStudio reads a line: names, options, substitutions (protocol notes §1).

Written from the notes alone, and apart from the driver's: so that one's mistake is not the other's.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

DEPTH_MAX = 20
_TAG = re.compile(r"<(/?)([A-Za-z0-9._-]+)>")
_FIRST = re.compile(r"\s*(\S+)\s*(.*)", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:(-[A-Za-z]\w*)(?:=("(?:[^"\\]|\\.)*"|'[^']*'|\S+))?(?=\s|$)|("(?:[^"\\]|\\.)*"|'[^']*'|\S+))"""
)


class Fault(Exception):
    """An ERRor reply: class, text and options."""

    def __init__(self, kind: str, text: str, **options: str) -> None:
        super().__init__(text)
        listed = "".join(f' -{name}="{value}"' for name, value in options.items())
        self.body = f"[{kind}]{listed} --> {text}"


@dataclass
class Call:
    """A command as it came."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    rest: str = ""  # all arguments as they are written, after substitution


def is_whole(text: str) -> bool:
    """Whether all tags are closed again; a wrong one counts as closed."""
    stack: list[str] = []
    for closes, name in _TAG.findall(text):
        if not closes:
            stack.append(name)
        elif not stack or stack.pop() != name:
            return True
    return not stack


def parsed(text: str) -> Call:
    found = _FIRST.match(text)
    if not found:
        raise Fault("InvocationError", "no command")
    call = Call(found[1], rest=found[2])
    rest = call.rest
    if "<" in rest and _TAG.search(rest):
        rest = rest[: rest.index("<")]  # a block comes last
    for option, value, word in _TOKEN.findall(rest):
        if option:
            call.options[option[1:].lower()] = unquoted(value)
        elif word:
            call.words.append(unquoted(word))
    return call


def unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] == '"':
        return re.sub(
            r"\\(.)", lambda found: {"n": "\n", "t": "\t", "r": "\r"}.get(found[1], found[1]), word[1:-1]
        )
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == "'" else word


def quoted(text: str) -> str:
    """As one word of a reply."""
    if text and not re.search(r"[\s\"'\\]", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def spelled(name: str) -> set[str]:
    """What stands for a name like `ACCess`, `TBC:SETTings?`: each level whole or by its capitals."""
    verb = name[-1] if name[-1] in "?=+-~*" else ""
    forms = {""}
    for level in name.removesuffix(verb).split(":"):
        capitals = "".join(letter for letter in level if letter.isupper() or letter.isdigit())
        forms = {f"{form}:{each.lower()}" for form in forms for each in {level, capitals or level}}
    return {form[1:] + verb for form in forms}


Lookup = Callable[[str], str | None]
Execute = Callable[[str], str]
Evaluate = Callable[[str], str]


def substituted(text: str, variable: Lookup, execute: Execute, evaluate: Evaluate, depth: int = 0) -> str:
    """`${name}`, `${name:-default}`, `$(command)` and `$[expression]` in their places, inner ones first."""
    if depth > DEPTH_MAX:
        raise Fault("ParseError", "nested too deeply")
    out: list[str] = []
    position = 0
    while True:
        start = text.find("$", position)
        if start < 0 or start + 1 == len(text):
            return "".join([*out, text[position:]])
        opening = text[start + 1]
        if opening not in "{([":
            out.append(text[position : start + 1])
            position = start + 1
            continue
        end = _closing(text, start + 1)
        inner = text[start + 2 : end]
        out.append(text[position:start])
        if opening == "{":
            out.append(_variable(inner, variable))
        elif opening == "(":
            reply = execute(substituted(inner, variable, execute, evaluate, depth + 1))
            out.append(reply if not reply else quoted(reply))
        else:
            out.append(evaluate(inner))
        position = end + 1


def _closing(text: str, start: int) -> int:
    """Where the bracket at `start` is closed."""
    pairs, stack = {"{": "}", "(": ")", "[": "]"}, []
    for at in range(start, len(text)):
        if text[at] in pairs:
            stack.append(pairs[text[at]])
        elif stack and text[at] == stack[-1]:
            stack.pop()
            if not stack:
                return at
    raise Fault("ParseError", f"no end of {text[start - 1 : start + 30]}")


def _variable(inner: str, variable: Lookup) -> str:
    name, has_default, default = inner.partition(":-")
    value = variable(name.strip().lower())
    if value is not None:
        return quoted(value)
    if not has_default:
        raise Fault("ParseError", f"No such variable: '{name}'")
    return default
