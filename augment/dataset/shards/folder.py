"""The folder of a data set: tars in WebDataset layout, and beside them the entries that say which are committed.

A tar's bytes are a function of its images. Whoever writes into the folder holds a byte of one lock file meanwhile, for
a shard the byte of its number: so no shard is written twice, whatever number of processes and nodes share the folder,
and a temporary file that nobody holds a lock for is nobody's. (POSIX locks belong to a process: one thread commits.)
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import tarfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from augment.dataset.config import DatasetConfig
from augment.dataset.shards.records import Entry, Made
from augment.dataset.shards.samples import is_record, shard_bytes
from gen.core.config import RENAMED_KEYS, load_config
from gen.core.errors import BadInput, GenError
from gen.core.files import sha256_file, sync_folder, write_bytes, write_json, write_text
from gen.core.locks import lock
from gen.core.noise import NOISE_VERSION
from gen.core.run import changed

FORMAT = "cxr-gen dataset 1"
MARKER, DATA, ENTRIES, RUN = "dataset.json", "data", "manifest", "run"
SUCCESS = "_SUCCESS"
LOCK = f"{RUN}/commit.lock"
WHOLE = 1 << 40  # the byte of the lock for what concerns the whole set, beyond the numbers of all shards
_PLACES = ("config.out", "config.device", "begun")  # say where and when, not what: a data set may move
_MAY_GROW = ("config.gates.substitutes", "config.formats")
_TEMPORARY = re.compile(r"\..+\.tmp-\d{1,9}")  # of gen.core.files
_ENTRY = re.compile(r"shard-(\d{6,})\.json")
_ID = re.compile(r"[0-9a-f]{16}")


# The folder


def create(out: str | Path, marker: Mapping[str, Any], *, begun: str = "") -> bool:
    """Make ``out`` the folder of the data set that ``marker`` describes, or resume it; returns whether it was there.

    ``begun``, the day, stands in the marker of a new one and does not tell data sets apart. A data set may grow: more
    substitutes and further formats are added to its marker, and who asks for less goes on with what it has.

    BadInput where it holds another data set (the keys that differ are listed, old -> new) or something else.
    """
    out = Path(out)
    new = json.loads(json.dumps({"format": FORMAT, "noise": NOISE_VERSION, **marker, "begun": begun}))
    try:
        _require_ours(out)
        (out / RUN).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot use {out} as the folder of a data set: {error.strerror}") from error
    with locked(out, WHOLE):
        if resumed := (out / MARKER).exists():
            old = read_marker(out)
            if old.get("noise") != new["noise"]:
                what = f"{out} was started by another version of cxr-gen, whose seeds mean other images"
                raise BadInput(what, hint="choose another folder, or verify and use what is finished there")
            new = _grown(old, new)
            if changes := _differences(old, new):
                what = f"{out} was started as another data set ({', '.join(changes)})"
                raise BadInput(what, hint="choose another folder, or what it was started with")
            if changed(old.get("config", {}), new.get("config", {})).keys() - {"out", "device"}:
                write_json(out / MARKER, {**old, "config": new["config"]})
        else:
            _require_ours(out)  # once more, for now nobody else of us can write there
            write_json(out / MARKER, new)
    return resumed


def read_marker(out: str | Path) -> dict[str, Any]:
    """The content of dataset.json; BadInput where ``out`` has none, or none of ours."""
    path = Path(out) / MARKER
    try:
        marker = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{out} is not a data set of ours: {MARKER}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not readable JSON ({error})", hint="choose another folder") from error
    if not isinstance(marker, dict) or "format" not in marker:
        raise BadInput(f"{path} is not the description of a data set of ours", hint="choose another folder")
    return marker


def config_of(out: str | Path) -> DatasetConfig:
    """The config of the data set in ``out``; BadInput where it cannot be read."""
    stored = dict(read_marker(out).get("config", {}))
    if isinstance(gates := stored.get("gates"), dict):
        stored["gates"] = {RENAMED_KEYS.get(key, key): value for key, value in gates.items()}
    return load_config(DatasetConfig, None, [f"{key}={json.dumps(value)}" for key, value in stored.items()])


def _grown(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """``new`` with as many substitutes and formats as ``old`` has, where it has fewer: for the chain of each row begins
    alike, rows that are filled stay what they are, and those that are missing may be filled."""
    try:
        before, after = old["config"], new["config"]
        gates = {**after["gates"], "substitutes": max(each["gates"]["substitutes"] for each in (before, after))}
        formats = list(dict.fromkeys([*before["formats"], *after["formats"]]))
    except (KeyError, TypeError):
        return dict(new)  # then they differ in more than that
    return {**new, "config": {**after, "gates": gates, "formats": formats}}


def _require_ours(out: Path) -> None:
    if os.path.lexists(out) and not out.is_dir():
        raise BadInput(f"{out} is not a folder, so it cannot hold a data set")
    if (out / MARKER).exists():
        read_marker(out)  # which refuses another program's
        return
    names = {path.relative_to(out).as_posix() for part in (out, out / RUN) if part.is_dir() for path in part.iterdir()}
    foreign = sorted(name for name in names - {RUN, LOCK} if not _TEMPORARY.fullmatch(name))
    if foreign and not (out / MARKER).exists():  # which a sister may have made just now
        why = f"it holds {foreign[0]!r} and no {MARKER}"
        raise BadInput(f"{out} is not a data set of ours: {why}", hint="choose a new or an empty folder")


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys, dotted, whose values differ, as "key: old -> new"."""
    pairs = {key: pair for key, pair in changed(old, new).items() if key not in (*_PLACES, *_MAY_GROW)}
    # What follows from the config (the plan, the quota of each cell) is named only where nothing else differs.
    causes = {key: pair for key, pair in pairs.items() if key.startswith(("config.", "inputs."))}
    return [f"{key}: {before} -> {after}" for key, (before, after) in (causes or pairs).items()]


