"""Formulas of derived channels: expressions over keys of channels, evaluated on numpy arrays.

`dew_point(temperature, humidity) - {ch0.temperature} / 2`: numbers, + - * / **, comparisons (1 or 0), `and`,
`or`, `not`, `a if b else c`, and FUNCTIONS. Keys that are no names are in braces; dotted ones may do without.
Python's own parser reads them; what is not on the list here is refused.
"""

import ast
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LENGTH_MAX: Final = 1000  # characters
DEPTH_MAX: Final = 100  # a sum is as deep as it has terms
KEYS_MAX: Final = 50
EXPONENT_MAX: Final = 10.0
SNIPPET = 30  # characters of the formula that a message repeats

Floats = NDArray[np.float64]
Values = Mapping[str, Floats]
Term = Callable[[Values], Any]  # a part of a formula: arrays in, an array or a number out

# Over water, −45 to 60 °C. Source: WMO-No. 8, Guide to Instruments and Methods of Observation (2018), vol. I,
# annex 4.B, equations 4.B.1 and 4.B.6, of saturation with respect to water; humidity in %.
MAGNUS_A, MAGNUS_B = 17.62, 243.12  # –, °C
MAGNUS_HPA = 6.112
VAPOUR = 1e5 / 461.5  # g K/(hPa m³): 100 Pa and 1000 g by the gas constant of water vapour, J/(kg K)


class FormulaError(ValueError):
    """What is wrong with a formula, and where."""


def dew_point(temperature: Floats, humidity: Floats) -> Floats:
    """In °C, from °C and the relative humidity in %, by the Magnus formula."""
    gamma = np.log(humidity / 100) + MAGNUS_A * temperature / (MAGNUS_B + temperature)
    return MAGNUS_B * gamma / (MAGNUS_A - gamma)


def absolute_humidity(temperature: Floats, humidity: Floats) -> Floats:
    """In g/m³, from °C and the relative humidity in %: the ideal gas at the Magnus formula's pressure."""
    saturation = MAGNUS_HPA * np.exp(MAGNUS_A * temperature / (MAGNUS_B + temperature))
    return VAPOUR * humidity / 100 * saturation / (temperature + 273.15)


class Function(NamedTuple):
    """`most` None: as many arguments as one likes."""

    of: Callable[..., Any]
    least: int
    most: int | None


FUNCTIONS: Final = {
    **{
        name: Function(of, 1, 1)
        for name, of in {
            "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "log10": np.log10, "abs": np.abs,
            "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
            "atan": np.arctan, "radians": np.radians, "degrees": np.degrees, "floor": np.floor,
            "ceil": np.ceil,
        }.items()
    },
    "min": Function(lambda *terms: reduce(np.minimum, terms), 2, None),
    "max": Function(lambda *terms: reduce(np.maximum, terms), 2, None),
    "atan2": Function(np.arctan2, 2, 2),
    "clip": Function(np.clip, 3, 3),
    "dew_point": Function(dew_point, 2, 2),
    "absolute_humidity": Function(absolute_humidity, 2, 2),
}  # fmt: skip

