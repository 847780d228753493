"""What a question may say in sentences of its own: its conditions, its order, its limit, how ties are broken."""

from random import Random
from typing import Literal

from generators.text_to_sql.grammar import Query
from generators.text_to_sql.grammar.plan import Filter, Order, Plan
from generators.text_to_sql.verbalise.conditions import Conditions, Noun
from generators.text_to_sql.verbalise.items import Items
from generators.text_to_sql.verbalise.names import Names
from generators.text_to_sql.verbalise.voice import Style, Voice

Form = Literal["imperative", "wh", "np", "terse"]


class Apart:
    """`notes` collects the sentences that follow the core of the question."""

    def __init__(self, query: Query, style: Style, rng: Random, plan: Plan | None = None) -> None:
        self.plan = plan or query.plan
        self.voice = Voice(style, rng)
        self.names = Names(query.database, self.plan, self.voice)
        self.conditions = Conditions(self.names, self.voice)
        self.items = Items(self.names, self.conditions, self.voice)
        self.subject = self.names.subject
        self.notes: list[str] = []

    def _inline_filters(self, form: Form, p: float = 0.75) -> tuple[Filter, ...]:
        """The filters, or none of them and a sentence that states them."""
        if not self.plan.filters or (form == "terse" and p) or self.voice.chance(p):
            return self.plan.filters
        restr = self.conditions.restrictions(self.plan.filters, Noun(self.subject.person, many=True))
        self.notes.append(self.voice.say("restrict", subjects=self.subject.plural, restr=restr))
        return ()

    def _tail(self, form: Form) -> str:
        """Order and limit, here or in sentences of their own."""
        plan, voice = self.plan, self.voice
        text = ""
        if plan.order:
            order = self.items.order(plan.order)
            if form == "terse" or voice.chance(0.65):
                text += f", {order}"
            else:
                self.notes.append(voice.say("order_sentence", order=order))
        if plan.offset:
            return text + self._page(form)
        if plan.limit is not None:
            one = "_one" if plan.limit == 1 else ""
            count = voice.count(plan.limit)
            if text and (form == "terse" or voice.chance(0.4)):
                text += f", {voice.say(f'limit_tail{one}', n=count)}"
            else:
                self.notes.append(voice.say(f"limit_sentence{one}", n=count))
        return text

    def _page(self, form: Form) -> str:
        """Which rows of the order are passed over, and which come then."""
        plan, voice = self.plan, self.voice
        limit = plan.limit or 1
        slots = {"k": voice.count(plan.offset), "n": voice.count(limit)}
        slots |= {"from": voice.keep(str(plan.offset + 1)), "to": voice.keep(str(plan.offset + limit))}
        if form == "terse" or voice.chance(0.5):
            return f", {voice.say('skip_tail', **slots)}"
        self.notes.append(voice.say("skip_sentence", **slots))
        return ""

    def _note_ties(self, first: Order, extra: Order) -> None:
        key, by = self.items.order_noun(extra.by), self.items.order_noun(first.by)
        self.notes.append(self.voice.say("top_break", key=key, by=by, way=self.items.way(extra)))

    def _split(self, core: str) -> str:
        """A question that ends inside the core: what follows it becomes a note."""
        question, mark, rest = core.partition("? ")
        if mark:
            self.notes.insert(0, rest + ".")
        return question
