"""Findings about how the vectors lie: angles, neighbours, axes, and whether metrics agree."""

import math

from theodolite.auditing.facts import Facts
from theodolite.auditing.findings import Finding, Recommendation, Severity
from theodolite.auditing.geometry import TOP
from theodolite.vectors.metrics import Cosine

_NARROW, _COLLAPSED = 0.5, 0.95  # mean cosine
_FLAT, _WEAK = 0.1, 0.2  # contrast
_SAFE, _MILD, _GRAVE = 0.95, 0.55, 0.3  # overlap of the first ten


def ranking(facts: Facts) -> Finding | None:
    """Whether it matters which metric is taken."""
    near = facts.neighbours
    if near is None:
        return None
    shared = {"cosine_dot": near.cosine_dot, "cosine_l2": near.cosine_l2, "dot_l2": near.dot_l2}
    values = {**shared, "top": TOP, "queries": near.queries, "kind": near.kind}
    asked = f"{near.queries} {'given queries' if near.kind == 'given' else 'made-up queries'}"
    found = (
        f"of the first ten, cosine and dot product share {_tens(near.cosine_dot)}, cosine and L2 "
        f"{_tens(near.cosine_l2)}, dot product and L2 {_tens(near.dot_l2)} ({asked})"
    )
    metric = facts.metric
    by_distance = metric is not None and metric.by_distance
    low = near.cosine_l2 if by_distance else near.cosine_dot
    if low >= _SAFE:
        meaning = "Cosine and L2 rank alike." if by_distance else "Cosine and dot product rank alike."
        return Finding("ranking", "ok", found, meaning, "", values)
    lost = round(TOP * (1 - low))
    if metric is not None and metric.normalizes:
        meaning = f"Compared by {'dot product' if near.cosine_dot < _SAFE else 'L2'} they would rank otherwise."
        return Finding("ranking", "ok", found, meaning, "", values)
    if by_distance:
        meaning = f"About {lost} of ten results by L2 are not those that cosine finds: lengths have a say."
        advice = "Take cosine unless the lengths mean something."
        return Finding("ranking", "note" if low >= _MILD else "warning", found, meaning, advice, values)
    sizes = facts.scan.norms[facts.scan.usable]
    sizes.sort()
    short, long = float(sizes[len(sizes) // 20]), float(sizes[len(sizes) - 1 - len(sizes) // 20])
    meaning = (
        f"About {lost} of ten results by dot product are not those that cosine finds: it prefers long vectors, and "
        f"lengths go from {short:.3g} (5 %) to {long:.3g} (95 %)."
    )
    if low < _GRAVE:
        meaning += " Text models are trained for cosine; by dot product most of their answers would be wrong, and "
        meaning += "nothing would raise."
    severity: Severity = "note" if low >= _MILD else "warning"
    advice = f"Use metric={Cosine.name!r}, unless the model's card asks for the dot product."
    return Finding("ranking", severity, found, meaning, advice, values)


def anisotropy(facts: Facts) -> Finding | None:
    """Whether the vectors point all ways, or into a cone."""
    angles = facts.angles
    if angles is None:
        return None
    floor = 1 / math.sqrt(facts.dimension)
    levels = dict(zip(("p1", "p5", "p25", "p50", "p75", "p95", "p99"), angles.quantiles, strict=True))
    values = {
        "rows": angles.rows,
        "mean": angles.mean,
        "std": angles.std,
        **levels,
        "noise_floor": floor,
    }
    middle, high = f"{levels['p50']:.2f}", f"{levels['p99']:.2f}"
    found = (
        f"cosines between any two: mean {angles.mean:.3f}, 5 to 95 %: {levels['p5']:.3f} to {levels['p95']:.3f}; "
        f"of random directions 0 ± {floor:.3f}"
    )
    if angles.mean >= _COLLAPSED:
        meaning = (
            "Nearly all vectors point the same way: the differences that rank them are small beside what is common."
        )
        advice = (
            "Check that the texts differ and that the model is the right one; if so, subtract the mean on both sides."
        )
        return Finding("anisotropy", "warning", found, meaning, advice, values)
    if angles.mean >= _NARROW:
        meaning = "The vectors lie in a narrow cone, as those of some models do. Rankings are sound, but a cosine of "
        meaning += f"{middle} says nothing: it is that of two texts at random."
        advice = f"Set thresholds above {high}, or compare with these quantiles; do not carry them over from others."
        return Finding("anisotropy", "note", found, meaning, advice, values)
    meaning = f"Two texts at random have a cosine of about {middle}; one above {high} says something."
    return Finding("anisotropy", "ok", found, meaning, "", values)


def contrast(facts: Facts) -> Finding | None:
    """Whether the nearest is nearer than the rest."""
    near = facts.neighbours
    if near is None:
        return None
    values = {"nearest": near.nearest, "mean": near.mean, "contrast": near.contrast, "rows": near.rows}
    found = (
        f"the nearest other vector has a cosine of {near.nearest:.3f} (median of {near.rows}), the average one "
        f"{near.mean:.3f}: contrast {near.contrast:.2f}"
    )
    if near.contrast >= _WEAK:
        return Finding("contrast", "ok", found, "Neighbours stand out from the rest.", "", values)
    meaning = "The nearest vector is hardly nearer than any other: which one comes first is close to chance."
    advice = "Check that these are embeddings of the texts meant, by a model for retrieval; see dimension."
    return Finding("contrast", "warning" if near.contrast < _FLAT else "note", found, meaning, advice, values)


def dimension(facts: Facts) -> Finding | None:
    """How many directions are really used."""
    axes = facts.axes
    if axes is None:
        return None
    part = axes.participation
    values = {"rows": axes.rows, "participation": part, "components90": axes.for90, "components99": axes.for99}
    found = (
        f"effective dimension {part:.1f} of {facts.dimension:,} (participation ratio); 90 % of the variance in "
        f"{axes.for90:,} components, 99 % in {axes.for99:,}"
    )
    if part < 2.5 and facts.dimension >= 16:
        meaning = (
            "The vectors differ in hardly more than two directions, whatever their dimension: few things can be told "
        )
        meaning += "apart."
        advice = "Check the model and the texts. Is one dimension much larger than the others?"
        return Finding("dimension", "warning", found, meaning, advice, values)
    if axes.for99 <= facts.dimension // 2 and axes.rows > 2 * facts.dimension:
        meaning = "Fewer dimensions would do: what is left out holds 1 % of the variance."
        advice = (
            f"A projection to {axes.for99:,} principal components, on both sides, saves memory; measure the recall."
        )
        return Finding("dimension", "note", found, meaning, advice, values)
    return Finding("dimension", "ok", found, "The dimensions are used.", "", values)


def recommended(facts: Facts) -> Recommendation:
    """Metric and norms to open a collection with."""
    sizes = facts.sizes
    if facts.unit:
        return Recommendation(
            Cosine.name,
            "unit",
            "all are of unit length, so the metrics rank alike; cosine stays right if an embedder stops normalising, "
            "and norms='unit' refuses what it then gives",
        )
    if not len(sizes):
        return Recommendation(Cosine.name, "any", "the usual setting: there is no usable vector to judge by")
    reason = f"lengths go from {sizes.min():.3g} to {sizes.max():.3g}, and cosine leaves them out"
    near = facts.neighbours
    if near is not None and near.cosine_dot < _SAFE:
        reason += (
            ", which text models are trained for; dot product would rank otherwise. Take it only if the model's card "
        )
        reason += "says so"
    return Recommendation(Cosine.name, "any", reason)


def _tens(overlap: float) -> str:
    return f"{TOP * overlap:.1f}"
