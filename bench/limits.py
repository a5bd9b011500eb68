"""Sizes, in bytes unless they say otherwise, beyond which a file from somebody else is refused.

All are far above what the bench writes itself; SECURITY.md lists them. devices/_measured.py has that of a fitted table.
"""

MIB, GIB = 1 << 20, 1 << 30

RECORD = 16 * MIB
NAME = 1_000  # letters of a name in a record
NUMBER = 1e50  # of any sign, in a record: squares of sums of squares stay finite, and a perplexity is below 1e44
PARTS = 200_000  # objects, lists and names in a record: each takes up to 80 times its text in memory
ENTRIES = 1_000_000  # of all lists and objects in a record together
DEPTH = 50  # objects and lists in one another, in a record
LEVELS = 1_000  # of a record, or times
CHIPS = 100_000  # of a level
SAMPLES = 20  # test samples that a record shows
# What a run may plan: the metric and further metrics of each chip at each level. Such a number takes up to 31 bytes
# (indent, 24 of digits, comma, line end), so that all of them and 1,000 levels fit into RECORD.
NUMBERS = 450_000
FURTHER = 15  # further metrics of a task: room is kept for so many
ERROR = 10_000  # letters of the reason that the record of a failed run holds
CELLS = GIB  # measured cells, unpacked
CHECKPOINT = 16 * GIB  # or a resume point: a billion weights in fp32, with two moments of each, take 12 GB
# An archive of `bench export`
ARCHIVE_FILES = 200_000  # files
MANIFEST = 64 * MIB
RECORDS = 2 * GIB  # all of an archive together, unpacked
PICTURE = 4 * MIB
PICTURES = 256 * MIB  # all of an archive together
PIXELS = 1 << 23  # of a picture: 8 to 32 MiB once it is drawn

LABEL = 300  # letters that tables and figures show of a name with its settings
FILE_NAME = 150  # letters of a file name that is made of names; file systems take 255 bytes


def shown(size: int) -> str:
    """A size in words: 16 MiB."""
    return f"{size >> 30} GiB" if size >= GIB else f"{size >> 20} MiB"
