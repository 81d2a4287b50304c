#!/usr/bin/env python3
"""Holds a report of a lead job, as an independent reader (openpyxl) sees it, against what is expected of it.

    tests/leads/check_report.py REPORT.xlsx EXPECTED.json [--input SHEET.xlsx|SHEET.csv]
    tests/leads/check_report.py --self-test

Whatever is expected, it checks that no cell is a formula; that scores, flags and rows without a lead have their colours;
that heads are frozen and filtered; that the counts of the summary add up to the rows, and rows are in their lists. With
`--input` every cell of the sheet must be in the report: its value, its kind and its number format, in its row.

EXPECTED.json says what else to check; every key may be left out:

    {"sheets": ["Analysis Results", "Summary"],
     "rows": 3,
     "heads": ["Name", "Lead Id", ...],
     "cells": {"2": {"AI_Status": "Analyzed", "Created": {"value": "2024-02-29", "format": "yyyy-mm-dd"}}},
     "statuses": {"Analyzed": 2, "Invalid Lead ID": 1},
     "summary": {"Total rows": 3, "Assessed by": "rules alone: no model was asked"},
     "lists": {"Invalid IDs": [[3, "12345", "Invalid Lead ID"]], "Failed": 0}}

A list is told by its first cells, or by how many rows it has. openpyxl is installed once, in the version written below, into
a cache folder outside the checkout (PENSTOCK_CLIENTS_DIR, else ~/.cache/penstock-clients). Ends non-zero with a line for
each difference, the first 50 of them.
"""

import argparse
import csv
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

PACKAGE = "openpyxl==3.1.5"
GREEN, YELLOW, RED = ("C6EFCE", "006100"), ("FFEB9C", "9C5700"), ("FFC7CE", "9C0006")
# Heads of report B and of report A.
SCORES = {"Acquisition_Score", "Enrichment_Score", "AI_Coherence_Score", "Final_Confidence_Score",
          "Acquisition Score", "Enrichment Score", "AI Coherence Score", "Final Confidence Score"}
FLAGS = {"AI_Not_in_TAM", "AI_Suspicious_Enrichment", "Not in TAM", "Suspicious Enrichment"}
BESIDE = ["Acquisition_Score", "Enrichment_Score", "AI_Coherence_Score", "Final_Confidence_Score", "AI_Explanation",
          "AI_Corrections", "AI_Inferences", "AI_Not_in_TAM", "AI_Suspicious_Enrichment", "AI_Status", "Lead_ID",
          "Lead_Presence", "Note"]
ALONE = ["Lead ID", "First Name", "Last Name", "Phone", "Country", "Title", "Industry", "Email", "First Channel",
         "Segment Name", "Company Size Range", "Website", "Company", "ZI Website", "ZI Company Name", "ZI Employees",
         "Email Domain", "Not in TAM", "Suspicious Enrichment", "Acquisition Score", "Enrichment Score",
         "AI Coherence Score", "Final Confidence Score", "Explanation", "Corrections", "Inferences", "AI Status",
         "Lead Presence", "Note"]
NO_RECORD = {"Merged Lead", "Deleted Lead", "Lead Not Visible"}
GONE = {"Invalid Lead ID", *NO_RECORD}
MOST_TOLD = 50


def with_openpyxl():
    """Starts again with a Python that has openpyxl, unless this one has it."""
    cache = os.environ.get("PENSTOCK_CLIENTS_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "penstock-clients")
    folder = Path(cache) / "openpyxl"
    python, mark = folder / "bin/python", folder / "installed"
    if Path(sys.prefix) == folder:
        return
    if not mark.exists() or mark.read_text() != PACKAGE:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "--quiet", PACKAGE], check=True)
        mark.write_text(PACKAGE)
    os.execv(python, [str(python), *sys.argv])


class Check:
    """Collects differences."""

    def __init__(self):
        self.wrong = []

    def same(self, what, found, expected):
        if found != expected:
            self.wrong.append(f"{what}: {found!r} instead of {expected!r}")

    def true(self, what, holds):
        if not holds:
            self.wrong.append(what)


