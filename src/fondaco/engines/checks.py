"""What is wrong with a step can be seen from its description and the published schemas alone: before anything runs.

The planner asks here, so that a person hears of it at `explain`; the programs ask the same again when they run, for
they trust no planner. Needs no data and none of the libraries of secure computation, and leaks nothing: all that it
reads is public.
"""

from __future__ import annotations

from collections.abc import Callable

from fondaco.core.codec import Value
from fondaco.core.models import Column
from fondaco.engines.base import OPERATIONS, BadJob, Job, OutOfRange, leakage
from fondaco.engines.mpc import inputs

MAX_GROUPS = 64
MAX_KEYS = 4096
MAX_VALUES = 16
OF_MANY, MAX_MEMBERS = ("intersection", "difference", "union"), 8
ARITHMETIC = ("add", "subtract", "multiply", "divide")
_DIVISION_LIMIT = 1 << 36
_KEYS = ("text", "int64", "bool", "date", "timestamp")
_NUMBERS = ("bool", "int64", "decimal", "float64")


def check_job(job: Job) -> None:
    """Refuse a job that its engine would refuse whatever the data; a helper, who has no schemas, checks nothing.

    Raises:
        BadJob: wrong parties, parameters, columns or types. OutOfRange: ranges that the ring cannot hold.
    """
    leakage(job.engine, job.operation)
    if job.rank != job.helper:
        _CHECKS[job.engine, job.operation](job)


def key_columns(job: Job) -> list[str]:
    """The names of the key columns, which all parties bring and declare with one type.

    Raises:
        BadJob: none named, one that a party does not bring, or types that can never match.
    """
    names = inputs.key_names(job)
    for name in names:
        kinds = [inputs.declaration(job.columns, name).type]
        kinds += [column.type for column in job.peer_columns if column.name == name]
        if len(kinds) != len(job.parties) - (job.helper is not None):
            raise BadJob("a key column is not brought by every party", remedy="correct the step", column=name)
        if any(kind != kinds[0] for kind in kinds):
            raise BadJob(
                f"the parties declare a key column as {' and '.join(sorted(set(kinds)))}, which never match",
                remedy="publish it with one type",
                column=name,
            )
        if kinds[0] not in _KEYS:
            raise BadJob(f"a column of type {kinds[0]} cannot be a key", remedy=f"use {', '.join(_KEYS)}", column=name)
    return names


def groups_of(job: Job, column: Column) -> list[Value]:
    """The groups that figures are asked for: both of a boolean, else those that the step names.

    Raises:
        BadJob: none are named, too many, or one twice: what stays hidden is reckoned from the sum of those shown.
    """
    if column.type == "bool":
        return [True, False]
    groups = inputs.parameters(job).get("groups")
    if not isinstance(groups, list) or not 1 <= len(groups) <= MAX_GROUPS:
        raise BadJob(
            f"the groups of a column of type {column.type} are not named",
            remedy=f"name 1 to {MAX_GROUPS} of them in parameters.groups",
            column=column.name,
        )
    if len(dict.fromkeys(map(inputs.label, groups))) != len(groups):
        raise BadJob("a group is named twice", remedy="name each once in parameters.groups", column=column.name)
    return groups


def minimum_count(job: Job) -> int:
    """The fewest rows that a figure may be about; at least one.

    Raises:
        BadJob: not a number of rows.
    """
    minimum = inputs.parameters(job).get("minimum_count", 1)
    if isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 0:
        raise BadJob("minimum_count is a number of rows", remedy="correct the step")
    return max(minimum, 1)


def _number(column: Column) -> int:
    """The bound of a column that is computed with.

    Raises:
        BadJob: not a number. OutOfRange: no range is declared.
    """
    if column.type not in _NUMBERS:
        raise BadJob(f"a column of type {column.type} is not a number", remedy="choose a number", column=column.name)
    return inputs.bound(column)


