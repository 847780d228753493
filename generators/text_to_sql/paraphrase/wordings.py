"""What a question says in its own words, heard as the schema's names, where they can mean nothing else there.

"the numbers of all outages"              ->  the key column, not a count
"the average payment"                     ->  the amount of the payments, their only one
"when was each patient last admitted"     ->  the admission date
"how many kilowatt-hours", "latest year"  ->  the only column with that unit
"""

from dataclasses import replace

from generators.text_to_sql.paraphrase.hearing import Hearing, Mention
from generators.text_to_sql.paraphrase.lexicon import ColumnKey, lemmas, plain_words
from generators.text_to_sql.paraphrase.tokens import stem
from generators.text_to_sql.schema import Table

_DETERMINERS = plain_words("articles") | plain_words("determiners")
_BEFORE_NUMBERS = _DETERMINERS | plain_words("before_numbers")
_LISTING = frozenset({"and", ",", "the", "a", "an", "its", "their"})
_STOPS = frozenset(".;?!")
_BARE = frozenset({"number", "numbers", "date", "dates"})
_AMOUNTS = frozenset({"amount", "value"})
_ROW_WORDS = frozenset({"each", "every", "per", "which"})
_DATE_ASKED = frozenset({"when", "date", "day"})
_YEAR_ASKED = frozenset({"what", "which", "that", "latest", "earliest", "newest", "oldest", "recent", "same"})


def reworded(heard: Hearing) -> list[Mention]:
    """The mentions of the question, those that say a column or table in a roundabout way made plain."""
    wordings = _Wordings(heard)
    wordings.verbs()
    wordings.rows()
    wordings.row_numbers()
    wordings.main_measures()
    wordings.moments()
    wordings.units()
    wordings.years()
    return sorted(wordings.mentions.values(), key=lambda mention: mention.start)


