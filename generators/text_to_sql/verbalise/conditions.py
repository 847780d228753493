"""Conditions in words: each filter as a restriction that follows the noun it narrows.

visits  whose fee is above 50 euros  |  with a fee of more than 50 euros  |  fee > 50 euros
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from generators.text_to_sql.grammar.plan import (
    Between,
    Comparison,
    Covers,
    Either,
    Filter,
    Having,
    HavingMean,
    InPeriod,
    Literally,
    Membership,
    Missing,
    Operator,
    Partner,
    Pattern,
    Plan,
    Recent,
    Ref,
    TopGroup,
    VersusAverage,
    VersusNamed,
)
from generators.text_to_sql.schema import Table
from generators.text_to_sql.verbalise import words
from generators.text_to_sql.verbalise.names import Names, with_article
from generators.text_to_sql.verbalise.voice import Voice, fill

SYMBOLS: dict[Operator, str] = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@dataclass(frozen=True, slots=True)
class Noun:
    """What a restriction must agree with."""

    person: bool
    many: bool

    @property
    def slots(self) -> dict[str, str]:
        person, many = self.person, self.many
        return {
            "who": "who" if person else "that",
            "have": "have" if many else "has",
            "is": "are" if many else "is",
            "isnt": "aren't" if many else "isn't",
            "do": "do" if many else "does",
            "lack": "lack" if many else "lacks",
            "its": "their" if many or person else "its",
            "s": "" if many else "s",
        }


class Conditions:
    """Puts the filters of one plan into words."""

    def __init__(self, names: Names, voice: Voice) -> None:
        self.names, self.voice = names, voice

    def restrictions(self, filters: tuple[Filter, ...], noun: Noun) -> str:
        """All filters, with a space in front; "" for none. What is excluded comes last."""
        parts = self._alike(filters, noun, self.restriction)
        kept = [part for part in parts if not part.startswith(_EXCEPT)]
        excluded = [part for part in parts if part.startswith(_EXCEPT)]
        text = f" {self.voice.listed(kept)}" if kept else ""
        return text + "".join(f", {part}," for part in excluded)

    def _alike(self, filters: Sequence[Filter], noun: Noun, say: Callable[[Filter, Noun], str]) -> list[str]:
        """All filters, and if they can, opening alike: not "whose fee is 5 and with a date in 2024"."""
        said: list[str] = []
        for filter_ in filters:
            for _ in range(_TRIES):
                text = say(filter_, noun)
                if not said or _opening(text) == _opening(said[0]):
                    break
            said.append(text)
        return said

    def restriction(self, filter_: Filter, noun: Noun) -> str:
        match filter_:
            case Comparison(ref, op, value):
                if self.names.column(ref).kind == "flag":
                    return self._flag(ref, (op == "eq") == bool(value), noun)
                literal = self.voice.value(value, self.names.column(ref))
                return self._about(ref, f"{self._family(ref)}.{op}", noun, v=literal)
            case Between(ref, low, high):
                return self._about(ref, f"{self._family(ref)}.between", noun, **self._range(ref, low, high))
            case Membership(ref, values, negated):
                return self._about(ref, f"category.{'not_in' if negated else 'in'}", noun, **self._choices(ref, values))
            case Pattern(ref, how, text, negated):
                piece = self.voice.keep(words.quoted(text, self.voice.mark))
                return self._about(ref, f"text.{'not_' if negated else ''}{how}", noun, v=piece)
            case Missing(ref, negated):
                return self._about(ref, f"missing.{'negated' if negated else 'plain'}", noun)
            case InPeriod(ref, period):
                return self._about(ref, "period", noun, v=self._period(period))
            case Recent(ref, days):
                return self._recent(ref, days, noun)
            case Partner():
                return self._partner(filter_, noun)
            case VersusAverage():
                return self._versus(filter_, noun)
            case TopGroup(group, of, descending):
                best = self.voice.rng.choice(("highest", "largest") if descending else ("lowest", "smallest"))
                slots = {"group": self.names.noun(group), "best": best, "agg": self.names.aggregate(of)}
                return self.voice.say("top_group", **slots, **noun.slots)
            case Covers():
                one, many = self.names.child(filter_.table, filter_.key)
                column = self.names.catalog.table(filter_.table).column(filter_.column).words
                return self.voice.say("covers", child=one, children=many, col=column, **noun.slots)
            case VersusNamed():
                return self._versus_named(filter_, noun)
            case Either(first, second):
                a, b = self._alike((first, second), noun, self.kept)
                return self.voice.say("either", a=a, b=b)
        raise AssertionError(filter_)

    def kept(self, filter_: Filter, noun: Noun) -> str:
        """The restriction in a form that says which rows are kept, not which are left out."""
        text = self.restriction(filter_, noun)
        while text.startswith(_EXCEPT):
            text = self.restriction(filter_, noun)
        return text

    def symbols(self, filters: tuple[Filter, ...], noun: Noun) -> str:
        """Tersely, `; fee > 50 euros, reason = 'fever'`; in words where a filter has no such form."""
        parts = [self._symbol(filter_) for filter_ in filters]
        if not filters or None in parts:
            return ", only those" + self.restrictions(filters, noun) if filters else ""
        opening = self.voice.choose("[, where |; |; filter: |, only ]")
        return opening + self.voice.rng.choice((" and ", ", ", " & ")).join(part for part in parts if part)

    # --- about one column ---

    def _family(self, ref: Ref) -> str:
        """Which vocabulary of comparison fits the column."""
        column = self.names.column(ref)
        if column.kind == "date":
            return "date"
        if column.unit == "year":
            return "year"
        return "number" if column.kind == "measure" else "category"

    def _about(self, ref: Ref, key: str, noun: Noun, **literals: str) -> str:
        """By a predicate ("whose fee is ..."), an attribute ("with a fee of ...") or in a form of its own."""
        voice, column = self.voice, self.names.column(ref)
        col = self.names.noun(ref)
        own = not ref.path
        slots = {"col": col, "acol": with_article(col, column), **literals, **noun.slots}
        forms = [("is", 3.0), *((("of", 2.0), ("free", 1.5)) if own else ()), ("except", 1.0 if own else 0.0)]
        present = [(form, weight) for form, weight in forms if weight and voice.has(f"{key}.{form}")]
        form = voice.rng.choices([form for form, _ in present], [weight for _, weight in present])[0]
        text = voice.say(f"{key}.{form}", **slots)
        if form in ("free", "except"):
            return text
        if form == "of":
            marker = voice.rng.choice(("with", "with", "having", f"{noun.slots['who']} {noun.slots['have']}"))
            return f"{marker} {slots['acol']} {text}"
        if self.names.fronted(ref) and voice.chance(0.65):
            return f"whose {col} {text}"
        return f"{voice.rng.choice(('where', 'for which', 'where'))} the {col} {text}"

    def _range(self, ref: Ref, low: Literally, high: Literally) -> dict[str, str]:
        column = self.names.column(ref)
        return {"v": self.voice.value(low, column, unit=self.voice.chance(0.3)), "w": self.voice.value(high, column)}

    def _choices(self, ref: Ref, values: tuple[Literally, ...]) -> dict[str, str]:
        column = self.names.column(ref)
        parts = [self.voice.value(value, column) for value in values]
        nor = " nor ".join(parts)
        return {"v": self.voice.listed(parts, "or"), "vs": self.voice.listed(parts), "nor": nor}

    def _period(self, period: int | str) -> str:
        if isinstance(period, str):
            return self.voice.keep(words.month(period, self.voice.dates))
        return self.voice.rng.choice(("", "the year ")) + self.voice.keep(str(period))

    def _flag(self, ref: Ref, holds: bool, noun: Noun) -> str:
        state = "plain" if holds else "negated"
        words_ = self.names.column(ref).words
        if ref.path:
            return self.voice.say(f"flag_joined.{state}", role=self.names.role(ref.path), x=words_)
        if noun.many and words_.startswith(("a ", "an ")):
            words_ = words.plural(words_.split(" ", 1)[1])
        key = f"flag.{state}"
        template = self.voice.rng.choice(self.voice.options(key)[:2]) if " as " in words_ else self.voice.pick(key)
        return fill(template, {"x": words_, **noun.slots})

    def _recent(self, ref: Ref, days: int, noun: Noun) -> str:
        col = self.names.noun(ref)
        slots = {"from": "from", "col": col, "acol": with_article(col, self.names.column(ref)), **noun.slots}
        return self.voice.say("recent", n=self.voice.keep(str(days)), **slots)

    # --- about other rows ---

    def _partner(self, filter_: Partner, noun: Noun) -> str:
        child = self.names.catalog.table(filter_.table)
        cond = conds = ""
        if filter_.having:
            inner = Conditions(Names(self.names.catalog.database, Plan("", child.name, ()), self.voice), self.voice)
            cond, conds = (f" {inner.restriction(filter_.having, Noun(child.person, many))}" for many in (False, True))
        one, many = self.names.child(filter_.table, filter_.key)
        slots = {"child": one, "children": many, "cond": cond, "conds": conds}
        return self.voice.say(f"partner.{'negated' if filter_.negated else 'plain'}", **slots, **noun.slots)

    def _versus(self, filter_: VersusAverage, noun: Noun) -> str:
        col = self.names.noun(filter_.ref)
        acol = with_article(col, self.names.column(filter_.ref))
        text = self.voice.say(f"versus.{filter_.op}", col=col, acol=acol, **noun.slots)
        return f"{text} {self.of_whom(filter_.within, self.names.subject)}"

    def _versus_named(self, filter_: VersusNamed, noun: Noun) -> str:
        column = self.names.column(filter_.ref)
        col = self.names.noun(filter_.ref)
        name = self.voice.keep(words.quoted(filter_.name, self.voice.mark))
        kind = "date" if column.kind == "date" or column.unit == "year" else "number"
        key = "eq" if filter_.op == "eq" else f"{kind}_{filter_.op}"
        return self.voice.say(f"versus_named.{key}", name=name, col=col, acol=with_article(col, column), **noun.slots)

    def of_whom(self, within: Ref | None, table: Table) -> str:
        """The rows that an average is taken over."""
        if within is None:
            return self.voice.say("of_whom_all", subjects=table.plural)
        return self.voice.say("of_whom_within", subjects=table.plural, key=self.names.noun(within))

    # --- about groups ---

    def having(self, having: Having | HavingMean, keys: str, noun: Noun) -> str:
        """A restriction on groups: "with more than 3 visits"."""
        if isinstance(having, HavingMean):
            pred = self.voice.say(f"beyond_mean.{having.op}", key=keys, keys=words.plural(keys))
            return self.voice.say("having_whose", agg=self.names.aggregate(having.of), pred=pred)
        column = self.names.column(having.of.ref) if having.of.ref else None
        value = self.voice.value(having.value, column)
        if having.of.ref is None and self.voice.chance(0.6):
            cmp = self.voice.say(f"how_many.{having.op}", v=value)
            subjects = self.names.subject.singular if having.value == 1 else self.names.subject.plural
            return self.voice.say("having_with", cmp=cmp, subjects=subjects, **noun.slots)
        pred = self.voice.say(f"number.{having.op}.is", v=value)
        return self.voice.say("having_whose", agg=self.names.aggregate(having.of), pred=pred)

    # --- terse ---

    def _symbol(self, filter_: Filter) -> str | None:
        voice = self.voice
        match filter_:
            case Comparison(ref, op, value):
                column = self.names.column(ref)
                if column.kind != "flag":
                    return f"{self._written(ref)} {SYMBOLS[op]} {voice.value(value, column)}"
                holds = (op == "eq") == bool(value)
                return ("" if holds else "not ") + column.words if not ref.path else None
            case Between(ref, low, high):
                ends = self._range(ref, low, high)
                said = fill(voice.choose("[between {v} and {w} inclusive|from {v} to {w}]"), ends)
                return f"{self._written(ref)} {said}"
            case Membership(ref, values, negated):
                listed = ", ".join(voice.value(value, self.names.column(ref)) for value in values)
                return f"{self._written(ref)} {'not in' if negated else 'in'} ({listed})"
            case Missing(ref, negated):
                return f"{self._written(ref)} {'is not null' if negated else 'is null'}"
            case InPeriod(ref, period):
                return f"{self._written(ref)} in {self._period(period)}"
        return None

    def _written(self, ref: Ref) -> str:
        technical = self.voice.style.register == "technical"
        return self.names.written(ref) if technical and self.names.has_code(ref) else self.names.noun(ref)


_EXCEPT = ("except", "excluding", "leaving out")
_TRIES = 40
_SAME = {"where": "whose", "for": "whose", "having": "with"}


def _opening(restriction: str) -> str:
    """What kind of clause it is, by its first word."""
    first = restriction.split(" ", 1)[0]
    return _SAME.get(first, first)
