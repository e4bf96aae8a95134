"""Nothing is freed under its reader, and everything is freed once."""

from __future__ import annotations

import threading

from ros2_actionnet.media.handle import Handle
from support.fakes import TIMEOUT


def test_who_closes_while_it_is_read_does_not_wait_and_the_reader_frees_it() -> None:
    freed: list[str] = []
    reading, go_on = threading.Event(), threading.Event()
    handle = Handle(lambda: freed.append(threading.current_thread().name))

    def read() -> None:
        with handle as is_open:
            assert is_open
            reading.set()
            assert go_on.wait(TIMEOUT)
            assert freed == []

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    assert reading.wait(TIMEOUT)
    handle.close()
    assert freed == []
    go_on.set()
    reader.join(TIMEOUT)
    assert freed == ["reader"]
    with handle as is_open:
        assert not is_open


def test_who_closes_while_nobody_reads_frees_it_at_once() -> None:
    freed: list[int] = []
    handle = Handle(lambda: freed.append(1))
    with handle as is_open:
        assert is_open
    handle.close()
    assert freed == [1]


def test_the_reader_may_close_it_himself() -> None:
    freed: list[int] = []
    handle = Handle(lambda: freed.append(1))
    with handle:
        handle.close()
        assert freed == []
    assert freed == [1]
