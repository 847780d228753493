"""What of a query speaks of dates, as far as its functions, its texts and its names tell."""

import re

from sqlglot import exp

from judges.sql_concepts.trees import function_name, sides

DATE_PARTS = (
    exp.Extract, exp.TimeToStr, exp.TimestampTrunc, exp.DateTrunc, exp.Year, exp.Quarter, exp.Month, exp.Week,
    exp.WeekOfYear, exp.Day, exp.DayOfMonth, exp.DayOfWeek, exp.DayOfYear, exp.Dayname, exp.Monthname, exp.Hour,
    exp.Minute, exp.YearOfWeek,
)  # fmt: skip
DATE_SHIFTS = (exp.DateAdd, exp.DateSub, exp.TsOrDsAdd, exp.DatetimeAdd, exp.TimestampAdd)
_PART_FUNCTIONS = {"date_part", "weekday", "yearweek", "monthname", "dayname", "hour", "minute"}
_DATE_FUNCTIONS = {"date", "datetime", "julianday", "unixepoch", "to_date", "str_to_date", "date_part"}
_DATE_TEXT = re.compile(r"\d{4}-\d{2}(-\d{2})?\b")
_DATE_NAME = re.compile(r"date|day|time|(^|_)(on|at|start|end|from|to|since|until)(s|ed)?$", re.IGNORECASE)
_MODIFIER = re.compile(r"\s*[+-]?\s*\d+\s+(second|minute|hour|day|month|year)s?\s*|start of \w+", re.IGNORECASE)


def is_date_part(node: exp.Expr) -> bool:
    """A function that takes a part of a date, or the first letters of an ISO date: its year or its month."""
    if isinstance(node, exp.Substring) and isinstance(node.args.get("length"), exp.Literal):
        return node.args["length"].name in ("4", "7") and is_date(node.this.unnest())
    return isinstance(node, DATE_PARTS) or function_name(node) in _PART_FUNCTIONS


def has_date_part(node: exp.Expr) -> bool:
    return any(is_date_part(part) for part in node.walk())


def is_date_shift(node: exp.Expr) -> bool:
    """A date moved by a span of time: an operator with INTERVAL, a function, or SQLite's modifiers."""
    if isinstance(node, DATE_SHIFTS):
        return True
    if isinstance(node, exp.Add | exp.Sub):
        return any(isinstance(side, exp.Interval) for side in sides(node))
    if function_name(node) in ("date", "datetime", "strftime") or isinstance(node, exp.Date):
        return any(_is_modifier(argument) for argument in node.args.get("expressions") or [])
    return False


def _is_modifier(argument: exp.Expr) -> bool:
    texts = [literal.name for literal in argument.find_all(exp.Literal) if literal.is_string]
    return isinstance(argument, exp.DPipe | exp.Concat) or any(_MODIFIER.fullmatch(text) for text in texts)


def is_date(node: exp.Expr) -> bool:
    """An expression that gives a date, as far as its form or its name tells."""
    for part in node.walk():
        if is_date_part(part) or isinstance(part, exp.Date | exp.TsOrDsToDate | exp.TsOrDsToTimestamp | exp.StrToDate):
            return True
        if isinstance(part, exp.Cast) and part.is_type("date", "timestamp", "datetime", "timestamptz"):
            return True
        if function_name(part) in _DATE_FUNCTIONS or (isinstance(part, exp.Literal) and _DATE_TEXT.match(part.name)):
            return True
    return isinstance(node, exp.Column) and _DATE_NAME.search(node.name) is not None
