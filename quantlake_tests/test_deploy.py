"""deploy/ and terraform/ agree with the code: setting names, needed settings, namespaces, accounts, resources. No network."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from quantlake import wiring
from quantlake.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY, TERRAFORM = ROOT / "deploy", ROOT / "terraform"
SETTINGS = {f"QUANTLAKE_{name.upper()}" for name in Settings.model_fields}
OURS = ("Dockerfile", "README.md", "dagster-values.yaml", "secrets.env.example", "settings.env.example")
FILES = [*(DEPLOY / name for name in OURS), *TERRAFORM.glob("*.tf"), *TERRAFORM.glob("tests/*.hcl")]
VALUES = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text())
CODE = VALUES["dagster-user-deployments"]["deployments"][0]
RUNS = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _env(name: str) -> dict[str, str]:
    lines = (DEPLOY / f"{name}.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _terraform(name: str) -> str:
    return (TERRAFORM / name).read_text()


def _given_by_terraform() -> set[str]:
    return set(re.findall(r"^\s+(QUANTLAKE_\w+)\s*=", _terraform("outputs.tf"), re.M))


def _resources(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "resources":
                yield path, value
            yield from _resources(value, f"{path}.{key}")
    elif isinstance(node, list):
        for position, value in enumerate(node):
            yield from _resources(value, f"{path}[{position}]")


def _quantity(text: Any) -> float:
    found = re.fullmatch(r"([\d.]+)(\w*)", str(text))
    assert found, text
    return float(found[1]) * UNITS[found[2]]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_setting_named_exists(path):
    named = set(re.findall(r"\bQUANTLAKE_[A-Z_]*[A-Z]", path.read_text()))
    assert named <= SETTINGS


def test_every_setting_production_needs_is_given():
    calls = (n for n in ast.walk(ast.parse(inspect.getsource(wiring))) if isinstance(n, ast.Call))
    needed = {
        f"QUANTLAKE_{c.args[0].value.upper()}" for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "_needed"
    }
    assert {"QUANTLAKE_KAFKA_BOOTSTRAP", "QUANTLAKE_CATALOG_WAREHOUSE"} <= needed
    assert needed <= {*_env("settings"), *_env("secrets"), *_given_by_terraform()}


def test_secrets_are_not_in_the_configmap():
    secret = {f"QUANTLAKE_{n.upper()}" for n, f in Settings.model_fields.items() if "Secret" in str(f.annotation)}
    assert not secret & {*_env("settings"), *_given_by_terraform()}
    assert not any(_env("secrets").values())
    assert not {*_env("settings"), *_env("secrets")} & _given_by_terraform()


def test_the_examples_are_settings(monkeypatch):
    for name, value in (_env("settings") | _env("secrets")).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(
        "QUANTLAKE_CATALOG_PROPERTIES", '{"glue.region":"eu-west-1","s3.region":"eu-west-1"}'
    )  # as outputs.tf encodes it
    settings = Settings()
    assert settings.clickhouse_port == 8443
    assert settings.catalog_properties["s3.region"] == "eu-west-1"


def test_glue_has_the_namespaces_that_tables_lie_in():
    from quantlake.contract.catalog import discover

    datasets = discover().datasets
    stored = {d.layer for d in datasets if d.kind in ("iceberg", "feast")} | {d.rejected_spec.layer for d in datasets}
    listed = re.search(r"namespaces = \[(.*)\]", _terraform("lake.tf"))
    assert listed
    assert set(re.findall(r'"(\w+)"', listed[1])) == stored


def test_requests_do_not_exceed_limits():
    found = dict(_resources(VALUES))
    assert len(found) == 4  # code location, runs, daemon, web server
    for path, resources in found.items():
        assert {"cpu", "memory"} <= set(resources["requests"]), path
        assert "memory" in resources["limits"], path
        for name, limit in resources["limits"].items():
            assert _quantity(resources["requests"][name]) <= _quantity(limit), path


def test_runs_and_code_location_are_given_the_same_world():
    assert CODE["includeConfigInLaunchedRuns"] == {"enabled": False}  # otherwise its resources are merged into the runs'
    for name in ("envConfigMaps", "envSecrets", "volumes", "volumeMounts", "securityContext"):
        assert CODE[name] == RUNS[name]
    pod = RUNS["runK8sConfig"]["podSpecConfig"]
    assert pod["serviceAccountName"] == VALUES["dagster-user-deployments"]["serviceAccount"]["name"]
    assert pod["securityContext"] == CODE["podSecurityContext"]
    home = re.search(r"QUANTLAKE_HOME=(\S+)", (DEPLOY / "Dockerfile").read_text())
    assert home
    assert home[1] in [m["mountPath"] for m in RUNS["volumeMounts"]]


def test_service_accounts_are_those_with_roles():
    defaults = dict(re.findall(r'variable "(\w+_service_account)" \{[^}]*?default\s+= "(\w+)"', _terraform("variables.tf")))
    accounts = {
        "pipeline": VALUES["dagster-user-deployments"]["serviceAccount"]["name"],
        "dagster": VALUES["serviceAccount"]["name"],
    }
    assert {name.removesuffix("_service_account"): account for name, account in defaults.items()} == accounts


def test_compute_logs_lie_where_dagster_may_write():
    prefix = re.search(r'compute_logs_prefix = "(.+)"', _terraform("lake.tf"))
    assert prefix
    assert VALUES["computeLogManager"]["config"]["s3ComputeLogManager"]["prefix"] == prefix[1]


def test_nothing_is_public_nor_bundled():
    text = (DEPLOY / "dagster-values.yaml").read_text()
    assert "LoadBalancer" not in text
    assert "NodePort" not in text
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    for name in ("ingress", "postgresql", "rabbitmq", "redis", "flower"):
        assert VALUES[name]["enabled"] is False, name
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert "postgresqlPassword" not in VALUES["postgresql"]


def test_runs_at_once_are_limited_in_one_place():
    assert "concurrency" not in VALUES  # beside the run coordinator's limit the instance refuses to start
    assert VALUES["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]["maxConcurrentRuns"] > 0
    assert VALUES["dagsterDaemon"]["runMonitoring"]["freeSlotsAfterRunEndSeconds"] > 0


def test_what_is_left_empty_the_readme_sets():
    empty = {"repository": CODE["image"], "tag": CODE["image"], "postgresqlHost": VALUES["postgresql"]}
    empty |= dict.fromkeys(("bucket", "region"), VALUES["computeLogManager"]["config"]["s3ComputeLogManager"])
    readme = (DEPLOY / "README.md").read_text()
    for name, where in empty.items():
        assert where[name] == ""
        assert re.search(rf'--set(-string)? "[\w.\[\]-]+\.{name}=', readme), name


def test_the_image_serves_the_code_location_as_locked():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    syncs = re.findall(r"uv sync .*", dockerfile)
    assert len(syncs) == 2
    assert all("--locked" in s and "--compile-bytecode" in s and "--extra production" in s for s in syncs)
    assert '"-m", "quantlake.definitions"]' in dockerfile
    assert CODE["dagsterApiGrpcArgs"] == ["-m", "quantlake.definitions"]
    assert re.search(rf"^USER {CODE['podSecurityContext']['runAsUser']}:", dockerfile, re.M)
    assert "production" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
