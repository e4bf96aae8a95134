"""What tests in several files begin with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from support.own_domain import Domain

# A busy machine is no failure.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")

# No test downloads from the internet, or sees networks that the user has; those that are about either set these anew.
os.environ["ACTIONNET_MIRROR"] = os.environ["ACTIONNET_NETWORKS"] = "/nowhere/in/tests"


@pytest.fixture(name="domain")
def domain_fixture() -> Iterator[Domain]:
    from support.own_domain import own_domain  # needs ROS, which tests of the core do without

    with own_domain() as domain:
        yield domain
