"""Small faults in hardware descriptions, made in the syntax tree of their source."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

__all__ = ["Mutant", "mutants_of"]

_ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_COMPARISONS = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
# In a shape, what makes it narrower: one that is wider holds the same.
_NARROWER = (ast.Add, ast.Mult, ast.LShift)
_SHAPES = {
    *("In", "Out", "Signal", "signed", "unsigned"),
    *("Memory", "Signature", "StructLayout", "__init__"),
}
_BRANCHES = {"If", "Elif"}
_HANDSHAKE = re.compile(r"(^|_)(valid|ready|hold|en)$")
_CALLS = {"connect", "begin"}


@dataclass(frozen=True)
class Mutant:
    """A source with a single fault."""

    unit: str
    """Name of the file, without its suffix."""
    number: int
    """Among those of the file, from 1 on, in the order of the source."""
    line: int
    function: str
    """Class and function that the fault is in, with dots."""
    kind: str
    before: str
    """The part of a statement that is another one, without line breaks."""
    after: str
    """What it is instead; empty if it is left out."""
    original: str = field(repr=False)
    """The file without the fault."""

    @property
    def source(self) -> str:
        """The file with it."""
        tree = ast.parse(self.original)
        # The tree has the fault for as long as nobody asks for the next one.
        next(islice(_faults(tree), self.number - 1, None))
        return ast.unparse(ast.fix_missing_locations(tree))

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names the mutant for as long as nobody changes the statement."""
        return self.unit, self.function, self.before, self.after

    def __str__(self) -> str:
        change = f"{self.before}  ->  {self.after or 'nothing'}"
        return f"{self.unit}:{self.number} ({self.kind}, line {self.line}) {change}"


@dataclass(frozen=True)
class _Place:
    """A node, and where in the tree it hangs."""

    node: ast.AST
    put: Callable[[ast.AST], None]
    function: str
    text: Callable[[], str]
    """The part of a statement that it belongs to, as it is in the tree at present."""
    shape: bool
    """Whether it is an argument of a shape."""
    target: bool
    """Whether it is what a statement gives a value."""


def mutants_of(unit: str, text: str) -> list[Mutant]:
    """All mutants of the source ``text``.

    A mutant has one of these faults.

    ``operator``
        ``+`` for ``-``, ``&`` for ``|``, a shift for the other, any for all, and the other way
        round; ``+`` for ``*``, ``|`` for ``^``; a ``~`` or ``-`` that is missing.
    ``operand``
        Only one side of ``&`` or ``|``.
    ``comparison``
        ``==`` for ``!=``, ``<`` for ``<=``, and the like.
    ``constant``
        One more or one less.
    ``condition``
        Always or never true. A condition that is negated would be seen by what sees these.
    ``handshake``
        ``valid``, ``ready``, ``hold`` or an enable always or never set, where it is given or used.
    ``statement``
        Any other that is missing.

    Shapes are made narrower only, and no single bit is left out.
    """
    return [
        Mutant(unit, number, *fault, text)
        for number, fault in enumerate(_faults(ast.parse(text)), start=1)
    ]


def _faults(tree: ast.Module) -> Iterator[tuple[int, str, str, str, str]]:
    """Line, function, kind, and text before and after of each fault, while ``tree`` has it."""
    seen = set()
    for place in _below(tree, "", lambda: "", shape=False, target=False):
        before = place.text()
        for kind, new in _variants(place):
            place.put(new)
            after = "" if kind == "statement" else place.text()
            fault = place.node.lineno, place.function, kind, before, after
            if fault not in seen:
                seen.add(fault)
                yield fault
            place.put(place.node)


