"""Computed output columns in words: aggregates, shares, running totals, ranks, bands."""

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
    HavingMean,
    Item,
    Mapped,
    Median,
    Moving,
    Nested,
    Order,
    Rank,
    Ref,
    Renamed,
    Running,
    Share,
    Shifted,
    TextList,
    Tile,
)
from generators.text_to_sql.verbalise import words
from generators.text_to_sql.verbalise.conditions import Conditions, Noun
from generators.text_to_sql.verbalise.names import Names
from generators.text_to_sql.verbalise.voice import Voice, fill

_SEPARATORS = {" ": "a space", ", ": "a comma and a space", " - ": "a hyphen with spaces around it"}


class Items:
    """Noun phrases, with their article, for what a plan computes."""

    def __init__(self, names: Names, conditions: Conditions, voice: Voice) -> None:
        self.names, self.conditions, self.voice = names, conditions, voice

    def phrase(self, item: Item, restr: str = "", many: bool = False, source: bool = True) -> str:
        """`restr` narrows the rows that are counted or aggregated; `many` rows are spoken of at once; without `source`
        the rows that are aggregated are not named."""
        names = self.names
        match item:
            case Ref():
                return f"the {names.noun(item)}"
            case DatePart():
                return f"the {names.key(item)}"
            case Aggregate() | Median() | Conditional() | TextList():
                return self._of_group(item, restr, source)
            case ChildCount() | ChildTotal() | Share() | Nested() | BeyondCount():
                return self._of_parts(item, many)
            case Running() | Change() | Growth() | Moving() | Rank() | Tile() | EndValue() | Deviation():
                return self._beside_others(item, many)
            case _:
                return self._of_row(item)

    def _of_row(self, item: Item) -> str:
        say, noun = self.voice.say, self.names.noun
        match item:
            case Bucket(ref):
                return say("bucket", col=noun(ref), cases=self.cases(item))
            case Mapped(ref, _, _, rest):
                return say("mapped", col=noun(ref), cases=self._mapping(item), rest=self._quoted(rest))
            case Renamed(ref, name):
                return say("renamed", col=noun(ref), name=self._quoted(name))
            case Arithmetic(left, operator, right):
                return say(operator, a=noun(left), b=noun(right))
            case Cased(ref, case):
                return say(case, col=noun(ref))
            case Beginning(ref, count):
                key = "beginning_one" if count == 1 else "beginning"
                return say(key, col=noun(ref), n=self.voice.count(count))
            case Combined(left, right, separator):
                return say("combined", a=noun(left), b=noun(right), sep=_SEPARATORS[separator])
            case Default(ref, value):
                shown = self._quoted(value) if isinstance(value, str) else self.voice.keep(str(value))
                return say("default", col=noun(ref), v=shown)
            case Elapsed(start, end):
                return say("elapsed", a=noun(start), b=noun(end))
            case Shifted(ref, days):
                key = "shifted_after" if days > 0 else "shifted_before"
                return say(key, col=noun(ref), n=self.voice.keep(str(abs(days))))
        raise AssertionError(item)

    def _of_group(self, item: Item, restr: str, source: bool) -> str:
        say, names = self.voice.say, self.names
        subject = names.subject
        match item:
            case Aggregate("count", None):
                for_ = f" for those{restr}" if restr else ""
                return say("count", subject=subject.singular, subjects=subject.plural, restr=restr, restr_for=for_)
            case Aggregate(function, Ref() as ref, decimals):
                year = "_year" if names.column(ref).unit == "year" and function in ("min", "max") else ""
                phrase = say(f"{function}{year}", col=names.noun(ref), colp=names.nouns(ref))
                return phrase + (self.source(restr) if source else "") + self.rounded(decimals)
            case Median(ref):
                phrase = say("median", col=names.noun(ref), colp=names.nouns(ref))
                return phrase + (self.source(restr) if source else "")
            case TextList(ref):
                return say("text_list", colp=names.nouns(ref), subjects=names.all_of(subject))
            case Conditional(of, condition):
                met = self.conditions.kept(condition, Noun(subject.person, many=True))
                slots = {"subjects": subject.plural, "restr": met}
                if of.ref is None:
                    beside = Aggregate("count") in names.plan.select
                    return say("conditional_count" if beside else "conditional_count_named", **slots)
                return say("conditional_sum", col=names.noun(of.ref), colp=names.nouns(of.ref), **slots)
        raise AssertionError(item)

    def _of_parts(self, item: Item, many: bool) -> str:
        say, names = self.voice.say, self.names
        subject = names.subject
        match item:
            case ChildCount(table, key):
                child, children = names.child(table, key)
                slots = Noun(subject.person, many).slots | {"child": child, "children": children}
                pronouns = {"they": "the " + subject.singular, "it": "the " + subject.singular}
                return f"{say('children', **slots, **pronouns)} ({say('children_zero')})"
            case ChildTotal(table, key, column):
                words_ = names.catalog.table(table).column(column).words
                children = names.child(table, key)[1]
                its = Noun(subject.person, many).slots["its"]
                total = say("child_total", col=words_, colp=words.plural(words_), children=children, its=its)
                return f"{total} ({say('total_zero')})"
            case Share(of, decimals):
                return say("share", of_all=f"the {self._grand(of)}") + self.rounded(decimals)
            case Nested(outer, inner, per):
                role = names.role(per.path)
                noun = names.aggregate(inner) + (f" of {subject.plural}" if inner.ref else "")
                return say("nested", outer=say(f"outer.{outer}"), inner=noun, per=role, pers=words.plural(role))
            case BeyondCount(of, op, per):
                role = names.role(per.path)
                person = names.catalog.table(per.table).person
                having = self.conditions.having(HavingMean(of, op), role, Noun(person, many=True))
                return say("beyond_count", pers=words.plural(role), having=having)
        raise AssertionError(item)

    def _beside_others(self, item: Item, many: bool) -> str:
        say, names = self.voice.say, self.names
        subject = names.subject
        each = {"it": "each one", "whose": "each one's"} if many else {"it": "it", "whose": "its"}
        match item:
            case Running(of):
                noun = self._of(of.ref if isinstance(of, Aggregate) and of.ref else of)
                return say("running", of=f"the {noun}", of0=noun, this=f"that {self._one(of)}")
            case Change(of):
                return say("change", of=f"the {self._of(of)}", one=self._one(of))
            case Growth(of, decimals):
                return say("growth", of=f"the {self._of(of)}", one=self._one(of)) + self.rounded(decimals)
            case Moving(of, rows):
                one = self._one(of)
                count, before = self.voice.keep(str(rows)), self.voice.keep(words.spelled(rows - 1))
                slots = {"of": f"the {self._of(of)}", "one": one, "ones": words.plural(one), "m": count, "n": before}
                phrase = say("moving", **slots)
                return phrase if rows > 2 else phrase.replace("previous " + words.plural(one), "previous " + one)
            case Rank():
                return self._rank(item, each)
            case Tile(ref, descending, count):
                first = say(f"tile_first.{'high' if descending else 'low'}")
                slots = {"subjects": subject.plural, "key": names.noun(ref), "first": first, **each}
                return say("tile", n=self.voice.count(count), **slots)
            case EndValue(ref, by, within, last):
                slots = {"col": names.noun(ref), "by": names.noun(by), "within": names.noun(within)}
                return say(f"end_value.{'last' if last else 'first'}", subject=subject.singular, **slots)
            case Deviation(ref, within):
                whom = self.conditions.of_whom(within, subject)
                return say("deviation", col=names.noun(ref), of_whom=whom, **each)
        raise AssertionError(item)

    def listed(self, items: tuple[Item, ...], restr: str) -> str:
        """Several items in a row; where they aggregate the same rows, these are named once."""
        last = [i for i in items if isinstance(i, Median) or (isinstance(i, Aggregate) and i.ref)][-1:]
        return self.voice.listed([self.phrase(item, restr, source=item in last) for item in items])

    def source(self, restr: str) -> str:
        subject = self.names.subject
        return " " + self.voice.say("source", all=self.names.all_of(subject), restr=restr)

    def rounded(self, decimals: int | None) -> str:
        if decimals is None:
            return ""
        return " " + self.voice.say(
            "rounded", n=self.voice.keep(words.spelled(decimals)), s="" if decimals == 1 else "s"
        )

    def cases(self, bucket: Bucket) -> str:
        """'small' below 50 euros, 'large' from 50 euros up."""
        column = self.names.column(bucket.ref)
        labels = [self.voice.keep(words.quoted(label, self.voice.mark)) for label in bucket.labels]
        edges = [self.voice.value(edge, column) for edge in bucket.edges]
        parts = [self.voice.say("bucket_first", label=labels[0], low=edges[0])]
        for label, low, high in zip(labels[1:-1], edges, edges[1:], strict=False):
            parts.append(self.voice.say("bucket_middle", label=label, low=low, high=high))
        parts.append(self.voice.say("bucket_last", label=labels[-1], low=edges[-1]))
        return self.voice.listed(parts)

    def order(self, orders: tuple[Order, ...]) -> str:
        """ "sorted by fee in descending order, and then by visit number ascending"."""
        first, *rest = orders
        direction = "desc" if first.descending else "asc"
        text = self.voice.say(f"order_{self.family(first.by)}_{direction}", key=self.order_noun(first.by))
        return text + "".join(f", {self.voice.say('ties', key=self.order_noun(o.by), way=self.way(o))}" for o in rest)

    def way(self, order: Order) -> str:
        return self.voice.say(f"way_{'desc' if order.descending else 'asc'}.{self.family(order.by)}")

    def family(self, item: Item) -> str:
        """number, date or text: what the order of such values is called."""
        if isinstance(item, DatePart):
            return "date"
        if isinstance(item, Ref):
            column = self.names.column(item)
            if column.kind == "date":
                return "date"
            if column.values and isinstance(column.values[0], str):
                return "text"
        return "number"

    def order_noun(self, item: Item) -> str:
        match item:
            case Ref():
                return self.names.noun(item)
            case DatePart(part=part):
                return part
            case Aggregate():
                return self.names.aggregate(item)
            case ChildCount(table, key):
                return f"number of {self.names.child(table, key)[1]}"
            case Share():
                return "share"
        return "value"

    # --- parts ---

    def _mapping(self, item: Mapped) -> str:
        """'D' for 'delivered', 'C' for 'cancelled'."""
        pairs = zip(item.words, item.values, strict=True)
        form = self.voice.choose("[{word} for {value}|{word} where it is {value}]")
        return ", ".join(fill(form, {"word": self._quoted(w), "value": self._quoted(v)}) for w, v in pairs)

    def _quoted(self, text: str) -> str:
        return self.voice.keep(words.quoted(text, self.voice.mark))

    def _of(self, of: Ref | Aggregate) -> str:
        return self.names.noun(of) if isinstance(of, Ref) else self.names.aggregate(of)

    def _one(self, of: Ref | Aggregate) -> str:
        """What a window steps over: the plan's month or year, or its rows."""
        key = next(iter(self.names.plan.group), None)
        return key.part if isinstance(key, DatePart) else self.names.subject.singular

    def _grand(self, of: Aggregate) -> str:
        if of.ref is None:
            return self.voice.choose(f"[total|overall] number of {self.names.subject.plural}")
        return self.voice.choose(f"[overall|grand] total of the {self.names.noun(of.ref)}")

    def _rank(self, item: Rank, each: dict[str, str]) -> str:
        first = self.voice.say(f"rank_first.{'high' if item.descending else 'low'}")
        ties = self.voice.say(f"rank_ties.{'dense' if item.dense else 'gaps'}")
        within = f" {self.voice.say('rank_within', key=self.names.noun(item.within))}" if item.within else ""
        key = self.names.noun(item.ref) + within
        return self.voice.say("rank", key=key, first=f"{first}; {ties}", first0=f"{first} and {ties}", **each)
