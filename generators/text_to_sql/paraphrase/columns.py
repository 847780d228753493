"""Are the columns and tables of the plan named, each in its role, and no others?"""

from generators.text_to_sql.grammar.plan import BeyondCount, Nested, Ref
from generators.text_to_sql.paraphrase.evidence import Evidence
from generators.text_to_sql.paraphrase.hearing import Mention
from generators.text_to_sql.paraphrase.keys import Key
from generators.text_to_sql.paraphrase.lexicon import ColumnKey, plain_words

_ASKING, _DETERMINERS = plain_words("asking"), plain_words("determiners")


class Columns:
    """Run after the conditions, which note what columns their literals bind or imply."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, self.facts, self.reading = evidence, evidence.facts, evidence.reading
        self.shown = [item for item in self.facts.selected if isinstance(item, Ref)]
        self.bound = evidence.locked | self._order_keys()

    def check(self) -> None:
        self._named()
        self._asked_for()
        self._tables()
        self._roles()

    def _problem(self, text: str) -> None:
        self.evidence.problems.append(text)

    # --- columns ---

    def _named(self) -> None:
        plan = self.facts.plan
        heard = {column for mention in self.reading.mentions for column in mention.columns}
        unnamed = self._row_keys()
        needed = {(ref.table, ref.column) for ref in self.facts.refs()} - unnamed
        if plan.union and plan.union.subject != plan.subject and needed & heard:
            needed = set()  # "the cities of customers and branches": one column of two tables
        for table, column in sorted(needed - heard):
            if not self._implied(table, column):
                self._problem(f"missing column {table}.{column}")
        allowed = {(ref.table, ref.column) for ref in self.facts.refs()} | unnamed
        for mention in self.reading.mentions:
            if mention.columns and not mention.columns & allowed:
                self._problem(f"column added: {mention.text!r}")

    def _row_keys(self) -> set[ColumnKey]:
        """Keys that stand for whole rows ("for each patient") and are not shown."""
        plan = self.facts.plan
        keys = [key for key in plan.group if isinstance(key, Ref)] + ([plan.top.within] if plan.top else [])
        if plan.shape == "pairs":
            keys += [Ref((), plan.subject, key) for key in self.facts.catalog.table(plan.subject).primary_key]
        return {(key.table, key.column) for key in keys if self._is_key(key) and key not in plan.select}

    def _is_key(self, ref: Ref) -> bool:
        return self.facts.catalog.table(ref.table).primary_key == (ref.column,)

    def _implied(self, table: str, column: str) -> bool:
        """By its literal, by being the only date, by a superlative that speaks of it, or by asking who."""
        key = (table, column)
        about = self.facts.catalog.table(table)
        if key in {(ref.table, ref.column) for ref in self.shown}:
            name = about.column(column).kind == "name"
            return name and len(self.facts.plan.select) == 1 and self._asks_for_rows(table)
        if about.column(column).kind == "date" and len(about.of_kind("date")) == 1:
            return True
        keys = (key for superlative in self.evidence.orders.superlatives for key in superlative.keys)
        return key in self.evidence.implied.union(*(key.columns for key in keys))

    def _asked_for(self) -> None:
        """A shown column must be named outside the conditions and the order too: "a fee above 50" shows no fee."""
        for ref in self.shown:
            mine = [m for m in self.reading.mentions if (ref.table, ref.column) in m.columns]
            if not mine or any(m.start not in self.bound for m in mine):
                continue
            if self.facts.catalog.column(ref).kind != "name" or not self._asks_for_rows(ref.table):
                self._problem(f"{ref.table}.{ref.column} is not asked for")

    def _asks_for_rows(self, table: str) -> bool:
        """ "Which doctors ...?", "Name the vessels ...": the rows are asked for by their names, and by nothing else."""
        if any("column" in m.tags and m.start not in self.bound for m in self.reading.mentions):
            return False
        return any(
            self.reading.word_before(mention) in _DETERMINERS
            and _ASKING & set(self.reading.span(max(0, mention.start - 3), mention.start))
            for mention in self.reading.mentions
            if mention.table == table
        )

    def _order_keys(self) -> set[int]:
        """Where columns stand that only say what an order is by."""
        orders = self.evidence.orders
        keys = [asked.key for asked in orders.stated if asked.key] + self._tie_keys()
        for superlative in orders.superlatives:
            keys += [key for key in superlative.keys[:1] if 0 < key.start - superlative.mention.start < 4]
        return {key.start for key in keys if any(key.means(order.by) for order in self.evidence.ordering())}

    def _tie_keys(self) -> list[Key]:
        """ "on equal model years", "the shortest by duration"."""
        found = []
        for mention in self.reading.mentions:
            before = next(self.reading.left(mention, 2), None)
            tie = before is not None and "then" in before.tags
            by = self.reading.word_before(mention) == "by" and any(m.hint for m in self.reading.left(mention, 6))
            if mention.columns and (tie or by):
                found.append(Key(mention.start, mention.columns))
        return found

    # --- tables ---

    def _tables(self) -> None:
        plan = self.facts.plan
        heard = {mention.table for mention in self.reading.mentions if mention.table}
        allowed = self.facts.tables
        for mention in self.reading.mentions:
            if mention.table and mention.table not in allowed and self._is_row(mention):
                self._problem(f"table added: {mention.text!r}")
        owners = {table for mention in self.reading.mentions for table, _ in mention.columns}
        needed = {plan.subject, *([plan.union.subject] if plan.union else [])} - owners
        needed |= {plan.subject for item in self.facts.aggregates() if item.ref is None}
        needed |= {table for table, _ in self.facts.links()}
        needed |= {item.per.table for item in plan.select if isinstance(item, Nested | BeyondCount)}
        needed |= {key.table for key in plan.group[1:] if plan.shape == "cohort" and isinstance(key, Ref)}
        for table in sorted(needed - heard):
            self._problem(f"missing table {table}")

    def _is_row(self, mention: Mention) -> bool:
        """Not a unit ("2 guests"), the trade itself ("in restaurants"), or a word of order."""
        measured = mention.start > 0 and self.reading.tokens[mention.start - 1].kind == "number"
        trade = mention.text.lower() == self.reading.vocabulary.database.industry
        return not (measured or trade or "sort" in mention.tags)

    def _roles(self) -> None:
        heard = {role for mention in self.reading.mentions for role in mention.roles}
        wanted = self.facts.roles()
        for table, column in sorted(wanted - heard):
            self._problem(f"missing the role {column} of {table}")
        if any(mention.roles and not mention.roles & wanted for mention in self.reading.mentions):
            self._problem("a role added")
