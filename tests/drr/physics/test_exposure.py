"""The polychromatic signal: the fast sum against the exact one, and what a spectrum must do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from drr.physics.detector import Detector
from drr.physics.exposure import transmit, transmit_exactly
from drr.physics.materials import MATERIALS, attenuation
from drr.physics.spectrum import Spectrum, tube_spectrum

LONGEST_MM = {"soft": 500, "bone": 120, "iodine": 60, "metal": 80}


def random_paths(rng: np.random.Generator, *names: str) -> dict[str, np.ndarray]:
    return {name: rng.uniform(0, LONGEST_MM[name], (64, 80)).astype(np.float32) for name in names}


def beam(kvp: float) -> tuple[Spectrum, np.ndarray]:
    spectrum = tube_spectrum(kvp)
    return spectrum, Detector().response(spectrum.energies_kev)


@pytest.mark.parametrize("kvp", [50, 80, 120, 150])
@pytest.mark.parametrize("names", [("soft",), ("soft", "bone"), MATERIALS])
def test_the_fast_sum_is_the_exact_one_to_1e_4_in_log_signal(kvp: float, names: tuple[str, ...]) -> None:
    paths = random_paths(np.random.default_rng(7), *names)
    exact = np.log(transmit_exactly(paths, *beam(kvp)))
    assert np.abs(np.log(transmit(paths, *beam(kvp))) - exact).max() < 1e-4


def test_one_energy_follows_beer_and_lambert() -> None:
    paths = random_paths(np.random.default_rng(3), *MATERIALS)
    mono = Spectrum(61, "none", np.array([60.0]), np.ones(1))
    rates = attenuation(np.array([60.0]))[:, 0]
    expected = sum(rate * paths[name].astype(float) for name, rate in zip(MATERIALS, rates, strict=True))
    assert -np.log(transmit(paths, mono, np.ones(1))) == pytest.approx(expected, abs=1e-4)


def test_the_open_field_is_one_and_negative_rounding_counts_as_nothing() -> None:
    rim = {name: np.full((2, 2), -1e-3, np.float32) for name in MATERIALS}
    signal = transmit(rim, *beam(120))
    assert signal.dtype == np.float32
    assert signal == pytest.approx(np.ones((2, 2)), abs=1e-6)


def test_a_beam_hardens_so_that_each_centimetre_takes_less() -> None:
    soft = np.arange(0, 400, 10, dtype=np.float32)[None]
    log = -np.log(transmit({"soft": soft}, *beam(120)))
    assert (np.diff(log[0], 2) < 0).all()


def test_bone_stands_out_less_at_a_higher_voltage() -> None:
    paths = {"soft": np.full((1, 2), 100, np.float32), "bone": np.array([[0, 20]], np.float32)}
    contrast = [float(np.log(np.divide(*transmit(paths, *beam(kvp))[0]))) for kvp in (60, 90, 120, 150)]
    assert contrast == sorted(contrast, reverse=True)


def test_a_missing_material_is_none_of_it() -> None:
    paths = random_paths(np.random.default_rng(5), "soft", "bone")
    padded = paths | {"iodine": np.zeros((64, 80), np.float32)}
    assert (transmit(paths, *beam(100)) == transmit(padded, *beam(100))).all()


def test_a_pixel_of_iodine_leaves_its_neighbours_alone() -> None:
    paths = random_paths(np.random.default_rng(5), "soft", "bone")
    iodine = np.zeros((64, 80), np.float32)
    iodine[10, 20] = 5
    change = transmit(paths | {"iodine": iodine}, *beam(100)) != transmit(paths, *beam(100))
    assert np.argwhere(change).tolist() == [[10, 20]]


def run(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout


def test_threads_may_expose_at_once_whatever_threads_numba_has() -> None:
    """In a process of its own: numba's work queue ends the process that uses it from two threads."""
    code = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from drr.physics.exposure import transmit
from drr.physics.materials import MATERIALS
from drr.physics.spectrum import Spectrum

beam = Spectrum(80, "none", np.linspace(30, 80, 20), np.ones(20))
rng = np.random.default_rng(1)
paths = [{name: rng.uniform(0, 50, (120, 150)) for name in MATERIALS} for _ in range(8)]
alone = [transmit(each, beam, np.ones(20)) for each in paths]
with ThreadPoolExecutor(4) as pool:
    together = list(pool.map(lambda each: transmit(each, beam, np.ones(20)), paths * 4))
assert all(np.array_equal(a, b) for a, b in zip(alone * 4, together))
print("alike")
"""
    assert run(code, NUMBA_THREADING_LAYER="workqueue") == "alike\n"


def test_read_only_paths_of_any_layout_are_taken() -> None:
    paths = random_paths(np.random.default_rng(5), *MATERIALS)
    others = {name: np.asfortranarray(path, np.float64) for name, path in paths.items()}
    for path in others.values():
        path.flags.writeable = False
    assert (transmit(others, *beam(100)) == transmit(paths, *beam(100))).all()


def test_functions_are_compiled_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """Files stand where numba would make its folders, which not even root can get past."""
    (tmp_path / "__pycache__").touch()
    (tmp_path / "kernel.py").write_text(
        """
from drr.backends.compiled import compiled

@compiled("f8(f8)", error_model="numpy")
def half(x):
    return x / 2
"""
    )
    nowhere = str(tmp_path / "__pycache__")
    places = {"NUMBA_CACHE_DIR": nowhere, "XDG_CACHE_HOME": nowhere, "HOME": nowhere}
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from kernel import half; print(half(3), half.stats)"
    value, _, stats = run(code, **places).partition(" ")
    assert value == "1.5"
    assert "cache_path=None" in stats


def test_functions_are_kept_where_there_is_a_place(tmp_path: Path) -> None:
    run("import drr.physics.exposure", NUMBA_CACHE_DIR=str(tmp_path))
    kept = {path.name.partition("-")[0] for path in tmp_path.rglob("*.nbi")}
    assert kept == {"exposure._look_up", "exposure._sum"}
