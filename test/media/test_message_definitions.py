"""The definitions of vision_msgs that we ship are those of the real package: their type hashes are equal."""

from __future__ import annotations

import pytest

from ros2_actionnet.media.bag_reader import result_types

# As rosidl made them of vision_msgs 4.1 (ros2 branch); Detection2DArray's covers all that it holds.
HASHES = {
    "vision_msgs/msg/Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
}


@pytest.mark.parametrize("name", HASHES)
def test_the_type_hash_is_that_of_the_real_package(name: str) -> None:
    assert result_types().hash_rihs01(name) == HASHES[name]
