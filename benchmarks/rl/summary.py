"""The README's table of model-based reinforcement learning, and the page's, from the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.rl.dyna import ALONE, HYBRID
from benchmarks.rl.dyna import TASKS as DYNA
from benchmarks.rl.inverse import SWINGS
from benchmarks.rl.loop import TASKS as LOOPS
from benchmarks.rl.phihp.tasks import TASKS as PHIHP

SITUATIONS = {
    "old": "as the policy was trained",
    "obstacle": "a disc in the way",
    "limit": "torques cut to 70 %",
    "payload": "0.3 kg more on the second link",
}
INVERSES = {
    "none": "the middle of the bounds",
    "learned": "a network",
    "physics": "solved in the physics",
    "hybrid": "solved in the hybrid",
}
Rows = Mapping[str, Mapping[str, Any]]


def table(content: Mapping[str, Any]) -> str:
    """Real steps of methods with the physics, beside those of methods without."""
    rows = {row["figure"]: row for row in content["rows"]}
    lines = ["| task, return reached | with the physics | without |", "|---|---|---|"]
    for name in LOOPS:
        for goal in ("the network's best", "90 % of the hybrid's"):
            what = f"loop, {name}: real steps, hybrid over network, to {goal} return"
            if (share := rows.get(what)) is not None:
                lines.append(
                    f"| {name}, {goal} | hybrid ensemble, CEM: {_spread(share)} of the network's "
                    f"real steps | network ensemble, the same loop: 1 |"
                )
    for name, task in DYNA.items():
        figure = f"steps of the plant to {task.threshold:g}"
        ours, alone = (rows.get(f"{name}, {method}: {figure}") for method in (HYBRID, ALONE))
        if ours and alone:
            lines.append(
                f"| {name}, {task.threshold:g} | Dyna: {ours['value']:.0f} steps"
                f"{_failed(rows, name)} | soft actor-critic: {alone['value']:.0f} steps |"
            )
    for name, task in PHIHP.items():
        value, count = (rows.get(f"PhIHP {name}: {what}") for what in ("return", "real steps"))
        if value is not None and count is not None:
            lines.append(
                f"| {name} of PhIHP, {task.paper:g} | {value['value']:.4g} after "
                f"{count['value']:.0f} steps | (its own, with physics: {task.paper:g} after "
                f"{task.paper_steps}) |"
            )
    return "\n".join(lines)


def ways(content: Mapping[str, Any]) -> str:
    """Samples, compute and return of each way to one swing-up."""
    rows = {row["figure"]: row for row in content["rows"]}
    lines = [
        "| cart-pole swing-up | real steps | seconds | ms an action | return of 150 |",
        "|---|--:|--:|--:|--:|",
    ]
    for way in ("physics", "hybrid", "network"):
        what = f"whether, planning on {way}: "
        units = ("real steps", "s of training", "ms an action", "return")
        *numbers, value = (rows.get(what + unit) for unit in units)
        if all(numbers) and value:
            told = " | ".join(f"{n['value']:.4g}" for n in numbers if n)
            lines.append(f"| planning (CEM) on the {way} model | {told} | {_spread(value)} |")
    name = next(iter(DYNA))
    for method, told in ((HYBRID, "a policy, by Dyna"), (ALONE, "a policy, by SAC alone")):
        figures = ("steps of the plant", "seconds with evaluations", "last return")
        steps, seconds, value = (rows.get(f"{name}, {method}: {figure}") for figure in figures)
        if steps and seconds and value:
            lines.append(
                f"| {told} | {steps['value']:.0f} | {seconds['value']:.3g} | – | {_spread(value)} |"
            )
    return "\n".join(lines)


def situations(content: Mapping[str, Any]) -> str:
    """Successes of a planner and of a policy in situations that neither has met."""
    rows = {row["figure"]: row for row in content["rows"]}
    columns = ("planner", "planner told", "planner adapting", "policy")
    lines = [
        "| the tip within 8 cm of its goal, % | planner | and told | and adapting | policy |",
        "|---|--:|--:|--:|--:|",
    ]
    for what, told in SITUATIONS.items():
        found = [rows.get(f"situations, {what}, {column}: success") for column in columns]
        if found[0] is not None:
            cells = " | ".join(_spread(row) if row else "–" for row in found)
            lines.append(f"| {told} | {cells} |")
    return "\n".join(lines)


def inverses(content: Mapping[str, Any]) -> str:
    """How far inputs of inverse models miss, and what they are worth to a small search."""
    rows = {row["figure"]: row for row in content["rows"]}
    figures = ("off after 1 steps, rms", "off after 10 steps, rms", "time of an inverse")
    warm = "10 steps ahead, as a warm start: cost in the plant"
    lines = [
        "| inputs from | off after 1 step, % | after 10 steps, % | ms | cost of a plan from them |",
        "|---|--:|--:|--:|--:|",
    ]
    for task in SWINGS:
        for kind, told in INVERSES.items():
            found = [rows.get(f"inverse, {task}, {kind}: {name}") for name in (*figures, warm)]
            if found[0] is not None:
                cells = " | ".join(f"{row['value']:.2g}" if row else "–" for row in found)
                lines.append(f"| {task}: {told} | {cells} |")
    return "\n".join(lines)


def where_asked(content: Mapping[str, Any]) -> str:
    """Errors on held-out logs beside those where plans ask, and in contact."""
    rows = {row["figure"]: row for row in content["rows"]}
    lines = [
        "| model | held out, 20 steps, % | where plans ask, % | no contact, % | contact, % |",
        "|---|--:|--:|--:|--:|",
    ]
    for model in ("physics", "identified", "network", "hybrid"):
        found = [
            rows.get(f"control errors, {what.format(model)}")
            for what in (
                "cartpole, {}: error held out, 20 steps",
                "cartpole, {}: error queried, 20 steps",
                "table, {}: error quiet",
                "table, {}: error contact",
            )
        ]
        if all(found):
            cells = " | ".join(f"{row['value']:.2g}" for row in found if row)
            lines.append(f"| {model} | {cells} |")
    return "\n".join(lines)


def pixels(content: Mapping[str, Any]) -> str:
    """Seeds of controllers that see only images."""
    rows = {row["figure"]: row for row in content["rows"]}
    lines = [
        "| swing-up from 64×64 images | seeds that hold upright | real steps |",
        "|---|--:|--:|",
    ]
    ways = {"hybrid": "the physics' coordinates", "latent": "a latent state without physics"}
    for task in ("pendulum", "cart-pole"):
        for way, told in ways.items():
            figures = ("seeds that hold upright", "real steps")
            held, steps = (rows.get(f"pixels, {task}, {way}: {figure}") for figure in figures)
            if held and steps:
                count = f"{held['value'] * held['seeds']:.0f} of {held['seeds']}"
                lines.append(f"| {task}: {told} | {count} | {steps['value']:.0f} |")
    return "\n".join(lines)


def _failed(rows: Rows, task: str) -> str:
    """How many seeds of Dyna did not end at the threshold."""
    row = rows.get(f"{task}, {HYBRID}: seeds that failed")
    return f", {row['value']:.0f} of {row['seeds']} seeds end below" if row else ""


def _spread(row: Mapping[str, Any]) -> str:
    """A value with its interval."""
    low, high = row["spread"]
    return f"{row['value']:.3g} [{low:.3g}, {high:.3g}]"
