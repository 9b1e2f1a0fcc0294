"""Real against synthetic at equal N: kernel distance, nearest training image, intensity and sharpness.

The samples' prompts are the captions of the very test images that they are compared with, one film a patient. The floor
is other unseen patients (validation) at the same N; the ladder is those same films, blurred or with noise added. Real
films were JPEG files once, at twice the pixels, and the samples were not: nothing here tells that apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import (
    as_levels,
    bootstrap_interval,
    cached_samples,
    chosen_model,
    data_option,
    guidance_option,
    json_option,
    launch,
    levels_of,
    model_option,
    model_size,
    one_film_a_patient,
    print_table,
    read_splits,
    rebuild,
    samples_option,
    save_json,
    steps_option,
    with_interval,
)
from extractors import block_mean, fit_extractors

from gen.core.run import derived_seed

SUBSETS, DEGREE = 100, 3
PERMUTATIONS = 1000
THUMBNAIL = 32  # pixels a side


def kernel_distance(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """KID of features (N, D) and (N, D) with its 95 % interval: Binkowski et al. 2018 (arXiv:1801.01401), unbiased.

    The mean over ``SUBSETS`` proper subsets of half the images. With halves, the spread of the subsets is the
    delete-half jackknife's standard error of the whole (Shao and Wu 1989): the interval is 1.96 of it to both sides.
    """
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    found = kid_features_to_metric(
        torch.from_numpy(first.astype(np.float64)),
        torch.from_numpy(second.astype(np.float64)),
        kid_subsets=SUBSETS,
        kid_subset_size=min(len(first), len(second)) // 2,
        kid_kernel_poly_degree=DEGREE,
        rng_seed=0,
        verbose=False,
    )
    mean, spread = found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]
    return mean, mean - 1.96 * spread, mean + 1.96 * spread


def permutation_p(first: np.ndarray, second: np.ndarray) -> float:
    """How often two random halves of the pool of both are as far apart as ``first`` and ``second`` (N, D) are.

    About uniform in (0, 1] where both come from one distribution; 1 / (PERMUTATIONS + 1) at the least.
    """
    pool = np.concatenate([first, second]).astype(np.float64)
    gram = (pool @ pool.T / pool.shape[1] + 1) ** DEGREE
    np.fill_diagonal(gram, 0)
    generator = np.random.default_rng(0)
    own = np.arange(len(pool)) < len(first)
    found = _unbiased_mmd(gram, own)
    others = [_unbiased_mmd(gram, generator.permutation(own)) for _ in range(PERMUTATIONS)]
    return float((1 + sum(other >= found for other in others)) / (PERMUTATIONS + 1))


def _unbiased_mmd(gram: np.ndarray, first: np.ndarray) -> float:
    """Squared MMD from a Gram matrix with a zero diagonal; ``first`` (N,) tells which rows are the first set."""
    one, two = first.astype(np.float64), (~first).astype(np.float64)
    m, n = one.sum(), two.sum()
    with_one, with_two = gram @ one, gram @ two
    return float(one @ with_one / (m * (m - 1)) + two @ with_two / (n * (n - 1)) - 2 * (one @ with_two) / (m * n))


def thumbnails(levels: np.ndarray) -> np.ndarray:
    """(N, S, S) uint8 -> (N, 32 * 32) float32 in [0, 1]: averaged, then blurred by 0.7 of the new pixels."""
    from scipy.ndimage import gaussian_filter

    small = block_mean(np.asarray(levels, np.float32) / 255, THUMBNAIL)
    return gaussian_filter(small, (0, 0.7, 0.7)).reshape(len(levels), -1)


def nearest_distances(queries: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Root mean square difference of each of ``queries`` (n, D) to its nearest of ``training`` (N, D), (n,)."""
    from scipy.spatial.distance import cdist

    return cdist(queries, training).min(1) / np.sqrt(queries.shape[1])


def gradient_energy(levels: np.ndarray) -> np.ndarray:
    """Mean square of the forward differences of each image in [0, 1], (N, H, W) uint8 -> (N,)."""
    image = np.asarray(levels, np.float32) / 255
    return np.square(np.diff(image, axis=1)).mean((1, 2)) + np.square(np.diff(image, axis=2)).mean((1, 2))


def ladder(levels: np.ndarray) -> dict[str, np.ndarray]:
    """Known damage of rising strength, as uint8 (N, H, W): a distance that does not climb with it measures nothing."""
    from scipy.ndimage import gaussian_filter

    image = np.asarray(levels, np.float32)
    noise = np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)
    rungs = {f"blurred, {sigma} px": gaussian_filter(image, (0, sigma, sigma)) for sigma in (0.5, 1, 2)}
    rungs |= {f"noise, {100 * part:g} %": image + 255 * part * noise for part in (0.01, 0.03, 0.1)}
    return {name: np.rint(rung).clip(0, 255).astype(np.uint8) for name, rung in rungs.items()}


def planted(levels: np.ndarray) -> np.ndarray:
    """Copies with a shift of two pixels and another gamma: what a search for copies must find."""
    moved = np.roll(levels, (2, 2), (1, 2)) / np.float32(255)
    return np.rint(255 * moved**1.1).astype(np.uint8)


