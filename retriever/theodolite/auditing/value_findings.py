"""Findings about the values themselves: lengths, broken and equal rows, dimensions, range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.auditing.facts import Facts, is_unit
from theodolite.auditing.findings import Finding, Severity, listed, named, share
from theodolite.auditing.scan import FLOAT16_MAX
from theodolite.vectors.metrics import MAX_NORM, METRICS, Cosine

_EXACT = 1e-3  # how near to one a length is that was normalised
_MIXED = 0.05  # the least share of such lengths that is no chance
_MANY = 0.05  # share of duplicates that is worth looking into
_FEW = 100  # rows
_LOUD = 5.0  # root mean square of a dimension, against the median
_RULES = 0.5  # share of all squares that a few dimensions hold


def rows(facts: Facts) -> Finding | None:
    """Whether there are rows enough."""
    usable = len(facts.scan.usable)
    values = {"rows": facts.count, "usable": usable}
    if not usable:
        found = f"none of {facts.count:,} vectors is finite and not zero"
        return Finding("rows", "error", found, "Nothing can be searched.", "Check what wrote them.", values)
    if facts.count < _FEW:
        meaning = "Figures about angles, neighbours and dimensions are rough, or missing, for so few."
        return Finding("rows", "note", f"{facts.count:,} vectors, {usable:,} usable", meaning, "", values)
    return None


def not_finite(facts: Facts) -> Finding:
    """NaN and infinity."""
    bad = np.flatnonzero(np.isnan(facts.scan.norms)).tolist()
    if not bad:
        return Finding("finite", "ok", "no NaN, no infinity", "All values are numbers.", "", {"count": 0})
    found = f"{len(bad):,} of {facts.count:,} hold NaN or infinity: {named(bad, facts.ids)}"
    meaning = "They are refused: they have no similarity to anything, and in plain numpy they spoil a whole ranking."
    advice = "Embed these texts again, or drop them; half precision on a GPU is the usual cause."
    return Finding("finite", "error", found, meaning, advice, {"count": len(bad)}, listed(bad))


def zero(facts: Facts) -> Finding:
    """Rows without a direction."""
    bad = np.flatnonzero(facts.scan.norms == 0).tolist()
    if not bad:
        return Finding("zero", "ok", "no vector of zeros", "Each vector has a direction.", "", {"count": 0})
    found = f"{len(bad):,} of {facts.count:,} are zero: {named(bad, facts.ids)}"
    values, first = {"count": len(bad)}, listed(bad)
    advice = "Look at their texts: they are often empty. Drop them."
    if facts.metric is not None and facts.metric.allows_zero:
        meaning = "What they score says nothing about their text: it is the same whatever is asked, or depends on the "
        meaning += "length of the query alone."
        return Finding("zero", "warning", found, meaning, advice, values, first)
    meaning = f"A vector without direction has no cosine: metric={Cosine.name!r} refuses it."
    return Finding("zero", "error", found, meaning, advice, values, first)


def norms(facts: Facts) -> Finding | None:
    """Lengths: one, nearly one, or spread."""
    sizes = facts.sizes
    if not len(sizes):
        return None
    levels = np.quantile(sizes, (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)).tolist()
    names = ("min", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "max")
    ignored = facts.metric is not None and facts.metric.normalizes
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
        meaning = "Cosine, dot product and L2 rank alike."
        return Finding("norms", "ok", f"all of unit length: {levels[0]:.4f} to {levels[-1]:.4f}", meaning, "", values)
    if exact.mean() >= _MIXED and 2 * exact.sum() >= unit.sum():  # a peak at one, and others far from it
        odd = np.flatnonzero((facts.scan.norms > 0) & ~is_unit(facts.scan.norms)).tolist()
        found = (
            f"{share(int(exact.sum()), len(sizes))} are of unit length, {len(odd):,} are not: {spread}; "
            f"{named(odd, facts.ids)}"
        )
        meaning = "A part was normalised and a part was not: two versions of an embedder, or a step that was left out."
        advice = "Find out where they differ; embed one part again. Cosine alone is not troubled by the lengths."
        severity = "warning" if facts.metric is None or ignored else "error"
        return Finding("norms", severity, found, meaning, advice, values, listed(odd))
    if sizes.max() > MAX_NORM and not ignored:
        long = np.flatnonzero(facts.scan.norms > MAX_NORM).tolist()
        found = f"{len(long):,} are longer than {MAX_NORM:g}: {named(long, facts.ids)}"
        refusing = " and ".join(repr(metric.name) for metric in METRICS.values() if metric.max_norm <= MAX_NORM)
        meaning = f"Their dot products and distances overflow float32: metrics {refusing} refuse them."
        return Finding("norms", "error", found, meaning, "Scale the vectors down.", values, listed(long))
    alike = levels[-1] - levels[0] <= 0.02 * levels[4]
    if alike:
        meaning = "All are of one length, though not of length one, so the metrics rank alike."
        return Finding("norms", "ok", f"all of one length: {spread}", meaning, "", values)
    meaning = "The vectors are not normalized. Cosine leaves lengths out; dot product and L2 do not: see ranking."
    return Finding("norms", "ok" if ignored else "note", f"from {spread}", meaning, "", values)


def queries(facts: Facts) -> Finding | None:
    """Lengths of the given queries, beside those of the vectors."""
    sizes = facts.query_norms
    if sizes is None:
        return None
    bad = np.flatnonzero(~(sizes > 0)).tolist()
    fine = sizes[sizes > 0]
    values: dict[str, float] = {"count": len(sizes), "unusable": len(bad)}
    if bad:
        found = f"{len(bad):,} of {len(sizes):,} queries are zero or not finite: {named(bad, None)}"
        return Finding(
            "queries", "error", found, "They are refused.", "Check how queries are embedded.", values, listed(bad)
        )
    values |= {"min": float(fine.min()), "p50": float(np.median(fine)), "max": float(fine.max())}
    found = f"{len(sizes):,}, of lengths {fine.min():.4g} to {fine.max():.4g}"
    unit = bool(is_unit(fine).all())
    if len(facts.sizes) and unit != facts.unit:
        found += f"; the vectors are {'' if facts.unit else 'not '}of unit length"
        meaning = "Queries and documents do not come out of the same steps: one side is normalised, the other is not."
        severity: Severity = "note" if facts.metric and facts.metric.normalizes else "warning"
        advice = f"Embed both by one model and one library; metric={Cosine.name!r} is not troubled by it."
        return Finding("queries", severity, found, meaning, advice, values)
    return Finding("queries", "ok", found, "Nothing is wrong with them.", "", values)


def duplicates(facts: Facts) -> Finding | None:
    """Rows that equal another."""
    if len(facts.scan.usable) < 2:
        return None
    equal, parallel = facts.scan.equal, facts.scan.parallel
    close = None if facts.neighbours is None else facts.neighbours.close
    values: dict[str, Any] = {"exact": len(equal), "normalised": len(parallel), "near_share": close}
    near = "" if not close else f"; {100 * close:.3g} % of a sample have another at a cosine of 0.999 or more"
    union = np.union1d(equal[:, 0], parallel[:, 0]).astype(int).tolist()
    if not union and (close is None or close < _MANY):
        return Finding("duplicates", "ok", f"none{near}", "No two vectors are the same.", "", values)
    pairs = (equal if len(equal) else parallel).tolist()
    values["pairs"] = pairs[:100]
    shown = ", ".join(" = ".join(_called(row, facts) for row in pair) for pair in pairs[:3])
    rows = f" ({shown}{', …' if len(union) > 3 else ''})" if pairs else ""
    found = (
        f"{len(equal):,} of {facts.count:,} equal an earlier one ({share(len(equal), facts.count)}), "
        f"{len(parallel):,} once normalised{rows}{near}"
    )
    meaning = "Equal vectors take places of one answer from others. They come of the same text stored twice, or of "
    meaning += "texts that are alike as far as the model reads."
    advice = "Store a text once; look for headers and footers that all passages begin with."
    many = len(union) >= _MANY * facts.count or (close or 0) >= _MANY
    severity: Severity = "warning" if many else "note"
    return Finding("duplicates", severity, found, meaning, advice, values, listed(union))


def constant(facts: Facts) -> Finding | None:
    """Dimensions that never change."""
    scan = facts.scan
    if len(scan.usable) < 2:
        return None
    still = np.flatnonzero(scan.low == scan.high).tolist()
    values = {"count": len(still), "dimensions": still[:100]}
    if not still:
        return Finding("constant", "ok", "no dimension is constant", "All dimensions carry something.", "", values)
    found = f"{len(still):,} of {facts.dimension:,} dimensions have one value throughout: {_which(still)}"
    meaning = "They tell no two vectors apart, and cost memory and time."
    advice = "Leave them out on both sides, if this is not a sample of one kind of text only."
    if len(still) == facts.dimension:
        return Finding("constant", "error", "all vectors are the same", "Nothing can be found.", "", values)
    severity: Severity = "warning" if 2 * len(still) >= facts.dimension else "note"
    return Finding("constant", severity, found, meaning, advice, values)


def outliers(facts: Facts) -> Finding | None:
    """Dimensions that are much larger than the others."""
    energy: NDArray[np.float64] = facts.scan.energy
    if facts.dimension < 8 or not energy.any():
        return None
    moving = energy[facts.scan.low < facts.scan.high]
    typical = float(np.sqrt(np.median(moving if len(moving) else energy)))
    loud = np.flatnonzero(np.sqrt(energy) > _LOUD * typical)
    loud = loud[np.argsort(-energy[loud], kind="stable")]
    held = float(energy[loud].sum() / energy.sum())
    values = {"count": len(loud), "share": held, "dimensions": loud[:100].tolist()}
    if not len(loud):
        largest = float(np.sqrt(energy.max()) / typical)
        found = f"no dimension stands out; the largest is {largest:.1f} times the typical one"
        return Finding("outliers", "ok", found, "Similarity is made of many dimensions.", "", values)
    found = f"{len(loud)} of {facts.dimension:,} dimensions are more than {_LOUD:g} times the typical size: "
    found += f"{_which(loud.tolist())}; they hold {100 * held:.3g} % of the squares"
    meaning = "Similarity hangs on these few dimensions. Some language models have a few such by nature; in other data "
    meaning += "it is a feature that was not scaled."
    advice = "Of a known model: leave them. Of features: scale each to the same variance, on both sides."
    return Finding("outliers", "warning" if held >= _RULES else "note", found, meaning, advice, values)


def float16(facts: Facts) -> Finding | None:
    """Whether half precision could hold them."""
    if facts.bits <= 16 or not len(facts.sizes):
        return None
    beyond, faint = facts.scan.beyond, facts.scan.faint
    values = {"overflow": beyond, "faint": faint}
    if not beyond and not faint:
        return Finding("float16", "ok", "all fit float16", "They can be kept in half precision.", "", values)
    found = f"{beyond:,} have values beyond {FLOAT16_MAX:g}, {faint:,} have none above 0.00006"
    meaning = "Stored as float16 the first become infinite, and the second lose most of their digits. Here they are "
    meaning += "kept as float32."
    return Finding("float16", "note", found, meaning, "Scale them before saving them as float16.", values)


def _called(row: int, facts: Facts) -> str:
    return f"row {row}" if facts.ids is None else facts.ids[row]


def _which(dimensions: list[int]) -> str:
    shown = ", ".join(map(str, dimensions[:5]))
    return f"{shown}{', …' if len(dimensions) > 5 else ''}"
