import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from study_fixtures import write_study

from sfgsearch import create_study, load_config
from sfgsearch.serving import is_loopback


@contextmanager
def serving(path, *options):
    """Serve a study in a process, and yield the process and the address that it printed."""
    command = [sys.executable, "-m", "sfgsearch", "dashboard", str(path), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def ask(address, host=None):
    """Return status and text of a page."""
    request = urllib.request.Request(address, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = write_study(tmp_path_factory.mktemp("served"))
    create_study(load_config(path))
    return path


def end(process, number):
    """Send a signal, check that the server ends well, and return what it wrote to standard error."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    return errors


@pytest.mark.slow
def test_it_serves_the_study_until_a_signal_ends_it(study):
    with serving(study) as (process, address):
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/dashboard/studies/(\d+)", address)
        assert found, process.stderr.read()
        assert load_config(study).name in ask(f"{found[1]}/api/studies")[1]
        with ThreadPoolExecutor(32) as crowd:
            answers = list(crowd.map(ask, [address] * 64))
        assert {status for status, _ in answers} == {200}
        assert ask(address, host="elsewhere.example")[0] == 403, "a page elsewhere in the web"
        assert ask(address, host="localhost:8000")[0] == 200, "as through a tunnel"
        assert end(process, signal.SIGTERM) == ""


@pytest.mark.slow
def test_an_address_that_others_reach_is_worth_a_warning(study):
    with serving(study, "--host", "0.0.0.0") as (process, address):
        assert address.startswith("http://0.0.0.0:")
        assert "warning: 0.0.0.0 may be reached from other machines" in end(process, signal.SIGINT)


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--port", "99999"], ["--host", "203.0.113.9"]])
def test_where_it_cannot_listen_is_one_line(study, options):
    command = [sys.executable, "-m", "sfgsearch", "dashboard", str(study), *options]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 2
    assert options[1] in refused.stderr.splitlines()[-1]


def test_a_study_that_is_not_there_is_one_line(study_file, call):
    status, _, err = call("dashboard", study_file())
    assert status == 2
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "LOCALHOST"])
def test_addresses_of_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "localhost.example", ""])
def test_addresses_that_others_reach(host):
    assert not is_loopback(host)