def rgb(color):
    return color.rgb[-6:] if color is not None and isinstance(color.rgb, str) else None


def fill_of(cell):
    fill = getattr(cell, "fill", None)
    return rgb(fill.fgColor) if fill is not None and fill.fill_type == "solid" else None


def font_of(cell):
    font = getattr(cell, "font", None)
    return rgb(font.color) if font is not None else None


def plain(value):
    """A value as JSON has it: dates as ISO text, whole numbers whole."""
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


class Report:
    """What a report has: read row by row, so that one with a million rows can be checked."""

    def __init__(self, path):
        import openpyxl
        self.path = path
        self.book = openpyxl.load_workbook(path, read_only=True)
        self.sheets = self.book.sheetnames
        self.tables = [name for name in self.sheets if name.startswith(("Analysis Results", "Lead Analysis"))]
        self.is_beside = any(name.startswith("Analysis Results") for name in self.tables)

    def pairs(self, name):
        """The two columns of a summary."""
        return {row[0].value: row[1].value for row in self.book[name].iter_rows(max_col=2)
                if len(row) > 1 and row[0].value is not None and row[1].value is not None}

    def part_of(self, name):
        """The sheet's own XML: openpyxl does not tell of filters and frozen rows when it reads row by row."""
        place = self.sheets.index(name) + 1
        with zipfile.ZipFile(self.path) as archive, archive.open(f"xl/worksheets/sheet{place}.xml") as part:
            first = last = part.read(1 << 16)
            formulas = b"<f>" in first or b"<f " in first
            while chunk := part.read(1 << 20):
                formulas = formulas or b"<f>" in last[-8:] + chunk or b"<f " in last[-8:] + chunk
                last = last[-(1 << 16):] + chunk
        return first.decode("utf-8", "replace"), last.decode("utf-8", "replace"), formulas


def check_colours(check, where, heads, cells, is_gone):
    for head, cell in zip(heads, cells):
        value, look = cell.value, (fill_of(cell), font_of(cell))
        at = f"{where}, `{head}`"
        if is_gone:
            check.true(f"{at}: not in the colours of a row without a lead: {look}",
                       look == RED and cell.font is not None and cell.font.b)
        elif head in SCORES and value is not None:
            expected = GREEN if value >= 80 else YELLOW if value >= 60 else RED
            check.true(f"{at}: {value!r} is no score", isinstance(value, (int, float)) and 0 <= value <= 100)
            check.same(f"{at}: colours of {value}", look, expected)
            check.same(f"{at}: number format", cell.number_format, "0.0")
        elif head in FLAGS and value is not None:
            check.true(f"{at}: {value!r} is neither Yes nor No", value in ("Yes", "No"))
            check.same(f"{at}: fill", look[0], RED[0] if value == "Yes" else None)


def find_heads(rows, is_beside):
    """The number of the row of heads, with the heads; rows before it are consumed."""
    for number, row in rows:
        heads = [cell.value for cell in row]
        if (is_beside and any(value is not None for value in heads)) or (heads and heads[0] == "Lead ID"):
            while heads and heads[-1] is None:
                heads.pop()
            return number, [str(head) for head in heads]
    raise SystemExit("check_report: no row of heads")


def ours(heads, is_beside):
    """The place of each of our columns, by its name without the `_2` that tells it from one of the sheet's own."""
    names = BESIDE if is_beside else ALONE
    first = len(heads) - len(names)
    return first, dict(zip(names, range(first, len(heads))))


