"""Recorded outages: reading, reporting, writing and generating trace files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.world.errors import InputError
from sim.world.outage_trace import RecordedTrace, read_trace, write_trace
from sim.world.outages import PARTIAL, Outage, OutageMode, merge
from sim.world.recorded_shape import RecordedShape, generate_trace
from sim.world.streams import Streams

HEADING = "start_time,end_time,status,service\n"
DAY_S = 86_400.0
RECORDINGS = Path(
    os.environ.get("FTREPO_RECORDINGS", Path(__file__).parents[3] / "shared" / "data")
)


def _file(folder: Path, rows: str, heading: str = HEADING) -> Path:
    path = folder / "trace.csv"
    path.write_text(heading + rows, encoding="utf-8")
    return path


def _spans(trace: RecordedTrace) -> list[tuple[float, float, float]]:
    return [(each.start_s, each.end_s, each.severity) for each in trace.outages]


def test_severity_decides_the_mode(tmp_path: Path) -> None:
    """A partial row fails at its rate; a full one in the mode that the caller chose."""
    path = _file(tmp_path, "0,10,0.25,x\n20,30,1.0,x\n")
    trace, _ = read_trace(path, full_mode=OutageMode.HANG)
    assert trace.outages == (
        Outage(0, 10, OutageMode.ERROR_RATE, 0.25),
        Outage(20, 30, OutageMode.HANG),
    )
    assert read_trace(path)[0].outages[1].mode is OutageMode.REFUSE


def test_every_oddity_of_a_row_is_handled_and_reported(tmp_path: Path) -> None:
    """Severity 0 and no length are left out, disorder sorted, overlaps merged, alikes joined."""
    path = _file(
        tmp_path,
        "100,200,0.5,x\n"
        "0,50,0.5,x\n"  # out of order
        "150,250,0.75,x\n"  # overlaps the first, and is worse
        "250,300,0.75,x\n"  # touches the one before, and is alike
        "300,310,0.25,x\n"  # touches, and is not alike
        "\n"
        "400,500,0,x\n"
        "600,600,1,x\n",
    )
    trace, report = read_trace(path)
    assert _spans(trace) == [
        (0, 50, 0.5),
        (100, 150, 0.5),
        (150, 300, 0.75),
        (300, 310, 0.25),
    ]
    assert (report.rows, report.zero_severity, report.zero_length) == (7, 1, 1)
    assert (report.unordered, report.overlapping, report.touching) == (1, 1, 2)
    assert (report.outages, report.duration_s, report.outage_s) == (4, 600, 260)
    assert report.full_s == 0
    assert trace.duration_s == 600
    assert str(report) == (
        "trace.csv: 7 rows, 1 with severity 0 left out, 1 of no length left out, 1 out of order, "
        "1 overlapping, 2 touching; 4 outages in 0.0 days, 0.1 h in all (43.33% of the time), "
        "0.0 h of them full"
    )


def test_a_clean_trace_has_a_short_report(tmp_path: Path) -> None:
    """What did not happen is not mentioned."""
    _, report = read_trace(_file(tmp_path, "0,3600,1,x\n864000,867600,0.5,x\n"))
    assert str(report) == (
        "trace.csv: 2 rows; 2 outages in 10.0 days, 2.0 h in all (0.83% of the time), "
        "1.0 h of them full"
    )


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    """Order, spaces, extra columns, a missing service and a byte order mark do not matter."""
    path = _file(tmp_path, "1, 5 ,y,2\n", heading="\ufeffstatus,end_time,note, start_time\n")
    assert _spans(read_trace(path)[0]) == [(2, 5, 1)]


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("ten,20,1,x", "start_time must be a number, not 'ten'"),
        ("10,,1,x", "end_time must be a number, not ''"),
        ("10,nan,1,x", "end_time must be a number, not 'nan'"),
        ("10,inf,1,x", "end_time must be a number, not 'inf'"),
        ("-10,20,1,x", "start_time must not be negative, not -10"),
        ("30,20,1,x", "end_time 20 is before start_time 30"),
        ("10,20,1.5,x", "status must be from 0 to 1, not 1.5"),
        ("10,20,-0.5,x", "status must not be negative, not -0.5"),
        ("10,20", "the row has only 2 columns"),
    ],
)
def test_a_malformed_row_is_refused_by_file_and_line(tmp_path: Path, row: str, wrong: str) -> None:
    """The message is one line with the file, the line number and what is wrong."""
    path = _file(tmp_path, f"0,5,1,x\n\n{row}\n")
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert str(caught.value) == f"{path}, line 4: {wrong}"


def test_a_file_that_is_no_trace_is_refused_by_name(tmp_path: Path) -> None:
    """Missing, a folder, empty, without rows, without a column, not text: one clear line each."""
    path = tmp_path / "trace.csv"
    with pytest.raises(InputError, match=r"trace\.csv: cannot be read \(No such file"):
        read_trace(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path)
    for content, wrong in (
        (b"", "the file is empty; it needs start_time,end_time,status"),
        (HEADING.encode(), "there are no rows below the heading"),
        (b"start_time,status\n0,1\n", "line 1: the column 'end_time' is missing"),
        (b"start_time,endtime,status\n", "the column 'end_time' is missing, is it 'endtime'?"),
        (HEADING.encode() + b"0,1,1,\xff\xfe\n", "not a text in UTF-8"),
        (HEADING.encode() + b'0,1,1,"x\n', "not a CSV file"),
        (HEADING.encode() + b"0,0,1,x\n", "no row ends after 0"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_trace(path)
        assert wrong in str(caught.value)
        assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    rows=st.lists(
        st.tuples(
            st.floats(0, 1e8), st.floats(1e-3, 1e6), st.sampled_from([0.1, 1 / 3, 0.9999, 1.0])
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_written_trace_reads_back_to_the_bit(
    tmp_path: Path, rows: list[tuple[float, float, float]]
) -> None:
    """Writing loses nothing but the mode of full outages."""
    written = [
        Outage(start, start + length, OutageMode.HANG)
        if severity == 1
        else Outage(start, start + length, OutageMode.ERROR_RATE, severity)
        for start, length, severity in rows
    ]
    path = tmp_path / "trace.csv"
    write_trace(path, written)
    assert read_trace(path, full_mode=OutageMode.HANG)[0].outages == merge(written)


@pytest.mark.parametrize("mode", [m for m in OutageMode if m in PARTIAL - {OutageMode.ERROR_RATE}])
def test_what_fails_in_part_but_by_no_share_cannot_be_written(
    tmp_path: Path, mode: OutageMode
) -> None:
    """The format has a share of failing requests, and no way to say "late" or "writes only"."""
    with pytest.raises(InputError, match=f"no way to say that an outage is '{mode.value}'"):
        write_trace(tmp_path / "trace.csv", [Outage(0, 1, mode)])


def test_a_recorded_trace_can_be_sped_up_and_led_in(tmp_path: Path) -> None:
    """Times are divided by the factor and begin after the lead; the run's end cuts them off."""
    path = _file(tmp_path, "0,100,1,x\n200,300,0.5,x\n")
    trace = RecordedTrace(
        outages=read_trace(path)[0].outages, duration_s=300, speed_up=10, lead_s=50
    )
    assert trace.length_s == 80
    drawn = trace.draw(Streams(1).generator("o"), 75)
    assert [(each.start_s, each.end_s) for each in drawn] == [(50, 60), (70, 75)]


