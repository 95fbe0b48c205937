"""Which room may import what, read from the source and from a running interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("physics", "residuals", "hybridmodel")
OUTER = ("hybridmodel.cli", "hybridmodel.report", "hybridmodel.study", "hybridmodel.__main__")
TORCH_FREE = (
    "hybridmodel.data",
    "hybridmodel.files",
    "hybridmodel.excitation",
    "hybridmodel.collection",
)


@dataclass(frozen=True)
class Room:
    """Modules whose dotted name starts with one of `names`, and what they may import."""

    names: tuple[str, ...]
    may: tuple[str, ...]
    never: tuple[str, ...] = ()


# the first room that fits a module holds; the standard library is free
ROOMS = (
    Room(("physics",), ("physics", "casadi", "numpy")),
    Room(("residuals",), ("residuals", "torch")),
    Room(
        TORCH_FREE,
        ("physics", "casadi", "numpy", "scipy", "pyarrow", "h5py", "rosbags", *TORCH_FREE),
    ),
    Room(
        ("hybridmodel.envs.corrected",),
        (
            "physics",
            "casadi",
            "numpy",
            "hybridmodel.envs",
            "hybridmodel.model",
            "hybridmodel.placement",
        ),
    ),
    Room(
        ("hybridmodel.envs.randomized",),
        ("numpy", "hybridmodel.collection", "hybridmodel.data", "hybridmodel.envs"),
    ),
    Room(
        ("hybridmodel.envs",),
        (
            "physics",
            "casadi",
            "numpy",
            "gymnasium",
            "pybullet",
            "pybullet_data",
            "mujoco",
            "hybridmodel.data",
            "hybridmodel.envs",
        ),
    ),
    Room(
        (
            "hybridmodel.rl.agent",
            "hybridmodel.rl.model_env",
            "hybridmodel.rl.stable_env",
            "hybridmodel.rl.latent",
        ),
        (
            *OURS,
            "casadi",
            "torch",
            "numpy",
            "scipy",
            "safetensors",
            "gymnasium",
            "stable_baselines3",
        ),
        never=(*OUTER, "hybridmodel.tasks", "hybridmodel.demo"),
    ),
    Room(
        OUTER,
        (
            *OURS,
            "casadi",
            "numpy",
            "torch",
            "cyclopts",
            "rich",
            "matplotlib",
            "jinja2",
            "PIL",
            "pyarrow",
            "distributed",
        ),
    ),
    Room(
        ("hybridmodel.tasks", "hybridmodel.demo"), (*OURS, "casadi", "torch", "numpy"), never=OUTER
    ),
    Room(
        ("hybridmodel.export", "hybridmodel.bridges.onnx_to_casadi"),
        (
            *OURS,
            "casadi",
            "torch",
            "numpy",
            "scipy",
            "safetensors",
            "onnx",
            "onnxruntime",
            "onnxscript",
            "google.protobuf",
        ),
        never=(*OUTER, "hybridmodel.tasks", "hybridmodel.demo", "hybridmodel.envs"),
    ),
    Room(
        ("hybridmodel.kernel", "hybridmodel.rollouts"),
        (*OURS, "casadi", "torch", "numpy", "llvmlite"),
        never=(*OUTER, "hybridmodel.tasks", "hybridmodel.demo", "hybridmodel.envs"),
    ),
    Room(
        ("hybridmodel",),
        (*OURS, "casadi", "torch", "numpy", "scipy", "safetensors"),
        never=(*OUTER, "hybridmodel.tasks", "hybridmodel.demo", "hybridmodel.envs"),
    ),
)


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of the packages or lies inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                if node.module == "hybridmodel" and alias.name in OURS:
                    yield node.lineno, alias.name  # from hybridmodel import physics
                else:
                    yield node.lineno, f"{node.module}.{alias.name}"


FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    module = module_name(path)
    room = next(room for room in ROOMS if within(module, room.names))
    never = () if module == "hybridmodel" else room.never  # the front door loads all, lazily
    for line, name in imports(path):
        standard = name.split(".")[0] in sys.stdlib_module_names
        assert standard or (within(name, room.may) and not within(name, never)), (
            f"{path.relative_to(ROOT)}:{line} imports {name}, but {module} may only import "
            f"{room.may} and the standard library"
        )


def run(code: str) -> None:
    """Run code in an interpreter of its own, warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout


BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
"""

EXTRAS = (
    *("gymnasium", "pybullet", "pybullet_data", "mujoco", "matplotlib", "PIL", "jinja2"),
    *("onnx", "onnxruntime", "onnxscript"),
)
CONSOLE = ("cyclopts", "rich", "pydantic")


def test_the_library_works_without_extras_and_console() -> None:
    run(
        BLOCK.format(names=(*EXTRAS, *CONSOLE))
        + "import hybridmodel\n"
        + "from hybridmodel import physics, residuals\n"
        + "import physics as same\n"
        + "assert physics is same\n"
        + "simulated = ('ParityReport', 'check_parity')\n"
        + "for name in set(hybridmodel.__all__) - {*simulated}: getattr(hybridmodel, name)\n"
        + "for name in simulated:\n"
        + "    try: getattr(hybridmodel, name)\n"
        + "    except ImportError as error: assert 'pip install hybridmodel[sim]' in str(error)\n"
        + "    else: raise AssertionError(name)\n"
    )


def test_a_verb_is_a_function_whichever_module_was_loaded_first() -> None:
    run(
        "import hybridmodel.bridges.casadi_to_torch, hybridmodel.bridges.torch_to_casadi\n"
        "import hybridmodel.collection\n"
        "from hybridmodel import collect, to_casadi, to_torch\n"
        "assert all(callable(verb) for verb in (collect, to_casadi, to_torch))\n"
    )


@pytest.mark.parametrize("module", TORCH_FREE)
def test_logs_need_no_torch(module: str) -> None:
    run(BLOCK.format(names=("torch", *EXTRAS, *CONSOLE)) + f"import {module}\n")


def test_physics_needs_casadi_alone_and_residuals_torch_alone() -> None:
    run(BLOCK.format(names=("torch", "hybridmodel", "residuals")) + "import physics\n")
    run(BLOCK.format(names=("casadi", "hybridmodel", "physics")) + "import residuals\n")


def test_help_loads_no_torch() -> None:
    run(
        "import sys\n"
        "from hybridmodel.cli import main\n"
        "sys.argv = ['hybridmodel', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules\n"
    )


def test_packages_are_typed_and_tests_are_no_package() -> None:
    assert all((ROOT / package / "py.typed").is_file() for package in OURS)
    assert not list((ROOT / "tests").rglob("__init__.py"))
