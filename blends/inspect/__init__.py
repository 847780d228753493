"""`gristmill inspect`: a local web page over a run, a blend or any parquet."""
