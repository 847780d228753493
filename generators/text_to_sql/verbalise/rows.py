"""Frames for rows: the columns of every row that meets the conditions, or of the first ones in an order."""

from collections.abc import Sequence

from generators.text_to_sql.grammar.plan import Bucket, DatePart, Filter, Item, Order, Ref
from generators.text_to_sql.verbalise import words
from generators.text_to_sql.verbalise.apart import Apart, Form
from generators.text_to_sql.verbalise.conditions import Noun
from generators.text_to_sql.verbalise.voice import fill


class Rows(Apart):
    """What a frame can name, and the frames of plans that show rows as they are."""

    def _rows(self, form: Form) -> str:
        filters = self._inline_filters(form)
        self._group_notes(self.plan.select)
        if form == "wh" and len(filters) == 1 and self.voice.chance(0.6) and (pred := self._pred(filters)):
            slots = self._row_slots((), many=True) | {"pred": pred, "the_all": f"the {self.subject.plural}"}
            return self._split(fill(self.voice.pick("rows_which"), slots | {"tail": self._tail(form)}))
        bare = "_all" if form == "imperative" and not filters else ""
        template = self.voice.pick(f"rows_{form}{bare}")
        slots = self._row_slots(filters, many="{every}" not in template, repeat=" each" in template)
        if form != "wh" and "{np}" in template:
            slots["np"] = self._rows_np(filters)
        slots["sym"] = self.conditions.symbols(filters, Noun(self.subject.person, True)) if "{sym}" in template else ""
        text = fill(template, slots | {"tail": "" if form == "np" else self._tail(form)})
        return text + (self._tail(form) if form == "np" else "")

    def _rows_np(self, filters: tuple[Filter, ...]) -> str:
        template = self.voice.pick("rows_np")
        return fill(template, self._row_slots(filters, many="{every}" not in template))

    def _row_slots(self, filters: tuple[Filter, ...], many: bool, repeat: bool = False) -> dict[str, str]:
        """`repeat`: the columns are named once for each row, in the singular."""
        plain = [item for item in self.plan.select if isinstance(item, Ref) and self.names.fronted(item)]
        rest = [item for item in self.plan.select if item not in plain]
        plural = many and not repeat and self.voice.chance(0.8 if len(plain) == 1 else 0.3)
        cols = [self.names.nouns(ref) if plural else self.names.noun(ref) for ref in plain]
        plus = (
            self.voice.say("plus", x=self.voice.listed([self.items.phrase(item, many=many) for item in rest]))
            if rest
            else ""
        )
        return self._slots(filters, many) | {
            "cols": self.voice.listed(cols),
            "are_cols": "is" if len(cols) == 1 and not plural else "are",
            "plus": plus,
        }

    def _slots(self, filters: tuple[Filter, ...], many: bool = True) -> dict[str, str]:
        """What every frame can name: a verb, the subject, and its conditions."""
        noun = Noun(self.subject.person, many)
        return {
            "verb": self.voice.say("verb"),
            "Verb": words.sentence(self.voice.say("verb"))[:-1],
            "every": self.names.every_of(self.subject),
            "all": self.names.all_of(self.subject),
            "subjects": self.subject.plural,
            "restr": self.conditions.restrictions(filters, noun),
            "their": noun.slots["its"],
        }

    def _pred(self, filters: tuple[Filter, ...]) -> str | None:
        """The condition as a verb phrase: "have a fee above 50 euros"."""
        noun = Noun(self.subject.person, many=True)
        text = self.conditions.restrictions(filters, noun).strip()
        if text.startswith("with "):
            return "have " + text.removeprefix("with ")
        who = noun.slots["who"] + " "
        return text.removeprefix(who) if text.startswith(who) else None

    # --- the first rows in an order ---

    def _is_extreme(self) -> bool:
        if self.plan.limit is None or self.plan.offset or not self.plan.order:
            return False
        by = self.plan.order[0].by
        return isinstance(by, Ref) and self.items.family(by) in ("number", "date")

    def _best(self, order: Order) -> str:
        if self.items.family(order.by) == "date":
            return "late" if order.descending else "early"
        return "high" if order.descending else "low"

    def _extreme_slots(self, order: Order, count: int) -> dict[str, str]:
        many = count > 1
        ambiguous = self.subject.singular == self.subject.plural  # "the one aircraft"
        best = self._best(order)
        noun = Noun(self.subject.person, many).slots
        return self._row_slots((), many) | {
            "n": f"{self.voice.count(count)} " if many or ambiguous else "",
            "n1": self.voice.count(count),
            "plural": self.subject.plural,
            "subjects": self.subject.plural if many else self.subject.singular,
            "have": noun["have"],
            "their": noun["its"],
            "are1": "are" if many else "is",
            "best": self.voice.say(f"best.{best}"),
            "best_by": self.voice.say(f"best_by.{best}"),
            "key": self.items.order_noun(order.by),
        }

    def _extreme(self, form: Form) -> str:
        order, limit = self.plan.order[0], self.plan.limit or 1
        slots = self._extreme_slots(order, limit)
        slots["cols"] += slots["plus"]
        slots["np"] = fill(self.voice.pick("extreme_np"), slots)
        core = slots["np"] if form == "np" else self._split(fill(self.voice.pick(f"extreme_{form}"), slots))
        filters = self._inline_filters(form)
        if filters:
            slots["subjects"] = self.subject.plural
            slots["restr"] = self.conditions.restrictions(filters, Noun(self.subject.person, many=True))
            core = fill(self.voice.pick("extreme_among"), slots | {"core": core})
        for extra in self.plan.order[1:]:
            self._note_ties(order, extra)
        return core

    # --- what groups and computed columns add ---

    def _group_notes(self, keys: Sequence[Item]) -> None:
        """What the groups stand for, or how a month is written."""
        for key in keys:
            if isinstance(key, Bucket) and key in self.plan.group:
                self.notes.append(self.voice.say("bucket_note", cases=self.items.cases(key)))
            if isinstance(key, DatePart) and key.part == "month":
                self.notes.append(self.voice.say("time_note"))