def test_a_generated_trace_has_two_populations() -> None:
    """Over 20 years, failovers and incidents have their own medians and their own frequency."""
    years = 20 * 365 * DAY_S
    shape = RecordedShape(incident_full_share=0.0)
    rows = generate_trace(Streams(1).generator("o"), years, shape=shape)
    failovers = [row.duration_s for row in rows if row.severity == 1]
    incidents = [row for row in rows if row.severity < 1]
    assert np.median(failovers) == pytest.approx(75, rel=0.05)
    assert np.median([row.duration_s for row in incidents]) == pytest.approx(136 * 60, rel=0.15)
    assert len(failovers) == pytest.approx(years / (2 * DAY_S), rel=0.06)
    assert len(incidents) == pytest.approx(years / (7 * DAY_S), rel=0.13)
    assert np.mean([row.severity for row in incidents]) == pytest.approx(0.5, abs=0.04)
    assert [row.start_s for row in rows] == sorted(row.start_s for row in rows)


def test_a_generated_trace_survives_its_file(tmp_path: Path) -> None:
    """Notebooks bring a recorded trace of the project's own: rows, file and schedule agree."""
    shape = RecordedShape(failover_every_s=3600, incident_every_s=7200)
    rows = generate_trace(Streams(2).generator("o"), 5 * DAY_S, shape=shape)
    path = tmp_path / "generated.csv"
    write_trace(path, rows)
    trace, report = read_trace(path)
    assert trace.outages == shape.draw(Streams(2).generator("o"), 5 * DAY_S)
    assert report.rows == len(rows)
    assert report.overlapping > 0


@pytest.mark.skipif(
    not (RECORDINGS / "outages").is_dir(), reason="the shared recordings are not on this machine"
)
def test_the_shared_recordings_can_all_be_read() -> None:
    """Every public recording at hand becomes a schedule within its own length."""
    paths = sorted((RECORDINGS / "outages").glob("*.csv"))
    assert paths
    for path in paths:
        trace, report = read_trace(path)
        assert 0 < report.outages <= report.rows
        assert trace.outages[-1].end_s <= trace.duration_s
