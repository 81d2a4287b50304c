#!/usr/bin/env python3
"""Runs a query on a DuckDB file with DuckDB's own Python bindings, read-only, and prints its rows as JSON, cells as text.

    tests/sync/ask_duckdb.py FILE SQL
"""

import json
import sys

import duckdb

connection = duckdb.connect(sys.argv[1], read_only=True)
connection.execute("SET TimeZone = 'UTC'")
rows = connection.execute(sys.argv[2]).fetchall()
json.dump([[None if cell is None else str(cell) for cell in row] for row in rows], sys.stdout)
