"""The same figures in the clear, by DuckDB on all tables at once: what no institution of the demo could do."""

from __future__ import annotations

import dataclasses

import duckdb

from fondaco.cli.demo.data import Sources


@dataclasses.dataclass(frozen=True)
class Group:
    """Departure delay of one group of flights: how many, mean and sample variance in minutes."""

    count: int
    mean: float
    variance: float


@dataclasses.dataclass(frozen=True)
class Clear:
    """What DuckDB says."""

    aircraft: tuple[str, ...]
    rain: Group
    dry: Group


def compute(sources: Sources) -> Clear:
    """Join the owners' own files in the clear."""
    with duckdb.connect() as db:
        db.execute(f"ATTACH '{sources.weather}' AS w (READ_ONLY)")
        db.execute(
            "CREATE TABLE flights AS SELECT * FROM read_csv(?, nullstr = ['NA', ''], "
            "types = {'time_hour': 'VARCHAR', 'dep_delay': 'BIGINT'})",
            [str(sources.flights)],
        )
        aircraft = db.execute(
            "SELECT DISTINCT f.tailnum FROM flights f JOIN read_csv(?) p ON f.tailnum = p.tailnum ORDER BY 1",
            [str(sources.planes)],
        ).fetchall()
        rows = db.execute(
            "SELECT o.precip > 0, count(f.dep_delay), avg(f.dep_delay), var_samp(f.dep_delay) "
            "FROM flights f JOIN w.observations o ON f.origin = o.origin AND f.time_hour = o.time_hour "
            "GROUP BY 1"
        ).fetchall()
    groups = {bool(rain): Group(count, mean, variance) for rain, count, mean, variance in rows}
    return Clear(tuple(name for (name,) in aircraft), groups[True], groups[False])
