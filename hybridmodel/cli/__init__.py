"""The command line `hybridmodel`: each verb is a thin layer over one public call.

Exit codes: 0 fine, 1 a result worse than asked, 2 bad input, 3 a missing extra.
Verbs are loaded when they run, so that `--help` imports neither torch nor casadi.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import cyclopts
from rich.console import Console
from rich.markup import escape

from hybridmodel import __version__

OK, WORSE, BAD_INPUT, MISSING_EXTRA, INTERRUPTED = 0, 1, 2, 3, 130

app = cyclopts.App(
    name="hybridmodel",
    version=__version__,
    help="Physics in CasADi plus residuals in PyTorch, as one model: log, fit, plan, validate.\n\n"
    "Exit codes: 0 fine, 1 result worse than asked, 2 bad input, 3 missing extra. "
    "With --debug an error shows its traceback.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run` says so and gives the exit code
)
for _verb, _help in {
    "demo": "The whole story on one task: log, fit four models, plan, close the loop, report.",
    "collect": "Log a simulated plant under an excitation.",
    "inspect": "Say what a log, a model or a run folder holds.",
    "excite": "Design an input that identifies more, within limits.",
    "fit": "Fit a hybrid model to logs.",
    "evaluate": "Prediction error of a model by step, on logs.",
    "plan": "Plan with a model and print the plan.",
    "validate": "Check a model against a fresh run of an engine.",
    "check-agreement": "Do all paths of a model give the same numbers and derivatives?",
    "check-system": "Does your own system obey the laws the rest relies on?",
    "check-parity": "Does the engine do what the equations of a robot say, and if not, why?",
    "export": "Write a model for another tool: C, CasADi, ONNX, acados, torch.",
    "study": "Which correction is worth it: a resumable grid of models, planners and plants.",
    "compare": "Do two runs or studies differ, by which test?",
    "report": "Write a run folder's HTML report again.",
    "doctor": "Versions, extras, and a self-check of this installation.",
}.items():
    _function = _verb.replace("-", "_")
    app.command(f"hybridmodel.cli.{_function}:{_function}", name=_verb, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; errors are one line on stderr."""
    debug = "--debug" in arguments
    try:
        given = [a for a in arguments if a != "--debug"]
        code = app(given, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        _say(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except ImportError as error:
        return _fail(error, debug, MISSING_EXTRA)
    except (ValueError, TypeError, OSError, RuntimeError, ArithmeticError, LookupError) as error:
        return _fail(error, debug, BAD_INPUT)
    return code if isinstance(code, int) else OK


def _fail(error: Exception, debug: bool, code: int) -> int:
    if debug:
        traceback.print_exception(error)
    else:
        _say(str(error) or type(error).__name__)
    return code


def _say(message: str) -> None:
    line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(line)}")
