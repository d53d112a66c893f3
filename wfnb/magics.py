"""The notebook's magics, loaded by ``%load_ext wfnb``: ``%%node`` makes a node of a cell, ``%wfnb`` looks after runs.

Imports authoring, and the session where it is used. Nothing here is needed without a notebook.
"""

from __future__ import annotations

import ast
import html
import io
import keyword
import linecache
import shlex
import sys
import tokenize
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser

from wfnb.authoring.node import node as make_node
from wfnb.authoring.registry import REGISTRY, version_of
from wfnb.model.errors import ConfigurationError, WfnbError, did_you_mean
from wfnb.model.node import Node
from wfnb.model.policy import Exponential, Fixed

STATUSES = ("queued", "running", "paused", "completed", "failed", "cancelled", "interrupted")
"""What a run's status may be."""

HOW = "Write %%node NAME INPUT ... [-> OUT] [--option ...], such as: %%node clean df limit: int = 10 -> rows --cache"

# -- errors ----------------------------------------------------------------------------------------------------------


class CellError(ConfigurationError):
    """The code of a ``%%node`` cell is not valid Python; ``__cause__`` is the syntax error, in lines of the cell."""


def _told(error: WfnbError, lines: Callable[[], list[str]] | None = None) -> WfnbError:
    """Return an error that a notebook shows without a traceback: every frame of it would be wfnb's or IPython's own."""
    text = [f"{type(error).__name__}: {error}"]
    error.__dict__["_render_traceback_"] = lines or (lambda: text)
    return error.with_traceback(None)


# -- the first line of a node's cell ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a node's cell.

    Args:
        name: the node's name.
        inputs: its parameters, as they stand between the parentheses of a def.
        outs: the variables that are its value, each with its annotation or "".
        as_dict: whether several variables make a dict, not a tuple.
        options: the rest of the line, from the first ``--``.
    """

    name: str
    inputs: str
    outs: tuple[tuple[str, str], ...]
    as_dict: bool
    options: str


def read_header(line: str) -> Header:
    """Return what the first line of a node's cell says.

    >>> read_header("clean df limit: int = 10 -> rows --retries 3")
    Header(name='clean', inputs='df, limit: int = 10', outs=(('rows', ''),), as_dict=False, options='--retries 3')

    Args:
        line: what comes after ``%%node``.

    Raises:
        UsageError: it cannot be read.
    """
    signature, options = _split(line, "--")
    before, out = _split(signature, "->")
    name, _, rest = before.strip().partition(" ")
    name, comma, more = name.partition(",")
    if not name:
        raise UsageError(f"the node has no name. {HOW}")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"a node cannot be called '{name}': give a name as a function has it. {HOW}")
    inputs = _with_commas(f"{more} {rest}" if comma else rest)
    try:
        ast.parse(f"def {name}({inputs}): pass")
    except SyntaxError as error:
        raise UsageError(f"the inputs of node '{name}', '{inputs}', cannot be read: {error.msg}. {HOW}") from None
    outs, as_dict = _outs(out.removeprefix("->").strip())
    if out and not outs:
        raise UsageError(f"node '{name}' has nothing after '->': name the variable that is its value. {HOW}")
    return Header(name, inputs, outs, as_dict, options)


def _split(line: str, mark: str) -> tuple[str, str]:
    """Split a line before a mark that stands for itself: not in quotes or brackets, nor inside a word."""
    depth, quote = 0, ""
    for at, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif depth <= 0 and line.startswith(mark, at) and (mark == "->" or at == 0 or line[at - 1].isspace()):
            return line[:at], line[at:]
    return line, ""


_JOINING = frozenset(("and", "or", "not", "in", "is", "if", "else", "lambda", "for", "await"))


def _with_commas(text: str) -> str:
    """Return inputs with commas between them: two words side by side are two inputs, however long the first is."""
    text = " ".join(text.split())
    places: list[int] = []
    depth, before = 0, ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            word = token.type == tokenize.NAME and token.string not in _JOINING
            begins = depth == 0 and (token.type == tokenize.NAME and token.string not in _JOINING)
            if begins and before == "value":
                places.append(token.start[1])
            if token.string in ("(", "[", "{"):
                depth += 1
            elif token.string in (")", "]", "}"):
                depth -= 1
            closing = token.string in (")", "]", "}") or token.type in (tokenize.NUMBER, tokenize.STRING)
            before = "value" if word or closing else "other"
    except (tokenize.TokenError, SyntaxError):
        return text  # what is wrong with it is told by whoever parses it
    for at in reversed(places):
        text = f"{text[:at].rstrip()}, {text[at:]}"
    return text.strip(" ,")


def _outs(text: str) -> tuple[tuple[tuple[str, str], ...], bool]:
    as_dict = text.startswith("{") and text.endswith("}")
    inner = _with_commas(text[1:-1] if as_dict or (text.startswith("(") and text.endswith(")")) else text)
    if not inner:
        return (), as_dict
    try:
        (made,) = ast.parse(f"def outs({inner}): pass").body
        assert isinstance(made, ast.FunctionDef)  # noqa: S101  it is what was just written
        given = made.args
        others = (*given.posonlyargs, *given.kwonlyargs, *given.defaults, given.vararg, given.kwarg)
        if any(others):
            raise SyntaxError("give names alone")
    except SyntaxError:
        how = "write '-> rows', '-> rows, total' or '-> {rows, total}'"
        raise UsageError(f"'-> {text}' names no variable: {how}") from None
    return tuple((one.arg, ast.unparse(one.annotation) if one.annotation else "") for one in given.args), as_dict


# -- a cell as a function --------------------------------------------------------------------------------------------


def _own(statements: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """Yield what belongs to a function's own body, without that of functions and classes inside it."""
    todo: list[ast.AST] = list(statements)
    while todo:
        part = todo.pop()
        yield part
        if not isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            todo += ast.iter_child_nodes(part)


