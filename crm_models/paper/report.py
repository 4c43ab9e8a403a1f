"""Report on the re-run of the paper: Markdown, and one self-contained HTML file with figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crm_models.core import html_page
from crm_models.core.files import new_file, new_folder, write_json
from crm_models.core.schema import MODEL_NAMES
from crm_models.paper.rerun import CLAIMS_ABOUT, TABLE_I

if TYPE_CHECKING:
    import plotly.graph_objects as go

TITLE = "The paper, re-run"
MODEL_TITLES = {"sequence": "Sequence Transformer", "churn": "Churn Transformer"}
MODEL_COLOURS = {"sequence": "#0072B2", "churn": "#D55E00"}
"""Blue and vermilion of the Okabe-Ito palette, distinguishable with any colour vision."""

GREY = "#6B7280"


def write_report(result: dict[str, Any], out: Path) -> Path:
    """Write `paper.json`, `report.md` and `report.html` into the folder `out`, all or none."""
    with new_folder(out, "paper.json") as part:
        write_json(part / "paper.json", result)
        with new_file(part / "report.md") as file:
            file.write_text(markdown(result), encoding="utf-8")
        with new_file(part / "report.html") as file:
            file.write_text(page(result), encoding="utf-8")
    return Path(out)


# ---- texts and tables ------------------------------------------------------------------------------------------------


def sections(result: dict[str, Any]) -> list[tuple[str, str, list[list[str]]]]:
    """The report as (heading, text, table) triples; the first row of a table is its header; no rows: no table."""
    seeds = result["seeds"]
    return [
        (
            "Table I: the data",
            _DATA,
            [
                ["Data set", "Users", "Features", "Claims about it"],
                *_text([[*row, claims] for row, (_, claims) in zip(TABLE_I, CLAIMS_ABOUT, strict=True)]),
            ],
        ),
        (
            "Table III: training loss by epoch",
            f"The printed losses beside the lowest, median and highest of {seeds} re-runs, each on new random data. "
            f"{_losses_inside(result)}",
            _loss_table(result),
        ),
        ("Table IV: after ten epochs", _accuracy_text(result), _accuracy_table(result)),
        ("Table II: what the paper also claims", _TABLE_II, _claim_table(result)),
        ("What it takes to reach Table II", _signal_text(result), _signal_table(result)),
        ("Sample plans", _PLANS, _plan_table(result)),
        (
            "Where the paper contradicts itself",
            " ".join(f"({k}) {c}" for k, c in enumerate(result["contradictions"], 1)),
            [],
        ),
    ]


_DATA = (
    "100 users with five ratings each, 50 products with rating, category and sentiment, and churn labels, all drawn "
    "uniformly at random; the printed losses show that the paper's data were random, too. 80 users are for training, "
    "20 for testing."
)
_TABLE_II = (
    "The paper gives these figures for the same experiment. On its random data a model can reach them only by luck; "
    "chance is 0.02 and 0.5."
)
_PLANS = (
    "The paper prints one action for each of five users; ours are full plans of three steps, from the first re-run."
)


def _losses_inside(result: dict[str, Any]) -> str:
    inside = {model: sum(result["inside"][f"{model}_loss"]) for model in MODEL_NAMES}
    return (
        f"{inside['sequence']} of 10 printed sequence losses and {inside['churn']} of 10 printed churn losses lie "
        "inside the range of the re-runs."
    )


def _loss_table(result: dict[str, Any]) -> list[list[str]]:
    rows = [["Epoch"]]
    for model in MODEL_NAMES:
        rows[0] += [f"{MODEL_TITLES[model]}: paper", "lowest", "median", "highest", "inside"]
    losses = {model: np.array(result[f"{model}_loss"]) for model in MODEL_NAMES}
    for epoch in range(losses["sequence"].shape[1]):
        row = [str(epoch + 1)]
        for model in MODEL_NAMES:
            ours = losses[model][:, epoch]
            row += [
                f"{v:.4f}" for v in (result["paper"]["table_3"][model][epoch], ours.min(), np.median(ours), ours.max())
            ]
            row.append("yes" if result["inside"][f"{model}_loss"][epoch] else "no")
        rows.append(row)
    return rows


def _accuracy_text(result: dict[str, Any]) -> str:
    hits = sum(abs(a - 1 / 60) < 1e-6 for a in result["sequence_accuracy"])
    return (
        f"The accuracy of the sequence model is per step: 0.0167 is one hit in 60, and {hits} of {result['seeds']} "
        "re-runs give exactly that. Chance is the score of random guessing."
    )


def _accuracy_table(result: dict[str, Any]) -> list[list[str]]:
    rows = [["Model", "Figure", "Paper", "Chance", "Ours: lowest", "median", "highest", "inside"]]
    for model in MODEL_NAMES:
        ours = np.array(result[f"{model}_accuracy"])
        loss = np.array(result[f"{model}_loss"])[:, -1]
        table, inside = result["paper"]["table_4"][model], result["inside"]
        for name, values, within in (
            ("accuracy", ours, inside[f"{model}_accuracy"]),
            ("loss", loss, inside[f"{model}_loss"][-1]),
        ):
            numbers = (table[name], result["chance"][f"{model}_{name}"], values.min(), np.median(values), values.max())
            rows.append([MODEL_TITLES[model], name, *(f"{v:.4f}" for v in numbers), "yes" if within else "no"])
    return rows


def _claim_table(result: dict[str, Any]) -> list[list[str]]:
    rows = [["Model", "Paper: accuracy", "Paper: loss", "Chance", "Ours: highest accuracy", "inside"]]
    for model in MODEL_NAMES:
        claim = result["paper"]["table_2"][model]
        numbers = (
            claim["accuracy"],
            claim["loss"],
            result["chance"][f"{model}_accuracy"],
            max(result[f"{model}_accuracy"]),
        )
        inside = result["inside"][f"{model}_accuracy_table_2"]
        rows.append([MODEL_TITLES[model], *(f"{v:.4f}" for v in numbers), "yes" if inside else "no"])
    return rows


def _signal_text(result: dict[str, Any]) -> str:
    facts = result["lifelike"]
    return (
        f"The same tiny models (width {facts['sequence_width']} and {facts['churn_width']}, two heads) on generated "
        f"data with patterns to learn: {facts['customers']:,} customers with up to {facts['max_events']} events each, "
        f"{facts['sequence_epochs']} and {facts['churn_epochs']} epochs in batches of {facts['batch_size']}, "
        f"{facts['seconds']:.0f} seconds. It took more data, and data with patterns, but no larger model. The "
        "ceiling is the best expected score of any model, computed from the probabilities of the generator."
    )


def _signal_table(result: dict[str, Any]) -> list[list[str]]:
    facts = result["lifelike"]
    rows = [["Model", "Figure", "Paper, Table II", "Chance", "Ours", "Ceiling", "passes"]]
    for model, key in (("sequence", "step_accuracy"), ("churn", "accuracy")):
        claim, ours = result["paper"]["table_2"][model]["accuracy"], facts[model][key]
        numbers = (claim, facts[model]["chance"][key], ours, facts[model]["ceiling"][key])
        rows.append([MODEL_TITLES[model], "accuracy", *(f"{v:.3f}" for v in numbers), "yes" if ours >= claim else "no"])
    return rows


def _plan_table(result: dict[str, Any]) -> list[list[str]]:
    rows = [["User", "Paper", "Ours: step 1", "step 2", "step 3"]]
    for (user, plan), theirs in zip(result["sample_plans"], result["paper"]["sample_plan"], strict=False):
        rows.append([user, theirs, *plan])
    return rows


def _text(rows: list[list[Any]]) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in rows]


# ---- Markdown and HTML -----------------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The report as Markdown, without the figures."""
    lines = [f"# {TITLE}", "", _opening(result), ""]
    for heading, text, table in sections(result):
        lines += [f"## {heading}", "", text, ""]
        if table:
            lines += ["| " + " | ".join(row) + " |" for row in table[:1]]
            lines += ["|" + "---|" * len(table[0])]
            lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table[1:]]
            lines.append("")
    return "\n".join(lines)