def check_report(path, expected, source=None, sheet=None):
    check, report = Check(), Report(path)
    if "sheets" in expected:
        check.same("sheets", report.sheets, expected["sheets"])
    check.true(f"no table among {report.sheets}", bool(report.tables))
    check.true("no sheet `Summary`", "Summary" in report.sheets)
    if check.wrong:
        return check.wrong
    status_of, lists, notes, rows_seen = Counter(), Counter(), Counter(), 0
    fresh = Counter()
    own = own_rows(source, sheet) if source else None
    for name in report.tables:
        table = enumerate(report.book[name].iter_rows(), 1)
        head_row, heads = find_heads(table, report.is_beside)
        first, place = ours(heads, report.is_beside)
        names = BESIDE if report.is_beside else ALONE
        for head, asked in zip(heads[max(first, 0):], names):
            check.true(f"head `{head}` stands for `{asked}`", re.fullmatch(re.escape(asked) + r"(_\d+)?", head))
        check.same(f"`{name}`: heads told apart", len({head.lower() for head in heads[max(first, 0):]}), len(names))
        if "heads" in expected:
            check.same("heads", heads, expected["heads"])
        if own and name == report.tables[0]:
            # A column without a head is called by its letter.
            asked = [head if value is None else str(plain(value)).strip() for head, value in zip(heads, next(own)[0])]
            check.same("the sheet's own heads", heads[:first], asked[:first])
        named = [*heads[:first], *names]
        last = head_row
        for number, row in table:
            cells = [*row, *[EMPTY] * (len(heads) - len(row))]
            where = f"`{name}` row {number}"
            rows_seen, last = rows_seen + 1, number
            value = {head: cells[at].value for head, at in place.items()}
            status, note = value.get("AI_Status", value.get("AI Status")), value["Note"] or ""
            status_of[status] += 1
            is_gone = status in GONE
            is_duplicate = note.startswith("duplicate of row ")
            notes["duplicate"] += is_duplicate
            notes["repaired"] += "id repaired" in note
            if not is_duplicate:
                fresh["no_id" if note == "no id" else "invalid" if note.startswith("no Lead id") else status] += 1
                fresh["leads"] += note != "no id" and not note.startswith("no Lead id")
                yes = [value[flag] for flag in FLAGS & set(value)]
                fresh["issues"] += "Yes" in yes
            lists["Invalid IDs"] += status == "Invalid Lead ID"
            lists["No Record"] += status in NO_RECORD
            lists["Failed"] += status == "AI Assessment Failed" or note.startswith("not read") or "; not read" in note
            check_colours(check, where, named, cells[:len(heads)], is_gone)
            check.true(f"{where}: a formula", all(cell.data_type != "f" for cell in cells if cell is not EMPTY))
            if own:
                compare_own(check, where, next(own, ([], [])), cells, first, is_gone)
            for head, wanted in expected.get("cells", {}).get(str(rows_seen + head_row), {}).items():
                at = heads.index(head) if head in heads else place[head]
                cell = cells[at]
                if isinstance(wanted, dict):
                    check.same(f"{where}, `{head}`: number format", cell.number_format, wanted["format"])
                    wanted = wanted["value"]
                check.same(f"{where}, `{head}`", plain(cell.value), wanted)
            if len(check.wrong) > MOST_TOLD:
                return check.wrong
        begin, end, formulas = report.part_of(name)
        check.true(f"`{name}`: a formula", not formulas)
        # A table below its summary is not frozen: that would freeze a whole screen.
        check.true(f"`{name}`: row {head_row} is not frozen", head_row > 5 or re.search(
            rf'<pane [^>]*ySplit="{head_row}"[^>]*state="frozen"', begin))
        filtered = re.search(r'<autoFilter ref="A(\d+):([A-Z]+)(\d+)"', end)
        check.same(f"`{name}`: filtered rows", filtered and (filtered[1], filtered[3]), (str(head_row), str(last)))
    if own:
        check.same("rows of the sheet that are not in the report", sum(1 for _ in own), 0)
    if "rows" in expected:
        check.same("rows", rows_seen, expected["rows"])
    if "statuses" in expected:
        check.same("statuses", dict(status_of), expected["statuses"])
    check_summary(check, report, rows_seen, fresh, notes, expected.get("summary", {}))
    check_lists(check, report, lists, expected.get("lists", {}))
    return check.wrong


class Nothing:
    """A cell that is not there."""
    value = fill = font = None
    data_type, number_format = "n", "General"


EMPTY = Nothing()


