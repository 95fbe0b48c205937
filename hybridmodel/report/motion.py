"""Moving pictures of the closed loops, drawn by the simulator, and a still one for a README."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw, ImageFont

from hybridmodel.demo.record import Record, read_record
from hybridmodel.files import write_atomically
from hybridmodel.report.drawing import (
    COLOURS,
    MUTED,
    Picture,
    canvas,
    ordered,
)
from hybridmodel.report.goals import goal_of
from hybridmodel.report.loops import planners_of
from hybridmodel.tasks.task import Task

LARGEST = 300_000  # of a moving picture [bytes]


def write_picture(folder: str | Path, path: str | Path) -> Path:
    """The swing-up as a filmstrip over the angles of all rows, as .png or .webp.

    Raises ValueError for a folder without a demonstration and for another suffix.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "webp"):
        raise ValueError(f"path must end in .png or .webp, got {path.name!r}")
    write_atomically(path, _encoded(_still(read_record(folder)), kind))
    return path


def animation(record: Record) -> Picture | None:
    """All rows' closed loops of the first planner, moving; None without PyBullet."""
    planner, goal = planners_of(record)[0], goal_of(record.task.control)
    rows, every = ordered(record.models), goal.interval(record.task)
    dt, steps = record.task.dt, round(record.task.control.seconds / record.task.dt)
    drawn = {}
    try:
        for row in rows:
            x = record.runs[planner, row].trajectory.x
            assert x is not None
            drawn[row] = frames(
                record.task, x[np.minimum(np.arange(0, steps + 1, every), len(x) - 1)]
            )
    except (ImportError, ValueError):
        return None
    film = []
    for k in range(len(drawn[rows[0]])):
        panels = [_titled(drawn[row][k], row, record, planner, k * every * dt) for row in rows]
        film.append(_tiled(panels))
    film += [film[-1]] * round(1.0 / (every * dt))  # rest before it starts again
    data = write_webp(film, round(1e3 * every * dt))
    reading = "Drawn by the simulator from the recorded states, in real time."
    return Picture(data_uri(data, "image/webp"), goal.moved(record, planner), reading)


def frames(task: Task, states: np.ndarray, *, scale: float = 1.0) -> list[np.ndarray]:
    """Pictures (h, w, 3) of the plant at each state.

    Raises ImportError without PyBullet, ValueError where it does not build such a plant.
    """
    width, height = goal_of(task.control).size(task)
    size = (round(scale * width), round(scale * height))
    other = task.plant("pybullet")
    other.close()
    plant = type(other)(
        task.system,
        dt=task.dt,
        hidden=task.hidden,
        render_mode="rgb_array",
        size=size,  # type: ignore[call-arg]
    )
    pictures = []
    for x in states:
        plant.reset(seed=0, options={"state": x})
        picture = plant.render()
        assert isinstance(picture, np.ndarray)
        pictures.append(picture)
    plant.close()
    return pictures


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _titled(picture: np.ndarray, row: str, record: Record, planner: str, t: float) -> Image.Image:
    """The picture with its row's name, the time and, at the end, how it went."""
    bar = 26
    height, width = picture.shape[:2]
    image = Image.new("RGB", (width, height + bar), "#ffffff")
    image.paste(Image.fromarray(picture), (0, bar))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 3), fill=COLOURS[row])
    draw.text((8, 8), row, fill=COLOURS[row], font=_font(14, bold=True))
    text = goal_of(record.task.control).caption(record, record.runs[planner, row], t)
    draw.text((width - 8, 8), text, fill=MUTED, font=_font(12), anchor="ra")
    return image


def _tiled(panels: Sequence[Image.Image]) -> Image.Image:
    columns = 2 if panels[0].width > 250 else len(panels)
    lines = -(-len(panels) // columns)
    gap = 6
    w, h = panels[0].size
    sheet = Image.new("RGB", (columns * (w + gap) - gap, lines * (h + gap) - gap), "#ffffff")
    for k, panel in enumerate(panels):
        sheet.paste(panel, ((k % columns) * (w + gap), (k // columns) * (h + gap)))
    return sheet


def write_webp(film: Sequence[Image.Image], milliseconds: int) -> bytes:
    """An endless moving picture: without loss, which suits flat colours, if that is small."""
    data = b""
    for lossless, quality in ((True, 30), (False, 60), (False, 20), (False, 5)):
        buffer = io.BytesIO()
        film[0].save(
            buffer,
            format="WEBP",
            save_all=True,
            append_images=film[1:],
            duration=milliseconds,
            loop=0,
            lossless=lossless,
            quality=quality,
            method=2,
        )
        data = buffer.getvalue()
        if len(data) <= LARGEST:
            break
    return data


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def _still(record: Record) -> Image.Image:
    """A filmstrip of the hybrid's closed loop over that of every row."""
    task, planner = record.task, planners_of(record)[0]
    goal = goal_of(task.control)
    log = record.runs[planner, "hybrid"].trajectory
    assert log.x is not None
    shown = goal.moments(task, log.x)
    try:
        strip = _trimmed(frames(task, log.x[list(shown)], scale=1.6))
    except (ImportError, ValueError):
        strip = []
    heights = [1.0, 2.2] if strip else [1.0]
    with canvas(4.2 if strip else 2.8, width=9.0) as figure:
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        if strip:
            for ax, picture, k in zip(parts[0].subplots(1, len(strip)), strip, shown, strict=True):
                ax.imshow(picture, interpolation="lanczos")
                ax.set_axis_off()
                ax.set_title(f"{log.t[k]:.2f} s", fontsize=8.5, color=MUTED, loc="center")
        goal.still(parts[-1], record, planner, shown if strip else [])
        figure.patch.set_facecolor("white")
        figure.set_dpi(160)
        drawn = FigureCanvasAgg(figure)
        drawn.draw()
        pixels = np.asarray(drawn.buffer_rgba())[..., :3].copy()
    return Image.fromarray(pixels)


def _trimmed(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same part of all: where anything moves, and a margin."""
    moving = np.ptp(np.stack(pictures), axis=0).max(axis=-1) > 16  # (h, w)
    if not moving.any():
        return list(pictures)
    parts = []
    for axis, size in ((1, moving.shape[0]), (0, moving.shape[1])):
        at = np.flatnonzero(moving.any(axis=axis))
        parts.append(slice(max(0, at[0] - 14), min(size, at[-1] + 15)))
    return [picture[parts[0], parts[1]] for picture in pictures]


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "png":
        image.quantize(128, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="WEBP", quality=80, method=4)
    return buffer.getvalue()
