"""What tables, columns and computed values are called in a question."""

from generators.text_to_sql.grammar.catalog import catalog_of
from generators.text_to_sql.grammar.plan import Aggregate, Bucket, DatePart, Key, Plan, Ref
from generators.text_to_sql.schema import Column, Database, Table
from generators.text_to_sql.verbalise.voice import Voice
from generators.text_to_sql.verbalise.words import indefinite, plural

_VAGUE = {"number", "code", "date", "id"}
"""Too little to name a column by."""
_AGGREGATE = {"sum": "total", "avg": "average", "min": "minimum", "max": "maximum"}


class Names:
    """The nouns of one plan, spoken by one voice."""

    def __init__(self, database: Database, plan: Plan, voice: Voice) -> None:
        self.catalog, self.plan, self.voice = catalog_of(database), plan, voice
        self.subject: Table = database.table(plan.subject)
        self._twins: set[str] = set()
        """Roles that a table plays twice for another, so that they must be told apart on longer paths too."""

    def column(self, ref: Ref) -> Column:
        return self.catalog.column(ref)

    # --- columns ---

    def role(self, path: tuple[str, ...]) -> str:
        """The row at the end of `path`, singular: "doctor", "port of loading", "city of the departure airport"."""
        table, noun = self.subject, self.subject.singular
        for step in path:
            key = self.catalog.key(table.name, step)
            twins = [other for other in table.foreign_keys if other.table == key.table]
            before = f" of the {noun}" if " of " in noun or noun in self._twins else ""
            noun = (key.words or self.catalog.table(key.table).singular) + before
            if len(twins) > 1:
                self._twins.add(noun)
            table = self.catalog.table(key.table)
        return noun

    def noun(self, ref: Ref) -> str:
        """A column without article: "fee", "doctor's name", "name of the port of loading"."""
        own = self.column(ref).words
        role = self.role(ref.path)
        if self._coded(ref):
            return self.written(ref)
        if not ref.path:
            return own
        bare = own.removeprefix(self.catalog.table(ref.table).singular + " ")
        if " of " in role:
            return f"{own if bare in _VAGUE else bare} of the {role}"
        if bare in _VAGUE:
            return f"{role} {bare}"
        if bare != own and role == self.catalog.table(ref.table).singular and self.voice.chance(0.5):
            return own
        possessive = f"{role}'" if role.endswith("s") else f"{role}'s"
        if " of " in bare:  # "holder's level of study"
            return f"{possessive} {bare}"
        return self.voice.rng.choice((f"{possessive} {bare}", f"{possessive} {bare}", f"{role} {bare}"))

    def _coded(self, ref: Ref) -> bool:
        return self.voice.code and self.has_code(ref)

    def has_code(self, ref: Ref) -> bool:
        """It can be spoken of by its identifier: not a plain word, nor of a table that plays a role of its own."""
        plain = self.role(ref.path) == self.catalog.table(ref.table).singular
        return plain and "_" in ref.column

    def fronted(self, ref: Ref) -> bool:
        """The noun can follow "whose": "whose doctor's name", but not "whose name of the port of loading"."""
        return " of " not in self.role(ref.path)

    def nouns(self, ref: Ref) -> str:
        return self.noun(ref) if self._coded(ref) else plural(self.noun(ref))

    def written(self, ref: Ref) -> str:
        """For terse and technical questions: the identifier, qualified where it is another table's."""
        return f"{ref.table}.{ref.column}" if ref.path else ref.column

    # --- groups ---

    @property
    def entity(self) -> Ref | None:
        """The key of the rows that the plan groups by one by one; None where it groups by values."""
        for key in self.plan.group[:1]:
            if isinstance(key, Ref) and self.catalog.table(key.table).primary_key == (key.column,):
                return key
        return None

    def key(self, key: Key) -> str:
        """A group key without article: "city", "patient city", "month of the visit date"."""
        match key:
            case Ref():
                if self.entity:
                    return self.role(self.entity.path)
                noun = self.noun(key)
                for mark in ("'s ", "' "):
                    owner, found, own = noun.partition(mark)
                    if found:
                        return f"{own} of the {owner}" if " of " in own else f"{owner} {own}"
                return noun
            case DatePart(ref, part):
                return f"{part} of the {self.noun(ref)}"
            case Bucket(ref):
                return self.voice.say("bucket_key", col=self.noun(ref))

    # --- subjects ---

    def all_of(self, table: Table) -> str:
        plurals = table.plural
        return self.voice.rng.choice((f"all {plurals}", f"the {plurals}", f"all the {plurals}", plurals))

    def every_of(self, table: Table) -> str:
        return f"{self.voice.rng.choice(('each', 'every'))} {table.singular}"

    def child(self, table: str, key: str) -> tuple[str, str]:
        """Rows that point to the subject, singular and plural; with their role where they point here twice."""
        child = self.catalog.table(table)
        keys = [other for other in child.foreign_keys if other.table == self.subject.name]
        role = next(other.words for other in keys if other.column == key)
        suffix = f" as {role}" if len(keys) > 1 and role else ""
        return child.singular + suffix, child.plural + suffix

    # --- aggregates ---

    def aggregate(self, of: Aggregate) -> str:
        """In one plain form without article: "total fee", "number of visits"."""
        if of.ref is None:
            return f"number of {self.subject.plural}"
        if of.function == "count_distinct":
            return f"number of distinct {self.nouns(of.ref)}"
        word = _AGGREGATE[of.function]
        return f"{self.voice.rng.choice(('mean', word)) if word == 'average' else word} {self.noun(of.ref)}"


def with_article(noun: str, column: Column) -> str:
    """ "a fee", but "the doctor's fee" and a plural without article."""
    head = column.words.split(" of ")[0]
    return noun if head.endswith("s") and column.kind == "measure" else indefinite(noun)
