"""The error that a user's mistake raises, told in one line by the command line."""


class BenchError(ValueError):
    """Names the thing, what was wrong, and what would be right."""


def in_one_line(error: Exception) -> str:
    """What went wrong, on one line."""
    return " ".join(str(error).split()) or type(error).__name__
