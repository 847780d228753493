"""Which frame a plan takes in which form of request: rows, values, groups, sets, and what is none of these."""

from generators.text_to_sql.grammar.coverage import left_out, passed_over
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    BeyondCount,
    DatePart,
    Median,
    Nested,
    Plan,
    Ref,
)
from generators.text_to_sql.verbalise import words
from generators.text_to_sql.verbalise.apart import Form
from generators.text_to_sql.verbalise.conditions import Noun
from generators.text_to_sql.verbalise.names import Names
from generators.text_to_sql.verbalise.rows import Rows
from generators.text_to_sql.verbalise.voice import fill


class Frames(Rows):
    """Builds the core of one question in one form."""

    def core(self, form: Form) -> str:
        core = self._core(form)
        self._note_left_out()
        return core

    def _note_left_out(self) -> None:
        """Parents and months without any row, in a sentence behind the conditions on the rows."""
        plan, catalog = self.plan, self.names.catalog
        some = f"such {self.subject.singular}" if plan.filters else self.subject.singular
        if per := left_out(plan, catalog):
            self.notes.append(self.voice.say("some_only", pers=words.plural(self.names.role(per.path)), some=some))
        if part := passed_over(plan, catalog):
            slots = {"one": part.part, "ones": words.plural(part.part), "some": some}
            self.notes.append(self.voice.say("some_periods_only", **slots))

    def _core(self, form: Form) -> str:
        plan = self.plan
        if plan.shape != "rows":
            return self._shape(form)
        if plan.union:
            return self._union(form, plan.union)
        if plan.top:
            return self._top(form)
        if plan.distinct:
            return self._distinct(form)
        if plan.group:
            return self._group(form)
        if all(isinstance(item, Aggregate | Median | Nested | BeyondCount) for item in plan.select):
            return self._scalar(form)
        if self._is_extreme() and self.voice.chance(0.65):
            return self._extreme(form)
        return self._rows(form)

    # --- values ---

    def _scalar(self, form: Form) -> str:
        items = self.plan.select
        counted = any(isinstance(item, BeyondCount) for item in items)
        filters = self._inline_filters(form, 0.0 if counted else 0.85)
        slots = self._slots(filters)
        slots |= {
            "aggs": self.items.listed(items, slots["restr"]),
            "are1": "is" if len(items) == 1 else "are",
            "figure": "figure" if len(items) == 1 else "figures",
        }
        if items == (Aggregate("count"),) and form in ("wh", "imperative"):
            return fill(self.voice.pick(f"count_{form}"), slots)
        return slots["aggs"] if form == "np" else fill(self.voice.pick(f"scalar_{form}"), slots)

    # --- groups ---

    def _group(self, form: Form) -> str:
        plan, voice = self.plan, self.voice
        items = tuple(
            item for item in plan.select if item not in plan.group or (self.names.entity and item in plan.group)
        )
        computed = [item for item in items if not isinstance(item, Ref)]
        single = len(computed) == 1 and isinstance(computed[0], Aggregate)
        filters = self._inline_filters(form, 0.75 if single else 0.0)
        slots = self._slots(filters)
        key = self.names.key(plan.group[-1] if len(plan.group) == 1 else plan.group[0])
        slots |= {
            "aggs": self.items.listed(items, slots["restr"]),
            "key": key,
            "keys": words.plural(key),
            "are1": "is" if len(items) == 1 else "are",
        }
        stem = "group"
        if plan.having and (voice.chance(0.5) or form == "terse"):
            stem = "group_having"
            slots["having"] = self._having(key, many=False)
            slots["having_many"] = slots["having"] if form == "terse" else self._having(key, many=True)
        elif plan.having:
            having = self._having(key, many=True)
            self.notes.append(voice.say("having_sentence", key=key, keys=words.plural(key), having=having))
        self._group_notes(plan.group)
        if items == (Aggregate("count"),) and stem == "group" and form in ("wh", "imperative") and voice.chance(0.5):
            stem = "group_count"
        template = voice.pick(f"{stem}_{form}")
        while self.names.entity and self.names.entity.path == () and " the {subjects} " in template:
            template = voice.pick(f"{stem}_{form}")  # not "split the customers by customer"
        text = fill(template, slots | {"tail": "" if form == "np" else self._tail(form)})
        return text + (self._tail(form) if form == "np" else "")

    def _having(self, key: str, many: bool) -> str:
        assert self.plan.having
        entity = self.names.entity
        person = entity is not None and self.names.catalog.table(entity.table).person
        return self.conditions.having(self.plan.having, key, Noun(person, many))

    # --- distinct, top of each group, union ---

    def _distinct(self, form: Form) -> str:
        filters = self._inline_filters(form)
        slots = self._row_slots(filters, many=True, repeat=True)
        slots["colsp"] = self.voice.listed(
            [self.names.nouns(item) for item in self.plan.select if isinstance(item, Ref)]
        )
        slots["sym"] = self.conditions.symbols(filters, Noun(self.subject.person, many=True))
        if len(self.plan.select) > 1:
            slots["np"] = fill(self.voice.pick("distinct_pair_np"), slots)
            frame = {"imperative": "{verb} {np}", "wh": "what are {np}", "np": "{np}", "terse": "{np}"}[form]
            return fill(frame, slots)
        slots["np"] = fill(self.voice.pick("distinct_np"), slots)
        return slots["np"] if form == "np" else fill(self.voice.pick(f"distinct_{form}"), slots)

    def _top(self, form: Form) -> str:
        top = self.plan.top
        assert top
        order = top.order[0]
        slots = self._extreme_slots(order, top.count)
        row = self._is_key(top.within)
        within = self.names.role(top.within.path) if row else self.names.key(top.within)
        slots |= {"by": slots["key"], "key": within}
        slots["in_each"] = self.voice.say("in_each_row" if row else "in_each", key=within)
        slots["cols"] += slots["plus"]
        slots["np"] = fill(self.voice.pick("top_np"), slots)
        if top.ties:
            self.notes.append(self.voice.say("top_ties_one" if top.count == 1 else "top_ties"))
        for extra in top.order[1:]:
            self._note_ties(order, extra)
        if form == "np":
            return slots["np"]
        front, mark, slots["np"] = ("", "", slots["np"]) if " ~ " not in slots["np"] else slots["np"].partition(" ~ ")
        template = self.voice.pick(f"top_{form}")
        return self._split(front * ("{np}" in template) + mark * ("{np}" in template) + fill(template, slots))

    def _is_key(self, ref: Ref) -> bool:
        return ref.column in self.names.catalog.table(ref.table).primary_key

    def _union(self, form: Form, second: Plan) -> str:
        one = self._row_slots(self.plan.filters, many=True)
        other = Names(self.names.catalog.database, second, self.voice)
        slots = one | {
            "one": one["restr"],
            "all2": f"the {other.subject.plural}",
            "subjects2": other.subject.plural,
            "two": self.conditions.restrictions(second.filters, Noun(other.subject.person, many=True)),
            "are1": "are",
        }
        ref = self.plan.select[0]
        assert isinstance(ref, Ref)
        slots |= {"col": self.names.noun(ref), "colp": self.names.nouns(ref)}
        if self.plan.combine != "union":
            np = fill(self.voice.pick(f"overlap.{self.plan.combine}"), slots)
        elif second.subject != self.plan.subject:
            np = fill(self.voice.pick("union_tables_np"), slots)
        else:
            np = fill(self.voice.pick("union_np"), slots)
        return np if form == "np" else fill(self.voice.pick(f"union_{form}"), slots | {"np": np})

    # --- what is neither rows nor groups ---

    def _shape(self, form: Form) -> str:
        if self.plan.shape == "unpivot":
            core = self._rows(form)
            measures = [item for item in self.plan.select[1:] if isinstance(item, Ref)]
            labels = [self.voice.keep(words.quoted(self.names.column(m).words, self.voice.mark)) for m in measures]
            cols = self.voice.listed([self.names.noun(measure) for measure in measures])
            self.notes.append(self.voice.say("unpivot_note", cols=cols, labels=self.voice.listed(labels, "or")))
            return core
        if self.plan.shape == "rollup":
            core = self._group(form)
            key = self.names.key(self.plan.group[0])
            self.notes.append(self.voice.say("rollup_note", key=key, keys=words.plural(key)))
            return core
        if self.plan.shape == "series":
            core = self._group(form)
            self.notes.append(self.voice.say("series_note", subjects=self.subject.plural))
            return core
        filters = self._inline_filters(form)
        one = self.conditions.restrictions(filters, Noun(self.subject.person, many=False))
        slots = self._slots(filters) | {"restr_one": one} | self._shape_slots()
        if any(isinstance(key, DatePart) and key.part == "month" for key in self.plan.group):
            self.notes.append(self.voice.say("time_note"))
        slots["tail"] = self._tail(form)
        if form == "wh" and self.voice.has(f"{self.plan.shape}_wh"):
            return fill(self.voice.pick(f"{self.plan.shape}_wh") + "{tail}", slots)
        slots["np"] = fill(self.voice.pick(f"{self.plan.shape}_np"), slots)
        front, mark, np = slots["np"].rpartition(" ~ ")
        return front + mark + fill(self.voice.pick(f"shape_{form}"), slots | {"np": np})

    def _shape_slots(self) -> dict[str, str]:
        """What islands, cohorts and pairs name besides the subject."""
        first, *rest = self.plan.group
        slots = {"subject": self.subject.singular}
        if isinstance(first, DatePart):
            slots |= {"date": self.names.noun(first.ref), "part": first.part}
        for per in rest:
            if isinstance(per, Ref):
                slots["parents"] = words.plural(self.names.role(per.path))
        if isinstance(first, Ref):
            label = self.plan.select[0]
            assert isinstance(label, Ref)
            slots |= {"key": self.names.noun(first), "label": self.names.noun(label), "labels": self.names.nouns(label)}
            slots["id"] = self.subject.column(self.subject.primary_key[0]).words
        return slots
