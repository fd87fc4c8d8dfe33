"""Will ATC take it: operators, opsets, dtypes and attributes against what public sources say."""
