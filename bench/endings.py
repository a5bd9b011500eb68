"""How a command ends: what a person is told in one line, and the exit code."""

import logging
import sys
import unicodedata
from typing import Any, NoReturn

from bench.errors import BenchError


class Stderr(logging.StreamHandler[Any]):
    """Writes to what sys.stderr is at the time, so that a log line doesn't tear a live progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def printable(text: str) -> str:
    """Text without what a terminal would obey: control and direction characters, line ends aside, become blanks."""
    return "".join(" " if unicodedata.category(c)[0] == "C" and c != "\n" else c for c in text)


def one_line(error: Exception) -> tuple[str, int]:
    """What a person is told, and the exit code: 2 for what they can mend, 1 for our own faults."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), 2
    if (message := getattr(error, "format_message", None)) is not None:  # typer's own usage errors
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is printed already
            return "", 2
        context = getattr(error, "ctx", None)
        where = f"; see {context.command_path} --help" if context else ""
        return f"{' '.join(message().split()).rstrip('.')}{where}", 2
    text = " ".join(str(error).split())
    if isinstance(error, BenchError) or _is_user_error(error):
        return text, 2
    return f"{type(error).__name__}: {text} (a fault of the bench; --debug shows where)", 1


def _is_user_error(error: Any) -> bool:
    names = {"DeviceError", "SettingError", "UnknownProduct", "TaskError", "MethodError", "FitError"}
    names |= {"BotoCoreError", "ClientError"}  # of an object store that can't be reached, or refuses
    return any(cls.__name__ in names for cls in type(error).__mro__)


def end(text: str, code: int) -> NoReturn:
    """Say it and leave."""
    if text:
        print(f"bench: {printable(text)}", file=sys.stderr)
    sys.exit(code)
