"""ActionNet on a real clip, against a reference that shares nothing with it; predictions, settings and refusals."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ros2_actionnet.action_net import ActionNet
from ros2_actionnet.errors import ActionNetError, ImageError, NetworkError, SettingsError
from ros2_actionnet.networks import PreparedNetwork
from ros2_actionnet.recognition.prediction import NONE
from support.clips import library_clip
from support.random_network import ReferenceModel, save_random_network

LABELS = ("walk", "run", "ride", "jump", "fall", "sit")
FRAMES, SIZE = 8, 32
Frame = NDArray[np.uint8]


@pytest.fixture(name="model", scope="module")
def model_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_network(tmp_path_factory.mktemp("network"), LABELS, frames=FRAMES, size=SIZE)


@pytest.fixture(name="clip", scope="module")
def clip_fixture() -> list[Frame]:
    """bikes.mp4 in the network's size, RGB, as PIL's antialiased bilinear makes it."""
    rgb = (Image.fromarray(np.ascontiguousarray(frame[..., ::-1])) for frame in library_clip("bikes.mp4"))
    return [np.asarray(frame.resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for frame in rgb]


@pytest.fixture(name="make")
def make_fixture(model: Path) -> Iterator[Callable[..., ActionNet]]:
    made: list[ActionNet] = []

    def make(**settings: Any) -> ActionNet:
        made.append(ActionNet(model=str(model), precision="fp32", **settings))
        return made[-1]

    yield make
    for net in made:
        net.close()


def expected_scores(
    model: Path, clip: list[Frame], skip_frames: int, smoothing: int, infer_every: int
) -> list[tuple[int, NDArray[np.float64]] | None]:
    """For each frame, the newest frame that was classified and its scores: a list that is shifted, a mean, a modulo."""
    reference = ReferenceModel(model)
    window: list[Frame] = []
    since_full = 0
    history: deque[NDArray[np.float64]] = deque(maxlen=smoothing)
    results: list[tuple[int, NDArray[np.float64]] | None] = []
    for index, frame in enumerate(clip):
        newest = results[-1] if results else None
        if index % (skip_frames + 1) == 0:
            window = [*window, frame][-FRAMES:]
            if len(window) == FRAMES:
                if since_full % infer_every == 0:
                    history.append(reference.scores(window))
                    newest = index, np.mean(history, axis=0)
                since_full += 1
        results.append(newest)
    return results


@pytest.mark.parametrize(
    ("skip_frames", "smoothing", "infer_every"), [(1, 1, 1), (0, 1, 1), (2, 1, 1), (1, 4, 1), (0, 1, 3), (1, 3, 2)]
)
def test_every_frame_of_a_real_clip_agrees_with_an_independent_reference(
    model: Path,
    clip: list[Frame],
    make: Callable[..., ActionNet],
    skip_frames: int,
    smoothing: int,
    infer_every: int,
) -> None:
    net = make(skip_frames=skip_frames, smoothing=smoothing, infer_every=infer_every, threshold=0.0)
    expected = expected_scores(model, clip, skip_frames, smoothing, infer_every)
    winners = set()
    for index, (frame, reference) in enumerate(zip(clip, expected, strict=True)):
        prediction = net.classify(frame)
        assert (prediction is None) == (reference is None), index
        if prediction is not None and reference is not None:
            newest, scores = reference
            assert prediction.frame == newest
            assert prediction.first_frame == newest - (FRAMES - 1) * (skip_frames + 1)
            assert np.abs(prediction.scores - scores).max() < 1e-3, index
            assert prediction.class_id == scores.argmax(), index
            winners.add(prediction.label)
    assert len(winners) >= 3, "a clip in which one class always wins shows little"


def test_full_size_frames_in_bgr_give_what_the_antialiased_ones_give(
    model: Path, clip: list[Frame], make: Callable[..., ActionNet]
) -> None:
    net = make(threshold=0.0)
    expected = expected_scores(model, clip, 1, 1, 1)
    same, total, worst = 0, 0, 0.0
    for frame, reference in zip(library_clip("bikes.mp4"), expected, strict=True):
        prediction = net.classify(frame, encoding="bgr8")
        if prediction is not None and reference is not None:
            total += 1
            same += int(prediction.class_id == reference[1].argmax())
            worst = max(worst, float(np.abs(prediction.scores - reference[1]).max()))
    assert same >= 0.95 * total
    assert worst < 0.25


def test_a_skipped_frame_gives_the_last_prediction_again(clip: list[Frame], make: Callable[..., ActionNet]) -> None:
    net = make(skip_frames=1)
    predictions = [net.classify(frame) for frame in clip[: 2 * FRAMES + 2]]
    assert predictions[: 2 * FRAMES - 2] == [None] * (2 * FRAMES - 2)
    first, again, second = predictions[2 * FRAMES - 2 : 2 * FRAMES + 1]
    assert first is not None
    assert second is not None
    assert again is first
    assert (first.frame, second.frame) == (2 * FRAMES - 2, 2 * FRAMES)


def test_sample_rate_keeps_the_windows_length_whatever_the_cameras_rate(
    model: Path, clip: list[Frame], make: Callable[..., ActionNet]
) -> None:
    net = make(sample_rate=10.0, threshold=0.0)
    for index, frame in enumerate(clip[:60]):
        prediction = net.classify(frame, stamp=100 + index / 30)
    assert prediction is not None
    assert (prediction.first_frame, prediction.frame) == (57 - 3 * (FRAMES - 1), 57)
    window = clip[57 - 3 * (FRAMES - 1) : 58 : 3]
    assert np.abs(prediction.scores - ReferenceModel(model).scores(window)).max() < 1e-3


def test_stamps_that_do_not_change_are_warned_of_once_and_taken_as_30_hz(
    clip: list[Frame], make: Callable[..., ActionNet]
) -> None:
    net = make(sample_rate=10.0, threshold=0.0)
    with pytest.warns(UserWarning, match="the stamps do not change") as warned:
        predictions = [net.classify(frame, stamp=7.0) for frame in clip[:120]]
    assert len(warned) == 1
    newest = predictions[-1]
    assert newest is not None
    assert newest.frame - newest.first_frame == 3 * (FRAMES - 1)


def test_warmup_by_repetition_answers_from_the_first_frame_on(
    model: Path, clip: list[Frame], make: Callable[..., ActionNet]
) -> None:
    net = make(warmup="repeat", skip_frames=0, threshold=0.0)
    reference = ReferenceModel(model)
    for index in range(FRAMES):
        prediction = net.classify(clip[index])
        assert prediction is not None
        window = [clip[0]] * (FRAMES - 1 - index) + clip[: index + 1]
        assert (prediction.first_frame, prediction.frame) == (0, index)
        assert np.abs(prediction.scores - reference.scores(window)).max() < 1e-3


@pytest.mark.parametrize("stamp", [500.0, 10.0], ids=["gap", "backwards"])
def test_a_break_in_time_empties_window_smoothing_and_prediction(
    model: Path, clip: list[Frame], make: Callable[..., ActionNet], stamp: float
) -> None:
    net = make(skip_frames=0, smoothing=50, threshold=0.0)
    for index in range(20):
        net.classify(clip[index], stamp=100 + index / 30)
    net.classify(clip[99], stamp=stamp - 1 / 30)  # left out: a jump is believed once the next frame goes on from it
    after = [net.classify(frame, stamp=stamp + i / 30) for i, frame in enumerate(clip[100 : 100 + FRAMES])]
    assert after[:-1] == [None] * (FRAMES - 1)
    assert after[-1] is not None
    expected = ReferenceModel(model).scores(clip[100 : 100 + FRAMES])
    assert np.abs(after[-1].scores - expected).max() < 1e-3


def test_reset_is_as_before_the_first_frame_but_goes_on_counting(
    model: Path, clip: list[Frame], make: Callable[..., ActionNet]
) -> None:
    net = make(skip_frames=0, smoothing=50, threshold=0.0)
    for frame in clip[:20]:
        net.classify(frame)
    net.reset()
    after = [net.classify(frame) for frame in clip[50 : 50 + FRAMES]]
    assert after[:-1] == [None] * (FRAMES - 1)
    assert after[-1] is not None
    assert (after[-1].first_frame, after[-1].frame) == (20, 20 + FRAMES - 1)
    assert np.abs(after[-1].scores - ReferenceModel(model).scores(clip[50 : 50 + FRAMES])).max() < 1e-3


def test_two_objects_do_not_share_a_window(clip: list[Frame], make: Callable[..., ActionNet]) -> None:
    one, other = make(skip_frames=0), make(skip_frames=0)
    for frame in clip[:FRAMES]:
        prediction = one.classify(frame)
    assert prediction is not None
    assert other.classify(clip[0]) is None


class TestStreams:
    def test_streams_of_one_network_give_what_objects_of_their_own_give(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        """Three cameras at different places of the clip, one of which misses every third frame."""
        shared, alone = make(skip_frames=0), [make(skip_frames=0) for _ in range(3)]
        streams = [shared.stream() for _ in alone]
        for index in range(40):
            frames = [clip[index], clip[-1 - index], clip[(3 * index) % len(clip)]]
            given = [number for number in range(3) if number != 2 or index % 3]
            expected = [alone[number].classify(frames[number]) for number in given]
            got = shared.classify_many([(streams[number], frames[number]) for number in given])
            for one, other in zip(got, expected, strict=True):
                assert (one is None) is (other is None)
                if one is not None and other is not None:
                    assert one.frame == other.frame
                    np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        assert all(stream.prediction is not None for stream in streams)

    def test_of_two_frames_of_one_stream_in_one_call_the_newest_window_counts(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0)
        stream, reference = net.stream(), make(skip_frames=0)
        for frame in clip[: FRAMES + 1]:
            expected = reference.classify(frame)
        got = net.classify_many([(stream, frame) for frame in clip[: FRAMES + 1]])
        assert got[-1] is not None
        assert expected is not None
        assert got[-1].frame == FRAMES
        np.testing.assert_allclose(got[-1].scores, expected.scores, atol=1e-6)

    def test_they_follow_the_settings_and_a_reset_empties_one(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0, warmup="repeat")
        first, second = net.stream(), net.stream()
        net.configure(threshold=1.0)
        first.classify(clip[0])
        assert first.prediction is not None
        assert first.prediction.label == NONE
        second.classify(clip[0])
        first.reset()
        assert first.prediction is None
        assert second.prediction is not None

    def test_a_stream_of_another_network_is_refused(self, clip: list[Frame], make: Callable[..., ActionNet]) -> None:
        with pytest.raises(SettingsError, match="belongs to another ActionNet"):
            make().classify_many([(make().stream(), clip[0])])

    @pytest.mark.parametrize("wrong", [lambda net, frame: [frame], lambda net, frame: {net.stream(): frame}])
    def test_what_is_no_pair_is_refused(
        self, wrong: Callable[..., Any], clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make()
        with pytest.raises(SettingsError, match="takes pairs of a stream and its frame"):
            net.classify_many(wrong(net, clip[0]))
        assert net.classify_many([]) == []

    def test_a_refused_call_takes_no_frame_in(self, clip: list[Frame], make: Callable[..., ActionNet]) -> None:
        net, other = make(skip_frames=0, warmup="repeat"), make()
        stream = net.stream()
        with pytest.raises(SettingsError, match="belongs to another ActionNet"):
            net.classify_many([(stream, clip[0]), (other.stream(), clip[0])])
        (prediction,) = net.classify_many([(stream, clip[0])])
        assert prediction is not None
        assert prediction.frame == 0

    def test_a_stream_of_a_closed_network_says_so(self, clip: list[Frame], make: Callable[..., ActionNet]) -> None:
        net = make()
        stream = net.stream()
        net.close()
        with pytest.raises(ActionNetError, match="the ActionNet of this stream has been closed"):
            stream.classify(clip[0])


class TestSettings:
    def test_threshold_and_filter_act_on_the_next_frame(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0, threshold=0.0)
        for frame in clip[:FRAMES]:
            before = net.classify(frame)
        assert before is not None
        assert len(before.top(6)) == 6
        net.threshold = 1
        after = net.classify(clip[FRAMES])
        assert after is not None
        assert (after.label, net.threshold) == (NONE, 1.0)
        net.configure(threshold=0.0, class_filter=["sit"])
        filtered = net.classify(clip[FRAMES + 1])
        assert filtered is not None
        assert [result.label for result in filtered.top(6)] == ["sit"]
        assert len(before.top(6)) == 6, "what was handed out stays as it was"

    def test_an_intensity_range_makes_16_bit_frames_what_8_bit_ones_are(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        eight, sixteen, dark = make(skip_frames=0), make(skip_frames=0), make(skip_frames=0)
        sixteen.configure(intensity_range="1000,2020")
        for frame in clip[:FRAMES]:
            expected = eight.classify(frame)
            deep = frame.astype(np.uint16) * 4 + 1000
            stretched, unstretched = sixteen.classify(deep, "rgb16"), dark.classify(deep, "rgb16")
        assert expected is not None
        assert stretched is not None
        assert unstretched is not None
        assert np.array_equal(stretched.scores, expected.scores)
        assert not np.allclose(unstretched.scores, expected.scores, atol=1e-3)

    def test_skip_frames_acts_on_the_next_frame_and_keeps_the_window(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0)
        for frame in clip[:FRAMES]:
            net.classify(frame)
        net.skip_frames = 2
        newest = [net.classify(frame) for frame in clip[FRAMES : FRAMES + 6]]
        assert [p.frame if p else None for p in newest] == [7, 7, 10, 10, 10, 13]
        assert net.skip_frames == 2

    def test_smoothing_can_be_widened_on_the_way(
        self, model: Path, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0, threshold=0.0)
        for frame in clip[:FRAMES]:
            net.classify(frame)
        net.configure(smoothing=2)
        prediction = net.classify(clip[FRAMES])
        reference = ReferenceModel(model)
        expected = (reference.scores(clip[:FRAMES]) + reference.scores(clip[1 : FRAMES + 1])) / 2
        assert prediction is not None
        assert np.abs(prediction.scores - expected).max() < 1e-3

    def test_a_change_of_the_view_begins_a_new_window(
        self, model: Path, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0, threshold=0.0)
        framed = []  # the clip in the right half of a wider image
        for frame in clip[: 2 * FRAMES]:
            wide = np.zeros((SIZE, 2 * SIZE, 3), np.uint8)
            wide[:, SIZE:] = frame
            framed.append(wide)
        for wide in framed[:FRAMES]:
            net.classify(wide)
        net.configure(roi=[0.5, 0, 0.5, 1])
        after = [net.classify(wide) for wide in framed[FRAMES:]]
        assert after[:-1] == [None] * (FRAMES - 1)
        assert after[-1] is not None
        expected = ReferenceModel(model).scores(clip[FRAMES : 2 * FRAMES])
        assert np.abs(after[-1].scores - expected).max() < 1e-3

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"threshold": 1.5}, "threshold 1.5 is out of range"),
            ({"threshold": 0.5, "skip_frames": -1}, "skip_frames -1"),
            ({"threshold": 0.5, "class_filter": ["runn"]}, "'runn'.*'run'"),
            ({"threshold": 0.5, "model": "other.onnx"}, "model: a loaded network cannot be changed"),
            ({"threshold": 0.5, "backend": "openvino"}, "cannot be changed; make another ActionNet"),
            ({"threshold": 0.5, "tresh": 1}, "no keyword tresh; there are .*threshold"),
            ({"threshold": 0.5, "roi": [0, 0, 2, 1]}, "roi"),
        ],
    )
    def test_a_refused_change_leaves_everything_as_it_was(
        self, clip: list[Frame], make: Callable[..., ActionNet], change: dict[str, Any], words: str
    ) -> None:
        net = make(skip_frames=0, threshold=0.25)
        for frame in clip[:FRAMES]:
            net.classify(frame)
        with pytest.raises(SettingsError, match=words):
            net.configure(**change)
        assert (net.threshold, net.skip_frames) == (0.25, 0)
        prediction = net.classify(clip[FRAMES])
        assert prediction is not None
        assert (prediction.frame, prediction.threshold, prediction.allowed) == (FRAMES, 0.25, None)

    def test_the_node_s_own_parameters_are_no_keywords(self, model: Path) -> None:
        with pytest.raises(SettingsError, match="no keyword image_transport"):
            ActionNet(model=str(model), image_transport="raw")  # type: ignore[call-arg]

    def test_a_network_that_is_not_there_is_a_network_error(self) -> None:
        with pytest.raises(NetworkError, match="no network is called 'resnet-19'"):
            ActionNet("resnet-19")
        with pytest.raises(NetworkError, match=r"/nowhere/my.onnx does not exist"):
            ActionNet(model="/nowhere/my.onnx")

    def test_a_filter_that_fits_no_label_is_refused_at_once(self, model: Path) -> None:
        with pytest.raises(SettingsError, match="'flying'"):
            ActionNet(model=str(model), class_filter=["flying"])


class TestFacts:
    def test_labels_by_index(self, make: Callable[..., ActionNet]) -> None:
        net = make()
        assert net.num_classes == 6
        assert net.name == "model"
        assert net.labels == LABELS
        assert [net.class_label(i) for i in range(6)] == list(LABELS)
        for index in (-1, 6):
            with pytest.raises(IndexError, match=f"class {index} does not exist.*0 to 5"):
                net.class_label(index)

    def test_a_frame_that_does_not_fit_its_encoding_is_refused_and_costs_nothing(
        self, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0)
        for frame in clip[: FRAMES - 1]:
            net.classify(frame)
        with pytest.raises(ImageError, match="float64"):
            net.classify(clip[0].astype(float))
        with pytest.raises(ImageError, match="does not match encoding rgba8"):
            net.classify(clip[0], encoding="rgba8")
        prediction = net.classify(clip[FRAMES - 1])
        assert prediction is not None
        assert prediction.frame == FRAMES - 1

    def test_mono_frames_are_taken_as_grey(self, clip: list[Frame], make: Callable[..., ActionNet]) -> None:
        mono, grey = make(skip_frames=0, threshold=0.0), make(skip_frames=0, threshold=0.0)
        for frame in clip[:FRAMES]:
            luma = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
            one = mono.classify(luma, encoding="mono8")
            other = grey.classify(np.repeat(luma[..., np.newaxis], 3, axis=2))
        assert one is not None
        assert other is not None
        assert np.array_equal(one.scores, other.scores)

    def test_leaving_the_with_block_closes_it(self, model: Path, clip: list[Frame]) -> None:
        with ActionNet(model=str(model)) as net:
            net.classify(clip[0])
        uses: list[Callable[[], Any]] = [
            lambda: net.classify(clip[0]),
            net.reset,
            lambda: net.configure(threshold=0.5),
        ]
        for use in uses:
            with pytest.raises(ActionNetError, match="has been closed"):
                use()
        net.close()
        assert net.class_label(0) == "walk"

    def test_the_caller_may_reuse_its_array(
        self, model: Path, clip: list[Frame], make: Callable[..., ActionNet]
    ) -> None:
        net = make(skip_frames=0, threshold=0.0)
        buffer = np.empty_like(clip[0])
        for frame in clip[:FRAMES]:
            buffer[...] = frame
            prediction = net.classify(buffer)
            buffer[...] = 0
        assert prediction is not None
        assert np.abs(prediction.scores - ReferenceModel(model).scores(clip[:FRAMES])).max() < 1e-3


def test_the_bytes_of_the_model_are_not_kept(make: Callable[..., ActionNet]) -> None:
    net = make()
    held = [value for value in gc.get_objects() if type(value) is PreparedNetwork and value.name == net.name]
    assert held
    assert all(network.model == b"" for network in held)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("treshold", r"no attribute treshold; did you mean threshold\?"),
        ("skipframes", r"did you mean skip_frames\?"),
        ("top_k", r"no attribute top_k; call configure\(top_k=...\)"),
        ("zebra", r"no attribute zebra$"),
    ],
)
def test_an_attribute_that_does_not_exist(name: str, message: str, make: Callable[..., ActionNet]) -> None:
    net = make()
    with pytest.raises(AttributeError, match=message):
        setattr(net, name, 0.5)
    net.threshold = 0.25
    assert net.threshold == 0.25


def test_pil_images_are_classified_as_arrays_are(make: Callable[..., ActionNet], clip: list[Frame]) -> None:
    arrays, images = make(skip_frames=0), make(skip_frames=0)
    for frame in clip[:FRAMES]:
        expected, found = arrays.classify(frame), images.classify(Image.fromarray(frame))
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.scores, expected.scores)
    with pytest.raises(ImageError, match="the frame is None"):
        images.classify(None)
