"""The queries, written so that Wikidata's service and the embedded server answer the same ones.

Every prefix is spelt out, and labels come by rdfs:label with a LANG filter. Entities and properties are IRIs
throughout; `short` gives the form in which people know Wikidata's (Q64, P17).

Source: SPARQL 1.1 (https://www.w3.org/TR/sparql11-query/); Wikidata's RDF format: `wdt:` is a property's best value
(https://www.mediawiki.org/wiki/Wikibase/Indexing/RDF_Dump_Format).
"""

from collections.abc import Iterable, Sequence

ENTITY = "http://www.wikidata.org/entity/"
DIRECT = "http://www.wikidata.org/prop/direct/"
LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
ALT_LABEL = "http://www.w3.org/2004/02/skos/core#altLabel"
DESCRIPTION = "http://schema.org/description"
INSTANCE_OF = f"{DIRECT}P31"
OCCUPATION = f"{DIRECT}P106"

PREFIXES = """\
PREFIX wd: <http://www.wikidata.org/entity/>
PREFIX wdt: <http://www.wikidata.org/prop/direct/>
PREFIX wikibase: <http://wikiba.se/ontology#>
PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
PREFIX skos: <http://www.w3.org/2004/02/skos/core#>
PREFIX schema: <http://schema.org/>
"""
_NAMES = f"<{LABEL}> <{ALT_LABEL}> <{DESCRIPTION}>"

DEGREES = f"""{PREFIXES}
INSERT {{ ?e wikibase:sitelinks ?n }} WHERE {{
  {{ SELECT ?e (COUNT(*) AS ?n) WHERE {{
    {{ ?e ?p ?o }} UNION {{ ?o ?p ?e }} FILTER(isIRI(?o) && isIRI(?e))
  }} GROUP BY ?e }}
  FILTER NOT EXISTS {{ ?e wikibase:sitelinks ?known }}
}}"""


def short(identity: str) -> str:
    return identity.removeprefix(ENTITY).removeprefix(DIRECT)


def term(identity: str) -> str:
    """An IRI as a query writes it."""
    for prefix, space in (("wd:", ENTITY), ("wdt:", DIRECT)):
        if identity.startswith(space) and identity.removeprefix(space).isalnum():
            return prefix + identity.removeprefix(space)
    return f"<{identity}>"


def values(variable: str, identities: Iterable[str]) -> str:
    return f"VALUES ?{variable} {{ {' '.join(map(term, identities))} }}"


def statements(subjects: Sequence[str] = (), properties: Sequence[str] = ()) -> str:
    """s, p, o of entities: those that are stated of `subjects`, by `properties`; all, where none are named."""
    bound = f"{values('s', subjects)} " if subjects else ""
    bound += f"{values('p', properties)} " if properties else ""
    return f"{PREFIXES}SELECT ?s ?p ?o WHERE {{ {bound}?s ?p ?o . FILTER(isIRI(?s) && isIRI(?o)) }}"


def links_to(target: str, properties: Sequence[str], most: int) -> str:
    """s, p of at most so many entities of which one of `properties` states `target`."""
    return f"{PREFIXES}SELECT ?s ?p WHERE {{ {values('p', properties)} ?s ?p {term(target)} . }} LIMIT {most}"


def names(language: str, identities: Sequence[str] = ()) -> str:
    """e, kind, text: label, aliases and description in a language, or without one."""
    bound = f"{values('e', identities)} " if identities else ""
    return (
        f"{PREFIXES}SELECT ?e ?kind ?text WHERE {{ VALUES ?kind {{ {_NAMES} }} {bound}?e ?kind ?text . "
        f'FILTER(LANG(?text) = "{language}" || LANG(?text) = "") }}'
    )


def links(identities: Sequence[str] = ()) -> str:
    """e, n: how well connected entities are."""
    bound = f"{values('e', identities)} " if identities else ""
    return f"{PREFIXES}SELECT ?e ?n WHERE {{ {bound}?e wikibase:sitelinks ?n . }}"


def hubs(classes: Sequence[str], occupation: str, least: int, most: int) -> str:
    """e: entities of a class (or people of an occupation) with `least` links or more, the best connected first."""
    kind = f"?e wdt:P106 {term(occupation)} ." if occupation else f"{values('c', classes)} ?e wdt:P31 ?c ."
    return (
        f"{PREFIXES}SELECT DISTINCT ?e ?n WHERE {{ {kind} ?e wikibase:sitelinks ?n . FILTER(?n >= {least}) }} "
        f"ORDER BY DESC(?n) ?e LIMIT {most}"
    )