OPERATORS: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}
SIGNS: Final[Mapping[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.USub: np.negative,
    ast.UAdd: np.positive,
    ast.Not: np.logical_not,
}
COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A formula that was understood. `keys`: of the channels it is over, each once, in their order."""

    text: str
    keys: tuple[str, ...]
    term: Term

    def of(self, inputs: Sequence[Floats]) -> Floats:
        """One value for each row of the inputs, which are in the order of `keys`; NaN for no number."""
        with np.errstate(all="ignore"):
            found = self.term(dict(zip(self.keys, inputs, strict=True)))
        value = np.array(np.broadcast_to(found, inputs[0].shape), np.float64)
        value[~np.isfinite(value)] = np.nan
        return value


def parse(text: str) -> Formula:
    """Raises FormulaError, which names the place."""
    if not text.strip():
        raise FormulaError("the formula is empty")
    if len(text) > LENGTH_MAX:
        raise FormulaError(f"the formula has {len(text)} characters; it may have {LENGTH_MAX}")
    reader = _Reader(text)
    term = reader.term(reader.tree(), 0)
    if not reader.keys:
        raise FormulaError("the formula names no channel")
    if len(reader.keys) > KEYS_MAX:
        raise FormulaError(f"the formula names {len(reader.keys)} channels; it may name {KEYS_MAX}")
    return Formula(text, tuple(reader.keys), term)


class _Reader:
    """Takes one formula apart. Keys in braces are names of the same length to Python, so that places stay."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: dict[str, None] = {}
        self._names: dict[str, str] = {}  # what stands for a key in braces
        self._plain = self._without_braces()
        self._lead = len(self._plain) - len(self._plain.lstrip())  # Python takes blanks for an indentation

    def _without_braces(self) -> str:
        plain, place = "", 0
        while (start := self.text.find("{", place)) >= 0:
            end = self.text.find("}", start)
            key = self.text[start + 1 : end].strip()
            if end < 0 or not key or "{" in key:
                raise self._wrong("a key between { and } is needed", start)
            plain += self.text[place:start] + self._name(key, end + 1 - start)
            place = end + 1
        return "".join(" " if each.isspace() else each for each in plain + self.text[place:])

    def _name(self, key: str, length: int) -> str:
        """A name of this length that does not stand in the formula."""
        number = len(self._names)
        while (name := f"_{number:0{length - 1}x}") in self.text or name in self._names:
            number += 1
        if len(name) != length:
            raise FormulaError(f"too many keys in braces at {{{key}}}")
        self._names[name] = key
        return name

    def tree(self) -> ast.expr:
        try:
            return ast.parse(self._plain[self._lead :], mode="eval").body
        except SyntaxError as error:
            place = self._lead + max((error.offset or 1) - 1, 0)
            raise self._wrong("this cannot be read", place) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise FormulaError(f"the formula cannot be read: {error}") from None

    def term(self, node: ast.expr, depth: int) -> Term:
        if depth > DEPTH_MAX:
            raise self._wrong_at(node, f"nested more than {DEPTH_MAX} deep")
        read = READERS.get(type(node))
        if read is None:
            raise self._misplaced(node)
        return read(self, node, depth + 1)

    def number(self, node: ast.Constant, _depth: int) -> Term:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong_at(node, "a number is needed")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong_at(node, "the number is too large")
        return lambda _: number

    def key(self, node: ast.Name | ast.Attribute, _depth: int) -> Term:
        """As it is written: Python would bring letters of a name into another form."""
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            inner = inner.value
        if not isinstance(inner, ast.Name) or (inner is not node and inner.id in self._names):
            raise self._misplaced(node)
        start, end = self._span(node)
        written = self._plain[start:end]
        key = self._names.get(written) or "".join(written.split())
        self.keys[key] = None
        return lambda values: values[key]

    def unary(self, node: ast.UnaryOp, depth: int) -> Term:
        if type(node.op) not in SIGNS:
            raise self._misplaced(node)
        act, term = SIGNS[type(node.op)], self.term(node.operand, depth)
        return lambda values: act(_number_of(term(values)))

    def both(self, node: ast.BinOp, depth: int) -> Term:
        if isinstance(node.op, ast.Pow):
            return self._power(self.term(node.left, depth), node.right)
        if type(node.op) not in OPERATORS:
            raise self._misplaced(node)
        return _both(OPERATORS[type(node.op)], self.term(node.left, depth), self.term(node.right, depth))

    def _power(self, base: Term, node: ast.expr) -> Term:
        sign, exponent = 1, node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, exponent = -1, node.operand
        value = exponent.value if isinstance(exponent, ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= EXPONENT_MAX:
            raise self._wrong_at(node, f"an exponent is a number up to {EXPONENT_MAX:g}")
        power = sign * float(value)
        return lambda values: np.power(np.asarray(base(values), np.float64), power)

    def logical(self, node: ast.BoolOp, depth: int) -> Term:
        act = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return reduce(partial(_both, act), [self.term(each, depth) for each in node.values])

    def compare(self, node: ast.Compare, depth: int) -> Term:
        if any(type(op) not in COMPARISONS for op in node.ops):
            raise self._misplaced(node)
        terms = [self.term(each, depth) for each in (node.left, *node.comparators)]
        pairs = [
            _both(COMPARISONS[type(op)], left, right)
            for op, left, right in zip(node.ops, terms, terms[1:], strict=False)
        ]
        return reduce(partial(_both, np.logical_and), pairs)

    def choice(self, node: ast.IfExp, depth: int) -> Term:
        test, body, otherwise = (self.term(each, depth) for each in (node.test, node.body, node.orelse))
        return lambda values: np.where(test(values), body(values), otherwise(values))

    def call(self, node: ast.Call, depth: int) -> Term:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            near = difflib.get_close_matches(name, FUNCTIONS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FUNCTIONS)}"
            raise self._wrong_at(node, f"there is no such function; {hint}")
        function, count = FUNCTIONS[name], len(node.args)
        if node.keywords or any(isinstance(each, ast.Starred) for each in node.args):
            raise self._wrong_at(node, f"{name} takes numbers and channels only")
        if count < function.least or (function.most is not None and count > function.most):
            least = "" if function.most else "at least "
            raise self._wrong_at(node, f"{name} takes {least}{function.least}, and is given {count}")
        terms = [self.term(each, depth) for each in node.args]
        return lambda values: function.of(*(_number_of(term(values)) for term in terms))

    def _span(self, node: ast.expr) -> tuple[int, int]:
        """From where to where it stands, in characters; the parser counts bytes."""
        encoded = self._plain[self._lead :].encode()
        start, end = (
            self._lead + len(encoded[:place].decode())
            for place in (node.col_offset, node.end_col_offset or 0)
        )
        return start, end

    def _misplaced(self, node: ast.expr) -> FormulaError:
        return self._wrong_at(node, "this has no place in a formula")

    def _wrong_at(self, node: ast.expr, message: str) -> FormulaError:
        return self._wrong(message, self._span(node)[0])

    def _wrong(self, message: str, place: int) -> FormulaError:
        found = self.text[place : place + SNIPPET].strip() or "the end"
        return FormulaError(f"{message}, at character {place + 1}: {found}")


def _both(act: Callable[[Any, Any], Any], left: Term, right: Term) -> Term:
    return lambda values: act(_number_of(left(values)), _number_of(right(values)))


def _number_of(found: Any) -> Any:
    """A truth counts as 1 or 0: numpy does not subtract truths."""
    return found.astype(np.float64) if getattr(found, "dtype", None) == np.bool_ else found


READERS: Final[Mapping[type[ast.expr], Callable[[_Reader, Any, int], Term]]] = {
    ast.Constant: _Reader.number,
    ast.Name: _Reader.key,
    ast.Attribute: _Reader.key,
    ast.UnaryOp: _Reader.unary,
    ast.BinOp: _Reader.both,
    ast.BoolOp: _Reader.logical,
    ast.Compare: _Reader.compare,
    ast.IfExp: _Reader.choice,
    ast.Call: _Reader.call,
}
