"""The worker that the tests here drive; each begins with one of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ros2_actionnet.settings import Settings
from support.worker_rig import FIRST, MakeRig, Rig


@pytest.fixture(name="make_rig")
def make_rig_fixture() -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def make(settings: Settings = FIRST) -> Rig:
        rigs.append(Rig(settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture(name="rig")
def rig_fixture(make_rig: MakeRig) -> Rig:
    return make_rig()
