"""Transforms alone: their results, bit for bit and beside numpy, and invalid settings."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sampling import sampled

from theodolite import Center, ConfigError, ManifestError, Pca, Truncate, VectorError, Whiten
from theodolite.types import Space
from theodolite.vectors.metrics import MetricName
from theodolite.vectors.prepare import prepare
from theodolite.vectors.transforms import (
    Fitted,
    check_chain,
    check_same,
    check_transforms,
    decode_transform,
    encode_transform,
    fit,
)

Doubles = NDArray[np.float64]

D = 24
CHAINS: tuple[tuple[Any, ...], ...] = (
    (Truncate(7),),
    (Center(),),
    (Pca(9),),
    (Pca(D),),
    (Whiten(),),
    (Whiten(5),),
    (Center(), Pca(6)),
    (Truncate(16), Center(), Whiten(4)),
    (Pca(12), Truncate(3)),
)
METRICS: tuple[MetricName, ...] = ("cosine", "dot", "l2")


def drawn(seed: int, rows: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Rows that vary more in some directions than in others, around a mean that is not zero."""
    draw = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((D, D)) * np.geomspace(1, 0.05, D)
    rows_: Doubles = scale * (draw.standard_normal((rows, D)) @ mixing + np.linspace(0.2, 1.5, D))
    return rows_.astype(np.float32)


def unit(vectors: Doubles) -> Doubles:
    scaled: Doubles = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def directions(sample: Doubles, d: int | None) -> tuple[Doubles, Doubles]:
    """The first right singular vectors, (D, d), the largest component of each positive; and the singular values."""
    _, values, found = np.linalg.svd(sample, full_matrices=False)
    signs = np.sign(found[np.arange(len(found)), np.abs(found).argmax(axis=1)])
    kept: Doubles = (found * signs[:, None])[:d].T
    return kept, values[:d]


def oracle(chain: Sequence[Any], sample: Doubles, rows: Doubles) -> Doubles:
    """The chain fitted on `sample` and applied to `rows`, in float64, by the formulas of textbooks (and sklearn)."""
    for each in chain:
        mean = sample.mean(axis=0)
        match each:
            case Truncate(d):
                sample, rows = sample[:, :d], rows[:, :d]
            case Center():
                sample, rows = sample - mean, rows - mean
            case Pca(d):
                kept, _ = directions(sample, d)
                sample, rows = sample @ kept, rows @ kept
            case Whiten(d):
                kept, values = directions(sample - mean, d)
                kept = kept / values * np.sqrt(len(sample) - 1)
                sample, rows = (sample - mean) @ kept, (rows - mean) @ kept
    return rows


def metric_of(chain: Sequence[Any], metric: MetricName) -> MetricName:
    """Cosine instead of dot if a mean is subtracted."""
    return "cosine" if metric == "dot" and any(isinstance(each, Center | Whiten) for each in chain) else metric


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_against_float64(chain: tuple[Any, ...], metric: MetricName) -> None:
    metric = metric_of(chain, metric)
    sample, others = drawn(1, 500), drawn(2, 60)
    stored, space = prepare(sample, Space(metric, norms="any", transforms=chain))
    found, after = prepare(others, space)
    assert after == space
    wide, rows = sample.astype(np.float64), others.astype(np.float64)
    if metric == "cosine":
        wide, rows = unit(wide), unit(rows)
    for got, raw in ((stored, wide), (found, rows)):
        expected = oracle(chain, wide, raw)
        # The cost of rounding to float32, on the way in and by the matrix, where it is stretched most.
        bound = 1e-6 * np.linalg.norm(raw, axis=1).max() * np.prod([each.gain for each in space.transforms])
        if metric == "cosine":
            bound /= np.linalg.norm(expected, axis=1).min()
            expected = unit(expected)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        assert got.shape == (len(raw), space.dimension)
        np.testing.assert_allclose(got, expected, rtol=0, atol=bound)
    assert space.raw_dimension == D


