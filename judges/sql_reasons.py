"""Why `judges.sql_execution` refuses: every reason, in the order in which the checks come."""

REASONS: dict[str, dict[str, str]] = {
    "record": {
        "malformed": "`metadata.sql` is no claim, or a distractor isn't in the context",
        "no_query": "the last answer has no fenced sql block",
        "several_queries": "it has more than one",
    },
    "text": {
        "not_a_query": "it is empty, or no SELECT",
        "several_statements": "more than one statement",
        "not_read_only": "it writes, locks, copies or sets something",
        "unparsed": "sqlglot can't read it in its dialect",
        "forbidden": "it reaches files, other sessions or this one's settings; also what an engine itself denies",
        "random": "a function of chance",
        "depends_on_now": "a clock, and no `frozen_clock` is set",
        "limit_without_order": "LIMIT where more than one row may come, without ORDER BY",
        "concept_missing": "it doesn't show the concept that was asked for",
    },
    "context": {
        "context": "a statement of the context fails; the detail names it",
        "unknown_table": "a table that the context doesn't have",
        "unknown_column": "a column that no table in its scope has; also a string in double quotes in SQLite",
    },
    "execution": {
        "sql_error": "the engine's own error",
        "timeout": "longer than `seconds`, or a recursion without an end",
        "out_of_memory": "more memory or temporary space than one statement gets",
        "too_many_rows": "more than `rows`",
        "too_large": "more than a million characters",
        "crashed": "the server broke off, twice",
        "no_rows": "nothing, unless the concept is one that may return nothing",
        "trivial_result": "a single 0, or only NULL",
    },
    "chance": {
        "ties": "rows that are tied at a limit, or in a window that counts rows",
        "unstable": "a second run, or tables read in another order, give other rows",
    },
    "proof": {
        "distractor_used": "without the distractors it fails or gives something else",
        "unused_table": "without a table that it names it gives the same",
        "insensitive": "it gives the same whatever the tables hold",
        "no_effect": "a statement that is to write leaves everything as it was",
    },
    "comparison": {
        "wrong_result": "the answer gives other rows than the record says, or than `metadata.sql.query`, "
        "here or with other data",
    },
}
