"""Actions begin and end with the scores, and with the window."""

from __future__ import annotations

from dataclasses import replace

from ros2_actionnet.recognition.events import EventType
from ros2_actionnet.recognition.frame_header import FrameHeader, nanoseconds
from ros2_actionnet.recognition.sampling import Sample
from support.fakes import grey_image
from support.worker_rig import FIRST, MakeRig, N, Rig


class TestEvents:
    AT_ONCE = replace(FIRST, event_min_duration=0.0)

    def begin(self, make_rig: MakeRig) -> Rig:
        """An action that began on frame 3 and still goes on at frame 4."""
        rig = make_rig(self.AT_ONCE)
        session = rig.start()
        session.scores = [0.1, 0.9]
        rig.fill()
        rig.feed_and_wait()
        (event,) = rig.said.classified[0].events
        assert (event.type, event.class_index) == (EventType.BEGAN, 1)
        assert event.start == nanoseconds(0.3)
        assert rig.said.classified[1].events == ()
        return rig

    def check_end(self, rig: Rig, frame: int) -> None:
        """That the action was told to have ended by `frame`, under the network that it belongs to."""
        rig.said.wait_for(lambda: rig.said.ended, "end of the action")
        ((events, header, network),) = rig.said.ended
        assert [(e.type, e.class_index) for e in events] == [(EventType.ENDED, 1)]
        assert events[0].start + events[0].duration == nanoseconds(frame * 0.1)
        assert header.stamp == nanoseconds(frame * 0.1)
        assert network.name == "first"

    def test_they_begin_and_end_with_the_scores(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.networks.sessions[0].scores = [0.9, 0.1]
        rig.feed_and_wait()
        types = [(event.type, event.class_index) for event in rig.said.classified[-1].events]
        assert types == [(EventType.ENDED, 1), (EventType.BEGAN, 0)]
        assert rig.said.ended == []

    def test_outputs_with_one_label_are_one_action_unless_kept_apart_by_index(self, make_rig: MakeRig) -> None:
        for class_id_format, expected in (("label", [0]), ("index", [])):
            settings = replace(self.AT_ONCE, network="twins", event_on=0.6, class_id_format=class_id_format)
            rig = make_rig(settings)
            rig.start().scores = [0.4, 0.5]
            rig.fill()
            assert [event.class_index for event in rig.said.classified[0].events] == expected

    def test_frames_with_an_empty_stamp_are_timed_by_when_they_were_taken(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(FIRST, event_min_duration=0.25))
        rig.start().scores = [0.1, 0.9]
        for index in range(8):
            header = FrameHeader(0, 0, "camera")
            rig.stream.submit(grey_image(index), Sample(), header, index, taken_at=nanoseconds(50.0 + index / 10))
            if index >= N - 1:
                rig.wait_for_frame(index)
        reported = [(r.prediction.frame, event) for r in rig.said.classified for event in r.events]
        ((frame, event),) = reported
        assert (event.type, event.class_index) == (EventType.BEGAN, 1)
        assert frame == N + 2
        assert event.start == nanoseconds(50.0 + (N - 1) / 10)
        assert all(result.header == FrameHeader(0, 0, "camera") for result in rig.said.classified)

    def test_an_event_starts_at_the_very_stamp_of_an_image(self, make_rig: MakeRig) -> None:
        rig = make_rig(self.AT_ONCE)
        rig.start().scores = [0.1, 0.9]
        first = 1_764_000_000_123_456_789  # as float seconds this would be 117 ns off
        for index in range(N):
            header = FrameHeader.at(first + index * 33_333_333, "camera")
            rig.stream.submit(grey_image(index), Sample(), header, index, header.stamp)
        rig.wait_for_frame(N - 1)
        (result,) = rig.said.classified
        assert [event.start for event in result.events] == [first + (N - 1) * 33_333_333] == [result.header.stamp]

    def test_a_reset_ends_them_at_the_last_classification(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.stream.reset()
        self.check_end(rig, 4)

    def test_a_break_in_the_stream_ends_them(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.feed(1, Sample(restart=True, reason="gap"))
        self.check_end(rig, 4)

    def test_another_network_ends_them_under_the_old_ones_name(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.begin_loading(replace(self.AT_ONCE, network="second"))
        rig.feed_and_wait(3)  # 5 to 7
        rig.finish_loading()
        rig.feed_and_wait()
        self.check_end(rig, 7)
        assert rig.said.order.index("ended") < len(rig.said.order) - 2, "before the new network is told of"

    def test_changed_thresholds_act_on_the_next_frame(self, make_rig: MakeRig) -> None:
        rig = self.begin(make_rig)
        rig.stream.configure(replace(self.AT_ONCE, event_on=0.97, event_off=0.95))
        rig.feed_and_wait()
        assert [event.type for event in rig.said.classified[-1].events] == [EventType.ENDED]

    def test_a_class_that_is_filtered_out_has_none(self, make_rig: MakeRig) -> None:
        rig = make_rig(replace(self.AT_ONCE, class_filter=("calm",)))
        rig.start().scores = [0.1, 0.9]
        rig.fill()
        assert rig.said.classified[0].events == ()
