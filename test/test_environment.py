"""scripts/environment, sourced by a shell that is as strict and in a folder that is as awkward as they come."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ros2_actionnet import __version__

ROOT = Path(__file__).absolute().parents[1]
WORKSPACE = Path(sys.prefix) / "workspace" / "install"

pytestmark = [pytest.mark.ros, pytest.mark.skipif(not WORKSPACE.is_dir(), reason="needs what scripts/setup makes")]


def in_environment(checkout: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Runs `commands` in a bare shell that ends at the first error or unset variable, in another folder."""
    script = f'source "{checkout}/scripts/environment"; cd /; {commands}'
    bare = ["env", "-i", "PATH=/usr/bin:/bin", "bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(bare, capture_output=True, text=True, check=False)


@pytest.fixture(name="checkout")
def checkout_fixture(tmp_path: Path) -> Path:
    """A checkout in a path with a space, with the environment of this one."""
    checkout = tmp_path / "my robot"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "environment", checkout / "scripts")
    return checkout


def test_the_commands_are_on_the_path_from_any_folder(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(sys.prefix)
    for name in ("actionnet", "actionnet-engine", "actionnet-networks"):
        done = in_environment(checkout, f"{name} --version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name} {__version__}\n", "")


def test_the_shell_keeps_its_options_and_gets_no_other_variables(checkout: Path) -> None:
    (checkout / ".venv").symlink_to(sys.prefix)
    done = in_environment(checkout, 'echo "$-"; compgen -v _ || true')
    options, *variables = done.stdout.split()
    assert {"e", "u"} <= set(options)
    assert not {"_venv", "_package", "_nounset"} & set(variables)


def test_before_setup_it_says_what_to_run(checkout: Path) -> None:
    done = in_environment(checkout, "true")
    assert done.returncode != 0
    assert done.stderr == "scripts/environment: nothing is set up yet: run scripts/setup first\n"