@contextmanager
def locked(out: str | Path, *places: int) -> Iterator[None]:
    """Hold bytes of the lock of ``out``, the number of a shard and ``WHOLE``, in this order; waits for who has them.

    Never one call inside another: POSIX gives up all locks of a process on a file as soon as it closes that file once.
    """
    with _lock_file(Path(out)) as stream:
        for place in places:
            lock(stream, byte=place)
        yield


def sweep(out: str | Path, folders: Sequence[str] = (DATA, ENTRIES)) -> int:
    """Remove temporary files that killed writers left in ``folders``, and return how many; none while somebody writes.

    The lock tells the living from the dead, on whichever node they are, where the process id in the name would not.
    """
    out, removed = Path(out), 0
    with _lock_file(out) as stream:
        if not lock(stream, wait=False):  # every byte
            return 0
        ours = (Path(folder) for top in folders for folder, _, _ in os.walk(out / top))
        for path in (path for folder in (out, *ours) for path in folder.iterdir()):
            if _TEMPORARY.fullmatch(path.name) and path.is_file():
                with suppress(OSError):
                    path.unlink()
                    removed += 1
    return removed


def _lock_file(out: Path) -> IO[bytes]:
    try:
        (out / RUN).mkdir(exist_ok=True)  # it may be thrown away at any time, and the data set is none the worse
        return (out / LOCK).open("ab")
    except OSError as error:
        raise GenError(f"cannot write {out / LOCK}: {error.strerror}") from error


# Shards


def tar_name(shard: int) -> str:
    """The tar of ``shard``, relative to the data set."""
    return f"{DATA}/shard-{shard:06d}.tar"


def entry_path(out: str | Path, shard: int) -> Path:
    """Where the entry of ``shard`` is, a thousand to a folder."""
    return Path(out) / ENTRIES / f"{shard // 1000:03d}" / f"shard-{shard:06d}.json"


def commit(out: str | Path, shard: int, made: Sequence[Made], missing: Sequence[Mapping[str, Any]] = ()) -> Entry:
    """Write ``shard`` and then its entry, and return the entry; where somebody was first, theirs, and write nothing.

    A tar without an entry is what a crash left, and is replaced. A shard without any image has an empty tar.
    GenError, naming the file, where it cannot be written.
    """
    out, path = Path(out), entry_path(out, shard)
    content, records = shard_bytes(made)
    with locked(out, shard):
        if not path.exists():
            _make_folders(path.parent, out / DATA)
            write_bytes(out / tar_name(shard), content)
            for folder in (out, out / ENTRIES):  # where those two folders have their names
                sync_folder(folder)
            digest = hashlib.sha256(content).hexdigest()
            entry = Entry(shard, tar_name(shard), digest, len(content), tuple(records), tuple(missing))
            write_text(path, json.dumps(vars(entry), ensure_ascii=False, allow_nan=False) + "\n")
        return entry_of(out, shard)


def committed(out: str | Path) -> set[int]:
    """The numbers of the shards that have an entry, from file names alone."""
    names = (path.name for path in (Path(out) / ENTRIES).glob("*/*.json"))
    return {int(match[1]) for name in names if (match := _ENTRY.fullmatch(name))}


