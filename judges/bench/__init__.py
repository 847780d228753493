"""How good are judges? Their verdicts on labelled records, measured."""
