"""Files of indexes, columns and codes, changed at random with matching checksums: a typed error, or an intact object.

Each loader runs in a process of its own, with 1 GB of memory to spare: a crash, a hang or a huge allocation is seen.
"""

import subprocess
import sys
from pathlib import Path

import pytest

PRELUDE = """
import io, json, os, random, resource, signal, struct, sys, zipfile, zlib
from pathlib import Path
import numpy as np
from theodolite import CorruptionError, Retriever
from theodolite.engines.local.derived.index_record import _parsed, read_rows
from theodolite.engines.local.derived.columns import column_files
from theodolite.engines.local.storage.folder import Folder
from theodolite.indexes.flat import codes as module
from theodolite.indexes.hnsw import HnswIndex
from theodolite.types import Space
from theodolite.vectors.prepare import prepare

place = Path(sys.argv[1])
folder = Folder(place)
draw = random.Random(7)
used = int(open("/proc/self/statm").read().split()[0]) * 4096 if os.path.exists("/proc/self/statm") else 4 << 30
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
signal.alarm(120)

def changed(data, keep=0):
    data = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 5))):
        at = draw.randrange(keep, len(data))
        match draw.randrange(5):
            case 0: data[at] ^= 1 << draw.randrange(8)
            case 1: data[at] = draw.choice((0, 1, 127, 128, 255))
            case 2: data[at : at + 8] = struct.pack("<Q", draw.choice((0, 1, 1 << 31, 1 << 40, (1 << 63) - 1)))
            case 3: del data[at:]
            case 4: data += bytes(draw.randrange(200))
        if len(data) <= keep: data += bytes(keep + 1 - len(data))
    return bytes(data)

def tried(count, load):
    taken = 0
    for _ in range(count):
        try:
            load()
            taken += 1
        except (CorruptionError, OSError):
            pass
    print(taken, "of", count)
"""

GRAPH = """
space = Space("cosine", 8)
vectors, space = prepare(np.random.default_rng(0).standard_normal((200, 8)), space)
index = HnswIndex(M=3, ef_construction=20)
index.build(vectors, space)
index.save(place / "native")
good = (place / "native").read_bytes()
def load():
    (place / "native").write_bytes(changed(good))
    other = HnswIndex(M=3, ef_construction=20)
    other.load(place / "native", space)
    for query in vectors[:20]:
        other.propose(query[None], 10)
tried(3000, load)
"""

CODES_GRAPH = """
from theodolite.indexes.symqg import SymqgIndex
space = Space("cosine", 70)
vectors, space = prepare(np.random.default_rng(0).standard_normal((200, 70)), space)
index = SymqgIndex(ef_construction=40)
index.build(vectors, space)
index.save(place / "native")
good = (place / "native").read_bytes()
links = np.arange(200)[:, None] * ((len(good) - 58 - 384 - 48) // 200) + (58 + 384 + (len(good) - 490) // 200 - 128)
def load():
    data = bytearray(changed(good))
    if draw.randrange(4) == 0:  # links to other rows that exist, also to the row itself or twice to the same
        data = bytearray(good)
        for at in links.ravel().tolist():
            data[at + 4 * draw.randrange(32)] = draw.randrange(200)
    (place / "native").write_bytes(data)
    other = SymqgIndex(ef_construction=40)
    other.load(place / "native", space)
    for query in vectors[:20]:
        found = other.propose(query[None], 150)
        assert len(np.unique(found)) == len(found) and (found < 200).all()
tried(500, load)
"""

ROWS = """
np.save(place / "rows.npy", np.arange(0, 2000, 2))
good = (place / "rows.npy").read_bytes()
def load():
    (place / "rows.npy").write_bytes(changed(good))
    rows = read_rows(folder, "rows.npy")
    assert rows.dtype == np.int64 and (np.diff(rows) > 0).all()
tried(3000, load)
header = lambda shape, kind: str({"descr": kind, "fortran_order": False, "shape": shape})
huge = [((1 << 60,), "<i8"), ((1 << 40, 8), "<i8"), ((1,), "<U99999999")]
for shape, kind in [*huge, ((3,), "|O"), ((-1,), "<i8"), ((), "<f8")]:
    text = header(shape, kind).encode().ljust(117) + b"\\n"
    (place / "rows.npy").write_bytes(b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(text)) + text + bytes(16))
    try:
        read_rows(folder, "rows.npy")
        raise SystemExit(f"{shape} {kind} was taken")
    except CorruptionError:
        pass
"""

