"""Fitting beyond one-step errors: resumed, noisy, per log, by likelihood, with memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hybridmodel import Dataset, HybridModel, Trajectory, fit, placement
from hybridmodel.density import transition
from hybridmodel.fitting import regress
from physics import Linear, Pendulum
from residuals import GRU, MLP, Ensemble, GaussianProcess, Supported, Window
from residuals import Linear as LinearResidual

DT = 0.02
QUICK = {"horizons": (1, 4), "epochs": 4, "batch_size": 64, "rate": 2e-2}


def log(model: HybridModel, steps: int, seed: int, noise: float = 0.0, **context) -> Trajectory:
    rng = np.random.default_rng(seed)
    u = torch.tensor(np.repeat(rng.uniform(-1.5, 1.5, (steps // 5, 1)), 5, axis=0))
    with torch.no_grad():
        x = model.rollout(model.initial_state(torch.tensor(rng.uniform(-1, 1, 2))), u).numpy()
    y = x[:, :2] + noise * rng.standard_normal((steps + 1, 2))
    return Trajectory(t=DT * np.arange(steps + 1), u=u.numpy(), y=y, context=context)


def logs(model: HybridModel, count: int, *, noise: float = 0.0, first: int = 0) -> Dataset:
    return Dataset(log(model, 100, first + i, noise) for i in range(count))


def plant(**values: float) -> HybridModel:
    return HybridModel(Pendulum(**values), dt=DT)


TRAIN, VALIDATION = logs(plant(damping=0.3), 4), logs(plant(damping=0.3), 2, first=50)


class Stop:
    """Interrupts after so many epochs."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, row) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("residual", "extra"),
    [
        (MLP((8,)), {}),
        pytest.param(Ensemble((4,), count=2), {"loss": "likelihood"}, marks=pytest.mark.slow),
        (GRU(4, hidden=(8,), warmup=3), {}),
    ],
)
def test_a_resumed_fit_has_the_same_bits(tmp_path, residual, extra) -> None:
    model = HybridModel(Pendulum(), residual, dt=DT, fit_parameters=("mass",))
    whole = fit(model, TRAIN, VALIDATION, **QUICK, **extra)
    file = tmp_path / "fit.state"
    for stop in (1, 3):
        broken = fit(
            model, TRAIN, VALIDATION, **QUICK, **extra, checkpoint=file, progress=Stop(stop)
        )
        assert broken.stopped == "interrupted"
    resumed = fit(model, TRAIN, VALIDATION, **QUICK, **extra, checkpoint=file)
    assert len(resumed.history) == len(whole.history)
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_finished_fit_is_not_run_again(tmp_path) -> None:
    model = HybridModel(Pendulum(), MLP((8,)), dt=DT)
    file = tmp_path / "fit.state"
    first = fit(model, TRAIN, VALIDATION, **QUICK, checkpoint=file)
    again = fit(model, TRAIN, VALIDATION, **QUICK, checkpoint=file)
    assert again.history == first.history
    assert torch.equal(again.model.residual.chain[1].weight, first.model.residual.chain[1].weight)


def test_the_state_of_another_fit_is_refused(tmp_path) -> None:
    model = HybridModel(Pendulum(), MLP((8,)), dt=DT)
    file = tmp_path / "fit.state"
    fit(model, TRAIN, VALIDATION, **QUICK, checkpoint=file)
    with pytest.raises(ValueError, match="another model, other data or other arguments"):
        fit(model, TRAIN, VALIDATION, **QUICK | {"seed": 1}, checkpoint=file)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is not the state of a fit"):
        fit(model, TRAIN, VALIDATION, **QUICK, checkpoint=file)


@pytest.mark.slow
def test_estimated_starts_take_the_noise_out_of_the_parameters() -> None:
    truth = plant(damping=0.3)
    noisy = [logs(truth, 4, noise=0.1), logs(truth, 2, noise=0.1, first=50)]
    errors = {}
    for initial in ("measured", "estimated"):
        model = HybridModel(Pendulum(), dt=DT, fit_parameters=("damping",))
        found = fit(
            model, *noisy, horizons=(10,), epochs=30, stride=5, parameter_rate=0.2, batch_size=16,
            noise={"angle": 0.1, "rate": 0.1}, initial=initial,
        )  # fmt: skip
        errors[initial] = abs(found.model.system.damping - 0.3)
    assert errors["estimated"] < 0.015
    assert errors["estimated"] < 0.7 * errors["measured"]


@pytest.mark.slow
def test_each_log_has_its_own_mass_and_all_share_the_residual() -> None:
    masses = [0.8, 1.0, 1.3]
    train = Dataset(log(plant(mass=m, damping=0.3), 150, i) for i, m in enumerate(masses))
    drag = LinearResidual(basis="polynomial", degree=1)
    model = HybridModel(
        Pendulum(), drag, dt=DT, fit_parameters=("mass",), features=("rate",),
        placement=placement.force,
    )  # fmt: skip
    found = fit(
        model, train, train, horizons=(5,), epochs=40, stride=3, rate=2e-2, parameter_rate=5e-2,
        per_log=("mass",), batch_size=32, residual_penalty=0.0,
    )  # fmt: skip
    assert found.per_log["mass"] == pytest.approx(masses, rel=0.03)
    with pytest.raises(ValueError, match="per_log: 'length' is none"):
        fit(model, train, train, per_log=("length",), **QUICK)


