"""Blocks: the codes' bounds hold, and a damaged file of codes is never taken for a good one."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from theodolite.errors import CorruptionError
from theodolite.indexes.flat.codes import (
    BLOCK,
    GROUP,
    NARROW,
    WIDE,
    Block,
    Codes,
    compressed,
    group_count,
    nibbles,
    quantize,
    query_halves,
    rotation,
    unpacked,
)
from theodolite.indexes.flat.codes import load_codes as load_open_codes
from theodolite.indexes.flat.codes import save_codes as save_open_codes

OWNER = bytes(range(16))
HEADER = 60
ROTATED = 48  # the byte that says whether the codes are rotated; then 7 unused ones

# The rounding error of float32 sums, which the index adds to the bounds itself.
SLACK = 16 * 2.0**-24

Floats = NDArray[np.float32]


def drawn(seed: int, n: int, d: int, outliers: bool = False, exponent: float = 0.0, spread: float = 0.0) -> Floats:
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((n, d)) + draw.standard_normal(d)
    if outliers:
        rows[:, : max(1, d // 100)] *= 50
    rows *= 10.0 ** (exponent + draw.uniform(-spread, spread, (n, 1)))
    return rows.astype(np.float32)


def steps(codes: Codes) -> NDArray[np.float64]:
    """c for every row."""
    if codes.bits == WIDE:
        return codes.codes.astype(np.float64)
    return unpacked(codes.codes)[:, : len(codes.center)].astype(np.float64) - 7.5


def decoded(codes: Codes) -> NDArray[np.float64]:
    """s·Rᵀc for every row."""
    levels = steps(codes) * np.tile(codes.scale, GROUP)[: len(codes.codes), None].astype(np.float64)
    return levels @ rotation(levels.shape[1]).astype(np.float64) if codes.rotated else levels


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    d=st.sampled_from((1, 2, 3, 16, 33, 100, 384)),
    outliers=st.booleans(),
    exponent=st.floats(-25, 16),
    spread=st.sampled_from((0.0, 0.0, 2.0, 6.0)),
    bits=st.sampled_from((NARROW, WIDE)),
)
def test_bounds_hold_in_float64(
    seed: int, n: int, d: int, outliers: bool, exponent: float, spread: float, bits: int
) -> None:
    vectors = drawn(seed, n, d, outliers, max(exponent - spread, -30), spread if exponent < 10 else 0.0)
    codes = quantize(vectors, bits)
    if bits == WIDE:
        assert codes.codes.shape == (n, d)
        assert codes.codes.dtype == np.int8
        assert codes.codes.min() >= -127
    else:
        assert codes.codes.shape == (n, (d + -d % 64) // 2)
        assert codes.codes.dtype == np.uint8
    groups = group_count(n)
    assert codes.scale.shape == (groups,)
    assert codes.bounds.shape == (3, groups)
    assert codes.square.shape == (n,)

    v = vectors.astype(np.float64) - codes.center.astype(np.float64)
    approximate = decoded(codes)
    residual, length, norm = codes.bounds.astype(np.float64)[:, np.arange(n) % groups]
    size = np.linalg.norm(v, axis=1)
    left = v - approximate
    assert (np.linalg.norm(left, axis=1) <= residual + SLACK * size).all()
    coded = steps(codes) * np.tile(codes.scale, GROUP)[:n, None].astype(np.float64)
    assert (np.linalg.norm(coded, axis=1) <= length * (1 + 1e-7)).all()
    assert (size <= norm * (1 + 1e-7) + SLACK * size).all()
    assert (np.abs(codes.square - np.square(size)) <= SLACK * np.square(size) + 1e-44).all()

    # The formula of the module, for queries at random and for the worst: along what the code leaves of a row.
    queries = np.concatenate([np.random.default_rng(seed).standard_normal((3, d)), left[:3], v[:3]])
    for query in queries:
        turned = rotation(d).astype(np.float64) @ query if codes.rotated else query
        step = np.abs(turned).max() / 127 or 1.0
        hat = np.rint(turned / step) * step
        truth = v @ query
        bound = np.linalg.norm(query) * (residual + SLACK * size) + np.linalg.norm(turned - hat) * length * (1 + 1e-7)
        assert (np.abs(truth - coded @ hat) <= bound + SLACK * np.linalg.norm(query) * size).all()


@pytest.mark.parametrize(("bits", "share"), [(NARROW, 0.2), (WIDE, 0.02)])
@pytest.mark.parametrize("outliers", [False, True])
def test_bounds_are_tight(outliers: bool, bits: int, share: float) -> None:
    """Bounds twice as wide would be right as well, and twice as slow or worse."""
    vectors = drawn(1, 640, 200, outliers)
    codes = quantize(vectors, bits)
    assert codes.rotated == outliers
    v = vectors.astype(np.float64) - codes.center
    truth = np.linalg.norm(v - decoded(codes), axis=1).reshape(GROUP, -1).max(axis=0)
    assert (codes.bounds[0] <= 1.01 * truth).all()
    assert (truth <= share * np.linalg.norm(v, axis=1).reshape(GROUP, -1).max(axis=0)).all()


@pytest.mark.parametrize("bits", [NARROW, WIDE])
@pytest.mark.parametrize("outliers", [False, True])
def test_no_bound_could_be_smaller(bits: int, outliers: bool) -> None:
    """For the query along what the code leaves of a row, the error is the bound: one 1 % smaller would be wrong."""
    d = 96
    vectors = drawn(3, 200, d, outliers)
    codes = quantize(vectors, bits)
    v = vectors.astype(np.float64) - codes.center
    coded = steps(codes) * np.tile(codes.scale, GROUP)[: len(v), None].astype(np.float64)
    left = v - decoded(codes)
    turn = rotation(d).astype(np.float64) if codes.rotated else np.eye(d)
    for group in range(group_count(len(v))):
        rows = np.arange(group, len(v), group_count(len(v)))
        worst = rows[np.argmax(np.linalg.norm(left[rows], axis=1))]
        turned = turn @ left[worst]
        hat = np.rint(turned / np.abs(turned).max() * 127)  # a query that its code gives exactly
        query = turn.T @ hat
        error = v[worst] @ query - coded[worst] @ hat
        bound = np.linalg.norm(query) * codes.bounds[0, group]
        assert 0.99 * bound < error <= bound * (1 + 1e-6)


@pytest.mark.parametrize("d", [1, 2, 63, 64, 65, 192, 200, 384, 1000])
def test_products_of_halves_are_exact(d: int) -> None:
    """The formula of the module, in integers."""
    codes = quantize(drawn(4, 130, d), NARROW)
    block = Block(0, codes)
    for levels in (
        np.full(d, 127.0),
        np.full(d, -127.0),
        np.random.default_rng(d).integers(-127, 128, d).astype(float),
    ):
        for _ in range(3):  # of rows as they are, then of packed ones
            found = block.narrow_products(nibbles(query_halves(levels)))[0] - 7.5 * levels.sum()
            assert np.array_equal(found, steps(codes) @ levels)
    assert block.packed is not None


def test_full_blocks_have_4_bits_where_these_rule_out_enough() -> None:
    draw = np.random.default_rng(5)
    centers = draw.standard_normal((100, 200))
    clustered = centers[draw.integers(100, size=BLOCK)] + 0.3 * draw.standard_normal((BLOCK, 200))
    assert compressed(clustered.astype(np.float32)).bits == NARROW
    assert compressed(clustered[:-1].astype(np.float32)).bits == WIDE  # not full
    assert compressed(clustered[:, :64].astype(np.float32)).bits == WIDE  # short rows
    isotropic = draw.standard_normal((BLOCK, 384)).astype(np.float32)
    assert compressed(isotropic).bits == WIDE
    for odd in (np.zeros_like(isotropic), np.ones_like(isotropic), np.full_like(isotropic, 1e15)):
        assert compressed(odd).bits == WIDE


@pytest.mark.parametrize("bits", [NARROW, WIDE])
@pytest.mark.parametrize("d", [1, 2, 64, 300])
def test_equal_and_zero_rows(d: int, bits: int) -> None:
    for vectors in (np.zeros((5, d)), np.ones((70, d)), np.full((3, d), 1e-30), np.full((1, d), -7.0)):
        codes = quantize(vectors.astype(np.float32), bits)
        assert np.isfinite(codes.scale).all()
        assert np.isfinite(codes.bounds).all()
        assert (codes.scale > 0).all()
        v = vectors.astype(np.float32).astype(np.float64) - codes.center
        assert np.abs(v - decoded(codes)).max() <= max(1e-6 * np.abs(v).max(), 1.01e-30)


def test_rotation_is_orthogonal_and_fixed() -> None:
    for d in (1, 32, 100):
        turn = rotation(d).astype(np.float64)
        assert np.abs(turn @ turn.T - np.eye(d)).max() < 1e-6
        rotation.cache_clear()
        assert rotation(d).tobytes() == turn.astype(np.float32).tobytes()


def test_the_same_vectors_have_the_same_codes() -> None:
    vectors = drawn(2, 300, 64, outliers=True)
    assert equal(quantize(vectors), quantize(vectors.copy()))


def equal(one: Codes, other: Codes) -> bool:
    """Bit for bit."""
    for field in fields(Codes):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, int):
            if a != b:
                return False
        elif (a.dtype, a.shape, a.tobytes()) != (b.dtype, b.shape, b.tobytes()):
            return False
    return True


# Files.


def save_codes(path: Path, codes: Codes, start: int, owner: bytes) -> None:
    with path.open("wb") as file:
        save_open_codes(file, codes, start, owner)


def load_codes(path: Path, start: int, n: int, d: int, owner: bytes) -> Codes:
    with path.open("rb") as file:
        return load_open_codes(file, start, n, d, owner)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (3, 5), (63, 2), (64, 7), (65, 33), (1000, 100)])
@pytest.mark.parametrize("outliers", [False, True])
@pytest.mark.parametrize("bits", [NARROW, WIDE])
def test_what_was_saved_is_loaded(tmp_path: Path, n: int, d: int, outliers: bool, bits: int) -> None:
    codes = quantize(drawn(3, n, d, outliers), bits)
    assert codes.rotated == (outliers and d >= 100)
    path = tmp_path / "codes"
    save_codes(path, codes, 7 * n, OWNER)
    assert equal(load_codes(path, 7 * n, n, d, OWNER), codes)
    # Saving again replaces, also what is longer or damaged.
    path.write_bytes(b"x" * 10_000_000 if n == 1 else b"")
    save_codes(path, codes, 7 * n, OWNER)
    assert equal(load_codes(path, 7 * n, n, d, OWNER), codes)


@pytest.fixture(scope="module", params=[(False, WIDE), (True, WIDE), (False, NARROW)], ids=["plain", "rotated", "4bit"])
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A small file: its codes, its bytes, and a path to write to."""
    outliers, bits = request.param
    d = 40 if outliers else 5
    codes = quantize(drawn(4, 3, d, outliers=outliers), bits)
    assert codes.rotated is outliers
    path = tmp_path_factory.mktemp("sample") / "codes"
    save_codes(path, codes, 128, OWNER)
    return codes, path.read_bytes(), path


