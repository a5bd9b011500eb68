"""A file is whole or not there, and an error names the file that was asked for."""

from pathlib import Path

import pytest

from bench.files import write_text, write_with


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def half(temporary: Path) -> None:
        temporary.write_text("ha")
        raise KeyboardInterrupt

    write_text(tmp_path / "x.json", "whole")
    with pytest.raises(KeyboardInterrupt):
        write_with(tmp_path / "x.json", half)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert (tmp_path / "x.json").read_text() == "whole"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that takes no files even from root")
def test_an_error_names_the_file_and_not_the_temporary_one():
    with pytest.raises(OSError) as error:
        write_text(Path("/proc/q.json"), "")
    assert error.value.filename == "/proc/q.json"


def test_an_error_while_writing_names_the_file_too(tmp_path):
    with pytest.raises(OSError) as error:
        write_with(tmp_path / "x.json", lambda temporary: (temporary / "below").read_text())
    assert error.value.filename == str(tmp_path / "x.json")