def entry_of(out: str | Path, shard: int) -> Entry:
    """The entry of ``shard``; GenError where there is none, or none that can be trusted."""
    path = entry_path(out, shard)
    try:
        data = json.loads(path.read_bytes())
        entry = Entry(**{**data, "records": tuple(data["records"]), "missing": tuple(data["missing"])})
        if (entry.shard, entry.file) != (shard, tar_name(shard)) or not isinstance(entry.bytes, int):
            raise ValueError("it does not describe this shard")
        if not all(is_record(record) and _ID.fullmatch(record["id"]) for record in entry.records):  # a file's name
            raise ValueError("a record is not one of ours")
        if not all(row.keys() >= {"number", "cell", "rejected"} for row in entry.missing):
            raise ValueError("a missing row is not one of ours")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise GenError(f"{path}: not readable as the entry of a shard ({error})") from error
    return entry


def entries(out: str | Path) -> Iterator[Entry]:
    """The entries of all committed shards in order, one at a time in memory."""
    for shard in sorted(committed(out)):
        yield entry_of(out, shard)


def read_shard(out: str | Path, entry: Entry) -> Iterator[tuple[Mapping[str, Any], dict[str, bytes]]]:
    """Each record of a shard with its members by extension: "png", "<twin>.png", "json".

    GenError where the tar cannot be read, or is not what the entry says.
    """
    path = Path(out) / entry.file
    seen = 0
    try:
        with tarfile.open(path, "r:") as tar:
            samples = itertools.groupby(tar, key=lambda member: member.name.partition(".")[0])
            for record, sample in itertools.zip_longest(entry.records, samples):
                if record is None or sample is None:
                    raise ValueError("it has not the samples of its entry")
                key, members = sample
                content = {member.name.partition(".")[2]: _content(tar, member) for member in members}
                if key != record["id"]:
                    raise ValueError(f"it holds {key} in the place of {record['id']}")
                if hashlib.sha256(content.get("png", b"")).hexdigest() != record["sha256"]:
                    raise ValueError(f"the image {key} is not the one of its record")
                seen += 1
                yield record, content
    except (OSError, tarfile.TarError, ValueError) as error:
        reason = f"{error}; after {seen} of {len(entry.records)} samples"
        raise GenError(
            f"{path}: damaged ({reason})", hint="run the same `gen dataset make` again: it makes it anew"
        ) from error


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    if stream is None:
        raise ValueError(f"{member.name} is not a file")
    return stream.read()


# After damage


def damage_of(out: str | Path, shard: int, *, hashed: bool) -> str | None:
    """What is wrong with a committed shard, in a line: its entry, the size of its tar or, if ``hashed``, its bytes."""
    try:
        entry = entry_of(out, shard)
        path = Path(out) / entry.file
        size = path.stat().st_size
        if size != entry.bytes:
            return f"{path}: {size} bytes, and its entry says {entry.bytes}"
        if hashed and sha256_file(path) != entry.sha256:
            return f"{path}: content differs from its hash"
    except GenError as error:
        return str(error)
    except OSError as error:
        return f"{Path(out) / tar_name(shard)}: {error.strerror}"
    return None


def damaged(out: str | Path, among: Container[int], *, hashed: bool = True) -> list[int]:
    """The committed shards ``among`` those that are not whole any more; ``hashed`` reads every byte."""
    return [shard for shard in sorted(committed(out)) if shard in among and damage_of(out, shard, hashed=hashed)]


def withdraw(out: str | Path, shard: int, *, whole: bool = False) -> bool:
    """Move the entry of a damaged ``shard`` to run/withdrawn, so that it is made anew; returns whether it was moved.

    ``whole``: also that of one without damage, whose missing rows are to be tried further. With it goes _SUCCESS, so
    that what was made of the shards is made anew too. Where somebody else has made it anew in the meantime, nothing is
    done.
    """
    out, path = Path(out), entry_path(out, shard)
    with locked(out, shard, WHOLE):  # WHOLE, or `finish` might write the _SUCCESS that is taken away here
        if not path.exists() or not (whole or damage_of(out, shard, hashed=True)):
            return False
        withdrawn = out / RUN / "withdrawn"
        _make_folders(withdrawn)
        try:
            (out / SUCCESS).unlink(missing_ok=True)  # it vouches for what is no more
            path.replace(withdrawn / f"{path.stem}-{sha256_file(path)[:8]}.json")
        except OSError as error:
            raise GenError(f"cannot move {path}: {error.strerror}") from error
    return True


def summary(out: str | Path) -> dict[str, Any]:
    """What _SUCCESS says: the counts of shards, images and missing rows, and one hash.

    It is of dataset.json and all entries, and they have the hashes of the tars: so it vouches for every byte of them.
    """
    counts, total = {"shards": 0, "images": 0, "missing": 0}, hashlib.sha256((Path(out) / MARKER).read_bytes())
    for entry in entries(out):
        total.update(entry_path(out, entry.shard).read_bytes())
        counts["shards"] += 1
        counts["images"] += len(entry.records)
        counts["missing"] += len(entry.missing)
    return {**counts, "sha256": total.hexdigest()}


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GenError(f"cannot make the folder {folder}: {error.strerror}") from error
