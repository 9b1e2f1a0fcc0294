"""However a CT lies on disk it is the same Volume at the same place in the patient; what is not HU is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from drr.ct.volume import Volume
from drr.reader import read_labels, read_volume
from gen.core.errors import BadInput

SHAPE = (11, 9, 10)
SPACING_MM = (2.5, 1.25, 0.75)
ORIGIN_MM = (-30.5, -180.25, -400.0)
OBLIQUE = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.35, -0.2, 0.4).GetMatrix(), (3, 3))
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def anatomy(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """int16 HU (z, y, x): soft tissue, every voxel of its own, in air."""
    rng = np.random.default_rng(0)
    hu = rng.integers(0, 90, shape).astype(np.int16)
    hu[:, :3] = rng.integers(-1000, -900, hu[:, :3].shape)
    hu[0, -1, -1] = 1500  # a speck of bone, so that nothing looks cut off at the top
    return hu


def picture(values: np.ndarray, direction: np.ndarray | None = None) -> sitk.Image:
    """``values`` (z, y, x) at the place of these tests, in the canonical order of the axes."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING_MM[::-1])
    image.SetOrigin(ORIGIN_MM)
    image.SetDirection((np.eye(3) if direction is None else direction).ravel().tolist())
    return image


def save(path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(path), useCompression=path.stem != "plain" and path.suffix != ".nii")
    return path


def assert_same(volume: Volume, other: Volume) -> None:
    np.testing.assert_array_equal(volume.hu, other.hu)
    np.testing.assert_allclose(volume.spacing_mm, other.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(volume.direction, other.direction, atol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, other.origin_mm, atol=1e-4)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE])
def test_every_order_of_the_axes_is_the_same_volume(tmp_path: Path, suffix: str, direction: np.ndarray) -> None:
    """ITK's own permutation and flip, which keep each voxel where it is in the patient, are the twin."""
    truth = Volume(anatomy(), SPACING_MM, direction, ORIGIN_MM)
    upright = picture(anatomy(), direction)
    for order, flips in product(permutations(range(3)), product((False, True), repeat=3)):
        turned = sitk.Flip(sitk.PermuteAxes(upright, order), flips, flipAboutOrigin=False)
        volume = read_volume(save(tmp_path / f"ct{suffix}", turned))
        assert_same(volume, truth)
        assert volume.hu.flags.c_contiguous
        assert volume.name == "ct"


@pytest.mark.parametrize("angle", [0.1, 0.7, 0.9, 1.5, 3.0])
def test_each_voxel_keeps_its_point_in_the_patient_at_any_angle(tmp_path: Path, angle: float) -> None:
    direction = np.reshape(sitk.Euler3DTransform((0, 0, 0), angle, angle / 2, -angle).GetMatrix(), (3, 3))
    image = picture(anatomy(), direction)
    volume = read_volume(save(tmp_path / "ct.mha", image))
    for x, y, z in np.random.default_rng(1).integers(0, SHAPE[::-1], (50, 3)).tolist():
        found = volume.to_index(np.array(image.TransformIndexToPhysicalPoint((x, y, z))))
        np.testing.assert_allclose(found, np.rint(found), atol=1e-6)
        assert volume.hu[tuple(np.rint(found).astype(int))] == image[x, y, z]


