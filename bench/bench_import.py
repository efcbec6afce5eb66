"""Import into the vault beside DuckDB's own CSV-to-Parquet copy, on the same file in the same run.

Ours does more: it checks every value against the declared schema, profiles, hashes, encrypts and syncs to disk.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import duckdb

from fondaco.cli.demo import data
from fondaco.vault.schema_file import read_schema
from fondaco.vault.sources import CsvSource
from fondaco.vault.store import Vault
from harness import Row, report

TIMES, REPEATS = 9, 3


def ours(folder: Path, source: CsvSource) -> float:
    vault = Vault(folder, os.urandom(32))
    began = time.perf_counter()
    vault.import_source(source)
    took = time.perf_counter() - began
    vault.close()
    return took


def theirs(path: Path, target: Path) -> float:
    began = time.perf_counter()
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT * FROM read_csv('{path}', nullstr = ['NA', ''], types = {{'time_hour': 'VARCHAR'}})) "
            f"TO '{target}' (FORMAT parquet)"
        )
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = data.prepare(folder / "sources")
        one = sources.flights.read_text().split("\n", 1)
        many = folder / "many.csv"
        with many.open("w") as file:
            file.write(one[0] + "\n")
            for _ in range(TIMES):
                file.write(one[1])
        declared = read_schema(sources.flights_schema)
        rows = one[1].count("\n") * TIMES
        source = CsvSource(many, declared.schema, declared.nulls)
        mine, other = [], []
        for index in range(REPEATS):
            mine.append(ours(folder / f"vault{index}", source))
            other.append(theirs(many, folder / f"copy{index}.parquet"))
        a, b = rows / statistics.median(mine), rows / statistics.median(other)
        report(
            "import",
            [Row(f"CSV of {rows:,} flights, 7 columns", a, "rows/s", "DuckDB COPY to Parquet", b, a / b)],
            [f"medians of {REPEATS}; ours also checks, profiles, hashes, encrypts and syncs"],
        )


if __name__ == "__main__":
    main()