@settings(max_examples=sampled(60), deadline=None)
@given(
    chain=st.sampled_from(CHAINS),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-30, 1e-5, 1.0, 3.7, 1e12]),
    data=st.data(),
)
def test_a_row_does_not_depend_on_its_neighbors(
    chain: tuple[Any, ...], metric: MetricName, seed: int, scale: float, data: st.DataObject
) -> None:
    """To the bit: alone, in any part of a batch, in any order, from any layout."""
    rows = drawn(seed, 200, scale)
    stored, space = prepare(rows, Space(metric_of(chain, metric), norms="any", transforms=chain))
    start = data.draw(st.integers(0, 199))
    stop = data.draw(st.integers(start + 1, 200))
    order = np.random.default_rng(seed).permutation(200)
    for part in (slice(start, stop), slice(start, start + 1), slice(None, None, -3), order):
        assert np.array_equal(prepare(rows[part], space)[0], stored[part])
    assert np.array_equal(prepare(np.asfortranarray(rows), space)[0], stored)
    assert np.array_equal(prepare(rows.astype(np.float64)[start:stop].tolist(), space)[0], stored[start:stop])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12])
def test_no_order_of_addition_matters(scale: float) -> None:
    """Sums of products are exact, also if all are positive, which makes sums largest, and if permuted."""
    draw = np.random.default_rng(8)
    rows = np.abs(draw.standard_normal((50, 1500))).astype(np.float32) * np.float32(scale)
    matrix = np.abs(draw.standard_normal((1500, 3))) * [1, 1e-9, 1e9]
    order = draw.permutation(1500)
    one = Fitted(Pca(3), 1500, matrix=matrix.astype(np.float32))
    two = Fitted(Pca(3), 1500, matrix=matrix.astype(np.float32)[order])
    product = one.apply(rows)
    assert np.array_equal(product, two.apply(rows[:, order]))
    assert np.array_equal(product[:1], one.apply(rows[:1]))
    np.testing.assert_allclose(product, rows.astype(np.float64) @ matrix, rtol=1e-6)


CHILD = """
import json, sys
from hashlib import sha256
import numpy as np
from theodolite.vectors.transforms import decode_transform
chain = [decode_transform(each) for each in json.load(sys.stdin)]
rows = np.random.default_rng(5).standard_normal((700, 384)).astype(np.float32)
parts = [rows, rows[:1], rows[:37]]
for fitted in chain:
    parts = [fitted.apply(part) for part in parts]
print([sha256(np.ascontiguousarray(part).tobytes()).hexdigest() for part in parts])
"""


@pytest.mark.thorough
def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    sample = np.random.default_rng(4).standard_normal((2000, 384))
    chain = fit([Center(), Pca(200)], sample, metric="l2")
    outputs = [
        subprocess.run(
            [sys.executable, "-c", CHILD],
            input=json.dumps([encode_transform(each) for each in chain]),
            env={
                "PYTHONPATH": ":".join(filter(None, sys.path)),
                "OPENBLAS_NUM_THREADS": threads,
                "OMP_NUM_THREADS": threads,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "4")
    ]
    assert outputs[0] == outputs[1] == outputs[2]


@pytest.mark.parametrize("metric", METRICS)
def test_all_of_pca_is_an_isometry(metric: MetricName) -> None:
    rows = drawn(3, 300)
    rotated, _ = prepare(rows, Space(metric, norms="any", transforms=(Pca(D),)))
    plain, _ = prepare(rows, Space(metric, norms="any"))
    assert not np.allclose(rotated, plain, atol=0.1)
    products = plain.astype(np.float64) @ plain.T.astype(np.float64)
    rotated_products = rotated.astype(np.float64) @ rotated.T.astype(np.float64)
    np.testing.assert_allclose(rotated_products, products, atol=1e-5 * np.abs(products).max())


def test_centring_keeps_distances_and_changes_cosines() -> None:
    rows = drawn(3, 300)
    moved = prepare(rows, Space("l2", transforms=(Center(),)))[0].astype(np.float64)
    distances = np.linalg.norm(rows[:, None].astype(np.float64) - rows[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(moved[:, None] - moved[None], axis=2), distances, atol=1e-5)
    centered = prepare(rows, Space("cosine", transforms=(Center(),)))[0]
    cosines = prepare(rows, Space("cosine"))[0] @ prepare(rows, Space("cosine"))[0].T
    assert np.abs(centered @ centered.T - cosines).max() > 0.5


def test_pca_keeps_dot_products_better_than_any_other_directions() -> None:
    rows = drawn(3, 400).astype(np.float64)
    exact = rows @ rows.T

    def loss(kept: Doubles) -> float:
        return float(np.linalg.norm(kept @ kept.T - exact))

    kept = prepare(rows, Space("dot", norms="any", transforms=(Pca(6),)))[0].astype(np.float64)
    for seed in range(20):
        basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, 6)))[0]
        assert loss(kept) < loss(rows @ basis)
    assert loss(kept) < loss(rows[:, :6])