@pytest.mark.parametrize("kind", [np.int32, np.float32, np.float64, np.uint16])
def test_any_number_type_is_rounded_to_int16(tmp_path: Path, kind: type) -> None:
    values = anatomy().astype(np.float64)
    if kind is np.uint16:
        image = picture((values + 2000).astype(np.uint16))
        path = save(tmp_path / "ct.nii", image)
        header = bytearray(path.read_bytes())
        header[112:120] = np.array((1, -2000), "<f4").tobytes()  # scl_slope and scl_inter
        path.write_bytes(header)
    else:
        path = save(tmp_path / "ct.nii", picture((values + (0.3 if kind is not np.int32 else 0)).astype(kind)))
    np.testing.assert_array_equal(read_volume(path).hu, anatomy())


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float64])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_voxels_of_a_volume_run_along_x_in_memory(tmp_path: Path, kind: type, order: tuple[int, ...]) -> None:
    image = sitk.Flip(sitk.PermuteAxes(picture(anatomy().astype(kind)), order), (True, False, True), False)
    hu = read_volume(save(tmp_path / "ct.nrrd", image)).hu
    assert hu.flags.c_contiguous
    assert hu.flags.writeable


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_is_read_in_either_byte_order(tmp_path: Path, order: str) -> None:
    """The header is written here field by field, by its offsets, and is no other writer's idea of it."""
    header = bytearray(352)

    def put(offset: int, kind: str, *numbers: float) -> None:
        data = np.array(numbers, order + kind).tobytes()
        header[offset : offset + len(data)] = data

    put(0, "i4", 348)
    put(40, "i2", 3, *SHAPE[::-1], 1, 1, 1, 1)
    put(70, "i2", 4, 16)  # int16
    put(76, "f4", 1, *SPACING_MM[::-1])
    put(108, "f4", 352)
    put(123, "u1", 2)  # mm
    put(252, "i2", 0, 1)  # sform, which is in RAS
    x, y, z = SPACING_MM[::-1]
    put(280, "f4", -x, 0, 0, -ORIGIN_MM[0], 0, -y, 0, -ORIGIN_MM[1], 0, 0, z, ORIGIN_MM[2])
    header[344:348] = b"n+1\0"
    (tmp_path / "ct.nii").write_bytes(header + anatomy().astype(f"{order}i2").tobytes())
    assert_same(read_volume(tmp_path / "ct.nii"), volume_of())


def test_padding_is_air_and_its_share_a_fact(tmp_path: Path) -> None:
    values = anatomy().astype(np.int32)
    values[:, :, 0], values[:, :, 1] = -3024, 70_000
    volume = read_volume(save(tmp_path / "ct.nrrd", picture(values)))
    assert (volume.hu[:, :, 0] == -1000).all()
    assert (volume.hu[:, :, 1] == 32767).all()
    np.testing.assert_array_equal(volume.hu[:, :, 2:], values[:, :, 2:])
    assert volume.facts == {"format": "NRRD", "padding_fraction": 0.1}


def test_a_range_that_was_cut_off_at_the_top_is_a_fact(tmp_path: Path) -> None:
    values = anatomy()
    values[:, -1, 1:] = 700
    values[0, -1, 0] = 1500
    assert read_volume(save(tmp_path / "ct.mha", picture(values.clip(-1000, 400)))).facts["clipped_at_hu"] == 400
    assert "clipped_at_hu" not in read_volume(save(tmp_path / "ct.mha", picture(values))).facts


def test_a_fourth_axis_of_one_is_no_axis(tmp_path: Path) -> None:
    image = sitk.JoinSeries(picture(anatomy()))
    np.testing.assert_array_equal(read_volume(save(tmp_path / "ct.nii.gz", image)).hu, anatomy())


