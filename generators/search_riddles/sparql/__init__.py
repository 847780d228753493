"""Access to a knowledge graph by SPARQL: a public service or the embedded server, with the same queries."""
