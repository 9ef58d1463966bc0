"""What has to hold bit for bit holds in programs that are compiled as users compile them."""

import os
import subprocess
import sys

import jax

TESTS = "tests/decoding/test_translator.py", "tests/models/test_products.py"


def test_exactness_holds_in_optimised_programs():
    flags = ["--xla_backend_optimization_level=3", "--xla_llvm_disable_expensive_passes=false"]
    if jax.__version_info__ < (0, 11):
        flags.append("--xla_cpu_use_fusion_emitters=true")
    chosen = "no_bit_of_a_row or (company_and_order and rules)"
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-k", chosen, *TESTS],
        env={**os.environ, "XLA_FLAGS": " ".join(flags)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
    assert "8 passed" in found.stdout
