"""Checks by numbers, on a loaded network, what its graph says of its scores; where the two disagree, numbers win.

A network whose end is not understood is taken to give logits and gets a softmax. Of its scores s = softmax(z) the
network's own z is known up to a constant, which rules probabilities out for nearly every network of logits: z of a
window then spread over more than 1. For the few left the network is loaded once more without the softmax, and z itself
decides. (An untrained network has small logits; it stays one, because they do not sum to 1.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_actionnet.backends import Scores, Session
from ros2_actionnet.backends.ring import FrameRing
from ros2_actionnet.errors import BackendError, NetworkError
from ros2_actionnet.networks import PreparedNetwork, ScoreKind

logger = logging.getLogger(__name__)

# Largest error of a sum or a bound: rounding of the output in float32, and in fp16 or bf16.
TOLERANCE = {"fp32": 1e-4}
COARSE_TOLERANCE = 0.01
# Largest difference, as a part of them, of scores that are the same in float32.
_ROUNDING = 1e-6
_IN_WORDS = {
    "logits": "are not in [0, 1]",
    "probabilities": "are in [0, 1] and sum to 1",
    "sigmoid": "are in [0, 1] and do not sum to 1",
}


def check_scores(session: Session[Any], load_as: Callable[[ScoreKind], Session[Any]]) -> Session[Any]:
    """Return a session whose scores are right by the numbers that the network gives for three windows.

    That is `session` itself, or another one that takes its place, and then `session` is closed. One line is logged
    where the numbers contradict what was read from the graph or stated by the user; what the user states is kept. One
    is logged, too, of a network that gives the same scores for everything.

    Args:
        session: the loaded network.
        load_as: loads the same network again, prepared with `scores` stated.

    Raises:
        BackendError: the network cannot be run.
        LoadCancelled: as `load_as` does.
    """
    network = session.network
    kind = network.spec.scores
    if kind is None or network.num_classes == 1:
        return session
    given = score_test_windows(session)
    if fault := answer_to_everything(given):
        logger.warning(
            "network %s %s: it cannot tell actions apart. Look for a softmax over the batch in it (softmax(dim=0) in "
            "place of dim=-1), for weights that were not loaded before the export, and for a mean or std of another "
            "unit; compare it with its framework by `actionnet-networks check`",
            network.name, fault,
        )  # fmt: skip
        return session
    if kind == "logits" and network.scores_from == "stated":
        return session
    if kind == "logits":
        return _without_a_second_softmax(session, load_as) if _may_be_bounded(network, given) else session
    seen = kind_of(given, session.precision)
    if seen == kind or (network.scores_from == "stated" and seen != "logits"):
        return session
    if network.scores_from == "stated":
        logger.warning(
            "the scores of network %s %s, but `scores` is %s; set scores to logits, or to auto", network.name,
            _IN_WORDS[seen], kind,
        )  # fmt: skip
        return session
    if seen == "logits":
        replacement = load_as("logits")
        session.close()
        session = replacement
    return _corrected(session, seen)


def answer_to_everything(scores: Scores) -> str:
    """Return in words how scores [windows, classes] are always the same; "" if they are not.

    Rounding is all that is allowed between them, so that an untrained network, whose scores differ a little, is none.
    A score that has run into 0 or 1 tells nothing of the number it was made from.
    """
    if np.allclose(scores, scores[:, :1], rtol=_ROUNDING, atol=0):
        return "gives every class the same score"
    if scores.min() > 0 and scores.max() < 1 and np.allclose(scores, scores[:1], rtol=_ROUNDING, atol=0):
        return "gives the same scores for darkness, noise and a moving pattern"
    return ""


def score_test_windows(session: Session[Any]) -> Scores:
    """Return the scores of three windows, float32 [3, classes]: darkness, noise, and a pattern that moves."""
    ring: FrameRing[Any] = session.create_ring()
    return np.stack([score_window(session, ring, window) for window in make_test_windows(session.network)])


def score_window(session: Session[Any], ring: FrameRing[Any], window: NDArray[np.uint8]) -> Scores:
    """Return the scores of one window, uint8 [T, H, W, 3], by way of `ring`: float32 [classes].

    Raises BackendError if the network cannot be run.
    """
    for slot, frame in enumerate(window):
        ring.write(slot, frame)
    return np.asarray(session.infer([ring.window(0)])[0])


def make_test_windows(network: PreparedNetwork) -> list[NDArray[np.uint8]]:
    """Return three windows, uint8 [T, H, W, 3]: darkness, noise, and a smooth colored pattern that moves."""
    size = (network.frames, network.height, network.width, 3)
    time, row, column, color = (
        axis.reshape([-1 if i == j else 1 for j in range(4)]) for i, axis in enumerate(map(np.arange, size))
    )
    phase = 2 * np.pi * (2 * row / network.height + 3 * column / network.width + time / 16)
    pattern = 120 + 60 * np.sin(phase + color) + 40 * np.sin(1.7 * phase - 2 * np.pi * time / 8)
    noise = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    return [np.zeros(size, np.uint8), noise, pattern.astype(np.uint8)]


def kind_of(values: Scores, precision: str = "fp32") -> ScoreKind:
    """Return what numbers [windows, classes] that a network gives for several windows look like."""
    tolerance = TOLERANCE.get(precision, COARSE_TOLERANCE)
    if not _is_in_range(values, tolerance):
        return "logits"
    return "probabilities" if np.allclose(values.sum(axis=1, dtype=np.float64), 1, atol=tolerance) else "sigmoid"


def _is_in_range(values: NDArray[Any], tolerance: float) -> bool:
    return bool(values.min() >= -tolerance and values.max() <= 1 + tolerance)


def _may_be_bounded(network: PreparedNetwork, scores: Scores) -> bool:
    """Return True if the values before the softmax of `scores` may be in [0, 1]."""
    with np.errstate(divide="ignore"):
        logs = np.log(scores.astype(np.float64))
    if not np.ptp(logs, axis=1).max() <= 1 + COARSE_TOLERANCE:  # -inf where a score is 0
        return False
    # The constant by which they would sum to 1. A layer without bounds, such as Gemm, is no sigmoid.
    own = logs + (1 - logs.sum(axis=1, keepdims=True)) / network.num_classes
    return network.scores_from == "assumption" or _is_in_range(own, COARSE_TOLERANCE)


def _without_a_second_softmax(session: Session[Any], load_as: Callable[[ScoreKind], Session[Any]]) -> Session[Any]:
    """Return the network without the softmax that was added to it if its own values turn out to be in [0, 1]."""
    network = session.network
    try:
        as_it_is = load_as("probabilities")
    except (BackendError, NetworkError) as error:
        logger.warning("whether network %s gives logits could not be checked: %s", network.name, error)
        return session
    try:
        seen = kind_of(score_test_windows(as_it_is), as_it_is.precision)
    except BaseException:
        as_it_is.close()
        raise
    if seen == "logits" or (seen == "sigmoid" and network.scores_from == "graph"):
        as_it_is.close()
        return session
    session.close()
    return _corrected(as_it_is, seen)


def _corrected(session: Session[Any], seen: ScoreKind) -> Session[Any]:
    """Return `session` with `seen` as the kind of its scores; log it."""
    network = session.network
    session.network = replace(network, spec=replace(network.spec, scores=seen), scores_from="graph")
    logger.warning(
        "the values of network %s %s for three test windows, though its graph does not look so: they are taken as %s. "
        "To say otherwise, set scores to logits, probabilities or sigmoid, or write it into its network.yaml",
        network.name,
        _IN_WORDS[seen],
        seen,
    )
    return session