class _Wordings:
    def __init__(self, heard: Hearing) -> None:
        self.tokens, self.lower = heard.tokens, heard.lower
        self.trade = heard.vocabulary.database.industry
        self.mentions = {mention.start: mention for mention in heard.mentions}
        self.all_tables = {table.name: table for table in heard.vocabulary.database.tables}
        self.tables = [self.all_tables[name] for name in sorted(heard.vocabulary.tables)]

    def _covering(self, place: int) -> Mention | None:
        return next((m for m in self.mentions.values() if m.start <= place < m.end), None)

    def _table_of_head(self, place: int) -> Table | None:
        """The table in play whose noun this word is."""
        lemma = self.tokens[place].lemma
        owners = [table for table in self.all_tables.values() if lemmas(table.singular)[-1] == lemma]
        return owners[0] if len(owners) == 1 and owners[0] in self.tables else None

    def verbs(self) -> None:
        """ "the genre that comes out largest" releases no film."""
        for mention in list(self.mentions.values()):
            after = self.mentions.get(mention.end)
            if mention.text.lower().endswith(" out") and after and after.tags & {"high", "low", "first"}:
                del self.mentions[mention.start]

    # --- rows ---

    def rows(self) -> None:
        """ "if several payments share it": the plural of a table's noun, though a column is called after it too."""
        for mention in list(self.mentions.values()):
            table = self._table_of_head(mention.start) if mention.end == mention.start + 1 else None
            if table is None or mention.table or "part" not in mention.tags:
                continue
            plural = self.tokens[mention.start].lower != self.tokens[mention.start].lemma
            before = self.lower[mention.start - 1] if mention.start else ""
            if plural or before in _ROW_WORDS:
                self.mentions[mention.start] = self._row(mention, table, plural)

    def _row(self, mention: Mention, table: Table, plural: bool) -> Mention:
        return Mention(mention.start, mention.end, frozenset({"table"}), mention.text, table=table.name, plural=plural)

    def row_numbers(self) -> None:
        """ "the number and the date of every visit", "the number of that visit", "the numbers of all visits"."""
        for place, word in enumerate(self.lower):
            if word not in _BARE:
                continue
            mention = self._covering(place)
            if mention is None:
                table = self._listed_owner(place)
            elif mention.start == place and "count" in mention.tags and mention.end == place + 2:
                table = self._numbered(place)
            else:
                table = None
            name = self._number_of if word.startswith("number") else self._date_of
            key = name(table) if table else None
            if key:
                text = self.tokens[place].text
                self.mentions[place] = Mention(place, place + 1, frozenset({"column"}), text, columns=frozenset({key}))

    def _number_of(self, table: Table) -> ColumnKey | None:
        """Its key, unless something else of it is called a number."""
        numbers = [column for column in table.columns if lemmas(column.words)[-1] == "number" and column.kind != "key"]
        return (table.name, numbers[0].name) if [column.kind for column in numbers] == ["id"] else None

    def _date_of(self, table: Table) -> ColumnKey | None:
        dates = table.of_kind("date")
        return (table.name, dates[0].name) if len(dates) == 1 else None

    def _listed_owner(self, place: int) -> Table | None:
        """Of "number, date and fee of every visit"; else the only table named before, or the only one in play."""
        if place and self.lower[place - 1] not in _BEFORE_NUMBERS:
            return None
        after = place + 1
        while after < len(self.tokens) and self._is_listed(after):
            after += 1
        if self.lower[after : after + 1] in (["of"], ["for"]):
            owner = self._noun_after(after + 1)
            return self._in_play(owner)
        named = {m.table for m in self.mentions.values() if m.table and m.start < place}
        if len(named) == 1:
            return next((table for table in self.tables if table.name in named), None)
        return self.tables[0] if len(self.tables) == 1 else None

    def _is_listed(self, place: int) -> bool:
        mention = self._covering(place)
        bare = mention is None and self.lower[place] in _BARE
        return bare or self.lower[place] in _LISTING or (mention is not None and bool(mention.columns))

    def _numbered(self, place: int) -> Table | None:
        """One row has a number, and so have "all" rows; rows in the plural have a number of them."""
        owner = self._noun_after(place + 2)
        if owner is None:
            return None
        after = self._covering(owner.end) if owner.end < len(self.tokens) else None
        if after and (after.table or after.columns):
            return None  # "the number of the ward's beds"
        if self.lower[place] == "numbers":
            return self._in_play(owner) if owner.plural and not self._groups(place) else None
        determined = self.lower[place + 2] in _DETERMINERS
        return self._in_play(owner) if determined and not owner.plural else None

    def _noun_after(self, place: int) -> Mention | None:
        """The table here, with determiners, superlatives and values before it."""
        for step in range(place, min(place + 5, len(self.tokens))):
            mention = self._covering(step)
            if mention and mention.table:
                return mention if mention.start == step else None
            passed = self.lower[step] in _DETERMINERS or self.lower[step] == self.trade  # "every insurance claim"
            if self.lower[step] in _STOPS or (mention is None and not passed):
                return None
            if mention and mention.columns and "flag" not in mention.tags:
                return None
        return None

    def _in_play(self, owner: Mention | None) -> Table | None:
        return next((table for table in self.tables if owner and table.name == owner.table), None)

    def _groups(self, place: int) -> bool:
        """ "the numbers of visits per month": counts, after all."""
        end = next((i for i in range(place, len(self.lower)) if self.lower[i] in _STOPS), len(self.lower))
        return any("per" in m.tags for m in self.mentions.values() if place + 3 < m.start < end)

    # --- measures, dates and years ---

    def main_measures(self) -> None:
        """ "the average payment", "the biggest extra charge": of its amount, where it has one only."""
        for cue in list(self.mentions.values()):
            noun = self._covering(cue.end) if cue.end < len(self.tokens) else None
            extreme = cue.tags & {"high", "low"} and cue.text.lower() not in ("most", "least", "top", "best", "fewest")
            if noun is None or not ("avg" in cue.tags or (extreme and not cue.hint)):
                continue
            table = self._in_play(noun) if noun.table else self._table_of_head(noun.start)
            if table is None or not (noun.table or "part" in noun.tags):
                continue
            follower = self._covering(noun.end) if noun.end < len(self.tokens) else None
            key = self._main_measure(table)
            if key and not (follower and (follower.columns or follower.table)):
                plural = self.tokens[noun.end - 1].lower != self.tokens[noun.end - 1].lemma
                self.mentions[noun.start] = replace(self._row(noun, table, plural), columns=frozenset({key}))

    def _main_measure(self, table: Table) -> ColumnKey | None:
        """The only amount, and the only column in its unit."""
        amounts = [column for column in table.of_kind("measure") if _AMOUNTS & set(lemmas(column.words))]
        units = [column.unit for column in table.columns]
        return (table.name, amounts[0].name) if len(amounts) == 1 and units.count(amounts[0].unit) == 1 else None

    def moments(self) -> None:
        """ "when was each patient last admitted": a table's noun as a verb asks for the date called after it."""
        for mention in list(self.mentions.values()):
            table = self._in_play(mention) if mention.table and mention.end == mention.start + 1 else None
            if table is None or self.tokens[mention.start].lemma in (*lemmas(table.singular), *lemmas(table.plural)):
                continue
            asked = _DATE_ASKED & set(self._sentence_before(mention.start, 9))
            noun = stem(lemmas(table.singular)[-1])
            dates = [c.name for c in table.of_kind("date") if noun in {stem(word) for word in lemmas(c.words)}]
            if asked and len(dates) == 1:
                self.mentions[mention.start] = replace(mention, columns=frozenset({(table.name, dates[0])}))

    def _sentence_before(self, place: int, limit: int) -> list[str]:
        words = self.lower[max(0, place - limit) : place]
        stop = next((i for i in range(len(words), 0, -1) if words[i - 1] in _STOPS), 0)
        return words[stop:]

    def units(self) -> None:
        """ "how many tonnes", "the number of hours": of the only column in that unit."""
        for cue in list(self.mentions.values()):
            place = cue.end
            if "count" not in cue.tags or place >= len(self.tokens) or self._covering(place):
                continue
            named = [
                ((table.name, column.name), len(unit))
                for table in self.tables
                for column in table.columns
                if (unit := lemmas(column.unit or "")) and self._lemmas(place, len(unit)) == unit
            ]
            if len(named) == 1 and not self._table_of_head(place):
                (key, length), text = named[0], self.tokens[place].text
                end = place + length
                self.mentions[place] = Mention(place, end, frozenset({"column"}), text, columns=frozenset({key}))

    def _lemmas(self, place: int, length: int) -> tuple[str, ...]:
        return tuple(token.lemma or token.lower for token in self.tokens[place : place + length])

    def years(self) -> None:
        """ "in what year", "latest year first": the year column that the question names, or the only one in play."""
        years = {(t.name, c.name) for t in self.tables for c in t.columns if c.unit == "year"}
        named = years & {key for m in self.mentions.values() for key in m.columns}
        if not named and not any(table.of_kind("date") for table in self.tables):
            named = years
        for mention in list(self.mentions.values()):
            before = set(self.lower[max(0, mention.start - 2) : mention.start])
            if mention.text.lower() == "year" and not mention.columns and before & _YEAR_ASKED and len(named) == 1:
                self.mentions[mention.start] = replace(mention, columns=frozenset(named))
