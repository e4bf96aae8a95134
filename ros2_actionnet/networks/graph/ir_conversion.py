"""Reads from an OpenVINO IR how it was converted: with mean and scale inside, and with reversed colors, or without.

The Model Optimizer and `ovc` record their arguments in the .xml: `<mean_values value="data[123.7,116.3,103.5]"/>`,
`<reverse_input_channels value="True"/>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from xml.etree.ElementTree import Element

from ros2_actionnet.networks.spec import NORMALIZED_INSIDE, NetworkSpec

_RECORDS = ("meta_data", "rt_info")
_NORMALIZING = ("mean_scale_values", "mean_values", "scale", "scale_values")


def with_recorded_conversion(spec: NetworkSpec, root: Element) -> NetworkSpec:
    """Return `spec` with what the .xml with this root says of mean, std and colors, each unless stated elsewhere."""
    recorded = {
        entry.tag: entry.get("value", "") for name in _RECORDS for part in root.iterfind(name) for entry in part.iter()
    }
    if recorded.get("reverse_input_channels", "").lower() == "true" and not spec.colors_from:
        spec = replace(spec, colors="BGR", colors_from=str(spec.model))
    if spec.mean_from:
        return spec
    numbers = [number for name in _NORMALIZING for number in _numbers(recorded.get(name, ""))]
    if all(number in (0, 1) for number in numbers):
        return spec
    source = f"{spec.model}, which was converted with them inside"
    if max(numbers) > 1:
        return replace(spec, **NORMALIZED_INSIDE, mean_from=source)
    return replace(spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), mean_from=source)


def _numbers(text: str) -> Iterator[float]:
    """Yield the numbers in brackets, as in `input[1,2,3]` or `array([1., 2., 3.])`, or the only number."""
    for group in re.findall(r"[\[(]([-+.,\s\de]+)[])]", text) or [text]:
        for word in re.split(r"[,\s]+", group.strip()):
            with suppress(ValueError):
                yield float(word)
