"""The error that a user's mistake raises, told in one line by the command line."""


class BenchError(ValueError):
    """Names the thing, what was wrong, and what would be right."""
