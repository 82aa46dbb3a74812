"""The database of `tasks/tool_use`: real SQL on a real in-memory sqlite3 database that can only be read.

    person(id, city, boss)   city(id, mayor, river)   river(id, source, port)      cells are ids of the tables they speak of
    prompt   person 7 city mayor        calls   select city from person where id = 7 / select mayor from city where id = 4

What may be done is decided by sqlite3's authorizer: selecting from these tables, a few functions; no other statement, no
other table, no recursion. A query is stopped after some ten thousand steps of its program, so none runs long.
"""

from __future__ import annotations

import ast
import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from stepcredit.core.protocols import Rng
from stepcredit.tasks._tool import NOTHING, Meta, Tool, ToolError, other

SCHEMA = {  # table -> column -> the table that its ids are of
    "person": {"city": "city", "boss": "person"},
    "city": {"mayor": "person", "river": "river"},
    "river": {"source": "city", "port": "city"},
}
FUNCTIONS = ("count", "max", "min", "sum", "avg", "abs", "coalesce")
MAX_ROWS = 3  # of a result; "..." stands for the others
MAX_LENGTH = 1000  # characters of a query, and bytes of any value
MAX_CHECKS, STEPS_A_CHECK = 10, 1000


def _allowed(action: int, first: str | None, second: str | None, *_: Any) -> int:
    reads = action == sqlite3.SQLITE_READ and first in SCHEMA
    calls = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS
    return sqlite3.SQLITE_OK if action == sqlite3.SQLITE_SELECT or reads or calls else sqlite3.SQLITE_DENY


def query(meta: Meta, text: str) -> list[tuple[Any, ...]]:
    """At most MAX_ROWS + 1 rows. Raises ToolError with sqlite3's own words, and for two statements at once."""
    base = sqlite3.connect(":memory:", isolation_level=None)
    try:
        base.deserialize(_made(repr(meta["tables"])))
        base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LENGTH)
        base.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_LENGTH)
        checks = iter(range(MAX_CHECKS))
        base.set_progress_handler(lambda: next(checks, None) is None, STEPS_A_CHECK)
        base.set_authorizer(_allowed)
        return base.execute(text).fetchmany(MAX_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError) as error:
        raise ToolError(" ".join(str(error).split())) from error
    finally:
        base.close()


@lru_cache(maxsize=512)
def _made(tables: str) -> bytes:
    """A fresh database with these tables, as sqlite3 keeps it: every query has one of its own."""
    base = sqlite3.connect(":memory:", isolation_level=None)
    for table, rows in ast.literal_eval(tables).items():
        base.execute(f"create table {table} (id integer primary key, {', '.join(SCHEMA[table])})")
        base.executemany(f"insert into {table} values (?, ?, ?)", [(at + 1, *row) for at, row in enumerate(rows)])
    found = base.serialize()
    base.close()
    return found


def _run(meta: Meta, before: Sequence[str], text: str) -> str:
    rows = [", ".join("null" if cell is None else str(cell) for cell in row) for row in query(meta, text)]
    return "; ".join(rows[:MAX_ROWS] + ["..."] * (len(rows) > MAX_ROWS)) or NOTHING


def _draw(num_calls: int, size: int, rng: Rng) -> tuple[str, dict[str, Any]]:
    tables = {name: (rng.integers(size, size=(size, 2)) + 1).tolist() for name in SCHEMA}
    table = at = list(SCHEMA)[int(rng.integers(len(SCHEMA)))]
    plan = []
    for _ in range(num_calls):
        column = list(SCHEMA[at])[int(rng.integers(2))]
        plan.append([at, column])
        at = SCHEMA[at][column]
    start = int(rng.integers(size)) + 1
    prompt = " ".join([table, str(start), *(column for _, column in plan)])
    return prompt, {"tables": tables, "plan": plan, "start": start}


def _write(meta: Meta, place: int, value: str) -> str:
    table, column = meta["plan"][place]
    return _select(column, table, value)


def _slip(meta: Meta, place: int, value: str, rng: Rng) -> str:
    """Another column of the table, another id, or another table, a third each."""
    table, column = meta["plan"][place]
    which = int(rng.integers(3))
    if which == 0:
        column = next(name for name in SCHEMA[table] if name != column)
    elif which == 1:
        value = str(other(int(value), 1, len(meta["tables"][table]), rng))
    else:
        table = [name for name in SCHEMA if name != table][int(rng.integers(2))]
    return _select(column, table, value)


def _select(column: str, table: str, value: str) -> str:
    return f"select {column} from {table} where id = {value}"


def _plain(text: str) -> str:
    return re.sub(r"\s*([=,();])\s*", r"\1", " ".join(text.lower().split())).removesuffix(";")


SQLITE = Tool(_draw, _write, _slip, _run, _plain)