def _inside_texts(cell: str) -> set[int]:
    """Return the lines, from 1, that begin inside a text in quotes, where blanks count."""
    found: set[int] = set()
    begun: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(cell).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):  # f-strings, from Python 3.12 on
            begun.append(token.start[0])
        elif kind.endswith("STRING_END"):
            found.update(range(begun.pop() + 1, token.end[0] + 1))
        elif kind == "STRING":
            found.update(range(token.start[0] + 1, token.end[0] + 1))
    return found


def as_def(header: Header, cell: str, filename: str, flags: int = 0) -> str:
    """Return the cell as the def that it stands for, line by line; raises SyntaxError with the lines of the cell.

    >>> print(as_def(read_header("f x -> y"), "y = x", ""))
    def f(x):  # %%node
        y = x
    """
    tree: ast.Module = compile(f"\n{cell}\n", filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    waits = any(
        isinstance(part, (ast.Await, ast.AsyncFor, ast.AsyncWith)) or getattr(part, "is_async", 0)
        for part in _own(tree.body)
    )
    inside = _inside_texts(cell)
    lines = [
        line if number in inside or not line.strip() else f"    {line}"
        for number, line in enumerate(cell.split("\n"), 1)
    ]
    first = f"{'async ' if waits else ''}def {header.name}({header.inputs}):{'' if tree.body else ' pass'}  # %%node"
    return "\n".join([first, *lines])


def _compiled(header: Header, source: str, filename: str, flags: int) -> types.CodeType:
    """Return the code of a module that defines the function, which gives the node's value at its end."""
    tree: ast.Module = compile(f"{source}\n", filename, "exec", flags | ast.PyCF_ONLY_AST, dont_inherit=True)
    (function,) = tree.body
    assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))  # noqa: S101  it is what was just written
    last = function.body[-1]
    if header.outs:
        names = [name for name, _ in header.outs]
        pairs = ", ".join(f"{name!r}: {name}" for name in names)
        value = ast.parse(f"{{{pairs}}}" if header.as_dict else ", ".join(names), mode="eval").body
        where: dict[str, Any] = {"lineno": last.end_lineno, "end_lineno": last.end_lineno}
        for part in ast.walk(value):
            if isinstance(part, ast.expr):
                vars(part).update(where, col_offset=0, end_col_offset=0)
        function.body.append(ast.Return(value, **where, col_offset=0, end_col_offset=0))
    elif isinstance(last, ast.Expr) and not isinstance(last.value, (ast.Yield, ast.YieldFrom)):
        function.body[-1] = ast.copy_location(ast.Return(last.value), last)
    code: types.CodeType = compile(tree, filename, "exec", flags, dont_inherit=True)
    return code


def make_function(header: Header, cell: str, filename: str, scope: dict[str, Any], flags: int = 0) -> Any:
    """Return the function that a node's cell stands for.

    Args:
        header: its first line.
        cell: the lines after it.
        filename: what its file is called in tracebacks, which find the function there; line 2 is the first of `cell`.
        scope: the function's globals.
        flags: of the compiler, such as those of ``from __future__`` imports.

    Raises:
        SyntaxError: the cell is not valid Python; the lines are those of the whole cell.
        UsageError: the first line does not fit the cell.
    """
    source = as_def(header, cell, filename, flags)
    linecache.cache[filename] = (len(source), None, list(io.StringIO(source)), filename)
    code = _compiled(header, source, filename, flags)
    own = next(one for one in code.co_consts if isinstance(one, types.CodeType) and one.co_name == header.name)
    known = (*own.co_varnames, *own.co_cellvars)
    for name, _ in header.outs:
        if name not in known:
            raise UsageError(
                f"'{name}' is the value of node '{header.name}', and nothing in its cell sets it. "
                f"{did_you_mean(name, known)}"
            )
    made: dict[str, Any] = {}
    try:
        exec(code, scope, made)  # noqa: S102  it is the user's own cell
        function = made[header.name]
        returns = _annotation(header, scope)
    except Exception as error:  # noqa: BLE001  annotations and defaults are any code
        text = f"the first line of node '{header.name}' cannot be evaluated: {type(error).__name__}: {error}"
        raise UsageError(text) from None
    if returns is not None:
        function.__annotations__["return"] = returns
    return function


