"""The wheel brings the package, the experiments and the language models, and works outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of the built wheel, in an environment that has its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("ulmfit_lab", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment)
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    place = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # the dependencies of this environment; without its .pth files, which name the repository
    (Path(place.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "ulmfit-lab"


def run(command: Path, cwd: Path, *arguments: str) -> str:
    """Standard output of a command outside the repository."""
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ULMFIT_LAB_HOME")}
    done = subprocess.run([str(command), *arguments], cwd=cwd, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_finds_experiments_and_models_and_sweeps(command: Path, tmp_path: Path) -> None:
    names = {line.split()[0] for line in run(command, tmp_path, "list").splitlines()}
    assert names == {path.stem for path in (ROOT / "experiments").glob("*.py")}
    shipped = {path.parent.parent.name for path in (ROOT / "ulmfit_lab" / "pretrained").glob("*/*/model.json")}
    listed = run(command, tmp_path, "models")
    assert all(name in listed for name in shipped)
    out = run(command, tmp_path, "sweep", "demo", "--scale", "tiny", "--seeds", "1", "--classifier.epochs", "1")
    assert "5 runs finished" in out
