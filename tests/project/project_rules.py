"""The house rules as functions of a file's text: each gives its findings as "line: what", none when all is well."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

Finding = str

MOST_LINES = 500

CONTRACT_IMPORTS = (
    "__future__", "collections.abc", "dataclasses", "enum", "functools", "hashlib", "itertools", "operator", "re",
    "typing", "fondaco.core", "fondaco.errors", "fondaco.ledger.contracts", "fondaco.ledger.state",
)  # fmt: skip
UNSTEADY_CALLS = {"__import__", "complex", "eval", "exec", "float", "hash", "id", "input", "open", "print", "round"}
SET_METHODS = {"copy", "difference", "intersection", "symmetric_difference", "union"}
ORDER_KEEPERS = {"dict", "enumerate", "filter", "iter", "list", "map", "next", "reversed", "tuple", "zip"}
ORDER_BLIND = {"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"}

INSECURE = re.compile(
    r"semi_?2k|trusted_?first|trusted_?third|ref_?2k|secure_?nn|beaver_?type|trunc_allow_msb|colocated", re.IGNORECASE
)
SKIPS = {"skip", "skipif", "xfail", "importorskip", "SkipTest", "skipIf", "skipUnless", "expectedFailure"}
CATCH_ALLS = {"Exception", "BaseException"}
# Written in halves, so that this file names none itself.
HOSTS = tuple(
    "".join(halves)
    for halves in (
        ("pypi", ".org"), ("python", "hosted.org"), ("crates", ".io"), ("proxy.", "golang"), ("sum.", "golang"),
        ("npm", "js."), ("ana", "conda.org"), ("registry.", "yarn"), ("docker", ".io"), ("gh", "cr.io"), ("qu", "ay.io"),
    )
)  # fmt: skip
CARGO_SOURCE = f"registry+https://github.com/rust-lang/{HOSTS[2]}-index"


def _at(node: ast.AST, what: str) -> Finding:
    return f"{getattr(node, 'lineno', 0)}: {what}"


def _called(node: ast.AST) -> str:
    """The plain name that a call calls, or nothing."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def long_file(text: str) -> Iterator[Finding]:
    """Files stay short."""
    lines = len(text.splitlines())
    if lines > MOST_LINES:
        yield f"{lines}: over {MOST_LINES} lines"


def catch_alls(text: str) -> Iterator[Finding]:
    """No handler swallows whatever comes; one that cleans up and raises again is allowed."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            caught = [] if node.type is None else [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)]
            last = node.body[-1]
            goes_on = isinstance(last, ast.Raise) and last.exc is None
            if (node.type is None or CATCH_ALLS.intersection(caught)) and not goes_on:
                yield _at(node, "catches everything")
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
            if CATCH_ALLS.intersection(ast.unparse(argument) for argument in node.args):
                yield _at(node, "suppresses everything")


def _docstrings(tree: ast.AST) -> set[int]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found


def insecure_engines(text: str) -> Iterator[Finding]:
    """No code names a configuration of SPU that is insecure or wrong; documentation may."""
    tree = ast.parse(text)
    prose = _docstrings(tree)
    for node in ast.walk(tree):
        words = [value for _field, value in ast.iter_fields(node) if isinstance(value, str | bytes)]
        for word in words:
            plain = word.decode("latin-1") if isinstance(word, bytes) else word
            if INSECURE.search(plain) and id(node) not in prose:
                yield _at(node, f"names {plain!r}")


# What opens a vault: its modules, and what the store keeps to itself. Only `vault` and, of it, the reader may.
VAULT_MODULES = ("crypto", "reader")
VAULT_SECRETS = {"_entry", "_keys", "_wrap", "_lookup"}


def opens_the_vault(text: str) -> Iterator[Finding]:
    """No code outside the vault reaches its keys, boxes or rows, by import or by a private name, in any spelling."""
    tree = ast.parse(text)
    prose = _docstrings(tree)
    modules = {f"fondaco.vault.{name}" for name in VAULT_MODULES}
    for node in ast.walk(tree):
        named: list[str] = []
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = [f"{node.module}.{alias.name}" for alias in node.names] + [str(node.module)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            named = [node.value]
        elif isinstance(node, ast.Attribute) and not _is_own(node.value):
            named = [node.attr, f"fondaco.{ast.unparse(node)}"]
        for name in named:
            if name in VAULT_SECRETS or any(name == one or name.startswith(f"{one}.") for one in modules):
                yield _at(node, f"opens the vault: {name}")


def _is_own(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}


def skipped_tests(text: str) -> Iterator[Finding]:
    """No test is marked to be left out or to fail."""
    for node in ast.walk(ast.parse(text)):
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if name in SKIPS:
            yield _at(node, f"uses {name}")
        if isinstance(node, ast.ImportFrom) and SKIPS.intersection(alias.name for alias in node.names):
            yield _at(node, "imports a way to leave tests out")


def named_hosts(text: str) -> Iterator[Finding]:
    """No file names a registry's host: each machine knows where its packages come from."""
    for number, line in enumerate(text.splitlines(), 1):
        rest = line.replace(CARGO_SOURCE, "").lower()
        for host in HOSTS:
            if host in rest:
                yield f"{number}: names {host}"