def _two(job: Job) -> None:
    if len(job.parties) - (job.helper is not None) != 2:
        raise BadJob("this operation is between two parties with data", remedy="correct the step")


def check_members(job: Job) -> None:
    """How many meet in a set operation: two; up to eight where it is for many, and then semi-honest members.

    Raises:
        BadJob: too few or too many, a helper, or a security that is for two.
    """
    members = len(job.parties)
    if job.helper is not None:
        raise BadJob("a set operation needs no helper", remedy="leave helper out")
    if members == 2:
        return
    if job.operation not in OF_MANY:
        raise BadJob(f"{job.operation} is between two parties with data", remedy="correct the step")
    if not 2 < members <= MAX_MEMBERS:
        raise BadJob(f"{job.operation} is between 2 to {MAX_MEMBERS} parties with data", remedy="correct the step")
    if inputs.parameters(job).get("security", "semi-honest") != "semi-honest":
        raise BadJob(
            "among more than two parties all must follow the protocol", remedy="leave security out, or meet two by two"
        )


def _set_operation(job: Job) -> None:
    check_members(job)
    names = key_columns(job)
    for column in (*job.columns, *job.peer_columns):
        if column.name not in names:
            raise BadJob("an intersection brings its keys alone", remedy="leave it out", column=column.name)


def _unbalanced(job: Job) -> None:
    _set_operation(job)
    if len(job.receivers) != 1:
        raise BadJob("an unbalanced intersection has one receiver, the client", remedy="correct the step")


def _statistics(job: Job) -> None:
    _two(job)
    value, group = (inputs.reference(job, inputs.parameters(job).get(what), what) for what in ("value", "group"))
    key_columns(job)
    _number(inputs.declared(job, value))
    groups_of(job, inputs.declared(job, group))
    minimum_count(job)


def pooled_column(job: Job) -> Column:
    """The column that all parties hold parts of, as this one declares it.

    Raises:
        BadJob: not named, not brought by all, or of different scales. OutOfRange: no range is declared.
    """
    name = inputs.parameters(job).get("value")
    if not isinstance(name, str):
        raise BadJob("name the column in parameters.value", remedy="correct the step")
    column = inputs.declaration(job.columns, name)
    others = [c for c in job.peer_columns if c.name == name]
    if len(others) + 1 != len(job.parties) - (job.helper is not None):
        raise BadJob("the column is not brought by every party", remedy="correct the step", column=name)
    if any(c.scale != column.scale for c in others):
        raise BadJob("the parties declare different scales", remedy="publish with one scale", column=name)
    for one in (column, *others):
        _number(one)
    return column


def _pooled(job: Job) -> None:
    pooled_column(job)
    minimum_count(job)


