"""What a data set job costs: over the bare sampler, for the gates, to finish and to export, and with workers of Ray.

overhead: the bare sampler, the job without gates, and with gates that refuse nothing, over the same rows, in rounds
whose order alternates; ratios of sums, intervals by drawing rounds anew. finish: what stands between the last shard and
a finished set, for 100 and for 1,000 images. ray: see scale.py. Wants a machine with nothing else to do.
"""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from augment.dataset.config import FORMATS, DatasetConfig, Gates
from augment.dataset.shards.records import Made, Verdict
from benchmarks import common
from benchmarks.dataset.scale import DRIVEN, JOB, growth, scaling, tell_paper, tell_scaling
from gen.core.errors import GenError
from gen.core.run import derived_seed
from gen.statistics.intervals import Figure, bootstrap

if TYPE_CHECKING:  # they load torch, and --help does not wait for that
    from augment.dataset.gates.gate_set import GateSet
    from augment.dataset.generate import Worker
    from augment.dataset.plan.plan import Plan
    from augment.dataset.progress import Progress
    from gen.core.radiograph import Radiograph

BARE, GATED = "bare sampler", "job, gates"
SHEET = "progress and sheet"  # drawn every 20 s of the clock, in which a real job would make thrice the images
TARGET = 0.05  # what the job may cost over the bare sampler
SIZES = (100, 1000)  # images of the sets that are finished
PICTURES = 8  # real samples that these sets are made of, each shifted, so that no two files are alike
NEVER = -1e9  # a threshold that nothing fails


def ratio(over: Sequence[float] | np.ndarray, under: Sequence[float] | np.ndarray) -> Figure:
    """The sum of ``over`` by that of ``under``, paired by round, and its interval when rounds are drawn anew."""
    pairs = np.array([over, under], float)
    return bootstrap(
        [str(k) for k in range(len(over))], lambda chosen: float(np.divide(*pairs[:, chosen].sum(1))), 2000
    )


def in_turn(count: int) -> list[tuple[str, ...]]:
    """The sides in the order of each of ``count`` rounds: forth and back, so that none profits from its place."""
    sides = (BARE, JOB, GATED)
    return [sides if k % 2 == 0 else sides[::-1] for k in range(count)]


def peak_mb() -> float:
    """The most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # Linux counts in KiB


def never_refusing(gate_set: GateSet) -> GateSet:
    """``gate_set`` with all its looking and reckoning, and thresholds that nothing fails."""
    limits = {
        kind: replace(each, groups={key: replace(limit, threshold=NEVER) for key, limit in each.groups.items()})
        for kind, each in gate_set.limits.items()
    }
    return replace(gate_set, limits=limits)


def gate_set_of(config: DatasetConfig) -> GateSet:
    """The bundled judge's gates."""
    from augment.dataset.gates.gate_set import open_gate_set

    gate_set = open_gate_set(config.gates, device=config.device)
    assert gate_set is not None  # the default names all gates
    return gate_set


# Overhead


def overhead(place: Path, config: DatasetConfig, rounds: int) -> dict[str, Any]:
    """Seconds by side and round, and by part of the job; shard 0 of each side warms it up and does not count."""
    from augment.dataset.generate import Worker
    from augment.dataset.prepare import plan_job
    from augment.dataset.sources import open_source

    count = config.shard_size
    config = replace(config, images=count * (rounds + 1))
    plan, sources = plan_job(config), open_source(config)
    workers: dict[str, tuple[Worker, Progress]] = {}
    peaks: dict[str, float] = {}
    parts: dict[str, dict[str, list[float]]] = {}

    def run(side: str, shard: int) -> dict[str, float]:
        sources.pipeline.text_states.clear()  # or the first side would encode the prompts for all three
        return bare(workers[JOB][0], shard) if side == BARE else job(*workers[side], shard)

    workers[JOB] = _opened(Worker(place / "job", config, plan, sources, None))
    for side in in_turn(1)[0]:
        if side == GATED:  # not before, for the peak of the others
            gate_set = never_refusing(gate_set_of(config))
            workers[GATED] = _opened(Worker(place / "gated", config, plan, sources, gate_set))
        run(side, 0)
        peaks[side] = peak_mb()
    for shard, order in enumerate(in_turn(rounds), 1):
        for side in order:
            for part, seconds in run(side, shard).items():
                parts.setdefault(side, {}).setdefault(part, []).append(seconds)
        print(f"round {shard}: " + ", ".join(f"{side} {parts[side]['all'][-1]:.2f} s" for side in order), flush=True)
    return {"images": count, "rounds": rounds, "seconds": parts, "peak_mb": peaks}