def contract_imports(text: str) -> Iterator[Finding]:
    """Contracts import core, errors, the state, each other, and what of the standard library is a pure function."""
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.level == 0 else ["a relative name"]
        for name in names:
            if not any(name == allowed or name.startswith(allowed + ".") for allowed in CONTRACT_IMPORTS):
                yield _at(node, f"imports {name}")


def inexact(text: str) -> Iterator[Finding]:
    """Nothing whose value differs between machines, runs or Pythons: floats, true division, hash(), id(), files."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield _at(node, f"the float {node.value}")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield _at(node, "true division")
        elif _called(node) in UNSTEADY_CALLS:
            yield _at(node, f"calls {_called(node)}()")
        elif isinstance(node, ast.Name) and node.id in {"float", "complex"}:
            yield _at(node, f"names {node.id}")


class _Sets:
    """Which expressions of a module are sets, as far as its text tells."""

    def __init__(self, tree: ast.AST) -> None:
        self._names: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and self.holds(node.value):
                self._names.update(target.id for target in node.targets if isinstance(target, ast.Name))
            elif isinstance(node, ast.NamedExpr) and self.holds(node.value):
                self._names.add(node.target.id)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if self._is_type(node.annotation) or (node.value is not None and self.holds(node.value)):
                    self._names.add(node.target.id)
            elif isinstance(node, ast.arg) and node.annotation is not None and self._is_type(node.annotation):
                self._names.add(node.arg)

    @staticmethod
    def _is_type(annotation: ast.expr) -> bool:
        return re.match(r"(set|frozenset|Set|AbstractSet|MutableSet)\b", ast.unparse(annotation)) is not None

    def holds(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp) or _called(node) in {"set", "frozenset"}:
            return True
        if isinstance(node, ast.Name):
            return node.id in self._names
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub):
            return any(self.holds(side) or self._is_keys(side) for side in (node.left, node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SET_METHODS:
            return self.holds(node.func.value) or self._is_keys(node.func.value)
        return isinstance(node, ast.IfExp) and (self.holds(node.body) or self.holds(node.orelse))

    @staticmethod
    def _is_keys(node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "keys"


def set_order(text: str) -> Iterator[Finding]:
    """Nothing depends on the order of a set: no loop, list or text of one; sorted(), len() and `in` are fine."""
    tree = ast.parse(text)
    sets = _Sets(tree)
    blind = {
        id(argument)
        for node in ast.walk(tree)
        if _called(node) in ORDER_BLIND and isinstance(node, ast.Call)
        for argument in node.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.For) and sets.holds(node.iter):
            yield _at(node, "a loop over a set")
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
            if id(node) not in blind and any(sets.holds(one.iter) for one in node.generators):
                yield _at(node, "a comprehension over a set")
        elif isinstance(node, ast.Starred) and sets.holds(node.value):
            yield _at(node, "unpacks a set")
        elif isinstance(node, ast.Call):
            join = isinstance(node.func, ast.Attribute) and node.func.attr == "join"
            if (_called(node) in ORDER_KEEPERS or join) and any(sets.holds(argument) for argument in node.args):
                yield _at(node, "takes a set in its order")
            if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and sets.holds(node.func.value):
                yield _at(node, "pops from a set")