def test_the_likelihood_finds_the_noise() -> None:
    rng = np.random.default_rng(0)
    system = Linear()
    model = HybridModel(system, dt=DT)
    walks = []
    for _ in range(4):
        x = [np.zeros(system.nx)]
        u = rng.standard_normal((200, system.nu))
        for k in range(200):
            with torch.no_grad():
                ahead = model(torch.tensor(x[-1]), torch.tensor(u[k])).numpy()
            x.append(ahead + 0.05 * rng.standard_normal(system.nx))
        walks.append(Trajectory(t=DT * np.arange(201), u=u, y=np.array(x)))
    found = fit(
        HybridModel(system, Ensemble((8,), count=2), dt=DT, placement=placement.derivative),
        Dataset(walks[:3]), Dataset(walks[3:]), horizons=(1,), epochs=10, loss="likelihood",
    )  # fmt: skip
    x, u = torch.zeros(5, system.nx).double(), torch.zeros(5, system.nu).double()
    _, covariance = transition(found.model, x, u)
    spread = covariance.diagonal(dim1=-2, dim2=-1).sqrt().mean(0)
    assert spread.tolist() == pytest.approx([0.05] * system.nx, rel=0.25)


def test_samples_follow_their_density() -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=DT)
    model.noise.copy_(torch.tensor([1e-4, 4e-4]))
    x, u = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.5]).double()
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(x.expand(4000, 2), u.expand(4000, 1), generator=generator)
    mean, covariance = transition(model, x, u)
    assert torch.allclose(drawn.mean(0), mean, atol=2e-3)
    assert torch.allclose(drawn.T.cov(), covariance, rtol=0.1, atol=1e-5)
    expected = torch.distributions.MultivariateNormal(mean, covariance).log_prob(drawn)
    ours = model.log_prob(x.expand(4000, 2), u.expand(4000, 1), drawn)
    assert torch.allclose(ours, expected, rtol=1e-10)
    with pytest.raises(ValueError, match=r"model\.noise, the variance R of one step"):
        transition(plant(), x, u)


class Hysteretic:
    """A pendulum under a force that follows the rate with a lag of 0.1 s, which no state tells."""

    def run(self, seed: int) -> Trajectory:
        model, rng = plant(damping=0.1), np.random.default_rng(seed)
        x, force, rows = torch.tensor(rng.uniform(-1, 1, 2)), 0.0, []
        u = np.repeat(rng.uniform(-1.5, 1.5, (30, 1)), 5, axis=0)
        rows.append(x.numpy())
        for k in range(150):
            force += DT / 0.1 * (-0.8 * float(x[1]) - force)
            with torch.no_grad():
                x = model(x, torch.tensor(u[k] + force))
            rows.append(x.numpy())
        return Trajectory(t=DT * np.arange(151), u=u, y=np.array(rows))


@pytest.mark.slow
@pytest.mark.parametrize(
    "residual",
    [
        pytest.param(Window((16,), steps=8), marks=pytest.mark.slow),
        GRU(8, hidden=(16,), warmup=12),
    ],
)
def test_memory_learns_what_no_state_tells(residual) -> None:
    train = Dataset(Hysteretic().run(i) for i in range(5))
    validation = Dataset(Hysteretic().run(50 + i) for i in range(2))
    keywords = {
        "horizons": (1, 8), "epochs": 8, "stride": 2, "rate": 1e-2, "residual_penalty": 0.0,
        "batch_size": 32,
    }  # fmt: skip
    errors = []
    for module in (MLP((16,)), residual):
        model = HybridModel(
            Pendulum(damping=0.1), module, dt=DT, placement=placement.input, features=("rate",)
        )
        errors.append(fit(model, train, validation, **keywords).validation)
    assert errors[1] < 0.4 * errors[0]


def test_a_closed_form_needs_no_steps() -> None:
    model = HybridModel(
        Pendulum(), LinearResidual(basis="polynomial", degree=1), dt=DT, placement=placement.force
    )
    found = regress(model, TRAIN, VALIDATION)
    assert found.validation < 0.05 * found.physics
    with pytest.raises(ValueError, match="MLP has no closed form"):
        regress(HybridModel(Pendulum(), MLP((4,)), dt=DT), TRAIN, VALIDATION)


