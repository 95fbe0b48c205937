"""Logs as data: one currency for simulator, hardware, training and closed loop."""

from hybridmodel.data.context import context_as_exogenous
from hybridmodel.data.csv_log import read_csv, write_csv
from hybridmodel.data.dataset import Dataset, Windows
from hybridmodel.data.delay import Delay, estimate_delay
from hybridmodel.data.differentiation import Derivative, differentiate
from hybridmodel.data.inspection import inspect_log
from hybridmodel.data.leakage import Leak, check_leakage
from hybridmodel.data.log import read_log
from hybridmodel.data.npz import load_npz, save_npz
from hybridmodel.data.rates import DerivedRates, derive_rates
from hybridmodel.data.report import LogFinding, LogReport
from hybridmodel.data.table import Table, align, read_table
from hybridmodel.data.trajectory import Trajectory

__all__ = [
    "Dataset",
    "Delay",
    "Derivative",
    "DerivedRates",
    "Leak",
    "LogFinding",
    "LogReport",
    "Table",
    "Trajectory",
    "Windows",
    "align",
    "check_leakage",
    "context_as_exogenous",
    "derive_rates",
    "differentiate",
    "estimate_delay",
    "inspect_log",
    "load_npz",
    "read_csv",
    "read_log",
    "read_table",
    "save_npz",
    "write_csv",
]
