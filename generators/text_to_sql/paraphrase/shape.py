"""Does the question ask for the plan's columns, aggregates, groups, order and limit, and for nothing else?"""

from dataclasses import dataclass, field

from generators.text_to_sql.grammar.plan import (
    Aggregate,
    Bucket,
    Change,
    ChildCount,
    DatePart,
    Deviation,
    HavingMean,
    Moving,
    Nested,
    Order,
    Rank,
    Recent,
    Ref,
    Running,
    Share,
    TopGroup,
    VersusAverage,
    ref_of,
)
from generators.text_to_sql.paraphrase.facts import Facts
from generators.text_to_sql.paraphrase.orders import Asked, Key, Orders
from generators.text_to_sql.paraphrase.reading import Mention, Reading

_CUES: dict[type, tuple[tuple[str, ...], ...]] = {
    Running: (("running",),),
    Change: (("change",), ("previous",)),
    Moving: (("moving",), ("avg",)),
    Share: (("share",),),
    Rank: (("rank",),),
    Deviation: (("deviation",), ("avg",)),
}
"""What must be heard for each computed column: one cue of every group."""


@dataclass
class Shape:
    facts: Facts
    reading: Reading
    used: set[int]
    locked: set[int]
    problems: list[str] = field(default_factory=list)

    def check(self) -> None:
        self.orders = Orders(self.reading, self.facts)
        self._columns()
        self._tables()
        self._computed()
        self._aggregates()
        self._superlatives()
        self._order()
        self._limit()
        self._duplicates()
        self._left_over()

    # --- names ---

    def _columns(self) -> None:
        plan = self.facts.plan
        heard = {column for mention in self.reading.mentions for column in mention.columns}
        needed = {(ref.table, ref.column) for ref in self._named_refs()}
        if plan.union and plan.union.subject != plan.subject and needed & heard:
            needed = set()  # "the cities of customers and branches": one column of two tables
        for table, column in sorted(needed - heard):
            if not self._implied(table, column):
                self.problems.append(f"missing column {table}.{column}")
        allowed = {(ref.table, ref.column) for ref in self.facts.refs()} | self._keys_of_groups()
        for mention in self.reading.mentions:
            if mention.columns and not mention.columns & allowed:
                self.problems.append(f"column added: {mention.text!r}")
        self._free_columns()

    def _named_refs(self) -> list[Ref]:
        """The columns that must be heard: all but keys that stand for a whole row, and literals that name their own."""
        entity = self._keys_of_groups()
        return [ref for ref in self.facts.refs() if (ref.table, ref.column) not in entity]

    def _keys_of_groups(self) -> set[tuple[str, str]]:
        plan = self.facts.plan
        keys = [key for key in plan.group[:1] if isinstance(key, Ref) and self._is_key(key) and key not in plan.select]
        keys += [plan.top.within] if plan.top and self._is_key(plan.top.within) and plan.top.within not in plan.select else []
        return {(key.table, key.column) for key in keys}

    def _is_key(self, ref: Ref) -> bool:
        return self.facts.catalog.table(ref.table).primary_key == (ref.column,)

    def _implied(self, table: str, column: str) -> bool:
        """By a value that only this column has, by a unit, by being the only date, or by asking who."""
        key = (table, column)
        if any(mention.value_of == {key} for mention in self.reading.literals):
            return not any((r.table, r.column) == key for r in self._shown())
        about = self.facts.catalog.table(table).column(column)
        if key in {(ref.table, ref.column) for ref in self._shown()}:
            return about.kind == "name" and len(self.facts.plan.select) == 1 and self._asks_for(table)
        if about.kind == "date":
            return [c.kind for c in self.facts.catalog.table(table).columns].count("date") == 1
        if key in {column for _, _, keys in self.orders.superlatives() for k in keys for column in k.columns}:
            return True
        return about.unit is not None and about.unit != "year"  # the literal's own check asks for the unit

    def _shown(self) -> list[Ref]:
        return [item for item in self.facts.selected if isinstance(item, Ref)]

    def _asks_for(self, table: str) -> bool:
        """ "Which doctors ...?", "Name the vessels ...": the rows are asked for by their names, and by nothing else."""
        bound = self._bound()
        if any("column" in m.tags and m.start not in bound for m in self.reading.mentions):
            return False
        for mention in self.reading.mentions:
            if mention.table == table and self.reading.word_before(mention) in ("which", "what", "the", "all", "every", "each"):
                before = {token.lower for token in self.reading.tokens[max(0, mention.start - 3) : mention.start]}
                if before & {"which", "what", "who", "name", "list", "show", "find"}:
                    return True
        return False

    def _free_columns(self) -> None:
        """A shown column must be named outside the conditions and the order too: "a fee above 50" shows no fee."""
        bound = self._bound()
        for item in self._shown():
            mine = [m for m in self.reading.mentions if (item.table, item.column) in m.columns]
            named = self.facts.catalog.column(item).kind == "name" and self._asks_for(item.table)
            if mine and all(m.start in bound for m in mine) and not named:
                self.problems.append(f"{item.table}.{item.column} is not asked for")

    def _bound(self) -> set[int]:
        """Where columns stand that say what a condition or an order is about."""
        orders = (*self.facts.plan.order, *(self.facts.plan.top.order if self.facts.plan.top else ()))
        keys = [asked.key for asked in self.orders.stated if asked.key]
        keys += [keys[0] for mention, _, keys in self.orders.superlatives() if keys and 0 < keys[0].start - mention.start < 4]
        return self.locked | {key.start for key in keys if any(key.means(order.by) for order in orders)}

    def _tables(self) -> None:
        plan = self.facts.plan
        allowed = self.facts.tables()
        heard = {mention.table for mention in self.reading.mentions if mention.table}
        for mention in self.reading.mentions:
            if mention.table and mention.table not in allowed and not self._no_table(mention):
                self.problems.append(f"table added: {mention.text!r}")
        owners = {table for mention in self.reading.mentions for table, _ in mention.columns}
        subjects = {plan.subject} | ({plan.union.subject} if plan.union else set())
        for table in sorted(subjects - heard - owners):
            self.problems.append(f"missing table {table}")
        counted = [item for item in self.facts.aggregates() if item.ref is None]
        if counted and plan.subject not in heard:
            self.problems.append(f"missing table {plan.subject}")
        for item in self.facts.selected:
            if isinstance(item, ChildCount):
                if item.table not in heard:
                    self.problems.append(f"missing table {item.table}")
                if not self.reading.tagged("not") and not self.reading.words() & {"0", "zero", "even"}:
                    self.problems.append("rows without any are not included")
            if isinstance(item, Nested) and item.per.table not in heard:
                self.problems.append(f"missing table {item.per.table}")
        self._roles()

    def _no_table(self, mention: Mention) -> bool:
        """A unit ("2 guests"), the trade itself ("in restaurants"), or a word of order."""
        before = self.reading.tokens[mention.start - 1] if mention.start else None
        measured = before is not None and before.kind == "number"
        return measured or "sort" in mention.tags or mention.text.lower() == self.reading.vocabulary.database.industry

    def _roles(self) -> None:
        heard = {role for mention in self.reading.mentions for role in mention.roles}
        wanted = self.facts.roles()
        for table, column in sorted(wanted - heard):
            self.problems.append(f"missing the role {column} of {table}")
        if not wanted >= heard and any(mention.roles and not mention.roles & wanted for mention in self.reading.mentions):
            self.problems.append("a role added")

    # --- what is computed ---

    def _computed(self) -> None:
        for item in self.facts.selected:
            for cues in _CUES.get(type(item), ()):
                if not self.reading.tagged(*cues):
                    self.problems.append(f"missing {type(item).__name__.lower()}")
            match item:
                case Rank(dense=dense):
                    self._rank(dense)
                case Moving(rows=rows):
                    self._moving(rows)
                case Bucket():
                    self._bucket(item)
                case Share(decimals=int(decimals)) | Aggregate(decimals=int(decimals)):
                    self._decimals(decimals)
        for key in self.facts.plan.group:
            if isinstance(key, Bucket) and key not in self.facts.plan.select:
                self._bucket(key)
            if isinstance(key, DatePart) and not self.reading.tagged(f"{key.part}s"):
                self.problems.append(f"missing the {key.part}")
        if isinstance(self.facts.plan.having, HavingMean) and not self._beyond(self.facts.plan.having.op):
            self.problems.append("the comparison with the average of all groups is lost")

    def _moving(self, rows: int) -> None:
        """Three months are "the current and the two previous"; of two, "the previous" says enough."""
        numbers = {m.value for m in self.reading.tagged("number")}
        if not numbers & {rows, rows - 1} and not (rows == 2 and not numbers and self.reading.tagged("previous")):
            self.problems.append(f"missing the moving window of {rows}")

    def _rank(self, dense: bool) -> None:
        skips = self.reading.tagged("gaps")
        turned = [cue for cue in self.reading.tagged("not") if self.reading.about_gaps(cue)]
        said_dense = bool(self.reading.tagged("dense") or turned)
        if said_dense != dense or (not dense and not skips):
            self.problems.append(f"ranks should have {'no ' if dense else ''}gaps after ties")

    def _bucket(self, bucket: Bucket) -> None:
        labels = [[m for m in self.reading.literals if m.value == label] for label in bucket.labels]
        for label, mentions in zip(bucket.labels, labels, strict=True):
            if not mentions:
                self.problems.append(f"missing label {label!r}")
        for edge in bucket.edges:
            mine = [m for m in self.reading.literals if m.value == edge]
            wrong = [m for m in mine if self.reading.operators[m.start] not in ("lt", "ge")]
            if not mine or wrong:
                self.problems.append(f"missing the bound {edge!r}" if not mine else f"{edge!r} is on the wrong side")
            self.used |= {m.start for m in mine}
        self.used |= {m.start for mentions in labels for m in mentions}

    def _decimals(self, decimals: int) -> None:
        for mention in self.reading.tagged("number"):
            near = [*self.reading.right(mention, 3), *self.reading.left(mention, 3)]
            if mention.value == decimals and any("decimals" in m.tags for m in near):
                self.used.add(mention.start)
                return
        self.problems.append(f"missing the rounding to {decimals}")

    def _beyond(self, op: str) -> bool:
        found = [
            before
            for mean in self.reading.tagged("avg")
            for before in self.reading.left(mean, 5)
            if before.tags & {"gt", "lt"}
        ]
        return bool(found) and all(op in mention.tags for mention in found)

    # --- aggregates ---

    def _aggregates(self) -> None:
        wanted = self.facts.aggregates()
        functions = {aggregate.function for aggregate in wanted}
        children = any(isinstance(item, ChildCount) for item in self.facts.items())
        counts = bool(functions & {"count", "count_distinct"}) or children
        heard = {tag for m in self.reading.mentions for tag in m.tags & {"avg", "sum", "count"} if not self._by_the_way(m, counts)}
        averages = self._averages_allowed()
        if "avg" in heard and "avg" not in functions and not averages:
            self.problems.append("average added")
        if "sum" in heard and "sum" not in functions and not self._sums_allowed():
            self.problems.append("sum added")
        if "count" in heard and not counts and not self._counts_column():
            self.problems.append("count added")
        for function in sorted(functions & {"avg", "sum"}):
            if function not in heard or (function == "sum" and not self._free_sum()):
                self.problems.append(f"missing {function}")
        if functions & {"count", "count_distinct"} and "count" not in heard and not self._most():
            self.problems.append("missing count")
        if children and "count" not in heard and not self._most():
            self.problems.append("missing count")
        for aggregate in wanted:
            if aggregate.ref and not self._aggregated(aggregate):
                self.problems.append(f"{aggregate.function} is not of {aggregate.ref.column}")

    def _free_sum(self) -> bool:
        """A total besides the "running total", where the plan shows both."""
        if not any(isinstance(item, Running) for item in self.facts.selected):
            return True
        sums = self.reading.tagged("sum")
        return any(not (m := next(self.reading.left(cue, 1), None)) or "running" not in m.tags for cue in sums)

    def _by_the_way(self, mention: Mention, counts: bool) -> bool:
        """ "in total" beside a count, and "the total number of", add nothing; nor does "how many minutes"."""
        following = self.reading.tokens[mention.end : mention.end + 1]
        if mention.text.lower() == "how many" and following and following[0].lemma in self.reading.vocabulary.units:
            return True
        after = next(self.reading.right(mention, 2), None)
        counted = after is not None and "count" in after.tags
        return counts and (mention.text.lower() in ("in total", "altogether", "overall", "all together") or counted)

    def _averages_allowed(self) -> bool:
        kinds = (Moving, Deviation)
        return (
            any(isinstance(item, kinds) or (isinstance(item, Nested) and item.outer == "avg") for item in self.facts.selected)
            or any(isinstance(filter_, VersusAverage) for filter_ in self.facts.filters)
            or isinstance(self.facts.plan.having, HavingMean)
        )

    def _counts_column(self) -> bool:
        """A column that is a count itself: "how many renewals" of a number of renewals."""
        return any(self.facts.catalog.column(ref).words.startswith("number of ") for ref in self.facts.refs())

    def _sums_allowed(self) -> bool:
        return any(isinstance(item, Share | Running | Change) for item in self.facts.selected)

    def _most(self) -> bool:
        return any(m.text.lower() in ("most", "fewest") for m in self.reading.mentions)

    def _aggregated(self, aggregate: Aggregate) -> bool:
        """The cue of the function has the column beside it."""
        assert aggregate.ref
        key = (aggregate.ref.table, aggregate.ref.column)
        tag = {"min": "low", "max": "high", "count_distinct": "count"}.get(aggregate.function, aggregate.function)
        cues = self.reading.tagged(tag) + (self.reading.tagged("early" if tag == "low" else "late") if tag in ("low", "high") else [])
        if tag == "sum":
            cues += self.reading.tagged("running")
        for cue in cues:
            if cue.hint and any(key in k.columns for _, _, keys in self.orders.superlatives() for k in keys):
                return True
            right = next((m for m in self.reading.right(cue, 12) if m.columns), None)
            left = next((m for m in self.reading.left(cue, 8) if m.columns), None)
            if any(m and key in m.columns for m in (right, left)):
                return True
        return False

    # --- superlatives ---

    def _superlatives(self) -> None:
        """Every superlative must name an end that the plan asks for, of a thing that it asks for."""
        allowed = self._ends()
        for mention, end, keys in self.orders.superlatives():
            if self._harmless(mention):
                continue
            fit = [(key, about) for key, about in allowed if key == end or (_SAME_END[key] == end and self._is_year(about))]
            if not fit:
                self.problems.append(f"{mention.text!r} is not what is asked")
            elif keys and not any(about is None or isinstance(about, DatePart | Rank) or key.means(about) or _extreme_of(key, about) for key in keys for _, about in fit):
                self.problems.append(f"{mention.text!r} is of something else")
        for aggregate in self.facts.aggregates():
            if aggregate.function in ("min", "max"):
                self._needs_end("low" if aggregate.function == "min" else "high")
        for filter_ in self.facts.filters:
            if isinstance(filter_, TopGroup):
                self._needs_end("high" if filter_.descending else "low")
        for item in self.facts.selected:
            if isinstance(item, Nested) and item.outer != "avg":
                self._needs_end("low" if item.outer == "min" else "high")

    def _needs_end(self, end: str) -> None:
        other = _SAME_END[end]
        if not self.reading.tagged(end, other):
            self.problems.append(f"missing the {end} end")

    def _ends(self) -> list[tuple[str, object]]:
        """(end, what it is of) for all that the plan orders, picks or aggregates; None = of anything."""
        plan = self.facts.plan
        found: list[tuple[str, object]] = []
        for aggregate in self.facts.aggregates():
            if aggregate.function in ("min", "max"):
                found.append(("low" if aggregate.function == "min" else "high", aggregate))
        orders = [*plan.order, *(plan.top.order if plan.top else ())]
        found += [(self.facts.end(order), order.by) for order in orders]
        for item in self.facts.selected:
            if isinstance(item, Nested) and item.outer != "avg":
                found.append(("low" if item.outer == "min" else "high", None))
            if isinstance(item, Rank):
                found.append(("high" if item.descending else "low", item))
        for filter_ in self.facts.filters:
            if isinstance(filter_, TopGroup):
                found.append(("high" if filter_.descending else "low", None))
            if isinstance(filter_, Recent):
                found.append(("late", None))
        return found

    def _is_year(self, about: object) -> bool:
        """Calendar years are high or late alike; and the oldest has the earliest birth date."""
        ref = ref_of(about) if about is not None else None  # type: ignore[arg-type]
        return ref is not None and self.facts.catalog.column(ref).unit == "year"

    def _harmless(self, mention: Mention) -> bool:
        """ "top" opens any list that is cut off; "last" and "first" have other uses; a tie has a last place."""
        text = mention.text.lower()
        if text in ("top", "best"):
            return self.facts.plan.limit is not None or self.facts.plan.top is not None
        if text in ("last", "maximum", "minimum", "max", "min", "a maximum of", "a minimum of", "maximum of", "minimum of"):
            tags = mention.tags - {"high", "low", "late", "early"}
            after = next(self.reading.right(mention, 3), None)
            return bool(tags & {"previous", "ge", "le"}) and (text == "last" or bool(after and after in self.reading.literals and not after.soft))
        return False

    # --- order and limit ---

    def _order(self) -> None:
        plan = self.facts.plan
        orders = (*plan.order, *(plan.top.order if plan.top else ()))
        ranked = [Order(item.ref, item.descending) for item in self.facts.selected if isinstance(item, Rank)]
        stated = [a for a in self.orders.stated if not any(self._states(a, order) for order in ranked)]
        for order in orders:
            if not any(self._states(asked, order) for asked in stated) and not self._picked(order, orders):
                self.problems.append(f"missing order by {order.by} {'descending' if order.descending else 'ascending'}")
        for asked in stated:
            if asked.key and asked.cue != "default" and not any(self._states(asked, order) for order in orders):
                if any(asked.key.means(order.by) for order in orders):
                    self.problems.append(f"order turned round: {asked.cue!r}")
                elif not orders:
                    self.problems.append(f"order added: {asked.cue!r}")
        if not orders and (stated and any(asked.cue != "default" for asked in stated) or self._sorted()):
            self.problems.append("an order is added")

    def _sorted(self) -> bool:
        ranks = any(isinstance(item, Rank) for item in self.facts.selected)
        return bool([m for m in self.reading.tagged("sort") if not (ranks and "rank" in m.tags) and not m.table])

    def _states(self, asked: Asked, order: Order) -> bool:
        if asked.descending != order.descending:
            return False
        if asked.key is None:
            return True
        return asked.key.means(order.by)

    def _picked(self, order: Order, orders: tuple[Order, ...]) -> bool:
        """The order is told by a superlative: "the five visits with the highest fee"."""
        picks = self.facts.plan.limit is not None or self.facts.plan.top is not None
        if not picks or order is not orders[0] and order not in (self.facts.plan.top.order[:1] if self.facts.plan.top else ()):
            return False
        end = self.facts.end(order)
        for mention, heard, keys in self.orders.superlatives():
            same = heard == end or (_SAME_END[heard] == end and self._is_year(order.by))
            if same and (not keys or any(key.means(order.by) for key in keys)):
                return True
        return False

    def _limit(self) -> None:
        plan = self.facts.plan
        count = plan.limit if plan.limit is not None else plan.top.count if plan.top else None
        if count is None:
            if plan.order and self._single():
                self.problems.append("a limit of one is added")
            return
        if count == 1:
            if not self._single():
                self.problems.append("missing the limit of one")
            return
        self._use_number(count, "the limit")

    def _single(self) -> bool:
        """ "the visit with the highest fee", "only the first row", "top 1"."""
        words = [token.lower for token in self.reading.tokens]
        if any(pair in (("which", "one"), ("the", "one")) for pair in zip(words, words[1:], strict=False)):
            return any(True for _ in self.orders.superlatives())
        for mention in self.reading.tagged("number"):
            if mention.value == 1 and mention.start not in self.used and self._limiting(mention):
                self.used.add(mention.start)
                return True
        for place, word in enumerate(words):
            if word == "which" and "has" in words[place : place + 6] and any(True for _ in self.orders.superlatives()):
                return True
            if word == "single" and place + 1 < len(words) and words[place + 1] in ("row", "record", "result", "entry"):
                return True
            if word == "first" and place + 1 < len(words) and words[place + 1] in ("row", "record", "result", "entry", "one"):
                return True
        for mention, _, _ in self.orders.superlatives():
            if any(self._one_row(m, mention) for m in self.reading.mentions):
                return True
        return False

    def _limiting(self, mention: Mention) -> bool:
        near = [*self.reading.left(mention, 1 if mention.soft else 4), *self.reading.right(mention, 1 if mention.soft else 3)]
        after = {token.lower for token in self.reading.tokens[mention.end : mention.end + 3]}
        return any(m.tags & {"limit", "rows"} for m in near) and not after & {"per", "for"}

    def _one_row(self, mention: Mention, superlative: Mention) -> bool:
        """The subject in the singular beside a superlative."""
        if mention.table != self.facts.plan.subject or mention.plural:
            return False
        before = self.reading.word_before(mention)
        return abs(mention.start - superlative.start) <= 6 and before not in ("each", "every", "per") and not mention.columns

    def _number(self, value: int) -> Mention | None:
        return next((m for m in self.reading.tagged("number") if m.value == value and m.start not in self.used), None)

    def _use_number(self, value: int, what: str) -> None:
        mention = self._number(value)
        if mention is None or self.reading.operators[mention.start] in ("gt", "ge", "lt"):
            self.problems.append(f"missing {what}, {value}")
        else:
            self.used.add(mention.start)

    # --- the rest ---

    def _duplicates(self) -> None:
        plan = self.facts.plan
        unique = any(a.function == "count_distinct" for a in self.facts.aggregates())
        if (plan.distinct or plan.union or unique) and not self._deduplicates():
            self.problems.append("duplicates are not removed")

    def _deduplicates(self) -> bool:
        return bool(self.reading.tagged("distinct")) or any(map(self.reading.about_repeats, self.reading.tagged("not")))

    def _left_over(self) -> None:
        """Literals that nothing in the plan accounts for, and names that nobody knows."""
        for place, token in enumerate(self.reading.tokens):
            if token.kind == "word" and token.text[0].isupper() and not self.reading.at[place] and self._strange(place):
                self.problems.append(f"unknown name {token.text!r}")
        moving = {item.rows - 1 for item in self.facts.selected if isinstance(item, Moving)}
        moving |= {item.rows for item in self.facts.selected if isinstance(item, Moving)}
        ranks = any(isinstance(item, Rank) for item in self.facts.selected)
        zero = any(isinstance(item, ChildCount) for item in self.facts.selected)
        for mention in self.reading.literals:
            if mention.start in self.used or mention.soft or mention.value in moving:
                continue
            if (ranks and mention.value == 1) or (zero and mention.value == 0):
                continue
            if "value" in mention.tags and any(
                mention.value == other.value and other.start in self.used for other in self.reading.literals
            ):
                continue  # said twice
            if "value" in mention.tags and not self._marked(mention):
                continue
            self.problems.append(f"literal added: {mention.text!r}")

    def _strange(self, place: int) -> bool:
        """Capitalised inside a sentence, and none of the words that always are."""
        before = self.reading.tokens[place - 1].lower if place else "."
        if self.reading.tokens[place].lemma in self.reading.vocabulary.units:
            return False
        return before not in (".", "?", "!", ":", ";", "-", "(", "->") and self.reading.tokens[place].lower not in _CAPITALS

    def _marked(self, mention: Mention) -> bool:
        """A value of the database that isn't just a word: quoted, of several words, capitalised, or before its noun."""
        token = self.reading.tokens[mention.start]
        if token.kind == "quote" or mention.end - mention.start > 1:
            return True
        opens = mention.start == 0 or self.reading.word_before(mention) in (".", "?", "!", ":")
        if str(mention.value) != str(mention.value).lower():
            return token.text == mention.value and not opens
        after = next(self.reading.right(mention, 1), None)
        return after is not None and after.table is not None


_CAPITALS = frozenset({"i", "sql", "csv", "id", "ids", "ok", "api", "yyyy", "mm", "dd", "a", "z", "pdf", "excel", "by", "order"})
_SAME_END = {"high": "late", "low": "early", "late": "high", "early": "low"}


def _extreme_of(key: Key, about: object) -> bool:
    """The highest fee is an aggregate of the fee."""
    return isinstance(about, Aggregate) and about.ref is not None and (about.ref.table, about.ref.column) in key.columns