@pytest.mark.slow
@pytest.mark.parametrize("family", [LinearResidual(degree=3), GaussianProcess(noise=1e-3)])
def test_a_regression_of_noise_leaves_the_physics_as_it_is(family) -> None:
    noisy, clean = logs(plant(), 2, noise=0.02), logs(plant(), 2, first=50)
    model = HybridModel(Pendulum(), family, dt=DT, placement=placement.force)
    found = regress(model, noisy, clean, spans=(1, 2))
    assert found.stopped == "unimproved"
    assert found.validation == found.physics
    assert [row["span"] for row in found.history] == [0, 1, 2]
    assert min(row["validation"] for row in found.history[1:]) > found.physics
    x, u = torch.tensor(clean[0].y[:-1]), torch.tensor(clean[0].u)
    assert not found.model.residual(found.model.residual_features(x, u)).any()
    assert torch.equal(found.model(x, u), plant()(x, u))


def test_a_regression_never_gives_back_a_worse_model() -> None:
    model = HybridModel(
        Pendulum(), LinearResidual(basis="polynomial", degree=1), dt=DT, placement=placement.force
    )
    good = regress(model, TRAIN, VALIDATION)
    assert good.stopped == "converged"
    again = regress(good.model, logs(plant(damping=0.3), 1, noise=0.05), VALIDATION)
    assert again.stopped == "unimproved"
    assert again.validation < again.physics
    assert torch.equal(again.model.residual.weight, good.model.residual.weight)


def test_bad_ways_are_refused_by_name() -> None:
    model = HybridModel(Pendulum(), MLP((4,)), dt=DT)
    for arguments, message in (
        ({"loss": "huber"}, "loss must be 'mse' or 'likelihood'"),
        ({"initial": "free"}, "initial must be"),
        ({"initial": "estimated", "noise": {"colour": 1.0}}, "noise: no output 'colour'"),
        ({"initial": "estimated", "noise": {"angle": -1.0}}, "noise of 'angle' must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(model, TRAIN, VALIDATION, **QUICK, **arguments)


def test_a_checkpoint_knows_its_model_to_the_last_number(tmp_path) -> None:
    file = tmp_path / "fit.state"
    fit(HybridModel(Pendulum(), MLP((8,)), dt=DT), TRAIN, VALIDATION, **QUICK, checkpoint=file)
    others = (
        HybridModel(Pendulum(length=0.7), MLP((8,)), dt=DT),
        HybridModel(Pendulum(), MLP((8,), seed=5), dt=DT),
        HybridModel(Pendulum(), MLP((8,), activation="relu"), dt=DT),
        HybridModel(Pendulum(), MLP((8,)), dt=DT, substeps=4),
        HybridModel(Pendulum(), MLP((8,)), dt=DT, hold=True),
        HybridModel(Pendulum(), MLP((8,)), dt=DT, features=("torque", "rate", "angle")),
    )
    for model in others:
        with pytest.raises(ValueError, match="another model"):
            fit(model, TRAIN, VALIDATION, **QUICK, checkpoint=file)


def test_the_density_is_centred_where_the_model_steps() -> None:
    model = HybridModel(Pendulum(), Ensemble((8,), count=2), dt=0.1)
    for weight in model.residual.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    model.noise.fill_(1e-6)
    x, u = torch.tensor([[0.3, -1.0]]).double(), torch.tensor([[0.5]]).double()
    assert torch.equal(transition(model, x, u)[0], model(x, u))
    each = transition(model, x.expand(2, 1, 2), u, member="each")[0]
    assert torch.equal(each, model(x[None], u, member="each"))


@pytest.mark.slow
def test_a_support_grows_with_the_data_it_is_fitted_to() -> None:
    small = Dataset(log(plant(), 60, i)[:20] for i in range(2))
    wide = Dataset(log(plant(), 100, 20 + i) for i in range(3))
    first = fit(HybridModel(Pendulum(), Supported(MLP((4,))), dt=DT), small, small, **QUICK).model
    x, u = (torch.tensor(np.concatenate(v)) for v in zip(*((t.y[:-1], t.u) for t in wide)))  # noqa: B905
    z = first.residual_features(x, u)
    before = float(first.residual.support(z).mean())
    second = fit(first, wide, wide, **QUICK).model
    assert before < 0.9
    assert float(second.residual.support(z).mean()) > 0.98


def test_sensors_are_regressed_under_the_input_of_their_step() -> None:
    logs = []
    for k in range(3):
        made = log(plant(), 100, k)
        before = np.concatenate([made.u[:1], made.u])
        y = made.y + np.stack([0.2 * before[:, 0], np.zeros(101)], 1)
        logs.append(Trajectory(t=made.t, u=made.u, y=y, x=made.y))
    model = HybridModel(
        Pendulum(),
        LinearResidual(basis="polynomial", degree=1),
        dt=DT,
        placement=placement.output.on("angle"),
        features=("torque",),
    )
    found = regress(model, Dataset(logs), Dataset(logs)).model
    z = torch.tensor([[0.0], [1.0]]).double()
    slope = found.residual(z).detach().diff(dim=0).item()
    assert slope == pytest.approx(0.2, rel=0.05)
