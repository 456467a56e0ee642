"""The matrix of ports and adapters counts what happened, also where several processes run the tests."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = '''
import pytest

PORT = "Store"

@pytest.fixture(params=["embedded", "real", "absent"])
def adapter_name(request):
    if request.param == "absent":
        pytest.skip("no server: start one")
    return request.param

@pytest.fixture
def store(adapter_name):
    yield adapter_name
    assert adapter_name == "embedded", "the teardown of the other fails"

def test_passes(adapter_name): pass

def test_fails_in_its_teardown(store): pass

def test_fails_on_one(adapter_name):
    assert adapter_name == "embedded"

@pytest.mark.parametrize("adapter_name", ["real"])
def test_of_one_adapter(adapter_name): pass

def test_of_no_adapter(): pass
'''
ONE = 'PORT, ADAPTER = "Other", "only"\ndef test_passes(): pass\ndef test_fails(): assert False\n'
TABLE = """\
| port | adapter | passed | failed | skipped |
| --- | --- | --- | --- | --- |
| Other | only | 1 | 1 | 0 |
| Store | absent | 0 | 0 | 3 |
| Store | embedded | 3 | 0 | 0 |
| Store | real | 2 | 2 | 0 |

- Store on absent, skipped: no server: start one
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_matrix_counts_by_port_and_adapter(tmp_path: Path, processes: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_store.py").write_text(SUITE)
    (tmp_path / "test_one.py").write_text(ONE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-n", processes, str(tmp_path), "--matrix", str(tmp_path / "matrix.md")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "matrix.md").read_text().endswith(TABLE), done.stdout
    assert "Store  real      2       2       0" in done.stdout
