#!/usr/bin/env python3
"""Reads a file that penstock wrote with DuckDB's own Python bindings, read-only, and prints one JSON object: the types of a
table's columns, its rows by key, the ledger, and what else is in the file.

    tests/warehouse/read_duckdb.py FILE TABLE KEY

Run by the interpreter that `tests/warehouse/drivers.py --python` names.
"""

import json
import sys

import duckdb


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def main():
    file, table, key = sys.argv[1:]
    connection = duckdb.connect(file, read_only=True)
    # Zones of points in time are those of the reader, unless it says otherwise.
    connection.execute("SET TimeZone = 'UTC'")
    answer = connection.execute(f"SELECT * FROM {quoted(table)} ORDER BY {quoted(key)}")
    columns = {column[0]: str(column[1]) for column in answer.description}
    rows = [[None if value is None else str(value) for value in row] for row in answer.fetchall()]
    ledger = connection.execute(
        "SELECT load_id, org, object, target_table, mode, rows_staged, inserted, updated, unchanged, deleted "
        "FROM _penstock_loads ORDER BY load_id"
    ).fetchall()
    tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY table_name").fetchall()
    print(json.dumps({"columns": columns, "rows": rows, "ledger": ledger, "tables": [name for (name,) in tables]}))


if __name__ == "__main__":
    main()