def bare(worker: Worker, shard: int) -> dict[str, float]:
    """Sample the rows of ``shard`` and drop the images."""
    from augment.dataset.generate import rows_of, tries
    from gen.model.sampling.pipeline import sample

    config = worker.config
    wanted = [next(tries(worker.plan, number, config)) for number in rows_of(shard, worker.plan, config)]
    prompts, seeds = [each.row.prompt for each in wanted], [each.seed for each in wanted]
    pipeline = worker.sources.pipeline
    start = time.perf_counter()
    for _ in sample(pipeline, prompts, seeds, steps=config.steps, guidance=config.guidance, size=config.size):
        pass
    return {"all": time.perf_counter() - start}


def job(worker: Worker, progress: Progress, shard: int) -> dict[str, float]:
    """Make ``shard`` as `augment.dataset.job` does, progress and its sheet included."""
    from augment.dataset.generate import fill, rows_of
    from augment.dataset.shards.folder import commit

    start = time.perf_counter()
    made, missing, gates = fill(worker, rows_of(shard, worker.plan, worker.config), progress.row)
    filled = time.perf_counter()
    entry = commit(worker.out, shard, made, missing)
    written = time.perf_counter()
    progress.shard(entry, counted=True)
    end = time.perf_counter()
    if missing:
        raise GenError(f"{len(missing)} of the rows came to nothing, so that the sides did not do the same work")
    return {"all": end - start, "gates": gates, "commit": written - filled, SHEET: end - written}


def _opened(worker: Worker) -> tuple[Worker, Progress]:
    from augment.dataset.progress import Progress

    worker.out.mkdir(parents=True)
    return worker, Progress(worker.out, worker.out, worker.plan.rows, Counter(), quiet=True, as_json=False, log=print)