def with_nan(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    values[1, 2, 3] = np.nan
    return values


def with_infinity(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    values[1, 2, 3] = -np.inf
    return values


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("change", [with_nan, with_infinity])
def test_no_format_hides_what_is_not_a_number(
    change: Callable[[np.ndarray], np.ndarray], suffix: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"NaN inside the scan|infinite values"):
        read_volume(save(tmp_path / f"ct{suffix}", picture(change(anatomy()))))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_nan, r"NaN inside the scan \(1 place"),
        (with_infinity, "infinite values"),
        (lambda hu: np.maximum(hu + 1024, 0).astype(np.uint16), "add -1024 to every voxel"),
        (lambda hu: hu + np.int16(1000), "the rescale intercept is missing"),
        (lambda hu: hu - np.int16(1024), "applied twice; add 1024"),
        (lambda hu: ((hu.clip(-160, 240) + 160) / 400 * 255).astype(np.uint8), "grey levels, a mask or a label map"),
        (lambda hu: (hu > -500).astype(np.uint8), "grey levels, a mask or a label map"),
        (lambda hu: (hu + 1000).astype(np.float32) / 2500, r"values from 0 to 1 are normalised, not HU"),
        (lambda hu: hu.clip(-160, 240), "a CT cut to a window"),
        (lambda hu: ((hu + 1000) * 0.3).astype(np.int16), "MR or PET, perhaps"),
        (lambda hu: np.where(hu == 1500, 1500, hu + 300).astype(np.int16), "or no chest is in them"),
        (lambda hu: np.full_like(hu, -1000), "every voxel is -1000"),
        (lambda hu: np.where(hu < -500, hu, 2500).astype(np.int16), "or no chest is in them"),
    ],
)
def test_what_is_not_hu_is_refused_with_what_was_found(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    path = save(tmp_path / "ct.mha", picture(change(anatomy())))
    with pytest.raises(BadInput, match=reason) as error:
        read_volume(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-4 if path.suffix == ".mha" else -8] ^= 1  # of the checksum
    path.write_bytes(data)


def edited(old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))

    return spoil