def _below(
    node: ast.AST, function: str, text: Callable[[], str], *, shape: bool, target: bool
) -> Iterator[_Place]:
    """Places of all that is below ``node``, in the order of the source."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        function = f"{function}.{node.name}".strip(".")
    if isinstance(node, ast.Call) and _name(node.func) in _SHAPES:
        shape = True
    for get, put in _links(node):
        child = get()
        # A smaller divisor makes a shape wider.
        divides = isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv)
        if _skipped(child) or _in_head(node, child) or (shape and divides and child is node.right):
            continue
        own = text
        if _is_host(node, child):
            label = _label(node, child)

            def own(get: Callable[[], ast.AST] = get, label: str = label) -> str:
                return label + " ".join(ast.unparse(get()).split())

        # The first part of ``x.eq(y)`` is ``x.eq``.
        taking = target or (_is_eq(node) and child is node.func)
        # What selects a part of it is a value.
        taking = taking and not (isinstance(node, ast.Subscript) and child is node.slice)
        yield _Place(child, put, function, own, shape, taking)
        yield from _below(child, function, own, shape=shape, target=taking)


def _links(node: ast.AST) -> Iterator[tuple[Callable[[], ast.AST], Callable[[ast.AST], None]]]:
    """For each child of ``node``, what reads and what replaces it."""
    for name, value in ast.iter_fields(node):
        if isinstance(value, list):
            for index, child in enumerate(value):
                if isinstance(child, ast.AST):
                    yield partial(value.__getitem__, index), partial(value.__setitem__, index)
        elif isinstance(value, ast.AST):
            yield partial(getattr, node, name), partial(setattr, node, name)


def _is_host(node: ast.AST, child: ast.AST) -> bool:
    """Whether ``child`` is short enough to be shown and long enough to be told from others."""
    simple = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.withitem, ast.comprehension)
    if isinstance(child, simple) or _is_eq(child):
        return True
    if isinstance(node, ast.For | ast.If):
        return child in (node.iter if isinstance(node, ast.For) else node.test,)
    return isinstance(node, ast.Dict) and child in node.values


def _label(node: ast.AST, child: ast.AST) -> str:
    """What to write in front of it."""
    if isinstance(node, ast.Dict):
        key = node.keys[node.values.index(child)]
        return f"{ast.unparse(key)}: " if key else "**"
    if isinstance(node, ast.For) and child is node.iter:
        return f"for {ast.unparse(node.target)} in "
    return "if " if isinstance(node, ast.If) and child is node.test else ""


def _is_eq(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _name(node.func) == "eq"


def _skipped(node: ast.AST) -> bool:
    """Whether a part of the source is no hardware: imports, texts, and checks of parameters."""
    if isinstance(node, ast.If):
        return isinstance(node.body[0], ast.Raise)
    if isinstance(node, ast.Assign):
        return _name(node.targets[0]) == "__all__"
    return isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr | ast.arguments)


def _in_head(node: ast.AST, child: ast.AST) -> bool:
    """Whether ``child`` is what a class is made from."""
    return isinstance(node, ast.ClassDef) and child not in node.body


def _name(node: ast.AST) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _variants(place: _Place) -> Iterator[tuple[str, ast.AST]]:
    """What may stand in place of a node, and the kind of the fault."""
    node, shape = place.node, place.shape
    match node:
        case ast.BinOp():
            other = _ARITHMETIC.get(type(node.op))
            if other and (not shape or isinstance(node.op, _NARROWER)):
                yield "operator", ast.BinOp(node.left, other(), node.right)
            if isinstance(node.op, ast.BitAnd | ast.BitOr):
                yield from (("operand", side) for side in (node.left, node.right))
        case ast.UnaryOp(op=ast.Invert()):
            yield "operator", node.operand
        case ast.UnaryOp(op=ast.USub()) if not _is_constant(node.operand):
            yield "operator", node.operand
        case ast.Compare(ops=[operator]) if other := _COMPARISONS.get(type(operator)):
            yield "comparison", ast.Compare(node.left, [other()], node.comparators)
        case ast.Constant() if _is_constant(node):
            if node.value > shape:
                yield "constant", ast.Constant(node.value - 1)
            if not shape:
                yield "constant", ast.Constant(node.value + 1)
        case ast.Attribute(ctx=ast.Load()) if _HANDSHAKE.search(node.attr):
            if not place.target:
                yield from (("handshake", bit) for bit in _bits())
        case ast.Call():
            yield from _of_call(node)
        case ast.Expr(value=ast.Call() as call) if _name(call.func) in _CALLS:
            yield "statement", ast.Pass()
        case ast.AugAssign(target=ast.Attribute()) if isinstance(node.value, ast.ListComp):
            yield "statement", ast.Pass()


def _of_call(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    name = _name(node.func)
    if name in _BRANCHES:
        yield from (("condition", ast.Call(node.func, [bit], [])) for bit in _bits())
    elif name == "Mux":
        yield from (("condition", arm) for arm in node.args[1:])
    elif name in ("any", "all") and isinstance(node.func, ast.Attribute):
        other = ast.Attribute(node.func.value, {"any": "all", "all": "any"}[name], ast.Load())
        yield "operator", ast.Call(other, [], [])
    elif name == "eq" and isinstance(node.func, ast.Attribute):
        if _HANDSHAKE.search(_name(node.func.value)):
            for bit in _bits():
                yield "handshake", ast.Call(node.func, [bit], [])
        else:
            yield "statement", ast.List([], ast.Load())


def _bits() -> list[ast.AST]:
    return [ast.Call(ast.Name("Const", ast.Load()), [ast.Constant(n)], []) for n in (1, 0)]