def page(result: dict[str, Any]) -> str:
    """The report as one HTML file with its three figures, which needs no network."""
    drawn = [
        html_page.section(heading, html_page.figure(figure, heading), html_page.paragraph(text))
        for heading, text, figure in (
            ("Figure 1: loss trends", _FIGURE_1, loss_figure(result)),
            ("Figure 2: attention weights", _FIGURE_2, attention_figure(result)),
            ("Figure 3: ROC curve", _FIGURE_3, roc_figure(result)),
        )
    ]
    told = [
        html_page.section(heading, html_page.paragraph(text), _html_table(table))
        for heading, text, table in sections(result)
    ]
    return html_page.page(TITLE, [html_page.paragraph(_opening(result)), *drawn, *told])


def _opening(result: dict[str, Any]) -> str:
    return (
        f"The two models of the paper, trained {result['seeds']} times as its Methodology describes, each time on new "
        f"random data, and compared with every printed figure. {_losses_inside(result)}"
    )


def _html_table(table: list[list[str]]) -> str:
    return html_page.table(pd.DataFrame(table[1:], columns=table[0])) if table else ""


# ---- figures ---------------------------------------------------------------------------------------------------------

_FIGURE_1 = (
    "The bands span our re-runs, the solid lines are their medians, and the dots are the paper's Table III. The dotted "
    "line is the loss of random guessing. On random data, a training loss below it is overfitting."
)
_FIGURE_2 = (
    "Attention of each step of a plan (row) to each past position (column), averaged over heads and the test customers "
    "of the first re-run. Rows sum to one. On random data the pattern means nothing."
)
_FIGURE_3 = (
    "True positive rate (churners found) against false positive rate (stayers flagged) at every threshold, over the "
    "test customers of all re-runs. On random data the curve follows the diagonal: an AUC of 0.5 is chance."
)


