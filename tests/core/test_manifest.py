"""The manifest: what it says of the machine, and what it keeps to itself."""

import getpass
import json
import os
import platform

import pytest
from imported import HEAVY, modules_after

from lmtools.core.environment import installed_version, machine, versions
from lmtools.core.errors import RunError
from lmtools.core.manifest import Manifest, read_manifest

GOOD = Manifest(
    command=["lmtools"],
    seed=3,
    inputs={"a": "00"},
    versions={},
    machine={},
    started="2026-01-01T00:00:00+00:00",
)


def test_there_and_back(tmp_path):
    GOOD.write(tmp_path / "manifest.json")
    assert read_manifest(tmp_path / "manifest.json") == GOOD


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"command": "x"}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=r"manifest\.json: not a run's manifest"):
        read_manifest(tmp_path / "manifest.json")


def test_versions_name_python_lmtools_and_only_what_is_installed():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["lmtools"] == "0.1.0"
    assert all(found.values())
    assert installed_version("no-such-package-at-all") is None


def test_machine_has_no_host_user_or_home():
    text = json.dumps(machine())
    assert machine()["cores"] >= 1
    assert machine()["memory_gb"] > 0
    for secret in (platform.node(), getpass.getuser(), os.path.expanduser("~")):
        assert secret not in text


def test_versions_import_none_of_the_packages():
    assert modules_after("from lmtools.core.environment import versions; versions()").isdisjoint(HEAVY)