def _annotation(header: Header, scope: Mapping[str, Any]) -> Any:
    """Return the annotation of the node's value, so that a tuple can be unpacked in a workflow; None for none."""
    if header.as_dict:
        return dict[str, Any]
    found = [eval(text, dict(scope)) if text else Any for _, text in header.outs]  # noqa: S307  the user's own cell
    if len(found) == 1:
        return None if found[0] is Any else found[0]
    return types.GenericAlias(tuple, tuple(found)) if found else None


# -- the magics ------------------------------------------------------------------------------------------------------


def _parsed(parser: Any, text: str, what: str) -> Any:
    """Return the arguments of a magic; raises UsageError, for an unknown option with the nearest one."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{what}: '{text}' cannot be read: {error}") from None
    found, rest = parser.parse_known_args(words)
    if rest:
        known = [one for action in parser._actions for one in action.option_strings]
        word = rest[0].partition("=")[0]
        cure = did_you_mean(word, known) if word.startswith("-") else "Inputs come before the options"
        raise UsageError(f"{what} has no '{word}'. {cure}")
    return found


def _backoff(text: str) -> Fixed | Exponential:
    kind, _, delay = text.rpartition(":")
    if kind not in ("", "fixed", "exponential"):
        raise ValueError(kind)
    return Exponential(float(delay)) if kind == "exponential" else Fixed(float(delay))


def _amount(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    return name, float(amount or 1)


def _priority(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


_NODE = """Make a node of the cell.

%%node NAME INPUT ... [-> OUT] [--option ...]

The cell becomes the body of a function NAME with the inputs as its parameters, which may have annotations and
defaults. Its value is the variable OUT, several of them ("-> a, b" a tuple, "-> {a, b}" a dict), or the value
of the cell's last line. What else it names is looked up in the notebook, as in any function.
"""


def _node_parser() -> Any:
    make: Any = MagicArgumentParser
    parser = make("%node", description=_NODE)
    add = parser.add_argument
    add("--retries", type=int, help="how often a failed task is tried again")
    add("--backoff", type=_backoff, help="seconds to wait before that: 2, fixed:2 or exponential:2")
    add("--retry-on", action="append", metavar="TYPE", help="the type of error that is retried; may be repeated")
    add("--timeout", type=float, help="seconds one attempt may take")
    add("--cache", action="store_true", default=None, help="answer from the store when code and inputs are known")
    add("--no-checkpoint", dest="checkpoint", action="store_false", default=None, help="do not keep the value")
    add("--no-validate", dest="validate", action="store_false", default=None, help="do not check annotations")
    add("--resources", action="append", type=_amount, metavar="NAME=N", help="what a worker must offer: GPU=1")
    add("--priority", type=_priority, help="critical, high, normal, low, or 1 to 20")
    add("--version", help="its version; part of its fingerprint")
    add("--tags", action="append", metavar="TAG", help="a label; may be repeated")
    return parser


def _runs_parser() -> Any:
    make: Any = MagicArgumentParser
    parser = make("wfnb runs")
    parser.add_argument("--status")
    parser.add_argument("--workflow")
    parser.add_argument("--limit", type=int, default=100)
    return parser


_PARSERS = {"node": _node_parser(), "runs": _runs_parser()}

_COMMANDS = {
    "runs": ("runs [--status S,...] [--workflow W] [--limit N]", "list runs, newest first"),
    "show": ("show RUN_ID", "show a run, live"),
    "resume": ("resume RUN_ID", "go on with a run where its journal ends"),
    "retry": ("retry RUN_ID", "run a run's failed tasks again, with today's code"),
    "pause": ("pause RUN_ID", "let running tasks finish and start no others"),
    "cancel": ("cancel RUN_ID", "stop a run"),
    "nodes": ("nodes", "list the nodes that definitions may use by name"),
    "help": ("help", "show this"),
}


@magics_class
class WfnbMagics(Magics):
    """``%%node`` and ``%wfnb``."""

    @no_var_expand
    @cell_magic
    def node(self, line: str, cell: str) -> None:
        """Make a node of the cell; the text that IPython shows is the parser's."""
        shell: Any = self.shell
        header = read_header(line)
        chosen = vars(_parsed(_PARSERS["node"], header.options, "%%node"))
        options = {name: value for name, value in chosen.items() if value is not None}
        if "resources" in options:
            options["resources"] = dict(options["resources"])
        filename = self._filename(line, cell)
        try:
            function = make_function(header, cell, filename, shell.user_ns, shell.compile.flags)
        except SyntaxError as error:
            lines = shell.SyntaxTB.structured_traceback(type(error), error, [])
            wrong = CellError(f"{error.msg} (line {error.lineno} of the cell of node '{header.name}')")
            raise _told(wrong, lambda: lines) from error
        try:
            shell.user_ns[header.name] = make_node(function, **options)
        except ConfigurationError as error:
            raise UsageError(str(error)) from None

    node.__doc__ = _PARSERS["node"].format_help()

    def _filename(self, line: str, cell: str) -> str:
        """Return the name of the cell's file, with the cell's text where tracebacks look for it."""
        shell: Any = self.shell
        compiler = shell.compile
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename not in compiler._filename_map:
            frame = frame.f_back
        number = compiler._filename_map[frame.f_code.co_filename] if frame is not None else shell.execution_count
        # A kernel makes the file's name from the cell's text, and debuggers go by that name.
        raw = f"%%node {line}\n{cell}".removesuffix("\n")
        return str(compiler.cache(raw, number, raw_code=raw))

    @line_magic
    def wfnb(self, line: str) -> Any:
        """Look after runs: %wfnb runs|show|resume|retry|pause|cancel|nodes|help."""
        word, _, rest = line.strip().partition(" ")
        word, rest = word or "help", rest.strip()
        if word not in _COMMANDS:
            raise UsageError(f"%wfnb has no '{word}'. {did_you_mean(word, _COMMANDS)}")
        if word in ("help", "nodes"):
            if rest:
                raise UsageError(f"%wfnb {word} takes nothing more, and is given '{rest}'")
            return _help() if word == "help" else NodeList()
        try:
            return self._runs(rest) if word == "runs" else _of_run(word, rest)
        except WfnbError as error:
            raise _told(error) from None

    def _runs(self, rest: str) -> Any:
        from wfnb.session import runs

        given = _parsed(_PARSERS["runs"], rest, "%wfnb runs")
        statuses = [one for one in (given.status or "").split(",") if one]
        for one in statuses:
            if one not in STATUSES:
                raise UsageError(f"no run has the status '{one}'. {did_you_mean(one, STATUSES)}")
        if given.limit < 1:
            raise UsageError(f"%wfnb runs cannot list {given.limit} runs: give a number, 1 or more")
        return runs(given.workflow, statuses or None, given.limit)


