"""Extractors turn images into numbers that distances are measured in; each says what it has seen and is blind to.

``texture``, ``layout`` and ``random`` have seen no image at all, so no generator and no gate can have been tuned to
them; they are no Inception net, and figures in them compare with nobody else's. ``judge`` is the project's own network,
``inception`` torch-fidelity's, where its weights are on the disk. All of them can be registered with torch-fidelity.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gen.core.errors import BadInput, EnvironmentLacks, GenError
from gen.core.files import sha256_file
from gen.evaluate.images import cache_folder, digests

if TYPE_CHECKING:
    from gen.judge.readings import AnyJudge

BATCH = 16  # images that are in memory as floats
LEVELS, GRID, BINS = 5, 4, 8  # of `texture`
FREQUENCIES = 8  # of `layout`: 36 coefficients
WIDTHS = (8, 16, 32, 64)  # of `random`


@dataclass(frozen=True)
class Extractor:
    """``extract``: uint8 (N, S, S) -> float32 (N, D). ``fingerprint`` changes with whatever changes its numbers."""

    name: str
    fingerprint: str
    note: str
    extract: Callable[[np.ndarray], np.ndarray]


def extractor_of(spec: str) -> Extractor:
    """The extractor that ``spec`` names: a key of `EXTRACTORS`, and for the judge of a folder "judge:FOLDER".

    BadInput for another name; EnvironmentLacks where a package or weights are missing.
    """
    name, _, place = spec.partition(":")
    if name not in EXTRACTORS or (place and name != "judge"):
        raise BadInput(f"no extractor {spec!r}", hint="there are " + ", ".join(EXTRACTORS) + " and judge:FOLDER")
    return _judge(place) if place else EXTRACTORS[name]()


def embed(pixels_u8: np.ndarray, extractor: str | Extractor, cache: str | Path | None = None) -> np.ndarray:
    """Features of uint8 ``pixels_u8`` (N, S, S) in ``extractor`` (or that of a spec), float32 (N, D).

    Each image's are computed once and kept in ``cache`` [default: `cache_folder`] under the extractor's fingerprint and
    the hash of its pixels; an interrupted call goes on where it stopped. BadInput for levels of another kind, and
    where the extractor gives numbers that are not finite, which would be nearer to nothing than any other.
    """
    from tqdm import tqdm

    if (
        pixels_u8.ndim != 3
        or pixels_u8.dtype != np.uint8
        or pixels_u8.shape[1] != pixels_u8.shape[2]
        or pixels_u8.shape[1] % 128
    ):
        raise BadInput(f"extractors take uint8 (N, S, S), S a multiple of 128, not {pixels_u8.dtype} {pixels_u8.shape}")
    extractor = extractor_of(extractor) if isinstance(extractor, str) else extractor
    folder = Path(cache or cache_folder())
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashes = digests(pixels_u8)
    with _store(folder / "embeddings.sqlite") as store:
        keys = [f"{extractor.fingerprint}/{sha256}" for sha256 in hashes]
        missing = [index for index, key in enumerate(keys) if _load(store, key) is None]
        with tqdm(
            total=len(missing), desc=f"embedding ({extractor.name})", unit="image", leave=False, disable=not missing
        ) as bar:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                vectors = np.ascontiguousarray(extractor.extract(np.asarray(pixels_u8[batch])), np.float32)
                if not np.isfinite(vectors).all():
                    raise BadInput(f"the extractor {extractor.name} gives numbers that are not finite")
                with store:
                    pairs = [(keys[index], vector.tobytes()) for index, vector in zip(batch, vectors, strict=True)]
                    store.executemany("INSERT OR REPLACE INTO embedding VALUES (?, ?)", pairs)
                bar.update(len(batch))
        found = [_load(store, key) for key in keys]
    return np.stack([np.frombuffer(vector, np.float32) for vector in found if vector is not None])


def register(extractor: Extractor) -> str:
    """Make ``extractor`` known to torch-fidelity, and return the name to call it there (layer "features").

    ``torch_fidelity.calculate_metrics(feature_extractor=name, ...)`` then computes with it on any uint8 images; of
    three channels it sees the mean.
    """
    import torch
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    class Registered(FeatureExtractorBase):
        """What torch-fidelity asks of an extractor."""

        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> Any:
            return torch.zeros(1, 3, 256, 256, dtype=torch.uint8)

        def forward(self, input: Any) -> tuple[Any]:  # noqa: A002 - torch-fidelity's name
            grey = torch.round(input.float().mean(1)).to(torch.uint8).cpu().numpy()
            return (torch.from_numpy(extractor.extract(grey)),)

    name = f"cxr-{extractor.fingerprint}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, Registered)
    return name


def block_mean(images: np.ndarray, side: int) -> np.ndarray:
    """(N, S, S) -> float32 (N, side, side), each the mean of a block; S must be a multiple of ``side``."""
    count, size, _ = images.shape
    block = size // side
    return images.reshape(count, side, block, side, block).mean((2, 4), dtype=np.float32)


def texture(pixels_u8: np.ndarray) -> np.ndarray:
    """Log energy of band-pass levels on a grid, and histograms of their gradients: (N, LEVELS * (GRID**2 + BINS)).

    The constants bring radiographs to about mean 0 and spread 1; they are rounded, and no more than a choice of units.
    """
    image = np.asarray(pixels_u8, np.float32) / 255
    edges = np.geomspace(3e-3, 0.3, BINS - 1)
    features = []
    for level in range(LEVELS):
        coarse = block_mean(image, image.shape[1] // 2)
        band = image - coarse.repeat(2, 1).repeat(2, 2)
        energy = np.log(block_mean(band**2, GRID).reshape(len(image), -1) + 1e-6)
        features.append(energy + 9 - level)  # energy grows fourfold an octave in a spectrum of 1 / f
        slope = np.hypot(*np.gradient(image, axis=(1, 2))).reshape(len(image), -1)
        bins = np.searchsorted(edges, slope)
        shares = np.stack([(bins == k).mean(1) for k in range(BINS)], 1)
        features.append(5 * (np.sqrt(shares) - BINS**-0.5))
        image = coarse
    return np.concatenate(features, 1).astype(np.float32)


def layout(pixels_u8: np.ndarray) -> np.ndarray:
    """The lowest cosine frequencies of 16 x 16 means, (N, 36): where it is bright and dark, blind to all detail."""
    from scipy.fft import dctn

    coarse = block_mean(np.asarray(pixels_u8, np.float32) / 255, 16)
    waves = dctn(coarse - np.float32(0.5), axes=(1, 2), norm="ortho")
    row, column = np.indices((FREQUENCIES, FREQUENCIES))
    chosen = (row + column < FREQUENCIES).ravel()
    return np.asarray(waves[:, :FREQUENCIES, :FREQUENCIES].reshape(len(pixels_u8), -1)[:, chosen], np.float32)


def random_net(pixels_u8: np.ndarray) -> np.ndarray:
    """A convolutional net with untrained weights of seed 0: of each channel the mean (in spreads) and the log spread.

    Strided 3 x 3 convolutions, He-normal, leaky ReLU; the first ones sum to 0, so it sees edges and no brightness.
    """
    import torch
    from torch.nn import functional

    x = torch.from_numpy(np.asarray(pixels_u8, np.float32))[:, None] / 127.5 - 1
    pooled = []
    with torch.inference_mode():
        for weight in _random_weights():
            x = functional.leaky_relu(functional.conv2d(x, weight, stride=2, padding=1), 0.2)
            spread = x.std((2, 3)) + 1e-3
            pooled += [10 * (x.mean((2, 3)) / spread - 0.25), 3 * (spread.log() + 3)]  # units as for `texture`
        return np.asarray(torch.cat(pooled, 1).numpy())


@functools.cache
def _random_weights() -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(wide, narrow, 3, 3, generator=generator) * (2 / (9 * narrow)) ** 0.5
        for narrow, wide in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True)
    ]
    weights[0] -= weights[0].mean((2, 3), keepdim=True)
    return weights


def _inception() -> Extractor:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    if not path.is_file():
        raise EnvironmentLacks(
            f"the weights of torch-fidelity's Inception are not on this machine ({path})",
            hint=f"fetch {URL_INCEPTION_V3} there, or choose another extractor",
        )
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])

    def extract(pixels_u8: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            (features,) = network(torch.from_numpy(pixels_u8)[:, None].expand(-1, 3, -1, -1))
        return np.asarray(features.numpy())

    note = "torch-fidelity's Inception (2,048 features), trained on photographs: comparable with published figures"
    return Extractor("inception", f"inception-{sha256_file(path)[:12]}", note, extract)


def judge_extractor(judge: AnyJudge) -> Extractor:
    """The embedding of ``judge``, ours or a plugged-in one, brought from length 1 to a mean square of 1."""
    note = f"the embedding of the judge {judge.name}: trained on radiographs, and perhaps known to generator or gates"

    def extract(pixels_u8: np.ndarray) -> np.ndarray:
        embedding = judge.read(pixels_u8).embedding
        return np.asarray(embedding * np.float32(embedding.shape[1] ** 0.5))

    return Extractor("judge", f"judge-{judge.fingerprint}", note, extract)


def _judge(folder: str = "") -> Extractor:
    from gen.judge.judge import load_judge

    return judge_extractor(load_judge(folder or None))


def one_thread() -> Any:
    """Inside, linear algebra runs in one thread.

    On matrices this small a second thread gains nothing; on a busy machine the two waited for each other, and a
    comparison took twenty times as long.
    """
    return _thread_pools().limit(limits=1)


@functools.cache
def _thread_pools() -> Any:
    """The loaded libraries that have threads: looking for them takes longer than a small comparison does."""
    import torch  # noqa: F401 - loaded first, so that its threads are found too
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _plain(name: str, note: str, extract: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Extractor]:
    return lambda: Extractor(name, f"{name}-1", note, extract)


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "judge": _judge,
    "texture": _plain("texture", "hand-made (band energies, gradients): has seen no image, blind to anatomy", texture),
    "layout": _plain("layout", "hand-made (16 x 16 means): has seen no image, blind to all detail", layout),
    "random": _plain("random", "a net with untrained weights of a fixed seed: has seen no image", random_net),
    "inception": _inception,
}


@contextmanager
def _store(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(path, timeout=60)) as store:
            store.execute("CREATE TABLE IF NOT EXISTS embedding (key TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            yield store
    except sqlite3.DatabaseError as error:
        hint = "it is a cache: delete it, or set XDG_CACHE_HOME to a folder that can be written"
        raise GenError(f"{path}: {error}", hint=hint) from error


def _load(store: sqlite3.Connection, key: str) -> bytes | None:
    found = store.execute("SELECT vector FROM embedding WHERE key = ?", (key,)).fetchone()
    return None if found is None else bytes(found[0])