def test_whitened_vectors_have_variance_one() -> None:
    rows = prepare(drawn(3, 3000), Space("l2", transforms=(Whiten(8),)))[0].astype(np.float64)
    np.testing.assert_allclose(np.cov(rows.T), np.eye(8), atol=1e-5)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)


def test_a_mean_far_away_costs_no_precision() -> None:
    rows = drawn(3, 300).astype(np.float64) + 1e6
    moved, _ = prepare(rows, Space("l2", transforms=(Center(), Pca(D))))
    expected = rows.astype(np.float32) - rows.astype(np.float32).astype(np.float64).mean(axis=0)
    distances = np.linalg.norm(moved.astype(np.float64)[:, None] - moved.astype(np.float64)[None], axis=2)
    np.testing.assert_allclose(distances, np.linalg.norm(expected[:, None] - expected[None], axis=2), atol=1e-5)


def test_unit_vectors_of_a_dot_collection_stay_unit() -> None:
    rows = unit(drawn(3, 300).astype(np.float64))
    kept, space = prepare(rows, Space("dot", transforms=(Center(), Truncate(5))))
    assert space.norms == "unit"
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)
    with pytest.raises(
        VectorError, match="1 of 1 vectors have norms outside"
    ):  # of what is given, not of what comes out
        prepare(2 * rows[:1], space)
    plain = prepare(rows, Space("l2", norms="unit", transforms=(Truncate(5),)))[0]
    np.testing.assert_allclose(plain, rows[:, :5], atol=1e-6)  # distances are left as they are


def test_fitting_is_repeatable_and_signs_are_fixed() -> None:
    rows = drawn(3, 300)
    one, two = Pca(10).fit(rows), Pca(10).fit(rows.copy())
    assert one == two
    assert hash(one) == hash(two)
    assert one.hash == two.hash
    assert one != Pca(10).fit(drawn(4, 300))
    assert one != Pca(11).fit(rows)
    assert one != Pca(10)
    flipped = Pca(10).fit(-rows)
    assert one.matrix is not None
    assert flipped.matrix is not None
    np.testing.assert_allclose(one.matrix, flipped.matrix, atol=1e-6)
    largest = np.abs(one.matrix).argmax(axis=0)
    assert (one.matrix[largest, np.arange(10)] > 0).all()
    np.testing.assert_allclose(one.matrix.T @ one.matrix, np.eye(10), atol=1e-6)


def test_a_large_first_batch_is_sampled_evenly() -> None:
    rows = np.repeat(drawn(3, 100), 410, axis=0)  # sorted: the first part alone is of few kinds
    found = fit([Center()], rows, metric="l2")[0]
    assert found.mean is not None
    np.testing.assert_allclose(found.mean, rows.mean(axis=0, dtype=np.float64), atol=0.01)


def test_fitted_beforehand_is_what_the_first_batch_would_fit() -> None:
    rows = drawn(3, 300)
    by_batch = prepare(rows, Space("cosine", transforms=(Center(), Pca(5))))[1].transforms
    beforehand = fit([Center(), Pca(5)], rows)
    assert beforehand == by_batch
    (pinned, space) = prepare(drawn(4, 3), Space("cosine", transforms=beforehand))
    assert space == Space("cosine", 5, "any", by_batch)
    assert np.array_equal(pinned, prepare(drawn(4, 3), Space("cosine", 5, "any", by_batch))[0])


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_written_and_read(chain: tuple[Any, ...]) -> None:
    for each in (*chain, *fit(chain, drawn(3, 300))):
        again = decode_transform(json.loads(json.dumps(encode_transform(each))))
        assert again == each
        assert repr(again) == repr(each)
        if isinstance(each, Fitted):
            assert np.array_equal(
                again.apply(drawn(5, 9)[:, : each.input_dimension]), each.apply(drawn(5, 9)[:, : each.input_dimension])
            )


