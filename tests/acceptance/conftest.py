"""Numbers are said as in tests/remote."""

from tests.remote.conftest import report as report