def loss_figure(result: dict[str, Any]) -> go.Figure:
    """Figure 1: printed and re-run training loss by epoch, one panel per model."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(rows=1, cols=2, subplot_titles=[MODEL_TITLES[m] for m in MODEL_NAMES])
    for column, model in enumerate(MODEL_NAMES, 1):
        ours = np.array(result[f"{model}_loss"])
        epochs, colour = list(range(1, ours.shape[1] + 1)), MODEL_COLOURS[model]
        band = {"x": epochs, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        traces = [
            go.Scatter(y=ours.max(axis=0), **band),
            go.Scatter(y=ours.min(axis=0), fill="tonexty", fillcolor=_faint(colour), **band),
            go.Scatter(x=epochs, y=np.median(ours, axis=0), mode="lines", line={"color": colour}, name="ours, median"),
            go.Scatter(
                x=epochs, y=result["paper"]["table_3"][model], mode="markers", marker={"color": colour}, name="paper"
            ),
        ]
        for trace in traces:
            figure.add_trace(trace, row=1, col=column)
        figure.add_hline(
            y=result["chance"][f"{model}_loss"], line={"dash": "dot", "color": GREY}, row=1, col=column,
            annotation_text="chance",
        )  # fmt: skip
        figure.update_xaxes(title="epoch", row=1, col=column)
        figure.update_yaxes(title="loss (nats)" if column == 1 else None, row=1, col=column)
    return figure.update_layout(template="plotly_white", height=380, showlegend=False, margin={"t": 40, "b": 40})


def attention_figure(result: dict[str, Any]) -> go.Figure:
    """Figure 2: attention of the three plan steps to earlier positions."""
    import plotly.graph_objects as go

    attention = result["attention"]
    figure = go.Figure(
        go.Heatmap(
            z=attention["weights"],
            x=attention["columns"],
            y=attention["rows"],
            colorscale="Blues",
            colorbar={"title": "weight"},
        )
    )
    figure.update_yaxes(autorange="reversed", title="predicting")
    figure.update_xaxes(title="looking at")
    return figure.update_layout(template="plotly_white", height=320, margin={"t": 20, "b": 40})


def roc_figure(result: dict[str, Any]) -> go.Figure:
    """Figure 3: ROC curve of the churn model, and the diagonal of random guessing."""
    import plotly.graph_objects as go

    curve = result["roc"]
    line = {"color": MODEL_COLOURS["churn"]}
    figure = go.Figure(
        [
            go.Scatter(x=curve["fpr"], y=curve["tpr"], mode="lines", line=line, name=f"AUC {curve['auc']:.3f}"),
            go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line={"dash": "dot", "color": GREY}, name="chance"),
        ]
    )
    figure.update_xaxes(title="false positive rate", range=[0, 1])
    figure.update_yaxes(title="true positive rate", range=[0, 1], scaleanchor="x")
    return figure.update_layout(template="plotly_white", height=420, margin={"t": 20, "b": 40})


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
