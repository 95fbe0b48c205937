"""Logs as data: one currency for simulator, hardware, training and closed loop."""

from hybridmodel.data.csv_log import read_csv, write_csv
from hybridmodel.data.dataset import Dataset, Windows
from hybridmodel.data.npz import load_npz, save_npz
from hybridmodel.data.trajectory import Trajectory

__all__ = [
    "Dataset",
    "Trajectory",
    "Windows",
    "load_npz",
    "read_csv",
    "save_npz",
    "write_csv",
]
