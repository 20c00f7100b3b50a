"""Tables for notebooks, as Markdown."""

from __future__ import annotations

import math

from ftrepo.policy import Policy
from sim.show import agreement_table, assumption_table, interval_table, option_table
from sim.show.markdown import MarkdownTable
from sim.show.tables import agreement_table as agreement_on_a_terminal
from sim.study.agreement import Check
from sim.study.intervals import Interval
from sim.world.scenario_file import load_scenario


def test_a_table_is_markdown() -> None:
    """Headings, a rule, rows; what would break a row is escaped."""
    table = MarkdownTable(("a", "b"), [("1|2", "3\n4")])
    assert repr(table) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 4 |"
    assert table._repr_markdown_() == repr(table)


def test_a_table_can_be_turned() -> None:
    """Rows become columns, and back again."""
    table = MarkdownTable(("", "x", "y"), [("mean", "1", "2"), ("max", "3", "4")])
    turned = table.transposed()
    assert turned.headings == ("", "mean", "max")
    assert turned.rows == [("x", "1", "3"), ("y", "2", "4")]
    assert repr(turned.transposed()) == repr(table)


def test_more_rows_can_be_folded_away() -> None:
    """They are a table of their own, under a summary that unfolds it."""
    table = MarkdownTable(("a",), [("1",)], folded=[("2",)], summary="one more")
    assert repr(table) == (
        "| a |\n| --- |\n| 1 |\n\n"
        "<details><summary>one more</summary>\n\n| a |\n| --- |\n| 2 |\n\n</details>"
    )


def test_assumptions_of_scenarios_share_their_rows() -> None:
    """One row for each setting: its meaning, its values side by side, and its source."""
    scenarios = {name: load_scenario(name) for name in ("default", "recorded-shape")}
    table = assumption_table(scenarios)
    shown, folded = (
        {row[0].split("`")[-2]: row for row in rows} for rows in (table.rows, table.folded)
    )
    assert folded["caller.deadline_s"][1:3] == ("1", "1")
    assert "gives up" in folded["caller.deadline_s"][0]
    assert shown["duration_s"][1:3] == ("21,600", "2,592,000")
    assert shown["outages[0].down"][1:3] == ("lognormal, median_s 75, sigma 0.6", "")
    assert "Cloud Uptime Archive" in shown["outages[0].incident_median_s"][3]
    assert "service.restarts_s" not in shown | folded, "no scenario uses it"
    assert all(len(row) == 4 and row[0] and row[3] for row in (shown | folded).values())
    topics = [name.split(".", maxsplit=1)[0].split("[")[0] for name in shown]
    assert topics == sorted(topics, key=topics.index), "settings of one topic stand together"
    assert table.summary == f"{len(folded)} more that they have in common"


def test_the_assumptions_of_one_scenario_are_all_shown() -> None:
    """Nothing is in common with another, so nothing is folded."""
    table = assumption_table({"default": load_scenario("default")})
    assert table.rows
    assert not table.folded


def test_options_show_only_what_differs() -> None:
    """Settings that all policies share are left out."""
    policies = {"a": Policy(), "b": Policy(breaker=False, max_staleness_s=60.0)}
    plain, described = option_table(policies, described=False), option_table(policies)
    assert plain.headings == described.headings == ("setting", "a", "b")
    assert plain.rows == [("`max_staleness_s`", "none", "60"), ("`breaker`", "true", "false")]
    assert described.rows[1][0].startswith("Whether a circuit breaker stops calls")
    assert described.rows[1][0].endswith(" `breaker`")


def test_intervals_are_written_as_they_are_meant() -> None:
    """An availability shows its distance from 1; what never varied says so; NaN is none."""
    figures = {
        "availability": Interval(0.99987, 0.9991, 1.0, 5),
        "wait_s": Interval(0.95, 0.91, 0.99, 5),
        "bytes": Interval(12345.6, 12000.0, 12691.2, 5),
        "lost_keys": Interval(0.0, 0.0, 0.0, 5),
        "rate": Interval(math.nan, math.nan, math.nan, 0),
        "single": Interval(2.5, math.nan, math.nan, 1),
    }
    table = interval_table({"default": figures, "other": {}}, rows=[*figures])
    assert [row[1] for row in table.rows] == [
        "0.99987 [0.99910, 1]",
        "0.95 [0.91, 0.99]",
        "12,346 [12,000, 12,691]",
        "0, always",
        "none",
        "2.5",
    ]
    assert {row[2] for row in table.rows} == {"none"}
    assert len(interval_table({"default": figures}).rows) == len(figures)


def test_agreement_shows_both_sides_and_marks_what_parts() -> None:
    """Simulated, then real; bold where they disagree; what is not judged says so."""

    def check(name: str, real: float, rule: str, *, agrees: bool) -> Check:
        mean = Interval(0.5, 0.4, 0.6, 3)
        return Check(name=name, simulated=mean, paired=0.5, real=real, rule=rule, agrees=agrees)

    checks = [
        check("availability", 0.7, "within 1%", agrees=False),
        check("sync_lag_max_s", 0.5, "within 20%", agrees=True),
        check("pending_max", 9.0, "", agrees=True),
        check("wait", math.nan, "", agrees=True),
    ]
    table = agreement_table({"hang": checks})
    assert table.headings == ("figure", "hang", "what agreement means")
    assert table.rows == [
        ("`availability`", "**0.5 → 0.7**", "within 1%"),
        ("`sync_lag_max_s`", "0.5 → 0.5", "within 20%"),
        ("`pending_max`", "0.5 → 9", "not judged"),
        ("`wait`", "0.5 → none", "not judged"),
    ]
    verdicts = [str(cell) for cell in agreement_on_a_terminal("hang", checks).columns[-1].cells]
    assert verdicts == ["NO: within 1%", "yes: within 20%", "not judged", "not judged"]