def test_what_is_written_is_checked_by_its_hash() -> None:
    values = encode_transform(Whiten(5).fit(drawn(3, 300)))
    changes: dict[str, Any] = {
        "name": "Pca",
        "d": 4,
        "entered": 23,
        "mean": values["mean"][:8] + ("A" if values["mean"][8] != "A" else "B") + values["mean"][9:],
        "matrix": None,
        "sha256": "0" * 64,
    }
    assert set(changes) == set(values)
    for name, changed in changes.items():
        with pytest.raises(ManifestError, match="does not match its hash"):
            decode_transform({**values, name: changed})
    with pytest.raises(ManifestError):
        decode_transform({name: value for name, value in values.items() if name != "sha256"})
    with pytest.raises(ManifestError):
        decode_transform({**encode_transform(Pca(5)), "d": 6})


@pytest.mark.parametrize("kind", [Truncate, Pca, Whiten])
@pytest.mark.parametrize("wrong", [0, -1, True, False, 1.5, "64", np.float32(3)])
def test_wrong_dimensions(kind: Any, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\(.*the dimension to keep must be an integer"):
        kind(wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    assert Pca(np.int64(5)) == Pca(5)  # type: ignore[arg-type]  # callers take it from a shape
    assert repr([Pca(np.int64(5)), Center(), Whiten(), Whiten(3)]) == "[Pca(5), Center(), Whiten(), Whiten(3)]"  # type: ignore[arg-type]  # the same


def test_what_is_no_list_of_transforms() -> None:
    for wrong, message in (
        (Pca(3), "expected a list such as"),
        ("pca", "expected a list such as"),
        (5, "expected a list such as"),
        (None, "expected a list such as"),
        ([Center], r"transforms\[0\] is <class"),
        ([Center(), "pca"], r"transforms\[1\] is 'pca'"),
        ([Center(), Pca(4), Center()], "Center twice, at places 0 and 2"),
        ([Truncate(8), Pca(9)], r"Pca\(9\) keeps 9 dimensions, but vectors have only 8 there"),
        ([Pca(4).fit(drawn(1, 99)), Truncate(5)], r"Truncate\(5\) keeps 5 dimensions, but vectors have only 4"),
        ([Truncate(5), Pca(4).fit(drawn(1, 99))], r"Pca\(4\) was fitted for 24 dimensions, but vectors have 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_transforms(wrong, "cosine", "auto")
    assert check_transforms(iter([Truncate(9), Center(), Pca(4)]), "cosine", "auto") == (Truncate(9), Center(), Pca(4))
    with pytest.raises(ConfigError, match=r"Truncate\(99\) keeps 99"):
        check_chain([Center(), Truncate(99)], D)


def test_more_dimensions_than_there_are() -> None:
    for chain in ((Truncate(D + 1),), (Pca(D + 1),), (Whiten(D + 1),), (Center(), Pca(D + 1))):
        with pytest.raises(ConfigError, match="keeps 25 dimensions, but vectors have only 24"):
            prepare(drawn(1, 500), Space("cosine", transforms=chain))


def test_no_mean_is_taken_off_dot_products_of_any_length() -> None:
    for each in (Center(), Whiten(3)):
        with pytest.raises(
            ConfigError, match=rf"{each!r}".replace("(", r"\(").replace(")", r"\)") + " subtracts a mean"
        ):
            check_transforms([each], "dot", "any")
        with pytest.raises(ConfigError, match="subtracts a mean"):  # found out by the first batch
            prepare(drawn(1, 500), Space("dot", transforms=(each,)))
    prepare(drawn(1, 500), Space("dot", transforms=(Pca(4),)))


@pytest.mark.parametrize(("each", "wanted"), [(Center(), 16), (Pca(4), 16), (Whiten(5), 20), (Whiten(), 96)], ids=repr)
def test_too_few_rows_to_fit_on(each: Any, wanted: int) -> None:
    with pytest.raises(
        VectorError, match=rf"It has {wanted - 1} vectors; it needs at least {wanted}.*batch_size={wanted}"
    ) as raised:
        prepare(drawn(1, wanted - 1), Space("cosine", transforms=(each,)))
    assert (raised.value.expected, raised.value.got) == (wanted, wanted - 1)
    prepare(drawn(1, wanted), Space("cosine", transforms=(each,)))
    with pytest.raises(VectorError, match="no vectors to fit"):
        each.fit(np.empty((0, D)))
    with pytest.raises(VectorError, match="NaN"):
        each.fit(np.full((200, D), np.nan))


def test_truncation_needs_no_rows() -> None:
    assert prepare(drawn(1, 1), Space("cosine", transforms=(Truncate(3),)))[1].dimension == 3
    nothing, space = prepare(np.empty((0, D)), Space("cosine", transforms=(Truncate(3),)))
    assert len(nothing) == 0
    assert space == Space("cosine", transforms=(Truncate(3),))


def test_whitening_what_does_not_vary() -> None:
    flat = drawn(1, 500)
    flat[:, 7:] = flat[:, :1]
    with pytest.raises(VectorError, match=r"vary in 7 directions; it needs 24.*Whiten\(7\)"):
        prepare(flat, Space("l2", transforms=(Whiten(),)))
    prepare(flat, Space("l2", transforms=(Whiten(7),)))
    with pytest.raises(VectorError, match="vary in 0 directions"):
        prepare(np.ones((500, D)), Space("l2", transforms=(Whiten(),)))


def test_nothing_is_left_after_a_transform() -> None:
    rows = drawn(1, 500)
    rows[3, :5] = 0
    with pytest.raises(
        VectorError, match=r"1 of 500 vectors have nothing left after Truncate\(5\).*row 3 \(document 'd3'\)"
    ):
        prepare(rows, Space("cosine", transforms=(Truncate(5),)), ids=[f"d{i}" for i in range(500)])
    prepare(rows, Space("l2", transforms=(Truncate(5),)))  # zero is a place like others there
    mean = unit(drawn(1, 1).astype(np.float64))
    space = Space("cosine", 9, "any", (Fitted(Center(), D, mean[0]), Fitted(Truncate(9), D)))
    rows = np.concatenate([3 * mean, drawn(2, 1), mean])  # as far as rounding goes, the mean is of no direction
    with pytest.raises(VectorError, match=r"2 of 3 queries have nothing left after Center\(\), .* row 0"):
        prepare(rows, space, name="queries")
    whiten = Whiten().fit(drawn(1, 500))
    assert whiten.gain > 100  # and so is what rounding leaves of the mean
    assert whiten.mean is not None
    space = Space("cosine", D, "any", (Fitted(Whiten(), D, unit(whiten.mean[None])[0], whiten.matrix),))
    with pytest.raises(VectorError, match=r"1 of 1 vectors have nothing left after Whiten\(\)"):
        prepare([whiten.mean], space)
    with pytest.raises(VectorError, match="20 of 20 vectors have nothing left"):
        prepare(np.repeat(drawn(2, 1), 20, axis=0), Space("cosine", transforms=(Center(),)))


def test_too_long_after_whitening() -> None:
    sample = drawn(1, 500, 1e-6)
    space = prepare(sample, Space("l2", transforms=(Whiten(),)))[1]
    with pytest.raises(VectorError, match="1 of 2 vectors after the transforms are longer than 1e"):
        prepare(np.stack([sample[0], np.full(D, 1e17)]), space)


def test_vectors_that_look_transformed_already() -> None:
    stored, space = prepare(drawn(1, 500), Space("cosine", transforms=(Center(), Pca(6))))
    with pytest.raises(
        VectorError, match=r"dimension 6; the collection has 24. They look as if \[Center\(\), Pca\(6\)\]"
    ):
        prepare(stored[:2], space)
    with pytest.raises(VectorError, match=r"dimension 7; the collection has 24\. Was another"):
        prepare(drawn(1, 2)[:, :7], space)
    again, _ = prepare(stored, space.stored)
    np.testing.assert_allclose(again, stored, atol=1e-7)


def test_what_is_the_same() -> None:
    pinned, other = fit([Center(), Pca(4)], drawn(1, 99)), fit([Center(), Pca(4)], drawn(2, 99))
    check_same(pinned, pinned)
    check_same(pinned, (Center(), Pca(4)))
    check_same((Center(), Pca(4)), pinned)
    for asked in ((Center(),), (Pca(4), Center()), (Center(), Pca(5)), other, (pinned[0], other[1]), ()):
        with pytest.raises(ConfigError, match=r"pinned to transforms=\[Center\(\) fitted as [0-9a-f]{8}, Pca"):
            check_same(pinned, asked)
    with pytest.raises(ConfigError, match=r"pinned to no transforms, not transforms=\[Center\(\)\]"):
        check_same((), (Center(),))
