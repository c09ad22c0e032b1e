"""Samples to Markdown: medians, spreads, and ratios of neighbours in one state of the cores."""

import statistics

# A round trip of a cache line between two cores in nanoseconds: within a core complex some 100, between two 350 and more.
APART_NS = 200
# −ELBO of the first and second epoch may differ so much from elbo's, relatively. Other seeds move them by half a per cent
# and a third; a loss that is wrong by a sign, a constant or a mean, or one without the KL, is off by more.
TOLERANCE = (0.02, 0.01)


def round_trips(value):
    """The numbers of `core_round_trip_ns`, however they are nested."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, (int, float)):
        return [float(value)]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [n for v in values for n in round_trips(v)]


def state_of(*reports):
    """`shared` or `apart` where all round trips agree, `flipped` where they do not, `unknown` where there are none."""
    trips = [n for r in reports if r for n in round_trips(r.get("core_round_trip_ns"))]
    states = {"apart" if n >= APART_NS else "shared" for n in trips}
    return "unknown" if not states else states.pop() if len(states) == 1 else "flipped"


def disagreement(losses, reference):
    """What is wrong with the first epochs' −ELBO, or nothing."""
    for epoch, (loss, right, most) in enumerate(zip(losses or [], reference or [], TOLERANCE), 1):
        if abs(loss - right) > most * abs(right):
            return f"**another loss**: {loss:.2f} nats after epoch {epoch}, not {right:.2f}"
    return "" if losses and reference else "loss not checked"


def thousands(x):
    return f"{x:,.0f}"


def spread(values):
    return f"{thousands(min(values))} – {thousands(max(values))}" if len(values) > 1 else "one run"


def ratio(values):
    values = [v for v in values if v]
    if not values:
        return "–"
    middle = f"{statistics.median(values):.2f} ×"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} – {max(values):.2f})"


def markdown(head, rows):
    """A table whose first column is text and the others numbers."""
    rule = ["---"] + ["---:"] * (len(head) - 2) + ["---"]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [head, rule, *rows])


def training(turns, own, reference):
    """The table of one state. `turns` are (name, peer's report or reason, ratio); `own` elbo's reports."""
    head = ["program", "precision", "examples/s (median)", "spread", "elbo ÷ it", "peak MB", "first step s",
            "−ELBO after epoch 1, 2", "remark"]
    lines = []
    for name, precision, reports, ratios, failure in turns:
        if not reports:
            lines.append((0.0, [name, precision, "–", "–", "–", "–", "–", "–", failure]))
            continue
        speeds = [r["samples_per_second"] for r in reports]
        losses = next((r["neg_elbo"] for r in reports if r.get("neg_elbo")), None)
        wrong = disagreement(losses, reference) if reports is not own else ""
        first = [r["first_step_seconds"] for r in reports if r.get("first_step_seconds") is not None]
        row = [
            name, precision, thousands(statistics.median(speeds)), spread(speeds),
            ratio(ratios) if ratios is not None else "1",
            thousands(max(r["peak_mb"] for r in reports)),
            f"{min(first):.2f}" if first else "–",
            ", ".join(f"{l:.2f}" for l in losses) if losses else "–",
            "; ".join(filter(None, [wrong, failure])) or "–",
        ]
        lines.append((statistics.median(speeds), row))
    return markdown(head, [row for _, row in sorted(lines, key=lambda line: -line[0])])


def inference(turns, reference, tolerance):
    """The table of encoders. `turns` are (name, reports, failure, ratios for one row, ratios for a thousand)."""
    head = ["program", "one row µs", "spread", "it ÷ elbo", "1,000 rows µs", "spread", "it ÷ elbo", "peak MB", "remark"]
    lines = []
    for name, reports, failure, one, many in turns:
        if not reports:
            lines.append((float("inf"), [name, *["–"] * 7, failure]))
            continue
        ones, manys = [[r[k] for r in reports] for k in ("one_row_us", "thousand_rows_us")]
        found = reports[0]["root_mean_square"]
        # Sums in another order differ by some 1e-6 of the value.
        wrong = reference and abs(found - reference) > tolerance * reference
        modes = sorted({r[k] for r in reports for k in ("one_row_mode", "thousand_rows_mode") if r.get(k)})
        remark = "; ".join(filter(None, ["**other means**" if wrong else "", failure, ", ".join(modes)]))
        edge = lambda values: f"{min(values):.1f} – {max(values):.1f}"
        row = [
            name, f"{statistics.median(ones):.1f}", edge(ones), ratio(one) if one is not None else "1",
            thousands(statistics.median(manys)), spread(manys), ratio(many) if many is not None else "1",
            thousands(max(r["peak_mb"] for r in reports)), remark or "–",
        ]
        lines.append((statistics.median(ones), row))
    return markdown(head, [row for _, row in sorted(lines, key=lambda line: line[0])])
