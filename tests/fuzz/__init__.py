"""Mutated study files and data sets, run one by one: bad input ends with one line, never with a traceback or a hang."""
