"""What is installed is what is meant to be."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_holds_our_three_packages_and_nothing_else(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT]
    subprocess.run([str(word) for word in command], check=True)
    (wheel,) = tmp_path.glob("attest-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"attest", "properties", "reference"}
    for package in tops:
        files = {f"{package}/{path.name}" for path in (ROOT / package).glob("*.py")}
        assert files <= set(names)
    assert {"attest/py.typed", "properties/experiments/copying.py"} <= set(names)
    assert "properties/measurements/ATT-05.json" in names
    points = next(name for name in names if name.endswith("entry_points.txt"))
    text = zipfile.ZipFile(wheel).read(points).decode()
    assert "attest = attest.command:run" in text
    assert "attest.pytest_plugin = attest.pytest_plugin" in text


def test_every_public_name_of_the_package_exists():
    import attest

    for name in attest.__all__:
        assert getattr(attest, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = attest.nothing
