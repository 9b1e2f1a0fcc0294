"""The page, started for real and called as a browser or a stranger's script would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import gradio_app
from augment.suppress.job import Job, run_job
from gen.core.errors import BadInput, EnvironmentLacks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio")  # its queue calls an older pandas
PROMPT = "63 yo F, AP, moderate right effusion"


@pytest.fixture(scope="module")
def address(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "files"))
        page = gradio_app.build_page(toy_model)
        yield gradio_app.launch(page)
        page.close(verbose=False)


@pytest.fixture(scope="module")
def client(address: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(
        address, download_files=str(tmp_path_factory.mktemp("downloads")), verbose=False, analytics_enabled=False
    )


def generate(client: Client, *, prompt: object = PROMPT, n: object = 2, seed: object = 7, steps: object = 2) -> tuple:
    return client.predict(prompt, n, seed, steps, 3.0, api_name="/generate")


def files(gallery: list[dict]) -> list[Path]:
    return [Path(entry["image"]) for entry in gallery]


def test_a_prompt_becomes_pictures_and_its_canonical_reading(client: Client) -> None:
    gallery, reading, error = generate(client)
    assert error == ""
    assert len(gallery) == 2
    assert reading.splitlines()[0] == "63 year old female. AP view. Moderate right pleural effusion."
    first, second = (np.asarray(Image.open(file)) for file in files(gallery))
    assert first.dtype == np.uint8
    assert first.ndim == 2
    assert (first != second).any()


def test_every_picture_says_that_it_is_synthetic(client: Client) -> None:
    gallery, *_ = generate(client)
    for file in files(gallery):
        with Image.open(file) as image:
            assert image.format == "PNG"
            assert "synthetic" in " ".join([*image.info, *map(str, image.info.values())]).lower()


def test_the_same_seed_gives_the_same_picture_whatever_the_number(client: Client) -> None:
    [one], [again, _] = (files(generate(client, n=n)[0]) for n in (1, 2))
    assert (np.asarray(Image.open(one)) == np.asarray(Image.open(again))).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompt": " "}, "the prompt is empty; write one"),
        ({"prompt": "x" * 3000}, "2000 characters"),
        ({"prompt": "normal chest with a large pneumothorax"}, ""),
        ({"n": 1000}, "number of images"),
        ({"n": [1]}, "number of images"),
        ({"seed": -1}, "seed"),
        ({"seed": 1e308}, "seed"),
        ({"steps": 0}, "number of steps"),
        ({"steps": "many"}, "number of steps"),
    ],
    ids=str,
)
def test_a_bad_value_is_one_plain_line_in_its_own_place_and_no_picture(client: Client, wrong: dict, words: str) -> None:
    gallery, reading, error = generate(client, **wrong)
    assert gallery == []
    assert reading == ""
    assert error
    assert "\n" not in error
    assert words in error


@pytest.fixture(scope="module")
def radiograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of drawn greys, in which the anatomy network finds no chest."""
    levels = np.random.default_rng(0).normal(128, 40, (20, 16)).clip(0, 255).astype(np.uint8)
    file = tmp_path_factory.mktemp("radiograph") / "some.png"
    Image.fromarray(levels).resize((192, 240), Image.Resampling.BICUBIC).save(file)
    return file


def separate(client: Client, file: Path | None, strength: object = 1.0, *, any_picture: bool = True) -> tuple:
    given = None if file is None else handle_file(str(file))
    return client.predict(given, strength, any_picture, api_name="/suppress")


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_a_radiograph_becomes_soft_tissue_and_bone_that_add_up_to_it(
    client: Client, radiograph: Path, strength: float
) -> None:
    gallery, error = separate(client, radiograph, strength)
    assert error == ""
    assert [entry["caption"] for entry in gallery] == ["soft", "bone"]
    whole, soft, bone = (np.asarray(Image.open(file)).astype(int) for file in (radiograph, *files(gallery)))
    assert np.abs(soft + bone - whole).max() <= 1
    assert bone.any() == (strength > 0)
    for file in files(gallery):
        with Image.open(file) as image:
            assert image.info["bone_suppressed"] == "estimated"