def patched(offset: int, kind: str, *numbers: float) -> Callable[[Path], None]:
    """Overwrite a field of a NIfTI header."""

    def spoil(path: Path) -> None:
        data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        new = np.array(numbers, kind).tobytes()
        data[offset : offset + len(new)] = new
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)

    return spoil


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("ct.nii", truncated, "truncated: it has 1932 of 2332 bytes"),
        ("ct.nii.gz", truncated, "truncated or damaged"),
        ("ct.nii.gz", flipped, "truncated or damaged"),
        ("ct.nrrd", truncated, "truncated or damaged"),
        ("ct.nrrd", flipped, "truncated or damaged"),
        ("ct.nhdr", lambda path: truncated(path.with_suffix(".raw.gz")), "truncated or damaged"),
        ("ct.nhdr", lambda path: path.with_suffix(".raw.gz").unlink(), "cannot be read"),
        ("ct.nhdr", edited(b"file: ct.raw.gz", b"file: LIST 3\nct.raw.gz"), "voxels are in several files"),
        ("ct.nrrd", edited(b"sizes: 10 9 11", b"sizes: 90 90 90"), "truncated: it has 1980 of 1458000 bytes"),
        ("ct.mha", edited(b"DimSize = 10 9 11", b"DimSize = 90 90 90"), "truncated: its voxels are 1980 of 1458000"),
        ("ct.nii", patched(4, "u1", *b"n+2\0"), "a NIfTI-2 file, and only NIfTI-1 is read"),
        ("ct.nii.gz", patched(4, "u1", *b"n+2\0"), "a NIfTI-2 file, and only NIfTI-1 is read"),
        ("ct.mha", truncated, "truncated: its compressed voxels do not come to an end"),
        ("ct.mha", flipped, "truncated or damaged"),
        ("plain.nrrd", truncated, "cannot be read"),
        ("plain.mha", truncated, "cannot be read"),
        ("ct.nii", lambda path: path.write_bytes(b""), "the file is empty"),
        ("ct.nii", lambda path: path.write_bytes(b"x" * 500), "cannot be read"),
        ("ct.nrrd", lambda path: path.write_bytes(b"x" * 500), "cannot be read"),
        ("ct.mha", lambda path: path.write_bytes(b"x" * 500), "cannot be read"),
        ("ct.mhd", lambda path: path.with_suffix(".zraw").unlink(), r"its voxels are to be in ct\.zraw, which is not"),
        ("ct.nii", patched(252, "<i2", 0, 0), "left and right are unknown"),
        ("ct.nrrd", edited(b"space: left-posterior-superior", b"space dimension: 3"), "left and right are unknown"),
        ("ct.nii", patched(80, "<f4", 0), "the spacing of 0 x 1.25 x 2.5 mm is not positive"),
        ("ct.nii", patched(80, "<f4", -0.75), "not positive"),
        ("ct.nii", patched(80, "<f4", 1), "its pixdim says 1 x 1.25 x 2.5 mm and its sform 0.75 x 1.25 x 2.5 mm"),
        ("ct.mha", edited(b"ElementSpacing = 0.75 ", b"ElementSpacing = 0.00 "), "spacing|cannot be read"),
        ("ct.mha", edited(b"ElementSpacing = 0.75 ", b"ElementSpacing = -.75 "), "spacing|cannot be read"),
        ("ct.mha", edited(b"ElementSpacing = 0.75 1.25 2.5", b"ElementSpacing = 7e-4 1e-3 2e-3"), "in metres"),
        ("ct.mha", edited(b"ElementSpacing = 0.75 1.25 2.5", b"ElementSpacing = 0.75 200 2.5"), "0.75 x 200 x 2.5 mm"),
        ("ct.nii.gz", patched(42, "<i2", 30000, 30000, 3000), "more than the limit"),
        ("ct.nrrd", edited(b"sizes: 10 9 11", b"sizes: 9999 9999 99"), "more than the limit"),
        ("ct.mha", edited(b"DimSize = 10 9 11", b"DimSize = 5000 5000 5000"), "more than the limit"),
        ("ct.nii.gz", patched(42, "<i2", *[1024] * 3, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 64, 64), "8589934592 bytes"),
        ("ct.nrrd", edited(b"type: short\nd", b"type: double\nd"), "truncated: it has 1980 of 7920 bytes"),
        ("ct.nrrd", edited(b"(0,0,2.5)", b"(0,1.5,2.5)"), "not at right angles"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], reason: str
) -> None:
    path = save(tmp_path / name, picture(anatomy()))
    spoil(path)
    with pytest.raises(BadInput, match=reason) as error:
        read_volume(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("ct.mha", picture(anatomy())[:, :, 3], "one slice of"),
        ("ct.nrrd", picture(anatomy())[:, :, 3:4], "10 x 9 x 1 voxels are one slice"),
        ("ct.nrrd", picture(anatomy())[:, :, 3:6], "10 x 9 x 3 voxels are too few"),
        ("ct.nii", sitk.JoinSeries([picture(anatomy())] * 2), "4 dimensions"),
        ("ct.nrrd", sitk.Compose([picture(anatomy())] * 3), "3 channels per voxel"),
        ("ct.tif", picture(anatomy()), "not a format"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, name: str, image: sitk.Image, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read_volume(save(tmp_path / name, image))


def test_a_single_dicom_file_asks_for_its_folder_and_a_missing_file_says_so(tmp_path: Path) -> None:
    image = picture(anatomy())[:, :, 3]
    image.SetMetaData("0008|0060", "CT")
    save(tmp_path / "1.dcm", image)
    with pytest.raises(BadInput, match=r"1\.dcm: .*name the folder"):
        read_volume(tmp_path / "1.dcm")
    with pytest.raises(BadInput, match=r"2\.nii: No such file"):
        read_volume(tmp_path / "2.nii")


def organs() -> np.ndarray:
    ids = np.zeros(SHAPE, np.uint16)
    ids[2:5, 4:7, 2:5], ids[6:8, 3:5, 1:9] = 7, 300
    return ids


def volume_of(direction: np.ndarray | None = None) -> Volume:
    return Volume(anatomy(), SPACING_MM, np.eye(3) if direction is None else direction, ORIGIN_MM)


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_labels_lie_on_the_volume_whatever_their_axes_and_number_type(tmp_path: Path, kind: type) -> None:
    turned = sitk.Flip(sitk.PermuteAxes(picture(organs().astype(kind), OBLIQUE), (2, 0, 1)), (True, False, True))
    turned = sitk.Flip(sitk.PermuteAxes(picture(organs().astype(kind), OBLIQUE), (2, 0, 1)), (True, False, True), False)
    labels = read_labels(save(tmp_path / "seg.nii.gz", turned), volume_of(OBLIQUE))
    np.testing.assert_array_equal(labels.ids, organs())
    assert labels.ids.dtype == np.uint16
    assert labels.names == {7: "label 7", 300: "label 300"}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("names.csv", "id,structure,voxels\n0,background,9\n7,liver,4\n300,lung,2\n"),
        ("names.csv", "7,liver\n300,lung\n9,absent\n"),
        ("names.csv", "colour;Label Name;voxels;Label ID\nred;liver;5;7\nblue;lung;6;300\n"),
        ("names.csv", "\ufeffindex\tname\r\n7\tliver\r\n300\tlung\r\n"),
        ("names.csv", "label,id\nliver,7\nlung,300\n"),
        ("names.csv", "label,name\n7,liver\n300,lung\n"),
        ("names.json", json.dumps({"0": "background", "7": "liver", "300": "lung"})),
        ("names.json", json.dumps({"liver": 7, "lung": 300})),
        ("names.json", json.dumps({"labels": {"background": 0, "liver": 7, "lung": 300}})),
        ("seg.labels.csv", "id,structure\n7,liver\n300,lung\n"),
    ],
)
def test_names_are_read_from_any_usual_table(tmp_path: Path, name: str, table: str) -> None:
    path = save(tmp_path / "seg.nrrd", picture(organs()))
    (tmp_path / name).write_text(table, encoding="utf-8", newline="")
    names = None if name == "seg.labels.csv" else tmp_path / name
    assert read_labels(path, volume_of(), names).names == {7: "liver", 300: "lung"}


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("names.csv", "id,name\n7,liver\n", r"names\.csv: no name for 300, which seg\.nrrd holds"),
        ("names.csv", "id,name\n7,liver\n300,liver\n", "two ids have the same name"),
        ("names.csv", "id,name\n7,liver\n7,lung\n300,x\n", "id 7 has two names, 'liver' and 'lung'"),
        ("names.csv", "id,name\n7,liver\n300\n", "'300' has 1 columns of 2"),
        ("names.csv", "name\nliver\n", "not a table"),
        ("names.csv", "", "not a table"),
        ("names.json", "{", "not JSON"),
        ("names.json", "[1]", "not a table of names"),
        ("names.json", '{"liver": "lung"}', "is not an id and a name"),
        ("names.csv", "id,name\n7,\n300,lung\n", "a name is empty"),
    ],
)
def test_a_table_that_does_not_name_each_id_once_is_refused(tmp_path: Path, name: str, table: str, reason: str) -> None:
    path = save(tmp_path / "seg.nrrd", picture(organs()))
    (tmp_path / name).write_text(table)
    with pytest.raises(BadInput, match=reason):
        read_labels(path, volume_of(), tmp_path / name)


def moved(image: sitk.Image) -> sitk.Image:
    image.SetOrigin((ORIGIN_MM[0], ORIGIN_MM[1] + 5, ORIGIN_MM[2]))
    return image


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (picture(organs())[:, :8, :], "a label map of 10 x 8 x 11 voxels does not fit volume of 10 x 9 x 11 voxels"),
        (moved(picture(organs())), r"\(0\.75 x 1\.25 x 2\.5 mm from -30\.5, -175\.2, -400\) lies up to 5 mm off"),
        (picture(organs(), OBLIQUE), "so it is of another CT"),
        (picture(anatomy()), "holds ids from 0 to 65535, and this file -1000 to 1500"),
        (picture(organs() + np.float32(0.5)), "has fractions"),
        (picture(organs() * np.uint32(1000)), "and this file 0 to 300000"),
    ],
)
def test_labels_of_another_grid_or_without_ids_are_refused(tmp_path: Path, image: sitk.Image, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        read_labels(save(tmp_path / "seg.mha", image), volume_of())
