"""The checks of an audit: each judges the measurements and returns a finding, or None if it does not apply."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.findings import Finding, Recommendation, Severity, first_rows, name_rows, share
from theodolite.auditing.measurements import FLOAT16_MAX, TOP, Measurements, is_unit
from theodolite.vectors.metrics import MAX_NORM, METRICS, Cosine

_EXACT = 1e-3  # how close to 1 the length of a normalized vector is
_MIXED = 0.05  # the smallest share of such lengths that is not chance
_MANY = 0.05  # share of duplicates that deserves a warning
_FEW = 100  # rows
_LOUD = 5.0  # root mean square of a dimension, against the median
_RULES = 0.5  # share of all squares that a few dimensions hold
_NARROW, _COLLAPSED = 0.5, 0.95  # mean cosine
_FLAT, _WEAK = 0.1, 0.2  # contrast
_SAFE, _MILD, _GRAVE = 0.95, 0.55, 0.3  # overlap of the first ten


def rows(measured: Measurements) -> Finding | None:
    """Check that there are enough usable rows."""
    usable = len(measured.scan.usable)
    values = {"rows": measured.count, "usable": usable}
    if not usable:
        found = f"none of {measured.count:,} vectors is finite and not zero"
        return Finding("rows", "error", found, "Nothing can be searched.", "Check what wrote them.", values)
    if measured.count < _FEW:
        meaning = "Figures about angles, neighbors and dimensions are rough, or missing, for so few."
        return Finding("rows", "note", f"{measured.count:,} vectors, {usable:,} usable", meaning, "", values)
    return None


def not_finite(measured: Measurements) -> Finding:
    """Check for NaN and infinity."""
    bad = np.flatnonzero(np.isnan(measured.scan.norms)).tolist()
    if not bad:
        return Finding("finite", "ok", "no NaN, no infinity", "All values are numbers.", "", {"count": 0})
    found = f"{len(bad):,} of {measured.count:,} contain NaN or infinity: {name_rows(bad, measured.ids)}"
    meaning = "They are refused: they have no similarity to anything, and in plain numpy they break a whole ranking."
    advice = "Embed these texts again, or drop them; the usual cause is half precision on a GPU."
    return Finding("finite", "error", found, meaning, advice, {"count": len(bad)}, first_rows(bad))


def zero(measured: Measurements) -> Finding:
    """Check for rows of zeros."""
    bad = np.flatnonzero(measured.scan.norms == 0).tolist()
    if not bad:
        return Finding("zero", "ok", "no vector of zeros", "Each vector has a direction.", "", {"count": 0})
    found = f"{len(bad):,} of {measured.count:,} are zero: {name_rows(bad, measured.ids)}"
    values, first = {"count": len(bad)}, first_rows(bad)
    advice = "Check their texts, which are often empty, and drop them."
    if measured.metric is not None and measured.metric.allows_zero:
        meaning = "Their scores say nothing about their texts: they are the same for all queries, or depend on the "
        meaning += "length of the query alone."
        return Finding("zero", "warning", found, meaning, advice, values, first)
    meaning = f"A vector without direction has no cosine: metric={Cosine.name!r} refuses it."
    return Finding("zero", "error", found, meaning, advice, values, first)


def norms(measured: Measurements) -> Finding | None:
    """Check whether lengths are one, equal, or spread."""
    sizes = measured.sizes
    if not len(sizes):
        return None
    levels = np.quantile(sizes, (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)).tolist()
    names = ("min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max")
    ignored = measured.metric is not None and measured.metric.normalizes
    unit, exact = is_unit(sizes), np.abs(sizes - 1) <= _EXACT
    severity: Severity
    scale = sizes.max()  # squares of the longest may overflow
    values = {
        **dict(zip(names, levels, strict=True)),
        "mean": float((sizes / scale).mean() * scale),
        "std": float((sizes / scale).std() * scale),
        "unit": float(unit.mean()),
    }
    spread = f"{levels[0]:.4g} to {levels[-1]:.4g}, half of them {levels[3]:.4g} to {levels[5]:.4g}"
    if unit.all():
        meaning = "Cosine, dot product and L2 give the same ranking."
        return Finding("norms", "ok", f"all of unit length: {levels[0]:.4f} to {levels[-1]:.4f}", meaning, "", values)
    if exact.mean() >= _MIXED and 2 * exact.sum() >= unit.sum():  # many at exactly one, and others far from it
        odd = np.flatnonzero((measured.scan.norms > 0) & ~is_unit(measured.scan.norms)).tolist()
        found = (
            f"{share(int(exact.sum()), len(sizes))} are of unit length, {len(odd):,} are not: {spread}; "
            f"{name_rows(odd, measured.ids)}"
        )
        meaning = "Some vectors were normalized and some were not: two versions of an embedder, or a missing step."
        advice = "Find out which part differs and embed it again. Only cosine ignores the lengths."
        severity = "warning" if measured.metric is None or ignored else "error"
        return Finding("norms", severity, found, meaning, advice, values, first_rows(odd))
    if sizes.max() > MAX_NORM and not ignored:
        long = np.flatnonzero(measured.scan.norms > MAX_NORM).tolist()
        found = f"{len(long):,} are longer than {MAX_NORM:g}: {name_rows(long, measured.ids)}"
        refusing = " and ".join(repr(metric.name) for metric in METRICS.values() if metric.max_norm <= MAX_NORM)
        meaning = f"Their dot products and distances overflow float32: metrics {refusing} refuse them."
        return Finding("norms", "error", found, meaning, "Scale the vectors down.", values, first_rows(long))
    constant = levels[-1] - levels[0] <= 0.02 * levels[4]
    if constant:
        meaning = "All have the same length, though not 1, so the metrics give the same ranking."
        return Finding("norms", "ok", f"all of one length: {spread}", meaning, "", values)
    meaning = (
        "The vectors are not normalized. Cosine ignores lengths; dot product and L2 do not (see metric_disagreement)."
    )
    return Finding("norms", "ok" if ignored else "note", f"from {spread}", meaning, "", values)


def queries(measured: Measurements) -> Finding | None:
    """Check that the lengths of the given queries fit those of the vectors."""
    sizes = measured.query_norms
    if sizes is None:
        return None
    bad = np.flatnonzero(~(sizes > 0)).tolist()
    fine = sizes[sizes > 0]
    values: dict[str, float] = {"count": len(sizes), "unusable": len(bad)}
    if bad:
        found = f"{len(bad):,} of {len(sizes):,} queries are zero or not finite: {name_rows(bad, None)}"
        return Finding(
            "queries", "error", found, "They are refused.", "Check how queries are embedded.", values, first_rows(bad)
        )
    values |= {"min": float(fine.min()), "p50": float(np.median(fine)), "max": float(fine.max())}
    found = f"{len(sizes):,}, of lengths {fine.min():.4g} to {fine.max():.4g}"
    unit = bool(is_unit(fine).all())
    if len(measured.sizes) and unit != measured.unit:
        found += f"; the vectors are {'' if measured.unit else 'not '}of unit length"
        meaning = "Queries and documents were not embedded in the same way: one side is normalized, the other is not."
        severity: Severity = "note" if measured.metric and measured.metric.normalizes else "warning"
        advice = f"Embed both with the same model and library; metric={Cosine.name!r} is not affected."
        return Finding("queries", severity, found, meaning, advice, values)
    return Finding("queries", "ok", found, "They fit the vectors.", "", values)


def duplicates(measured: Measurements) -> Finding | None:
    """Check for rows that equal an earlier one."""
    if len(measured.scan.usable) < 2:
        return None
    equal, parallel = measured.scan.equal, measured.scan.parallel
    close = None if measured.neighbors is None else measured.neighbors.close
    values: dict[str, Any] = {"exact": len(equal), "normalized": len(parallel), "near_share": close}
    near = "" if not close else f"; {100 * close:.3g} % of a sample have another at a cosine of 0.999 or more"
    union = np.union1d(equal[:, 0], parallel[:, 0]).astype(int).tolist()
    if not union and (close is None or close < _MANY):
        return Finding("duplicates", "ok", f"none{near}", "No two vectors are the same.", "", values)
    pairs = (equal if len(equal) else parallel).tolist()
    values["pairs"] = pairs[:100]
    shown = ", ".join(" = ".join(_name(row, measured) for row in pair) for pair in pairs[:3])
    rows = f" ({shown}{', …' if len(union) > 3 else ''})" if pairs else ""
    found = (
        f"{len(equal):,} of {measured.count:,} equal an earlier one ({share(len(equal), measured.count)}), "
        f"{len(parallel):,} once normalized{rows}{near}"
    )
    meaning = (
        "Equal vectors crowd other results out. They come from the same text stored twice, or from texts that are "
    )
    meaning += "equal up to the model's limit."
    advice = "Store each text once; look for headers that all passages start with."
    many = len(union) >= _MANY * measured.count or (close or 0) >= _MANY
    severity: Severity = "warning" if many else "note"
    return Finding("duplicates", severity, found, meaning, advice, values, first_rows(union))


def constant(measured: Measurements) -> Finding | None:
    """Check for constant dimensions."""
    scan = measured.scan
    if len(scan.usable) < 2:
        return None
    still = np.flatnonzero(scan.low == scan.high).tolist()
    values = {"count": len(still), "dimensions": still[:100]}
    if not still:
        return Finding("constant", "ok", "no dimension is constant", "All dimensions carry information.", "", values)
    found = f"{len(still):,} of {measured.dimension:,} dimensions have the same value in all rows: {_which(still)}"
    meaning = "They carry no information, and cost memory and time."
    advice = "Remove them from vectors and queries, unless this is a sample of only one kind of text."
    if len(still) == measured.dimension:
        return Finding("constant", "error", "all vectors are the same", "Nothing can be found.", "", values)
    severity: Severity = "warning" if 2 * len(still) >= measured.dimension else "note"
    return Finding("constant", severity, found, meaning, advice, values)


def outliers(measured: Measurements) -> Finding | None:
    """Check for a few dimensions that are much larger than the others."""
    energy: NDArray[np.float64] = measured.scan.energy
    if measured.dimension < 8 or not energy.any():
        return None
    moving = energy[measured.scan.low < measured.scan.high]
    typical = float(np.sqrt(np.median(moving if len(moving) else energy)))
    loud = np.flatnonzero(np.sqrt(energy) > _LOUD * typical)
    loud = loud[np.argsort(-energy[loud], kind="stable")]
    held = float(energy[loud].sum() / energy.sum())
    values = {"count": len(loud), "share": held, "dimensions": loud[:100].tolist()}
    if not len(loud):
        largest = float(np.sqrt(energy.max()) / typical)
        found = f"no dimension stands out; the largest is {largest:.1f} times the typical one"
        return Finding("outliers", "ok", found, "Similarity depends on many dimensions.", "", values)
    found = f"{len(loud)} of {measured.dimension:,} dimensions are more than {_LOUD:g} times the typical size: "
    found += f"{_which(loud.tolist())}; they hold {100 * held:.3g} % of the squares"
    meaning = "Similarity depends on these few dimensions. Some language models have a few of them by nature; in other "
    meaning += "data, a feature was not scaled."
    advice = "Leave those of a known model. Scale features to the same variance, in vectors and queries."
    return Finding("outliers", "warning" if held >= _RULES else "note", found, meaning, advice, values)


def float16(measured: Measurements) -> Finding | None:
    """Check that the values fit half precision."""
    if measured.bits <= 16 or not len(measured.sizes):
        return None
    beyond, faint = measured.scan.beyond, measured.scan.faint
    values = {"overflow": beyond, "faint": faint}
    if not beyond and not faint:
        return Finding("float16", "ok", "all fit float16", "They can be kept in half precision.", "", values)
    found = f"{beyond:,} have values beyond {FLOAT16_MAX:g}, {faint:,} have none above 0.00006"
    meaning = "Stored as float16, the former become infinite and the latter lose most of their digits. Here they are "
    meaning += "stored as float32."
    return Finding("float16", "note", found, meaning, "Scale them before saving them as float16.", values)


def metric_disagreement(measured: Measurements) -> Finding | None:
    """Check whether the metrics give different results, and how much the choice matters."""
    near = measured.neighbors
    if near is None:
        return None
    shared = {"cosine_dot": near.cosine_dot, "cosine_l2": near.cosine_l2, "dot_l2": near.dot_l2}
    values = {**shared, "top": TOP, "queries": near.queries, "kind": near.kind}
    asked = f"{near.queries} {'given queries' if near.kind == 'given' else 'synthetic queries'}"
    found = (
        f"of the first ten, cosine and dot product share {_tens(near.cosine_dot)}, cosine and L2 "
        f"{_tens(near.cosine_l2)}, dot product and L2 {_tens(near.dot_l2)} ({asked})"
    )
    metric = measured.metric
    by_distance = metric is not None and metric.by_distance
    low = near.cosine_l2 if by_distance else near.cosine_dot
    if low >= _SAFE:
        meaning = (
            "Cosine and L2 give the same results." if by_distance else "Cosine and dot product give the same results."
        )
        return Finding("metric_disagreement", "ok", found, meaning, "", values)
    lost = round(TOP * (1 - low))
    if metric is not None and metric.normalizes:
        meaning = f"{'Dot product' if near.cosine_dot < _SAFE else 'L2'} would give other results."
        return Finding("metric_disagreement", "ok", found, meaning, "", values)
    if by_distance:
        meaning = f"About {lost} of ten results by L2 differ from those by cosine, because lengths matter."
        advice = "Use cosine unless the lengths mean something."
        return Finding("metric_disagreement", "note" if low >= _MILD else "warning", found, meaning, advice, values)
    sizes = measured.scan.norms[measured.scan.usable]
    sizes.sort()
    short, long = float(sizes[len(sizes) // 20]), float(sizes[len(sizes) - 1 - len(sizes) // 20])
    meaning = (
        f"About {lost} of ten results by dot product differ from those by cosine: it prefers long vectors, and lengths "
        f"range from {short:.3g} (5 %) to {long:.3g} (95 %)."
    )
    if low < _GRAVE:
        meaning += " Text models are trained for cosine; by dot product most of their results would be wrong, without "
        meaning += "an error."
    severity: Severity = "note" if low >= _MILD else "warning"
    advice = f"Use metric={Cosine.name!r}, unless the model's card asks for the dot product."
    return Finding("metric_disagreement", severity, found, meaning, advice, values)


def anisotropy(measured: Measurements) -> Finding | None:
    """Check whether the vectors point in all directions or lie in a cone."""
    angles = measured.angles
    if angles is None:
        return None
    floor = 1 / math.sqrt(measured.dimension)
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
        f"cosines of pairs: mean {angles.mean:.3f}, 5 to 95 %: {levels['p5']:.3f} to {levels['p95']:.3f}; "
        f"random directions: 0 ± {floor:.3f}"
    )
    if angles.mean >= _COLLAPSED:
        meaning = "Nearly all vectors point in the same direction: the differences that rank them are small."
        advice = "Check that the texts differ and the model is the right one; if so, subtract the mean from both sides."
        return Finding("anisotropy", "warning", found, meaning, advice, values)
    if angles.mean >= _NARROW:
        meaning = "The vectors lie in a narrow cone, as those of some models do. Rankings are valid, but a cosine of "
        meaning += f"{middle} means nothing: two random texts have it."
        advice = f"Set thresholds above {high}, or by these quantiles; do not reuse thresholds of other models."
        return Finding("anisotropy", "note", found, meaning, advice, values)
    meaning = f"Two random texts have a cosine of about {middle}; one above {high} is significant."
    return Finding("anisotropy", "ok", found, meaning, "", values)


def contrast(measured: Measurements) -> Finding | None:
    """Check that nearest neighbors stand out from the rest."""
    near = measured.neighbors
    if near is None:
        return None
    values = {"nearest": near.nearest, "mean": near.mean, "contrast": near.contrast, "rows": near.rows}
    found = (
        f"the nearest other vector has a cosine of {near.nearest:.3f} (median of {near.rows}), the average one "
        f"{near.mean:.3f}: contrast {near.contrast:.2f}"
    )
    if near.contrast >= _WEAK:
        return Finding("contrast", "ok", found, "Neighbors stand out from the rest.", "", values)
    meaning = "The nearest vector is hardly nearer than any other: which one is first is close to chance."
    advice = "Check that these are embeddings of the right texts, from a model for retrieval; see dimension."
    return Finding("contrast", "warning" if near.contrast < _FLAT else "note", found, meaning, advice, values)


def dimension(measured: Measurements) -> Finding | None:
    """Check how many dimensions the vectors really use."""
    axes = measured.axes
    if axes is None:
        return None
    part = axes.participation
    values = {"rows": axes.rows, "participation": part, "components90": axes.for90, "components99": axes.for99}
    found = (
        f"effective dimension {part:.1f} of {measured.dimension:,} (participation ratio); 90 % of the variance in "
        f"{axes.for90:,} components, 99 % in {axes.for99:,}"
    )
    if part < 2.5 and measured.dimension >= 16:
        meaning = (
            "The vectors vary in hardly more than two directions, whatever their dimension: few texts can be "
            "distinguished."
        )
        advice = "Check the model and the texts, and whether one dimension is much larger than the others."
        return Finding("dimension", "warning", found, meaning, advice, values)
    if axes.for99 <= measured.dimension // 2 and axes.rows > 2 * measured.dimension:
        meaning = "Fewer dimensions are enough: the rest holds 1 % of the variance."
        advice = f"A projection to {axes.for99:,} principal components saves memory; measure the recall."
        return Finding("dimension", "note", found, meaning, advice, values)
    return Finding("dimension", "ok", found, "The dimensions are used.", "", values)


def recommended(measured: Measurements) -> Recommendation:
    """Return the metric and norms to open a collection with."""
    sizes = measured.sizes
    if measured.unit:
        return Recommendation(
            Cosine.name,
            "unit",
            "all have unit length, so the metrics give the same ranking; cosine stays right if an embedder stops "
            "normalizing, and norms='unit' then refuses its vectors",
        )
    if not len(sizes):
        return Recommendation(Cosine.name, "any", "the usual setting; there is no usable vector to judge by")
    reason = f"lengths range from {sizes.min():.3g} to {sizes.max():.3g}, and cosine ignores them"
    near = measured.neighbors
    if near is not None and near.cosine_dot < _SAFE:
        reason += "; dot product would give other results. Use it only if the model's card says so"
    return Recommendation(Cosine.name, "any", reason)


def _tens(overlap: float) -> str:
    return f"{TOP * overlap:.1f}"


def _name(row: int, measured: Measurements) -> str:
    return f"row {row}" if measured.ids is None else measured.ids[row]


def _which(dimensions: list[int]) -> str:
    shown = ", ".join(map(str, dimensions[:5]))
    return f"{shown}{', …' if len(dimensions) > 5 else ''}"
