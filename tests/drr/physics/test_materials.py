"""Attenuation: NIST's values, xraydb's, and what the four shares of a CT number mean."""

from __future__ import annotations

import numpy as np
import pytest

from drr.physics.materials import (
    CT_ENERGY_KEV,
    MATERIALS,
    SUBSTANCES,
    attenuation,
    compute_mass_attenuation,
    linear_attenuation,
    mass_attenuation,
    read_table,
)
from gen.core.errors import BadInput

# NIST, X-ray mass attenuation coefficients (Hubbell & Seltzer, NISTIR 5632), total, cm2/g.
NIST_KEV = [40, 60, 80, 100]
NIST = {
    "water": [0.2683, 0.2059, 0.1837, 0.1707],
    "soft": [0.2688, 0.2048, 0.1823, 0.1693],
    "cortical bone": [0.6655, 0.3148, 0.2229, 0.1855],
    "aluminium": [0.5685, 0.2778, 0.2018, 0.1704],
    "iodine": [22.10, 7.579, 3.510, 1.942],
}
NIST_AIR_KEV = [10, 15, 20, 30, 40, 50, 60, 80, 100, 150]
NIST_AIR_ABSORPTION = [4.742, 1.334, 0.5389, 0.1537, 0.06833, 0.04098, 0.03041, 0.02407, 0.02325, 0.02496]


def test_water_at_60_kev_is_what_nist_says() -> None:
    assert mass_attenuation("water", np.array(60)) == pytest.approx(0.2059, abs=1e-4)


@pytest.mark.parametrize("substance", NIST)
def test_attenuation_is_within_one_percent_of_nist(substance: str) -> None:
    assert mass_attenuation(substance, np.array(NIST_KEV)) == pytest.approx(NIST[substance], rel=0.01)


def test_energy_transfer_in_air_is_within_one_percent_of_nist() -> None:
    assert mass_attenuation("air transfer", np.array(NIST_AIR_KEV)) == pytest.approx(NIST_AIR_ABSORPTION, rel=0.01)


@pytest.mark.parametrize("substance", [*SUBSTANCES, "air transfer"])
def test_the_shipped_table_is_what_xraydb_computes(substance: str) -> None:
    energies = read_table("attenuation.csv")["keV"]
    assert mass_attenuation(substance, energies) == pytest.approx(
        compute_mass_attenuation(substance, energies), rel=1e-5
    )


def test_between_the_entries_of_the_table_interpolation_is_good_to_a_thousandth() -> None:
    energies = np.concatenate([np.arange(10.25, 32, 0.5), np.arange(36.75, 150, 0.5)])  # without the K edges
    for substance in SUBSTANCES:
        expected = compute_mass_attenuation(substance, energies)
        assert mass_attenuation(substance, energies) == pytest.approx(expected, rel=1e-3)


def test_every_share_is_water_at_the_energy_of_the_scanner() -> None:
    at = attenuation(np.array([CT_ENERGY_KEV]))[:, 0]
    assert at == pytest.approx(np.full(len(MATERIALS), linear_attenuation("water", np.array(CT_ENERGY_KEV))))


def test_shares_of_a_voxel_of_bone_are_cortical_bone_at_every_energy() -> None:
    energies = np.arange(20.0, 140.0, 7.0)
    water, soft, bone = (
        linear_attenuation(name, np.array(CT_ENERGY_KEV)) for name in ("water", "soft", "cortical bone")
    )
    shares = np.array([soft, bone - soft]) / water  # the voxel's number over 1000: soft tissue, and what bone adds
    assert shares @ attenuation(energies)[:2] == pytest.approx(linear_attenuation("cortical bone", energies))


def test_iodine_jumps_at_its_k_edge_and_the_others_only_fall() -> None:
    below, above = attenuation(np.array([32.5, 34.5])).T
    assert above[MATERIALS.index("iodine")] > 4 * below[MATERIALS.index("iodine")]
    assert (np.delete(above, 2) < np.delete(below, 2)).all()


@pytest.mark.parametrize("energy", [9.0, 151.0])
def test_energies_outside_the_table_are_refused(energy: float) -> None:
    with pytest.raises(BadInput, match="10 to 150 keV"):
        mass_attenuation("water", np.array([60, energy]))
