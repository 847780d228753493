"""Order, limit and duplicates as the plan has them, and nothing in the question that it has not."""

from itertools import pairwise

from generators.text_to_sql.grammar.plan import (
    ChildCount,
    ChildTotal,
    Moving,
    Order,
    Rank,
    Ref,
    TextList,
    Tile,
    refs_of,
)
from generators.text_to_sql.paraphrase.ends import End, Ends
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import plain_words

_ONE_ROW, _CAPITALS = plain_words("one_row"), plain_words("capitals")
_IN_A_ROW = frozenset({",", "or", "and", "nor", "/", "a", "an", "the"})
_OPENERS = frozenset({"", ".", "?", "!", ":", ";", "-", "(", "->"})


class Shape:
    """Run last: what no other check has used is left over."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading
        self.ranks = [item for item in self.facts.selected if isinstance(item, Rank)]

    def check(self) -> None:
        self._order()
        self._limit()
        self._duplicates()
        self._sets()
        self._forms()
        self._left_over()

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

    # --- order ---

    def _order(self) -> None:
        orders = self.evidence.ordering()
        ranked = [Order(item.ref, item.descending) for item in self.ranks]
        ranked += [Order(item.ref) for item in self.facts.selected if isinstance(item, TextList)]
        stated = [a for a in self.evidence.orders.stated if not any(a.states(order) for order in ranked)]
        for order in orders:
            if not any(asked.states(order) for asked in stated) and not self._is_picked(order):
                self._problem(f"missing order by {order.by} {'descending' if order.descending else 'ascending'}")
        directed = [asked for asked in stated if asked.cue != "default"]
        for asked in directed:
            turned = asked.key and any(asked.key.means(order.by) for order in orders)
            if turned and not any(asked.states(order) for order in orders):
                self._problem(f"order turned round: {asked.cue!r}")
        if not orders and (directed or self._sorts()):
            self._problem("an order is added")

    def _sorts(self) -> bool:
        cues = [mention for mention in self.reading.tagged("sort") if not mention.table]
        return any("rank" not in mention.tags or not self.ranks for mention in cues)

    def _is_picked(self, order: Order) -> bool:
        """The order is told by a superlative: "the five visits with the highest fee"."""
        plan = self.facts.plan
        first = plan.order[:1] if plan.limit is not None else plan.top.order[:1] if plan.top else ()
        if order not in first:
            return False
        end, ends = End(self.facts.end(order), order.by), Ends(self.evidence)
        return any(
            ends.same_end(superlative.end, end)
            and (not superlative.keys or any(key.means(order.by) for key in superlative.keys))
            for superlative in self.evidence.orders.superlatives
        )

    # --- limit ---

    def _limit(self) -> None:
        plan = self.facts.plan
        if plan.shape == "islands":  # "its first and its last month" limit nothing
            words = [token.lower for token in self.reading.tokens]
            if plan.limit is None and {("first", "one"), ("first", "row"), ("single", "row")} & set(pairwise(words)):
                self._problem("a limit of one is added")
            if any(map(self._limits, self.evidence.unused(self.reading.tagged("number")))):
                self._problem("a limit is added")
            return
        if plan.offset:
            self._page(plan.offset, plan.limit or 1)
            return
        count = plan.limit if plan.limit is not None else plan.top.count if plan.top else None
        if count is None:
            if plan.order and self._single(grouped=bool(plan.group)):
                self._problem("a limit of one is added")
            if any(mention.text.lower().startswith("limit") for mention in self.reading.tagged("limit")):
                self._problem("a limit is added")
        elif count == 1:
            if not self._single(grouped=bool(plan.group)):
                self._problem("missing the limit of one")
        else:
            self._count(count)

    def _page(self, offset: int, limit: int) -> None:
        """ "skip the first five and show the next three", or "rows 6 to 8"."""
        numbers = self.evidence.unused(self.reading.tagged("number"))
        for one in numbers:
            skipped = any("skip" in other.tags for other in (*self.reading.left(one, 5), *self.reading.right(one, 4)))
            for two in numbers:
                counted = one is not two and skipped and (one.value, two.value) == (offset, limit)
                ranged = one.end <= two.start <= one.end + 4 and (one.value, two.value) == (offset + 1, offset + limit)
                if counted or (ranged and "to" in self.reading.between(one, two)):
                    self.evidence.used |= {one.start, two.start}
                    return
        self._problem(f"missing the page of {limit} rows after {offset}")

    def _count(self, count: int) -> None:
        numbers = self.evidence.unused(self.reading.tagged("number"))
        mention = next((m for m in numbers if m.value == count), None)
        if mention is None or self.reading.operators[mention.start] in ("gt", "ge", "lt"):
            self._problem(f"missing the limit of {count}")
        else:
            self.evidence.use(mention)

    def _single(self, grouped: bool = False) -> bool:
        """ "which one", "top 1", "only the first row", "the visit with the highest fee", "which city has the most"."""
        words = [token.lower for token in self.reading.tokens]
        superlatives = self.evidence.orders.superlatives
        if any(pair in (("which", "one"), ("the", "one")) for pair in pairwise(words)):
            return bool(superlatives)
        for mention in self.evidence.unused(self.reading.tagged("number")):
            if mention.value == 1 and self._limits(mention):
                self.evidence.use(mention)
                return True
        rows = any(one in ("single", "first") and other in _ONE_ROW for one, other in pairwise(words))
        if rows or ("first", "one") in pairwise(words):
            return True
        asked = any(word == "which" and "has" in words[place : place + 6] for place, word in enumerate(words))
        near = any(
            self._one_row(m, s.mention) and not (grouped and self._one_each(m, s.mention))
            for s in superlatives
            for m in self.reading.mentions
        )
        return near or (asked and bool(superlatives))

    def _limits(self, mention: Mention) -> bool:
        """ "1 row", "only one"; but not "one row per month"."""
        left, right = (1, 1) if mention.soft else (4, 3)
        near = (*self.reading.left(mention, left), *self.reading.right(mention, right))
        if any(other.table == self.facts.plan.subject for other in self.reading.right(mention, 1)):
            return True
        after = set(self.reading.span(mention.end, mention.end + 3))
        return any(other.tags & {"limit", "rows"} for other in near) and not after & {"per", "for"}

    def _one_row(self, mention: Mention, superlative: Mention) -> bool:
        """The subject in the singular beside a superlative."""
        if mention.table != self.facts.plan.subject or mention.plural:
            return False
        near = abs(mention.start - superlative.start) <= 6
        return near and self.reading.word_before(mention) not in ("each", "every", "per")

    def _one_each(self, mention: Mention, superlative: Mention) -> bool:
        """ "each studio's latest film", "the smallest payment for each status": one of each group."""
        near = (*self.reading.left(superlative, 3), *self.reading.right(mention, 4))
        return any("per" in other.tags for other in near)

    # --- the rest ---

    def _duplicates(self) -> None:
        plan = self.facts.plan
        unique = any(aggregate.function == "count_distinct" for aggregate in self.facts.aggregates())
        said = self.reading.tagged("distinct") or any(map(self.reading.about_repeats, self.reading.tagged("not")))
        if (plan.distinct or plan.union or unique) and not said:
            self._problem("duplicates are not removed")

    def _sets(self) -> None:
        """What two sets share is not what they hold together."""
        said = bool(self.reading.tagged("overlap"))
        if said != (self.facts.plan.combine == "intersect"):
            self._problem(f"what both sets hold is {'added' if said else 'not asked for'}")

    def _forms(self) -> None:
        """Months without a gap, runs of months, first dates and pairs are heard where the plan has them."""
        shape = self.facts.plan.shape
        words = {token.lower for token in self.reading.tokens}
        if bool(self.reading.tagged("streak")) != (shape == "islands"):
            self._problem(f"runs of months {'missing' if shape == 'islands' else 'added'}")
        if bool(self.reading.tagged("summary")) != (shape == "rollup"):
            self._problem(f"the row for all groups is {'missing' if shape == 'rollup' else 'added'}")
        if bool(self.reading.tagged("stacked")) != (shape == "unpivot"):
            self._problem(f"rows instead of columns are {'missing' if shape == 'unpivot' else 'added'}")
        if shape == "unpivot":
            self._labels()
        if shape == "rollup" and not self.reading.tagged("null_missing"):
            self._problem("that the row for all groups has no key is not said")
        if self.facts.plan.top and self.facts.plan.top.ties and not self.reading.tagged("ties"):
            self._problem("rows tied for the last place are not asked for")
        if shape == "series" and not words & {"0", "zero"}:
            self._problem("months without any row are not included")
        if shape == "islands" and not (words >= {"first", "last"} and self.reading.tagged("count")):
            self._problem("missing the first, the last or the number of months")
        if shape == "cohort" and not (words & {"first", "earliest"}):
            self._problem("missing the first date")
        label = self.facts.plan.select[0] if shape == "pairs" else None
        mine = [m for m in self.reading.mentions if isinstance(label, Ref) and (label.table, label.column) in m.columns]
        if shape == "pairs" and len(mine) < 2 and self._is_key(label):
            self._problem("the lower number first is no showing of the numbers")
        alike = words & {"same", "share"} and self.reading.tagged("lower") and self.reading.tagged("pairs")
        if shape == "pairs" and not alike:
            self._problem("missing what makes a pair")

    def _labels(self) -> None:
        """Each figure's label stands in quotes."""
        for item in self.facts.plan.select[1:]:
            for ref in refs_of(item):
                label = self.facts.catalog.column(ref).words
                said = [mention for mention in self.reading.literals if mention.value == label]
                if not any(self.reading.tokens[mention.start].kind == "quote" for mention in said):
                    self._problem(f"missing the label {label!r}")
                self.evidence.used |= {mention.start for mention in said}

    def _is_key(self, label: object) -> bool:
        keys = self.facts.catalog.table(self.facts.plan.subject).primary_key
        return isinstance(label, Ref) and (label.column,) == keys

    def _left_over(self) -> None:
        """Literals that nothing in the plan accounts for, and names that nobody knows."""
        for place, token in enumerate(self.reading.tokens):
            if token.kind == "word" and token.text[0].isupper() and not self.reading.at[place] and self._strange(place):
                self._problem(f"unknown name {token.text!r}")
        said = {mention.value for mention in self.reading.literals if mention.start in self.evidence.used}
        for mention in self.evidence.unused(self.reading.literals):
            repeated = "value" in mention.tags and mention.value in said
            if not (repeated or mention.soft or self._is_incidental(mention)):
                self._problem(f"literal added: {mention.text!r}")

    def _is_incidental(self, mention: Mention) -> bool:
        """Numbers that come with windows, ranks and empty counts; and values of the database that are just words."""
        if "value" in mention.tags:
            return not self._is_marked(mention)
        windows = {rows for i in self.facts.selected if isinstance(i, Moving) for rows in (i.rows, i.rows - 1)}
        numbered = any(isinstance(item, Rank | Tile) for item in self.facts.selected)
        empty = any(isinstance(item, ChildCount | ChildTotal) for item in self.facts.selected)
        empty = empty or self.facts.plan.shape == "series"
        return mention.value in windows | ({1} if numbered else set()) | ({0} if empty else set())

    def _strange(self, place: int) -> bool:
        """Capitalised inside a sentence, and none of the words that always are."""
        token = self.reading.tokens[place]
        before = self.reading.tokens[place - 1].lower if place else ""
        known = token.lower in _CAPITALS or token.lemma in self.reading.vocabulary.units
        return before not in _OPENERS and not known

    def _is_marked(self, mention: Mention) -> bool:
        """Surely a value: quoted, of several words, in a row with others, capitalised as it is, or before a noun."""
        token = self.reading.tokens[mention.start]
        if token.kind == "quote" or mention.end - mention.start > 1 or self._is_listed(mention):
            return True
        if str(mention.value) != str(mention.value).lower():
            return token.text == mention.value and self.reading.word_before(mention) not in _OPENERS
        after = next(self.reading.right(mention, 1), None)
        return after is not None and after.table is not None

    def _is_listed(self, mention: Mention) -> bool:
        """In a row with a literal of the plan: "rash, fever or migraine"."""
        for other in self.reading.literals:
            first, second = sorted((mention, other), key=lambda m: m.start)
            between = self.reading.between(first, second)
            kin = other.start in self.evidence.used and bool(mention.value_of & other.value_of)
            if kin and len(between) <= 3 and set(between) <= _IN_A_ROW:
                return True
        return False