COLUMNS = """
kb = Retriever.open(place / "kb")
values = [None, 1, 2.5, True, "text", "2026-01-01", ["a", 1], [], {"x": 1}, 1 << 80]
documents = [{"id": str(n), "text": "t", "metadata": {"f": values[n % len(values)], "g": n}} for n in range(40_000)]
documents += []
kb.add(documents, vectors=np.ones((40_000, 2)), batch_size=None)
kb.count({"f": "text", "g": {"$lt": 3}})
columns = Folder(place / "kb" / "columns-1")
for name in columns.names():
    body = (place / "kb" / "columns-1" / name).read_bytes()[12:]
    archive = zipfile.ZipFile(io.BytesIO(body))
    parts = {each: archive.read(each) for each in archive.namelist()}
    small = {each for each in parts if len(parts[each]) < 4096}
    def write(body):
        (place / "c").write_bytes(b"theocol2" + zlib.crc32(body).to_bytes(4, "little") + body)
    def load():
        if draw.randrange(2):
            write(changed(body))
        else:  # one array, in a file that is whole otherwise
            buffer = io.BytesIO()
            which = draw.choice(sorted(small if draw.randrange(3) else parts))
            with zipfile.ZipFile(buffer, "w") as out:
                for each, data in parts.items():
                    out.writestr(each, changed(data, 64) if each == which else data)
            write(buffer.getvalue())
        _, _, segment = column_files.read_file(folder, "c")
        segment.dictionary.values()
    write(body)
    column_files.read_file(folder, "c")
    tried(250, load)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("codes.npy", bytes(1 << 26))
    write(packed.getvalue())
    try:
        column_files.read_file(folder, "c")
        raise SystemExit("a packed file was taken")
    except CorruptionError:
        pass
kb.close()
"""

CODES = """
codes = module.quantize(prepare(np.random.default_rng(0).standard_normal((500, 16)), Space("cosine", 16))[0])
with (place / "c").open("wb") as file:
    module.save_codes(file, codes, 0, b"o" * 16)
good = (place / "c").read_bytes()
head = module._HEADER
def load():
    data = bytearray(changed(good))
    if len(data) >= head.size:
        fields = list(head.unpack_from(data))
        fields[-1] = zlib.crc32(data[head.size :], zlib.crc32(module._fields(*fields[1:-1])))
        head.pack_into(data, 0, *fields)
    (place / "c").write_bytes(data)
    with (place / "c").open("rb") as file:
        module.load_codes(file, 0, 500, 16, b"o" * 16)
tried(1500, load)
(place / "c").open("r+b").truncate(1 << 40)  # a file with a hole
with (place / "c").open("rb") as file:
    try:
        module.load_codes(file, 0, 500, 16, b"o" * 16)
        raise SystemExit("a file of a terabyte was taken")
    except CorruptionError:
        pass
"""

RECORD = """
good = {
    "spec": "hnsw:M=16,ef_construction=200,ef_search=0", "target_recall": 0.99, "generation": 1, "files": 1,
    "hashes": {"native": "0" * 64, "rows.npy": "0" * 64}, "covered": 10, "stop": 12,
    "calibration": {"target_recall": 0.99, "k": 10, "n": 40, "rescored": 20, "recall": 1.0, "lower": 0.99,
        "queries": 100, "kind": "noise", "ladder": [{"n": 10, "recall": 0.5, "lower": 0.4}],
        "longer": [100, 200, 150], "filtered": None},
}
assert _parsed(json.dumps(good)).covered == 10
wrong = (None, -1, 1.5, 1 << 70, "x", "x" * 100_000, [], [1], {}, {"a": 1}, True, float("nan"), [[]] * 3)
def load():
    record = json.loads(json.dumps(good))
    part = record if draw.randrange(2) else record[draw.choice(("hashes", "calibration"))]
    if draw.randrange(8):
        part[draw.choice(sorted(part))] = draw.choice(wrong)
    elif draw.randrange(2):
        part["foreign"] = 1
    else:
        del part[draw.choice(sorted(part))]
    found = _parsed(json.dumps(record))
    assert 0 <= found.covered <= found.stop and isinstance(found.spec, str)
    if found.calibration:
        assert found.measured().needed(10)[0] > 0 and found.measured().proven in (True, False)
        assert found.measured().filters in (True, False)
tried(3000, load)
for text in ("[" * 100_000, "null", "[]", "1", '"x"', "{", "9" * 10_000, '{"spec": "flat", "target_recall": 1e999}'):
    try:
        _parsed(text)
        raise SystemExit(f"{text:.20} was taken")
    except CorruptionError:
        pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are POSIX")
@pytest.mark.parametrize(
    "code",
    [GRAPH, CODES_GRAPH, ROWS, COLUMNS, CODES, RECORD],
    ids=["hnsw", "symqg", "rows", "columns", "codes", "record"],
)
def test_changed_files_raise_or_load(code: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PRELUDE + code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr[-4000:]
