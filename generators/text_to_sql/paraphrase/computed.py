"""Is all heard that the plan computes: aggregates, windows, shares, ranks and bands?"""

from generators.text_to_sql.grammar.coverage import left_out, passed_over
from generators.text_to_sql.grammar.plan import (
    Aggregate,
    BeyondCount,
    Bucket,
    Change,
    ChildCount,
    ChildTotal,
    DatePart,
    Deviation,
    Elapsed,
    Growth,
    HavingMean,
    Item,
    Moving,
    Nested,
    Rank,
    Running,
    Share,
    VersusAverage,
    ref_of,
)
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.lexicon import plain_words

_CUES: dict[type, tuple[str, ...]] = {
    Running: ("running",),
    Change: ("change", "previous"),
    Growth: ("change", "previous", "share"),
    Moving: ("moving", "avg"),
    Share: ("share",),
    Rank: ("rank",),
    Deviation: ("deviation", "avg"),
}
"""What must be heard for each computed column."""
_TAGS = {"min": "low", "max": "high", "count_distinct": "count"}
_WITHOUT = frozenset({"without", "excluding", "except", "no", "not", "omitting", "ignoring"})
_IN_TOTAL, _AUXILIARIES = plain_words("in_total"), plain_words("auxiliaries")


class Computed:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading

    def check(self) -> None:
        for item in self.facts.selected:
            self._item(item)
        for key in self.facts.plan.group:
            if isinstance(key, Bucket) and key not in self.facts.plan.select:
                self._bucket(key)
            if isinstance(key, DatePart) and not self.reading.tagged(f"{key.part}s"):
                self._problem(f"missing the {key.part}")
        if isinstance(self.facts.plan.having, HavingMean):
            self._beyond_mean(self.facts.plan.having.op)
        if any(isinstance(item, Change) for item in self.facts.selected) and self._in_percent():
            self._problem("a change in percent instead of the change")
        plan, catalog = self.facts.plan, self.facts.catalog
        if (left_out(plan, catalog) or passed_over(plan, catalog)) and not self._says_some():
            self._problem("what has no rows should be said not to count")
        self._aggregates()

    def _in_percent(self) -> bool:
        """ "the percentage change", "the growth in percent"."""
        cues = self.reading.tagged("change")
        near = [m for cue in cues for m in (*self.reading.left(cue, 10), *self.reading.right(cue, 12))]
        return any("share" in mention.tags for mention in near)

    def _says_some(self) -> bool:
        """ "with at least one visit", "that have any visits", "who were visited at least once"."""
        said = " ".join(token.lower for token in self.reading.tokens)
        return any(f" {words} " in said for words in ("at least one", "at least once", "one or more", "any"))

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

    # --- single columns ---

    def _item(self, item: Item) -> None:
        if not all(self.reading.tagged(tag) for tag in _CUES.get(type(item), ())):
            self._problem(f"missing {type(item).__name__.lower()}")
        match item:
            case Rank(dense=dense):
                self._rank(dense)
            case Moving(rows=rows):
                self._moving(rows)
            case Bucket():
                self._bucket(item)
            case Share(decimals=int(decimals)) | Aggregate(decimals=int(decimals)) | Growth(decimals=decimals):
                self._decimals(decimals)
            case BeyondCount(op=op):
                self._beyond_mean(op)
            case ChildCount() | ChildTotal():
                zero = {"0", "zero", "even"} & {token.lower for token in self.reading.tokens}
                if (not zero and not self.reading.tagged("not")) or self._denies_zero():
                    self._problem("rows without any are not included")

    def _denies_zero(self) -> bool:
        """ "without the zero counts"; but "with 0 for those without any" keeps them."""
        places = [place for place, token in enumerate(self.reading.tokens) if token.lower in ("0", "zero")]
        return any(_WITHOUT & set(self.reading.span(max(0, place - 3), place)) for place in places)

    def _moving(self, rows: int) -> None:
        """Three months are "the current and the two previous"; of two, "the previous" says enough."""
        numbers = {mention.value for mention in self.evidence.unused(self.reading.tagged("number"))}
        before = {
            mention.value  # "the two before it"; but a "two-month average" is of two
            for mention in self.reading.tagged("number")
            if any(m.tags & {"previous"} for m in (*self.reading.left(mention, 3), *self.reading.right(mention, 4)))
        }
        pair = rows == 2 and not numbers and self.reading.tagged("previous")
        if rows not in numbers and rows - 1 not in before and not pair:
            self._problem(f"missing the moving window of {rows}")

    def _rank(self, dense: bool) -> None:
        denied = any(self.reading.about_gaps(cue) for cue in self.reading.tagged("not"))
        said_dense = denied or bool(self.reading.tagged("dense"))
        if said_dense != dense or not (dense or self.reading.tagged("gaps")):
            self._problem(f"ranks should have {'no ' if dense else ''}gaps after ties")

    def _bucket(self, bucket: Bucket) -> None:
        """Each label, and each edge as an upper bound that is excluded or a lower one that is included."""
        for value in (*bucket.labels, *bucket.edges):
            mine = [mention for mention in self.reading.literals if mention.value == value]
            if not mine:
                self._problem(f"missing the {'label' if isinstance(value, str) else 'bound'} {value!r}")
            is_edge = not isinstance(value, str)
            if is_edge and any(self.reading.operators[mention.start] not in ("lt", "ge") for mention in mine):
                self._problem(f"{value!r} is on the wrong side")
            self.evidence.used |= {mention.start for mention in mine}

    def _decimals(self, decimals: int) -> None:
        for mention in self.reading.tagged("number"):
            near = (*self.reading.right(mention, 3), *self.reading.left(mention, 3))
            if mention.value == decimals and any("decimals" in other.tags for other in near):
                self.evidence.use(mention)
                return
        self._problem(f"missing the rounding to {decimals}")

    def _beyond_mean(self, op: str) -> None:
        means = self.reading.tagged("avg")
        said = [m for mean in means for m in self.reading.left(mean, 5) if m.tags & {"gt", "lt"}]
        if not said or not all(op in mention.tags for mention in said):
            self._problem("the comparison with the average of all groups is lost")

    # --- aggregates ---

    def _aggregates(self) -> None:
        wanted = self.facts.aggregates()
        functions = {_TAGS.get(aggregate.function, aggregate.function) for aggregate in wanted}
        functions |= {"count" for item in self.facts.items() if isinstance(item, ChildCount | BeyondCount)}
        functions |= {"sum" for item in self.facts.items() if isinstance(item, ChildTotal)}
        functions |= {"count"} if self.facts.plan.shape in ("cohort", "islands") else set()
        counts = "count" in functions
        cues = [mention for mention in self.reading.mentions if not self._by_the_way(mention, counts)]
        heard = {tag for mention in cues for tag in mention.tags & {"avg", "sum", "count"}}
        for tag in sorted(heard - functions - self._tolerated()):
            self._problem(f"{tag} added")
        said = {m.text.lower() for m in cues}
        if counts and "count" not in heard and not said & {"most", "fewest"} and not self._shares_rows():
            self._problem("missing count")
        for tag in sorted(functions & {"avg", "sum"}):
            if tag == "sum" and self._amounts():
                continue
            if tag not in heard or (tag == "sum" and not self._has_own_sum()):
                self._problem(f"missing {tag}")
        for aggregate in wanted:
            if aggregate.ref and not self._beside_column(aggregate):
                self._problem(f"{aggregate.function} is not of {aggregate.ref.column}")
        for item in self.facts.selected:
            if isinstance(item, ChildTotal) and not self._beside_column(Aggregate("sum", ref_of(item))):
                self._problem(f"sum is not of {item.column}")

    def _tolerated(self) -> set[str]:
        """Averages and totals that come with other things; a count where a column is one ("number of beds")."""
        items, plan = self.facts.selected, self.facts.plan
        means = any(isinstance(i, Moving | Deviation) or (isinstance(i, Nested) and i.outer == "avg") for i in items)
        means = means or any(isinstance(filter_, VersusAverage) for filter_ in self.facts.filters)
        means = means or any(isinstance(item, BeyondCount) for item in items)
        tolerated = {"avg"} if means or isinstance(plan.having, HavingMean) else set()
        tolerated |= {"sum"} if any(isinstance(item, Share | Running) for item in items) else set()
        columns = map(self.facts.catalog.column, self.facts.refs())
        if any(isinstance(item, Elapsed | ChildTotal) for item in items):
            tolerated |= {"count"}  # "the number of days from ... to ...", "counting 0 where there are none"
        return tolerated | ({"count"} if any(column.words.startswith("number of ") for column in columns) else set())

    def _has_own_sum(self) -> bool:
        """A total besides the "running total", where the plan shows both."""
        if not any(isinstance(item, Running) for item in self.facts.selected):
            return True
        before = (next(self.reading.left(cue, 1), None) for cue in self.reading.tagged("sum"))
        return any(mention is None or "running" not in mention.tags for mention in before)

    def _shares_rows(self) -> bool:
        """ "the percentage of all meters": of their number, where the plan counts for its share alone."""
        items = self.facts.selected
        if not any(isinstance(item, Share) for item in items) or any(
            isinstance(item, Aggregate | ChildCount) for item in (*items, *(o.by for o in self.facts.plan.order))
        ):
            return False
        for cue in self.reading.tagged("share"):
            whole = next(self.reading.right(cue, 5), None)
            between = set(self.reading.between(cue, whole)) if whole else set()
            if whole and whole.table == self.facts.plan.subject and whole.plural and "of" in between:
                after = next(self.reading.right(whole, 1), None)
                return not (after and after.columns)
        return False

    def _amounts(self) -> list[Mention]:
        """ "how many tonnes", "how much did we earn in fees": they ask for a sum where the plan has one."""
        found = [cue for cue in self.reading.tagged("count") if self._is_unit(cue) and cue.text.lower() == "how many"]
        for cue in self.reading.tagged("how_much"):
            other = next((m for m in self.reading.right(cue, 12) if m.tags & {"avg", "high", "low"} or m.columns), None)
            if other and other.columns:
                found.append(cue)
        return found

    def _is_unit(self, cue: Mention) -> bool:
        """ "how many minutes" counts nothing; nor do a second "how many were" and "that number of minutes"."""
        following = self.reading.tokens[cue.end : cue.end + 1]
        if not following:
            return False
        after = self.reading.at[cue.end]
        unit = following[0].lemma in self.reading.vocabulary.units
        if cue.text.lower() == "how many":
            earlier = (m for m in self.reading.left(cue) if m.text.lower() == "how many" and self._is_unit(m))
            return unit or (following[0].lower in _AUXILIARIES and any(earlier))
        return unit and after is not None and bool(after.columns)

    def _by_the_way(self, mention: Mention, counts: bool) -> bool:
        """ "in total" beside a count, and "the total number of", add nothing."""
        text = mention.text.lower()
        if text in ("how many", "number of") and self._is_unit(mention):
            return True
        after = next(self.reading.right(mention, 2), None)
        return counts and "sum" in mention.tags and (text in _IN_TOTAL or (after is not None and "count" in after.tags))

    def _beside_column(self, aggregate: Aggregate) -> bool:
        """The cue of the function has the column beside it."""
        assert aggregate.ref
        key = (aggregate.ref.table, aggregate.ref.column)
        tag = _TAGS.get(aggregate.function, aggregate.function)
        tags = {"sum": ("sum", "running"), "low": ("low", "early"), "high": ("high", "late")}.get(tag, (tag,))
        hinted = {s.mention.start: s.keys[:1] for s in self.evidence.orders.superlatives if s.mention.hint}
        for cue in self.reading.tagged(*tags) + (self._amounts() if tag == "sum" else []):
            right = next((m for m in self.reading.right(cue, 12) if m.columns), None)
            left = next((m for m in self.reading.left(cue, 8) if m.columns), None)
            named = [m.columns for m in (right, left) if m] + [k.columns for k in hinted.get(cue.start, ())]
            if any(key in columns for columns in named):
                return True
        return False
