"""Video of ffmpeg_image_transport and of Foxglove over real DDS, on the transport's topic and on any other."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
from foxglove_msgs.msg import CompressedVideo

from support.networks import save_brightness_network
from support.packets import encode, grey_frame
from support.ros import IMAGE_TOPIC, running_node

pytestmark = pytest.mark.integration

LABELS = ("dark", "dim", "bright")


def ffmpeg_packet(data: bytes, stamp: Time) -> FFMPEGPacket:
    message = FFMPEGPacket(width=64, height=48, encoding="libx264", data=array("B", data))
    message.header.stamp, message.header.frame_id = stamp, "lens"
    return message


def foxglove_video(data: bytes, stamp: Time) -> CompressedVideo:
    return CompressedVideo(timestamp=stamp, frame_id="lens", data=array("B", data), format="h264")


@pytest.mark.parametrize(
    ("transport", "topic", "kind", "make"),
    [
        ("ffmpeg", f"{IMAGE_TOPIC}/ffmpeg", FFMPEGPacket, ffmpeg_packet),
        ("foxglove", f"{IMAGE_TOPIC}/foxglove", CompressedVideo, foxglove_video),
        ("raw", IMAGE_TOPIC, CompressedVideo, foxglove_video),
        ("compressed", f"{IMAGE_TOPIC}/compressed", FFMPEGPacket, ffmpeg_packet),
    ],
)
def test_it_is_classified_under_the_stamps_of_its_packets(
    tmp_path: Path, transport: str, topic: str, kind: Any, make: Any
) -> None:
    model = save_brightness_network(tmp_path, LABELS)
    settings = {"model": model, "skip_frames": 0, "precision": "fp32", "image_transport": transport}
    remapping = () if transport == "raw" else ("-r", f"image/{transport}:={topic}")
    packets = encode([grey_frame(20)] * 10 + [grey_frame(240)] * 10)
    with running_node(settings, *remapping) as (process, probe):
        probe.wait_for(lambda: probe.infos, "vision_info")
        publisher = probe.publisher(topic, kind)
        if transport in ("raw", "compressed"):  # which usually have another type
            probe.wait_for(lambda: "subscribing with" in process.log, "look at the publisher's type")
        probe.wait_for(lambda: publisher.get_subscription_count() == 1, "subscription")
        probe.spin(0.5)
        for number, packet in enumerate(packets):
            publisher.publish(make(packet.data, Time(sec=100, nanosec=number * 40_000_000)))
            probe.spin(0.05)
        newest = Time(sec=100, nanosec=760_000_000)
        probe.wait_for(lambda: [c.header.stamp for c in probe.classifications][-1:] == [newest], "the last window")
        first, last = probe.classifications[0], probe.classifications[-1]
        assert (first.header.stamp, first.header.frame_id) == (Time(sec=100, nanosec=120_000_000), "lens")
        assert first.results[0].class_id == "dark"
        assert last.header.stamp == Time(sec=100, nanosec=760_000_000)
        assert last.results[0].class_id == "bright"