def check_summary(check, report, rows, fresh, notes, expected):
    figures = report.pairs("Summary")
    for label, wanted in expected.items():
        check.same(f"summary, `{label}`", plain(figures.get(label)), wanted)
    counted = {
        "Total rows": rows, "Rows without an id": fresh["no_id"], "Rows with an invalid id": fresh["invalid"],
        "Duplicate rows": notes["duplicate"], "Repaired ids": notes["repaired"], "Different leads": fresh["leads"],
        "Assessed": fresh["Analyzed"], "AI failed": fresh["AI Assessment Failed"],
        "Merged into another": fresh["Merged Lead"], "Deleted": fresh["Deleted Lead"],
        "Unknown or not visible": fresh["Lead Not Visible"], "Leads with issues": fresh["issues"],
    }
    for label, count in counted.items():
        check.same(f"summary, `{label}` against the rows", figures.get(label), count)
    unread = figures.get("Not read", 0) + figures.get("Not come to yet", 0)
    check.same("summary, `Not read` against the rows", unread, fresh["Not Analyzed"])
    gone = sum(figures.get(label, 0) for label in ("Merged into another", "Deleted", "Unknown or not visible"))
    check.same("summary, `Without a record`", figures.get("Without a record"), gone)


def check_lists(check, report, counted, expected):
    for name in ("Invalid IDs", "No Record", "Failed"):
        check.same(f"a list `{name}` where there is something for it", name in report.sheets, counted[name] > 0)
        if name not in report.sheets:
            continue
        rows = [[plain(cell.value) for cell in row] for row in report.book[name].iter_rows(min_row=2)]
        told = [row for row in rows if isinstance(row[0], int)]
        beyond = [re.match(r"(\d+) more rows", row[0]) for row in rows if isinstance(row[0], str)]
        check.same(f"rows of `{name}`", len(told) + sum(int(more[1]) for more in beyond if more), counted[name])
        check.true(f"`{name}`: a row without a reason", all(len(row) > 3 and row[3] for row in told))
    for name, wanted in expected.items():
        rows = [] if name not in report.sheets else [
            [plain(cell.value) for cell in row] for row in report.book[name].iter_rows(min_row=2)]
        if isinstance(wanted, int):
            check.same(f"`{name}`: rows", len(rows), wanted)
        else:
            check.same(f"`{name}`", [row[:len(cells)] for row, cells in zip(rows, wanted)], wanted)
            check.same(f"`{name}`: rows", len(rows), len(wanted))


