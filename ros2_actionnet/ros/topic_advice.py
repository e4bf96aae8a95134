"""What to type when no image comes: read from the topics that exist and their types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from rclpy.node import Node

from ros2_actionnet.ros.image_types import IMAGE, IMAGE_TYPES, TRANSPORTS

_SUFFIX = "/compressed"
_SHOWN = 3  # topics at most in one advice
_NEAR = 0.6  # likeness from which a name is taken to be the one that was meant


@dataclass(frozen=True)
class ImageTopics:
    """The topics that others publish, with the types of each."""

    published: Mapping[str, frozenset[str]]

    @classmethod
    def seen_by(cls, node: Node) -> ImageTopics:
        """Return the topics that `node` sees, less its own.

        What `node` itself subscribes to also makes a topic with a type: only publishers count.
        """
        own = (node.get_name(), node.get_namespace())
        published = {}
        for topic, _ in node.get_topic_names_and_types():
            publishers = node.get_publishers_info_by_topic(topic)
            types = frozenset(p.topic_type for p in publishers if (p.node_name, p.node_namespace) != own)
            if types:
                published[topic] = types
        return cls(published)

    def advice(self, topic: str, transport: str) -> str:
        """Return what is wrong with `topic`, subscribed as `transport`, and what to type; empty if nothing is known.

        `topic` is the full name of what is subscribed: with the transport compressed it ends with /compressed. Any type
        of images is right there, as the subscription takes the publishers'.
        """
        types = self.published.get(topic, frozenset())
        if types.intersection(IMAGE_TYPES):
            return ""
        found = f"{topic} carries {', '.join(sorted(types))}, not {TRANSPORTS[transport][1]}" if types else ""
        commands = [_command(name, kind, transport) for name, kind in self._candidates(topic)]
        if not commands:
            nowhere = "no node that can be seen from here publishes images"
            return f"{found}; {nowhere}" if found else f"nobody publishes there, and {nowhere}"
        return f"{found or 'nobody publishes there'}; set {', or '.join(commands)}"

    def _candidates(self, topic: str) -> list[tuple[str, str]]:
        """Return the topics with images, each with its type: the ones that were meant, else a few of all."""
        images = list(self._images())
        base = _base(topic)
        same = [(name, kind) for name, kind in images if _base(name) == base]
        if same:
            return same[:1]
        ranked = sorted(images, key=lambda image: -_likeness(_base(image[0]), base))
        near = [image for image in ranked if _likeness(_base(image[0]), base) >= _NEAR]
        by_camera = {_base(name): (name, kind) for name, kind in reversed(near or ranked)}
        return list(reversed(by_camera.values()))[:_SHOWN]

    def _images(self) -> Iterator[tuple[str, str]]:
        """Yield each topic with images once, raw before compressed and by name, but no annotated image of ours."""
        for kind in IMAGE_TYPES:
            topics = (name for name, types in self.published.items() if kind in types)
            yield from sorted((name, kind) for name in topics if not self._is_annotated(name))

    def _is_annotated(self, topic: str) -> bool:
        """Return True for what a node like this one shows: it comes with classifications."""
        camera, _, name = _base(topic).rpartition("/")
        return name == "annotated" and f"{camera}/classification" in self.published


def _base(topic: str) -> str:
    while topic.endswith(_SUFFIX):
        topic = topic[: -len(_SUFFIX)]
    return topic


def _likeness(name: str, other: str) -> float:
    """Return how like two names of topics are, 0 to 1; the same name under another namespace is 1."""
    if name.endswith(other) or other.endswith(name):
        return 1.0
    return SequenceMatcher(None, name, other).ratio()


def _command(topic: str, kind: str, transport: str) -> str:
    """Return the launch arguments with which `topic` is subscribed, given the transport in force."""
    if transport == "raw":
        return f"image_topic:={topic}"
    if kind != IMAGE and topic.endswith(f"/{transport}"):
        return f"image_topic:={topic[: -len(transport) - 1]}"
    return f"image_topic:={topic} image_transport:=raw"
