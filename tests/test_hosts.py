"""Two processes, a device each, that train together as two hosts would."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from kill_and_resume import differences, without_wall_times
from test_run import CONFIG

from nmt.config import to_json
from nmt.training.history import read_history

TRAIN = Path(__file__).parents[1] / "train.py"


def start(config: Path, workdir: Path, devices: int, **environment: str) -> subprocess.Popen[bytes]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, TRAIN, "--config", config, "--workdir", workdir],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "XLA_FLAGS": flags, **environment},
    )


def wait(process: subprocess.Popen[bytes]) -> str:
    output = process.communicate(timeout=300)[0].decode()
    assert process.returncode == 0, output
    return output


def test_two_hosts_train_as_one_with_as_many_devices(tmp_path: Path):
    config, text = tmp_path / "config.py", to_json(CONFIG)
    config.write_text(f"from nmt.config import from_json\nconfig = from_json({text!r})\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = [
        start(
            config,
            tmp_path / "two",
            devices=1,
            JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    outputs = [wait(process) for process in hosts]
    wait(start(config, tmp_path / "one", devices=2))
    # Parameters, optimizer, position and translations are the same to the bit. Dev is measured by
    # each host alone, on one device or on two, so its sums may round differently.
    assert set(differences(tmp_path / "one", tmp_path / "two")) <= {"metrics.jsonl"}
    histories = [read_history(tmp_path / name) for name in ("one", "two")]
    for one, two in zip(*histories, strict=True):
        assert one.pop("kind") == two.pop("kind")
        assert without_wall_times(two) == pytest.approx(without_wall_times(one), rel=1e-4)
    assert len(histories[0]) == 5
    assert any((tmp_path / "two" / "events").iterdir())
    assert '"bleu"' in outputs[0]
    assert "step" not in outputs[1]