def test_what_the_command_refuses_the_tab_refuses_in_the_same_words_with_a_remedy_of_its_own(
    client: Client, radiograph: Path, tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(radiograph.read_bytes()[:1000])
    (tmp_path / "text.png").write_text("no image")
    Image.open(radiograph).resize((64, 64)).save(tmp_path / "small.png")
    for file in (radiograph, *sorted(tmp_path.glob("*.png"))):
        said: list[str] = []
        done = run_job(Job(), [file], tmp_path / f"out-{file.stem}", on_image=said.append, quiet=True)
        assert not said
        gallery, error = separate(client, file, any_picture=False)
        assert gallery == []
        [line] = done.failures
        assert error.partition("; ")[0] == line.replace(str(file), file.name).partition("; ")[0]
        assert ("--no-check" in line) == ("Take any picture" in error) == (file.stem in ("some", "small"))


@pytest.mark.parametrize("hint", [None, "use a PNG", "use --dtype float32", "try --dtype float32, or lower --guidance"])
def test_a_hint_of_the_command_line_stays_in_the_terminal(hint: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> tuple[str]:
        raise BadInput("it failed", hint=hint)

    *nothing, shown = gradio_app.answered(work, ("",))()
    assert nothing == [""]
    assert shown == ("it failed; use a PNG" if hint == "use a PNG" else "it failed")
    assert (hint or "") in capsys.readouterr().err


def test_no_two_requests_are_worked_on_at_once_whatever_their_tab(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, radiograph: Path
) -> None:
    running, most = set[str](), list[int]()

    def slow(name: str, *answer: object) -> Callable[..., tuple[object, ...]]:
        def work(*_: object) -> tuple[object, ...]:
            running.add(name)
            most.append(len(running))
            time.sleep(0.3)
            running.discard(name)
            return answer

        return work

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setattr(gradio_app, "make_generate", lambda _: slow("generate", [], ""))
    monkeypatch.setattr("augment.suppress.tab.suppress", slow("suppress", []))
    page = gradio_app.build_page(tmp_path)
    try:
        client = Client(gradio_app.launch(page), verbose=False, analytics_enabled=False)
        file = handle_file(str(radiograph))
        jobs = [client.submit(PROMPT, 1, 0, 2, 3.0, api_name="/generate") for _ in range(2)]
        jobs += [client.submit(file, 1.0, True, api_name="/suppress") for _ in range(2)]
        assert all(job.result(timeout=60)[-1] == "" for job in jobs)
    finally:
        page.close(verbose=False)
    assert most == [1] * 4


@pytest.mark.parametrize("strength", [-1, 2, "all", None])
def test_a_strength_that_cannot_be_is_named(client: Client, radiograph: Path, strength: object) -> None:
    gallery, error = separate(client, radiograph, strength)
    assert gallery == []
    assert "strength" in error


def test_no_radiograph_is_no_picture(client: Client) -> None:
    gallery, error = separate(client, None)
    assert gallery == []
    assert "no radiograph" in error


def test_a_file_that_was_not_uploaded_cannot_be_named(address: str, radiograph: Path) -> None:
    theirs = {"path": str(radiograph), "meta": {"_type": "gradio.FileData"}}
    request = urllib.request.Request(
        f"{address}gradio_api/call/suppress",
        json.dumps({"data": [theirs, 1.0, True]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        event = json.load(response)["event_id"]
    answer = read(f"{address}gradio_api/call/suppress/{event}")
    assert "event: error" in answer
    assert "event: complete" not in answer


def test_markup_in_a_prompt_comes_back_as_text_or_not_at_all(address: str, client: Client) -> None:
    _, reading, error = generate(client, prompt="Cardiomegaly <img src=x onerror=alert(1)>", n=1)
    # Both are shown in text boxes, whose value the browser never parses.
    config = json.loads(read(f"{address}config"))
    labels = ("The prompt as it was read", "Error")
    shown = [part for part in config["components"] if part["props"].get("label") in labels]
    assert {part["props"]["label"] for part in shown} == set(labels)
    assert {part["type"] for part in shown} == {"textbox"}  # of the other tabs, too
    assert isinstance(reading + error, str)


def test_the_page_loads_nothing_from_elsewhere_and_says_it_is_not_for_clinical_use(address: str) -> None:
    html = read(address)
    loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(https?:)?//([^/\"'>]+)", html)
    assert [host for _, host in loaded if not address.startswith(f"http://{host}")] == []
    assert "@import" not in html
    assert "not for clinical use" in html


def test_it_answers_on_this_machine_only_and_reports_nothing(address: str) -> None:
    config = json.loads(read(f"{address}config"))
    assert address.startswith("http://127.0.0.1:")
    assert not config["analytics_enabled"]
    assert not config["show_error"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../conftest.py", "%2e%2e/conftest.py", "{model}/model_index.json"])
def test_no_file_but_its_own_pictures_is_served(address: str, toy_model: Path, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        read(f"{address}gradio_api/file={path.format(model=toy_model)}")
    assert refused.value.code in (403, 404)


def test_a_taken_port_is_named(address: str, toy_model: Path) -> None:
    port = int(address.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(EnvironmentLacks, match=f"127.0.0.1:{port}"):
        gradio_app.launch(gradio_app.build_page(toy_model), port=port)


@pytest.fixture(scope="module")
def stopped_page(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[str], list[Path]]:
    """`gen demo` after three calls with bad values and a SIGTERM: exit code, lines of stderr, what its folder left."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "gen.cli", "demo", "--threads", "1", "--model", str(toy_model)]
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            address = process.stdout.readline().strip()
            assert list(folder.glob("gen-demo-*"))
            client = Client(address, verbose=False, analytics_enabled=False)
            for wrong in ({"n": 1000}, {"seed": -1}, {"steps": "many"}):
                generate(client, **wrong)
            process.terminate()
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    return process.returncode, errors.splitlines(), list(folder.iterdir())


def test_a_bad_value_is_one_line_in_the_terminal(stopped_page: tuple[int, list[str], list[Path]]) -> None:
    _, lines, _ = stopped_page
    ours = ("loading the model", "stop with Ctrl-C", "", "interrupted")  # click ends the line of a ^C by a blank one
    said = [line for line in lines if line not in ours]
    assert [line.partition(" must ")[0] for line in said] == [
        f"error: the {what}" for what in ("number of images", "seed", "number of steps")
    ]


def test_sigterm_removes_the_page_s_folder(stopped_page: tuple[int, list[str], list[Path]]) -> None:
    code, lines, left = stopped_page
    assert code == 130
    assert lines[-1] == "interrupted"
    assert left == []


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read().decode()