def _of_run(word: str, rest: str) -> Any:
    from wfnb.session import get_run, resume

    ids = rest.split()
    if len(ids) != 1:
        wrong = f"is given {len(ids)} runs" if ids else "is not told which run"
        raise UsageError(f"%wfnb {word} {wrong}: write %wfnb {_COMMANDS[word][0]}; %wfnb runs lists them")
    if word == "resume":
        return resume(ids[0])
    run = get_run(ids[0])
    if word == "retry":
        return run.retry()
    if word == "pause":
        run.pause()
    elif word == "cancel":
        run.cancel()
    return run


class _Text:
    """A text that a cell shows as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _help() -> _Text:
    width = max(len(usage) for usage, _ in _COMMANDS.values())
    lines = [f"  %wfnb {usage.ljust(width)}  {what}" for usage, what in _COMMANDS.values()]
    return _Text("\n".join([*lines, f"  {'%%node NAME INPUT ... [-> OUT]'.ljust(width + 6)}  make a node of the cell"]))


class NodeList(list[tuple[str, str, str]]):
    """The nodes that are known by name: name, version and what each does; a table in a notebook."""

    HEAD = ("node", "version", "what it does")

    def __init__(self) -> None:
        super().__init__(_described(name) for name in REGISTRY.node_names())

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str) -> str:
            return "".join(f"<{tag} style='text-align:left'>{html.escape(cell)}</{tag}>" for cell in cells)

        rows = "".join(f"<tr>{row(one, 'td')}</tr>" for one in self)
        return f"<table><thead><tr>{row(self.HEAD, 'th')}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        rows = [self.HEAD, *self]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.HEAD))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _described(name: str) -> tuple[str, str, str]:
    try:
        found = REGISTRY.node(name)
    except ConfigurationError as error:  # what a package offers may be broken, and the others are still of use
        return name, "", str(error)
    doc = found.info.description if isinstance(found, Node) else (found.__doc__ or "").strip().partition("\n")[0]
    return name, version_of(found), doc


def load_ipython_extension(ipython: Any) -> None:
    """Give a notebook the magics; called by ``%load_ext wfnb``."""
    ipython.register_magics(WfnbMagics)