def _of_chosen(statistic: Callable[[np.ndarray], Any], values: np.ndarray, chosen: np.ndarray) -> float:
    return float(statistic(values[chosen]))


@click.command(help=__doc__)
@model_option
@data_option
@samples_option
@click.option(
    "-n", "count", type=click.IntRange(8), default=128, show_default=True, help="Images, and patients, a set."
)
@steps_option
@guidance_option
@json_option
def main(
    model: Path | None, data: Path, samples: Path, count: int, steps: int, guidance: float, json_file: Path | None
) -> None:
    from gen.data.texts import texts_of
    from gen.model.folder import load_autoencoder, model_hash

    folder = chosen_model(model)
    size, splits = model_size(folder), read_splits(data)
    rows = {split: one_film_a_patient(of_split) for split, of_split in splits.items()}
    count = min(count, *(len(of_split) for of_split in rows.values()))
    test, other = (levels_of(rows[split][:count], size) for split in ("test", "validation"))
    every = levels_of(splits["train"], size)
    training = levels_of(rows["train"], size)

    prompts = texts_of(rows["test"][:count], "study", 0, 0).fixed()
    seeds = [derived_seed(0, k) for k in range(count)]
    made = as_levels(cached_samples(samples, folder, prompts, seeds, steps, guidance))
    rebuilt = np.rint(rebuild(load_autoencoder(folder), other) * 255).astype(np.uint8)
    sets = {
        "synthetic": made,
        "real, other unseen patients (floor)": other,
        "real, training patients": training[:count],
        "floor, through the autoencoder": rebuilt,
        **{f"floor, {name}": rung for name, rung in ladder(other).items()},
    }
    extractors = fit_extractors(training)
    wanted = {name: extract(test) for name, extract in extractors.items()}
    distances: dict[str, dict[str, dict[str, Any]]] = {}
    for label, levels in sets.items():
        distances[label] = {}
        for name, extract in extractors.items():
            features = extract(levels)
            value = kernel_distance(wanted[name], features)
            distances[label][name] = {"kid": value, "p": permutation_p(wanted[name], features)}
    print(f"model {folder.name} ({model_hash(folder)}), {steps} steps, guidance {guidance:g}, {size} × {size}")
    print(
        f"Kernel distance to {count} test images of {count} patients, N = {count} each [95 %], p of 'no difference'\n"
    )
    table = [
        [label, *(f"{with_interval(each['kid'], 3)} p {each['p']:.3f}" for each in of_set.values())]
        for label, of_set in distances.items()
    ]
    print_table(["", *extractors], table)

    known = thumbnails(every)
    near = {name: nearest_distances(thumbnails(levels), known) for name, levels in sets.items() if name == "synthetic"}
    near["real, test patients"] = nearest_distances(thumbnails(test), known)
    near["real, validation patients"] = nearest_distances(thumbnails(other), known)
    near["planted copies"] = nearest_distances(thumbnails(planted(training[:count])), known)
    alarm = float(np.percentile(np.concatenate([near["real, test patients"], near["real, validation patients"]]), 5))
    print(
        f"\nDistance to the nearest of {len(every)} training images ({THUMBNAIL} × {THUMBNAIL}, blurred, RMS of 0..1)\n"
    )
    units = [str(k) for k in range(count)]
    nearest: dict[str, dict[str, Any]] = {}
    for name, values in near.items():
        interval = bootstrap_interval(units, partial(_of_chosen, np.median, values))
        nearest[name] = {"median": (float(np.median(values)), *interval), "alarms": float((values < alarm).mean())}
    table = [[name, with_interval(each["median"], 4), f"{each['alarms']:.1%}"] for name, each in nearest.items()]
    print_table(["", "median [95 %]", "nearer than 95 % of unseen real ones"], table)

    shown = {"real, test patients": test, **sets}
    energy, brightness = gradient_energy(test), {name: levels / np.float32(255) for name, levels in shown.items()}
    simple: dict[str, dict[str, Any]] = {}
    for name, levels in shown.items():
        ratios = gradient_energy(levels) / energy.mean()
        interval = bootstrap_interval(units, partial(_of_chosen, np.mean, ratios))
        means = brightness[name].mean((1, 2))
        simple[name] = {
            "mean": (float(means.mean()), float(means.std())),
            "std": float(brightness[name].std((1, 2)).mean()),
            "gradient": (float(ratios.mean()), *interval),
        }
    print(f"\nPixels in 0..1, N = {count} each\n")
    table = [
        [name, "{:.3f} ± {:.3f}".format(*each["mean"]), f"{each['std']:.3f}", with_interval(each["gradient"], 3)]
        for name, each in simple.items()
    ]
    print_table(["", "mean (± between images)", "contrast (std)", "gradient energy / test"], table)
    settings = {"model": model_hash(folder), "n": count, "steps": steps, "guidance": guidance, "size": size}
    save_json(json_file, {**settings, "kernel_distance": distances, "nearest": nearest, "pixels": simple})


if __name__ == "__main__":
    launch(main)