def own_rows(path, sheet):
    """The rows of the sheet that the job began with: heads first, then (values, number formats)."""
    if str(path).lower().endswith(".csv"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            sample = file.read(1 << 16)
            file.seek(0)
            for row in csv.reader(file, delimiter=max(",;\t|", key=lambda d: sample.split("\n")[0].count(d))):
                yield [value or None for value in row], ["General"] * len(row)
        return
    import openpyxl
    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    started, blank = False, 0
    for row in book[sheet or book.sheetnames[0]].iter_rows():
        values = [cell.value for cell in row]
        if all(value is None for value in values):
            # Blank rows at the end are no rows.
            blank += started
            continue
        for _ in range(blank):
            yield [], []
        blank, started = 0, True
        yield values, [cell.number_format for cell in row]


def compare_own(check, where, own, cells, first, is_gone):
    values, formats = own
    for column in range(first):
        value = values[column] if column < len(values) else None
        cell = cells[column]
        check.same(f"{where}, column {column + 1} of the sheet", plain(cell.value), plain(value))
        check.same(f"{where}, column {column + 1}: kind", type(plain(cell.value)), type(plain(value)))
        if value is not None and not isinstance(value, (str, bool)):
            check.same(f"{where}, column {column + 1}: number format", cell.number_format, formats[column])


def self_test():
    """A checker that finds nothing proves nothing: spoils the sample report in every way it is to catch."""
    import openpyxl
    from openpyxl.styles import PatternFill
    folder = Path(__file__).resolve().parent / "fixtures"
    sample, expected = folder / "report.xlsx", json.loads((folder / "report.json").read_text())
    wrong = check_report(sample, expected, folder / "input.xlsx")
    if wrong:
        sys.exit("check_report: the sample itself is wrong\n" + "\n".join(wrong))

    def cell(book, head, row, sheet="Analysis Results"):
        heads = [cell.value for cell in book[sheet][1]]
        return book[sheet].cell(row, heads.index(head) + 1)

    def figure(book, label):
        return next(row[1] for row in book["Summary"].iter_rows(max_col=2) if row[0].value == label)

    def put(cell, value):
        cell.value = value

    def paint(cell, colour):
        cell.fill = PatternFill("solid", fgColor=colour)

    def form(cell, code):
        cell.number_format = code

    spoilers = {
        "a value of the sheet": lambda book: put(cell(book, "Name", 2), "Eve"),
        "text that became a number": lambda book: put(cell(book, "Code", 2), 123),
        "a date without its format": lambda book: form(cell(book, "Created", 3), "General"),
        "rows out of order": lambda book: [put(cell(book, "Name", 2), "Grace"), put(cell(book, "Name", 3), "Ada")],
        "a row too few": lambda book: book["Analysis Results"].delete_rows(11),
        "a row too many": lambda book: put(cell(book, "Name", 12), "Eve"),
        "the wrong colour of a score": lambda book: paint(cell(book, "Final_Confidence_Score", 2), "FFC7CE"),
        "a flag without colour": lambda book: setattr(cell(book, "AI_Not_in_TAM", 11), "fill", PatternFill()),
        "an invalid row without colour": lambda book: setattr(cell(book, "Amount", 3), "fill", PatternFill()),
        "a formula": lambda book: put(cell(book, "Name", 6), "=1+2"),
        "a count of the summary": lambda book: put(figure(book, "Duplicate rows"), 2),
        "a failed lead counted as a success": lambda book: put(figure(book, "Assessed"), 3),
        "the average": lambda book: put(figure(book, "Average confidence"), 44.9),
        "a lost reason": lambda book: put(book["Failed"].cell(2, 4), None),
        "a row missing in its list": lambda book: book["No Record"].delete_rows(2),
        "a head that is not ours": lambda book: put(cell(book, "AI_Status", 1), "Status"),
        "no filter": lambda book: setattr(book["Analysis Results"].auto_filter, "ref", None),
        "nothing frozen": lambda book: setattr(book["Analysis Results"], "freeze_panes", None),
        "another order of sheets": lambda book: book.move_sheet("Summary", 1),
    }
    missed = []
    with tempfile.TemporaryDirectory(prefix="penstock-report.") as work:
        spoiled = Path(work) / "report.xlsx"
        openpyxl.load_workbook(sample).save(spoiled)
        if wrong := check_report(spoiled, expected, folder / "input.xlsx"):
            sys.exit("check_report: a copy of the sample is wrong\n" + "\n".join(wrong))
        for what, spoil in spoilers.items():
            book = openpyxl.load_workbook(sample)
            spoil(book)
            book.save(spoiled)
            if not check_report(spoiled, expected, folder / "input.xlsx"):
                missed.append(what)
    if missed:
        sys.exit("check_report: not noticed: " + "; ".join(missed))
    print(f"check_report: the sample is as expected, and each of {len(spoilers)} faults in it is noticed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", nargs="?", type=Path)
    parser.add_argument("expected", nargs="?", type=Path)
    parser.add_argument("--input", type=Path, help="the sheet that the job began with")
    parser.add_argument("--sheet", help="its sheet; without it the first")
    parser.add_argument("--self-test", action="store_true", help="check the sample, and that faults in it are noticed")
    asked = parser.parse_args()
    if not asked.self_test and not (asked.report and asked.expected):
        parser.error("REPORT.xlsx and EXPECTED.json are needed")
    with_openpyxl()
    if asked.self_test:
        return self_test()
    wrong = check_report(asked.report, json.loads(asked.expected.read_text()), asked.input, asked.sheet)
    if wrong:
        told = wrong[:MOST_TOLD] + (["..."] if len(wrong) > MOST_TOLD else [])
        sys.exit(f"check_report: {asked.report} is not what was expected\n" + "\n".join(told))
    print(f"check_report: {asked.report} is as expected")


if __name__ == "__main__":
    main()