def load(path: Path, codes: Codes) -> Codes:
    return load_codes(path, 128, 3, len(codes.center), OWNER)


def test_every_flipped_bit_is_noticed(sample: Any) -> None:
    codes, raw, path = sample
    unnoticed = set()
    path.write_bytes(raw)
    with path.open("r+b", buffering=0) as file:
        for place, byte in enumerate(raw):
            for damaged in [byte ^ 1 << bit for bit in range(8)]:
                file.seek(place)
                file.write(bytes([damaged]))
                try:
                    back = load(path, codes)
                except CorruptionError:
                    continue
                # There are bits without a meaning; what is loaded must not differ for them.
                assert equal(back, codes)
                unnoticed.add(place)
            file.seek(place)
            file.write(bytes([byte]))
    assert equal(load(path, codes), codes)
    assert unnoticed <= set(range(ROTATED, ROTATED + 8))


def test_errors_name_the_rows(sample: Any) -> None:
    codes, raw, path = sample
    for damaged in (raw[:-1], b"other" + raw[5:], raw[:-1] + bytes([raw[-1] ^ 1])):
        path.write_bytes(damaged)
        with pytest.raises(CorruptionError, match=r"^the codes of rows "):
            load(path, codes)


def test_every_cut_and_every_tail_is_noticed(sample: Any) -> None:
    codes, raw, path = sample
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(CorruptionError):
            load(path, codes)
    for tail in (b"\0", b"\xff" * 4, raw):
        path.write_bytes(raw + tail)
        with pytest.raises(CorruptionError):
            load(path, codes)


