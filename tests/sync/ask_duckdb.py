#!/usr/bin/env python3
"""Runs a query on a DuckDB file with DuckDB's own Python bindings, read-only, and prints its rows as JSON, cells as text.

    tests/sync/ask_duckdb.py FILE SQL
"""

import json
import sys
import time

import duckdb


def opened(file):
    """Who has just let go of the file may still be closing it."""
    for _ in range(200):
        try:
            return duckdb.connect(file, read_only=True)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise
            time.sleep(0.05)
    return duckdb.connect(file, read_only=True)


connection = opened(sys.argv[1])
connection.execute("SET TimeZone = 'UTC'")
rows = connection.execute(sys.argv[2]).fetchall()
json.dump([[None if cell is None else str(cell) for cell in row] for row in rows], sys.stdout)
