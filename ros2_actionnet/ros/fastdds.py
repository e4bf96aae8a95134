"""Fast DDS, the usual middleware of ROS 2, and large images.

As it comes, its shared-memory segment holds 512 KB. A 1080p image takes 6 MB, and in best effort nearly every one is
lost on the way. A profile gives the process that publishes the images a larger segment.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from ros2_actionnet.system.resources import shared_folder

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Where Fast DDS looks for its profile: version 2 (up to Jazzy) in the first, version 3 (from Kilted) in the second."""


_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files by which a process knows that it runs in a container of Docker or Podman."""

_SHARED_MEMORY = Path("/dev/shm")


def image_profile() -> Path:
    """Our profile, with room for large images."""
    return shared_folder("config") / "fastdds_images.xml"


def use_image_profile(environment: MutableMapping[str, str]) -> bool:
    """Make Fast DDS use our profile; call it before rclpy.init, with os.environ. Returns True if it will.

    It is left alone where a profile or its transports have been chosen already, where ROS is to use another middleware,
    and where it must keep to this machine by ROS_LOCALHOST_ONLY, for which Humble chooses the transports.
    """
    if any(environment.get(variable) for variable in (*PROFILE_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")):
        return False
    if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return False
    if environment.get("ROS_LOCALHOST_ONLY", "0") == "1":
        return False
    environment.update(dict.fromkeys(PROFILE_VARIABLES, str(image_profile())))
    return True


def loss_remedy(middleware: str) -> str:
    """Return the remedy for images that are lost on their way through `middleware` (an RMW's name)."""
    reliable = "publish the images with reliable QoS"
    if "fastrtps" not in middleware:
        return f"{reliable}, or compressed, or give the system larger network buffers"
    older, newer = PROFILE_VARIABLES
    return (
        "Fast DDS's shared memory, 512 KB unless told otherwise, is too small for large images; start the camera's "
        f"process with {older}={image_profile()} (on Kilted or newer {newer}), or {reliable}"
    )


def silence_cause(
    middleware: str, shared_memory: Path = _SHARED_MEMORY, user: int | None = None, in_container: bool | None = None
) -> str:
    """Return why no data may come through `middleware` from a publisher that is seen, and the remedy; empty if unknown.

    Fast DDS takes processes on one host for neighbors that share /dev/shm. Discovery goes over the network, the data
    through shared memory: from a process in another container, or of another user, none arrives.
    """
    if "fastrtps" not in middleware:
        return ""
    user = os.geteuid() if user is None else user
    others = sorted(_owners(shared_memory) - {user})
    over_network = "or set FASTDDS_BUILTIN_TRANSPORTS=UDPv4 for both (Jazzy or newer)"
    if others:
        names = ", ".join(map(str, others[:3]))
        return (
            f"Fast DDS's shared memory in {shared_memory} belongs to another user (uid {names}, this node has {user}); "
            f"run both as one user, {over_network}"
        )
    if any(mark.exists() for mark in _CONTAINER_MARKS) if in_container is None else in_container:
        return (
            "in containers, Fast DDS needs one shared memory and one user; start both with --ipc=host (and the same "
            f"--user), {over_network}"
        )
    return ""


def _owners(shared_memory: Path) -> set[int]:
    """Return the users whose processes have shared memory of Fast DDS."""
    owners = set()
    with suppress(OSError):
        for file in shared_memory.iterdir():
            if file.name.startswith(("fastrtps_", "fastdds_")):
                with suppress(OSError):
                    owners.add(file.stat().st_uid)
    return owners
