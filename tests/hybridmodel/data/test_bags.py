"""ROS bags written by rosbags give the messages back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hybridmodel.data import align, read_log, read_table
from physics import Pendulum

ORIGIN = 1_700_000_000_000_000_000  # ns since 1970
NAMES = {
    "angle": "/joints.position[0]",
    "rate": "/joints.velocity[0]",
    "torque": "/command.data",
}


def write(path: Path, storage: str) -> Path:
    """Joints every 10 ms, stamped 3 ms before they are recorded; commands every 40 ms."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2")
    rosbag1 = pytest.importorskip("rosbags.rosbag1")
    typesys = pytest.importorskip("rosbags.typesys")
    old = storage == "bag"
    kind = typesys.Stores.ROS1_NOETIC if old else typesys.Stores.ROS2_HUMBLE
    store = typesys.get_typestore(kind)
    types = store.types
    if old:
        path = path.with_suffix(".bag")
        writer = rosbag1.Writer(path)
    else:
        plugin = rosbag2.StoragePlugin.MCAP if storage == "mcap" else rosbag2.StoragePlugin.SQLITE3
        writer = rosbag2.Writer(path, version=9, storage_plugin=plugin)
    pack = store.serialize_ros1 if old else store.serialize_cdr
    with writer as bag:
        joints = bag.add_connection("/joints", "sensor_msgs/msg/JointState", typestore=store)
        command = bag.add_connection("/command", "std_msgs/msg/Float64", typestore=store)
        for k in range(200):
            stamp = ORIGIN + 10_000_000 * k
            seconds, rest = divmod(stamp - 3_000_000, 10**9)
            time = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=rest)
            ids = {"seq": k} if old else {}
            header = types["std_msgs/msg/Header"](stamp=time, frame_id="base", **ids)
            t = 0.01 * k
            message = types["sensor_msgs/msg/JointState"](
                header=header,
                name=["elbow"],
                position=np.array([np.sin(t)]),
                velocity=np.array([np.cos(t)]),
                effort=np.array([]),
            )
            bag.write(joints, stamp, pack(message, message.__msgtype__))
            if k % 4 == 0:
                number = types["std_msgs/msg/Float64"](data=float(k))
                bag.write(command, stamp, pack(number, number.__msgtype__))
    return path


@pytest.mark.parametrize("storage", ["sqlite3", "mcap", "bag"])
def test_a_bag_is_a_log(storage: str, tmp_path: Path) -> None:
    path = write(tmp_path / "run", storage)
    table = read_table(path)
    assert set(NAMES.values()) <= set(table.names)
    log = read_log(path, Pendulum(), columns=NAMES, dt=0.01, resample=True)
    assert log.t[0] == 0
    assert log.y == pytest.approx(np.stack([np.sin(log.t), np.cos(log.t)], axis=1), abs=1e-9)
    assert log.u[:, 0].tolist() == [4.0 * (k // 4) for k in range(log.steps)]
    with pytest.raises(ValueError, match=r"no column '/joints.position\[1\]'"):
        read_log(path, Pendulum(), columns=NAMES | {"angle": "/joints.position[1]"}, dt=0.01)


def test_messages_may_carry_their_own_stamps(tmp_path: Path) -> None:
    path = write(tmp_path / "run", "mcap")
    table = read_table(path, time="header.stamp")
    assert table.stamps(NAMES["angle"])[:3] == pytest.approx([-0.003, 0.007, 0.017], abs=1e-12)
    assert table.stamps(NAMES["torque"])[:2] == pytest.approx([0.0, 0.04], abs=1e-12)
    moved = align(read_table(path), {NAMES["angle"]: 0.003})
    assert moved.stamps(NAMES["angle"])[1] == pytest.approx(0.007)


def test_a_single_mcap_and_a_single_db3_are_found(tmp_path: Path) -> None:
    for storage, suffix in (("mcap", ".mcap"), ("sqlite3", ".db3")):
        folder = write(tmp_path / storage, storage)
        (file,) = folder.glob(f"*{suffix}")
        assert set(NAMES.values()) <= set(read_table(file).names)