def tell_overhead(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Print the tables of `overhead`; ratios, and milliseconds of the parts, for JSON."""
    images, seconds = figures["images"], figures["seconds"]
    each = {side: np.array(parts["all"]) / images for side, parts in seconds.items()}
    ratios = {f"{JOB} / {BARE}": ratio(each[JOB], each[BARE]), f"{GATED} / {JOB}": ratio(each[GATED], each[JOB])}
    print(f"\n{figures['rounds']} rounds of {images} images; seconds an image\n")
    rows = []
    for side, values in each.items():
        spread = (f"{number:.4f}" for number in (np.mean(values), min(values), max(values)))
        over = JOB if side == GATED else BARE
        peak = f"{figures['peak_mb'][side]:.0f}"
        rows.append([side, *spread, f"{ratio(values, each[over]).text(4)} of {over}", peak])
    common.print_table(["", "mean", "least", "most", "ratio [95 %]", "peak MB so far"], rows)
    cost = ratios[f"{JOB} / {BARE}"].value - 1
    # Steadier, for it does not compare two samplings, and blind to what the job might do between the images.
    own = sum(np.sum(seconds[JOB][part]) for part in ("commit", SHEET)) / np.sum(seconds[BARE]["all"])
    print(f"\nThe job costs {cost:+.1%} over the bare sampler, {own:.1%} by its own clock; it may cost {TARGET:.0%}.\n")
    milliseconds = {
        f"{side}: {part}": ratio(1000 * np.array(values), [images] * len(values))
        for side, parts in seconds.items()
        for part, values in parts.items()
        if part != "all" and sum(values)
    }
    common.print_table(
        ["part", "ms an image tried [95 %]"], [[name, figure.text(2)] for name, figure in milliseconds.items()]
    )
    return ratios | milliseconds


# The end


def finishing(place: Path, config: DatasetConfig, sizes: tuple[int, int] = SIZES) -> dict[str, Any]:
    """Seconds of each part of the end by size of the set, bytes an image by what is stored, and peak memory."""
    from augment.dataset.prepare import plan_job
    from augment.dataset.sources import open_source

    plan, sources = plan_job(replace(config, images=PICTURES)), open_source(config)
    rows = [plan.row(number) for number in range(PICTURES)]
    pictures = [_whole(outcome) for outcome in sources.make(rows, range(PICTURES))]
    gate_set, verdicts = gate_set_of(config), dict[str, Verdict]()
    figures: dict[str, Any] = {"sizes": sizes, "seconds": {}, "peak_mb": {"before": peak_mb()}}
    for name, images in (("warm", sizes[0]), *((str(size), size) for size in sizes)):  # the first pays for imports
        sized = replace(config, out=str(place / name), images=images, formats=list(FORMATS))
        seconds = finish_set(sized, plan_job(sized), gate_set, pictures, verdicts)
        if name != "warm":
            figures["seconds"][name] = seconds
    figures["peak_mb"]["after"] = peak_mb()
    figures["bytes"] = {name: size / sizes[1] for name, size in sizes_of(place / str(sizes[1])).items()}
    return figures


def finish_set(
    config: DatasetConfig, plan: Plan, gate_set: GateSet, pictures: Sequence[Radiograph], verdicts: dict[str, Verdict]
) -> dict[str, float]:
    """Commit a set of shifted ``pictures`` with real records, and finish it step by step: seconds by step.

    ``verdicts`` has one by cell and is added to. GenError where the set does not verify.
    """
    from augment.dataset.card.card import write_card
    from augment.dataset.card.charts import write_balance
    from augment.dataset.card.croissant import write_croissant
    from augment.dataset.finish import finish
    from augment.dataset.generate import rows_of, shard_count
    from augment.dataset.job import marker_of
    from augment.dataset.progress import tally_of
    from augment.dataset.shards.counts import Entries, count_cells
    from augment.dataset.shards.folder import commit, create, damaged, summary
    from augment.dataset.shards.formats import export, finish_format
    from augment.dataset.shards.index import write_index
    from augment.dataset.sources import inputs_of
    from augment.dataset.verify import verify_dataset

    out, inputs = Path(config.out), inputs_of(config)
    create(out, marker_of(config, plan, gate_set.fingerprint, inputs), begun="2026-01-01")
    for shard in range(shard_count(plan, config)):
        numbers = rows_of(shard, plan, config)
        commit(out, shard, [_made(plan, number, gate_set, pictures, verdicts) for number in numbers])
    entries, facts = Entries(out), gate_set.describe()
    cells = count_cells(entries, {stratum.key: stratum.quota for stratum in plan.strata})

    def exported(format_: str) -> None:
        for entry in entries:
            export(out, entry, format_)
        finish_format(out, format_, entries)

    def verified() -> None:
        if problems := verify_dataset(out):
            raise GenError(f"the set does not verify: {problems[0]}")

    steps: dict[str, Callable[[], object]] = {
        "read all entries once": lambda: sum(len(entry.records) for entry in entries),
        DRIVEN: lambda: [tally_of([entry]) for entry in entries],
        "index.parquet": lambda: write_index(out, entries),
        **{f"format {name}": partial(exported, name) for name in FORMATS},
        "rates of the gates": gate_set.describe,
        "balance.png": lambda: write_balance(out, cells, config.gates.names),
        "README.md": lambda: write_card(out, config, cells, facts, inputs, entries),
        "croissant.json": lambda: write_croissant(out, config, entries, date="2026-01-01"),
        "hash for _SUCCESS": lambda: summary(out),
        "all of it once more, formats there": lambda: finish(out, config, facts, inputs, "2026-01-01"),
        "gen dataset verify": verified,
        "what a resume looks at": lambda: (damaged(out, range(10**6), hashed=False), tally_of(entries)),
    }
    return {name: took[0] for name, took in common.alternate(steps, 1).items()}


def _made(
    plan: Plan, number: int, gate_set: GateSet, pictures: Sequence[Radiograph], verdicts: dict[str, Verdict]
) -> Made:
    row, picture = plan.row(number), pictures[number % len(pictures)]
    seed = derived_seed(plan.config.seed, row.id, 0)
    facts = {**picture.provenance, "prompt": row.prompt, "image_seed": str(seed)}
    image = replace(picture, pixels=np.roll(picture.pixels, number, (0, 1)), provenance=facts)
    if row.cell not in verdicts:
        verdicts[row.cell] = never_refusing(gate_set).check(image.pixels, row)
    return Made(row, 0, seed, image, {}, verdicts[row.cell])


def _whole(outcome: GenError | tuple[Radiograph, Mapping[str, Radiograph]]) -> Radiograph:
    if isinstance(outcome, GenError):
        raise outcome
    return outcome[0]


def sizes_of(out: Path) -> dict[str, int]:
    """Bytes below ``out`` by folder or file at its top."""
    return {path.name: sum(_sizes(path)) for path in sorted(out.iterdir()) if path.name != "run"}


def _sizes(path: Path) -> Iterable[int]:
    return (file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def tell_finishing(figures: Mapping[str, Any]) -> None:
    """Print the tables of `finishing`."""
    small, large = figures["sizes"]
    print(f"\nThe end of a set with all gates and formats, seconds; peak MB: {figures['peak_mb']}\n")
    first, second = (figures["seconds"][str(size)] for size in (small, large))
    rows = [
        [name, f"{first[name]:.3f}", f"{second[name]:.3f}", f"{growth(first[name], second[name], (small, large)):.3f}"]
        for name in first
    ]
    common.print_table(["", f"{small:,} images", f"{large:,} images", "a further 1,000"], rows)
    print(
        "\nBytes an image: " + ", ".join(f"{name} {size:,.0f}" for name, size in figures["bytes"].items()), flush=True
    )


@click.command(help=__doc__)
@common.model_option
@common.steps_option
@common.guidance_option
@click.option("-n", "count", type=click.IntRange(1), default=20, show_default=True, help="Images of a side and round.")
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--only", type=click.Choice(("overhead", "finish", "ray")), help="One of the parts [default: all].")
@common.json_option
def main(
    model: Path | None, steps: int, guidance: float, count: int, rounds: int, only: str | None, json_file: Path | None
) -> None:
    common.WORK.mkdir(parents=True, exist_ok=True)
    print(f"{common.processor()}; load before the start {os.getloadavg()[0]:.1f}\n", flush=True)
    figures: dict[str, Any] = {"processor": common.processor(), "steps": steps, "guidance": guidance}
    # Not in /tmp, which may be memory: there a commit would cost nothing.
    with tempfile.TemporaryDirectory(dir=common.WORK) as name:
        place, folder = Path(name).resolve(), str(common.chosen_model(model))
        config = DatasetConfig(str(place / "set"), count, model=folder, steps=steps, guidance=guidance)
        if only in (None, "overhead"):
            figures["overhead"] = overhead(place, replace(config, shard_size=count), rounds)
            figures["overhead"]["told"] = tell_overhead(figures["overhead"])
        if only in (None, "finish"):
            figures["finish"] = finishing(place / "finished", config)
            tell_finishing(figures["finish"])
        if only in (None, "ray"):
            gateless = replace(config, gates=Gates(names=[]), threads=1)
            figures["ray"] = scaling(place / "ray", gateless, count, rounds)
            tell_scaling(figures["ray"])
        if only is None:
            tell_paper(figures)
    common.save_json(json_file, figures)


if __name__ == "__main__":
    common.launch(main)
