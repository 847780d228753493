"""The clocks of the three dialects, and how they are stopped: each is replaced by the moment that it is to show.

    SELECT DATE('now', '-7 days')                SELECT DATE('2024-05-01 12:00:00', '-7 days')
    SELECT NOW() - INTERVAL '1 day'              SELECT CAST('2024-05-01 12:00:00+00' AS TIMESTAMPTZ) - INTERVAL '1 day'
    SELECT UNIX_TIMESTAMP()                      SELECT 1714564800

Sources: https://sqlite.org/lang_datefunc.html; PostgreSQL's manual, "Date/Time Functions and Operators", section
"Current Date/Time"; MySQL's manual, "Date and Time Functions".
"""

from datetime import UTC, datetime, timedelta

from sqlglot import exp

from judges.sql_world import Dialect

_DATES = (exp.CurrentDate, exp.UtcDate)
_TIMES = (exp.CurrentTime, exp.Localtime, exp.UtcTime)  # MySQL's LOCALTIME is a moment, like its LOCALTIMESTAMP
_MOMENTS = (exp.CurrentTimestamp, exp.CurrentDatetime, exp.Localtimestamp, exp.UtcTimestamp)
_NAMED_MOMENTS: dict[Dialect, frozenset[str]] = {
    "sqlite": frozenset(),
    "postgres": frozenset(
        {"now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday", "localtimestamp"}
    ),
    "mysql": frozenset({"now", "sysdate", "localtimestamp", "localtime"}),
}
_SQLITE_FUNCTIONS = frozenset({"date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"})
_POSTGRES_DAYS = {"now": 0, "today": 0, "tomorrow": 1, "yesterday": -1}


def is_clock(node: exp.Expr, dialect: Dialect) -> bool:
    if not isinstance(node, exp.Func | exp.Literal):
        return False
    if isinstance(node, _DATES + _TIMES + _MOMENTS):
        return True
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    match dialect:
        case "sqlite":
            return _is_sqlite_now(node) or _lacks_its_moment(node, name)
        case "postgres":
            return name in _NAMED_MOMENTS[dialect] or _is_postgres_day(node) or _is_age_of_today(node, name)
        case "mysql":
            return name in _NAMED_MOMENTS[dialect] or (name == "unix_timestamp" and not node.expressions)


def _is_sqlite_now(node: exp.Expr) -> bool:
    """The literal 'now' where a date function reads it."""
    if not (isinstance(node, exp.Literal) and node.is_string and node.name.strip().lower() == "now"):
        return False
    above = node.parent
    if isinstance(above, exp.Anonymous):
        return above.name.lower() in _SQLITE_FUNCTIONS
    return isinstance(above, exp.Date | exp.TsOrDsToTimestamp | exp.TsOrDsToDate | exp.Cast | exp.UnixToTime)


def _lacks_its_moment(node: exp.Expr, name: str) -> bool:
    """DATE() means the present day."""
    if isinstance(node, exp.Date | exp.Time) and not any(node.args.values()):
        return True
    return name in _SQLITE_FUNCTIONS - {"strftime", "timediff"} and not node.expressions


def _is_postgres_day(node: exp.Expr) -> bool:
    """'today'::date"""
    is_text = isinstance(node, exp.Literal) and node.is_string and node.name.strip().lower() in _POSTGRES_DAYS
    return is_text and isinstance(node.parent, exp.Cast) and node.parent.is_type(*exp.DataType.TEMPORAL_TYPES)


def _is_age_of_today(node: exp.Expr, name: str) -> bool:
    """AGE(born_on) counts to the present day."""
    return name == "age" and len(node.expressions) == 1


def frozen(tree: exp.Expr, moment: datetime, dialect: Dialect) -> exp.Expr:
    """A copy of the tree whose clocks all show `moment` (taken as UTC where it has no zone)."""
    shown = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return tree.transform(lambda node: _shown(node, shown, dialect) if is_clock(node, dialect) else node)


def _shown(node: exp.Expr, moment: datetime, dialect: Dialect) -> exp.Expr:
    day, clock, text = f"{moment:%Y-%m-%d}", f"{moment:%H:%M:%S}", f"{moment:%Y-%m-%d %H:%M:%S}"
    zoned = dialect == "postgres"
    name = node.name.lower() if isinstance(node, exp.Anonymous) else ""
    if isinstance(node, _DATES):
        return _value(day, "DATE", dialect)
    if isinstance(node, _TIMES) and not (isinstance(node, exp.Localtime) and dialect == "mysql"):
        with_zone = zoned and isinstance(node, exp.CurrentTime)
        return _value(f"{clock}+00" if with_zone else clock, "TIMETZ" if with_zone else "TIME", dialect)
    if name == "unix_timestamp":
        return exp.Literal.number(int(moment.timestamp()))
    if name == "timeofday":
        return exp.Literal.string(f"{moment:%a %b %d %H:%M:%S.000000 %Y UTC}")
    if isinstance(node, exp.Localtimestamp) or name == "localtimestamp":
        return _value(text, "TIMESTAMP" if zoned else "DATETIME", dialect)
    if isinstance(node, (*_MOMENTS, exp.Localtime)) or name in _NAMED_MOMENTS[dialect]:
        return _value(f"{text}+00" if zoned else text, "TIMESTAMPTZ" if zoned else "DATETIME", dialect)
    if isinstance(node, exp.Literal):
        return exp.Literal.string(_in_place_of(node.name.strip().lower(), moment, text))
    if name == "age":
        return exp.func("AGE", _value(day, "TIMESTAMP", dialect), node.expressions[0])
    return exp.Anonymous(this=name or node.key, expressions=[exp.Literal.string(text)])  # SQLite's DATE()


def _in_place_of(word: str, moment: datetime, text: str) -> str:
    return text if word == "now" else f"{moment + timedelta(days=_POSTGRES_DAYS[word]):%Y-%m-%d}"


def _value(text: str, kind: str, dialect: Dialect) -> exp.Expr:
    literal = exp.Literal.string(text)
    return literal if dialect == "sqlite" else exp.cast(literal, exp.DataType.build(kind, dialect=dialect))
