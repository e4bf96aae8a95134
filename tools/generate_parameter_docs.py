"""Writes the pages that hold the table of settings: the parameter file, docs/parameters.md and the README's table.

source scripts/environment
python tools/generate_parameter_docs.py            # after a change of ros2_actionnet/settings.py
python tools/generate_parameter_docs.py --check    # only says whether they are up to date
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from ros2_actionnet.settings import SETTINGS, Effect, Setting

ROOT = Path(__file__).absolute().parents[1]
BEGIN = "<!-- parameters: begin -->"
END = "<!-- parameters: end -->"

SET_FIRST = (
    "network",
    "model",
    "labels",
    "backend",
    "threshold",
    "skip_frames",
    "sample_rate",
    "smoothing",
    "roi",
    "class_filter",
)
"""The settings that people set first: README's table; the whole one is in docs/parameters.md."""

_YAML_HEAD = """\
# Every setting of the node, at its default. Copy this file, keep what you change, and start the node with it:
#
#     ros2 launch ros2_actionnet actionnet.launch.py params_file:=my.yaml
#
# tools/generate_parameter_docs.py writes this file from ros2_actionnet/settings.py: change that one.

# The node actionnet in any namespace.
/**:
  actionnet:
    ros__parameters:
"""

_DOCS_HEAD = f"""\
# Parameters

<!-- tools/generate_parameter_docs.py writes this page from ros2_actionnet/settings.py: change that one. -->

All settings have the same names, defaults and limits wherever they are set.

As launch arguments; one that is given wins over the parameter file, and `--show-args` lists them all:

```sh
ros2 launch ros2_actionnet actionnet.launch.py network:=camera_motion class_filter:="[pan_left, pan_right]"
```

In a parameter file. [`config/actionnet.yaml`](../config/actionnet.yaml) has them all at their defaults; copy it
and keep what you change:

```sh
ros2 launch ros2_actionnet actionnet.launch.py params_file:=my.yaml
ros2 run ros2_actionnet actionnet_node --ros-args --params-file my.yaml
```

On the running node, those that are live. A value that cannot be used is refused with the reason, and nothing changes:

```sh
ros2 param set /actionnet threshold 0.2
ros2 param describe /actionnet threshold
```

As keywords of the Python class, those that are not marked *node only* or *not a keyword*:

```python
ActionNet("camera_motion", threshold=0.2, class_filter=["pan_left", "pan_right"])
```

An integer is taken where a double is meant. `double[]` and `string[]` are lists, and what is allowed holds for each
element. `roi` must lie in the image, and `event_off` must not be above `event_on`.

Where `cameras` names several, each setting marked *per camera* is also a parameter of one of them, `front.threshold`;
until it is set to another value it follows the node's (see [many cameras](many-cameras.md)).

## All parameters

{BEGIN}
{END}

The node has one more, `class_labels`: the labels of the running network, which it sets itself.

## When a change acts

"""


def pages(root: Path) -> dict[Path, str]:
    """The files under `root` that the table is in, and what they should hold.

    Raises ValueError if there is a README.md without the two markers that the table belongs between.
    """
    docs = with_table(_DOCS_HEAD, "docs/parameters.md") + "\n".join(_changes()) + "\n"
    result = {root / "config/actionnet.yaml": parameter_file(), root / "docs/parameters.md": docs}
    readme = root / "README.md"
    if readme.exists():
        first = [setting for setting in SETTINGS if setting.name in SET_FIRST]
        result[readme] = with_table(readme.read_text(encoding="utf-8"), readme.name, first)
    return result


def parameter_file() -> str:
    """The ROS parameter file with every setting at its default."""
    return _YAML_HEAD + "\n".join(textwrap.indent(_yaml(setting), " " * 6) for setting in SETTINGS)


def with_table(page: str, name: str, settings: Iterable[Setting] = SETTINGS) -> str:
    """Return `page` with the table of `settings` between its markers.

    Raises ValueError, with `name`, if it does not have both markers, in order.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"{name} has no place for the table of parameters; put the lines '{BEGIN}' and '{END}' where it belongs"
        )
    return f"{head}{begin}\n\n{table(settings)}\n\n{end}{tail}"


def table(settings: Iterable[Setting] = SETTINGS) -> str:
    """Return `settings` as a Markdown table."""
    rows = [_row("name", "type", "default", "allowed", "live", "meaning"), "|---|---|---|---|---|---|"]
    for s in settings:
        remarks = f"{s.scope.value} {'Per camera.' if s.per_camera else ''}".strip()
        meaning = f"{s.description} *{remarks}*" if remarks else s.description
        kind = s.kind.replace("_array", "[]")
        rows.append(_row(f"`{s.name}`", kind, f"`{_literal(s)}`", s.limits, "yes" if s.live else "no", meaning))
    return "\n".join(rows)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _changes() -> list[str]:
    """A line for each effect with the settings that have it."""
    return [f"- {e.value}: {', '.join(f'`{s.name}`' for s in SETTINGS if s.effect is e)}" for e in Effect]


def _literal(setting: Setting) -> str:
    """The default, as YAML writes it."""
    return json.dumps(setting.default)


def _yaml(setting: Setting) -> str:
    """The setting's lines in the parameter file."""
    comments = textwrap.wrap(setting.description, 108, break_on_hyphens=False)
    if setting.limits:
        comments.append(f"Allowed: {setting.limits}.")
    if not setting.live:
        comments.append(f"Not live: {setting.effect.value}.")
    line = f"{setting.name}: {_literal(setting)}"
    if setting.default == ():
        # ROS reads [] as no value at all, which is no list of texts.
        comments.append("The default, an empty list, cannot be written in a parameter file: leave it out.")
        line = f'# {setting.name}: ["one", "another"]'
    return "".join(f"# {comment}\n" for comment in comments) + f"{line}\n"


def main(arguments: list[str] | None = None) -> int:
    """Writes the pages, or with --check tells those that are not up to date."""
    parser = argparse.ArgumentParser(description="Writes the pages that hold the table of settings.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page is not up to date")
    check = parser.parse_args(arguments).check
    try:
        wanted = pages(ROOT)
    except ValueError as error:
        print(f"generate_parameter_docs: {error}", file=sys.stderr)
        return 1
    stale = [path for path in wanted if not path.exists() or path.read_text(encoding="utf-8") != wanted[path]]
    for path in stale:
        if check:
            print(
                f"{path.relative_to(ROOT)} is not up to date: run python tools/generate_parameter_docs.py",
                file=sys.stderr,
            )
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