def arithmetic_columns(job: Job) -> tuple[Column, Column]:
    """The columns left and right of an arithmetic step.

    Raises:
        BadJob: no such operation or columns, or different scales.
        OutOfRange: the result could overflow, or a divisor could be zero.
    """
    operation = inputs.parameters(job).get("operation")
    if operation not in ARITHMETIC:
        raise BadJob(f"operation is one of {', '.join(ARITHMETIC)}", remedy="correct the step's parameters")
    left, right = (inputs.reference(job, inputs.parameters(job).get(what), what) for what in ("left", "right"))
    if left.rank == right.rank:
        raise BadJob("left and right are columns of two parties", remedy="compute what is your own before you publish")
    a, b = inputs.declared(job, left), inputs.declared(job, right)
    high_a, high_b = _number(a), _number(b)
    if operation in ("add", "subtract"):
        if a.scale != b.scale:
            raise BadJob("the columns declare different scales", remedy="publish with one scale")
        largest = high_a + high_b
    else:
        largest = high_a * high_b if operation == "multiply" else 0
    if largest >= inputs.RING_LIMIT:
        raise OutOfRange("the result could overflow the ring; nothing was shared", remedy="declare narrower ranges")
    if operation == "divide":
        if b.minimum is None or b.maximum is None or b.minimum <= 0 <= b.maximum:
            raise OutOfRange("the divisor's declared range holds zero", remedy="declare a range without zero")
        if max(high_a // 10**a.scale, high_b // 10**b.scale) >= _DIVISION_LIMIT:
            raise OutOfRange("a range is too wide for division", remedy="declare narrower ranges")
    return a, b


def _arithmetic(job: Job) -> None:
    _two(job)
    arithmetic_columns(job)


def most_keys(job: Job) -> int:
    """For how many keys a lookup is: what the provider sees whatever the asker brings.

    Raises:
        BadJob: not a number from 1 to 4096.
    """
    most = inputs.parameters(job).get("most_keys", 1)
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MAX_KEYS:
        raise BadJob(f"most_keys is a number from 1 to {MAX_KEYS}", remedy="correct the step")
    return most


def _lookup(job: Job) -> None:
    _two(job)
    if job.helper is not None or len(job.receivers) != 1:
        raise BadJob(
            "a lookup has one asker, who alone receives, one provider and no helper", remedy="correct the step"
        )
    names = key_columns(job)
    most_keys(job)
    provided = job.peer_columns if job.learns else job.columns
    if "found" in (column.name for column in provided if column.name not in names):
        raise BadJob("a column named found cannot be asked for", remedy="leave it out of the step")


def value_references(job: Job) -> list[inputs.Reference]:
    """The columns that an intersection-sum sums, in the order of `parameters.values`; none for the count alone.

    Raises:
        BadJob: not a list of columns of parties with data, or too many, or one named twice.
    """
    named = inputs.parameters(job).get("values", [])
    if not isinstance(named, list) or len(named) > MAX_VALUES:
        raise BadJob(f"values is a list of at most {MAX_VALUES} columns", remedy="correct the step's parameters")
    found = [inputs.reference(job, value, "each of values") for value in named]
    if len(dict.fromkeys(found)) != len(found):
        raise BadJob("a column is named twice in values", remedy="name each once")
    return found


def _hidden(job: Job) -> None:
    """What every operation needs that matches rows in a circuit."""
    _two(job)
    key_columns(job)
    minimum_count(job)


def _intersection_sum(job: Job) -> None:
    _hidden(job)
    for reference in value_references(job):
        _number(inputs.declared(job, reference))


def _circuit_statistics(job: Job) -> None:
    _hidden(job)
    _statistics(job)


def _two_server_lookup(job: Job) -> None:
    if len(job.parties) != 3 or job.helper is not None or job.receivers != (0,):
        raise BadJob(
            "a lookup at two servers has the asker first, who alone receives, then both servers, and no helper",
            remedy="correct the step",
        )
    names = key_columns(job)
    most_keys(job)
    declared = [(job.rank, column) for column in job.columns]
    declared += zip(job.peer_ranks, job.peer_columns, strict=True)
    first, second = ([c for rank, c in declared if rank == server and c.name not in names] for server in (1, 2))
    if [(c.name, c.type, c.scale) for c in first] != [(c.name, c.type, c.scale) for c in second]:
        raise BadJob(
            "the two servers declare different columns",
            remedy="name the same columns of both in the same order, published with the same types",
        )
    if "found" in (column.name for column in first):
        raise BadJob("a column named found cannot be asked for", remedy="leave it out of the step")


_CHECKS: dict[tuple[str, str], Callable[[Job], None]] = {
    **{("psi", operation): _set_operation for operation in OPERATIONS["psi"]},
    ("psi", "unbalanced"): _unbalanced,
    ("mpc", "statistics"): _statistics,
    ("mpc", "pooled-statistics"): _pooled,
    ("mpc", "arithmetic"): _arithmetic,
    ("mpc", "intersection-sum"): _intersection_sum,
    ("mpc", "circuit-statistics"): _circuit_statistics,
    ("pir", "lookup"): _lookup,
    ("pir", "two-server-lookup"): _two_server_lookup,
}
