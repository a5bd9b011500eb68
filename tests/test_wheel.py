"""The wheel: all files of the packages are in it, and a command runs from it where there is no checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("bench", "devices", "methods", "tasks")
TINY = "--task mnist --network mlp --preset smoke --train-samples 200 --test-samples 100 --chips 2 --threads 1".split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without a network."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture
def bench(wheel: Path, home: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`bench` of an environment that has the wheel and what it needs, but not the checkout, in an empty folder."""
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", purelib], check=True, capture_output=True, text=True).stdout.strip())
    # The packages that the tests have too. A folder that a .pth names has its own .pth files unread: no checkout.
    (site / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--ignore-installed", "--disable-pip-version-check", wheel], check=True)
    empty.mkdir()
    names = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [environment / "bin" / "bench", *map(str, arguments)]
        return subprocess.run(command, cwd=empty, env=names, capture_output=True, text=True)

    return run


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        scripts = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "bench = bench.__main__:main" in archive.read(scripts).decode()
    kept = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    assert packed == {path.relative_to(ROOT).as_posix() for path in kept if "__pycache__" not in path.parts}


def test_a_command_runs_from_the_wheel_in_an_empty_folder(
    bench: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    # A repository around it, of somebody else: its commit is not ours
    commit = "git -c user.name=x -c user.email=x@localhost commit --quiet --allow-empty --message x"
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    subprocess.run(commit.split(), cwd=tmp_path, check=True)
    listed = bench("list")
    assert listed.returncode == 0 and "rram1t1r" in listed.stdout, listed.stderr
    ran = bench("run", "--method", "nominal", "--device", "rram1t1r", *TINY)
    assert ran.returncode == 0, ran.stderr
    results = tmp_path / "empty" / "results"
    (record,) = (json.loads(path.read_text()) for path in (results / "records").iterdir())
    assert record["status"] == "done" and record["environment"]["commit"] is None
    (results / "report.html").unlink()
    (results / "PUBLISHED.md").unlink()
    told = bench("report")
    assert told.returncode == 0 and "nominal" in told.stdout, told.stderr
    assert "nominal" in (results / "report.html").read_text()
    assert (results / "PUBLISHED.md").stat().st_size > 1000
