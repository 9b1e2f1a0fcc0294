"""`gen sample` and `gen train` as a user meets them: results on stdout, one line for an error, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from gen.core.manifest import read_manifest
from gen.core.radiograph import Radiograph, write_png
from gen.core.run import derived_seed
from gen.images.reader import read_radiograph

from .conftest import CONFIGS, Ended, make_data

Gen = Callable[..., Ended]
PROMPT = "63 yo F, AP, moderate right effusion"
CANONICAL = "63 year old female. AP view. Moderate right pleural effusion."


@pytest.fixture
def sample(gen: Gen, toy_model: Path, tmp_path: Path) -> Gen:
    """`gen sample` with the toy model, two steps, into tmp_path/out."""
    return lambda *more: gen("sample", "--model", toy_model, "--steps", 2, "--out", tmp_path / "out", *more)


def said(ended: Ended, code: int = 2) -> str:
    """The one line of an error."""
    assert ended.code == code, ended
    assert ended.out == ""
    line = ended.err.splitlines()[-1]
    assert line.startswith("error: "), ended.err
    assert "Traceback" not in ended.err
    return line


def levels(path: str | Path) -> bytes:
    return (read_radiograph(path).pixels * 255).round().astype(np.uint8).tobytes()


def test_images_paths_manifest_and_sheet(sample: Gen, tmp_path: Path) -> None:
    ended = sample("--prompt", PROMPT, "-n", 3, "--seed", 5)
    assert ended.code == 0
    paths = ended.out.split()
    assert len(paths) == 3
    rows = read_manifest(tmp_path / "out").rows
    assert [str(row.file) for row in rows] == paths
    assert [row.seed for row in rows] == [5, 5, 5]
    assert [row.extra["k"] for row in rows] == ["0", "1", "2"]
    assert {row.prompt for row in rows} == {CANONICAL}
    assert (tmp_path / "out" / "contact-sheet.png").is_file()
    assert f"prompt: {CANONICAL}" in ended.err
    assert "attention sdpa" in ended.err
    with Image.open(paths[0]) as image:
        assert image.mode == "L"
        assert image.text["synthetic"] == "yes"
        assert image.text["prompt"] == CANONICAL
        assert image.text["image_seed"] == str(derived_seed(5, 0))


def test_the_results_are_a_data_set_that_datasets_reads(sample: Gen, tmp_path: Path) -> None:
    import datasets

    assert sample("--prompt", PROMPT, "-n", 2, "--seed", 2**63 - 1, "--quiet").code == 0
    read = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read.num_rows == 2
    assert set(read["prompt"]) == {CANONICAL}
    assert set(read["seed"]) == {2**63 - 1}


def test_image_k_is_decided_by_seed_and_k_alone(sample: Gen) -> None:
    many = sample("--prompt", PROMPT, "-n", 4, "--seed", 5).out.split()
    one = sample("--prompt", PROMPT, "--seed", 5).out.split()
    assert one == many[:1]
    other = sample("--prompt", PROMPT, "-n", 2, "--seed", 6).out.split()
    assert len({levels(path) for path in many + other}) == 6
    before = [levels(path) for path in many]
    again = sample("--prompt", PROMPT, "-n", 4, "--seed", 5).out.split()
    assert again == many
    assert [levels(path) for path in again] == before


def test_quiet_says_nothing_and_json_is_one_object_an_image(sample: Gen) -> None:
    ended = sample("--prompt", PROMPT, "-n", 2, "--quiet", "--json")
    assert ended.err == ""
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert [row["k"] for row in rows] == [0, 1]
    assert rows[1]["image_seed"] == derived_seed(0, 1)
    assert rows[0]["study"]["age"] == 63
    assert Path(rows[0]["file"]).is_file()


def test_a_dry_run_makes_nothing(sample: Gen, tmp_path: Path) -> None:
    ended = sample("--prompt", PROMPT, "-n", 2, "--dry-run")
    assert ended.out.splitlines() == [f"0\t{CANONICAL}", f"1\t{CANONICAL}"]
    assert not (tmp_path / "out").exists()
    row = json.loads(sample("--prompt", PROMPT, "--dry-run", "--json").out)
    made = json.loads(sample("--prompt", PROMPT, "--json").out)
    assert Path(made.pop("file")).is_file()
    assert row == made
    assert row["study"]["age"] == 63


def test_a_prompts_file_gives_each_line_its_images(sample: Gen, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeff63 yo F\n\n # two kinds\n  Normal chest. \n#Mass.\n", encoding="utf-8")
    ended = sample("--prompts-file", tmp_path / "prompts.txt", "-n", 2, "--json")
    assert [json.loads(line)["prompt"] for line in ended.out.splitlines()] == [
        *["63 year old female."] * 2,
        *["No acute cardiopulmonary abnormality."] * 2,
    ]


def test_flags_write_the_prompt(sample: Gen) -> None:
    flags = ("--age", 63, "--sex", "f", "--view", "ap", "--finding", "Pleural Effusion:right,moderate")
    assert sample(*flags, "--dry-run").out == f"0\t{CANONICAL}\n"


def test_a_raw_prompt_goes_to_the_model_as_typed(sample: Gen) -> None:
    assert sample("--prompt", "A Cat, 63?", "--raw-prompt", "--dry-run").out == "0\tA Cat, 63?\n"


def test_a_negative_prompt_is_read_like_the_prompt(sample: Gen) -> None:
    ended = sample("--prompt", PROMPT, "--negative", "ptx", "--guidance", 3)
    assert ended.code == 0, ended.err
    assert "negative prompt: Pneumothorax." in ended.err
    assert "no effect" not in ended.err
    assert read_radiograph(ended.out.strip()).provenance["negative_prompt"] == "Pneumothorax."
    long = " ".join(["No pneumothorax, left lung."] * 40)
    raw = sample("--prompt", PROMPT, "--negative", long, "--raw-prompt", "--dry-run", "--guidance", 1)
    assert f"negative prompt: {long}" in raw.err
    assert "tokens and the model reads 77; cut off" in raw.err
    assert "warning: --negative has no effect with --guidance 1" in raw.err
    assert "--negative: " in said(sample("--prompt", PROMPT, "--negative", "a cat on a sofa"))


def test_a_size_that_the_model_was_not_trained_at_is_warned_of_once(sample: Gen) -> None:
    ended = sample("--prompt", PROMPT, "-n", 2, "--size", 48)
    assert ended.err.count("warning: the model was trained at 32 pixels") == 1
    assert "warning: the model was trained" not in sample("--prompt", PROMPT, "--size", 32).err


def test_another_size_in_one_folder_is_warned_of_and_the_same_is_not(sample: Gen, tmp_path: Path) -> None:
    for size, others in ((32, ""), (32, ""), (48, "32 x 32"), (40, "32 x 32, 48 x 48")):
        found = [
            line for line in sample("--prompt", PROMPT, "--size", size).err.splitlines() if " has images of " in line
        ]
        wanted = (
            f"warning: {tmp_path / 'out'} has images of {others} pixels, and those of this call have {size} x {size}"
        )
        assert found == ([wanted] if others else [])


def test_the_model_decides_whether_weights_may_learn_from_its_images(
    gen: Gen, broken_model: Path, tmp_path: Path
) -> None:
    path = broken_model / "capabilities.json"
    shown = json.loads(path.read_text())
    for told, allowed in ({}, False), ({"weights_may_learn": True}, True), ({"weights_may_learn": "no"}, False):
        path.write_text(json.dumps(shown | told))
        out = tmp_path / f"{told}"
        assert gen("sample", "--model", broken_model, "--prompt", PROMPT, "--steps", 1, "--out", out).code == 0
        assert [row.weights_may_learn for row in read_manifest(out).rows] == [allowed]


def test_an_image_to_start_from_is_recorded_and_a_real_one_takes_the_right_to_learn(
    gen: Gen, broken_model: Path, tmp_path: Path
) -> None:
    path = broken_model / "capabilities.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_may_learn": True}))
    pixels = np.random.default_rng(0).random((40, 48), np.float32)
    for mark, allowed in (({"synthetic": "yes"}, True), ({}, False)):
        write_png(tmp_path / "start.png", Radiograph(pixels, None, mark))
        out = tmp_path / f"out {allowed}"
        settings = ("--steps", 4, "--init", tmp_path / "start.png", "--strength", 0.25)
        ended = gen("sample", "--model", broken_model, "--prompt", PROMPT, *settings, "--out", out)
        assert ended.code == 0, ended.err
        assert ("not marked as synthetic" in ended.err) is not allowed
        [row] = read_manifest(out).rows
        assert row.weights_may_learn is allowed
        made = read_radiograph(row.file).provenance
        assert (made["strength"], made["init_synthetic"]) == ("0.25", "yes" if allowed else "unknown")
        assert len(made["init_sha256"]) == 64


def test_what_the_model_was_never_shown_is_warned_of(sample: Gen) -> None:
    ended = sample("--prompt", "Hernia.", "--dry-run")
    assert ended.code == 0
    assert "warning: the model was never shown the finding 'Hernia': it will have no reliable effect" in ended.err


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ((), "empty"),
        (("--prompt", " "), "empty"),
        (("--prompt", "a cat on a sofa"), "cat"),
        (("--prompt", "Mann, 63 Jahre, Pleuraerguss"), "prompt"),
        (("--prompt", "<b></b>"), "prompt"),
        (("--prompt", "63 yo F", "--age", 40), "--age 40 contradicts the prompt, which says 63"),
        (("--prompt", "63 yo M", "--sex", "F"), "--sex F contradicts the prompt, which says M"),
        (("--prompt", "No effusion.", "--finding", "Pleural Effusion"), "contradicts the prompt, which says absent"),
        (("--finding", "Cardiomegali"), "did you mean 'Cardiomegaly'?"),
        (("--prompt", "63 yo F", "--steps", 0), "--steps"),
        (("--prompt", "63 yo F", "--guidance", "nan", "--dry-run"), "--guidance nan is not a number"),
        (("--prompt", "63 yo F", "--guidance", "inf", "--dry-run"), "--guidance"),
        (("--prompt", "63 yo F", "--size", 30), "size 30 is not possible with this model; use a multiple of 4"),
        (("--prompt", "63 yo F", "--size", 30, "--dry-run"), "size 30 is not possible with this model"),
        (("--prompt", "63 yo F", "--device", "tpu"), "unknown device 'tpu'"),
        (("--prompt", "63 yo F", "--dtype", "int8"), "unknown dtype 'int8'"),
        (("--prompt", "63 yo F", "--attention", "flash"), "unknown attention 'flash'"),
        (("--prompt", "63 yo F", "--view", "oblique"), "oblique"),
        (("--prompt", "63 yo F", "--prompts-file", "x"), "--prompt and --prompts-file are both given"),
        (("--prompt", "63 yo F", "--model", "/nowhere"), "/nowhere is not a folder"),
        (("--prompt", "63 yo F", "--init", "/nowhere.png"), "/nowhere.png: No such file or directory"),
        (("--prompt", "63 yo F", "--init", __file__), "not a PNG, JPEG or DICOM file"),
        (("--prompt", "63 yo F", "--init", "x.png", "--strength", 0), "--strength"),
        (("--prompt", "63 yo F", "--strength", 0.3), "--strength is given without --init"),
        (("--prompt", "63 yo F", "--guidance-interval", 5, 1), "guidance_interval is (5.0, 1.0)"),
    ],
)
def test_bad_input_is_one_line_that_names_the_culprit(sample: Gen, arguments: tuple, culprit: str) -> None:
    assert culprit in said(sample(*arguments))


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "holds no prompt; write one prompt a line"),
        (b"\n \n", "holds no prompt"),
        (b"\x89PNG\xff\xfe\x00", "is not text in UTF-8"),
        (b"63 yo F\n\na cat\n", "prompts.txt, line 3: "),
    ],
)
def test_a_prompts_file_that_cannot_be_used_is_named_with_its_line(
    sample: Gen, tmp_path: Path, content: bytes | None, culprit: str
) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    line = said(sample("--prompts-file", path))
    assert culprit in line
    assert str(path) in line


def test_an_image_too_small_to_start_from_is_named(sample: Gen, tmp_path: Path) -> None:
    write_png(tmp_path / "tiny.png", Radiograph(np.random.default_rng(0).random((40, 12), np.float32)))
    line = said(sample("--prompt", PROMPT, "--init", tmp_path / "tiny.png"))
    assert "tiny.png has 12 x 40 pixels, too few to start from" in line


def test_an_out_that_is_a_file_or_lies_under_one_is_named(sample: Gen, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "--out" in said(sample("--prompt", PROMPT, "--out", tmp_path / "file"))
    assert "Not a directory" in said(sample("--prompt", PROMPT, "--out", tmp_path / "file" / "below"))
    assert (tmp_path / "file").read_text() == "mine"


def test_an_out_with_a_broken_manifest_is_named_before_the_work(sample: Gen, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metadata.csv").write_text("file_name,source,seed\ngone.png,synthetic:toy,many\n")
    (tmp_path / "out" / "gone.png").write_bytes(b"")
    line = said(sample("--prompt", PROMPT))
    assert "seed 'many' is not a whole number" in line
    (tmp_path / "out" / "metadata.csv").write_text("file_name,source\ngone.png,NIH\n")
    assert "images that are not synthetic" in said(sample("--prompt", PROMPT))
    assert not (tmp_path / "out" / "images").exists()


@pytest.mark.parametrize("damage", ["part", "pickle", "truncated"])
def test_a_broken_model_is_named(gen: Gen, broken_model: Path, tmp_path: Path, damage: str) -> None:
    weights = broken_model / "unet" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    if damage == "pickle":
        weights.with_suffix(".bin").write_bytes(b"\x80\x04.")
    if damage == "truncated":
        weights.write_bytes(content[:1000])
    line = said(gen("sample", "--model", broken_model, "--prompt", PROMPT, "--out", tmp_path / "out", "--quiet"))
    assert str(broken_model / "unet") in line


def test_images_that_were_finished_before_a_failure_are_kept_and_listed(
    gen: Gen, broken_model: Path, tmp_path: Path
) -> None:
    # One token's embedding is not a number: the first prompt lacks it, the second has it.
    vocabulary = json.loads((broken_model / "tokenizer" / "vocab.json").read_text())
    file = broken_model / "text_encoder" / "model.safetensors"
    tensors = load_file(file)
    [key] = [key for key in tensors if key.endswith("token_embedding.weight")]
    tensors[key][vocabulary["pneumothorax</w>"]] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    (tmp_path / "prompts.txt").write_text("63 yo F\nPneumothorax.\n")
    out = tmp_path / "out"
    ended = gen(
        "sample", "--model", broken_model, "--prompts-file", tmp_path / "prompts.txt", "--out", out, "--steps", 2
    )
    assert ended.code == 1
    assert "came out not finite" in ended.err.splitlines()[-1]
    [row] = read_manifest(out).rows
    assert ended.out.split() == [str(row.file)]
    assert len(list((out / "images").iterdir())) == 1


def test_a_full_disk_is_one_line_and_leaves_no_half_image(
    sample: Gen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        line = said(sample("--prompt", PROMPT), code=1)
    assert "No space left on device" in line
    assert str(tmp_path / "out") in line
    assert not (tmp_path / "out").exists()


def test_a_call_that_makes_no_image_leaves_no_folder_of_its_own(sample: Gen, tmp_path: Path) -> None:
    write_png(tmp_path / "film.png", Radiograph(np.zeros((64, 64), np.float32)))
    call = "--prompt", "45 year old male. PA view.", "--steps", 4, "--anatomy", tmp_path / "film.png"
    assert "film.png" in said(sample(*call))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert "film.png" in said(sample(*call))
    assert not list((tmp_path / "out").iterdir()), "the user's own folder stays"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_keeps_and_lists_what_is_finished_and_exits_130(
    toy_model: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    out = tmp_path / "out"
    arguments = [
        "sample",
        "--model",
        str(toy_model),
        "--prompt",
        PROMPT,
        "-n",
        "10000",
        "--steps",
        "2",
        "--backend",
        "torch",
        "--out",
        str(out),
    ]
    code = "import sys; from gen.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background job ignores Ctrl-C, and so would ours, if the tests are one.
        preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),
    ) as job:
        deadline = time.monotonic() + 120
        while len(list(out.glob("images/*.png"))) < 3:
            assert job.poll() is None, job.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job.send_signal(stop)
        try:
            written, errors = job.communicate(timeout=60)
        finally:
            job.kill()
    assert job.returncode == 130, errors.decode()
    assert errors.decode().splitlines()[-1] == "interrupted"
    listed = {str(row.file) for row in read_manifest(out).rows}
    finished = {str(path) for path in out.glob("images/*.png")}
    assert len(finished) >= 3
    assert len(finished - listed) <= 1, "one may have been written in the very moment"
    assert set(written.decode().split()) <= finished
    for path in finished:
        read_radiograph(path)


def test_a_kill_loses_no_more_than_the_rows_of_a_few_images(toy_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["sample", "--model", str(toy_model), "--prompt", PROMPT, "-n", "10000", "--steps", "1"]
    arguments += ["--backend", "torch"]
    code = "import sys; from gen.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as job:
        deadline = time.monotonic() + 120
        while len(list(out.glob("images/*.png"))) < 40:
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        job.kill()
    assert len(read_manifest(out).rows) >= 32


def test_library_chatter_stays_off_stderr(toy_denoiser: Path, tmp_path: Path) -> None:
    model = toy_denoiser / "checkpoints" / "images-000000096" / "model"
    code = "import sys; from gen.cli import main; main(sys.argv[1:])"
    arguments = ["sample", "--model", str(model), "--prompt", "50 yo F", "--steps", "2", "--out", str(tmp_path / "out")]
    arguments += ["--backend", "torch"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if "step/s" not in line and line.strip()]
    assert [line.partition(":")[0] for line in lines if not line.startswith("model ")] == ["prompt"], ended.stderr


def toy_training(data: Path, out: Path, *more: str) -> tuple[str | Path, ...]:
    return ("train", "autoencoder", CONFIGS / "autoencoder_toy.yaml", f"data={data}", f"out={out}", "device=cpu", *more)


def test_training_prints_the_folder_of_what_it_made(gen: Gen, toy_data: Path, tmp_path: Path) -> None:
    ended = gen(*toy_training(toy_data, tmp_path / "run", "images=8"))
    assert ended.code == 0, ended.err
    assert ended.out == f"{tmp_path}/run/checkpoints/images-000000008/vae\n"
    assert "PSNR" in ended.err
    assert "image/s" in ended.err
    again = gen(*toy_training(toy_data, tmp_path / "run", "images=8"))
    assert (again.code, again.out) == (0, ended.out)


@pytest.mark.parametrize(
    ("override", "culprit"),
    [
        ("batch_sise=4", "batch_size"),
        ("batch_size=four", "batch_size"),
        ("batch_size", "key=value"),
        ("batch_size=-1", "batch_size is -1; it must be above 0"),
        ("dtype=float16", "training in float16 is not offered"),
    ],
)
def test_a_bad_config_is_one_line(gen: Gen, toy_data: Path, tmp_path: Path, override: str, culprit: str) -> None:
    assert culprit in said(gen(*toy_training(toy_data, tmp_path / "run", override)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("what", ["denoiser", "autoencoder_sharp", "autoencoder_resampled"])
def test_where_there_is_no_autoencoder_the_command_that_trains_one_is_named(
    gen: Gen, toy_data: Path, tmp_path: Path, what: str
) -> None:
    verb, _, part = what.partition("_")
    key = "init" if part else "autoencoder"
    wanted = ("train", verb, f"{what}_toy", f"data={toy_data}", f"out={tmp_path / 'run'}", "device=cpu")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "none", tmp_path / "empty"):
        line = said(gen(*wanted, f"{key}={folder}"))
        assert f"{folder}: there is no autoencoder in it" in line
        assert f"`gen train autoencoder autoencoder out={folder}`" in line


def test_a_missing_config_is_named(gen: Gen) -> None:
    assert "/nowhere.yaml" in said(gen("train", "denoiser", "/nowhere.yaml"))


def test_data_that_cannot_be_learnt_from_is_named(gen: Gen, tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    table = data / "metadata.csv"
    whole = table.read_text()
    for text, culprit in (
        (whole.replace("file_name", "path", 1), "file_name"),
        (whole.replace("images/3.png", "images/gone.png"), "images/gone.png"),
        (whole.replace("images/3.png", "../3.png"), "is not a path inside the folder"),
        (whole.replace(",yes,", ",no,"), "has no row to learn from; training takes rows with weights_may_learn = yes"),
    ):
        table.write_text(text)
        line = said(gen(*toy_training(data, tmp_path / "run")))
        assert culprit in line
        assert str(data) in line
    table.write_text(whole)
    (data / "images" / "3.png").write_bytes(b"no image")
    assert "3.png" in said(gen(*toy_training(data, tmp_path / "run")))
