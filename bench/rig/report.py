"""Tables in Markdown, and the part of a page that the benchmark writes."""

import json
from pathlib import Path

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


def table(head, rows, numbers_from=1):
    """Right-aligns the columns from `numbers_from` on."""
    rule = ["---" if i < numbers_from else "---:" for i in range(len(head))]
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join("–" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def number(value, digits=3):
    """The value with this many significant digits and no exponent."""
    if value is None:
        return None
    if value == 0:
        return "0"
    magnitude = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(digits - magnitude, 0)}f}"


def whole(value):
    return None if value is None else f"{value:,.0f}"


def write_json(path, data):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")


def replace_between_markers(path, text):
    """Returns False if the file does not exist or has no markers."""
    path = Path(path)
    if not path.exists():
        return False
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return False
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}")
    return True
