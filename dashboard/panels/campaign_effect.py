"""What a campaign did: outcomes uploaded or simulated, the effect with its interval, the truth where it is known."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.reading import keep, read_outcomes, summary
from crm_models.campaigns.simulation import simulate
from dashboard.charts import campaigns as charts
from dashboard.charts import digits
from dashboard.panels import campaign_learning, widgets
from dashboard.state import access, campaign_store, session

LARGEST_MB = 200
SEGMENT_NAMES = {"planned_action": "{}", "risk_band": "risk: {}"}

FORMULAS = """
**Difference** {plan:.4g} − {holdout:.4g} = **{value:+.4g}**, from {n_plan:,} customers with the plan and
{n_holdout:,} in the control group. {method}

**Relative lift**: difference ÷ {holdout:.4g}, with SE = (1/c) √(SE_t² + (t/c)² SE_c²) by the delta method.

**Adjusted**: least squares of the outcome on the group, on what was known before ({covariates}), centred, and on their
products, with HC2 errors (Lin 2013). It removes chance differences between the groups.

**Sample ratio**: χ² of the sizes of the groups against the configured share of the control group, {share:.1%}:
p = {p:.2g}. Below 0.001 no lift is shown, because customers were lost or added on the way in one of the groups.
"""
METHODS = {
    True: "Interval: Newcombe's hybrid of the Wilson intervals of both shares.",
    False: "Interval: Welch's, for numbers with different spreads.",
    None: "Interval: a confidence sequence, which stays valid however often you look.",
}


def draw(chosen: Campaign) -> None:
    """Draw how to read the campaign, and its reading."""
    result = campaign_store.reading(chosen)
    if result is None:
        widgets.empty_state(
            "science",
            "Nothing is known yet",
            "Upload what became of the customers, or, for a generated cohort, let the generator draw it.",
        )
    else:
        _reading(chosen, result)
        if result["difference"] is not None:
            campaign_learning.draw(chosen)
    _sources(chosen, result)


def _sources(chosen: Campaign, result: dict[str, Any] | None) -> None:
    with st.expander("Outcomes", icon=":material/upload:", expanded=result is None):
        if campaign_store.has_world(chosen):
            with st.container(horizontal=True, vertical_alignment="bottom"):
                seed = st.number_input("Seed", 0, 2**31, 0, 1, key="simulation_seed", width=120)
                value = st.number_input(
                    "Value of a kept customer", 0.0, 1e9, 100.0, 10.0, key="kept_customer", persist_state="session",
                    width=200,
                )  # fmt: skip
                if st.button("What would happen", type="primary", icon=":material/play_arrow:", key="simulate"):
                    with widgets.guarded("The campaign cannot be simulated:"), st.spinner("Sending 200 campaigns"):
                        simulate(chosen, seed=int(seed), value=float(value), who=access.who())
                        session.say("The campaign was sent, simulated and read.")
                        st.rerun()
            st.caption(
                "This cohort was generated, so the true effect of each action is known: the simulated reading stands "
                "beside it."
            )
        file = st.file_uploader(
            "Outcomes: customer_id, outcome (1 or 0, or a number)",
            type=["csv", "parquet"],
            key="outcomes_file",
            max_upload_size=LARGEST_MB,
        )
        if file is not None and st.button("Read the campaign", key="read_campaign"):
            with widgets.guarded("These outcomes cannot be read:"):
                with campaign_store.uploaded(file) as place:
                    outcomes = read_outcomes(place)
                keep(chosen, outcomes, who=access.who())
                session.say("The campaign was read.")
                st.rerun()


def _reading(chosen: Campaign, result: dict[str, Any]) -> None:
    for note in result["notes"]:
        st.warning(widgets.plain(note), icon=":material/warning:")
    difference = result["difference"]
    if difference is None:
        return
    share, truth = bool(result.get("binary")), result.get("truth")
    st.markdown(f"**{widgets.plain(summary(result))}**")
    _figures(result, share)
    rows = [{"label": "Difference", **difference}]
    if result["adjusted"]:
        rows.append({"label": "Adjusted", **result["adjusted"]})
    if truth and truth["difference"] is not None:
        rows = [row | {"truth": truth["difference"]} for row in rows]
    known = {(s["by"], s["segment"]): s["value"] for s in (truth or {}).get("segments", [])}
    for segment in result["segments"]:
        at = (segment["by"], segment["segment"])
        row = {"label": _named(segment), **{k: segment[k] for k in ("value", "low", "high")}}
        rows.append(row | ({"truth": known[at]} if at in known else {}))
    widgets.chart(
        charts.effects(rows, share=share, title=f"Effect on {chosen.split.metric}"),
        key="effects",
        alt="Effect of the campaign with 95% intervals, overall and by segment",
        table=pd.DataFrame(rows),
        note="An interval that holds 0 proves nothing in either direction. Segments are read together: their intervals "
        "and p-values allow for how many there are (Holm), so a segment only counts as persuaded, or as sleeping dogs "
        "whom the campaign drives away, where that is proven. The diamond is the truth, known for generated cohorts.",
    )
    _formulas(chosen, result, share)
    proven = [s for s in result["segments"] if s["verdict"] != "not proven"]
    for segment in proven:
        st.markdown(
            f"**{widgets.plain(_named(segment))}**: {segment['verdict']} ({100 * segment['value']:+.1f} points, "
            f"adjusted p {segment['p_adjusted']:.3f})."
        )
    if truth:
        _beside_the_truth(truth)


def _named(segment: dict[str, Any]) -> str:
    return SEGMENT_NAMES.get(segment["by"], "{}").format(segment["segment"])


def _figures(result: dict[str, Any], share: bool) -> None:
    def text(estimate: dict[str, float] | None, *, scale: float, unit: str) -> tuple[str, str]:
        if estimate is None:
            return "–", "cannot be computed"
        low, high = (("?" if estimate[end] is None else f"{estimate[end] * scale:+.1f}") for end in ("low", "high"))
        return f"{estimate['value'] * scale:+.1f}{unit}", f"{low} to {high}"

    means, scale = result["means"], 100.0 if share else 1.0
    rates = [digits.share(means[arm]) if share else f"{means[arm]:,.4g}" for arm in ("plan", "holdout")]
    with st.grid(4, min_column_width=165):
        for label, (value, note) in {
            "With the plan": (rates[0], f"{result['observed']['plan']:,} customers"),
            "Control group": (rates[1], f"{result['observed']['holdout']:,} customers"),
            "Difference, points" if share else "Difference": text(result["difference"], scale=scale, unit=""),
            "Relative lift": text(result["relative_lift"], scale=100.0, unit="%"),
            **({"Value per customer": text(result["value"], scale=1.0, unit="")} if result.get("value") else {}),
        }.items():
            widgets.metric(label, value, note)


def _formulas(chosen: Campaign, result: dict[str, Any], share: bool) -> None:
    with st.popover("How these numbers are computed", icon=":material/function:", type="tertiary"):
        st.markdown(
            FORMULAS.format(
                plan=result["means"]["plan"],
                holdout=result["means"]["holdout"],
                value=result["difference"]["value"],
                n_plan=result["observed"]["plan"],
                n_holdout=result["observed"]["holdout"],
                method=METHODS[share if result["reading"] == "at_end" else None],
                covariates=widgets.plain(", ".join(chosen.about["covariates"])),
                share=result["sample_ratio"]["control_share"],
                p=result["sample_ratio"]["p"] if result["sample_ratio"]["p"] is not None else float("nan"),
            )
        )


def _beside_the_truth(truth: dict[str, Any]) -> None:
    st.subheader("Beside the truth", anchor=False)
    if truth["difference"] is None:
        return
    kinds = truth["kinds"]
    st.markdown(
        f"In truth the campaign changes the share by **{100 * truth['difference']:+.1f} points**. With their actions, "
        f"{kinds['persuadable']:.0%} of the targeted customers are **persuadable** (more than 2 points), "
        f"{kinds['hardly moved']:.0%} are **hardly moved**, and {kinds['sleeping dogs']:.0%} are **sleeping dogs**, "
        "whom it drives away."
    )
    _believed(truth)
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        widgets.chart(
            charts.earnings(truth["earnings"]),
            key="earnings",
            alt="What this campaign, the best targeting and targeting by risk earn in truth",
            table=pd.DataFrame(truth["earnings"]).T.reset_index(names="targeting"),
            note="If all targeted customers were contacted, with a kept customer worth "
            f"{truth['value']:,.0f}. **Best possible** gives each customer the action that helps most, which only the "
            "generator knows. **By churn risk alone** contacts as many customers, the riskiest first: high risk does "
            "not mean that an action helps.",
        )
        found = truth["coverage"]
        if found["intervals"]:
            widgets.chart(
                charts.coverage(found["intervals"], found["true"]),
                key="coverage",
                alt="Intervals of simulated campaigns with the truth",
                note=f"Of {found['campaigns']} simulated campaigns, {found['covered']:.1%} have an interval that holds "
                "the truth; 95% are promised, give or take 3 points of chance. "
                f"{found['proven']:.0%} of them prove an effect: the power.",
            )


def _believed(truth: dict[str, Any]) -> None:
    belief = truth["belief"]
    if not belief:
        return
    st.markdown(
        f"**Without a control group** one would see that {belief['stayed']:,} of {belief['contacted']:,} contacted "
        f"customers stayed, and might call them all saved. In truth the campaign kept about "
        f"**{belief['true_kept']:,.0f}**. Comparing the contacted with everybody else would suggest "
        f"{100 * belief['believed_difference']:+.1f} points, because the two differ in risk."
    )
