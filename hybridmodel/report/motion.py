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

from hybridmodel import envs
from hybridmodel.demo.record import Record, read_record
from hybridmodel.demo.tasks import Task
from hybridmodel.files import write_atomically
from hybridmodel.report.drawing import (
    COLOURS,
    MUTED,
    PLANNER_NAMES,
    Picture,
    canvas,
    grid,
    label_ends,
    listed,
    ordered,
    quantity,
    ticks_of_pi,
)
from hybridmodel.report.loops import planners_of, turned

EVERY = 2  # control steps from frame to frame
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
    planner = planners_of(record)[0]
    rows = ordered(record.models)
    dt, steps = record.task.dt, round(record.task.control.seconds / record.task.dt)
    drawn = {}
    try:
        for row in rows:
            x = record.runs[planner, row].trajectory.x
            assert x is not None
            drawn[row] = frames(
                record.task, x[np.minimum(np.arange(0, steps + 1, EVERY), len(x) - 1)]
            )
    except (ImportError, ValueError):
        return None
    film = []
    for k in range(len(drawn[rows[0]])):
        panels = [_titled(drawn[row][k], row, record, planner, k * EVERY * dt) for row in rows]
        film.append(_tiled(panels))
    film += [film[-1]] * round(1.0 / (EVERY * dt))  # rest before it starts again
    data = _webp(film, round(1e3 * EVERY * dt))
    won = [row for row in rows if record.runs[planner, row].success]
    finding = (
        f"With {PLANNER_NAMES.get(planner, planner)}, {listed(won) or 'no row'} "
        f"swing{'s' if len(won) < 2 else ''} up and hold{'s' if len(won) < 2 else ''}."
    )
    reading = "Drawn by the simulator from the recorded states, in real time."
    return Picture(data_uri(data, "image/webp"), finding, reading)


def frames(task: Task, states: np.ndarray, *, scale: float = 1.0) -> list[np.ndarray]:
    """Pictures (h, w, 3) of the plant at each state.

    Raises ImportError without PyBullet, ValueError where it does not build such a plant.
    """
    slides = any(s.rate_of is None and not s.angle for s in task.system.states)
    size = (320, 170) if slides else (200, 200)
    size = (round(scale * size[0]), round(scale * size[1]))
    other = envs.make(task.system, dt=task.dt, hidden=task.hidden)
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
    run = record.runs[planner, row]
    c = record.task.control
    if t >= c.seconds - c.hold_seconds:
        text = "✓ holds" if run.success else "✗ not held"
    else:
        text = f"{t:.1f} s"
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


def _webp(film: Sequence[Image.Image], milliseconds: int) -> bytes:
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
    """A filmstrip of the hybrid's swing-up over the angle of every row against time."""
    task, planner = record.task, planners_of(record)[0]
    angle = task.system.angle_rows[0]
    log = record.runs[planner, "hybrid"].trajectory
    assert log.x is not None
    shown = _moments(task, log.x)
    try:
        strip = _trimmed(frames(task, log.x[shown], scale=1.6))
    except (ImportError, ValueError):
        strip = []
    with canvas(4.2 if strip else 2.8, width=9.0) as figure:
        layout = figure.add_gridspec(
            2 if strip else 1, len(shown), height_ratios=[1, 2.2] if strip else [1]
        )
        for k, picture in enumerate(strip):
            ax = figure.add_subplot(layout[0, k])
            ax.imshow(picture, interpolation="lanczos")
            ax.set_axis_off()
            ax.set_title(f"{log.t[shown[k]]:.2f} s", fontsize=8.5, color=MUTED, loc="center")
        ax = figure.add_subplot(layout[-1, :])
        ends = {}
        for row in ordered(record.models):
            run = record.runs[planner, row].trajectory
            assert run.x is not None
            values = (run.x + turned(task, run.x))[:, angle]
            ax.plot(run.t, values, color=COLOURS[row], lw=2.6 if row == "hybrid" else 1.3)
            ends[row] = float(values[-1])
            if row == "hybrid" and strip:
                ax.plot(run.t[shown], values[shown], "o", color=COLOURS[row], ms=6)
        ax.axhline(float(task.target()[angle]), color=MUTED, lw=0.8, ls=(0, (5, 4)), zorder=1)
        ax.annotate(
            "target",
            (0, float(task.target()[angle])),
            xycoords=("axes fraction", "data"),
            xytext=(4, 3),
            textcoords="offset points",
            color=MUTED,
        )
        ax.set_title(f"closed loop of {PLANNER_NAMES.get(planner, planner)}", color=MUTED)
        ax.set_xlim(0, task.control.seconds)
        ax.set_xlabel("time [s]")
        ax.set_ylabel(quantity(task.system.states[angle]))
        ticks_of_pi(ax)
        grid(ax)
        label_ends(ax, ends)
        figure.patch.set_facecolor("white")
        figure.set_dpi(160)
        drawn = FigureCanvasAgg(figure)
        drawn.draw()
        pixels = np.asarray(drawn.buffer_rgba())[..., :3].copy()
    return Image.fromarray(pixels)


def _moments(task: Task, x: np.ndarray, count: int = 6) -> np.ndarray:
    """Samples of a filmstrip: evenly from the start until the angles stay near the target."""
    angles = list(task.system.angle_rows)
    error = (x + turned(task, x) - task.target())[:, angles]
    away = np.flatnonzero((np.abs(error) > 0.5 * task.control.tolerance).any(axis=1))
    last = min(len(x) - 1, int(away[-1]) + 1 if len(away) else 0)
    return np.round(np.linspace(0, max(last, min(count, len(x) - 1)), count)).astype(int)


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