def test_longer_damage_is_noticed(sample: Any) -> None:
    codes, raw, path = sample
    draw = np.random.default_rng(5)
    for _ in range(300):
        damaged = np.frombuffer(raw, np.uint8).copy()
        start = int(draw.integers(HEADER, len(raw)))
        part = damaged[start : start + int(draw.integers(1, 40))]
        before = part.copy()
        part[:] = draw.integers(256, size=len(part)) if draw.random() < 0.7 else 0
        if np.array_equal(part, before):
            continue
        path.write_bytes(damaged.tobytes())
        with pytest.raises(CorruptionError, match="checksum"):
            load(path, codes)


def test_codes_of_other_data_are_refused(sample: Any) -> None:
    codes, raw, path = sample
    path.write_bytes(raw)
    d = codes.codes.shape[1]
    others = [
        (128, 3, d, OWNER[::-1]),
        (128, 3, d, bytes(16)),
        (0, 3, d, OWNER),
        (129, 3, d, OWNER),
        (128, 2, d, OWNER),
        (128, 4, d, OWNER),
        (128, 3, d + 1, OWNER),
        (128, 3, d - 1, OWNER),
        (128, 1, 1, OWNER),
    ]
    for start, n, dimension, owner in others:
        with pytest.raises(CorruptionError):
            load_codes(path, start, n, dimension, owner)


def test_the_same_number_of_bytes_is_not_enough(tmp_path: Path) -> None:
    """Another shape whose file is as long."""
    path = tmp_path / "codes"
    codes = quantize(drawn(6, 3, 6))
    save_codes(path, codes, 0, OWNER)
    size = path.stat().st_size
    shapes = [
        (n, d)
        for n in range(1, 40)
        for d in range(1, 40)
        if HEADER + 4 * (d + 4 * group_count(n) + n) + n * d == size and (n, d) != (3, 6)
    ]
    assert shapes
    for n, d in shapes:
        with pytest.raises(CorruptionError):
            load_codes(path, 0, n, d, OWNER)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_raises() -> None:
    with pytest.raises(OSError, match="No space left"):
        save_codes(Path("/dev/full"), quantize(drawn(8, 1000, 50)), 0, OWNER)
