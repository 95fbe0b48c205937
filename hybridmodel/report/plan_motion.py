"""A plan in motion: the plant in its states, over its curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw

from hybridmodel.files import write_atomically
from hybridmodel.planners import Plan
from hybridmodel.problem import OptimalControlProblem
from hybridmodel.report.drawing import MUTED
from hybridmodel.report.motion import write_webp
from hybridmodel.report.plan import PALETTE, Drawing, draw, times
from physics import System

_DOTS = 96  # an inch
_FRAME, _FRAMES = 0.04, 150  # least seconds from frame to frame, and most frames
_RADIUS, _FINE = 4, 4  # of a dot [pixels], and how much finer it is drawn
_MARGIN = 12  # above and below what is to be seen [pixels]


def animate_plan(
    problem: OptimalControlProblem,
    plan: Plan,
    path: str | Path,
    *,
    plant: Any = None,
    parameters: np.ndarray | None = None,
    width: int = 480,
) -> Path:
    """The plant in the plan's states over its curves, in real time, as a .webp file.

    plant       what draws a state: an environment that takes `reset(options={"state": x})` and
                gives pictures by `render()`; default: PyBullet's of the problem's system
    parameters  π (H+1, nπ) that the plan was made for, as `plot_plan` takes them
    width       of the picture in pixels

    Raises ValueError for another suffix, for a plan that is not finite or of another problem, and
    where there is no plant that draws such a system; ImportError without PyBullet.
    """
    path = Path(path)
    if path.suffix.lower() != ".webp":
        raise ValueError(f"path must end in .webp, got {path.name!r}")
    drawing = draw(problem, {"": plan}, parameters, width / _DOTS)
    if not (np.isfinite(plan.x).all() and np.isfinite(plan.u).all()):
        raise ValueError("plan must be finite to be moved through")
    drawing.figure.set_dpi(_DOTS)
    drawn = FigureCanvasAgg(drawing.figure)
    drawn.draw()
    curves = Image.fromarray(np.asarray(drawn.buffer_rgba())[..., :3].copy())
    t = times(problem, plan)
    shown = _shown(t)
    scenes = _scenes(problem, plan.x[shown], plant, width)
    film = [
        _over(scene, _marked(curves, drawing, k, float(t[k])))
        for scene, k in zip(scenes, shown, strict=True)
    ]
    step = float(t[-1]) / max(1, len(shown) - 1)
    film += [film[-1]] * round(1.0 / step)  # rest before it starts again
    write_atomically(path, write_webp(film, round(1e3 * step)))
    return path


def _shown(t: np.ndarray) -> list[int]:
    """The steps of frames that follow each other evenly, the last one among them."""
    at = np.linspace(0.0, t[-1], 1 + max(1, min(_FRAMES, len(t) - 1, round(t[-1] / _FRAME))))
    return [int(np.abs(t - moment).argmin()) for moment in at]


def _scenes(
    problem: OptimalControlProblem, states: np.ndarray, plant: Any, width: int
) -> list[Image.Image]:
    """The plant at each state, as wide as the curves."""
    system: System = problem.model.system
    while isinstance(inner := getattr(system, "system", None), System):
        system = inner  # of what remembers, delays or paces an input, the plant itself
    drawing = _simulated(system, problem.model.dt, width) if plant is None else plant
    pictures = []
    for x in states:
        drawing.reset(seed=0, options={"state": x[: len(system.states)]})
        picture = drawing.render()
        if not isinstance(picture, np.ndarray):
            raise ValueError(
                f"plant must give pictures, render() of {type(drawing).__name__} gave "
                f"{type(picture).__name__}; make it with render_mode='rgb_array'"
            )
        pictures.append(picture)
    if plant is None:
        drawing.close()
    size = width, max(1, round(width / pictures[0].shape[1] * pictures[0].shape[0]))
    sized = [Image.fromarray(p).resize(size, Image.Resampling.LANCZOS) for p in pictures]
    return _trimmed(sized)


def _simulated(system: System, dt: float, width: int) -> Any:
    from hybridmodel import envs

    try:
        other: Any = envs.make(system, engine="pybullet", dt=dt)
    except ValueError as error:
        raise ValueError(f"plant must be given for {type(system).__name__}: {error}") from error
    other.close()
    size = width, round(0.55 * width)
    return type(other)(system, dt=dt, render_mode="rgb_array", size=size)


def _trimmed(pictures: list[Image.Image]) -> list[Image.Image]:
    """Without what is empty in all of them, above and below."""
    pixels = np.stack([np.asarray(p) for p in pictures]).astype(int)
    full = (np.abs(pixels - pixels[0, 0, 0]).max(-1) > 8).any((0, 2))
    if not full.any():
        return pictures
    at = np.flatnonzero(full)
    top, bottom = max(0, at[0] - _MARGIN), min(len(full), at[-1] + 1 + _MARGIN)
    return [p.crop((0, top, p.width, bottom)) for p in pictures]


def _marked(curves: Image.Image, drawing: Drawing, k: int, t: float) -> Image.Image:
    """The curves with a line at t and a dot at every value of step k."""
    image, size = curves.copy(), 2 * _RADIUS + 1
    dot = Image.new("L", (_FINE * size, _FINE * size))
    ImageDraw.Draw(dot).ellipse((0, 0, _FINE * size - 1, _FINE * size - 1), fill=255)
    dot = dot.resize((size, size), Image.Resampling.LANCZOS)
    line = ImageDraw.Draw(image)
    for ax, channel in zip(drawing.axes, drawing.channels, strict=True):
        values = channel.values[0]
        x, y = ax.transData.transform((t, values[min(k, len(values) - 1)]))
        (_, bottom), (_, top) = ax.bbox.get_points()
        line.line((x, image.height - top, x, image.height - bottom), fill=MUTED, width=1)
        corner = round(x) - _RADIUS, round(image.height - y) - _RADIUS
        image.paste(PALETTE[0], (*corner, corner[0] + size, corner[1] + size), dot)
    return image


def _over(scene: Image.Image, curves: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (curves.width, scene.height + curves.height), "#ffffff")
    sheet.paste(scene, (0, 0))
    sheet.paste(curves, (0, scene.height))
    return sheet
