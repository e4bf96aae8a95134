"""The ring in device memory holds what the ring in host memory holds, whenever the device comes to its work."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ros2_actionnet.backends.ring import FrameRing, HostRing
from ros2_actionnet.backends.tensorrt.cuda import ALIGNMENT, CudaContext, find_device
from ros2_actionnet.backends.tensorrt.device_ring import DeviceRing, DeviceWindow
from ros2_actionnet.errors import BackendError
from ros2_actionnet.recognition.sampling import Sample
from ros2_actionnet.recognition.temporal_buffer import TemporalBuffer
from support.cuda_doubles import FakeCuda

N = 4
Pixels = NDArray[np.uint8]


class Rig:
    """A device ring of N frames on a double of CUDA."""

    def __init__(self, height: int = 5, width: int = 7, eager: float = 0.0, seed: int = 0) -> None:
        self.driver = FakeCuda(eager=eager, seed=seed)
        self.cuda = CudaContext(self.driver, find_device(self.driver, ""))
        self.shape = (height, width, 3)
        with self.cuda.pushed():
            self.staging = self.cuda.allocate_pinned(self.shape, np.uint8)
        self.ring = self.another()

    def another(self) -> DeviceRing:
        with self.cuda.pushed():
            address = self.cuda.allocate(2 * N * self.staging.nbytes)
        return DeviceRing(self.cuda, address, self.staging, N)

    def pixels(self, window: DeviceWindow) -> Pixels:
        """What the device reads when it comes to a piece of work that is queued now."""
        with self.cuda.pushed():
            self.cuda.synchronize()
        return self.driver.device_bytes(window.address, N * self.staging.nbytes).reshape(N, *self.shape).copy()

    def close(self) -> None:
        self.cuda.close()
        self.driver.assert_clean()


@pytest.fixture(name="rig")
def rig_fixture() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


def frame(value: int, shape: tuple[int, int, int] = (5, 7, 3)) -> Pixels:
    return np.random.default_rng(value).integers(0, 256, shape, np.uint8)


def test_it_is_a_ring_of_frames(rig: Rig) -> None:
    ring: FrameRing[DeviceWindow] = rig.ring
    assert ring.frames == N


def test_a_frame_lies_in_its_slot_and_the_mirror_of_it(rig: Rig) -> None:
    for slot in range(N):
        rig.ring.write(slot, frame(slot))
    for first in range(N):
        expected = np.stack([frame((first + i) % N) for i in range(N)])
        np.testing.assert_array_equal(rig.pixels(rig.ring.window(first)), expected)


def test_a_frame_crosses_the_bus_once_and_the_writer_may_reuse_it_at_once(rig: Rig) -> None:
    image = frame(1)
    rig.ring.write(2, image)
    image[:] = 0
    assert rig.driver.moved == {"host to device": 105, "device to host": 0, "within the device": 105}
    assert rig.driver.names()[-5:] == ["query", "sleep", "memcpy_htod_async", "memcpy_dtod_async", "pop"]
    np.testing.assert_array_equal(rig.pixels(rig.ring.window(2))[0], frame(1))


def test_a_repeated_frame_stays_on_the_device(rig: Rig) -> None:
    for slot in range(N):
        rig.ring.write(slot, frame(slot))
    before = dict(rig.driver.moved)
    rig.ring.repeat(1, 3)
    assert rig.driver.moved == {**before, "within the device": before["within the device"] + 2 * 105}
    np.testing.assert_array_equal(rig.pixels(rig.ring.window(3))[[0, 2]], [frame(1), frame(1)])


def test_no_frame_overtakes_another_in_the_one_staging_frame(rig: Rig) -> None:
    for slot in range(N):  # nothing is waited for in between but by the ring itself
        rig.ring.write(slot, frame(slot))
    np.testing.assert_array_equal(rig.pixels(rig.ring.window(0)), np.stack([frame(i) for i in range(N)]))


def test_a_frame_written_after_a_window_was_read_does_not_change_what_is_read(rig: Rig) -> None:
    """The read is queued first, so it comes first, though it has not been waited for: one stream orders all."""
    for slot in range(N):
        rig.ring.write(slot, frame(slot))
    window = rig.ring.window(0)
    with rig.cuda.pushed():
        copy = rig.cuda.allocate(N * rig.staging.nbytes)
        rig.cuda.copy(copy, window.address, N * rig.staging.nbytes)  # as an inference reads it
    rig.ring.write(0, frame(99))
    assert rig.pixels(window)[0].tolist() == frame(99).tolist()
    seen = rig.driver.device_bytes(copy, N * rig.staging.nbytes).reshape(N, *rig.shape)
    np.testing.assert_array_equal(seen, np.stack([frame(i) for i in range(N)]))


def test_a_frame_of_another_shape_is_refused_and_changes_nothing(rig: Rig) -> None:
    rig.ring.write(0, frame(0))
    with pytest.raises(ValueError, match="broadcast"):
        rig.ring.write(0, frame(1, (6, 7, 3)))
    np.testing.assert_array_equal(rig.pixels(rig.ring.window(0))[0], frame(0))


def test_what_cuda_refuses_comes_as_our_error_and_leaves_no_context_pushed(rig: Rig) -> None:
    for failing in range(6):  # push, the three calls that wait, and the two copies
        rig.driver.fail_at = len(rig.driver.calls) + failing
        with pytest.raises(BackendError, match="injected"):
            rig.ring.write(0, frame(0))
    rig.ring.write(0, frame(7))
    np.testing.assert_array_equal(rig.pixels(rig.ring.window(0))[0], frame(7))


@pytest.mark.parametrize(("size", "aligned"), [(112, N), (100, 1)])
def test_windows_of_actionnets_size_are_aligned_wherever_they_begin(size: int, aligned: int) -> None:
    rig = Rig(size, size)
    windows = [rig.ring.window(first) for first in range(N)]
    assert sum(window.address % ALIGNMENT == 0 for window in windows) == aligned
    rig.close()


def test_a_window_keeps_its_ring(rig: Rig) -> None:
    window = rig.another().window(1)
    assert window.ring.frames == N
    assert window == DeviceWindow(window.address, rig.ring)  # the address alone is compared


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), eager=st.sampled_from([0.0, 0.3, 0.9, 1.0]), repeat_first=st.booleans())
def test_every_window_is_the_host_rings_over_a_thousand_random_pushes(
    seed: int, eager: float, repeat_first: bool
) -> None:
    random = np.random.default_rng(seed)
    rig = Rig(3, 4, eager, seed)
    ours = TemporalBuffer(rig.ring, 1, repeat_first)
    other = TemporalBuffer(rig.another(), 1, repeat_first)  # shares the staging, and must not be seen
    host = TemporalBuffer(HostRing(N, 3, 4), 1, repeat_first)
    windows = 0
    for _ in range(1000):
        image = random.integers(0, 256, rig.shape, np.uint8)
        sample = Sample(int(random.integers(1, 7)) if random.random() < 0.2 else 1, restart=random.random() < 0.03)
        ours.push(image, sample)
        host.push(image, sample)
        other.push(~image, Sample())
        assert (ours.fill, ours.full, ours.due) == (host.fill, host.full, host.due)
        if host.full and random.random() < 0.5:
            np.testing.assert_array_equal(rig.pixels(ours.take_window()), host.take_window())
            windows += 1
    assert windows > 200
    rig.close()
