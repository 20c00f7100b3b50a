"""Reading arrivals from access logs, and writing sample ones."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from sim.world.access_log import read_access_log, write_access_log
from sim.world.errors import InputError
from sim.world.streams import Streams

COMBINED = '192.0.2.1 - - [{}] "GET / HTTP/1.1" 200 5 "http://example.org/" "curl/8 [x]"'
COMMON = '2001:db8::1 ident a user [{}] "GET / HTTP/1.0" 404 -'
RECORDINGS = Path(
    os.environ.get("FTREPO_RECORDINGS", Path(__file__).parents[3] / "shared" / "data")
)


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "access.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_formats_are_read_and_sorted(tmp_path: Path) -> None:
    """Lines out of order are counted and sorted; times begin at 0."""
    path = _file(
        tmp_path,
        COMBINED.format("17/May/2015:10:05:43 +0000"),
        COMMON.format("17/May/2015:10:05:03 +0000"),
        "",
        COMBINED.format("18/May/2015:10:05:04 +0000"),
    )
    arrivals, report = read_access_log(path)
    assert arrivals.times_s.tolist() == [0, 40, 86_401]
    assert arrivals.file == "access.log"
    assert (report.lines, report.requests, report.malformed) == (3, 3, 0)
    assert report.out_of_order == 1
    assert report.first == datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC)
    assert report.span_s == 86_402
    assert str(report) == (
        "access.log: 3 requests, 1 out of order; 1.00 days from 2015-05-17 10:05:03 UTC, "
        "3.47e-05 a second"
    )


def test_time_zone_offsets_are_honoured(tmp_path: Path) -> None:
    """Four ways to write the same moment, half hours and the date line included, are the same."""
    path = _file(
        tmp_path,
        COMMON.format("01/Mar/2024:00:30:00 +0000"),
        COMMON.format("01/Mar/2024:06:00:00 +0530"),
        COMMON.format("29/Feb/2024:19:30:00 -0500"),
        COMMON.format("01/Mar/2024:14:30:00 +1400"),
    )
    assert read_access_log(path)[0].times_s.tolist() == [0, 0, 0, 0]


def test_every_month_and_second_of_a_leap_year_is_parsed_like_datetime(tmp_path: Path) -> None:
    """The hand-written parser agrees with the standard library over a leap year."""
    start = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    times = np.arange(0, 366 * 86_400, 40_003.0)
    path = tmp_path / "year.log"
    write_access_log(path, times, start=start)
    arrivals, report = read_access_log(path)
    assert arrivals.times_s.tolist() == times.tolist()
    assert report.first == start


@pytest.mark.parametrize(
    "stamp",
    [
        "32/May/2015:10:05:43 +0000",
        "29/Feb/2015:10:05:43 +0000",
        "17/Mai/2015:10:05:43 +0000",
        "17/May/2015:24:05:43 +0000",
        "17/May/2015:10:60:43 +0000",
        "17/May/2015:10:05:43",
        "2015-05-17T10:05:43Z",
        "",
    ],
)
def test_an_impossible_stamp_is_malformed(tmp_path: Path, stamp: str) -> None:
    """A stamp that is no moment does not become a wrong one."""
    good = COMMON.format("17/May/2015:10:05:43 +0000")
    _, report = read_access_log(
        _file(tmp_path, good, COMMON.format(stamp), good), malformed_share_max=0.5
    )
    assert (report.requests, report.malformed, report.first_malformed_line) == (2, 1, 2)
    assert "1 malformed (the first in line 2)" in str(report)


def test_few_malformed_lines_are_tolerated_and_many_are_not(tmp_path: Path) -> None:
    """One line in a hundred passes; two are refused, by file and first line."""
    good = COMMON.format("17/May/2015:10:05:43 +0000")
    lines = [good] * 100
    lines[41] = "cut off"
    assert read_access_log(_file(tmp_path, *lines))[1].malformed == 1
    lines[77] = "cut off"
    with pytest.raises(InputError, match=r"access\.log, line 42: no time stamp .*2 of 100 lines"):
        read_access_log(_file(tmp_path, *lines))


def test_a_file_that_is_no_log_is_refused_by_name(tmp_path: Path) -> None:
    """Missing, a folder, empty, another format, a broken gzip: one clear line each."""
    with pytest.raises(InputError, match=r"missing\.log: cannot be read \(No such file"):
        read_access_log(tmp_path / "missing.log")
    with pytest.raises(InputError, match="cannot be read"):
        read_access_log(tmp_path)
    with pytest.raises(InputError, match=r"access\.log: the file is empty"):
        read_access_log(_file(tmp_path, ""))
    with pytest.raises(InputError, match=r"access\.log, line 1: no time stamp"):
        read_access_log(_file(tmp_path, "start_time,end_time,status"))
    packed = tmp_path / "access.log.gz"
    packed.write_bytes(b"not gzip")
    with pytest.raises(InputError, match="not a complete gzip file"):
        read_access_log(packed)
    packed.write_bytes(gzip.compress(b"x" * 1000)[:-9])
    with pytest.raises(InputError, match="not a complete gzip file"):
        read_access_log(packed)


def test_bytes_that_are_not_utf_8_do_not_matter(tmp_path: Path) -> None:
    """Requests carry any bytes, and only the stamp is read."""
    path = tmp_path / "access.log"
    line = COMMON.format("17/May/2015:10:05:43 +0000").encode().replace(b"GET /", b"GET /\xff\xfe")
    path.write_bytes(line + b"\r\n")
    assert read_access_log(path)[1].requests == 1


@pytest.mark.parametrize("name", ["sample.log", "sample.log.gz"])
def test_a_written_log_reads_back(tmp_path: Path, name: str) -> None:
    """A generated log is out of order like a real one, and has the same seconds in it."""
    rng = Streams(1).generator("t")
    times = np.sort(rng.random(2000) * 10_000)
    path = tmp_path / name
    write_access_log(path, times, rng=rng, request_s=5)
    arrivals, report = read_access_log(path)
    seconds = np.floor(times)
    assert arrivals.times_s.tolist() == (seconds - seconds[0]).tolist()
    assert 0.1 < report.out_of_order / report.requests < 0.5
    again = tmp_path / ("again-" + name)
    write_access_log(again, times)
    assert read_access_log(again)[1].out_of_order == 0


@pytest.mark.skipif(
    not (RECORDINGS / "traffic").is_dir(), reason="the shared recordings are not on this machine"
)
def test_the_shared_recording_can_be_read() -> None:
    """The public log at hand has 10,000 requests over three and a half days, half out of order."""
    _, report = read_access_log(RECORDINGS / "traffic" / "apache_access.log")
    assert (report.requests, report.malformed) == (10_000, 0)
    assert 0.4 < report.out_of_order / report.requests < 0.6
    assert 3.4 < report.span_s / 86_400 < 3.6
