"""What a table says: fractions, gaps, and sameness."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hybridmodel.study import better, gaps, over_effects, read_table, recovered, same, write_table

HYBRID = ("hybrid", "own", 60.0)


def row(
    model: str, cost: float, seed: int, effect: str = "friction", **more: Any
) -> dict[str, Any]:
    fitted = model not in ("physics", "oracle")
    return {
        "system": "pendulum",
        "effect": effect,
        "model": model,
        "placement": "own" if model == "hybrid" else "",
        "data": 60.0 if fitted else 0.0,
        "planner": "cem",
        "plant": "logged",
        "seed": seed,
        "state": "done",
        "error": "",
        "cost": cost,
        **more,
    }


def study(physics: float, oracle: float, hybrid: float, **more: Any) -> list[dict[str, Any]]:
    costs = {"physics": physics, "oracle": oracle, "hybrid": hybrid}
    return [row(m, c * (1 + 0.01 * s), s, **more) for s in range(3) for m, c in costs.items()]


def test_the_ends_are_0_and_1() -> None:
    for cost, wanted in ((10.0, 0.0), (2.0, 1.0), (4.0, 0.75), (12.0, -0.25)):
        (found,) = recovered(study(10.0, 2.0, cost))
        assert found.kind == HYBRID
        assert found.mean == pytest.approx(wanted)
        assert found.median == pytest.approx(wanted)
        assert found.interval == pytest.approx((wanted, wanted), abs=0.02)


def test_costs_may_be_counted_in_any_unit() -> None:
    one, other = recovered(study(10.0, 2.0, 4.0)), recovered(study(1e-3, 2e-4, 4e-4))
    assert one[0].mean == pytest.approx(other[0].mean)


@pytest.mark.parametrize(
    ("oracle", "state"), [(9.5, "no gap"), (2.0, "gap"), (10.5, "no gap"), (20.0, "oracle worse")]
)
def test_nothing_is_recovered_without_a_gap(oracle: float, state: str) -> None:
    rows = study(10.0, oracle, 5.0)
    (gap,) = gaps(rows).values()
    assert gap.state == state
    assert bool(recovered(rows)) == (state == "gap")


def test_a_seed_without_a_gap_says_no_more_than_the_others() -> None:
    rows = [*study(10.0, 2.0, 4.0)[:6], row("physics", 10.0, 2), row("oracle", 9.99, 2)]
    (found,) = recovered([*rows, row("hybrid", 9.5, 2)])
    assert found.fractions[2] == pytest.approx(0.5 / 8.05, rel=0.01)
    (found,) = recovered([*rows[:-1], row("oracle", 12.0, 2), row("hybrid", 11.9, 2)])
    assert found.fractions[2] < 0


@pytest.mark.parametrize(("physics", "oracle"), [(-10.0, -20.0), (0.0, -5.0), (5.0, -5.0)])
def test_costs_may_be_below_zero(physics: float, oracle: float) -> None:
    (found,) = recovered(study(physics, oracle, (physics + oracle) / 2))
    assert found.median == pytest.approx(0.5, abs=0.02)


def test_what_diverged_is_no_gap() -> None:
    (gap,) = gaps(study(math.inf, 2.0, 4.0)).values()
    assert gap.state == "diverged"
    assert not recovered(study(math.inf, 2.0, 4.0))


@pytest.mark.parametrize(
    "lost", [{"cost": math.nan}, {"cost": math.inf}, {"state": "failed"}, {"cost": None}]
)
def test_what_failed_recovers_less_than_anything(lost: dict[str, Any]) -> None:
    rows = study(10.0, 2.0, 4.0)
    rows[2] |= lost
    rows[2] = {k: v for k, v in rows[2].items() if v is not None}
    if "state" in lost:
        del rows[2]["cost"]
    (found,) = recovered(rows)
    assert found.fractions[0] == -math.inf
    assert found.median == pytest.approx(0.75, abs=0.02)
    assert over_effects([found], HYBRID)["pendulum", "friction"] == found.median
    (test,) = better(rows, HYBRID, ("oracle", "", 0.0)).values()
    assert test.first == pytest.approx(4.08)


def test_what_has_not_run_says_nothing() -> None:
    rows = study(10.0, 2.0, 4.0)
    rows[2] = {k: v for k, v in rows[2].items() if k != "cost"} | {"state": "missing"}
    (found,) = recovered(rows)
    assert set(found.fractions) == {1, 2}
    (test,) = better(rows, HYBRID, ("physics", "", 0.0)).values()
    assert (test.seeds, "paired" in test.test) == (2, True)


def test_a_seed_in_which_the_physics_failed_is_left_out() -> None:
    rows = study(10.0, 2.0, 4.0)
    failed = [r | {"state": "failed", "cost": math.nan} if r["seed"] == 1 else r for r in rows]
    (found,) = recovered(failed)
    assert set(found.fractions) == {0, 2}


def test_effects_are_pooled_by_their_median() -> None:
    rows = [*study(10.0, 2.0, 4.0), *study(10.0, 2.0, 6.0, effect="lag")]
    found = over_effects(recovered(rows), HYBRID)
    assert found == pytest.approx({("pendulum", "friction"): 0.75, ("pendulum", "lag"): 0.5})


def test_models_are_compared_on_the_same_seeds() -> None:
    rows = study(10.0, 2.0, 4.0)
    ((place, found),) = better(rows, HYBRID, ("physics", "", 0.0)).items()
    assert place == ("pendulum", "friction", "cem", "logged")
    assert found.first < found.second
    assert "paired" in found.test


def test_a_table_comes_back(tmp_path: Path) -> None:
    rows = [*study(10.0, 2.0, math.inf), row("network", math.nan, 0) | {"success": True}]
    write_table(rows, tmp_path / "table.parquet")
    assert same(read_table(tmp_path), rows)
    assert same(read_table(tmp_path / "table.parquet"), rows)


def test_columns_are_of_one_kind(tmp_path: Path) -> None:
    rows = [row("hybrid", 1.0, 0, x=True), row("hybrid", 1.0, 1, x=0.5), row("hybrid", 1.0, 2)]
    write_table(rows, tmp_path / "table.parquet")
    assert [r.get("x") for r in read_table(tmp_path)] == [1.0, 0.5, None]
    with pytest.raises(ValueError, match="column 'x' has texts and numbers"):
        write_table([rows[0], rows[1] | {"x": "many"}], tmp_path / "table.parquet")


def test_times_are_no_part_of_a_table() -> None:
    rows = study(10.0, 2.0, 4.0)
    assert same(rows, [r | {"ms per plan": 3.0, "seconds to run": 1.0} for r in rows])
    assert not same(rows, [r | {"cost": r["cost"] * (1 + 1e-15)} for r in rows[:1]] + rows[1:])


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no table"):
        read_table(tmp_path)
    write_table([{"a": 1.0}], tmp_path / "table.parquet")
    with pytest.raises(ValueError, match="no column 'system'"):
        read_table(tmp_path)
