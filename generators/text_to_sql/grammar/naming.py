"""What output columns are called: the column itself, or what was computed from it."""

from generators.text_to_sql.grammar.catalog import Catalog
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Arithmetic,
    Beginning,
    BeyondCount,
    Bucket,
    Cased,
    Change,
    ChildCount,
    ChildTotal,
    Combined,
    Conditional,
    DatePart,
    Default,
    Deviation,
    Elapsed,
    EndValue,
    Growth,
    Item,
    Mapped,
    Median,
    Moving,
    Nested,
    Plan,
    Rank,
    Ref,
    Renamed,
    Running,
    Share,
    Shifted,
    TextList,
    Tile,
)

_PREFIX = {"sum": "total", "avg": "average", "min": "lowest", "max": "highest", "count_distinct": "distinct"}
_TILES = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 10: "tenth"}


def alias_of(item: Item, plan: Plan, catalog: Catalog) -> str:
    """The name of an output column."""
    match item:
        case Ref(path=path, table=table, column=column):
            crowd = [other.column for other in plan.select if isinstance(other, Ref)]
            return f"{table}_{column}" if path and (crowd.count(column) > 1 or column == "name") else column
        case Aggregate() | Conditional() | Median() | TextList() | ChildCount() | ChildTotal() | Share() | Nested():
            return _of_many(item, plan, catalog)
        case BeyondCount(per=per):
            return f"{per.table}_count"
        case Running(of=of):
            return f"running_{alias_of(of, plan, catalog)}"
        case Change(of=of):
            return f"{alias_of(of, plan, catalog)}_change"
        case Growth(of=of):
            return f"{alias_of(of, plan, catalog)}_growth"
        case Moving(of=of):
            return f"moving_average_{alias_of(of, plan, catalog)}"
        case Rank(ref=ref):
            return f"{ref.column}_rank"
        case Tile(ref=ref, count=count):
            return f"{ref.column}_{_TILES[count]}"
        case EndValue(ref=ref, last=last):
            return f"{'latest' if last else 'first'}_{ref.column}"
        case Deviation(ref=ref):
            return f"{ref.column}_deviation"
        case _:
            return _of_one(item)


def _of_one(item: Item) -> str:
    match item:
        case DatePart(part=part):
            return part
        case Bucket(ref=ref):
            return f"{ref.column}_group"
        case Mapped(ref=ref):
            return f"{ref.column}_code"
        case Renamed(name=name):
            return name
        case Arithmetic(left, operator, right):
            return f"{left.column}_{operator}_{right.column}"
        case Cased(ref=ref, case=case):
            return f"{ref.column}_{case}"
        case Beginning(ref=ref):
            return f"{ref.column}_start"
        case Combined(left, right):
            return f"{left.column}_and_{right.column}"
        case Default(ref=ref):
            return f"{ref.column}_or_default"
        case Elapsed(start, end):
            return f"days_from_{start.column}_to_{end.column}"
        case Shifted(ref=ref, days=days):
            return f"{ref.column}_{'plus' if days > 0 else 'minus'}_{abs(days)}_days"
    raise AssertionError(item)


def _of_many(item: Item, plan: Plan, catalog: Catalog) -> str:
    match item:
        case Aggregate("count", None):
            return f"{plan.subject}_count"
        case Aggregate(function, Ref(column=column)):
            return f"{_PREFIX[function]}_{column}" + ("_count" if function == "count_distinct" else "")
        case Conditional(of, condition):
            return f"{_slug(condition.ref.column, condition.op, condition.value)}_{alias_of(of, plan, catalog)}"
        case Median(ref):
            return f"median_{ref.column}"
        case TextList(ref):
            return f"{ref.column}_list"
        case ChildCount(table=table):
            return f"{table}_count"
        case ChildTotal(table=table, column=column):
            return f"total_{table}_{column}"
        case Share(of=of):
            return f"share_of_{alias_of(of, plan, catalog)}"
        case Nested(outer=outer, inner=inner):
            return f"{_PREFIX[outer]}_{alias_of(inner, plan, catalog)}"
    raise AssertionError(item)


def _slug(column: str, op: str, value: object) -> str:
    """A plain name for a condition: its value where that is a word, else its column."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in str(value)).lower().split()
    if isinstance(value, str) and op == "eq" and words and words[0][0].isalpha():
        return "_".join(words)
    return column if op in ("eq", "ne") else f"{column}_{op}_{'_'.join(words)}"
